//! The batch: rows by column.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{Column, ColumnId, ColumnSet, DeadLetter, Partition, Pool, Schema, Unknown, Width, addr_of};

/// Flow records in columns, all of the same length.
///
/// A clone shares every column (copy on write: [`set`](Self::set) replaces a column in one clone
/// only). When the last holder of a column lets go, its buffer goes back to the pool.
#[derive(Clone, Debug)]
pub struct Batch {
    schema: Arc<Schema>,
    pool: Pool,
    id: u64,
    now_ms: u64,
    rows: usize,
    columns: Vec<Option<Column>>,
    routes: Option<Arc<Routes>>,
    unknown: Option<Arc<Unknown>>,
    /// Columns that were taken out while there were unknown fields.
    cleared: ColumnSet,
    partition: Option<Arc<Partition>>,
    dead_letter: Option<Arc<DeadLetter>>,
    findings: Vec<Finding>,
}

/// What was found out about two columns of a batch, a number a row, for whoever wants to know the same later.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The columns.
    pub columns: [ColumnId; 2],
    /// What tells what the numbers mean.
    pub by: Arc<dyn Any + Send + Sync>,
    /// The numbers.
    pub numbers: Arc<Vec<u32>>,
}

/// Where each row goes, as a splitter said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Names of the routes.
    pub names: Vec<Arc<str>>,
    /// One index into `names` per row.
    pub index: Vec<u16>,
}

/// Why a column could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no such column.
    #[error("there is no column {0}")]
    NoColumn(ColumnId),
    /// The column holds something else.
    #[error("the column holds {0:?}")]
    WrongWidth(Width),
    /// A column has one value per row.
    #[error("the batch has {0} rows")]
    WrongLength(usize),
}

macro_rules! read {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self, column: ColumnId) -> Option<&[$type]> {
            match self.column(column) {
                Some(Column::$variant(values)) => Some(values),
                _ => None,
            }
        }
    };
}

impl Batch {
    /// A batch of `rows` rows in which every column is absent.
    #[must_use]
    pub fn new(schema: Arc<Schema>, pool: Pool, rows: usize) -> Batch {
        let columns = std::iter::repeat_with(|| None).take(schema.slots()).collect();
        Batch {
            schema,
            pool,
            id: 0,
            now_ms: 0,
            rows,
            columns,
            routes: None,
            unknown: None,
            cleared: ColumnSet::EMPTY,
            partition: None,
            dead_letter: None,
            findings: Vec::new(),
        }
    }

    /// Gives the batch its id and its time, in milliseconds since the Unix epoch.
    pub fn stamp(&mut self, id: u64, now_ms: u64) {
        self.id = id;
        self.now_ms = now_ms;
    }

    /// Says that all rows are of this partition.
    pub fn set_partition(&mut self, partition: Option<Arc<Partition>>) {
        self.partition = partition;
    }

    /// The partition that all rows are of, where the source keeps partitions apart.
    #[must_use]
    pub fn partition(&self) -> Option<&Arc<Partition>> {
        self.partition.as_ref()
    }

    /// Says why a stage could not process the rows; `None` when one has.
    pub fn set_dead_letter(&mut self, why: Option<Arc<DeadLetter>>) {
        self.dead_letter = why;
    }

    /// Why a stage could not process the rows, if they are dead letters.
    #[must_use]
    pub fn dead_letter(&self) -> Option<&Arc<DeadLetter>> {
        self.dead_letter.as_ref()
    }

    /// Identifies the batch within one run of the collector.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Batch time, in milliseconds since the Unix epoch: the only clock a plugin has.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns there can be.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Where the buffers go.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether `column` is there. An absent column reads as zero in every row.
    #[must_use]
    pub fn has(&self, column: ColumnId) -> bool {
        self.column(column).is_some()
    }

    /// The column, or `None` if it is absent.
    #[must_use]
    pub fn column(&self, column: ColumnId) -> Option<&Column> {
        self.columns.get(usize::from(column))?.as_ref()
    }

    /// The columns that are there, with their numbers, ascending.
    pub fn columns(&self) -> impl Iterator<Item = (ColumnId, &Column)> {
        (0..).zip(&self.columns).filter_map(|(number, column)| Some((number, column.as_ref()?)))
    }

    read!(
        /// A one-byte column, or `None` if it is absent or of another width.
        u8s, U8, u8
    );
    read!(
        /// A two-byte column.
        u16s, U16, u16
    );
    read!(
        /// A four-byte column.
        u32s, U32, u32
    );
    read!(
        /// An eight-byte column.
        u64s, U64, u64
    );

    /// The number in a row, 0 where the column is absent.
    #[must_use]
    pub fn number(&self, column: ColumnId, row: usize) -> u64 {
        self.column(column).map_or(0, |column| column.number(row))
    }

    /// The text in a row, `""` where the column is absent.
    #[must_use]
    pub fn text(&self, column: ColumnId, row: usize) -> &str {
        match self.column(column) {
            Some(Column::Text(texts)) => texts.get(row),
            _ => "",
        }
    }

