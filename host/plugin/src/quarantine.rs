//! Whether the plugin of a stage is called at all, after it failed again and again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::load::Loaded;

/// Failures within a window that can be looked back at.
pub const MAX_TRAPS: u32 = 1000;

/// When a plugin is not called any more, and when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineRules {
    /// Traps that count, of all instances together: one a batch or tick, and all of a batch on which nothing worked.
    pub traps: u32,
    /// Time in which they do.
    pub within: Duration,
    /// Time until one batch is tried again. Twice as long after each that traps too.
    pub retry_after: Duration,
    /// The longest that time gets.
    pub max_retry_after: Duration,
}

impl Default for QuarantineRules {
    fn default() -> QuarantineRules {
        QuarantineRules {
            traps: 5,
            within: Duration::from_secs(60),
            retry_after: Duration::from_secs(10),
            max_retry_after: Duration::from_secs(600),
        }
    }
}

/// A plugin that is not called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// What it said last, or what the operator said.
    pub why: String,
    /// Since when.
    pub since: Instant,
    /// When one batch is tried again; none: when an operator releases it.
    pub until: Option<Instant>,
}

/// Whether a batch may go to the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As ever.
    Yes,
    /// This one, to see whether it works again.
    Trial,
    /// Not now, and why.
    No(String),
}

/// What a failure changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The plugin is not called any more, for so long.
    Begun(Duration),
    /// The trial failed: not for so long again.
    Longer(Duration),
}

/// The quarantine of a stage, for all its instances.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// Whether there is one: looked at for each batch, without the lock.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When batches failed, the oldest first.
    failed: VecDeque<Instant>,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    what: Quarantined,
    wait: Duration,
    is_tried: bool,
}

impl Quarantine {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a batch may go to the plugin at `now`. After [`Admission::Trial`] one of [`failed`](Self::failed) and
    /// [`worked`](Self::worked) has to follow.
    pub(crate) fn admit(&self, now: impl FnOnce() -> Instant) -> Admission {
        if !self.is_on.load(Ordering::Acquire) {
            return Admission::Yes;
        }
        let mut state = self.state();
        let Some(closed) = &mut state.closed else { return Admission::Yes };
        if !closed.is_tried && closed.what.until.is_some_and(|until| now() >= until) {
            closed.is_tried = true;
            return Admission::Trial;
        }
        Admission::No(closed.what.why.clone())
    }

    /// Notes that a batch or tick failed at `now`, for so many traps.
    pub(crate) fn failed(&self, rules: &QuarantineRules, now: Instant, traps: u32, why: &str) -> Option<Change> {
        let mut state = self.state();
        if let Some(closed) = &mut state.closed {
            // Others were under way when it began.
            if !std::mem::take(&mut closed.is_tried) {
                return None;
            }
            closed.wait = closed.wait.saturating_mul(2).min(rules.max_retry_after);
            closed.what.until = now.checked_add(closed.wait);
            why.clone_into(&mut closed.what.why);
            return Some(Change::Longer(closed.wait));
        }
        let most = rules.traps.clamp(1, MAX_TRAPS) as usize;
        state.failed.extend(std::iter::repeat_n(now, most.min(traps as usize)));
        while state.failed.len() > most
            || state.failed.front().is_some_and(|first| now.saturating_duration_since(*first) > rules.within)
        {
            state.failed.pop_front();
        }
        if state.failed.len() < most {
            return None;
        }
        state.failed.clear();
        let wait = rules.retry_after.min(rules.max_retry_after);
        let what = Quarantined { why: why.to_owned(), since: now, until: now.checked_add(wait) };
        state.closed = Some(Closed { what, wait, is_tried: false });
        self.is_on.store(true, Ordering::Release);
        Some(Change::Begun(wait))
    }

    /// Notes that the trial worked: whether the quarantine is over by that.
    pub(crate) fn worked(&self) -> bool {
        let mut state = self.state();
        if !state.closed.as_ref().is_some_and(|closed| closed.is_tried) {
            return false;
        }
        self.end(&mut state)
    }

    /// Begins one that lasts until it is [`release`](Self::release)d.
    pub(crate) fn begin(&self, now: Instant, why: &str) {
        let what = Quarantined { why: why.to_owned(), since: now, until: None };
        self.state().closed = Some(Closed { what, wait: Duration::ZERO, is_tried: false });
        self.is_on.store(true, Ordering::Release);
    }

    /// Ends it, whatever the plugin did: whether there was one.
    pub(crate) fn release(&self) -> bool {
        self.end(&mut self.state())
    }

