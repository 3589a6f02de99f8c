//! How much of a processor something took, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// The kernel's unit in /proc, on every architecture that Rust's Linux targets have.
const TICKS_A_SECOND: f64 = 100.0;

/// Of this thread so far.
pub(super) fn of_thread() -> Duration {
    times("/proc/thread-self/stat", 0)
}

/// Of this process so far, and of its children that have ended.
pub(super) fn of_process_and_children() -> (Duration, Duration) {
    (times("/proc/self/stat", 0), times("/proc/self/stat", 2))
}

/// User and system time (proc(5), fields 14 and 15, or with a `skip` of 2, of children). Nothing where there is no /proc.
fn times(path: &str, skip: usize) -> Duration {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name of the program stands in parentheses, and may hold anything; the third field follows.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(11 + skip).take(2);
    Duration::from_secs_f64(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND)
}
