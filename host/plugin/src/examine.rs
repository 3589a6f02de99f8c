//! What can be seen of a component before it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use wasmtime::component::types::ComponentItem;

use crate::admit::{self, Kind};
use crate::engine::Host;
use crate::error::LoadErrorKind;
use crate::signature::{KeyId, PublicKey, SignatureError, Signer, signature_of, verify};
use crate::spec::{ComponentSource, Grant};

/// A file that is admitted: it compiles, and it links with everything granted.
#[derive(Clone, Debug)]
pub struct Examined {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// Whose signature it has.
    pub signed: Signed,
    /// Bytes of the file.
    pub bytes: usize,
    /// Bytes of the component, if the file is a core module that was packed.
    pub packed_bytes: Option<usize>,
    /// Version of the contract that it was built for, e.g. `0.1.0`.
    pub version: String,
    /// What it exports.
    pub exports: Vec<Interface>,
    /// What it imports, of the contract and of WASI, by name.
    pub imports: Vec<Interface>,
    /// Time to compile it, or to take it from the cache if it was there.
    pub compile: Duration,
    /// Time to load it once more, for a host with a cache.
    pub load: Duration,
}

/// An interface that a component exports or imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// E.g. `sluice:plugin/batch@0.1.0`.
    pub name: String,
    /// Its functions, by name. Of an import, those that the component may call.
    pub functions: Vec<String>,
}

/// What the signature beside a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// There is none.
    No,
    /// It is of none of the keys.
    ByUnknown(KeyId),
    /// It holds.
    By(Signer),
    /// It does not hold, or cannot be read: why.
    Broken(String),
}

impl Signed {
    fn of(path: &Path, bytes: &[u8], keys: &[PublicKey]) -> Signed {
        let verified = match signature_of(path) {
            Ok(None) => return Signed::No,
            Ok(Some(text)) => verify(path, bytes, &text, keys),
            Err(error) => Err(error),
        };
        match verified {
            Ok(signer) => Signed::By(signer),
            Err(SignatureError::OtherKey { key, .. }) => Signed::ByUnknown(key),
            Err(error) => Signed::Broken(error.to_string()),
        }
    }
}

/// Reads, compiles and links a plugin, and starts nothing. `keys` are those whose signature is known.
///
/// # Errors
/// As [`Loaded::load`](crate::Loaded::load), as far as that gets without an instance.
pub fn examine(host: &Host, path: &Path, keys: &[PublicKey]) -> Result<Examined, LoadErrorKind> {
    let source = ComponentSource::File { path: path.to_owned(), sha256: None };
    let name = source.describe();
    let (bytes, digest) = admit::read(&source)?;
    let binary = admit::component(&name, &bytes)?;
    let began = Instant::now();
    let component = host.compile(&name, &binary)?;
    let compile = began.elapsed();
    admit::exports(host, &name, &component)?;
    let linker = admit::link(host, &component, Grant::Requested.linkable())?;
    let misfit = |error: wasmtime::Error| LoadErrorKind::Link { error: format!("{error:#}") };
    linker.instantiate_pre(&component).map_err(misfit)?;
    let began = Instant::now();
    host.compile(&name, &binary)?;
    let load = began.elapsed();

    let engine = host.engine();
    let types = component.component_type();
    let interface = |name: &str, item: &ComponentItem| {
        let ComponentItem::ComponentInstance(instance) = item else { return None };
        let functions = instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
        let mut functions: Vec<String> = functions.map(|(name, _)| name.to_owned()).collect();
        functions.sort();
        Some(Interface { name: name.to_owned(), functions })
    };
    let mut exports: Vec<Interface> =
        types.exports(engine).filter_map(|(name, item)| interface(name, &item.ty)).collect();
    let mut imports: Vec<Interface> =
        types.imports(engine).filter_map(|(name, item)| interface(name, &item.ty)).collect();
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    imports.sort_by(|a, b| a.name.cmp(&b.name));
    let stage = exports.iter().find_map(|export| export.name.strip_prefix("sluice:plugin/stage@"));
    Ok(Examined {
        digest,
        signed: Signed::of(path, &bytes, keys),
        bytes: bytes.len(),
        packed_bytes: (admit::kind(&bytes) == Ok(Kind::CoreModule)).then_some(binary.len()),
        version: stage.unwrap_or_default().to_owned(),
        exports,
        imports,
        compile,
        load,
    })
}
