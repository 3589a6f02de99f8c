//! Exchange of the version between two batches, and going back.

use std::sync::Arc;
use std::time::Instant;

use super::apart::Sizes;
use super::state::{restore, restored};
use super::{Fallback, Runner};
use crate::instance::Instance;
use crate::limits::RECYCLE_CALLS;
use crate::load::Came;
use crate::version::Version;

impl Runner {
    /// Takes up the published version, if it is another one. Between batches only.
    pub(super) fn exchange(&mut self) {
        let (number, came, new) = {
            let current = self.loaded.current();
            if current.number == self.generation {
                // What nobody else knows stays until somebody does.
                let is_needed = self.is_kept_aside;
                if let Some(over) = self.fallback.take_if(|fallback| !is_needed && Instant::now() > fallback.until) {
                    retire(over.live);
                }
                return;
            }
            (current.number, current.came, Arc::clone(&current.version))
        };
        // What this instance passed over did not fail in it: what it knows goes on.
        let came = if number == self.generation + 1 { came } else { Came::New };
        self.generation = number;
        if Arc::ptr_eq(&new, &self.version) {
            // Put back before this instance had taken up what failed elsewhere.
            self.fallback.take_if(|_| !self.is_kept_aside);
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
                let older = self.fallback.take();
                self.fallback = (came == Came::New && !window.is_zero()).then(|| Fallback {
                    version: old,
                    live,
                    kept: self.kept.clone(),
                    until: Instant::now() + window,
                });
                retire(older.and_then(|older| older.live));
                self.begin_history(is_restored);
                // Restored in the new version already: a trap there says nothing about these bytes.
                self.is_kept_in_doubt = false;
                self.sizes = Sizes::default();
                self.recycle_calls = RECYCLE_CALLS;
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
        if came == Came::BackAsAsked
            && let Some(live) = self.live.as_mut().filter(|live| live.keeps_state())
            && let Ok(Some(state)) = live.snapshot()
        {
            let mut instance = old.start().map_err(|error| error.to_string())?;
            let state = Arc::new(state);
            if instance.keeps_state() && restore(&mut instance, &state) == Ok(true) {
                self.keep(Some(state));
                return Ok((instance, true));
            }
        }
        let mut aside = self.fallback.take().filter(|fallback| Arc::ptr_eq(&fallback.version, old));
        let kept = aside.as_mut().and_then(Fallback::kept);
        self.keep(kept);
        if let Some(live) = aside.and_then(|fallback| fallback.live) {
            return Ok((live, self.kept.is_some()));
        }
        let mut instance = old.start().map_err(|error| error.to_string())?;
        let mut is_restored = false;
        if let Some(state) = self.kept.clone().filter(|_| instance.keeps_state()) {
            is_restored = restore(&mut instance, &state)?;
        }
        Ok((instance, is_restored))
    }

    /// After a failure of the version that runs: puts the one before back if it is still there. Whether this instance has
    /// gone back, and the batch can be tried again.
    pub(super) fn went_back(&mut self, why: &str) -> bool {
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
        let mut instance = new.take().map_err(|error| error.to_string())?;
        // One that is put aside has its state for as long as anybody may want it, and need not be copied, unless for a recording.
        let is_put_aside = !new.shared.rollback_window.is_zero() && self.history.is_none();
        if let Some(live) = self.live.as_mut().filter(|_| is_put_aside) {
            match live.hand_over(instance) {
                Ok(given) => {
                    instance = given.heir;
                    let is_aside = given.giver.is_ok();
                    if let Err(trapped) = given.giver {
                        self.live = None;
                        self.trapped("snapshot", &trapped);
                    }
                    if let Some(answer) = given.answer {
                        self.tell_unless(restored(answer)?);
                        if is_aside {
                            self.keep(None);
                            self.is_kept_aside = true;
                        } else {
                            // What there was before is what is left.
                            self.fetch_kept();
                        }
                        return Ok((instance, true));
                    }
                }
                Err(heir) => instance = heir,
            }
        }
        if let Some(live) = self.live.as_mut().filter(|live| live.keeps_state()) {
            match live.snapshot() {
                Ok(state) => self.keep(state.map(Arc::new)),
                Err(trapped) => {
                    self.live = None;
                    self.trapped("snapshot", &trapped);
                }
            }
        }
        let state = self.fetch_kept();
        let is_given = state.is_some() && instance.keeps_state();
        if let Some(state) = state {
            if instance.keeps_state() {
                self.tell_unless(restore(&mut instance, &state)?);
            } else {
                tracing::info!(stage = %self.loaded.stage(), "the new version exports no state: it starts empty");
            }
        }
        Ok((instance, is_given))
    }

    fn tell_unless(&self, is_understood: bool) {
        if !is_understood {
            tracing::warn!(stage = %self.loaded.stage(), "the new version does not know the state: it starts empty");
        }
    }
}

/// Memory of an instance from which on giving it back to the system takes longer than starting a thread.
const LARGE_BYTES: usize = 2 << 20;

/// Lets go of an instance without holding up batches.
fn retire(instance: Option<Instance>) {
    let Some(instance) = instance.filter(|instance| instance.data().limiter.used() >= LARGE_BYTES) else { return };
    // If there is no thread to be had, it is dropped with the closure.
    drop(std::thread::Builder::new().name("plugin-retired".to_owned()).spawn(move || drop(instance)));
}
