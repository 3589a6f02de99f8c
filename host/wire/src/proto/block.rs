//! Fields of a fixed size at most - numbers and addresses - of a few rows, a column at a time.
//!
//! Every row has a line of its own that is long enough for all of them, so that they are written by
//! place. Going by columns, key and width of a field are looked at once for all rows, and a column that
//! has one value throughout is encoded once.

#![allow(clippy::indexing_slicing, reason = "within arrays, by constants that the compiler checks")]

use std::ops::Range;

use sluice_flow::fetch;

use super::table::{MILLI, SECOND};
use super::varint;

/// Number and wire type of a field as they are on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    bytes: u32,
    len: u8,
    /// The same in bits.
    bits: u8,
}

impl Key {
    /// The key of a field whose number is that of a table, and so has three bytes at most.
    pub(crate) fn new(number: u32, wire_type: u32) -> Key {
        let (bytes, len) = varint::short(u64::from(number << 3 | wire_type));
        debug_assert!(len <= 3, "field {number}");
        Key { bytes: bytes as u32, len: len as u8, bits: len as u8 * 8 }
    }

    /// Key and a length behind it, and how many bytes that is.
    pub(crate) fn with_len(self, length: usize) -> ([u8; 16], usize) {
        let mut head = [0; NUMBER_ROOM];
        let len = put(&mut head, 0, self, length as u64);
        (head, len)
    }
}

