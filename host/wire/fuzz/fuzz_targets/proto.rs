//! Any value to every protobuf decoder: no panic, all or nothing, and what was read is written and read again.
//!
//! The first byte chooses dialect, framing and whether anybody wants columns. Run with
//! `cargo +nightly fuzz run proto` in `host/wire`.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};
use sluice_wire::proto::{Decoder, Dialect, Encoder, Framing, detect};

fuzz_target!(|input: &[u8]| {
    let Some((choice, value)) = input.split_first() else { return };
    let dialect = Dialect::ALL[usize::from(choice % 3)];
    let framing = Framing::ALL[usize::from(choice / 3 % 2)];
    let wanted = if choice / 6 % 2 == 0 { ColumnSet::ALL } else { ColumnSet::EMPTY };
    let mut decoder = Decoder::new(dialect, framing, &wanted);
    let mut out = BatchBuilder::new(Arc::new(Schema::standard()), wanted, Pool::default());
    out.keep_unknown(true);
    let read = decoder.decode_value(value, &mut out);
    let again = decoder.decode_value(value, &mut out);
    assert_eq!(read, again);
    let rows = read.map_or(0, |rows| 2 * rows);
    assert_eq!(out.rows(), rows);
    let batch = out.finish(1, 1);
    for (column, values) in batch.columns() {
        assert_eq!(values.len(), rows, "column {column}");
    }
    // A message may become a little longer: a time has several fields.
    let mut written = Vec::new();
    Encoder::new(dialect, Framing::Delimited).encode(&batch, 0..rows, &mut written);
    if value.len() < 1 << 14 {
        let mut decoder = Decoder::new(dialect, Framing::Delimited, &wanted);
        assert_eq!(decoder.decode_value(&written, &mut out), Ok(rows));
    }
    std::hint::black_box(detect(&[value]));
});
