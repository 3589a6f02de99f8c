//! A plugin as a stage: batches in, rows out, and what happens when it fails or is exchanged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_flow::Batch;
use sluice_pipeline::{Processed, Stage};

use crate::abi::Failure;
use crate::error::LoadErrorKind;
use crate::instance::{Instance, Trapped};
use crate::limits::{RETRIES, SNAPSHOT_INTERVAL_MS};
use crate::load::{Generation, Loaded};
use crate::recording::{Ended, History};
use crate::saved;
use crate::spec::OnError;
use crate::state::Used;

/// Reasons under which a stage drops rows, beside those of [`TrapKind`](crate::instance::TrapKind).
mod reason {
    /// The plugin kept other rows.
    pub(super) const FILTERED: &str = "filtered";
    /// The plugin answered `fatal`.
    pub(super) const REFUSED: &str = "refused";
    /// The plugin answered `retry-later` each time.
    pub(super) const NOT_READY: &str = "not_ready";
    /// There is no instance: starting one failed.
    pub(super) const NO_INSTANCE: &str = "no_instance";
}

/// One instance of a stage's plugin.
///
/// After a trap the instance is gone, with its store; the next batch gets a new one. A plugin that
/// exports `state` is given its last snapshot then, at most [`SNAPSHOT_INTERVAL_MS`] of batch time old; what it
/// learned since is lost. With a file for the state, the snapshot is in it too, and the next process begins with it. A snapshot that the plugin trapped on again before it finished a batch is not used twice.
pub(crate) struct Runner {
    loaded: Arc<Loaded>,
    /// The version that this instance runs, or ran until it trapped.
    version: Arc<Generation>,
    live: Option<Instance>,
    /// The newest version that could not take over from this instance.
    refused: Option<u64>,
    /// State of the plugin some time ago, and batch time then.
    kept: Option<Arc<Vec<u8>>>,
    kept_at_ms: Option<u64>,
    /// Whether `kept` was restored and no call succeeded since.
    is_kept_in_doubt: bool,
    /// What a recording would need, if the stage makes any.
    history: Option<History>,
    /// Batches so far, of all instances.
    batches: u64,
    /// File that keeps the state from process to process.
    state_file: Option<PathBuf>,
}

impl Runner {
    pub(crate) fn new(loaded: Arc<Loaded>, live: Option<Instance>, state_file: Option<PathBuf>) -> Runner {
        let version = Arc::clone(&loaded.current());
        // The tried instance is of the first version.
        let live = live.filter(|_| version.number == 1);
        let kept = state_file.as_ref().and_then(|path| saved_state(path, &loaded, &version));
        // What is restored goes into an instance that has seen nothing.
        let live = live.filter(|_| kept.is_none());
        let history = loaded.shared.recorder.as_ref().map(|_| History::default());
        let mut runner = Runner {
            loaded,
            version,
            live,
            refused: None,
            kept,
            kept_at_ms: None,
            is_kept_in_doubt: false,
            history,
            batches: 0,
            state_file,
        };
        runner.begin_history(false);
        if let Some(recorder) = &runner.loaded.shared.recorder
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
        tracing::warn!(stage = %self.loaded.stage(), plugin = %self.version.manifest.name, %error, "{what}");
    }

    /// Starts an instance if there is none.
    fn ensure_live(&mut self) -> Result<(), LoadErrorKind> {
        if self.live.is_some() {
            return Ok(());
        }
        let mut instance = self.loaded.start(&self.version)?;
        if self.is_kept_in_doubt {
            self.kept = None;
            self.is_kept_in_doubt = false;
        }
        let mut is_restored = false;
        if let Some(state) = self.kept.clone() {
            match restore(&mut instance, state) {
                Ok(is_understood) => {
                    self.is_kept_in_doubt = is_understood;
                    is_restored = true;
                }
                Err(problem) => {
                    self.warn("state not restored, starting empty", &problem);
                    self.kept = None;
                    instance = self.loaded.start(&self.version)?;
                }
            }
        }
        self.live = Some(instance);
        self.begin_history(is_restored);
        Ok(())
    }

    /// Begins the history of an instance, which has the kept state or none.
    fn begin_history(&mut self, has_kept_state: bool) {
        let is_stateful = self.is_stateful();
        if let Some(history) = &mut self.history {
            history.begin(self.kept.clone().filter(|_| has_kept_state), is_stateful);
        }
    }

    /// Whether what the instance does may depend on what it did before.
    fn is_stateful(&self) -> bool {
        self.version.manifest.stateful || self.live.as_ref().is_some_and(Instance::keeps_state)
    }

