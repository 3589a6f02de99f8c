//! A candidate that runs on copies of batches beside the version that runs, and what it does differently.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use sluice_flow::{ADDRESSES, Batch, Column, ColumnId, ColumnSet, Schema};
use sluice_pipeline::Metrics;

use crate::abi::{Alert, Failure};
use crate::instance::{Instance, cpu_ns};
use crate::load::Loaded;
use crate::spec::LogOut;
use crate::state::Current;
use crate::version::{Version, grant_names};

/// Examples that are kept of each kind of difference.
const MAX_EXAMPLES: usize = 5;
/// Bytes of an example that are kept.
const MAX_EXAMPLE_BYTES: usize = 256;
/// Times that a candidate is started again after it failed; then it is let alone.
const MAX_STARTS: u32 = 20;

/// A candidate beside the version of a stage. One for all its instances.
pub(crate) struct Shadow {
    /// As it would run: what is promoted.
    pub(crate) candidate: Arc<Version>,
    /// The same, with nothing that it does getting out.
    aside: Arc<Version>,
    every: u64,
    report: Mutex<ShadowReport>,
    meters: Meters,
}

/// What differs, as counters of the stage.
struct Meters {
    batches: Counter,
    rows: Counter,
    rows_differing: Counter,
    failures: Counter,
}

impl Meters {
    fn new(metrics: &Metrics, stage: &str) -> Meters {
        let counter = |name: &str, help: &str| metrics.counter(name, help, vec![("stage", stage.to_owned())]);
        Meters {
            batches: counter("sluice_stage_shadow_batches", "Batches that a candidate processed beside the plugin."),
            rows: counter("sluice_stage_shadow_rows", "Rows of them."),
            rows_differing: counter(
                "sluice_stage_shadow_rows_differing",
                "Rows that one of both kept and the other did not, or that got another route, and values of columns that differ.",
            ),
            failures: counter("sluice_stage_shadow_failures", "Batches that a candidate failed on."),
        }
    }
}

/// What a candidate does differently from the version that runs, on the batches that both got.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ShadowReport {
    /// Name of the candidate.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component.
    pub digest: String,
    /// It gets every so many batches of each instance.
    pub every: u64,
    /// Batches that both processed.
    pub batches: u64,
    /// Rows of them.
    pub rows: u64,
    /// Rows that both kept.
    pub kept_by_both: u64,
    /// Rows that the running version kept and the candidate did not.
    pub kept_by_running_only: u64,
    /// Rows that the candidate kept and the running version did not.
    pub kept_by_candidate_only: u64,
    /// Rows that both kept and gave different routes.
    pub routes_changed: u64,
    /// Some of them: route by the running version, and by the candidate.
    pub route_examples: Vec<(String, String)>,
    /// Columns that differ in rows that both kept, by name.
    pub columns: BTreeMap<String, ColumnChange>,
    /// Alerts that only the running version raised.
    pub alerts_by_running_only: u64,
    /// Alerts that only the candidate raised.
    pub alerts_by_candidate_only: u64,
    /// Some of both, with a `-` before those that the candidate does not raise and a `+` before its own.
    pub alert_examples: Vec<String>,
    /// Batches that it did not get because its CPU time was used up: it has as much as the stage's budget allows.
    pub batches_over_budget: u64,
    /// Batches that the candidate failed on.
    pub failures: u64,
    /// What the first of them said.
    pub failure_examples: Vec<String>,
    /// CPU time of the running version in nanoseconds a row.
    pub running_ns_per_row: f64,
    /// CPU time of the candidate in nanoseconds a row.
    pub candidate_ns_per_row: f64,
    /// Bytes of linear memory of one instance of the running version.
    pub running_memory: u64,
    /// Bytes of linear memory of one instance of the candidate.
    pub candidate_memory: u64,
    /// The last lines that the candidate logged.
    pub log: Vec<String>,
    #[serde(skip)]
    running_ns: u64,
    #[serde(skip)]
    candidate_ns: u64,
}

/// How a column differs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ColumnChange {
    /// Rows in which it differs.
    pub rows: u64,
    /// Some of them: value by the running version, and by the candidate.
    pub examples: Vec<(String, String)>,
}

impl ShadowReport {
    /// Whether the candidate did what the running version does, and did not fail.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.kept_by_running_only + self.kept_by_candidate_only + self.routes_changed + self.failures == 0
            && self.alerts_by_running_only + self.alerts_by_candidate_only == 0
            && self.columns.is_empty()
    }
}

impl Shadow {
    pub(crate) fn new(candidate: &Arc<Version>, every: u32, metrics: &Metrics) -> Shadow {
        let aside = candidate.with(Arc::new(candidate.shared.aside()), candidate.source.clone());
        let every = u64::from(every.max(1));
        let report = ShadowReport {
            plugin: candidate.manifest.name.clone(),
            version: candidate.manifest.version.clone(),
            digest: crate::hex(&candidate.digest),
            every,
            ..ShadowReport::default()
        };
        let meters = Meters::new(metrics, &candidate.shared.name);
        Shadow { candidate: Arc::clone(candidate), aside: Arc::new(aside), every, report: Mutex::new(report), meters }
    }

