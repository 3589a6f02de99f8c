//! From dialect to dialect, and the numbers that mean something else in another.

use proptest::prelude::*;
use sluice_flow::ColumnId;

use super::super::table::{Form, SECOND, TABLE};
use super::*;

/// The columns that a dialect has.
fn columns(dialect: Dialect) -> ColumnSet {
    Encoder::new(dialect, Framing::Bare).reads()
}

/// Whether the dialect has the time to the nanosecond.
fn is_exact(dialect: Dialect, column: ColumnId) -> bool {
    dialect.fields().filter(|field| field.column == column).any(|field| !matches!(field.form, Form::Divided(_)))
}

/// The row as text: the columns in `of`, to the second where that is all that is left.
fn common(batch: &Batch, of: &ColumnSet, is_exact: impl Fn(ColumnId) -> bool) -> String {
    let is_in = |field: &&Field| of.contains(field.number);
    let value = |field: &Field| match field.number {
        col::RECEIVED_NS | col::FIRST_NS | col::LAST_NS if !is_exact(field.number) => {
            (batch.number(field.number, 0) / SECOND).to_string()
        }
        _ => value_text(batch, field, 0),
    };
    FIELDS.iter().filter(is_in).map(|field| format!("{}={} ", field.name, value(field))).collect()
}

proptest! {
    #[test]
    fn a_message_in_another_dialect_and_back_agrees_on_what_both_have(seed in any::<u64>()) {
        for from in Dialect::ALL {
            let original = decoded(from, &encoded(from, &batch(seed)));
            for to in Dialect::ALL {
                let there = decoded(to, &encoded(to, &original));
                let back = decoded(from, &encoded(from, &there));
                let mut both = columns(from);
                both = both.minus(both.minus(columns(to)));
                let exact = |column| is_exact(from, column) && is_exact(to, column);
                prop_assert_eq!(common(&there, &both, exact), common(&original, &both, exact));
                prop_assert_eq!(common(&back, &both, exact), common(&original, &both, exact));
                // Nothing else came in on the way.
                prop_assert_eq!(common(&back, &columns(from).minus(both), exact), {
                    let empty = Batch::new(Arc::new(Schema::standard()), Pool::default(), 1);
                    common(&empty, &columns(from).minus(both), exact)
                });
            }
        }
    }
}

#[test]
fn every_column_is_in_some_dialect_and_no_number_means_two_things() {
    let halves = |column: ColumnId| ADDRESSES.iter().any(|address| address.lo == column);
    for field in FIELDS.iter().filter(|field| !halves(field.number)) {
        assert!(TABLE.iter().any(|row| row.column == field.number), "{}", field.name);
        // goflow2 is what `flow.proto` says.
        let ours = Dialect::Goflow2.fields().find(|mapped| mapped.column == field.number).map(|mapped| mapped.number);
        assert_eq!(ours, field.proto.map(|(number, _)| number), "{}", field.name);
    }
    for dialect in Dialect::ALL {
        let mut numbers: Vec<_> = dialect.fields().map(|field| field.number).collect();
        numbers.sort_unstable();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{dialect:?} {numbers:?}");
        // What the decoder looks up, and the room of an encoder's line.
        assert!(numbers.iter().all(|number| *number < 1 << 14));
        let room = |form: Form| match form {
            Form::Address => 3 + 1 + 16,
            Form::Number(Width::U64) | Form::Divided(_) => 3 + 10,
            Form::Text => block::WORD_ROOM,
            _ => 3 + 5,
        };
        let line: usize = dialect.fields().map(|field| room(field.form)).sum();
        assert!(block::HEAD + line + block::ADDRESS_ROOM <= block::LINE, "{dialect:?} {line}");
    }
}

#[test]
fn field_38_is_ip_flags_or_the_time_of_the_first_packet() {
    let message = number(38, 1_700_000_000);
    let legacy = decoded(Dialect::Bwnetflow, &message);
    assert_eq!(legacy.number(col::FIRST_NS, 0), 1_700_000_000 * SECOND);
    assert!(!legacy.has(col::IP_FLAGS));
    for dialect in [Dialect::Goflow2, Dialect::Flowpipeline] {
        let modern = decoded(dialect, &number(38, 2));
        assert_eq!((modern.number(col::IP_FLAGS, 0), modern.number(col::FIRST_NS, 0)), (2, 0));
        // Flags do not become a time.
        assert_eq!(encoded(Dialect::Bwnetflow, &modern), []);
        assert_eq!(encoded(dialect, &modern), number(38, 2));
    }
    // The flow begins when it begins: under the numbers of each.
    let ns = 1_700_000_000 * SECOND;
    assert_eq!(encoded(Dialect::Goflow2, &legacy), number(111, ns));
    let all = [number(111, ns), number(63, ns / 1_000_000), number(2538, 1_700_000_000)].concat();
    assert_eq!(encoded(Dialect::Flowpipeline, &legacy), all);
    assert_eq!(encoded(Dialect::Bwnetflow, &legacy), message);
}

