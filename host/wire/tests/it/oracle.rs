//! What a datagram says according to netflow_parser: the same rows by another way.
//!
//! Nothing here is shared with the decoder. Values come as netflow_parser types them, and columns are
//! filled record by record, field by field, from the table of columns.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use netflow_parser::static_versions::{v5, v7};
use netflow_parser::variable_versions::field_value::DurationValue;
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldValue, NetflowPacket, NetflowParser, V9Field};
use sluice_flow::{ADDRESSES, Batch, ColumnId, FIELDS, Width, addr_of, col, halves_of};

const REVERSE_PEN: u32 = 29_305;

/// A row: numbers by column, and lists. What is not there is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) numbers: BTreeMap<ColumnId, u64>,
    pub(crate) lists: BTreeMap<ColumnId, Vec<u32>>,
    /// Whether the record gives its times as uptime, which IPFIX needs options data to understand.
    pub(crate) is_uptime: bool,
}

/// A field of a record.
#[derive(Clone, Copy, Debug)]
struct Value<'a> {
    pen: u32,
    id: u16,
    value: &'a FieldValue,
}

/// What the header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    flow_type: u64,
    received_ns: u64,
    exporter: IpAddr,
    sequence: u32,
    domain: u32,
    export_ns: i128,
    uptime_ms: u32,
    sampling_rate: u64,
}

/// One exporter address, as netflow_parser sees it.
pub(crate) struct Oracle {
    parser: NetflowParser,
    /// Elements of IPFIX templates: netflow_parser gives records without their numbers.
    templates: HashMap<u16, Vec<(u32, u16)>>,
}

impl Oracle {
    /// With limits that a datagram cannot reach.
    pub(crate) fn new() -> Oracle {
        let parser = NetflowParser::builder()
            .with_max_records_per_flowset(65_535)
            .with_max_decoded_field_values_per_message(1 << 20)
            .build()
            .unwrap();
        Oracle { parser, templates: HashMap::new() }
    }

