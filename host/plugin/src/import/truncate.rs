//! `kernels.truncate`: which rows have an IPv4 address and which another, and what is left of it.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Width};

use super::kernels::to_change;
use crate::abi::{Denied, Families};
use crate::state::State;

/// The bits that make a 128-bit address an IPv4-mapped one (RFC 4291, section 2.5.5.2), in its low half.
const MAPPED: u64 = 0xffff_0000_0000;

/// Rows that are worked on at a time: those of one exporter's IPv4 template come in a row, and for
/// them there is nothing to decide.
const LANES: usize = 8;

const V4_BITS: u8 = 32;
const V6_BITS: u8 = 128;

pub(super) fn truncate(
    state: &mut State,
    hi: ColumnId,
    lo: ColumnId,
    v4_bits: u8,
    v6_bits: u8,
) -> Result<Families, Denied> {
    let pair = state.address(hi, lo)?;
    if v4_bits > V4_BITS || v6_bits > V6_BITS || hi == lo {
        return Err(Denied::OutOfRange);
    }
    let changes = (v4_bits, v6_bits) != (V4_BITS, V6_BITS);
    if changes {
        // Both grants before either half is changed.
        state.writable_as(hi, Width::U64)?;
        state.writable_as(lo, Width::U64)?;
    }
    let (his, los) = pair.ok_or(Denied::Absent)?;
    let rows = Rows::of(&his, &los);
    if changes {
        let masks = Masks::of(v4_bits, v6_bits);
        let current = state.current_mut()?;
        let pool = current.batch().pool().clone();
        // What this call wrote has no other owner then, and is changed in place.
        drop((current.take(hi), current.take(lo)));
        // A half of which every bit stays is the batch's own, and written all the same: it is what this call says it is.
        let (has_v4, has_v6) = (rows.v4.iter().any(|byte| *byte != 0), rows.v6.iter().any(|byte| *byte != 0));
        let his = if has_v6 && masks.v6_hi != u64::MAX {
            let mut his = to_change(his, || pool.u64s());
            his.iter_mut().for_each(|hi| *hi &= masks.v6_hi);
            Arc::new(his)
        } else {
            his
        };
        let los = if has_v4 && masks.v4_lo != u64::MAX || has_v6 && masks.v6_lo != u64::MAX {
            let mut los = to_change(los, || pool.u64s());
            masks.apply(&mut los, &rows.v4);
            Arc::new(los)
        } else {
            los
        };
        current.put(hi, Some(Column::U64(his)));
        current.put(lo, Some(Column::U64(los)));
    }
    Ok(Families { v4: words(&rows.v4), v6: words(&rows.v6) })
}

/// The rows of each family, a bit a row: row `r` is bit `r % 8` of byte `r / 8`.
struct Rows {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Rows {
    /// `his` and `los` are of one length.
    fn of(his: &[u64], los: &[u64]) -> Rows {
        let bytes = los.len().div_ceil(LANES);
        let mut rows = Rows { v4: Vec::with_capacity(bytes), v6: Vec::with_capacity(bytes) };
        let (hi, hi_rest) = his.as_chunks::<LANES>();
        let (lo, lo_rest) = los.as_chunks::<LANES>();
        let eights = hi.iter().zip(lo).map(|(hi, lo)| families(hi, lo));
        eights.for_each(|(v4, v6)| rows.push(v4, v6));
        if !lo_rest.is_empty() {
            // Rows that are not there have an absent address.
            let (mut hi, mut lo) = ([0; LANES], [0; LANES]);
            hi.iter_mut().zip(hi_rest).for_each(|(hi, rest)| *hi = *rest);
            lo.iter_mut().zip(lo_rest).for_each(|(lo, rest)| *lo = *rest);
            let (v4, v6) = families(&hi, &lo);
            rows.push(v4, v6);
        }
        rows
    }

