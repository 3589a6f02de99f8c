//! `kernels`: loops over columns that run in the host.

use std::sync::Arc;

use ahash::AHashSet;
use sluice_flow::{Column, ColumnId, Width};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmList};

use super::batch::not_a_number;
use crate::abi::{Cmp, Denied};
use crate::state::State;

type Context<'a> = StoreContextMut<'a, State>;

/// Values up to this many are compared one by one, which is faster than hashing.
const FEW: usize = 8;

pub(super) fn link(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("test", |cx: Context<'_>, (column, op, value): (ColumnId, Cmp, u64)| {
        Ok((test(cx.data(), column, op, value),))
    })?;
    linker.func_wrap("test-in", |cx: Context<'_>, (column, values): (ColumnId, WasmList<u64>)| {
        Ok((test_in(cx.data(), column, values.as_le_slice(&cx)),))
    })?;
    linker.func_wrap(
        "test-prefix",
        |cx: Context<'_>, (hi, lo, hi_value, lo_value, bits): (ColumnId, ColumnId, u64, u64, u8)| {
            Ok((test_prefix(cx.data(), hi, lo, u128::from(hi_value) << 64 | u128::from(lo_value), bits),))
        },
    )?;
    linker.func_wrap("fill-u32", |mut cx: Context<'_>, (column, bitmap, value): (ColumnId, WasmList<u32>, u32)| {
        let bitmap: Vec<u32> = bitmap.as_le_slice(&cx).iter().map(|word| u32::from_le(*word)).collect();
        Ok((fill_u32(cx.data_mut(), column, &bitmap, value),))
    })?;
    linker.func_wrap("sum", |cx: Context<'_>, (column, bitmap): (ColumnId, WasmList<u32>)| {
        Ok((sum(cx.data(), column, bitmap.as_le_slice(&cx)),))
    })?;
    Ok(())
}

/// Bit `r % 32` of word `r / 32` says what `holds` says of value `r`.
fn bitmap<T: Copy>(values: &[T], holds: impl Fn(T) -> bool) -> Vec<u32> {
    let word =
        |chunk: &[T]| chunk.iter().enumerate().fold(0, |word, (bit, value)| word | u32::from(holds(*value)) << bit);
    values.chunks(32).map(word).collect()
}

/// A bitmap of `rows` rows that are all alike.
fn uniform(rows: usize, holds: bool) -> Vec<u32> {
    let mut words = vec![if holds { u32::MAX } else { 0 }; rows / 32];
    if !rows.is_multiple_of(32) {
        words.push(if holds { (1 << (rows % 32)) - 1 } else { 0 });
    }
    words
}

/// Rows of a numeric column whose value, widened, `holds`; an absent column is all zeros.
fn select(state: &State, column: ColumnId, holds: impl Fn(u64) -> bool) -> Result<Vec<u32>, Denied> {
    let (values, rows) = state.readable(column)?;
    match values {
        Some(Column::U8(values)) => Ok(bitmap(values, |value| holds(u64::from(value)))),
        Some(Column::U16(values)) => Ok(bitmap(values, |value| holds(u64::from(value)))),
        Some(Column::U32(values)) => Ok(bitmap(values, |value| holds(u64::from(value)))),
        Some(Column::U64(values)) => Ok(bitmap(values, holds)),
        Some(Column::Text(_) | Column::Lists(_)) => Err(not_a_number(state, column)),
        None => match not_a_number(state, column) {
            Denied::Absent => Ok(uniform(rows, holds(0))),
            denied => Err(denied),
        },
    }
}

fn test(state: &State, column: ColumnId, op: Cmp, than: u64) -> Result<Vec<u32>, Denied> {
    match op {
        Cmp::Eq => select(state, column, |value| value == than),
        Cmp::Ne => select(state, column, |value| value != than),
        Cmp::Lt => select(state, column, |value| value < than),
        Cmp::Le => select(state, column, |value| value <= than),
        Cmp::Gt => select(state, column, |value| value > than),
        Cmp::Ge => select(state, column, |value| value >= than),
    }
}

