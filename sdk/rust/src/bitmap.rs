//! One bit per row.

/// A choice of rows: bit `r % 32` of word `r / 32` for row `r`, as `keep` and the kernels have it.
/// Bits beyond the last row are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    rows: usize,
    words: Vec<u32>,
}

impl Bitmap {
    /// No row of `rows`.
    #[must_use]
    pub fn none(rows: usize) -> Bitmap {
        Bitmap { rows, words: vec![0; rows.div_ceil(32)] }
    }

    /// Every row of `rows`.
    #[must_use]
    pub fn all(rows: usize) -> Bitmap {
        Bitmap::from_words(rows, vec![u32::MAX; rows.div_ceil(32)])
    }

    /// The rows for which `choose` says so. `choose` is called once per row, in order. Where columns are looked at row by
    /// row, collecting from iterators over them is faster: they need no check of the index.
    #[must_use]
    pub fn from_fn(rows: usize, mut choose: impl FnMut(usize) -> bool) -> Bitmap {
        let mut words = Vec::with_capacity(rows.div_ceil(32));
        let mut first = 0;
        while first < rows {
            let bits = (rows - first).min(32);
            words.push((0..bits).fold(0u32, |word, bit| word | u32::from(choose(first + bit)) << bit));
            first += 32;
        }
        Bitmap { rows, words }
    }

    fn from_bools(chosen: &[bool]) -> Bitmap {
        let (eights, rest) = chosen.as_chunks::<8>();
        // Moves the lowest bit of each of the eight bytes into the highest byte.
        let pack =
            |eight: &[bool; 8]| u64::from_le_bytes(eight.map(u8::from)).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        let (words, bytes) = eights.as_chunks::<4>();
        let word = |bytes: &[[bool; 8]]| bytes.iter().rev().fold(0, |word, eight| word << 8 | pack(eight) as u32);
        let mut words: Vec<u32> = words.iter().map(|four| word(four)).collect();
        if !chosen.len().is_multiple_of(32) {
            let rest = rest.iter().rev().fold(0, |bits, row| bits << 1 | u32::from(*row));
            words.push(word(bytes) | rest << (8 * bytes.len()));
        }
        Bitmap { rows: chosen.len(), words }
    }

    /// The words as the host gives them; missing words count as 0, bits beyond `rows` are cleared.
    #[must_use]
    pub fn from_words(rows: usize, mut words: Vec<u32>) -> Bitmap {
        words.resize(rows.div_ceil(32), 0);
        if let (Some(last), rest @ 1..) = (words.last_mut(), rows % 32) {
            *last &= (1 << rest) - 1;
        }
        Bitmap { rows, words }
    }

    /// How many rows there are to choose from.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether `row` is chosen; false beyond the last.
    #[must_use]
    pub fn get(&self, row: usize) -> bool {
        self.words.get(row / 32).is_some_and(|word| word >> (row % 32) & 1 == 1)
    }

    /// Chooses `row` or not; beyond the last it does nothing.
    pub fn set(&mut self, row: usize, chosen: bool) {
        if row < self.rows
            && let Some(word) = self.words.get_mut(row / 32)
        {
            *word = *word & !(1 << (row % 32)) | u32::from(chosen) << (row % 32);
        }
    }

    /// How many rows are chosen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether every row is chosen.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.count() == self.rows
    }

    /// The rows that are in this one and in `other`; the shorter one decides.
    #[must_use]
    pub fn and(&self, other: &Bitmap) -> Bitmap {
        let words = self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect();
        Bitmap::from_words(self.rows.min(other.rows), words)
    }

    /// The rows that are in this one or in `other`.
    #[must_use]
    pub fn or(&self, other: &Bitmap) -> Bitmap {
        let (long, short) = if self.rows >= other.rows { (self, other) } else { (other, self) };
        let mut words = long.words.clone();
        for (word, more) in words.iter_mut().zip(&short.words) {
            *word |= more;
        }
        Bitmap { rows: long.rows, words }
    }

    /// The rows that are not chosen.
    #[must_use]
    pub fn not(&self) -> Bitmap {
        Bitmap::from_words(self.rows, self.words.iter().map(|word| !word).collect())
    }

    /// The chosen rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.rows).filter(|row| self.get(*row))
    }
}

/// One choice a row, e.g. `proto.iter().map(|proto| *proto == 6).collect()`.
impl FromIterator<bool> for Bitmap {
    // Not inlined: among the variables of a long function those of a loop do not stay in registers.
    #[inline(never)]
    fn from_iter<I: IntoIterator<Item = bool>>(rows: I) -> Bitmap {
        Bitmap::from_bools(&rows.into_iter().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmap_is_the_set_of_its_rows(a in proptest::collection::vec(any::<bool>(), 0..100), flip in any::<usize>()) {
            let rows = a.len();
            let bitmap = Bitmap::from_fn(rows, |row| a[row]);
            prop_assert_eq!(&a.iter().copied().collect::<Bitmap>(), &bitmap);
            let chosen: Vec<usize> = (0..rows).filter(|row| a[*row]).collect();
            prop_assert_eq!(bitmap.iter().collect::<Vec<_>>(), chosen.clone());
            prop_assert_eq!(bitmap.count(), chosen.len());
            prop_assert_eq!(bitmap.not().count(), rows - chosen.len());
            prop_assert_eq!(bitmap.and(&bitmap.not()), Bitmap::none(rows));
            prop_assert_eq!(bitmap.or(&bitmap.not()), Bitmap::all(rows));
            prop_assert_eq!(bitmap.words().len(), rows.div_ceil(32));
            let mut other = bitmap.clone();
            let row = flip % (rows + 1);
            other.set(row, !other.get(row));
            prop_assert_eq!(other == bitmap, row == rows);
        }
    }
}
