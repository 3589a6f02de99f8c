//! `kernels.truncate`: which rows have an IPv4 address and which another, and what is left of it.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Width};

use crate::abi::{Denied, Families};
use crate::state::State;

/// The bits that make a 128-bit address an IPv4-mapped one (RFC 4291, section 2.5.5.2), in its low half.
const MAPPED: u64 = 0xffff_0000_0000;

/// Rows that are worked on at a time: those of one exporter's IPv4 template come in a row, and for
/// them there is nothing to decide.
const LANES: usize = 8;

/// High halves that are looked at before it is asked whether that is enough to know.
const AT_ONCE: usize = 512;

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
    if !changes {
        return Ok(Rows::of(&his, &los, None).into());
    }
    let masks = Masks::of(v4_bits, v6_bits);
    let current = state.current_mut()?;
    let pool = current.batch().pool();
    let room = || {
        let mut room = pool.u64s();
        room.reserve_exact(los.len().next_multiple_of(LANES));
        room
    };
    // Where no address has anything in the high half, which of IPv4 none has, there is nothing to zero.
    let has_high = || his.chunks(AT_ONCE).any(|his| his.iter().fold(0, |or, hi| or | hi) != 0);
    let new_his = (masks.v6_hi != u64::MAX && has_high()).then(room);
    let mut left = Left { masks, his: new_his, los: room() };
    let rows = Rows::of(&his, &los, Some(&mut left));
    // The other half is the batch's own, and written all the same: it is what this call says it is.
    current.put(hi, Some(Column::U64(left.his.map_or(his, Arc::new))));
    current.put(lo, Some(Column::U64(Arc::new(left.los))));
    Ok(rows.into())
}

/// The rows of each family, a bit a row: row `r` is bit `r % 8` of byte `r / 8`.
struct Rows {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

/// What is left of addresses.
struct Left {
    masks: Masks,
    /// None where every bit of the high halves stays.
    his: Option<Vec<u64>>,
    los: Vec<u64>,
}

impl Rows {
    /// Tells families apart, in one go with what is put into `left`, which is empty. `his` and `los` are of one length.
    fn of(his: &[u64], los: &[u64], left: Option<&mut Left>) -> Rows {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions, which were asked for just now.
            #[allow(unsafe_code, reason = "the instructions that every x86-64 has compare no numbers of 64 bits")]
            return unsafe { Rows::of_avx2(his, los, left) };
        }
        Rows::of_each(his, los, left)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn of_avx2(his: &[u64], los: &[u64], left: Option<&mut Left>) -> Rows {
        Rows::of_each(his, los, left)
    }

    #[inline(always)]
    fn of_each(his: &[u64], los: &[u64], mut left: Option<&mut Left>) -> Rows {
        let bytes = los.len().div_ceil(LANES);
        let mut rows = Rows { v4: Vec::with_capacity(bytes), v6: Vec::with_capacity(bytes) };
        let (hi, hi_rest) = his.as_chunks::<LANES>();
        let (lo, lo_rest) = los.as_chunks::<LANES>();
        // Rows that are not there have an absent address.
        let (mut hi_last, mut lo_last) = ([0; LANES], [0; LANES]);
        hi_last.iter_mut().zip(hi_rest).for_each(|(hi, rest)| *hi = *rest);
        lo_last.iter_mut().zip(lo_rest).for_each(|(lo, rest)| *lo = *rest);
        let last = (!lo_rest.is_empty()).then_some((&hi_last, &lo_last));
        for (hi, lo) in hi.iter().zip(lo).chain(last) {
            let (v4, v6) = families(hi, lo);
            rows.v4.push(v4);
            rows.v6.push(v6);
            if let Some(left) = &mut left {
                left.push(hi, lo, v4);
            }
        }
        if let Some(Left { his, los: lows, .. }) = left {
            his.iter_mut().chain([lows]).for_each(|halves| halves.truncate(los.len()));
        }
        rows
    }
}

impl Left {
    #[inline(always)]
    fn push(&mut self, his: &[u64; LANES], los: &[u64; LANES], v4: u8) {
        let Masks { v4_lo, v6_hi, v6_lo } = self.masks;
        if let Some(to) = &mut self.his {
            to.extend_from_slice(&his.map(|hi| hi & v6_hi));
        }
        // In an absent address there is nothing to zero, so it may count as either.
        self.los.extend_from_slice(&match v4 {
            u8::MAX => los.map(|lo| lo & v4_lo),
            0 => los.map(|lo| lo & v6_lo),
            v4 => std::array::from_fn(|at| los[at] & if v4 >> at & 1 == 1 { v4_lo } else { v6_lo }),
        });
    }
}

impl From<Rows> for Families {
    fn from(rows: Rows) -> Families {
        Families { v4: words(&rows.v4), v6: words(&rows.v6) }
    }
}

/// Which of eight addresses are of IPv4, and which are others.
#[inline(always)]
fn families(hi: &[u64; LANES], lo: &[u64; LANES]) -> (u8, u8) {
    let other_bits = hi.iter().zip(lo).fold(0, |or, (hi, lo)| or | hi | (lo ^ MAPPED) >> 32);
    if other_bits == 0 {
        return (u8::MAX, 0);
    }
    // Each bit in its place, and all of them together: no more than a few instructions for four of them.
    let bits = |zeros: [u64; LANES]| {
        let bits = zeros.iter().enumerate().map(|(at, zero)| if *zero == 0 { 1_u64 << at } else { 0 });
        bits.fold(0, |byte, bit| byte | bit) as u8
    };
    let v4 = bits(std::array::from_fn(|at| hi[at] | (lo[at] ^ MAPPED) >> 32));
    let absent = bits(std::array::from_fn(|at| hi[at] | lo[at]));
    (v4, !(absent | v4))
}

/// The bits of each half that stay. The high half of an IPv4 address has none.
#[derive(Clone, Copy)]
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
            let his: Vec<u64> = addresses.iter().map(|address| (address >> 64) as u64).collect();
            let los: Vec<u64> = addresses.iter().map(|address| *address as u64).collect();
            let masks = Masks::of(v4_bits, v6_bits);
            let mut low_only = Left { masks, his: None, los: Vec::new() };
            let mut both = Left { masks, his: Some(Vec::new()), los: Vec::new() };
            let untouched = Families::from(Rows::of(&his, &los, None));
            prop_assert_eq!(&Families::from(Rows::of(&his, &los, Some(&mut low_only))), &untouched);
            let families = Families::from(Rows::of(&his, &los, Some(&mut both)));
            prop_assert_eq!(&families, &untouched);
            let Left { his, los, .. } = both;
            let his = his.unwrap();
            prop_assert_eq!(&low_only.los, &los);
            let left: Vec<u128> = his.iter().zip(&los).map(|(hi, lo)| u128::from(*hi) << 64 | u128::from(*lo)).collect();
            prop_assert_eq!((left, families), plain(&addresses, v4_bits, v6_bits));
        }
    }
}
