//! What a soak showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::load::{Flows, counter};

/// Memory at the end may be so many times the most of the first third, where that is long enough to tell.
const GROWTH: f64 = 1.25;
const LONG_ENOUGH: Duration = Duration::from_secs(600);

pub(super) struct Facts {
    pub(super) ran: Duration,
    pub(super) rate: u64,
    pub(super) seed: u64,
    pub(super) sent: u64,
    pub(super) seen: Flows,
    pub(super) log: (BTreeMap<String, u64>, String),
    pub(super) metrics: String,
    pub(super) memory: Vec<(Duration, u64)>,
    pub(super) made: BTreeMap<&'static str, u64>,
    pub(super) is_in_order: bool,
}

impl Facts {
    /// The report, and what is wrong.
    pub(super) fn text(&self) -> (String, Vec<String>) {
        let mut problems = Vec::new();
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
        let dropped = counter(&self.metrics, "sluice_stage_dropped_rows_total");
        let received = counter(&self.metrics, "sluice_source_in_rows_total");
        let unique = self.seen.rows - self.seen.doubled;
        let missing = i128::from(self.sent) - i128::from(unique) - i128::from(dropped);
        line(format_args!("# Soak: {} minutes of change under load\n", self.ran.as_secs() / 60));
        line(format_args!(
            "`cargo xtask soak --for {}s --rate {} --seed {}`\n",
            self.ran.as_secs(),
            self.rate,
            self.seed
        ));
        line(format_args!("| flows | |\n|---|---:|"));
        line(format_args!("| sent, each with a number of its own | {} |", self.sent));
        line(format_args!("| received | {received} |"));
        line(format_args!("| written by the sink, and read back | {} |", self.seen.rows));
        line(format_args!("| dropped by stages, by reason in the books | {dropped} |"));
        line(format_args!("| **lost** | {missing} |"));
        line(format_args!("| **doubled** | {} |\n", self.seen.doubled));
        let changes: u64 = self.made.values().sum();
        line(format_args!("| {changes} changes | |\n|---|---:|"));
        for (kind, times) in &self.made {
            line(format_args!("| {kind} | {times} |"));
        }
        line(format_args!("\n| what came of them | |\n|---|---:|"));
        for (what, metric) in [
            ("instances exchanged", "sluice_stage_plugin_swaps_total"),
            ("new versions refused", "sluice_stage_plugin_swaps_refused_total"),
            ("versions put back by themselves", "sluice_stage_plugin_rollbacks_total"),
            ("traps", "sluice_stage_plugin_traps_total"),
        ] {
            line(format_args!("| {what} | {} |", counter(&self.metrics, metric)));
        }
        for (message, times) in &self.log.0 {
            if ["configuration", "table", "plugin file"].iter().any(|word| message.contains(word)) {
                line(format_args!("| logged: {message} | {times} |"));
            }
        }
        let pauses = counter(&self.metrics, "sluice_stage_plugin_swap_seconds_count");
        line(format_args!("\nOf {pauses} exchanges a worker stood still at most so long:\n\n| | |\n|---|---:|"));
        for (bound, below) in buckets(&self.metrics) {
            line(format_args!("| {bound} s | {below} |"));
        }
        let early = self.memory.iter().take(self.memory.len() / 3 + 1).map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let last = self.memory.last().map_or(0, |(_, bytes)| *bytes);
        line(format_args!("\n| after | resident memory |\n|---|---:|"));
        for (after, bytes) in self.memory.iter().step_by((self.memory.len() / 12).max(1)) {
            line(format_args!("| {} s | {} MB |", after.as_secs(), bytes >> 20));
        }
        line(format_args!("\nThe books at the end:\n\n```text\n{}```", self.log.1));
        for (is_wrong, problem) in [
            (missing != 0, format!("{missing} flows are lost")),
            (self.seen.doubled != 0, format!("{} flows are doubled", self.seen.doubled)),
            (self.seen.strange != 0, format!("{} lines are no flow", self.seen.strange)),
            (received != self.sent, format!("{received} of {} flows were received", self.sent)),
            (!self.is_in_order, "the collector did not end in order".to_owned()),
            (self.log.1.contains("unaccounted"), "the books do not balance".to_owned()),
            (
                self.ran >= LONG_ENOUGH && last as f64 > early as f64 * GROWTH,
                format!("memory grew from {early} to {last} bytes"),
            ),
        ] {
            if is_wrong {
                problems.push(problem);
            }
        }
        let verdict =
            if problems.is_empty() { "nothing lost, nothing doubled".to_owned() } else { problems.join("; ") };
        writeln!(text, "\nVerdict: {verdict}.").expect("a string grows");
        (text, problems)
    }
}

/// Bounds of the histogram of pauses, and how many are below each.
fn buckets(metrics: &str) -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("sluice_stage_plugin_swap_seconds_bucket{"));
    for line in lines {
        let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        match sums.iter_mut().find(|(known, _)| known == bound) {
            Some((_, sum)) => *sum += count,
            None => sums.push((bound.to_owned(), count)),
        }
    }
    sums
}
