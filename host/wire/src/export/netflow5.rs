//! NetFlow version 5: a header of 24 bytes and up to 30 records of 48.

use super::{Datagrams, EncoderSettings, Flow, at_most_u32, put_u16, put_u32, uptime};

/// Records in a datagram; 30 are allowed, but [`MAX_DATAGRAM`](super::MAX_DATAGRAM) holds no more.
const MAX_RECORDS: usize = (super::MAX_DATAGRAM - 24) / 48;

/// The AS number that stands for those that need 32 bits (RFC 6793, section 9).
const AS_TRANS: u16 = 23456;

#[derive(Clone, Debug, Default)]
pub(super) struct NetFlow5 {
    /// Records sent so far.
    sequence: u32,
}

impl NetFlow5 {
    pub(super) fn encode(
        &mut self,
        settings: &EncoderSettings,
        flows: &[Flow],
        now_ms: u64,
        out: &mut Datagrams,
    ) -> usize {
        let mut carried = 0;
        let mut flows = flows.iter().filter_map(|flow| Some((flow, flow.ipv4()?))).peekable();
        while flows.peek().is_some() {
            let bytes = out.open();
            let start = bytes.len();
            header(settings, self.sequence, now_ms, bytes);
            let mut count = 0_u16;
            for (flow, addrs) in flows.by_ref().take(MAX_RECORDS) {
                record(settings, flow, addrs, bytes);
                count += 1;
            }
            if let Some(place) = bytes.get_mut(start + 2..start + 4) {
                place.copy_from_slice(&count.to_be_bytes());
            }
            out.end();
            self.sequence = self.sequence.wrapping_add(u32::from(count));
            carried += usize::from(count);
        }
        carried
    }
}

/// The header, with room for the count.
fn header(settings: &EncoderSettings, sequence: u32, now_ms: u64, out: &mut Vec<u8>) {
    put_u16(out, 5);
    put_u16(out, 0);
    put_u32(out, uptime(settings, now_ms));
    put_u32(out, at_most_u32(now_ms / 1000));
    put_u32(out, (now_ms % 1000) as u32 * 1_000_000);
    put_u32(out, sequence);
    // Engine type and engine id.
    put_u16(out, (settings.domain & 0xffff) as u16);
    let sampling = match settings.sampling_rate.min(0x3fff) as u16 {
        0 => 0,
        // Mode 1: every Nth packet.
        rate => 1 << 14 | rate,
    };
    put_u16(out, sampling);
}

fn record(settings: &EncoderSettings, flow: &Flow, addrs: [[u8; 4]; 3], out: &mut Vec<u8>) {
    let [src, dst, next_hop] = addrs;
    out.extend_from_slice(&src);
    out.extend_from_slice(&dst);
    out.extend_from_slice(&next_hop);
    let narrow = |value: u32, otherwise: u16| u16::try_from(value).unwrap_or(otherwise);
    put_u16(out, narrow(flow.in_if, 0));
    put_u16(out, narrow(flow.out_if, 0));
    put_u32(out, at_most_u32(flow.packets));
    put_u32(out, at_most_u32(flow.bytes));
    put_u32(out, uptime(settings, flow.first_ms));
    put_u32(out, uptime(settings, flow.last_ms));
    put_u16(out, flow.src_port);
    // Where other protocols have a port, ICMP has type and code.
    let dst_port = match flow.proto {
        1 => u16::from_be_bytes([flow.icmp_type, flow.icmp_code]),
        _ => flow.dst_port,
    };
    put_u16(out, dst_port);
    out.extend_from_slice(&[0, flow.tcp_flags, flow.proto, flow.tos]);
    put_u16(out, narrow(flow.src_as, AS_TRANS));
    put_u16(out, narrow(flow.dst_as, AS_TRANS));
    out.extend_from_slice(&[flow.src_net, flow.dst_net, 0, 0]);
}
