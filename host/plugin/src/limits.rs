//! What one plugin may use: the numbers, and the wasmtime limiter that holds it to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// Bytes a component file may have. A large input is what compiler bugs need, and what makes
/// compilation slow; an interpreter with its libraries (Python) has 40 MiB.
pub const MAX_COMPONENT_BYTES: usize = 64 << 20;

/// Words that a plugin may give for a text column, and bytes of one word.
pub const MAX_WORDS: usize = 1 << 16;
/// Bytes that one word of a text column may have.
pub const MAX_WORD_BYTES: usize = 4096;
/// Names that one call of `route` may give.
pub const MAX_ROUTES: usize = 4096;
/// Bytes that the name of a route may have: what a Kafka topic allows.
pub const MAX_ROUTE_BYTES: usize = 249;
/// Alerts that one call may raise; more are counted as suppressed.
pub const MAX_ALERTS_PER_CALL: usize = 1024;
/// Bytes of each text of an alert that are kept.
pub(crate) const MAX_ALERT_TEXT: usize = 1024;
/// Counters and gauges that a stage may have; calls for more are counted as refused.
pub const MAX_PLUGIN_METRICS: usize = 64;
/// Bytes of the name of a plugin's own metric.
pub const MAX_METRIC_NAME: usize = 64;
/// Log lines that are kept of one trial.
pub const MAX_KEPT_LINES: usize = 10_000;
/// Bytes of a log line that are kept.
pub const MAX_LOG_LINE: usize = 4096;
/// Log lines about failures of a stage's plugin that are written at once; then there is one a second.
pub(crate) const MAX_TOLD_AT_ONCE: u32 = 20;
/// Times that a batch is given again to a plugin that answered `retry-later`, unless the stage says otherwise.
pub const DEFAULT_RETRIES: u32 = 2;
/// Times that a stage may have.
pub const MAX_RETRIES: u32 = 100;
/// Rows of a batch that are put aside one by one when it is taken apart; what is left then goes by `on_error` as it is.
pub const MAX_APART_ROWS: u32 = 32;
/// Calls that may fail while a batch is taken apart, each of which may cost an instance.
pub const MAX_APART_CALLS: u32 = 64;
/// Batches that an instance does at least before it is exchanged for its memory.
pub(crate) const RECYCLE_CALLS: u32 = 32;
/// The most of them, for a plugin whose state alone needs the memory.
pub(crate) const MAX_RECYCLE_CALLS: u32 = 1 << 16;
/// Bytes of texts and lists that one call of `process` may write, all columns together.
pub const MAX_WRITTEN_BYTES: usize = 64 << 20;
/// Batch time in milliseconds between two snapshots that are kept for a recycled instance.
pub const SNAPSHOT_INTERVAL_MS: u64 = 10_000;
/// A worker takes snapshots in one of so many parts of its time: the next waits for so many times what the last one took.
pub(crate) const SNAPSHOT_PART: u64 = 20;
/// Milliseconds of CPU time that a batch or a tick may use.
const DEADLINE_MS: u64 = 1000;
/// The same for `init`, `snapshot` and `restore`.
const INIT_DEADLINE_MS: u64 = 10_000;
/// Core instances, memories and tables of one component instance: adapters bring a few of each.
const MAX_CORE_INSTANCES: usize = 64;

/// What one instance of a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of linear memory. Default 64 MiB. What goes beyond traps.
    pub memory: usize,
    /// Milliseconds of CPU time that a batch or a tick may use before the instance is stopped. Default 1000; with a budget
    /// what [`Limits::deadline_within`] says is a good one.
    pub deadline_ms: u64,
    /// Milliseconds of CPU time that `init`, `snapshot` and `restore` may use. Default 10,000; with a budget what
    /// [`Limits::init_deadline_within`] says is a good one.
    pub init_deadline_ms: u64,
    /// Bytes that one call of a host function may hand over. Default 16 MiB.
    pub hostcall_bytes: usize,
    /// Bytes of a snapshot. Default 64 MiB.
    pub snapshot_bytes: usize,
    /// Tables, keys and WASI handles open at a time. Default 64.
    pub handles: usize,
    /// Elements of a WebAssembly table. Default 100,000.
    pub table_elements: usize,
    /// Log lines a second, and as many at once; more are counted. Default 20.
    pub log_lines_per_s: u32,
    /// Alerts a minute, and as many at once; more are counted. Default 600.
    pub alerts_per_min: u32,
    /// Bytes of linear memory at which an instance is exchanged for a fresh one that is given its state. Default: seven
    /// eighths of `memory`.
    #[serde(default)]
    pub recycle_memory: Option<usize>,
}

