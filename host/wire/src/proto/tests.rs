use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;
use sluice_flow::{ColumnSet, Field, Pool, Schema};

use super::*;

fn builder() -> BatchBuilder {
    BatchBuilder::new(Arc::new(Schema::standard()), ColumnSet::ALL, Pool::default())
}

/// A batch of one row in which every column has a value: from `seed`, a zero now and then.
fn batch(seed: u64) -> Batch {
    let mut out = builder();
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if state >> 61 == 0 { 0 } else { state >> 16 }
    };
    for field in FIELDS {
        let value = random();
        match field.width {
            Width::U8 => out.u8s(field.number, 1).fill(value as u8),
            Width::U16 => out.u16s(field.number, 1).fill(value as u16),
            Width::U32 => out.u32s(field.number, 1).fill(value as u32),
            Width::U64 => out.u64s(field.number, 1).fill(value),
            Width::Text => out.push_text(field.number, 0, ["", "Düsseldorf"][value as usize % 2]),
            Width::Lists => {
                let list: Vec<u32> = (0..value % 4).map(|_| random() as u32).collect();
                out.push_list(field.number, 0, &list);
            }
        }
    }
    // What these hold is not any number.
    out.u8s(col::FLOW_TYPE, 1).fill((seed % 6) as u8);
    out.u8s(col::FLOW_DIRECTION, 1).fill((seed % 3) as u8);
    for (at, address) in sluice_flow::ADDRESSES.iter().enumerate() {
        if (seed >> at) & 1 == 1 {
            let (hi, lo) = halves_of(IpAddr::V4(Ipv4Addr::from_bits(seed as u32)));
            out.u64s(address.hi, 1).fill(hi);
            out.u64s(address.lo, 1).fill(lo);
        }
    }
    out.advance(1);
    out.finish(1, 0)
}

/// The row as text: every column, whether it is there or not.
fn text(batch: &Batch, row: usize) -> String {
    let value = |field: &Field| match field.width {
        Width::Text => batch.text(field.number, row).to_owned(),
        Width::Lists => format!("{:?}", batch.list(field.number, row)),
        _ => batch.number(field.number, row).to_string(),
    };
    FIELDS.iter().map(|field| format!("{} {}\n", field.name, value(field))).collect()
}

proptest! {
    #[test]
    fn a_row_survives_the_way_there_and_back(seeds in prop::collection::vec(any::<u64>(), 1..5)) {
        let mut bytes = Vec::new();
        let mut out = builder();
        for seed in &seeds {
            encode_delimited(&batch(*seed), 0, &mut bytes);
        }
        let mut left = &bytes[..];
        while !left.is_empty() {
            decode_delimited(&mut left, &mut out).unwrap();
        }
        let back = out.finish(2, 0);
        prop_assert_eq!(back.rows(), seeds.len());
        for (row, seed) in seeds.iter().enumerate() {
            prop_assert_eq!(text(&back, row), text(&batch(*seed), 0));
        }
    }

    #[test]
    fn prost_reads_what_we_write_and_writes_what_we_read(seed in any::<u64>()) {
        let batch = batch(seed);
        let mut bytes = Vec::new();
        encode(&batch, 0, &mut bytes);
        let message = FlowMessage::decode(&bytes[..]).unwrap();
        prop_assert_eq!(message.r#type, batch.number(col::FLOW_TYPE, 0) as i32);
        prop_assert_eq!(message.bytes, batch.number(col::BYTES, 0));
        prop_assert_eq!(message.time_flow_start_ns, batch.number(col::FIRST_NS, 0));
        prop_assert_eq!(&message.as_path[..], batch.list(col::AS_PATH, 0));
        prop_assert_eq!(&message.note, batch.text(col::NOTE, 0));
        prop_assert_eq!(u64::from(message.flow_direction), batch.number(col::FLOW_DIRECTION, 0).saturating_sub(1));
        let src_addr = match batch.addr(col::SRC_ADDR_HI, 0) {
            Some(IpAddr::V4(addr)) => addr.octets().to_vec(),
            Some(IpAddr::V6(addr)) => addr.octets().to_vec(),
            None => Vec::new(),
        };
        prop_assert_eq!(&message.src_addr, &src_addr);

        let mut out = builder();
        decode(&message.encode_to_vec(), &mut out).unwrap();
        let back = out.finish(2, 0);
        // What is 0 in a message is not written; prost cannot tell ingress from absent.
        let mut expected = batch.clone();
        if batch.number(col::FLOW_DIRECTION, 0) == 1 {
            expected.set(col::FLOW_DIRECTION, Column::U8(Arc::new(vec![0]))).unwrap();
        }
        prop_assert_eq!(text(&back, 0), text(&expected, 0));
    }

    #[test]
    fn any_bytes_give_a_row_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..100), seed in any::<u64>()) {
        let mut out = builder();
        let is_row = decode(&bytes, &mut out).is_ok();
        prop_assert_eq!(out.rows(), usize::from(is_row));
        // The same in the middle of a good message.
        let mut message = Vec::new();
        encode(&batch(seed), 0, &mut message);
        let at = seed as usize % message.len();
        message.splice(at..at, bytes);
        let is_row = decode(&message, &mut out).is_ok();
        prop_assert!(out.rows() <= 1 + usize::from(is_row));
        prop_assert_eq!(out.finish(1, 0).columns().all(|(_, column)| column.len() <= 2), true);
    }
}

