use etherparse::{
    EtherType, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    LaxNetSlice, LaxSlicedPacket, LinkSlice, PacketBuilder, TransportSlice,
};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use sluice_flow::halves_of;

use super::*;

fn read(packet: &[u8], link: Link) -> (Headers, Stacks) {
    let mut headers = Headers::default();
    let mut stacks = Stacks::default();
    dissect(packet, link, &mut headers, Some(&mut stacks));
    (headers, stacks)
}

fn check(packet: &[u8], link: Link, expected: Expect) {
    let (headers, stacks) = read(packet, link);
    let addr = |(hi, lo)| sluice_flow::addr_of(hi, lo).map_or("-".to_owned(), |addr| addr.to_string());
    let Headers { etype, vlan_id, proto, tos, ttl, src_port, dst_port, tcp_flags, icmp_type, icmp_code, .. } = headers;
    expected.assert_eq(&format!(
        "etype {etype:04x} vlan {vlan_id} {} {src_port} -> {} {dst_port} proto {proto} tos {tos} ttl {ttl} \
         flags {tcp_flags:02x} icmp {icmp_type} {icmp_code}\n\
         fragment {} {} {} label {} layers {:?} {:?} mpls {:?} {:?}\n",
        addr(headers.src_addr),
        addr(headers.dst_addr),
        headers.fragment_id,
        headers.fragment_offset,
        headers.ip_flags,
        headers.flow_label,
        stacks.layers,
        stacks.sizes,
        stacks.labels,
        stacks.ttls,
    ));
}

fn tcp_over_ipv4() -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 2], 61)
        .tcp(443, 50_000, 7, 1000)
        .syn()
        .ack(3)
        .write(&mut packet, &[0; 20])
        .unwrap();
    packet
}

fn framed(etype: &[u8], packet: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8], etype, packet].concat()
}