    /// The list in a row, empty where the column is absent.
    #[must_use]
    pub fn list(&self, column: ColumnId, row: usize) -> &[u32] {
        match self.column(column) {
            Some(Column::Lists(lists)) => lists.get(row),
            _ => &[],
        }
    }

    /// The address in a row whose high half is in `hi` (the low half is in the next column), or
    /// `None` where it is absent.
    #[must_use]
    pub fn addr(&self, hi: ColumnId, row: usize) -> Option<IpAddr> {
        addr_of(self.number(hi, row), self.number(hi + 1, row))
    }

    /// Replaces a column.
    ///
    /// # Errors
    /// If there is no such column, or if width or length differ; the batch is then as it was.
    pub fn set(&mut self, column: ColumnId, values: Column) -> Result<(), SetError> {
        let width = self.schema.width(column).ok_or(SetError::NoColumn(column))?;
        if values.width() != width {
            return Err(SetError::WrongWidth(width));
        }
        if values.len() != self.rows {
            return Err(SetError::WrongLength(self.rows));
        }
        self.put(column, values);
        Ok(())
    }

    /// Puts a column whose width and length are known to be right.
    pub(crate) fn put(&mut self, column: ColumnId, values: Column) {
        debug_assert_eq!(values.len(), self.rows, "column {column}");
        let old = self.columns[usize::from(column)].replace(values);
        self.pool.recycle(old.into_iter());
        self.forget(column);
    }

    /// Takes a column out: it reads as absent from now on, and so do fields in
    /// [`unknown`](Self::unknown) that would have filled it.
    pub fn clear(&mut self, column: ColumnId) {
        if self.unknown.is_some() {
            self.cleared.insert(column);
        }
        if let Some(slot) = self.columns.get_mut(usize::from(column)) {
            self.pool.recycle(slot.take().into_iter());
        }
        self.forget(column);
    }

    /// Remembers what was found out about columns as they are, until one of them is replaced or rows are left out.
    pub fn remember(&mut self, finding: Finding) {
        debug_assert_eq!(finding.numbers.len(), self.rows, "finding about {:?}", finding.columns);
        self.findings.push(finding);
    }

