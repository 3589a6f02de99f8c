//! Reads the headers of a sampled packet that may end anywhere: Ethernet, VLAN, MPLS, IPv4, IPv6, TCP, UDP, ICMP.
//!
//! Tunnels are not entered: what a router forwards on is the outermost packet.

#![warn(clippy::indexing_slicing)]

/// VLAN tags that are read in one frame; real ones have one or two.
const MAX_TAGS: usize = 4;

/// MPLS labels that are read in one frame; real stacks have one to five.
const MAX_LABELS: usize = 16;

/// IPv6 extension headers that are followed; real packets have one or two.
const MAX_EXTENSIONS: usize = 8;

/// Headers that are noted in [`Stacks`].
pub(crate) const MAX_LAYERS: usize = 16;

pub(crate) const ETYPE_IPV4: u16 = 0x0800;
pub(crate) const ETYPE_IPV6: u16 = 0x86dd;
const ETYPE_VLAN: u16 = 0x8100;
const ETYPE_QINQ: u16 = 0x88a8;
const ETYPE_QINQ_OLD: u16 = 0x9100;
const ETYPE_MPLS: u16 = 0x8847;
const ETYPE_MPLS_UPSTREAM: u16 = 0x8848;
/// Values below are lengths of 802.3 frames (IEEE 802.3, section 3.2.6).
const ETYPE_FIRST: u16 = 0x0600;

const PROTO_ICMP: u8 = 1;
const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;
const PROTO_ICMPV6: u8 = 58;
const PROTO_SCTP: u8 = 132;
const PROTO_DCCP: u8 = 33;
const PROTO_UDP_LITE: u8 = 136;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Names of the headers in the column `layer_stack`, as in goflow2's enumeration.
mod layer {
    pub(super) const ETHERNET: u32 = 0;
    pub(super) const IPV4: u32 = 1;
    pub(super) const IPV6: u32 = 2;
    pub(super) const TCP: u32 = 3;
    pub(super) const UDP: u32 = 4;
    pub(super) const MPLS: u32 = 5;
    pub(super) const VLAN: u32 = 6;
    pub(super) const ICMP: u32 = 7;
    pub(super) const ICMPV6: u32 = 8;
    pub(super) const IPV6_ROUTING: u32 = 10;
    pub(super) const IPV6_FRAGMENT: u32 = 11;
}

/// What the first byte of a sampled header belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Ethernet,
    Ipv4,
    Ipv6,
    Mpls,
}

/// Groups of fields that a packet has: a column is filled only if some packet has its group.
pub(crate) mod has {
    pub(crate) const ETHERNET: u16 = 1;
    pub(crate) const VLAN: u16 = 1 << 1;
    pub(crate) const MPLS: u16 = 1 << 2;
    pub(crate) const IP: u16 = 1 << 3;
    /// Identification, offset and flags of fragments: every IPv4 packet, and IPv6 with a fragment header.
    pub(crate) const FRAGMENT: u16 = 1 << 4;
    pub(crate) const PORTS: u16 = 1 << 5;
    pub(crate) const TCP: u16 = 1 << 6;
    pub(crate) const ICMP: u16 = 1 << 7;
    pub(crate) const IPV6: u16 = 1 << 8;
}

/// The fields of one packet, as columns hold them. What the packet lacks is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// Bits of [`has`].
    pub has: u16,
    pub etype: u16,
    /// The tag next to the network header: the inner one of two.
    pub vlan_id: u16,
    pub proto: u8,
    pub tos: u8,
    pub ttl: u8,
    pub ip_flags: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub src_port: u16,
    pub dst_port: u16,
    pub tcp_flags: u16,
    pub fragment_offset: u16,
    pub fragment_id: u32,
    pub flow_label: u32,
    pub src_mac: u64,
    pub dst_mac: u64,
    pub src_addr: (u64, u64),
    pub dst_addr: (u64, u64),
}

/// The parts of a packet that are lists. Filled only for whoever wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stacks {
    pub layers: Vec<u32>,
    pub sizes: Vec<u32>,
    pub labels: Vec<u32>,
    pub ttls: Vec<u32>,
}

impl Stacks {
    pub(crate) fn clear(&mut self) {
        self.layers.clear();
        self.sizes.clear();
        self.labels.clear();
        self.ttls.clear();
    }

    fn layer(&mut self, layer: u32, size: usize) {
        if self.layers.len() < MAX_LAYERS {
            self.layers.push(layer);
            self.sizes.push(u32::try_from(size).unwrap_or(u32::MAX));
        }
    }
}

