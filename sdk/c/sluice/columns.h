/* Generated from wit/columns.md by sdk/c/generate.py: do not edit. */
#ifndef SLUICE_COLUMNS_H
#define SLUICE_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of the columns, and what they hold a row. An address is two columns of u64. */
enum {
    /* u8: Protocol the record came by: 1 sFlow v5, 2 NetFlow v5, 3 NetFlow v9, 4 IPFIX. */
    SLUICE_FLOW_TYPE = 1,
    /* u64: When the datagram was received. Unit: ns since the Unix epoch. */
    SLUICE_RECEIVED_NS = 2,
    /* u64: First packet of the flow; sFlow has none and gives the time of receipt. Unit: ns since the Unix epoch. */
    SLUICE_FIRST_NS = 3,
    /* u64: Last packet of the flow; sFlow has none and gives the time of receipt. Unit: ns since the Unix epoch. */
    SLUICE_LAST_NS = 4,
    /* u64: N of "1 in N packets", from the record or from options data; counters stay as exported. Unit: packets. */
    SLUICE_SAMPLING_RATE = 5,
    /* u32: Sequence number of the datagram. */
    SLUICE_SEQUENCE = 6,
    /* u32: Observation domain; the source ID of NetFlow v9, engine type and id of v5, sub-agent of sFlow. */
    SLUICE_OBSERVATION_DOMAIN = 7,
    /* u32: Observation point. */
    SLUICE_OBSERVATION_POINT = 8,
    /* u32: Sampler or selector that took the packets. */
    SLUICE_SAMPLER_ID = 9,
    /* u64: Address of the exporter, high half: the datagram's source, for sFlow the agent. */
    SLUICE_EXPORTER_ADDR_HI = 10,
    /* u64: Address of the exporter, low half. */
    SLUICE_EXPORTER_ADDR_LO = 11,
    /* u64: Source address, high half; IPv4 as `::ffff:a.b.c.d`. */
    SLUICE_SRC_ADDR_HI = 12,
    /* u64: Source address, low half. */
    SLUICE_SRC_ADDR_LO = 13,
    /* u64: Destination address, high half. */
    SLUICE_DST_ADDR_HI = 14,
    /* u64: Destination address, low half. */
    SLUICE_DST_ADDR_LO = 15,
    /* u64: IP next hop, high half. */
    SLUICE_NEXT_HOP_HI = 16,
    /* u64: IP next hop, low half. */
    SLUICE_NEXT_HOP_LO = 17,
    /* u64: BGP next hop, high half. */
    SLUICE_BGP_NEXT_HOP_HI = 18,
    /* u64: BGP next hop, low half. */
    SLUICE_BGP_NEXT_HOP_LO = 19,
    /* u64: Bytes as exported, not multiplied by the sampling rate. Unit: bytes. */
    SLUICE_BYTES = 20,
    /* u64: Packets as exported, not multiplied by the sampling rate. Unit: packets. */
    SLUICE_PACKETS = 21,
    /* u32: Autonomous system of the source. */
    SLUICE_SRC_AS = 22,
    /* u32: Autonomous system of the destination. */
    SLUICE_DST_AS = 23,
    /* u32: Autonomous system of the next hop. */
    SLUICE_NEXT_HOP_AS = 24,
    /* u8: Prefix length of the source route. Unit: bits. */
    SLUICE_SRC_NET = 25,
    /* u8: Prefix length of the destination route. Unit: bits. */
    SLUICE_DST_NET = 26,
    /* u32: SNMP index of the input interface. */
    SLUICE_IN_IF = 27,
    /* u32: SNMP index of the output interface. */
    SLUICE_OUT_IF = 28,
    /* u8: IP protocol number. */
    SLUICE_PROTO = 29,
    /* u16: Source port. */
    SLUICE_SRC_PORT = 30,
    /* u16: Destination port. */
    SLUICE_DST_PORT = 31,
    /* u8: IPv4 type of service or IPv6 traffic class. */
    SLUICE_TOS = 32,
    /* u32: Forwarding status (RFC 7270, section 4.12). */
    SLUICE_FORWARDING_STATUS = 33,
    /* u8: IPv4 time to live or IPv6 hop limit. */
    SLUICE_TTL = 34,
    /* u16: TCP flags of all packets, or-ed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128. */
    SLUICE_TCP_FLAGS = 35,
    /* u64: Source MAC address, first octet most significant. */
    SLUICE_SRC_MAC = 36,
    /* u64: Destination MAC address, first octet most significant. */
    SLUICE_DST_MAC = 37,
    /* u16: VLAN of the frame. */
    SLUICE_VLAN_ID = 38,
    /* u16: Ethertype: 0x0800 IPv4, 0x86dd IPv6. */
    SLUICE_ETYPE = 39,
    /* u8: ICMP type. */
    SLUICE_ICMP_TYPE = 40,
    /* u8: ICMP code. */
    SLUICE_ICMP_CODE = 41,
    /* u16: VLAN on the input side. */
    SLUICE_SRC_VLAN = 42,
    /* u16: VLAN on the output side. */
    SLUICE_DST_VLAN = 43,
    /* u32: Identification of the IP fragments. */
    SLUICE_FRAGMENT_ID = 44,
    /* u16: Offset of the IP fragment. Unit: 8 bytes. */
    SLUICE_FRAGMENT_OFFSET = 45,
    /* u32: IPv6 flow label. */
    SLUICE_IPV6_FLOW_LABEL = 46,
    /* u8: Flag bits of the IPv4 header. */
    SLUICE_IP_FLAGS = 47,
    /* u32: VRF on the input side. */
    SLUICE_INGRESS_VRF = 48,
    /* u32: VRF on the output side. */
    SLUICE_EGRESS_VRF = 49,
    /* u8: Who began the biflow (RFC 5103): 1 source, 2 destination, 3 perimeter. */
    SLUICE_BIFLOW_DIRECTION = 50,
    /* u8: Direction at the interface, plus one: 1 ingress, 2 egress, 0 not exported. */
    SLUICE_FLOW_DIRECTION = 51,
    /* lists: MPLS labels, top of the stack first. */
    SLUICE_MPLS_LABELS = 52,
    /* lists: MPLS times to live, top of the stack first. */
    SLUICE_MPLS_TTLS = 53,
    /* lists: AS path to the destination. */
    SLUICE_AS_PATH = 54,
    /* lists: BGP communities, AS in the upper 16 bits. */
    SLUICE_BGP_COMMUNITIES = 55,
    /* lists: Headers of a sampled packet: 0 Ethernet, 1 IPv4, 2 IPv6, 3 TCP, 4 UDP, 5 MPLS, 6 802.1Q, 7 ICMP, 8 ICMPv6. */
    SLUICE_LAYER_STACK = 56,
    /* lists: Size of each header in `layer_stack`. Unit: bytes. */
    SLUICE_LAYER_SIZES = 57,
    /* u64: Source address after translation, high half. */
    SLUICE_NAT_SRC_ADDR_HI = 58,
    /* u64: Source address after translation, low half. */
    SLUICE_NAT_SRC_ADDR_LO = 59,
    /* u64: Destination address after translation, high half. */
    SLUICE_NAT_DST_ADDR_HI = 60,
    /* u64: Destination address after translation, low half. */
    SLUICE_NAT_DST_ADDR_LO = 61,
    /* u16: Source port after translation. */
    SLUICE_NAT_SRC_PORT = 62,
    /* u16: Destination port after translation. */
    SLUICE_NAT_DST_PORT = 63,
    /* u8: NAT event (RFC 8158, section 4.3). */
    SLUICE_NAT_EVENT = 64,
    /* u8: Firewall event: 1 created, 2 deleted, 3 denied, 4 alert, 5 update. */
    SLUICE_FIREWALL_EVENT = 65,
    /* u8: Why the flow ended: 1 idle, 2 active timeout, 3 end seen, 4 forced, 5 resources. */
    SLUICE_FLOW_END_REASON = 66,
    /* u32: Customer of the local side. */
    SLUICE_CUSTOMER_ID = 128,
    /* u32: Customer of the source address. */
    SLUICE_SRC_CUSTOMER_ID = 129,
    /* u32: Customer of the destination address. */
    SLUICE_DST_CUSTOMER_ID = 130,
    /* u8: Direction at the border of the network: 1 in, 2 out, 3 through, 4 inside; 0 unknown. */
    SLUICE_DIRECTION = 131,
    /* u8: Which address is outside the network: 1 source, 2 destination; 0 neither or unknown. */
    SLUICE_REMOTE_SIDE = 132,
    /* text: Country of the source (ISO 3166 alpha-2). */
    SLUICE_SRC_COUNTRY = 133,
    /* text: Country of the destination (ISO 3166 alpha-2). */
    SLUICE_DST_COUNTRY = 134,
    /* text: Country of the remote side. */
    SLUICE_REMOTE_COUNTRY = 135,
    /* text: Name of the IP protocol. */
    SLUICE_PROTO_NAME = 136,
    /* text: Free text for people. */
    SLUICE_NOTE = 137,
    /* u64: Bytes multiplied by the sampling rate. Unit: bytes. */
    SLUICE_SCALED_BYTES = 138,
    /* u64: Packets multiplied by the sampling rate. Unit: packets. */
    SLUICE_SCALED_PACKETS = 139,
    /* text: Organisation of the source's autonomous system. */
    SLUICE_SRC_AS_NAME = 140,
    /* text: Organisation of the destination's autonomous system. */
    SLUICE_DST_AS_NAME = 141,
    /* u8: 1 if bytes and packets were multiplied in place by another program. */
    SLUICE_NORMALIZED = 142,
    /* text: Name of the input interface. */
    SLUICE_SRC_IF_NAME = 143,
    /* text: Description of the input interface. */
    SLUICE_SRC_IF_DESC = 144,
    /* u32: Speed of the input interface. Unit: Mbit/s. */
    SLUICE_SRC_IF_SPEED = 145,
    /* text: Name of the output interface. */
    SLUICE_DST_IF_NAME = 146,
    /* text: Description of the output interface. */
    SLUICE_DST_IF_DESC = 147,
    /* u32: Speed of the output interface. Unit: Mbit/s. */
    SLUICE_DST_IF_SPEED = 148,
    /* u8: How the source address was anonymised: 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash; 0 not. */
    SLUICE_SRC_ADDR_ANON = 160,
    /* u8: Leading bits of the source address that were kept. Unit: bits. */
    SLUICE_SRC_ADDR_PRESERVED = 161,
    /* u8: How the destination address was anonymised. */
    SLUICE_DST_ADDR_ANON = 162,
    /* u8: Leading bits of the destination address that were kept. Unit: bits. */
    SLUICE_DST_ADDR_PRESERVED = 163,
    /* u8: How the exporter's address was anonymised. */
    SLUICE_EXPORTER_ADDR_ANON = 164,
    /* u8: Leading bits of the exporter's address that were kept. Unit: bits. */
    SLUICE_EXPORTER_ADDR_PRESERVED = 165,
    /* u8: How the next hop was anonymised. */
    SLUICE_NEXT_HOP_ANON = 166,
    /* u8: Leading bits of the next hop that were kept. Unit: bits. */
    SLUICE_NEXT_HOP_PRESERVED = 167,
    /* u8: How the BGP next hop was anonymised. */
    SLUICE_BGP_NEXT_HOP_ANON = 168,
    /* u8: Leading bits of the BGP next hop that were kept. Unit: bits. */
    SLUICE_BGP_NEXT_HOP_PRESERVED = 169,
    /* u8: How the translated source address was anonymised. */
    SLUICE_NAT_SRC_ADDR_ANON = 170,
    /* u8: Leading bits of the translated source address that were kept. Unit: bits. */
    SLUICE_NAT_SRC_ADDR_PRESERVED = 171,
    /* u8: How the translated destination address was anonymised. */
    SLUICE_NAT_DST_ADDR_ANON = 172,
    /* u8: Leading bits of the translated destination address that were kept. Unit: bits. */
    SLUICE_NAT_DST_ADDR_PRESERVED = 173,
};

/* The name of a column, NULL for a number that is not in the table. */
static inline const char *sluice_column_name(uint16_t column) {
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
    default: return NULL;
    }
}

#endif
