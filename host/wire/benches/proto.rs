//! Rows a second to protobuf messages and back, beside prost on the same messages.
//!
//! The rows are flows of the traffic model as they arrive by IPFIX. prost is measured as it would be
//! used: from columns by way of its struct, and back into columns; and, as `prost-struct`, without the columns.
//! Processor time of the thread, as in `decode`.

#![allow(missing_docs, reason = "criterion's macros make items without")]

mod cpu_time;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use sluice_flow::{Batch, BatchBuilder, ColumnId, ColumnSet, Pool, Schema, col, halves_of};
use sluice_wire::Limits;
use sluice_wire::export::{self, Datagrams, EncoderSettings, Traffic, TrafficSettings, Version};
use sluice_wire::proto::{Decoder, Dialect, Encoder, Framing};

use crate::cpu_time::CpuTime;

#[allow(missing_docs, unreachable_pub, reason = "generated; the schema has the comments")]
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/sluice.flow.v1.rs"));
}
use generated::FlowMessage;

const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NOW_MS: u64 = 1_700_000_000_000;
const FLOWS: usize = 4096;

fn builder() -> BatchBuilder {
    BatchBuilder::new(Arc::new(Schema::standard()), ColumnSet::ALL, Pool::default())
}

/// The flows as they arrive by IPFIX.
fn batch() -> Batch {
    let mut flows = Vec::new();
    Traffic::new(TrafficSettings::default()).fill(NOW_MS, FLOWS, &mut flows);
    let mut datagrams = Datagrams::default();
    export::Encoder::new(EncoderSettings::new(Version::Ipfix, 1, 1000, EXPORTER)).encode(
        &flows,
        NOW_MS,
        &mut datagrams,
    );
    let mut decoder = sluice_wire::Decoder::new(Arc::new(Schema::standard()), ColumnSet::ALL, Limits::default());
    let mut out = builder();
    for datagram in datagrams.iter() {
        decoder.decode(EXPORTER, NOW_MS * 1_000_000, datagram, &mut out);
    }
    out.finish(1, 1)
}

fn octets(batch: &Batch, column: ColumnId, row: usize) -> Vec<u8> {
    match batch.addr(column, row) {
        Some(IpAddr::V4(addr)) => addr.octets().to_vec(),
        Some(IpAddr::V6(addr)) => addr.octets().to_vec(),
        None => Vec::new(),
    }
}

/// The row as prost's struct: those fields that the flows have.
fn message(batch: &Batch, row: usize) -> FlowMessage {
    let long = |column| batch.u64s(column).map_or(0, |values| values[row]);
    let int = |column| batch.u32s(column).map_or(0, |values| values[row]);
    let short = |column| batch.u16s(column).map_or(0, |values| u32::from(values[row]));
    let byte = |column| batch.u8s(column).map_or(0, |values| u32::from(values[row]));
    FlowMessage {
        r#type: byte(col::FLOW_TYPE) as i32,
        time_received_ns: long(col::RECEIVED_NS),
        time_flow_start_ns: long(col::FIRST_NS),
        time_flow_end_ns: long(col::LAST_NS),
        sampling_rate: long(col::SAMPLING_RATE),
        sequence_num: int(col::SEQUENCE),
        observation_domain_id: int(col::OBSERVATION_DOMAIN),
        sampler_address: octets(batch, col::EXPORTER_ADDR_HI, row),
        src_addr: octets(batch, col::SRC_ADDR_HI, row),
        dst_addr: octets(batch, col::DST_ADDR_HI, row),
        next_hop: octets(batch, col::NEXT_HOP_HI, row),
        bytes: long(col::BYTES),
        packets: long(col::PACKETS),
        src_as: int(col::SRC_AS),
        dst_as: int(col::DST_AS),
        src_net: byte(col::SRC_NET),
        dst_net: byte(col::DST_NET),
        in_if: int(col::IN_IF),
        out_if: int(col::OUT_IF),
        proto: byte(col::PROTO),
        src_port: short(col::SRC_PORT),
        dst_port: short(col::DST_PORT),
        ip_tos: byte(col::TOS),
        ip_ttl: byte(col::TTL),
        tcp_flags: short(col::TCP_FLAGS),
        vlan_id: short(col::VLAN_ID),
        etype: short(col::ETYPE),
        icmp_type: byte(col::ICMP_TYPE),
        icmp_code: byte(col::ICMP_CODE),
        flow_direction: byte(col::FLOW_DIRECTION).saturating_sub(1),
        src_vlan: short(col::SRC_VLAN),
        dst_vlan: short(col::DST_VLAN),
        flow_end_reason: byte(col::FLOW_END_REASON),
        ..FlowMessage::default()
    }
}

fn push_addr(out: &mut BatchBuilder, column: ColumnId, octets: &[u8]) {
    let addr = match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
        (Ok(octets), _) => IpAddr::V4(Ipv4Addr::from(octets)),
        (_, Ok(octets)) => IpAddr::V6(Ipv6Addr::from(octets)),
        _ => return,
    };
    let (hi, lo) = halves_of(addr);
    out.set_u64(column, hi);
    out.set_u64(column + 1, lo);
}