/// Reads the headers at the beginning of `packet`, as far as it goes, into `headers` that are empty.
///
/// A header that is cut short or contradicts itself ends the reading: what stood before it stays.
/// Ports, TCP flags and ICMP types are read as soon as their own bytes are there. Later fragments
/// have no ports. `proto` of IPv6 is the one after the extension headers (RFC 8200, section 4), or as
/// far along them as the packet goes.
pub(crate) fn dissect(packet: &[u8], link: Link, headers: &mut Headers, mut stacks: Option<&mut Stacks>) {
    match link {
        Link::Ethernet => ethernet(packet, headers, &mut stacks),
        Link::Ipv4 => ipv4(packet, headers, &mut stacks),
        Link::Ipv6 => ipv6(packet, headers, &mut stacks),
        Link::Mpls => {
            headers.etype = ETYPE_MPLS;
            mpls(packet, headers, &mut stacks);
        }
    }
}

/// Folds six bytes to a number, the first octet most significant.
fn mac(bytes: &[u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = *bytes;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[inline]
fn note(stacks: &mut Option<&mut Stacks>, layer: u32, size: usize) {
    if let Some(stacks) = stacks {
        stacks.layer(layer, size);
    }
}

/// Ethernet II (IEEE 802.3) with VLAN tags (IEEE 802.1Q, section 9).
#[inline]
fn ethernet(frame: &[u8], headers: &mut Headers, stacks: &mut Option<&mut Stacks>) {
    let Some((header, mut rest)) = frame.split_first_chunk::<14>() else { return };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, e0, e1] = *header;
    headers.dst_mac = mac(&[d0, d1, d2, d3, d4, d5]);
    headers.src_mac = mac(&[s0, s1, s2, s3, s4, s5]);
    headers.has |= has::ETHERNET;
    note(stacks, layer::ETHERNET, 14);
    let mut etype = u16::from_be_bytes([e0, e1]);
    for _ in 0..MAX_TAGS {
        if !matches!(etype, ETYPE_VLAN | ETYPE_QINQ | ETYPE_QINQ_OLD) {
            break;
        }
        let Some(([t0, t1, e0, e1], after)) = rest.split_first_chunk::<4>() else { break };
        headers.vlan_id = u16::from_be_bytes([*t0, *t1]) & 0x0fff;
        headers.has |= has::VLAN;
        note(stacks, layer::VLAN, 4);
        etype = u16::from_be_bytes([*e0, *e1]);
        rest = after;
    }
    headers.etype = if etype >= ETYPE_FIRST { etype } else { 0 };
    match etype {
        ETYPE_IPV4 => ipv4(rest, headers, stacks),
        ETYPE_IPV6 => ipv6(rest, headers, stacks),
        ETYPE_MPLS | ETYPE_MPLS_UPSTREAM => mpls(rest, headers, stacks),
        _ => {}
    }
}

/// A label stack (RFC 3032, section 2.1). What it carries is told by the first nibble, as routers do
/// (RFC 4928, section 3): 4 and 6 are IP, anything else stays unread.
fn mpls(mut rest: &[u8], headers: &mut Headers, stacks: &mut Option<&mut Stacks>) {
    let mut size = 0;
    let mut is_bottom = false;
    while let Some(([a, b, c, ttl], after)) = rest.split_first_chunk::<4>() {
        size += 4;
        rest = after;
        headers.has |= has::MPLS;
        if let Some(stacks) = stacks {
            stacks.labels.push(u32::from_be_bytes([0, *a, *b, *c]) >> 4);
            stacks.ttls.push(u32::from(*ttl));
        }
        is_bottom = c & 1 == 1;
        if is_bottom || size == 4 * MAX_LABELS {
            break;
        }
    }
    if size > 0 {
        note(stacks, layer::MPLS, size);
    }
    if is_bottom {
        match rest.first().map(|byte| byte >> 4) {
            Some(4) => ipv4(rest, headers, stacks),
            Some(6) => ipv6(rest, headers, stacks),
            _ => {}
        }
    }
}

/// RFC 791, section 3.1.
#[inline]
fn ipv4(packet: &[u8], headers: &mut Headers, stacks: &mut Option<&mut Stacks>) {
    let Some(header) = packet.first_chunk::<20>() else { return };
    let size = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || size < 20 {
        return;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    headers.etype = ETYPE_IPV4;
    headers.tos = header[1];
    headers.fragment_id = u32::from(u16::from_be_bytes([header[4], header[5]]));
    headers.ip_flags = (fragment >> 13) as u8;
    headers.fragment_offset = fragment & 0x1fff;
    headers.ttl = header[8];
    headers.proto = header[9];
    headers.src_addr = mapped([header[12], header[13], header[14], header[15]]);
    headers.dst_addr = mapped([header[16], header[17], header[18], header[19]]);
    headers.has |= has::IP | has::FRAGMENT;
    note(stacks, layer::IPV4, size);
    if headers.fragment_offset == 0 {
        // A length of 0 is that of a packet that the sender's network card has yet to cut up.
        let total = match usize::from(u16::from_be_bytes([header[2], header[3]])) {
            0 => packet.len(),
            total => total.min(packet.len()),
        };
        transport(packet.get(size..total).unwrap_or(&[]), headers, stacks);
    }
}

/// Halves of an IPv4 address: those of `::ffff:a.b.c.d`.
#[inline]
fn mapped(addr: [u8; 4]) -> (u64, u64) {
    (0, 0xffff_0000_0000 | u64::from(u32::from_be_bytes(addr)))
}

/// RFC 8200, section 3, with the extension headers of section 4 that have the common form.
#[inline]
fn ipv6(packet: &[u8], headers: &mut Headers, stacks: &mut Option<&mut Stacks>) {
    let Some((header, payload)) = packet.split_first_chunk::<40>() else { return };
    let first = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    if first >> 28 != 6 {
        return;
    }
    headers.etype = ETYPE_IPV6;
    headers.tos = (first >> 20) as u8;
    headers.flow_label = first & 0xf_ffff;
    headers.ttl = header[7];
    let half = |at: usize| header.get(at..at + 8).and_then(|half| half.try_into().ok()).map_or(0, u64::from_be_bytes);
    headers.src_addr = (half(8), half(16));
    headers.dst_addr = (half(24), half(32));
    headers.has |= has::IP | has::IPV6;
    note(stacks, layer::IPV6, 40);

    // A length of 0 is that of a jumbogram (RFC 2675) or of a packet yet to be cut up.
    let mut rest = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0 => payload,
        length => payload.get(..length).unwrap_or(payload),
    };
    let mut next = header[6];
    for _ in 0..MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            break;
        }
        let Some([following, length, f0, f1, i0, i1, i2, i3]) = rest.first_chunk::<8>() else { break };
        let size = if next == FRAGMENT { 8 } else { 8 + 8 * usize::from(*length) };
        if next == FRAGMENT {
            let fragment = u16::from_be_bytes([*f0, *f1]);
            headers.fragment_offset = fragment >> 3;
            headers.ip_flags = (fragment & 1) as u8;
            headers.fragment_id = u32::from_be_bytes([*i0, *i1, *i2, *i3]);
            headers.has |= has::FRAGMENT;
            note(stacks, layer::IPV6_FRAGMENT, size);
        } else if next == ROUTING {
            note(stacks, layer::IPV6_ROUTING, size);
        }
        next = *following;
        rest = rest.get(size..).unwrap_or(&[]);
        if headers.fragment_offset != 0 {
            // What follows is the middle of something, not a header.
            break;
        }
    }
    headers.proto = next;
    if headers.fragment_offset == 0 {
        transport(rest, headers, stacks);
    }
}

