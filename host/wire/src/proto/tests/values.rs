//! Values of several messages, framing, and what is refused.

use super::*;

#[test]
fn several_messages_of_a_stream_follow_one_another_and_a_bad_one_loses_only_itself() {
    let (first, second) = (encoded(Dialect::Goflow2, &batch(1)), encoded(Dialect::Goflow2, &batch(2)));
    // Field 6, an address, with three bytes.
    let mut stream = delimited(&[&first, &bytes(6, &[1, 2, 3]), &second]);
    stream.extend_from_slice(&[100, 1, 2]);
    let mut out = builder();
    let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Delimited, &ColumnSet::ALL);
    let mut left = &stream[..];
    let mut results = Vec::new();
    while !left.is_empty() {
        results.push(decoder.decode_next(&mut left, &mut out).map_err(|error| error.to_string()));
    }
    let bad = Err("field 6 holds an address of 3 bytes".to_owned());
    let cut = Err("field 0 has 100 bytes, 2 left".to_owned());
    assert_eq!(results, [Ok(()), bad, Ok(()), cut]);
    let rows = out.finish(1, 0);
    assert_eq!((text(&rows, 0), text(&rows, 1)), (text(&batch(1), 0), text(&batch(2), 0)));
}

#[test]
fn a_value_with_a_bad_message_gives_no_rows_and_can_be_read_again() {
    let good = [encoded(Dialect::Goflow2, &batch(1)), encoded(Dialect::Goflow2, &batch(2))];
    // Every column is begun before the message turns out to be bad.
    let bad = [&good[0][..], &bytes(6, &[1, 2, 3])].concat();
    let unknown = number(17_000, 1);
    let poison = delimited(&[&good[1], &unknown, &bad, &good[0]]);
    let mut out = builder();
    out.keep_unknown(true);
    let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Delimited, &ColumnSet::ALL);
    for before in 0..3 {
        let refused = decoder.decode_value(&poison, &mut out).unwrap_err();
        assert_eq!(refused, BadValue { message: 2, error: ProtoError::BadAddress { number: 6, length: 3 } });
        assert_eq!((refused.reason(), out.rows()), ("bad_address", before));
        assert_eq!(decoder.decode_value(&delimited(&[&[]]), &mut out), Ok(1));
    }
    assert_eq!(decoder.decode_value(&delimited(&[&good[0], &good[1]]), &mut out), Ok(2));
    let rows = out.finish(1, 0);
    let empty = Batch::new(Arc::new(Schema::standard()), Pool::default(), 1);
    for row in 0..3 {
        assert_eq!(text(&rows, row), text(&empty, 0));
    }
    assert_eq!((text(&rows, 3), text(&rows, 4)), (text(&batch(1), 0), text(&batch(2), 0)));
    assert!(rows.unknown().is_none());
}

