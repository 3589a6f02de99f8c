//! Exactly once from Kafka to Kafka: what sinks write and how far the source has read become visible together.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::producer::Producer as _;

use super::KafkaError;
use super::flight::{Deliveries, Producer};

/// Time for one step of a transaction; librdkafka tries again within it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The transactional producer that a source and the sinks behind it share.
///
/// At most one process may have a transactional id: a second one fences the first, whose next commit is
/// fatal. So a process that was thought dead cannot write what its successor writes too.
pub struct Transactions {
    producer: Producer,
    id: String,
    commits: Counter,
    aborts: Counter,
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
    Aborted(#[source] ClientError),
    /// Nothing can be done with this producer any more.
    #[error(
        "the transactional id {id} is in use by another process, or was given up by the brokers; every process needs a `transactional_id` of its own"
    )]
    Fatal {
        id: String,
        #[source]
        source: ClientError,
    },
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
        let producer: Producer = client.create_with_context(context).map_err(KafkaError::Settings)?;
        let begun = producer.init_transactions(PATIENCE).and_then(|()| producer.begin_transaction());
        begun.map_err(|error| KafkaError::Refused {
            brokers: brokers.to_owned(),
            reason: error.to_string(),
            remedy: "transactions need brokers that answer, and the right to write with the `transactional_id`",
        })?;
        Ok(Arc::new(Transactions { producer, id: id.to_owned(), commits, aborts }))
    }

    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Makes everything written since the last commit visible, together with `offsets`, and begins anew.
    ///
    /// # Errors
    /// See [`TransactionError`]; after an abort the next transaction has begun.
    pub(crate) fn commit(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), TransactionError> {
        let committed = self
            .producer
            .send_offsets_to_transaction(offsets, group, PATIENCE)
            .and_then(|()| retrying(|| self.producer.commit_transaction(PATIENCE)));
        match committed {
            Ok(()) => {
                self.commits.inc();
                self.begin()
            }
            Err(error) if is_fatal(&error) => Err(self.fatal(error)),
            Err(error) => {
                self.abort()?;
                Err(TransactionError::Aborted(error))
            }
        }
    }

    /// Takes back everything written since the last commit, and begins anew.
    ///
    /// # Errors
    /// [`TransactionError::Fatal`].
    pub(crate) fn abort(&self) -> Result<(), TransactionError> {
        self.aborts.inc();
        retrying(|| self.producer.abort_transaction(PATIENCE)).map_err(|error| self.fatal(error))?;
        self.begin()
    }

    fn begin(&self) -> Result<(), TransactionError> {
        self.producer.begin_transaction().map_err(|error| self.fatal(error))
    }

    fn fatal(&self, source: ClientError) -> TransactionError {
        TransactionError::Fatal { id: self.id.clone(), source }
    }
}

/// Calls again what may be called again.
fn retrying(mut call: impl FnMut() -> Result<(), ClientError>) -> Result<(), ClientError> {
    const TIMES: usize = 5;
    let mut result = call();
    for _ in 1..TIMES {
        match &result {
            Err(ClientError::Transaction(error)) if error.is_retriable() => result = call(),
            _ => break,
        }
    }
    result
}

fn is_fatal(error: &ClientError) -> bool {
    match error {
        ClientError::Transaction(error) => error.is_fatal(),
        _ => false,
    }
}
