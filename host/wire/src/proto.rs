//! Rows to and from protobuf messages of `proto/sluice/flow/v1/flow.proto`, which goflow2's consumers
//! and flowpipeline's read too.
//!
//! The code goes by the table of fields ([`FIELDS`]); [`FlowMessage`] is the type that prost makes of
//! the schema, for those who want a struct. Operators' own columns have no protobuf number and are not written.

#![warn(clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};
use sluice_flow::{Batch, BatchBuilder, Column, ColumnId, FIELDS, Width, addr_of, col, halves_of};

#[allow(missing_docs, reason = "generated; the schema has the comments")]
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/sluice.flow.v1.rs"));
}

pub use generated::{FlowMessage, flow_message};

/// Bytes of a message at most; a real one has 150 to 500.
pub const MAX_MESSAGE: usize = 1 << 16;

/// Why a message could not be read. Nothing of it is in the batch then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// Not protobuf, or cut short.
    #[error("malformed protobuf message")]
    Malformed(#[from] prost::DecodeError),
    /// A field that ends beyond the message.
    #[error("field {number} has {length} bytes, {left} left")]
    Truncated {
        /// Number of the field, 0 for the message itself.
        number: u32,
        /// Bytes that it announces.
        length: u64,
        /// Bytes that there are.
        left: usize,
    },
    /// A known field of another wire type: a message of some other schema.
    #[error("field {number} has wire type {found}")]
    WrongType {
        /// Number of the field.
        number: u32,
        /// Wire type that was found (protobuf encoding, "message structure").
        found: u8,
    },
    /// An address that has neither 4 nor 16 bytes.
    #[error("field {number} holds an address of {length} bytes")]
    BadAddress {
        /// Number of the field.
        number: u32,
        /// Bytes of the address.
        length: usize,
    },
    /// Text that is not UTF-8.
    #[error("field {number} holds text that is not UTF-8")]
    BadText {
        /// Number of the field.
        number: u32,
    },
}

impl ProtoError {
    /// The reason under which the error is counted.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            ProtoError::Malformed(_) => "malformed",
            ProtoError::Truncated { .. } => "truncated",
            ProtoError::WrongType { .. } => "wrong_type",
            ProtoError::BadAddress { .. } => "bad_address",
            ProtoError::BadText { .. } => "bad_text",
        }
    }
}

/// How the value of a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Number(Width),
    /// The column minus one, so that 0 is "absent" in the column and "ingress" in the message.
    MinusOne,
    /// This column and the next are the halves of an address.
    Address,
    Text,
    List,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u32,
    column: ColumnId,
    form: Form,
}

/// What columns are in the message, by column.
static BY_COLUMN: LazyLock<Vec<Option<Entry>>> = LazyLock::new(|| {
    let last = FIELDS.last().map_or(0, |field| field.number);
    let mut entries = vec![None; usize::from(last) + 1];
    for entry in BY_NUMBER.iter() {
        if let Some(place) = entries.get_mut(usize::from(entry.column)) {
            *place = Some(*entry);
        }
    }
    entries
});

/// The same by protobuf number.
static BY_NUMBER: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut entries = Vec::new();
    for field in FIELDS {
        let Some((number, _)) = field.proto else { continue };
        let form = match field.width {
            Width::Text => Form::Text,
            Width::Lists => Form::List,
            _ if field.number == col::FLOW_DIRECTION => Form::MinusOne,
            _ if field.name.ends_with("_hi") => Form::Address,
            width => Form::Number(width),
        };
        entries.push(Entry { number, column: field.number, form });
    }
    entries.sort_by_key(|entry| entry.number);
    entries
});