#[test]
fn two_vlan_tags_give_the_inner_one() {
    let frame = framed(&[0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0xe0, 0x07, 0x08, 0x00], &tcp_over_ipv4());
    check(
        &frame,
        Link::Ethernet,
        expect![[r#"
        etype 0800 vlan 7 192.0.2.1 443 -> 198.51.100.2 50000 proto 6 tos 0 ttl 61 flags 12 icmp 0 0
        fragment 0 0 2 label 0 layers [0, 6, 6, 1, 3] [14, 4, 4, 20, 20] mpls [] []
    "#]],
    );
}

#[test]
fn a_label_stack_is_noted_and_what_it_carries_is_read() {
    let labels = [0x88, 0x47, 0x00, 0x06, 0x40, 0x40, 0x00, 0x0c, 0x81, 0x3f];
    check(
        &framed(&labels, &tcp_over_ipv4()),
        Link::Ethernet,
        expect![[r#"
        etype 0800 vlan 0 192.0.2.1 443 -> 198.51.100.2 50000 proto 6 tos 0 ttl 61 flags 12 icmp 0 0
        fragment 0 0 2 label 0 layers [0, 5, 1, 3] [14, 8, 20, 20] mpls [100, 200] [64, 63]
    "#]],
    );
    // A pseudowire: a control word and an Ethernet frame, which is not entered.
    check(
        &framed(&labels, &[0, 0, 0, 0, 1, 2, 3]),
        Link::Ethernet,
        expect![[r#"
        etype 8847 vlan 0 - 0 -> - 0 proto 0 tos 0 ttl 0 flags 00 icmp 0 0
        fragment 0 0 0 label 0 layers [0, 5] [14, 8] mpls [100, 200] [64, 63]
    "#]],
    );
    // A stack that does not end.
    check(
        &[0x00, 0x06, 0x40, 0x40].repeat(100),
        Link::Mpls,
        expect![[r#"
        etype 8847 vlan 0 - 0 -> - 0 proto 0 tos 0 ttl 0 flags 00 icmp 0 0
        fragment 0 0 0 label 0 layers [5] [64] mpls [100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100] [64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64]
    "#]],
    );
}

#[test]
fn a_later_fragment_has_no_ports() {
    let mut first = tcp_over_ipv4();
    first[6] = 0x20;
    check(
        &first,
        Link::Ipv4,
        expect![[r#"
        etype 0800 vlan 0 192.0.2.1 443 -> 198.51.100.2 50000 proto 6 tos 0 ttl 61 flags 12 icmp 0 0
        fragment 0 0 1 label 0 layers [1, 3] [20, 20] mpls [] []
    "#]],
    );
    first[7] = 0x10;
    check(
        &first,
        Link::Ipv4,
        expect![[r#"
        etype 0800 vlan 0 192.0.2.1 0 -> 198.51.100.2 0 proto 6 tos 0 ttl 61 flags 00 icmp 0 0
        fragment 0 16 1 label 0 layers [1] [20] mpls [] []
    "#]],
    );
}

#[test]
fn padding_after_an_ip_packet_is_not_read_as_its_ports() {
    let mut packet = tcp_over_ipv4();
    packet[2..4].copy_from_slice(&22_u16.to_be_bytes());
    check(
        &packet,
        Link::Ipv4,
        expect![[r#"
        etype 0800 vlan 0 192.0.2.1 0 -> 198.51.100.2 0 proto 6 tos 0 ttl 61 flags 00 icmp 0 0
        fragment 0 0 2 label 0 layers [1] [20] mpls [] []
    "#]],
    );
}

#[test]
fn headers_of_ipv6_are_followed_to_the_transport() {
    let mut packet = vec![0x6a, 0xb1, 0x23, 0x45, 0, 60, 0, 7];
    packet.extend_from_slice(&[0x20; 32]);
    packet.extend_from_slice(&[60, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend_from_slice(&[43, 0, 1, 4, 0, 0, 0, 0]);
    packet.extend_from_slice(&[44, 2, 4, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&[0x30; 16]);
    packet.extend_from_slice(&[17, 0, 0, 1, 0, 0, 0, 77]);
    packet.extend_from_slice(&[0x00, 0x35, 0x80, 0x00, 0, 12, 0, 0, 1, 2, 3, 4]);
    check(
        &packet,
        Link::Ipv6,
        expect![[r#"
        etype 86dd vlan 0 2020:2020:2020:2020:2020:2020:2020:2020 53 -> 2020:2020:2020:2020:2020:2020:2020:2020 32768 proto 17 tos 171 ttl 7 flags 00 icmp 0 0
        fragment 77 0 1 label 74565 layers [2, 10, 11, 4] [40, 24, 8, 8] mpls [] []
    "#]],
    );
}

#[test]
fn other_contents_end_the_reading() {
    check(
        &framed(&[0x08, 0x06], &[0; 28]),
        Link::Ethernet,
        expect![[r#"
        etype 0806 vlan 0 - 0 -> - 0 proto 0 tos 0 ttl 0 flags 00 icmp 0 0
        fragment 0 0 0 label 0 layers [0] [14] mpls [] []
    "#]],
    );
    check(
        &framed(&[0x00, 0x26], &[0x42; 38]),
        Link::Ethernet,
        expect![[r#"
        etype 0000 vlan 0 - 0 -> - 0 proto 0 tos 0 ttl 0 flags 00 icmp 0 0
        fragment 0 0 0 label 0 layers [0] [14] mpls [] []
    "#]],
    );
    check(
        &[0x55; 40],
        Link::Ipv4,
        expect![[r#"
        etype 0000 vlan 0 - 0 -> - 0 proto 0 tos 0 ttl 0 flags 00 icmp 0 0
        fragment 0 0 0 label 0 layers [] [] mpls [] []
    "#]],
    );
    check(
        &[0x42; 40],
        Link::Ipv4,
        expect![[r#"
        etype 0000 vlan 0 - 0 -> - 0 proto 0 tos 0 ttl 0 flags 00 icmp 0 0
        fragment 0 0 0 label 0 layers [] [] mpls [] []
    "#]],
    );
}

/// A packet out of parts that etherparse knows how to write.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let link = (any::<[u8; 6]>(), any::<[u8; 6]>(), prop::collection::vec(0_u16..4096, 0..3));
    let extensions = prop::collection::vec((0_u8..3, any::<[u8; 14]>()), 0..4);
    let network = (
        any::<bool>(),
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<(u8, u8, u16)>(),
        prop::option::of((0_u16..8192, any::<bool>(), any::<u32>())),
        extensions,
    );
    let transport = (0_u8..6, any::<(u16, u16, u8, u8)>(), prop::collection::vec(any::<u8>(), 0..40));
    (link, network, transport).prop_map(|(link, network, transport)| write(link, network, transport))
}

type NetworkParts = (bool, [u8; 16], [u8; 16], (u8, u8, u16), Option<(u16, bool, u32)>, Vec<(u8, [u8; 14])>);

fn write(
    (src, dst, vlans): ([u8; 6], [u8; 6], Vec<u16>),
    (is_ipv4, from, to, (tos, ttl, id), fragment, extensions): NetworkParts,
    (kind, (src_port, dst_port, first, second), payload): (u8, (u16, u16, u8, u8), Vec<u8>),
) -> Vec<u8> {
    let (proto, segment) = segment(kind, is_ipv4, src_port, dst_port, first, second, &payload);
    let mut packet = Vec::new();
    packet.extend_from_slice(&dst);
    packet.extend_from_slice(&src);
    for vlan in &vlans {
        packet.extend_from_slice(&[0x81, 0x00]);
        packet.extend_from_slice(&(vlan | u16::from(first & 7) << 13).to_be_bytes());
    }
    if is_ipv4 {
        packet.extend_from_slice(&[0x08, 0x00]);
        let v4 = |bytes: [u8; 16]| [bytes[0], bytes[1], bytes[2], bytes[3]];
        let mut header = Ipv4Header::new(segment.len() as u16, ttl, proto, v4(from), v4(to)).unwrap();
        header.dscp = (tos >> 2).try_into().unwrap();
        header.ecn = (tos & 3).try_into().unwrap();
        header.identification = id;
        header.dont_fragment = id & 1 == 1;
        if let Some((offset, more, _)) = fragment {
            header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
            header.more_fragments = more;
        }
        let words = extensions.len().min(3) * 4;
        header.options = etherparse::Ipv4Options::try_from(&[1; 12][..words]).unwrap();
        header.total_len += words as u16;
        header.write(&mut packet).unwrap();
    } else {
        packet.extend_from_slice(&[0x86, 0xdd]);
        let mut chain = Vec::new();
        let mut next = proto;
        if let Some((offset, more, id)) = fragment {
            let offset = IpFragOffset::try_new(offset).unwrap();
            chain.push(Ipv6FragmentHeader::new(next, offset, more, id).to_bytes().to_vec());
            next = IpNumber::IPV6_FRAGMENTATION_HEADER;
        }
        for (kind, content) in extensions {
            let header = Ipv6RawExtHeader::new_raw(next, &content).unwrap();
            chain.push(header.to_bytes().to_vec());
            next = match kind {
                0 => IpNumber::IPV6_DESTINATION_OPTIONS,
                1 => IpNumber::IPV6_ROUTE_HEADER,
                _ => IpNumber::IPV6_DESTINATION_OPTIONS,
            };
        }
        let chain: Vec<u8> = chain.into_iter().rev().flatten().collect();
        let header = Ipv6Header {
            traffic_class: tos,
            flow_label: Ipv6FlowLabel::try_new(u32::from(id) << 4).unwrap(),
            payload_length: (chain.len() + segment.len()) as u16,
            next_header: next,
            hop_limit: ttl,
            source: from,
            destination: to,
        };
        header.write(&mut packet).unwrap();
        packet.extend_from_slice(&chain);
    }
    packet.extend_from_slice(&segment);
    packet
}

/// A transport header with its payload, and the protocol number.
fn segment(
    kind: u8,
    is_ipv4: bool,
    src_port: u16,
    dst_port: u16,
    first: u8,
    second: u8,
    payload: &[u8],
) -> (IpNumber, Vec<u8>) {
    let mut segment = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
    match kind {
        0 | 1 => {
            segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0x50, first, 1, 2, 3, 4, 0, 0]);
            segment.extend_from_slice(payload);
            (IpNumber::TCP, segment)
        }
        2 | 3 => {
            segment.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
            segment.extend_from_slice(&[0, 0]);
            segment.extend_from_slice(payload);
            (IpNumber::UDP, segment)
        }
        4 => {
            let mut segment = vec![first, second, 0, 0, 0, 0, 0, 0];
            segment.extend_from_slice(payload);
            (if is_ipv4 { IpNumber::ICMP } else { IpNumber::IPV6_ICMP }, segment)
        }
        _ => (IpNumber::GRE, payload.to_vec()),
    }
}

fn number(bytes: [u8; 6]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What etherparse makes of a frame, in our terms, and whether it saw a transport header.
///
/// Its iterator over extension headers (0.21.0) reads beyond the end of a chain that is cut short, so it
/// is used for whole frames only.
fn oracle(frame: &[u8], is_whole: bool) -> (Headers, bool) {
    let mut headers = Headers::default();
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(frame) else { return (headers, false) };
    if let Some(LinkSlice::Ethernet2(link)) = &sliced.link {
        headers.has |= has::ETHERNET;
        headers.src_mac = number(link.source());
        headers.dst_mac = number(link.destination());
        headers.etype = link.ether_type().0;
    }
    if let Some(vlan) = sliced.vlan_ids().last() {
        headers.has |= has::VLAN;
        headers.vlan_id = vlan.value();
    }
    if let Some(payload) = sliced.ether_payload() {
        headers.etype = payload.ether_type.0;
    }
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            headers.has |= has::IP | has::FRAGMENT;
            headers.etype = EtherType::IPV4.0;
            headers.src_addr = halves_of(header.source_addr().into());
            headers.dst_addr = halves_of(header.destination_addr().into());
            headers.tos = header.dcp().value() << 2 | header.ecn().value();
            headers.ttl = header.ttl();
            headers.proto = header.protocol().0;
            headers.fragment_id = u32::from(header.identification());
            headers.fragment_offset = header.fragments_offset().value();
            headers.ip_flags = u8::from(header.dont_fragment()) << 1 | u8::from(header.more_fragments());
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            headers.has |= has::IP | has::IPV6;
            headers.etype = EtherType::IPV6.0;
            headers.src_addr = halves_of(header.source_addr().into());
            headers.dst_addr = halves_of(header.destination_addr().into());
            headers.tos = header.traffic_class();
            headers.ttl = header.hop_limit();
            headers.flow_label = header.flow_label().value();
            headers.proto = ip.payload().ip_number.0;
            let extensions = is_whole.then(|| ip.extensions().clone());
            for extension in extensions.into_iter().flatten() {
                if let etherparse::Ipv6ExtensionSlice::Fragment(fragment) = extension {
                    headers.has |= has::FRAGMENT;
                    headers.fragment_id = fragment.identification();
                    headers.fragment_offset = fragment.fragment_offset().value();
                    headers.ip_flags = u8::from(fragment.more_fragments());
                }
            }
        }
        _ => {}
    }
    transport_of(&sliced, &mut headers);
    (headers, sliced.transport.is_some())
}

fn transport_of(sliced: &LaxSlicedPacket<'_>, headers: &mut Headers) {
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            headers.has |= has::PORTS | has::TCP;
            (headers.src_port, headers.dst_port) = (tcp.source_port(), tcp.destination_port());
            headers.tcp_flags = u16::from(tcp.slice()[13]);
        }
        Some(TransportSlice::Udp(udp)) => {
            headers.has |= has::PORTS;
            (headers.src_port, headers.dst_port) = (udp.source_port(), udp.destination_port());
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            headers.has |= has::ICMP;
            (headers.icmp_type, headers.icmp_code) = (icmp.type_u8(), icmp.code_u8());
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            headers.has |= has::ICMP;
            (headers.icmp_type, headers.icmp_code) = (icmp.type_u8(), icmp.code_u8());
        }
        Some(TransportSlice::Igmp(_)) | None => {}
    }
}

/// Takes out what we read as soon as its own bytes are there and etherparse only in a whole header.
fn without_transport(headers: &mut Headers) {
    headers.has &= !(has::PORTS | has::TCP | has::ICMP);
    (headers.src_port, headers.dst_port, headers.tcp_flags) = (0, 0, 0);
    (headers.icmp_type, headers.icmp_code) = (0, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_frame_cut_anywhere_reads_as_etherparse_reads_it(frame in packets(), cut in any::<prop::sample::Index>()) {
        let cut = &frame[..=cut.index(frame.len())];
        let (mut ours, _) = read(cut, Link::Ethernet);
        let (theirs, has_transport) = oracle(cut, false);
        let (whole, _) = read(&frame, Link::Ethernet);
        if theirs.has & has::IP == 0 && ours.has & has::IP != 0 {
            // We read an IPv4 header whose options are cut short.
            prop_assert_eq!((ours.src_addr, ours.proto, ours.ttl), (whole.src_addr, whole.proto, whole.ttl));
            prop_assert_eq!(ours.has & (has::IPV6 | has::PORTS), 0);
            return Ok(());
        }
        if !has_transport {
            without_transport(&mut ours);
        }
        if ours.has & has::IPV6 != 0 {
            ours.has &= !has::FRAGMENT;
            (ours.fragment_id, ours.fragment_offset, ours.ip_flags) = (0, 0, 0);
            // An extension header whose first bytes are there tells us what follows it.
            if [ROUTING, FRAGMENT, DESTINATION].contains(&theirs.proto) {
                ours.proto = theirs.proto;
            }
        }
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn a_whole_frame_is_read_to_its_transport(frame in packets()) {
        let (mut ours, stacks) = read(&frame, Link::Ethernet);
        let (theirs, has_transport) = oracle(&frame, true);
        // We read the ports of a first fragment.
        if !has_transport && ours.ip_flags & 1 == 1 {
            without_transport(&mut ours);
        }
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(stacks.layers.len(), stacks.sizes.len());
        prop_assert_eq!(stacks.layers[0], layer::ETHERNET);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), link in 0..4) {
        let link = [Link::Ethernet, Link::Ipv4, Link::Ipv6, Link::Mpls][link as usize];
        let (headers, stacks) = read(&bytes, link);
        prop_assert!(stacks.layers.len() <= MAX_LAYERS);
        prop_assert!(headers.has & has::TCP == 0 || headers.has & has::PORTS != 0);
    }
}
