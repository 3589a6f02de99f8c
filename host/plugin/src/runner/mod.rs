//! A plugin as a stage: batches in, rows out, and what happens when it fails or is exchanged.

mod apart;
mod call;
mod exchange;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sluice_flow::Batch;
use sluice_pipeline::{Processed, Stage};

use self::apart::Sizes;
use self::call::{Failed, ended};
use self::state::saved_state;
use crate::budget::OverBudget;
use crate::instance::{Instance, Trapped};
use crate::limits::{RECYCLE_CALLS, SNAPSHOT_INTERVAL_MS};
use crate::load::Loaded;
use crate::quarantine::Admission;
use crate::recording::{Ended, History};
use crate::shadow::Candidate;
use crate::state::Used;
use crate::version::Version;

/// Reasons under which a stage drops rows, beside those of [`TrapKind`](crate::instance::TrapKind).
mod reason {
    /// The plugin kept other rows.
    pub(super) const FILTERED: &str = "filtered";
    /// The plugin answered `fatal`.
    pub(super) const REFUSED: &str = "refused";
    /// The plugin answered `retry-later` each time.
    pub(super) const NOT_READY: &str = "not_ready";
    /// The plugin of a private stage left an address as it came that it says it hides.
    pub(super) const ADDRESS_LEFT: &str = "address_left";
    /// There is no instance: starting one failed.
    pub(super) const NO_INSTANCE: &str = "no_instance";
    /// The plugin is not called: it failed again and again.
    pub(super) const QUARANTINED: &str = "quarantined";
    /// The plugin is not called: its CPU time is used up.
    pub(super) const OVER_BUDGET: &str = "over_budget";
}

/// One instance of a stage's plugin.
///
/// After a trap the instance is gone, with its store; the next batch gets a new one. A plugin that
/// exports `state` is given its last snapshot then, at most [`SNAPSHOT_INTERVAL_MS`] of batch time old; what it
/// learned since is lost. With a file for the state, the snapshot is in it too, and the next process begins with it. A snapshot that the plugin trapped on again before it finished a batch is not used twice.
pub(crate) struct Runner {
    loaded: Arc<Loaded>,
    /// Number of the exchange that this instance took note of last.
    generation: u64,
    /// The version that this instance runs, or ran until it trapped.
    version: Arc<Version>,
    live: Option<Instance>,
    /// What ran before, for as long as it may be put back.
    fallback: Option<Fallback>,
    /// The instance of the candidate that runs beside, if there is one.
    candidate: Option<Candidate>,
    /// State of the plugin some time ago, and batch time then.
    kept: Option<Arc<Vec<u8>>>,
    kept_at_ms: Option<u64>,
    /// Batch time until the next.
    snapshot_pause_ms: u64,
    /// Whether it is not `kept` that an instance after a trap is to have, but what the one put aside knows: nobody has copied it yet.
    is_kept_aside: bool,
    /// Whether `kept` was restored and no call succeeded since.
    is_kept_in_doubt: bool,
    /// What a recording would need, if the stage makes any.
    history: Option<History>,
    /// Batches so far, of all instances.
    batches: u64,
    /// File that keeps the state from process to process.
    state_file: Option<PathBuf>,
    /// Rows that the memory is enough for, as far as that is known.
    sizes: Sizes,
    /// Batches that an instance has to do before it is exchanged for a fresh one.
    recycle_calls: u32,
    /// Whether a batch is being taken apart: its first failure was logged.
    is_apart: bool,
}

/// The instance that an exchange put aside, as it was then.
struct Fallback {
    version: Arc<Version>,
    live: Option<Instance>,
    /// What it knew, or knew some time before; none if it was not asked.
    kept: Option<Arc<Vec<u8>>>,
    until: Instant,
}

