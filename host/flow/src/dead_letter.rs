//! Why rows are dead letters.

use std::fmt;
use std::sync::Arc;

/// Why a stage could not process the rows of a batch, and which plugin it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Name of the stage.
    pub stage: Arc<str>,
    /// Reason under which the rows would have been dropped, e.g. `trap`.
    pub reason: &'static str,
    /// What the engine or the plugin says, on one line.
    pub error: String,
    /// Where it was, innermost first, as far as the component has names; empty if nothing trapped.
    pub backtrace: Vec<String>,
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component, in hexadecimal.
    pub digest: String,
}

impl fmt::Display for DeadLetter {
    /// `stage: reason: error`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.stage, self.reason, self.error)
    }
}
