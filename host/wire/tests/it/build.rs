//! Datagrams, put together byte by byte, and a decoder to give them to.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluice_flow::{Batch, BatchBuilder, ColumnSet, CustomField, Pool, Schema, table};
use sluice_wire::{DecodeStats, Decoded, Decoder, Limits};

pub(crate) const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// When messages say they were exported, in seconds since the Unix epoch.
pub(crate) const EXPORTED_S: u32 = 1_700_000_000;

/// Uptime that NetFlow v9 headers give, in milliseconds.
pub(crate) const UPTIME_MS: u32 = 1_000_000;

/// Appends the low `len` bytes of `value`.
pub(crate) fn put(bytes: &mut Vec<u8>, value: u64, len: usize) {
    bytes.extend(std::iter::repeat_n(0, len.saturating_sub(8)));
    bytes.extend_from_slice(&value.to_be_bytes()[8 - len.min(8)..]);
}

/// Numbers of given lengths, one after another.
pub(crate) fn numbers(values: &[(u64, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|(value, len)| put(&mut bytes, *value, *len));
    bytes
}

pub(crate) fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = numbers(&[(id.into(), 2), (4 + body.len() as u64, 2)]);
    bytes.extend_from_slice(body);
    bytes
}

/// Fields of a template: enterprise number, element, length.
pub(crate) fn fields(fields: &[(u32, u16, u16)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (pen, id, len) in fields {
        put(&mut bytes, u64::from(*id) | if *pen == 0 { 0 } else { 0x8000 }, 2);
        put(&mut bytes, (*len).into(), 2);
        if *pen != 0 {
            put(&mut bytes, (*pen).into(), 4);
        }
    }
    bytes
}

/// A template record.
pub(crate) fn template(id: u16, of: &[(u32, u16, u16)]) -> Vec<u8> {
    let mut bytes = numbers(&[(id.into(), 2), (of.len() as u64, 2)]);
    bytes.extend(fields(of));
    bytes
}

/// An options template record of IPFIX: the first `scope` fields are scope.
pub(crate) fn ipfix_options(id: u16, scope: u16, of: &[(u32, u16, u16)]) -> Vec<u8> {
    let mut bytes = numbers(&[(id.into(), 2), (of.len() as u64, 2), (scope.into(), 2)]);
    bytes.extend(fields(of));
    bytes
}

/// An options template record of NetFlow v9.
pub(crate) fn netflow9_options(id: u16, scope: &[(u16, u16)], of: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = numbers(&[(id.into(), 2), (scope.len() as u64 * 4, 2), (of.len() as u64 * 4, 2)]);
    scope.iter().chain(of).for_each(|(id, len)| bytes.extend(fields(&[(0, *id, *len)])));
    bytes
}

pub(crate) fn netflow9(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = numbers(&[
        (9, 2),
        (sets.len() as u64, 2),
        (UPTIME_MS.into(), 4),
        (EXPORTED_S.into(), 4),
        (sequence.into(), 4),
        (domain.into(), 4),
    ]);
    bytes.extend(sets.concat());
    bytes
}

pub(crate) fn ipfix(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let mut bytes = numbers(&[
        (10, 2),
        (16 + sets.len() as u64, 2),
        (EXPORTED_S.into(), 4),
        (sequence.into(), 4),
        (domain.into(), 4),
    ]);
    bytes.extend(sets);
    bytes
}

/// A NetFlow v5 datagram of `records`, each of 48 bytes.
pub(crate) fn netflow5(sequence: u32, sampling: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = numbers(&[
        (5, 2),
        (records.len() as u64, 2),
        (UPTIME_MS.into(), 4),
        (EXPORTED_S.into(), 4),
        (500, 4),
        (sequence.into(), 4),
        (0x0102, 2),
        (sampling.into(), 2),
    ]);
    bytes.extend(records.concat());
    bytes
}

/// A NetFlow v1 datagram of `records`, each of 48 or 52 bytes.
pub(crate) fn netflow1(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes =
        numbers(&[(1, 2), (records.len() as u64, 2), (UPTIME_MS.into(), 4), (EXPORTED_S.into(), 4), (500, 4)]);
    bytes.extend(records.concat());
    bytes
}

/// A NetFlow v7 datagram of `records`, each of 52 bytes. What is reserved in its header is not zero.
pub(crate) fn netflow7(sequence: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = numbers(&[
        (7, 2),
        (records.len() as u64, 2),
        (UPTIME_MS.into(), 4),
        (EXPORTED_S.into(), 4),
        (500, 4),
        (sequence.into(), 4),
        (0x0102_0064, 4),
    ]);
    bytes.extend(records.concat());
    bytes
}

/// A decoder with a batch that is being filled.
pub(crate) struct Bench {
    pub(crate) decoder: Decoder,
    out: BatchBuilder,
    /// Time of receipt of the next datagram, in nanoseconds.
    pub(crate) now_ns: u64,
    log: String,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(Vec::new(), ColumnSet::ALL, Limits::default())
    }

    pub(crate) fn with(custom: Vec<CustomField>, wanted: ColumnSet, limits: Limits) -> Bench {
        let schema = Arc::new(Schema::with_custom(custom).unwrap());
        Bench {
            decoder: Decoder::new(Arc::clone(&schema), wanted, limits),
            out: BatchBuilder::new(schema, wanted, Pool::default()),
            now_ns: 1_000,
            log: String::new(),
        }
    }

    /// Decodes a datagram of [`EXPORTER`] and notes what came of it.
    pub(crate) fn decode(&mut self, datagram: &[u8]) -> Decoded {
        self.decode_from(EXPORTER, datagram)
    }

    pub(crate) fn decode_from(&mut self, exporter: IpAddr, datagram: &[u8]) -> Decoded {
        let decoded = self.decoder.decode(exporter, self.now_ns, datagram, &mut self.out);
        match &decoded.error {
            None => writeln!(self.log, "{} rows", decoded.rows).unwrap(),
            Some(error) => writeln!(self.log, "{} rows, {}: {error}", decoded.rows, error.reason()).unwrap(),
        }
        decoded
    }

    pub(crate) fn stats(&self) -> &DecodeStats {
        self.decoder.stats()
    }

    /// The rows so far.
    pub(crate) fn batch(&mut self) -> Batch {
        self.out.finish(1, 1)
    }

    /// What was noted, and these columns of the rows.
    pub(crate) fn text(&mut self, columns: &[&str]) -> String {
        let mut text = std::mem::take(&mut self.log);
        if !columns.is_empty() {
            text.push_str(&table(&self.batch(), columns));
        }
        text
    }
}
