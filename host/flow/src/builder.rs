//! Filling a batch, many rows at a time.

use std::sync::Arc;

use ahash::AHashMap;

use crate::fetch;
use crate::pool::Pooled;
use crate::stage::Stage;
use crate::unknown::UnknownRows;
use crate::{Batch, Column, ColumnId, ColumnSet, Lists, Pool, Schema, Texts, Width};

/// Collects rows until there are enough for a [`Batch`].
///
/// Rows are added in blocks. For a block of `n` rows, ask for the columns that have values
/// ([`u64s`](Self::u64s) and its kin hand out exactly the `n` new places, zeroed), fill them, then call
/// [`advance`](Self::advance). A column that no block asked for costs nothing and is absent from
/// the batch; one that only some blocks asked for is zero in the rows of the others. What was
/// handed out and not advanced over is discarded when the column is asked for again, or by
/// [`truncate`](Self::truncate), which a decoder calls that gives up in the middle of a row.
///
/// A decoder whose records come one at a time uses [`set_number`](Self::set_number).
#[derive(Debug)]
pub struct BatchBuilder {
    schema: Arc<Schema>,
    pool: Pool,
    wanted: ColumnSet,
    columns: Vec<Option<Open>>,
    touched: Vec<ColumnId>,
    unknown: Option<Box<UnknownRows>>,
    stage: Stage,
    rows: usize,
}

/// Places that a column is made longer by at once. A block has a few dozen rows, and zeroing them
/// block by block costs more than filling them.
const ZEROED_AHEAD: usize = 1024;

#[derive(Debug)]
enum Open {
    U8(Ahead<u8>),
    U16(Ahead<u16>),
    U32(Ahead<u32>),
    U64(Ahead<u64>),
    /// With the place of every word, so that an exporter with many different texts is not slow.
    Text(Texts, AHashMap<Arc<str>, u32>),
    Lists(Lists),
}

/// A column of numbers that reaches beyond the rows there are: everything from `used` on is zero.
#[derive(Debug)]
struct Ahead<T> {
    values: Vec<T>,
    used: usize,
}

impl<T: Copy + Default> Ahead<T> {
    /// The `n` places from `rows` on, zeroed.
    #[inline]
    fn block(&mut self, rows: usize, n: usize) -> &mut [T] {
        let end = rows + n;
        if self.used > rows || self.values.len() < end {
            self.prepare(rows, end);
        }
        self.used = end;
        fetch::to_write(&self.values[rows..end]);
        &mut self.values[rows..end]
    }

    /// Zeroes what was handed out before and not advanced over, and makes room up to `end`.
    #[cold]
    fn prepare(&mut self, rows: usize, end: usize) {
        if self.used > rows {
            self.values[rows..self.used].fill(T::default());
        }
        if self.values.len() < end {
            self.values.resize(end.max(self.values.len() + ZEROED_AHEAD), T::default());
        }
    }

    /// Puts `values` behind the first `rows`.
    #[inline]
    fn append(&mut self, rows: usize, values: impl Iterator<Item = T>) {
        if self.values.len() != rows {
            self.resize(rows);
        }
        self.values.extend(values);
        self.used = self.values.len();
        // As many as these, if the next block is like this one: there are as many columns as blocks in a batch, too many for the
        // processor to see what comes next in each.
        fetch::to_write(&self.values[rows..]);
    }

    /// Sets the value in the row behind the first `rows`.
    #[inline]
    fn set(&mut self, rows: usize, value: T) {
        if let Some(place) = self.values.get_mut(rows) {
            *place = value;
            self.used = self.used.max(rows + 1);
        } else if let Some(place) = self.block(rows, 1).first_mut() {
            *place = value;
        }
    }

    /// Makes everything from `rows` on zero.
    fn truncate(&mut self, rows: usize) {
        if self.used > rows {
            self.values[rows..self.used].fill(T::default());
            self.used = rows;
        }
    }

    /// Makes up for blocks that the column was not asked for in, or cuts off what was given up.
    #[cold]
    fn resize(&mut self, rows: usize) {
        self.values.resize(rows, T::default());
    }

