//! sFlow version 5: a flow becomes one flow sample with the headers of one of its packets.

use std::net::IpAddr;

use super::{Datagrams, EncoderSettings, Flow, MAX_DATAGRAM, put_u16, put_u32, uptime};

/// Bytes that a sample takes at most: sample header, sampled header (Ethernet, VLAN, IPv6, TCP), switch,
/// router and gateway records.
const MAX_SAMPLE: usize = 40 + 24 + 80 + 24 + 36 + 64;

/// Bytes of the longest Ethernet frame with VLAN tag and frame check sequence (IEEE 802.3, section 3.2.7).
const MAX_FRAME: u64 = 1522;

/// Bytes of the shortest one that has room for the headers written here, of IPv4 and of IPv6.
const MIN_FRAME: [u64; 2] = [64, 82];

#[derive(Clone, Debug, Default)]
pub(super) struct Sflow {
    /// Datagrams sent so far.
    sequence: u32,
    /// Samples sent so far.
    samples: u32,
    /// Headers of the packet that is being written.
    packet: Vec<u8>,
}

impl Sflow {
    pub(super) fn encode(
        &mut self,
        settings: &EncoderSettings,
        flows: &[Flow],
        now_ms: u64,
        out: &mut Datagrams,
    ) -> usize {
        let mut flows_left = flows.iter().peekable();
        while flows_left.peek().is_some() {
            self.sequence = self.sequence.wrapping_add(1);
            let bytes = out.open();
            let start = bytes.len();
            put_u32(bytes, 5);
            address(bytes, settings.agent);
            put_u32(bytes, settings.domain);
            put_u32(bytes, self.sequence);
            put_u32(bytes, uptime(settings, now_ms));
            let count_at = bytes.len();
            put_u32(bytes, 0);
            let mut count = 0;
            while bytes.len() - start + MAX_SAMPLE <= MAX_DATAGRAM {
                let Some(flow) = flows_left.next() else { break };
                self.sample(settings, flow, bytes);
                count += 1;
            }
            fill_u32(bytes, count_at, count);
            out.end();
        }
        flows.len()
    }

    /// A `flow_sample` (sFlow version 5 specification, section 5.3).
    fn sample(&mut self, settings: &EncoderSettings, flow: &Flow, out: &mut Vec<u8>) {
        self.samples = self.samples.wrapping_add(1);
        put_u32(out, 1);
        let length_at = placeholder(out);
        put_u32(out, self.samples);
        // The data source is the interface that the packet was sampled at.
        let source = if flow.direction == 0 { flow.in_if } else { flow.out_if };
        put_u32(out, source & 0x00ff_ffff);
        put_u32(out, settings.sampling_rate);
        put_u32(out, self.samples.wrapping_mul(settings.sampling_rate));
        put_u32(out, 0);
        put_u32(out, flow.in_if & 0x3fff_ffff);
        put_u32(out, flow.out_if & 0x3fff_ffff);
        put_u32(out, if flow.vlan_id > 0 { 4 } else { 3 });

        self.header_record(flow, out);
        if flow.vlan_id > 0 {
            put_u32(out, 1001);
            put_u32(out, 16);
            for word in [u32::from(flow.vlan_id), 0, u32::from(flow.vlan_id), 0] {
                put_u32(out, word);
            }
        }
        put_u32(out, 1002);
        let at = placeholder(out);
        next_hop(out, flow);
        put_u32(out, u32::from(flow.src_net));
        put_u32(out, u32::from(flow.dst_net));
        fill_length(out, at);

        put_u32(out, 1003);
        let at = placeholder(out);
        next_hop(out, flow);
        // The router's AS is that of the source, which spares a field in `Flow`.
        for word in [flow.src_as, flow.src_as, flow.src_as, 1, 2, 1, flow.dst_as, 0, 100] {
            put_u32(out, word);
        }
        fill_length(out, at);
        fill_length(out, length_at);
    }

