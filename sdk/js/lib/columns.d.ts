// The standard columns. Generated from wit/columns.md by sdk/js/generate.mjs: do not edit.

import type { Address, ListsColumn, NumberColumn, TextColumn } from "./sluice.js";

/** Protocol the record came by: 1 sFlow v5, 2 NetFlow v5, 3 NetFlow v9, 4 IPFIX. */
export declare const flow_type: NumberColumn<number>;
/** When the datagram was received. In ns since the Unix epoch. */
export declare const received_ns: NumberColumn<bigint>;
/** First packet of the flow; sFlow has none and gives the time of receipt. In ns since the Unix epoch. */
export declare const first_ns: NumberColumn<bigint>;
/** Last packet of the flow; sFlow has none and gives the time of receipt. In ns since the Unix epoch. */
export declare const last_ns: NumberColumn<bigint>;
/** N of "1 in N packets", from the record or from options data; counters stay as exported. In packets. */
export declare const sampling_rate: NumberColumn<bigint>;
/** Sequence number of the datagram. */
export declare const sequence: NumberColumn<number>;
/** Observation domain; the source ID of NetFlow v9, engine type and id of v5, sub-agent of sFlow. */
export declare const observation_domain: NumberColumn<number>;
/** Observation point. */
export declare const observation_point: NumberColumn<number>;
/** Sampler or selector that took the packets. */
export declare const sampler_id: NumberColumn<number>;
/** Address of the exporter: the datagram's source, for sFlow the agent. */
export declare const exporter_addr: Address;
/** Source address; IPv4 as `::ffff:a.b.c.d`. */
export declare const src_addr: Address;
/** Destination address. */
export declare const dst_addr: Address;
/** IP next hop. */
export declare const next_hop: Address;
/** BGP next hop. */
export declare const bgp_next_hop: Address;
/** Bytes as exported, not multiplied by the sampling rate. In bytes. */
export declare const bytes: NumberColumn<bigint>;
/** Packets as exported, not multiplied by the sampling rate. In packets. */
export declare const packets: NumberColumn<bigint>;
/** Autonomous system of the source. */
export declare const src_as: NumberColumn<number>;
/** Autonomous system of the destination. */
export declare const dst_as: NumberColumn<number>;
/** Autonomous system of the next hop. */
export declare const next_hop_as: NumberColumn<number>;
/** Prefix length of the source route. In bits. */
export declare const src_net: NumberColumn<number>;
/** Prefix length of the destination route. In bits. */
export declare const dst_net: NumberColumn<number>;
/** SNMP index of the input interface. */
export declare const in_if: NumberColumn<number>;
/** SNMP index of the output interface. */
export declare const out_if: NumberColumn<number>;
/** IP protocol number. */
export declare const proto: NumberColumn<number>;
/** Source port. */
export declare const src_port: NumberColumn<number>;
/** Destination port. */
export declare const dst_port: NumberColumn<number>;
/** IPv4 type of service or IPv6 traffic class. */
export declare const tos: NumberColumn<number>;
/** Forwarding status (RFC 7270, section 4.12). */
export declare const forwarding_status: NumberColumn<number>;
/** IPv4 time to live or IPv6 hop limit. */
export declare const ttl: NumberColumn<number>;
/** TCP flags of all packets, or-ed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128. */
export declare const tcp_flags: NumberColumn<number>;
/** Source MAC address, first octet most significant. */
export declare const src_mac: NumberColumn<bigint>;
/** Destination MAC address, first octet most significant. */
export declare const dst_mac: NumberColumn<bigint>;
/** VLAN of the frame. */
export declare const vlan_id: NumberColumn<number>;
/** Ethertype: 0x0800 IPv4, 0x86dd IPv6. */
export declare const etype: NumberColumn<number>;
/** ICMP type. */
export declare const icmp_type: NumberColumn<number>;
/** ICMP code. */
export declare const icmp_code: NumberColumn<number>;
/** VLAN on the input side. */
export declare const src_vlan: NumberColumn<number>;
/** VLAN on the output side. */
export declare const dst_vlan: NumberColumn<number>;
/** Identification of the IP fragments. */
export declare const fragment_id: NumberColumn<number>;
/** Offset of the IP fragment. In 8 bytes. */
export declare const fragment_offset: NumberColumn<number>;
/** IPv6 flow label. */
export declare const ipv6_flow_label: NumberColumn<number>;
/** Flag bits of the IPv4 header. */
export declare const ip_flags: NumberColumn<number>;
/** VRF on the input side. */
export declare const ingress_vrf: NumberColumn<number>;
/** VRF on the output side. */
export declare const egress_vrf: NumberColumn<number>;
/** Who began the biflow (RFC 5103): 1 source, 2 destination, 3 perimeter. */
export declare const biflow_direction: NumberColumn<number>;
/** Direction at the interface, plus one: 1 ingress, 2 egress, 0 not exported. */
export declare const flow_direction: NumberColumn<number>;
/** MPLS labels, top of the stack first. */
export declare const mpls_labels: ListsColumn;
/** MPLS times to live, top of the stack first. */
export declare const mpls_ttls: ListsColumn;
/** AS path to the destination. */
export declare const as_path: ListsColumn;
/** BGP communities, AS in the upper 16 bits. */
export declare const bgp_communities: ListsColumn;
/** Headers of a sampled packet: 0 Ethernet, 1 IPv4, 2 IPv6, 3 TCP, 4 UDP, 5 MPLS, 6 802.1Q, 7 ICMP, 8 ICMPv6. */
export declare const layer_stack: ListsColumn;
/** Size of each header in `layer_stack`. In bytes. */
export declare const layer_sizes: ListsColumn;
/** Source address after translation. */
export declare const nat_src_addr: Address;
/** Destination address after translation. */
export declare const nat_dst_addr: Address;
/** Source port after translation. */
export declare const nat_src_port: NumberColumn<number>;
/** Destination port after translation. */
export declare const nat_dst_port: NumberColumn<number>;
/** NAT event (RFC 8158, section 4.3). */
export declare const nat_event: NumberColumn<number>;
/** Firewall event: 1 created, 2 deleted, 3 denied, 4 alert, 5 update. */
export declare const firewall_event: NumberColumn<number>;
/** Why the flow ended: 1 idle, 2 active timeout, 3 end seen, 4 forced, 5 resources. */
export declare const flow_end_reason: NumberColumn<number>;
/** Customer of the local side. */
export declare const customer_id: NumberColumn<number>;
/** Customer of the source address. */
export declare const src_customer_id: NumberColumn<number>;
/** Customer of the destination address. */
export declare const dst_customer_id: NumberColumn<number>;
/** Direction at the border of the network: 1 in, 2 out, 3 through, 4 inside; 0 unknown. */
export declare const direction: NumberColumn<number>;
/** Which address is outside the network: 1 source, 2 destination; 0 neither or unknown. */
export declare const remote_side: NumberColumn<number>;
/** Country of the source (ISO 3166 alpha-2). */
export declare const src_country: TextColumn;
/** Country of the destination (ISO 3166 alpha-2). */
export declare const dst_country: TextColumn;
/** Country of the remote side. */
export declare const remote_country: TextColumn;
/** Name of the IP protocol. */
export declare const proto_name: TextColumn;
/** Free text for people. */
export declare const note: TextColumn;
/** Bytes multiplied by the sampling rate. In bytes. */
export declare const scaled_bytes: NumberColumn<bigint>;
/** Packets multiplied by the sampling rate. In packets. */
export declare const scaled_packets: NumberColumn<bigint>;
/** Organisation of the source's autonomous system. */
export declare const src_as_name: TextColumn;
/** Organisation of the destination's autonomous system. */
export declare const dst_as_name: TextColumn;
/** 1 if bytes and packets were multiplied in place by another program. */
export declare const normalized: NumberColumn<number>;
/** Name of the input interface. */
export declare const src_if_name: TextColumn;
/** Description of the input interface. */
export declare const src_if_desc: TextColumn;
/** Speed of the input interface. In Mbit/s. */
export declare const src_if_speed: NumberColumn<number>;
/** Name of the output interface. */
export declare const dst_if_name: TextColumn;
/** Description of the output interface. */
export declare const dst_if_desc: TextColumn;
/** Speed of the output interface. In Mbit/s. */
export declare const dst_if_speed: NumberColumn<number>;
/** How the source address was anonymised: 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash; 0 not. */
export declare const src_addr_anon: NumberColumn<number>;
/** Leading bits of the source address that were kept. In bits. */
export declare const src_addr_preserved: NumberColumn<number>;
/** How the destination address was anonymised. */
export declare const dst_addr_anon: NumberColumn<number>;
/** Leading bits of the destination address that were kept. In bits. */
export declare const dst_addr_preserved: NumberColumn<number>;
/** How the exporter's address was anonymised. */
export declare const exporter_addr_anon: NumberColumn<number>;
/** Leading bits of the exporter's address that were kept. In bits. */
export declare const exporter_addr_preserved: NumberColumn<number>;
/** How the next hop was anonymised. */
export declare const next_hop_anon: NumberColumn<number>;
/** Leading bits of the next hop that were kept. In bits. */
export declare const next_hop_preserved: NumberColumn<number>;
/** How the BGP next hop was anonymised. */
export declare const bgp_next_hop_anon: NumberColumn<number>;
/** Leading bits of the BGP next hop that were kept. In bits. */
export declare const bgp_next_hop_preserved: NumberColumn<number>;
/** How the translated source address was anonymised. */
export declare const nat_src_addr_anon: NumberColumn<number>;
/** Leading bits of the translated source address that were kept. In bits. */
export declare const nat_src_addr_preserved: NumberColumn<number>;
/** How the translated destination address was anonymised. */
export declare const nat_dst_addr_anon: NumberColumn<number>;
/** Leading bits of the translated destination address that were kept. In bits. */
export declare const nat_dst_addr_preserved: NumberColumn<number>;