    /// The rows of one datagram. Options data is not applied, and nothing waits for its template.
    pub(crate) fn rows(&mut self, exporter: IpAddr, received_ns: u64, datagram: &[u8]) -> Vec<Row> {
        let mut rows = Vec::new();
        for packet in self.parser.parse_bytes(datagram).packets {
            match packet {
                NetflowPacket::V5(packet) => {
                    let h = packet.header;
                    let header = Header {
                        flow_type: 2,
                        received_ns,
                        exporter,
                        sequence: h.flow_sequence,
                        domain: u32::from(h.engine_type) * 256 + u32::from(h.engine_id),
                        export_ns: i128::from(h.unix_secs) * 1_000_000_000 + i128::from(h.unix_nsecs),
                        uptime_ms: h.sys_up_time,
                        sampling_rate: u64::from(h.sampling_interval) % (1 << 14),
                    };
                    rows.extend(packet.flowsets.iter().map(|flow| netflow5(header, flow)));
                }
                NetflowPacket::V7(packet) => {
                    let h = packet.header;
                    let header = Header {
                        flow_type: 0,
                        received_ns,
                        exporter,
                        sequence: h.flow_sequence,
                        domain: 0,
                        export_ns: i128::from(h.unix_secs) * 1_000_000_000 + i128::from(h.unix_nsecs),
                        uptime_ms: h.sys_up_time,
                        sampling_rate: 0,
                    };
                    rows.extend(packet.flowsets.iter().map(|flow| netflow5(header, &as_v5(flow))));
                }
                NetflowPacket::V9(packet) => {
                    let header = Header {
                        flow_type: 3,
                        received_ns,
                        exporter,
                        sequence: packet.header.sequence_number,
                        domain: packet.header.source_id,
                        export_ns: i128::from(packet.header.unix_secs) * 1_000_000_000,
                        uptime_ms: packet.header.sys_up_time,
                        sampling_rate: 0,
                    };
                    for set in &packet.flowsets {
                        let v9::FlowSetBody::Data(data) = &set.body else { continue };
                        let record = |record: &Vec<(V9Field, FieldValue)>| -> Vec<(u32, u16, FieldValue)> {
                            record.iter().map(|(field, value)| (0, u16::from(*field), value.clone())).collect()
                        };
                        set_rows(header, &data.fields.iter().map(record).collect::<Vec<_>>(), &mut rows);
                    }
                }
                NetflowPacket::IPFix(packet) => {
                    let header = Header {
                        flow_type: 4,
                        received_ns,
                        exporter,
                        sequence: packet.header.sequence_number,
                        domain: packet.header.observation_domain_id,
                        export_ns: i128::from(packet.header.export_time) * 1_000_000_000,
                        uptime_ms: 0,
                        sampling_rate: 0,
                    };
                    for set in &packet.flowsets {
                        match &set.body {
                            ipfix::FlowSetBody::Template(template) => self.learn(template),
                            ipfix::FlowSetBody::Templates(templates) => templates.iter().for_each(|t| self.learn(t)),
                            ipfix::FlowSetBody::Data(data) => {
                                let elements = &self.templates[&set.header.header_id];
                                let record = |record: &Vec<(_, FieldValue)>| -> Vec<(u32, u16, FieldValue)> {
                                    assert_eq!(record.len(), elements.len());
                                    let fields = elements.iter().zip(record);
                                    fields.map(|((pen, id), (_, value))| (*pen, *id, value.clone())).collect()
                                };
                                set_rows(header, &data.fields.iter().map(record).collect::<Vec<_>>(), &mut rows);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        rows
    }

    fn learn(&mut self, template: &ipfix::Template) {
        let elements = template.fields.iter();
        let elements = elements.map(|field| (field.enterprise_number.unwrap_or(0), field.field_type_number)).collect();
        self.templates.insert(template.template_id, elements);
    }
}

/// What v5 has of it.
fn as_v5(flow: &v7::FlowSet) -> v5::FlowSet {
    v5::FlowSet {
        src_addr: flow.src_addr,
        dst_addr: flow.dst_addr,
        next_hop: flow.next_hop,
        input: flow.input,
        output: flow.output,
        d_pkts: flow.d_pkts,
        d_octets: flow.d_octets,
        first: flow.first,
        last: flow.last,
        src_port: flow.src_port,
        dst_port: flow.dst_port,
        pad1: 0,
        tcp_flags: flow.tcp_flags,
        protocol_number: flow.protocol_number,
        protocol_type: flow.protocol_type,
        tos: flow.tos,
        src_as: flow.src_as,
        dst_as: flow.dst_as,
        src_mask: flow.src_mask,
        dst_mask: flow.dst_mask,
        pad2: 0,
    }
}

fn netflow5(header: Header, flow: &v5::FlowSet) -> Row {
    let mut row = Row::common(header);
    row.addr(col::SRC_ADDR_HI, flow.src_addr.into());
    row.addr(col::DST_ADDR_HI, flow.dst_addr.into());
    row.addr(col::NEXT_HOP_HI, flow.next_hop.into());
    let (type_, code) = match flow.protocol_number {
        1 | 58 => (flow.dst_port / 256, flow.dst_port % 256),
        _ => (0, 0),
    };
    for (column, number) in [
        (col::IN_IF, flow.input.into()),
        (col::OUT_IF, flow.output.into()),
        (col::PACKETS, flow.d_pkts.into()),
        (col::BYTES, flow.d_octets.into()),
        (col::FIRST_NS, uptime(header, flow.first.into())),
        (col::LAST_NS, uptime(header, flow.last.into())),
        (col::SRC_PORT, flow.src_port.into()),
        (col::DST_PORT, flow.dst_port.into()),
        (col::TCP_FLAGS, flow.tcp_flags.into()),
        (col::PROTO, flow.protocol_number.into()),
        (col::TOS, flow.tos.into()),
        (col::SRC_AS, flow.src_as.into()),
        (col::DST_AS, flow.dst_as.into()),
        (col::SRC_NET, flow.src_mask.into()),
        (col::DST_NET, flow.dst_mask.into()),
        (col::ETYPE, 0x0800),
        (col::ICMP_TYPE, type_.into()),
        (col::ICMP_CODE, code.into()),
    ] {
        row.set(column, number);
    }
    row
}

/// A row for every record, then one for every reverse direction that counted something.
fn set_rows(header: Header, records: &[Vec<(u32, u16, FieldValue)>], rows: &mut Vec<Row>) {
    let values = |record: &[(u32, u16, FieldValue)]| -> Vec<(u32, u16, FieldValue)> {
        record
            .iter()
            .map(|(pen, id, value)| (*pen, if header.flow_type == 3 { iana(*id) } else { *id }, value.clone()))
            .collect()
    };
    let records: Vec<_> = records.iter().map(|record| values(record)).collect();
    rows.extend(records.iter().map(|record| row(header, record)));
    for record in &records {
        let is_counter = |id: u16| [1, 2, 23, 24, 85, 86, 231, 298, 352].contains(&id);
        let back = |pen: u32, id: u16| match (pen, id) {
            (REVERSE_PEN, id) => Some(id),
            (0, 232) => Some(231),
            (0, 299) => Some(298),
            _ => None,
        };
        let counts =
            |(pen, id, value): &(u32, u16, FieldValue)| back(*pen, *id).is_some_and(is_counter) && number(value) != 0;
        if !record.iter().any(counts) {
            continue;
        }
        let mut reversed = Vec::new();
        for (pen, id, value) in record {
            if let Some(id) = back(*pen, *id) {
                reversed.push((0, id, value.clone()));
                continue;
            }
            let has_own = record.iter().any(|(pen, other, _)| back(*pen, *other) == Some(*id));
            let is_one_way = [6, 61, 176, 177, 178, 179, 32, 139].contains(id);
            if *pen == 0 && !is_counter(*id) && !has_own && !is_one_way {
                reversed.push((0, other_side(*id), value.clone()));
            }
        }
        rows.push(row(header, &reversed));
    }
}

/// IANA's number for what Cisco's firewalls number otherwise.
fn iana(id: u16) -> u16 {
    match id {
        40_001..=40_004 => id - 40_001 + 225,
        40_005 => 233,
        id => id,
    }
}

fn other_side(id: u16) -> u16 {
    let sides = [
        [7, 11],
        [8, 12],
        [9, 13],
        [10, 14],
        [16, 17],
        [27, 28],
        [29, 30],
        [56, 80],
        [57, 81],
        [58, 59],
        [180, 181],
        [182, 183],
        [225, 226],
        [227, 228],
        [234, 235],
        [252, 253],
        [281, 282],
    ];
    let pair = sides.iter().find(|pair| pair.contains(&id));
    pair.map_or(id, |[a, b]| if id == *a { *b } else { *a })
}

fn row(header: Header, record: &[(u32, u16, FieldValue)]) -> Row {
    let mut row = Row::common(header);
    let record: Vec<Value<'_>> = record.iter().map(|(pen, id, value)| Value { pen: *pen, id: *id, value }).collect();
    // Every value of an element of IANA's, and of a list of elements the first that is not zero.
    let all = |id: u16| record.iter().filter(move |value| value.pen == 0 && value.id == id).map(|value| value.value);
    let first = |ids: &[u16]| -> Option<u64> {
        let found: Vec<u64> = ids.iter().flat_map(|id| all(*id)).map(number).collect();
        found.iter().copied().find(|number| *number != 0).or(found.first().copied())
    };

    for field in FIELDS {
        let special = [col::FIRST_NS, col::LAST_NS, col::SAMPLING_RATE, col::ETYPE, col::FLOW_DIRECTION];
        if field.elements.is_empty() || special.contains(&field.number) {
            continue;
        }
        if let Some(address) = ADDRESSES.iter().find(|address| address.hi == field.number) {
            let v4 = field.elements.iter().flat_map(|id| all(*id)).find_map(|value| match value {
                FieldValue::Ip4Addr(addr) => Some(*addr),
                _ => None,
            });
            let v6 = field.elements.iter().flat_map(|id| all(*id)).find_map(|value| match value {
                FieldValue::Ip6Addr(addr) => Some(*addr),
                _ => None,
            });
            let is_exporter = address.name == "exporter_addr";
            match (v4, v6) {
                (Some(v4), _) if !v4.is_unspecified() => row.addr(address.hi, v4.into()),
                (_, Some(v6)) if !v6.is_unspecified() => row.addr(address.hi, v6.into()),
                (Some(v4), None) if !is_exporter => row.addr(address.hi, v4.into()),
                _ => {}
            }
            continue;
        }
        if field.width == Width::Lists {
            let shift = if field.number == col::MPLS_LABELS { 4 } else { 0 };
            let values = field.elements.iter().flat_map(|id| all(*id)).map(number).filter(|number| *number != 0);
            let list: Vec<u32> = values.map(|number| (number >> shift) as u32).collect();
            if !list.is_empty() {
                row.lists.insert(field.number, list);
            }
            continue;
        }
        let found: Vec<u64> =
            field.elements.iter().flat_map(|id| all(*id)).map(|v| narrow(number(v), field.width)).collect();
        if let Some(number) = found.iter().copied().find(|number| *number != 0) {
            row.set(field.number, number);
        }
    }
    for (column, element) in [(col::BYTES, 231), (col::PACKETS, 298)] {
        if row.number(column) == 0
            && let Some(number) = first(&[element])
        {
            row.set(column, number);
        }
    }
    if let Some(direction) = all(61).map(|value| number(value) as u8).find(|direction| *direction != 255) {
        row.set(col::FLOW_DIRECTION, u64::from(direction) + 1);
    }

    // ICMP.
    let combined = || {
        let two_bytes = |value: &&FieldValue| value.byte_len() == 2;
        [32, 139].iter().flat_map(|id| all(*id)).filter(two_bytes).map(number).collect::<Vec<_>>()
    };
    let has_own = record.iter().any(|value| value.pen == 0 && (176..=179).contains(&value.id));
    for (column, shift) in [(col::ICMP_TYPE, 8), (col::ICMP_CODE, 0)] {
        if row.number(column) == 0 {
            let halves = combined().into_iter().map(|both| (both >> shift) & 255);
            row.set(column, halves.into_iter().find(|half| *half != 0).unwrap_or(0));
        }
        let port = all(11).find(|value| value.byte_len() == 2);
        let proto = all(4).next().map(number);
        if header.flow_type == 3
            && !has_own
            && combined().is_empty()
            && matches!(proto, Some(1 | 58))
            && let Some(port) = port
        {
            row.set(column, (number(port) >> shift) & 255);
        }
    }

    // Ethertype.
    let has = |id: u16, len: usize| all(id).any(|value| value.byte_len() == len);
    let of_addr = |id4: u16, id6: u16| match (has(id4, 4), has(id6, 16)) {
        (true, false) => 0x0800,
        (false, true) => 0x86dd,
        _ => 0,
    };
    let etype = if all(256).next().is_some() {
        first(&[256]).unwrap_or(0)
    } else if let Some(version) = all(60).next().map(number) {
        [(4, 0x0800), (6, 0x86dd)].iter().find(|(is, _)| *is == version).map_or(0, |(_, etype)| *etype)
    } else if has(8, 4) && has(27, 16) {
        match addr_of(row.number(col::SRC_ADDR_HI), row.number(col::SRC_ADDR_LO)) {
            Some(IpAddr::V4(_)) => 0x0800,
            Some(IpAddr::V6(_)) => 0x86dd,
            None => 0,
        }
    } else if has(8, 4) || has(27, 16) {
        of_addr(8, 27)
    } else {
        of_addr(12, 28)
    };
    row.set(col::ETYPE, etype & 0xffff);

    // Times.
    let first_ids = [156, 154, 152, 22, 150, 158, 325, 324, 323, 322];
    let last_ids = [157, 155, 153, 21, 151, 159, 325, 324, 323, 322];
    for (column, ids) in [(col::FIRST_NS, first_ids), (col::LAST_NS, last_ids)] {
        let start = all(160).next().map_or(0, number);
        let times = ids.iter().flat_map(|id| all(*id).map(|value| time(header, start, *id, value)));
        row.set(column, times.into_iter().find(|time| *time != 0).unwrap_or(0));
    }
    row.is_uptime = record.iter().any(|value| value.pen == 0 && [21, 22].contains(&value.id));

    // Sampling.
    let one_in = |whole: u64, part: u64| whole.checked_div(part).unwrap_or(0);
    let interval = match (all(305).next().map(number), all(306).next().map(number)) {
        (Some(interval), Some(space)) => one_in(interval.saturating_add(space), interval),
        (Some(interval), None) => interval,
        _ => 0,
    };
    let ratio = match (all(309).next().map(number), all(310).next().map(number)) {
        (Some(size), Some(population)) => one_in(population, size),
        _ => 0,
    };
    let rates: Vec<u64> = [34, 50].iter().flat_map(|id| all(*id)).map(number).chain([interval, ratio]).collect();
    row.set(col::SAMPLING_RATE, rates.into_iter().find(|rate| *rate != 0).unwrap_or(header.sampling_rate));
    row
}

fn time(header: Header, start_ms: u64, id: u16, value: &FieldValue) -> u64 {
    let number = number(value);
    match id {
        21 | 22 if header.flow_type == 3 && value.byte_len() >= 4 => uptime(header, number & 0xffff_ffff),
        21 | 22 if header.flow_type == 4 && start_ms != 0 => {
            let (start, export, wrap) = (i128::from(start_ms), header.export_ns / 1_000_000, 1_i128 << 32);
            let at = start + i128::from(number);
            // Of the times that 32 bits can mean, the one nearest to the export; none before the exporter's start.
            let nearest = at + (export - at + wrap / 2).div_euclid(wrap) * wrap;
            let is_known = i128::from(number) < wrap && export >= start && nearest >= start;
            u64::try_from(if is_known { nearest } else { at } * 1_000_000).unwrap_or(u64::MAX)
        }
        21 | 22 => 0,
        150 | 151 | 322 => u64::try_from(u128::from(number) * 1_000_000_000).unwrap_or(u64::MAX),
        152 | 153 | 323 => u64::try_from(u128::from(number) * 1_000_000).unwrap_or(u64::MAX),
        158 | 159 => u64::try_from(header.export_ns - i128::from(number) * 1_000).unwrap_or(0),
        _ if value.byte_len() != 8 => 0,
        _ => {
            let number = if [154, 155, 324].contains(&id) { number / 2_048 * 2_048 } else { number };
            if number == 0 {
                return 0;
            }
            let fraction = number & 0xffff_ffff;
            // The first era of NTP begins in 1900, the second one 2^32 seconds later.
            let mut seconds = i128::from(number >> 32) - 2_208_988_800;
            if seconds < 0 {
                seconds += 1 << 32;
            }
            (seconds as u64) * 1_000_000_000 + ((u128::from(fraction) * 1_000_000_000) >> 32) as u64
        }
    }
}

/// The uptime that a flow gives may be on either side of the header's, and either may have wrapped.
fn uptime(header: Header, uptime_ms: u64) -> u64 {
    let mut ago_ms = i128::from(header.uptime_ms) - i128::from(uptime_ms);
    if ago_ms >= 1 << 31 {
        ago_ms -= 1 << 32;
    } else if ago_ms < -(1 << 31) {
        ago_ms += 1 << 32;
    }
    u64::try_from((header.export_ns - ago_ms * 1_000_000).max(0)).unwrap_or(u64::MAX)
}

fn narrow(number: u64, width: Width) -> u64 {
    match width {
        Width::U8 => number & 0xff,
        Width::U16 => number & 0xffff,
        Width::U32 => number & 0xffff_ffff,
        _ => number,
    }
}

/// The number that a value stands for; of what is none, the number that its bytes spell.
fn number(value: &FieldValue) -> u64 {
    match value {
        FieldValue::ProtocolType(proto) => u8::from(*proto).into(),
        FieldValue::TcpControlBits(bits, _) => u16::from(*bits).into(),
        FieldValue::Duration(DurationValue::Seconds { value, .. } | DurationValue::Millis { value, .. }) => *value,
        FieldValue::DataNumber(number) if number.as_u64().is_some() => number.as_u64().unwrap(),
        value => {
            let mut bytes = Vec::new();
            value.write_be_bytes(&mut bytes).unwrap();
            bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
    }
}

impl Row {
    fn common(header: Header) -> Row {
        let mut row = Row::default();
        row.addr(col::EXPORTER_ADDR_HI, header.exporter);
        row.set(col::FLOW_TYPE, header.flow_type);
        row.set(col::RECEIVED_NS, header.received_ns);
        row.set(col::SEQUENCE, header.sequence.into());
        row.set(col::OBSERVATION_DOMAIN, header.domain.into());
        row.set(col::SAMPLING_RATE, header.sampling_rate);
        row
    }

    fn set(&mut self, column: ColumnId, number: u64) {
        self.numbers.insert(column, number);
        if number == 0 {
            self.numbers.remove(&column);
        }
    }

    fn addr(&mut self, high: ColumnId, addr: IpAddr) {
        let (hi, lo) = halves_of(addr);
        self.set(high, hi);
        self.set(high + 1, lo);
    }

    fn number(&self, column: ColumnId) -> u64 {
        self.numbers.get(&column).copied().unwrap_or(0)
    }

    /// Row `row` of a batch.
    pub(crate) fn of(batch: &Batch, row: usize) -> Row {
        let mut found = Row::default();
        for field in FIELDS {
            match field.width {
                Width::Lists if !batch.list(field.number, row).is_empty() => {
                    found.lists.insert(field.number, batch.list(field.number, row).to_vec());
                }
                Width::Lists => {}
                Width::Text => assert_eq!(batch.text(field.number, row), "", "no exporter sends {}", field.name),
                _ => found.set(field.number, batch.number(field.number, row)),
            }
        }
        found
    }

    /// Forgets columns that this oracle cannot know.
    pub(crate) fn without(mut self, columns: &[ColumnId]) -> Row {
        self.numbers.retain(|column, _| !columns.contains(column));
        self.is_uptime = false;
        self
    }

    /// The row with the names of its columns, for people.
    pub(crate) fn text(&self) -> String {
        let name = |column: &ColumnId| FIELDS.iter().find(|field| field.number == *column).unwrap().name;
        let numbers = self.numbers.iter().map(|(column, number)| format!("{}={number}", name(column)));
        let lists = self.lists.iter().map(|(column, list)| format!("{}={list:?}", name(column)));
        numbers.chain(lists).collect::<Vec<_>>().join(" ")
    }
}
