//! Runs cases: each in an instance of its own, in the host that runs plugins in production, counting fuel.

mod align;
mod compare;
mod update;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sluice_flow::{Batch, ColumnSet, Schema};
use sluice_pipeline::{Event, Metrics};
use sluice_plugin::{
    Answer, Called, ComponentSource, FailurePolicy, Host, HostSettings, Limits, LoadError, LoadErrorKind, Loaded,
    LogLevel, LogLine, LogOut, MAX_KEPT_LINES, Manifest, OnError, PluginError, Services, StageSpec, Touched, Trap,
    Trial, Trust,
};

use crate::case::{Act, Case, Expect, Fixture};

pub use self::update::{Change, update};

/// A plugin whose cases are run.
#[derive(Debug)]
pub struct Bench {
    host: Arc<Host>,
    component: ComponentSource,
    schema: Arc<Schema>,
    /// Cases that were begun, in all runs.
    begun: AtomicUsize,
}

/// What a case came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was not as expected; nothing if the case passed.
    pub mismatches: Vec<Mismatch>,
    /// Rows of all its batches.
    pub rows_in: usize,
    /// Rows that came out.
    pub rows_out: usize,
    /// Fuel of its calls of `process` and `tick`.
    pub fuel: u64,
    /// What it logged, as far as it is kept.
    pub logs: Vec<LogLine>,
    /// Columns that it touched.
    pub touched: Touched,
    /// Columns of its manifest: those that it reads and those that it writes. None if it did not start.
    pub manifest: Option<Manifest>,
    /// Names of its own counters and gauges.
    pub metrics: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// What was seen of each step, as far as it came.
    seen: Vec<Seen>,
}

/// Something that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Number of the step, from 1; none in a case of one batch.
    pub step: Option<usize>,
    /// Key of the expectation, or `error` for a call that failed.
    pub what: &'static str,
    /// Line of the expectation in the file, from 1.
    pub line: usize,
    /// What there should have been and what there was: one line, or several.
    pub text: String,
    /// Where a trap was, innermost first.
    pub backtrace: Vec<String>,
}

/// Everything that can be seen of a step.
#[derive(Debug, Default)]
struct Seen {
    /// The batch as it came out.
    after: Option<Batch>,
    /// Which rows of the batch stayed.
    kept: Vec<u32>,
    alerts: Vec<Event>,
    problem: Option<Problem>,
    fuel: Option<u64>,
    metrics: BTreeMap<String, f64>,
    logs: Vec<LogLine>,
}

/// How a call failed.
#[derive(Clone, Debug)]
struct Problem {
    /// What the plugin said, or the engine.
    text: String,
    /// The same for people, with who says it.
    full: String,
    backtrace: Vec<String>,
    /// Whether the instance is gone.
    is_end: bool,
}

impl From<&LoadErrorKind> for Problem {
    fn from(kind: &LoadErrorKind) -> Problem {
        let full = kind.to_string();
        let (text, backtrace) = match kind {
            LoadErrorKind::Config { message } => (message.clone(), Vec::new()),
            LoadErrorKind::Start { error, backtrace } => (error.clone(), backtrace.clone()),
            _ => (full.clone(), Vec::new()),
        };
        Problem { text, full, backtrace, is_end: true }
    }
}

impl Problem {
    /// How `what` trapped, and for a limit which one.
    fn trapped(what: &str, trap: &Trap, limits: &Limits) -> Problem {
        let (deadline_ms, key) = match what {
            "process" | "tick" => (limits.deadline_ms, "deadline_ms"),
            _ => (limits.init_deadline_ms, "init_deadline_ms"),
        };
        let full = match trap.kind {
            "deadline" => format!("{what} did not return within the {deadline_ms} ms of limits.{key}"),
            "memory" => format!("{what} wanted more than the {} bytes of limits.memory_bytes", limits.memory),
            _ => format!("{what} trapped: {}", trap.text),
        };
        let text = if trap.kind == "trap" { trap.text.clone() } else { full.clone() };
        Problem { text, full, backtrace: trap.backtrace.clone(), is_end: true }
    }

    fn said(how: &str, text: String) -> Problem {
        Problem { full: format!("{how}: {text}"), text, backtrace: Vec::new(), is_end: false }
    }
}

