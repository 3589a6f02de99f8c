//! Samples a second from sFlow datagrams to columns; flows a second from the traffic model to datagrams.
//! Processor time of the thread, as in `decode`.

#![allow(missing_docs, reason = "criterion's macros make items without")]

mod cpu_time;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};
use sluice_wire::export::{Datagrams, Encoder, EncoderSettings, Flow, Traffic, TrafficSettings, Version};
use sluice_wire::{Decoder, Limits};

use crate::cpu_time::CpuTime;

const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NOW_MS: u64 = 1_700_000_000_000;
const FLOWS: usize = 4096;

/// Rows at which a batch is taken out: the default of the sources.
const BATCH_ROWS: usize = 8_192;

fn flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    Traffic::new(TrafficSettings::default()).fill(NOW_MS, FLOWS, &mut flows);
    flows
}

fn encoder(version: Version) -> Encoder {
    Encoder::new(EncoderSettings::new(version, 1, 1000, EXPORTER))
}

fn sflow(criterion: &mut Criterion<CpuTime>) {
    let mut datagrams = Datagrams::default();
    encoder(Version::Sflow5).encode(&flows(), NOW_MS, &mut datagrams);
    let mut group = criterion.benchmark_group("sflow");
    group.throughput(Throughput::Elements(FLOWS as u64));
    let all = ColumnSet::ALL;
    let no_lists: ColumnSet = sluice_flow::FIELDS
        .iter()
        .filter(|field| field.width != sluice_flow::Width::Lists)
        .map(|field| field.number)
        .collect();
    for (name, wanted) in [("all-columns", all), ("no-lists", no_lists)] {
        let schema = Arc::new(Schema::standard());
        let mut decoder = Decoder::new(Arc::clone(&schema), wanted, Limits::default());
        let mut out = BatchBuilder::new(schema, wanted, Pool::default());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for datagram in datagrams.iter() {
                    decoder.decode(EXPORTER, NOW_MS * 1_000_000, black_box(datagram), &mut out);
                    if out.rows() >= BATCH_ROWS {
                        black_box(out.finish(1, 1));
                    }
                }
            });
        });
    }
    group.finish();
}

fn export(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("export");
    group.throughput(Throughput::Elements(FLOWS as u64));
    let flows = flows();
    for version in Version::ALL {
        let mut encoder = encoder(version);
        let mut datagrams = Datagrams::default();
        group.bench_function(version.name(), |bencher| {
            bencher.iter(|| {
                datagrams.clear();
                encoder.encode(black_box(&flows), NOW_MS, &mut datagrams);
                black_box(datagrams.len())
            });
        });
    }
    let mut traffic = Traffic::new(TrafficSettings::default());
    let mut made = Vec::new();
    group.bench_function("traffic", |bencher| {
        bencher.iter(|| {
            traffic.fill(NOW_MS, FLOWS, &mut made);
            black_box(made.len())
        });
    });
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().with_measurement(CpuTime);
    targets = sflow, export
}
criterion_main!(all);
