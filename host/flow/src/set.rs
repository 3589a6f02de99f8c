//! A set of column numbers, small enough to copy.

use crate::{ColumnId, MAX_COLUMNS};

const WORDS: usize = MAX_COLUMNS / 64;

/// A set of column numbers below [`MAX_COLUMNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ColumnSet([u64; WORDS]);

impl ColumnSet {
    /// The set with nothing in it.
    pub const EMPTY: ColumnSet = ColumnSet([0; WORDS]);
    /// The set with every number in it.
    pub const ALL: ColumnSet = ColumnSet([u64::MAX; WORDS]);

    /// Whether `column` is in the set; a number out of range never is.
    #[must_use]
    pub fn contains(&self, column: ColumnId) -> bool {
        let column = usize::from(column);
        column < MAX_COLUMNS && self.0[column / 64] >> (column % 64) & 1 == 1
    }

    /// Adds `column`; a number out of range is ignored.
    pub fn insert(&mut self, column: ColumnId) {
        let column = usize::from(column);
        if column < MAX_COLUMNS {
            self.0[column / 64] |= 1 << (column % 64);
        }
    }

    /// Takes `column` out.
    pub fn remove(&mut self, column: ColumnId) {
        let column = usize::from(column);
        if column < MAX_COLUMNS {
            self.0[column / 64] &= !(1 << (column % 64));
        }
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// What is in either set.
    #[must_use]
    pub fn union(mut self, other: ColumnSet) -> ColumnSet {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        self
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn minus(mut self, other: ColumnSet) -> ColumnSet {
        for (word, less) in self.0.iter_mut().zip(other.0) {
            *word &= !less;
        }
        self
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ColumnId> + '_ {
        // Most sets have few, and are looked through for every batch.
        (0..).step_by(64).zip(self.0).flat_map(|(first, mut word): (ColumnId, u64)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as ColumnId)?;
                word &= word - 1;
                Some(first + bit)
            })
        })
    }
}

impl FromIterator<ColumnId> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = ColumnId>>(columns: I) -> ColumnSet {
        let mut set = ColumnSet::EMPTY;
        for column in columns {
            set.insert(column);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_out_of_range() {
        let mut set: ColumnSet = [1, 64, 1023, 5000].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 64, 1023]);
        set.remove(64);
        assert!(!set.contains(64) && !set.contains(5000));
        assert!(ColumnSet::ALL.minus(ColumnSet::ALL).is_empty());
    }
}
