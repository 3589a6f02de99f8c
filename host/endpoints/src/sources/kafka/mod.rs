//! Kafka topics, as a member of a consumer group.

mod consume;
mod decode;
mod source;
mod state;
mod tracker;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

pub use source::{KafkaSource, Reading};

use super::udp::{MOST_BATCH_ROWS, default_batch_rows};
use crate::Invalid;
use crate::kafka::{Connection, DeadLetterConfig, KafkaFormat, KafkaFraming, SaslConfig, Setting, TlsConfig};

/// Settings that the source makes itself.
const OWN: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `brokers`"),
    ("security.protocol", "use `tls` and `sasl`"),
    ("group.id", "use `group`"),
    ("auto.offset.reset", "use `start`"),
    ("partition.assignment.strategy", "use `assignment`"),
    ("enable.auto.commit", "an offset is committed when its rows have arrived"),
    ("enable.auto.offset.store", "an offset is committed when its rows have arrived"),
    ("enable.partition.eof", "use `until_end`"),
];

/// `[sources.NAME]` with `type = "kafka"`: reads flows from topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSourceConfig {
    /// Brokers to begin with, e.g. `["kafka1:9092", "kafka2:9092"]`. Required.
    pub brokers: Vec<String>,
    /// Topics, e.g. `["flows"]`; one that begins with `^` is a regular expression. Required.
    pub topics: Vec<String>,
    /// Consumer group. Processes with the same one share the partitions. Required.
    pub group: String,
    /// `"goflow2"`, `"flowpipeline"`, `"bwnetflow"` (protobuf), `"json"`, or `"detect"`: what the first 100 values are, if all
    /// of them agree. Required.
    pub format: KafkaFormat,
    /// `"delimited"` (several messages in a value are taken too) or `"bare"`. Required for protobuf.
    pub framing: Option<KafkaFraming>,
    /// Where a group begins that has committed nothing: `"latest"` or `"earliest"`. Default `"latest"`.
    #[serde(default)]
    pub start: Start,
    /// How the group shares partitions: `"cooperative-sticky"`, `"range"` or `"roundrobin"`. Default `"cooperative-sticky"`: who
    /// keeps a partition goes on reading it meanwhile.
    #[serde(default)]
    pub assignment: Assignment,
    /// Name of this member, e.g. `"collector-1"`: after a restart within the session timeout it has its partitions again without
    /// the group sharing anew. Default: none.
    pub instance_id: Option<String>,
    /// Consumers in this process, each with a thread. Default 1; 1 to 64.
    #[serde(default = "default_consumers")]
    pub consumers: usize,
    /// `"at-least-once"`, or `"exactly-once"`: everything behind the source must be Kafka sinks on the same
    /// brokers, and what they write becomes visible together with how far was read. Default `"at-least-once"`.
    #[serde(default)]
    pub delivery: KafkaSourceDelivery,
    /// Name by which brokers tell this process from its successor, for `"exactly-once"`, e.g. `"collector-1"`. Must be
    /// the same after a restart, and another one for each process. Default: made of group, source and host name.
    pub transactional_id: Option<String>,
    /// Milliseconds between two commits. Default 1000; 10 to 60000.
    #[serde(default = "default_commit_interval_ms")]
    pub commit_interval_ms: u64,
    /// Batches that may be under way to sinks; then no more is read. Default 16; 1 to 1000.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// Rows that close a batch, e.g. `4096`. Default 32768; 1 to 65536. A batch can be larger by what one value brings.
    #[serde(default = "default_batch_rows")]
    pub batch_rows: usize,
    /// Milliseconds a row may wait for its batch to fill, e.g. `50`. Default 200; 1 to 60000.
    #[serde(default = "default_batch_delay_ms")]
    pub batch_delay_ms: u64,
    /// End when the end of every partition is reached, instead of waiting for more. For one topic and one consumer. Default false.
    #[serde(default)]
    pub until_end: bool,
    /// Who takes values that cannot be read. Default: they are counted, and the log says why.
    pub dead_letter: Option<DeadLetterConfig>,
    /// Encrypt, with these certificates. An empty table is TLS with the system's authorities. Default: plain text.
    pub tls: Option<TlsConfig>,
    /// Say who we are. Default: do not.
    pub sasl: Option<SaslConfig>,
    /// Any other setting of librdkafka, e.g. `{ "session.timeout.ms" = 10000 }`.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, Setting>,
}

fn default_consumers() -> usize {
    1
}

fn default_commit_interval_ms() -> u64 {
    1000
}

fn default_max_in_flight() -> usize {
    16
}

