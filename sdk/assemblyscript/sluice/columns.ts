// Numbers of the columns, and what they hold a row. Generated from wit/columns.md by sdk/c/generate.py: do not edit.

/** u8: Protocol the record came by: 1 sFlow v5, 2 NetFlow v5, 3 NetFlow v9, 4 IPFIX. */
export const FLOW_TYPE: u16 = 1;
/** u64: When the datagram was received. Unit: ns since the Unix epoch. */
export const RECEIVED_NS: u16 = 2;
/** u64: First packet of the flow; sFlow has none and gives the time of receipt. Unit: ns since the Unix epoch. */
export const FIRST_NS: u16 = 3;
/** u64: Last packet of the flow; sFlow has none and gives the time of receipt. Unit: ns since the Unix epoch. */
export const LAST_NS: u16 = 4;
/** u64: N of "1 in N packets", from the record or from options data; counters stay as exported. Unit: packets. */
export const SAMPLING_RATE: u16 = 5;
/** u32: Sequence number of the datagram. */
export const SEQUENCE: u16 = 6;
/** u32: Observation domain; the source ID of NetFlow v9, engine type and id of v5, sub-agent of sFlow. */
export const OBSERVATION_DOMAIN: u16 = 7;
/** u32: Observation point. */
export const OBSERVATION_POINT: u16 = 8;
/** u32: Sampler or selector that took the packets. */
export const SAMPLER_ID: u16 = 9;
/** u64: Address of the exporter, high half: the datagram's source, for sFlow the agent. */
export const EXPORTER_ADDR_HI: u16 = 10;
/** u64: Address of the exporter, low half. */
export const EXPORTER_ADDR_LO: u16 = 11;
/** u64: Source address, high half; IPv4 as `::ffff:a.b.c.d`. */
export const SRC_ADDR_HI: u16 = 12;
/** u64: Source address, low half. */
export const SRC_ADDR_LO: u16 = 13;
/** u64: Destination address, high half. */
export const DST_ADDR_HI: u16 = 14;
/** u64: Destination address, low half. */
export const DST_ADDR_LO: u16 = 15;
/** u64: IP next hop, high half. */
export const NEXT_HOP_HI: u16 = 16;
/** u64: IP next hop, low half. */
export const NEXT_HOP_LO: u16 = 17;
/** u64: BGP next hop, high half. */
export const BGP_NEXT_HOP_HI: u16 = 18;
/** u64: BGP next hop, low half. */
export const BGP_NEXT_HOP_LO: u16 = 19;
/** u64: Bytes as exported, not multiplied by the sampling rate. Unit: bytes. */
export const BYTES: u16 = 20;
/** u64: Packets as exported, not multiplied by the sampling rate. Unit: packets. */
export const PACKETS: u16 = 21;
/** u32: Autonomous system of the source. */
export const SRC_AS: u16 = 22;
/** u32: Autonomous system of the destination. */
export const DST_AS: u16 = 23;
/** u32: Autonomous system of the next hop. */
export const NEXT_HOP_AS: u16 = 24;
/** u8: Prefix length of the source route. Unit: bits. */
export const SRC_NET: u16 = 25;
/** u8: Prefix length of the destination route. Unit: bits. */
export const DST_NET: u16 = 26;
/** u32: SNMP index of the input interface. */
export const IN_IF: u16 = 27;
/** u32: SNMP index of the output interface. */
export const OUT_IF: u16 = 28;
/** u8: IP protocol number. */
export const PROTO: u16 = 29;
/** u16: Source port. */
export const SRC_PORT: u16 = 30;
/** u16: Destination port. */
export const DST_PORT: u16 = 31;
/** u8: IPv4 type of service or IPv6 traffic class. */
export const TOS: u16 = 32;
/** u32: Forwarding status (RFC 7270, section 4.12). */
export const FORWARDING_STATUS: u16 = 33;
/** u8: IPv4 time to live or IPv6 hop limit. */
export const TTL: u16 = 34;
/** u16: TCP flags of all packets, or-ed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128. */
export const TCP_FLAGS: u16 = 35;
/** u64: Source MAC address, first octet most significant. */
export const SRC_MAC: u16 = 36;
/** u64: Destination MAC address, first octet most significant. */
export const DST_MAC: u16 = 37;
/** u16: VLAN of the frame. */
export const VLAN_ID: u16 = 38;
/** u16: Ethertype: 0x0800 IPv4, 0x86dd IPv6. */
export const ETYPE: u16 = 39;
/** u8: ICMP type. */
export const ICMP_TYPE: u16 = 40;
/** u8: ICMP code. */
export const ICMP_CODE: u16 = 41;
/** u16: VLAN on the input side. */
export const SRC_VLAN: u16 = 42;
/** u16: VLAN on the output side. */
export const DST_VLAN: u16 = 43;
/** u32: Identification of the IP fragments. */
export const FRAGMENT_ID: u16 = 44;
/** u16: Offset of the IP fragment. Unit: 8 bytes. */
export const FRAGMENT_OFFSET: u16 = 45;
/** u32: IPv6 flow label. */
export const IPV6_FLOW_LABEL: u16 = 46;
/** u8: Flag bits of the IPv4 header. */
export const IP_FLAGS: u16 = 47;
/** u32: VRF on the input side. */
export const INGRESS_VRF: u16 = 48;
/** u32: VRF on the output side. */
export const EGRESS_VRF: u16 = 49;
/** u8: Who began the biflow (RFC 5103): 1 source, 2 destination, 3 perimeter. */
export const BIFLOW_DIRECTION: u16 = 50;
/** u8: Direction at the interface, plus one: 1 ingress, 2 egress, 0 not exported. */
export const FLOW_DIRECTION: u16 = 51;
/** lists: MPLS labels, top of the stack first. */
export const MPLS_LABELS: u16 = 52;
/** lists: MPLS times to live, top of the stack first. */
export const MPLS_TTLS: u16 = 53;
/** lists: AS path to the destination. */
export const AS_PATH: u16 = 54;
/** lists: BGP communities, AS in the upper 16 bits. */
export const BGP_COMMUNITIES: u16 = 55;
/** lists: Headers of a sampled packet: 0 Ethernet, 1 IPv4, 2 IPv6, 3 TCP, 4 UDP, 5 MPLS, 6 802.1Q, 7 ICMP, 8 ICMPv6. */
export const LAYER_STACK: u16 = 56;
/** lists: Size of each header in `layer_stack`. Unit: bytes. */
export const LAYER_SIZES: u16 = 57;
/** u64: Source address after translation, high half. */
export const NAT_SRC_ADDR_HI: u16 = 58;
/** u64: Source address after translation, low half. */
export const NAT_SRC_ADDR_LO: u16 = 59;
/** u64: Destination address after translation, high half. */
export const NAT_DST_ADDR_HI: u16 = 60;
/** u64: Destination address after translation, low half. */
export const NAT_DST_ADDR_LO: u16 = 61;
/** u16: Source port after translation. */
export const NAT_SRC_PORT: u16 = 62;
/** u16: Destination port after translation. */
export const NAT_DST_PORT: u16 = 63;
/** u8: NAT event (RFC 8158, section 4.3). */
export const NAT_EVENT: u16 = 64;
/** u8: Firewall event: 1 created, 2 deleted, 3 denied, 4 alert, 5 update. */
export const FIREWALL_EVENT: u16 = 65;
/** u8: Why the flow ended: 1 idle, 2 active timeout, 3 end seen, 4 forced, 5 resources. */
export const FLOW_END_REASON: u16 = 66;
/** u32: Customer of the local side. */
export const CUSTOMER_ID: u16 = 128;
/** u32: Customer of the source address. */
export const SRC_CUSTOMER_ID: u16 = 129;
/** u32: Customer of the destination address. */
export const DST_CUSTOMER_ID: u16 = 130;
/** u8: Direction at the border of the network: 1 in, 2 out, 3 through, 4 inside; 0 unknown. */
export const DIRECTION: u16 = 131;
/** u8: Which address is outside the network: 1 source, 2 destination; 0 neither or unknown. */
export const REMOTE_SIDE: u16 = 132;
/** text: Country of the source (ISO 3166 alpha-2). */
export const SRC_COUNTRY: u16 = 133;
/** text: Country of the destination (ISO 3166 alpha-2). */
export const DST_COUNTRY: u16 = 134;
/** text: Country of the remote side. */
export const REMOTE_COUNTRY: u16 = 135;
/** text: Name of the IP protocol. */
export const PROTO_NAME: u16 = 136;
/** text: Free text for people. */
export const NOTE: u16 = 137;
/** u64: Bytes multiplied by the sampling rate. Unit: bytes. */
export const SCALED_BYTES: u16 = 138;
/** u64: Packets multiplied by the sampling rate. Unit: packets. */
export const SCALED_PACKETS: u16 = 139;
/** text: Organisation of the source's autonomous system. */
export const SRC_AS_NAME: u16 = 140;
/** text: Organisation of the destination's autonomous system. */
export const DST_AS_NAME: u16 = 141;
/** u8: 1 if bytes and packets were multiplied in place by another program. */
export const NORMALIZED: u16 = 142;
/** text: Name of the input interface. */
export const SRC_IF_NAME: u16 = 143;
/** text: Description of the input interface. */
export const SRC_IF_DESC: u16 = 144;
/** u32: Speed of the input interface. Unit: Mbit/s. */
export const SRC_IF_SPEED: u16 = 145;
/** text: Name of the output interface. */
export const DST_IF_NAME: u16 = 146;
/** text: Description of the output interface. */
export const DST_IF_DESC: u16 = 147;
/** u32: Speed of the output interface. Unit: Mbit/s. */
export const DST_IF_SPEED: u16 = 148;
/** u8: How the source address was anonymised: 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash; 0 not. */
export const SRC_ADDR_ANON: u16 = 160;
/** u8: Leading bits of the source address that were kept. Unit: bits. */
export const SRC_ADDR_PRESERVED: u16 = 161;
/** u8: How the destination address was anonymised. */
export const DST_ADDR_ANON: u16 = 162;
/** u8: Leading bits of the destination address that were kept. Unit: bits. */
export const DST_ADDR_PRESERVED: u16 = 163;
/** u8: How the exporter's address was anonymised. */
export const EXPORTER_ADDR_ANON: u16 = 164;
/** u8: Leading bits of the exporter's address that were kept. Unit: bits. */
export const EXPORTER_ADDR_PRESERVED: u16 = 165;
/** u8: How the next hop was anonymised. */
export const NEXT_HOP_ANON: u16 = 166;
/** u8: Leading bits of the next hop that were kept. Unit: bits. */
export const NEXT_HOP_PRESERVED: u16 = 167;
/** u8: How the BGP next hop was anonymised. */
export const BGP_NEXT_HOP_ANON: u16 = 168;
/** u8: Leading bits of the BGP next hop that were kept. Unit: bits. */
export const BGP_NEXT_HOP_PRESERVED: u16 = 169;
/** u8: How the translated source address was anonymised. */
export const NAT_SRC_ADDR_ANON: u16 = 170;
/** u8: Leading bits of the translated source address that were kept. Unit: bits. */
export const NAT_SRC_ADDR_PRESERVED: u16 = 171;
/** u8: How the translated destination address was anonymised. */
export const NAT_DST_ADDR_ANON: u16 = 172;
/** u8: Leading bits of the translated destination address that were kept. Unit: bits. */
export const NAT_DST_ADDR_PRESERVED: u16 = 173;

