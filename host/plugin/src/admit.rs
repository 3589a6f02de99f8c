//! From the bytes of a file to a component that fits: is it one or can it become one, was it built for this
//! contract, and does the grant cover what it imports.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Linker};

use crate::abi::VERSION;
use crate::engine::Host;
use crate::error::LoadErrorKind;
use crate::hex;
use crate::limits::MAX_COMPONENT_BYTES;
use crate::pack::{Renames, pack};
use crate::spec::{ComponentSource, Linkable};
use crate::state::State;
use crate::{import, wasi};

/// What this collector calls its own package and version in an error.
pub(crate) const OURS: &str = "sluice:plugin@0.1.0";

/// The bytes of a component, with their SHA-256.
pub(crate) fn read(source: &ComponentSource) -> Result<(Vec<u8>, [u8; 32]), LoadErrorKind> {
    let (path, expected) = match source {
        ComponentSource::Embedded { bytes, .. } => {
            return Ok((bytes.to_vec(), Sha256::digest(bytes).into()));
        }
        ComponentSource::File { path, sha256 } => (path, sha256),
    };
    let mut bytes = Vec::new();
    let limit = MAX_COMPONENT_BYTES as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| LoadErrorKind::Read { path: path.clone(), error })?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if let Some(expected) = expected
        && *expected != digest
    {
        return Err(LoadErrorKind::WrongDigest {
            component: source.describe(),
            found: hex(&digest),
            expected: hex(expected),
        });
    }
    Ok((bytes, digest))
}

/// What WebAssembly a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Component,
    CoreModule,
}

/// What `bytes` begin like; an error that says what they are if it is no WebAssembly.
pub(crate) fn kind(bytes: &[u8]) -> Result<Kind, String> {
    let found = match bytes {
        _ if bytes.len() > MAX_COMPONENT_BYTES => return Err(format!("it is larger than {MAX_COMPONENT_BYTES} bytes")),
        [] => "the file is empty",
        // Layer 1 is a component, layer 0 a core module (component-model/design/mvp/Binary.md, "component").
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(Kind::Component),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => return Ok(Kind::CoreModule),
        [b'\0', b'a', b's', b'm', ..] => "it is WebAssembly of an unknown version, or cut off",
        [0x7f, b'E', b'L', b'F', ..] => "it is native code; give the .wasm file, compiled code is never loaded",
        _ if std::str::from_utf8(bytes.get(..64).unwrap_or(bytes)).is_ok() => "it is text",
        _ => "it does not begin like WebAssembly",
    };
    Err(found.to_owned())
}

/// The component in `bytes`: as it is, or packed from a core module.
pub(crate) fn component<'b>(name: &str, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, LoadErrorKind> {
    match kind(bytes) {
        Ok(Kind::Component) => Ok(Cow::Borrowed(bytes)),
        Ok(Kind::CoreModule) => match pack(bytes, &Renames::new()) {
            Ok(packed) => Ok(Cow::Owned(packed)),
            Err(error) => Err(LoadErrorKind::Pack { component: name.to_owned(), error }),
        },
        Err(found) => Err(LoadErrorKind::NotAComponent { component: name.to_owned(), found }),
    }
}

/// Where the functions of a plugin are.
#[derive(Clone, Debug)]
pub(crate) struct Exports {
    pub(crate) init: ComponentExportIndex,
    pub(crate) process: ComponentExportIndex,
    pub(crate) tick: Option<ComponentExportIndex>,
    pub(crate) snapshot: Option<ComponentExportIndex>,
    pub(crate) restore: Option<ComponentExportIndex>,
}

/// Finds the exports of a plugin.
pub(crate) fn exports(host: &Host, name: &str, component: &Component) -> Result<Exports, LoadErrorKind> {
    let (mut stage, mut timer, mut state) = (None, None, None);
    for (export, _) in component.component_type().exports(host.engine()) {
        let Some(interface) = ours(export)? else { continue };
        let slot = match interface {
            "stage" => &mut stage,
            "timer" => &mut timer,
            "state" => &mut state,
            _ => continue,
        };
        *slot = component.get_export_index(None, export);
    }
    let function = |instance: &Option<ComponentExportIndex>, function: &str| {
        component.get_export_index(Some(instance.as_ref()?), function)
    };
    let no_stage = || LoadErrorKind::NoStage { component: name.to_owned() };
    Ok(Exports {
        init: function(&stage, "init").ok_or_else(no_stage)?,
        process: function(&stage, "process").ok_or_else(no_stage)?,
        tick: function(&timer, "tick"),
        snapshot: function(&state, "snapshot"),
        restore: function(&state, "restore"),
    })
}

/// An interface of our package in a version that this collector does not speak.
#[derive(Clone, Debug)]
pub(crate) struct OtherVersion {
    pub(crate) found: String,
    pub(crate) ours: &'static str,
}

impl From<OtherVersion> for LoadErrorKind {
    fn from(OtherVersion { found, ours }: OtherVersion) -> LoadErrorKind {
        LoadErrorKind::WrongVersion { found, ours }
    }
}

/// The interface that `name` means if it is of our package: `batch` of `sluice:plugin/batch@0.1.0`.
///
/// # Errors
/// If it is of a version that this collector does not speak. Below 1.0 the minor number is the one that
/// breaks (semver.org, 4).
pub(crate) fn ours(name: &str) -> Result<Option<&str>, OtherVersion> {
    let Some(name_and_version) = name.strip_prefix("sluice:plugin/") else { return Ok(None) };
    let (interface, version) = name_and_version.split_once('@').unwrap_or((name_and_version, ""));
    let breaking = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if breaking(version) != breaking(VERSION) {
        return Err(OtherVersion { found: name.to_owned(), ours: OURS });
    }
    Ok(Some(interface))
}

/// Links what the component imports, as far as the grant goes.
pub(crate) fn link(host: &Host, component: &Component, granted: Linkable) -> Result<Linker<State>, LoadErrorKind> {
    let engine = host.engine();
    let mut linker = Linker::new(engine);
    let misfit = |error: wasmtime::Error| LoadErrorKind::Link { error: format!("{error:#}") };
    for (import, item) in component.component_type().imports(engine) {
        let unknown = || LoadErrorKind::UnknownImport { import: import.to_owned() };
        let interface = ours(import)?;
        let ComponentItem::ComponentInstance(instance) = item.ty else { return Err(unknown()) };
        let mut into = linker.instance(import).map_err(misfit)?;
        if let Some(interface) = interface {
            match import::link(&mut into, interface, granted) {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Err(unknown()),
                Ok(Err(error)) => return Err(misfit(error)),
                Err(remedy) => {
                    return Err(LoadErrorKind::ImportNotGranted { import: import.to_owned(), remedy });
                }
            }
        } else if is_wasi(import) {
            wasi::link(&mut into, import, &instance, engine).map_err(misfit)?;
        } else {
            return Err(unknown());
        }
    }
    Ok(linker)
}

/// Whether the import is of a part of WASI 0.2 that the stub answers.
fn is_wasi(import: &str) -> bool {
    let package = import.split('/').next().unwrap_or_default();
    let known = ["wasi:cli", "wasi:io", "wasi:clocks", "wasi:random", "wasi:filesystem", "wasi:sockets"];
    known.contains(&package) && import.rsplit_once('@').is_some_and(|(_, version)| version.starts_with("0.2."))
}
