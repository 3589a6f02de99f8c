//! The innermost loops: one field of every record of a set into one column.
//!
//! What a field is gets decided once per set; a loop then runs over the records with that decision
//! compiled in ([`fill`] picks the instance by width of the field and type of the column).

#![warn(clippy::indexing_slicing)]

use sluice_flow::{BatchBuilder, ColumnId};

use crate::bytes::number;
use crate::strided::Strided;

/// Where the records of a data set are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows<'a> {
    /// One after another, all of one length.
    Fixed(Strided<'a>),
    /// Wherever `anchors` say: `width` positions per record, ascending within it. The first is
    /// where the record begins, then come begin and end of each of its variable-length fields.
    Table {
        /// The set that the positions are in.
        data: &'a [u8],
        /// Positions, `width` for each record.
        anchors: &'a [u32],
        /// Positions per record, at least 1.
        width: usize,
    },
}

/// Where a field is in its record: `offset` bytes after a position that varies (see [`Rows`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// Which of the record's positions.
    pub(crate) anchor: u16,
    /// Bytes after it.
    pub(crate) offset: u16,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    data: &'a [u8],
    anchors: &'a [u32],
    start: usize,
}

impl<'a> Rows<'a> {
    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::Fixed(records) => records.len(),
            Rows::Table { anchors, width, .. } => anchors.len().checked_div(*width).unwrap_or(0),
        }
    }

    /// The records in their order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let (data, anchors, width, stride, len) = match *self {
            Rows::Fixed(records) => (records.data(), &[][..], 0, records.stride(), self.len()),
            Rows::Table { data, anchors, width } => (data, anchors, width, 0, self.len()),
        };
        (0..len).map(move |row| {
            let anchors = anchors.get(row * width..(row + 1) * width).unwrap_or(&[]);
            Record { data, anchors, start: row * stride }
        })
    }
}

impl<'a> Record<'a> {
    /// The set from the field at `at` on; empty if there is no such place.
    fn from(&self, at: At) -> &'a [u8] {
        let anchor = match self.anchors.get(usize::from(at.anchor)) {
            Some(anchor) => *anchor as usize,
            None => self.start,
        };
        self.data.get(anchor + usize::from(at.offset)..).unwrap_or(&[])
    }

    /// The `len` bytes at `at`, empty if there are not so many.
    pub(crate) fn bytes(&self, at: At, len: usize) -> &'a [u8] {
        self.from(at).get(..len).unwrap_or(&[])
    }

    /// The variable-length field that begins at position `anchor` and ends at the next one.
    pub(crate) fn variable(&self, anchor: u16) -> &'a [u8] {
        let from = self.anchors.get(usize::from(anchor)).map_or(0, |at| *at as usize);
        let to = self.anchors.get(usize::from(anchor) + 1).map_or(0, |at| *at as usize);
        self.data.get(from..to).unwrap_or(&[])
    }

    /// The positions of the record.
    pub(crate) fn anchors(&self) -> &'a [u32] {
        self.anchors
    }

    /// Where the record begins.
    pub(crate) fn start(&self) -> usize {
        self.anchors.first().map_or(self.start, |start| *start as usize)
    }

    /// What `field` says: the number of a field of any width.
    pub(crate) fn number(&self, field: FieldAt) -> u64 {
        number(self.field(field))
    }

    /// The bytes of `field`.
    pub(crate) fn field(&self, field: FieldAt) -> &'a [u8] {
        match field {
            FieldAt::Fixed(at, len) => self.bytes(at, usize::from(len)),
            FieldAt::Variable(anchor) => self.variable(anchor),
        }
    }
}

/// A field of a record: its place and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldAt {
    /// The same number of bytes in every record.
    Fixed(At, u16),
    /// From this one of the record's positions to the next (RFC 7011, section 7).
    Variable(u16),
}

/// A type of column.
pub(crate) trait Cell: Copy + Default + PartialEq {
    /// The low bits of `number`.
    fn of(number: u64) -> Self;

    /// Fills `column`, which must be of this type, in the block that is being filled.
    fn append(out: &mut BatchBuilder, column: ColumnId, values: impl Iterator<Item = Self>);
}

