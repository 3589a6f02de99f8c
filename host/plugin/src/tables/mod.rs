//! Tables that the host owns and plugins look up in: one copy for every instance, exchanged as a
//! whole when their file changes.
//!
//! Addresses are looked up in a [tree](tree) per family. Values are texts, each with a code above 0.

mod csv;
mod mmdb;
#[cfg(test)]
mod mmdb_writer;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::stamp::Stamp;
use tree::{Tree, is_place};

/// Bytes that a table file may have: the largest MMDB files have about 500 MiB.
pub const MAX_TABLE_BYTES: u64 = 1 << 30;
/// Prefixes that a table may have.
pub const MAX_PREFIXES: usize = 16 << 20;
/// Addresses that are looked up side by side: as many as a `u8` can tell apart.
const CHUNK: usize = 1 << u8::BITS;
/// Bytes that a value may have.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Where a table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableSpec {
    /// A text file, `prefix,value` or `value,v4 prefixes,v6 prefixes` a line.
    Prefix {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file in MaxMind's format.
    Mmdb {
        /// Path of the file.
        path: PathBuf,
        /// Path of the value within a record, e.g. `country.iso_code`.
        field: String,
    },
}

impl TableSpec {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            TableSpec::Prefix { path } | TableSpec::Mmdb { path, .. } => path,
        }
    }
}

/// Why a table could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file could not be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than a table may be.
    #[error("{} has {bytes} bytes, a table may have {MAX_TABLE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A line of a prefix file is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An MMDB file is wrong.
    #[error("{}: {problem}", path.display())]
    Mmdb {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such table.
    #[error("there is no table `{0}`")]
    Unknown(String),
}

/// The rows of a table while it is read.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) prefixes: Vec<(IpNet, u32)>,
    values: Vec<Arc<str>>,
    codes: HashMap<Arc<str>, u32>,
}

impl Rows {
    /// The code of `value`, above 0: the same for the same text.
    fn code(&mut self, value: &str) -> u32 {
        if let Some(code) = self.codes.get(value) {
            return *code;
        }
        let value: Arc<str> = Arc::from(value);
        self.values.push(Arc::clone(&value));
        let code = self.values.len() as u32;
        self.codes.insert(value, code);
        code
    }

    fn value(&self, code: u32) -> &str {
        (code as usize).checked_sub(1).and_then(|at| self.values.get(at)).map_or("", |value| value)
    }

    fn push(&mut self, prefix: IpNet, code: u32) {
        self.prefixes.push((prefix, code));
    }
}

/// A table, as it was in its file.
pub struct Table {
    v4: Tree,
    v6: Option<Tree>,
    values: Vec<Arc<str>>,
    prefixes: usize,
    generation: u64,
    digest: [u8; 32],
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} prefixes, {} values, generation {})", self.prefixes, self.values.len(), self.generation)
    }
}

impl Table {
    /// Reads the file of `spec`.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong; the message names the file and, for text, the line.
    pub fn load(spec: &TableSpec) -> Result<Table, TableError> {
        Table::parse(spec, &read(spec.path())?)
    }

    fn parse(spec: &TableSpec, bytes: &[u8]) -> Result<Table, TableError> {
        let rows = match spec {
            TableSpec::Prefix { path } => {
                let line = |line, problem| TableError::Line { path: path.clone(), line, problem };
                let text = std::str::from_utf8(bytes).map_err(|error| {
                    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                    line(before.iter().filter(|byte| **byte == b'\n').count() + 1, "not UTF-8 text".to_owned())
                })?;
                csv::read(text).map_err(|bad| line(bad.line, bad.problem))?
            }
            TableSpec::Mmdb { path, field } => {
                mmdb::read(bytes, field).map_err(|problem| TableError::Mmdb { path: path.clone(), problem })?
            }
        };
        Ok(Table { digest: Sha256::digest(bytes).into(), ..Table::of(rows) })
    }

    fn of(rows: Rows) -> Table {
        /// Each table that is loaded in this process has its own number.
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, code) in &rows.prefixes {
            match prefix {
                IpNet::V4(net) => v4.push((net.addr().to_bits(), net.prefix_len(), *code)),
                IpNet::V6(net) => v6.push((net.addr().to_bits(), net.prefix_len(), *code)),
            }
        }
        Table {
            v4: Tree::new(v4),
            v6: (!v6.is_empty()).then(|| Tree::new(v6)),
            values: rows.values,
            prefixes: rows.prefixes.len(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            digest: [0; 32],
        }
    }

