//! sFlow version 5 (sflow.org, July 2004): flow samples to rows. Counter samples and notices of
//! discarded packets are counted and skipped.

#![warn(clippy::indexing_slicing)]

mod sample;
mod xdr;

use std::net::IpAddr;

use ahash::AHashMap;
use sluice_flow::{BatchBuilder, ColumnId, col, halves_of};

use self::sample::{Sample, SampleLists, group};
use self::xdr::Xdr;
use crate::packet::has;
use crate::sequence::{Sequence, Unit};
use crate::stats::Faults;
use crate::{DecodeError, DecodeStats};

/// `flow_type` of rows that came by sFlow.
const FLOW_TYPE: u8 = 1;

/// Sequence numbers that are remembered, one per agent and sub-agent. When there are more, all are
/// forgotten: the next datagram of each is then not compared with the one before.
const MAX_SEQUENCES: usize = 1 << 16;

/// What sFlow datagrams contained, since the decoder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SflowSamples {
    /// Flow samples, expanded or not, that became rows.
    pub flow: u64,
    /// Flow samples that were too broken to become a row.
    pub bad: u64,
    /// Counter samples, expanded or not, that were skipped.
    pub counter: u64,
    /// Notices of discarded packets (sFlow Dropped Packet Notification Structures) that were skipped.
    pub discard: u64,
    /// Samples of other kinds that were skipped.
    pub unknown: u64,
    /// Records within flow samples that no column takes.
    pub unknown_records: u64,
}

/// Decodes sFlow datagrams; keeps sequence numbers and buffers between them.
#[derive(Debug, Default)]
pub(crate) struct SflowDecoder {
    samples: Vec<Sample>,
    reading: SampleLists,
    pub(crate) sequences: AHashMap<(IpAddr, u32), Sequence>,
}

/// What all rows of a datagram have in common.
struct Origin {
    agent: IpAddr,
    sub_agent: u32,
    sequence: u32,
    received_ns: u64,
}

impl SflowDecoder {
    /// Appends the flow samples of one datagram to `out`, one row each, and returns how many. Errors go
    /// to `faults`; a broken sample does not lose its neighbours.
    ///
    /// `exporter` is the datagram's source; the agent's own address takes its place in `exporter_addr`
    /// if it has one. Times are those of receipt, in nanoseconds since the Unix epoch.
    pub(crate) fn decode(
        &mut self,
        exporter: IpAddr,
        received_ns: u64,
        datagram: &[u8],
        out: &mut BatchBuilder,
        stats: &mut DecodeStats,
        faults: &mut Faults,
    ) -> usize {
        self.samples.clear();
        self.reading.wants_stacks =
            [col::LAYER_STACK, col::LAYER_SIZES, col::MPLS_LABELS, col::MPLS_TTLS].into_iter().any(|c| out.wants(c));
        let mut xdr = Xdr::new(datagram);
        match self.header(&mut xdr, exporter, received_ns, stats) {
            Ok((origin, samples)) => {
                for _ in 0..samples {
                    if let Err(error) = self.sample(&mut xdr, out, stats, faults) {
                        faults.add(stats, error);
                        break;
                    }
                }
                let rows = self.write(&origin, out);
                if let Some(sequence) = self.sequences.get_mut(&(origin.agent, origin.sub_agent)) {
                    sequence.came(received_ns, rows as u64);
                }
                rows
            }
            Err(error) => {
                faults.add(stats, error);
                0
            }
        }
    }

    /// Reads the header: where the samples come from and how many it announces.
    fn header(
        &mut self,
        xdr: &mut Xdr<'_>,
        exporter: IpAddr,
        received_ns: u64,
        stats: &mut DecodeStats,
    ) -> Result<(Origin, u32), DecodeError> {
        if xdr.u32("sFlow header")? != 5 {
            return Err(DecodeError::Malformed { what: "sFlow version", offset: 0 });
        }
        let agent = xdr.address("agent address")?.filter(|agent| !agent.is_unspecified()).unwrap_or(exporter);
        let [sub_agent, sequence, _uptime_ms, samples] = xdr.words::<4>("sFlow header")?;
        let source = (agent, sub_agent);
        if self.sequences.len() >= MAX_SEQUENCES && !self.sequences.contains_key(&source) {
            self.sequences.clear();
        }
        self.sequences.entry(source).or_default().observe(sequence, Some(1), Unit::Datagrams, stats);
        Ok((Origin { agent, sub_agent, sequence, received_ns }, samples))
    }

    /// Reads one sample. Fails if the next one cannot be found.
    #[inline]
    fn sample(
        &mut self,
        xdr: &mut Xdr<'_>,
        out: &mut BatchBuilder,
        stats: &mut DecodeStats,
        faults: &mut Faults,
    ) -> Result<(), DecodeError> {
        let format = xdr.u32("sample")?;
        let structure = xdr.structure("sample")?;
        match format {
            1 | 3 => {
                // Read in its place among the rows, and taken out again if it is none.
                let row = self.samples.len();
                self.samples.push(Sample::default());
                let Some(sample) = self.samples.last_mut() else { return Ok(()) };
                match sample.read(structure, format == 3, &mut self.reading) {
                    Ok(unknown) => stats.sflow_samples.unknown_records += unknown,
                    Err(error) => {
                        faults.add(stats, error);
                        if !sample.is_packet() {
                            self.samples.truncate(row);
                            stats.sflow_samples.bad += 1;
                            return Ok(());
                        }
                    }
                }
                self.reading.write(row, out);
                stats.sflow_samples.flow += 1;
            }
            2 | 4 => stats.sflow_samples.counter += 1,
            5 => stats.sflow_samples.discard += 1,
            _ => stats.sflow_samples.unknown += 1,
        }
        Ok(())
    }

