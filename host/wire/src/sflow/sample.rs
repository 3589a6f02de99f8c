//! One flow sample: the packet and what the exporter knew about it.

use std::net::IpAddr;

use sluice_flow::{BatchBuilder, col, halves_of};

use super::xdr::Xdr;
use crate::DecodeError;
use crate::packet::{ETYPE_IPV4, ETYPE_IPV6, Headers, Link, Stacks, dissect, has};

/// ASes of a path and communities that are kept; the longest paths seen in the routing table are shorter.
const MAX_LIST: usize = 256;

/// Highest VLAN id (IEEE 802.1Q, table 9-2); agents write others for "unknown".
const MAX_VLAN: u32 = 4094;

/// Groups of columns that only some exporters fill, beside those of [`has`].
pub(super) mod group {
    pub(in crate::sflow) const SWITCH: u16 = 1;
    pub(in crate::sflow) const ROUTER: u16 = 1 << 1;
    pub(in crate::sflow) const GATEWAY: u16 = 1 << 2;
    pub(in crate::sflow) const DISCARDED: u16 = 1 << 3;
}

/// How a record says where the packet's length comes from; the better one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    #[default]
    Nothing,
    Ip,
    Ethernet,
    Header,
}

/// One row, before it is turned into columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub headers: Headers,
    /// Bits of [`group`].
    pub groups: u16,
    detail: Detail,
    pub sampling_rate: u32,
    pub bytes: u32,
    pub in_if: u32,
    pub out_if: u32,
    /// 1 if it was sampled on the way in, 2 on the way out, 0 if that cannot be told.
    pub direction: u8,
    pub forwarding_status: u32,
    pub src_vlan: u16,
    pub dst_vlan: u16,
    pub src_net: u8,
    pub dst_net: u8,
    pub src_as: u32,
    pub dst_as: u32,
    pub next_hop_as: u32,
    pub next_hop: (u64, u64),
    pub bgp_next_hop: (u64, u64),
}

/// The lists of the sample that is being read; reused from sample to sample.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleLists {
    pub stacks: Stacks,
    /// Whether anyone wants `stacks`.
    pub wants_stacks: bool,
    pub as_path: Vec<u32>,
    pub communities: Vec<u32>,
}

impl SampleLists {
    fn clear(&mut self) {
        self.stacks.clear();
        self.as_path.clear();
        self.communities.clear();
    }

    /// Puts the lists into `row` of the block that `out` is being filled with.
    #[inline]
    pub(super) fn write(&self, row: usize, out: &mut BatchBuilder) {
        for (column, list) in [
            (col::LAYER_STACK, &self.stacks.layers),
            (col::LAYER_SIZES, &self.stacks.sizes),
            (col::MPLS_LABELS, &self.stacks.labels),
            (col::MPLS_TTLS, &self.stacks.ttls),
            (col::AS_PATH, &self.as_path),
            (col::BGP_COMMUNITIES, &self.communities),
        ] {
            if !list.is_empty() && out.wants(column) {
                out.push_list(column, row, list);
            }
        }
    }
}

impl Sample {
    /// Reads a flow sample into one that is empty: `flow_sample` or `flow_sample_expanded` of the sFlow version 5
    /// specification, section 5.3, and returns how many of its records are of kinds unknown here.
    ///
    /// An error leaves what was read before it; [`is_packet`](Self::is_packet) says whether that is a row.
    pub(super) fn read(
        &mut self,
        mut sample: Xdr<'_>,
        is_expanded: bool,
        lists: &mut SampleLists,
    ) -> Result<u64, DecodeError> {
        lists.clear();
        let (source, input, output, records);
        if is_expanded {
            let words = sample.words::<11>("expanded flow sample")?;
            let [_, _, index, rate, _, _, in_format, in_value, out_format, out_value, count] = words;
            (source, input, output, records) = (index, (in_format, in_value), (out_format, out_value), count);
            self.sampling_rate = rate;
        } else {
            let [_, source_id, rate, _, _, in_if, out_if, count] = sample.words::<8>("flow sample")?;
            let split = |interface: u32| (interface >> 30, interface & 0x3fff_ffff);
            (source, input, output, records) = (source_id & 0x00ff_ffff, split(in_if), split(out_if), count);
            self.sampling_rate = rate;
        }
        self.interfaces(source, input, output);
        let mut unknown = 0;
        for _ in 0..records {
            let format = sample.u32("record")?;
            let record = sample.structure("record")?;
            if !self.record(format, record, lists)? {
                unknown += 1;
            }
        }
        Ok(unknown)
    }

