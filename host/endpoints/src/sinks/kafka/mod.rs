//! A Kafka topic, or one a route.

mod buffer;
mod key;
mod pack;
mod sink;
mod topics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sluice_flow::{ColumnSet, Schema};
use sluice_wire::proto::Encoder;

pub use key::Key;
pub use sink::KafkaSink;

use crate::Invalid;
use crate::format::{Format, Formatter};
use crate::kafka::{Connection, DeadLetterConfig, KafkaFormat, KafkaFraming, RowsIn, SaslConfig, Setting, TlsConfig};

/// Settings that the sink makes itself.
const OWN: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `brokers`"),
    ("security.protocol", "use `tls` and `sasl`"),
    ("transactional.id", "use `transactional_id` of the source with `delivery = \"exactly-once\"`"),
];

/// What a name of a topic is made of besides text.
const ROUTE: &str = "{route}";

/// `[sinks.NAME]` with `type = "kafka"`: writes rows to topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinkConfig {
    /// Brokers to begin with, e.g. `["kafka1:9092", "kafka2:9092"]`. Required.
    pub brokers: Vec<String>,
    /// Topic, e.g. `"flows"`, or one for each route, e.g. `"flows-{route}"`: characters that a topic may not have become
    /// `_`. Required.
    pub topic: String,
    /// `"goflow2"`, `"flowpipeline"`, `"bwnetflow"` (protobuf) or `"json"`. Required.
    pub format: KafkaFormat,
    /// `"delimited"` or `"bare"`. Required for protobuf.
    pub framing: Option<KafkaFraming>,
    /// Rows in one value at most, e.g. `100`: less work for brokers and readers, who have to take several delimited messages
    /// (or lines of JSON) in a value. Default 1; 1 to 10000. A value has 512 KiB at most.
    #[serde(default = "default_pack")]
    pub pack: usize,
    /// Key of each value: `"none"`, `"exporter"`, `"five-tuple"` (a hash), or columns, e.g. `["customer_id"]`. Rows with the same key go to
    /// the same partition. Default `"none"`.
    #[serde(default)]
    pub key: Key,
    /// `"none"`, `"lz4"`, `"snappy"`, `"zstd"` or `"gzip"`. Default `"lz4"`.
    #[serde(default)]
    pub compression: Compression,
    /// Milliseconds that a message may wait for others to be sent with, e.g. `5`. Default 200; 0 to 60000. To send at once
    /// doubles the work; 50 costs a third more than 200.
    #[serde(default = "default_linger_ms")]
    pub linger_ms: u64,
    /// Make topics that are not there. Default: wait until somebody does.
    pub create_topics: Option<CreateTopics>,
    /// Topics at most that routes may lead to; rows of further ones are dropped as `too_many_topics`. Default 256.
    #[serde(default = "default_max_topics")]
    pub max_topics: usize,
    /// Who takes messages that the brokers will never accept, such as too long ones. Default: they are counted as `rejected`.
    pub dead_letter: Option<DeadLetterConfig>,
    /// A queue on disk for the hours when Kafka is away. Default: none; then whoever feeds the sink waits.
    pub buffer: Option<BufferConfig>,
    /// Encrypt, with these certificates. An empty table is TLS with the system's authorities. Default: plain text.
    pub tls: Option<TlsConfig>,
    /// Say who we are. Default: do not.
    pub sasl: Option<SaslConfig>,
    /// Any other setting of librdkafka, e.g. `{ "message.max.bytes" = 2000000 }`.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, Setting>,
}

fn default_pack() -> usize {
    1
}

fn default_linger_ms() -> u64 {
    200
}

fn default_max_topics() -> usize {
    256
}

/// `compression` of a Kafka sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// LZ4.
    #[default]
    Lz4,
    /// Snappy.
    Snappy,
    /// Zstandard: smaller, for half as much work again.
    Zstd,
    /// Gzip: ten times the work.
    Gzip,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        }
    }
}

/// `create_topics` of a Kafka sink.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopics {
    /// Partitions of a new topic. Default: the brokers'.
    pub partitions: Option<i32>,
    /// Copies of each partition. Default: the brokers'.
    pub replication: Option<i32>,
}

/// `buffer` of a Kafka sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferConfig {
    /// File of the queue, e.g. `"/var/lib/sluice/kafka.queue"`. Required. One process at a time.
    pub path: PathBuf,
    /// Bytes that may wait; then whoever feeds the sink waits. Default 1073741824 (1 GiB); at least 1048576.
    #[serde(default = "default_buffer_bytes")]
    pub max_bytes: u64,
}

fn default_buffer_bytes() -> u64 {
    1 << 30
}

