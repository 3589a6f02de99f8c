//! The sink itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _};
use sluice_flow::{Batch, Schema};
use sluice_pipeline::{Delivery, Metrics, Provisional, Sink, SinkError};

use super::KafkaSinkConfig;
use super::buffer::Buffer;
use super::pack::{Message, Packer, WithoutTopic};
use super::topics::Topics;
use crate::disk_queue::PushError;
use crate::kafka::{
    DeadLetters, Deliveries, Events, Flight, KafkaError, Producer, RowsIn, Transactions, headers, probe,
};
use crate::sinks::lent::Lent;

/// Time between two looks whether librdkafka has room again.
const FULL: Duration = Duration::from_millis(2);

/// Writes rows to Kafka.
///
/// *Delivery*: a batch is delivered when all in-sync replicas have all its messages, or when the transaction or
/// the disk buffer has them. *Backpressure*: up to [`MOST_UNDER_WAY`](sluice_pipeline::MOST_UNDER_WAY) batches are
/// under way; librdkafka holds 128 MiB at most. *Loss*: messages that brokers refuse for good are
/// dead letters, or counted as `rejected`; everything else waits as long as it takes. A batch of which a part came
/// back is sent again as a whole. *Shutdown*: what is under way is waited for.
pub struct KafkaSink {
    name: String,
    topics: Topics,
    out: Lent<Writer>,
    mode: Mode,
    rows_in: RowsIn,
    producer: Out,
}

enum Mode {
    /// Batches are told of when brokers have them.
    Direct,
    /// The source commits.
    Transaction,
    /// Batches are told of when the disk has them.
    Buffered(Buffer),
}

/// What works where it may block.
pub(super) struct Writer {
    sink: String,
    packer: Packer,
    out: Out,
}

/// The producer, its own or shared.
#[derive(Clone)]
pub(super) enum Out {
    Own(Producer),
    Shared(Arc<Transactions>),
}

impl Out {
    pub(super) fn producer(&self) -> &Producer {
        match self {
            Out::Own(producer) => producer,
            Out::Shared(transactions) => transactions.producer(),
        }
    }

    /// Why nothing can be written any more, if so.
    fn lost(&self) -> Option<sluice_pipeline::BoxError> {
        match self {
            Out::Own(producer) => {
                let (code, reason) = producer.client().fatal_error()?;
                Some(format!("{reason} ({code})").into())
            }
            Out::Shared(transactions) => transactions.lost().map(Into::into),
        }
    }
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The callbacks of a sink's producer.
fn deliveries(name: &str, metrics: &Metrics, dead_letters: Option<DeadLetters>) -> Deliveries {
    let labels = || vec![("sink", name.to_owned())];
    Deliveries {
        events: Events::new(name),
        delivered: metrics.counter("sluice_sink_kafka_messages", "Messages that the brokers have.", labels()),
        failed: metrics.counter(
            "sluice_sink_kafka_failed_messages",
            "Messages that came back: sent again, dead letters, or rejected.",
            labels(),
        ),
        dead_letters,
        is_topic_missing: AtomicBool::new(false),
    }
}

impl KafkaSink {
    /// Opens the sink and asks the brokers for an answer.
    ///
    /// # Errors
    /// Settings that do not work, brokers that refuse us, a disk buffer that cannot be opened. Brokers that are
    /// away are a warning.
    pub fn open(
        name: &str,
        config: &KafkaSinkConfig,
        schema: &Schema,
        metrics: &Metrics,
    ) -> Result<KafkaSink, KafkaError> {
        config.validate()?;
        let client = config.connection().client_config(&config.defaults())?;
        let letters = config.dead_letter.as_ref().map(|letters| DeadLetters::open(letters, &client)).transpose()?;
        let context = deliveries(name, metrics, letters);
        let producer: Producer = client.create_with_context(context).map_err(KafkaError::Settings)?;
        probe(name, &config.brokers, &producer.context().events, |timeout| {
            producer.client().fetch_metadata(None, timeout).map(drop)
        })?;
        producer.context().check_letters(&config.brokers)?;
        let mut sink = KafkaSink::with(name, config, schema, &client, Out::Own(producer.clone()))?;
        if let Some(buffer) = &config.buffer {
            let topics = Topics::new(&config.topic, config.max_topics, config.create_topics, &client)?;
            sink.mode = Mode::Buffered(Buffer::open(name, buffer, Out::Own(producer), topics, sink.rows_in, metrics)?);
        }
        Ok(sink)
    }

