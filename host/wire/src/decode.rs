//! The decoder: datagrams of any protocol in, rows out.

#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;
use std::sync::Arc;

use sluice_flow::{BatchBuilder, ColumnSet, Schema, halves_of};

use crate::bytes::{is_zero, u16_at, u32_at};
use crate::compile::Wish;
use crate::exporter::{ExporterKey, Exporters};
use crate::pending::Pending;
use crate::plan::Common;
use crate::sampling::Sampling;
use crate::sequence::Unit;
use crate::sflow::SflowDecoder;
use crate::stats::{Faults, Protocol};
use crate::template::TemplateReader;
use crate::{DecodeError, DecodeStats, fixed, ipfix};

/// What exporters may make a decoder keep. Each decoder has limits of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exporters (address, protocol and observation domain) that are remembered; one too many costs
    /// the one that was silent longest. Source addresses can be forged. Default 8192.
    pub exporters: usize,
    /// Templates of one exporter; one too many costs the one used least recently. Default 512.
    pub templates_per_exporter: usize,
    /// Fields of one template; a template of more is refused. Default 512.
    pub template_fields: usize,
    /// Bytes of memory for the templates of all exporters, roughly. Default 64 MiB.
    pub template_bytes: usize,
    /// Bytes of data sets without template that are held for all exporters. Default 8 MiB.
    pub pending_bytes: usize,
    /// Bytes of data sets without template that are held for one exporter. Default 512 KiB.
    pub pending_bytes_per_exporter: usize,
    /// Milliseconds, by time of receipt, that a data set waits for its template. Default 300000.
    pub pending_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            exporters: 8_192,
            templates_per_exporter: 512,
            template_fields: 512,
            template_bytes: 64 << 20,
            pending_bytes: 8 << 20,
            pending_bytes_per_exporter: 512 << 10,
            pending_ms: 300_000,
        }
    }
}

/// What became of a datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Rows appended: those before a bad part and those after it, and those of data sets that were
    /// held until this datagram brought their template.
    pub rows: usize,
    /// The first error. All of them are counted in [`DecodeStats`].
    pub error: Option<DecodeError>,
}

/// Decodes export datagrams of any number of exporters. One per receiving thread.
///
/// Templates, sampling rates and sequence numbers are kept by exporter: source address, protocol
/// and observation domain, never the port. Everything kept is bounded by [`Limits`].
#[derive(Debug)]
pub struct Decoder {
    pub(crate) schema: Arc<Schema>,
    pub(crate) wanted: ColumnSet,
    pub(crate) reader: TemplateReader,
    pub(crate) exporters: Exporters,
    pub(crate) pending: Pending,
    pub(crate) stats: DecodeStats,
    /// Room to note where records and their fields are.
    pub(crate) anchors: Vec<u32>,
    pub(crate) reverse_anchors: Vec<u32>,
    fixed: fixed::Plans,
    pub(crate) sflow: SflowDecoder,
}

impl Decoder {
    /// A decoder that fills those columns of `schema` that are `wanted`.
    #[must_use]
    pub fn new(schema: Arc<Schema>, wanted: ColumnSet, limits: Limits) -> Decoder {
        let fixed = fixed::Plans::new(Wish { schema: &schema, wanted: &wanted });
        Decoder {
            schema,
            wanted,
            reader: TemplateReader::new(limits.template_fields),
            exporters: Exporters::new(limits.exporters, limits.templates_per_exporter, limits.template_bytes),
            pending: Pending::new(limits.pending_bytes, limits.pending_bytes_per_exporter, limits.pending_ms),
            stats: DecodeStats::default(),
            anchors: Vec::new(),
            reverse_anchors: Vec::new(),
            fixed,
            sflow: SflowDecoder::default(),
        }
    }

    /// From now on fills those columns that are `wanted`: the plans of all known templates are made anew. The rows of a
    /// batch should all be decoded under the same wish.
    pub fn want(&mut self, wanted: ColumnSet) {
        self.wanted = wanted;
        let wish = Wish { schema: &self.schema, wanted: &self.wanted };
        self.fixed = fixed::Plans::new(wish);
        self.exporters.plan_anew(&mut self.reader, wish);
    }

