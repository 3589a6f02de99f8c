//! The batch that is being processed.

use std::cell::Cell;

use crate::{Address, Bitmap, Column, ColumnId, Denied, Field, Lists, Reason, Text, Width, sys};

/// A number that a column can hold: `u8`, `u16`, `u32` or `u64`.
pub trait Number: sys::Number + Copy + Default + 'static {}

impl<T: sys::Number + Copy + Default + 'static> Number for T {}

/// The current batch. Reading a column copies it into the plugin, so read a column once and only if
/// it is needed; reads see what this call of `process` has written so far.
#[derive(Debug)]
pub struct Batch {
    rows: Cell<Option<u32>>,
}

/// An address column: the halves of every row's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// High halves, one per row.
    pub hi: Vec<u64>,
    /// Low halves, one per row.
    pub lo: Vec<u64>,
}

/// A text column: row `r` holds `words[codes[r]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The texts that occur.
    pub words: Vec<String>,
    /// One index into `words` per row.
    pub codes: Vec<u32>,
}

impl Texts {
    /// The text of `row`, `""` beyond the last.
    #[must_use]
    pub fn get(&self, row: usize) -> &str {
        self.codes.get(row).and_then(|code| self.words.get(*code as usize)).map_or("", String::as_str)
    }
}

/// A list column: row `r` holds `values[offsets[r]..offsets[r + 1]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListColumn {
    /// One more than rows, ascending from 0.
    pub offsets: Vec<u32>,
    /// The values of all rows.
    pub values: Vec<u32>,
}

impl ListColumn {
    /// The list of `row`, empty beyond the last.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u32] {
        let bounds = self.offsets.get(row).zip(self.offsets.get(row + 1));
        bounds.and_then(|(from, to)| self.values.get(*from as usize..*to as usize)).unwrap_or_default()
    }
}

/// A column whose kind is known only at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// One byte a row.
    U8(Vec<u8>),
    /// Two bytes a row.
    U16(Vec<u16>),
    /// Four bytes a row.
    U32(Vec<u32>),
    /// Eight bytes a row.
    U64(Vec<u64>),
    /// Text.
    Text(Texts),
    /// Lists.
    Lists(ListColumn),
}

impl Batch {
    pub(crate) fn current() -> Batch {
        Batch { rows: Cell::new(None) }
    }