#[test]
fn every_field_of_the_schema_is_a_column() {
    let schema = include_str!("../../../../proto/sluice/flow/v1/flow.proto");
    let numbers: Vec<u32> = schema
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once(" = ")?.1.parse().ok())
        .filter(|number| *number > 0)
        .collect();
    for entry in BY_NUMBER.iter() {
        assert!(numbers.contains(&entry.number), "field {} is not in the schema", entry.number);
    }
    assert!(BY_NUMBER.len() > 80);
}

#[test]
fn several_messages_follow_one_another_and_a_bad_one_loses_only_itself() {
    let mut bytes = Vec::new();
    encode_delimited(&batch(1), 0, &mut bytes);
    // Field 6, an address, with three bytes.
    bytes.extend_from_slice(&[5, 0x32, 3, 1, 2, 3]);
    encode_delimited(&batch(2), 0, &mut bytes);
    bytes.extend_from_slice(&[100, 1, 2]);
    let mut out = builder();
    let mut left = &bytes[..];
    let mut results = Vec::new();
    while !left.is_empty() {
        results.push(decode_delimited(&mut left, &mut out).map_err(|error| error.to_string()));
    }
    let bad = Err("field 6 holds an address of 3 bytes".to_owned());
    let cut = Err("field 0 has 100 bytes, 2 left".to_owned());
    assert_eq!(results, [Ok(()), bad, Ok(()), cut]);
    assert_eq!(out.rows(), 2);
}

#[test]
fn a_field_of_another_type_or_another_schema_is_refused_or_skipped() {
    let check = |message: &[u8], expected: Result<(), ProtoError>| {
        let mut out = builder();
        assert_eq!(decode(message, &mut out), expected);
        assert_eq!(out.rows(), usize::from(expected.is_ok()));
    };
    // Field 9, bytes: a varint, a string, a fixed64.
    check(&[0x48, 5], Ok(()));
    check(&[0x4a, 1, 5], Err(ProtoError::WrongType { number: 9, found: 2 }));
    check(&[0x49, 1, 2, 3, 4, 5, 6, 7, 8], Err(ProtoError::WrongType { number: 9, found: 1 }));
    // Field 17000 is unknown.
    check(&[0xc2, 0xa6, 0x08, 2, 1, 2, 0x48, 5], Ok(()));
    // Note that is not UTF-8.
    check(&[0x82, 0x7e, 1, 0xff], Err(ProtoError::BadText { number: 2016 }));
    // A number that its column cannot hold reads as absent: 70000 as source port.
    let mut out = builder();
    decode(&[0xa8, 0x01, 0xf0, 0xa2, 0x04], &mut out).unwrap();
    assert_eq!(out.finish(1, 0).number(col::SRC_PORT, 0), 0);
}

#[test]
fn long_messages_have_a_longer_length() {
    let mut out = builder();
    out.push_text(col::NOTE, 0, &"n".repeat(20_000));
    out.advance(1);
    let batch = out.finish(1, 0);
    let mut bytes = Vec::new();
    encode_delimited(&batch, 0, &mut bytes);
    encode_delimited(&Batch::new(Arc::new(Schema::standard()), Pool::default(), 1), 0, &mut bytes);
    let mut left = &bytes[..];
    let mut out = builder();
    decode_delimited(&mut left, &mut out).unwrap();
    assert_eq!(left, [0]);
    decode_delimited(&mut left, &mut out).unwrap();
    let back = out.finish(1, 0);
    assert_eq!((back.text(col::NOTE, 0).len(), back.text(col::NOTE, 1).len()), (20_000, 0));
}