/// Ports, flags and types of the protocols that have them.
#[inline]
fn transport(segment: &[u8], headers: &mut Headers, stacks: &mut Option<&mut Stacks>) {
    match headers.proto {
        PROTO_TCP | PROTO_UDP | PROTO_SCTP | PROTO_DCCP | PROTO_UDP_LITE => {
            let Some([s0, s1, d0, d1]) = segment.first_chunk::<4>() else { return };
            headers.src_port = u16::from_be_bytes([*s0, *s1]);
            headers.dst_port = u16::from_be_bytes([*d0, *d1]);
            headers.has |= has::PORTS;
            match headers.proto {
                PROTO_TCP => {
                    let Some([.., length, flags]) = segment.first_chunk::<14>() else { return };
                    headers.tcp_flags = u16::from(*flags);
                    headers.has |= has::TCP;
                    note(stacks, layer::TCP, usize::from(length >> 4) * 4);
                }
                PROTO_UDP if segment.len() >= 8 => note(stacks, layer::UDP, 8),
                _ => {}
            }
        }
        PROTO_ICMP | PROTO_ICMPV6 => {
            let Some([kind, code]) = segment.first_chunk::<2>() else { return };
            headers.icmp_type = *kind;
            headers.icmp_code = *code;
            headers.has |= has::ICMP;
            note(stacks, if headers.proto == PROTO_ICMP { layer::ICMP } else { layer::ICMPV6 }, 8);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