    /// Takes up the published version, if it is another one. Between batches only.
    fn exchange(&mut self) {
        let number = self.loaded.current().number;
        if number == self.version.number || self.refused == Some(number) {
            return;
        }
        let new = Arc::clone(&self.loaded.current());
        let shared = Arc::clone(&self.loaded.shared);
        match self.take_over(&new) {
            Ok((instance, is_restored)) => {
                self.live = Some(instance);
                self.version = new;
                self.begin_history(is_restored);
                // Restored in the new version already: a trap there says nothing about these bytes.
                self.is_kept_in_doubt = false;
                shared.meters.swaps.inc();
                let version = &self.version.manifest.version;
                tracing::info!(stage = %self.loaded.stage(), version, "plugin exchanged");
            }
            Err(problem) => {
                self.refused = Some(new.number);
                shared.meters.swaps_refused.inc();
                self.warn("new version not taken up, the old one runs on", &problem);
            }
        }
    }

    /// An instance of the new version, and whether it was given the state of the old one.
    fn take_over(&mut self, new: &Generation) -> Result<(Instance, bool), String> {
        if let Some(live) = &mut self.live
            && live.keeps_state()
        {
            match live.snapshot() {
                Ok(state) => self.kept = state.map(Arc::new),
                Err(trapped) => {
                    self.live = None;
                    self.trapped("snapshot", &trapped);
                }
            }
        }
        let mut instance = self.loaded.start(new).map_err(|error| error.to_string())?;
        let is_given = self.kept.is_some() && instance.keeps_state();
        if let Some(state) = self.kept.clone() {
            if !instance.keeps_state() {
                tracing::info!(stage = %self.loaded.stage(), "the new version exports no state: it starts empty");
            } else if !restore(&mut instance, state)? {
                tracing::warn!(stage = %self.loaded.stage(), "the new version does not know the state: it starts empty");
            }
        }
        Ok((instance, is_given))
    }

    /// Takes a snapshot if the last one is old: for an instance that follows a trap.
    fn keep_state(&mut self, now_ms: u64) {
        if !self.live.as_ref().is_some_and(Instance::keeps_state) {
            return;
        }
        let at = *self.kept_at_ms.get_or_insert(now_ms);
        // Sooner if a recording could not hold all the calls since.
        let is_early = self.history.as_ref().is_some_and(History::is_filling);
        // Either way: batch time goes back where old captures are read.
        if now_ms.abs_diff(at) < SNAPSHOT_INTERVAL_MS && !is_early {
            return;
        }
        self.kept_at_ms = Some(now_ms);
        self.snapshot();
    }

    /// Takes a snapshot, into the file too if there is one.
    fn snapshot(&mut self) {
        let Some(live) = self.live.as_mut().filter(|live| live.keeps_state()) else { return };
        match live.snapshot() {
            Ok(state) => self.kept = state.map(Arc::new),
            Err(trapped) => {
                self.live = None;
                self.trapped("snapshot", &trapped);
                return;
            }
        }
        self.begin_history(true);
        let (Some(path), Some(state)) = (&self.state_file, &self.kept) else { return };
        if let Err(error) = saved::save(path, &self.version.manifest.name, state) {
            self.warn("state not saved", &format!("{}: {error}", path.display()));
        }
    }

    /// Lets go of the instance without keeping its state: somebody else has a better one.
    pub(crate) fn forget(mut self) {
        self.state_file = None;
    }

    fn trapped(&self, function: &str, trapped: &Trapped) {
        self.loaded.shared.meters.trap(trapped.kind.name());
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
        let (Some(recorder), Some(history)) = (&self.loaded.shared.recorder, &self.history) else { return };
        recorder.record(&self.loaded, &self.version, used, history, ended);
    }

    /// Records the batch that was noted last, if it is one of those to record whatever comes of them.
    fn sample(&self, how: &str, text: &str, rows_kept: Option<usize>) {
        let is_sampled = self.loaded.shared.recorder.as_ref().is_some_and(|recorder| recorder.is_sampled(self.batches));
        if let Some(live) = self.live.as_ref().filter(|_| is_sampled) {
            let ended = Ended { how: how.to_owned(), text: text.to_owned(), rows_kept, backtrace: Vec::new() };
            self.record(&live.store.data().used, ended);
        }
    }