    /// A transactional producer for this sink and others with the same brokers.
    ///
    /// # Errors
    /// As [`open`](Self::open); transactions need brokers that answer.
    pub fn transactions(
        name: &str,
        config: &KafkaSinkConfig,
        id: &str,
        metrics: &Metrics,
    ) -> Result<Arc<Transactions>, KafkaError> {
        config.validate()?;
        let client = config.connection().client_config(&config.defaults())?;
        let letters = config.dead_letter.as_ref().map(|letters| DeadLetters::open(letters, &client)).transpose()?;
        let labels = || vec![("sink", name.to_owned())];
        let counters = (
            metrics.counter("sluice_sink_kafka_transactions", "Transactions committed.", labels()),
            metrics.counter("sluice_sink_kafka_aborted_transactions", "Transactions taken back.", labels()),
        );
        let context = deliveries(name, metrics, letters);
        let transactions = Transactions::open(client, id, &config.brokers.join(","), context, counters)?;
        transactions.producer().context().check_letters(&config.brokers)?;
        Ok(transactions)
    }

    /// Opens the sink as a part of transactions.
    ///
    /// # Errors
    /// Settings that do not work.
    pub fn open_in(
        name: &str,
        config: &KafkaSinkConfig,
        schema: &Schema,
        transactions: &Arc<Transactions>,
    ) -> Result<KafkaSink, KafkaError> {
        config.validate()?;
        let client = config.connection().client_config(&config.defaults())?;
        let mut sink = KafkaSink::with(name, config, schema, &client, Out::Shared(Arc::clone(transactions)))?;
        sink.mode = Mode::Transaction;
        Ok(sink)
    }

    fn with(
        name: &str,
        config: &KafkaSinkConfig,
        schema: &Schema,
        client: &rdkafka::ClientConfig,
        out: Out,
    ) -> Result<KafkaSink, KafkaError> {
        let topics = Topics::new(&config.topic, config.max_topics, config.create_topics, client)?;
        let packer = Packer::new(config, schema, topics.is_routed())?;
        let writer = Writer { sink: name.to_owned(), packer, out: out.clone() };
        let rows_in = config.rows_in();
        Ok(KafkaSink {
            name: name.to_owned(),
            topics,
            out: Lent::new(writer),
            mode: Mode::Direct,
            rows_in,
            producer: out,
        })
    }

    /// The topic of each route of the batch, made if need be.
    async fn topics_of(&mut self, batch: &Batch) -> Result<Vec<Option<Arc<str>>>, SinkError> {
        let only = [Arc::from("")];
        let routes = match batch.routes() {
            Some(routes) if self.topics.is_routed() => routes.names.as_slice(),
            _ if self.topics.is_routed() => &[],
            _ => &only,
        };
        if self.producer.producer().context().is_topic_missing.swap(false, Ordering::Relaxed) {
            self.topics.doubt();
        }
        let mut topics = Vec::with_capacity(routes.len());
        for route in routes {
            topics.push(self.topics.topic(route));
            // With a buffer the brokers may be away: whoever empties it sees to the topics.
            if !matches!(self.mode, Mode::Buffered(_)) {
                let made = self.topics.ensure(route).await;
                made.map_err(|error| SinkError::Unavailable { sink: self.name.clone(), source: error.into() })?;
            }
        }
        Ok(topics)
    }

