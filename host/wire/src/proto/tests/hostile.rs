//! Any bytes give rows or a reason, and not more memory than they are worth.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_bytes_give_rows_or_a_reason(
        noise in prop::collection::vec(any::<u8>(), 0..100),
        seed in any::<u64>(),
        wants_all in any::<bool>(),
    ) {
        for dialect in Dialect::ALL {
            for framing in Framing::ALL {
                let wanted = if wants_all { ColumnSet::ALL } else { [col::NOTE, col::AS_PATH].into_iter().collect() };
                let mut out = BatchBuilder::new(Arc::new(Schema::standard()), wanted, Pool::default());
                out.keep_unknown(true);
                let mut decoder = Decoder::new(dialect, framing, &wanted);
                let good = encoded(dialect, &batch(seed));
                let mut value = if framing == Framing::Bare { good } else { delimited(&[&good, &good]) };
                let mut rows = decoder.decode_value(&value, &mut out).unwrap();
                let at = seed as usize % value.len();
                value.splice(at..at, noise.iter().copied());
                for value in [&noise, &value] {
                    let before = out.rows();
                    prop_assert_eq!(before, rows);
                    match decoder.decode_value(value, &mut out) {
                        Ok(more) => rows += more,
                        Err(bad) => prop_assert!(ProtoError::REASONS.contains(&bad.reason())),
                    }
                    // A guess, whatever it is, can be tried.
                    if let Some((dialect, framing)) = detect(&[value]) {
                        let mut decoder = Decoder::new(dialect, framing, &wanted);
                        let read = decoder.decode_value(value, &mut builder()).map_err(|bad| bad.reason());
                        prop_assert_ne!(read, Err("truncated"));
                    }
                }
                let batch = out.finish(1, 0);
                prop_assert_eq!(batch.rows(), rows);
                prop_assert!(batch.columns().all(|(_, column)| column.len() == rows));
                prop_assert!(batch.bytes() < 4_096 + rows * 1_024 + 16 * value.len());
                // Writing it back does not fail either, and is read again.
                let mut again = Vec::new();
                Encoder::new(dialect, Framing::Delimited).encode(&batch, 0..rows, &mut again);
                let mut decoder = Decoder::new(dialect, Framing::Delimited, &wanted);
                prop_assert_eq!(decoder.decode_value(&again, &mut out), Ok(rows));
            }
        }
    }
}