impl Bench {
    /// A bench for `component`; compiled code is kept in `cache_dir`.
    ///
    /// # Errors
    /// If plugins cannot be run on this machine.
    pub fn new(
        component: ComponentSource,
        schema: &Arc<Schema>,
        cache_dir: Option<&Path>,
    ) -> Result<Bench, PluginError> {
        let settings = HostSettings { cache_dir: cache_dir.map(Path::to_owned), fuel: true, outside: None };
        let host = Host::new(settings, Metrics::new())?;
        Ok(Bench { host, component, schema: Arc::clone(schema), begun: AtomicUsize::new(0) })
    }

    /// Runs the cases of which `wanted` says yes to the name, several at a time, and gives what each came to, in
    /// order. A case that was left out is `None`.
    ///
    /// # Errors
    /// If the component cannot be run at all, whatever the case: it cannot be read, does not compile, is no plugin.
    pub fn run(
        &self,
        fixtures: &[Fixture],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Vec<Option<Outcome>>>, LoadError> {
        let cases: Vec<(&Fixture, &Case)> = fixtures
            .iter()
            .flat_map(|fixture| fixture.cases.iter().map(move |case| (fixture, case)))
            .filter(|(_, case)| wanted(&case.name))
            .collect();
        let results = Mutex::new(Vec::new());
        let next = AtomicUsize::new(0);
        let workers = thread::available_parallelism().map_or(1, usize::from).min(cases.len());
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((fixture, case)) = cases.get(at) else { break };
                        let outcome = self.case(fixture, case);
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(at, _)| *at);
        let mut results = results.into_iter().map(|(_, outcome)| outcome);
        let mut of_case = |case: &Case| if wanted(&case.name) { results.next().transpose() } else { Ok(None) };
        fixtures.iter().map(|fixture| fixture.cases.iter().map(&mut of_case).collect()).collect()
    }

    /// Runs one case.
    fn case(&self, fixture: &Fixture, case: &Case) -> Result<Outcome, LoadError> {
        let began = Instant::now();
        let lines = Arc::default();
        let spec = StageSpec {
            // Counters are those of a stage: each case has its own, each time it is run.
            name: format!("case-{}", self.begun.fetch_add(1, Ordering::Relaxed)),
            component: self.component.clone(),
            trust: Trust::default(),
            config_json: case.config_json.clone(),
            grant: case.grant.clone(),
            on_error: OnError::Drop,
            limits: case.limits.clone(),
            is_private: false,
            state: None,
            failure: FailurePolicy::default(),
            budget: None,
            rollback_window: std::time::Duration::ZERO,
            isolation: None,
            record: None,
            services: Services {
                tables: Arc::clone(&case.loaned.tables),
                keys: Arc::clone(&case.loaned.keys),
                assets: Arc::clone(&case.loaned.assets),
                log: LogOut::Kept(Arc::clone(&lines)),
                ..Services::default()
            },
            schema: Arc::clone(&self.schema),
        };
        let mut run = Run { fixture, case, lines, outcome: Outcome::default() };
        match Loaded::load(&self.host, spec) {
            Ok(loaded) => run.steps(&loaded),
            Err(error) if is_of_the_case(&error.kind) => run.not_started(&error.kind),
            Err(error) => return Err(error),
        }
        Ok(Outcome { elapsed: began.elapsed(), ..run.outcome })
    }
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome {
            mismatches: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            fuel: 0,
            logs: Vec::new(),
            touched: Touched::default(),
            manifest: None,
            metrics: Vec::new(),
            elapsed: Duration::ZERO,
            seen: Vec::new(),
        }
    }
}

impl Outcome {
    /// Whether everything was as expected.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

/// Whether the component might be loaded with another configuration, grant or limit.
fn is_of_the_case(kind: &LoadErrorKind) -> bool {
    matches!(
        kind,
        LoadErrorKind::Config { .. }
            | LoadErrorKind::Start { .. }
            | LoadErrorKind::Manifest { .. }
            | LoadErrorKind::NotGranted { .. }
            | LoadErrorKind::ImportNotGranted { .. }
    )
}

/// A case that is run.
struct Run<'a> {
    fixture: &'a Fixture,
    case: &'a Case,
    lines: Arc<Mutex<Vec<LogLine>>>,
    outcome: Outcome,
}

