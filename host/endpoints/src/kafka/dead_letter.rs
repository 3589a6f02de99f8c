//! Where values go that nobody can use: a file or a topic, with where they came from and why.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use serde::Deserialize;
use serde_json::json;

use super::KafkaError;
use crate::Invalid;

/// `dead_letter` of a Kafka source or sink: who takes values that cannot be read or will not be accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// File to append to: a JSON object a line with `topic`, `partition`, `offset`, `timestamp_ms`, `reason`, `error`,
    /// and `key` and `value` in Base64.
    pub path: Option<PathBuf>,
    /// Bytes of that file at which the component stops and the run fails, so that a flood of bad values does
    /// not fill the disk. Default 1073741824 (1 GiB).
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// Topic on the same brokers: key and value as they were, the rest as headers `sluice-topic`,
    /// `sluice-partition`, `sluice-offset`, `sluice-reason` and `sluice-error`. It has to be there, unless the brokers make topics
    /// themselves.
    pub topic: Option<String>,
}

fn default_max_bytes() -> u64 {
    1 << 30
}

impl DeadLetterConfig {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.path.is_some() == self.topic.is_some() {
            return Err(Invalid::new("dead_letter", "it has no place, or two", "give one of `path` and `topic`"));
        }
        Ok(())
    }

    pub(crate) fn resolve(&mut self, base: &Path) {
        if let Some(path) = &mut self.path {
            *path = base.join(&*path);
        }
    }
}

/// A value that nobody can use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) reason: &'static str,
    pub(crate) error: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
}

/// Why a letter was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LetterError {
    #[error("the dead letters' file {path} cannot be written", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the dead letters' file {path} has its {max_bytes} bytes: look into it, and remove it", path = path.display())]
    Full { path: PathBuf, max_bytes: u64 },
    #[error("dead letters are not accepted by the topic {topic}")]
    Topic { topic: String, source: ClientError },
}

/// An open place for dead letters.
pub(crate) enum DeadLetters {
    File { path: PathBuf, max_bytes: u64, file: Mutex<File> },
    Topic { topic: String, producer: Box<BaseProducer<Receipts>> },
}

/// What came of a letter that was sent.
type Receipt = Arc<OnceLock<Result<(), ClientError>>>;

/// Takes note of what came of each letter: that none is under way any more does not mean that it is with the brokers.
pub(crate) struct Receipts;

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // There is one result for each letter.
        receipt.set(result).unwrap_or_default();
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeadLetters::File { path, .. } => f.debug_tuple("File").field(path).finish(),
            DeadLetters::Topic { topic, .. } => f.debug_tuple("Topic").field(topic).finish(),
        }
    }
}

/// Time that the brokers have to take a letter.
const PATIENCE: Duration = Duration::from_secs(30);
/// Milliseconds that a topic may be unknown to the brokers before letters to it come back; librdkafka's own default is 30 000.
const UNKNOWN_MS: &str = "5000";
/// Time that brokers which make topics themselves have to make the one for letters when it is first asked for.
const MADE_WITHIN: Duration = Duration::from_secs(2);
/// Time for one answer of the brokers.
const ANSWER: Duration = Duration::from_millis(500);
/// Time between two questions.
const PAUSE: Duration = Duration::from_millis(100);

impl DeadLetters {
    /// Opens the place. `client` reaches the brokers.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn open(config: &DeadLetterConfig, client: &ClientConfig) -> Result<DeadLetters, KafkaError> {
        if let Some(path) = &config.path {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let file = opened.map_err(|source| KafkaError::Open {
                what: "the file for dead letters",
                path: path.clone(),
                source: source.into(),
            })?;
            return Ok(DeadLetters::File { path: path.clone(), max_bytes: config.max_bytes, file: Mutex::new(file) });
        }
        let mut client = client.clone();
        // One at a time, and each is waited for.
        client.set("linger.ms", "0").set("acks", "all").remove("transactional.id");
        if client.get("topic.metadata.propagation.max.ms").is_none() {
            client.set("topic.metadata.propagation.max.ms", UNKNOWN_MS);
        }
        let producer = Box::new(client.create_with_context(Receipts).map_err(KafkaError::Settings)?);
        Ok(DeadLetters::Topic { topic: config.topic.clone().unwrap_or_default(), producer })
    }

    /// Looks whether the topic is there, so that it does not turn out to be missing with the first letter, at night. To be asked when
    /// the brokers have answered; where they do not, nothing is known, and the first letter will tell.
    ///
    /// # Errors
    /// [`KafkaError::NoTopic`].
    pub(crate) fn check(&self, brokers: &[String]) -> Result<(), KafkaError> {
        let DeadLetters::Topic { topic, producer } = self else { return Ok(()) };
        let end = Instant::now() + MADE_WITHIN;
        loop {
            let Ok(metadata) = producer.client().fetch_metadata(Some(topic), ANSWER) else { return Ok(()) };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let remedy = match found.and_then(|found| found.error()).map(RDKafkaErrorCode::from) {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => "is not there: make it, or name one that is",
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    "must not be written to by this user: allow it, or name another"
                }
                _ => return Ok(()),
            };
            if Instant::now() >= end {
                return Err(KafkaError::NoTopic { topic: topic.clone(), brokers: brokers.join(","), remedy });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Keeps a letter; the kernel or the brokers have it when this returns.
    ///
    /// # Errors
    /// It is not kept: whoever has the value must not let go of it.
    pub(crate) fn put(&self, letter: &Letter<'_>) -> Result<(), LetterError> {
        match self {
            DeadLetters::File { path, max_bytes, file } => {
                let mut line = line(letter);
                line.push('\n');
                let failed = |source| LetterError::File { path: path.clone(), source };
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // Other consumers write to it, too.
                let length = file.metadata().map_err(failed)?.len();
                if length + line.len() as u64 > *max_bytes {
                    return Err(LetterError::Full { path: path.clone(), max_bytes: *max_bytes });
                }
                file.write_all(line.as_bytes()).map_err(failed)
            }
            DeadLetters::Topic { topic, producer } => {
                let failed = |source| LetterError::Topic { topic: topic.clone(), source };
                let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
                let headers = [
                    ("sluice-topic", letter.topic),
                    ("sluice-partition", &partition),
                    ("sluice-offset", &offset),
                    ("sluice-reason", letter.reason),
                    ("sluice-error", letter.error),
                ];
                let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(value) })
                });
                let receipt = Receipt::default();
                let record =
                    BaseRecord::<[u8], [u8], Box<Receipt>>::with_opaque_to(topic, Box::new(Arc::clone(&receipt)));
                let mut record = record.payload(letter.value).headers(headers);
                if let Some(key) = letter.key {
                    record = record.key(key);
                }
                producer.send(record).map_err(|(error, _)| failed(error))?;
                producer.flush(PATIENCE).map_err(failed)?;
                let unknown = Err(ClientError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
                receipt.get().cloned().unwrap_or(unknown).map_err(failed)
            }
        }
    }
}

fn line(letter: &Letter<'_>) -> String {
    json!({
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms,
        "reason": letter.reason,
        "error": letter.error,
        "key": letter.key.map(|key| STANDARD.encode(key)),
        "value": STANDARD.encode(letter.value),
    })
    .to_string()
}
