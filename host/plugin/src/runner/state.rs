//! Instances and what they know: started, restored, kept, and exchanged for fresh ones.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Fallback, Runner};
use crate::error::LoadErrorKind;
use crate::instance::{Instance, Trapped};
use crate::limits::{MAX_RECYCLE_CALLS, RECYCLE_CALLS, SNAPSHOT_INTERVAL_MS, SNAPSHOT_PART};
use crate::load::Loaded;
use crate::recording::History;
use crate::saved;
use crate::version::Version;

impl Runner {
    /// Starts an instance if there is none.
    pub(super) fn ensure_live(&mut self) -> Result<(), LoadErrorKind> {
        if self.live.is_some() {
            return Ok(());
        }
        let mut instance = self.version.start()?;
        if self.is_kept_in_doubt {
            self.keep(None);
            self.is_kept_in_doubt = false;
        }
        let mut is_restored = false;
        if let Some(state) = self.fetch_kept() {
            match restore(&mut instance, &state) {
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

    /// The state that an instance begins with after a trap.
    pub(super) fn fetch_kept(&mut self) -> Option<Arc<Vec<u8>>> {
        if self.is_kept_aside {
            let state = self.fallback.as_mut().and_then(Fallback::kept);
            self.keep(state);
        }
        self.kept.clone()
    }

    /// From now on an instance begins with this state after a trap.
    pub(super) fn keep(&mut self, state: Option<Arc<Vec<u8>>>) {
        self.kept = state;
        self.is_kept_aside = false;
    }

    /// Begins the history of an instance, which has the kept state or none.
    pub(super) fn begin_history(&mut self, has_kept_state: bool) {
        let is_stateful = self.is_stateful();
        if let Some(history) = &mut self.history {
            history.begin(self.kept.clone().filter(|_| has_kept_state), is_stateful);
        }
    }

    /// Whether what the instance does may depend on what it did before.
    pub(super) fn is_stateful(&self) -> bool {
        self.version.manifest.stateful || self.live.as_ref().is_some_and(Instance::keeps_state)
    }

    /// Takes a snapshot if the last one is old: for an instance that follows a trap.
    pub(super) fn keep_state(&mut self, now_ms: u64) {
        if !self.live.as_ref().is_some_and(Instance::keeps_state) {
            return;
        }
        let at = *self.kept_at_ms.get_or_insert(now_ms);
        // Sooner if a recording could not hold all the calls since.
        let is_early = self.history.as_ref().is_some_and(History::is_filling);
        // Either way: batch time goes back where old captures are read.
        let is_slow = self.snapshot_pause_ms > SNAPSHOT_INTERVAL_MS;
        if now_ms.abs_diff(at) < self.snapshot_pause_ms && (is_slow || !is_early) {
            return;
        }
        self.kept_at_ms = Some(now_ms);
        let began = Instant::now();
        self.snapshot();
        self.snapshot_pause_ms = pause_ms(began.elapsed());
    }

    /// Takes a snapshot, into the file too if there is one.
    pub(super) fn snapshot(&mut self) {
        if !self.keep_now() {
            return;
        }
        let (Some(path), Some(state)) = (&self.state_file, &self.kept) else { return };
        if let Err(error) = saved::save(path, &self.version.manifest.name, state) {
            self.warn("state not saved", &format!("{}: {error}", path.display()));
        }
    }

    /// Takes a snapshot for an instance that follows a trap: whether there is one.
    pub(super) fn keep_now(&mut self) -> bool {
        let Some(live) = self.live.as_mut().filter(|live| live.keeps_state()) else { return false };
        match live.snapshot() {
            Ok(state) => self.keep(state.map(Arc::new)),
            Err(trapped) => {
                self.live = None;
                self.trapped("snapshot", &trapped);
                return false;
            }
        }
        self.begin_history(true);
        true
    }

    /// Exchanges an instance whose memory has grown to the mark for a fresh one that knows the same.
    ///
    /// One whose state alone needs as much is left for longer and longer: [`RECYCLE_CALLS`] batches at first, twice as
    /// many each time that it did not help.
    pub(super) fn recycle(&mut self) {
        let mark = self.version.shared.limits.recycle_mark();
        let Some(live) = &mut self.live else { return };
        if live.memory() < mark || live.calls() < self.recycle_calls {
            return;
        }
        let is_forgetful = self.version.manifest.stateful && !live.keeps_state();
        if is_forgetful {
            return;
        }
        let state = match live.snapshot() {
            Ok(state) => state.map(Arc::new),
            Err(trapped) => {
                self.live = None;
                self.trapped("snapshot", &trapped);
                return;
            }
        };
        let fresh = self.version.start().map_err(|error| error.to_string()).and_then(|mut fresh| {
            let is_understood = state.as_ref().map_or(Ok(true), |state| restore(&mut fresh, state))?;
            if is_understood { Ok(fresh) } else { Err("it does not understand its own state".to_owned()) }
        });
        match fresh {
            Ok(fresh) => {
                let helped = fresh.memory() < mark;
                self.recycle_calls =
                    if helped { RECYCLE_CALLS } else { (self.recycle_calls * 2).min(MAX_RECYCLE_CALLS) };
                let is_restored = state.is_some();
                if is_restored {
                    self.keep(state);
                }
                self.live = Some(fresh);
                self.begin_history(is_restored);
                self.version.shared.meters.recycled.inc();
            }
            Err(problem) => {
                self.recycle_calls = (self.recycle_calls * 2).min(MAX_RECYCLE_CALLS);
                self.warn("instance not exchanged for a fresh one", &problem);
            }
        }
    }
}

/// The state that an earlier process left.
pub(super) fn saved_state(path: &Path, loaded: &Loaded, version: &Version) -> Option<Arc<Vec<u8>>> {
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
pub(super) fn restore(instance: &mut Instance, state: &[u8]) -> Result<bool, String> {
    restored(instance.restore(state))
}

/// What came of giving an instance a state.
pub(super) fn restored(answer: Result<Result<bool, String>, Trapped>) -> Result<bool, String> {
    match answer {
        Ok(Ok(is_understood)) => Ok(is_understood),
        Ok(Err(message)) => Err(format!("restore: {message}")),
        Err(trapped) => Err(format!("restore: {}", trapped.text)),
    }
}

/// Milliseconds of batch time until the next snapshot, after one that took so long: one that takes long, or loops, takes no
/// more than that part of a worker's time.
fn pause_ms(took: Duration) -> u64 {
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    took_ms.saturating_mul(SNAPSHOT_PART).max(SNAPSHOT_INTERVAL_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_that_take_long_are_rare() {
        let paused = [0, 500, 501, 10_000].map(|ms| pause_ms(Duration::from_millis(ms)));
        assert_eq!(paused, [10_000, 10_000, 10_020, 200_000]);
        assert_eq!(pause_ms(Duration::MAX), u64::MAX);
    }
}