fn default_batch_delay_ms() -> u64 {
    200
}

/// `start` of a Kafka source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With what comes from now on.
    #[default]
    Latest,
    /// With the oldest that is there.
    Earliest,
}

/// `assignment` of a Kafka source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// Only what moves is given up.
    #[default]
    CooperativeSticky,
    /// Neighbouring partitions together.
    Range,
    /// In turn.
    #[serde(rename = "roundrobin")]
    RoundRobin,
}

/// `delivery` of a Kafka source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaSourceDelivery {
    /// Rows may come twice after a crash, and none is lost.
    #[default]
    AtLeastOnce,
    /// In transactions.
    ExactlyOnce,
}

impl KafkaSourceConfig {
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
        self.format.protobuf(self.framing)?;
        if self.topics.is_empty() || self.topics.iter().any(String::is_empty) {
            return Err(Invalid::new("topics", "there is none", "name at least one, e.g. [\"flows\"]"));
        }
        if self.group.is_empty() {
            return Err(Invalid::new("group", "it is empty", "name the consumer group, e.g. \"sluice\""));
        }
        Invalid::unless_within("consumers", self.consumers as u64, 1, 64)?;
        Invalid::unless_within("commit_interval_ms", self.commit_interval_ms, 10, 60_000)?;
        Invalid::unless_within("max_in_flight", self.max_in_flight as u64, 1, 1000)?;
        Invalid::unless_within("batch_rows", self.batch_rows as u64, 1, MOST_BATCH_ROWS)?;
        Invalid::unless_within("batch_delay_ms", self.batch_delay_ms, 1, 60_000)?;
        if self.instance_id.is_some() && self.consumers > 1 {
            let remedy = "use one consumer, or leave `instance_id` out";
            return Err(Invalid::new("instance_id", "several consumers would be one member of the group", remedy));
        }
        if self.delivery == KafkaSourceDelivery::ExactlyOnce && self.consumers > 1 {
            let remedy = "use one consumer, or start several processes";
            return Err(Invalid::new("consumers", "a transaction has one consumer", remedy));
        }
        let is_one =
            self.consumers == 1 && self.topics.len() == 1 && !self.topics.iter().any(|topic| topic.starts_with('^'));
        if self.until_end && !is_one {
            let remedy = "use one topic by its name and one consumer, or leave it out";
            return Err(Invalid::new("until_end", "there is no one end of several topics or consumers", remedy));
        }
        if self.delivery == KafkaSourceDelivery::AtLeastOnce && self.transactional_id.is_some() {
            let remedy = "add `delivery = \"exactly-once\"`, or leave it out";
            return Err(Invalid::new("transactional_id", "there are no transactions", remedy));
        }
        match &self.dead_letter {
            Some(letters) => letters.validate(),
            None => Ok(()),
        }
    }

    /// Paths become relative to `base`.
    pub fn resolve(&mut self, base: &Path) {
        Connection::resolve(base, &mut self.tls, &mut self.sasl);
        if let Some(letters) = &mut self.dead_letter {
            letters.resolve(base);
        }
    }

    /// What librdkafka is told beside what reaches the brokers.
    fn defaults(&self) -> Vec<(&'static str, String)> {
        let text = str::to_owned;
        let start = match self.start {
            Start::Latest => "latest",
            Start::Earliest => "earliest",
        };
        let assignment = match self.assignment {
            Assignment::CooperativeSticky => "cooperative-sticky",
            Assignment::Range => "range",
            Assignment::RoundRobin => "roundrobin",
        };
        let mut defaults = vec![
            ("group.id", self.group.clone()),
            ("auto.offset.reset", text(start)),
            ("partition.assignment.strategy", text(assignment)),
            ("enable.auto.commit", text("false")),
            ("enable.auto.offset.store", text("false")),
            ("enable.partition.eof", self.until_end.to_string()),
            ("isolation.level", text("read_committed")),
            // For the lag.
            ("statistics.interval.ms", text("5000")),
            // What is fetched ahead: memory that nobody else counts.
            ("queued.max.messages.kbytes", text("32768")),
            // When that is full: librdkafka would wait for a second, and a source that is behind read 32 MiB in each.
            ("fetch.queue.backoff.ms", text("20")),
            ("fetch.message.max.bytes", text("2097152")),
            // A pattern finds new topics, and a new topic its leader, within seconds.
            ("topic.metadata.refresh.interval.ms", text("10000")),
        ];
        if let Some(id) = &self.instance_id {
            defaults.push(("group.instance.id", id.clone()));
        }
        defaults
    }
}
