//! Rows by what they have in common: the work behind `kernels.group`.

mod small;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use sluice_flow::{Column, Texts};

use small::Small;
use table::{Chosen, Table};

/// A grouping of the rows of a batch. Buffers are kept for the next.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// By row. Shared only while it is handed to a plugin.
    of_rows: Arc<Vec<u32>>,
    firsts: Vec<u32>,
    has_rest: bool,
    /// Once there was something for it to do.
    small: Option<Small>,
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
            return if chosen.only.is_none() { self.by_small(values) } else { self.by_one(chosen, value) };
        }
        let before = self.of_rows.to_vec();
        self.by_two(chosen, |row| [value(row), before.get(row).copied().unwrap_or_default().into()]);
    }

    /// Sorts all rows by values that are small numbers, most likely.
    fn by_small<T: Copy + Into<u64>>(&mut self, values: &[T]) {
        let small = self.small.get_or_insert_default();
        let of_rows = Arc::make_mut(&mut self.of_rows);
        of_rows.resize(values.len(), 0);
        self.firsts.clear();
        let done = small.sort(values, of_rows, &mut self.firsts);
        if let Some(others) = of_rows.get_mut(done..).filter(|others| !others.is_empty()) {
            let key = |row: usize| values.get(row).copied().map_or(0, T::into);
            self.by_one.go_on(small.numbers(), done, key, others, &mut self.firsts);
        }
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
            // From here on values are no small numbers.
            large in 0u32..1400,
        ) {
            let few: Vec<u64> = rows.iter().map(|row| row.0).collect();
            let value = |row: u32| u64::from(if row < large { row } else { row << 20 });
            let many: Vec<u64> = rows.iter().map(|row| value(row.2)).collect();
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
