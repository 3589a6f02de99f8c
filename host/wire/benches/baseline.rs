//! What sluice is measured against: netflow_parser, its values written to reused columns.
//!
//! The columns are the same as sluice's for these workloads. The conversion goes by the position of a
//! field, which is less work than a general one has.

use netflow_parser::variable_versions::field_value::DurationValue;
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldValue, NetflowPacket, NetflowParser};

/// Columns, one entry a row.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// Rows in all of them.
    pub(crate) rows: usize,
    u8s: [Vec<u8>; 10],
    u16s: [Vec<u16>; 5],
    u32s: [Vec<u32>; 6],
    u64s: [Vec<u64>; 16],
}

/// What every row gets from the header.
#[derive(Clone, Copy)]
struct Header {
    flow_type: u8,
    sequence: u32,
    domain: u32,
    sampling_rate: u64,
    export_ns: u64,
    uptime_ms: u32,
}

const MAPPED: u64 = 0xffff_0000_0000;

impl Columns {
    /// Forgets the rows, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.rows = 0;
        self.u8s.iter_mut().for_each(Vec::clear);
        self.u16s.iter_mut().for_each(Vec::clear);
        self.u32s.iter_mut().for_each(Vec::clear);
        self.u64s.iter_mut().for_each(Vec::clear);
    }

    /// Parses a datagram and appends its records.
    pub(crate) fn parse(&mut self, parser: &mut NetflowParser, datagram: &[u8]) {
        for packet in parser.parse_bytes(datagram).packets {
            match packet {
                NetflowPacket::V5(packet) => {
                    let header = Header {
                        flow_type: 2,
                        sequence: packet.header.flow_sequence,
                        domain: u32::from(packet.header.engine_type) << 8 | u32::from(packet.header.engine_id),
                        sampling_rate: u64::from(packet.header.sampling_interval & 0x3fff),
                        export_ns: u64::from(packet.header.unix_secs) * 1_000_000_000
                            + u64::from(packet.header.unix_nsecs),
                        uptime_ms: packet.header.sys_up_time,
                    };
                    for flow in &packet.flowsets {
                        self.common(header);
                        self.u64s[4].push(MAPPED | u64::from(flow.src_addr.to_bits()));
                        self.u64s[5].push(MAPPED | u64::from(flow.dst_addr.to_bits()));
                        self.u64s[6].push(MAPPED | u64::from(flow.next_hop.to_bits()));
                        self.u32s[2].push(flow.input.into());
                        self.u32s[3].push(flow.output.into());
                        self.u64s[7].push(flow.d_pkts.into());
                        self.u64s[8].push(flow.d_octets.into());
                        self.u64s[9].push(uptime(header, flow.first));
                        self.u64s[10].push(uptime(header, flow.last));
                        self.u16s[0].push(flow.src_port);
                        self.u16s[1].push(flow.dst_port);
                        self.u16s[2].push(flow.tcp_flags.into());
                        self.u8s[1].push(flow.protocol_number);
                        self.u8s[2].push(flow.tos);
                        self.u32s[4].push(flow.src_as.into());
                        self.u32s[5].push(flow.dst_as.into());
                        self.u8s[3].push(flow.src_mask);
                        self.u8s[4].push(flow.dst_mask);
                        self.icmp(flow.protocol_number, flow.dst_port);
                    }
                }
                NetflowPacket::V9(packet) => {
                    let header = Header {
                        flow_type: 3,
                        sequence: packet.header.sequence_number,
                        domain: packet.header.source_id,
                        sampling_rate: 0,
                        export_ns: u64::from(packet.header.unix_secs) * 1_000_000_000,
                        uptime_ms: packet.header.sys_up_time,
                    };
                    for set in &packet.flowsets {
                        let v9::FlowSetBody::Data(data) = &set.body else { continue };
                        for record in &data.fields {
                            self.common(header);
                            for (position, (_, value)) in record.iter().enumerate() {
                                self.value(header, position, value);
                            }
                            self.icmp_of_last();
                        }
                    }
                }
                NetflowPacket::IPFix(packet) => {
                    let header = Header {
                        flow_type: 4,
                        sequence: packet.header.sequence_number,
                        domain: packet.header.observation_domain_id,
                        sampling_rate: 0,
                        export_ns: u64::from(packet.header.export_time) * 1_000_000_000,
                        uptime_ms: 0,
                    };
                    for set in &packet.flowsets {
                        let ipfix::FlowSetBody::Data(data) = &set.body else { continue };
                        for record in &data.fields {
                            self.common(header);
                            for (position, (_, value)) in record.iter().enumerate() {
                                self.value(header, position, value);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn common(&mut self, header: Header) {
        self.rows += 1;
        self.u8s[0].push(header.flow_type);
        self.u64s[0].push(1);
        self.u32s[0].push(header.sequence);
        self.u32s[1].push(header.domain);
        self.u64s[1].push(0);
        self.u64s[2].push(MAPPED | 1);
        self.u64s[3].push(header.sampling_rate);
        self.u16s[3].push(0x0800);
    }

    fn icmp(&mut self, proto: u8, port: u16) {
        let port = if proto == 1 || proto == 58 { port } else { 0 };
        self.u8s[5].push((port >> 8) as u8);
        self.u8s[6].push(port as u8);
    }

    fn icmp_of_last(&mut self) {
        let (proto, port) = (self.u8s[1].last().copied(), self.u16s[1].last().copied());
        self.icmp(proto.unwrap_or(0), port.unwrap_or(0));
    }

    fn value(&mut self, header: Header, position: usize, value: &FieldValue) {
        match (position, value) {
            (0, FieldValue::Ip4Addr(addr)) => self.u64s[4].push(MAPPED | u64::from(addr.to_bits())),
            (1, FieldValue::Ip4Addr(addr)) => self.u64s[5].push(MAPPED | u64::from(addr.to_bits())),
            (2, FieldValue::Ip4Addr(addr)) => self.u64s[6].push(MAPPED | u64::from(addr.to_bits())),
            (3, value) => self.u32s[2].push(number(value) as u32),
            (4, value) => self.u32s[3].push(number(value) as u32),
            (5, value) => self.u64s[7].push(number(value)),
            (6, value) => self.u64s[8].push(number(value)),
            (7, value) => self.u64s[9].push(time(header, value)),
            (8, value) => self.u64s[10].push(time(header, value)),
            (9, value) => self.u16s[0].push(number(value) as u16),
            (10, value) => self.u16s[1].push(number(value) as u16),
            (11, value) => self.u16s[2].push(number(value) as u16),
            (12, value) => self.u8s[1].push(number(value) as u8),
            (13, value) => self.u8s[2].push(number(value) as u8),
            (14, value) => self.u32s[4].push(number(value) as u32),
            (15, value) => self.u32s[5].push(number(value) as u32),
            (16, value) => self.u8s[3].push(number(value) as u8),
            (17, value) => self.u8s[4].push(number(value) as u8),
            (18, value) => self.u8s[7].push(number(value) as u8 + 1),
            (19, value) => self.u16s[4].push(number(value) as u16),
            _ => {}
        }
    }
}

fn number(value: &FieldValue) -> u64 {
    match value {
        FieldValue::DataNumber(number) => number.as_u64().unwrap_or(0),
        FieldValue::ProtocolType(proto) => u8::from(*proto).into(),
        FieldValue::TcpControlBits(bits, _) => u16::from(*bits).into(),
        _ => 0,
    }
}

fn uptime(header: Header, value: u32) -> u64 {
    let before_ms = i64::from(header.uptime_ms.wrapping_sub(value).cast_signed());
    header.export_ns.saturating_add_signed(-before_ms * 1_000_000)
}

fn time(header: Header, value: &FieldValue) -> u64 {
    match value {
        FieldValue::Duration(DurationValue::Millis { value, .. }) if header.flow_type == 4 => value * 1_000_000,
        FieldValue::Duration(DurationValue::Millis { value, .. }) => uptime(header, *value as u32),
        value => uptime(header, number(value) as u32),
    }
}
