use super::*;
use crate::col;

fn builder() -> BatchBuilder {
    BatchBuilder::new(Arc::new(Schema::standard()), ColumnSet::ALL, Pool::default())
}

#[test]
fn a_column_that_one_block_lacks_is_zero_there_and_an_untouched_one_is_absent() {
    let mut builder = builder();
    builder.u64s(col::BYTES, 2).copy_from_slice(&[7, 8]);
    builder.advance(2);
    builder.u8s(col::PROTO, 1)[0] = 6;
    builder.advance(1);
    let batch = builder.finish(1, 2);
    assert_eq!(batch.rows(), 3);
    assert_eq!(batch.u64s(col::BYTES), Some(&[7, 8, 0][..]));
    assert_eq!(batch.u8s(col::PROTO), Some(&[0, 0, 6][..]));
    assert!(!batch.has(col::PACKETS));
}

#[test]
fn a_block_that_is_not_advanced_over_leaves_no_trace() {
    let mut builder = builder();
    builder.u64s(col::BYTES, 2).fill(9);
    builder.push_list(col::AS_PATH, 0, &[1, 2]);
    builder.push_text(col::NOTE, 0, "bad");
    builder.u64s(col::BYTES, 1)[0] = 5;
    builder.push_list(col::AS_PATH, 0, &[3]);
    builder.push_text(col::NOTE, 0, "good");
    builder.advance(1);
    let batch = builder.finish(1, 2);
    assert_eq!(batch.u64s(col::BYTES), Some(&[5][..]));
    assert_eq!(batch.list(col::AS_PATH, 0), &[3]);
    assert_eq!(batch.text(col::NOTE, 0), "good");
}

#[test]
fn rows_that_were_taken_back_leave_no_trace_in_any_column() {
    let mut builder = builder();
    builder.keep_unknown(true);
    for row in 0..5_u16 {
        builder.set_u8(col::PROTO, 6);
        if row != 3 {
            builder.set_u64(col::BYTES, u64::from(row) + 1);
            builder.push_list(col::AS_PATH, 0, &[1, 2]);
            builder.push_text(col::NOTE, 0, "text");
            builder.push_unknown("a", &[], &[row as u8]);
        }
        builder.advance(1);
    }
    // Begun and given up.
    builder.set_u64(col::BYTES, 9);
    builder.set_u16(col::SRC_PORT, 9);
    builder.push_unknown("a", &[], &[9]);
    builder.truncate(3);
    builder.advance(1);
    let batch = builder.finish(1, 2);
    let unknown: Vec<_> = (0..5).map(|row| batch.unknown().unwrap().get(row)).collect();
    assert_eq!(unknown, [&[0][..], &[1], &[2], &[], &[]]);
    assert_eq!(batch.u64s(col::BYTES), Some(&[1, 2, 3, 0][..]));
    assert_eq!(batch.u8s(col::PROTO), Some(&[6, 6, 6, 0][..]));
    assert_eq!(batch.u16s(col::SRC_PORT), Some(&[0; 4][..]));
    assert_eq!((batch.text(col::NOTE, 2), batch.text(col::NOTE, 3)), ("text", ""));
    assert_eq!((batch.list(col::AS_PATH, 2), batch.list(col::AS_PATH, 3)), (&[1, 2][..], &[][..]));

    builder.set_u64(col::BYTES, 9);
    builder.truncate(0);
    builder.advance(1);
    assert_eq!(builder.finish(1, 2).columns().count(), 0);
}

#[test]
fn numbers_become_columns_of_their_width_and_mix_with_blocks() {
    let mut builder = builder();
    for row in 0..3_u64 {
        builder.set_number(col::PROTO, if row == 1 { 256 } else { row });
        builder.set_number(col::SRC_PORT, 0xffff + row);
        builder.set_number(col::SRC_AS, row);
        builder.set_number(col::BYTES, u64::MAX);
        builder.advance(1);
    }
    builder.u8s(col::PROTO, 2).fill(9);
    builder.u32s(col::DST_AS, 2).fill(8);
    builder.advance(2);
    builder.set_number(col::PROTO, 7);
    builder.set_number(col::DST_AS, 7);
    builder.advance(1);
    // Begun and given up.
    builder.set_number(col::SRC_PORT, 1);
    builder.set_number(col::PROTO, 1);
    builder.truncate(6);
    builder.advance(1);
    let batch = builder.finish(1, 2);
    assert_eq!(batch.u8s(col::PROTO), Some(&[0, 0, 2, 9, 9, 7, 0][..]));
    assert_eq!(batch.u16s(col::SRC_PORT), Some(&[0xffff, 0, 0, 0, 0, 0, 0][..]));
    assert_eq!(batch.u32s(col::SRC_AS), Some(&[0, 1, 2, 0, 0, 0, 0][..]));
    assert_eq!(batch.u32s(col::DST_AS), Some(&[0, 0, 0, 8, 8, 7, 0][..]));
    assert_eq!(batch.u64s(col::BYTES), Some(&[u64::MAX, u64::MAX, u64::MAX, 0, 0, 0, 0][..]));
}

#[test]
fn places_that_were_handed_out_and_given_up_are_zero_again() {
    let mut builder = builder();
    builder.u64s(col::BYTES, 3000).fill(9);
    assert_eq!(builder.u64s(col::BYTES, 2), [0; 2]);
    builder.u8s(col::PROTO, 2000);
    builder.advance(2000);
    builder.u64s(col::BYTES, 5).fill(9);
    let batch = builder.finish(1, 2);
    assert_eq!(batch.u64s(col::BYTES), Some(&[0; 2000][..]));
    drop(batch);
    assert_eq!(builder.u64s(col::BYTES, 3000), [0; 3000]);
}

#[test]
fn appended_and_placed_values_of_a_column_follow_each_other() {
    let mut builder = builder();
    builder.append_u16s(col::SRC_PORT, [1, 2].into_iter());
    builder.append_u16s(col::SRC_PORT, [3, 4].into_iter());
    builder.advance(2);
    builder.u16s(col::SRC_PORT, 1)[0] = 5;
    builder.advance(1);
    builder.advance(2);
    builder.append_u16s(col::SRC_PORT, [6].into_iter());
    builder.advance(1);
    assert_eq!(builder.finish(1, 2).u16s(col::SRC_PORT), Some(&[3, 4, 5, 0, 0, 6][..]));
}

#[test]
fn buffers_of_a_finished_batch_are_filled_again() {
    let mut builder = builder();
    builder.u64s(col::BYTES, 1000);
    builder.advance(1000);
    let first = builder.finish(1, 0);
    let address = first.u64s(col::BYTES).unwrap().as_ptr();
    drop(first);
    builder.u64s(col::BYTES, 10);
    builder.advance(10);
    let second = builder.finish(2, 0);
    assert_eq!(second.u64s(col::BYTES).unwrap().as_ptr(), address);
}
