//! NetFlow version 9 (RFC 3954) and IPFIX (RFC 7011): templates, options and data sets.

use super::{Datagrams, EncoderSettings, Flow, MAX_DATAGRAM, at_most_u32, put_u16, put_u32, put_u64, uptime};

const IPV4_TEMPLATE: u16 = 256;
const IPV6_TEMPLATE: u16 = 257;
const OPTIONS_TEMPLATE: u16 = 258;

/// Elements (number, length) of a NetFlow v9 record, in the order in which `record` writes them.
/// After these come the addresses.
const NETFLOW9: &[(u16, u16)] = &[(22, 4), (21, 4)];
/// The same for IPFIX: flowStartMilliseconds, flowEndMilliseconds.
const IPFIX: &[(u16, u16)] = &[(152, 8), (153, 8)];
/// Source, destination and next hop.
const IPV4_ADDRS: &[(u16, u16)] = &[(8, 4), (12, 4), (15, 4)];
const IPV6_ADDRS: &[(u16, u16)] = &[(27, 16), (28, 16), (62, 16)];
/// Bytes, packets, interfaces, ports, protocol, type of service, flags, ASes, VLAN and direction.
#[rustfmt::skip]
const COMMON: &[(u16, u16)] = &[
    (1, 8), (2, 8), (10, 4), (14, 4), (7, 2), (11, 2), (4, 1), (5, 1), (6, 1),
    (16, 4), (17, 4), (58, 2), (61, 1),
];
/// Prefix lengths and ICMP type and code, by family.
const IPV4_REST: &[(u16, u16)] = &[(9, 1), (13, 1), (32, 2)];
const IPV6_REST: &[(u16, u16)] = &[(29, 1), (30, 1), (139, 2)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NetFlow9,
    Ipfix,
}

#[derive(Clone, Debug)]
pub(super) struct Templated {
    kind: Kind,
    /// Datagrams sent so far (NetFlow v9) or data records sent so far (IPFIX).
    sequence: u32,
    /// Datagrams sent so far, for the timing of templates.
    datagrams: u32,
    /// Records of the datagram that is being filled, by family.
    ipv4: Vec<u8>,
    ipv6: Vec<u8>,
    /// Sets of templates and options that begin it, if they are due.
    control: Vec<u8>,
    /// Data records in it: options, then flows.
    options: u16,
    records: u16,
}

impl Templated {
    pub(super) fn new(kind: Kind) -> Templated {
        Templated {
            kind,
            sequence: 0,
            datagrams: 0,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            control: Vec::new(),
            options: 0,
            records: 0,
        }
    }

    pub(super) fn encode(
        &mut self,
        settings: &EncoderSettings,
        flows: &[Flow],
        now_ms: u64,
        out: &mut Datagrams,
    ) -> usize {
        self.begin(settings);
        for flow in flows {
            if self.size() + self.record_size(flow) > MAX_DATAGRAM {
                self.flush(settings, now_ms, out);
                self.begin(settings);
            }
            self.record(settings, flow);
            self.records += 1;
        }
        if self.records > 0 {
            self.flush(settings, now_ms, out);
        }
        flows.len()
    }

    /// Starts a datagram: with templates and options, if they are due.
    fn begin(&mut self, settings: &EncoderSettings) {
        self.control.clear();
        self.options = 0;
        let is_due = match settings.template_every {
            0 => self.datagrams == 0,
            every => self.datagrams.is_multiple_of(every),
        };
        if is_due {
            self.templates();
            if settings.sampling_rate > 0 {
                self.sampling(settings);
            }
        }
    }

    /// Bytes that the datagram has, with header and padding.
    fn size(&self) -> usize {
        let header = if self.kind == Kind::NetFlow9 { 20 } else { 16 };
        header + self.control.len() + 2 * (4 + 3) + self.ipv4.len() + self.ipv6.len()
    }

    fn record_size(&self, flow: &Flow) -> usize {
        let size = |fields: &[(u16, u16)]| fields.iter().map(|(_, length)| usize::from(*length)).sum::<usize>();
        let times = if self.kind == Kind::NetFlow9 { 8 } else { 16 };
        let addrs = if flow.src_addr.is_ipv4() { size(IPV4_ADDRS) } else { size(IPV6_ADDRS) };
        times + addrs + size(COMMON) + size(IPV4_REST)
    }

    /// The template set (RFC 3954, section 5.2; RFC 7011, section 3.4.1).
    fn templates(&mut self) {
        let times = if self.kind == Kind::NetFlow9 { NETFLOW9 } else { IPFIX };
        let set_id = if self.kind == Kind::NetFlow9 { 0 } else { 2 };
        let start = begin_set(&mut self.control, set_id);
        for (id, addrs, rest) in [(IPV4_TEMPLATE, IPV4_ADDRS, IPV4_REST), (IPV6_TEMPLATE, IPV6_ADDRS, IPV6_REST)] {
            let fields = [times, addrs, COMMON, rest];
            let count: usize = fields.iter().map(|fields| fields.len()).sum();
            put_u16(&mut self.control, id);
            put_u16(&mut self.control, count as u16);
            for (element, length) in fields.into_iter().flatten() {
                put_u16(&mut self.control, *element);
                put_u16(&mut self.control, *length);
            }
        }
        end_set(&mut self.control, start);
    }

