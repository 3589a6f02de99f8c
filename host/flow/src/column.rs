//! One column of a batch.

use std::sync::Arc;

use crate::{Pool, Width};

/// The values of one column, one per row. Shared until written: a clone costs a reference count.
///
/// A zero (an empty text, an empty list) means that the record did not have the field, as in the
/// protobuf schemas of the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// One byte a row.
    U8(Arc<Vec<u8>>),
    /// Two bytes a row.
    U16(Arc<Vec<u16>>),
    /// Four bytes a row.
    U32(Arc<Vec<u32>>),
    /// Eight bytes a row.
    U64(Arc<Vec<u64>>),
    /// Text, dictionary coded.
    Text(Arc<Texts>),
    /// A list of 32-bit numbers a row.
    Lists(Arc<Lists>),
}

/// Dictionary-coded text: row `r` holds `words[codes[r]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The distinct texts, in no order. A word may be unused; words may repeat.
    pub words: Vec<Arc<str>>,
    /// One index into `words` per row.
    pub codes: Vec<u32>,
}

/// Lists of numbers: row `r` holds `values[offsets[r]..offsets[r + 1]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// One more than there are rows; ascending; the first is 0 and the last is `values.len()`.
    pub offsets: Vec<u32>,
    /// The numbers of all rows, one after another.
    pub values: Vec<u32>,
}

impl Default for Lists {
    fn default() -> Lists {
        Lists { offsets: vec![0], values: Vec::new() }
    }
}

impl Texts {
    /// The words that `codes` name, and no others.
    fn of_used(words: &[Arc<str>], mut codes: Vec<u32>) -> Texts {
        const UNUSED: u32 = u32::MAX;
        let mut places = vec![UNUSED; words.len()];
        let mut used = Vec::new();
        for code in &mut codes {
            let place = places.get_mut(*code as usize);
            match place {
                Some(place) if *place != UNUSED => *code = *place,
                place => {
                    let word = words.get(*code as usize).cloned().unwrap_or_default();
                    *code = used.len() as u32;
                    used.push(word);
                    if let Some(place) = place {
                        *place = *code;
                    }
                }
            }
        }
        Texts { words: used, codes }
    }

    /// The text of `row`, `""` out of range.
    #[must_use]
    pub fn get(&self, row: usize) -> &str {
        let code = self.codes.get(row).copied().unwrap_or(u32::MAX);
        self.words.get(code as usize).map_or("", |word| word)
    }
}

impl Lists {
    /// The list of `row`, empty out of range.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u32] {
        match (self.offsets.get(row), self.offsets.get(row + 1)) {
            (Some(&from), Some(&to)) => self.values.get(from as usize..to as usize).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Appends one row.
    pub fn push(&mut self, list: &[u32]) {
        self.values.extend_from_slice(list);
        self.offsets.push(self.values.len() as u32);
    }

    /// Whether the offsets ascend from 0 to the number of values.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.offsets.first() == Some(&0)
            && self.offsets.last().copied() == u32::try_from(self.values.len()).ok()
            && self.offsets.is_sorted()
    }
}

impl Column {
    /// Rows in the column.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Column::U8(values) => values.len(),
            Column::U16(values) => values.len(),
            Column::U32(values) => values.len(),
            Column::U64(values) => values.len(),
            Column::Text(texts) => texts.codes.len(),
            Column::Lists(lists) => lists.offsets.len() - 1,
        }
    }

    /// Whether the column has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the column holds.
    #[must_use]
    pub fn width(&self) -> Width {
        match self {
            Column::U8(_) => Width::U8,
            Column::U16(_) => Width::U16,
            Column::U32(_) => Width::U32,
            Column::U64(_) => Width::U64,
            Column::Text(_) => Width::Text,
            Column::Lists(_) => Width::Lists,
        }
    }

    /// The number in `row`; 0 for text, lists and rows out of range.
    #[must_use]
    pub fn number(&self, row: usize) -> u64 {
        match self {
            Column::U8(values) => values.get(row).copied().map_or(0, u64::from),
            Column::U16(values) => values.get(row).copied().map_or(0, u64::from),
            Column::U32(values) => values.get(row).copied().map_or(0, u64::from),
            Column::U64(values) => values.get(row).copied().unwrap_or(0),
            Column::Text(_) | Column::Lists(_) => 0,
        }
    }

    /// The column with only the rows listed, in their order, in buffers of `pool`. Rows out of range are left out.
    #[must_use]
    pub fn select(&self, rows: &[u32], pool: &Pool) -> Column {
        // The length of what comes out is known, which a filter would hide.
        fn gather<T: Copy + Default>(values: &[T], rows: &[u32], mut buffer: Vec<T>) -> Vec<T> {
            buffer.extend(rows.iter().map(|row| values.get(*row as usize).copied().unwrap_or_default()));
            buffer
        }
        match self {
            Column::U8(values) => Column::U8(Arc::new(gather(values, rows, pool.u8s()))),
            Column::U16(values) => Column::U16(Arc::new(gather(values, rows, pool.u16s()))),
            Column::U32(values) => Column::U32(Arc::new(gather(values, rows, pool.u32s()))),
            Column::U64(values) => Column::U64(Arc::new(gather(values, rows, pool.u64s()))),
            // Words of the rows left out stay behind: whoever reads the dictionary must not see what others have.
            Column::Text(texts) => {
                let codes = gather(&texts.codes, rows, Vec::new());
                Column::Text(Arc::new(Texts::of_used(&texts.words, codes)))
            }
            Column::Lists(lists) => {
                let mut picked = Lists::default();
                for row in rows {
                    if (*row as usize) < lists.offsets.len() - 1 {
                        picked.push(lists.get(*row as usize));
                    }
                }
                Column::Lists(Arc::new(picked))
            }
        }
    }

    /// Bytes held, for limits and metrics; shared memory counts in full.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Column::U8(values) => values.len(),
            Column::U16(values) => values.len() * 2,
            Column::U32(values) => values.len() * 4,
            Column::U64(values) => values.len() * 8,
            Column::Text(texts) => {
                texts.codes.len() * 4 + texts.words.iter().map(|word| word.len() + 16).sum::<usize>()
            }
            Column::Lists(lists) => (lists.offsets.len() + lists.values.len()) * 4,
        }
    }
}
