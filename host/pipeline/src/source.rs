//! What brings rows in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendError, SendTimeoutError, Sender, TrySendError};
use sluice_flow::{Batch, ColumnSet};

use crate::{Account, Ack, BoxError, Stop};

/// Rows on their way, and whom to tell when they have arrived.
#[derive(Debug)]
pub struct Parcel {
    /// The rows.
    pub batch: Batch,
    /// The source's interest in them.
    pub ack: Ack,
}

/// Brings rows in, on a thread of its own.
///
/// *Order of calls*: `run` once. It returns when the input ends, when `stop` is cancelled (after it
/// handed on what it had), or when it cannot go on. Everything that can fail because of the
/// configuration or the world is done before, when the source is opened.
///
/// The implementation's comment says how it pushes back, what it loses and how it stops.
pub trait Source: Send + 'static {
    /// Runs until the end of the input or until `stop`.
    ///
    /// # Errors
    /// What makes it impossible to go on. The pipeline then stops in order, and the run has failed.
    fn run(self: Box<Self>, out: Outlet, stop: Stop) -> Result<(), SourceError>;

    /// Whether the source follows the wall clock; one that plays the past does not, and time stands
    /// still between its batches.
    fn is_live(&self) -> bool {
        true
    }
}

/// Why a source ended before its time.
#[derive(Debug, thiserror::Error)]
#[error("source {source_name}: {what}")]
pub struct SourceError {
    /// Name in the TOML.
    pub source_name: String,
    /// What it was doing.
    pub what: String,
    /// What came of it.
    #[source]
    pub cause: Option<BoxError>,
}

/// The pipeline is gone: nobody takes rows any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline takes no more rows")]
pub struct Closed;

/// Why rows were not handed on.
#[derive(Debug)]
pub enum NoRoom {
    /// As many batches wait as may.
    Full(Box<Parcel>),
    /// The pipeline is gone.
    Closed,
}

/// Columns that somebody reads: the others need not be decoded. Changes when a pipeline does.
#[derive(Debug, Default)]
pub struct Wanted {
    /// 0 before the first change: sources know what was wanted when they were opened.
    number: AtomicU64,
    columns: Mutex<ColumnSet>,
    taken: AtomicUsize,
}

impl Wanted {
    pub(crate) fn set(&self, columns: ColumnSet) {
        let mut current = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        *current = columns;
        self.taken.store(0, Ordering::Release);
        self.number.fetch_add(1, Ordering::AcqRel);
    }

    /// Threads of sources that took note of the last change.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

/// Where a source puts its batches; keeps the source's books.
#[derive(Clone, Debug)]
pub struct Outlet {
    sender: Sender<Parcel>,
    account: Arc<Account>,
    ids: Arc<AtomicU64>,
    wanted: Arc<Wanted>,
    /// Number of the change that this thread took note of.
    seen: u64,
}

impl Outlet {
    /// An outlet and its far end, with room for `capacity` batches: for running a source by itself.
    #[must_use]
    pub fn channel(account: Arc<Account>, capacity: usize) -> (Outlet, Receiver<Parcel>) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        (Outlet::new(sender, account, Arc::new(AtomicU64::new(1))), receiver)
    }

    pub(crate) fn new(sender: Sender<Parcel>, account: Arc<Account>, ids: Arc<AtomicU64>) -> Outlet {
        Outlet { sender, account, ids, wanted: Arc::default(), seen: 0 }
    }

    pub(crate) fn with_wanted(self, wanted: Arc<Wanted>) -> Outlet {
        let seen = wanted.number.load(Ordering::Acquire);
        Outlet { wanted, seen, ..self }
    }

    /// The columns that somebody reads, if that has changed since the source was opened or last asked. To be asked between
    /// two batches; costs a load.
    pub fn wanted(&mut self) -> Option<ColumnSet> {
        let number = self.wanted.number.load(Ordering::Acquire);
        if number == self.seen {
            return None;
        }
        let columns = *self.wanted.columns.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen = number;
        self.wanted.taken.fetch_add(1, Ordering::AcqRel);
        Some(columns)
    }

    /// A number for the next batch, unique within the run.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The source's books, for bytes, latency and drops before the batch. Rows that are offered or
    /// sent are counted here.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Hands the rows on if there is room at once; otherwise they are dropped and counted as
    /// `pipeline_full`. Returns whether they were handed on.
    pub fn offer(&self, parcel: Parcel) -> bool {
        let rows = parcel.batch.rows();
        self.account.rows_in(rows);
        let shown = self.account.to_show(&parcel.batch);
        match self.sender.try_send(parcel) {
            Ok(()) => {
                self.went_out(rows, shown);
                true
            }
            Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) => {
                parcel.ack.fail();
                self.account.dropped("pipeline_full", rows);
                false
            }
        }
    }

    /// Hands the rows on, waiting for room; while it waits, `stop` is not looked at, because the
    /// pipeline drains until its sources have ended.
    ///
    /// # Errors
    /// [`Closed`] if the pipeline has ended; the rows are counted as `pipeline_closed`.
    pub fn send(&self, parcel: Parcel) -> Result<(), Closed> {
        let rows = parcel.batch.rows();
        self.account.rows_in(rows);
        let shown = self.account.to_show(&parcel.batch);
        match self.sender.send(parcel) {
            Ok(()) => {
                self.went_out(rows, shown);
                Ok(())
            }
            Err(SendError(parcel)) => {
                parcel.ack.fail();
                self.account.dropped("pipeline_closed", rows);
                Err(Closed)
            }
        }
    }

    /// Hands the rows on if there is room within `patience`. For a source that can wait, but has something else to
    /// do meanwhile: rows that come back are not counted.
    ///
    /// # Errors
    /// [`NoRoom::Full`] gives the rows back; [`NoRoom::Closed`] counts them as `pipeline_closed`.
    pub fn send_timeout(&self, parcel: Parcel, patience: Duration) -> Result<(), NoRoom> {
        let rows = parcel.batch.rows();
        let shown = self.account.to_show(&parcel.batch);
        match self.sender.send_timeout(parcel, patience) {
            Ok(()) => {
                self.account.rows_in(rows);
                self.went_out(rows, shown);
                Ok(())
            }
            Err(SendTimeoutError::Timeout(parcel)) => Err(NoRoom::Full(Box::new(parcel))),
            Err(SendTimeoutError::Disconnected(parcel)) => {
                parcel.ack.fail();
                self.discard("pipeline_closed", rows);
                Err(NoRoom::Closed)
            }
        }
    }

    fn went_out(&self, rows: usize, shown: Option<Batch>) {
        self.account.rows_out(rows);
        if let Some(batch) = shown {
            self.account.show(&batch);
        }
    }

    /// Counts rows that were decoded and end in the source, by reason.
    pub fn discard(&self, reason: &'static str, rows: usize) {
        self.account.rows_in(rows);
        self.account.dropped(reason, rows);
    }
}
