//! What takes rows out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::Batch;
use tokio::sync::{mpsc, oneshot};
use tokio::time;
use tracing::{error, info, warn};

use crate::run::Failures;
use crate::{Account, BoxError, Parcel, Provisional, Stop};

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

    /// Begins to deliver `batch` and returns when the next batch may be given. `None` if the far end has it
    /// already; else the delivery tells when it has, or why not. For a far end that answers late: up to
    /// [`MOST_UNDER_WAY`] deliveries go on at a time.
    fn begin(&mut self, batch: &Batch) -> impl Future<Output = Result<Option<Delivery>, SinkError>> + Send {
        async { self.write(batch).await.map(|()| None) }
    }

    /// Who decides later whether what was taken arrives, if somebody does; then `Ok` is no more than that it was taken. Asked once.
    fn provisional(&self) -> Option<Provisional> {
        None
    }

    /// Flushes what may be held back, when no batch has come for a while.
    fn idle(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send {
        async { Ok(()) }
    }

    /// Flushes and lets go. Called once, after the last `write`, within the shutdown grace period.
    fn close(self) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// The outcome of a delivery, when it is known. To forget it is to be [`SinkError::Unavailable`].
pub type Delivery = oneshot::Receiver<Result<(), SinkError>>;

/// Deliveries of one sink that go on at a time; then whoever feeds it waits.
pub const MOST_UNDER_WAY: usize = 32;

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
    /// The far end will never take `rows` of this batch, and has the others. The caller counts them; to give
    /// them again would not help, so for the source they are settled.
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
    /// The sink cannot go on, and a new one may: the pipeline stops in order, and the run has failed. A
    /// source that can give rows again does so in the next run.
    #[error("{sink} cannot go on")]
    Broken {
        /// Name in the TOML.
        sink: String,
        /// What happened.
        source: BoxError,
    },
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Start = Box<dyn FnOnce(mpsc::Receiver<Parcel>, Arc<Failures>, Stop) -> Task + Send>;

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
        let start: Start = Box::new(move |parcels, failures, abort| {
            let (provisional, under_way) = (sink.provisional(), VecDeque::new());
            let driver = Driver { sink, account: books, provisional, failures, abort, under_way, is_broken: false };
            Box::pin(driver.run(parcels))
        });
        SinkEntry { account, queue, start }
    }
}

/// How long a sink waits for a batch before it is told that it is idle.
const IDLE: Duration = Duration::from_millis(200);

/// A batch whose delivery has begun.
struct UnderWay {
    parcel: Parcel,
    delivery: Delivery,
    began: Instant,
}

/// Rows of a batch that the far end does not have.
struct Missing {
    reason: &'static str,
    rows: usize,
    /// Whether a source that can give them again should.
    is_failure: bool,
}

/// Feeds one sink. After `abort` nothing is retried.
struct Driver<S> {
    sink: S,
    account: Arc<Account>,
    provisional: Option<Provisional>,
    failures: Arc<Failures>,
    abort: Stop,
    /// In the order in which they began.
    under_way: VecDeque<UnderWay>,
    is_broken: bool,
}

impl<S: Sink> Driver<S> {
    /// Runs until the channel closes and everything is settled, then closes the sink.
    async fn run(mut self, mut parcels: mpsc::Receiver<Parcel>) {
        let mut is_idle = true;
        let mut is_open = true;
        while is_open || !self.under_way.is_empty() {
            tokio::select! {
                biased;
                outcome = first(&mut self.under_way) => self.finish(outcome).await,
                parcel = parcels.recv(), if is_open && self.under_way.len() < MOST_UNDER_WAY => {
                    is_idle = false;
                    match parcel {
                        Some(parcel) => self.take(parcel).await,
                        None => is_open = false,
                    }
                }
                () = self.abort.cancelled(), if !self.under_way.is_empty() => self.give_up(),
                () = time::sleep(IDLE), if !is_idle => {
                    is_idle = true;
                    if let Err(error) = self.sink.idle().await {
                        warn!(sink = self.account.name(), error = &error as &dyn std::error::Error, "sink not flushed");
                    }
                }
            }
        }
        let closed = tokio::select! {
            closed = self.sink.close() => closed,
            () = self.abort.cancelled() => return,
        };
        if let Err(error) = closed {
            error!(sink = self.account.name(), error = &error as &dyn std::error::Error, "sink not closed in order");
        }
    }

