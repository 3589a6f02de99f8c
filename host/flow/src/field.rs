//! The table of standard columns. The WIT documentation, the SDK constants, the protobuf schema and
//! the reference page are generated from it (`cargo xtask generate`) and checked against it by a test.

use crate::ColumnId;

/// What a column holds per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// Text, dictionary coded.
    Text,
    /// A list of 32-bit numbers.
    Lists,
}

impl Width {
    /// The name in TOML and in the reference: `u8`, `u16`, `u32`, `u64`, `text` or `lists`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Width::U8 => "u8",
            Width::U16 => "u16",
            Width::U32 => "u32",
            Width::U64 => "u64",
            Width::Text => "text",
            Width::Lists => "lists",
        }
    }

    /// Whether it is one number a row.
    #[must_use]
    pub fn is_number(self) -> bool {
        !matches!(self, Width::Text | Width::Lists)
    }

    /// The width called `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Width> {
        [Width::U8, Width::U16, Width::U32, Width::U64, Width::Text, Width::Lists]
            .into_iter()
            .find(|width| width.name() == name)
    }
}

/// A standard column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Number of the column: stable, never reused.
    pub number: ColumnId,
    /// Name, as in TOML, in `column-of` and in grants.
    pub name: &'static str,
    /// What it holds.
    pub width: Width,
    /// Unit, or `""` where the doc line says it all.
    pub unit: &'static str,
    /// Protobuf field: number and name in the goflow2 / flowpipeline schemas; sluice's own from 10000.
    /// On the high half of an address; the low half has none.
    pub proto: Option<(u32, &'static str)>,
    /// IANA IPFIX information elements that it is read from, in order of preference.
    pub elements: &'static [u16],
    /// One line of explanation.
    pub doc: &'static str,
}

/// An address: two columns that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressField {
    /// Name of the pair; grants and lists of fields name it and mean both halves.
    pub name: &'static str,
    /// Column of the high half.
    pub hi: ColumnId,
    /// Column of the low half.
    pub lo: ColumnId,
    /// Column that records how it was anonymised: 0 not, 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash.
    pub anon: ColumnId,
    /// Column that records how many leading bits are the original ones.
    pub preserved: ColumnId,
}

