//! What a place in a line shows: the list of goflow2's fields, and how a name becomes a place.

use sluice_flow::{ADDRESSES, Batch, ColumnId, ColumnSet, FIELDS, Schema, Width, col};

/// How a value is found and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number.
    Number(ColumnId),
    /// A number of nanoseconds since the Unix epoch.
    Time(ColumnId),
    /// The address whose high half is in this column.
    Address(ColumnId),
    /// The network of the address in the second column, by the prefix length in the first.
    Network(ColumnId, ColumnId),
    /// A MAC address.
    Mac(ColumnId),
    /// The name of the export protocol.
    FlowType,
    /// The name of the ethertype.
    Etype,
    /// The name of the IP protocol.
    Proto,
    /// Text.
    Text(ColumnId),
    /// A list of numbers.
    List(ColumnId),
    /// A list of header names.
    Layers(ColumnId),
    /// A list that goflow2 has and sluice has no column for: always empty.
    NoList,
    /// A number that goflow2 has and sluice has no column for: always 0.
    NoNumber,
    /// The name of the route.
    Route,
}

/// A value with its name in the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// The fields of goflow2's default JSON, in its order: that of its protobuf message
/// (`pb/flow.proto`, goflow2 2.x), all of them in every line.
const GOFLOW2: &[(&str, Kind)] = &[
    ("type", Kind::FlowType),
    ("time_received_ns", Kind::Number(col::RECEIVED_NS)),
    ("sequence_num", Kind::Number(col::SEQUENCE)),
    ("sampling_rate", Kind::Number(col::SAMPLING_RATE)),
    ("sampler_address", Kind::Address(col::EXPORTER_ADDR_HI)),
    ("time_flow_start_ns", Kind::Number(col::FIRST_NS)),
    ("time_flow_end_ns", Kind::Number(col::LAST_NS)),
    ("bytes", Kind::Number(col::BYTES)),
    ("packets", Kind::Number(col::PACKETS)),
    ("src_addr", Kind::Address(col::SRC_ADDR_HI)),
    ("dst_addr", Kind::Address(col::DST_ADDR_HI)),
    ("etype", Kind::Etype),
    ("proto", Kind::Proto),
    ("src_port", Kind::Number(col::SRC_PORT)),
    ("dst_port", Kind::Number(col::DST_PORT)),
    ("in_if", Kind::Number(col::IN_IF)),
    ("out_if", Kind::Number(col::OUT_IF)),
    ("src_mac", Kind::Mac(col::SRC_MAC)),
    ("dst_mac", Kind::Mac(col::DST_MAC)),
    ("src_vlan", Kind::Number(col::SRC_VLAN)),
    ("dst_vlan", Kind::Number(col::DST_VLAN)),
    ("vlan_id", Kind::Number(col::VLAN_ID)),
    ("ip_tos", Kind::Number(col::TOS)),
    ("forwarding_status", Kind::Number(col::FORWARDING_STATUS)),
    ("ip_ttl", Kind::Number(col::TTL)),
    ("ip_flags", Kind::Number(col::IP_FLAGS)),
    ("tcp_flags", Kind::Number(col::TCP_FLAGS)),
    ("icmp_type", Kind::Number(col::ICMP_TYPE)),
    ("icmp_code", Kind::Number(col::ICMP_CODE)),
    ("ipv6_flow_label", Kind::Number(col::IPV6_FLOW_LABEL)),
    ("fragment_id", Kind::Number(col::FRAGMENT_ID)),
    ("fragment_offset", Kind::Number(col::FRAGMENT_OFFSET)),
    ("src_as", Kind::Number(col::SRC_AS)),
    ("dst_as", Kind::Number(col::DST_AS)),
    ("next_hop", Kind::Address(col::NEXT_HOP_HI)),
    ("next_hop_as", Kind::Number(col::NEXT_HOP_AS)),
    ("src_net", Kind::Network(col::SRC_NET, col::SRC_ADDR_HI)),
    ("dst_net", Kind::Network(col::DST_NET, col::DST_ADDR_HI)),
    ("bgp_next_hop", Kind::Address(col::BGP_NEXT_HOP_HI)),
    ("bgp_communities", Kind::List(col::BGP_COMMUNITIES)),
    ("as_path", Kind::List(col::AS_PATH)),
    ("mpls_ttl", Kind::List(col::MPLS_TTLS)),
    ("mpls_label", Kind::List(col::MPLS_LABELS)),
    ("mpls_ip", Kind::NoList),
    ("observation_domain_id", Kind::Number(col::OBSERVATION_DOMAIN)),
    ("observation_point_id", Kind::Number(col::OBSERVATION_POINT)),
    ("layer_stack", Kind::Layers(col::LAYER_STACK)),
    ("layer_size", Kind::List(col::LAYER_SIZES)),
    ("ipv6_routing_header_addresses", Kind::NoList),
    ("ipv6_routing_header_seg_left", Kind::NoNumber),
];