    /// A `sampled_header` record.
    fn header_record(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        let frame_bytes = frame_bytes(flow);
        self.packet.clear();
        packet(flow, frame_bytes, &mut self.packet);
        put_u32(out, 1);
        let at = placeholder(out);
        put_u32(out, 1);
        put_u32(out, frame_bytes);
        // The frame check sequence is stripped.
        put_u32(out, 4);
        put_u32(out, self.packet.len() as u32);
        out.extend_from_slice(&self.packet);
        out.extend(std::iter::repeat_n(0, self.packet.len().next_multiple_of(4) - self.packet.len()));
        fill_length(out, at);
    }
}

/// Average bytes of a packet of `flow`, with Ethernet header and frame check sequence.
pub(super) fn frame_bytes(flow: &Flow) -> u32 {
    let average = flow.bytes / flow.packets.max(1);
    let [ipv4, ipv6] = MIN_FRAME;
    average.saturating_add(18).clamp(if flow.ipv4().is_some() { ipv4 } else { ipv6 }, MAX_FRAME) as u32
}

/// The headers of a packet of `flow`.
fn packet(flow: &Flow, frame_bytes: u32, out: &mut Vec<u8>) {
    // Locally administered addresses (IEEE 802, section 8.4) that tell the interfaces.
    for interface in [flow.out_if, flow.in_if] {
        out.extend_from_slice(&[0x02, 0]);
        put_u32(out, interface);
    }
    let mut ip_bytes = frame_bytes as u16 - 18;
    if flow.vlan_id > 0 {
        put_u16(out, 0x8100);
        put_u16(out, flow.vlan_id & 0x0fff);
        ip_bytes -= 4;
    }
    match flow.ipv4() {
        Some([src, dst, _]) => {
            put_u16(out, 0x0800);
            let start = out.len();
            out.extend_from_slice(&[0x45, flow.tos]);
            put_u16(out, ip_bytes);
            // Identification 0, do not fragment, time to live 63.
            out.extend_from_slice(&[0, 0, 0x40, 0, 63, flow.proto, 0, 0]);
            out.extend_from_slice(&src);
            out.extend_from_slice(&dst);
            let sum = checksum(out.get(start..).unwrap_or(&[]));
            if let Some(place) = out.get_mut(start + 10..start + 12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
        None => {
            let [src, dst, _] = flow.ipv6();
            put_u16(out, 0x86dd);
            put_u32(out, 6 << 28 | u32::from(flow.tos) << 20);
            put_u16(out, ip_bytes.saturating_sub(40));
            out.extend_from_slice(&[flow.proto, 63]);
            out.extend_from_slice(&src);
            out.extend_from_slice(&dst);
        }
    }
    match flow.proto {
        1 | 58 => out.extend_from_slice(&[flow.icmp_type, flow.icmp_code, 0, 0, 0, 0, 0, 0]),
        6 => {
            put_u16(out, flow.src_port);
            put_u16(out, flow.dst_port);
            out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flow.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        17 => {
            put_u16(out, flow.src_port);
            put_u16(out, flow.dst_port);
            put_u16(out, ip_bytes.saturating_sub(20));
            put_u16(out, 0);
        }
        _ => {}
    }
}

/// The Internet checksum (RFC 1071) of a header whose own checksum is 0.
fn checksum(header: &[u8]) -> u16 {
    let (words, _) = header.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn address(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => {
            put_u32(out, 1);
            out.extend_from_slice(&addr.octets());
        }
        IpAddr::V6(addr) => {
            put_u32(out, 2);
            out.extend_from_slice(&addr.octets());
        }
    }
}

fn next_hop(out: &mut Vec<u8>, flow: &Flow) {
    match flow.next_hop {
        Some(addr) => address(out, addr),
        None => put_u32(out, 0),
    }
}

/// Leaves room for a length; returns where.
fn placeholder(out: &mut Vec<u8>) -> usize {
    put_u32(out, 0);
    out.len() - 4
}

/// Fills in the length of everything that came after the placeholder.
fn fill_length(out: &mut [u8], at: usize) {
    let length = (out.len() - at - 4) as u32;
    fill_u32(out, at, length);
}

fn fill_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