impl Limits {
    /// The deadline of a plugin that may use so many milliseconds of CPU time a second, where nobody says another: what it may use
    /// in two seconds, at least 20 ms and at most the default.
    ///
    /// A call is paid for when it is over, so this is what a plugin that loops takes from the others before the budget is asked.
    #[must_use]
    pub fn deadline_within(cpu_ms_per_s: u32) -> u64 {
        u64::from(cpu_ms_per_s).saturating_mul(2).clamp(20, DEADLINE_MS)
    }

    /// The same for `init`, `snapshot` and `restore`, which are rare: what it may use in four seconds, at least one second and at
    /// most the default.
    #[must_use]
    pub fn init_deadline_within(cpu_ms_per_s: u32) -> u64 {
        u64::from(cpu_ms_per_s).saturating_mul(4).clamp(1000, INIT_DEADLINE_MS)
    }

    /// Bytes of linear memory at which an instance is exchanged.
    pub(crate) fn recycle_mark(&self) -> usize {
        self.recycle_memory.unwrap_or(self.memory / 8 * 7)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 64 << 20,
            deadline_ms: DEADLINE_MS,
            init_deadline_ms: INIT_DEADLINE_MS,
            hostcall_bytes: 16 << 20,
            snapshot_bytes: 64 << 20,
            handles: 64,
            table_elements: 100_000,
            log_lines_per_s: 20,
            alerts_per_min: 600,
            recycle_memory: None,
        }
    }
}

/// Bytes of linear memory of every instance of a stage, together.
#[derive(Debug, Default)]
pub(crate) struct MemoryInUse {
    now: AtomicU64,
    largest: AtomicUsize,
}

impl MemoryInUse {
    /// Bytes now.
    pub(crate) fn get(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// The most bytes that one of them has had.
    pub(crate) fn largest(&self) -> usize {
        self.largest.load(Ordering::Relaxed)
    }
}

/// Holds one store to its limits, and remembers whether memory was refused: a guest answers a
/// refusal by trapping, which would otherwise look like any other trap.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    table_elements: usize,
    used: usize,
    shared: Arc<MemoryInUse>,
    /// Whether memory was refused since this was last set to false.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, shared: Arc<MemoryInUse>) -> Limiter {
        Limiter { memory: limits.memory, table_elements: limits.table_elements, used: 0, shared, refused: false }
    }
}

impl Limiter {
    /// Bytes of linear memory now.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Notes what an instance elsewhere says that it uses.
    pub(crate) fn set(&mut self, used: usize) {
        let used = used.min(self.memory);
        self.shared.now.fetch_add(used as u64, Ordering::Relaxed);
        self.shared.now.fetch_sub(self.used as u64, Ordering::Relaxed);
        self.used = used;
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.shared.now.fetch_sub(self.used as u64, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // The memory itself does not allow it; wasmtime asks nevertheless, and nothing will have grown.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        // The sum over all memories of the component counts, not each of them.
        if self.used.saturating_add(more) > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used += more;
        self.shared.now.fetch_add(more as u64, Ordering::Relaxed);
        self.shared.largest.fetch_max(self.used, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_CORE_INSTANCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_of_a_plugin_with_a_budget_is_two_seconds_of_it_within_bounds() {
        let deadlines = [1, 10, 11, 50, 499, 500, 501, u32::MAX].map(Limits::deadline_within);
        assert_eq!(deadlines, [20, 20, 22, 100, 998, 1000, 1000, 1000]);
        let deadlines = [1, 250, 251, 2499, 2500, u32::MAX].map(Limits::init_deadline_within);
        assert_eq!(deadlines, [1000, 1000, 1004, 9996, 10_000, 10_000]);
    }
}
