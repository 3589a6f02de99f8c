//! Filling a batch, many rows at a time.

use std::sync::Arc;

use crate::pool::Pooled;
use crate::{Batch, Column, ColumnId, ColumnSet, Lists, Pool, Schema, Texts};

/// Collects rows until there are enough for a [`Batch`].
///
/// Rows are added in blocks. For a block of `n` rows, ask for the columns that have values
/// ([`u64s`](Self::u64s) and its kin hand out exactly the `n` new places, zeroed), fill them, then call
/// [`advance`](Self::advance). A column that no block asked for costs nothing and is absent from
/// the batch; one that only some blocks asked for is zero in the rows of the others. What was
/// handed out and not advanced over is discarded, so a block that turns out to be bad leaves no trace.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: Arc<Schema>,
    pool: Pool,
    wanted: ColumnSet,
    columns: Vec<Option<Open>>,
    touched: Vec<ColumnId>,
    rows: usize,
}

#[derive(Debug)]
enum Open {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Text(Texts),
    Lists(Lists),
}

macro_rules! block_of {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $type:ty) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If the schema gives `column` another width: a fault of the calling decoder.
        pub fn $name(&mut self, column: ColumnId, n: usize) -> &mut [$type] {
            let rows = self.rows;
            let slot = &mut self.columns[usize::from(column)];
            if slot.is_none() {
                self.touched.push(column);
                *slot = Some(Open::$variant(<$type>::take(&self.pool)));
            }
            let Some(Open::$variant(values)) = slot else { panic!("column {column} has another width") };
            values.truncate(rows);
            values.resize(rows + n, 0);
            &mut values[rows..]
        }
    };
}

impl BatchBuilder {
    /// An empty builder. Columns outside `wanted` need not be filled; decoders ask [`wants`](Self::wants).
    #[must_use]
    pub fn new(schema: Arc<Schema>, wanted: ColumnSet, pool: Pool) -> BatchBuilder {
        let columns = std::iter::repeat_with(|| None).take(schema.slots()).collect();
        BatchBuilder { schema, pool, wanted, columns, touched: Vec::new(), rows: 0 }
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

    block_of!(
        /// The `n` new places of a one-byte column.
        u8s, U8, u8
    );
    block_of!(
        /// The `n` new places of a two-byte column.
        u16s, U16, u16
    );
    block_of!(
        /// The `n` new places of a four-byte column.
        u32s, U32, u32
    );
    block_of!(
        /// The `n` new places of an eight-byte column.
        u64s, U64, u64
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
            *slot = Some(Open::Text(Texts { words: vec![Arc::from("")], codes: Vec::new() }));
        }
        let Some(Open::Text(texts)) = slot else { panic!("column {column} has no text") };
        texts.codes.truncate(self.rows + row);
        texts.codes.resize(self.rows + row, 0);
        // Decoded texts are few and repeat; the newest word is the likeliest.
        let code = texts.words.iter().rposition(|word| &**word == text).unwrap_or_else(|| {
            texts.words.push(Arc::from(text));
            texts.words.len() - 1
        });
        texts.codes.push(code as u32);
    }

    /// Ends the block: its `n` rows are part of the batch.
    pub fn advance(&mut self, n: usize) {
        self.rows += n;
    }

    /// Takes the rows out as a batch and starts the next one. Buffers come from the pool.
    #[must_use]
    pub fn finish(&mut self, id: u64, now_ms: u64) -> Batch {
        let rows = std::mem::take(&mut self.rows);
        let mut batch = Batch::new(Arc::clone(&self.schema), self.pool.clone(), rows);
        batch.stamp(id, now_ms);
        for column in self.touched.drain(..) {
            let Some(open) = self.columns[usize::from(column)].take() else { continue };
            batch.put(column, open.close(rows));
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
        fn padded<T: Copy + Default>(mut values: Vec<T>, rows: usize) -> Arc<Vec<T>> {
            values.resize(rows, T::default());
            Arc::new(values)
        }
        match self {
            Open::U8(values) => Column::U8(padded(values, rows)),
            Open::U16(values) => Column::U16(padded(values, rows)),
            Open::U32(values) => Column::U32(padded(values, rows)),
            Open::U64(values) => Column::U64(padded(values, rows)),
            Open::Text(mut texts) => {
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
mod tests {
    use super::*;
    use crate::col;

    fn builder() -> BatchBuilder {
        BatchBuilder::new(Arc::new(Schema::standard()), ColumnSet::ALL, Pool::default())
    }

    #[test]
    fn a_column_that_one_block_lacks_is_zero_there_and_an_untouched_one_is_absent() {
        let mut builder = builder();
        builder.u64s(col::BYTES, 2).copy_from_slice(&[7, 8]);
        builder.advance(2);
        builder.u8s(col::PROTO, 1)[0] = 6;
        builder.advance(1);
        let batch = builder.finish(1, 2);
        assert_eq!(batch.rows(), 3);
        assert_eq!(batch.u64s(col::BYTES), Some(&[7, 8, 0][..]));
        assert_eq!(batch.u8s(col::PROTO), Some(&[0, 0, 6][..]));
        assert!(!batch.has(col::PACKETS));
    }

    #[test]
    fn a_block_that_is_not_advanced_over_leaves_no_trace() {
        let mut builder = builder();
        builder.u64s(col::BYTES, 2).fill(9);
        builder.push_list(col::AS_PATH, 0, &[1, 2]);
        builder.push_text(col::NOTE, 0, "bad");
        builder.u64s(col::BYTES, 1)[0] = 5;
        builder.push_list(col::AS_PATH, 0, &[3]);
        builder.push_text(col::NOTE, 0, "good");
        builder.advance(1);
        let batch = builder.finish(1, 2);
        assert_eq!(batch.u64s(col::BYTES), Some(&[5][..]));
        assert_eq!(batch.list(col::AS_PATH, 0), &[3]);
        assert_eq!(batch.text(col::NOTE, 0), "good");
    }

    #[test]
    fn buffers_of_a_finished_batch_are_filled_again() {
        let mut builder = builder();
        builder.u64s(col::BYTES, 1000);
        builder.advance(1000);
        let first = builder.finish(1, 0);
        let address = first.u64s(col::BYTES).unwrap().as_ptr();
        drop(first);
        builder.u64s(col::BYTES, 10);
        builder.advance(10);
        let second = builder.finish(2, 0);
        assert_eq!(second.u64s(col::BYTES).unwrap().as_ptr(), address);
    }
}
