//! NetFlow v1, v5 and v7: a header and records of one layout (Cisco, "NetFlow Export Datagram Format").
//! There are no templates on the wire, so the plans are compiled when the decoder is made.

#![warn(clippy::indexing_slicing)]

use netflow_parser::FieldDataType;

use crate::DecodeError;
use crate::bytes::{is_zero, u16_at, u32_at};
use crate::compile::Wish;
use crate::element::Field;
use crate::plan::Plan;
use crate::source::Clock;
use crate::stats::Protocol;

/// Interval of the sampling field: the lower 14 bits. The upper two are the mode.
const INTERVAL: u16 = 0x3fff;

/// Records that a datagram may have: as many as there is room for in 1500 bytes.
const MAX_RECORDS: u16 = 30;

/// The records of a version.
#[derive(Debug)]
struct Format {
    protocol: Protocol,
    /// Of the header and of the records, for messages.
    names: [&'static str; 2],
    /// Bytes of the header.
    header: usize,
    /// Bytes of a record.
    record: usize,
    /// The fields of a record after [`FIRST`].
    last: &'static [(u16, u16)],
}

/// What a record of each of them begins with: addresses, interfaces, counters, times and ports. Information element, 0
/// for padding, and length.
const FIRST: [(u16, u16); 11] =
    [(8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2)];

/// In the order of [`Plans`].
static FORMATS: [Format; 4] = [
    Format {
        protocol: Protocol::NetFlow5,
        names: ["NetFlow v5 header", "NetFlow v5 records"],
        header: 24,
        record: 48,
        last: &[(0, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (0, 2)],
    },
    Format {
        protocol: Protocol::NetFlow1,
        names: ["NetFlow v1 header", "NetFlow v1 records"],
        header: 16,
        record: 52,
        last: &[(0, 2), (4, 1), (5, 1), (6, 1), (0, 11)],
    },
    // As softflowd and nfdump have it.
    Format {
        protocol: Protocol::NetFlow1,
        names: ["NetFlow v1 header", "NetFlow v1 records"],
        header: 16,
        record: 48,
        last: &[(0, 2), (4, 1), (5, 1), (6, 1), (0, 7)],
    },
    // After what v5 has, which fields are invalid, and the router that the switch stood in for.
    Format {
        protocol: Protocol::NetFlow7,
        names: ["NetFlow v7 header", "NetFlow v7 records"],
        header: 24,
        record: 52,
        last: &[(0, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (0, 2), (43, 4)],
    },
];

/// The header and the records of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) protocol: Protocol,
    /// Place of the format and of its plan.
    format: usize,
    /// Flows sent before this datagram; none in v1.
    pub(crate) sequence: Option<u32>,
    /// Engine type and id; 0 where there are none.
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

/// The plans for the records of all versions.
#[derive(Debug)]
pub(crate) struct Plans([Plan; FORMATS.len()]);

impl Format {
    fn fields(&self) -> impl Iterator<Item = Field> {
        FIRST.iter().chain(self.last).map(|(id, len)| Field { pen: 0, id: *id, len: *len })
    }
}

impl Plans {
    pub(crate) fn new(wish: Wish<'_>) -> Plans {
        let plan = |format: &Format| {
            let fields: Vec<Field> = format.fields().collect();
            let types = vec![FieldDataType::UnsignedDataNumber; fields.len()];
            Plan::compile(format.protocol, &fields, &types, wish).expect("a record has some 50 bytes")
        };
        Plans(FORMATS.each_ref().map(plan))
    }

    /// The plan for the records of `message`.
    pub(crate) fn of(&self, message: &Message<'_>) -> &Plan {
        self.0.get(message.format).unwrap_or(&self.0[0])
    }
}

/// Checks count and length and takes the first message off `datagram`, which is of `protocol`; some exporters put several in
/// one.
///
/// A datagram with fewer records than it announces gives those it has, and the error beside them. Records of v1 have 52 bytes
/// or 48, which only the length tells: one that is too short for 52 and not zero behind 48 gives none.
///
/// # Errors
/// A header cut short, or a count that is not 1 to [`MAX_RECORDS`].
pub(crate) fn parse(protocol: Protocol, datagram: &[u8]) -> Result<(Message<'_>, Option<DecodeError>), DecodeError> {
    let count = u16_at(datagram, 2).unwrap_or(0);
    let is_short = datagram.len() < FORMATS[1].header + usize::from(count) * FORMATS[1].record;
    let at = match protocol {
        Protocol::NetFlow1 if is_short => 2,
        Protocol::NetFlow1 => 1,
        Protocol::NetFlow7 => 3,
        _ => 0,
    };
    let Format { names: [header_name, records_name], header: header_bytes, record, .. } =
        FORMATS.get(at).unwrap_or(&FORMATS[0]);
    let short = |what, offset, needed| DecodeError::Truncated {
        what,
        offset,
        needed,
        left: datagram.len().saturating_sub(offset),
    };
    let header = || {
        let seconds = u64::from(u32_at(datagram, 8)?);
        let nanoseconds = u64::from(u32_at(datagram, 12)?);
        let mut message = Message {
            protocol,
            format: at,
            sequence: None,
            engine: 0,
            sampling_rate: 0,
            uptime_ms: u32_at(datagram, 4)?,
            export_ns: seconds * 1_000_000_000 + nanoseconds,
            records: &[],
            rest: &[],
        };
        if protocol != Protocol::NetFlow1 {
            message.sequence = Some(u32_at(datagram, 16)?);
            // In v7 they are reserved.
            let (engine, sampling) = (u16_at(datagram, 20)?, u16_at(datagram, 22)?);
            if protocol == Protocol::NetFlow5 {
                message.engine = engine.into();
                message.sampling_rate = u64::from(sampling & INTERVAL);
            }
        }
        Some(message)
    };
    let mut message = header().ok_or_else(|| short(header_name, 0, *header_bytes))?;
    if count == 0 || count > MAX_RECORDS {
        return Err(DecodeError::BadCount { count });
    }
    let needed = usize::from(count) * record;
    let body = datagram.get(*header_bytes..).unwrap_or(&[]);
    let whole = needed.min(body.len() - body.len() % record);
    let (records, rest) = body.split_at_checked(whole).unwrap_or((&[], &[]));
    if protocol == Protocol::NetFlow1 && is_short && (whole < needed || !is_zero(rest)) {
        return Ok((message, Some(short(records_name, *header_bytes, needed))));
    }
    (message.records, message.rest) = (records, rest);
    let missing = (whole < needed).then(|| short(records_name, *header_bytes, needed));
    Ok((message, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_a_record() {
        for format in &FORMATS {
            let bytes = format.fields().map(|field| usize::from(field.len)).sum::<usize>();
            assert_eq!(bytes, format.record, "{:?}", format.protocol);
        }
    }

    #[test]
    fn counts_and_lengths_are_checked_before_anything_is_read() {
        for (format, Format { protocol, names, header, record, .. }) in FORMATS.iter().enumerate() {
            let check = |count: u8, bytes: usize, expected: Result<(usize, usize, bool), &str>| {
                let mut datagram = vec![0; bytes];
                datagram[3] = count;
                let found = parse(*protocol, &datagram).map(|(message, missing)| {
                    let of = if message.records.is_empty() { format } else { message.format };
                    assert_eq!(of, format, "{names:?}");
                    let what = missing.map(|error| error.to_string());
                    assert!(what.as_ref().is_none_or(|what| what.starts_with(names[1])), "{what:?}");
                    (message.records.len() / record, message.rest.len(), what.is_some())
                });
                assert_eq!(found.map_err(|error| error.reason()), expected, "{names:?} {count} in {bytes}");
            };
            check(2, header + 2 * record, Ok((2, 0, false)));
            check(30, header + 30 * record, Ok((30, 0, false)));
            // Zeros behind the records, and another message, are for whoever reads on.
            check(2, header + 2 * record + 5, Ok((2, 5, false)));
            // How long the records of a v1 datagram are that was cut short nobody knows.
            let left = if *protocol == Protocol::NetFlow1 { 0 } else { 2 };
            check(3, header + 2 * record + 5, Ok((left, 5 * left / 2, true)));
            check(0, header + record, Err("bad_count"));
            check(31, header + 31 * record, Err("bad_count"));
            check(1, header - 1, Err("truncated"));
        }
        let mut datagram = vec![0; 16 + 48 + 3];
        datagram[3] = 1;
        datagram[66] = 1;
        let (message, missing) = parse(Protocol::NetFlow1, &datagram).unwrap();
        assert!(message.records.is_empty() && missing.is_some(), "this is no padding");
    }
}
