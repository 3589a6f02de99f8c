//! `kernels`: loops over columns that run in the host.

use std::sync::Arc;

use ahash::AHashSet;
use sluice_flow::{Column, ColumnId, Width};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmList};

use super::batch::not_a_number;
use super::truncate::truncate;
use crate::abi::{Cmp, Comparison, Denied};
use crate::state::State;

type Context<'a> = StoreContextMut<'a, State>;

/// Values up to this many are compared one by one, which is faster than hashing.
const FEW: usize = 8;

/// Comparisons of one call. Each is a loop over the rows that no deadline ends.
const COMPARISONS: usize = 64;

pub(super) fn link(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("test", |cx: Context<'_>, (column, op, value): (ColumnId, Cmp, u64)| {
        Ok((test(cx.data(), column, op, value),))
    })?;
    linker.func_wrap("test-all", |cx: Context<'_>, (comparisons,): (Vec<Comparison>,)| {
        Ok((test_all(cx.data(), &comparisons),))
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
        let bitmap = words(&cx, &bitmap);
        Ok((fill_u32(cx.data_mut(), column, &bitmap, value),))
    })?;
    linker.func_wrap("fill", |mut cx: Context<'_>, (column, bitmap, value): (ColumnId, WasmList<u32>, u64)| {
        let bitmap = words(&cx, &bitmap);
        Ok((fill(cx.data_mut(), column, &bitmap, value),))
    })?;
    linker.func_wrap("truncate", |mut cx: Context<'_>, (hi, lo, v4_bits, v6_bits): (ColumnId, ColumnId, u8, u8)| {
        Ok((truncate(cx.data_mut(), hi, lo, v4_bits, v6_bits),))
    })?;
    linker.func_wrap("sum", |cx: Context<'_>, (column, bitmap): (ColumnId, WasmList<u32>)| {
        Ok((sum(cx.data(), column, bitmap.as_le_slice(&cx)),))
    })?;
    super::groups::link(linker)
}

/// The words of a bitmap. Guests are little-endian whatever the host is.
pub(super) fn words(cx: &Context<'_>, bitmap: &WasmList<u32>) -> Vec<u32> {
    bitmap.as_le_slice(cx).iter().map(|word| u32::from_le(*word)).collect()
}

/// Bit `r % 32` of word `r / 32` says what `holds` says of value `r`.
fn bitmap<T: Copy>(values: &[T], holds: impl Fn(T) -> bool) -> Vec<u32> {
    let (whole, rest) = values.as_chunks::<32>();
    let mut words = Vec::with_capacity(values.len().div_ceil(32));
    words.extend(whole.iter().map(|values| {
        // A byte each, which is compared many at a time, and eight of them to eight bits by one multiplication.
        let flags = values.map(|value| u8::from(holds(value)));
        let (eights, _) = flags.as_chunks::<8>();
        let bits = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        eights.iter().rev().fold(0, |word, eight| word << 8 | bits(eight) as u32)
    }));
    if !rest.is_empty() {
        words.push(rest.iter().rev().fold(0, |word, value| word << 1 | u32::from(holds(*value))));
    }
    words
}

/// The same for numbers of 64 bits.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn bitmap_wide(values: &[u64], holds: impl Fn(u64) -> bool) -> Vec<u32> {
    let mut words = Vec::with_capacity(values.len().div_ceil(32));
    // A loop: what a function of the library calls is not compiled with the instructions that this is compiled with.
    for values in values.chunks(32) {
        let mut word = 0;
        // Each bit in its place, and all of them together, as wide as the numbers.
        for (bit, value) in (0..32).zip(values) {
            word |= if holds(*value) { 1_u64 << bit } else { 0 };
        }
        words.push(word as u32);
    }
    words
}

/// Rows whose value compares as asked; in the column's own width, of which more fit into a register.
fn compare<T: Copy + PartialOrd + TryFrom<u64>>(values: &[T], op: Cmp, than: u64) -> Vec<u32> {
    let Ok(than) = T::try_from(than) else {
        // No value is as large as that.
        return uniform(values.len(), matches!(op, Cmp::Ne | Cmp::Lt | Cmp::Le));
    };
    match op {
        Cmp::Eq => bitmap(values, |value| value == than),
        Cmp::Ne => bitmap(values, |value| value != than),
        Cmp::Lt => bitmap(values, |value| value < than),
        Cmp::Le => bitmap(values, |value| value <= than),
        Cmp::Gt => bitmap(values, |value| value > than),
        Cmp::Ge => bitmap(values, |value| value >= than),
    }
}