/// Names of the entries of `layer_stack`, by number (goflow2's `LayerStack`).
pub(crate) const LAYERS: &[&str] = &[
    "Ethernet",
    "IPv4",
    "IPv6",
    "TCP",
    "UDP",
    "MPLS",
    "Dot1Q",
    "ICMP",
    "ICMPv6",
    "GRE",
    "IPv6HeaderRouting",
    "IPv6HeaderFragment",
];

impl Kind {
    /// Adds the columns that are read.
    pub(crate) fn reads(self, set: &mut ColumnSet) {
        match self {
            Kind::Number(column)
            | Kind::Time(column)
            | Kind::Mac(column)
            | Kind::Text(column)
            | Kind::List(column)
            | Kind::Layers(column) => set.insert(column),
            Kind::Address(hi) => [hi, hi + 1].into_iter().for_each(|column| set.insert(column)),
            Kind::Network(length, hi) => [length, hi, hi + 1].into_iter().for_each(|column| set.insert(column)),
            Kind::FlowType => set.insert(col::FLOW_TYPE),
            Kind::Etype => set.insert(col::ETYPE),
            Kind::Proto => set.insert(col::PROTO),
            Kind::NoList | Kind::NoNumber | Kind::Route => {}
        }
    }

    /// Whether the value can be other than absent anywhere in the batch.
    pub(crate) fn is_in(self, batch: &Batch) -> bool {
        match self {
            Kind::Number(column)
            | Kind::Time(column)
            | Kind::Mac(column)
            | Kind::Text(column)
            | Kind::List(column)
            | Kind::Layers(column)
            | Kind::Network(column, _) => batch.has(column),
            Kind::Address(hi) => batch.has(hi) || batch.has(hi + 1),
            Kind::FlowType => batch.has(col::FLOW_TYPE),
            Kind::Etype => batch.has(col::ETYPE),
            Kind::Proto => batch.has(col::PROTO),
            Kind::NoList | Kind::NoNumber => false,
            Kind::Route => batch.routes().is_some(),
        }
    }
}

/// The fields of goflow2, which are in every line.
pub(crate) fn goflow2() -> Vec<Field> {
    GOFLOW2.iter().map(|(name, kind)| Field { name: (*name).to_owned(), kind: *kind }).collect()
}

/// Every other column of `schema` under its own name, and the route.
pub(crate) fn beyond_goflow2(schema: &Schema) -> Vec<Field> {
    let mut known = ColumnSet::EMPTY;
    GOFLOW2.iter().for_each(|(_, kind)| kind.reads(&mut known));
    let mut fields = vec![Field { name: "route".to_owned(), kind: Kind::Route }];
    for column in schema.all().minus(known).iter() {
        if let Some(address) = ADDRESSES.iter().find(|address| address.hi == column) {
            fields.push(Field { name: address.name.to_owned(), kind: Kind::Address(column) });
        } else if ADDRESSES.iter().all(|address| address.lo != column)
            && let Some(name) = schema.name(column)
        {
            fields.push(Field { name: name.to_owned(), kind: of_column(schema, column) });
        }
    }
    fields
}

