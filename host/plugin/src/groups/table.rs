//! Groups of rows by any values.

use std::hash::{BuildHasher, Hasher, RandomState};

use sluice_flow::fetch;

/// Places of a table at least: few groups then seldom meet in one.
const FEW: usize = 2048;

/// Rows that are looked at together: as many as a `u8` can tell apart.
const SIDE_BY_SIDE: usize = 1 << u8::BITS;

/// In place of a group, while groups are being found: the row is in none.
const NONE: u32 = u32::MAX;

/// The rows that are sorted.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) rows: usize,
    /// Not all, but those of this bitmap.
    pub(super) only: Option<&'a [u32]>,
}

/// What tells groups apart: a value, or two (or a value and the group so far).
pub(super) trait Key: Copy + Default + PartialEq {
    /// Its upper bits say where it is looked for.
    fn hash(self, seeds: [u64; 2]) -> u64;
}

impl Key for u64 {
    #[inline]
    fn hash(self, seeds: [u64; 2]) -> u64 {
        (self ^ seeds[0]).wrapping_mul(seeds[1] | 1)
    }
}

impl Key for [u64; 2] {
    /// Folded multiplication: every bit depends on all of both.
    #[inline]
    fn hash(self, seeds: [u64; 2]) -> u64 {
        let product = u128::from(self[0] ^ seeds[0]) * u128::from(self[1] ^ seeds[1]);
        product as u64 ^ (product >> 64) as u64
    }
}

/// As much of the hash as places take.
#[inline(always)]
fn hash_of<K: Key>(key: K, seeds: [u64; 2]) -> u32 {
    (key.hash(seeds) >> 32) as u32
}

/// Where a key of this hash is looked for first among so many places, a power of two.
#[inline(always)]
fn home(hash: u32, places: usize) -> usize {
    hash as usize & (places - 1)
}

/// From key to group: open addressing, a third full if the batch is as the one before, at most half.
#[derive(Debug)]
pub(super) struct Table<K> {
    /// By hash a group and 1, or 0. Small enough for the nearest caches.
    places: Vec<u32>,
    /// By group.
    keys: Vec<K>,
    /// Known to nobody outside: who could choose values that collide would make batches as slow as he likes.
    seeds: [u64; 2],
    /// Places that keys which are not in their first place made to be looked at in this batch.
    steps: usize,
}

impl<K: Key> Default for Table<K> {
    fn default() -> Table<K> {
        Table { places: Vec::new(), keys: Vec::new(), seeds: seeds(), steps: 0 }
    }
}

fn seeds() -> [u64; 2] {
    let random = || RandomState::new().build_hasher().finish();
    [random(), random()]
}

impl<K: Key> Table<K> {
    /// Numbers the rows that are chosen by their keys, which `key` knows of every row; the others get [`NONE`].
    pub(super) fn sort(
        &mut self,
        chosen: Chosen<'_>,
        key: impl Fn(usize) -> K,
        of_rows: &mut Vec<u32>,
        firsts: &mut Vec<u32>,
    ) {
        of_rows.clear();
        of_rows.resize(chosen.rows, NONE);
        firsts.clear();
        if chosen.only.is_none() {
            return self.go_on(&[], 0, key, of_rows, firsts);
        }
        let is_many = self.begin(&[], chosen.rows);
        self.number_many(chosen.only, 0, key, of_rows, firsts);
        self.end(is_many, chosen.rows);
    }

    /// Numbers all rows from `first` on, whose places `of_rows` are. The groups before have the keys `known`.
    pub(super) fn go_on(
        &mut self,
        known: &[K],
        first: usize,
        key: impl Fn(usize) -> K,
        of_rows: &mut [u32],
        firsts: &mut Vec<u32>,
    ) {
        let rows = of_rows.len();
        let is_many = self.begin(known, rows);
        if is_many {
            self.number_many(None, first, key, of_rows, firsts);
        } else {
            self.number_few(first, key, of_rows, firsts);
        }
        self.end(is_many, rows);
    }

    /// Makes the table for so many rows. Whether they have many groups is as in the batch before, most likely.
    fn begin(&mut self, known: &[K], rows: usize) -> bool {
        let is_many = self.keys.len() * 8 > rows;
        let likely = self.keys.len().max(known.len());
        self.keys.clear();
        self.keys.extend(known);
        self.place_all((likely * 3).next_power_of_two().max(FEW));
        self.steps = 0;
        is_many
    }

    /// Numbers in a row, such as those of customers, meet by the dozen under one seed in fifteen, and under the others not at
    /// all. The table is made anew for each batch, so that other seeds cost nothing: a few keys come to have a place each.
    fn end(&mut self, is_many: bool, rows: usize) {
        if self.steps > if is_many { rows } else { 0 } {
            self.seeds = seeds();
        }
    }

