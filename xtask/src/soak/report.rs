//! What a soak showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::asks::Outcomes;
use super::load::{Sending, kernel_dropped, tenants_share};
use super::metrics::{counter, dropped, exchanges, pauses, percentile};
use super::rows::Flows;

/// Memory at the end may be so many times the most of the first third, where that is long enough to tell.
const GROWTH: f64 = 1.25;
const LONG_ENOUGH: Duration = Duration::from_secs(600);
/// The same where plugins are exchanged only: all that there can be is there after some seconds.
const LONG_ENOUGH_FOR_SWAPS: Duration = Duration::from_secs(30);
/// A rate counts as kept if it is missed by less than this.
const KEPT: f64 = 0.99;
/// Bytes.
const MB: f64 = 1048576.0;

/// What each part took of a processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) sender: Duration,
    pub(super) reader: Duration,
    /// What makes the changes, and asks whether they are done.
    pub(super) changes: Duration,
    /// The collector with its processes, and commands.
    pub(super) collector: Duration,
}

pub(super) struct Facts {
    pub(super) ran: Duration,
    pub(super) rate: u64,
    pub(super) seed: u64,
    pub(super) pace: u64,
    /// Whether plugins were exchanged for good ones, and nothing else happened: there is no tenant then.
    pub(super) only_swaps: bool,
    /// How many exchanges were asked for, if that was said.
    pub(super) swaps: Option<u64>,
    pub(super) sent: u64,
    pub(super) sending: Sending,
    pub(super) cpu: Cpu,
    /// What came out of the sink of everybody.
    pub(super) seen: Flows,
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
    /// Dropped on the way, in the books under a reason.
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

/// Stages and sinks of the tenant begin so.
const TENANT: &str = "acme";
/// The one that keeps its rows, and what it drops the others for.
const SELECTED: (&str, &str) = ("acme:select", "filtered");

impl Facts {
    /// What became of the flows, a sink at a time.
    fn ways(&self) -> Vec<Way> {
        let dropped = dropped(&self.log.1);
        let sum = |is_it: &dyn Fn(&str, &str) -> bool| {
            dropped.iter().filter(|(stage, reason, _)| is_it(stage, reason)).map(|(.., rows)| *rows).sum::<u64>()
        };
        let dropped_by_all = sum(&|name, _| !name.starts_with(TENANT)) + kernel_dropped(&self.metrics);
        let all = Way::new("out", self.sent, &self.seen, dropped_by_all);
        if self.only_swaps {
            return vec![all];
        }
        let by_tenant = sum(&|stage, reason| stage.starts_with(TENANT) && (stage, reason) != SELECTED);
        vec![all, Way::new("acme-rows", tenants_share(self.sent), &self.tenants, by_tenant)]
    }

