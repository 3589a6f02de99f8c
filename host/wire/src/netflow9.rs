//! NetFlow v9 datagrams (RFC 3954): a header of 20 bytes and sets of templates (0), options
//! templates (1) and data (256 and above).
//!
//! The header's count is not looked at: exporters count records, sets, or neither.

#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use sluice_flow::BatchBuilder;

use crate::DecodeError;
use crate::bytes::u32_at;
use crate::decode::Decoder;
use crate::exporter::ExporterKey;
use crate::pending::MessageInfo;
use crate::sequence::Unit;
use crate::sets::{Message, Sets};
use crate::source::Clock;
use crate::stats::{Faults, Protocol};

/// Bytes of the header.
const HEADER: usize = 20;

/// Numbers of template and options template sets.
const TEMPLATES: (u16, u16) = (0, 1);

impl Decoder {
    pub(crate) fn netflow9(
        &mut self,
        exporter: IpAddr,
        received_ns: u64,
        datagram: &[u8],
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) {
        let header = (u32_at(datagram, 4), u32_at(datagram, 8), u32_at(datagram, 12), u32_at(datagram, 16));
        let (Some(uptime_ms), Some(seconds), Some(sequence), Some(domain)) = header else {
            let (needed, left) = (HEADER, datagram.len());
            faults.add(&mut self.stats, DecodeError::Truncated { what: "NetFlow v9 header", offset: 0, needed, left });
            return;
        };
        let key = ExporterKey { addr: exporter, protocol: Protocol::NetFlow9, domain };
        let clock = Clock { export_ns: u64::from(seconds) * 1_000_000_000, uptime_ms, init_ms: 0 };
        let slot = self.exporters.slot(key, &mut self.stats);
        let message = Message { key, slot, info: MessageInfo { received_ns, sequence, clock } };
        self.exporters.at(slot).sequence.observe(sequence, Some(1), Unit::Datagrams, &mut self.stats);
        let before = self.stats.records;
        for set in (Sets { datagram, at: HEADER }) {
            match set {
                Ok(set) => {
                    self.set(&message, set, TEMPLATES, out, faults);
                }
                Err(error) => faults.add(&mut self.stats, error),
            }
        }
        self.exporters.at(slot).sequence.came(received_ns, self.stats.records - before);
    }
}
