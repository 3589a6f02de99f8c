//! The plan of a template: for every column, where in the record its value is.
//!
//! A plan is compiled once, when the template comes ([`Plan::compile`] in `compile.rs`), and run for
//! every data set ([`Plan::fill`]): column by column, each in one loop over the records.

#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;

use sluice_flow::{BatchBuilder, ColumnId, Width, col};

use crate::gather::{Cell, FieldAt, Record, Rows};
use crate::kernel::Op;
use crate::sampling::Sampling;
use crate::source::{Clock, MAPPED, Source, read};
use crate::strided::Strided;

/// Bytes of a text that are kept; what an exporter says beyond that is cut off.
pub(crate) const MAX_TEXT: usize = 1_024;

/// A column of numbers and what it is read from, in order: each fills what is 0 after those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) column: ColumnId,
    pub(crate) width: Width,
    pub(crate) sources: Vec<Source>,
}

/// Where the records of a set end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Every record has so many bytes, at least 1.
    Fixed(usize),
    /// A record is these many bytes, a variable-length field, these many bytes ...: one number more
    /// than there are variable-length fields.
    Variable(Vec<usize>),
}

impl Layout {
    /// Bytes of the shortest record.
    pub(crate) fn shortest(&self) -> usize {
        match self {
            Layout::Fixed(stride) => *stride,
            Layout::Variable(parts) => shortest(parts),
        }
    }
}

/// The address of the exporter as records give it, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExporterAt {
    pub(crate) v4: Option<FieldAt>,
    pub(crate) v6: Option<FieldAt>,
}

/// How records say at what rate their packets were sampled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateAt {
    /// The rate itself.
    pub(crate) sources: Vec<Source>,
    /// Number of the sampler, to be looked up in what options data said.
    pub(crate) sampler: Option<FieldAt>,
    /// Input interface, in case options data gives rates by interface.
    pub(crate) interface: Option<FieldAt>,
}

/// A column of lists: all fields listed, without those that are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListTarget {
    pub(crate) column: ColumnId,
    pub(crate) fields: Vec<FieldAt>,
    /// Bits to drop on the right: 4 for an MPLS label stack entry of three bytes.
    pub(crate) shift: u32,
}

/// The second row of a biflow.
#[derive(Clone, Debug)]
pub(crate) struct Reverse {
    /// The row is made where one of these is not zero.
    pub(crate) counters: Vec<FieldAt>,
    /// Fills it.
    pub(crate) plan: Plan,
}

/// What to do with the data records of one template.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    /// Columns that one simple loop fills, if records are of fixed length.
    pub(crate) ops: Vec<Op>,
    /// All other columns of numbers.
    pub(crate) targets: Vec<Target>,
    /// Ethertype of all records, if the template alone says it; else 0.
    pub(crate) etype: u16,
    pub(crate) lists: Vec<ListTarget>,
    pub(crate) texts: Vec<(ColumnId, FieldAt)>,
    pub(crate) exporter: ExporterAt,
    pub(crate) domain: Option<FieldAt>,
    pub(crate) rate: RateAt,
    pub(crate) reverse: Option<Box<Reverse>>,
    /// Columns that the general decoder has to fill, with the place of their field in the template.
    pub(crate) general: Vec<(ColumnId, usize)>,
}

/// What is the same for all rows of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common<'a> {
    pub(crate) flow_type: u8,
    pub(crate) received_ns: u64,
    pub(crate) sequence: u32,
    pub(crate) domain: u32,
    /// Halves of the exporter's address.
    pub(crate) exporter: (u64, u64),
    pub(crate) clock: Clock,
    /// What options data said about sampling.
    pub(crate) sampling: &'a Sampling,
    /// Rate where nothing else says one.
    pub(crate) default_rate: u64,
}

