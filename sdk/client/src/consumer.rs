//! Reading a topic.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use crate::connection::{ConnectError, Connection, Sasl, Tls, Troubles, connection_methods};
use crate::flow::Flow;
use crate::value::{Format, Framing, ValueError, read_value};

/// Flows that [`Consumer::recv`] gives at once, about: it takes no further value then.
const ENOUGH_FLOWS: usize = 10_000;

/// Where a group begins that has not committed anything yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest value that the brokers still have.
    #[default]
    Earliest,
    /// With what is written from now on.
    Latest,
}

/// Makes a [`Consumer`].
#[derive(Clone, Debug, Default)]
pub struct ConsumerBuilder {
    connection: Connection,
    group: String,
    format: Format,
    framing: Framing,
    start: Start,
}

impl ConsumerBuilder {
    connection_methods!();

    /// The consumer group: consumers with the same one share the partitions of the topic, and what one has
    /// committed none reads again. Required; providers often allow certain names only.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Where to begin if the group has committed nothing yet. Default [`Start::Earliest`].
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Connects and joins the group. Needs a tokio runtime, as do the consumer's methods.
    ///
    /// # Errors
    /// See [`ConnectError`]. Brokers that do not answer are waited for some seconds.
    pub async fn connect(self) -> Result<Consumer, ConnectError> {
        if self.group.is_empty() {
            return Err(ConnectError::Missing { what: "group" });
        }
        let start = match self.start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        let config = self.connection.config(&[
            ("group.id", &self.group),
            ("auto.offset.reset", start),
            // What was stored as processed is sent in the background, and when the consumer closes.
            ("enable.auto.offset.store", "false"),
            ("auto.commit.interval.ms", "1000"),
        ])?;
        let troubles = Troubles::default();
        let consumer: StreamConsumer = config.create().map_err(ConnectError::Settings)?;
        let (consumer, connection) = (Arc::new(consumer), self.connection);
        let (asked, topic) = (Arc::clone(&consumer), Arc::from(connection.topic.as_str()));
        let probed = blocking(move || {
            connection.probe(&troubles, |patience| {
                let answer = asked.fetch_metadata(Some(&connection.topic), patience);
                // Why there is none is among the messages.
                if let Some(Err(error)) = at_hand(&asked) {
                    let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
                    troubles.note(&error, &reason);
                }
                answer
            })?;
            asked.subscribe(&[&connection.topic]).map_err(ConnectError::Settings)
        });
        probed.await?;
        Ok(Consumer { consumer, topic, format: self.format, framing: self.framing, late: None })
    }
}

/// Runs what waits for the brokers beside the runtime's own threads.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Flows and how far they bring the group.
#[derive(Clone, Debug)]
pub struct Received {
    /// The flows of one or more values. Of each partition in order.
    pub flows: Vec<Flow>,
    /// What to give to [`Consumer::commit`] when they have been processed.
    pub offsets: Offsets,
}

/// Up to where the partitions of a topic have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets(BTreeMap<i32, i64>);

/// A value that cannot be read. Whoever wrote it has to know; the topic, partition and offset find it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the value at offset {offset} of partition {partition} of {topic} cannot be read")]
pub struct BadValue {
    /// Where it is.
    pub topic: String,
    /// Where it is.
    pub partition: i32,
    /// Where it is.
    pub offset: i64,
    /// The value itself.
    pub value: Vec<u8>,
    /// What is wrong with it.
    #[source]
    pub reason: ValueError,
}

impl BadValue {
    /// What to give to [`Consumer::commit`] so that the value does not come again, though a later one would do too.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        Offsets(BTreeMap::from([(self.partition, self.offset)]))
    }
}

/// Why there were no flows. Another [`recv`](Consumer::recv) is right after any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// A value that cannot be read; the next call goes on behind it.
    #[error(transparent)]
    BadValue(Box<BadValue>),
    /// Trouble with the brokers. librdkafka goes on trying.
    #[error("trouble with the Kafka brokers")]
    Brokers(#[from] KafkaError),
}

