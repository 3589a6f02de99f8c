//! The tables of a queue in a redb file, and the transactions on them.
//!
//! An entry is cut into pieces that fill redb's pages: those have a power of two of bytes, and a value of
//! 1 MiB would take 2 MiB.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, Durability, ReadableDatabase, StorageError, TableDefinition, WriteTransaction};

use super::error::DiskQueueError;
use super::{Entry, Opener, Queued};

/// Version of the tables below. Another one is refused.
pub(super) const FORMAT: u64 = 1;

/// What there is altogether: `format`, and the numbers of [`Totals`].
const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("sluice.queue");
/// Rows and bytes of each entry.
const ENTRIES: TableDefinition<'_, u64, (u32, u64)> = TableDefinition::new("sluice.queue.entries");
/// The bytes of each entry, in pieces that are numbered from 0.
const PIECES: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("sluice.queue.pieces");

/// How a redb file begins.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// Bytes of memory for pages: what is written is read once, so that more would not help.
const CACHE_BYTES: usize = 16 << 20;

const PAGE: usize = 4096;
/// Larger ones save little and leave more unused.
const LARGEST_PAGE: usize = 16 * PAGE;
/// What a page with one piece holds beside it: a header of 4 bytes, the end of the piece and its key.
const PAGE_HEADER: usize = 4 + 4 + 12;

/// The place of an entry in its queue. Grows from entry to entry, for as long as the file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Number of the next entry.
    next: u64,
    pub(super) len: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Why a transaction was not done.
#[derive(Debug)]
pub(super) struct Undone(redb::Error);

impl<E: Into<redb::Error>> From<E> for Undone {
    fn from(error: E) -> Undone {
        Undone(error.into())
    }
}

impl Undone {
    pub(super) fn into_error(self, path: &Path, what: &'static str) -> DiskQueueError {
        let path = path.to_owned();
        match self.0 {
            redb::Error::Io(source) => DiskQueueError::Io { path, what, source },
            error @ redb::Error::PreviousIo => DiskQueueError::Io { path, what, source: io::Error::other(error) },
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => DiskQueueError::InUse { path },
            // Of redb's own file format, which has other numbers.
            redb::Error::UpgradeRequired(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_) => DiskQueueError::NotAQueue { path },
            error => DiskQueueError::Damaged { path, source: Box::new(error) },
        }
    }
}

/// Bytes that an entry of `bytes` bytes takes: they are rounded up to whole pages of 4 KiB, with 20 bytes less
/// in a page of up to 64 KiB.
#[must_use]
pub fn bytes_on_disk(bytes: usize) -> u64 {
    let pages: usize = pieces(bytes).map(page_of).sum();
    pages.max(PAGE) as u64
}

/// The lengths of the pieces of an entry: those that fill the largest pages first.
fn pieces(bytes: usize) -> impl Iterator<Item = usize> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let mut page = LARGEST_PAGE;
        // Less than a page may stay unused.
        while page > PAGE && page - PAGE_HEADER >= left + PAGE {
            page /= 2;
        }
        let piece = left.min(page - PAGE_HEADER);
        left -= piece;
        (piece > 0).then_some(piece)
    })
}

fn page_of(piece: usize) -> usize {
    (piece + PAGE_HEADER).next_power_of_two().max(PAGE)
}

pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes an empty queue where there is no file. It appears whole: a crash leaves at most `PATH.new`.
pub(super) fn create_unless_there(path: &Path) -> Result<(), DiskQueueError> {
    let failed = |source| DiskQueueError::Io { path: path.to_owned(), what: "made", source };
    if fs::exists(path).map_err(failed)? {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let made = || -> Result<(), Undone> {
        let database = builder().create(&new)?;
        let transaction = begin(&database)?;
        transaction.open_table(TOTALS)?.insert("format", FORMAT)?;
        set_totals(&transaction, Totals::default())?;
        transaction.open_table(ENTRIES)?;
        transaction.open_table(PIECES)?;
        Ok(transaction.commit()?)
    };
    made().map_err(|undone| undone.into_error(&new, "made"))?;
    fs::rename(&new, path).map_err(failed)?;
    // The name is in the folder, which has to reach the disk as well.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Opens a queue and reads what it holds.
pub(super) fn open(path: &Path, opener: &Opener) -> Result<(Database, Totals), DiskQueueError> {
    let failed = |source| DiskQueueError::Io { path: path.to_owned(), what: "opened", source };
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start != MAGIC {
        return Err(DiskQueueError::NotAQueue { path: path.to_owned() });
    }
    let opened = || -> Result<(Database, u64, Totals), Undone> {
        let database = opener(path)?;
        let table = database.begin_read()?.open_table(TOTALS)?;
        let number = |name: &str| -> Result<u64, StorageError> {
            let value = table.get(name)?.map(|value| value.value());
            value.ok_or_else(|| StorageError::Corrupted(format!("there is no {name}")))
        };
        let format = number("format")?;
        if format != FORMAT {
            return Ok((database, format, Totals::default()));
        }
        let (next, len) = (number("next")?, number("entries")?);
        let totals = Totals { next, len, rows: number("rows")?, bytes: number("bytes")? };
        Ok((database, format, totals))
    };
    match opened().map_err(|undone| undone.into_error(path, "opened"))? {
        (database, FORMAT, totals) => Ok((database, totals)),
        (_, found, _) => Err(DiskQueueError::OtherFormat { path: path.to_owned(), found, readable: FORMAT }),
    }
}

/// Begins a transaction after which opening is quick, even after a crash, and the file is whole whatever
/// is in the entries: they come from a network, and redb's checksums are no match for an attacker.
fn begin(database: &Database) -> Result<WriteTransaction, Undone> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // Commits in two phases too.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn set_totals(transaction: &WriteTransaction, totals: Totals) -> Result<(), Undone> {
    let mut table = transaction.open_table(TOTALS)?;
    table.insert("next", totals.next)?;
    table.insert("entries", totals.len)?;
    table.insert("rows", totals.rows)?;
    table.insert("bytes", totals.bytes)?;
    Ok(())
}

pub(super) fn push(database: &Database, mut totals: Totals, entries: &[Entry<'_>]) -> Result<Totals, Undone> {
    let transaction = begin(database)?;
    {
        let (mut index, mut data) = (transaction.open_table(ENTRIES)?, transaction.open_table(PIECES)?);
        for entry in entries {
            let seq = totals.next;
            index.insert(seq, (entry.rows, entry.bytes.len() as u64))?;
            let mut left = entry.bytes;
            for (number, length) in pieces(entry.bytes.len()).enumerate() {
                let (piece, rest) = left.split_at(length);
                data.insert((seq, number as u32), piece)?;
                left = rest;
            }
            totals.next += 1;
            totals.len += 1;
            totals.rows += u64::from(entry.rows);
            totals.bytes += bytes_on_disk(entry.bytes.len());
        }
    }
    set_totals(&transaction, totals)?;
    transaction.commit()?;
    Ok(totals)
}

pub(super) fn peek(database: &Database, after: Option<Seq>, max: usize) -> Result<Vec<Queued>, Undone> {
    let transaction = database.begin_read()?;
    let (index, data) = (transaction.open_table(ENTRIES)?, transaction.open_table(PIECES)?);
    let first = after.map_or(0, |Seq(after)| after.saturating_add(1));
    let mut found = Vec::new();
    for entry in index.range(first..)?.take(max) {
        let (seq, about) = entry?;
        let (seq, (rows, length)) = (seq.value(), about.value());
        // Not a capacity: a damaged length must not be allocated.
        let mut bytes = Vec::new();
        for piece in data.range((seq, 0)..=(seq, u32::MAX))? {
            bytes.extend_from_slice(piece?.1.value());
        }
        if bytes.len() as u64 != length {
            let found = bytes.len();
            return Err(StorageError::Corrupted(format!("entry {seq} has {found} bytes instead of {length}")).into());
        }
        found.push(Queued { seq: Seq(seq), rows, bytes });
    }
    Ok(found)
}

pub(super) fn remove_through(database: &Database, totals: Totals, Seq(seq): Seq) -> Result<Totals, Undone> {
    remove(database, totals, 0, seq)
}

/// Takes out what was pushed after `told`, and returns what is there then.
pub(super) fn remove_refused(database: &Database, found: Totals, told: Totals) -> Result<Totals, Undone> {
    if found.next <= told.next {
        return Ok(found);
    }
    remove(database, found, told.next, u64::MAX)
}

fn remove(database: &Database, mut totals: Totals, first: u64, last: u64) -> Result<Totals, Undone> {
    let transaction = begin(database)?;
    transaction.open_table(ENTRIES)?.retain_in(first..=last, |_, (rows, bytes)| {
        totals.len = totals.len.saturating_sub(1);
        totals.rows = totals.rows.saturating_sub(u64::from(rows));
        totals.bytes = totals.bytes.saturating_sub(bytes_on_disk(bytes as usize));
        false
    })?;
    transaction.open_table(PIECES)?.retain_in((first, 0)..=(last, u32::MAX), |_, _| false)?;
    set_totals(&transaction, totals)?;
    transaction.commit()?;
    Ok(totals)
}

#[cfg(test)]
impl Seq {
    pub(super) fn of(number: u64) -> Seq {
        Seq(number)
    }
}
