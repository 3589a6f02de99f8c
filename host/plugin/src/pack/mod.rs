//! From a core module, which is what most compilers write, to a component.
//!
//! Does in one call what takes three tools otherwise: embeds the contract, adapts what was built for WASI preview 1,
//! and wraps the module.

mod contract;
mod core;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding};

use crate::admit::{self, Kind, OtherVersion};
use crate::pack::contract::Contract;
use crate::pack::core::Core;

/// Names that are exchanged before packing: `stage_init` for `sluice:plugin/stage@0.1.0#init`, for compilers that
/// cannot spell those. A key is the name of an export, or an import as `MODULE.NAME`.
pub type Renames = BTreeMap<String, String>;

/// Why a module does not become a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// It is no WebAssembly.
    #[error("not a WebAssembly module: {found}")]
    NotWasm {
        /// What it is instead.
        found: String,
    },
    /// There is nothing to do.
    #[error("is a component already: use it as it is")]
    AlreadyComponent,
    /// It is WebAssembly, but not valid.
    #[error("not a valid WebAssembly module: {error}")]
    Invalid {
        /// What is wrong and where.
        error: String,
    },
    /// A name to be renamed that is not there, or one that cannot be the new name.
    #[error("rename `{from}`: {problem}")]
    Rename {
        /// The name to be replaced.
        from: String,
        /// What is wrong.
        problem: String,
    },
    /// It was built for another version of the contract.
    #[error("uses {found}, this collector speaks {ours}: rebuild it with the SDK of this version")]
    WrongVersion {
        /// Interface and version that the module names.
        found: String,
        /// The version of this collector.
        ours: &'static str,
    },
    /// It lacks exports that a plugin must have.
    #[error("does not export {}; a name that the compiler cannot spell can be given by a rename", missing.join(", "))]
    Missing {
        /// The exports.
        missing: Vec<String>,
    },
    /// It imports what no plugin is given.
    #[error("imports {}, which a plugin is not given", imports.join(", "))]
    UnknownImports {
        /// The imports, as `env.abort`.
        imports: Vec<String>,
    },
    /// An import or export has another type than the contract says, or the module has a shape that does
    /// not fit a component.
    #[error("does not fit the contract: {error}")]
    Misfit {
        /// What does not fit.
        error: String,
    },
}

impl From<OtherVersion> for PackError {
    fn from(OtherVersion { found, ours }: OtherVersion) -> PackError {
        PackError::WrongVersion { found, ours }
    }
}

/// Makes a component of the core module `bytes`.
///
/// The component has those interfaces of the contract that the module exports and imports. Imports from
/// `wasi_snapshot_preview1` are adapted to WASI 0.2, of which the collector answers what is harmless.
///
/// # Errors
/// If `bytes` are no core module, if it lacks exports of the contract or has imports beyond it (each is
/// named), or if a rename finds nothing.
pub fn pack(bytes: &[u8], renames: &Renames) -> Result<Vec<u8>, PackError> {
    match admit::kind(bytes) {
        Ok(Kind::CoreModule) => {}
        Ok(Kind::Component) => return Err(PackError::AlreadyComponent),
        Err(found) => return Err(PackError::NotWasm { found }),
    }
    core::validate(bytes)?;
    let mut module = core::rewritten(bytes, renames)?;
    let contract = Contract::new();
    let core = Core::read(&module)?;
    contract.check(&core)?;
    let (resolve, world) = contract.world(&core);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(misfit)?;
    // The encoder is made for what compilers write, and a file may hold anything: of the collector that looks
    // at a changed file it must not take a thread along.
    let encoded = catch_unwind(AssertUnwindSafe(|| encode(&module, core.is_preview1)));
    encoded.unwrap_or_else(|_| Err(PackError::Misfit { error: "no compiler writes such a module".to_owned() }))
}

fn encode(module: &[u8], is_preview1: bool) -> Result<Vec<u8>, PackError> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module).map_err(misfit)?;
    if is_preview1 {
        encoder = encoder.adapter(PREVIEW1, ADAPTER).map_err(misfit)?;
    }
    encoder.encode().map_err(misfit)
}

/// What the encoder says, with its causes on one line.
fn misfit(error: impl Display) -> PackError {
    let text = format!("{error:#}").replace('\n', " ");
    // Where the encoder was in its own work, before what is wrong with the module.
    let text =
        text.trim_start_matches("failed to decode world from module: ").trim_start_matches("module was not valid: ");
    PackError::Misfit { error: text.to_owned() }
}