/// Reads the flows of a topic, as one member of a group.
///
/// *Delivery*: at least once. What was not committed comes again, to this consumer after a restart or to another
/// member: after a crash that can be about a second's worth more than what was not processed, since commits are sent
/// in the background.
///
/// *Time*: a member that does not call [`recv`](Self::recv) for 5 minutes (`max.poll.interval.ms`) is taken for dead,
/// and its partitions go to others.
pub struct Consumer {
    consumer: Arc<StreamConsumer>,
    topic: Arc<str>,
    format: Format,
    framing: Framing,
    /// Met behind flows that were given first.
    late: Option<RecvError>,
}

impl Consumer {
    /// Begins to make a consumer.
    #[must_use]
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder::default()
    }

    /// Waits for flows and gives those that are there: of one value or of several, up to some ten thousand.
    ///
    /// Cancelling it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub async fn recv(&mut self) -> Result<Received, RecvError> {
        let mut received = Received { flows: Vec::new(), offsets: Offsets::default() };
        while received.flows.is_empty() {
            if let Some(late) = self.late.take() {
                return Err(late);
            }
            let mut next = Some(self.consumer.recv().await);
            while let Some(message) = next {
                match message
                    .map_err(RecvError::from)
                    .and_then(|value| read(self.format, self.framing, &value, &mut received))
                {
                    Ok(()) if received.flows.len() < ENOUGH_FLOWS => next = at_hand(&self.consumer),
                    Ok(()) => next = None,
                    Err(error) => {
                        self.late = Some(error);
                        next = None;
                    }
                }
            }
        }
        Ok(received)
    }

    /// Says that everything up to `offsets` has been processed, and with it all that was received before.
    ///
    /// The brokers are told in the background, within a second, and by [`close`](Self::close). A partition that
    /// meanwhile went to another member is left out: that one reads it again.
    ///
    /// # Errors
    /// If librdkafka does not take it, which would be a mistake of this crate.
    pub fn commit(&self, offsets: &Offsets) -> Result<(), KafkaError> {
        for (partition, offset) in &offsets.0 {
            match self.consumer.store_offset(&self.topic, *partition, *offset) {
                Err(KafkaError::StoreOffset(RDKafkaErrorCode::State | RDKafkaErrorCode::UnknownPartition)) => {}
                stored => stored?,
            }
        }
        Ok(())
    }

    /// Tells the brokers what was committed, waits for their answer, and leaves the group.
    ///
    /// A consumer that is dropped does the same without waiting for the answer.
    ///
    /// # Errors
    /// If the brokers do not take the offsets. Flows that were committed last come again then.
    pub async fn close(self) -> Result<(), KafkaError> {
        let consumer = self.consumer;
        blocking(move || match consumer.commit_consumer_state(CommitMode::Sync) {
            // Nothing new since the last time.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            committed => committed,
        })
        .await
    }
}

/// The next value if it is here already.
fn at_hand(consumer: &StreamConsumer) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
    match pin!(consumer.recv()).poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(message) => Some(message),
        Poll::Pending => None,
    }
}

/// Adds the flows of one value.
fn read(
    format: Format,
    framing: Framing,
    message: &BorrowedMessage<'_>,
    received: &mut Received,
) -> Result<(), RecvError> {
    // A value that is none says that a key is gone (a compacted topic), which is nothing to flows.
    if let Some(value) = message.payload() {
        read_value(format, framing, value, &mut received.flows).map_err(|reason| {
            RecvError::BadValue(Box::new(BadValue {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
                value: value.to_vec(),
                reason,
            }))
        })?;
    }
    received.offsets.0.insert(message.partition(), message.offset());
    Ok(())
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("topic", &self.topic).finish_non_exhaustive()
    }
}
