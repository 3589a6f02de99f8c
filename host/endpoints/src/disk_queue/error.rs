//! What can go wrong with a queue on disk.

use std::io;
use std::path::PathBuf;

/// Why a queue cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskQueueError {
    /// Another process has it open, or this one has.
    #[error("{} is in use by another process: stop that one, or name another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Some other file, which is left alone.
    #[error("{} is not a queue of sluice: name another file, or move this one away", path.display())]
    NotAQueue {
        /// The file.
        path: PathBuf,
    },
    /// A queue of another version of sluice.
    #[error(
        "{} has format {found}, this version of sluice reads format {readable}: let the version that wrote \
         it empty it, or move it away", path.display()
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The only one that can be read.
        readable: u64,
    },
    /// The disk gives back other bytes than were written.
    #[error("{} is damaged: move it away to begin with an empty queue, without its entries", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb found.
        source: Box<redb::Error>,
    },
    /// The disk is full or fails, or the system does not let sluice at the file.
    #[error("{} cannot be {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `"opened"`, `"made"`, `"read"` or `"written"`.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why entries were not pushed. None of them is in the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is room again when entries were taken out.
    #[error("the queue holds {held} of {max_bytes} bytes and has no room for {needed}")]
    Full {
        /// Bytes on disk of what was pushed.
        needed: u64,
        /// Bytes on disk of what is there.
        held: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// There will never be room.
    #[error("{needed} bytes are more than the {max_bytes} of the whole queue")]
    TooLarge {
        /// Bytes on disk of what was pushed.
        needed: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// The disk is full (`io::ErrorKind::StorageFull`) or fails; it may be better later.
    #[error(transparent)]
    Disk(#[from] DiskQueueError),
}