    /// The report, and what is wrong.
    pub(super) fn text(&self) -> (String, Vec<String>) {
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
        line(format_args!("# Soak: {} of change under load\n", span(self.ran)));
        line(format_args!(
            "`cargo xtask soak{}{} --for {}s --rate {} --seed {} --pace {}`\n",
            if self.only_swaps { " --only swaps" } else { "" },
            self.swaps.map_or_else(String::new, |swaps| format!(" --swaps {swaps}")),
            self.ran.as_secs(),
            self.rate,
            self.seed,
            self.pace
        ));
        let ways = self.ways();
        line(format_args!("{} flows sent, each with a number of its own, {} received.\n", self.sent, self.received()));
        line(format_args!("| sink | due | written, and read back | dropped on the way | **lost** | **doubled** |"));
        line(format_args!("|---|---:|---:|---:|---:|---:|"));
        for way in &ways {
            let Way { sink, due, written, doubled, dropped, .. } = way;
            line(format_args!("| {sink} | {due} | {written} | {dropped} | {} | {doubled} |", way.lost()));
        }
        line(format_args!("\n| dropped by | for | rows |\n|---|---|---:|"));
        for (stage, reason, rows) in dropped(&self.log.1) {
            line(format_args!("| {stage} | {reason} | {rows} |"));
        }
        line(format_args!("| kernel | receive buffer full | {} |", kernel_dropped(&self.metrics)));
        line(format_args!("\n| in short | |\n|---|---:|"));
        for (what, value) in self.in_short() {
            line(format_args!("| {what} | {value} |"));
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
        let exchanges = exchanges(&self.metrics);
        line(format_args!("\nOf {exchanges} exchanges a worker stood still at most so long:\n\n| | |\n|---|---:|"));
        for (bound, below) in pauses(&self.metrics) {
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
        writeln!(text, "\nVerdict: {verdict}.{}", self.remarks(&ways)).expect("a string grows");
        (text, problems)
    }

    /// What one wants to know first.
    fn in_short(&self) -> Vec<(String, String)> {
        let row = |what: &str, value: String| (what.to_owned(), value);
        let (first, last) = self.tenths();
        let pauses = pauses(&self.metrics);
        let a_record = |cpu: Duration| format!("{:.2} µs", cpu.as_secs_f64() * 1e6 / self.sent.max(1) as f64);
        let Cpu { sender, reader, changes, collector } = self.cpu;
        vec![
            row("exchanges", exchanges(&self.metrics).to_string()),
            row("flows sent", self.sent.to_string()),
            row(&format!("flows a second, of {} asked for", self.rate), format!("{:.0}", self.reached())),
            row(
                "time that the sender was behind and waited for room",
                format!("{:.1} s", self.sending.waited.as_secs_f64()),
            ),
            row("an exchange held a worker up, half of them for at most", format!("{} s", percentile(&pauses, 50))),
            row("99 in 100 of them for at most", format!("{} s", percentile(&pauses, 99))),
            row("longest time without a row at the reader", format!("{:.3} s", self.seen.longest_wait.as_secs_f64())),
            row("resident memory in the first tenth, on average", format!("{:.1} MB", first / MB)),
            row("in the last tenth", format!("{:.1} MB", last / MB)),
            row("processor time a flow: collector", a_record(collector)),
            row("sender", a_record(sender)),
            row("reader", a_record(reader)),
            row("changes", a_record(changes)),
            row("all of them", a_record(collector + sender + reader + changes)),
        ]
    }

    /// Flows a second.
    fn reached(&self) -> f64 {
        self.sent as f64 / self.sending.took.as_secs_f64().max(f64::EPSILON)
    }

    /// What is not wrong, but not as it was asked for either.
    fn remarks(&self, ways: &[Way]) -> String {
        let mut remarks = String::new();
        let (reached, dropped) = (self.reached(), ways.iter().map(|way| way.dropped).sum::<u64>());
        if reached < self.rate as f64 * KEPT {
            let rate =
                format!(" The sender could not keep the rate: {reached:.0} flows a second instead of {}.", self.rate);
            remarks.push_str(&rate);
        }
        // Where all plugins are good, there is no reason to drop anything but that the collector was too slow.
        if self.only_swaps && dropped > 0 {
            remarks.push_str(&format!(" {dropped} flows were dropped, each counted under a reason."));
        }
        remarks
    }

    /// Resident memory on average in the first and in the last tenth of the time.
    fn tenths(&self) -> (f64, f64) {
        let (Some((begin, _)), Some((end, _))) = (self.memory.first(), self.memory.last()) else { return (0.0, 0.0) };
        let tenth = (*end - *begin) / 10;
        let average = |is_in: &dyn Fn(Duration) -> bool| {
            let within: Vec<f64> =
                self.memory.iter().filter(|(after, _)| is_in(*after)).map(|(_, bytes)| *bytes as f64).collect();
            within.iter().sum::<f64>() / within.len().max(1) as f64
        };
        (average(&|after| after <= *begin + tenth), average(&|after| after >= *end - tenth))
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
        let long_enough = if self.only_swaps { LONG_ENOUGH_FOR_SWAPS } else { LONG_ENOUGH };
        let mut wrong = vec![
            (
                self.received() + kernel_dropped(&self.metrics) != self.sent,
                format!("{} of {} flows were received", self.received(), self.sent),
            ),
            (
                !self.only_swaps && others != due,
                format!("{others} of {due} flows were held to be none of the tenant's"),
            ),
            (!self.is_in_order, "the collector did not end in order".to_owned()),
            (self.log.1.contains("unaccounted"), "the books do not balance".to_owned()),
            (
                self.ran >= long_enough && last as f64 > early as f64 * GROWTH,
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

/// Minutes, or seconds where there are few.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}
