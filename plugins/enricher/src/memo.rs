//! What is remembered of a table, so that a value crosses once per generation and not once per row.

use sluice_sdk::{KeyColumns, Table, columns};

/// What tables are looked up by where it is the addresses of a flow.
pub(crate) const ADDRESS: KeyColumns = KeyColumns::address(columns::SRC_ADDR);

/// Opens the table that `key` of the configuration names, to be looked up by `by`.
pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Table, String> {
    let table = Table::open(name).map_err(|error| format!("`{key}`: cannot open table `{name}`: {error}"))?;
    // The host says what the table is instead.
    table.check(by).map_err(|_| format!("`{key}` does not fit"))?;
    Ok(table)
}

/// In place of what a code stands for, which has 32 bits: it is not learned yet.
const UNKNOWN: u64 = u64::MAX;

/// A table of numbers: code to number, 0 for none.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) table: Table,
    key: String,
    generation: Option<u64>,
    /// By code; [`UNKNOWN`] where it is not learned yet. No longer than the table has codes.
    numbers: Vec<u64>,
    /// Whether a value that is no number was complained about in this generation.
    complained: bool,
}

impl Numbers {
    pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Numbers, String> {
        let table = open(key, name, by)?;
        Ok(Numbers { table, key: key.to_owned(), generation: None, numbers: Vec::new(), complained: false })
    }

    /// Begins a batch: forgets everything if the table was exchanged.
    pub(crate) fn begin(&mut self) {
        let generation = self.table.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.numbers.clear();
            self.numbers.push(0);
            self.complained = false;
        }
    }

    /// Replaces codes by their numbers.
    #[inline(never)]
    pub(crate) fn resolve(&mut self, codes: &mut [u32]) {
        let (eights, rest) = codes.as_chunks_mut::<8>();
        for codes in eights {
            let found = codes.map(|code| self.numbers.get(code as usize).copied().unwrap_or(UNKNOWN));
            // One question for all of them.
            if found.iter().fold(0, |all, found| all | found) >> 32 == 0 {
                *codes = found.map(|found| found as u32);
            } else {
                *codes = codes.map(|code| self.one(code));
            }
        }
        rest.iter_mut().for_each(|code| *code = self.one(*code));
    }

    fn one(&mut self, code: u32) -> u32 {
        match self.numbers.get(code as usize) {
            Some(found) if *found != UNKNOWN => *found as u32,
            _ => self.learn(code),
        }
    }

    /// Learns what a code stands for.
    #[cold]
    fn learn(&mut self, code: u32) -> u32 {
        if code >= self.table.codes() {
            return 0;
        }
        let value = self.table.value(code).unwrap_or_default();
        let digits = value.strip_prefix("AS").unwrap_or(&value);
        let number = digits.parse().unwrap_or_else(|_| {
            if !self.complained {
                self.complained = true;
                let key = &self.key;
                sluice_sdk::warn!(
                    "{key}: the table's value `{value}` is no number; it and others like it count as none"
                );
            }
            0
        });
        let at = code as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, UNKNOWN);
        }
        if let Some(known) = self.numbers.get_mut(at) {
            *known = u64::from(number);
        }
        number
    }
}