/// prost's struct as a row: the same fields.
fn push(message: &FlowMessage, out: &mut BatchBuilder) {
    out.set_u8(col::FLOW_TYPE, message.r#type as u8);
    out.set_u64(col::RECEIVED_NS, message.time_received_ns);
    out.set_u64(col::FIRST_NS, message.time_flow_start_ns);
    out.set_u64(col::LAST_NS, message.time_flow_end_ns);
    out.set_u64(col::SAMPLING_RATE, message.sampling_rate);
    out.set_u32(col::SEQUENCE, message.sequence_num);
    out.set_u32(col::OBSERVATION_DOMAIN, message.observation_domain_id);
    push_addr(out, col::EXPORTER_ADDR_HI, &message.sampler_address);
    push_addr(out, col::SRC_ADDR_HI, &message.src_addr);
    push_addr(out, col::DST_ADDR_HI, &message.dst_addr);
    push_addr(out, col::NEXT_HOP_HI, &message.next_hop);
    out.set_u64(col::BYTES, message.bytes);
    out.set_u64(col::PACKETS, message.packets);
    out.set_u32(col::SRC_AS, message.src_as);
    out.set_u32(col::DST_AS, message.dst_as);
    out.set_u8(col::SRC_NET, message.src_net as u8);
    out.set_u8(col::DST_NET, message.dst_net as u8);
    out.set_u32(col::IN_IF, message.in_if);
    out.set_u32(col::OUT_IF, message.out_if);
    out.set_u8(col::PROTO, message.proto as u8);
    out.set_u16(col::SRC_PORT, message.src_port as u16);
    out.set_u16(col::DST_PORT, message.dst_port as u16);
    out.set_u8(col::TOS, message.ip_tos as u8);
    out.set_u8(col::TTL, message.ip_ttl as u8);
    out.set_u16(col::TCP_FLAGS, message.tcp_flags as u16);
    out.set_u16(col::VLAN_ID, message.vlan_id as u16);
    out.set_u16(col::ETYPE, message.etype as u16);
    out.set_u8(col::ICMP_TYPE, message.icmp_type as u8);
    out.set_u8(col::ICMP_CODE, message.icmp_code as u8);
    out.set_u8(col::FLOW_DIRECTION, message.flow_direction as u8);
    out.set_u16(col::SRC_VLAN, message.src_vlan as u16);
    out.set_u16(col::DST_VLAN, message.dst_vlan as u16);
    out.set_u8(col::FLOW_END_REASON, message.flow_end_reason as u8);
    out.advance(1);
}

fn encode(criterion: &mut Criterion<CpuTime>) {
    let batch = batch();
    let mut group = criterion.benchmark_group("proto/encode");
    group.throughput(Throughput::Elements(batch.rows() as u64));
    let mut bytes = Vec::new();
    for dialect in Dialect::ALL {
        let encoder = Encoder::new(dialect, Framing::Delimited);
        group.bench_function(dialect.name(), |bencher| {
            bencher.iter(|| {
                bytes.clear();
                encoder.encode(black_box(&batch), 0..batch.rows(), &mut bytes);
                black_box(bytes.len())
            });
        });
    }
    group.bench_function("prost", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            for row in 0..batch.rows() {
                message(black_box(&batch), row).encode_length_delimited(&mut bytes).expect("a vector grows");
            }
            black_box(bytes.len())
        });
    });
    let messages: Vec<_> = (0..batch.rows()).map(|row| message(&batch, row)).collect();
    group.bench_function("prost-struct", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            for message in &messages {
                black_box(message).encode_length_delimited(&mut bytes).expect("a vector grows");
            }
            black_box(bytes.len())
        });
    });
    group.finish();
}

fn decode(criterion: &mut Criterion<CpuTime>) {
    let batch = batch();
    let mut group = criterion.benchmark_group("proto/decode");
    group.throughput(Throughput::Elements(batch.rows() as u64));
    for dialect in Dialect::ALL {
        let (mut values, mut value) = (Vec::new(), Vec::new());
        let encoder = Encoder::new(dialect, Framing::Delimited);
        let mut rows = encoder.rows(&batch);
        // As they come through Kafka: a message a value.
        for row in 0..batch.rows() {
            value.clear();
            rows.append(row, &mut value);
            values.push(value.clone());
        }
        let length: usize = values.iter().map(Vec::len).sum();
        let name = format!("{}-{}-bytes", dialect.name(), length / values.len());
        for (name, is_kept) in [(name, false), (format!("{}-kept", dialect.name()), true)] {
            let mut decoder = Decoder::new(dialect, Framing::Delimited, &ColumnSet::ALL);
            let mut out = builder();
            out.keep_unknown(is_kept);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    for value in &values {
                        decoder.decode_value(black_box(value), &mut out).expect("it was just encoded");
                    }
                    black_box(out.finish(1, 1))
                });
            });
        }
        if dialect != Dialect::Goflow2 {
            continue;
        }
        let batched: Vec<Vec<u8>> = values.chunks(64).map(<[_]>::concat).collect();
        let mut decoder = Decoder::new(dialect, Framing::Delimited, &ColumnSet::ALL);
        let mut out = builder();
        group.bench_function("goflow2-64-a-value", |bencher| {
            bencher.iter(|| {
                for value in &batched {
                    decoder.decode_value(black_box(value), &mut out).expect("it was just encoded");
                }
                black_box(out.finish(1, 1))
            });
        });
        let mut out = builder();
        group.bench_function("prost", |bencher| {
            bencher.iter(|| {
                for value in &values {
                    let message = FlowMessage::decode_length_delimited(black_box(&value[..]));
                    push(&message.expect("it was just encoded"), &mut out);
                }
                black_box(out.finish(1, 1))
            });
        });
        group.bench_function("prost-struct", |bencher| {
            bencher.iter(|| {
                for value in &values {
                    let message = FlowMessage::decode_length_delimited(black_box(&value[..]));
                    black_box(message.expect("it was just encoded"));
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().with_measurement(CpuTime);
    targets = encode, decode
}
criterion_main!(all);