    /// Many groups: most rows are the first of theirs, and what is done for these is in the loop. Places are asked for
    /// ahead, so that memory answers several questions at a time.
    fn number_many(
        &mut self,
        only: Option<&[u32]>,
        first: usize,
        key: impl Fn(usize) -> K,
        of_rows: &mut [u32],
        firsts: &mut Vec<u32>,
    ) {
        let mut rows: [u8; SIDE_BY_SIDE] = std::array::from_fn(|at| at as u8);
        let mut keys = [(K::default(), 0); SIDE_BY_SIDE];
        for (groups, first) in of_rows.chunks_mut(SIDE_BY_SIDE).zip((first..).step_by(SIDE_BY_SIDE)) {
            let mut len = groups.len();
            if let Some(only) = only {
                len = 0;
                // Put down in any case and then counted or not: which comes next nobody can guess.
                for at in 0..groups.len() {
                    let row = first + at;
                    rows[len % SIDE_BY_SIDE] = at as u8;
                    len += usize::from(only.get(row / 32).is_some_and(|word| word >> (row % 32) & 1 == 1));
                }
            }
            for (at, to) in rows[..len].iter().zip(&mut keys) {
                let key = key(first + usize::from(*at));
                *to = (key, hash_of(key, self.seeds));
                fetch::to_read(self.places.as_ptr().wrapping_add(home(to.1, self.places.len())));
            }
            for (at, (key, hash)) in rows[..len].iter().zip(&keys) {
                groups[usize::from(*at)] = self.number(*key, *hash, first + usize::from(*at), firsts);
            }
        }
    }

    /// Few groups: nearly always the first place says which it is. As long as it does, the table stays as it is, and all of
    /// it that the loop needs stays in registers.
    fn number_few(&mut self, first: usize, key: impl Fn(usize) -> K, of_rows: &mut [u32], firsts: &mut Vec<u32>) {
        let mut rows = (first..).zip(of_rows);
        loop {
            let Table { places, keys, seeds, .. } = &*self;
            let (places, keys, seeds) = (places.as_slice(), keys.as_slice(), *seeds);
            let miss = rows.by_ref().find_map(|(row, group)| {
                let key = key(row);
                let place = places.get(home(hash_of(key, seeds), places.len()));
                *group = place.map_or(NONE, |place| place.wrapping_sub(1));
                (keys.get(*group as usize) != Some(&key)).then_some((row, group, key))
            });
            let Some((row, group, key)) = miss else { return };
            *group = self.number_apart(key, row, firsts);
        }
    }

    /// Not in the loop: what it needs would take the registers.
    #[inline(never)]
    fn number_apart(&mut self, key: K, row: usize, firsts: &mut Vec<u32>) -> u32 {
        self.number(key, hash_of(key, self.seeds), row, firsts)
    }

    /// The group of a row by its key. Often the first place says which it is, or that it is a new one.
    #[inline(always)]
    fn number(&mut self, key: K, hash: u32, row: usize, firsts: &mut Vec<u32>) -> u32 {
        let home = home(hash, self.places.len());
        let Some(place) = self.places.get_mut(home) else { return NONE };
        let group = place.wrapping_sub(1);
        if self.keys.get(group as usize) == Some(&key) {
            return group;
        }
        let next = firsts.len() as u32;
        if *place == 0 {
            *place = next + 1;
        } else if let Some(group) = self.search(key, home, next) {
            return group;
        }
        firsts.push(row as u32);
        self.keys.push(key);
        if firsts.len() * 2 > self.places.len() {
            self.grow();
        }
        next
    }

    /// The group of a key that is not in its home; none if it is a new one, which is `next` then.
    #[inline(never)]
    fn search(&mut self, key: K, mut at: usize, next: u32) -> Option<u32> {
        let mask = self.places.len() - 1;
        while let Some(place) = self.places.get_mut(at) {
            self.steps += 1;
            if *place == 0 {
                *place = next + 1;
                break;
            }
            let group = *place - 1;
            if self.keys.get(group as usize) == Some(&key) {
                return Some(group);
            }
            at = (at + 1) & mask;
        }
        None
    }

    #[cold]
    fn grow(&mut self) {
        self.place_all(self.places.len() * 2);
    }

    /// Gives all keys their places, among so many.
    fn place_all(&mut self, length: usize) {
        self.places.clear();
        self.places.resize(length, 0);
        for (group, key) in (1..).zip(&self.keys) {
            let mut at = home(hash_of(*key, self.seeds), length);
            while self.places[at] != 0 {
                at = (at + 1) & (length - 1);
            }
            self.places[at] = group;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_keys_that_meet_under_a_seed_come_to_have_a_place_each() {
        let mut table = Table::<u64> { seeds: [0, 0], ..Table::default() };
        let (mut of_rows, mut firsts) = (Vec::new(), Vec::new());
        let mut steps_of_batch = || {
            let chosen = Chosen { rows: 4096, only: None };
            table.sort(chosen, |row| 1_000_000 + row as u64 % 64, &mut of_rows, &mut firsts);
            assert!((0..).zip(&of_rows).all(|(row, group): (u32, _)| *group == row % 64), "{of_rows:?}");
            table.steps
        };
        // A factor of 1 leaves nothing in the upper half: all of them want one place.
        assert!(steps_of_batch() > 4096 * 20);
        assert!((0..1000).any(|_| steps_of_batch() == 0));
    }
}