    fn broken(&self, source: sluice_pipeline::BoxError) -> SinkError {
        SinkError::Broken { sink: self.name.clone(), source }
    }
}

/// Says, when dropped, that nobody waits for the result any more.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Sink for KafkaSink {
    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        match self.begin(batch).await? {
            Some(delivery) => delivery.await.unwrap_or_else(|forgotten| {
                Err(SinkError::Unavailable { sink: self.name.clone(), source: forgotten.into() })
            }),
            None => Ok(()),
        }
    }

    async fn begin(&mut self, batch: &Batch) -> Result<Option<Delivery>, SinkError> {
        if let Some(why) = self.producer.lost() {
            return Err(self.broken(why));
        }
        let topics = self.topics_of(batch).await?;
        let name = self.name.clone();
        let batch = batch.clone();
        if let Mode::Buffered(buffer) = &self.mode {
            let queue = buffer.queue();
            let pushed = self.out.call(move |writer| writer.push(&batch, &topics, &queue)).await;
            return pushed.map_err(|error| self.broken(error))?.map(|()| None);
        }
        let given_up = GivenUp(Arc::default());
        let flag = Arc::clone(&given_up.0);
        if matches!(self.mode, Mode::Transaction) {
            let sent = self.out.call(move |writer| {
                let flight = Flight::untold(&writer.sink);
                writer.send(&batch, &topics, &flight, &flag)
            });
            let Sent { without, rejected } = match sent.await.map_err(|error| self.broken(error))? {
                Ok(sent) => sent,
                // To write it again would be to write a part of it twice: all of the transaction is taken back and read again.
                Err(SinkError::Unavailable { source, .. }) => {
                    if let Out::Shared(transactions) = &self.producer {
                        transactions.spoil(source);
                    }
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let rows = without.no_route + without.too_many;
            return match rejected {
                Some((why, rejected)) => {
                    Err(SinkError::Rejected { sink: name, rows: rejected + rows, source: why.into() })
                }
                None if rows > 0 => Err(SinkError::LeftOut { sink: name, rows, reason: without.reason() }),
                None => Ok(None),
            };
        }
        let (flight, delivery) = Flight::new(&name, self.rows_in);
        let sent = self.out.call(move |writer| {
            let sent = writer.send(&batch, &topics, &flight, &flag)?;
            let rows = sent.without.no_route + sent.without.too_many;
            if rows > 0 {
                flight.leave_out(sent.without.reason(), rows);
            }
            if let Some((why, rows)) = sent.rejected {
                flight.reject(why, rows);
            }
            Ok::<(), SinkError>(())
        });
        sent.await.map_err(|error| self.broken(error))??;
        Ok(Some(delivery))
    }

    fn provisional(&self) -> Option<Provisional> {
        match &self.producer {
            Out::Own(_) => None,
            Out::Shared(transactions) => Some(transactions.rows().clone()),
        }
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn close(self) -> Result<(), SinkError> {
        match self.mode {
            Mode::Buffered(buffer) => {
                buffer.close().await;
                Ok(())
            }
            // Whatever was delivered was waited for; what is left belongs to batches that were given up.
            Mode::Direct | Mode::Transaction => Ok(()),
        }
    }
}

/// What became of a batch, as far as it is known before the brokers answer.
#[derive(Default)]
struct Sent {
    without: WithoutTopic,
    /// Why, and how many rows.
    rejected: Option<(String, usize)>,
}

impl WithoutTopic {
    /// Of two reasons the one of more rows.
    pub(super) fn reason(self) -> &'static str {
        if self.no_route >= self.too_many { "no_route" } else { "too_many_topics" }
    }
}

impl Writer {
    /// Hands the messages of a batch to librdkafka, waiting for room.
    fn send(
        &mut self,
        batch: &Batch,
        topics: &[Option<Arc<str>>],
        flight: &Arc<Flight>,
        given_up: &AtomicBool,
    ) -> Result<Sent, SinkError> {
        let Writer { sink, packer, out, .. } = self;
        let mut rejected: Option<(String, usize)> = None;
        let without = packer.messages(batch, topics, |message| {
            match send(out.producer(), &message, flight, || given_up.load(Ordering::Relaxed)) {
                Ok(()) => Ok(()),
                Err(error) => {
                    if let Some(source) = out.lost() {
                        return Err(SinkError::Broken { sink: sink.clone(), source });
                    }
                    let context = out.producer().context();
                    match context.refuse(&error, &message.letter("not_sent", &error.to_string())) {
                        Ok(()) => {
                            let entry = rejected.get_or_insert_with(|| (error.to_string(), 0));
                            entry.1 += message.rows;
                            Ok(())
                        }
                        Err(error) => Err(SinkError::Unavailable { sink: sink.clone(), source: error }),
                    }
                }
            }
        })?;
        Ok(Sent { without, rejected })
    }

    /// Appends the messages of a batch to the queue on disk.
    fn push(
        &mut self,
        batch: &Batch,
        topics: &[Option<Arc<str>>],
        queue: &super::buffer::Queue,
    ) -> Result<(), SinkError> {
        let mut entry = super::buffer::EntryWriter::default();
        let Ok(without) = self.packer.messages(batch, topics, |message| {
            entry.add(&message);
            Ok::<(), std::convert::Infallible>(())
        });
        match queue.push(&entry) {
            Ok(()) => {}
            // Waiting would not help.
            Err(error @ PushError::TooLarge { .. }) => {
                tracing::warn!(sink = self.sink, %error, "batch does not fit `buffer.max_bytes`: raise that, or lower `batch_rows`");
                return Err(SinkError::LeftOut { sink: self.sink.clone(), rows: batch.rows(), reason: "too_large" });
            }
            Err(error) => return Err(SinkError::Unavailable { sink: self.sink.clone(), source: error.into() }),
        }
        let rows = without.no_route + without.too_many;
        if rows > 0 {
            return Err(SinkError::LeftOut { sink: self.sink.clone(), rows, reason: without.reason() });
        }
        Ok(())
    }
}

/// Hands a message to librdkafka, waiting for room until `given_up`.
///
/// # Errors
/// What librdkafka will not take.
pub(super) fn send(
    producer: &Producer,
    message: &Message<'_>,
    flight: &Arc<Flight>,
    given_up: impl Fn() -> bool,
) -> Result<(), ClientError> {
    let mut record =
        BaseRecord::<[u8], [u8], _>::with_opaque_to(message.topic, Arc::clone(flight)).payload(message.value);
    if let Some(key) = message.key {
        record = record.key(key);
    }
    if let Some(headers) = headers::for_message(message.headers) {
        record = record.headers(headers);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((ClientError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if !given_up() => {
                record = back;
                std::thread::sleep(FULL);
            }
            Err((error, _)) => return Err(error),
        }
    }
}
