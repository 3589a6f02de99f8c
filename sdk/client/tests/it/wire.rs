//! Flows here against rows there: the collector reads and writes the same bytes, with code of its own.

use std::sync::Arc;

use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, Kind, Value};
use sluice_client::{Flow, Format, Framing, read_value, write_message};
use sluice_flow::{Batch, BatchBuilder, ColumnSet, Pool, Schema};
use sluice_wire::proto::{Decoder, Dialect, Encoder, Framing as WireFraming};

const FORMATS: [(Format, Dialect); 3] = [
    (Format::Goflow2, Dialect::Goflow2),
    (Format::Flowpipeline, Dialect::Flowpipeline),
    (Format::Bwnetflow, Dialect::Bwnetflow),
];

/// A flow with a value in every field, the smallest that is not "absent" and differs from field to field.
fn full() -> Flow {
    let files = protox::compile(["sluice/flow/v1/flow.proto"], ["../../proto"]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let descriptor = pool.get_message_by_name("sluice.flow.v1.FlowMessage").unwrap();
    let mut message = DynamicMessage::new(descriptor.clone());
    for (at, field) in descriptor.fields().enumerate() {
        let number = at as u32 + 1;
        let value = match field.kind() {
            Kind::Bytes => Value::Bytes(vec![192, 0, 2, number as u8].into()),
            Kind::String => Value::String(format!("text {number}")),
            // Whole seconds: bwnetflow has no others.
            Kind::Uint64 if field.name().ends_with("_ns") => Value::U64(u64::from(number) * 1_000_000_000),
            Kind::Uint64 => Value::U64(number.into()),
            Kind::Uint32 if field.cardinality() == Cardinality::Repeated => {
                Value::List(vec![Value::U32(number), Value::U32(1)])
            }
            // Some columns are narrow, and enumerations elsewhere.
            Kind::Uint32 => Value::U32(1 + number % 2),
            Kind::Enum(_) => Value::EnumNumber(3),
            kind => panic!("{} is a {kind:?}", field.name()),
        };
        message.set_field(&field, value);
    }
    Flow::decode(&message.encode_to_vec()[..]).unwrap()
}

fn row(dialect: Dialect, value: &[u8]) -> Batch {
    let schema = Arc::new(Schema::standard());
    let mut rows = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
    let mut decoder = Decoder::new(dialect, WireFraming::Delimited, &ColumnSet::ALL);
    assert_eq!(decoder.decode_value(value, &mut rows).unwrap(), 1);
    rows.finish(1, 0)
}

fn value(dialect: Dialect, row: &Batch) -> Vec<u8> {
    let mut value = Vec::new();
    Encoder::new(dialect, WireFraming::Delimited).encode(row, 0..1, &mut value);
    value
}

fn read(format: Format, value: &[u8]) -> Flow {
    let mut flows = Vec::new();
    assert_eq!(read_value(format, Framing::Delimited, value, &mut flows), Ok(1));
    flows.remove(0)
}

fn written(format: Format, flow: &Flow) -> Vec<u8> {
    let mut value = Vec::new();
    write_message(format, Framing::Delimited, flow, &mut value);
    value
}

/// The collector writes a row in each format; this crate reads it as the collector reads what it wrote.
pub(crate) fn every_field_is_read_as_the_collector_reads_it() {
    let row_of_full = row(Dialect::Goflow2, &written(Format::Goflow2, &full()));
    for (format, dialect) in FORMATS {
        let bytes = value(dialect, &row_of_full);
        let by_collector = value(Dialect::Goflow2, &row(dialect, &bytes));
        assert_eq!(read(format, &bytes), read(Format::Goflow2, &by_collector), "{format:?}");
    }
    // Nothing is left out by both.
    assert_eq!(read(Format::Goflow2, &value(Dialect::Goflow2, &row_of_full)), full());
    assert_eq!(read(Format::Flowpipeline, &value(Dialect::Flowpipeline, &row_of_full)), full());
}

/// And the other way round.
pub(crate) fn what_is_written_is_what_the_collector_reads() {
    for (format, dialect) in FORMATS {
        let by_collector = row(dialect, &value(dialect, &row(Dialect::Goflow2, &written(Format::Goflow2, &full()))));
        let here = row(dialect, &written(format, &full()));
        let bytes = |row: &Batch| value(Dialect::Goflow2, row);
        assert_eq!(read(Format::Goflow2, &bytes(&here)), read(Format::Goflow2, &bytes(&by_collector)), "{format:?}");
    }
}
