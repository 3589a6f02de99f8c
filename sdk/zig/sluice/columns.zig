//! The columns: `read(columns.dst_port)` is a `[]u16`. Generated from wit/columns.md by sdk/c/generate.py: do not edit.

const sluice = @import("sluice.zig");
const Column = sluice.Column;
const Texts = sluice.Texts;
const Lists = sluice.Lists;

/// Protocol the record came by: 1 sFlow v5, 2 NetFlow v5, 3 NetFlow v9, 4 IPFIX.
pub const flow_type: Column(u8) = .{ .number = 1 };
/// When the datagram was received. Unit: ns since the Unix epoch.
pub const received_ns: Column(u64) = .{ .number = 2 };
/// First packet of the flow; sFlow has none and gives the time of receipt. Unit: ns since the Unix epoch.
pub const first_ns: Column(u64) = .{ .number = 3 };
/// Last packet of the flow; sFlow has none and gives the time of receipt. Unit: ns since the Unix epoch.
pub const last_ns: Column(u64) = .{ .number = 4 };
/// N of "1 in N packets", from the record or from options data; counters stay as exported. Unit: packets.
pub const sampling_rate: Column(u64) = .{ .number = 5 };
/// Sequence number of the datagram.
pub const sequence: Column(u32) = .{ .number = 6 };
/// Observation domain; the source ID of NetFlow v9, engine type and id of v5, sub-agent of sFlow.
pub const observation_domain: Column(u32) = .{ .number = 7 };
/// Observation point.
pub const observation_point: Column(u32) = .{ .number = 8 };
/// Sampler or selector that took the packets.
pub const sampler_id: Column(u32) = .{ .number = 9 };
/// Address of the exporter, high half: the datagram's source, for sFlow the agent.
pub const exporter_addr_hi: Column(u64) = .{ .number = 10 };
/// Address of the exporter, low half.
pub const exporter_addr_lo: Column(u64) = .{ .number = 11 };
/// Source address, high half; IPv4 as `::ffff:a.b.c.d`.
pub const src_addr_hi: Column(u64) = .{ .number = 12 };
/// Source address, low half.
pub const src_addr_lo: Column(u64) = .{ .number = 13 };
/// Destination address, high half.
pub const dst_addr_hi: Column(u64) = .{ .number = 14 };
/// Destination address, low half.
pub const dst_addr_lo: Column(u64) = .{ .number = 15 };
/// IP next hop, high half.
pub const next_hop_hi: Column(u64) = .{ .number = 16 };
/// IP next hop, low half.
pub const next_hop_lo: Column(u64) = .{ .number = 17 };
/// BGP next hop, high half.
pub const bgp_next_hop_hi: Column(u64) = .{ .number = 18 };
/// BGP next hop, low half.
pub const bgp_next_hop_lo: Column(u64) = .{ .number = 19 };
/// Bytes as exported, not multiplied by the sampling rate. Unit: bytes.
pub const bytes: Column(u64) = .{ .number = 20 };
/// Packets as exported, not multiplied by the sampling rate. Unit: packets.
pub const packets: Column(u64) = .{ .number = 21 };
/// Autonomous system of the source.
pub const src_as: Column(u32) = .{ .number = 22 };
/// Autonomous system of the destination.
pub const dst_as: Column(u32) = .{ .number = 23 };
/// Autonomous system of the next hop.
pub const next_hop_as: Column(u32) = .{ .number = 24 };
/// Prefix length of the source route. Unit: bits.
pub const src_net: Column(u8) = .{ .number = 25 };
/// Prefix length of the destination route. Unit: bits.
pub const dst_net: Column(u8) = .{ .number = 26 };
/// SNMP index of the input interface.
pub const in_if: Column(u32) = .{ .number = 27 };
/// SNMP index of the output interface.
pub const out_if: Column(u32) = .{ .number = 28 };
/// IP protocol number.
pub const proto: Column(u8) = .{ .number = 29 };
/// Source port.
pub const src_port: Column(u16) = .{ .number = 30 };
/// Destination port.
pub const dst_port: Column(u16) = .{ .number = 31 };
/// IPv4 type of service or IPv6 traffic class.
pub const tos: Column(u8) = .{ .number = 32 };
/// Forwarding status (RFC 7270, section 4.12).
pub const forwarding_status: Column(u32) = .{ .number = 33 };
/// IPv4 time to live or IPv6 hop limit.
pub const ttl: Column(u8) = .{ .number = 34 };
/// TCP flags of all packets, or-ed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
pub const tcp_flags: Column(u16) = .{ .number = 35 };
/// Source MAC address, first octet most significant.
pub const src_mac: Column(u64) = .{ .number = 36 };
/// Destination MAC address, first octet most significant.
pub const dst_mac: Column(u64) = .{ .number = 37 };
/// VLAN of the frame.
pub const vlan_id: Column(u16) = .{ .number = 38 };
/// Ethertype: 0x0800 IPv4, 0x86dd IPv6.
pub const etype: Column(u16) = .{ .number = 39 };
/// ICMP type.
pub const icmp_type: Column(u8) = .{ .number = 40 };
/// ICMP code.
pub const icmp_code: Column(u8) = .{ .number = 41 };
/// VLAN on the input side.
pub const src_vlan: Column(u16) = .{ .number = 42 };
/// VLAN on the output side.
pub const dst_vlan: Column(u16) = .{ .number = 43 };
/// Identification of the IP fragments.
pub const fragment_id: Column(u32) = .{ .number = 44 };
/// Offset of the IP fragment. Unit: 8 bytes.
pub const fragment_offset: Column(u16) = .{ .number = 45 };
/// IPv6 flow label.
pub const ipv6_flow_label: Column(u32) = .{ .number = 46 };
/// Flag bits of the IPv4 header.
pub const ip_flags: Column(u8) = .{ .number = 47 };
/// VRF on the input side.
pub const ingress_vrf: Column(u32) = .{ .number = 48 };
/// VRF on the output side.
pub const egress_vrf: Column(u32) = .{ .number = 49 };
/// Who began the biflow (RFC 5103): 1 source, 2 destination, 3 perimeter.
pub const biflow_direction: Column(u8) = .{ .number = 50 };
/// Direction at the interface, plus one: 1 ingress, 2 egress, 0 not exported.
pub const flow_direction: Column(u8) = .{ .number = 51 };
/// MPLS labels, top of the stack first.
pub const mpls_labels: Column(Lists) = .{ .number = 52 };
/// MPLS times to live, top of the stack first.
pub const mpls_ttls: Column(Lists) = .{ .number = 53 };
/// AS path to the destination.
pub const as_path: Column(Lists) = .{ .number = 54 };
/// BGP communities, AS in the upper 16 bits.
pub const bgp_communities: Column(Lists) = .{ .number = 55 };
/// Headers of a sampled packet: 0 Ethernet, 1 IPv4, 2 IPv6, 3 TCP, 4 UDP, 5 MPLS, 6 802.1Q, 7 ICMP, 8 ICMPv6.
pub const layer_stack: Column(Lists) = .{ .number = 56 };
/// Size of each header in `layer_stack`. Unit: bytes.
pub const layer_sizes: Column(Lists) = .{ .number = 57 };
/// Source address after translation, high half.
pub const nat_src_addr_hi: Column(u64) = .{ .number = 58 };
/// Source address after translation, low half.
pub const nat_src_addr_lo: Column(u64) = .{ .number = 59 };
/// Destination address after translation, high half.
pub const nat_dst_addr_hi: Column(u64) = .{ .number = 60 };
/// Destination address after translation, low half.
pub const nat_dst_addr_lo: Column(u64) = .{ .number = 61 };
/// Source port after translation.
pub const nat_src_port: Column(u16) = .{ .number = 62 };
/// Destination port after translation.
pub const nat_dst_port: Column(u16) = .{ .number = 63 };
/// NAT event (RFC 8158, section 4.3).
pub const nat_event: Column(u8) = .{ .number = 64 };
/// Firewall event: 1 created, 2 deleted, 3 denied, 4 alert, 5 update.
pub const firewall_event: Column(u8) = .{ .number = 65 };
/// Why the flow ended: 1 idle, 2 active timeout, 3 end seen, 4 forced, 5 resources.
pub const flow_end_reason: Column(u8) = .{ .number = 66 };
/// Customer of the local side.
pub const customer_id: Column(u32) = .{ .number = 128 };
/// Customer of the source address.
pub const src_customer_id: Column(u32) = .{ .number = 129 };
/// Customer of the destination address.
pub const dst_customer_id: Column(u32) = .{ .number = 130 };
/// Direction at the border of the network: 1 in, 2 out, 3 through, 4 inside; 0 unknown.
pub const direction: Column(u8) = .{ .number = 131 };
/// Which address is outside the network: 1 source, 2 destination; 0 neither or unknown.
pub const remote_side: Column(u8) = .{ .number = 132 };
/// Country of the source (ISO 3166 alpha-2).
pub const src_country: Column(Texts) = .{ .number = 133 };
/// Country of the destination (ISO 3166 alpha-2).
pub const dst_country: Column(Texts) = .{ .number = 134 };
/// Country of the remote side.
pub const remote_country: Column(Texts) = .{ .number = 135 };
/// Name of the IP protocol.
pub const proto_name: Column(Texts) = .{ .number = 136 };
/// Free text for people.
pub const note: Column(Texts) = .{ .number = 137 };
/// Bytes multiplied by the sampling rate. Unit: bytes.
pub const scaled_bytes: Column(u64) = .{ .number = 138 };
/// Packets multiplied by the sampling rate. Unit: packets.
pub const scaled_packets: Column(u64) = .{ .number = 139 };
/// Organisation of the source's autonomous system.
pub const src_as_name: Column(Texts) = .{ .number = 140 };
/// Organisation of the destination's autonomous system.
pub const dst_as_name: Column(Texts) = .{ .number = 141 };
/// 1 if bytes and packets were multiplied in place by another program.
pub const normalized: Column(u8) = .{ .number = 142 };
/// Name of the input interface.
pub const src_if_name: Column(Texts) = .{ .number = 143 };
/// Description of the input interface.
pub const src_if_desc: Column(Texts) = .{ .number = 144 };
/// Speed of the input interface. Unit: Mbit/s.
pub const src_if_speed: Column(u32) = .{ .number = 145 };
/// Name of the output interface.
pub const dst_if_name: Column(Texts) = .{ .number = 146 };
/// Description of the output interface.
pub const dst_if_desc: Column(Texts) = .{ .number = 147 };
/// Speed of the output interface. Unit: Mbit/s.
pub const dst_if_speed: Column(u32) = .{ .number = 148 };
/// How the source address was anonymised: 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash; 0 not.
pub const src_addr_anon: Column(u8) = .{ .number = 160 };
/// Leading bits of the source address that were kept. Unit: bits.
pub const src_addr_preserved: Column(u8) = .{ .number = 161 };
/// How the destination address was anonymised.
pub const dst_addr_anon: Column(u8) = .{ .number = 162 };
/// Leading bits of the destination address that were kept. Unit: bits.
pub const dst_addr_preserved: Column(u8) = .{ .number = 163 };
/// How the exporter's address was anonymised.
pub const exporter_addr_anon: Column(u8) = .{ .number = 164 };
/// Leading bits of the exporter's address that were kept. Unit: bits.
pub const exporter_addr_preserved: Column(u8) = .{ .number = 165 };
/// How the next hop was anonymised.
pub const next_hop_anon: Column(u8) = .{ .number = 166 };
/// Leading bits of the next hop that were kept. Unit: bits.
pub const next_hop_preserved: Column(u8) = .{ .number = 167 };
/// How the BGP next hop was anonymised.
pub const bgp_next_hop_anon: Column(u8) = .{ .number = 168 };
/// Leading bits of the BGP next hop that were kept. Unit: bits.
pub const bgp_next_hop_preserved: Column(u8) = .{ .number = 169 };
/// How the translated source address was anonymised.
pub const nat_src_addr_anon: Column(u8) = .{ .number = 170 };
/// Leading bits of the translated source address that were kept. Unit: bits.
pub const nat_src_addr_preserved: Column(u8) = .{ .number = 171 };
/// How the translated destination address was anonymised.
pub const nat_dst_addr_anon: Column(u8) = .{ .number = 172 };
/// Leading bits of the translated destination address that were kept. Unit: bits.
pub const nat_dst_addr_preserved: Column(u8) = .{ .number = 173 };

