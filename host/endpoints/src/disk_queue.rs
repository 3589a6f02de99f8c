//! A queue on disk, bounded and safe against crashes: what a sink keeps while its far end is away.
//!
//! One file holds one queue. What an entry means is the sink's business; so is the thread, since every
//! call here blocks on the disk.

mod error;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::{fs, io};

use redb::Database;
use tracing::debug;

pub use self::error::{DiskQueueError, PushError};
pub use self::store::{Seq, bytes_on_disk};
use self::store::{Totals, Undone};

/// Bytes that the disk must have left beside what is pushed: taking entries out writes a little as well,
/// and must work on a disk that the queue itself has filled.
const SPARE_BYTES: u64 = 4 << 20;

/// What the file takes beside its entries, at most, and no part of which can be counted on for a push.
const OVERHEAD_BYTES: u64 = 2 << 20;

/// What the file may keep of the disk when the queue is empty.
const LARGE_BYTES: u64 = 4 * OVERHEAD_BYTES;

/// Opens the file; tests put a failing disk below it.
type Opener = Box<dyn Fn(&Path) -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Rows in it, which [`DiskQueue::rows`] adds up.
    pub rows: u32,
    /// Anything, also nothing. A push waits for the disk a few times, however large its entries are.
    pub bytes: &'a [u8],
}

/// What is read: a copy of an entry that is still in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its place in the queue.
    pub seq: Seq,
    /// Rows in it.
    pub rows: u32,
    /// As pushed.
    pub bytes: Vec<u8>,
}