#[test]
fn a_value_with_the_wrong_framing_is_refused() {
    let message = encoded(Dialect::Goflow2, &batch(1));
    let check = |framing: Framing, value: &[u8]| {
        let mut out = builder();
        Decoder::new(Dialect::Goflow2, framing, &ColumnSet::ALL)
            .decode_value(value, &mut out)
            .map_err(|bad| bad.reason())
    };
    assert_eq!(check(Framing::Bare, &message), Ok(1));
    assert_eq!(check(Framing::Delimited, &delimited(&[&message, &message])), Ok(2));
    assert!(check(Framing::Delimited, &message).is_err());
    assert!(check(Framing::Bare, &delimited(&[&message])).is_err());
    assert!(check(Framing::Bare, br#"{"type":"IPFIX","bytes":1500}"#).is_err());
    assert!(check(Framing::Delimited, br#"{"type":"IPFIX","bytes":1500}"#).is_err());
    assert_eq!((check(Framing::Bare, &[]), check(Framing::Delimited, &[])), (Ok(1), Ok(0)));
}

#[test]
fn a_value_of_too_many_or_too_long_messages_is_refused() {
    let mut out = builder();
    let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Delimited, &ColumnSet::ALL);
    assert_eq!(decoder.decode_value(&vec![0; MAX_VALUE_ROWS], &mut out), Ok(MAX_VALUE_ROWS));
    let refused = decoder.decode_value(&vec![0; MAX_VALUE_ROWS + 1], &mut out).unwrap_err();
    assert_eq!((refused.error, out.rows()), (ProtoError::TooManyRows, MAX_VALUE_ROWS));
    let long = bytes(2016, &vec![b'n'; MAX_MESSAGE]);
    let refused = decoder.decode_value(&delimited(&[&long]), &mut out).unwrap_err();
    assert_eq!(refused.error, ProtoError::TooLong { length: long.len() as u64 });
    let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Bare, &ColumnSet::ALL);
    assert_eq!(decoder.decode_value(&long, &mut out).unwrap_err().reason(), "too_long");
}

#[test]
fn a_field_of_another_type_or_another_schema_is_refused_or_skipped() {
    let check = |message: &[u8], wanted: ColumnSet, expected: Result<usize, ProtoError>| {
        let mut out = builder();
        let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Bare, &wanted);
        assert_eq!(decoder.decode_value(message, &mut out).map_err(|bad| bad.error), expected);
        assert_eq!(out.rows(), usize::from(expected.is_ok()));
    };
    // Bytes: a varint, a string, a fixed64; also if nobody wants it.
    for wanted in [ColumnSet::ALL, ColumnSet::EMPTY] {
        check(&[0x48, 5], wanted, Ok(1));
        check(&[0x4a, 1, 5], wanted, Err(ProtoError::WrongType { number: 9, found: 2 }));
        check(&[0x49, 1, 2, 3, 4, 5, 6, 7, 8], wanted, Err(ProtoError::WrongType { number: 9, found: 1 }));
        check(&[0x4d, 1, 2, 3, 4], wanted, Err(ProtoError::WrongType { number: 9, found: 5 }));
        check(&[&bytes(17_000, b"ab")[..], &number(9, 5)].concat(), wanted, Ok(1));
    }
    check(&bytes(2016, &[0xff]), ColumnSet::ALL, Err(ProtoError::BadText { number: 2016 }));
    check(&[0x32, 5, 1], ColumnSet::ALL, Err(ProtoError::Truncated { number: 6, length: 5, left: 1 }));
    // A field 0, a key that is cut short, a group, a varint without end.
    check(&[0x48, 5, 0, 0], ColumnSet::ALL, Err(ProtoError::Malformed { offset: 2 }));
    check(&[0x48, 5, 0x80], ColumnSet::ALL, Err(ProtoError::Malformed { offset: 2 }));
    check(&[0x93, 1, 0x94, 1], ColumnSet::ALL, Err(ProtoError::WrongType { number: 18, found: 3 }));
    check(
        &[0x48, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0],
        ColumnSet::ALL,
        Err(ProtoError::Malformed { offset: 1 }),
    );
    // A number that its column cannot hold reads as absent: 70000 as source port.
    assert_eq!(decoded(Dialect::Goflow2, &number(21, 70_000)).number(col::SRC_PORT, 0), 0);
}

#[test]
fn lists_may_come_packed_unpacked_and_in_pieces() {
    let message = [number(102, 1), number(101, 9), bytes(102, &[2, 3]), number(102, 4)].concat();
    let row = decoded(Dialect::Goflow2, &message);
    assert_eq!((row.list(col::AS_PATH, 0), row.list(col::BGP_COMMUNITIES, 0)), (&[1, 2, 3, 4][..], &[9][..]));
    // A list of a bad message is not seen in the next one.
    let mut out = builder();
    let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Bare, &ColumnSet::ALL);
    decoder.decode_value(&[&message[..], &[0]].concat(), &mut out).unwrap_err();
    decoder.decode_value(&number(9, 1), &mut out).unwrap();
    assert_eq!(out.finish(1, 0).list(col::AS_PATH, 0), []);
}

#[test]
fn long_texts_and_lists_grow_the_line() {
    let mut out = builder();
    let list: Vec<u32> = (0..3_000).map(|at| u32::MAX - at).collect();
    out.push_list(col::AS_PATH, 0, &list);
    out.push_list(col::BGP_COMMUNITIES, 0, &list);
    out.push_text(col::NOTE, 0, &"n".repeat(20_000));
    out.push_text(col::DST_AS_NAME, 0, "last");
    out.set_u64(col::SCALED_PACKETS, u64::MAX);
    out.advance(1);
    let batch = out.finish(1, 0);
    for dialect in Dialect::ALL {
        let back = decoded(dialect, &encoded(dialect, &batch));
        assert_eq!(back.list(col::AS_PATH, 0), list);
        assert_eq!((back.text(col::NOTE, 0).len(), back.text(col::DST_AS_NAME, 0)), (20_000, "last"));
        assert_eq!(back.number(col::SCALED_PACKETS, 0), u64::MAX);
    }
    // Rows without anything, and rows that are not there.
    let mut bytes = Vec::new();
    let encoder = Encoder::new(Dialect::Goflow2, Framing::Delimited);
    encoder.encode(&Batch::new(Arc::new(Schema::standard()), Pool::default(), 2), 0..9, &mut bytes);
    assert_eq!(bytes, [0, 0]);
    encoder.rows(&batch).append(7, &mut bytes);
    assert_eq!(bytes, [0, 0, 0]);
}

#[test]
fn an_address_whose_high_half_is_absent_is_written() {
    let mut out = builder();
    out.set_u64(col::SRC_ADDR_LO, 0xffff_c000_0201);
    out.set_u64(col::DST_ADDR_HI, 1 << 63);
    out.set_u64(col::NEXT_HOP_LO, 0);
    out.advance(1);
    let message = encoded(Dialect::Goflow2, &out.finish(1, 0));
    let mut v6 = [0; 16];
    v6[0] = 0x80;
    assert_eq!(message, [bytes(6, &[192, 0, 2, 1]), bytes(7, &v6)].concat());
}
