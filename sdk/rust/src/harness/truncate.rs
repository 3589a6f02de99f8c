//! `kernels.truncate` of the harness, with the loops that the host has: eight rows at a time.

use super::state::{Filled, State};
use super::sys::with;
use crate::{ColumnId, Reason, Width};

/// The bits that make a 128-bit address an IPv4-mapped one (RFC 4291, section 2.5.5.2), in its low half.
const MAPPED: u64 = 0xffff_0000_0000;

const LANES: usize = 8;

const V4_BITS: u8 = 32;
const V6_BITS: u8 = 128;

/// The bitmaps of the rows of IPv4 and of those of other addresses.
pub(crate) fn truncate(hi: ColumnId, lo: ColumnId, v4_bits: u8, v6_bits: u8) -> Result<(Vec<u32>, Vec<u32>), Reason> {
    with(|state| {
        let (his, los) = (half(state, hi)?, half(state, lo)?);
        if v4_bits > V4_BITS || v6_bits > V6_BITS || hi == lo {
            return Err(Reason::OutOfRange);
        }
        let changes = (v4_bits, v6_bits) != (V4_BITS, V6_BITS);
        if changes {
            for half in [hi, lo] {
                match state.writable(half)? {
                    Width::U64 => {}
                    width => return Err(Reason::WrongWidth(width)),
                }
            }
        }
        let zeros;
        let rows = match (his, los) {
            (None, None) => return Err(Reason::Absent),
            (Some(his), Some(los)) => Rows::of(his, los),
            (his, los) => {
                zeros = vec![0; state.rows];
                Rows::of(his.unwrap_or(&zeros), los.unwrap_or(&zeros))
            }
        };
        if changes {
            let masks = Masks::of(v4_bits, v6_bits);
            let (has_v4, has_v6) = (rows.v4.iter().any(|byte| *byte != 0), rows.v6.iter().any(|byte| *byte != 0));
            if has_v6 && masks.v6_hi != u64::MAX {
                change(state, hi, |his| his.iter_mut().for_each(|hi| *hi &= masks.v6_hi))?;
            } else {
                state.write_same(hi)?;
            }
            if has_v4 && masks.v4_lo != u64::MAX || has_v6 && masks.v6_lo != u64::MAX {
                change(state, lo, |los| masks.apply(los, &rows.v4))?;
            } else {
                state.write_same(lo)?;
            }
        }
        Ok((words(&rows.v4), words(&rows.v6)))
    })
}

fn half(state: &State, column: ColumnId) -> Result<Option<&[u64]>, Reason> {
    match state.read(column) {
        Ok(Filled::U64(values)) => Ok(Some(values)),
        Ok(_) => Err(state.wrong_width(column)),
        Err(Reason::Absent) => Ok(None),
        Err(reason) => Err(reason),
    }
}

fn change(state: &mut State, column: ColumnId, change: impl FnOnce(&mut [u64])) -> Result<(), Reason> {
    if let Filled::U64(values) = state.change(column)? {
        change(values);
    }
    Ok(())
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