    /// Decodes one datagram and appends its rows to `out`, which must be of the decoder's schema.
    ///
    /// The protocol is found by inspection: a first number of two bytes 1, 5, 7, 9 or 10 is NetFlow v1, v5, v7,
    /// v9 or IPFIX, one of four bytes 5 is sFlow v5. `exporter` is the datagram's source
    /// address, an IPv4-mapped one the same as the IPv4 one. `received_ns` is the time of receipt in
    /// nanoseconds since the Unix epoch; the decoder has no other clock.
    ///
    /// Each flow record becomes a row. Counters are as exported; times become nanoseconds since the
    /// Unix epoch; what a record does not have is 0. No input panics.
    pub fn decode(&mut self, exporter: IpAddr, received_ns: u64, datagram: &[u8], out: &mut BatchBuilder) -> Decoded {
        let exporter = exporter.to_canonical();
        self.stats.datagrams += 1;
        self.stats.bytes += datagram.len() as u64;
        let before = out.rows();
        let mut faults = Faults::default();
        match protocol_of(datagram) {
            Ok(protocol) => {
                self.stats.protocol(protocol);
                match protocol {
                    Protocol::NetFlow1 | Protocol::NetFlow5 | Protocol::NetFlow7 => {
                        self.fixed(protocol, exporter, received_ns, datagram, out, &mut faults);
                    }
                    Protocol::NetFlow9 => self.netflow9(exporter, received_ns, datagram, out, &mut faults),
                    Protocol::Ipfix => self.ipfix(exporter, received_ns, datagram, out, &mut faults),
                    Protocol::Sflow => {
                        let stats = &mut self.stats;
                        let rows = self.sflow.decode(exporter, received_ns, datagram, out, stats, &mut faults);
                        self.stats.records += rows as u64;
                        self.stats.rows += rows as u64;
                    }
                }
            }
            Err(error) => faults.add(&mut self.stats, error),
        }
        Decoded { rows: out.rows() - before, error: faults.first }
    }

    /// What was counted since the decoder was made.
    #[must_use]
    pub fn stats(&self) -> &DecodeStats {
        &self.stats
    }

    /// Decodes the records of NetFlow v1, v5 or v7.
    fn fixed(
        &mut self,
        protocol: Protocol,
        exporter: IpAddr,
        received_ns: u64,
        datagram: &[u8],
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) {
        let mut rest = datagram;
        loop {
            match fixed::parse(protocol, rest) {
                Ok((message, missing)) => {
                    self.fixed_records(exporter, received_ns, &message, out);
                    if let Some(error) = missing {
                        faults.add(&mut self.stats, error);
                        return;
                    }
                    rest = message.rest;
                }
                Err(error) => {
                    faults.add(&mut self.stats, error);
                    return;
                }
            }
            // What follows is padding or another message.
            match u16_at(rest, 0) {
                _ if is_zero(rest) => return,
                _ if protocol_of(rest) == Ok(protocol) => {}
                version => {
                    let version = version.unwrap_or(0);
                    faults.add(&mut self.stats, DecodeError::UnknownVersion { version });
                    return;
                }
            }
        }
    }

    fn fixed_records(
        &mut self,
        exporter: IpAddr,
        received_ns: u64,
        message: &fixed::Message<'_>,
        out: &mut BatchBuilder,
    ) {
        let plan = self.fixed.of(message);
        let (rows, _) = plan.rows(message.records, &mut self.anchors);
        let common = Common {
            flow_type: message.protocol.flow_type(),
            received_ns,
            sequence: message.sequence.unwrap_or(0),
            domain: message.engine,
            exporter: halves_of(exporter),
            clock: message.clock(),
            sampling: const { &Sampling::NONE },
            default_rate: message.sampling_rate,
        };
        let records = rows.len();
        plan.fill(&rows, &common, out);
        out.advance(records);
        self.stats.records += records as u64;
        self.stats.rows += records as u64;
        let key = ExporterKey { addr: exporter, protocol: message.protocol, domain: message.engine };
        let slot = self.exporters.slot(key, &mut self.stats);
        let sequence = &mut self.exporters.at(slot).sequence;
        if let Some(number) = message.sequence {
            sequence.observe(number, u32::try_from(records).ok(), Unit::Records, &mut self.stats);
        }
        sequence.came(received_ns, records as u64);
        sequence.seen.header_rate = message.sampling_rate;
    }
}

fn protocol_of(datagram: &[u8]) -> Result<Protocol, DecodeError> {
    let version = u16_at(datagram, 0).ok_or(DecodeError::Truncated {
        what: "version",
        offset: 0,
        needed: 2,
        left: datagram.len(),
    })?;
    match (version, u32_at(datagram, 0)) {
        (1, _) => Ok(Protocol::NetFlow1),
        (5, _) => Ok(Protocol::NetFlow5),
        (7, _) => Ok(Protocol::NetFlow7),
        (9, _) => Ok(Protocol::NetFlow9),
        (ipfix::VERSION, _) => Ok(Protocol::Ipfix),
        (0, Some(5)) => Ok(Protocol::Sflow),
        _ => Err(DecodeError::UnknownVersion { version }),
    }
}
