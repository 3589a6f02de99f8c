//! Tables that the host owns and plugins look up in: one copy for every instance, exchanged as a
//! whole when their file changes.
//!
//! Addresses are looked up in a tree per family; of keys, small numbers in an array, others in hash maps. Values are
//! texts, each with a code above 0.

mod csv;
mod exact;
mod joint;
mod mmdb;
#[cfg(test)]
mod mmdb_writer;
mod prefixes;
mod spec;
mod table;
mod tree;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use sha2::{Digest, Sha256};

use crate::stamp::Stamp;
pub(crate) use exact::KeyKind;
pub use joint::Joint;
pub use spec::{MAX_KEYS, MAX_PREFIXES, MAX_TABLE_BYTES, MAX_VALUE_BYTES, TableError, TableSpec};
pub use table::Table;
pub(crate) use table::{MAX_NUMBER, Rows};

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
    /// Those that it is one of.
    joined: Mutex<Vec<Weak<Joined>>>,
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
        let digest = table.digest();
        let current = ArcSwap::from_pointee(table);
        let seen = Mutex::new(Seen { stamp, digest, is_unreadable: false, contents: None });
        Ok(Entry { spec, current, seen, joined: Mutex::default() })
    }

    fn exchange(&self, table: Table) {
        self.current.store(Arc::new(table));
        let joined = lock(&self.joined).clone();
        joined.iter().filter_map(Weak::upgrade).for_each(|joined| joined.renew());
    }
}

/// Tables of prefixes that a plugin looks up in side by side, joined; again whenever one of them is exchanged. Until that
/// is done the older ones are current.
#[derive(Debug)]
pub(crate) struct Joined {
    /// By name.
    entries: Vec<Arc<Entry>>,
    current: ArcSwapOption<Joint>,
    /// Locked while they are joined: who comes later joins later ones.
    renewing: Mutex<()>,
}

impl Joined {
    /// The joint as it is now; none if there is none of these.
    pub(crate) fn current(&self) -> Option<Arc<Joint>> {
        self.current.load_full()
    }

    fn renew(&self) {
        let _renewing = lock(&self.renewing);
        let tables: Vec<_> = self.entries.iter().map(|entry| entry.current.load_full()).collect();
        self.current.store(Joint::new(&tables).map(Arc::new));
    }

    fn is_of(&self, entries: &[Arc<Entry>]) -> bool {
        self.entries.len() == entries.len() && self.entries.iter().zip(entries).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Those of the tables that are of prefixes, joined; none if they are fewer than two. Takes as long as loading them, if nobody
    /// has joined the same before.
    pub(crate) fn join<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<Arc<Joined>> {
        let names: BTreeSet<&str> = names.into_iter().collect();
        let entries = names.into_iter().filter_map(|name| self.entries.get(name));
        let entries: Vec<_> = entries.filter(|entry| entry.current.load().exact().is_none()).cloned().collect();
        let [first, _, ..] = &entries[..] else { return None };
        let mut joined = lock(&first.joined);
        joined.retain(|joined| joined.strong_count() > 0);
        if let Some(known) = joined.iter().filter_map(Weak::upgrade).find(|known| known.is_of(&entries)) {
            return Some(known);
        }
        let new = Joined { entries: entries.clone(), current: ArcSwapOption::empty(), renewing: Mutex::default() };
        let new = Arc::new(new);
        // Before they are joined: what is exchanged meanwhile is joined again.
        joined.push(Arc::downgrade(&new));
        entries.iter().skip(1).for_each(|entry| lock(&entry.joined).push(Arc::downgrade(&new)));
        new.renew();
        Some(new)
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
        let mut seen = lock(&entry.seen);
        if is_asked {
            *seen = Seen {
                stamp: None,
                digest: entry.current.load().digest(),
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
        entry.exchange(Table::parse(&entry.spec, &bytes)?);
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
        entry.exchange(Table::parse(&entry.spec, bytes)?);
        Ok(())
    }

    /// A table as it is now, and what it was made of, which is held in memory from now on.
    pub(crate) fn contents(&self, name: &str) -> Result<(Arc<Table>, Arc<Vec<u8>>), TableError> {
        let entry = self.entries.get(name).ok_or_else(|| TableError::Unknown(name.to_owned()))?;
        let mut seen = lock(&entry.seen);
        let current = entry.current.load_full();
        if let Some(contents) = &seen.contents {
            return Ok((current, Arc::clone(contents)));
        }
        let bytes = read(entry.spec.path())?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if digest != current.digest() {
            // Changed since somebody looked last: taken up now, if it can be.
            entry.exchange(Table::parse(&entry.spec, &bytes)?);
            seen.digest = digest;
        }
        let contents = Arc::new(bytes);
        seen.contents = Some(Arc::clone(&contents));
        Ok((entry.current.load_full(), contents))
    }
}

#[cfg(test)]
mod tests;
