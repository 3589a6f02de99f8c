//! Messages under way to the brokers, and what came of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext, ThreadedProducer};
use sluice_pipeline::{BoxError, SinkError};
use tokio::sync::oneshot;

use super::{DeadLetters, Events, Letter};

/// A producer whose messages belong to flights.
pub(crate) type Producer = ThreadedProducer<Deliveries, NoCustomPartitioner>;

/// What is told of every message of a producer.
pub(crate) struct Deliveries {
    pub(crate) events: Events,
    /// Messages that the brokers have, and those that they will not have.
    pub(crate) delivered: Counter,
    pub(crate) failed: Counter,
    /// Who takes what brokers refuse for good.
    pub(crate) dead_letters: Option<DeadLetters>,
    /// A topic was not there: it may have been deleted.
    pub(crate) is_topic_missing: AtomicBool,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(&error, reason);
    }
}

impl Deliveries {
    /// Looks whether there is a place for dead letters, if they go to a topic.
    ///
    /// # Errors
    /// A topic that cannot take any.
    pub(crate) fn check_letters(&self, brokers: &[String]) -> Result<(), super::KafkaError> {
        self.dead_letters.as_ref().map_or(Ok(()), |letters| letters.check(brokers))
    }

    /// Takes a message that will never be accepted, because of `error`.
    ///
    /// # Errors
    /// The error is one that may pass, or the message could not be put aside.
    pub(crate) fn refuse(&self, error: &KafkaError, letter: &Letter<'_>) -> Result<(), BoxError> {
        if !is_for_good(error) {
            return Err(error.clone().into());
        }
        match &self.dead_letters {
            Some(letters) => letters.put(letter).map_err(BoxError::from),
            None => Ok(()),
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        match result {
            Ok(_) => drop(self.delivered.inc()),
            Err((error, message)) => {
                self.failed.inc();
                if is_missing_topic(error) {
                    self.is_topic_missing.store(true, Ordering::Relaxed);
                }
                if !is_for_good(error) {
                    flight.retry(error);
                    return;
                }
                let rows = flight.rows_of(message.payload().unwrap_or_default());
                let letter = Letter {
                    topic: message.topic(),
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis(),
                    reason: "not_accepted",
                    error: &error.to_string(),
                    key: message.key(),
                    value: message.payload().unwrap_or_default(),
                };
                match self.refuse(error, &letter) {
                    Ok(()) => flight.reject(told(error), rows),
                    Err(problem) => flight.retry(&*problem),
                }
            }
        }
    }
}

/// Whether to send the message again would be of no use. What an administrator can put right (a topic that
/// is not there, a right that is missing) is not: until then the rows wait.
fn is_for_good(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::InvalidTopic
                | Code::InvalidRecord
                | Code::InvalidTimestamp
        )
    )
}

/// What is said of a message that was refused, with the way out where there may be one.
fn told(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
            "{error}; brokers refuse together what comes together: set `librdkafka = {{ \"batch.size\" = BYTES }}` of the sink \
             below `max.message.bytes` of the topic"
        ),
        _ => error.to_string(),
    }
}

fn is_missing_topic(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::UnknownTopicId)
    )
}

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsIn {
    /// One.
    One,
    /// As many as there are messages, each behind its length.
    Delimited,
    /// As many as there are lines.
    Lines,
}

/// The messages of one batch. When the last share is dropped, what came of all of them is told.
#[derive(Debug)]
pub(crate) struct Flight {
    sink: String,
    rows_in: RowsIn,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tell: Option<oneshot::Sender<Result<(), SinkError>>>,
    retry: Option<String>,
    rejected: Option<(String, usize)>,
    left_out: Option<(&'static str, usize)>,
}

impl Flight {
    /// A flight that nobody waits for the end of: a transaction sees to it.
    pub(crate) fn untold(sink: &str) -> Arc<Flight> {
        Arc::new(Flight { sink: sink.to_owned(), rows_in: RowsIn::One, state: Mutex::default() })
    }