    fn end(&self, state: &mut State) -> bool {
        self.is_on.store(false, Ordering::Release);
        state.failed.clear();
        state.closed.take().is_some()
    }

    /// What is known of it, if there is one.
    pub(crate) fn get(&self) -> Option<Quarantined> {
        self.state().closed.as_ref().map(|closed| closed.what.clone())
    }
}

/// What an operator does about a plugin that fails.
impl Loaded {
    /// Has the plugin not called any more, until it is [released](Self::release) or exchanged: rows go by `on_error` under
    /// the reason `quarantined`, dropped where that says `stop`.
    pub fn quarantine(&self, why: &str) {
        self.version().shared.begin_quarantine(why);
    }

    /// Ends the quarantine, whoever began it: whether there was one.
    pub fn release(&self) -> bool {
        self.version().shared.release("as asked")
    }

    /// Since when, until when and why the plugin is not called, if so.
    #[must_use]
    pub fn is_quarantined(&self) -> Option<Quarantined> {
        self.version().shared.quarantine.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: QuarantineRules = QuarantineRules {
        traps: 3,
        within: Duration::from_secs(60),
        retry_after: Duration::from_secs(10),
        max_retry_after: Duration::from_secs(30),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_traps_in_the_window_begin_it_and_as_many_spread_out_do_not() {
        let (quarantine, start) = (Quarantine::default(), Instant::now());
        for at in [0, 50, 100, 150] {
            assert_eq!(quarantine.failed(&RULES, start + seconds(at), 1, "x"), None, "{at}");
        }
        assert_eq!(quarantine.admit(|| start + seconds(150)), Admission::Yes);
        // 150, 160 and 170 are within a minute.
        assert_eq!(quarantine.failed(&RULES, start + seconds(160), 1, "x"), Some(Change::Begun(seconds(10))));
        assert_eq!(quarantine.admit(|| start + seconds(160)), Admission::No("x".to_owned()));
        let what = quarantine.get().unwrap();
        assert_eq!((what.since, what.until), (start + seconds(160), Some(start + seconds(170))));
    }

    #[test]
    fn one_batch_tries_it_again_and_each_that_traps_doubles_the_wait_up_to_the_most() {
        let (quarantine, start) = (Quarantine::default(), Instant::now());
        assert_eq!((0..3).filter_map(|_| quarantine.failed(&RULES, start, 1, "x")).count(), 1);
        let mut now = start;
        for wait in [10, 20, 30, 30] {
            assert_eq!(quarantine.admit(|| now + seconds(wait) - Duration::from_millis(1)), Admission::No("x".into()));
            now += seconds(wait);
            assert_eq!(quarantine.admit(|| now), Admission::Trial);
            assert_eq!(quarantine.admit(|| now), Admission::No("x".into()), "one at a time");
            let longer = (wait * 2).min(30);
            assert_eq!(quarantine.failed(&RULES, now, 1, "x"), Some(Change::Longer(seconds(longer))));
            assert_eq!(quarantine.failed(&RULES, now, 1, "x"), None, "one that was under way counts for nothing");
        }
        now += seconds(30);
        assert!(!quarantine.worked(), "nothing was tried");
        assert_eq!(quarantine.admit(|| now), Admission::Trial);
        assert!(quarantine.worked());
        assert_eq!((quarantine.admit(|| now), quarantine.get()), (Admission::Yes, None));
        assert_eq!(quarantine.failed(&RULES, now, 1, "x"), None, "it counts from the beginning");
    }

    #[test]
    fn a_batch_on_which_nothing_worked_can_be_enough() {
        let (quarantine, start) = (Quarantine::default(), Instant::now());
        assert_eq!(quarantine.failed(&RULES, start, 2, "x"), None);
        assert_eq!(quarantine.failed(&RULES, start + seconds(61), 2, "x"), None, "those before are over");
        assert_eq!(quarantine.failed(&RULES, start + seconds(61), 64, "x"), Some(Change::Begun(seconds(10))));
    }

    #[test]
    fn an_operators_lasts_until_it_is_released() {
        let (quarantine, start) = (Quarantine::default(), Instant::now());
        quarantine.begin(start, "we look into it");
        assert_eq!(quarantine.admit(|| start + seconds(1_000_000)), Admission::No("we look into it".into()));
        assert_eq!(quarantine.failed(&RULES, start, 1, "x"), None);
        assert_eq!(quarantine.get().unwrap().until, None);
        assert!(quarantine.release() && !quarantine.release());
        assert_eq!(quarantine.admit(|| start), Admission::Yes);
    }
}
