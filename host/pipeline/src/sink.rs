//! What takes rows out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::Batch;
use tokio::sync::mpsc;
use tokio::time;
use tracing::{error, info, warn};

use crate::{Account, BoxError, Parcel, Stop};

/// Delay before the first retry of an unavailable sink; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest delay between two retries.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Delivers batches. One task owns one sink.
///
/// Retry, delay and counting live in the pipeline, once, not in each sink.
pub trait Sink: Send + 'static {
    /// Delivers `batch`. `Ok` means that the far end has it; only then is the source told.
    fn write(&mut self, batch: &Batch) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Flushes what may be held back, when no batch has come for a while.
    fn idle(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send {
        async { Ok(()) }
    }

    /// Flushes and lets go. Called once, after the last `write`, within the shutdown grace period.
    fn close(self) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Why a batch was not delivered: a variant per thing that the pipeline does next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The far end is away or busy. The caller writes the same batch again, after a delay.
    #[error("{sink} is unavailable")]
    Unavailable {
        /// Name in the TOML.
        sink: String,
        /// What happened.
        source: BoxError,
    },
    /// The far end will never take `rows` of this batch, and has the others. The caller counts them.
    #[error("{sink} rejected {rows} rows")]
    Rejected {
        /// Name in the TOML.
        sink: String,
        /// Rows that are lost.
        rows: usize,
        /// What happened.
        source: BoxError,
    },
    /// `rows` of this batch were left out on purpose, as configured, and the far end has the others.
    /// The caller counts them; nothing failed, so nothing is logged and no source gives them again.
    #[error("{sink} left out {rows} rows ({reason})")]
    LeftOut {
        /// Name in the TOML.
        sink: String,
        /// Rows that were left out.
        rows: usize,
        /// Why, from a closed set.
        reason: &'static str,
    },
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Start = Box<dyn FnOnce(mpsc::Receiver<Parcel>, Stop) -> Task + Send>;

/// A sink with its books, ready to be started.
pub struct SinkEntry {
    pub(crate) account: Arc<Account>,
    pub(crate) queue: usize,
    pub(crate) start: Start,
}

impl std::fmt::Debug for SinkEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkEntry").field("account", &self.account).field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl SinkEntry {
    /// `queue` is how many batches may wait for the sink; when it is full, whoever feeds it waits.
    pub fn new<S: Sink>(sink: S, account: Arc<Account>, queue: usize) -> SinkEntry {
        let books = Arc::clone(&account);
        let start: Start = Box::new(move |receiver, abort| Box::pin(drive(sink, receiver, books, abort)));
        SinkEntry { account, queue, start }
    }
}

/// How long a sink waits for a batch before it is told that it is idle.
const IDLE: Duration = Duration::from_millis(200);

/// Feeds one sink until its channel closes, then closes it. After `abort` nothing is retried.
async fn drive<S: Sink>(mut sink: S, mut parcels: mpsc::Receiver<Parcel>, account: Arc<Account>, abort: Stop) {
    let mut is_idle = true;
    loop {
        let parcel = match time::timeout(IDLE, parcels.recv()).await {
            Ok(Some(parcel)) => parcel,
            Ok(None) => break,
            Err(_) => {
                if !is_idle && let Err(error) = sink.idle().await {
                    warn!(sink = account.name(), error = &error as &dyn std::error::Error, "sink not flushed");
                }
                is_idle = true;
                continue;
            }
        };
        is_idle = false;
        let rows = parcel.batch.rows();
        account.rows_in(rows);
        account.bytes(parcel.batch.bytes());
        let began = Instant::now();
        match deliver(&mut sink, &parcel.batch, &account, &abort).await {
            Ok(()) => account.rows_out(rows),
            Err(Missing { reason, rows: missing, is_failure }) => {
                if is_failure {
                    parcel.ack.fail();
                }
                account.dropped(reason, missing.min(rows));
                account.rows_out(rows - missing.min(rows));
            }
        }
        account.batch(began.elapsed().as_secs_f64());
    }
    let closed = tokio::select! {
        closed = sink.close() => closed,
        () = abort.cancelled() => return,
    };
    if let Err(error) = closed {
        error!(sink = account.name(), error = &error as &dyn std::error::Error, "sink not closed in order");
    }
}

/// Rows of a batch that the far end does not have.
struct Missing {
    reason: &'static str,
    rows: usize,
    /// Whether they are lost, or left out on purpose.
    is_failure: bool,
}

/// Writes one batch until it is taken, rejected, or there is no more time.
async fn deliver<S: Sink>(sink: &mut S, batch: &Batch, account: &Account, abort: &Stop) -> Result<(), Missing> {
    let lost = |reason, rows| Err(Missing { reason, rows, is_failure: true });
    let mut delay = FIRST_RETRY;
    let mut retried = false;
    loop {
        // In this order: what the far end takes at once is delivered even when the time is over.
        let written = tokio::select! {
            biased;
            written = sink.write(batch) => written,
            () = abort.cancelled() => return lost("shutdown", batch.rows()),
        };
        match written {
            Ok(()) => {
                if retried {
                    info!(sink = account.name(), "sink is back");
                }
                return Ok(());
            }
            Err(SinkError::Rejected { rows, source, .. }) => {
                error!(sink = account.name(), rows, error = &*source as &dyn std::error::Error, "rows rejected");
                return lost("rejected", rows);
            }
            Err(SinkError::LeftOut { rows, reason, .. }) => {
                return Err(Missing { reason, rows, is_failure: false });
            }
            Err(SinkError::Unavailable { source, .. }) => {
                if !retried {
                    warn!(
                        sink = account.name(),
                        error = &*source as &dyn std::error::Error,
                        "sink unavailable, trying again until it is back"
                    );
                }
                retried = true;
                tokio::select! {
                    () = time::sleep(delay) => {}
                    () = abort.cancelled() => return lost("shutdown", batch.rows()),
                }
                delay = (delay * 2).min(LONGEST_RETRY);
            }
        }
    }
}
