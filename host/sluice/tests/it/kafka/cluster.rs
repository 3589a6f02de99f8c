//! A cluster as tests see it: topics that they make, fill and read to the end.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sluice_testkit::kafka::Broker;

/// Longest time that anything may take on a machine that is busy with something else.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

/// Time between two looks at something that nobody tells of.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until there is an answer.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(LOOK);
    }
}

/// The brokers at an address, and clients for them.
pub(super) struct Cluster {
    pub(super) brokers: String,
    runtime: tokio::runtime::Runtime,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
    /// Sees what is committed, up to the first transaction that is open.
    looker: BaseConsumer,
    /// Sees everything.
    overseer: BaseConsumer,
}

/// A value in a topic.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) headers: Vec<(String, String)>,
}

impl Cluster {
    /// The broker that tests share; topics and groups have names of their own.
    pub(super) fn shared() -> Cluster {
        Cluster::at(Broker::shared().unwrap())
    }

    pub(super) fn at(brokers: &str) -> Cluster {
        let mut config = ClientConfig::new();
        // Tests that stop the broker know that.
        config.set("bootstrap.servers", brokers).set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        let mut consumer = config.clone();
        consumer.set("group.id", "tests").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let looker = consumer.create().unwrap();
        let overseer = consumer.set("isolation.level", "read_uncommitted").create().unwrap();
        let producer = config.clone().set("linger.ms", "5").set("acks", "all").create().unwrap();
        Cluster { brokers: brokers.to_owned(), runtime, admin: config.create().unwrap(), producer, looker, overseer }
    }

    /// Makes a topic, and returns its name.
    pub(super) fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, partitions, &[])
    }

    /// The same, with settings of its own.
    pub(super) fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let made = self.runtime.block_on(self.admin.create_topics([&new], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|made| assert_eq!(made.unwrap(), name));
        // Made is not yet known everywhere.
        until("a topic's leader", || (self.partitions(name) == partitions).then_some(()));
        name.to_owned()
    }

    pub(super) fn delete(&self, topic: &str) {
        let deleted = self.runtime.block_on(self.admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
        deleted.into_iter().for_each(|deleted| drop(deleted.unwrap()));
        until("a topic's end", || (self.partitions(topic) == 0).then_some(()));
    }

    /// Partitions of a topic that have a leader; none if it is not there.
    pub(super) fn partitions(&self, topic: &str) -> i32 {
        let Ok(metadata) = self.looker.fetch_metadata(Some(topic), Duration::from_secs(10)) else { return 0 };
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.filter(|partition| partition.error().is_none() && partition.leader() >= 0).count() as i32
    }

    /// The names of all topics with this beginning.
    pub(super) fn topics(&self, beginning: &str) -> Vec<String> {
        let metadata = self.looker.fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(beginning)).collect();
        names.sort();
        names
    }

    /// Writes values to a topic, one partition after the other, and waits until the brokers have them.
    pub(super) fn produce(&self, topic: &str, values: impl IntoIterator<Item = Vec<u8>>) {
        let partitions = self.partitions(topic).max(1);
        for (at, value) in values.into_iter().enumerate() {
            let record = BaseRecord::<[u8], [u8]>::to(topic).payload(&value).partition(at as i32 % partitions);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
        assert_eq!(self.producer.in_flight_count(), 0);
    }

    /// Offsets up to which the values of each partition can be read, added up; 0 if the topic is not there.
    pub(super) fn length(&self, topic: &str) -> i64 {
        self.length_for(&self.looker, topic)
    }

    fn length_for(&self, consumer: &BaseConsumer, topic: &str) -> i64 {
        let watermarks = |partition| consumer.fetch_watermarks(topic, partition, Duration::from_secs(10));
        (0..self.partitions(topic)).filter_map(|partition| watermarks(partition).ok()).map(|(_, end)| end).sum()
    }

    /// Offsets that a group has committed for a topic, added up.
    pub(super) fn committed(&self, group: &str, topic: &str) -> i64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", group);
        // What a process that died had begun to commit is not waited for.
        config.set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            list.add_partition(topic, partition);
        }
        let committed = consumer.committed_offsets(list, Duration::from_secs(30)).unwrap();
        let offsets = committed.elements().iter().map(|element| element.offset()).collect::<Vec<_>>();
        offsets.into_iter().filter_map(|offset| offset.to_raw()).filter(|offset| *offset > 0).sum()
    }

    /// Partitions of each member of a group, when it has shared them out.
    pub(super) fn members(&self, group: &str) -> Option<Vec<i32>> {
        let groups = self.looker.fetch_group_list(Some(group), Duration::from_secs(10)).ok()?;
        let group = groups.groups().iter().find(|found| found.name() == group && found.state() == "Stable")?;
        let mut shares =
            group.members().iter().map(|member| share(member.assignment()?)).collect::<Option<Vec<i32>>>()?;
        shares.sort_unstable();
        Some(shares)
    }

    /// Everything that is committed in a topic, by partition and offset. Waits for the end of a transaction that a process
    /// which was killed has left open: behind its beginning nothing can be read.
    pub(super) fn read(&self, topic: &str) -> Vec<Record> {
        until("the end of open transactions", || {
            (self.length(topic) == self.length_for(&self.overseer, topic)).then_some(())
        });
        self.read_until(topic, |_| false)
    }

    /// As [`read`](Self::read), until `is_enough` or the end of every partition.
    fn read_until(&self, topic: &str, mut is_enough: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "tests").set("enable.partition.eof", "true");
        config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let partitions = self.partitions(topic);
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|partition| list.add_partition_offset(topic, partition, Offset::Beginning).unwrap());
        consumer.assign(&list).unwrap();
        let end = Instant::now() + PATIENCE;
        let (mut records, mut ended) = (Vec::new(), 0);
        while ended < partitions && !is_enough(&records) {
            assert!(Instant::now() < end, "{topic} has no end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: message.headers().into_iter().flat_map(headers).collect(),
                }),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }
}

/// How many partitions an assignment has: version, topics, and of each its name and partitions.
fn share(assignment: &[u8]) -> Option<i32> {
    fn number<const N: usize>(left: &mut &[u8]) -> Option<usize> {
        let (number, rest) = left.split_first_chunk::<N>()?;
        *left = rest;
        Some(number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }
    let mut left = assignment.get(2..)?;
    let mut count = 0;
    for _ in 0..number::<4>(&mut left)? {
        let length = number::<2>(&mut left)?;
        left = left.get(length..)?;
        let partitions = number::<4>(&mut left)?;
        count += partitions as i32;
        left = left.get(4 * partitions..)?;
    }
    Some(count)
}

fn headers(headers: &rdkafka::message::BorrowedHeaders) -> Vec<(String, String)> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}
