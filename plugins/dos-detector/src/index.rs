//! From subject to slot: open addressing with linear probing. (The standard map is twice as slow in wasm,
//! which has no instructions for its groups.)

use crate::aggregate::{Addr, hash};

const EMPTY: u32 = u32::MAX;

/// Where a slot is found by the hash of its subject: small, so that many fit into a cache.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Upper half of the hash; the lower one says where the place is.
    tag: u32,
    slot: u32,
}

const FREE: Place = Place { tag: 0, slot: EMPTY };

/// A map of a size fixed at the start; it is never more than half full.
#[derive(Debug)]
pub(crate) struct Index {
    places: Vec<Place>,
    /// By slot; of slots that are not in `places`, what they were.
    subjects: Vec<Addr>,
    len: usize,
    seed: u64,
}

impl Index {
    /// Room for `max` subjects.
    pub(crate) fn new(max: usize, seed: u64) -> Index {
        let size = (max * 2).next_power_of_two().max(2);
        Index { places: vec![FREE; size], subjects: Vec::new(), len: 0, seed }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Subjects and slots, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Addr, u32)> {
        let full = self.places.iter().filter(|place| place.slot != EMPTY);
        full.map(|place| (self.subject(place.slot), place.slot))
    }

    #[inline]
    fn subject(&self, slot: u32) -> Addr {
        self.subjects.get(slot as usize).copied().unwrap_or_default()
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    /// The place of a subject, or the empty one where it would be.
    #[inline]
    fn find(&self, subject: Addr) -> (usize, u32) {
        let hash = hash(subject, self.seed);
        let tag = (hash >> 32) as u32;
        let mut at = self.home(hash);
        loop {
            match self.places.get(at) {
                Some(place) if place.slot != EMPTY && (place.tag != tag || self.subject(place.slot) != subject) => {
                    at = (at + 1) & (self.places.len() - 1);
                }
                _ => return (at, tag),
            }
        }
    }

    /// The slot of a subject.
    #[inline]
    pub(crate) fn get(&self, subject: Addr) -> Option<u32> {
        self.places.get(self.find(subject).0).map(|place| place.slot).filter(|slot| *slot != EMPTY)
    }

    /// Adds a subject that is not there. Does nothing if there is no room.
    pub(crate) fn insert(&mut self, subject: Addr, slot: u32) {
        let (at, tag) = self.find(subject);
        debug_assert!(self.places.get(at).is_none_or(|place| place.slot == EMPTY), "a subject twice");
        if self.len * 2 >= self.places.len() || slot == EMPTY {
            return;
        }
        let Some(place) = self.places.get_mut(at) else { return };
        *place = Place { tag, slot };
        self.len += 1;
        if self.subjects.len() <= slot as usize {
            self.subjects.resize(slot as usize + 1, Addr::default());
        }
        if let Some(known) = self.subjects.get_mut(slot as usize) {
            *known = subject;
        }
    }

    /// Removes a subject. What follows moves up, so that no search ends too early.
    pub(crate) fn remove(&mut self, subject: Addr) {
        let mask = self.places.len() - 1;
        let (mut hole, _) = self.find(subject);
        match self.places.get_mut(hole) {
            Some(place) if place.slot != EMPTY => place.slot = EMPTY,
            _ => return,
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(place) = self.places.get(at).filter(|place| place.slot != EMPTY) else { return };
            // An entry whose home lies behind the hole stays: it would be moved before its home.
            let home = self.home(hash(self.subject(place.slot), self.seed));
            let (from_home, from_hole) = (at.wrapping_sub(home) & mask, at.wrapping_sub(hole) & mask);
            if from_home < from_hole {
                continue;
            }
            self.places.swap(hole, at);
            hole = at;
        }
    }

    /// The same entries under another seed.
    pub(crate) fn reseed(&mut self, seed: u64) {
        let entries: Vec<(Addr, u32)> = self.iter().collect();
        self.places.fill(FREE);
        (self.len, self.seed) = (0, seed);
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
        fn it_is_a_map(steps in proptest::collection::vec((0u64..12, any::<bool>()), 0..200), seed in any::<u64>()) {
            let mut index = Index::new(8, seed);
            let mut model = BTreeMap::new();
            for (at, (lo, insert)) in steps.into_iter().enumerate() {
                let subject = Addr { hi: 0, lo };
                let free = (0..8).find(|slot| !model.values().any(|used| used == slot));
                match free {
                    Some(slot) if insert && !model.contains_key(&subject) => {
                        index.insert(subject, slot);
                        model.insert(subject, slot);
                    }
                    _ => {
                        index.remove(subject);
                        model.remove(&subject);
                    }
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
        index.insert(Addr { hi: 0, lo: 1 }, 0);
        index.insert(Addr { hi: 0, lo: 2 }, 1);
        assert_eq!((index.len(), index.get(Addr { hi: 0, lo: 2 })), (1, None));
    }
}
