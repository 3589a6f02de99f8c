//! What a soak showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::asks::Outcomes;
use super::load::{Flows, counter, dropped, label, series, tenants_share};

/// Memory at the end may be so many times the most of the first third, where that is long enough to tell.
const GROWTH: f64 = 1.25;
const LONG_ENOUGH: Duration = Duration::from_secs(600);

pub(super) struct Facts {
    pub(super) ran: Duration,
    pub(super) rate: u64,
    pub(super) seed: u64,
    pub(super) pace: u64,
    pub(super) sent: u64,
    /// What came out of the sink of everybody.
    pub(super) seen: Flows,
    pub(super) has_tenant: bool,
    /// What came out of the tenant's.
    pub(super) tenants: Flows,
    pub(super) log: (BTreeMap<String, u64>, String),
    pub(super) metrics: String,
    pub(super) memory: Vec<(Duration, u64)>,
    pub(super) made: BTreeMap<&'static str, u64>,
    /// What was asked for by command.
    pub(super) asked: BTreeMap<&'static str, Outcomes>,
    /// What did not come of it as it must.
    pub(super) wrong: Vec<String>,
    pub(super) is_in_order: bool,
}

/// What came of the flows on the way to one sink.
struct Way {
    sink: &'static str,
    /// Flows that were sent and belong there.
    due: u64,
    written: u64,
    doubled: u64,
    /// Lines that are no flow.
    strange: u64,
    /// Dropped by stages in front of it, in the books under a reason.
    dropped: u64,
}

impl Way {
    fn new(sink: &'static str, due: u64, seen: &Flows, dropped: u64) -> Way {
        Way { sink, due, written: seen.rows, doubled: seen.doubled, strange: seen.strange, dropped }
    }

    fn lost(&self) -> i128 {
        i128::from(self.due) - i128::from(self.written - self.doubled) - i128::from(self.dropped)
    }
}

/// Stages of the tenant begin so.
const TENANT: &str = "acme:";
/// The one that keeps its rows, and what it drops the others for.
const SELECTED: (&str, &str) = ("acme:select", "filtered");

impl Facts {
    /// What became of the flows, a sink at a time.
    fn ways(&self) -> Vec<Way> {
        let dropped = dropped(&self.log.1);
        let sum = |is_it: &dyn Fn(&str, &str) -> bool| {
            dropped.iter().filter(|(stage, reason, _)| is_it(stage, reason)).map(|(.., rows)| *rows).sum::<u64>()
        };
        let all = Way::new("out", self.sent, &self.seen, sum(&|stage, _| !stage.starts_with(TENANT)));
        if !self.has_tenant {
            return vec![all];
        }
        let by_tenant = sum(&|stage, reason| stage.starts_with(TENANT) && (stage, reason) != SELECTED);
        vec![all, Way::new("acme-rows", tenants_share(self.sent), &self.tenants, by_tenant)]
    }

    /// The report, and what is wrong.
    pub(super) fn text(&self) -> (String, Vec<String>) {
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
        line(format_args!("# Soak: {} minutes of change under load\n", self.ran.as_secs() / 60));
        line(format_args!(
            "`cargo xtask soak --for {}s --rate {} --seed {} --pace {}`\n",
            self.ran.as_secs(),
            self.rate,
            self.seed,
            self.pace
        ));
        let ways = self.ways();
        line(format_args!("{} flows sent, each with a number of its own, {} received.\n", self.sent, self.received()));
        line(format_args!("| sink | due | written, and read back | dropped by stages | **lost** | **doubled** |"));
        line(format_args!("|---|---:|---:|---:|---:|---:|"));
        for way in &ways {
            let Way { sink, due, written, doubled, dropped, .. } = way;
            line(format_args!("| {sink} | {due} | {written} | {dropped} | {} | {doubled} |", way.lost()));
        }
        line(format_args!("\n| dropped by | for | rows |\n|---|---|---:|"));
        for (stage, reason, rows) in dropped(&self.log.1) {
            line(format_args!("| {stage} | {reason} | {rows} |"));
        }
        let changes: u64 = self.made.values().sum();
        line(format_args!("\n| {changes} changes of files and processes | |\n|---|---:|"));
        for (kind, times) in &self.made {
            line(format_args!("| {kind} | {times} |"));
        }
        if !self.asked.is_empty() {
            let commands: u64 = self.asked.values().map(|outcomes| outcomes.done + outcomes.refused).sum();
            line(format_args!("\n| {commands} commands | done | refused |\n|---|---:|---:|"));
            for (kind, Outcomes { done, refused }) in &self.asked {
                line(format_args!("| {kind} | {done} | {refused} |"));
            }
        }
        line(format_args!("\n| what came of them | |\n|---|---:|"));
        for (what, metric) in CAME {
            line(format_args!("| {what} | {} |", counter(&self.metrics, metric)));
        }
        for (message, times) in &self.log.0 {
            if LOGGED.iter().any(|word| message.contains(word)) {
                line(format_args!("| logged: {message} | {times} |"));
            }
        }
        let pauses = counter(&self.metrics, "sluice_stage_plugin_swap_seconds_count");
        line(format_args!("\nOf {pauses} exchanges a worker stood still at most so long:\n\n| | |\n|---|---:|"));
        for (bound, below) in buckets(&self.metrics) {
            line(format_args!("| {bound} s | {below} |"));
        }
        line(format_args!("\n| after | resident memory |\n|---|---:|"));
        for (after, bytes) in self.memory.iter().step_by((self.memory.len() / 12).max(1)) {
            line(format_args!("| {} s | {} MB |", after.as_secs(), bytes >> 20));
        }
        line(format_args!("\nThe books at the end:\n\n```text\n{}```", self.log.1));
        let problems = self.problems(&ways);
        let verdict =
            if problems.is_empty() { "nothing lost, nothing doubled".to_owned() } else { problems.join("; ") };
        writeln!(text, "\nVerdict: {verdict}.").expect("a string grows");
        (text, problems)
    }