    /// Whether the candidate gets the `batches`th batch of an instance.
    pub(crate) fn wants(&self, batches: u64) -> bool {
        if !batches.is_multiple_of(self.every) {
            return false;
        }
        let budget = self.aside.shared.budget.as_ref();
        let is_over = budget.is_some_and(|budget| budget.wait(Instant::now()).is_some());
        if is_over {
            self.report.lock().unwrap_or_else(PoisonError::into_inner).batches_over_budget += 1;
        }
        !is_over
    }

    pub(crate) fn report(&self) -> ShadowReport {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let per_row = |ns: u64| if report.rows == 0 { 0.0 } else { ns as f64 / report.rows as f64 };
        (report.running_ns_per_row, report.candidate_ns_per_row) =
            (per_row(report.running_ns), per_row(report.candidate_ns));
        if let LogOut::Kept(lines) = &self.aside.shared.services.log {
            let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            report.log = lines.iter().rev().take(MAX_EXAMPLES).rev().map(|line| line.text.clone()).collect();
        }
        report
    }

    fn failed(&self, what: &str) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.failures += 1;
        self.meters.failures.inc();
        example(&mut report.failure_examples, || cut(what));
    }
}

/// What the version that runs did with a batch.
pub(crate) struct Running<'a> {
    pub(crate) current: &'a Current,
    pub(crate) alerts: &'a [Alert],
    pub(crate) cpu_ns: u64,
    pub(crate) memory: usize,
}

/// The candidate beside one instance.
pub(crate) struct Candidate {
    shadow: Arc<Shadow>,
    live: Option<Instance>,
    starts: u32,
    /// The batch of the instance that it had last.
    last: u64,
}

impl Candidate {
    /// Gives `copy` to the candidate and compares with what the running version did. `before` is the candidate of the last
    /// time.
    pub(crate) fn compare(
        before: Option<Candidate>,
        loaded: &Loaded,
        copy: Batch,
        running: &Running<'_>,
        state: Option<Vec<u8>>,
        batches: u64,
    ) -> Option<Candidate> {
        let shadow = loaded.shadowed_by().as_ref().map(Arc::clone)?;
        let same = before.filter(|before| Arc::ptr_eq(&before.shadow, &shadow));
        let mut candidate = same.unwrap_or(Candidate { shadow, live: None, starts: 0, last: batches });
        candidate.last = batches;
        candidate.run(copy, running, state);
        Some(candidate)
    }

    /// Whether the `batches`th batch has to begin with the state of the running version: the candidate starts, or there are
    /// batches between that it did not see.
    pub(crate) fn needs_state(before: Option<&Candidate>, loaded: &Loaded, batches: u64) -> bool {
        let Some(shadow) = loaded.shadowed_by().as_ref().map(Arc::clone) else { return false };
        let goes_on = |before: &Candidate| {
            Arc::ptr_eq(&before.shadow, &shadow) && before.live.is_some() && before.last + 1 == batches
        };
        !before.is_some_and(goes_on)
    }

    fn run(&mut self, copy: Batch, running: &Running<'_>, state: Option<Vec<u8>>) {
        if self.live.is_none() {
            if self.starts >= MAX_STARTS {
                return;
            }
            self.starts += 1;
            match self.shadow.aside.start() {
                Ok(mut live) => {
                    // They are compared, and not raised.
                    live.data_mut().keeps_all_alerts = true;
                    self.live = Some(live);
                }
                Err(problem) => return self.shadow.failed(&problem.to_string()),
            }
        }
        let Some(live) = self.live.as_mut() else { return };
        if let Some(state) = state.filter(|_| live.keeps_state())
            && let Err(problem) = restore(live, state)
        {
            self.live = None;
            return self.shadow.failed(&problem);
        }
        live.data_mut().begin(copy);
        let began = cpu_ns();
        let deadline_ms = live.data().shared.limits.deadline_ms;
        let answer = live.process(deadline_ms);
        let took = cpu_ns().saturating_sub(began);
        let data = live.data_mut();
        let alerts = std::mem::take(&mut data.alerts);
        let Some(current) = data.current.take() else { return };
        match answer {
            Ok(Ok(())) => {
                let memory = data.limiter.used() as u64;
                let mut report = self.shadow.report.lock().unwrap_or_else(PoisonError::into_inner);
                report.candidate_ns += took;
                report.running_ns += running.cpu_ns;
                report.candidate_memory = report.candidate_memory.max(memory);
                report.running_memory = report.running_memory.max(running.memory as u64);
                let before = report.differing();
                report.add(&self.shadow.aside.shared.schema, running.current, &current);
                let meters = &self.shadow.meters;
                meters.batches.inc();
                meters.rows.inc_by(current.rows() as u64);
                meters.rows_differing.inc_by(report.differing() - before);
                report.add_alerts(running.alerts, &alerts);
                drop(report);
                // Its columns go back to the pool.
                drop(current.roll_back());
            }
            Ok(Err(Failure::RetryLater(text) | Failure::Fatal(text))) => self.shadow.failed(&text),
            Err(trapped) => {
                self.live = None;
                self.shadow.failed(&format!("{}: {}", trapped.kind.name(), trapped.text));
            }
        }
    }
}

