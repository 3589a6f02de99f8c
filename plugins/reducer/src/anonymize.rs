//! Anonymises one address column.

use sluice_sdk::{Address, Addresses, Batch, Denied, Key};

use crate::config::{How, Mode};

/// The bits that make a 128-bit address an IPv4-mapped one (RFC 4291, section 2.5.5.2), in its low half.
const MAPPED: u64 = 0xffff_0000_0000;

/// What the record of a mode is in the `_anon` columns.
mod recorded {
    pub(super) const CRYPTO_PAN: u8 = 1;
    pub(super) const TRUNCATED: u8 = 2;
    pub(super) const BOTH: u8 = 3;
    pub(super) const HASHED: u8 = 4;
}

/// One address column, and what to do with it.
#[derive(Debug)]
pub(crate) struct Task {
    address: Address,
    how: How,
    key: Option<Key>,
}

impl Task {
    /// Opens what the task needs.
    ///
    /// # Errors
    /// That the key cannot be opened.
    pub(crate) fn open(address: Address, how: How) -> Result<Task, String> {
        let key = match &how.key {
            Some(name) if how.mode != Mode::Truncate => {
                Some(Key::open(name).map_err(|error| format!("`key`: cannot open `{name}`: {error}"))?)
            }
            _ => None,
        };
        Ok(Task { address, how, key })
    }

    /// Anonymises the column in every row that has it. A batch without the column is done.
    pub(crate) fn run(&self, batch: &mut Batch) -> Result<(), Denied> {
        let Some(mut addresses) = batch.find_addresses(self.address)? else { return Ok(()) };
        let mut record = truncate(&mut addresses, &Masks::of(&self.how));
        // Written in any mode: a half that no row had is then there for the key to replace.
        batch.set_addresses(self.address, &addresses)?;
        match (self.how.mode, &self.key) {
            (Mode::CryptoPan | Mode::TruncateCryptoPan, Some(key)) => key.prefix_preserving(batch, self.address)?,
            (Mode::Hash, Some(key)) => key.keyed_hash(batch, self.address)?,
            _ => {}
        }
        let before = (batch.find(self.address.anon)?, batch.find(self.address.preserved)?);
        if let (Some(anon), preserved) = before {
            record.merge(&anon, preserved.as_deref());
        }
        batch.set(self.address.anon, &record.anon)?;
        batch.set(self.address.preserved, &record.preserved)
    }
}

/// What is left of an address, and what is recorded of it.
#[derive(Debug)]
struct Masks {
    v4_lo: u64,
    v6_hi: u64,
    v6_lo: u64,
    mode: u8,
    preserved_v4: u8,
    preserved_v6: u8,
}

impl Masks {
    fn of(how: &How) -> Masks {
        let (mode, is_truncated) = match how.mode {
            Mode::None => (0, false),
            Mode::CryptoPan => (recorded::CRYPTO_PAN, false),
            Mode::Truncate => (recorded::TRUNCATED, true),
            Mode::TruncateCryptoPan => (recorded::BOTH, true),
            Mode::Hash => (recorded::HASHED, false),
        };
        if !is_truncated {
            // After Crypto-PAn or a hash alone no bit is the original one.
            return Masks { v4_lo: u64::MAX, v6_hi: u64::MAX, v6_lo: u64::MAX, mode, preserved_v4: 0, preserved_v6: 0 };
        }
        let v6 = u128::MAX.checked_shl(128 - u32::from(how.mask_v6)).unwrap_or_default();
        Masks {
            v4_lo: MAPPED | u64::from(u32::MAX.checked_shl(32 - u32::from(how.mask_v4)).unwrap_or_default()),
            v6_hi: (v6 >> 64) as u64,
            v6_lo: v6 as u64,
            mode,
            // The length says how many bits mean something.
            preserved_v4: how.mask_v4,
            preserved_v6: how.mask_v6,
        }
    }
}

/// Rows that are worked on at a time: those of one exporter's IPv4 template come in a row, and for
/// them there is nothing to decide.
const LANES: usize = 8;

/// Zeroes the bits after the masks. Absent addresses (all zeros) stay so.
// Not inlined: among the variables of a longer function its own would not stay in registers.
#[inline(never)]
fn truncate(addresses: &mut Addresses, masks: &Masks) -> Record {
    let rows = addresses.hi.len().min(addresses.lo.len());
    let mut record = Record { anon: vec![0; rows], preserved: vec![0; rows] };
    let (hi, hi_rest) = addresses.hi.as_chunks_mut::<LANES>();
    let (lo, lo_rest) = addresses.lo.as_chunks_mut::<LANES>();
    let (anon, anon_rest) = record.anon.as_chunks_mut::<LANES>();
    let (preserved, preserved_rest) = record.preserved.as_chunks_mut::<LANES>();
    for (((hi, lo), anon), preserved) in hi.iter_mut().zip(lo).zip(anon).zip(preserved) {
        let other_bits = hi.iter().zip(lo.iter()).fold(0, |or, (hi, lo)| or | hi | (lo ^ MAPPED) >> 32);
        if other_bits == 0 {
            lo.iter_mut().for_each(|lo| *lo &= masks.v4_lo);
            *anon = [masks.mode; LANES];
            *preserved = [masks.preserved_v4; LANES];
        } else {
            truncate_each(hi, lo, anon, preserved, masks);
        }
    }
    truncate_each(hi_rest, lo_rest, anon_rest, preserved_rest, masks);
    record
}

fn truncate_each(hi: &mut [u64], lo: &mut [u64], anon: &mut [u8], preserved: &mut [u8], masks: &Masks) {
    for (((hi, lo), anon), preserved) in hi.iter_mut().zip(lo).zip(anon).zip(preserved) {
        if *hi == 0 && *lo >> 32 == MAPPED >> 32 {
            *lo &= masks.v4_lo;
            (*anon, *preserved) = (masks.mode, masks.preserved_v4);
        } else if *hi | *lo != 0 {
            *hi &= masks.v6_hi;
            *lo &= masks.v6_lo;
            (*anon, *preserved) = (masks.mode, masks.preserved_v6);
        }
    }
}

/// What was done to each row's address.
struct Record {
    anon: Vec<u8>,
    preserved: Vec<u8>,
}

impl Record {
    /// Takes in what an earlier reducer recorded: the sum of both is what happened to the address.
    fn merge(&mut self, anon: &[u8], preserved: Option<&[u8]>) {
        for (row, (mine, before)) in self.anon.iter_mut().zip(anon).enumerate() {
            let Some(length) = self.preserved.get_mut(row) else { break };
            if *before == 0 || *mine == 0 {
                continue;
            }
            let length_before = preserved.and_then(|preserved| preserved.get(row)).copied().unwrap_or_default();
            // Crypto-PAn alone leaves every bit meaningful, so the other one's length stands.
            *length = match (*mine, *before) {
                (recorded::CRYPTO_PAN, _) => length_before,
                (_, recorded::CRYPTO_PAN) => *length,
                _ => length_before.min(*length),
            };
            *mine = match (*mine, *before) {
                (recorded::HASHED, _) | (_, recorded::HASHED) => recorded::HASHED,
                (a, b) if a == b => a,
                _ => recorded::BOTH,
            };
            if *mine == recorded::HASHED {
                *length = 0;
            }
        }
    }
}