    /// The sampling rate as options template and options data (RFC 3954, section 6; RFC 7011, section
    /// 3.4.2): v9 has samplingInterval, IPFIX samplingPacketInterval and samplingPacketSpace (RFC 5477).
    fn sampling(&mut self, settings: &EncoderSettings) {
        let out = &mut self.control;
        match self.kind {
            Kind::NetFlow9 => {
                let start = begin_set(out, 1);
                put_u16(out, OPTIONS_TEMPLATE);
                // Bytes of scope fields and of option fields.
                for word in [4, 8, 1, 4, 34, 4, 35, 1] {
                    put_u16(out, word);
                }
                end_set(out, start);
                let start = begin_set(out, OPTIONS_TEMPLATE);
                put_u32(out, settings.domain);
                put_u32(out, settings.sampling_rate);
                // Deterministic.
                out.push(1);
                end_set(out, start);
            }
            Kind::Ipfix => {
                let start = begin_set(out, 3);
                put_u16(out, OPTIONS_TEMPLATE);
                // Three fields, of which one is scope: the observation domain.
                for word in [3, 1, 149, 4, 305, 4, 306, 4] {
                    put_u16(out, word);
                }
                end_set(out, start);
                let start = begin_set(out, OPTIONS_TEMPLATE);
                put_u32(out, settings.domain);
                put_u32(out, 1);
                put_u32(out, settings.sampling_rate - 1);
                end_set(out, start);
            }
        }
        self.options = 1;
    }

    /// Adds one flow to the data set of its family.
    fn record(&mut self, settings: &EncoderSettings, flow: &Flow) {
        let ipv4 = flow.ipv4().filter(|_| flow.src_addr.is_ipv4());
        let out = if ipv4.is_some() { &mut self.ipv4 } else { &mut self.ipv6 };
        match self.kind {
            Kind::NetFlow9 => {
                put_u32(out, uptime(settings, flow.first_ms));
                put_u32(out, uptime(settings, flow.last_ms));
            }
            Kind::Ipfix => {
                put_u64(out, flow.first_ms);
                put_u64(out, flow.last_ms);
            }
        }
        match ipv4 {
            Some(addrs) => out.extend_from_slice(addrs.as_flattened()),
            None => out.extend_from_slice(flow.ipv6().as_flattened()),
        }
        put_u64(out, flow.bytes);
        put_u64(out, flow.packets);
        put_u32(out, flow.in_if);
        put_u32(out, flow.out_if);
        put_u16(out, flow.src_port);
        put_u16(out, flow.dst_port);
        out.extend_from_slice(&[flow.proto, flow.tos, flow.tcp_flags]);
        put_u32(out, flow.src_as);
        put_u32(out, flow.dst_as);
        put_u16(out, flow.vlan_id);
        out.push(flow.direction);
        out.extend_from_slice(&[flow.src_net, flow.dst_net, flow.icmp_type, flow.icmp_code]);
    }

    /// Writes the datagram: header, templates and options, then the data sets.
    fn flush(&mut self, settings: &EncoderSettings, now_ms: u64, out: &mut Datagrams) {
        let bytes = out.open();
        let start = bytes.len();
        match self.kind {
            Kind::NetFlow9 => {
                // Every record counts here, those of templates too (RFC 3954, section 5.1).
                let templates = if self.control.is_empty() { 0 } else { 2 + 2 * self.options };
                put_u16(bytes, 9);
                put_u16(bytes, templates + self.records);
                put_u32(bytes, uptime(settings, now_ms));
                put_u32(bytes, at_most_u32(now_ms / 1000));
                put_u32(bytes, self.sequence);
                put_u32(bytes, settings.domain);
                self.sequence = self.sequence.wrapping_add(1);
            }
            Kind::Ipfix => {
                put_u16(bytes, 10);
                put_u16(bytes, 0);
                put_u32(bytes, at_most_u32(now_ms / 1000));
                put_u32(bytes, self.sequence);
                put_u32(bytes, settings.domain);
                self.sequence = self.sequence.wrapping_add(u32::from(self.options + self.records));
            }
        }
        bytes.extend_from_slice(&self.control);
        for (id, records) in [(IPV4_TEMPLATE, &mut self.ipv4), (IPV6_TEMPLATE, &mut self.ipv6)] {
            if !records.is_empty() {
                let start = begin_set(bytes, id);
                bytes.append(records);
                end_set(bytes, start);
            }
        }
        if self.kind == Kind::Ipfix {
            let length = (bytes.len() - start) as u16;
            if let Some(place) = bytes.get_mut(start + 2..start + 4) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        out.end();
        self.datagrams = self.datagrams.wrapping_add(1);
        self.records = 0;
    }
}

/// Writes the header of a set with room for its length; returns where it begins.
fn begin_set(out: &mut Vec<u8>, id: u16) -> usize {
    let start = out.len();
    put_u16(out, id);
    put_u16(out, 0);
    start
}

/// Pads a set to a multiple of four bytes and fills in its length.
fn end_set(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start).next_multiple_of(4);
    out.resize(start + length, 0);
    if let Some(place) = out.get_mut(start + 2..start + 4) {
        place.copy_from_slice(&(length as u16).to_be_bytes());
    }
}
