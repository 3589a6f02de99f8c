"""The standard columns. Generated from wit/columns.md by sdk/python/generate.py: do not edit.

Unsigned numbers with their bytes a row, texts, lists, and addresses, which are two columns (`src_addr.hi`, `src_addr.lo`).
"""

from .expression import Address, Column, Lists, Number, Text

flow_type = Number("flow_type", 1, 1)
"""Protocol the record came by: 1 sFlow v5, 2 NetFlow v5, 3 NetFlow v9, 4 IPFIX."""
received_ns = Number("received_ns", 2, 8)
"""When the datagram was received. In ns since the Unix epoch."""
first_ns = Number("first_ns", 3, 8)
"""First packet of the flow; sFlow has none and gives the time of receipt. In ns since the Unix epoch."""
last_ns = Number("last_ns", 4, 8)
"""Last packet of the flow; sFlow has none and gives the time of receipt. In ns since the Unix epoch."""
sampling_rate = Number("sampling_rate", 5, 8)
"""N of "1 in N packets", from the record or from options data; counters stay as exported. In packets."""
sequence = Number("sequence", 6, 4)
"""Sequence number of the datagram."""
observation_domain = Number("observation_domain", 7, 4)
"""Observation domain; the source ID of NetFlow v9, engine type and id of v5, sub-agent of sFlow."""
observation_point = Number("observation_point", 8, 4)
"""Observation point."""
sampler_id = Number("sampler_id", 9, 4)
"""Sampler or selector that took the packets."""
exporter_addr = Address("exporter_addr", 10, 11)
"""Address of the exporter: the datagram's source, for sFlow the agent."""
src_addr = Address("src_addr", 12, 13)
"""Source address; IPv4 as `::ffff:a.b.c.d`."""
dst_addr = Address("dst_addr", 14, 15)
"""Destination address."""
next_hop = Address("next_hop", 16, 17)
"""IP next hop."""
bgp_next_hop = Address("bgp_next_hop", 18, 19)
"""BGP next hop."""
bytes = Number("bytes", 20, 8)
"""Bytes as exported, not multiplied by the sampling rate. In bytes."""
packets = Number("packets", 21, 8)
"""Packets as exported, not multiplied by the sampling rate. In packets."""
src_as = Number("src_as", 22, 4)
"""Autonomous system of the source."""
dst_as = Number("dst_as", 23, 4)
"""Autonomous system of the destination."""
next_hop_as = Number("next_hop_as", 24, 4)
"""Autonomous system of the next hop."""
src_net = Number("src_net", 25, 1)
"""Prefix length of the source route. In bits."""
dst_net = Number("dst_net", 26, 1)
"""Prefix length of the destination route. In bits."""
in_if = Number("in_if", 27, 4)
"""SNMP index of the input interface."""
out_if = Number("out_if", 28, 4)
"""SNMP index of the output interface."""
proto = Number("proto", 29, 1)
"""IP protocol number."""
src_port = Number("src_port", 30, 2)
"""Source port."""
dst_port = Number("dst_port", 31, 2)
"""Destination port."""
tos = Number("tos", 32, 1)
"""IPv4 type of service or IPv6 traffic class."""
forwarding_status = Number("forwarding_status", 33, 4)
"""Forwarding status (RFC 7270, section 4.12)."""
ttl = Number("ttl", 34, 1)
"""IPv4 time to live or IPv6 hop limit."""
tcp_flags = Number("tcp_flags", 35, 2)
"""TCP flags of all packets, or-ed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128."""
src_mac = Number("src_mac", 36, 8)
"""Source MAC address, first octet most significant."""
dst_mac = Number("dst_mac", 37, 8)
"""Destination MAC address, first octet most significant."""
vlan_id = Number("vlan_id", 38, 2)
"""VLAN of the frame."""
etype = Number("etype", 39, 2)
"""Ethertype: 0x0800 IPv4, 0x86dd IPv6."""
icmp_type = Number("icmp_type", 40, 1)
"""ICMP type."""
icmp_code = Number("icmp_code", 41, 1)
"""ICMP code."""
src_vlan = Number("src_vlan", 42, 2)
"""VLAN on the input side."""
dst_vlan = Number("dst_vlan", 43, 2)
"""VLAN on the output side."""
fragment_id = Number("fragment_id", 44, 4)
"""Identification of the IP fragments."""
fragment_offset = Number("fragment_offset", 45, 2)
"""Offset of the IP fragment. In 8 bytes."""
ipv6_flow_label = Number("ipv6_flow_label", 46, 4)
"""IPv6 flow label."""
ip_flags = Number("ip_flags", 47, 1)
"""Flag bits of the IPv4 header."""
ingress_vrf = Number("ingress_vrf", 48, 4)
"""VRF on the input side."""
egress_vrf = Number("egress_vrf", 49, 4)
"""VRF on the output side."""
biflow_direction = Number("biflow_direction", 50, 1)
"""Who began the biflow (RFC 5103): 1 source, 2 destination, 3 perimeter."""
flow_direction = Number("flow_direction", 51, 1)
"""Direction at the interface, plus one: 1 ingress, 2 egress, 0 not exported."""
mpls_labels = Lists("mpls_labels", 52)
"""MPLS labels, top of the stack first."""
mpls_ttls = Lists("mpls_ttls", 53)
"""MPLS times to live, top of the stack first."""
as_path = Lists("as_path", 54)
"""AS path to the destination."""
bgp_communities = Lists("bgp_communities", 55)
"""BGP communities, AS in the upper 16 bits."""
layer_stack = Lists("layer_stack", 56)
"""Headers of a sampled packet: 0 Ethernet, 1 IPv4, 2 IPv6, 3 TCP, 4 UDP, 5 MPLS, 6 802.1Q, 7 ICMP, 8 ICMPv6."""
layer_sizes = Lists("layer_sizes", 57)
"""Size of each header in `layer_stack`. In bytes."""
nat_src_addr = Address("nat_src_addr", 58, 59)
"""Source address after translation."""
nat_dst_addr = Address("nat_dst_addr", 60, 61)
"""Destination address after translation."""
nat_src_port = Number("nat_src_port", 62, 2)
"""Source port after translation."""
nat_dst_port = Number("nat_dst_port", 63, 2)
"""Destination port after translation."""
nat_event = Number("nat_event", 64, 1)
"""NAT event (RFC 8158, section 4.3)."""
firewall_event = Number("firewall_event", 65, 1)
"""Firewall event: 1 created, 2 deleted, 3 denied, 4 alert, 5 update."""
flow_end_reason = Number("flow_end_reason", 66, 1)
"""Why the flow ended: 1 idle, 2 active timeout, 3 end seen, 4 forced, 5 resources."""
customer_id = Number("customer_id", 128, 4)
"""Customer of the local side."""
src_customer_id = Number("src_customer_id", 129, 4)
"""Customer of the source address."""
dst_customer_id = Number("dst_customer_id", 130, 4)
"""Customer of the destination address."""
direction = Number("direction", 131, 1)
"""Direction at the border of the network: 1 in, 2 out, 3 through, 4 inside; 0 unknown."""
remote_side = Number("remote_side", 132, 1)
"""Which address is outside the network: 1 source, 2 destination; 0 neither or unknown."""
src_country = Text("src_country", 133)
"""Country of the source (ISO 3166 alpha-2)."""
dst_country = Text("dst_country", 134)
"""Country of the destination (ISO 3166 alpha-2)."""
remote_country = Text("remote_country", 135)
"""Country of the remote side."""
proto_name = Text("proto_name", 136)
"""Name of the IP protocol."""
note = Text("note", 137)
"""Free text for people."""
scaled_bytes = Number("scaled_bytes", 138, 8)
"""Bytes multiplied by the sampling rate. In bytes."""
scaled_packets = Number("scaled_packets", 139, 8)
"""Packets multiplied by the sampling rate. In packets."""
src_as_name = Text("src_as_name", 140)
"""Organisation of the source's autonomous system."""
dst_as_name = Text("dst_as_name", 141)
"""Organisation of the destination's autonomous system."""
normalized = Number("normalized", 142, 1)
"""1 if bytes and packets were multiplied in place by another program."""
src_if_name = Text("src_if_name", 143)
"""Name of the input interface."""
src_if_desc = Text("src_if_desc", 144)
"""Description of the input interface."""
src_if_speed = Number("src_if_speed", 145, 4)
"""Speed of the input interface. In Mbit/s."""
dst_if_name = Text("dst_if_name", 146)
"""Name of the output interface."""
dst_if_desc = Text("dst_if_desc", 147)
"""Description of the output interface."""
dst_if_speed = Number("dst_if_speed", 148, 4)
"""Speed of the output interface. In Mbit/s."""
src_addr_anon = Number("src_addr_anon", 160, 1)
"""How the source address was anonymised: 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash; 0 not."""
src_addr_preserved = Number("src_addr_preserved", 161, 1)
"""Leading bits of the source address that were kept. In bits."""
dst_addr_anon = Number("dst_addr_anon", 162, 1)
"""How the destination address was anonymised."""
dst_addr_preserved = Number("dst_addr_preserved", 163, 1)
"""Leading bits of the destination address that were kept. In bits."""
exporter_addr_anon = Number("exporter_addr_anon", 164, 1)
"""How the exporter's address was anonymised."""
exporter_addr_preserved = Number("exporter_addr_preserved", 165, 1)
"""Leading bits of the exporter's address that were kept. In bits."""
next_hop_anon = Number("next_hop_anon", 166, 1)
"""How the next hop was anonymised."""
next_hop_preserved = Number("next_hop_preserved", 167, 1)
"""Leading bits of the next hop that were kept. In bits."""
bgp_next_hop_anon = Number("bgp_next_hop_anon", 168, 1)
"""How the BGP next hop was anonymised."""
bgp_next_hop_preserved = Number("bgp_next_hop_preserved", 169, 1)
"""Leading bits of the BGP next hop that were kept. In bits."""
nat_src_addr_anon = Number("nat_src_addr_anon", 170, 1)
"""How the translated source address was anonymised."""
nat_src_addr_preserved = Number("nat_src_addr_preserved", 171, 1)
"""Leading bits of the translated source address that were kept. In bits."""
nat_dst_addr_anon = Number("nat_dst_addr_anon", 172, 1)
"""How the translated destination address was anonymised."""
nat_dst_addr_preserved = Number("nat_dst_addr_preserved", 173, 1)
"""Leading bits of the translated destination address that were kept. In bits."""

BY_NAME: dict[str, Column] = {
    item.name: item for item in list(globals().values()) if isinstance(item, Column)
}
"""Every column here, by its name."""
