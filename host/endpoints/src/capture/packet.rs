//! The UDP datagram within a captured packet.

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, UdpSlice};
use pcap_parser::Linktype;

use super::Skip;

/// Link type of raw IP in files of some systems, where 101 is the official one.
const RAW_OPENBSD: Linktype = Linktype(14);
const RAW_BSD: Linktype = Linktype(12);

/// Source address, destination port and payload of the UDP datagram in a packet as captured.
pub(super) fn udp_of(link: Linktype, packet: &[u8]) -> Result<(IpAddr, u16, &[u8]), Skip> {
    let sliced = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(packet).map_err(|_| Skip::CutShort)?,
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | RAW_BSD | RAW_OPENBSD => ip(packet)?,
        // Four bytes that say which family, in one byte order or the other; so does the packet itself.
        Linktype::NULL | Linktype::LOOP => ip(packet.get(4..).ok_or(Skip::CutShort)?)?,
        // Linux cooked capture, versions 1 and 2: the Ethertype is at the end or at the beginning of the header.
        Linktype::LINUX_SLL => cooked(packet, 14, 16)?,
        Linktype::LINUX_SLL2 => cooked(packet, 0, 20)?,
        _ => return Err(Skip::LinkType),
    };
    let (source, payload) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => (IpAddr::V4(ip.header().source_addr()), ip.payload()),
        Some(LaxNetSlice::Ipv6(ip)) => (IpAddr::V6(ip.header().source_addr()), ip.payload()),
        Some(LaxNetSlice::Arp(_)) | None => return Err(Skip::NotIp),
    };
    if payload.fragmented {
        return Err(Skip::Fragment);
    }
    if payload.ip_number != IpNumber::UDP {
        return Err(Skip::NotUdp);
    }
    let udp = UdpSlice::from_slice_lax(payload.payload).map_err(|_| Skip::CutShort)?;
    let announced = usize::from(udp.length()).checked_sub(8);
    match announced {
        // 0 is that of a jumbogram (RFC 2675) or of a packet yet to be cut up.
        None if udp.length() != 0 => Err(Skip::Malformed),
        Some(announced) if announced > udp.payload().len() => {
            Err(if payload.incomplete { Skip::CutShort } else { Skip::Malformed })
        }
        _ if udp.payload().is_empty() => Err(Skip::Empty),
        _ => Ok((source, udp.destination_port(), udp.payload())),
    }
}

fn ip(packet: &[u8]) -> Result<LaxSlicedPacket<'_>, Skip> {
    LaxSlicedPacket::from_ip(packet).map_err(|_| Skip::NotIp)
}

/// A packet whose header of `size` bytes has the Ethertype at `at`.
fn cooked(packet: &[u8], at: usize, size: usize) -> Result<LaxSlicedPacket<'_>, Skip> {
    let etype = packet.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(Skip::CutShort)?;
    let rest = packet.get(size..).ok_or(Skip::CutShort)?;
    Ok(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*etype)), rest))
}
