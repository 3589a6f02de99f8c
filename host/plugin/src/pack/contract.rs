//! The contract of `wit/`, and whether a module keeps to it.

use std::collections::BTreeMap;

use wit_component::metadata;
use wit_parser::{InterfaceId, PackageId, Resolve, WorldId, WorldItem};

use crate::admit;
use crate::pack::core::Core;
use crate::pack::{PREVIEW1, PackError, misfit};

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

/// Begins every export of a module that spells them in the way of the component model's build targets
/// (`BuildTargets.md`), which the encoder checks by itself.
const STANDARD_NAMES: &str = "cm32p2";

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

    /// The world of a module without one: what it exports, and every import there is.
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
        if core.exports.iter().any(|export| export.starts_with(STANDARD_NAMES)) {
            return Ok(());
        }
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
                // What else there can be is known to the world that the compiler left, and else nobody.
                None => module == PREVIEW1 || (core.has_world && is_of_a_component(module)),
            };
            if !is_known {
                let separator = if of_contract.is_some() { '#' } else { '.' };
                unknown.push(format!("{module}{separator}{name}"));
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(PackError::UnknownImports { imports: quoted(unknown) }) }
    }
}

/// Checks that a module exports all that the world in it says: bindings for `stateful` want `timer` and `state`.
pub(super) fn check_world(module: &[u8], core: &Core) -> Result<(), PackError> {
    if core.exports.iter().any(|export| export.starts_with(STANDARD_NAMES)) {
        return Ok(());
    }
    let (_, found) = metadata::decode(module).map_err(misfit)?;
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, item) in &found.resolve.worlds[found.world].exports {
        let WorldItem::Interface { id, .. } = item else { continue };
        let mut functions = export_names(&found.resolve, *id);
        functions.retain(|function| !core.exports.contains(function));
        if !functions.is_empty() {
            missing.insert(found.resolve.name_world_key(key), functions);
        }
    }
    let Some((interface, _)) = missing.first_key_value() else { return Ok(()) };
    let interface = interface.clone();
    let missing = quoted(missing.into_values().flatten().collect());
    Err(PackError::WorldNotMet { interface, missing })
}

/// The exports of a core module that stand for the functions of an interface.
fn export_names(resolve: &Resolve, id: InterfaceId) -> Vec<String> {
    let interface = resolve.id_of(id).unwrap_or_default();
    resolve.interfaces[id].functions.keys().map(|function| format!("{interface}#{function}")).collect()
}

/// Whether a module's name is one of the component model: an interface, or functions of the encoder's own.
fn is_of_a_component(module: &str) -> bool {
    module.contains(':') || module.starts_with(['$', '[']) || module.starts_with(STANDARD_NAMES)
}

fn quoted(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| format!("`{name}`")).collect()
}
