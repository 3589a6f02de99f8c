//! From subject to slot: open addressing, eight places at a time. (The standard map is twice as slow in wasm, which has no
//! instructions for its groups; these are compared in one 64-bit number.)

use crate::addr::{Addr, hash};

/// Places of a group.
const GROUP: usize = 8;

/// Bits of a tag.
const BITS: usize = 8;

/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const TOPS: u64 = ONES << 7;

/// A map of a size fixed at the start; it is never more than half full.
///
/// What tells that a subject is not there is a byte a place: a thousand subjects have two kilobytes, which stay in the
/// nearest cache.
#[derive(Debug)]
pub(crate) struct Index {
    /// By group: a byte for each place, 0 where it is free, and else seven bits of the hash under a one.
    tags: Vec<u64>,
    /// By place.
    slots: Vec<u32>,
    /// By slot; of slots that are not in a place, what they were.
    subjects: Vec<Addr>,
    len: usize,
    max: usize,
    seed: u64,
}

/// The byte of a hash, eight times. The lower bits say which group it is.
fn tags_of(hash: u64) -> u64 {
    (hash >> 57 | 0x80) * ONES
}

/// Whether a group has a free place: no search goes beyond it.
fn has_room(tags: u64) -> bool {
    tags & TOPS != TOPS
}

/// The highest bit of each byte that is the same in both. (A one above such a byte may be taken for zero too; the subject tells.)
fn same(tags: u64, wanted: u64) -> u64 {
    let difference = tags ^ wanted;
    difference.wrapping_sub(ONES) & !difference & TOPS
}

/// The first place of a group that [`same`] found.
fn place(group: usize, same: u64) -> usize {
    group * GROUP + same.trailing_zeros() as usize / BITS
}

impl Index {
    /// Room for `max` subjects.
    pub(crate) fn new(max: usize, seed: u64) -> Index {
        let groups = (max * 2).next_power_of_two().max(GROUP) / GROUP;
        Index { tags: vec![0; groups], slots: vec![0; groups * GROUP], subjects: Vec::new(), len: 0, max, seed }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Subjects and slots, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Addr, u32)> {
        let tags = self.tags.iter().flat_map(|tags| tags.to_le_bytes());
        let full = tags.zip(&self.slots).filter(|(tag, _)| *tag != 0);
        full.map(|(_, slot)| (self.subject(*slot), *slot))
    }

    #[inline]
    fn subject(&self, slot: u32) -> Addr {
        self.subjects.get(slot as usize).copied().unwrap_or_default()
    }