#[test]
fn fields_63_and_64_are_times_in_milliseconds_or_ppp() {
    let message = [number(63, 1_700_000_000_123), number(64, 1_700_000_000_456)].concat();
    let modern = decoded(Dialect::Flowpipeline, &message);
    assert_eq!(modern.number(col::FIRST_NS, 0), 1_700_000_000_123_000_000);
    assert_eq!(modern.number(col::LAST_NS, 0), 1_700_000_000_456_000_000);
    for dialect in [Dialect::Goflow2, Dialect::Bwnetflow] {
        assert_eq!(decoded(dialect, &message).columns().count(), 0);
        assert_eq!(decoded(dialect, &[number(63, 1), number(64, 0xff03)].concat()).columns().count(), 0);
    }
}

#[test]
fn field_1000_is_a_country_or_a_customer_and_the_wrong_one_is_an_error() {
    let country = bytes(1000, b"DE");
    let customer = number(1000, 4711);
    for dialect in [Dialect::Goflow2, Dialect::Flowpipeline] {
        let modern = decoded(dialect, &country);
        assert_eq!(modern.text(col::SRC_COUNTRY, 0), "DE");
        assert_eq!(encoded(Dialect::Bwnetflow, &modern), bytes(1014, b"DE"));
        let mut out = builder();
        let bad = Decoder::new(dialect, Framing::Bare, &ColumnSet::ALL).decode_value(&customer, &mut out);
        assert_eq!(bad.unwrap_err().error, ProtoError::WrongType { number: 1000, found: 0 });
    }
    let legacy = decoded(Dialect::Bwnetflow, &customer);
    assert_eq!(legacy.number(col::CUSTOMER_ID, 0), 4711);
    assert_eq!(encoded(Dialect::Flowpipeline, &legacy), number(2000, 4711));
    let mut out = builder();
    let bad = Decoder::new(Dialect::Bwnetflow, Framing::Bare, &ColumnSet::ALL).decode_value(&country, &mut out);
    assert_eq!(bad.unwrap_err().reason(), "wrong_type");
}

#[test]
fn field_1001_is_a_country_or_the_name_of_a_customer() {
    let message = bytes(1001, b"NL");
    assert_eq!(decoded(Dialect::Flowpipeline, &message).text(col::DST_COUNTRY, 0), "NL");
    // The name of a customer has no column: it is not taken for a country.
    assert_eq!(decoded(Dialect::Bwnetflow, &message).columns().count(), 0);
    assert_eq!(encoded(Dialect::Bwnetflow, &decoded(Dialect::Flowpipeline, &message)), bytes(1015, b"NL"));
}

#[test]
fn the_most_precise_time_counts_in_any_order_and_a_zero_does_not() {
    let check = |fields: &[Vec<u8>], expected: u64| {
        let forward = fields.concat();
        let backward: Vec<u8> = fields.iter().rev().flatten().copied().collect();
        for message in [forward, backward] {
            assert_eq!(decoded(Dialect::Flowpipeline, &message).number(col::FIRST_NS, 0), expected);
        }
    };
    check(&[number(111, 5_123_456_789), number(63, 6_000), number(2538, 7)], 5_123_456_789);
    check(&[number(63, 6_001), number(2538, 7)], 6_001_000_000);
    check(&[number(111, 0), number(63, 0), number(2538, 7)], 7 * SECOND);
    // Beyond what nanoseconds can say.
    check(&[number(2538, u64::MAX)], 0);
}

#[test]
fn fields_that_flowpipeline_has_twice_are_read_from_either_and_written_to_both() {
    let check = |second: &[u8], first: &[u8]| {
        let row = decoded(Dialect::Flowpipeline, second);
        assert_eq!(encoded(Dialect::Flowpipeline, &row), [first, second].concat());
        assert_eq!(text(&row, 0), text(&decoded(Dialect::Flowpipeline, first), 0));
    };
    check(&bytes(2014, b"DE"), &bytes(1000, b"DE"));
    check(&bytes(2015, b"DE"), &bytes(1001, b"DE"));
    check(&number(2539, 7), &number(39, 7));
    check(&number(2540, 7), &number(40, 7));
}
