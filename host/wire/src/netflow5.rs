//! NetFlow v5: a header of 24 bytes and 1 to 30 records of 48 (Cisco, "NetFlow Export Datagram
//! Format"). There are no templates on the wire, so the plan is compiled when the decoder is made.

#![warn(clippy::indexing_slicing)]

use netflow_parser::FieldDataType;

use crate::DecodeError;
use crate::bytes::{u8_at, u16_at, u32_at};
use crate::compile::Wish;
use crate::element::Field;
use crate::plan::Plan;
use crate::source::Clock;
use crate::stats::Protocol;

/// Bytes of the header.
pub(crate) const HEADER: usize = 24;

/// Bytes of a record.
pub(crate) const RECORD: usize = 48;

/// Records that a datagram may have.
pub(crate) const MAX_RECORDS: u16 = 30;

/// Interval of the sampling field: the lower 14 bits. The upper two are the mode.
const INTERVAL: u16 = 0x3fff;

/// The fields of a record: information element, 0 for padding, and length.
const FIELDS: &[(u16, u16)] = &[
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 2),
    (14, 2),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (0, 1),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 2),
    (17, 2),
    (9, 1),
    (13, 1),
    (0, 2),
];

/// The header and the records of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Flows sent before this datagram.
    pub(crate) sequence: u32,
    /// Engine type and id.
    pub(crate) engine: u32,
    /// N of "one in N", 0 if it is not given.
    pub(crate) sampling_rate: u64,
    pub(crate) uptime_ms: u32,
    pub(crate) export_ns: u64,
    /// Whole records.
    pub(crate) records: &'a [u8],
    /// What follows them.
    pub(crate) rest: &'a [u8],
}

impl Message<'_> {
    pub(crate) fn clock(&self) -> Clock {
        Clock { export_ns: self.export_ns, uptime_ms: self.uptime_ms, init_ms: 0 }
    }
}

/// The plan for every record.
pub(crate) fn plan(wish: Wish<'_>) -> Plan {
    let fields: Vec<Field> = FIELDS.iter().map(|(id, len)| Field { pen: 0, id: *id, len: *len }).collect();
    let types = vec![FieldDataType::UnsignedDataNumber; fields.len()];
    Plan::compile(Protocol::NetFlow5, &fields, &types, wish).expect("a record has 48 bytes")
}

/// Checks count and length and takes the first message off `datagram`; some exporters put several in
/// one.
///
/// A datagram with fewer records than it announces gives those it has, and the error beside them.
///
/// # Errors
/// A header cut short, or a count that is not 1 to 30.
pub(crate) fn parse(datagram: &[u8]) -> Result<(Message<'_>, Option<DecodeError>), DecodeError> {
    let short = |what, offset, needed| DecodeError::Truncated {
        what,
        offset,
        needed,
        left: datagram.len().saturating_sub(offset),
    };
    let header = || {
        let seconds = u64::from(u32_at(datagram, 8)?);
        let nanoseconds = u64::from(u32_at(datagram, 12)?);
        let engine = (u32::from(u8_at(datagram, 20)?) << 8) | u32::from(u8_at(datagram, 21)?);
        Some(Message {
            sequence: u32_at(datagram, 16)?,
            engine,
            sampling_rate: u64::from(u16_at(datagram, 22)? & INTERVAL),
            uptime_ms: u32_at(datagram, 4)?,
            export_ns: seconds * 1_000_000_000 + nanoseconds,
            records: &[],
            rest: &[],
        })
    };
    let mut message = header().ok_or_else(|| short("NetFlow v5 header", 0, HEADER))?;
    let count = u16_at(datagram, 2).unwrap_or(0);
    if count == 0 || count > MAX_RECORDS {
        return Err(DecodeError::BadCount { count });
    }
    let needed = usize::from(count) * RECORD;
    let body = datagram.get(HEADER..).unwrap_or(&[]);
    let whole = needed.min(body.len() - body.len() % RECORD);
    (message.records, message.rest) = body.split_at_checked(whole).unwrap_or((&[], &[]));
    let missing = (whole < needed).then(|| short("NetFlow v5 records", HEADER, needed));
    Ok((message, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_a_record() {
        assert_eq!(FIELDS.iter().map(|(_, len)| usize::from(*len)).sum::<usize>(), RECORD);
    }

    #[test]
    fn counts_and_lengths_are_checked_before_anything_is_read() {
        let mut datagram = vec![0; HEADER + 2 * RECORD];
        for (count, whole, error) in [
            (2, 2, None),
            (1, 1, None),
            (3, 2, Some(DecodeError::Truncated { what: "NetFlow v5 records", offset: 24, needed: 144, left: 96 })),
        ] {
            datagram[3] = count;
            let (message, missing) = parse(&datagram).unwrap();
            assert_eq!((message.records.len() / RECORD, missing), (whole, error));
        }
        for count in [0, 31] {
            datagram[3] = count;
            assert_eq!(parse(&datagram).unwrap_err(), DecodeError::BadCount { count: count.into() });
        }
        assert_eq!(parse(&datagram[..23]).unwrap_err().reason(), "truncated");
    }
}
