//! A core module, as far as packing looks into it.

use std::collections::BTreeSet;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{ExportSection, ImportSection, Module, RawSection};
use wasmparser::{Import, Parser, Payload, Validator, WasmFeatures};

use crate::pack::{PREVIEW1, PackError, Renames};

/// What a module imports and exports.
#[derive(Debug, Default)]
pub(super) struct Core {
    /// Module and name of each import.
    pub(super) imports: Vec<(String, String)>,
    pub(super) exports: BTreeSet<String>,
    /// Whether it was built for WASI preview 1.
    pub(super) is_preview1: bool,
}

fn invalid(error: impl std::fmt::Display) -> PackError {
    PackError::Invalid { error: error.to_string() }
}

/// Checks that `bytes` are a core module from the first to the last.
pub(super) fn validate(bytes: &[u8]) -> Result<(), PackError> {
    Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).map(drop).map_err(invalid)
}

impl Core {
    pub(super) fn read(bytes: &[u8]) -> Result<Core, PackError> {
        let mut core = Core::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let Import { module, name, .. } = import.map_err(invalid)?;
                        core.is_preview1 |= module == PREVIEW1;
                        core.imports.push((module.to_owned(), name.to_owned()));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        core.exports.insert(export.map_err(invalid)?.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(core)
    }
}

/// The module with other names for imports and exports (each rename is used or an error), and without the world
/// that a compiler's bindings may have left in it.
///
/// That world says nothing that imports and exports do not, and reading it is not for strangers' files: damaged ones made
/// `wit-component` 0.254 overflow its stack, which ends the process.
pub(super) fn rewritten(bytes: &[u8], renames: &Renames) -> Result<Vec<u8>, PackError> {
    let mut module = Module::new();
    let mut unused: BTreeSet<&str> = renames.keys().map(String::as_str).collect();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(invalid)?;
        match &payload {
            Payload::ImportSection(imports) => {
                let mut section = ImportSection::new();
                for import in imports.clone().into_imports() {
                    let Import { module, name, ty } = import.map_err(invalid)?;
                    let from = format!("{module}.{name}");
                    let (module, name) = match renames.get(&from) {
                        Some(to) => {
                            unused.remove(from.as_str());
                            to.split_once('#').ok_or_else(|| PackError::Rename {
                                problem: format!("`{to}` is no import; write INTERFACE#FUNCTION"),
                                from,
                            })?
                        }
                        None => (module, name),
                    };
                    section.import(module, name, RoundtripReencoder.entity_type(ty).map_err(invalid)?);
                }
                module.section(&section);
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                let mut names = BTreeSet::new();
                for export in exports.clone() {
                    let export = export.map_err(invalid)?;
                    unused.remove(export.name);
                    let name = renames.get(export.name).map_or(export.name, String::as_str);
                    if !names.insert(name) {
                        let problem = format!("there would be two exports `{name}`");
                        return Err(PackError::Rename { from: export.name.to_owned(), problem });
                    }
                    let kind = RoundtripReencoder.export_kind(export.kind).map_err(invalid)?;
                    section.export(name, kind, export.index);
                }
                module.section(&section);
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &bytes[range] });
                }
            }
        }
    }
    match unused.first() {
        Some(from) => {
            let problem = "there is no such export or import (an import is written MODULE.NAME)".to_owned();
            Err(PackError::Rename { from: (*from).to_owned(), problem })
        }
        None => Ok(module.finish()),
    }
}
