//! Groups of rows that have something in common, made and asked in the host.

use crate::{Batch, Bitmap, Column, ColumnId, Denied, Reason, Text, batch, sys};

/// A grouping of the rows of the batch. Rows that were left out are one group more, the rest, after the last.
///
/// It borrows the batch because another grouping takes the place of this one.
#[derive(Debug)]
pub struct Groups<'a> {
    batch: &'a mut Batch,
    firsts: Vec<u32>,
    has_rest: bool,
}

/// Sorts the rows into groups: those of one group have the same in each of up to 8 columns, numbers or texts. An absent
/// column holds zeros or empty texts. Groups are numbered by their first rows. Rows that are not chosen are the rest.
///
/// # Errors
/// As [`Batch::get`], but absence is none; out-of-range for more columns.
pub fn group<'a>(batch: &'a mut Batch, columns: &[ColumnId], only: Option<&Bitmap>) -> Result<Groups<'a>, Denied> {
    let firsts = sys::group(columns, only.map(Bitmap::words)).map_err(of_all)?;
    Ok(Groups { batch, firsts, has_rest: only.is_some() })
}

/// The numbers of a column in some rows; zeros where it is absent.
///
/// # Errors
/// As [`Batch::get`], but absence is none; out-of-range for a row that the batch does not have, or more rows than it has.
pub fn numbers_at<T: batch::Number>(batch: &Batch, column: Column<T>, rows: &[u32]) -> Result<Vec<u64>, Denied> {
    let _: &Batch = batch;
    sys::numbers_at(column.id(), rows).map_err(|reason| Denied::of(column.id(), reason))
}

/// The texts of a column in some rows; empty where it is absent.
///
/// # Errors
/// As [`numbers_at`].
pub fn texts_at(batch: &Batch, column: Text, rows: &[u32]) -> Result<Vec<String>, Denied> {
    let _: &Batch = batch;
    sys::texts_at(column.id(), rows).map_err(|reason| Denied::of(column.id(), reason))
}

impl Groups<'_> {
    /// The batch. What is written there changes no group.
    #[must_use]
    pub fn batch(&mut self) -> &mut Batch {
        self.batch
    }

    /// The first row of each group, ascending; the rest has none here.
    #[must_use]
    pub fn firsts(&self) -> &[u32] {
        &self.firsts
    }

    /// How many groups there are, with the rest.
    #[must_use]
    pub fn count(&self) -> usize {
        self.firsts.len() + usize::from(self.has_rest)
    }

    /// The group of each row.
    ///
    /// # Errors
    /// None of those that [`Denied`] lists, as long as the batch is there.
    pub fn of_rows(&self) -> Result<Vec<u32>, Denied> {
        sys::group_of_rows().map_err(of_all)
    }

    /// How many rows each group has, or how many of those that are chosen.
    ///
    /// # Errors
    /// As [`of_rows`](Self::of_rows), and if the choice is of another number of rows.
    pub fn counts(&self, only: Option<&Bitmap>) -> Result<Vec<u32>, Denied> {
        sys::group_counts(only.map(Bitmap::words)).map_err(of_all)
    }

    /// Sum of a numeric column over each group, or over those of its rows that are chosen. With `times`, such as the
    /// sampling rate, each number is first multiplied by the one in that column. What would pass 2^64 - 1 stays there.
    ///
    /// # Errors
    /// As [`Batch::get`], but absence is none; and if the choice is of another number of rows.
    pub fn sums<T: batch::Number>(
        &self,
        column: Column<T>,
        times: Option<Column<u64>>,
        only: Option<&Bitmap>,
    ) -> Result<Vec<u64>, Denied> {
        sys::group_sums(column.id(), times.map(Column::id), only.map(Bitmap::words))
            .map_err(|reason| Denied::of(column.id(), reason))
    }

    /// The number that the first row of each group has.
    ///
    /// # Errors
    /// As [`numbers_at`].
    pub fn numbers<T: batch::Number>(&self, column: Column<T>) -> Result<Vec<u64>, Denied> {
        numbers_at(self.batch, column, &self.firsts)
    }

    /// The text that the first row of each group has.
    ///
    /// # Errors
    /// As [`numbers_at`].
    pub fn texts(&self, column: Text) -> Result<Vec<String>, Denied> {
        texts_at(self.batch, column, &self.firsts)
    }

    /// Which groups stay, with all their rows: as [`Batch::keep`].
    ///
    /// # Errors
    /// If the bitmap is of another number of groups.
    pub fn keep(&mut self, groups: &Bitmap) -> Result<(), Denied> {
        sys::keep_groups(groups.words()).map_err(of_all)
    }

    /// Where the rows of each group go: one index into `names` per group, as [`Batch::route`].
    ///
    /// # Errors
    /// If the length differs from [`count`](Self::count) or an index is beyond the names.
    pub fn route(&mut self, names: &[String], index: &[u16]) -> Result<(), Denied> {
        sys::route_groups(names, index).map_err(of_all)
    }
}

/// A refusal that is not about one column.
fn of_all(reason: Reason) -> Denied {
    Denied { column: None, reason }
}
