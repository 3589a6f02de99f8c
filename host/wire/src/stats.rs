//! What a decoder counts. All counters only rise, except the two that say so.

use crate::error::REASONS;
use crate::{DecodeError, SflowSamples};

/// Protocols, for counting datagrams by protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    NetFlow1,
    NetFlow5,
    NetFlow7,
    NetFlow9,
    Ipfix,
    Sflow,
}

impl Protocol {
    /// As metrics and people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::NetFlow1 => "netflow1",
            Protocol::NetFlow5 => "netflow5",
            Protocol::NetFlow7 => "netflow7",
            Protocol::NetFlow9 => "netflow9",
            Protocol::Ipfix => "ipfix",
            Protocol::Sflow => "sflow",
        }
    }

    /// Value of the `flow_type` column, 0 for none.
    pub(crate) fn flow_type(self) -> u8 {
        match self {
            Protocol::Sflow => 1,
            Protocol::NetFlow5 => 2,
            Protocol::NetFlow9 => 3,
            Protocol::Ipfix => 4,
            // Programs that read flows have no number for them.
            Protocol::NetFlow1 | Protocol::NetFlow7 => 0,
        }
    }
}

/// Counters of one [`Decoder`](crate::Decoder), since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeStats {
    /// Datagrams given to the decoder.
    pub datagrams: u64,
    /// Bytes of those datagrams.
    pub bytes: u64,
    /// Rows appended to batches.
    pub rows: u64,
    /// Flow records (sFlow: flow samples) decoded. Less than `rows` where the reverse direction of a
    /// biflow became a row of its own (RFC 5103).
    pub records: u64,
    /// Records of which some column was filled by the slow general decoder.
    pub records_general: u64,
    /// Datagrams of NetFlow v1.
    pub netflow1: u64,
    /// Datagrams of NetFlow v5.
    pub netflow5: u64,
    /// Datagrams of NetFlow v7.
    pub netflow7: u64,
    /// Datagrams of NetFlow v9.
    pub netflow9: u64,
    /// Datagrams of IPFIX.
    pub ipfix: u64,
    /// Datagrams of sFlow v5.
    pub sflow: u64,
    /// What the sFlow datagrams contained.
    pub sflow_samples: SflowSamples,
    /// Templates and options templates that were new.
    pub templates_learned: u64,
    /// Templates that came with other fields than before.
    pub templates_changed: u64,
    /// Templates that an exporter withdrew (RFC 7011, section 8.1).
    pub templates_withdrawn: u64,
    /// Templates forgotten for want of room.
    pub templates_evicted: u64,
    /// Exporters (address, protocol and observation domain) known now. Not a counter.
    pub exporters: u64,
    /// Exporters forgotten for want of room, with all their templates.
    pub exporters_evicted: u64,
    /// Records of options data that were read.
    pub options_records: u64,
    /// Sampling rates in options data for which there was no room.
    pub options_dropped: u64,
    /// Datagrams that sequence numbers say were sent and did not come (NetFlow v9, sFlow).
    pub missing_datagrams: u64,
    /// Records that sequence numbers say were sent and did not come (NetFlow v5 and v7, IPFIX).
    pub missing_records: u64,
    /// Datagrams that came after later ones; they were counted as missing before.
    pub sequence_late: u64,
    /// Jumps of a sequence number that can only be a restart of the exporter.
    pub sequence_resets: u64,
    /// Data sets without template that were held.
    pub pending_held: u64,
    /// Held sets that were decoded when their template came.
    pub pending_released: u64,
    /// Held sets whose template did not come in time.
    pub pending_expired: u64,
    /// Sets without template for which there was no room, or whose template was withdrawn or bad.
    pub pending_dropped: u64,
    /// Bytes held now. Not a counter.
    pub pending_bytes: u64,
    errors: [u64; REASONS.len()],
}

impl DecodeStats {
    /// Number of errors by reason: every one of [`REASONS`], in that order.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().copied().zip(self.errors)
    }

    /// Counts `error`.
    pub(crate) fn error(&mut self, error: &DecodeError) {
        if let Some(count) = self.errors.get_mut(error.index()) {
            *count += 1;
        }
    }

    /// Counts a datagram of `protocol`.
    pub(crate) fn protocol(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::NetFlow1 => self.netflow1 += 1,
            Protocol::NetFlow5 => self.netflow5 += 1,
            Protocol::NetFlow7 => self.netflow7 += 1,
            Protocol::NetFlow9 => self.netflow9 += 1,
            Protocol::Ipfix => self.ipfix += 1,
            Protocol::Sflow => self.sflow += 1,
        }
    }
}

/// The errors of one datagram: all are counted, the first is reported.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) first: Option<DecodeError>,
}

impl Faults {
    /// Counts `error` and keeps it if it is the first.
    pub(crate) fn add(&mut self, stats: &mut DecodeStats, error: DecodeError) {
        stats.error(&error);
        self.first.get_or_insert(error);
    }
}