/** The name of a column; empty for a number that is not in the table. */
export function columnName(column: u16): string {
  switch (column) {
    case 1: return "flow_type";
    case 2: return "received_ns";
    case 3: return "first_ns";
    case 4: return "last_ns";
    case 5: return "sampling_rate";
    case 6: return "sequence";
    case 7: return "observation_domain";
    case 8: return "observation_point";
    case 9: return "sampler_id";
    case 10: return "exporter_addr_hi";
    case 11: return "exporter_addr_lo";
    case 12: return "src_addr_hi";
    case 13: return "src_addr_lo";
    case 14: return "dst_addr_hi";
    case 15: return "dst_addr_lo";
    case 16: return "next_hop_hi";
    case 17: return "next_hop_lo";
    case 18: return "bgp_next_hop_hi";
    case 19: return "bgp_next_hop_lo";
    case 20: return "bytes";
    case 21: return "packets";
    case 22: return "src_as";
    case 23: return "dst_as";
    case 24: return "next_hop_as";
    case 25: return "src_net";
    case 26: return "dst_net";
    case 27: return "in_if";
    case 28: return "out_if";
    case 29: return "proto";
    case 30: return "src_port";
    case 31: return "dst_port";
    case 32: return "tos";
    case 33: return "forwarding_status";
    case 34: return "ttl";
    case 35: return "tcp_flags";
    case 36: return "src_mac";
    case 37: return "dst_mac";
    case 38: return "vlan_id";
    case 39: return "etype";
    case 40: return "icmp_type";
    case 41: return "icmp_code";
    case 42: return "src_vlan";
    case 43: return "dst_vlan";
    case 44: return "fragment_id";
    case 45: return "fragment_offset";
    case 46: return "ipv6_flow_label";
    case 47: return "ip_flags";
    case 48: return "ingress_vrf";
    case 49: return "egress_vrf";
    case 50: return "biflow_direction";
    case 51: return "flow_direction";
    case 52: return "mpls_labels";
    case 53: return "mpls_ttls";
    case 54: return "as_path";
    case 55: return "bgp_communities";
    case 56: return "layer_stack";
    case 57: return "layer_sizes";
    case 58: return "nat_src_addr_hi";
    case 59: return "nat_src_addr_lo";
    case 60: return "nat_dst_addr_hi";
    case 61: return "nat_dst_addr_lo";
    case 62: return "nat_src_port";
    case 63: return "nat_dst_port";
    case 64: return "nat_event";
    case 65: return "firewall_event";
    case 66: return "flow_end_reason";
    case 128: return "customer_id";
    case 129: return "src_customer_id";
    case 130: return "dst_customer_id";
    case 131: return "direction";
    case 132: return "remote_side";
    case 133: return "src_country";
    case 134: return "dst_country";
    case 135: return "remote_country";
    case 136: return "proto_name";
    case 137: return "note";
    case 138: return "scaled_bytes";
    case 139: return "scaled_packets";
    case 140: return "src_as_name";
    case 141: return "dst_as_name";
    case 142: return "normalized";
    case 143: return "src_if_name";
    case 144: return "src_if_desc";
    case 145: return "src_if_speed";
    case 146: return "dst_if_name";
    case 147: return "dst_if_desc";
    case 148: return "dst_if_speed";
    case 160: return "src_addr_anon";
    case 161: return "src_addr_preserved";
    case 162: return "dst_addr_anon";
    case 163: return "dst_addr_preserved";
    case 164: return "exporter_addr_anon";
    case 165: return "exporter_addr_preserved";
    case 166: return "next_hop_anon";
    case 167: return "next_hop_preserved";
    case 168: return "bgp_next_hop_anon";
    case 169: return "bgp_next_hop_preserved";
    case 170: return "nat_src_addr_anon";
    case 171: return "nat_src_addr_preserved";
    case 172: return "nat_dst_addr_anon";
    case 173: return "nat_dst_addr_preserved";
    default: return "";
  }
}
