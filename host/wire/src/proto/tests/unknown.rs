//! What no column takes goes through unchanged.

use sluice_flow::{Column, Texts};

use super::*;

/// Reads a message into the columns in `wanted`, keeping the rest.
fn kept(dialect: Dialect, wanted: ColumnSet, message: &[u8]) -> Batch {
    let mut out = BatchBuilder::new(Arc::new(Schema::standard()), wanted, Pool::default());
    out.keep_unknown(true);
    Decoder::new(dialect, Framing::Bare, &wanted).decode_value(message, &mut out).unwrap();
    out.finish(1, 0)
}

/// Every kind of field that no dialect has, and some that only others have.
fn strange() -> Vec<u8> {
    let fixed64 = [&[0xc1, 0xa6, 0x08][..], &[1; 8]].concat();
    let fixed32 = [&[0xc5, 0xa6, 0x08][..], &[2; 4]].concat();
    [number(16_000, u64::MAX), bytes(2290, b"192.0.2.1"), fixed64, fixed32, number(16_000, 1), number(43, 1)].concat()
}

#[test]
fn unknown_fields_survive_in_their_order_in_the_same_dialect_and_in_no_other() {
    for dialect in Dialect::ALL {
        let known = number(9, 1500);
        let batch = kept(dialect, ColumnSet::ALL, &[&known[..], &strange()].concat());
        assert_eq!(batch.unknown().unwrap().get(0), strange());
        for to in Dialect::ALL {
            let expected = if to == dialect { [&strange()[..], &known].concat() } else { known.clone() };
            assert_eq!(encoded(to, &batch), expected);
        }
        let mut cleared = batch.clone();
        cleared.clear_unknown();
        assert_eq!(encoded(dialect, &cleared), known);
    }
}

#[test]
fn without_the_switch_nothing_is_kept() {
    let batch = decoded(Dialect::Goflow2, &strange());
    assert!(batch.unknown().is_none());
}

#[test]
fn a_column_that_nobody_wants_survives_as_it_was() {
    for dialect in Dialect::ALL {
        let message = encoded(dialect, &super::batch(7));
        let wanted: ColumnSet = [col::BYTES, col::SRC_ADDR_LO].into_iter().collect();
        let batch = kept(dialect, wanted, &message);
        assert_eq!(batch.columns().map(|(column, _)| column).collect::<Vec<_>>(), [13, 20]);
        let back = decoded(dialect, &encoded(dialect, &batch));
        assert_eq!(text(&back, 0), text(&decoded(dialect, &message), 0));
        assert_eq!(encoded(dialect, &batch).len(), message.len());
    }
}

#[test]
fn a_column_that_a_stage_wrote_replaces_what_was_kept_of_it() {
    let strange = strange();
    let message =
        [&bytes(2016, b"old")[..], &bytes(102, &[1, 2]), &strange, &bytes(102, &[3]), &bytes(6, &[1; 4])].concat();
    let mut batch = kept(Dialect::Goflow2, ColumnSet::EMPTY, &message);
    assert_eq!(encoded(Dialect::Goflow2, &batch), message);

    let mut new = builder();
    new.push_list(col::AS_PATH, 0, &[9]);
    new.advance(1);
    let new = new.finish(1, 0);
    batch.set(col::AS_PATH, new.column(col::AS_PATH).unwrap().clone()).unwrap();
    let expected = [&bytes(2016, b"old")[..], &strange, &bytes(6, &[1; 4]), &bytes(102, &[9])].concat();
    assert_eq!(encoded(Dialect::Goflow2, &batch), expected);

    // A text that is emptied is gone, and so is one that is taken out.
    let empty = Texts { words: vec!["".into()], codes: vec![0] };
    batch.set(col::NOTE, Column::Text(Arc::new(empty))).unwrap();
    assert_eq!(encoded(Dialect::Goflow2, &batch), [&strange[..], &bytes(6, &[1; 4]), &bytes(102, &[9])].concat());
    batch.clear(col::AS_PATH);
    batch.clear(col::NOTE);
    // An address by either half.
    batch.clear(col::SRC_ADDR_LO);
    assert_eq!(encoded(Dialect::Goflow2, &batch), strange);
    let mut framed = Vec::new();
    Encoder::new(Dialect::Goflow2, Framing::Delimited).encode(&batch, 0..1, &mut framed);
    assert_eq!(framed, delimited(&[&strange]));
}

#[test]
fn all_fields_of_a_time_are_superseded_together() {
    let message = [number(111, 5_000_000_000), number(63, 5_000), number(2538, 5)].concat();
    let mut batch = kept(Dialect::Flowpipeline, ColumnSet::EMPTY, &message);
    batch.set(col::FIRST_NS, Column::U64(Arc::new(vec![7_000_000_000]))).unwrap();
    let expected = [number(111, 7_000_000_000), number(63, 7_000), number(2538, 7)].concat();
    assert_eq!(encoded(Dialect::Flowpipeline, &batch), expected);
}

#[test]
fn each_row_keeps_its_own() {
    let (first, third) = (strange(), number(50, 5));
    let value =
        delimited(&[&[&first[..], &number(9, 1)].concat(), &number(9, 2), &[&third[..], &number(9, 3)].concat()]);
    let mut out = builder();
    out.keep_unknown(true);
    let mut decoder = Decoder::new(Dialect::Bwnetflow, Framing::Delimited, &ColumnSet::ALL);
    assert_eq!(decoder.decode_value(&value, &mut out), Ok(3));
    let mut batch = out.finish(1, 0);
    let mut back = Vec::new();
    let encoder = Encoder::new(Dialect::Bwnetflow, Framing::Delimited);
    encoder.encode(&batch, 0..3, &mut back);
    assert_eq!(back, value);
    batch.keep(&[0b110]);
    back.clear();
    encoder.encode(&batch, 0..3, &mut back);
    assert_eq!(back, delimited(&[&number(9, 2), &[&third[..], &number(9, 3)].concat()]));
}
