//! Rows by what they have in common: the work behind `kernels.group`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use sluice_flow::{Column, Texts, fetch};

/// Places of a table at least: few groups then seldom meet in one.
const FEW: usize = 2048;

/// Rows that are looked at together: as many as a `u8` can tell apart.
const SIDE_BY_SIDE: usize = 1 << u8::BITS;

/// In place of a group, while groups are being found: the row is in none.
const NONE: u32 = u32::MAX;

/// A grouping of the rows of a batch. Buffers are kept for the next.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// By row. Shared only while it is handed to a plugin.
    of_rows: Arc<Vec<u32>>,
    firsts: Vec<u32>,
    has_rest: bool,
    by_one: Table<u64>,
    by_two: Table<[u64; 2]>,
}

impl Groups {
    /// By row its group.
    pub(crate) fn of_rows(&self) -> &Arc<Vec<u32>> {
        &self.of_rows
    }

    /// By group its first row, ascending; not of the rest.
    pub(crate) fn firsts(&self) -> &[u32] {
        &self.firsts
    }

    /// How many there are, with the rest.
    pub(crate) fn count(&self) -> usize {
        self.firsts.len() + usize::from(self.has_rest)
    }

    /// How many rows each has, or how many of those that a bitmap says.
    pub(crate) fn counts(&self, only: Option<&[u32]>) -> Vec<u32> {
        let mut counts = vec![0; self.count()];
        let mut add = |group: &u32| counts.get_mut(*group as usize).into_iter().for_each(|count: &mut u32| *count += 1);
        match only {
            None => {
                // Eight at a turn, which halves the time.
                let (eights, rest) = self.of_rows.as_chunks::<8>();
                eights.iter().for_each(|eight| eight.iter().for_each(&mut add));
                rest.iter().for_each(add);
            }
            Some(only) => chosen(only, &self.of_rows).for_each(|(_, group)| add(group)),
        }
        counts
    }

    /// Sums of values by group, each times its factor, of all rows or of those that a bitmap says. They stay at the largest number.
    pub(crate) fn sums(&self, values: &[u64], factors: Option<&[u64]>, only: Option<&[u32]>) -> Vec<u64> {
        let mut sums = vec![0u64; self.count()];
        let mut add = |group: u32, value: u64| {
            if let Some(sum) = sums.get_mut(group as usize) {
                *sum = sum.saturating_add(value);
            }
        };
        let rows = self.of_rows.iter().zip(values);
        match (factors, only) {
            (None, None) => rows.for_each(|(group, value)| add(*group, *value)),
            (Some(factors), None) => {
                rows.zip(factors).for_each(|((group, value), factor)| add(*group, value.saturating_mul(*factor)));
            }
            (None, Some(only)) => {
                chosen(only, &self.of_rows)
                    .for_each(|(row, group)| add(*group, values.get(row).copied().unwrap_or_default()));
            }
            (Some(factors), Some(only)) => {
                chosen(only, &self.of_rows).for_each(|(row, group)| {
                    let (value, factor) = (values.get(row), factors.get(row));
                    add(*group, value.zip(factor).map_or(0, |(value, factor)| value.saturating_mul(*factor)));
                });
            }
        }
        sums
    }

    /// By row what there is for its group.
    pub(crate) fn spread(&self, of_groups: &[u16]) -> Vec<u16> {
        let of_group = |group: u32| of_groups.get(group as usize).copied().unwrap_or_default();
        let mut of_rows = vec![0; self.of_rows.len()];
        let (eights, rest) = self.of_rows.as_chunks::<8>();
        let (to_eights, to_rest) = of_rows.as_chunks_mut::<8>();
        to_eights.iter_mut().zip(eights).for_each(|(to, groups)| *to = groups.map(of_group));
        to_rest.iter_mut().zip(rest).for_each(|(to, group)| *to = of_group(*group));
        of_rows
    }

    /// Sorts `rows` rows, or those that the bitmap says, by as many columns; each has a value for every row, and none holds lists.
    pub(crate) fn sort(&mut self, rows: usize, only: Option<&[u32]>, columns: &[Column]) {
        self.has_rest = only.is_some();
        let chosen = Chosen { rows, only };
        let others = match columns {
            // Both halves of an address, in one go.
            [Column::U64(first), Column::U64(second), others @ ..] => {
                let half = |values: &[u64], row| values.get(row).copied().unwrap_or_default();
                self.by_two(chosen, |row| [half(first, row), half(second, row)]);
                others
            }
            [first, others @ ..] => {
                self.by(first, chosen, true);
                others
            }
            [] => {
                self.by_one(chosen, |_| 0);
                &[]
            }
        };
        for column in others {
            self.by(column, chosen, false);
        }
        if self.has_rest {
            let rest = self.firsts.len() as u32;
            let of_rows = Arc::make_mut(&mut self.of_rows);
            of_rows.iter_mut().for_each(|group| *group = (*group).min(rest));
        }
    }