    /// The first `rows` values.
    fn close(mut self, rows: usize) -> Arc<Vec<T>> {
        self.values.resize(rows, T::default());
        Arc::new(self.values)
    }
}

/// Does what is seldom done away from what is done mostly.
#[cold]
#[inline(never)]
fn cold(work: impl FnOnce()) {
    work();
}

macro_rules! block_of {
    ($(#[$doc:meta])* $name:ident, $append:ident, $set:ident, $variant:ident, $type:ty) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If the schema gives `column` another width: a fault of the calling decoder.
        #[inline]
        pub fn $name(&mut self, column: ColumnId, n: usize) -> &mut [$type] {
            let rows = self.rows;
            self.$variant(column).block(rows, n)
        }

        /// Fills the column in the block that is being filled: `values` gives one for each of its rows.
        /// Faster than asking for places, since those need not be zeroed first.
        ///
        /// # Panics
        /// If the schema gives `column` another width: a fault of the calling decoder.
        #[inline]
        pub fn $append(&mut self, column: ColumnId, values: impl Iterator<Item = $type>) {
            // The usual case beside the one that makes it so, and not behind it: a block has few rows.
            match self.columns.get_mut(usize::from(column)) {
                Some(Some(Open::$variant(ahead))) if self.stage.rows() == 0 => ahead.append(self.rows, values),
                _ => {
                    cold(|| {
                        self.$variant(column);
                    });
                    self.$append(column, values);
                }
            }
        }

        /// Sets the value in the next row: the way of decoders that fill one row at a time, with
        /// `advance(1)` behind it. Of several values the last one counts.
        ///
        /// # Panics
        /// If the schema gives `column` another width: a fault of the calling decoder.
        #[inline]
        pub fn $set(&mut self, column: ColumnId, value: $type) {
            let rows = self.rows;
            self.$variant(column).set(rows, value);
        }

        #[inline]
        #[allow(non_snake_case, reason = "called like the variant that it hands out")]
        fn $variant(&mut self, column: ColumnId) -> &mut Ahead<$type> {
            let slot = usize::from(column);
            if self.stage.rows() > 0 {
                self.unstage();
            }
            if !matches!(self.columns.get(slot), Some(Some(Open::$variant(_)))) {
                self.open(column, |pool| Open::$variant(Ahead { values: <$type>::take(pool), used: 0 }));
            }
            match self.columns.get_mut(slot) {
                Some(Some(Open::$variant(values))) => values,
                _ => panic!("column {column} has another width"),
            }
        }
    };
}

impl BatchBuilder {
    /// An empty builder. Columns outside `wanted` need not be filled; decoders ask [`wants`](Self::wants).
    #[must_use]
    pub fn new(schema: Arc<Schema>, wanted: ColumnSet, pool: Pool) -> BatchBuilder {
        let columns = std::iter::repeat_with(|| None).take(schema.slots()).collect();
        BatchBuilder {
            schema,
            pool,
            wanted,
            columns,
            touched: Vec::new(),
            unknown: None,
            stage: Stage::default(),
            rows: 0,
        }
    }

    /// From now on columns outside `wanted` need not be filled. For an empty builder.
    pub fn want(&mut self, wanted: ColumnSet) {
        debug_assert_eq!(self.rows(), 0, "rows of one batch have the same columns");
        self.wanted = wanted;
    }

    /// An empty builder of the same kind.
    #[must_use]
    pub fn another(&self) -> BatchBuilder {
        let mut other = BatchBuilder::new(Arc::clone(&self.schema), self.wanted, self.pool.clone());
        other.keep_unknown(self.unknown.is_some());
        other
    }

    /// The columns that a batch may have.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Whether anyone will read `column`.
    #[must_use]
    pub fn wants(&self, column: ColumnId) -> bool {
        self.wanted.contains(column)
    }

    /// The columns that somebody will read.
    #[must_use]
    pub fn wanted(&self) -> &ColumnSet {
        &self.wanted
    }

    /// Rows collected so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Opens a column that no block asked for yet.
    #[cold]
    fn open(&mut self, column: ColumnId, open: impl FnOnce(&Pool) -> Open) {
        let slot = &mut self.columns[usize::from(column)];
        if slot.is_none() {
            *slot = Some(open(&self.pool));
            self.touched.push(column);
        }
    }

    /// Sets the number in the next row, whatever the width of the column: the way of decoders that fill
    /// one row at a time, with `advance(1)` behind it. A number that is too large for the column reads as 0.
    ///
    /// A few rows are collected before they go to the columns, so that neither the width is a branch a value nor
    /// every column in the cache.
    ///
    /// # Panics
    /// If the schema says that `column` has no numbers: a fault of the calling decoder.
    #[inline]
    pub fn set_number(&mut self, column: ColumnId, value: u64) {
        if !self.stage.set(column, value) {
            assert!(self.schema.width(column).is_some_and(Width::is_number), "column {column} has no numbers");
            self.stage.open(column);
            self.stage.set(column, value);
        }
    }

    /// Puts the rows that were collected into the columns.
    #[cold]
    fn unstage(&mut self) {
        let mut stage = std::mem::take(&mut self.stage);
        let rows = self.rows;
        self.rows -= stage.rows();
        // Mostly all numbers fit, and a cast goes many at a time.
        macro_rules! append {
            ($append:ident, $type:ty, $column:expr, $values:expr, $any:expr) => {
                if <$type>::try_from($any).is_ok() {
                    self.$append($column, $values.map(|value| *value as $type));
                } else {
                    self.$append($column, $values.map(|value| <$type>::try_from(*value).unwrap_or(0)));
                }
            };
        }
        for (column, values, any) in stage.columns() {
            let values = values.iter();
            match self.schema.width(column) {
                Some(Width::U8) => append!(append_u8s, u8, column, values, any),
                Some(Width::U16) => append!(append_u16s, u16, column, values, any),
                Some(Width::U32) => append!(append_u32s, u32, column, values, any),
                Some(Width::U64) => self.append_u64s(column, values.copied()),
                Some(Width::Text | Width::Lists) | None => {}
            }
        }
        stage.restart();
        self.stage = stage;
        self.rows = rows;
    }

    block_of!(
        /// The `n` new places of a one-byte column.
        u8s, append_u8s, set_u8, U8, u8
    );
    block_of!(
        /// The `n` new places of a two-byte column.
        u16s, append_u16s, set_u16, U16, u16
    );
    block_of!(
        /// The `n` new places of a four-byte column.
        u32s, append_u32s, set_u32, U32, u32
    );
    block_of!(
        /// The `n` new places of an eight-byte column.
        u64s, append_u64s, set_u64, U64, u64
    );

    /// Appends the list of the next row of the block that is being filled: once per row, in order.
    ///
    /// # Panics
    /// If the schema says that `column` has no lists.
    pub fn push_list(&mut self, column: ColumnId, row: usize, list: &[u32]) {
        let slot = &mut self.columns[usize::from(column)];
        if slot.is_none() {
            self.touched.push(column);
            *slot = Some(Open::Lists(Lists::default()));
        }
        let Some(Open::Lists(lists)) = slot else { panic!("column {column} has no lists") };
        resize_lists(lists, self.rows + row);
        lists.push(list);
    }

    /// Sets the text of row `row` of the block that is being filled: rows in ascending order.
    ///
    /// # Panics
    /// If the schema says that `column` has no text.
    pub fn push_text(&mut self, column: ColumnId, row: usize, text: &str) {
        let slot = &mut self.columns[usize::from(column)];
        if slot.is_none() {
            self.touched.push(column);
            let empty: Arc<str> = Arc::from("");
            let texts = Texts { words: vec![Arc::clone(&empty)], codes: self.pool.u32s() };
            *slot = Some(Open::Text(texts, AHashMap::from_iter([(empty, 0)])));
        }
        let Some(Open::Text(texts, places)) = slot else { panic!("column {column} has no text") };
        texts.codes.truncate(self.rows + row);
        texts.codes.resize(self.rows + row, 0);
        let code = places.get(text).copied().unwrap_or_else(|| {
            let (word, place) = (Arc::<str>::from(text), texts.words.len() as u32);
            texts.words.push(Arc::clone(&word));
            places.insert(word, place);
            place
        });
        texts.codes.push(code);
    }

    /// Switches on or off that fields which no column takes are kept ([`Batch::unknown`]). Off at
    /// first; what was kept before is dropped when it is switched off.
    pub fn keep_unknown(&mut self, is_kept: bool) {
        if is_kept != self.unknown.is_some() {
            self.unknown = is_kept.then(Box::default);
        }
    }

    /// Whether somebody wants what no column takes.
    #[must_use]
    pub fn keeps_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    /// Appends fields of the next row that no column takes, as they were on the wire; nothing happens
    /// unless [`keep_unknown`](Self::keep_unknown) switched it on.
    ///
    /// `numbering` names what the fields' numbers mean: a batch has one, and what comes with another
    /// is dropped. `columns` are those that the fields would have filled, had somebody wanted them.
    pub fn push_unknown(&mut self, numbering: &'static str, columns: &[ColumnId], fields: &[u8]) {
        if let Some(unknown) = &mut self.unknown {
            unknown.push(self.rows, numbering, columns, fields);
        }
    }

    /// Ends the block: its `n` rows are part of the batch.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        if self.stage.is_idle() {
            self.rows += n;
            return;
        }
        for _ in 0..n {
            self.rows += 1;
            if self.stage.advance() {
                self.unstage();
            }
        }
    }

    /// Takes back all rows from `rows` on, and what was handed out and not advanced over.
    pub fn truncate(&mut self, rows: usize) {
        let rows = self.rows.min(rows);
        self.stage.truncate(self.rows - rows);
        self.rows = rows;
        if let Some(unknown) = &mut self.unknown {
            unknown.truncate(rows);
        }
        // Without rows the dictionaries go too: nothing but rejected records must not make them grow.
        if rows == 0 {
            let columns = &mut self.columns;
            let open = self.touched.drain(..).filter_map(|column| columns[usize::from(column)].take());
            self.pool.recycle(open.map(|open| open.close(0)));
            return;
        }
        for column in &self.touched {
            match &mut self.columns[usize::from(*column)] {
                Some(Open::U8(values)) => values.truncate(rows),
                Some(Open::U16(values)) => values.truncate(rows),
                Some(Open::U32(values)) => values.truncate(rows),
                Some(Open::U64(values)) => values.truncate(rows),
                Some(Open::Text(texts, _)) => texts.codes.truncate(rows),
                Some(Open::Lists(lists)) if lists.offsets.len() > rows => resize_lists(lists, rows),
                Some(Open::Lists(_)) | None => {}
            }
        }
    }

    /// Takes the rows out as a batch and starts the next one. Buffers come from the pool.
    #[must_use]
    pub fn finish(&mut self, id: u64, now_ms: u64) -> Batch {
        self.unstage();
        let rows = std::mem::take(&mut self.rows);
        let mut batch = Batch::new(Arc::clone(&self.schema), self.pool.clone(), rows);
        batch.stamp(id, now_ms);
        for column in self.touched.drain(..) {
            let Some(open) = self.columns[usize::from(column)].take() else { continue };
            batch.put(column, open.close(rows));
        }
        if let Some(unknown) = &mut self.unknown {
            batch.put_unknown(unknown.finish(rows));
        }
        batch
    }
}

fn resize_lists(lists: &mut Lists, rows: usize) {
    if lists.offsets.len() > rows + 1 {
        lists.offsets.truncate(rows + 1);
        let end = lists.offsets.last().copied().unwrap_or(0);
        lists.values.truncate(end as usize);
    }
    let end = lists.values.len() as u32;
    lists.offsets.resize(rows + 1, end);
}

impl Open {
    fn close(self, rows: usize) -> Column {
        match self {
            Open::U8(values) => Column::U8(values.close(rows)),
            Open::U16(values) => Column::U16(values.close(rows)),
            Open::U32(values) => Column::U32(values.close(rows)),
            Open::U64(values) => Column::U64(values.close(rows)),
            Open::Text(mut texts, _) => {
                texts.codes.resize(rows, 0);
                Column::Text(Arc::new(texts))
            }
            Open::Lists(mut lists) => {
                resize_lists(&mut lists, rows);
                Column::Lists(Arc::new(lists))
            }
        }
    }
}

#[cfg(test)]
mod tests;