/// Appends the row as one bare message. `row` out of range gives an empty message.
pub fn encode(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    for (number, column) in batch.columns() {
        let Some(Some(entry)) = BY_COLUMN.get(usize::from(number)) else { continue };
        match entry.form {
            Form::Number(_) => put_number(entry.number, column.number(row), out),
            Form::MinusOne => {
                if let Some(value) = column.number(row).checked_sub(1) {
                    encode_key(entry.number, WireType::Varint, out);
                    encode_varint(value, out);
                }
            }
            Form::Address => match addr_of(column.number(row), batch.number(number + 1, row)) {
                Some(IpAddr::V4(addr)) => put_bytes(entry.number, &addr.octets(), out),
                Some(IpAddr::V6(addr)) => put_bytes(entry.number, &addr.octets(), out),
                None => {}
            },
            Form::Text => put_bytes(entry.number, batch.text(number, row).as_bytes(), out),
            Form::List => {
                if let Column::Lists(lists) = column {
                    put_list(entry.number, lists.get(row), out);
                }
            }
        }
    }
    // An address whose high half is zero throughout may lack that column.
    for address in sluice_flow::ADDRESSES.iter().filter(|address| !batch.has(address.hi) && batch.has(address.lo)) {
        let (Some(Some(entry)), Some(addr)) =
            (BY_COLUMN.get(usize::from(address.hi)), addr_of(0, batch.number(address.lo, row)))
        else {
            continue;
        };
        match addr {
            IpAddr::V4(addr) => put_bytes(entry.number, &addr.octets(), out),
            IpAddr::V6(addr) => put_bytes(entry.number, &addr.octets(), out),
        }
    }
}

/// Appends the row as one message preceded by its length as a varint, as goflow2's `bin` format has it.
pub fn encode_delimited(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    // Most messages have 128 bytes to 16 KiB, whose length takes two bytes; others are moved.
    const ROOM: usize = 2;
    let start = out.len();
    out.extend_from_slice(&[0; ROOM]);
    encode(batch, row, out);
    let length = out.len() - start - ROOM;
    match out.get_mut(start..start + ROOM) {
        Some([low, high]) if (1 << 7..1 << 14).contains(&length) => {
            *low = (length & 0x7f) as u8 | 0x80;
            *high = (length >> 7) as u8;
        }
        _ => {
            let mut prefix = Vec::new();
            encode_varint(length as u64, &mut prefix);
            out.splice(start..start + ROOM, prefix);
        }
    }
}