    /// Sorts by the first column, or splits the groups so far by one more.
    fn by(&mut self, column: &Column, chosen: Chosen<'_>, is_first: bool) {
        match column {
            Column::U8(values) => self.by_values(values, chosen, is_first),
            Column::U16(values) => self.by_values(values, chosen, is_first),
            Column::U32(values) => self.by_values(values, chosen, is_first),
            Column::U64(values) => self.by_values(values, chosen, is_first),
            Column::Text(texts) => self.by_values(&by_word(texts), chosen, is_first),
            Column::Lists(_) => {}
        }
    }

    fn by_values<T: Copy + Into<u64>>(&mut self, values: &[T], chosen: Chosen<'_>, is_first: bool) {
        let value = |row| values.get(row).copied().map_or(0, T::into);
        if is_first {
            return self.by_one(chosen, value);
        }
        let before = self.of_rows.to_vec();
        self.by_two(chosen, |row| [value(row), before.get(row).copied().unwrap_or_default().into()]);
    }

    fn by_one(&mut self, chosen: Chosen<'_>, key: impl Fn(usize) -> u64) {
        self.by_one.sort(chosen, key, Arc::make_mut(&mut self.of_rows), &mut self.firsts);
    }

    fn by_two(&mut self, chosen: Chosen<'_>, key: impl Fn(usize) -> [u64; 2]) {
        self.by_two.sort(chosen, key, Arc::make_mut(&mut self.of_rows), &mut self.firsts);
    }
}

/// By row the first code that has its word: words may be there several times.
fn by_word(texts: &Texts) -> Vec<u32> {
    let mut firsts = HashMap::with_capacity(texts.words.len());
    let first_of: Vec<u32> = (0..).zip(&texts.words).map(|(code, word)| *firsts.entry(word).or_insert(code)).collect();
    texts.codes.iter().map(|code| first_of.get(*code as usize).copied().unwrap_or_default()).collect()
}

/// The rows that a bitmap says, with what each has. The bitmap is for as many rows.
fn chosen<'a, T>(only: &'a [u32], of_rows: &'a [T]) -> impl Iterator<Item = (usize, &'a T)> {
    let words = (0..).step_by(32).zip(only.iter().copied());
    words.flat_map(move |(first, mut word): (usize, u32)| {
        std::iter::from_fn(move || {
            let bit = word.trailing_zeros() as usize;
            word &= word.wrapping_sub(1);
            of_rows.get(first + bit).filter(|_| bit < 32).map(|value| (first + bit, value))
        })
    })
}

/// The rows that are sorted.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    rows: usize,
    /// Not all, but those of this bitmap.
    only: Option<&'a [u32]>,
}

/// What tells groups apart: a value, or two (or a value and the group so far).
trait Key: Copy + Default + PartialEq {
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
struct Table<K> {
    /// By hash a group and 1, or 0. Small enough for the nearest caches.
    places: Vec<u32>,
    /// By group.
    keys: Vec<K>,
    /// Known to nobody outside: who could choose values that collide would make batches as slow as he likes.
    seeds: [u64; 2],
}

impl<K: Key> Default for Table<K> {
    fn default() -> Table<K> {
        let random = || RandomState::new().build_hasher().finish();
        Table { places: Vec::new(), keys: Vec::new(), seeds: [random(), random()] }
    }
}

impl<K: Key> Table<K> {
    /// Numbers the rows that are chosen by their keys, which `key` knows of every row; the others get [`NONE`].
    fn sort(&mut self, chosen: Chosen<'_>, key: impl Fn(usize) -> K, of_rows: &mut Vec<u32>, firsts: &mut Vec<u32>) {
        // As in the batch before, most likely.
        let is_many = self.keys.len() * 8 > chosen.rows;
        let places = (self.keys.len() * 3).next_power_of_two().max(FEW);
        self.places.clear();
        self.places.resize(places, 0);
        self.keys.clear();
        of_rows.clear();
        of_rows.resize(chosen.rows, NONE);
        firsts.clear();
        match chosen.only {
            None if is_many => self.number_many(|_| true, key, of_rows, firsts),
            None => self.number_few(key, of_rows, firsts),
            Some(only) => {
                let is_in = |row: usize| only.get(row / 32).is_some_and(|word| word >> (row % 32) & 1 == 1);
                self.number_many(is_in, key, of_rows, firsts);
            }
        }
    }

