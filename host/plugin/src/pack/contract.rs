//! The contract of `wit/`, and whether a module keeps to it.

use wit_parser::{InterfaceId, PackageId, Resolve, WorldId};

use crate::admit;
use crate::pack::core::Core;
use crate::pack::{PREVIEW1, PackError};

/// The files of `wit/`, that with the package's name first.
const WIT: &str = concat!(
    include_str!("../../../../wit/types.wit"),
    include_str!("../../../../wit/batch.wit"),
    include_str!("../../../../wit/kernels.wit"),
    include_str!("../../../../wit/services.wit"),
    include_str!("../../../../wit/stage.wit"),
    include_str!("../../../../wit/worlds.wit"),
);

/// Exported interfaces beside `stage`, which a plugin may have.
const OPTIONAL: [&str; 2] = ["timer", "state"];

/// Names under which a module may export what grows a list that the host hands over.
const REALLOC: [&str; 3] = ["cabi_realloc", "canonical_abi_realloc", "cabi_export_realloc"];

/// The contract, parsed.
pub(super) struct Contract {
    resolve: Resolve,
    package: PackageId,
}

impl Contract {
    pub(super) fn new() -> Contract {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("sluice.wit", WIT).expect("wit/ parses: a test packs with it");
        Contract { resolve, package }
    }

    fn interface(&self, name: &str) -> Option<InterfaceId> {
        self.resolve.packages[self.package].interfaces.get(name).copied()
    }

    /// The exports that an interface stands for in a core module.
    fn functions(&self, interface: &str) -> Vec<String> {
        let id = self.interface(interface).expect("an interface of wit/");
        export_names(&self.resolve, id)
    }

    /// The world of a module: what it exports, and every import there is.
    pub(super) fn world(mut self, core: &Core) -> (Resolve, WorldId) {
        let has = |interface: &&str| self.functions(interface).iter().any(|name| core.exports.contains(name));
        let exports: String =
            OPTIONAL.into_iter().filter(has).map(|interface| format!("export {interface};")).collect();
        self.resolve = Resolve::default();
        let text = format!("{WIT}\nworld packed {{ include plugin; {exports} }}");
        let package = self.resolve.push_str("sluice.wit", &text).expect("wit/ and a world of it parse");
        let world = self.resolve.select_world(&[package], Some("packed")).expect("the world is there");
        (self.resolve, world)
    }

    /// Checks the names of imports and exports; their types are the encoder's to check.
    pub(super) fn check(&self, core: &Core) -> Result<(), PackError> {
        self.check_imports(core)?;
        for export in &core.exports {
            admit::ours(export.split('#').next().unwrap_or(export))?;
        }
        let mut missing: Vec<String> = self.functions("stage");
        for interface in OPTIONAL {
            let functions = self.functions(interface);
            if functions.iter().any(|function| core.exports.contains(function)) {
                missing.extend(functions);
            }
        }
        missing.push("memory".to_owned());
        missing.retain(|name| !core.exports.contains(name));
        if !REALLOC.iter().any(|name| core.exports.contains(*name)) {
            missing.push(REALLOC[0].to_owned());
        }
        if missing.is_empty() { Ok(()) } else { Err(PackError::Missing { missing: quoted(missing) }) }
    }

    fn check_imports(&self, core: &Core) -> Result<(), PackError> {
        let mut unknown = Vec::new();
        for (module, name) in &core.imports {
            let of_contract = admit::ours(module)?;
            let is_known = match of_contract {
                // What begins with a bracket is about handles of resources, which the encoder knows.
                Some(interface) => self.interface(interface).is_some_and(|id| {
                    name.starts_with('[') || self.resolve.interfaces[id].functions.contains_key(name)
                }),
                None => module == PREVIEW1,
            };
            if !is_known {
                let separator = if of_contract.is_some() { '#' } else { '.' };
                unknown.push(format!("{module}{separator}{name}"));
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(PackError::UnknownImports { imports: quoted(unknown) }) }
    }
}

/// The exports of a core module that stand for the functions of an interface.
fn export_names(resolve: &Resolve, id: InterfaceId) -> Vec<String> {
    let interface = resolve.id_of(id).unwrap_or_default();
    resolve.interfaces[id].functions.keys().map(|function| format!("{interface}#{function}")).collect()
}

fn quoted(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| format!("`{name}`")).collect()
}