fn put_number(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(number, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        encode_key(number, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_list(number: u32, list: &[u32], out: &mut Vec<u8>) {
    if !list.is_empty() {
        encode_key(number, WireType::LengthDelimited, out);
        let length: usize = list.iter().map(|value| prost::encoding::encoded_len_varint(u64::from(*value))).sum();
        encode_varint(length as u64, out);
        for value in list {
            encode_varint(u64::from(*value), out);
        }
    }
}

/// Reads one bare message and appends it to `out` as one row.
///
/// Fields that are unknown or not wanted are skipped; of a field that occurs more than once the last
/// one counts. A number too large for its column reads as 0.
///
/// # Errors
/// If the message is malformed: nothing is appended.
pub fn decode(message: &[u8], out: &mut BatchBuilder) -> Result<(), ProtoError> {
    let mut left = message;
    let mut lists: Vec<(ColumnId, Vec<u32>)> = Vec::new();
    while !left.is_empty() {
        let (number, wire_type) = decode_key(&mut left)?;
        let entry = BY_NUMBER.binary_search_by_key(&number, |entry| entry.number).ok().and_then(|at| BY_NUMBER.get(at));
        let is_wanted =
            |entry: &&Entry| out.wants(entry.column) || (entry.form == Form::Address && out.wants(entry.column + 1));
        let Some(entry) = entry.filter(is_wanted) else {
            skip_field(wire_type, number, &mut left, DecodeContext::default())?;
            continue;
        };
        match (entry.form, wire_type) {
            (Form::Number(width), WireType::Varint) => set(out, entry.column, width, decode_varint(&mut left)?),
            (Form::MinusOne, WireType::Varint) => {
                set(out, entry.column, Width::U8, decode_varint(&mut left)?.saturating_add(1));
            }
            (Form::Address, WireType::LengthDelimited) => {
                let (hi, lo) = address(number, delimited(number, &mut left)?)?;
                set(out, entry.column, Width::U64, hi);
                set(out, entry.column + 1, Width::U64, lo);
            }
            (Form::Text, WireType::LengthDelimited) => {
                let bytes = delimited(number, &mut left)?;
                let text = std::str::from_utf8(bytes).map_err(|_| ProtoError::BadText { number })?;
                out.push_text(entry.column, 0, text);
            }
            (Form::List, WireType::LengthDelimited) => {
                let mut packed = delimited(number, &mut left)?;
                let list = list_of(&mut lists, entry.column);
                while !packed.is_empty() {
                    list.push(decode_varint(&mut packed)? as u32);
                }
            }
            (Form::List, WireType::Varint) => {
                let value = decode_varint(&mut left)? as u32;
                list_of(&mut lists, entry.column).push(value);
            }
            (_, found) => return Err(ProtoError::WrongType { number, found: found as u8 }),
        }
    }
    for (column, list) in &lists {
        out.push_list(*column, 0, list);
    }
    out.advance(1);
    Ok(())
}

/// Reads one message preceded by its length from the beginning of `left`, appends it to `out` as one row, and
/// leaves `left` behind it: several may follow one another.
///
/// # Errors
/// As [`decode`]; a length beyond [`MAX_MESSAGE`] or the end is [`ProtoError::Truncated`]. After an
/// error of the message itself `left` is behind it all the same; after one of the length it is empty.
pub fn decode_delimited(left: &mut &[u8], out: &mut BatchBuilder) -> Result<(), ProtoError> {
    let buffer = std::mem::take(left);
    let mut rest = buffer;
    let length = decode_varint(&mut rest)?;
    let at = usize::try_from(length).unwrap_or(usize::MAX);
    let (message, rest) = rest.split_at_checked(at).filter(|_| at <= MAX_MESSAGE).ok_or(ProtoError::Truncated {
        number: 0,
        length,
        left: rest.len(),
    })?;
    *left = rest;
    decode(message, out)
}

fn list_of(lists: &mut Vec<(ColumnId, Vec<u32>)>, column: ColumnId) -> &mut Vec<u32> {
    let at = lists.iter().position(|(number, _)| *number == column).unwrap_or(lists.len());
    if at == lists.len() {
        lists.push((column, Vec::new()));
    }
    &mut lists.get_mut(at).expect("it was found or added").1
}

/// The bytes of a length-delimited field.
fn delimited<'a>(number: u32, left: &mut &'a [u8]) -> Result<&'a [u8], ProtoError> {
    let length = decode_varint(left)?;
    let at = usize::try_from(length).unwrap_or(usize::MAX);
    let (bytes, rest) = left.split_at_checked(at).ok_or(ProtoError::Truncated { number, length, left: left.len() })?;
    *left = rest;
    Ok(bytes)
}

fn address(number: u32, bytes: &[u8]) -> Result<(u64, u64), ProtoError> {
    if bytes.is_empty() {
        return Ok((0, 0));
    }
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(halves_of(IpAddr::V4(Ipv4Addr::from(octets))));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ok(halves_of(IpAddr::V6(Ipv6Addr::from(octets)))),
        Err(_) => Err(ProtoError::BadAddress { number, length: bytes.len() }),
    }
}

/// Sets the number of the new row.
fn set(out: &mut BatchBuilder, column: ColumnId, width: Width, value: u64) {
    if !out.wants(column) {
        return;
    }
    match width {
        Width::U8 => out.u8s(column, 1).fill(u8::try_from(value).unwrap_or(0)),
        Width::U16 => out.u16s(column, 1).fill(u16::try_from(value).unwrap_or(0)),
        Width::U32 => out.u32s(column, 1).fill(u32::try_from(value).unwrap_or(0)),
        Width::U64 => out.u64s(column, 1).fill(value),
        Width::Text | Width::Lists => {}
    }
}

#[cfg(test)]
mod tests;