    /// Turns the samples into a block of rows.
    fn write(&mut self, origin: &Origin, out: &mut BatchBuilder) -> usize {
        let rows = self.samples.len();
        if rows == 0 {
            return 0;
        }
        let (mut headers, mut groups) = (0, 0);
        for sample in &self.samples {
            headers |= sample.headers.has;
            groups |= sample.groups;
        }
        let mut block = Block { samples: &self.samples, out };
        block.constants(origin);
        block.always();
        block.headers(headers);
        block.groups(groups);
        out.advance(rows);
        rows
    }
}

/// The samples of one datagram on their way into columns.
struct Block<'a> {
    samples: &'a [Sample],
    out: &'a mut BatchBuilder,
}

macro_rules! fill {
    ($name:ident, $columns:ident, $type:ty) => {
        #[inline]
        fn $name(&mut self, column: ColumnId, value: impl Fn(&Sample) -> $type) {
            if self.out.wants(column) {
                let places = self.out.$columns(column, self.samples.len());
                for (place, sample) in places.iter_mut().zip(self.samples) {
                    *place = value(sample);
                }
            }
        }
    };
}

impl Block<'_> {
    fill!(u8, u8s, u8);
    fill!(u16, u16s, u16);
    fill!(u32, u32s, u32);
    fill!(u64, u64s, u64);

    fn address(&mut self, hi: ColumnId, value: impl Fn(&Sample) -> (u64, u64)) {
        self.u64(hi, |sample| value(sample).0);
        self.u64(hi + 1, |sample| value(sample).1);
    }

    fn constants(&mut self, origin: &Origin) {
        let (hi, lo) = halves_of(origin.agent);
        self.u8(col::FLOW_TYPE, |_| FLOW_TYPE);
        for column in [col::RECEIVED_NS, col::FIRST_NS, col::LAST_NS] {
            self.u64(column, |_| origin.received_ns);
        }
        self.u32(col::SEQUENCE, |_| origin.sequence);
        self.u32(col::OBSERVATION_DOMAIN, |_| origin.sub_agent);
        self.address(col::EXPORTER_ADDR_HI, |_| (hi, lo));
        self.u64(col::PACKETS, |_| 1);
    }

    fn always(&mut self) {
        self.u64(col::SAMPLING_RATE, |sample| u64::from(sample.sampling_rate));
        self.u64(col::BYTES, |sample| u64::from(sample.bytes));
        self.u32(col::IN_IF, |sample| sample.in_if);
        self.u32(col::OUT_IF, |sample| sample.out_if);
        self.u8(col::FLOW_DIRECTION, |sample| sample.direction);
        self.u16(col::ETYPE, |sample| sample.headers.etype);
    }

    fn headers(&mut self, present: u16) {
        let has = |group: u16| present & group != 0;
        if has(has::ETHERNET) {
            self.u64(col::SRC_MAC, |sample| sample.headers.src_mac);
            self.u64(col::DST_MAC, |sample| sample.headers.dst_mac);
        }
        if has(has::VLAN) {
            self.u16(col::VLAN_ID, |sample| sample.headers.vlan_id);
        }
        if has(has::IP) {
            self.address(col::SRC_ADDR_HI, |sample| sample.headers.src_addr);
            self.address(col::DST_ADDR_HI, |sample| sample.headers.dst_addr);
            self.u8(col::PROTO, |sample| sample.headers.proto);
            self.u8(col::TOS, |sample| sample.headers.tos);
            self.u8(col::TTL, |sample| sample.headers.ttl);
        }
        if has(has::IPV6) {
            self.u32(col::IPV6_FLOW_LABEL, |sample| sample.headers.flow_label);
        }
        if has(has::FRAGMENT) {
            self.u32(col::FRAGMENT_ID, |sample| sample.headers.fragment_id);
            self.u16(col::FRAGMENT_OFFSET, |sample| sample.headers.fragment_offset);
            self.u8(col::IP_FLAGS, |sample| sample.headers.ip_flags);
        }
        if has(has::PORTS) {
            self.u16(col::SRC_PORT, |sample| sample.headers.src_port);
            self.u16(col::DST_PORT, |sample| sample.headers.dst_port);
        }
        if has(has::TCP) {
            self.u16(col::TCP_FLAGS, |sample| sample.headers.tcp_flags);
        }
        if has(has::ICMP) {
            self.u8(col::ICMP_TYPE, |sample| sample.headers.icmp_type);
            self.u8(col::ICMP_CODE, |sample| sample.headers.icmp_code);
        }
    }

    fn groups(&mut self, present: u16) {
        if present & group::SWITCH != 0 {
            self.u16(col::SRC_VLAN, |sample| sample.src_vlan);
            self.u16(col::DST_VLAN, |sample| sample.dst_vlan);
        }
        if present & group::ROUTER != 0 {
            self.address(col::NEXT_HOP_HI, |sample| sample.next_hop);
            self.u8(col::SRC_NET, |sample| sample.src_net);
            self.u8(col::DST_NET, |sample| sample.dst_net);
        }
        if present & group::GATEWAY != 0 {
            self.address(col::BGP_NEXT_HOP_HI, |sample| sample.bgp_next_hop);
            self.u32(col::SRC_AS, |sample| sample.src_as);
            self.u32(col::DST_AS, |sample| sample.dst_as);
            self.u32(col::NEXT_HOP_AS, |sample| sample.next_hop_as);
        }
        if present & group::DISCARDED != 0 {
            self.u32(col::FORWARDING_STATUS, |sample| sample.forwarding_status);
        }
    }
}

#[cfg(test)]
mod tests;