impl KafkaSinkConfig {
    /// How the brokers are reached.
    #[must_use]
    pub fn connection(&self) -> Connection<'_> {
        Connection {
            brokers: &self.brokers,
            tls: self.tls.as_ref(),
            sasl: self.sasl.as_ref(),
            settings: &self.librdkafka,
        }
    }

    /// Checks what the types cannot. Opens nothing.
    ///
    /// # Errors
    /// Keys that cannot work, or not with each other.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.connection().validate(OWN)?;
        if self.format == KafkaFormat::Detect {
            return Err(Invalid::new("format", "`detect` is for sources", "say what to write"));
        }
        self.format.protobuf(self.framing)?;
        Invalid::unless_within("pack", self.pack as u64, 1, 10_000)?;
        if self.pack > 1 && self.framing == Some(KafkaFraming::Bare) {
            let remedy = "use `framing = \"delimited\"`, or leave `pack` out";
            return Err(Invalid::new("pack", "a bare value is one message", remedy));
        }
        Invalid::unless_within("linger_ms", self.linger_ms, 0, 60_000)?;
        Invalid::unless_within("max_topics", self.max_topics as u64, 1, 100_000)?;
        if let Some(CreateTopics { partitions, replication }) = self.create_topics {
            let within = |number: Option<i32>, most| number.is_none_or(|number| (1..=most).contains(&number));
            if !within(partitions, 10_000) || !within(replication, 100) {
                let remedy = "use 1 to 10000 partitions and a replication of 1 to 100";
                return Err(Invalid::new("create_topics", "a number is out of range", remedy));
            }
        }
        let text = self.topic.replace(ROUTE, "");
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = text.chars().find(|c| !fits(*c)) {
            let problem = format!("`{}` has a `{bad}`", self.topic);
            let remedy = "use letters, digits, `.`, `_` and `-`, and `{route}` for the row's route";
            return Err(Invalid::new("topic", problem, remedy));
        }
        if self.topic.is_empty() || text.len() > topics::MAX_NAME {
            return Err(Invalid::new("topic", "the name is empty or too long", "use 1 to 249 characters"));
        }
        if let Some(letters) = &self.dead_letter {
            letters.validate()?;
        }
        if let Some(buffer) = &self.buffer {
            Invalid::unless_within("buffer.max_bytes", buffer.max_bytes, 1 << 20, 1 << 50)?;
        }
        Ok(())
    }

    /// The columns that the sink reads, and with that the check of `key`.
    ///
    /// # Errors
    /// A column that does not exist, with the nearest that does.
    pub fn reads(&self, schema: &Schema) -> Result<ColumnSet, Invalid> {
        let keys = self.key.columns(schema)?;
        let rows = match self.format.protobuf(self.framing)? {
            Some((dialect, framing)) => Encoder::new(dialect, framing).reads(),
            None => Formatter::new(Format::Json, schema, &[])?.reads(),
        };
        Ok(rows.union(keys.into_iter().collect()))
    }

    /// Whether it writes the name of a row's route: into a row, or as a topic.
    ///
    /// # Errors
    /// As [`reads`](Self::reads).
    pub fn shows_route(&self, schema: &Schema) -> Result<bool, Invalid> {
        let in_rows = match self.format.dialect() {
            Some(_) => false,
            None => Formatter::new(Format::Json, schema, &[])?.shows_route(),
        };
        Ok(in_rows || self.topic.contains(ROUTE))
    }

    /// Whether the sink writes protobuf, so that fields unknown to sluice can go through.
    #[must_use]
    pub fn keeps_unknown(&self) -> bool {
        self.format.dialect().is_some()
    }

    /// Paths become relative to `base`.
    pub fn resolve(&mut self, base: &Path) {
        Connection::resolve(base, &mut self.tls, &mut self.sasl);
        if let Some(letters) = &mut self.dead_letter {
            letters.resolve(base);
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.path = base.join(&buffer.path);
        }
    }

    /// How rows of a value are counted.
    fn rows_in(&self) -> RowsIn {
        match self.format {
            _ if self.pack == 1 => RowsIn::One,
            KafkaFormat::Json => RowsIn::Lines,
            _ => RowsIn::Delimited,
        }
    }

    /// What librdkafka is told beside what reaches the brokers.
    fn defaults(&self) -> Vec<(&'static str, String)> {
        let text = str::to_owned;
        vec![
            ("acks", text("all")),
            ("enable.idempotence", text("true")),
            ("linger.ms", self.linger_ms.to_string()),
            ("compression.type", text(self.compression.name())),
            ("batch.num.messages", text("100000")),
            ("batch.size", text("1000000")),
            ("queue.buffering.max.messages", text("500000")),
            // What waits here is counted by whoever feeds the sink; more is only memory.
            ("queue.buffering.max.kbytes", text("131072")),
            // Rows wait for brokers that are away as long as it takes.
            ("message.timeout.ms", text("0")),
            // A topic that was just made is not known everywhere at once.
            ("topic.metadata.propagation.max.ms", text("5000")),
        ]
    }
}
