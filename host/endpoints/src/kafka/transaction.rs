//! Exactly once from Kafka to Kafka: what sinks write and how far the source has read become visible together.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use prometheus_client::metrics::counter::Counter;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::producer::Producer as _;
use sluice_pipeline::{BoxError, Provisional, Stop};
use tracing::warn;

use super::KafkaError;
use super::flight::{Deliveries, Producer};

/// Time for the brokers to let a new producer in; librdkafka tries again within it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for one call; what has not ended then is called again, and goes on where it was.
const STEP: Duration = Duration::from_secs(2);
/// Time between two looks whether the process is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// After so many milliseconds a connection on which nothing happens is closed, and opened again when it is needed. librdkafka 2.12
/// sends the offsets of a transaction when a broker's state changes, and where it knew the coordinator of the group from before
/// a restart of that broker it may wait for a change that never comes (its issue 5511): this one does.
const MAX_IDLE: (&str, &str) = ("connections.max.idle.ms", "30000");
/// Time after which it is said that a transaction waits.
const LONG: Duration = Duration::from_secs(30);
/// Time that is left for a commit when the process is to stop.
const LAST_STEPS: Duration = Duration::from_secs(3);

/// The transactional producer that a source and the sinks behind it share.
///
/// At most one process may have a transactional id: a second one fences the first, whose next commit is
/// fatal. So a process that was thought dead cannot write what its successor writes too.
pub struct Transactions {
    producer: Producer,
    id: String,
    commits: Counter,
    aborts: Counter,
    /// Why the open transaction must not be committed.
    spoiled: Mutex<Option<BoxError>>,
    /// Rows in the open transaction.
    rows: Provisional,
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a transaction did not end as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransactionError {
    /// It is taken back: nothing of it is visible, and its rows can be read again.
    #[error("the transaction was taken back")]
    Aborted(#[source] BoxError),
    /// Nothing can be done with this producer any more.
    #[error(
        "the transactional id {id} is in use by another process, or was given up by the brokers; every process needs a `transactional_id` of its own"
    )]
    Fatal {
        id: String,
        #[source]
        source: BoxError,
    },
    /// The process is to stop, and the brokers do not answer.
    #[error("the brokers do not answer; the rows of the open transaction are read again in the next run")]
    Unanswered,
}

impl Transactions {
    /// Registers with the brokers, which fences whoever had the id before and takes back what it left
    /// unfinished; then begins the first transaction.
    ///
    /// # Errors
    /// The brokers refuse, or do not answer.
    pub(crate) fn open(
        mut client: rdkafka::ClientConfig,
        id: &str,
        brokers: &str,
        context: Deliveries,
        (commits, aborts): (Counter, Counter),
    ) -> Result<Arc<Transactions>, KafkaError> {
        client.set("transactional.id", id).set("enable.idempotence", "true");
        if client.get(MAX_IDLE.0).is_none() {
            client.set(MAX_IDLE.0, MAX_IDLE.1);
        }
        let producer: Producer = client.create_with_context(context).map_err(KafkaError::Settings)?;
        let begun = producer.init_transactions(PATIENCE).and_then(|()| producer.begin_transaction());
        begun.map_err(|error| KafkaError::Refused {
            brokers: brokers.to_owned(),
            reason: error.to_string(),
            remedy: "transactions need brokers that answer, and the right to write with the `transactional_id`",
        })?;
        Ok(Arc::new(Transactions {
            producer,
            id: id.to_owned(),
            commits,
            aborts,
            spoiled: Mutex::default(),
            rows: Provisional::default(),
        }))
    }

    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Rows in the open transaction: delivered once it is committed.
    pub(crate) fn rows(&self) -> &Provisional {
        &self.rows
    }