/// The name of a column, null for a number that is not in the table.
pub fn name(number: u16) ?[]const u8 {
    return switch (number) {
        1 => "flow_type",
        2 => "received_ns",
        3 => "first_ns",
        4 => "last_ns",
        5 => "sampling_rate",
        6 => "sequence",
        7 => "observation_domain",
        8 => "observation_point",
        9 => "sampler_id",
        10 => "exporter_addr_hi",
        11 => "exporter_addr_lo",
        12 => "src_addr_hi",
        13 => "src_addr_lo",
        14 => "dst_addr_hi",
        15 => "dst_addr_lo",
        16 => "next_hop_hi",
        17 => "next_hop_lo",
        18 => "bgp_next_hop_hi",
        19 => "bgp_next_hop_lo",
        20 => "bytes",
        21 => "packets",
        22 => "src_as",
        23 => "dst_as",
        24 => "next_hop_as",
        25 => "src_net",
        26 => "dst_net",
        27 => "in_if",
        28 => "out_if",
        29 => "proto",
        30 => "src_port",
        31 => "dst_port",
        32 => "tos",
        33 => "forwarding_status",
        34 => "ttl",
        35 => "tcp_flags",
        36 => "src_mac",
        37 => "dst_mac",
        38 => "vlan_id",
        39 => "etype",
        40 => "icmp_type",
        41 => "icmp_code",
        42 => "src_vlan",
        43 => "dst_vlan",
        44 => "fragment_id",
        45 => "fragment_offset",
        46 => "ipv6_flow_label",
        47 => "ip_flags",
        48 => "ingress_vrf",
        49 => "egress_vrf",
        50 => "biflow_direction",
        51 => "flow_direction",
        52 => "mpls_labels",
        53 => "mpls_ttls",
        54 => "as_path",
        55 => "bgp_communities",
        56 => "layer_stack",
        57 => "layer_sizes",
        58 => "nat_src_addr_hi",
        59 => "nat_src_addr_lo",
        60 => "nat_dst_addr_hi",
        61 => "nat_dst_addr_lo",
        62 => "nat_src_port",
        63 => "nat_dst_port",
        64 => "nat_event",
        65 => "firewall_event",
        66 => "flow_end_reason",
        128 => "customer_id",
        129 => "src_customer_id",
        130 => "dst_customer_id",
        131 => "direction",
        132 => "remote_side",
        133 => "src_country",
        134 => "dst_country",
        135 => "remote_country",
        136 => "proto_name",
        137 => "note",
        138 => "scaled_bytes",
        139 => "scaled_packets",
        140 => "src_as_name",
        141 => "dst_as_name",
        142 => "normalized",
        143 => "src_if_name",
        144 => "src_if_desc",
        145 => "src_if_speed",
        146 => "dst_if_name",
        147 => "dst_if_desc",
        148 => "dst_if_speed",
        160 => "src_addr_anon",
        161 => "src_addr_preserved",
        162 => "dst_addr_anon",
        163 => "dst_addr_preserved",
        164 => "exporter_addr_anon",
        165 => "exporter_addr_preserved",
        166 => "next_hop_anon",
        167 => "next_hop_preserved",
        168 => "bgp_next_hop_anon",
        169 => "bgp_next_hop_preserved",
        170 => "nat_src_addr_anon",
        171 => "nat_src_addr_preserved",
        172 => "nat_dst_addr_anon",
        173 => "nat_dst_addr_preserved",
        else => null,
    };
}