impl Run<'_> {
    /// Runs the steps on instances of `loaded`.
    fn steps(&mut self, loaded: &Arc<Loaded>) {
        self.outcome.manifest = Some(loaded.manifest());
        let mut trial = match Trial::new(loaded) {
            Ok(trial) => trial,
            Err(error) => return self.not_started(&error.kind),
        };
        if let Some(expect) = &self.case.start {
            let seen = Seen { logs: self.take_logs(), metrics: trial.metrics(), ..Seen::default() };
            self.judge(None, Some(expect), seen);
            return self.flooded();
        }
        let mut now_ms = self.case.now_ms;
        for (number, step) in (1..).zip(&self.case.steps) {
            now_ms = step.now_ms.unwrap_or(now_ms);
            let mut seen = match &step.act {
                Act::Process(batch) => self.process(&mut trial, batch.clone(), number as u64, now_ms),
                Act::Tick(after_ms) => {
                    now_ms = now_ms.saturating_add(*after_ms);
                    self.tick(&mut trial, loaded, now_ms)
                }
                Act::Restart => self.restart(&mut trial, loaded),
            };
            seen.logs = self.take_logs();
            seen.metrics = trial.metrics();
            self.outcome.metrics = seen.metrics.keys().cloned().collect();
            let is_end = seen.problem.as_ref().is_some_and(|problem| problem.is_end);
            let before = self.outcome.mismatches.len();
            self.judge(Some(number), step.expect.as_ref(), seen);
            if self.outcome.mismatches.len() > before && is_end {
                break;
            }
            if is_end {
                // As the collector does: a trap costs the instance.
                match Trial::new(loaded) {
                    Ok(fresh) => trial = fresh,
                    Err(error) => return self.not_started(&error.kind),
                }
            }
        }
        self.flooded();
    }

    fn process(&mut self, trial: &mut Trial, mut batch: Batch, id: u64, now_ms: u64) -> Seen {
        batch.stamp(id, now_ms);
        let rows = batch.rows() as u32;
        self.outcome.rows_in += rows as usize;
        let called = trial.process(batch);
        let is_kept =
            |keep: &[u32], row: u32| keep.get((row / 32) as usize).is_some_and(|word| word >> (row % 32) & 1 == 1);
        let kept = match &called.keep {
            Some(keep) => (0..rows).filter(|row| is_kept(keep, *row)).collect(),
            None => (0..rows).collect(),
        };
        let mut seen = self.called("process", called);
        seen.kept = kept;
        self.outcome.rows_out += seen.after.as_ref().map_or(0, Batch::rows);
        seen
    }

    fn tick(&mut self, trial: &mut Trial, loaded: &Loaded, now_ms: u64) -> Seen {
        if !loaded.exports().0 {
            let problem = Problem::said("tick", "the plugin does not export `timer`".to_owned());
            return Seen { problem: Some(problem), ..Seen::default() };
        }
        self.called("tick", trial.tick(now_ms))
    }

    /// What was seen of a call of `what`.
    fn called(&mut self, what: &str, called: Called) -> Seen {
        let touched = &mut self.outcome.touched;
        touched.read = touched.read.union(called.touched.read);
        touched.written = touched.written.union(called.touched.written);
        touched.refused = touched.refused.union(called.touched.refused);
        self.outcome.fuel += called.fuel.unwrap_or(0);
        let mut seen = Seen { alerts: called.alerts, fuel: called.fuel, ..Seen::default() };
        match called.answer {
            Answer::Done(done) => seen.after = done.map(|(batch, _)| batch),
            Answer::RetryLater(text) => seen.problem = Some(Problem::said("process answered retry-later", text)),
            Answer::Refused(text) => seen.problem = Some(Problem::said("process refused the batch", text)),
            Answer::Trapped(trap) => seen.problem = Some(Problem::trapped(what, &trap, &self.case.limits)),
        }
        seen
    }

    /// Hands the state of an instance to a new one.
    fn restart(&mut self, trial: &mut Trial, loaded: &Arc<Loaded>) -> Seen {
        let limits = &self.case.limits;
        let mut hand_over = || -> Result<(), Problem> {
            let state = trial.snapshot().map_err(|trap| Problem::trapped("snapshot", &trap, limits))?;
            let state = state.filter(|_| loaded.exports().1).ok_or_else(|| {
                Problem::said("restart", "the plugin does not export `state`, so that there is none to keep".to_owned())
            })?;
            let mut fresh = Trial::new(loaded).map_err(|error| Problem::from(&*error.kind))?;
            let restored = fresh.restore(state).map_err(|trap| Problem::trapped("restore", &trap, limits))?;
            *trial = fresh;
            match restored {
                Ok(true) => Ok(()),
                Ok(false) => {
                    Err(Problem::said("restore", "the plugin does not understand its own snapshot".to_owned()))
                }
                Err(text) => Err(Problem::said("restore refused the snapshot", text)),
            }
        };
        let problem = hand_over().err();
        Seen { problem, ..Seen::default() }
    }

    /// The plugin did not start: this is what the first expectation is about.
    fn not_started(&mut self, kind: &LoadErrorKind) {
        let first = self.case.steps.iter().position(|step| step.expect.is_some());
        let expect = self.case.start.as_ref().or(first.and_then(|at| self.case.steps[at].expect.as_ref()));
        let seen = Seen { problem: Some(Problem::from(kind)), logs: self.take_logs(), ..Seen::default() };
        self.judge(first.map(|at| at + 1), expect, seen);
    }

    /// Compares what was seen with what was expected.
    fn judge(&mut self, step: Option<usize>, expect: Option<&Expect>, seen: Seen) {
        let step = step.filter(|_| self.case.steps.len() > 1);
        let doc = &self.fixture.doc;
        let nothing = Expect { span: self.case.span.clone(), ..Expect::default() };
        let mut found = compare::compare(expect.unwrap_or(&nothing), &seen);
        if let (Some(limit), Some(fuel)) = (self.case.max_fuel, seen.fuel)
            && fuel > limit
        {
            let text = format!("the call cost {fuel} fuel, more than the {limit} of `max_fuel`");
            found.push(compare::Found { what: "max_fuel", span: self.case.span.clone(), text, backtrace: Vec::new() });
        }
        self.outcome.mismatches.extend(found.into_iter().map(|found| Mismatch {
            step,
            what: found.what,
            line: doc.line(found.span.start),
            text: found.text,
            backtrace: found.backtrace,
        }));
        self.outcome.logs.extend(seen.logs.iter().cloned());
        self.outcome.seen.push(seen);
    }

    fn take_logs(&self) -> Vec<LogLine> {
        let room = MAX_KEPT_LINES.saturating_sub(self.outcome.logs.len());
        let mut lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        lines.truncate(room);
        lines
    }

    /// A plugin that logs without end would only be suppressed in production; here somebody can mend it.
    fn flooded(&mut self) {
        if self.outcome.logs.len() >= MAX_KEPT_LINES {
            let text = format!("the plugin logged {MAX_KEPT_LINES} lines or more in one case");
            let line = self.fixture.doc.line(self.case.span.start);
            self.outcome.mismatches.push(Mismatch { step: None, what: "logs", line, text, backtrace: Vec::new() });
        }
    }
}