    /// A flight, and its end.
    pub(crate) fn new(sink: &str, rows_in: RowsIn) -> (Arc<Flight>, sluice_pipeline::Delivery) {
        let (tell, told) = oneshot::channel();
        let state = Mutex::new(State { tell: Some(tell), ..State::default() });
        (Arc::new(Flight { sink: sink.to_owned(), rows_in, state }), told)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch has to be sent again.
    pub(crate) fn retry(&self, why: &dyn std::error::Error) {
        self.state().retry.get_or_insert_with(|| why.to_string());
    }

    /// The brokers will never take `rows` of the batch.
    pub(crate) fn reject(&self, why: String, rows: usize) {
        self.state().rejected.get_or_insert((why, 0)).1 += rows;
    }

    /// `rows` of the batch are not sent, on purpose.
    pub(crate) fn leave_out(&self, reason: &'static str, rows: usize) {
        self.state().left_out.get_or_insert((reason, 0)).1 += rows;
    }

    /// Rows in a value: as many as there are messages.
    fn rows_of(&self, value: &[u8]) -> usize {
        match self.rows_in {
            RowsIn::One => return 1,
            RowsIn::Lines => return value.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(),
            RowsIn::Delimited => {}
        }
        let (mut left, mut rows) = (value, 0);
        while let Some(rest) = after_message(left) {
            left = rest;
            rows += 1;
        }
        rows
    }
}

/// What follows the first message, which has its length before it as a varint.
fn after_message(bytes: &[u8]) -> Option<&[u8]> {
    let mut length = 0_usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1 + length..);
        }
    }
    None
}

impl Drop for Flight {
    fn drop(&mut self) {
        let sink = std::mem::take(&mut self.sink);
        let State { tell, retry, rejected, left_out } = std::mem::take(&mut *self.state());
        let Some(tell) = tell else { return };
        let outcome = match (retry, rejected, left_out) {
            (Some(why), _, _) => Err(SinkError::Unavailable { sink, source: why.into() }),
            (None, Some((why, rows)), left_out) => {
                let rows = rows + left_out.map_or(0, |(_, rows)| rows);
                Err(SinkError::Rejected { sink, rows, source: why.into() })
            }
            (None, None, Some((reason, rows))) => Err(SinkError::LeftOut { sink, rows, reason }),
            (None, None, None) => Ok(()),
        };
        // Whoever gave up waiting has counted the rows.
        drop(tell.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_share_tells_what_came_of_the_batch() {
        let (flight, mut told) = Flight::new("out", RowsIn::Delimited);
        let other = Arc::clone(&flight);
        drop(flight);
        assert!(told.try_recv().is_err());
        drop(other);
        assert!(matches!(told.try_recv(), Ok(Ok(()))));

        let (flight, mut told) = Flight::new("out", RowsIn::Delimited);
        flight.leave_out("no_route", 2);
        flight.reject("no".to_owned(), 3);
        drop(flight);
        assert!(matches!(told.try_recv(), Ok(Err(SinkError::Rejected { rows: 5, .. }))));

        let (flight, mut told) = Flight::new("out", RowsIn::Delimited);
        flight.reject("no".to_owned(), 3);
        flight.retry(&KafkaError::Canceled);
        drop(flight);
        assert!(matches!(told.try_recv(), Ok(Err(SinkError::Unavailable { .. }))));
    }

    #[test]
    fn rows_of_a_value_are_its_messages() {
        let (flight, _told) = Flight::new("out", RowsIn::Delimited);
        assert_eq!(flight.rows_of(&[]), 0);
        assert_eq!(flight.rows_of(&[2, 8, 1, 0, 1, 9]), 3);
        let mut long = vec![0x80, 0x01];
        long.extend([0; 128]);
        assert_eq!(flight.rows_of(&long), 1);
        assert_eq!(flight.rows_of(&[9, 1]), 0);
        assert_eq!(Flight::untold("out").rows_of(&[9, 1]), 1);
        assert_eq!(Flight::new("out", RowsIn::Lines).0.rows_of(b"{}\n{}"), 2);
    }
}
