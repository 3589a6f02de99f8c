//! From subject to slot: open addressing with linear probing. (The standard map is twice as slow in wasm,
//! which has no instructions for its groups.)

use crate::aggregate::{Addr, hash};

const EMPTY: u32 = u32::MAX;

/// A map of a size fixed at the start; it is never more than half full.
#[derive(Debug)]
pub(crate) struct Index {
    places: Vec<(Addr, u32)>,
    len: usize,
    seed: u64,
}

impl Index {
    /// Room for `max` subjects.
    pub(crate) fn new(max: usize, seed: u64) -> Index {
        let size = (max * 2).next_power_of_two().max(2);
        Index { places: vec![(Addr::default(), EMPTY); size], len: 0, seed }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Subjects and slots, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Addr, u32)> {
        self.places.iter().copied().filter(|(_, slot)| *slot != EMPTY)
    }

    fn home(&self, subject: Addr) -> usize {
        hash(subject, self.seed) as usize & (self.places.len() - 1)
    }

    /// The place of a subject, or the empty one where it would be.
    #[inline]
    fn find(&self, subject: Addr) -> usize {
        let mut at = self.home(subject);
        loop {
            match self.places.get(at) {
                Some((there, slot)) if *slot != EMPTY && *there != subject => at = (at + 1) & (self.places.len() - 1),
                _ => return at,
            }
        }
    }

    /// The slot of a subject.
    #[inline]
    pub(crate) fn get(&self, subject: Addr) -> Option<u32> {
        self.places.get(self.find(subject)).map(|(_, slot)| *slot).filter(|slot| *slot != EMPTY)
    }

    /// Adds a subject, or gives it another slot. Does nothing if there is no room.
    pub(crate) fn insert(&mut self, subject: Addr, slot: u32) {
        let (at, is_half_full) = (self.find(subject), self.len * 2 >= self.places.len());
        let Some(place) = self.places.get_mut(at) else { return };
        if place.1 == EMPTY {
            if is_half_full {
                return;
            }
            self.len += 1;
        }
        *place = (subject, slot);
    }

    /// Removes a subject. What follows moves up, so that no search ends too early.
    pub(crate) fn remove(&mut self, subject: Addr) {
        let mask = self.places.len() - 1;
        let mut hole = self.find(subject);
        match self.places.get_mut(hole) {
            Some(place) if place.1 != EMPTY => place.1 = EMPTY,
            _ => return,
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some((there, slot)) = self.places.get(at).copied().filter(|(_, slot)| *slot != EMPTY) else { return };
            // An entry whose home lies behind the hole stays: it would be moved before its home.
            let (from_home, from_hole) = (at.wrapping_sub(self.home(there)) & mask, at.wrapping_sub(hole) & mask);
            if from_home < from_hole {
                continue;
            }
            self.places.swap(hole, at);
            debug_assert_eq!(self.places.get(hole).map(|place| place.1), Some(slot), "the entry moved up");
            hole = at;
        }
    }

    /// The same entries under another seed.
    pub(crate) fn reseed(&mut self, seed: u64) {
        let entries: Vec<(Addr, u32)> = self.iter().collect();
        *self = Index { places: vec![(Addr::default(), EMPTY); self.places.len()], len: 0, seed };
        for (subject, slot) in entries {
            self.insert(subject, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u64..12, any::<bool>(), 0u32..100), 0..200), seed in any::<u64>()) {
            let mut index = Index::new(8, seed);
            let mut model = BTreeMap::new();
            for (at, (lo, insert, slot)) in steps.into_iter().enumerate() {
                let subject = Addr { hi: 0, lo };
                if insert && (model.len() < 8 || model.contains_key(&subject)) {
                    index.insert(subject, slot);
                    model.insert(subject, slot);
                } else {
                    index.remove(subject);
                    model.remove(&subject);
                }
                if at % 50 == 49 {
                    index.reseed(at as u64);
                }
                for lo in 0..12 {
                    let subject = Addr { hi: 0, lo };
                    prop_assert_eq!(index.get(subject), model.get(&subject).copied());
                }
                prop_assert_eq!(index.len(), model.len());
                prop_assert_eq!(index.iter().collect::<BTreeMap<_, _>>(), model.clone());
            }
        }
    }

    #[test]
    fn a_full_index_takes_no_more() {
        let mut index = Index::new(1, 0);
        index.insert(Addr { hi: 0, lo: 1 }, 1);
        index.insert(Addr { hi: 0, lo: 2 }, 2);
        assert_eq!((index.len(), index.get(Addr { hi: 0, lo: 2 })), (1, None));
    }
}
