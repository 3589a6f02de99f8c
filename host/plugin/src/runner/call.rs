//! One call of `process` and what came of it.

use sluice_flow::{Batch, ColumnId, DeadLetter, Schema};
use sluice_pipeline::Processed;

use super::{Runner, reason};
use crate::abi::Failure;
use crate::error::LoadErrorKind;
use crate::hex;
use crate::instance::{TrapKind, Trapped, cpu_ns};
use crate::load::Loaded;
use crate::recording::Ended;
use crate::shadow::{Candidate, Running};
use crate::shared::printable;
use crate::spec::OnError;
use crate::version::grant_names;

/// Bytes of what a failure said that go with dead letters.
const MAX_ERROR_BYTES: usize = 1024;
/// Frames of a backtrace that go with dead letters, and bytes of each.
const MAX_FRAMES: usize = 32;
const MAX_FRAME_BYTES: usize = 256;

/// A batch that was not processed, as it came, and why.
pub(super) struct Failed {
    pub(super) batch: Batch,
    pub(super) reason: &'static str,
    pub(super) error: String,
    pub(super) backtrace: Vec<String>,
    /// How the instance ended, if it did.
    pub(super) trap: Option<TrapKind>,
    /// Whether the instance had processed a batch before.
    pub(super) was_used: bool,
}

impl Failed {
    /// The plugin was not called, or answered.
    pub(super) fn not_called(batch: Batch, reason: &'static str, error: String) -> Failed {
        Failed { batch, reason, error, backtrace: Vec::new(), trap: None, was_used: false }
    }
}

