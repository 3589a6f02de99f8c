//! What rows had on the wire that no column took, so that it can be written again.

use crate::{ColumnId, ColumnSet};

/// Fields of the rows of a batch that no column took: raw, as they were on the wire, in their order.
///
/// A source keeps them if it is asked to ([`keep_unknown`](crate::BatchBuilder::keep_unknown)), and
/// a sink that writes the same numbering puts them back, so that a message of a newer or richer
/// schema passes through the collector with all of its fields. They are of two kinds: fields whose
/// number means nothing here, and fields of columns that nobody wanted to read.
///
/// Stages cannot see them, so neither can one that removes addresses:
/// [`Batch::clear_unknown`](crate::Batch::clear_unknown) is for what comes after such a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    numbering: &'static str,
    columns: ColumnSet,
    /// One more than there are rows; row `r` has `bytes[offsets[r]..offsets[r + 1]]`.
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Unknown {
    /// Names what the fields' numbers mean: only a message of the same numbering may have them.
    #[must_use]
    pub fn numbering(&self) -> &'static str {
        self.numbering
    }

    /// Columns that some of the fields would have filled, had somebody wanted them.
    #[must_use]
    pub fn columns(&self) -> &ColumnSet {
        &self.columns
    }

    /// The fields of `row`, one after another; empty where it has none or is out of range.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u8] {
        match (self.offsets.get(row), self.offsets.get(row + 1)) {
            (Some(&from), Some(&to)) => self.bytes.get(from as usize..to as usize).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Those of the rows listed, in their order, or `None` if these have none.
    pub(crate) fn select(&self, rows: &[u32]) -> Option<Unknown> {
        let mut picked = Unknown { offsets: Vec::with_capacity(rows.len() + 1), bytes: Vec::new(), ..*self };
        picked.offsets.push(0);
        for row in rows {
            picked.bytes.extend_from_slice(self.get(*row as usize));
            // A selection may repeat rows; what offsets cannot reach is left out.
            picked.bytes.truncate(u32::MAX as usize);
            picked.offsets.push(picked.bytes.len() as u32);
        }
        (!picked.bytes.is_empty()).then_some(picked)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.offsets.len() * 4 + self.bytes.len()
    }
}

/// The same while a batch is being filled.
#[derive(Debug, Default)]
pub(crate) struct UnknownRows {
    numbering: &'static str,
    columns: ColumnSet,
    /// Where each row begins, up to the last one that has any.
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl UnknownRows {
    /// Appends to the row behind the first `rows`.
    pub(crate) fn push(&mut self, rows: usize, numbering: &'static str, columns: &[ColumnId], fields: &[u8]) {
        if self.bytes.is_empty() {
            self.numbering = numbering;
        }
        // Rows at a few hundred bytes each do not come near the end of a u32.
        if self.numbering != numbering || self.bytes.len() + fields.len() > u32::MAX as usize {
            return;
        }
        if self.offsets.len() <= rows {
            self.offsets.resize(rows + 1, self.bytes.len() as u32);
        }
        for column in columns {
            self.columns.insert(*column);
        }
        self.bytes.extend_from_slice(fields);
    }

    /// Takes back what belongs to rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if let Some(end) = self.offsets.get(rows) {
            self.bytes.truncate(*end as usize);
            self.offsets.truncate(rows);
        }
    }

    /// Takes out what the first `rows` rows have, or `None` if that is nothing.
    pub(crate) fn finish(&mut self, rows: usize) -> Option<Unknown> {
        self.truncate(rows);
        let mut kept = std::mem::take(self);
        if kept.bytes.is_empty() {
            return None;
        }
        kept.offsets.resize(rows + 1, kept.bytes.len() as u32);
        Some(Unknown { numbering: kept.numbering, columns: kept.columns, offsets: kept.offsets, bytes: kept.bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Batch, BatchBuilder, Column, ColumnSet, Pool, Schema, col};

    /// Rows 0 to 4, of which 1 and 3 have unknown fields; the one of row 3 is of a column.
    fn batch() -> Batch {
        let mut builder = BatchBuilder::new(Arc::new(Schema::standard()), ColumnSet::EMPTY, Pool::default());
        builder.push_unknown("a", &[], b"before it is switched on");
        builder.keep_unknown(true);
        builder.advance(1);
        builder.push_unknown("a", &[], b"on");
        builder.push_unknown("a", &[], b"e");
        builder.push_unknown("b", &[], b"of another numbering");
        builder.advance(2);
        builder.push_unknown("a", &[col::NOTE], b"three");
        builder.advance(2);
        builder.finish(1, 0)
    }

    #[test]
    fn they_go_with_their_rows() {
        let mut batch = batch();
        let of = |batch: &Batch| -> Vec<String> {
            let unknown = batch.unknown().unwrap();
            (0..=batch.rows()).map(|row| String::from_utf8_lossy(unknown.get(row)).into_owned()).collect()
        };
        assert_eq!(of(&batch), ["", "one", "", "three", "", ""]);
        assert_eq!(of(&batch.select(&[3, 0, 1])), ["three", "", "one", ""]);
        assert!(batch.select(&[0, 2]).unknown().is_none());
        let with = batch.bytes();
        assert_eq!(batch.keep(&[0b1010]), 3);
        assert_eq!(of(&batch), ["one", "three", ""]);
        let clone = batch.clone();
        batch.clear_unknown();
        assert!(batch.unknown().is_none() && clone.unknown().is_some() && batch.bytes() < with);
    }

    #[test]
    fn a_column_that_is_written_or_taken_out_supersedes_its_fields() {
        let check = |change: fn(&mut Batch), expected: bool| {
            let mut batch = batch();
            change(&mut batch);
            assert_eq!(batch.superseded().contains(col::NOTE), expected);
            assert_eq!(batch.select(&[3]).superseded().contains(col::NOTE), expected);
        };
        check(|_| {}, false);
        check(|batch| batch.clear(col::BYTES), false);
        check(|batch| batch.clear(col::NOTE), true);
        let texts = |batch: &mut Batch| {
            let texts = crate::Texts { words: vec!["".into()], codes: vec![0; batch.rows()] };
            batch.set(col::NOTE, Column::Text(Arc::new(texts))).unwrap();
        };
        check(texts, true);
    }
}