impl Plan {
    /// Splits the records of `body` and says where they are; `anchors` is room to note it in.
    /// The second value is where a record begins that does not end within the set.
    pub(crate) fn rows<'a>(&self, body: &'a [u8], anchors: &'a mut Vec<u32>) -> (Rows<'a>, Option<usize>) {
        match &self.layout {
            Layout::Fixed(stride) => (Rows::Fixed(Strided::new(body, *stride)), None),
            Layout::Variable(parts) => {
                anchors.clear();
                let broken = walk(body, parts, anchors);
                let width = parts.len() * 2 - 1;
                (Rows::Table { data: body, anchors, width }, broken)
            }
        }
    }

    /// Appends the second rows of biflows. `anchors` is room to note their places in.
    pub(crate) fn run_reverse(
        &self,
        rows: &Rows<'_>,
        common: &Common<'_>,
        anchors: &mut Vec<u32>,
        out: &mut BatchBuilder,
    ) {
        let Some(reverse) = &self.reverse else { return };
        anchors.clear();
        let counts = |record: &Record<'_>| reverse.counters.iter().any(|counter| record.number(*counter) != 0);
        let (data, width) = match *rows {
            Rows::Fixed(records) => (records.data(), 1),
            Rows::Table { data, width, .. } => (data, width),
        };
        for record in rows.records().filter(counts) {
            match record.anchors() {
                [] => anchors.push(record.start() as u32),
                places => anchors.extend_from_slice(places),
            }
        }
        if !anchors.is_empty() {
            let rows = Rows::Table { data, anchors, width };
            reverse.plan.fill(&rows, common, out);
            out.advance(rows.len());
        }
    }

    /// Fills the open block of `out` with a row for every record; the caller ends the block. Columns
    /// that are not wanted are not touched.
    pub(crate) fn fill(&self, rows: &Rows<'_>, common: &Common<'_>, out: &mut BatchBuilder) {
        let n = rows.len();
        if let Rows::Fixed(records) = rows {
            for op in &self.ops {
                op.run(out, records, &common.clock);
            }
        }
        for target in &self.targets {
            match target.width {
                Width::U8 => read_all(out.u8s(target.column, n), target, rows, common.clock),
                Width::U16 => read_all(out.u16s(target.column, n), target, rows, common.clock),
                Width::U32 => read_all(out.u32s(target.column, n), target, rows, common.clock),
                Width::U64 => read_all(out.u64s(target.column, n), target, rows, common.clock),
                Width::Text | Width::Lists => {}
            }
        }
        constant(out, col::ETYPE, n, self.etype);
        constant(out, col::FLOW_TYPE, n, common.flow_type);
        constant(out, col::RECEIVED_NS, n, common.received_ns);
        constant(out, col::SEQUENCE, n, common.sequence);
        constant(out, col::OBSERVATION_DOMAIN, n, common.domain);
        if let Some(domain) = self.domain
            && out.wants(col::OBSERVATION_DOMAIN)
        {
            let own = |record: Record<'_>| Some(record.number(domain) as u32).filter(|domain| *domain != 0);
            for (cell, record) in out.u32s(col::OBSERVATION_DOMAIN, n).iter_mut().zip(rows.records()) {
                *cell = own(record).unwrap_or(common.domain);
            }
        }
        self.fill_rate(rows, common, n, out);
        self.fill_exporter(rows, common, n, out);
        for list in &self.lists {
            let mut values = Vec::with_capacity(list.fields.len());
            for (row, record) in rows.records().enumerate() {
                values.clear();
                let numbers = list.fields.iter().map(|field| record.number(*field)).filter(|number| *number != 0);
                values.extend(numbers.map(|number| (number >> list.shift) as u32));
                if !values.is_empty() {
                    out.push_list(list.column, row, &values);
                }
            }
        }
        for (column, field) in &self.texts {
            for (row, record) in rows.records().enumerate() {
                let text = text_of(record.field(*field));
                if !text.is_empty() {
                    out.push_text(*column, row, &text);
                }
            }
        }
    }

    #[inline]
    fn fill_exporter(&self, rows: &Rows<'_>, common: &Common<'_>, n: usize, out: &mut BatchBuilder) {
        constant(out, col::EXPORTER_ADDR_HI, n, common.exporter.0);
        constant(out, col::EXPORTER_ADDR_LO, n, common.exporter.1);
        if self.exporter == ExporterAt::default() {
            return;
        }
        let of = |record: Record<'_>| exporter_of(record, self.exporter).unwrap_or(common.exporter);
        if out.wants(col::EXPORTER_ADDR_HI) {
            let cells = out.u64s(col::EXPORTER_ADDR_HI, n);
            cells.iter_mut().zip(rows.records()).for_each(|(cell, record)| *cell = of(record).0);
        }
        if out.wants(col::EXPORTER_ADDR_LO) {
            let cells = out.u64s(col::EXPORTER_ADDR_LO, n);
            cells.iter_mut().zip(rows.records()).for_each(|(cell, record)| *cell = of(record).1);
        }
    }

    /// The rate of a row: the record's own, else that of its sampler, else that of its input
    /// interface, else the default.
    fn fill_rate(&self, rows: &Rows<'_>, common: &Common<'_>, n: usize, out: &mut BatchBuilder) {
        let is_looked_up = self.rate.sampler.is_some_and(|_| common.sampling.has_samplers())
            || self.rate.interface.is_some_and(|_| common.sampling.has_interfaces());
        if self.rate.sources.is_empty() && !is_looked_up {
            constant(out, col::SAMPLING_RATE, n, common.default_rate);
            return;
        }
        if !out.wants(col::SAMPLING_RATE) {
            return;
        }
        let cells = out.u64s(col::SAMPLING_RATE, n);
        for (nth, source) in self.rate.sources.iter().enumerate() {
            read(cells, *source, rows, common.clock, nth > 0);
        }
        for (cell, record) in cells.iter_mut().zip(rows.records()).filter(|(cell, _)| **cell == 0) {
            let sampler = self.rate.sampler.map(|field| record.number(field) as u32);
            let interface = self.rate.interface.map(|field| record.number(field) as u32);
            *cell = common.sampling.rate(sampler, interface).unwrap_or(common.default_rate);
        }
    }
}