    /// Whether some record described the packet itself.
    pub(super) fn is_packet(&self) -> bool {
        self.detail > Detail::Nothing
    }

    /// Section 5.3, `interface`: format 0 is an index (0 unknown, 0x3fffffff the device itself),
    /// format 1 a discarded packet with the reason, format 2 the number of several interfaces.
    fn interfaces(&mut self, source: u32, input: (u32, u32), output: (u32, u32)) {
        let index = |(format, value): (u32, u32)| if format == 0 { value } else { 0 };
        self.in_if = index(input);
        self.out_if = index(output);
        if output.0 == 1 {
            self.forwarding_status = status_of_discard(output.1);
            self.groups |= group::DISCARDED;
        }
        self.direction = match source {
            0 => 0,
            source if source == self.in_if => 1,
            source if source == self.out_if => 2,
            // One of several interfaces that the packet left by.
            _ if output.0 == 2 => 2,
            _ => 0,
        };
    }

    /// Reads one record; false if it is of a kind that no column takes.
    fn record(&mut self, format: u32, mut record: Xdr<'_>, lists: &mut SampleLists) -> Result<bool, DecodeError> {
        match format {
            1 => self.sampled_header(&mut record, lists)?,
            2 => self.sampled_ethernet(&mut record)?,
            3 => self.sampled_ipv4(&mut record)?,
            4 => self.sampled_ipv6(&mut record)?,
            1001 => {
                let [src_vlan, _, dst_vlan, _] = record.words::<4>("extended switch")?;
                let vlan = |vlan: u32| if vlan <= MAX_VLAN { vlan as u16 } else { 0 };
                (self.src_vlan, self.dst_vlan) = (vlan(src_vlan), vlan(dst_vlan));
                self.groups |= group::SWITCH;
            }
            1002 => {
                self.next_hop = halves(record.address("extended router")?);
                let [src_net, dst_net] = record.words::<2>("extended router")?;
                let bits = |bits: u32| u8::try_from(bits).unwrap_or(0);
                (self.src_net, self.dst_net) = (bits(src_net), bits(dst_net));
                self.groups |= group::ROUTER;
            }
            1003 => self.gateway(&mut record, lists)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Section 5.3, `sampled_header`: the first bytes of the packet itself. Beats the other descriptions.
    #[inline]
    fn sampled_header(&mut self, record: &mut Xdr<'_>, lists: &mut SampleLists) -> Result<(), DecodeError> {
        let [protocol, frame_length, _stripped, length] = record.words::<4>("sampled header")?;
        let packet = record.take("sampled header", length as usize)?;
        let link = match protocol {
            1 => Link::Ethernet,
            11 => Link::Ipv4,
            12 => Link::Ipv6,
            13 => Link::Mpls,
            // Token ring, FDDI, frame relay and the rest of `header_protocol`: the length is all that counts.
            _ => {
                if self.detail < Detail::Header {
                    self.bytes = frame_length;
                    self.detail = self.detail.max(Detail::Ip);
                }
                return Ok(());
            }
        };
        // A second header of the same packet takes the place of the first.
        if self.detail > Detail::Nothing {
            self.headers = Headers::default();
            lists.stacks.clear();
        }
        dissect(packet, link, &mut self.headers, lists.wants_stacks.then_some(&mut lists.stacks));
        self.bytes = frame_length;
        self.detail = Detail::Header;
        Ok(())
    }

    fn sampled_ethernet(&mut self, record: &mut Xdr<'_>) -> Result<(), DecodeError> {
        let length = record.u32("sampled Ethernet")?;
        let mut mac = || {
            let [a, b, c, d, e, f, _, _] = *record.array::<8>("sampled Ethernet")?;
            Ok(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
        };
        let (src_mac, dst_mac) = (mac()?, mac()?);
        let etype = record.u32("sampled Ethernet")?;
        if self.detail < Detail::Ethernet {
            self.bytes = length;
            (self.headers.src_mac, self.headers.dst_mac) = (src_mac, dst_mac);
            if self.headers.etype == 0 {
                self.headers.etype = u16::try_from(etype).unwrap_or(0);
            }
            self.headers.has |= has::ETHERNET;
            self.detail = Detail::Ethernet;
        }
        Ok(())
    }

    fn sampled_ipv4(&mut self, record: &mut Xdr<'_>) -> Result<(), DecodeError> {
        let [length, proto] = record.words::<2>("sampled IPv4")?;
        let src = IpAddr::from(*record.array::<4>("sampled IPv4")?);
        let dst = IpAddr::from(*record.array::<4>("sampled IPv4")?);
        let rest = record.words::<4>("sampled IPv4")?;
        self.sampled_ip(ETYPE_IPV4, length, proto, src, dst, rest);
        Ok(())
    }

    fn sampled_ipv6(&mut self, record: &mut Xdr<'_>) -> Result<(), DecodeError> {
        let [length, proto] = record.words::<2>("sampled IPv6")?;
        let src = IpAddr::from(*record.array::<16>("sampled IPv6")?);
        let dst = IpAddr::from(*record.array::<16>("sampled IPv6")?);
        let rest = record.words::<4>("sampled IPv6")?;
        self.sampled_ip(ETYPE_IPV6, length, proto, src, dst, rest);
        Ok(())
    }

    fn sampled_ip(&mut self, etype: u16, length: u32, proto: u32, src: IpAddr, dst: IpAddr, rest: [u32; 4]) {
        if self.detail >= Detail::Header {
            return;
        }
        let [src_port, dst_port, tcp_flags, tos] = rest.map(|word| u16::try_from(word).unwrap_or(0));
        if self.detail < Detail::Ethernet {
            self.bytes = length;
            self.detail = Detail::Ip;
        }
        let headers = &mut self.headers;
        headers.etype = etype;
        headers.proto = u8::try_from(proto).unwrap_or(0);
        headers.src_addr = halves_of(src);
        headers.dst_addr = halves_of(dst);
        (headers.src_port, headers.dst_port) = (src_port, dst_port);
        headers.tcp_flags = tcp_flags;
        headers.tos = u8::try_from(tos).unwrap_or(0);
        headers.has |= has::IP | has::PORTS | has::TCP;
    }

    /// Section 5.3, `extended_gateway`. As goflow2 reads it: the source's AS is the router's own where
    /// the exporter gives none, the destination's is the last of the path, or the router's own.
    fn gateway(&mut self, record: &mut Xdr<'_>, lists: &mut SampleLists) -> Result<(), DecodeError> {
        self.bgp_next_hop = halves(record.address("extended gateway")?);
        let [own, src_as, _src_peer_as, segments] = record.words::<4>("extended gateway")?;
        lists.as_path.clear();
        lists.communities.clear();
        let (mut first, mut last) = (None, None);
        for _ in 0..segments {
            let _kind = record.u32("AS path")?;
            for number in record.list("AS path")? {
                let number = u32::from_be_bytes(*number);
                first = first.or(Some(number));
                last = Some(number);
                if lists.as_path.len() < MAX_LIST {
                    lists.as_path.push(number);
                }
            }
        }
        for community in record.list("communities")?.iter().take(MAX_LIST) {
            lists.communities.push(u32::from_be_bytes(*community));
        }
        self.src_as = if src_as == 0 { own } else { src_as };
        self.dst_as = last.unwrap_or(own);
        self.next_hop_as = first.unwrap_or(0);
        self.groups |= group::GATEWAY;
        Ok(())
    }
}

fn halves(addr: Option<IpAddr>) -> (u64, u64) {
    addr.map_or((0, 0), halves_of)
}

/// Forwarding status "dropped" (RFC 7270, section 4.12) for a reason of the sFlow version 5
/// specification, section 5.3: an ICMP unreachable code below 256, or one of its own above.
fn status_of_discard(reason: u32) -> u32 {
    match reason {
        // Fragmentation needed; packet too big.
        4 | 262 => 133,
        // Administratively prohibited: by a filter.
        9 | 10 | 13 => 129,
        // Unreachable.
        0..=255 => 131,
        // Time to live exceeded.
        257 => 137,
        // Access list.
        258 => 130,
        // Random early detection.
        260 => 139,
        // Traffic shaping.
        261 => 138,
        // Unknown, no buffer space, and what later specifications add.
        _ => 128,
    }
}
