//! `kernels` of the harness: the loops that run in the host, natively.

use super::state::{Filled, State};
use super::sys::{check_bitmap, rows_in_process, with};
pub(crate) use super::truncate::truncate;
use crate::kernels::Comparison;
use crate::services::Cmp;
use crate::{Bitmap, ColumnId, Reason, Width};

/// Calls `each` with every number of a column, widened; zeros where it is absent.
pub(super) fn numbers(state: &State, column: ColumnId, each: impl FnMut(u64)) -> Result<(), Reason> {
    match state.read(column) {
        Ok(Filled::U8(values)) => values.iter().map(|value| u64::from(*value)).for_each(each),
        Ok(Filled::U16(values)) => values.iter().map(|value| u64::from(*value)).for_each(each),
        Ok(Filled::U32(values)) => values.iter().map(|value| u64::from(*value)).for_each(each),
        Ok(Filled::U64(values)) => values.iter().copied().for_each(each),
        Ok(Filled::Text(..) | Filled::Lists(..)) => return Err(state.wrong_width(column)),
        Err(Reason::Absent) => std::iter::repeat_n(0, state.rows).for_each(each),
        Err(reason) => return Err(reason),
    }
    Ok(())
}

fn test_with(column: ColumnId, choose: impl Fn(u64) -> bool) -> Result<Vec<u32>, Reason> {
    fn each<T: Copy + Into<u64>>(values: &[T], choose: impl Fn(u64) -> bool) -> Bitmap {
        values.iter().map(|value| choose((*value).into())).collect()
    }
    with(|state| {
        let rows = match state.read(column) {
            Ok(Filled::U8(values)) => each(values, choose),
            Ok(Filled::U16(values)) => each(values, choose),
            Ok(Filled::U32(values)) => each(values, choose),
            Ok(Filled::U64(values)) => each(values, choose),
            Ok(Filled::Text(..) | Filled::Lists(..)) => return Err(state.wrong_width(column)),
            Err(Reason::Absent) if choose(0) => Bitmap::all(state.rows),
            Err(Reason::Absent) => Bitmap::none(state.rows),
            Err(reason) => return Err(reason),
        };
        Ok(rows.words().to_vec())
    })
}

pub(crate) fn test(column: ColumnId, cmp: Cmp, value: u64) -> Result<Vec<u32>, Reason> {
    match cmp {
        Cmp::Eq => test_with(column, |left| left == value),
        Cmp::Ne => test_with(column, |left| left != value),
        Cmp::Lt => test_with(column, |left| left < value),
        Cmp::Le => test_with(column, |left| left <= value),
        Cmp::Gt => test_with(column, |left| left > value),
        Cmp::Ge => test_with(column, |left| left >= value),
    }
}

pub(crate) fn test_all(comparisons: &[Comparison]) -> Result<Vec<u32>, Reason> {
    if comparisons.len() > 64 {
        return Err(Reason::OutOfRange);
    }
    let mut words = with(|state| Ok(Bitmap::all(rows_in_process(state)?).words().to_vec()))?;
    for of in comparisons {
        words.iter_mut().zip(test(of.column, of.cmp, of.value)?).for_each(|(word, other)| *word &= other);
    }
    Ok(words)
}

pub(crate) fn test_in(column: ColumnId, values: &[u64]) -> Result<Vec<u32>, Reason> {
    test_with(column, |left| values.contains(&left))
}

pub(crate) fn test_prefix(
    hi: ColumnId,
    lo: ColumnId,
    hi_value: u64,
    lo_value: u64,
    bits: u8,
) -> Result<Vec<u32>, Reason> {
    if bits > 128 {
        return Err(Reason::OutOfRange);
    }
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
    let mask = (((mask >> 64) as u64), mask as u64);
    let high = test_with(hi, |left| left & mask.0 == hi_value & mask.0)?;
    let low = test_with(lo, |left| left & mask.1 == lo_value & mask.1)?;
    Ok(high.iter().zip(&low).map(|(high, low)| high & low).collect())
}

pub(crate) fn fill(column: ColumnId, words: &[u32], value: u64) -> Result<(), Reason> {
    fn fill<T: Copy + TryFrom<u64>>(values: &mut [T], words: &[u32], value: u64) {
        let Ok(value) = T::try_from(value) else { return };
        for (rows, word) in values.chunks_mut(32).zip(words) {
            match *word {
                0 => {}
                u32::MAX => rows.fill(value),
                word => {
                    for (eight, byte) in rows.chunks_mut(8).zip(word.to_le_bytes()) {
                        eight
                            .iter_mut()
                            .enumerate()
                            .filter(|(at, _)| byte >> at & 1 == 1)
                            .for_each(|(_, row)| *row = value);
                    }
                }
            }
        }
    }
    with(|state| {
        let width = state.writable(column)?;
        check_bitmap(state.rows, words)?;
        let largest = match width {
            Width::U8 => u64::from(u8::MAX),
            Width::U16 => u64::from(u16::MAX),
            Width::U32 => u64::from(u32::MAX),
            Width::U64 => u64::MAX,
            Width::Text | Width::Lists => return Err(Reason::WrongWidth(width)),
        };
        if value > largest {
            return Err(Reason::OutOfRange);
        }
        match state.change(column)? {
            Filled::U8(values) => fill(values, words, value),
            Filled::U16(values) => fill(values, words, value),
            Filled::U32(values) => fill(values, words, value),
            Filled::U64(values) => fill(values, words, value),
            Filled::Text(..) | Filled::Lists(..) => return Err(Reason::WrongWidth(width)),
        }
        Ok(())
    })
}

pub(crate) fn sum(column: ColumnId, words: &[u32]) -> Result<u64, Reason> {
    with(|state| {
        check_bitmap(rows_in_process(state)?, words)?;
        let (mut sum, mut row) = (0u64, 0);
        numbers(state, column, |value| {
            if words[row / 32] >> (row % 32) & 1 == 1 {
                sum = sum.saturating_add(value);
            }
            row += 1;
        })?;
        Ok(sum)
    })
}
