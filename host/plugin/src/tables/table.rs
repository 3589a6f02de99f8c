//! A table as it was in its file: what is looked up in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::exact::{Exact, KeyKind};
use super::prefixes::Prefixes;
use super::tree::Runs;
use super::{TableError, TableSpec, csv, mmdb, values};

/// The rows of a table while it is read.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) prefixes: Vec<(IpNet, u32)>,
    /// The keys of a table of values.
    pub(crate) exact: Option<Exact>,
    /// How many they are.
    pub(crate) keys: usize,
    values: Vec<Arc<str>>,
    codes: HashMap<Arc<str>, u32>,
}

impl Rows {
    /// The code of `value`, above 0: the same for the same text.
    pub(crate) fn code(&mut self, value: &str) -> u32 {
        if let Some(code) = self.codes.get(value) {
            return *code;
        }
        let value: Arc<str> = Arc::from(value);
        self.values.push(Arc::clone(&value));
        let code = self.values.len() as u32;
        self.codes.insert(value, code);
        code
    }

    pub(crate) fn value(&self, code: u32) -> &str {
        (code as usize).checked_sub(1).and_then(|at| self.values.get(at)).map_or("", |value| value)
    }

    pub(crate) fn push(&mut self, prefix: IpNet, code: u32) {
        self.prefixes.push((prefix, code));
    }
}

/// The largest number that a value can be; one more stands for what is none.
pub(crate) const MAX_NUMBER: u64 = u64::MAX - 1;

/// A table, as it was in its file.
pub struct Table {
    places: Places,
    values: Vec<Arc<str>>,
    /// By code the number that the value is, once somebody asked.
    numbers: OnceLock<Vec<u64>>,
    prefixes: usize,
    keys: usize,
    generation: u64,
    digest: [u8; 32],
}

/// Where codes are found.
enum Places {
    /// Under the longest prefix of an address.
    Prefixes(Prefixes),
    /// Under a key.
    Keys(Exact),
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Table { prefixes, keys, generation, .. } = self;
        write!(f, "Table({prefixes} prefixes, {keys} keys, {} values, generation {generation})", self.values.len())
    }
}

impl Table {
    /// Reads the file of `spec`.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong; the message names the file and, for text, the line.
    pub fn load(spec: &TableSpec) -> Result<Table, TableError> {
        Table::parse(spec, &super::read(spec.path())?)
    }

    pub(super) fn parse(spec: &TableSpec, bytes: &[u8]) -> Result<Table, TableError> {
        let rows = match spec {
            TableSpec::Prefix { path, .. } | TableSpec::Values { path, .. } => {
                let line = |line, problem| TableError::Line { path: path.clone(), line, problem };
                let text = std::str::from_utf8(bytes).map_err(|error| {
                    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                    line(before.iter().filter(|byte| **byte == b'\n').count() + 1, "not UTF-8 text".to_owned())
                })?;
                let read = match spec {
                    TableSpec::Values { column, key_columns, .. } => {
                        values::read(text, column.as_deref().map(|column| (column, *key_columns)))
                    }
                    _ => csv::read(text, spec.field()),
                };
                read.map_err(|bad| line(bad.line, bad.problem))?
            }
            TableSpec::Mmdb { path, field } => {
                mmdb::read(bytes, field).map_err(|problem| TableError::Mmdb { path: path.clone(), problem })?
            }
        };
        Ok(Table { digest: Sha256::digest(bytes).into(), ..Table::of(rows) })
    }