/// The same for numbers of 64 bits.
fn compare_wide(values: &[u64], op: Cmp, than: u64) -> Vec<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions, which were asked for just now.
        #[allow(unsafe_code, reason = "the instructions that every x86-64 has compare no numbers of 64 bits")]
        return unsafe { compare_wide_avx2(values, op, than) };
    }
    compare(values, op, than)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn compare_wide_avx2(values: &[u64], op: Cmp, than: u64) -> Vec<u32> {
    match op {
        Cmp::Eq => bitmap_wide(values, |value| value == than),
        Cmp::Ne => bitmap_wide(values, |value| value != than),
        Cmp::Lt => bitmap_wide(values, |value| value < than),
        Cmp::Le => bitmap_wide(values, |value| value <= than),
        Cmp::Gt => bitmap_wide(values, |value| value > than),
        Cmp::Ge => bitmap_wide(values, |value| value >= than),
    }
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
    let (values, rows) = state.readable(column)?;
    match values {
        Some(Column::U8(values)) => Ok(compare(values, op, than)),
        Some(Column::U16(values)) => Ok(compare(values, op, than)),
        Some(Column::U32(values)) => Ok(compare(values, op, than)),
        Some(Column::U64(values)) => Ok(compare_wide(values, op, than)),
        Some(Column::Text(_) | Column::Lists(_)) => Err(not_a_number(state, column)),
        None => match not_a_number(state, column) {
            Denied::Absent => Ok(uniform(rows, compare(&[0_u64], op, than) == [1])),
            denied => Err(denied),
        },
    }
}