impl Runner {
    /// Has a batch processed: what comes out is added to `processed`. A batch that may succeed later is tried
    /// again, and so is one that ended a version which could be put back, or an instance that was only old.
    pub(super) fn attempt(
        &mut self,
        mut batch: Batch,
        deadline_ms: u64,
        processed: &mut Processed,
    ) -> Result<(), Box<Failed>> {
        let mut retries = self.version.shared.failure.retries;
        let mut is_renewed = false;
        loop {
            let failed = match self.call(batch, deadline_ms, processed) {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            // What was not ready may have looped until then: with its time it has used up its tries.
            if failed.reason == reason::NOT_READY && retries > 0 && self.is_over_budget().is_none() {
                retries -= 1;
                self.version.shared.meters.retries.inc();
            } else if failed.trap.is_some() && self.went_back(&failed.error) {
                retries = self.version.shared.failure.retries;
            } else if failed.trap == Some(TrapKind::Memory) && failed.was_used && !is_renewed {
                // What filled it may have been there before this batch.
                is_renewed = true;
            } else {
                return Err(failed);
            }
            batch = failed.batch;
        }
    }

    /// Sees to it that there is an instance for the batch, which it gives back.
    fn begin_call(&mut self, batch: Batch) -> Result<Batch, Box<Failed>> {
        if let Err(error) = self.ensure_live() {
            if !self.is_apart {
                self.warn("no instance", &error);
            }
            let reason = match error {
                LoadErrorKind::Process { .. } => TrapKind::Process.name(),
                _ => reason::NO_INSTANCE,
            };
            return Err(Box::new(Failed::not_called(batch, reason, error.to_string())));
        }
        Ok(batch)
    }

    fn call(&mut self, batch: Batch, deadline_ms: u64, processed: &mut Processed) -> Result<(), Box<Failed>> {
        let batch = self.begin_call(batch)?;
        let now_ms = batch.now_ms();
        if let Some(history) = &mut self.history {
            history.process(&batch, &self.version.ceiling.0);
        }
        // A part of a batch says nothing about a candidate that gets the whole of it.
        let mut copy = (!self.is_apart).then(|| copy_for_candidate(&self.loaded, &batch, self.batches)).flatten();
        // The candidate begins the batch with what the running version knows.
        let needs_state = copy.is_some() && Candidate::needs_state(self.candidate.as_ref(), &self.loaded, self.batches);
        let known = if needs_state { self.live.as_mut().expect("ensured above").snapshot() } else { Ok(None) };
        let (batch, known) = match known {
            Ok(known) => (batch, known),
            Err(trapped) => {
                // That is nothing that this batch did: it goes to a fresh instance, and without the candidate.
                self.live = None;
                self.trapped("snapshot", &trapped);
                if self.loaded.end_shadow() {
                    self.warn("candidate ended", &"the running version has no state to give it: its `snapshot` failed");
                }
                copy = None;
                (self.begin_call(batch)?, None)
            }
        };
        let live = self.live.as_mut().expect("ensured above");
        let began = copy.as_ref().map(|_| cpu_ns());
        let was_used = live.calls() > 0;
        live.data_mut().keeps_all_alerts = copy.is_some();
        live.data_mut().begin(batch);
        let answer = live.process(deadline_ms);
        let took = began.map_or(0, |began| cpu_ns().saturating_sub(began));
        let state = live.data_mut();
        let current = state.current.take().expect("begin put it there");
        let alerts = std::mem::take(&mut state.alerts);
        let denied = state.denied.get();
        match answer {
            Ok(Ok(())) => {
                if let Some(copy) = copy {
                    let memory = state.limiter.used();
                    let running = Running { current: &current, alerts: &alerts, cpu_ns: took, memory };
                    let before = self.candidate.take();
                    self.candidate = Candidate::compare(before, &self.loaded, copy, &running, known, self.batches);
                }
                let shared = &self.version.shared;
                let (mut batch, filtered) = match current.commit() {
                    Ok(committed) => committed,
                    Err(left) => {
                        *live.broke_budget() |= shared.withdraw(alerts);
                        let why = left.why(&shared.schema);
                        self.warn("batch of a private stage refused", &why);
                        self.sample("refused", &why, None);
                        return Err(Box::new(Failed::not_called(left.batch, reason::ADDRESS_LEFT, why)));
                    }
                };
                *live.broke_budget() |= shared.raise(alerts, now_ms);
                if shared.is_private {
                    // No plugin sees these fields, and one may hold what the stage is there to hide.
                    batch.clear_unknown();
                }
                // Dead letters that a plugin could process are rows as others are.
                batch.set_dead_letter(None);
                shared.meters.kept_rows.inc_by(batch.rows() as u64);
                self.is_kept_in_doubt = false;
                self.sample("done", "", Some(batch.rows()));
                self.keep_state(now_ms);
                processed.add_dropped(reason::FILTERED, filtered);
                processed.add_out(batch);
                Ok(())
            }
            Ok(Err(failure)) => {
                *live.broke_budget() |= self.version.shared.withdraw(alerts);
                let (how, what, reason, message) = match failure {
                    Failure::RetryLater(message) => ("retry-later", "batch not processed", reason::NOT_READY, message),
                    Failure::Fatal(message) => ("refused", "batch refused", reason::REFUSED, message),
                };
                if !self.is_apart {
                    let said = with_denied(&message, denied, &self.version.shared.schema);
                    self.warn(what, &printable(&said, MAX_ERROR_BYTES));
                    self.sample(how, &message, None);
                }
                Err(Box::new(Failed { was_used, ..Failed::not_called(current.roll_back(), reason, message) }))
            }
            Err(trapped) => {
                let used = std::mem::take(&mut state.used);
                self.version.shared.withdraw(alerts);
                self.live = None;
                self.trapped("process", &trapped);
                self.record(&used, ended(&trapped));
                let Trapped { kind, text, backtrace } = trapped;
                let failed = Failed::not_called(current.roll_back(), kind.name(), text);
                Err(Box::new(Failed { backtrace, trap: Some(kind), was_used, ..failed }))
            }
        }
    }

    /// What the stage's policy makes of rows that were not processed.
    pub(super) fn fail(&self, failed: Failed, processed: &mut Processed) {
        let shared = &self.version.shared;
        let Failed { mut batch, reason, error, backtrace, .. } = failed;
        let rows = batch.rows();
        shared.meters.failed_rows(reason, rows);
        match shared.on_error {
            // Refused in the configuration; a way round that would still let nothing through.
            OnError::Pass if !shared.is_private => processed.add_out(batch),
            OnError::DeadLetter => {
                let manifest = &self.version.manifest;
                let frames = backtrace.iter().take(MAX_FRAMES);
                batch.set_dead_letter(Some(std::sync::Arc::new(DeadLetter {
                    stage: std::sync::Arc::clone(&shared.name),
                    reason,
                    error: printable(&error, MAX_ERROR_BYTES),
                    backtrace: frames.map(|frame| printable(frame, MAX_FRAME_BYTES)).collect(),
                    plugin: manifest.name.clone(),
                    version: manifest.version.clone(),
                    digest: hex(&self.version.digest),
                })));
                processed.add_dead(batch);
            }
            OnError::Stop if !matches!(reason, reason::QUARANTINED | reason::OVER_BUDGET) => {
                processed.stop.get_or_insert_with(|| format!("stage {}: {error}", shared.name));
                processed.add_dropped(reason, rows);
            }
            OnError::Drop | OnError::Pass | OnError::Stop => processed.add_dropped(reason, rows),
        }
    }
}

/// A copy of the batch, if it is the turn of a candidate.
fn copy_for_candidate(loaded: &Loaded, batch: &Batch, batches: u64) -> Option<Batch> {
    loaded.shadowed_by().as_ref().filter(|shadow| shadow.wants(batches)).map(|_| batch.clone())
}

pub(super) fn ended(trapped: &Trapped) -> Ended {
    Ended {
        how: trapped.kind.name().to_owned(),
        text: trapped.text.clone(),
        backtrace: trapped.backtrace.clone(),
        rows_kept: None,
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