/// The field that an operator means by `name`: a column, an address, a field of goflow2, or `route`.
/// A column that goflow2 has too gets goflow2's name and rendering.
pub(crate) fn of_name(schema: &Schema, name: &str) -> Option<Field> {
    if name == "route" {
        return Some(Field { name: name.to_owned(), kind: Kind::Route });
    }
    if let Some((known, kind)) = GOFLOW2.iter().find(|(known, _)| *known == name) {
        return Some(Field { name: (*known).to_owned(), kind: *kind });
    }
    if let Some(address) = ADDRESSES.iter().find(|address| address.name == name) {
        let known = GOFLOW2.iter().find(|(_, kind)| *kind == Kind::Address(address.hi));
        let name = known.map_or(address.name, |(known, _)| known);
        return Some(Field { name: name.to_owned(), kind: Kind::Address(address.hi) });
    }
    let column = schema.column(name)?;
    let known = FIELDS.iter().find(|field| field.number == column).and_then(|field| field.proto);
    let known = known.and_then(|(_, proto_name)| GOFLOW2.iter().find(|(known, _)| *known == proto_name));
    if let Some((known, kind)) = known {
        return Some(Field { name: (*known).to_owned(), kind: *kind });
    }
    Some(Field { name: name.to_owned(), kind: of_column(schema, column) })
}

fn of_column(schema: &Schema, column: ColumnId) -> Kind {
    match schema.width(column) {
        Some(Width::Text) => Kind::Text(column),
        Some(Width::Lists) => Kind::List(column),
        _ => Kind::Number(column),
    }
}

/// The name among `schema`'s, goflow2's and `route` that is most like `name`.
pub(crate) fn nearest(schema: &Schema, name: &str) -> Option<String> {
    let known = schema.names().chain(GOFLOW2.iter().map(|(known, _)| *known)).chain(["route"]);
    let best = known.map(|known| (distance(known, name), known)).min()?;
    (best.0 <= 3.max(name.len() / 3)).then(|| best.1.to_owned())
}

/// Edits between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, left) in a.chars().enumerate() {
        let mut diagonal = row;
        let mut before = row + 1;
        for (place, right) in above.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(left != *right)).min(before + 1).min(*place + 1);
            diagonal = std::mem::replace(place, here);
            before = here;
        }
        if let Some(first) = above.first_mut() {
            *first = row + 1;
        }
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_shown_exactly_once() {
        let schema = Schema::standard();
        let mut shown = ColumnSet::EMPTY;
        for field in goflow2().into_iter().chain(beyond_goflow2(&schema)) {
            let mut reads = ColumnSet::EMPTY;
            field.kind.reads(&mut reads);
            if !matches!(field.kind, Kind::Network(..)) {
                assert!(reads.iter().all(|column| !shown.contains(column)), "{}", field.name);
            }
            shown = shown.union(reads);
        }
        assert_eq!(shown, schema.all());
    }

    #[test]
    fn names_of_columns_addresses_and_goflow2_are_understood() {
        let schema = Schema::standard();
        for (name, shown) in [
            ("received_ns", "time_received_ns"),
            ("time_received_ns", "time_received_ns"),
            ("exporter_addr", "sampler_address"),
            ("nat_src_addr", "nat_src_addr"),
            ("flow_type", "type"),
            ("tos", "ip_tos"),
            ("customer_id", "customer_id"),
            ("route", "route"),
        ] {
            assert_eq!(of_name(&schema, name).unwrap().name, shown, "{name}");
        }
        assert_eq!(of_name(&schema, "src_adr"), None);
        assert_eq!(nearest(&schema, "src_adr").as_deref(), Some("src_addr"));
        assert_eq!(nearest(&schema, "quite_something_else"), None);
    }
}