    /// Rows in the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        let rows = self.rows.get().unwrap_or_else(sys::rows);
        self.rows.set(Some(rows));
        rows as usize
    }

    /// Number of the batch, unique within one run of the collector.
    #[must_use]
    pub fn id(&self) -> u64 {
        sys::id()
    }

    /// Batch time in milliseconds since the Unix epoch: the only clock a plugin has.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        sys::now_ms()
    }

    /// Whether some row may have the column; false too where the grant does not cover it.
    #[must_use]
    pub fn has(&self, column: ColumnId) -> bool {
        sys::has(column)
    }

    /// A numeric column: one value per row.
    ///
    /// # Errors
    /// [`Reason::Absent`] if no row has it (see [`get_or_zero`](Self::get_or_zero)), and what else [`Reason`] lists.
    pub fn get<T: Number>(&self, column: Column<T>) -> Result<Vec<T>, Denied> {
        T::get(column.id()).map_err(|reason| Denied::of(column.id(), reason))
    }

    /// A numeric column, or `None` if no row has it.
    ///
    /// # Errors
    /// As [`get`](Self::get), but absence is none.
    pub fn find<T: Number>(&self, column: Column<T>) -> Result<Option<Vec<T>>, Denied> {
        absent_is_none(self.get(column))
    }

    /// A numeric column, as zeros if no row has it.
    ///
    /// # Errors
    /// As [`get`](Self::get), but absence is none.
    pub fn get_or_zero<T: Number>(&self, column: Column<T>) -> Result<Vec<T>, Denied> {
        Ok(self.find(column)?.unwrap_or_else(|| vec![T::default(); self.rows()]))
    }

    /// An address column.
    ///
    /// # Errors
    /// As [`get`](Self::get); absent only if both halves are.
    pub fn addresses(&self, address: Address) -> Result<Addresses, Denied> {
        let (hi, lo) = (self.find(address.hi)?, self.find(address.lo)?);
        if hi.is_none() && lo.is_none() {
            return Err(Denied::of(address.hi.id(), Reason::Absent));
        }
        let zeros = || vec![0; self.rows()];
        Ok(Addresses { hi: hi.unwrap_or_else(zeros), lo: lo.unwrap_or_else(zeros) })
    }

    /// An address column, or `None` if no row has it.
    ///
    /// # Errors
    /// As [`addresses`](Self::addresses), but absence is none.
    pub fn find_addresses(&self, address: Address) -> Result<Option<Addresses>, Denied> {
        absent_is_none(self.addresses(address))
    }

    /// A text column.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn texts(&self, column: Text) -> Result<Texts, Denied> {
        let (words, codes) = sys::texts(column.id()).map_err(|reason| Denied::of(column.id(), reason))?;
        Ok(Texts { words, codes })
    }

    /// A text column, or `None` if no row has it.
    ///
    /// # Errors
    /// As [`get`](Self::get), but absence is none.
    pub fn find_texts(&self, column: Text) -> Result<Option<Texts>, Denied> {
        absent_is_none(self.texts(column))
    }

    /// A list column.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn lists(&self, column: Lists) -> Result<ListColumn, Denied> {
        let (offsets, values) = sys::lists(column.id()).map_err(|reason| Denied::of(column.id(), reason))?;
        Ok(ListColumn { offsets, values })
    }

    /// A column of any kind, for columns that the configuration names.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn any(&self, column: ColumnId) -> Result<Values, Denied> {
        let width = match Field::numbered(column) {
            Some(field) => field.width,
            // An operator's own column: the refusal of a wrong guess says what it holds.
            None => match self.get(Column::<u32>::new(column)) {
                Ok(values) => return Ok(Values::U32(values)),
                Err(Denied { reason: Reason::WrongWidth(width), .. }) => width,
                Err(denied) => return Err(denied),
            },
        };
        match width {
            Width::U8 => self.get(Column::new(column)).map(Values::U8),
            Width::U16 => self.get(Column::new(column)).map(Values::U16),
            Width::U32 => self.get(Column::new(column)).map(Values::U32),
            Width::U64 => self.get(Column::new(column)).map(Values::U64),
            Width::Text => self.texts(Text::new(column)).map(Values::Text),
            Width::Lists => self.lists(Lists::new(column)).map(Values::Lists),
        }
    }

    /// Replaces a numeric column: one value per row.
    ///
    /// # Errors
    /// If it is not granted, holds something else, or the length differs from [`rows`](Self::rows).
    pub fn set<T: Number>(&mut self, column: Column<T>, values: &[T]) -> Result<(), Denied> {
        T::set(column.id(), values).map_err(|reason| Denied::of(column.id(), reason))
    }

    /// Replaces both halves of an address.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_addresses(&mut self, address: Address, values: &Addresses) -> Result<(), Denied> {
        self.set(address.hi, &values.hi)?;
        self.set(address.lo, &values.lo)
    }

    /// Replaces a text column: one index into `words` per row.
    ///
    /// # Errors
    /// As [`set`](Self::set), and if an index is beyond the words.
    pub fn set_texts(&mut self, column: Text, words: &[String], codes: &[u32]) -> Result<(), Denied> {
        sys::set_texts(column.id(), words, codes).map_err(|reason| Denied::of(column.id(), reason))
    }

    /// Replaces a list column: offsets (one more than rows, ascending from 0) and values.
    ///
    /// # Errors
    /// As [`set`](Self::set), and if the offsets do not ascend to the number of values.
    pub fn set_lists(&mut self, column: Lists, offsets: &[u32], values: &[u32]) -> Result<(), Denied> {
        sys::set_lists(column.id(), offsets, values).map_err(|reason| Denied::of(column.id(), reason))
    }

    /// Makes a column absent in every row. Needs the grant to write it.
    ///
    /// # Errors
    /// If it is not granted.
    pub fn clear(&mut self, column: ColumnId) -> Result<(), Denied> {
        sys::clear(column).map_err(|reason| Denied::of(column, reason))
    }

    /// Which rows stay; the last call counts. Not called: all stay.
    ///
    /// # Errors
    /// If the bitmap is of another number of rows.
    pub fn keep(&mut self, rows: &Bitmap) -> Result<(), Denied> {
        sys::keep(rows.words()).map_err(|reason| Denied { column: None, reason })
    }

    /// Where each row goes: one index into `names` per row; the last call counts.
    ///
    /// # Errors
    /// If the length differs from [`rows`](Self::rows) or an index is beyond the names.
    pub fn route(&mut self, names: &[String], index: &[u16]) -> Result<(), Denied> {
        sys::route(names, index).map_err(|reason| Denied { column: None, reason })
    }
}

fn absent_is_none<T>(read: Result<T, Denied>) -> Result<Option<T>, Denied> {
    match read {
        Ok(values) => Ok(Some(values)),
        Err(Denied { reason: Reason::Absent, .. }) => Ok(None),
        Err(denied) => Err(denied),
    }
}