    /// What the stage's policy makes of a batch that failed.
    fn failed(&self, batch: Batch, reason: &'static str, why: &str) -> Processed {
        match self.loaded.shared.on_error {
            OnError::Drop => Processed::drop(reason, batch.rows()),
            OnError::Pass => Processed::pass(batch),
            OnError::DeadLetter => Processed { dead: Some(batch), ..Processed::default() },
            OnError::Stop => Processed {
                stop: Some(format!("stage {}: {why}", self.loaded.stage())),
                ..Processed::drop(reason, batch.rows())
            },
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.state_file.is_some() {
            self.snapshot();
        }
    }
}

/// The state that an earlier process left.
fn saved_state(path: &Path, loaded: &Loaded, version: &Generation) -> Option<Arc<Vec<u8>>> {
    match saved::load(path, &version.manifest.name, loaded.shared.limits.snapshot_bytes) {
        Ok(state) => state.map(Arc::new),
        Err(error) => {
            let error = sluice_pipeline::chain(&error);
            tracing::warn!(stage = %loaded.stage(), error, "state not restored, starting empty");
            None
        }
    }
}

/// Gives `state` to an instance; says whether it knew what to do with it.
fn restore(instance: &mut Instance, state: Arc<Vec<u8>>) -> Result<bool, String> {
    match instance.restore(state) {
        Ok(Ok(is_understood)) => Ok(is_understood),
        Ok(Err(message)) => Err(format!("restore: {message}")),
        Err(trapped) => Err(format!("restore: {}", trapped.text)),
    }
}

fn ended(trapped: &Trapped) -> Ended {
    Ended {
        how: trapped.kind.name().to_owned(),
        text: trapped.text.clone(),
        backtrace: trapped.backtrace.clone(),
        rows_kept: None,
    }
}

impl Stage for Runner {
    fn process(&mut self, batch: Batch) -> Processed {
        self.exchange();
        if let Err(error) = self.ensure_live() {
            self.warn("no instance", &error);
            return self.failed(batch, reason::NO_INSTANCE, &error.to_string());
        }
        let now_ms = batch.now_ms();
        let mut batch = batch;
        let mut attempt = 0;
        self.batches += 1;
        loop {
            let Some(live) = self.live.as_mut() else {
                return self.failed(batch, reason::NO_INSTANCE, "no instance");
            };
            if let Some(history) = &mut self.history {
                history.process(&batch, &self.loaded.reads());
            }
            live.store.data_mut().begin(batch);
            let answer = live.process();
            let state = live.store.data_mut();
            let current = state.current.take().expect("begin put it there");
            let mut alerts = std::mem::take(&mut state.alerts);
            match answer {
                Ok(Ok(())) => {
                    let shared = &self.loaded.shared;
                    shared.raise(&mut alerts, now_ms);
                    let (mut batch, filtered) = current.commit();
                    if shared.is_private {
                        // No plugin sees these fields, and one may hold what the stage is there to hide.
                        batch.clear_unknown();
                    }
                    shared.meters.kept_rows.inc_by(batch.rows() as u64);
                    self.is_kept_in_doubt = false;
                    self.sample("done", "", Some(batch.rows()));
                    self.keep_state(now_ms);
                    let dropped = if filtered > 0 { vec![(reason::FILTERED, filtered)] } else { Vec::new() };
                    return Processed { out: Some(batch), dropped, ..Processed::default() };
                }
                Ok(Err(Failure::RetryLater(_))) if attempt < RETRIES => {
                    attempt += 1;
                    batch = current.roll_back();
                }
                Ok(Err(Failure::RetryLater(message))) => {
                    self.warn("batch not processed", &message);
                    self.sample("retry-later", &message, None);
                    return self.failed(current.roll_back(), reason::NOT_READY, &message);
                }
                Ok(Err(Failure::Fatal(message))) => {
                    self.warn("batch refused", &message);
                    self.sample("refused", &message, None);
                    return self.failed(current.roll_back(), reason::REFUSED, &message);
                }
                Err(trapped) => {
                    let used = std::mem::take(&mut state.used);
                    self.live = None;
                    self.trapped("process", &trapped);
                    self.record(&used, ended(&trapped));
                    return self.failed(current.roll_back(), trapped.kind.name(), &trapped.text);
                }
            }
        }
    }

    fn tick_ms(&self) -> Option<u32> {
        let has_timer = self.live.as_ref().is_some_and(Instance::ticks);
        self.version.manifest.tick_ms.filter(|_| has_timer)
    }

    fn tick(&mut self, now_ms: u64) {
        self.exchange();
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
                let mut alerts = std::mem::take(&mut live.store.data_mut().alerts);
                self.loaded.shared.raise(&mut alerts, now_ms);
                self.is_kept_in_doubt = false;
                self.keep_state(now_ms);
            }
            Err(trapped) => {
                let used = std::mem::take(&mut live.store.data_mut().used);
                self.live = None;
                self.trapped("tick", &trapped);
                self.record(&used, ended(&trapped));
            }
        }
    }
}