fn test_in(state: &State, column: ColumnId, values: &[u64]) -> Result<Vec<u32>, Denied> {
    // Before the set is built: a refusal costs nothing.
    state.readable(column)?;
    if values.len() <= FEW {
        return select(state, column, |value| values.iter().any(|other| u64::from_le(*other) == value));
    }
    let set: AHashSet<u64> = values.iter().map(|value| u64::from_le(*value)).collect();
    select(state, column, |value| set.contains(&value))
}

fn test_prefix(state: &State, hi: ColumnId, lo: ColumnId, prefix: u128, bits: u8) -> Result<Vec<u32>, Denied> {
    let pair = state.address(hi, lo)?;
    if bits > 128 {
        return Err(Denied::OutOfRange);
    }
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    let (mask_hi, mask_lo) = ((mask >> 64) as u64, mask as u64);
    let (want_hi, want_lo) = ((prefix >> 64) as u64 & mask_hi, prefix as u64 & mask_lo);
    let holds = |hi: u64, lo: u64| hi & mask_hi == want_hi && lo & mask_lo == want_lo;
    let Some((his, los)) = pair else {
        let rows = state.readable(hi)?.1;
        return Ok(uniform(rows, holds(0, 0)));
    };
    let words = his.chunks(32).zip(los.chunks(32)).map(|(his, los)| {
        let rows = his.iter().zip(los).enumerate();
        rows.fold(0, |word, (bit, (hi, lo))| word | u32::from(holds(*hi, *lo)) << bit)
    });
    Ok(words.collect())
}

fn check_bitmap(bitmap: &[u32], rows: usize) -> Result<(), Denied> {
    let words = rows.div_ceil(32);
    if bitmap.len() == words { Ok(()) } else { Err(Denied::WrongLength(u32::try_from(words).unwrap_or(u32::MAX))) }
}

fn fill_u32(state: &mut State, column: ColumnId, bitmap: &[u32], value: u32) -> Result<(), Denied> {
    let rows = state.writable_as(column, Width::U32)?;
    check_bitmap(bitmap, rows)?;
    let current = state.current_mut()?;
    // A column that this call wrote is changed in place; the batch's own is copied first.
    let is_written = current.column(column).is_some();
    let mut values = match current.take(column) {
        Some(Column::U32(values)) => values,
        _ => match current.batch().column(column) {
            Some(Column::U32(values)) if is_written => Arc::clone(values),
            _ => {
                let mut zeros = current.batch().pool().u32s();
                zeros.resize(rows, 0);
                Arc::new(zeros)
            }
        },
    };
    for (rows, word) in Arc::make_mut(&mut values).chunks_mut(32).zip(bitmap) {
        for (bit, row) in rows.iter_mut().enumerate() {
            if word >> bit & 1 == 1 {
                *row = value;
            }
        }
    }
    current.put(column, Some(Column::U32(values)));
    Ok(())
}

fn sum(state: &State, column: ColumnId, bitmap: &[u32]) -> Result<u64, Denied> {
    fn add<T: Copy + Into<u64>>(values: &[T], bitmap: &[u32]) -> u64 {
        let chunks = values.chunks(32).zip(bitmap);
        chunks.fold(0, |sum: u64, (values, word)| {
            let word = u32::from_le(*word);
            let chosen = values.iter().enumerate().filter(|(bit, _)| word >> bit & 1 == 1);
            chosen.fold(sum, |sum, (_, value)| sum.saturating_add((*value).into()))
        })
    }
    let (values, rows) = state.readable(column)?;
    check_bitmap(bitmap, rows)?;
    match values {
        Some(Column::U8(values)) => Ok(add(values, bitmap)),
        Some(Column::U16(values)) => Ok(add(values, bitmap)),
        Some(Column::U32(values)) => Ok(add(values, bitmap)),
        Some(Column::U64(values)) => Ok(add(values, bitmap)),
        Some(Column::Text(_) | Column::Lists(_)) => Err(not_a_number(state, column)),
        None => match not_a_number(state, column) {
            Denied::Absent => Ok(0),
            denied => Err(denied),
        },
    }
}