impl Fallback {
    /// What the instance knew when it was put aside, as far as that is known.
    fn kept(&mut self) -> Option<Arc<Vec<u8>>> {
        if self.kept.is_none() {
            match self.live.as_mut().map(Instance::snapshot) {
                Some(Ok(state)) => self.kept = state.map(Arc::new),
                // It is of no use any more.
                Some(Err(_)) => self.live = None,
                None => {}
            }
        }
        self.kept.clone()
    }
}

impl Runner {
    pub(crate) fn new(loaded: Arc<Loaded>, live: Option<Instance>, state_file: Option<PathBuf>) -> Runner {
        let (generation, version) = {
            let current = loaded.current();
            (current.number, Arc::clone(&current.version))
        };
        // The tried instance is of the first version.
        let live = live.filter(|_| generation == 1);
        let kept = state_file.as_ref().and_then(|path| saved_state(path, &loaded, &version));
        // What is restored goes into an instance that has seen nothing.
        let live = live.filter(|_| kept.is_none());
        loaded.runners.fetch_add(1, Ordering::Relaxed);
        let history = version.shared.recorder.as_ref().map(|_| History::default());
        let mut runner = Runner {
            loaded,
            generation,
            version,
            live,
            fallback: None,
            candidate: None,
            kept,
            kept_at_ms: None,
            snapshot_pause_ms: SNAPSHOT_INTERVAL_MS,
            is_kept_aside: false,
            is_kept_in_doubt: false,
            history,
            batches: 0,
            state_file,
            sizes: Sizes::default(),
            recycle_calls: RECYCLE_CALLS,
            is_apart: false,
        };
        runner.begin_history(false);
        if let Some(recorder) = &runner.version.shared.recorder
            && let Err(error) = recorder.prepare()
        {
            runner.warn("recordings cannot be written", &format!("{}: {error}", recorder.spec.dir.display()));
        }
        if let Err(error) = runner.ensure_live() {
            runner.warn("no instance yet", &error);
        }
        runner
    }

    fn warn(&self, what: &str, error: &dyn std::fmt::Display) {
        if !self.version.shared.may_tell() {
            return;
        }
        tracing::warn!(stage = %self.loaded.stage(), plugin = %self.version.manifest.name, %error, "{what}");
    }

    /// Why the plugin is not called now for want of CPU time, if so.
    fn is_over_budget(&self) -> Option<String> {
        let budget = self.version.shared.budget.as_ref().filter(|budget| budget.policy() == OverBudget::Shed)?;
        budget.wait(Instant::now())?;
        Some(self.budget_is_used_up())
    }

    fn budget_is_used_up(&self) -> String {
        let budget = self.version.shared.budget.as_ref();
        let (name, ms) = budget.map_or(("", 0), |budget| (budget.name(), budget.cpu_ms_per_s()));
        format!("the budget {name} of {ms} ms CPU time a second is used up")
    }

    /// After a call: a version that uses up the budget within its first time is not the better one.
    fn settle_budget(&mut self) {
        if !self.live.as_mut().is_some_and(|live| std::mem::take(live.broke_budget())) {
            return;
        }
        self.version.shared.meters.over_budget.inc();
        self.went_back("its budget of CPU time is used up");
    }

    /// Counts a batch or tick that failed, towards the quarantine of the version that is published.
    fn count_failure(&self, traps: u32, why: &str) {
        if Arc::ptr_eq(&self.loaded.current().version, &self.version) {
            self.version.shared.failed(traps, why);
        }
    }

    /// Lets go of the instance without keeping its state: somebody else has a better one.
    pub(crate) fn forget(mut self) {
        self.state_file = None;
    }

    fn trapped(&self, function: &str, trapped: &Trapped) {
        self.version.shared.meters.trap(trapped.kind.name());
        if self.is_apart || !self.version.shared.may_tell() {
            return;
        }
        tracing::warn!(
            stage = %self.loaded.stage(),
            plugin = %self.version.manifest.name,
            version = %self.version.manifest.version,
            kind = trapped.kind.name(),
            error = %trapped.text,
            "{function} ended the instance"
        );
    }