macro_rules! fields {
    ($($number:literal $constant:ident $name:literal $width:ident $unit:literal [$($proto:literal $proto_name:literal)?] [$($element:literal)*] $doc:literal;)*) => {
        /// The standard columns, by ascending number.
        pub const FIELDS: &[Field] = &[$(Field {
            number: $number,
            name: $name,
            width: Width::$width,
            unit: $unit,
            proto: fields!(@proto $($proto $proto_name)?),
            elements: &[$($element),*],
            doc: $doc,
        }),*];

        /// Numbers of the standard columns.
        pub mod col {
            use crate::ColumnId;
            $(#[doc = $doc] pub const $constant: ColumnId = $number;)*
        }
    };
    (@proto) => { None };
    (@proto $number:literal $name:literal) => { Some(($number, $name)) };
}

fields! {
    1   FLOW_TYPE "flow_type" U8 "" [1 "type"] [] "Protocol the record came by: 1 sFlow v5, 2 NetFlow v5, 3 NetFlow v9, 4 IPFIX.";
    2   RECEIVED_NS "received_ns" U64 "ns since the Unix epoch" [110 "time_received_ns"] [] "When the datagram was received.";
    3   FIRST_NS "first_ns" U64 "ns since the Unix epoch" [111 "time_flow_start_ns"] [22 150 152 154 156] "First packet of the flow; sFlow has none and gives the time of receipt.";
    4   LAST_NS "last_ns" U64 "ns since the Unix epoch" [112 "time_flow_end_ns"] [21 151 153 155 157] "Last packet of the flow; sFlow has none and gives the time of receipt.";
    5   SAMPLING_RATE "sampling_rate" U64 "packets" [3 "sampling_rate"] [34 50 305] "N of \"1 in N packets\", from the record or from options data; counters stay as exported.";
    6   SEQUENCE "sequence" U32 "" [4 "sequence_num"] [] "Sequence number of the datagram.";
    7   OBSERVATION_DOMAIN "observation_domain" U32 "" [70 "observation_domain_id"] [149] "Observation domain; the source ID of NetFlow v9, engine type and id of v5, sub-agent of sFlow.";
    8   OBSERVATION_POINT "observation_point" U32 "" [71 "observation_point_id"] [138] "Observation point.";
    9   SAMPLER_ID "sampler_id" U32 "" [10000 "sampler_id"] [302 48] "Sampler or selector that took the packets.";
    10  EXPORTER_ADDR_HI "exporter_addr_hi" U64 "" [11 "sampler_address"] [130 131] "Address of the exporter, high half: the datagram's source, for sFlow the agent.";
    11  EXPORTER_ADDR_LO "exporter_addr_lo" U64 "" [] [] "Address of the exporter, low half.";
    12  SRC_ADDR_HI "src_addr_hi" U64 "" [6 "src_addr"] [8 27] "Source address, high half; IPv4 as `::ffff:a.b.c.d`.";
    13  SRC_ADDR_LO "src_addr_lo" U64 "" [] [] "Source address, low half.";
    14  DST_ADDR_HI "dst_addr_hi" U64 "" [7 "dst_addr"] [12 28] "Destination address, high half.";
    15  DST_ADDR_LO "dst_addr_lo" U64 "" [] [] "Destination address, low half.";
    16  NEXT_HOP_HI "next_hop_hi" U64 "" [12 "next_hop"] [15 62] "IP next hop, high half.";
    17  NEXT_HOP_LO "next_hop_lo" U64 "" [] [] "IP next hop, low half.";
    18  BGP_NEXT_HOP_HI "bgp_next_hop_hi" U64 "" [100 "bgp_next_hop"] [18 63] "BGP next hop, high half.";
    19  BGP_NEXT_HOP_LO "bgp_next_hop_lo" U64 "" [] [] "BGP next hop, low half.";
    20  BYTES "bytes" U64 "bytes" [9 "bytes"] [1 23 85 352] "Bytes as exported, not multiplied by the sampling rate.";
    21  PACKETS "packets" U64 "packets" [10 "packets"] [2 24 86] "Packets as exported, not multiplied by the sampling rate.";
    22  SRC_AS "src_as" U32 "" [14 "src_as"] [16] "Autonomous system of the source.";
    23  DST_AS "dst_as" U32 "" [15 "dst_as"] [17] "Autonomous system of the destination.";
    24  NEXT_HOP_AS "next_hop_as" U32 "" [13 "next_hop_as"] [128] "Autonomous system of the next hop.";
    25  SRC_NET "src_net" U8 "bits" [16 "src_net"] [9 29] "Prefix length of the source route.";
    26  DST_NET "dst_net" U8 "bits" [17 "dst_net"] [13 30] "Prefix length of the destination route.";
    27  IN_IF "in_if" U32 "" [18 "in_if"] [10 252] "SNMP index of the input interface.";
    28  OUT_IF "out_if" U32 "" [19 "out_if"] [14 253] "SNMP index of the output interface.";
    29  PROTO "proto" U8 "" [20 "proto"] [4] "IP protocol number.";
    30  SRC_PORT "src_port" U16 "" [21 "src_port"] [7 180 182] "Source port.";
    31  DST_PORT "dst_port" U16 "" [22 "dst_port"] [11 181 183] "Destination port.";
    32  TOS "tos" U8 "" [23 "ip_tos"] [5] "IPv4 type of service or IPv6 traffic class.";
    33  FORWARDING_STATUS "forwarding_status" U32 "" [24 "forwarding_status"] [89] "Forwarding status (RFC 7270, section 4.12).";
    34  TTL "ttl" U8 "" [25 "ip_ttl"] [192 52] "IPv4 time to live or IPv6 hop limit.";
    35  TCP_FLAGS "tcp_flags" U16 "" [26 "tcp_flags"] [6] "TCP flags of all packets, or-ed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.";
    36  SRC_MAC "src_mac" U64 "" [27 "src_mac"] [56 81] "Source MAC address, first octet most significant.";
    37  DST_MAC "dst_mac" U64 "" [28 "dst_mac"] [80 57] "Destination MAC address, first octet most significant.";
    38  VLAN_ID "vlan_id" U16 "" [29 "vlan_id"] [243] "VLAN of the frame.";
    39  ETYPE "etype" U16 "" [30 "etype"] [256] "Ethertype: 0x0800 IPv4, 0x86dd IPv6.";
    40  ICMP_TYPE "icmp_type" U8 "" [31 "icmp_type"] [176 178] "ICMP type.";
    41  ICMP_CODE "icmp_code" U8 "" [32 "icmp_code"] [177 179] "ICMP code.";
    42  SRC_VLAN "src_vlan" U16 "" [33 "src_vlan"] [58] "VLAN on the input side.";
    43  DST_VLAN "dst_vlan" U16 "" [34 "dst_vlan"] [59] "VLAN on the output side.";
    44  FRAGMENT_ID "fragment_id" U32 "" [35 "fragment_id"] [54] "Identification of the IP fragments.";
    45  FRAGMENT_OFFSET "fragment_offset" U16 "8 bytes" [36 "fragment_offset"] [88] "Offset of the IP fragment.";
    46  IPV6_FLOW_LABEL "ipv6_flow_label" U32 "" [37 "ipv6_flow_label"] [31] "IPv6 flow label.";
    47  IP_FLAGS "ip_flags" U8 "" [38 "ip_flags"] [197] "Flag bits of the IPv4 header.";
    48  INGRESS_VRF "ingress_vrf" U32 "" [39 "ingress_vrf_id"] [234] "VRF on the input side.";
    49  EGRESS_VRF "egress_vrf" U32 "" [40 "egress_vrf_id"] [235] "VRF on the output side.";
    50  BIFLOW_DIRECTION "biflow_direction" U8 "" [41 "bi_flow_direction"] [239] "Who began the biflow (RFC 5103): 1 source, 2 destination, 3 perimeter.";
    51  FLOW_DIRECTION "flow_direction" U8 "" [42 "flow_direction"] [61] "Direction at the interface, plus one: 1 ingress, 2 egress, 0 not exported.";
    52  MPLS_LABELS "mpls_labels" Lists "" [81 "mpls_label"] [70 71 72 73 74 75 76 77 78 79] "MPLS labels, top of the stack first.";
    53  MPLS_TTLS "mpls_ttls" Lists "" [80 "mpls_ttl"] [200] "MPLS times to live, top of the stack first.";
    54  AS_PATH "as_path" Lists "" [102 "as_path"] [] "AS path to the destination.";
    55  BGP_COMMUNITIES "bgp_communities" Lists "" [101 "bgp_communities"] [] "BGP communities, AS in the upper 16 bits.";
    56  LAYER_STACK "layer_stack" Lists "" [103 "layer_stack"] [] "Headers of a sampled packet: 0 Ethernet, 1 IPv4, 2 IPv6, 3 TCP, 4 UDP, 5 MPLS, 6 802.1Q, 7 ICMP, 8 ICMPv6.";
    57  LAYER_SIZES "layer_sizes" Lists "bytes" [104 "layer_size"] [] "Size of each header in `layer_stack`.";
    58  NAT_SRC_ADDR_HI "nat_src_addr_hi" U64 "" [10010 "nat_src_addr"] [225 281] "Source address after translation, high half.";
    59  NAT_SRC_ADDR_LO "nat_src_addr_lo" U64 "" [] [] "Source address after translation, low half.";
    60  NAT_DST_ADDR_HI "nat_dst_addr_hi" U64 "" [10011 "nat_dst_addr"] [226 282] "Destination address after translation, high half.";
    61  NAT_DST_ADDR_LO "nat_dst_addr_lo" U64 "" [] [] "Destination address after translation, low half.";
    62  NAT_SRC_PORT "nat_src_port" U16 "" [10012 "nat_src_port"] [227] "Source port after translation.";
    63  NAT_DST_PORT "nat_dst_port" U16 "" [10013 "nat_dst_port"] [228] "Destination port after translation.";
    64  NAT_EVENT "nat_event" U8 "" [10014 "nat_event"] [230] "NAT event (RFC 8158, section 4.3).";
    65  FIREWALL_EVENT "firewall_event" U8 "" [10015 "firewall_event"] [233] "Firewall event: 1 created, 2 deleted, 3 denied, 4 alert, 5 update.";
    66  FLOW_END_REASON "flow_end_reason" U8 "" [10016 "flow_end_reason"] [136] "Why the flow ended: 1 idle, 2 active timeout, 3 end seen, 4 forced, 5 resources.";

    128 CUSTOMER_ID "customer_id" U32 "" [2000 "cid"] [] "Customer of the local side.";
    129 SRC_CUSTOMER_ID "src_customer_id" U32 "" [2012 "src_cid"] [] "Customer of the source address.";
    130 DST_CUSTOMER_ID "dst_customer_id" U32 "" [2013 "dst_cid"] [] "Customer of the destination address.";
    131 DIRECTION "direction" U8 "" [10020 "direction"] [] "Direction at the border of the network: 1 in, 2 out, 3 through, 4 inside; 0 unknown.";
    132 REMOTE_SIDE "remote_side" U8 "" [2011 "remote_addr"] [] "Which address is outside the network: 1 source, 2 destination; 0 neither or unknown.";
    133 SRC_COUNTRY "src_country" Text "" [1000 "src_country"] [] "Country of the source (ISO 3166 alpha-2).";
    134 DST_COUNTRY "dst_country" Text "" [1001 "dst_country"] [] "Country of the destination (ISO 3166 alpha-2).";
    135 REMOTE_COUNTRY "remote_country" Text "" [2010 "remote_country"] [] "Country of the remote side.";
    136 PROTO_NAME "proto_name" Text "" [2009 "proto_name"] [] "Name of the IP protocol.";
    137 NOTE "note" Text "" [2016 "note"] [] "Free text for people.";
    138 SCALED_BYTES "scaled_bytes" U64 "bytes" [10021 "scaled_bytes"] [] "Bytes multiplied by the sampling rate.";
    139 SCALED_PACKETS "scaled_packets" U64 "packets" [10022 "scaled_packets"] [] "Packets multiplied by the sampling rate.";
    140 SRC_AS_NAME "src_as_name" Text "" [2183 "src_as_name"] [] "Organisation of the source's autonomous system.";
    141 DST_AS_NAME "dst_as_name" Text "" [2184 "dst_as_name"] [] "Organisation of the destination's autonomous system.";
    142 NORMALIZED "normalized" U8 "" [2002 "normalized"] [] "1 if bytes and packets were multiplied in place by another program.";
    143 SRC_IF_NAME "src_if_name" Text "" [2003 "src_if_name"] [] "Name of the input interface.";
    144 SRC_IF_DESC "src_if_desc" Text "" [2004 "src_if_desc"] [] "Description of the input interface.";
    145 SRC_IF_SPEED "src_if_speed" U32 "Mbit/s" [2005 "src_if_speed"] [] "Speed of the input interface.";
    146 DST_IF_NAME "dst_if_name" Text "" [2006 "dst_if_name"] [] "Name of the output interface.";
    147 DST_IF_DESC "dst_if_desc" Text "" [2007 "dst_if_desc"] [] "Description of the output interface.";
    148 DST_IF_SPEED "dst_if_speed" U32 "Mbit/s" [2008 "dst_if_speed"] [] "Speed of the output interface.";

    160 SRC_ADDR_ANON "src_addr_anon" U8 "" [2160 "src_addr_anon"] [] "How the source address was anonymised: 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash; 0 not.";
    161 SRC_ADDR_PRESERVED "src_addr_preserved" U8 "bits" [2162 "src_addr_preserved_len"] [] "Leading bits of the source address that were kept.";
    162 DST_ADDR_ANON "dst_addr_anon" U8 "" [2161 "dst_addr_anon"] [] "How the destination address was anonymised.";
    163 DST_ADDR_PRESERVED "dst_addr_preserved" U8 "bits" [2163 "dst_addr_preserved_len"] [] "Leading bits of the destination address that were kept.";
    164 EXPORTER_ADDR_ANON "exporter_addr_anon" U8 "" [2164 "sampler_addr_anon"] [] "How the exporter's address was anonymised.";
    165 EXPORTER_ADDR_PRESERVED "exporter_addr_preserved" U8 "bits" [2165 "sampler_addr_preserved_prefix_len"] [] "Leading bits of the exporter's address that were kept.";
    166 NEXT_HOP_ANON "next_hop_anon" U8 "" [2166 "next_hop_anon"] [] "How the next hop was anonymised.";
    167 NEXT_HOP_PRESERVED "next_hop_preserved" U8 "bits" [2167 "next_hop_anon_preserved_prefix_len"] [] "Leading bits of the next hop that were kept.";
    168 BGP_NEXT_HOP_ANON "bgp_next_hop_anon" U8 "" [10030 "bgp_next_hop_anon"] [] "How the BGP next hop was anonymised.";
    169 BGP_NEXT_HOP_PRESERVED "bgp_next_hop_preserved" U8 "bits" [10031 "bgp_next_hop_preserved_len"] [] "Leading bits of the BGP next hop that were kept.";
    170 NAT_SRC_ADDR_ANON "nat_src_addr_anon" U8 "" [10032 "nat_src_addr_anon"] [] "How the translated source address was anonymised.";
    171 NAT_SRC_ADDR_PRESERVED "nat_src_addr_preserved" U8 "bits" [10033 "nat_src_addr_preserved_len"] [] "Leading bits of the translated source address that were kept.";
    172 NAT_DST_ADDR_ANON "nat_dst_addr_anon" U8 "" [10034 "nat_dst_addr_anon"] [] "How the translated destination address was anonymised.";
    173 NAT_DST_ADDR_PRESERVED "nat_dst_addr_preserved" U8 "bits" [10035 "nat_dst_addr_preserved_len"] [] "Leading bits of the translated destination address that were kept.";
}

macro_rules! addresses {
    ($($name:literal $hi:ident $lo:ident $anon:ident $preserved:ident;)*) => {
        /// The address columns: every one that a reducer has to cover.
        pub const ADDRESSES: &[AddressField] = &[$(AddressField {
            name: $name, hi: col::$hi, lo: col::$lo, anon: col::$anon, preserved: col::$preserved,
        }),*];
    };
}

addresses! {
    "exporter_addr" EXPORTER_ADDR_HI EXPORTER_ADDR_LO EXPORTER_ADDR_ANON EXPORTER_ADDR_PRESERVED;
    "src_addr" SRC_ADDR_HI SRC_ADDR_LO SRC_ADDR_ANON SRC_ADDR_PRESERVED;
    "dst_addr" DST_ADDR_HI DST_ADDR_LO DST_ADDR_ANON DST_ADDR_PRESERVED;
    "next_hop" NEXT_HOP_HI NEXT_HOP_LO NEXT_HOP_ANON NEXT_HOP_PRESERVED;
    "bgp_next_hop" BGP_NEXT_HOP_HI BGP_NEXT_HOP_LO BGP_NEXT_HOP_ANON BGP_NEXT_HOP_PRESERVED;
    "nat_src_addr" NAT_SRC_ADDR_HI NAT_SRC_ADDR_LO NAT_SRC_ADDR_ANON NAT_SRC_ADDR_PRESERVED;
    "nat_dst_addr" NAT_DST_ADDR_HI NAT_DST_ADDR_LO NAT_DST_ADDR_ANON NAT_DST_ADDR_PRESERVED;
}

/// Name of a flow type as goflow2 writes it, e.g. `"NETFLOW_V9"` for 3.
#[must_use]
pub fn name_of_flow_type(flow_type: u64) -> &'static str {
    match flow_type {
        1 => "SFLOW_5",
        2 => "NETFLOW_V5",
        3 => "NETFLOW_V9",
        4 => "IPFIX",
        5 => "EBPF",
        _ => "FLOWUNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_names_and_protobuf_numbers_are_each_used_once() {
        assert!(FIELDS.is_sorted_by(|a, b| a.number < b.number));
        let names: HashSet<_> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), FIELDS.len());
        let protos: Vec<_> = FIELDS.iter().filter_map(|field| field.proto).map(|(number, _)| number).collect();
        assert_eq!(protos.iter().collect::<HashSet<_>>().len(), protos.len());
    }

    #[test]
    fn every_high_half_has_its_low_half_and_belongs_to_an_address() {
        for field in FIELDS.iter().filter(|field| field.name.ends_with("_hi")) {
            let address = ADDRESSES.iter().find(|address| address.hi == field.number).expect(field.name);
            assert_eq!(format!("{}_hi", address.name), field.name);
            let low = FIELDS.iter().find(|low| low.number == address.lo).unwrap();
            assert_eq!(format!("{}_lo", address.name), low.name);
        }
    }
}