    /// Begins the delivery of a new parcel.
    async fn take(&mut self, parcel: Parcel) {
        self.account.rows_in(parcel.batch.rows());
        self.account.bytes(parcel.batch.bytes());
        self.account.show(&parcel.batch);
        self.deliver(parcel, Instant::now(), None).await;
    }

    /// Takes in the outcome of the first delivery under way.
    async fn finish(&mut self, outcome: Result<(), SinkError>) {
        let Some(UnderWay { parcel, began, .. }) = self.under_way.pop_front() else { return };
        match outcome {
            Ok(()) => self.settle(&parcel, began, Ok(())),
            Err(error) => self.deliver(parcel, began, Some(error)).await,
        }
    }

    /// Begins a delivery until the sink takes the batch, refuses it, or there is no more time. `error` is what
    /// a delivery of the same batch ended in.
    async fn deliver(&mut self, parcel: Parcel, began: Instant, mut error: Option<SinkError>) {
        let lost = |reason, rows| Err(Missing { reason, rows, is_failure: true });
        let rows = parcel.batch.rows();
        let mut delay = FIRST_RETRY;
        let mut was_away = false;
        let settled = loop {
            if self.is_broken {
                break lost("sink_broken", rows);
            }
            let begun = match error.take() {
                Some(error) => Err(error),
                // In this order: what the far end takes at once is delivered even when the time is over.
                None => tokio::select! {
                    biased;
                    begun = self.sink.begin(&parcel.batch) => begun,
                    () = self.abort.cancelled() => break lost("shutdown", rows),
                },
            };
            match begun {
                Ok(delivery) => {
                    if was_away {
                        info!(sink = self.account.name(), "sink is back");
                    }
                    match delivery {
                        None => break Ok(()),
                        Some(delivery) => return self.under_way.push_back(UnderWay { parcel, delivery, began }),
                    }
                }
                Err(SinkError::Rejected { rows, source, .. }) => {
                    error!(sink = self.account.name(), rows, error = crate::chain(&*source), "rows rejected");
                    break Err(Missing { reason: "rejected", rows, is_failure: false });
                }
                Err(SinkError::LeftOut { rows, reason, .. }) => {
                    break Err(Missing { reason, rows, is_failure: false });
                }
                Err(SinkError::Broken { sink, source }) => {
                    self.is_broken = true;
                    self.failures.fail(format!("sink {sink} cannot go on: {}", crate::chain(&*source)));
                }
                Err(SinkError::Unavailable { source, .. }) => {
                    if !was_away {
                        warn!(
                            sink = self.account.name(),
                            error = crate::chain(&*source),
                            "sink unavailable, trying again until it is back"
                        );
                    }
                    was_away = true;
                    tokio::select! {
                        () = time::sleep(delay) => {}
                        () = self.abort.cancelled() => break lost("shutdown", rows),
                    }
                    delay = (delay * 2).min(LONGEST_RETRY);
                }
            }
        };
        self.settle(&parcel, began, settled);
    }

    fn settle(&self, parcel: &Parcel, began: Instant, outcome: Result<(), Missing>) {
        let rows = parcel.batch.rows();
        match outcome {
            Ok(()) => self.taken(rows),
            Err(Missing { reason, rows: missing, is_failure }) => {
                if is_failure {
                    parcel.ack.fail();
                }
                self.account.dropped(reason, missing.min(rows));
                self.taken(rows - missing.min(rows));
            }
        }
        self.account.batch(began.elapsed().as_secs_f64());
    }

    /// Counts rows that the sink has taken.
    fn taken(&self, rows: usize) {
        match &self.provisional {
            Some(provisional) => provisional.add(&self.account, rows),
            None => self.account.rows_out(rows),
        }
    }

    /// Counts everything under way as lost: there is no more time to wait for it.
    fn give_up(&mut self) {
        for UnderWay { parcel, began, .. } in std::mem::take(&mut self.under_way) {
            let rows = parcel.batch.rows();
            self.settle(&parcel, began, Err(Missing { reason: "shutdown", rows, is_failure: true }));
        }
    }
}

/// The outcome of the first delivery; never, if none is under way.
async fn first(under_way: &mut VecDeque<UnderWay>) -> Result<(), SinkError> {
    let Some(first) = under_way.front_mut() else { return std::future::pending().await };
    (&mut first.delivery)
        .await
        .unwrap_or_else(|forgotten| Err(SinkError::Unavailable { sink: String::new(), source: Box::new(forgotten) }))
}