    fn received(&self) -> u64 {
        counter(&self.metrics, "sluice_source_in_rows_total")
    }

    /// What is wrong.
    fn problems(&self, ways: &[Way]) -> Vec<String> {
        let early = self.memory.iter().take(self.memory.len() / 3 + 1).map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let last = self.memory.last().map_or(0, |(_, bytes)| *bytes);
        let others = dropped(&self.log.1).into_iter().find(|(stage, reason, _)| (*stage, *reason) == SELECTED);
        let (others, due) = (others.map_or(0, |(.., rows)| rows), self.sent - tenants_share(self.sent));
        let mut wrong = vec![
            (self.received() != self.sent, format!("{} of {} flows were received", self.received(), self.sent)),
            (self.has_tenant && others != due, format!("{others} of {due} flows were held to be none of the tenant's")),
            (!self.is_in_order, "the collector did not end in order".to_owned()),
            (self.log.1.contains("unaccounted"), "the books do not balance".to_owned()),
            (
                self.ran >= LONG_ENOUGH && last as f64 > early as f64 * GROWTH,
                format!("memory grew from {early} to {last} bytes"),
            ),
        ];
        for way in ways {
            let Way { sink, doubled, strange, .. } = way;
            wrong.push((way.lost() != 0, format!("{sink}: {} flows are lost", way.lost())));
            wrong.push((*doubled != 0, format!("{sink}: {doubled} flows are doubled")));
            wrong.push((*strange != 0, format!("{sink}: {strange} lines are no flow")));
        }
        let found = wrong.into_iter().filter_map(|(is_wrong, problem)| is_wrong.then_some(problem));
        found.chain(self.wrong.iter().cloned()).collect()
    }
}

/// What is counted of what became of the changes.
const CAME: [(&str, &str); 7] = [
    ("instances exchanged", "sluice_stage_plugin_swaps_total"),
    ("new versions refused", "sluice_stage_plugin_swaps_refused_total"),
    ("versions put back, by themselves and as asked", "sluice_stage_plugin_rollbacks_total"),
    ("traps", "sluice_stage_plugin_traps_total"),
    ("quarantines", "sluice_stage_plugin_quarantines_total"),
    ("batches that candidates processed", "sluice_stage_shadow_batches_total"),
    ("requests to the API refused for the token", "sluice_admin_refused_total"),
];

/// Messages of the log with one of these are counted in the report.
const LOGGED: [&str; 6] =
    ["configuration", "table", "plugin file", "folder", "component of a tenant", "process for plugins"];

/// Bounds of the histogram of pauses, and how many are below each.
fn buckets(metrics: &str) -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for (labels, count) in series(metrics, "sluice_stage_plugin_swap_seconds_bucket") {
        let bound = label(labels, "le").unwrap_or_default();
        match sums.iter_mut().find(|(known, _)| known == bound) {
            Some((_, sum)) => *sum += count,
            None => sums.push((bound.to_owned(), count)),
        }
    }
    sums
}