    /// Many groups: most rows are the first of theirs, and what is done for these is in the loop. Places are asked for
    /// ahead, so that memory answers several questions at a time.
    fn number_many(
        &mut self,
        is_in: impl Fn(usize) -> bool,
        key: impl Fn(usize) -> K,
        of_rows: &mut [u32],
        firsts: &mut Vec<u32>,
    ) {
        for (groups, first) in of_rows.chunks_mut(SIDE_BY_SIDE).zip((0..).step_by(SIDE_BY_SIDE)) {
            let (mut rows, mut len) = ([0; SIDE_BY_SIDE], 0);
            // Put down in any case and then counted or not: which comes next nobody can guess.
            for at in 0..groups.len() {
                rows[len % SIDE_BY_SIDE] = at as u8;
                len += usize::from(is_in(first + at));
            }
            let mut hashes = [0; SIDE_BY_SIDE];
            for (at, hash) in rows[..len].iter().zip(&mut hashes) {
                *hash = hash_of(key(first + usize::from(*at)), self.seeds);
                fetch::to_read(self.places.as_ptr().wrapping_add(home(*hash, self.places.len())));
            }
            for (at, hash) in rows[..len].iter().zip(hashes) {
                let row = first + usize::from(*at);
                groups[usize::from(*at)] = self.number(key(row), hash, row, firsts);
            }
        }
    }

    /// Few groups: nearly always the first place says which it is. As long as it does, the table stays as it is, and all of
    /// it that the loop needs stays in registers.
    fn number_few(&mut self, key: impl Fn(usize) -> K, of_rows: &mut [u32], firsts: &mut Vec<u32>) {
        let mut rows = of_rows.iter_mut().enumerate();
        loop {
            let Table { places, keys, seeds } = &*self;
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
        let length = self.places.len() * 2;
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
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_of_a_group_are_alike_and_no_others(
            rows in prop::collection::vec((0u64..9, any::<u16>(), 0u32..700), 0..3000),
            only in prop::option::of(prop::collection::vec(any::<u32>(), 94)),
            both in any::<bool>(),
        ) {
            let few: Vec<u64> = rows.iter().map(|row| row.0).collect();
            let many: Vec<u64> = rows.iter().map(|row| u64::from(row.2)).collect();
            let row_third: Vec<u16> = rows.iter().map(|row| row.1 % 3).collect();
            let mut groups = Groups::default();
            // Twice: what the first leaves behind must not show.
            for _ in 0..2 {
                let third = Column::U16(Arc::new(row_third.clone()));
                let (few_column, many_column) = (Column::U64(Arc::new(few.clone())), Column::U64(Arc::new(many.clone())));
                let narrow = Column::U32(Arc::new(many.iter().map(|value| *value as u32).collect()));
                let columns = if both { [few_column, many_column, third] } else { [narrow, third, few_column] };
                groups.sort(rows.len(), only.as_deref(), &columns);
                let mut numbers = HashMap::new();
                let mut firsts = Vec::new();
                for row in 0..rows.len() {
                    if only.as_ref().is_some_and(|only| only[row / 32] >> (row % 32) & 1 == 0) {
                        continue;
                    }
                    let next = numbers.len() as u32;
                    let number = *numbers.entry((few[row], many[row], row_third[row])).or_insert_with(|| {
                        firsts.push(row as u32);
                        next
                    });
                    prop_assert_eq!(groups.of_rows()[row], number);
                }
                prop_assert_eq!(groups.firsts(), firsts);
                prop_assert_eq!(groups.count(), numbers.len() + usize::from(only.is_some()));
                let rest = (0..rows.len()).filter(|row| groups.of_rows()[*row] as usize == numbers.len()).count();
                let left_out = only.as_ref().map_or(0, |only| {
                    (0..rows.len()).filter(|row| only[row / 32] >> (row % 32) & 1 == 0).count()
                });
                prop_assert_eq!(rest, left_out);
                // Asked of all rows, and of those of another bitmap.
                for asked in [None, Some(vec![0x5a5a_f00f; rows.len().div_ceil(32)])] {
                    let (mut counts, mut sums, mut products) =
                        (vec![0; groups.count()], vec![0; groups.count()], vec![0; groups.count()]);
                    for row in 0..rows.len() {
                        if asked.as_ref().is_none_or(|asked| asked[row / 32] >> (row % 32) & 1 == 1) {
                            let group = groups.of_rows()[row] as usize;
                            counts[group] += 1;
                            sums[group] += many[row];
                            products[group] += many[row] * few[row];
                        }
                    }
                    prop_assert_eq!(groups.counts(asked.as_deref()), counts);
                    prop_assert_eq!(groups.sums(&many, None, asked.as_deref()), sums);
                    prop_assert_eq!(groups.sums(&many, Some(&few), asked.as_deref()), products);
                }
            }
        }
    }

    #[test]
    fn without_columns_all_rows_are_one_group() {
        let mut groups = Groups::default();
        groups.sort(3, None, &[]);
        assert_eq!((groups.of_rows().as_slice(), groups.firsts()), (&[0, 0, 0][..], &[0][..]));
        groups.sort(3, Some(&[0b100]), &[]);
        assert_eq!((groups.of_rows().as_slice(), groups.firsts(), groups.count()), (&[1, 1, 0][..], &[2][..], 2));
        groups.sort(0, None, &[]);
        assert_eq!((groups.of_rows().as_slice(), groups.firsts(), groups.count()), (&[][..], &[][..], 0));
    }
}
