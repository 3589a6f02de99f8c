//! Writing a topic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use crate::connection::{ConnectError, Connection, Sasl, Tls, Troubles, connection_methods};
use crate::flow::Flow;
use crate::value::{Format, Framing, MAX_MESSAGE, MAX_VALUE_MESSAGES, write_message};

/// Bytes of a value that is sent without waiting for more flows: well below the 1 MB that brokers allow.
const ENOUGH_BYTES: usize = 256 << 10;

/// Delay before a value is offered again to librdkafka, whose queue was full.
const FULL: Duration = Duration::from_millis(5);

/// Makes a [`Producer`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    connection: Connection,
    format: Format,
    framing: Framing,
    flows_per_value: usize,
}

impl ProducerBuilder {
    connection_methods!();

    /// Flows that are packed into a value. Default 100, which takes a tenth of the work of one a value; with
    /// [`Framing::Bare`] it is always 1. At most [`MAX_VALUE_MESSAGES`].
    #[must_use]
    pub fn flows_per_value(mut self, flows: usize) -> Self {
        self.flows_per_value = flows.clamp(1, MAX_VALUE_MESSAGES);
        self
    }

    /// Connects. Needs a tokio runtime, as do the producer's methods.
    ///
    /// # Errors
    /// See [`ConnectError`]. Brokers that do not answer are waited for some seconds.
    pub async fn connect(self) -> Result<Producer, ConnectError> {
        let config = self.connection.config(&[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("linger.ms", "50"),
            ("compression.type", "lz4"),
        ])?;
        let troubles = Troubles::default();
        let deliveries = Deliveries::default();
        let context = Context { troubles: troubles.clone(), deliveries: deliveries.clone() };
        let producer: ThreadedProducer<Context> =
            config.create_with_context(context).map_err(ConnectError::Settings)?;
        let (producer, connection) = (Arc::new(producer), self.connection);
        let (asked, topic) = (Arc::clone(&producer), connection.topic.clone());
        let ask = move || {
            connection.probe(&troubles, |patience| asked.client().fetch_metadata(Some(&connection.topic), patience))
        };
        match tokio::task::spawn_blocking(ask).await {
            Ok(probed) => probed?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        let flows_per_value = if self.framing == Framing::Bare { 1 } else { self.flows_per_value };
        Ok(Producer {
            producer,
            topic,
            format: self.format,
            framing: self.framing,
            flows_per_value,
            value: Vec::new(),
            flows: 0,
            deliveries,
        })
    }
}

/// Why flows were not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The flow is larger than any that can be read again ([`MAX_MESSAGE`]). Only it is left out.
    #[error("the flow has {bytes} bytes, more than {MAX_MESSAGE}")]
    TooLong {
        /// Bytes of its message.
        bytes: usize,
    },
    /// Flows of earlier calls that the brokers did not take. Each is reported once.
    #[error("{flows} flows were not delivered")]
    NotDelivered {
        /// How many.
        flows: u64,
        /// What the brokers said to the last of them.
        source: KafkaError,
    },
    /// librdkafka does not take anything more, e.g. because this producer was fenced: make a new one.
    #[error("the flows cannot be handed to librdkafka")]
    Refused(#[source] KafkaError),
}

/// Writes flows to a topic.
///
/// *Delivery*: when [`flush`](Self::flush) returned `Ok`, the brokers have all flows sent before it, once and in order within a
/// partition. What was not flushed may be lost with the process. *Backpressure*: `send` waits while librdkafka
/// has as much under way as it may (`queue.buffering.max.messages`, `.kbytes`).
pub struct Producer {
    producer: Arc<ThreadedProducer<Context>>,
    topic: String,
    format: Format,
    framing: Framing,
    flows_per_value: usize,
    /// The value that is being packed, and flows in it.
    value: Vec<u8>,
    flows: usize,
    deliveries: Deliveries,
}

impl Producer {
    /// Begins to make a producer.
    #[must_use]
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder {
            connection: Connection::default(),
            format: Format::default(),
            framing: Framing::default(),
            flows_per_value: 100,
        }
    }

    /// Adds a flow to the value that is being packed, and hands the value on when it is full. Whoever has no more
    /// flows for a while calls [`flush`](Self::flush): nothing else sends a value that is not full.
    ///
    /// # Errors
    /// [`SendError::TooLong`], after which other flows can be sent. The others are about earlier flows; this one is
    /// taken then as well.
    pub async fn send(&mut self, flow: &Flow) -> Result<(), SendError> {
        let before = self.value.len();
        write_message(self.format, self.framing, flow, &mut self.value);
        let bytes = self.value.len() - before;
        // With its length before it, which is taken for a part of it here.
        if bytes > MAX_MESSAGE {
            self.value.truncate(before);
            return Err(SendError::TooLong { bytes });
        }
        self.flows += 1;
        if self.flows >= self.flows_per_value || self.value.len() >= ENOUGH_BYTES {
            self.hand_on().await?;
        }
        self.deliveries.result()
    }

    /// Hands on what is packed and waits until the brokers have answered for everything.
    ///
    /// # Errors
    /// [`SendError::NotDelivered`] for flows sent before, [`SendError::Refused`].
    pub async fn flush(&mut self) -> Result<(), SendError> {
        self.hand_on().await?;
        let producer = Arc::clone(&self.producer);
        // In bits: a flush that waits cannot be cancelled. Each value has an end (`message.timeout.ms`, 5 minutes).
        let flush = move || loop {
            match producer.flush(Duration::from_secs(1)) {
                Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => {}
                flushed => return flushed,
            }
        };
        match tokio::task::spawn_blocking(flush).await {
            Ok(flushed) => flushed.map_err(SendError::Refused)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        self.deliveries.result()
    }

    async fn hand_on(&mut self) -> Result<(), SendError> {
        if self.flows == 0 {
            return Ok(());
        }
        loop {
            let flows = Box::new(self.flows as u64);
            let record = BaseRecord::<(), _, _>::with_opaque_to(&self.topic, flows).payload(&self.value);
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => tokio::time::sleep(FULL).await,
                Err((error, _)) => return Err(SendError::Refused(error)),
            }
        }
        self.value.clear();
        self.flows = 0;
        Ok(())
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).field("flows", &self.flows).finish_non_exhaustive()
    }
}

/// What became of values.
#[derive(Clone, Debug, Default)]
struct Deliveries(Arc<Failures>);

#[derive(Debug, Default)]
struct Failures {
    flows: AtomicU64,
    last: Mutex<Option<KafkaError>>,
}

impl Deliveries {
    fn failed(&self, flows: u64, error: KafkaError) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.0.flows.fetch_add(flows, Ordering::SeqCst);
    }

    /// Failures since the last time.
    fn result(&self) -> Result<(), SendError> {
        let flows = self.0.flows.swap(0, Ordering::SeqCst);
        if flows == 0 {
            return Ok(());
        }
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(SendError::NotDelivered { flows, source: last.unwrap_or(KafkaError::Canceled) })
    }
}

struct Context {
    troubles: Troubles,
    deliveries: Deliveries,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.troubles.note(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, flows: Box<u64>) {
        if let Err((error, _)) = result {
            self.deliveries.failed(*flows, error.clone());
        }
    }
}
