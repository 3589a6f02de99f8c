//! What a stage's plugin has done so far, for people to look at.

use std::collections::BTreeMap;

use crate::Loaded;

/// The numbers of a stage's plugin, of all its instances and versions together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Calls of `process` and `tick`.
    pub calls: u64,
    /// CPU time within the plugin, estimated from one batch in eight.
    pub cpu_ns: u64,
    /// Linear memory of all instances, in bytes.
    pub memory_bytes: u64,
    /// Rows that the plugin let through.
    pub kept_rows: u64,
    /// Calls that ended the instance, by kind; a kind that never occurred is not there.
    pub traps: BTreeMap<&'static str, u64>,
    /// Alerts raised, and those beyond the stage's rate.
    pub alerts: (u64, u64),
    /// Log lines beyond the stage's rate.
    pub log_suppressed: u64,
    /// Instances exchanged for a newer version, and newer versions or instances that were refused.
    pub swaps: (u64, u64),
}

impl Loaded {
    /// The stage's numbers now.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let shared = &self.version().shared;
        let meters = &shared.meters;
        Numbers {
            calls: meters.calls.get(),
            cpu_ns: meters.cpu_ns.get(),
            memory_bytes: shared.memory.get(),
            kept_rows: meters.kept_rows.get(),
            traps: meters.traps(),
            alerts: (meters.alerts.get(), meters.alerts_suppressed.get()),
            log_suppressed: meters.log_suppressed.get(),
            swaps: (meters.swaps.get(), meters.swaps_refused.get()),
        }
    }

    /// Where the component comes from: the path of its file, or the name of the built-in plugin.
    #[must_use]
    pub fn origin(&self) -> String {
        self.source().describe()
    }
}