    /// Records the call that was noted last.
    fn record(&self, used: &Used, ended: Ended) {
        // Of a batch that is taken apart the whole is recorded; `replay` finds the rows that do it.
        let recorder = self.version.shared.recorder.as_ref().filter(|_| !self.is_apart);
        let (Some(recorder), Some(history)) = (recorder, &self.history) else { return };
        recorder.record(&self.version, used, history, ended);
    }

    /// Records the batch that was noted last, if it is one of those to record whatever comes of them.
    fn sample(&self, how: &str, text: &str, rows_kept: Option<usize>) {
        let is_sampled =
            self.version.shared.recorder.as_ref().is_some_and(|recorder| recorder.is_sampled(self.batches));
        if let Some(live) = self.live.as_ref().filter(|_| is_sampled) {
            let ended = Ended { how: how.to_owned(), text: text.to_owned(), rows_kept, backtrace: Vec::new() };
            self.record(&live.data().used, ended);
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.loaded.runners.fetch_sub(1, Ordering::Relaxed);
        if self.state_file.is_some() {
            self.snapshot();
        }
    }
}

impl Stage for Runner {
    fn process(&mut self, batch: Batch) -> Processed {
        self.exchange();
        self.batches += 1;
        let mut processed = Processed::default();
        if let Some(why) = self.is_over_budget() {
            self.fail(Failed::not_called(batch, reason::OVER_BUDGET, why), &mut processed);
            return processed;
        }
        let admission = self.version.shared.quarantine.admit(Instant::now);
        if let Admission::No(why) = admission {
            self.fail(Failed::not_called(batch, reason::QUARANTINED, why), &mut processed);
            return processed;
        }
        let is_trial = admission == Admission::Trial;
        match self.run(batch, is_trial, &mut processed) {
            Some((traps, why)) => self.count_failure(traps, &why),
            None if is_trial => self.version.shared.worked(),
            None => {}
        }
        self.recycle();
        self.settle_budget();
        processed
    }

    fn tick_ms(&self) -> Option<u32> {
        let has_timer = self.live.as_ref().is_some_and(Instance::ticks);
        self.version.manifest.tick_ms.filter(|_| has_timer)
    }

    fn tick(&mut self, now_ms: u64) {
        self.exchange();
        // What would be dropped of rows is left out of ticks.
        if self.version.shared.quarantine.get().is_some() || self.is_over_budget().is_some() {
            return;
        }
        if self.ensure_live().is_err() {
            // The next batch says why, and is accounted for.
            return;
        }
        let Some(live) = self.live.as_mut() else { return };
        if let Some(history) = self.history.as_mut().filter(|_| live.ticks()) {
            history.tick(now_ms);
        }
        match live.tick(now_ms) {
            Ok(()) => {
                let alerts = std::mem::take(&mut live.data_mut().alerts);
                *live.broke_budget() |= self.version.shared.raise(alerts, now_ms);
                self.is_kept_in_doubt = false;
                self.keep_state(now_ms);
            }
            Err(trapped) => {
                let state = live.data_mut();
                let (used, alerts) = (std::mem::take(&mut state.used), std::mem::take(&mut state.alerts));
                self.version.shared.withdraw(alerts);
                self.live = None;
                self.trapped("tick", &trapped);
                self.record(&used, ended(&trapped));
                if !self.went_back(&trapped.text) {
                    self.count_failure(1, &trapped.text);
                }
            }
        }
        self.recycle();
        self.settle_budget();
    }

    fn wait(&self) -> Option<Duration> {
        self.version.shared.wait()
    }

    fn refuse(&mut self, batch: Batch) -> Processed {
        let mut processed = Processed::default();
        self.fail(Failed::not_called(batch, reason::OVER_BUDGET, self.budget_is_used_up()), &mut processed);
        processed
    }
}