/// A queue of entries in one file: first in, first out.
///
/// *Durability*: what [`push`](Self::push) said `Ok` to is there after a crash of the process or the machine,
/// once and in order; what [`remove_through`](Self::remove_through) said `Ok` to stays away. Opening after a
/// crash takes no longer than otherwise, since the file is not read for it: a bit that the disk flips in an
/// entry is not noticed.
///
/// *Bound*: an entry counts as its [`bytes_on_disk`], all together at most as `max_bytes`. The file then takes
/// (`du`) at most `max_bytes`, 1 % of it, twice what one push writes and 2 MiB. Its length (`ls`) may be twice
/// that, or 4 GiB more, since it has holes. Space is used again, and given back
/// when the queue is empty.
///
/// *Failure*: a call that fails leaves the queue as it was, and the next call tries the disk again; nothing
/// needs to be opened anew.
///
/// Every call but the counts blocks, for milliseconds on a good disk. Those that write wait for each other;
/// reading waits for neither.
pub struct DiskQueue {
    path: PathBuf,
    max_bytes: u64,
    opener: Opener,
    /// `None` after a failure, until it could be opened again. Locked after `totals`.
    database: RwLock<Option<Database>>,
    /// What the file holds. Whoever writes to it or opens it holds this.
    totals: Mutex<Totals>,
    len: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl DiskQueue {
    /// Opens the queue in the file `path`, which is made if it is not there; its folder must be.
    ///
    /// `max_bytes` may differ from the last time: a queue that holds more takes no more until it has less.
    /// The file is locked until the queue is dropped.
    ///
    /// # Errors
    /// See [`DiskQueueError`]. A file that is not a queue is left as it is.
    pub fn open(path: &Path, max_bytes: u64) -> Result<DiskQueue, DiskQueueError> {
        DiskQueue::open_with(path, max_bytes, Box::new(|path| store::builder().open(path)))
    }

    fn open_with(path: &Path, max_bytes: u64, opener: Opener) -> Result<DiskQueue, DiskQueueError> {
        store::create_unless_there(path)?;
        let (database, totals) = store::open(path, &opener)?;
        let queue = DiskQueue {
            path: path.to_owned(),
            max_bytes,
            opener,
            database: RwLock::new(Some(database)),
            totals: Mutex::new(totals),
            len: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        queue.publish(totals);
        Ok(queue)
    }

    /// Adds `entries` at the end, all of them or none. `Ok` means that the disk has them.
    ///
    /// # Errors
    /// [`PushError::Full`] if they would pass the bound, [`PushError::TooLarge`] if they would in an empty
    /// queue too, [`PushError::Disk`] if the disk is full or fails. None of them is in the queue then.
    pub fn push(&self, entries: &[Entry<'_>]) -> Result<(), PushError> {
        let needed = entries.iter().map(|entry| bytes_on_disk(entry.bytes.len())).sum::<u64>();
        let mut totals = self.totals();
        if needed > self.max_bytes {
            return Err(PushError::TooLarge { needed, max_bytes: self.max_bytes });
        }
        if totals.bytes + needed > self.max_bytes {
            return Err(PushError::Full { needed, held: totals.bytes, max_bytes: self.max_bytes });
        }
        let enough = self.enough_space(totals.bytes, needed);
        enough.map_err(|source| DiskQueueError::Io { path: self.path.clone(), what: "written", source })?;
        Ok(self.write(&mut totals, |database, totals| store::push(database, totals, entries))?)
    }

    /// Reads up to `max` entries in order, those after `after` or else the first, and leaves them where they are.
    ///
    /// # Errors
    /// [`DiskQueueError::Io`] or [`DiskQueueError::Damaged`] if the disk does not give them.
    pub fn peek(&self, after: Option<Seq>, max: usize) -> Result<Vec<Queued>, DiskQueueError> {
        if let Some(Ok(found)) = self.call(|database| store::peek(database, after, max)) {
            return Ok(found);
        }
        // It failed, or a write did that ran beside it.
        let mut totals = self.totals();
        self.reopen(&mut totals)?;
        match self.call(|database| store::peek(database, after, max)) {
            Some(found) => found.map_err(|undone| undone.into_error(&self.path, "read")),
            None => Ok(Vec::new()),
        }
    }

    /// Takes out every entry up to and with `seq`. `Ok` means that they do not come back.
    ///
    /// # Errors
    /// [`DiskQueueError::Io`] or [`DiskQueueError::Damaged`]. All of them are still there then, or, if only the
    /// last flush failed, none: removing them again is always right.
    pub fn remove_through(&self, seq: Seq) -> Result<(), DiskQueueError> {
        let mut totals = self.totals();
        self.write(&mut totals, |database, totals| store::remove_through(database, totals, seq))?;
        if totals.len == 0 {
            self.shrink(&mut totals);
        }
        Ok(())
    }

    /// Entries in the queue. Costs nothing, as do [`rows`](Self::rows) and [`bytes`](Self::bytes).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of all entries.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// What the entries count as: the sum of their [`bytes_on_disk`].
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What they may count as.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        // A thread that panicked has not changed them: they are set after the disk has agreed.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, totals: Totals) {
        self.len.store(totals.len, Ordering::Relaxed);
        self.rows.store(totals.rows, Ordering::Relaxed);
        self.bytes.store(totals.bytes, Ordering::Relaxed);
    }

    /// Calls `call` on the file if it is open.
    fn call<T>(&self, call: impl FnOnce(&Database) -> Result<T, Undone>) -> Option<Result<T, Undone>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(call)
    }

    /// Writes. After a failure the file is opened again, since redb does nothing more until then.
    fn write(
        &self,
        totals: &mut Totals,
        write: impl Fn(&Database, Totals) -> Result<Totals, Undone>,
    ) -> Result<(), DiskQueueError> {
        let is_open = self.call(|_| Ok(())).is_some();
        if !is_open {
            self.reopen(totals)?;
        }
        let before = *totals;
        match self.call(|database| write(database, before)).unwrap_or(Ok(before)) {
            Ok(after) => {
                *totals = after;
                self.publish(after);
                Ok(())
            }
            Err(undone) => {
                if let Err(error) = self.reopen(totals) {
                    debug!(%error, "queue cannot be opened again yet");
                }
                Err(undone.into_error(&self.path, "written"))
            }
        }
    }

    /// Gives the space of an empty queue back to the disk. With entries in it that would mean to copy them.
    fn shrink(&self, totals: &mut Totals) {
        let is_large = fs::metadata(&self.path).is_ok_and(|file| file.blocks() * 512 > LARGE_BYTES);
        if !is_large {
            return;
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let shrunk = database.as_mut().is_none_or(|database| database.compact().is_ok());
        drop(database);
        if !shrunk && let Err(error) = self.reopen(totals) {
            // Nothing is lost by it, and the next call says it again if it still matters.
            debug!(%error, "queue cannot be opened again yet");
        }
    }

    /// Closes the file and opens it again, as callers know it.
    fn reopen(&self, totals: &mut Totals) -> Result<(), DiskQueueError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // First, since an open file is locked.
        drop(database.take());
        let (opened, found) = store::open(&self.path, &self.opener)?;
        // When the last flush of a push failed, its entries may be there, but they were refused.
        let found = store::remove_refused(&opened, found, *totals);
        let found = found.map_err(|undone| undone.into_error(&self.path, "written"))?;
        *database = Some(opened);
        *totals = found;
        self.publish(found);
        Ok(())
    }

    /// Refuses what would fill the disk to the last byte. Others fill it too: this is no promise.
    fn enough_space(&self, held: u64, needed: u64) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.path)?;
        let taken = fs::metadata(&self.path)?.blocks() * 512;
        // What entries that were taken out have left.
        let reusable = taken.saturating_sub(held + OVERHEAD_BYTES);
        if disk.f_bavail * disk.f_frsize + reusable < needed + SPARE_BYTES {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        Ok(())
    }
}

impl fmt::Debug for DiskQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiskQueue { path, max_bytes, .. } = self;
        f.debug_struct("DiskQueue").field("path", path).field("max_bytes", max_bytes).finish_non_exhaustive()
    }
}
