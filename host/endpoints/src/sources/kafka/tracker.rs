//! How far a source may say that it has read: behind the last batch before which everything is settled.

use std::collections::{HashMap, VecDeque};

use sluice_pipeline::Outcome;

/// A partition that is or was assigned. One that comes back after it went is another slot.
pub(super) type Slot = usize;

/// The offset after the last value of each slot in a batch.
type Offsets = Vec<(Slot, i64)>;

#[derive(Debug)]
struct Entry {
    is_settled: bool,
    offsets: Offsets,
}

/// Batches that are under way, in order, with the offsets that they end at.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Number of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Of the batch that is being filled.
    open: Offsets,
    /// What may be committed and is not.
    ready: HashMap<Slot, i64>,
    unsettled: usize,
    /// A batch failed: nothing behind it is ever ready.
    has_failed: bool,
}

impl Tracker {
    /// A value was read, and belongs to the open batch or to no batch at all.
    #[inline]
    pub(super) fn read(&mut self, slot: Slot, offset: i64) {
        let next = offset + 1;
        match self.open.iter_mut().find(|(open, _)| *open == slot) {
            Some((_, end)) => *end = next,
            None => self.open.push((slot, next)),
        }
    }

    /// Whether values were read since the last batch.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether values of a slot were read since its last batch.
    pub(super) fn has_open_of(&self, slot: Slot) -> bool {
        self.open.iter().any(|(open, _)| *open == slot)
    }

    /// Closes the open batch; its number is what [`settle`](Self::settle) is told.
    pub(super) fn close(&mut self) -> u64 {
        let offsets = std::mem::take(&mut self.open);
        self.enter(offsets)
    }

    /// Closes the open batch of one slot, where each has its own.
    pub(super) fn close_of(&mut self, slot: Slot) -> u64 {
        let offsets = self.open.extract_if(.., |(open, _)| *open == slot).collect();
        self.enter(offsets)
    }

    fn enter(&mut self, offsets: Offsets) -> u64 {
        self.unsettled += 1;
        self.entries.push_back(Entry { is_settled: false, offsets });
        self.first + self.entries.len() as u64 - 1
    }

    /// A batch arrived, or did not.
    pub(super) fn settle(&mut self, number: u64, outcome: Outcome) {
        let Some(entry) = number.checked_sub(self.first).and_then(|at| self.entries.get_mut(at as usize)) else {
            return;
        };
        if std::mem::replace(&mut entry.is_settled, true) {
            return;
        }
        self.unsettled -= 1;
        if outcome == Outcome::Failed {
            // What comes behind it must not hide it; it is read again by whoever reads on from here.
            self.has_failed = true;
            entry.offsets.clear();
        }
        while !self.has_failed && self.entries.front().is_some_and(|entry| entry.is_settled) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.first += 1;
            self.ready.extend(entry.offsets);
        }
    }

    /// Batches that are not settled.
    pub(super) fn under_way(&self) -> usize {
        self.unsettled
    }

    /// Whether a batch was lost.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Takes out what may be committed: the offset of the next value to read, by slot.
    pub(super) fn take_ready(&mut self) -> Offsets {
        self.ready.drain().collect()
    }

    /// Forgets everything but the numbers: the values are read again.
    pub(super) fn forget(&mut self) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.unsettled = 0;
        self.open.clear();
        self.ready.clear();
        self.has_failed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(tracker: &mut Tracker) -> Offsets {
        let mut ready = tracker.take_ready();
        ready.sort_unstable();
        ready
    }

    #[test]
    fn nothing_is_ready_before_everything_in_front_of_it_is() {
        let mut tracker = Tracker::default();
        tracker.read(0, 10);
        tracker.read(1, 5);
        tracker.read(0, 11);
        let first = tracker.close();
        tracker.read(0, 12);
        let second = tracker.close();
        tracker.settle(second, Outcome::Settled);
        assert_eq!((ready(&mut tracker), tracker.under_way()), (vec![], 1));
        tracker.settle(first, Outcome::Settled);
        assert_eq!((ready(&mut tracker), tracker.under_way()), (vec![(0, 13), (1, 6)], 0));
        assert_eq!(ready(&mut tracker), []);
    }

    #[test]
    fn slots_may_have_batches_of_their_own() {
        let mut tracker = Tracker::default();
        tracker.read(0, 10);
        tracker.read(1, 5);
        tracker.read(0, 11);
        let of_1 = tracker.close_of(1);
        assert!(tracker.has_open_of(0) && !tracker.has_open_of(1));
        let of_0 = tracker.close_of(0);
        tracker.settle(of_0, Outcome::Settled);
        assert_eq!(ready(&mut tracker), []);
        tracker.settle(of_1, Outcome::Settled);
        assert_eq!((ready(&mut tracker), tracker.has_open()), (vec![(0, 12), (1, 6)], false));
    }

    #[test]
    fn nothing_behind_a_lost_batch_is_ever_ready() {
        let mut tracker = Tracker::default();
        for offset in 0..3 {
            tracker.read(0, offset);
            tracker.close();
        }
        tracker.settle(0, Outcome::Settled);
        tracker.settle(1, Outcome::Failed);
        tracker.settle(2, Outcome::Settled);
        assert_eq!((ready(&mut tracker), tracker.under_way()), (vec![(0, 1)], 0));
        tracker.forget();
        tracker.read(0, 1);
        let again = tracker.close();
        // Late news of an old batch changes nothing.
        tracker.settle(2, Outcome::Failed);
        tracker.settle(again, Outcome::Settled);
        assert_eq!(ready(&mut tracker), [(0, 2)]);
    }
}
