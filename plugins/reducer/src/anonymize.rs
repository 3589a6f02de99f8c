//! Anonymises one address column.

use sluice_sdk::kernels::{self, Families};
use sluice_sdk::{Address, Batch, Bitmap, Denied, Key, Reason};

use crate::config::{How, Mode};

/// All bits of an IPv4 and of another address: nothing is truncated.
const WHOLE: (u8, u8) = (32, 128);

/// What the record of a mode is in the `_anon` columns.
mod recorded {
    use super::Mode;

    pub(super) const CRYPTO_PAN: u8 = 1;
    pub(super) const TRUNCATED: u8 = 2;
    pub(super) const BOTH: u8 = 3;
    pub(super) const HASHED: u8 = 4;

    pub(super) fn of(mode: Mode) -> u8 {
        match mode {
            Mode::None => 0,
            Mode::CryptoPan => CRYPTO_PAN,
            Mode::Truncate => TRUNCATED,
            Mode::TruncateCryptoPan => BOTH,
            Mode::Hash => HASHED,
        }
    }
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
        let (v4_bits, v6_bits) = self.how.truncates().unwrap_or(WHOLE);
        let families = match kernels::truncate(batch, self.address, v4_bits, v6_bits) {
            Err(Denied { reason: Reason::Absent, .. }) => return Ok(()),
            families => families?,
        };
        match (self.how.mode, &self.key) {
            (Mode::CryptoPan | Mode::TruncateCryptoPan, Some(key)) => key.prefix_preserving(batch, self.address)?,
            (Mode::Hash, Some(key)) => key.keyed_hash(batch, self.address)?,
            // Every bit stays, so nothing was written; the address counts as written all the same.
            _ if (v4_bits, v6_bits) == WHOLE => write_as_it_is(batch, self.address)?,
            _ => {}
        }
        self.record(batch, &families)
    }

    /// Records what was done to each address.
    fn record(&self, batch: &mut Batch, families: &Families) -> Result<(), Denied> {
        let (anon, preserved) = (self.address.anon, self.address.preserved);
        let mode = recorded::of(self.how.mode);
        // The length says how many bits mean something: after Crypto-PAn or a hash alone no bit is the original one.
        let (preserved_v4, preserved_v6) = self.how.truncates().unwrap_or_default();
        match (batch.find(anon)?, batch.find(preserved)?) {
            (None, None) => {
                kernels::fill(batch, anon, &families.v4.or(&families.v6), mode)?;
                kernels::fill(batch, preserved, &families.v4, preserved_v4)?;
                if preserved_v6 != 0 {
                    kernels::fill(batch, preserved, &families.v6, preserved_v6)?;
                }
                Ok(())
            }
            (anon_before, preserved_before) => {
                let rows = batch.rows();
                let mut record = Record { anon: vec![0; rows], preserved: vec![0; rows] };
                record.add(&families.v4, mode, preserved_v4);
                record.add(&families.v6, mode, preserved_v6);
                if let Some(anon) = anon_before {
                    record.merge(&anon, preserved_before.as_deref());
                }
                batch.set(anon, &record.anon)?;
                batch.set(preserved, &record.preserved)
            }
        }
    }
}

/// Writes both halves with what they hold; one that no row had is then there.
fn write_as_it_is(batch: &mut Batch, address: Address) -> Result<(), Denied> {
    let no_row = Bitmap::none(batch.rows());
    kernels::fill(batch, address.hi, &no_row, 0)?;
    kernels::fill(batch, address.lo, &no_row, 0)
}

/// What was done to each row's address.
struct Record {
    anon: Vec<u8>,
    preserved: Vec<u8>,
}

impl Record {
    fn add(&mut self, chosen: &Bitmap, mode: u8, length: u8) {
        for (row, (anon, preserved)) in self.anon.iter_mut().zip(&mut self.preserved).enumerate() {
            if chosen.get(row) {
                (*anon, *preserved) = (mode, length);
            }
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