    fn push(&mut self, v4: u8, v6: u8) {
        self.v4.push(v4);
        self.v6.push(v6);
    }
}

/// Which of eight addresses are of IPv4, and which are others.
fn families(hi: &[u64; LANES], lo: &[u64; LANES]) -> (u8, u8) {
    let other_bits = hi.iter().zip(lo).fold(0, |or, (hi, lo)| or | hi | (lo ^ MAPPED) >> 32);
    if other_bits == 0 {
        return (u8::MAX, 0);
    }
    // A byte each, and eight of them to eight bits by one multiplication.
    let bits = |flags: [bool; LANES]| {
        (u64::from_le_bytes(flags.map(u8::from)).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
    };
    let v4 = bits(std::array::from_fn(|at| hi[at] | (lo[at] ^ MAPPED) >> 32 == 0));
    let present = bits(std::array::from_fn(|at| hi[at] | lo[at] != 0));
    (v4, present & !v4)
}

/// The bits of each half that stay. The high half of an IPv4 address has none.
struct Masks {
    v4_lo: u64,
    v6_hi: u64,
    v6_lo: u64,
}

impl Masks {
    /// At most 32 and 128 bits.
    fn of(v4_bits: u8, v6_bits: u8) -> Masks {
        let v4 = u32::MAX.checked_shl(u32::from(V4_BITS - v4_bits)).unwrap_or_default();
        let v6 = u128::MAX.checked_shl(u32::from(V6_BITS - v6_bits)).unwrap_or_default();
        // Above the address itself nothing is zeroed: IPv4 stays IPv4.
        Masks { v4_lo: !u64::from(u32::MAX) | u64::from(v4), v6_hi: (v6 >> 64) as u64, v6_lo: v6 as u64 }
    }

    /// Masks low halves by family. In an absent address there is nothing to zero, so it may count as either.
    fn apply(&self, los: &mut [u64], v4: &[u8]) {
        let mask = |v4: u8, at: usize| if v4 >> at & 1 == 1 { self.v4_lo } else { self.v6_lo };
        let (eights, rest) = los.as_chunks_mut::<LANES>();
        for (los, v4) in eights.iter_mut().zip(v4) {
            match *v4 {
                u8::MAX => los.iter_mut().for_each(|lo| *lo &= self.v4_lo),
                0 => los.iter_mut().for_each(|lo| *lo &= self.v6_lo),
                v4 => *los = std::array::from_fn(|at| los[at] & mask(v4, at)),
            }
        }
        let v4 = v4.get(eights.len()).copied().unwrap_or_default();
        rest.iter_mut().enumerate().for_each(|(at, lo)| *lo &= mask(v4, at));
    }
}

/// A bitmap as the contract has it.
fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, rest) = bytes.as_chunks::<4>();
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    words.iter().map(|word| u32::from_le_bytes(*word)).chain((!rest.is_empty()).then_some(last)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Row by row, as `wit/kernels.wit` says it: what is left, and the families as bitmaps.
    fn plain(addresses: &[u128], v4_bits: u8, v6_bits: u8) -> (Vec<u128>, Families) {
        let words = vec![0; addresses.len().div_ceil(32)];
        let mut families = Families { v4: words.clone(), v6: words };
        let mut left = addresses.to_vec();
        for (row, address) in left.iter_mut().enumerate() {
            if *address == 0 {
                continue;
            }
            let is_v4 = *address >> 32 == 0xffff;
            let (bitmap, bits) = if is_v4 {
                (&mut families.v4, 96 + u32::from(v4_bits))
            } else {
                (&mut families.v6, u32::from(v6_bits))
            };
            bitmap[row / 32] |= 1 << (row % 32);
            *address &= u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        }
        (left, families)
    }

    fn address() -> impl Strategy<Value = u128> {
        prop_oneof![
            4 => any::<u32>().prop_map(|v4| 0xffff << 32 | u128::from(v4)),
            1 => any::<u128>(),
            1 => any::<u64>().prop_map(u128::from),
            1 => prop_oneof![Just(0), Just(0xffff << 32), Just(1), Just(1 << 64), Just(0xffff << 32 | 1 << 64)],
        ]
    }

    /// Runs of one family, as exporters send them, and everything mixed.
    fn addresses() -> impl Strategy<Value = Vec<u128>> {
        let run = (address(), 1..40_usize).prop_map(|(address, rows)| vec![address; rows]);
        let mixed = prop::collection::vec(address(), 0..20);
        prop::collection::vec(prop_oneof![run, mixed], 0..8).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn eight_rows_at_a_time_are_truncated_as_one_by_one(addresses in addresses(), v4_bits in 0..=32_u8, v6_bits in 0..=128_u8) {
            let mut his: Vec<u64> = addresses.iter().map(|address| (address >> 64) as u64).collect();
            let mut los: Vec<u64> = addresses.iter().map(|address| *address as u64).collect();
            let rows = Rows::of(&his, &los);
            let masks = Masks::of(v4_bits, v6_bits);
            his.iter_mut().for_each(|hi| *hi &= masks.v6_hi);
            masks.apply(&mut los, &rows.v4);
            let left: Vec<u128> = his.iter().zip(&los).map(|(hi, lo)| u128::from(*hi) << 64 | u128::from(*lo)).collect();
            let families = Families { v4: words(&rows.v4), v6: words(&rows.v6) };
            prop_assert_eq!((left, families), plain(&addresses, v4_bits, v6_bits));
        }
    }
}