    fn slot(&self, place: usize) -> u32 {
        self.slots.get(place).copied().unwrap_or_default()
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.tags.len() - 1)
    }

    /// The place of a subject, if it has one.
    fn find(&self, subject: Addr) -> Option<usize> {
        let hash = hash(subject, self.seed);
        self.search(subject, tags_of(hash), self.home(hash))
    }

    /// The place of a subject in the group `group` or one after it.
    #[inline(never)]
    fn search(&self, subject: Addr, wanted: u64, mut group: usize) -> Option<usize> {
        loop {
            let tags = self.tags.get(group).copied()?;
            let mut same = same(tags, wanted);
            while same != 0 {
                let place = place(group, same);
                if self.subject(self.slot(place)) == subject {
                    return Some(place);
                }
                same &= same - 1;
            }
            if has_room(tags) {
                return None;
            }
            group = (group + 1) & (self.tags.len() - 1);
        }
    }

    /// The slot of a subject. Nearly always the first look says which it is or that there is none, so this has no loop.
    #[inline(always)]
    pub(crate) fn get(&self, subject: Addr) -> Option<u32> {
        let hash = hash(subject, self.seed);
        let (wanted, group) = (tags_of(hash), self.home(hash));
        let tags = self.tags.get(group).copied()?;
        let same = same(tags, wanted);
        if same == 0 && has_room(tags) {
            return None;
        }
        if same != 0 {
            let slot = self.slot(place(group, same));
            if self.subject(slot) == subject {
                return Some(slot);
            }
        }
        self.search(subject, wanted, group).map(|place| self.slot(place))
    }

    /// Adds a subject that is not there. Does nothing if there is no room.
    pub(crate) fn insert(&mut self, subject: Addr, slot: u32) {
        debug_assert!(self.find(subject).is_none(), "a subject twice");
        if self.len >= self.max {
            return;
        }
        let hash = hash(subject, self.seed);
        let mut group = self.home(hash);
        while let Some(tags) = self.tags.get_mut(group) {
            if !has_room(*tags) {
                group = (group + 1) & (self.tags.len() - 1);
                continue;
            }
            let free = (!*tags & TOPS).trailing_zeros() as usize / BITS;
            *tags |= tags_of(hash) & 0xff << (free * BITS);
            if let Some(place) = self.slots.get_mut(group * GROUP + free) {
                *place = slot;
            }
            break;
        }
        self.len += 1;
        if self.subjects.len() <= slot as usize {
            self.subjects.resize(slot as usize + 1, Addr::default());
        }
        if let Some(known) = self.subjects.get_mut(slot as usize) {
            *known = subject;
        }
    }

    /// Removes a subject. What went past its group because that was full moves up, so that no search ends too early.
    pub(crate) fn remove(&mut self, subject: Addr) {
        let Some(mut hole) = self.find(subject) else { return };
        self.len -= 1;
        let mask = self.tags.len() - 1;
        loop {
            let (group, was_full) = (hole / GROUP, self.clear(hole));
            if !was_full {
                return;
            }
            // The next one that would rather be here. Where a group has room, nothing went past it.
            let mut at = group;
            let next = loop {
                at = (at + 1) & mask;
                let Some(tags) = self.tags.get(at).copied().filter(|_| at != group) else { return };
                let passed = (at * GROUP..(at + 1) * GROUP).filter(|place| tags_at(tags, *place) != 0).find(|place| {
                    let home = self.home(hash(self.subject(self.slot(*place)), self.seed));
                    (group.wrapping_sub(home) & mask) < (at.wrapping_sub(home) & mask)
                });
                match passed {
                    Some(place) => break place,
                    None if has_room(tags) => return,
                    None => {}
                }
            };
            let (tag, slot) = (self.tags.get(at).map_or(0, |tags| tags_at(*tags, next)), self.slot(next));
            if let (Some(tags), Some(place)) = (self.tags.get_mut(group), self.slots.get_mut(hole)) {
                *tags |= tag << (hole % GROUP * BITS);
                *place = slot;
            }
            hole = next;
        }
    }

    /// Frees a place. Returns whether its group had no free one.
    fn clear(&mut self, place: usize) -> bool {
        let Some(tags) = self.tags.get_mut(place / GROUP) else { return false };
        let was_full = !has_room(*tags);
        *tags &= !(0xff << (place % GROUP * BITS));
        was_full
    }

    /// The same entries under another seed.
    pub(crate) fn reseed(&mut self, seed: u64) {
        let entries: Vec<(Addr, u32)> = self.iter().collect();
        self.tags.fill(0);
        (self.len, self.seed) = (0, seed);
        for (subject, slot) in entries {
            self.insert(subject, slot);
        }
    }
}

/// The byte of a place in the tags of its group.
fn tags_at(tags: u64, place: usize) -> u64 {
    tags >> (place % GROUP * BITS) & 0xff
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0usize..40, any::<bool>()), 0..300), seed in any::<u64>()) {
            const MAX: usize = 28;
            let mut index = Index::new(MAX, seed);
            // All in two groups of eight, the last and the first: the others are where these overflow to.
            let is_crowded = |addr: &Addr| [0, 7].contains(&index.home(hash(*addr, seed)));
            let subjects: Vec<Addr> = (0..).map(|lo| Addr { hi: 0, lo }).filter(is_crowded).take(40).collect();
            let mut model = BTreeMap::new();
            for (at, (subject, insert)) in steps.into_iter().enumerate() {
                let subject = subjects[subject];
                let free = (0..MAX as u32).find(|slot| !model.values().any(|used| used == slot));
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
                if at == 200 {
                    index.reseed(at as u64);
                }
                for subject in &subjects {
                    prop_assert_eq!(index.get(*subject), model.get(subject).copied());
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
