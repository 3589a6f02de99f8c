//! Records a second from datagrams to columns, beside netflow_parser on the same datagrams.
//!
//! One iteration is 512 different datagrams. Batches are taken out as they fill, so that their cost is
//! in it. What is measured is processor time of the thread, so that a busy machine changes the rates
//! less than it changes the clock on the wall; the last line of each protocol has both in turn.

#![allow(clippy::print_stdout, reason = "a benchmark talks to people")]
#![allow(missing_docs, reason = "criterion's macros make items without")]

mod baseline;
mod cpu_time;
mod workload;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netflow_parser::NetflowParser;
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};
use sluice_wire::{Decoder, Limits};

use crate::baseline::Columns;
use crate::cpu_time::CpuTime;
use crate::workload::Workload;

const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RECEIVED_NS: u64 = 1_700_000_000_000_000_000;

/// Rows at which a batch is taken out: the default of the source `capture`.
const BATCH_ROWS: usize = 8_192;

/// Iterations of ours a turn.
const OURS: u32 = 8;

/// Turns of both, one after the other, whose ratios are compared.
const TURNS: usize = 60;

fn decode(criterion: &mut Criterion<CpuTime>, workload: &Workload) {
    let records = workload.datagrams.len() * workload.records;
    let mut group = criterion.benchmark_group(workload.name);
    group.throughput(Throughput::Elements(records as u64));

    let schema = Arc::new(Schema::standard());
    let mut decoder = Decoder::new(Arc::clone(&schema), ColumnSet::ALL, Limits::default());
    let mut out = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
    decoder.decode(EXPORTER, RECEIVED_NS, &workload.template, &mut out);
    let mut sluice = || {
        for datagram in &workload.datagrams {
            let decoded = decoder.decode(EXPORTER, RECEIVED_NS, black_box(datagram), &mut out);
            assert_eq!(decoded.rows, workload.records);
            if out.rows() >= BATCH_ROWS {
                black_box(out.finish(1, 1));
            }
        }
    };
    group.bench_function("sluice", |bencher| bencher.iter(&mut sluice));

    let mut parser = NetflowParser::default();
    let mut columns = Columns::default();
    columns.parse(&mut parser, &workload.template);
    let mut netflow_parser = || {
        for datagram in &workload.datagrams {
            let before = columns.rows;
            columns.parse(&mut parser, black_box(datagram));
            assert_eq!(columns.rows - before, workload.records);
            if columns.rows >= BATCH_ROWS {
                black_box(&columns);
                columns.clear();
            }
        }
    };
    group.bench_function("netflow_parser", |bencher| bencher.iter(&mut netflow_parser));
    group.finish();

    let mut turns: Vec<[f64; 2]> = (0..TURNS)
        .map(|_| {
            // As often as it takes for both to be at work for about as long: what is in the caches is then their own.
            let ours = (0..OURS).map(|_| time(&mut sluice)).sum::<Duration>() / OURS;
            [ours, time(&mut netflow_parser)].map(|time| time.as_nanos() as f64 / records as f64)
        })
        .collect();
    // Of the ratios of each turn: a machine that slows down in between slows down both.
    turns.sort_unstable_by(|a, b| (a[1] / a[0]).total_cmp(&(b[1] / b[0])));
    let [ours, theirs] = turns[TURNS / 2];
    let ratio = theirs / ours;
    println!("{}: in turn {ours:.1} ns a record, netflow_parser {theirs:.1}: {ratio:.1} times", workload.name);
}

/// Processor time of `work`.
fn time(work: impl FnOnce()) -> Duration {
    let began = cpu_time::now();
    work();
    cpu_time::now().saturating_sub(began)
}

fn benches(criterion: &mut Criterion<CpuTime>) {
    for workload in [workload::netflow5(), workload::netflow9(), workload::ipfix()] {
        decode(criterion, &workload);
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().with_measurement(CpuTime);
    targets = benches
}
criterion_main!(all);