/// Gives every row of the block the same value. Zeros need not be written.
#[inline]
fn constant<T: Cell>(out: &mut BatchBuilder, column: ColumnId, n: usize, value: T) {
    if value != T::default() && out.wants(column) {
        T::append(out, column, std::iter::repeat_n(value, n));
    }
}

fn read_all<T: Cell>(cells: &mut [T], target: &Target, rows: &Rows<'_>, clock: Clock) {
    for (nth, source) in target.sources.iter().enumerate() {
        read(cells, *source, rows, clock, nth > 0);
    }
}

fn exporter_of(record: Record<'_>, at: ExporterAt) -> Option<(u64, u64)> {
    let v4 = at.v4.map_or(0, |field| record.number(field));
    if v4 != 0 {
        return Some((0, MAPPED | v4));
    }
    let (high, low) = record.field(at.v6?).split_at_checked(8)?;
    let halves = (crate::bytes::number(high), crate::bytes::number(low));
    (halves != (0, 0)).then_some(halves)
}

/// Text of an exporter: without the zeros it is filled up with, at most [`MAX_TEXT`] bytes, and with
/// replacement characters where it is not UTF-8.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(bytes.get(..end.min(MAX_TEXT)).unwrap_or(&[]))
}

/// Bytes of the shortest record of these parts: a variable-length field takes a byte for its length at least.
fn shortest(parts: &[usize]) -> usize {
    parts.iter().sum::<usize>() + parts.len() - 1
}

/// Notes the positions of every whole record in `body`. Returns where one begins that is cut short,
/// unless what is left is padding (zeros, and too short for a record).
pub(crate) fn walk(body: &[u8], parts: &[usize], anchors: &mut Vec<u32>) -> Option<usize> {
    let shortest = shortest(parts);
    let mut start = 0;
    while body.len() - start >= shortest.max(1) {
        let kept = anchors.len();
        match walk_one(body, start, parts, anchors) {
            Some(end) => start = end,
            None => {
                anchors.truncate(kept);
                return Some(start);
            }
        }
    }
    None
}

/// Notes the positions of the record at `start` and returns where it ends.
fn walk_one(body: &[u8], start: usize, parts: &[usize], anchors: &mut Vec<u32>) -> Option<usize> {
    anchors.push(start as u32);
    let mut at = start;
    for (nth, part) in parts.iter().enumerate() {
        if nth > 0 {
            let (begin, len) = match *body.get(at)? {
                255 => (at + 3, usize::from(crate::bytes::u16_at(body, at + 1)?)),
                len => (at + 1, usize::from(len)),
            };
            at = begin + len;
            anchors.extend([begin as u32, at as u32]);
        }
        at += part;
    }
    (at <= body.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(body: &[u8], parts: &[usize]) -> (Vec<u32>, Option<usize>) {
        let mut anchors = Vec::new();
        let broken = walk(body, parts, &mut anchors);
        (anchors, broken)
    }

    #[test]
    fn short_and_long_lengths_are_walked() {
        // One byte, a field of two, one byte; then a field of 255 or more in the long form, empty here.
        let body = [9, 2, 7, 7, 9, 9, 255, 0, 0, 9];
        assert_eq!(walked(&body, &[1, 1]), (vec![0, 2, 4, 5, 9, 9], None));
    }

    #[test]
    fn a_record_cut_short_is_reported_and_padding_is_not() {
        assert_eq!(walked(&[9, 1, 7, 9, 9, 5, 7, 9], &[1, 1]), (vec![0, 2, 3], Some(4)));
        assert_eq!(walked(&[9, 1, 7, 9, 0, 0], &[1, 1]), (vec![0, 2, 3], None));
    }

    #[test]
    fn a_long_length_cut_off_is_a_record_cut_short() {
        assert_eq!(walked(&[255, 1], &[0, 0]), (vec![], Some(0)));
    }

    #[test]
    fn text_loses_its_padding_and_what_is_too_much() {
        assert_eq!(text_of(b"eth0\0\0"), "eth0");
        assert_eq!(text_of(b"\0\0"), "");
        assert_eq!(text_of(&[b'x'; 5_000]).len(), MAX_TEXT);
        assert_eq!(text_of(&[b'a', 0xff]), "a\u{fffd}");
    }
}
