//! A plugin as a stage: batches in, rows out, and what happens when it fails or is exchanged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use sluice_flow::{Batch, ColumnId, Schema};
use sluice_pipeline::{Processed, Stage};

use crate::abi::Failure;
use crate::error::LoadErrorKind;
use crate::instance::{Instance, Trapped, cpu_ns};
use crate::limits::{RETRIES, SNAPSHOT_INTERVAL_MS};
use crate::load::{Came, Loaded};
use crate::recording::{Ended, History};
use crate::saved;
use crate::shadow::{Candidate, Running};
use crate::spec::OnError;
use crate::state::Used;
use crate::version::{Version, grant_names};

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
    /// Whether `kept` was restored and no call succeeded since.
    is_kept_in_doubt: bool,
    /// What a recording would need, if the stage makes any.
    history: Option<History>,
    /// Batches so far, of all instances.
    batches: u64,
    /// File that keeps the state from process to process.
    state_file: Option<PathBuf>,
}

/// The instance that an exchange put aside, as it was then.
struct Fallback {
    version: Arc<Version>,
    live: Option<Instance>,
    kept: Option<Arc<Vec<u8>>>,
    until: Instant,
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
            is_kept_in_doubt: false,
            history,
            batches: 0,
            state_file,
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
        tracing::warn!(stage = %self.loaded.stage(), plugin = %self.version.manifest.name, %error, "{what}");
    }

    /// Starts an instance if there is none.
    fn ensure_live(&mut self) -> Result<(), LoadErrorKind> {
        if self.live.is_some() {
            return Ok(());
        }
        let mut instance = self.version.start()?;
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
                    instance = self.version.start()?;
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
        let (number, came, new) = {
            let current = self.loaded.current();
            if current.number == self.generation {
                if self.fallback.as_ref().is_some_and(|fallback| Instant::now() > fallback.until) {
                    self.fallback = None;
                }
                return;
            }
            (current.number, current.came, Arc::clone(&current.version))
        };
        self.generation = number;
        if Arc::ptr_eq(&new, &self.version) {
            // Put back before this instance had taken up what failed elsewhere.
            self.fallback = None;
            return;
        }
        let began = Instant::now();
        let taken = match came {
            Came::New => self.take_over(&new),
            Came::BackByItself | Came::BackAsAsked => self.take_back(&new, came),
        };
        match taken {
            Ok((instance, is_restored)) => {
                let old = std::mem::replace(&mut self.version, new);
                let live = self.live.replace(instance);
                let window = self.version.shared.rollback_window;
                self.fallback = (came == Came::New && !window.is_zero()).then(|| Fallback {
                    version: old,
                    live,
                    kept: self.kept.clone(),
                    until: Instant::now() + window,
                });
                self.begin_history(is_restored);
                // Restored in the new version already: a trap there says nothing about these bytes.
                self.is_kept_in_doubt = false;
                let meters = &self.version.shared.meters;
                meters.swaps.inc();
                meters.swap_seconds.observe(began.elapsed().as_secs_f64());
                let manifest = &self.version.manifest;
                let signer = self.version.signed_by();
                tracing::info!(stage = %self.loaded.stage(), version = manifest.version, signer, "plugin exchanged");
            }
            Err(problem) => {
                self.version.shared.meters.swaps_refused.inc();
                self.warn("new version not taken up, the old one runs on", &problem);
                self.loaded.roll_back_from(&new, &problem);
            }
        }
    }

    /// An instance of the version before: with what the newer one knew, if that can be trusted and the older one
    /// understands it, or as it was put aside.
    fn take_back(&mut self, old: &Arc<Version>, came: Came) -> Result<(Instance, bool), String> {
        let aside = self.fallback.take().filter(|fallback| Arc::ptr_eq(&fallback.version, old));
        if came == Came::BackAsAsked
            && let Some(live) = self.live.as_mut().filter(|live| live.keeps_state())
            && let Ok(Some(state)) = live.snapshot()
        {
            let mut instance = old.start().map_err(|error| error.to_string())?;
            let state = Arc::new(state);
            if instance.keeps_state() && restore(&mut instance, Arc::clone(&state)) == Ok(true) {
                self.kept = Some(state);
                return Ok((instance, true));
            }
        }
        self.kept = aside.as_ref().and_then(|fallback| fallback.kept.clone());
        if let Some(live) = aside.and_then(|fallback| fallback.live) {
            return Ok((live, self.kept.is_some()));
        }
        let mut instance = old.start().map_err(|error| error.to_string())?;
        let mut is_restored = false;
        if let Some(state) = self.kept.clone().filter(|_| instance.keeps_state()) {
            is_restored = restore(&mut instance, state)?;
        }
        Ok((instance, is_restored))
    }

    /// After a failure of the version that runs: puts the one before back if it is still there. Whether this instance has
    /// gone back, and the batch can be tried again.
    fn went_back(&mut self, why: &str) -> bool {
        let failed = Arc::clone(&self.version);
        // Another instance may have been first.
        let is_back = self.loaded.roll_back_from(&failed, why) || {
            let current = self.loaded.current();
            current.number != self.generation && current.came == Came::BackByItself
        };
        if is_back {
            self.exchange();
        }
        is_back && !Arc::ptr_eq(&failed, &self.version)
    }

    /// An instance of the new version, and whether it was given the state of the old one.
    fn take_over(&mut self, new: &Version) -> Result<(Instance, bool), String> {
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
        let mut instance = new.start().map_err(|error| error.to_string())?;
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
        self.version.shared.meters.trap(trapped.kind.name());
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
        let (Some(recorder), Some(history)) = (&self.version.shared.recorder, &self.history) else { return };
        recorder.record(&self.version, used, history, ended);
    }

    /// Records the batch that was noted last, if it is one of those to record whatever comes of them.
    fn sample(&self, how: &str, text: &str, rows_kept: Option<usize>) {
        let is_sampled =
            self.version.shared.recorder.as_ref().is_some_and(|recorder| recorder.is_sampled(self.batches));
        if let Some(live) = self.live.as_ref().filter(|_| is_sampled) {
            let ended = Ended { how: how.to_owned(), text: text.to_owned(), rows_kept, backtrace: Vec::new() };
            self.record(&live.store.data().used, ended);
        }
    }

    /// What the stage's policy makes of a batch that failed.
    fn failed(&self, batch: Batch, reason: &'static str, why: &str) -> Processed {
        match self.version.shared.on_error {
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

/// A copy of the batch, if it is the turn of a candidate.
fn copy_for_candidate(loaded: &Loaded, batch: &Batch, batches: u64) -> Option<Batch> {
    loaded.shadowed_by().as_ref().filter(|shadow| shadow.wants(batches)).map(|_| batch.clone())
}

/// The state that an earlier process left.
fn saved_state(path: &Path, loaded: &Loaded, version: &Version) -> Option<Arc<Vec<u8>>> {
    match saved::load(path, &version.manifest.name, version.shared.limits.snapshot_bytes) {
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

/// A column as a grant names it.
fn named(column: ColumnId, schema: &Schema) -> String {
    grant_names(schema, [column].into_iter().collect()).join("")
}

/// What a plugin says of a batch that it refuses, with the column that it was refused, if one was.
fn with_denied(message: &str, denied: Option<ColumnId>, schema: &Schema) -> String {
    match denied {
        Some(column) => {
            format!("{message} (the grant does not include column {}, which it asked for)", named(column, schema))
        }
        None => message.to_owned(),
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
                history.process(&batch, &self.version.ceiling.0);
            }
            let copy = copy_for_candidate(&self.loaded, &batch, self.batches);
            let began = copy.as_ref().map(|_| cpu_ns());
            live.store.data_mut().begin(batch);
            let answer = live.process();
            let took = began.map_or(0, |began| cpu_ns().saturating_sub(began));
            let state = live.store.data_mut();
            let current = state.current.take().expect("begin put it there");
            let mut alerts = std::mem::take(&mut state.alerts);
            let denied = state.denied.get();
            match answer {
                Ok(Ok(())) => {
                    if let Some(copy) = copy {
                        let memory = state.limiter.used();
                        let running = Running { current: &current, alerts: &alerts, cpu_ns: took, memory };
                        // The candidate begins with what the running version knows now, this batch included.
                        let known = || live.snapshot().ok().flatten();
                        self.candidate = Candidate::compare(self.candidate.take(), &self.loaded, copy, &running, known);
                    }
                    let shared = &self.version.shared;
                    let (mut batch, filtered) = match current.commit() {
                        Ok(committed) => committed,
                        Err(left) => {
                            let why = left.why(&shared.schema);
                            self.warn("batch of a private stage refused", &why);
                            self.sample("refused", &why, None);
                            return self.failed(left.batch, reason::ADDRESS_LEFT, &why);
                        }
                    };
                    shared.raise(&mut alerts, now_ms);
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
                    self.warn("batch refused", &with_denied(&message, denied, &self.version.shared.schema));
                    self.sample("refused", &message, None);
                    return self.failed(current.roll_back(), reason::REFUSED, &message);
                }
                Err(trapped) => {
                    let used = std::mem::take(&mut state.used);
                    self.live = None;
                    self.trapped("process", &trapped);
                    self.record(&used, ended(&trapped));
                    batch = current.roll_back();
                    if self.went_back(&trapped.text) && self.ensure_live().is_ok() {
                        continue;
                    }
                    return self.failed(batch, trapped.kind.name(), &trapped.text);
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
                self.version.shared.raise(&mut alerts, now_ms);
                self.is_kept_in_doubt = false;
                self.keep_state(now_ms);
            }
            Err(trapped) => {
                let used = std::mem::take(&mut live.store.data_mut().used);
                self.live = None;
                self.trapped("tick", &trapped);
                self.record(&used, ended(&trapped));
                self.went_back(&trapped.text);
            }
        }
    }
}
