//! prost writes what we read and reads what we write, in every dialect.

use proptest::prelude::*;
use prost::Message;

use super::super::raw::Fields;
use super::generated::{bwnetflow, flowpipeline, sluice};
use super::*;

/// What prost makes of a message of the dialect: the fields that it knows, in its own order.
fn through_prost(dialect: Dialect, message: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    Ok(match dialect {
        Dialect::Goflow2 => sluice::FlowMessage::decode(message)?.encode_to_vec(),
        Dialect::Flowpipeline => flowpipeline::EnrichedFlow::decode(message)?.encode_to_vec(),
        Dialect::Bwnetflow => bwnetflow::FlowMessage::decode(message)?.encode_to_vec(),
    })
}

/// The fields by number, without those of sluice's own, which only one of the schemas has.
fn fields(dialect: Dialect, message: &[u8]) -> Vec<Vec<u8>> {
    let mut fields: Vec<_> = Fields::new(message)
        .map(Result::unwrap)
        .filter(|field| dialect == Dialect::Goflow2 || field.number < 10_000)
        // Ingress, which is a zero that prost does not write.
        .filter(|field| field.raw != number(42, 0))
        .map(|field| (field.number, field.raw.to_vec()))
        .collect();
    fields.sort();
    fields.into_iter().map(|(_, raw)| raw).collect()
}

proptest! {
    #[test]
    fn prost_reads_what_we_write_and_writes_the_same(seed in any::<u64>()) {
        for dialect in Dialect::ALL {
            let ours = encoded(dialect, &batch(seed));
            let theirs = through_prost(dialect, &ours).unwrap();
            prop_assert_eq!(fields(dialect, &ours), fields(dialect, &theirs));
            prop_assert!(fields(dialect, &ours).len() > 25);
        }
    }

    #[test]
    fn we_read_what_prost_writes_as_what_we_wrote(seed in any::<u64>()) {
        for dialect in Dialect::ALL {
            let ours = encoded(dialect, &batch(seed));
            // Ours first, so that sluice's own fields are there, and then the same again.
            let twice = [&ours[..], &through_prost(dialect, &ours).unwrap()].concat();
            let (once, twice) = (decoded(dialect, &ours), decoded(dialect, &twice));
            for field in FIELDS.iter().filter(|field| field.width != Width::Lists) {
                prop_assert_eq!(value_text(&once, field, 0), value_text(&twice, field, 0));
            }
            // Lists are joined, as proto3 has it.
            for field in FIELDS.iter().filter(|field| field.width == Width::Lists) {
                prop_assert_eq!(once.list(field.number, 0).repeat(2), twice.list(field.number, 0));
            }
        }
    }

    #[test]
    fn what_prost_refuses_we_refuse_but_for_text_that_nobody_wants(
        seed in any::<u64>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        is_cut in any::<bool>(),
    ) {
        for dialect in Dialect::ALL {
            let mut message = encoded(dialect, &batch(seed));
            let at = seed as usize % (message.len() + 1);
            if is_cut {
                message.truncate(at);
            } else {
                message.splice(at..at, noise.iter().copied());
            }
            let mut out = builder();
            let ours = Decoder::new(dialect, Framing::Bare, &ColumnSet::ALL).decode_value(&message, &mut out);
            // flow.proto has every column; the others lack types that we look at.
            if dialect == Dialect::Goflow2 && ours.is_ok() {
                prop_assert!(through_prost(dialect, &message).is_ok());
            }
        }
    }
}

#[test]
fn the_schemas_say_what_the_table_says() {
    let check = |dialect: Dialect, schema: &str| {
        let fields: Vec<(&str, u32)> = schema
            .lines()
            .filter_map(|line| {
                let (head, number) = line.strip_prefix("  ")?.strip_suffix(';')?.rsplit_once(" = ")?;
                let (kind, _) = head.rsplit_once(' ').filter(|_| !head.starts_with(' '))?;
                Some((kind, number.parse().ok()?))
            })
            .collect();
        for mapped in dialect.fields().filter(|mapped| dialect == Dialect::Goflow2 || mapped.number < 10_000) {
            let kind = fields.iter().find(|(_, number)| *number == mapped.number).expect("the schema has it").0;
            let kinds: &[&str] = match mapped.form {
                table::Form::Divided(_) | table::Form::Number(Width::U64) => &["uint64"],
                table::Form::Number(_) | table::Form::MinusOne => {
                    &["uint32", "FlowType", "NormalizedType", "RemoteAddrType", "AnonymizedType"]
                }
                table::Form::Address => &["bytes"],
                table::Form::Text => &["string"],
                table::Form::List => &["repeated uint32", "repeated LayerStack"],
            };
            assert!(kinds.contains(&kind), "{dialect:?} {} {kind}", mapped.number);
        }
    };
    check(Dialect::Goflow2, include_str!("../../../../../proto/sluice/flow/v1/flow.proto"));
    check(Dialect::Flowpipeline, include_str!("../../../../../proto/flowpipeline/enriched_flow.proto"));
    check(Dialect::Bwnetflow, include_str!("../../../../../proto/bwnetflow/flow_message.proto"));
}

#[test]
fn a_struct_of_each_dialect_becomes_the_row_that_it_says() {
    let legacy = bwnetflow::FlowMessage {
        time_received: 1_700_000_002,
        time_flow_start: 1_700_000_000,
        time_flow_end: 1_700_000_001,
        src_addr: vec![192, 0, 2, 1],
        bytes: 1500,
        cid: 7,
        src_country: "DE".to_owned(),
        as_path: vec![64_500, 64_501],
        flow_direction: 1,
        has_ppp: true,
        ..Default::default()
    };
    let row = decoded(Dialect::Bwnetflow, &legacy.encode_to_vec());
    let names = [
        "received_ns",
        "first_ns",
        "last_ns",
        "src_addr",
        "bytes",
        "customer_id",
        "src_country",
        "as_path",
        "flow_direction",
    ];
    expect_test::expect![[r#"
        received_ns first_ns last_ns src_addr bytes customer_id src_country as_path flow_direction
        1700000002000000000 1700000000000000000 1700000001000000000 192.0.2.1 1500 7 DE 64500,64501 2
    "#]]
    .assert_eq(&sluice_flow::table(&row, &names));
    let modern = flowpipeline::EnrichedFlow::decode(&encoded(Dialect::Flowpipeline, &row)[..]).unwrap();
    assert_eq!(modern.time_flow_start_ns, 1_700_000_000_000_000_000);
    assert_eq!((modern.time_flow_start_ms, modern.time_flow_start), (1_700_000_000_000, 1_700_000_000));
    assert_eq!((modern.time_received, modern.time_flow_end), (1_700_000_002, 1_700_000_001));
    assert_eq!((modern.cid, modern.as_path, modern.flow_direction), (7, vec![64_500, 64_501], 1));
    assert_eq!((modern.src_country.as_str(), modern.src_country_bw.as_str()), ("DE", "DE"));
    let goflow2 = sluice::FlowMessage::decode(&encoded(Dialect::Goflow2, &row)[..]).unwrap();
    assert_eq!(
        (goflow2.time_received_ns, goflow2.cid, goflow2.src_addr),
        (1_700_000_002_000_000_000, 7, vec![192, 0, 2, 1])
    );
}
