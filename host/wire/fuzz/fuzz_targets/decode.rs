//! Any number of datagrams to one decoder: no panic, and the counters agree with the rows.
//!
//! The input is a list of datagrams, each after its length in two bytes, so that templates and data
//! may come apart. Run with `cargo +nightly fuzz run decode` in `host/wire`.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sluice_flow::{BatchBuilder, ColumnSet, CustomField, Pool, Schema, Width};
use sluice_wire::{Decoder, Limits};

fn custom(name: &str, width: Width, pen: u32, id: u16) -> CustomField {
    CustomField { name: name.to_owned(), width, element: Some((pen, id)) }
}

fuzz_target!(|input: &[u8]| {
    let columns = vec![
        custom("address", Width::Text, 0, 8),
        custom("float", Width::U8, 0, 311),
        custom("list", Width::Lists, 9, 5),
        custom("text", Width::Text, 0, 82),
    ];
    let schema = Arc::new(Schema::with_custom(columns).expect("the names differ"));
    let limits = Limits { exporters: 4, templates_per_exporter: 4, pending_bytes: 4_096, ..Limits::default() };
    let mut decoder = Decoder::new(Arc::clone(&schema), ColumnSet::ALL, limits.clone());
    let mut out = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
    let mut rest = input;
    let mut now_ns = 0;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let (datagram, tail) = tail.split_at(length);
        rest = tail;
        now_ns += 1_000_000_000;
        let before = out.rows();
        let errors = decoder.stats().errors().map(|(_, count)| count).sum::<u64>();
        let decoded = decoder.decode(IpAddr::V4(Ipv4Addr::LOCALHOST), now_ns, datagram, &mut out);
        assert_eq!(out.rows() - before, decoded.rows);
        let errors_now = decoder.stats().errors().map(|(_, count)| count).sum::<u64>();
        assert_eq!(decoded.error.is_some(), errors_now > errors);
    }
    let stats = decoder.stats().clone();
    assert!(stats.exporters <= 4 && stats.pending_bytes <= 4_096);
    let batch = out.finish(1, 1);
    assert_eq!(batch.rows() as u64, stats.rows);
    for (column, values) in batch.columns() {
        assert_eq!(values.len(), batch.rows(), "column {column}");
    }
});