fn test_all(state: &State, comparisons: &[Comparison]) -> Result<Vec<u32>, Denied> {
    if comparisons.len() > COMPARISONS {
        return Err(Denied::OutOfRange);
    }
    let mut tests = comparisons.iter().map(|Comparison { column, op, value }| test(state, *column, *op, *value));
    let Some(first) = tests.next() else {
        return Ok(uniform(state.current()?.batch().rows(), true));
    };
    tests.try_fold(first?, |mut words, others| {
        words.iter_mut().zip(others?).for_each(|(word, other)| *word &= other);
        Ok(words)
    })
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

pub(super) fn check_bitmap(bitmap: &[u32], rows: usize) -> Result<(), Denied> {
    let words = rows.div_ceil(32);
    if bitmap.len() == words { Ok(()) } else { Err(Denied::WrongLength(u32::try_from(words).unwrap_or(u32::MAX))) }
}

fn fill_u32(state: &mut State, column: ColumnId, bitmap: &[u32], value: u32) -> Result<(), Denied> {
    fill_as(state, column, Width::U32, bitmap, u64::from(value))
}

fn fill(state: &mut State, column: ColumnId, bitmap: &[u32], value: u64) -> Result<(), Denied> {
    let width = state.writable(column)?;
    fill_as(state, column, width, bitmap, value)
}

/// Sets a column that must hold `width` in the rows of the bitmap.
fn fill_as(state: &mut State, column: ColumnId, width: Width, bitmap: &[u32], value: u64) -> Result<(), Denied> {
    let rows = state.writable_as(column, width)?;
    check_bitmap(bitmap, rows)?;
    let current = state.current_mut()?;
    let pool = current.batch().pool().clone();
    macro_rules! filled {
        ($variant:ident, $type:ty, $buffer:ident) => {{
            let value = <$type>::try_from(value).map_err(|_| Denied::OutOfRange)?;
            let mut values = match current.take(column) {
                Some(Column::$variant(values)) => to_change(values, || pool.$buffer()),
                _ => {
                    let mut zeros = pool.$buffer();
                    zeros.resize(rows, 0);
                    zeros
                }
            };
            fill_rows(&mut values, bitmap, value);
            Column::$variant(Arc::new(values))
        }};
    }
    let filled = match width {
        Width::U8 => filled!(U8, u8, u8s),
        Width::U16 => filled!(U16, u16, u16s),
        Width::U32 => filled!(U32, u32, u32s),
        Width::U64 => filled!(U64, u64, u64s),
        Width::Text | Width::Lists => return Err(Denied::WrongWidth(width.into())),
    };
    current.put(column, Some(filled));
    Ok(())
}

/// The values to change: in place if nobody else holds them, else copied.
pub(super) fn to_change<T: Copy>(values: Arc<Vec<T>>, buffer: impl FnOnce() -> Vec<T>) -> Vec<T> {
    Arc::try_unwrap(values).unwrap_or_else(|shared| {
        let mut copy = buffer();
        copy.extend_from_slice(&shared);
        copy
    })
}

/// A number that can be chosen eight at a time.
trait Chosen: Copy {
    /// `value` where the bit of `mask` is set, and else what is there.
    fn choose(eight: [Self; 8], mask: u8, value: Self) -> [Self; 8];
}

macro_rules! chosen_one_by_one {
    ($($type:ty),*) => {$(
        impl Chosen for $type {
            /// Each with a mask that is a constant: many are then chosen at once.
            #[inline(always)]
            fn choose(eight: [$type; 8], mask: u8, value: $type) -> [$type; 8] {
                std::array::from_fn(|at| if mask >> at & 1 == 1 { value } else { eight[at] })
            }
        }
    )*};
}
chosen_one_by_one!(u16, u32, u64);

impl Chosen for u8 {
    /// As one number of 64 bits.
    #[inline(always)]
    fn choose(eight: [u8; 8], mask: u8, value: u8) -> [u8; 8] {
        const ONES: u64 = 0x0101_0101_0101_0101;
        // Bit `n` in byte `n` and nothing else there; then the highest bit of each byte that is not 0, and then all of its bits.
        let bits = u64::from(mask).wrapping_mul(ONES) & 0x8040_2010_0804_0201;
        let mask = ((bits + 0x7f * ONES) >> 7 & ONES) * 0xff;
        let (rows, values) = (u64::from_le_bytes(eight), u64::from(value) * ONES);
        (rows & !mask | values & mask).to_le_bytes()
    }
}

fn fill_rows<T: Chosen>(values: &mut [T], bitmap: &[u32], value: T) {
    for (rows, word) in values.chunks_mut(32).zip(bitmap) {
        match *word {
            0 => {}
            u32::MAX => rows.fill(value),
            word => {
                let (eights, rest) = rows.as_chunks_mut::<8>();
                let bytes = word.to_le_bytes();
                for (eight, byte) in eights.iter_mut().zip(bytes) {
                    *eight = T::choose(*eight, byte, value);
                }
                let byte = bytes.get(eights.len()).copied().unwrap_or_default();
                rest.iter_mut().zip(0..8).filter(|(_, at)| byte >> at & 1 == 1).for_each(|(row, _)| *row = value);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sets the rows of a bitmap one by one.
    fn filled<T: Copy>(values: &[T], bitmap: &[u32], value: T) -> Vec<T> {
        let is_in = |row: usize| bitmap[row / 32] >> (row % 32) & 1 == 1;
        values.iter().enumerate().map(|(row, before)| if is_in(row) { value } else { *before }).collect()
    }

    const OPS: [Cmp; 6] = [Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge];

    /// Row by row, as `wit/kernels.wit` says it.
    fn plain(values: &[u64], op: Cmp, than: u64) -> Vec<u32> {
        let mut words = vec![0; values.len().div_ceil(32)];
        for (row, value) in values.iter().enumerate() {
            let holds = match op {
                Cmp::Eq => *value == than,
                Cmp::Ne => *value != than,
                Cmp::Lt => *value < than,
                Cmp::Le => *value <= than,
                Cmp::Gt => *value > than,
                Cmp::Ge => *value >= than,
            };
            words[row / 32] |= u32::from(holds) << (row % 32);
        }
        words
    }

    proptest! {
        #[test]
        fn rows_of_a_bitmap_are_filled_and_no_others(
            values in prop::collection::vec(any::<u16>(), 0..200),
            mut bitmap in prop::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 7),
            value in any::<u16>(),
        ) {
            bitmap.truncate(values.len().div_ceil(32));
            let mut bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
            let expected = (filled(&values, &bitmap, value), filled(&bytes, &bitmap, value as u8));
            let mut words = values;
            fill_rows(&mut words, &bitmap, value);
            fill_rows(&mut bytes, &bitmap, value as u8);
            prop_assert_eq!((words, bytes), expected);
        }

        #[test]
        fn every_width_and_length_compares_as_numbers_do(
            values in prop::collection::vec(prop_oneof![0..4_u64, Just(255), Just(65_535), any::<u64>()], 0..200),
            than in prop_oneof![0..4_u64, Just(255), Just(256), Just(65_535), Just(u64::from(u32::MAX) + 1), any::<u64>()],
        ) {
            let bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
            let words: Vec<u32> = values.iter().map(|value| *value as u32).collect();
            let wide = |values: Vec<u64>, op| plain(&values, op, than);
            for op in OPS {
                prop_assert_eq!(compare(&values, op, than), plain(&values, op, than));
                prop_assert_eq!(compare_wide(&values, op, than), plain(&values, op, than));
                prop_assert_eq!(compare(&bytes, op, than), wide(bytes.iter().map(|value| u64::from(*value)).collect(), op));
                prop_assert_eq!(compare(&words, op, than), wide(words.iter().map(|value| u64::from(*value)).collect(), op));
            }
        }
    }
}
