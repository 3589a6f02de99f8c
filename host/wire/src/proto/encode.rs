//! Rows to messages, straight from columns.

use std::ops::Range;

use sluice_flow::{ADDRESSES, Batch, Column, ColumnId, ColumnSet, Lists, Texts, Unknown, Width};

use super::decode::Fields;
use super::table::{Form, MILLI, NUMBERS, SECOND};
use super::{Dialect, Framing, varint};

/// Writes rows as messages of one dialect. Small and cheap to make; the work is in [`rows`](Self::rows).
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    dialect: Dialect,
    framing: Framing,
}

impl Encoder {
    /// An encoder of messages of `dialect`, each with or without its length before it.
    #[must_use]
    pub fn new(dialect: Dialect, framing: Framing) -> Encoder {
        Encoder { dialect, framing }
    }

    /// The columns that are written: all but operators' own and those that the dialect has no number for.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        let pair = |column: ColumnId, form: Form| [column, if form == Form::Address { column + 1 } else { column }];
        self.dialect.fields().flat_map(|field| pair(field.column, field.form)).collect()
    }

    /// Looks up once which columns `batch` has and how they are written.
    ///
    /// Every row becomes a message of its unknown fields, if they came by the same dialect
    /// ([`Batch::unknown`]), and behind them its columns. A zero, an empty text or an empty list is
    /// not written.
    #[must_use]
    pub fn rows<'b>(&self, batch: &'b Batch) -> Rows<'b> {
        let steps: Vec<Step<'b>> = self
            .dialect
            .fields()
            .filter_map(|field| {
                Some(Step {
                    key: Key::new(field.number, field.form),
                    values: values_of(batch, field.column, field.form)?,
                })
            })
            .collect();
        let unknown = batch.unknown().filter(|unknown| unknown.numbering() == self.dialect.name());
        let superseded = batch.superseded();
        let fields = self.dialect.fields().filter(|field| {
            superseded.contains(field.column) || field.form == Form::Address && superseded.contains(field.column + 1)
        });
        let left_out: Vec<u32> = fields.map(|field| field.number).collect();
        let fixed = steps.iter().map(|step| step.values.room()).sum();
        Rows { framing: self.framing, rows: batch.rows(), steps, unknown, left_out, fixed, line: vec![0; fixed] }
    }

    /// Appends `rows` of `batch` to `out`, one after another; rows beyond the last are left out.
    ///
    /// Bare messages have nothing between them: with [`Framing::Bare`] only one row makes sense.
    pub fn encode(&self, batch: &Batch, rows: Range<usize>, out: &mut Vec<u8>) {
        let mut encoded = self.rows(batch);
        for row in rows.start..rows.end.min(batch.rows()) {
            encoded.append(row, out);
        }
    }
}

/// The rows of a batch, ready to be written in any order.
#[derive(Debug)]
pub struct Rows<'b> {
    framing: Framing,
    rows: usize,
    steps: Vec<Step<'b>>,
    unknown: Option<&'b Unknown>,
    /// Numbers of unknown fields that a column supersedes.
    left_out: Vec<u32>,
    /// Bytes that all steps take at most, not counting texts and lists.
    fixed: usize,
    /// The message that is being written: `fixed` bytes or more, of which the beginning is in use. Being
    /// long enough already, it is written to by place and needs no growing.
    line: Vec<u8>,
}

#[derive(Debug)]
struct Step<'b> {
    key: Key,
    values: Values<'b>,
}

/// Number and wire type of a field as they are on the wire.
#[derive(Clone, Copy, Debug)]
struct Key {
    bytes: u32,
    len: u8,
}