macro_rules! cells {
    ($($type:ty => $append:ident;)*) => {$(
        impl Cell for $type {
            #[inline]
            fn of(number: u64) -> $type {
                number as $type
            }

            #[inline]
            fn append(out: &mut BatchBuilder, column: ColumnId, values: impl Iterator<Item = $type>) {
                out.$append(column, values);
            }
        }
    )*};
}
cells! {
    u8 => append_u8s;
    u16 => append_u16s;
    u32 => append_u32s;
    u64 => append_u64s;
}

/// Sets each cell to `value` of its record; with `only_empty`, only those that are 0 so far.
#[inline(always)]
pub(crate) fn each<'a, T: Cell>(cells: &mut [T], rows: &Rows<'a>, only_empty: bool, value: impl Fn(Record<'a>) -> u64) {
    for (cell, record) in cells.iter_mut().zip(rows.records()) {
        if !only_empty || *cell == T::default() {
            *cell = T::of(value(record));
        }
    }
}

/// Sets each cell to `value` of the `W` bytes at `at`; with `only_empty`, only those that are 0.
#[inline(always)]
pub(crate) fn fill<T: Cell, const W: usize>(
    cells: &mut [T],
    rows: &Rows<'_>,
    at: At,
    only_empty: bool,
    value: impl Fn([u8; W]) -> T,
) {
    match *rows {
        Rows::Fixed(records) if !only_empty => {
            for (cell, bytes) in cells.iter_mut().zip(records.fields(at.offset.into()).into_iter().flatten()) {
                *cell = value(bytes);
            }
        }
        Rows::Fixed(_) | Rows::Table { .. } => {
            for (cell, record) in cells.iter_mut().zip(rows.records()) {
                if (!only_empty || *cell == T::default())
                    && let Some(bytes) = record.from(at).first_chunk::<W>()
                {
                    *cell = value(*bytes);
                }
            }
        }
    }
}

/// The number that `W` bytes spell; `W` is at most 8.
#[inline(always)]
pub(crate) fn wide<const W: usize>(bytes: [u8; W]) -> u64 {
    let mut all = [0; 8];
    if let Some(low) = all.last_chunk_mut::<W>() {
        *low = bytes;
    }
    u64::from_be_bytes(all)
}

/// Sets each cell to the number of `width` bytes (1 to 8) at `at`.
#[inline]
pub(crate) fn unsigned<T: Cell>(cells: &mut [T], rows: &Rows<'_>, at: At, width: u8, only_empty: bool) {
    match width {
        1 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<1>(bytes))),
        2 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<2>(bytes))),
        3 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<3>(bytes))),
        4 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<4>(bytes))),
        5 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<5>(bytes))),
        6 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<6>(bytes))),
        7 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<7>(bytes))),
        8 => fill(cells, rows, at, only_empty, |bytes| T::of(wide::<8>(bytes))),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_every_width_is_read_from_both_kinds_of_rows() {
        let data: Vec<u8> = (1..=40).collect();
        let starts = [0, 20];
        let fixed = Rows::Fixed(Strided::new(&data, 20));
        let table = Rows::Table { data: &data, anchors: &starts, width: 1 };
        let at = At { anchor: 0, offset: 3 };
        for width in 1..=8_u8 {
            let expected: Vec<u64> = [3, 23].map(|from| number(&data[from..from + usize::from(width)])).to_vec();
            for rows in [&fixed, &table] {
                let mut cells = [0_u64; 2];
                unsigned(&mut cells, rows, at, width, false);
                assert_eq!(cells.to_vec(), expected, "width {width}");
            }
        }
    }

    #[test]
    fn a_second_source_fills_only_what_is_empty() {
        let data = [7, 9, 7, 9];
        let rows = Rows::Fixed(Strided::new(&data, 2));
        let mut cells = [0_u8, 5];
        unsigned(&mut cells, &rows, At { anchor: 0, offset: 1 }, 1, true);
        assert_eq!(cells, [9, 5]);
    }

    #[test]
    fn a_place_outside_the_set_leaves_the_cell_as_it_was() {
        let data = [1, 2];
        let rows = Rows::Table { data: &data, anchors: &[1, 9], width: 1 };
        let mut cells = [0_u16; 2];
        unsigned(&mut cells, &rows, At { anchor: 0, offset: 0 }, 2, false);
        assert_eq!(cells, [0, 0]);
    }
}
