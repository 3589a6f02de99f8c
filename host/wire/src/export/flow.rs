//! One flow, as an exporter's cache holds it.

use std::net::{IpAddr, Ipv4Addr};

/// A flow to export. Both addresses are of one family; where they are not, it is exported as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub src_addr: IpAddr,
    /// Destination address.
    pub dst_addr: IpAddr,
    /// IP next hop, of the family of the addresses; `None` is exported as zeros.
    pub next_hop: Option<IpAddr>,
    /// Source port; 0 for protocols without.
    pub src_port: u16,
    /// Destination port; 0 for protocols without.
    pub dst_port: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TCP flags of all packets, or-ed.
    pub tcp_flags: u8,
    /// ICMP type, for ICMP and ICMPv6.
    pub icmp_type: u8,
    /// ICMP code, for ICMP and ICMPv6.
    pub icmp_code: u8,
    /// 0 ingress, 1 egress (information element 61).
    pub direction: u8,
    /// Bytes seen by the exporter, that is after sampling.
    pub bytes: u64,
    /// Packets seen by the exporter, that is after sampling.
    pub packets: u64,
    /// Input interface.
    pub in_if: u32,
    /// Output interface.
    pub out_if: u32,
    /// AS of the source.
    pub src_as: u32,
    /// AS of the destination.
    pub dst_as: u32,
    /// Prefix length of the source route.
    pub src_net: u8,
    /// Prefix length of the destination route.
    pub dst_net: u8,
    /// VLAN; 0 for none.
    pub vlan_id: u16,
    /// First packet, in milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// Last packet, in milliseconds since the Unix epoch.
    pub last_ms: u64,
}

impl Default for Flow {
    /// One TCP packet of 64 bytes between two unknown addresses.
    fn default() -> Flow {
        Flow {
            src_addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            dst_addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            next_hop: None,
            src_port: 0,
            dst_port: 0,
            proto: 6,
            tos: 0,
            tcp_flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            direction: 0,
            bytes: 64,
            packets: 1,
            in_if: 0,
            out_if: 0,
            src_as: 0,
            dst_as: 0,
            src_net: 0,
            dst_net: 0,
            vlan_id: 0,
            first_ms: 0,
            last_ms: 0,
        }
    }
}

impl Flow {
    /// The addresses (source, destination, next hop) if the flow is IPv4.
    pub(super) fn ipv4(&self) -> Option<[[u8; 4]; 3]> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.src_addr, self.dst_addr) else { return None };
        let next_hop = match self.next_hop {
            Some(IpAddr::V4(next_hop)) => next_hop,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        Some([src.octets(), dst.octets(), next_hop.octets()])
    }

    /// The addresses (source, destination, next hop) as IPv6.
    pub(super) fn ipv6(&self) -> [[u8; 16]; 3] {
        let octets = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
            IpAddr::V6(addr) => addr.octets(),
        };
        [octets(self.src_addr), octets(self.dst_addr), self.next_hop.map_or([0; 16], octets)]
    }
}