    /// Code of the longest prefix that covers the address given as halves (IPv4 as IPv4-mapped
    /// IPv6); 0 if there is none, and for `::`, which stands for "absent".
    #[must_use]
    pub fn lookup(&self, hi: u64, lo: u64) -> u32 {
        if hi == 0 && lo >> 32 == 0xffff {
            return self.v4.lookup(lo as u32);
        }
        match &self.v6 {
            Some(v6) if hi != 0 || lo != 0 => v6.lookup(u128::from(hi) << 64 | u128::from(lo)),
            _ => 0,
        }
    }

    /// Codes of many addresses, appended to `codes`; as many as the shorter list has.
    pub fn lookup_all(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has the instruction, which was asked for just now.
            #[allow(
                unsafe_code,
                reason = "counting bits is half of a lookup, and not among the instructions that every x86-64 has"
            )]
            return unsafe { self.lookup_all_popcnt(hi, lo, codes) };
        }
        self.lookup_each(hi, lo, codes);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "popcnt")]
    fn lookup_all_popcnt(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        self.lookup_each(hi, lo, codes);
    }

    #[inline(always)]
    fn lookup_each(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        let (before, rows) = (codes.len(), hi.len().min(lo.len()));
        codes.resize(before + rows, 0);
        let parts = hi[..rows].chunks(CHUNK).zip(lo[..rows].chunks(CHUNK)).zip(codes[before..].chunks_mut(CHUNK));
        for ((hi, lo), codes) in parts {
            self.lookup_chunk(hi, lo, codes);
        }
    }

    /// Codes of up to [`CHUNK`] addresses: the first level of all, and then the rest of each family.
    #[inline(always)]
    fn lookup_chunk(&self, hi: &[u64], lo: &[u64], codes: &mut [u32]) {
        let (mut v4, mut v6) = ([0; CHUNK], [0; CHUNK]);
        let (mut v4_rows, mut v6_rows) = (0, 0);
        for (row, ((&hi, &lo), code)) in hi.iter().zip(lo).zip(codes.iter_mut()).enumerate() {
            let is_v4 = hi == 0 && lo >> 32 == 0xffff;
            // An address of the other family would lead all over the first level, for nothing.
            let entry = self.v4.first(if is_v4 { lo as u32 } else { 0 });
            *code = if is_v4 { entry } else { 0 };
            // Without a branch: which family comes next nobody can guess.
            v4[v4_rows & (CHUNK - 1)] = row as u8;
            v4_rows += usize::from(is_v4 & is_place(entry));
            v6[v6_rows & (CHUNK - 1)] = row as u8;
            v6_rows += usize::from(!is_v4 & (hi | lo != 0));
        }
        self.v4.descend(|row| lo[row] as u32, codes, &mut v4[..v4_rows]);
        if let Some(tree) = &self.v6 {
            let addr = |row: usize| u128::from(hi[row]) << 64 | u128::from(lo[row]);
            let mut below = 0;
            for at in 0..v6_rows {
                let row = v6[at];
                let entry = tree.first(addr(usize::from(row)));
                codes[usize::from(row)] = entry;
                v6[below] = row;
                below += usize::from(is_place(entry));
            }
            tree.descend(addr, codes, &mut v6[..below]);
        }
    }

    /// The value of a code, or `None` for 0 and codes that were never given.
    #[must_use]
    pub fn value(&self, code: u32) -> Option<&str> {
        self.values.get((code as usize).checked_sub(1)?).map(|value| &**value)
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
}

fn read(path: &Path) -> Result<Vec<u8>, TableError> {
    let read = |source| TableError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > MAX_TABLE_BYTES {
        return Err(TableError::TooLarge { path: path.to_owned(), bytes });
    }
    std::fs::read(path).map_err(read)
}

#[derive(Debug)]
struct Entry {
    spec: TableSpec,
    current: ArcSwap<Table>,
    /// Locked while a reload is under way.
    seen: Mutex<Seen>,
}

/// The file of a table as it was last looked at.
#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    /// Its digest, whether it was taken up or refused.
    digest: [u8; 32],
    /// Whether it could not be read.
    is_unreadable: bool,
    /// What the current table was made of, for other processes to make the same; none if there are no such.
    contents: Option<Arc<Vec<u8>>>,
}

impl Entry {
    fn load(spec: TableSpec) -> Result<Entry, TableError> {
        let stamp = Stamp::of(spec.path());
        let bytes = read(spec.path())?;
        Entry::of(spec, stamp, &bytes)
    }

    fn of(spec: TableSpec, stamp: Option<Stamp>, bytes: &[u8]) -> Result<Entry, TableError> {
        let table = Table::parse(&spec, bytes)?;
        let digest = table.digest;
        let current = ArcSwap::from_pointee(table);
        let seen = Mutex::new(Seen { stamp, digest, is_unreadable: false, contents: None });
        Ok(Entry { spec, current, seen })
    }
}

/// The tables of a collector, by name.
#[derive(Debug, Default)]
pub struct Tables {
    entries: BTreeMap<String, Arc<Entry>>,
}