/// Gives the candidate what the running version knows.
fn restore(live: &mut Instance, state: Vec<u8>) -> Result<(), String> {
    match live.restore(&state) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(message)) => Err(format!("restore: {message}")),
        Err(trapped) => Err(format!("restore: {}", trapped.text)),
    }
}

impl ShadowReport {
    /// Rows and values that differ.
    fn differing(&self) -> u64 {
        let kept = self.kept_by_running_only + self.kept_by_candidate_only;
        kept + self.routes_changed + self.columns.values().map(|change| change.rows).sum::<u64>()
    }

    /// Adds what differs in one batch.
    fn add(&mut self, schema: &Schema, running: &Current, candidate: &Current) {
        let rows = running.rows();
        self.batches += 1;
        self.rows += rows as u64;
        let mut both = Vec::with_capacity(rows);
        for row in 0..rows {
            match (is_kept(running.keep.as_deref(), row), is_kept(candidate.keep.as_deref(), row)) {
                (true, true) => both.push(row),
                (true, false) => self.kept_by_running_only += 1,
                (false, true) => self.kept_by_candidate_only += 1,
                (false, false) => {}
            }
        }
        self.kept_by_both += both.len() as u64;
        for &row in &both {
            let (old, new) = (running.route(row), candidate.route(row));
            if old != new {
                self.routes_changed += 1;
                let words = || (cut(old.map_or("none", |name| name)), cut(new.map_or("none", |name| name)));
                example(&mut self.route_examples, words);
            }
        }
        for column in running.written().union(candidate.written()).iter() {
            let (old, new) = (running.column(column), candidate.column(column));
            let differ: Vec<usize> = both.iter().copied().filter(|row| !same(old, new, *row)).collect();
            if differ.is_empty() {
                continue;
            }
            let name = grant_names(schema, ColumnSet::from_iter([column])).pop().unwrap_or_default();
            let change = self.columns.entry(name).or_default();
            change.rows += differ.len() as u64;
            for row in differ {
                if change.examples.len() >= MAX_EXAMPLES {
                    break;
                }
                change.examples.push((shown(running, column, row), shown(candidate, column, row)));
            }
        }
    }

    fn add_alerts(&mut self, running: &[Alert], candidate: &[Alert]) {
        let is_like = |a: &Alert, b: &Alert| a.kind == b.kind && a.subject == b.subject;
        for (side, alerts, others) in [("-", running, candidate), ("+", candidate, running)] {
            for alert in alerts.iter().filter(|alert| !others.iter().any(|other| is_like(alert, other))) {
                *if side == "-" { &mut self.alerts_by_running_only } else { &mut self.alerts_by_candidate_only } += 1;
                example(&mut self.alert_examples, || cut(&format!("{side} {} {}", alert.kind, alert.subject)));
            }
        }
    }
}

fn example<T>(examples: &mut Vec<T>, make: impl FnOnce() -> T) {
    if examples.len() < MAX_EXAMPLES {
        examples.push(make());
    }
}

fn cut(text: &str) -> String {
    let mut text = text.replace(|c: char| c.is_control(), " ");
    text.truncate(text.floor_char_boundary(MAX_EXAMPLE_BYTES));
    text
}

/// Bit `row % 32` of word `row / 32`.
fn is_kept(bitmap: Option<&[u32]>, row: usize) -> bool {
    bitmap.is_none_or(|words| words.get(row / 32).is_some_and(|word| word >> (row % 32) & 1 == 1))
}

/// An absent column holds zeros, empty texts and empty lists.
fn same(old: Option<&Column>, new: Option<&Column>, row: usize) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(Column::Text(old)), Some(Column::Text(new))) => old.get(row) == new.get(row),
        (Some(Column::Text(one)), None) | (None, Some(Column::Text(one))) => one.get(row).is_empty(),
        (Some(Column::Lists(old)), Some(Column::Lists(new))) => old.get(row) == new.get(row),
        (Some(Column::Lists(one)), None) | (None, Some(Column::Lists(one))) => one.get(row).is_empty(),
        (old, new) => old.map_or(0, |column| column.number(row)) == new.map_or(0, |column| column.number(row)),
    }
}

/// A value for people; an address whole, whichever half differs.
fn shown(current: &Current, column: ColumnId, row: usize) -> String {
    if let Some(address) = ADDRESSES.iter().find(|address| address.hi == column || address.lo == column) {
        let half = |column| current.column(column).map_or(0, |values: &Column| values.number(row));
        let bits = u128::from(half(address.hi)) << 64 | u128::from(half(address.lo));
        return std::net::Ipv6Addr::from_bits(bits).to_canonical().to_string();
    }
    match current.column(column) {
        None => "none".to_owned(),
        Some(Column::Text(text)) => cut(text.get(row)),
        Some(Column::Lists(lists)) => cut(&format!("{:?}", lists.get(row))),
        Some(numbers) => numbers.number(row).to_string(),
    }
}