/// What the cases of a plugin leave untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Columns of its manifests.
    pub reads: ColumnSet,
    /// Columns of its manifests.
    pub writes: ColumnSet,
    /// Columns that no case made it read although it says that it does.
    pub never_read: ColumnSet,
    /// Columns that no case made it write although it says that it does.
    pub never_written: ColumnSet,
    /// Columns that it asked for and did not get.
    pub refused: ColumnSet,
    /// Names in `metrics` of some expectation under which it never counted anything.
    pub never_counted: Vec<String>,
}

/// What the cases leave untouched, all together.
#[must_use]
pub fn coverage(fixtures: &[Fixture], outcomes: &[Vec<Option<Outcome>>]) -> Coverage {
    let mut coverage = Coverage::default();
    let mut touched = Touched::default();
    let mut counted: Vec<&String> = Vec::new();
    let mut named: Vec<&String> = Vec::new();
    for (fixture, outcomes) in fixtures.iter().zip(outcomes) {
        for (case, outcome) in fixture.cases.iter().zip(outcomes) {
            let Some(outcome) = outcome else { continue };
            if let Some(manifest) = &outcome.manifest {
                coverage.reads = coverage.reads.union(manifest.reads);
                coverage.writes = coverage.writes.union(manifest.writes);
            }
            touched.read = touched.read.union(outcome.touched.read);
            touched.written = touched.written.union(outcome.touched.written);
            touched.refused = touched.refused.union(outcome.touched.refused);
            counted.extend(&outcome.metrics);
            let expects = case.steps.iter().filter_map(|step| step.expect.as_ref());
            named.extend(expects.filter_map(|expect| expect.metrics.as_ref()).flat_map(|at| at.value.keys()));
        }
    }
    coverage.never_read = coverage.reads.minus(touched.read);
    coverage.never_written = coverage.writes.minus(touched.written);
    coverage.refused = touched.refused;
    named.retain(|name| !counted.contains(name));
    named.sort();
    named.dedup();
    coverage.never_counted = named.into_iter().cloned().collect();
    coverage
}

/// How much a log line matters, in one word.
#[must_use]
pub fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}