#[derive(Debug)]
enum Values<'b> {
    U8(&'b [u8]),
    U16(&'b [u16]),
    U32(&'b [u32]),
    U64(&'b [u64]),
    MinusOne(&'b [u8]),
    Millis(&'b [u64]),
    Seconds(&'b [u64]),
    /// Halves; one may be missing.
    Address(&'b [u64], &'b [u64]),
    Text(&'b Texts),
    Lists(&'b Lists),
}

/// Bytes that a field with a varint is written into: a key of three and a varint of ten, rounded up.
const VARINT_ROOM: usize = 16;
/// Bytes that an address is written into: key, length, 16 bytes, rounded up.
const ADDRESS_ROOM: usize = 24;

impl Key {
    fn new(number: u32, form: Form) -> Key {
        debug_assert!((number as usize) < NUMBERS, "a key has three bytes at most");
        let wire_type = match form {
            Form::Number(_) | Form::MinusOne | Form::Divided(_) => 0,
            Form::Address | Form::Text | Form::List => 2,
        };
        let (bytes, len) = varint::short(u64::from(number << 3 | wire_type));
        Key { bytes: bytes as u32, len: len as u8 }
    }
}

fn values_of(batch: &Batch, column: ColumnId, form: Form) -> Option<Values<'_>> {
    if form == Form::Address {
        let address = ADDRESSES.iter().find(|address| address.hi == column)?;
        // A half that is zero throughout may be missing.
        return match (batch.u64s(address.hi), batch.u64s(address.lo)) {
            (None, None) => None,
            (hi, lo) => Some(Values::Address(hi.unwrap_or(&[]), lo.unwrap_or(&[]))),
        };
    }
    Some(match (form, batch.column(column)?) {
        (Form::Divided(MILLI), Column::U64(values)) => Values::Millis(values),
        (Form::Divided(SECOND), Column::U64(values)) => Values::Seconds(values),
        (Form::MinusOne, Column::U8(values)) => Values::MinusOne(values),
        (Form::Number(Width::U8), Column::U8(values)) => Values::U8(values),
        (Form::Number(Width::U16), Column::U16(values)) => Values::U16(values),
        (Form::Number(Width::U32), Column::U32(values)) => Values::U32(values),
        (Form::Number(Width::U64), Column::U64(values)) => Values::U64(values),
        (Form::Text, Column::Text(texts)) => Values::Text(texts),
        (Form::List, Column::Lists(lists)) => Values::Lists(lists),
        _ => return None,
    })
}

impl Values<'_> {
    /// Bytes that a row takes at most; of texts and lists, key and length.
    fn room(&self) -> usize {
        match self {
            Values::Address(..) => ADDRESS_ROOM,
            _ => VARINT_ROOM,
        }
    }
}

impl Rows<'_> {
    /// Appends the message of `row`, behind its length if the framing says so. `row` out of range
    /// gives an empty message.
    pub fn append(&mut self, row: usize, out: &mut Vec<u8>) {
        let unknown = self.unknown.map_or(&[][..], |unknown| unknown.get(row));
        let is_filtered = !unknown.is_empty() && !self.left_out.is_empty();
        let mut at = 0;
        if is_filtered {
            at = self.filtered(unknown);
        }
        let line = &mut self.line;
        for Step { key, values } in &self.steps {
            at = match values {
                Values::U8(values) => put_short(line, at, *key, of(values, row).into()),
                Values::U16(values) => put_short(line, at, *key, of(values, row).into()),
                Values::U32(values) => put_short(line, at, *key, of(values, row).into()),
                Values::U64(values) => put(line, at, *key, of(values, row)),
                Values::MinusOne(values) => put_present(line, at, *key, of(values, row)),
                Values::Millis(values) => put_short(line, at, *key, of(values, row) / MILLI),
                Values::Seconds(values) => put_short(line, at, *key, of(values, row) / SECOND),
                Values::Address(hi, lo) => put_address(line, at, *key, of(hi, row), of(lo, row)),
                Values::Text(texts) => put_bytes(line, at, *key, texts.get(row).as_bytes(), self.fixed),
                Values::Lists(lists) => put_list(line, at, *key, lists.get(row), self.fixed),
            };
        }
        let fields = line.get(..at).unwrap_or(line);
        let first = if is_filtered { &[] } else { unknown };
        if self.framing == Framing::Delimited {
            varint::append((first.len() + fields.len()) as u64, out);
        }
        if !first.is_empty() {
            out.extend_from_slice(first);
        }
        out.extend_from_slice(fields);
    }

    /// Number of rows of the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Begins the line with those unknown fields that no column supersedes, and returns their length.
    #[cold]
    fn filtered(&mut self, unknown: &[u8]) -> usize {
        let mut at = 0;
        make_room(&mut self.line, unknown.len() + self.fixed);
        // What is malformed was not kept, so that an error does not occur; it would end the fields.
        for field in Fields::new(unknown).map_while(Result::ok) {
            if !self.left_out.contains(&field.number)
                && let Some(place) = self.line.get_mut(at..at + field.raw.len())
            {
                place.copy_from_slice(field.raw);
                at += field.raw.len();
            }
        }
        at
    }
}

#[inline(always)]
fn of<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

/// The place of a field, which the line is long enough for.
#[inline(always)]
fn place<const N: usize>(line: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    line.get_mut(at..)?.first_chunk_mut()
}

/// Writes a number below 2^56 and returns where the next field goes. A zero is written too, and
/// written over: that is faster than a branch on what an exporter sends.
#[inline(always)]
fn put_short(line: &mut [u8], at: usize, key: Key, value: u64) -> usize {
    let (bytes, len) = varint::short(value);
    let Some(place) = place::<VARINT_ROOM>(line, at) else { return at };
    let both = u128::from(key.bytes) | u128::from(bytes) << (8 * u32::from(key.len));
    *place = both.to_le_bytes();
    at + if value == 0 { 0 } else { usize::from(key.len) + len }
}

/// Writes a number unless it is zero.
#[inline(always)]
fn put(line: &mut [u8], at: usize, key: Key, value: u64) -> usize {
    if value < 1 << 56 {
        return put_short(line, at, key, value);
    }
    let Some(place) = place::<VARINT_ROOM>(line, at) else { return at };
    let key_len = usize::from(key.len);
    let [head @ .., _, _, _, _, _, _, _, _, _, _, _, _] = place;
    *head = key.bytes.to_le_bytes();
    match place.get_mut(key_len..).and_then(|place| place.first_chunk_mut()) {
        Some(place) => at + key_len + varint::write(value, place),
        None => at,
    }
}

/// Writes the number below, even if that is zero, unless it is zero itself.
#[inline(always)]
fn put_present(line: &mut [u8], at: usize, key: Key, value: u8) -> usize {
    match (value.checked_sub(1), place::<VARINT_ROOM>(line, at)) {
        (Some(value), Some(place)) => {
            let (bytes, len) = varint::short(value.into());
            let both = u128::from(key.bytes) | u128::from(bytes) << (8 * u32::from(key.len));
            *place = both.to_le_bytes();
            at + usize::from(key.len) + len
        }
        _ => at,
    }
}

/// Writes an address, IPv4-mapped ones as four bytes, unless it is absent.
#[inline(always)]
fn put_address(line: &mut [u8], at: usize, key: Key, hi: u64, lo: u64) -> usize {
    let Some(place) = place::<ADDRESS_ROOM>(line, at) else { return at };
    let key_len = usize::from(key.len);
    if hi == 0 && lo >> 32 == 0xffff {
        let octets = u64::from((lo as u32).swap_bytes());
        let both = u64::from(key.bytes) | (4 | octets << 8) << (8 * u32::from(key.len));
        // Key and length and four octets are eight bytes at most.
        if let Some(place) = place.first_chunk_mut() {
            *place = both.to_le_bytes();
        }
        return at + key_len + 5;
    }
    let with_len = key.bytes | 16 << (8 * u32::from(key.len));
    if let Some(place) = place.first_chunk_mut() {
        *place = with_len.to_le_bytes();
    }
    let octets = u128::from(hi) << 64 | u128::from(lo);
    if let Some(place) = place.get_mut(key_len + 1..).and_then(|place| place.first_chunk_mut()) {
        *place = octets.to_be_bytes();
    }
    at + if octets == 0 { 0 } else { key_len + 17 }
}

/// Writes bytes unless there are none, and leaves room for `fixed` more behind them.
fn put_bytes(line: &mut Vec<u8>, at: usize, key: Key, bytes: &[u8], fixed: usize) -> usize {
    if bytes.is_empty() {
        return at;
    }
    make_room(line, at + bytes.len() + fixed);
    let at = put_short(line, at, key, bytes.len() as u64);
    match line.get_mut(at..at + bytes.len()) {
        Some(place) => {
            place.copy_from_slice(bytes);
            at + bytes.len()
        }
        None => at,
    }
}

/// Writes a packed list unless it is empty, and leaves room for `fixed` more behind it.
fn put_list(line: &mut Vec<u8>, at: usize, key: Key, list: &[u32], fixed: usize) -> usize {
    if list.is_empty() {
        return at;
    }
    let length: usize = list.iter().map(|value| varint::len(u64::from(*value))).sum();
    make_room(line, at + length + fixed);
    let mut at = put_short(line, at, key, length as u64);
    for value in list {
        let (bytes, len) = varint::short(u64::from(*value));
        if let Some(place) = place::<8>(line, at) {
            *place = bytes.to_le_bytes();
        }
        at += len;
    }
    at
}

#[inline]
fn make_room(line: &mut Vec<u8>, bytes: usize) {
    // The last varint of a list is written with the bytes behind it.
    if line.len() < bytes + 8 {
        line.resize(bytes + 8, 0);
    }
}
