//! Runs WebAssembly components over batches.
//!
//! A [`Host`] holds the engine. [`Loaded::load`] makes a component the plugin of a stage: compiled or taken
//! from the cache, linked with what the operator granted and nothing else, tried once. Each worker
//! then gets a [`Stage`](sluice_pipeline::Stage) from [`Loaded::instance`]: one store of its own, with a memory
//! limit and a deadline. [`Loaded::reload`] exchanges the plugin while batches flow.
//!
//! A call of a plugin is a transaction. What it writes, keeps and routes is noted beside the batch and
//! committed when it returned ok; a trap costs instances and the rows that cause it.
//!
//! This is the only crate that names a wasmtime type.

mod abi;
mod admit;
mod budget;
mod cache;
mod candidate;
mod engine;
mod error;
mod examine;
mod groups;
mod hand_over;
mod import;
mod instance;
pub mod keys;
mod known;
mod limits;
mod load;
mod lock;
mod memory;
mod numbers;
mod operate;
pub mod outside;
mod pack;
mod per_partition;
mod quarantine;
pub mod recording;
mod regions;
mod runner;
mod saved;
mod shadow;
mod shared;
mod signature;
mod spec;
mod stamp;
mod state;
pub mod tables;
mod trial;
mod trust;
mod version;
mod wasi;
mod words;

pub use abi::Level as LogLevel;
pub use budget::{Budget, OverBudget};
pub use candidate::Candidate;
pub use engine::{Host, HostSettings};
pub use error::{LoadError, LoadErrorKind, PluginError};
pub use examine::{Examined, Interface, Signed, examine};
pub use limits::{
    DEFAULT_RETRIES, Limits, MAX_ALERTS_PER_CALL, MAX_APART_CALLS, MAX_APART_ROWS, MAX_COMPONENT_BYTES, MAX_KEPT_LINES,
    MAX_LOG_LINE, MAX_METRIC_NAME, MAX_PLUGIN_METRICS, MAX_RETRIES, MAX_ROUTE_BYTES, MAX_ROUTES, MAX_WORD_BYTES,
    MAX_WORDS, MAX_WRITTEN_BYTES, SNAPSHOT_INTERVAL_MS,
};
pub use load::{Loaded, Manifest, Reloaded};
pub use lock::{Lock, LockError, Locked};
pub use numbers::Numbers;
pub use pack::{PackError, Renames, pack};
pub use quarantine::{MAX_TRAPS, QuarantineRules, Quarantined};
pub use shadow::{ColumnChange, ShadowReport};
pub use shared::PLUGIN_FAMILIES;
pub use signature::{
    KeyId, PublicKey, SecretKey, SignatureError, Signer, check_signature, signature_of, signature_path, verify,
};
pub use spec::{
    Assets, ComponentSource, FailurePolicy, Grant, Granted, Isolation, LogLine, LogOut, OnError, Services, StageSpec,
};
pub use state::Touched;
pub use trial::{Answer, Called, Trap, Trial};
pub use trust::Trust;
pub use version::{Access, grant_names};

/// SHA-256 of a component.
///
/// # Errors
/// If its file cannot be read.
pub fn digest_of(source: &ComponentSource) -> Result<[u8; 32], LoadErrorKind> {
    admit::read(source).map(|(_, digest)| digest)
}

/// The bytes of a component.
///
/// # Errors
/// If its file cannot be read or is larger than a component may be.
pub fn read_component(source: &ComponentSource) -> Result<Vec<u8>, LoadErrorKind> {
    let (bytes, _) = admit::read(source)?;
    if bytes.len() > MAX_COMPONENT_BYTES {
        let found = format!("it is larger than {MAX_COMPONENT_BYTES} bytes");
        return Err(LoadErrorKind::NotAComponent { component: source.describe(), found });
    }
    Ok(bytes)
}

/// `bytes` in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
