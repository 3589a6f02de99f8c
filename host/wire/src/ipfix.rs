//! IPFIX messages (RFC 7011): a header of 16 bytes and sets of templates (2), options templates (3)
//! and data (256 and above). A datagram may hold several messages.

#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use sluice_flow::BatchBuilder;

use crate::DecodeError;
use crate::bytes::{is_zero, u16_at, u32_at};
use crate::decode::Decoder;
use crate::exporter::ExporterKey;
use crate::pending::MessageInfo;
use crate::sequence::Unit;
use crate::sets::{Message, Sets};
use crate::source::Clock;
use crate::stats::{Faults, Protocol};

/// Bytes of the header.
const HEADER: usize = 16;

/// Version in the header.
pub(crate) const VERSION: u16 = 10;

/// Numbers of template and options template sets.
const TEMPLATES: (u16, u16) = (2, 3);

impl Decoder {
    pub(crate) fn ipfix(
        &mut self,
        exporter: IpAddr,
        received_ns: u64,
        datagram: &[u8],
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) {
        let mut at = 0;
        while let Some(rest) = datagram.get(at..)
            && (at == 0 || !is_zero(rest))
        {
            match self.message(exporter, received_ns, datagram, at, out, faults) {
                Ok(end) => at = end,
                Err(error) => {
                    faults.add(&mut self.stats, error);
                    break;
                }
            }
        }
    }

    /// Reads the message at `at` and returns where it ends.
    fn message(
        &mut self,
        exporter: IpAddr,
        received_ns: u64,
        datagram: &[u8],
        at: usize,
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) -> Result<usize, DecodeError> {
        let left = datagram.len().saturating_sub(at);
        let header = (
            u16_at(datagram, at),
            u16_at(datagram, at + 2),
            u32_at(datagram, at + 4),
            u32_at(datagram, at + 8),
            u32_at(datagram, at + 12),
        );
        let (Some(version), Some(length), Some(seconds), Some(sequence), Some(domain)) = header else {
            return Err(DecodeError::Truncated { what: "IPFIX header", offset: at, needed: HEADER, left });
        };
        if version != VERSION {
            return Err(DecodeError::UnknownVersion { version });
        }
        let length = usize::from(length);
        if length < HEADER {
            return Err(DecodeError::BadLength { what: "IPFIX message", offset: at, length });
        }
        // Of a message that is cut off, the sets that are whole still count.
        let end = (at + length).min(datagram.len());
        if length > left {
            let error = DecodeError::Truncated { what: "IPFIX message", offset: at, needed: length, left };
            faults.add(&mut self.stats, error);
        }
        let key = ExporterKey { addr: exporter, protocol: Protocol::Ipfix, domain };
        let clock = Clock { export_ns: u64::from(seconds) * 1_000_000_000, uptime_ms: 0, init_ms: 0 };
        let slot = self.exporters.slot(key, &mut self.stats);
        let message = Message { key, slot, info: MessageInfo { received_ns, sequence, clock } };
        let before = self.stats.records;
        let mut records = (length <= left).then_some(0_u32);
        for set in (Sets { datagram: datagram.get(..end).unwrap_or(&[]), at: at + HEADER }) {
            let counted = match set {
                Ok(set) => self.set(&message, set, TEMPLATES, out, faults),
                Err(error) => {
                    faults.add(&mut self.stats, error);
                    None
                }
            };
            records = records.zip(counted).map(|(all, these)| all.wrapping_add(these));
        }
        let decoded = self.stats.records - before;
        let order = &mut self.exporters.at(slot).sequence;
        order.observe(sequence, records, Unit::Records, &mut self.stats);
        order.came(received_ns, decoded);
        Ok(end)
    }
}