    pub(super) fn of(rows: Rows) -> Table {
        /// Each table that is loaded in this process has its own number.
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        Table {
            prefixes: rows.prefixes.len(),
            keys: rows.keys,
            places: match rows.exact {
                Some(exact) => Places::Keys(exact),
                None => Places::Prefixes(Prefixes::new(&rows.prefixes)),
            },
            values: rows.values,
            numbers: OnceLock::new(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            digest: [0; 32],
        }
    }

    /// Code of the longest prefix that covers the address given as halves (IPv4 as IPv4-mapped
    /// IPv6); 0 if there is none, and for `::`, which stands for "absent". In a table of values, code of the key `(hi, lo)`:
    /// a number is `(0, n)`, an address its halves, an IPv4 address with a number its low half and the number.
    #[must_use]
    pub fn lookup(&self, hi: u64, lo: u64) -> u32 {
        match &self.places {
            Places::Prefixes(prefixes) => prefixes.lookup(hi, lo),
            Places::Keys(exact) => exact.lookup([0, hi, lo]),
        }
    }

    /// Codes of many addresses or keys, appended to `codes`; as many as the shorter list has.
    pub fn lookup_all(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        match &self.places {
            Places::Prefixes(prefixes) => prefixes.lookup_all(hi, lo, codes),
            Places::Keys(exact) => exact.lookup_all(hi.iter().zip(lo).map(|(&hi, &lo)| [0, hi, lo]), codes),
        }
    }

    /// The keys of a table of values; none of others.
    pub(crate) fn exact(&self) -> Option<&Exact> {
        match &self.places {
            Places::Keys(exact) => Some(exact),
            Places::Prefixes(_) => None,
        }
    }

    /// What all addresses have, if it is a table of prefixes.
    pub(super) fn runs(&self) -> Option<(Runs<u32>, Runs<u128>)> {
        match &self.places {
            Places::Prefixes(prefixes) => Some(prefixes.runs()),
            Places::Keys(_) => None,
        }
    }

    /// What is found in it; none if that cannot be known, because it is empty.
    pub(crate) fn key_kind(&self) -> Option<KeyKind> {
        match &self.places {
            Places::Keys(exact) => exact.kind,
            Places::Prefixes(_) => Some(KeyKind::Address),
        }
    }

    /// Codes of many keys that are one number each, in a table of values; else zeros. Appended to `codes`.
    pub fn lookup_numbers<T: Copy + Into<u64>>(&self, numbers: &[T], codes: &mut Vec<u32>) {
        match &self.places {
            Places::Keys(exact) => exact.lookup_numbers(numbers, codes),
            Places::Prefixes(_) => codes.resize(codes.len() + numbers.len(), 0),
        }
    }

    /// Codes of many keys that are an address and a number each, in a table of values; else zeros. Appended to `codes`; as
    /// many as the shortest list has.
    pub fn lookup_addressed(&self, hi: &[u64], lo: &[u64], numbers: &[u64], codes: &mut Vec<u32>) {
        let keys = hi.iter().zip(lo).zip(numbers).map(|((&hi, &lo), &number)| [hi, lo, number]);
        match &self.places {
            Places::Keys(exact) => exact.lookup_all(keys, codes),
            Places::Prefixes(_) => codes.extend(keys.map(|_| 0)),
        }
    }

    /// The value of a code, or `None` for 0 and codes that were never given.
    #[must_use]
    pub fn value(&self, code: u32) -> Option<&str> {
        self.values.get((code as usize).checked_sub(1)?).map(|value| &**value)
    }

    /// The value of a code, empty where there is none.
    pub(crate) fn word(&self, code: u32) -> Arc<str> {
        let value = (code as usize).checked_sub(1).and_then(|at| self.values.get(at));
        value.map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// By code the number that the value is, in decimal digits with `AS` before them or not; more than [`MAX_NUMBER`] where it is none.
    pub(crate) fn numbers(&self) -> &[u64] {
        self.numbers.get_or_init(|| {
            let number = |value: &Arc<str>| {
                let digits = value.strip_prefix("AS").unwrap_or(value);
                // `parse` takes a sign.
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse().ok().filter(|_| is_number).unwrap_or(u64::MAX)
            };
            std::iter::once(u64::MAX).chain(self.values.iter().map(number)).collect()
        })
    }

    /// One more than the highest code.
    #[must_use]
    pub fn codes(&self) -> u32 {
        self.values.len() as u32 + 1
    }

    /// Number of this state of the table; unique among all tables of the process.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// SHA-256 of the file it was made of.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Prefixes in the table.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.prefixes
    }

    /// Keys in the table.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
    }
}