    /// Says that a row could not be written: the open transaction will be taken back.
    pub(crate) fn spoil(&self, why: BoxError) {
        self.spoiled.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    fn take_spoiled(&self) -> Option<BoxError> {
        self.spoiled.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes everything written since the last commit visible, together with `offsets`, and begins anew. Waits for brokers
    /// that are away, after `stop` for a few seconds only.
    ///
    /// # Errors
    /// See [`TransactionError`]; after an abort the next transaction has begun.
    pub(crate) fn commit(
        self: &Arc<Self>,
        offsets: TopicPartitionList,
        group: ConsumerGroupMetadata,
        stop: &Stop,
    ) -> Result<(), TransactionError> {
        if let Some(why) = self.take_spoiled() {
            self.abort(stop)?;
            return Err(TransactionError::Aborted(why));
        }
        let committed = self.apart(stop, move |producer| {
            retrying(|| producer.send_offsets_to_transaction(&offsets, &group, STEP))?;
            retrying(|| producer.commit_transaction(STEP))
        });
        // Where nobody answered it may have been committed all the same: then it is the next run that does not find its rows.
        match committed.inspect_err(|_| self.rows.taken_back())? {
            Ok(()) => {
                self.commits.inc();
                self.rows.delivered();
                self.begin()
            }
            Err(error) if is_fatal(&error) => {
                self.rows.taken_back();
                Err(self.fatal(error))
            }
            Err(error) => {
                self.abort(stop)?;
                Err(TransactionError::Aborted(error.into()))
            }
        }
    }

    /// Takes back everything written since the last commit, and begins anew.
    ///
    /// # Errors
    /// [`TransactionError::Fatal`], and [`TransactionError::Unanswered`] after `stop`.
    pub(crate) fn abort(self: &Arc<Self>, stop: &Stop) -> Result<(), TransactionError> {
        self.take_spoiled();
        self.aborts.inc();
        self.rows.taken_back();
        let aborted = self.apart(stop, |producer| retrying(|| producer.abort_transaction(STEP)))?;
        aborted.map_err(|error| self.fatal(error))?;
        self.begin()
    }

    /// Does `work` in a thread of its own, which after `stop` is left to itself when it takes too long: librdkafka goes by its
    /// timeouts only while a coordinator answers.
    fn apart(
        self: &Arc<Self>,
        stop: &Stop,
        work: impl FnOnce(&Producer) -> Result<(), ClientError> + Send + 'static,
    ) -> Result<Result<(), ClientError>, TransactionError> {
        let this = Arc::clone(self);
        let (tell, told) = crossbeam_channel::bounded(1);
        thread::spawn(move || {
            // Nobody listens if it took too long.
            tell.send(work(&this.producer)).unwrap_or_default();
        });
        let (began, mut is_said, mut end) = (Instant::now(), false, None);
        loop {
            match told.recv_timeout(LOOK) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) if !stop.is_cancelled() => {
                    if !is_said && began.elapsed() >= LONG {
                        is_said = true;
                        warn!(
                            transactional_id = self.id,
                            "the brokers have not ended a transaction for {LONG:?}; waiting"
                        );
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if Instant::now() >= *end.get_or_insert_with(|| Instant::now() + LAST_STEPS) {
                        return Err(TransactionError::Unanswered);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(TransactionError::Unanswered),
            }
        }
    }

    fn begin(&self) -> Result<(), TransactionError> {
        self.producer.begin_transaction().map_err(|error| self.fatal(error))
    }

    fn fatal(&self, source: ClientError) -> TransactionError {
        TransactionError::Fatal { id: self.id.clone(), source: source.into() }
    }

    /// Why nothing can be written any more, if so: whoever writes first learns that another process has the id.
    pub(crate) fn lost(&self) -> Option<TransactionError> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(TransactionError::Fatal { id: self.id.clone(), source: format!("{reason} ({code})").into() })
    }
}

/// Calls again what may be called again.
fn retrying(mut call: impl FnMut() -> Result<(), ClientError>) -> Result<(), ClientError> {
    loop {
        let result = call();
        if !result.as_ref().is_err_and(is_retriable) {
            return result;
        }
    }
}

fn is_retriable(error: &ClientError) -> bool {
    match error {
        ClientError::Transaction(error) => error.is_retriable(),
        _ => false,
    }
}

fn is_fatal(error: &ClientError) -> bool {
    match error {
        ClientError::Transaction(error) => error.is_fatal(),
        _ => false,
    }
}