impl Tables {
    /// Loads every table.
    ///
    /// # Errors
    /// The first one that cannot be loaded, and its name.
    pub fn load(specs: impl IntoIterator<Item = (String, TableSpec)>) -> Result<Tables, (String, TableError)> {
        Tables::default().next(specs)
    }

    /// The tables of another configuration: those that it has in common with this one are the same, and reloading one
    /// reloads it for both.
    ///
    /// # Errors
    /// The first one that cannot be loaded, and its name.
    pub fn next(&self, specs: impl IntoIterator<Item = (String, TableSpec)>) -> Result<Tables, (String, TableError)> {
        let mut entries = BTreeMap::new();
        for (name, spec) in specs {
            let entry = match self.entries.get(&name).filter(|entry| entry.spec == spec) {
                Some(known) => Arc::clone(known),
                None => Entry::load(spec).map(Arc::new).map_err(|error| (name.clone(), error))?,
            };
            entries.insert(name, entry);
        }
        Ok(Tables { entries })
    }

    /// Names of the tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where a table comes from.
    #[must_use]
    pub fn spec(&self, name: &str) -> Option<&TableSpec> {
        self.entries.get(name).map(|entry| &entry.spec)
    }

    /// The table as it is now. Keeps its contents when the name's table is exchanged.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Table>> {
        self.entries.get(name).map(|entry| entry.current.load_full())
    }

    /// Reads a table again if its file changed, and exchanges it. Says whether it did. A look at a
    /// file that did not change costs a `stat`.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong; the table is then as it was. The same bad file is an
    /// error once: it is not read again before it changes.
    pub fn reload(&self, name: &str) -> Result<bool, TableError> {
        self.look(name, false)
    }

    /// The same, for when an operator asks: reads the file whatever its times say, and says again what is wrong with one
    /// that was refused.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn retry(&self, name: &str) -> Result<bool, TableError> {
        self.look(name, true)
    }

    fn look(&self, name: &str, is_asked: bool) -> Result<bool, TableError> {
        let entry = self.entries.get(name).ok_or_else(|| TableError::Unknown(name.to_owned()))?;
        let mut seen = entry.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if is_asked {
            *seen = Seen {
                stamp: None,
                digest: entry.current.load().digest,
                is_unreadable: false,
                contents: seen.contents.take(),
            };
        }
        let stamp = Stamp::of(entry.spec.path());
        if Stamp::is_same(stamp, seen.stamp) {
            return Ok(false);
        }
        seen.stamp = stamp;
        let bytes = match read(entry.spec.path()) {
            Ok(bytes) => bytes,
            Err(_) if std::mem::replace(&mut seen.is_unreadable, true) => return Ok(false),
            Err(error) => return Err(error),
        };
        seen.is_unreadable = false;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if std::mem::replace(&mut seen.digest, digest) == digest {
            return Ok(false);
        }
        entry.current.store(Arc::new(Table::parse(&entry.spec, &bytes)?));
        if seen.contents.is_some() {
            seen.contents = Some(Arc::new(bytes));
        }
        Ok(true)
    }

    /// Makes tables of contents that somebody else has read.
    pub(crate) fn of(contents: impl IntoIterator<Item = (String, TableSpec, Vec<u8>)>) -> Result<Tables, TableError> {
        let entry =
            |(name, spec, bytes): (String, TableSpec, Vec<u8>)| Ok((name, Arc::new(Entry::of(spec, None, &bytes)?)));
        Ok(Tables { entries: contents.into_iter().map(entry).collect::<Result<_, TableError>>()? })
    }

    /// Exchanges a table for one of other contents.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), TableError> {
        let entry = self.entries.get(name).ok_or_else(|| TableError::Unknown(name.to_owned()))?;
        entry.current.store(Arc::new(Table::parse(&entry.spec, bytes)?));
        Ok(())
    }

    /// A table as it is now, and what it was made of, which is held in memory from now on.
    pub(crate) fn contents(&self, name: &str) -> Result<(Arc<Table>, Arc<Vec<u8>>), TableError> {
        let entry = self.entries.get(name).ok_or_else(|| TableError::Unknown(name.to_owned()))?;
        let mut seen = entry.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let current = entry.current.load_full();
        if let Some(contents) = &seen.contents {
            return Ok((current, Arc::clone(contents)));
        }
        let bytes = read(entry.spec.path())?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if digest != current.digest {
            // Changed since somebody looked last: taken up now, if it can be.
            entry.current.store(Arc::new(Table::parse(&entry.spec, &bytes)?));
            seen.digest = digest;
        }
        let contents = Arc::new(bytes);
        seen.contents = Some(Arc::clone(&contents));
        Ok((entry.current.load_full(), contents))
    }
}

#[cfg(test)]
mod tests;