/// A column, and the form of its fields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'b> {
    U8(&'b [u8]),
    U16(&'b [u16]),
    U32(&'b [u32]),
    U64(&'b [u64]),
    /// The number below, even if that is zero, unless it is zero itself.
    MinusOne(&'b [u8]),
    Millis(&'b [u64]),
    Seconds(&'b [u64]),
    /// Halves of an address; one may be missing.
    Address(&'b [u64], &'b [u64]),
}

impl Values<'_> {
    /// Asks for the rows of the next block, from `first` on: there are more columns than the processor sees through.
    #[inline(always)]
    fn fetch(self, first: usize) {
        match self {
            Values::U8(values) | Values::MinusOne(values) => fetch::rows_to_read(values, first, ROWS),
            Values::U16(values) => fetch::rows_to_read(values, first, ROWS),
            Values::U32(values) => fetch::rows_to_read(values, first, ROWS),
            Values::U64(values) | Values::Millis(values) | Values::Seconds(values) => {
                fetch::rows_to_read(values, first, ROWS);
            }
            Values::Address(hi, lo) => {
                fetch::rows_to_read(hi, first, ROWS);
                fetch::rows_to_read(lo, first, ROWS);
            }
        }
    }
}

/// A text column of which every word is short, with the words as fields already.
#[derive(Debug)]
pub(crate) struct ShortWords<'b> {
    pub(crate) codes: &'b [u32],
    /// By code: the field and how many bytes of it count.
    pub(crate) fields: Vec<([u8; WORD_ROOM], u8)>,
}

/// Bytes that a short word is written over: key, length and the word.
pub(crate) const WORD_ROOM: usize = 16;

/// Bytes of a line: all numbers, addresses and short words of the dialect that has most take fewer, as a test says, and
/// what a field is written over beyond its end. Not a power of two, so that lines do not contend for the
/// same places in the cache.
pub(crate) const LINE: usize = 1024 + 3 * 64;
/// Bytes at the beginning of a line for the length of the message.
pub(crate) const HEAD: usize = 3;
/// Bytes that a number is written over: a key of three and a varint of ten, rounded up.
const NUMBER_ROOM: usize = 16;
/// Bytes that an address is written over: key, length, 16 bytes, rounded up.
pub(crate) const ADDRESS_ROOM: usize = 24;

/// Rows at a time. Their lines stay in the first-level cache, and are filled when they are read again.
const ROWS: usize = 32;

type Line = [u8; LINE];

/// The lines of a few rows.
#[derive(Debug)]
pub(crate) struct Block<'b> {
    columns: Vec<(Key, Values<'b>)>,
    words: Vec<ShortWords<'b>>,
    lines: Vec<Line>,
    /// How much of each line is written.
    ends: [usize; ROWS],
    /// The values of the column that is being written.
    values: [u64; ROWS],
    /// The row of the first line, and how many rows follow.
    first: usize,
    rows: usize,
}

impl<'b> Block<'b> {
    /// A block of no rows yet.
    pub(crate) fn new(columns: Vec<(Key, Values<'b>)>, words: Vec<ShortWords<'b>>) -> Block<'b> {
        let lines = vec![[0; LINE]; ROWS];
        Block { columns, words, lines, ends: [HEAD; ROWS], values: [0; ROWS], first: 0, rows: 0 }
    }

    /// The fields of `row`, which is below `rows`, behind [`HEAD`] bytes of no meaning. If it is not
    /// in the block, the rows from there on are put in.
    #[inline]
    pub(crate) fn line(&mut self, row: usize, rows: usize) -> &mut [u8] {
        if row.wrapping_sub(self.first) >= self.rows {
            self.fill(row, rows);
        }
        let at = row.wrapping_sub(self.first);
        match (self.lines.get_mut(at), self.ends.get(at)) {
            (Some(line), Some(end)) => line.get_mut(..*end).unwrap_or_default(),
            _ => &mut [],
        }
    }

    fn fill(&mut self, first: usize, rows: usize) {
        self.first = first;
        self.rows = rows.saturating_sub(first).min(ROWS);
        self.ends = [HEAD; ROWS];
        let range = first..first + self.rows;
        for (key, values) in &self.columns {
            let key = *key;
            values.fetch(range.end);
            let scratch = &mut self.values;
            let numbers = match values {
                Values::U8(values) => widen(scratch, values, &range, u64::from),
                Values::U16(values) => widen(scratch, values, &range, u64::from),
                Values::U32(values) => widen(scratch, values, &range, u64::from),
                Values::U64(values) => widen(scratch, values, &range, u64::from),
                Values::Millis(values) => widen(scratch, values, &range, |value| value / MILLI),
                Values::Seconds(values) => widen(scratch, values, &range, |value| value / SECOND),
                Values::MinusOne(values) => {
                    let values = values.get(range.clone()).unwrap_or(&[]);
                    each(&mut self.lines, &mut self.ends, values, |line, at, value| {
                        put_short(line, at, key, varint::short_u8(value.wrapping_sub(1)), value != 0)
                    });
                    continue;
                }
                Values::Address(hi, lo) => {
                    put_addresses(&mut self.lines, &mut self.ends, key, hi, lo, &range);
                    continue;
                }
            };
            put_numbers(&mut self.lines, &mut self.ends, key, numbers);
        }
        for words in &self.words {
            fetch::rows_to_read(words.codes, range.end, ROWS);
            let codes = words.codes.get(range.clone()).unwrap_or(&[]);
            each(&mut self.lines, &mut self.ends, codes, |line, at, code| {
                let Some((field, len)) = words.fields.get(code as usize) else { return at };
                *place(line, at) = *field;
                at + usize::from(*len)
            });
        }
    }
}

/// The values of a few rows as 64 bits each.
#[inline(always)]
fn widen<'s, T: Copy>(
    scratch: &'s mut [u64; ROWS],
    values: &[T],
    rows: &Range<usize>,
    widened: impl Fn(T) -> u64,
) -> &'s [u64] {
    let values = values.get(rows.clone()).unwrap_or(&[]);
    for (place, value) in scratch.iter_mut().zip(values) {
        *place = widened(*value);
    }
    scratch.get(..values.len()).unwrap_or(scratch)
}

/// Writes one field into each line; `put` says where the line ends then.
#[inline(always)]
fn each<T: Copy>(
    lines: &mut [Line],
    ends: &mut [usize; ROWS],
    values: &[T],
    put: impl Fn(&mut Line, usize, T) -> usize,
) {
    for ((line, at), value) in lines.iter_mut().zip(ends).zip(values) {
        *at = put(line, *at, *value);
    }
}

/// Writes numbers in the way that is cheapest for all of them.
fn put_numbers(lines: &mut [Line], ends: &mut [usize; ROWS], key: Key, values: &[u64]) {
    let first = values.first().copied().unwrap_or(0);
    let (mut any, mut differ) = (0, 0);
    for value in values {
        any |= value;
        differ |= value ^ first;
    }
    if any == 0 {
        // What the exporter does not send.
    } else if differ == 0 {
        let mut field = [0; NUMBER_ROOM];
        let len = put(&mut field, 0, key, first);
        each(lines, ends, values, |line, at, _| {
            *place(line, at) = field;
            at + len
        });
    } else if any < 1 << 8 {
        each(lines, ends, values, |line, at, value| {
            put_short(line, at, key, varint::short_u8(value as u8), value != 0)
        });
    } else if any < 1 << 16 {
        each(lines, ends, values, |line, at, value| {
            put_short(line, at, key, varint::short_u16(value as u16), value != 0)
        });
    } else if any < 1 << 32 {
        each(lines, ends, values, |line, at, value| {
            put_short(line, at, key, varint::short_u32(value as u32), value != 0)
        });
    } else {
        each(lines, ends, values, |line, at, value| put(line, at, key, value));
    }
}

fn put_addresses(lines: &mut [Line], ends: &mut [usize; ROWS], key: Key, hi: &[u64], lo: &[u64], rows: &Range<usize>) {
    let (hi, lo) = (hi.get(rows.clone()).unwrap_or(&[]), lo.get(rows.clone()).unwrap_or(&[]));
    for (at, (line, end)) in lines.iter_mut().zip(ends).enumerate().take(hi.len().max(lo.len())) {
        let half = |half: &[u64]| half.get(at).copied().unwrap_or(0);
        *end = put_address(line, *end, key, half(hi), half(lo));
    }
}

/// The place of a field, which every line is long enough for.
#[inline(always)]
fn place<const ROOM: usize, const N: usize>(line: &mut [u8; N], at: usize) -> &mut [u8; ROOM] {
    let at = at.min(N - ROOM);
    line[at..at + ROOM].first_chunk_mut().expect("the slice has as many")
}

/// Writes a varint of five bytes at most and returns where the next field goes. One that is not wanted
/// is written too, and written over: that is faster than a branch on what an exporter sends.
#[inline(always)]
fn put_short<const N: usize>(
    line: &mut [u8; N],
    at: usize,
    key: Key,
    (bytes, len): (u64, usize),
    is_wanted: bool,
) -> usize {
    *place(line, at) = (u64::from(key.bytes) | bytes << key.bits).to_le_bytes();
    at + if is_wanted { usize::from(key.len) + len } else { 0 }
}

/// Writes a number unless it is zero.
#[inline(always)]
fn put<const N: usize>(line: &mut [u8; N], at: usize, key: Key, value: u64) -> usize {
    if let Ok(value) = u32::try_from(value) {
        return put_short(line, at, key, varint::short_u32(value), value != 0);
    }
    let place: &mut [u8; NUMBER_ROOM] = place(line, at);
    let key_len = usize::from(key.len & 3);
    place[..4].copy_from_slice(&key.bytes.to_le_bytes());
    let varint = place[key_len..key_len + 10].first_chunk_mut().expect("the slice has as many");
    at + key_len + varint::write(value, varint)
}

/// Writes an address, IPv4-mapped ones as four bytes, unless it is absent.
#[inline(always)]
fn put_address(line: &mut Line, at: usize, key: Key, hi: u64, lo: u64) -> usize {
    let place: &mut [u8; ADDRESS_ROOM] = place(line, at);
    let key_len = usize::from(key.len & 3);
    if hi == 0 && lo >> 32 == 0xffff {
        let octets = u64::from((lo as u32).swap_bytes());
        // Key and length and four octets are eight bytes at most.
        let field = u64::from(key.bytes) | (4 | octets << 8) << key.bits;
        place[..8].copy_from_slice(&field.to_le_bytes());
        return at + key_len + 5;
    }
    let octets = u128::from(hi) << 64 | u128::from(lo);
    place[..4].copy_from_slice(&(key.bytes | 16 << key.bits).to_le_bytes());
    place[key_len + 1..key_len + 17].copy_from_slice(&octets.to_be_bytes());
    at + if octets == 0 { 0 } else { key_len + 17 }
}
