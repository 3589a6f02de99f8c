//! What a datagram costs to receive, and a row to write.

#![allow(missing_docs, reason = "criterion's macros make functions without comments")]

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_endpoints::exporter::Exporters;
use sluice_endpoints::format::json_read::JsonReader;
use sluice_endpoints::format::{Format, Formatter};
use sluice_endpoints::sources::{UdpConfig, UdpSockets};
use sluice_flow::{Batch, BatchBuilder, ColumnSet, Pool, Schema, col};
use sluice_pipeline::{Kind, Metrics, Outlet, Source, Stop};
use sluice_wire::{Decoder, Limits};

const ROWS: usize = 4096;

/// A NetFlow v5 datagram of 30 records, 1,464 bytes.
fn netflow5() -> Vec<u8> {
    let mut datagram = vec![0, 5, 0, 30, 0, 0, 39, 16, 0x65, 0x53, 0xf1, 0];
    datagram.resize(24, 0);
    for record in 0..30_u8 {
        datagram.extend([192, 0, 2, record, 198, 51, 100, 1, 203, 0, 113, 1, 0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 35, 40]);
        datagram.extend([0, 0, 3, 232, 0, 0, 7, 208, 1, 187, 195, 80, 0, 24, 6, 0, 251, 244, 251, 245, 24, 24, 0, 0]);
    }
    datagram
}

fn batch() -> Batch {
    let schema = Arc::new(Schema::standard());
    let mut decoder = Decoder::new(Arc::clone(&schema), ColumnSet::ALL, Limits::default());
    let mut open = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
    while open.rows() < ROWS {
        decoder.decode([192, 0, 2, 1].into(), 1_700_000_000_000_000_000, &netflow5(), &mut open);
    }
    open.u32s(col::CUSTOMER_ID, 0);
    open.finish(1, 1_700_000_000_000)
}

fn formats(c: &mut Criterion) {
    let batch = batch();
    let mut group = c.benchmark_group("format");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, format) in [
        ("json/50-fields", Format::Json),
        ("flowdump", Format::Flowdump),
        ("table", Format::Table),
        ("protobuf", Format::Protobuf),
    ] {
        let mut formatter = Formatter::new(format, batch.schema(), &[]).expect("no field is named");
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                formatter.write(black_box(&batch), 0..ROWS, &mut out);
                out.len()
            });
        });
    }
    let mut formatter = Formatter::new(Format::Json, batch.schema(), &[]).expect("no field is named");
    // One object a value, as goflow2 sends them.
    let mut values = vec![Vec::new(); ROWS];
    values.iter_mut().enumerate().for_each(|(row, value)| formatter.write(&batch, row..row + 1, value));
    let mut reader = JsonReader::new(batch.schema());
    let mut out = BatchBuilder::new(Arc::clone(batch.schema()), ColumnSet::ALL, Pool::default());
    group.bench_function("json/read-50-fields", |b| {
        b.iter(|| {
            values.iter().for_each(|value| {
                reader.read(black_box(value), &mut out).expect("it was written by the writer");
            });
            out.finish(1, 0)
        });
    });
    group.finish();
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time that the source's thread needs per datagram that is there already: receive and decode 30
/// records. Trains are as long as the sender's.
fn receive(c: &mut Criterion) {
    let mut group = c.benchmark_group("udp");
    group.throughput(Throughput::Elements(1));
    group.sample_size(10);
    for (name, train) in [("netflow5-30/single", 1), ("netflow5-30/trains-of-44", 44)] {
        group.bench_function(name, |b| {
            b.iter_custom(|datagrams| received(datagrams as usize, train));
        });
    }
    group.finish();
}

fn received(datagrams: usize, train: usize) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = datagrams;
    while left > 0 {
        let now = left.min(4400);
        let config = UdpConfig { receive_buffer_bytes: 64 << 20, ..UdpConfig::new(([127, 0, 0, 1], 0).into()) };
        let sockets = UdpSockets::bind("edge", &config).expect("loopback");
        let mut exporters = Exporters::open(sockets.local_addr(), 1).expect("loopback");
        let burst = vec![netflow5(); train];
        let mut sent = 0;
        while sent < now {
            let part = burst.get(..train.min(now - sent)).expect("at most a train");
            sent += exporters.send(0, part).expect("loopback").datagrams as usize;
        }
        let metrics = Metrics::new();
        // Nobody takes the batches: their buffers go back to the pool at once, as in a run that keeps up.
        let (out, batches) = Outlet::channel(metrics.account(Kind::Source, "edge"), 1);
        drop(batches);
        let stop = Stop::new();
        stop.cancel();
        let schema = Arc::new(Schema::standard());
        for source in sockets.sources(&schema, ColumnSet::ALL, &metrics) {
            let (out, stop) = (out.clone(), stop.clone());
            let began = Instant::now();
            let thread = thread::spawn(move || {
                let before = thread_time();
                Box::new(source).run(out, stop).expect("the socket is ours");
                thread_time() - before
            });
            spent += thread.join().expect("it does not panic").min(began.elapsed());
        }
        assert_eq!(metrics.balances().first().map(|books| books.rows_in), Some(now as u64 * 30));
        left -= now;
    }
    spent
}

criterion_group!(benches, formats, receive);
criterion_main!(benches);