    /// What was found out about two columns.
    pub fn findings(&self, columns: [ColumnId; 2]) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.columns == columns)
    }

    /// Forgets what was found out about a column.
    fn forget(&mut self, column: ColumnId) {
        if !self.findings.is_empty() {
            let forgotten = self.findings.extract_if(.., |finding| finding.columns.contains(&column));
            self.pool.recycle(forgotten.map(|finding| Column::U32(finding.numbers)));
        }
    }

    /// Where the rows go, if a splitter said.
    #[must_use]
    pub fn routes(&self) -> Option<&Routes> {
        self.routes.as_deref()
    }

    /// Name of the route of `row`, if a splitter said.
    #[must_use]
    pub fn route(&self, row: usize) -> Option<&Arc<str>> {
        let routes = self.routes.as_deref()?;
        routes.names.get(usize::from(*routes.index.get(row)?))
    }

    /// Says where the rows go.
    ///
    /// # Errors
    /// [`SetError::WrongLength`] if there is not one index per row.
    pub fn set_routes(&mut self, routes: Option<Routes>) -> Result<(), SetError> {
        if routes.as_ref().is_some_and(|routes| routes.index.len() != self.rows) {
            return Err(SetError::WrongLength(self.rows));
        }
        self.routes = routes.map(Arc::new);
        Ok(())
    }

    /// What the rows had on the wire that no column took, if the source keeps it and there was any.
    #[must_use]
    pub fn unknown(&self) -> Option<&Unknown> {
        self.unknown.as_deref()
    }

    /// Columns whose fields in [`unknown`](Self::unknown) do not count any more, since the column
    /// was written or taken out since: whoever writes the unknown fields leaves those of these out.
    #[must_use]
    pub fn superseded(&self) -> ColumnSet {
        let Some(unknown) = self.unknown() else { return ColumnSet::EMPTY };
        let columns = unknown.columns().iter();
        columns.filter(|column| self.has(*column) || self.cleared.contains(*column)).collect()
    }

    /// Forgets the unknown fields. Any of them may hold an address, a name or a customer under a
    /// number that nobody here knows: after a stage with a privacy duty there must be none left.
    pub fn clear_unknown(&mut self) {
        self.unknown = None;
    }

    /// Puts in what a builder kept.
    pub(crate) fn put_unknown(&mut self, unknown: Option<Unknown>) {
        self.unknown = unknown.map(Arc::new);
    }

    /// The batch with only the rows listed, in their order, each below [`rows`](Self::rows).
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Batch {
        let mut picked = Batch::new(Arc::clone(&self.schema), self.pool.clone(), rows.len());
        picked.stamp(self.id, self.now_ms);
        for (number, column) in self.columns() {
            picked.put(number, column.select(rows, &self.pool));
        }
        picked.routes = self.routes.as_deref().map(|routes| {
            let index = rows.iter().filter_map(|row| routes.index.get(*row as usize).copied()).collect();
            Arc::new(Routes { names: routes.names.clone(), index })
        });
        picked.put_unknown(self.unknown().and_then(|unknown| unknown.select(rows)));
        picked.cleared = self.cleared;
        picked.partition = self.partition.clone();
        picked.dead_letter = self.dead_letter.clone();
        picked
    }

    /// Keeps the rows whose bit is set (bit `r % 32` of word `r / 32`) and returns how many were
    /// dropped. Bits beyond the last row mean nothing; words that are missing count as 0.
    pub fn keep(&mut self, bitmap: &[u32]) -> usize {
        let words = bitmap.iter().take(self.rows.div_ceil(32)).enumerate();
        let words = words
            .map(|(at, word)| (at, if at == self.rows / 32 { word & ((1 << (self.rows % 32)) - 1) } else { *word }));
        let mut kept: Vec<u32> = Vec::with_capacity(words.clone().map(|(_, word)| word.count_ones() as usize).sum());
        for (at, mut word) in words {
            while word != 0 {
                kept.push(at as u32 * 32 + word.trailing_zeros());
                word &= word - 1;
            }
        }
        let dropped = self.rows - kept.len();
        if dropped > 0 {
            *self = self.select(&kept);
        }
        dropped
    }

    /// Bytes of all columns and unknown fields, for limits and metrics.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let unknown = self.unknown().map_or(0, Unknown::bytes);
        self.columns().map(|(_, column)| column.bytes()).sum::<usize>() + unknown
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let found = self.findings.drain(..).map(|finding| Column::U32(finding.numbers));
        self.pool.recycle(self.columns.drain(..).flatten().chain(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::col;

    fn batch(bytes: &[u64]) -> Batch {
        let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), bytes.len());
        batch.set(col::BYTES, Column::U64(Arc::new(bytes.to_vec()))).unwrap();
        batch
    }

    #[test]
    fn a_clone_shares_columns_until_one_is_set() {
        let original = batch(&[1, 2]);
        let mut clone = original.clone();
        assert_eq!(original.u64s(col::BYTES).unwrap().as_ptr(), clone.u64s(col::BYTES).unwrap().as_ptr());
        clone.set(col::BYTES, Column::U64(Arc::new(vec![3, 4]))).unwrap();
        assert_eq!(original.u64s(col::BYTES), Some(&[1, 2][..]));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut batch = batch(&[1, 2]);
        assert_eq!(batch.set(col::BYTES, Column::U64(Arc::new(vec![1]))), Err(SetError::WrongLength(2)));
        assert_eq!(batch.set(col::BYTES, Column::U8(Arc::new(vec![1, 2]))), Err(SetError::WrongWidth(Width::U64)));
        assert_eq!(batch.set(9999, Column::U8(Arc::new(vec![1, 2]))), Err(SetError::NoColumn(9999)));
        assert_eq!(batch.u64s(col::BYTES), Some(&[1, 2][..]));
    }

    #[test]
    fn keep_drops_the_rows_whose_bit_is_clear_with_their_routes() {
        let mut batch = batch(&(0..40).collect::<Vec<_>>());
        let index = (0..40).map(|row| row % 2).collect();
        batch.set_routes(Some(Routes { names: vec!["even".into(), "odd".into()], index })).unwrap();
        assert_eq!(batch.keep(&[0b110, 0b1]), 37);
        assert_eq!(batch.u64s(col::BYTES), Some(&[1, 2, 32][..]));
        assert_eq!(batch.route(0).unwrap().as_ref(), "odd");
        assert_eq!(batch.route(2).unwrap().as_ref(), "even");
    }

    #[test]
    fn what_was_found_out_holds_until_a_column_is_replaced_or_rows_are_left_out() {
        let pair = [col::SRC_ADDR_HI, col::SRC_ADDR_LO];
        let found = |batch: &Batch| batch.findings(pair).map(|finding| finding.numbers.to_vec()).collect::<Vec<_>>();
        let mut original = batch(&[1, 2]);
        let pool = original.pool().clone();
        original.remember(Finding { columns: pair, by: Arc::new(()), numbers: Arc::new(vec![7, 8]) });
        let (mut set, mut cleared, mut kept) = (original.clone(), original.clone(), original.clone());
        let mut other = original.clone();
        other.set(col::BYTES, Column::U64(Arc::new(vec![3, 4]))).unwrap();
        set.set(pair[1], Column::U64(Arc::new(vec![3, 4]))).unwrap();
        cleared.clear(pair[0]);
        assert_eq!(kept.keep(&[0b11]), 0);
        assert_eq!([found(&original), found(&other), found(&kept)], [[[7, 8]], [[7, 8]], [[7, 8]]]);
        assert_eq!(kept.keep(&[0b10]), 1);
        assert!([&set, &cleared, &kept].iter().all(|batch| found(batch).is_empty()));
        assert_eq!(original.findings([pair[1], pair[0]]).count(), 0);
        // The buffer goes back when nobody has it any more.
        drop((set, cleared, kept, other));
        assert_eq!(pool.u32s().capacity(), 0);
        drop(original);
        assert!(pool.u32s().capacity() > 0);
    }
}
