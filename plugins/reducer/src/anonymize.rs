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
        let mut record = Record::of(&addresses, &self.how);
        if matches!(self.how.mode, Mode::Truncate | Mode::TruncateCryptoPan) {
            truncate(&mut addresses, self.how.mask_v4, self.how.mask_v6);
        }
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

/// Zeroes the bits after the masks. Absent addresses (all zeros) stay so.
fn truncate(addresses: &mut Addresses, mask_v4: u8, mask_v6: u8) {
    let v4_lo = MAPPED | u64::from(u32::MAX.checked_shl(32 - u32::from(mask_v4)).unwrap_or_default());
    let v6 = u128::MAX.checked_shl(128 - u32::from(mask_v6)).unwrap_or_default();
    let (v6_hi, v6_lo) = ((v6 >> 64) as u64, v6 as u64);
    for (hi, lo) in addresses.hi.iter_mut().zip(&mut addresses.lo) {
        let is_v4 = is_v4(*hi, *lo);
        *hi &= if is_v4 { u64::MAX } else { v6_hi };
        *lo &= if is_v4 { v4_lo } else { v6_lo };
    }
}

fn is_v4(hi: u64, lo: u64) -> bool {
    hi == 0 && lo >> 32 == MAPPED >> 32
}

/// What was done to each row's address.
struct Record {
    anon: Vec<u8>,
    preserved: Vec<u8>,
}

impl Record {
    fn of(addresses: &Addresses, how: &How) -> Record {
        let anon = match how.mode {
            Mode::None => 0,
            Mode::CryptoPan => recorded::CRYPTO_PAN,
            Mode::Truncate => recorded::TRUNCATED,
            Mode::TruncateCryptoPan => recorded::BOTH,
            Mode::Hash => recorded::HASHED,
        };
        // After Crypto-PAn or a hash alone no bit is the original one; where truncation took part,
        // the length says how many bits mean something.
        let truncated = matches!(how.mode, Mode::Truncate | Mode::TruncateCryptoPan);
        let (v4, v6) = if truncated { (how.mask_v4, how.mask_v6) } else { (0, 0) };
        let rows = || addresses.hi.iter().zip(&addresses.lo);
        Record {
            anon: rows().map(|(hi, lo)| if hi | lo == 0 { 0 } else { anon }).collect(),
            preserved: rows()
                .map(|(hi, lo)| {
                    if hi | lo == 0 {
                        0
                    } else if is_v4(*hi, *lo) {
                        v4
                    } else {
                        v6
                    }
                })
                .collect(),
        }
    }

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
