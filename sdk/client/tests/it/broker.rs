//! What the tests do with a broker.

use std::env;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sluice_client::{Consumer, ConsumerBuilder, Flow, Producer, ProducerBuilder, RecvError};
use sluice_testkit::kafka::{BROKERS_VARIABLE, Broker, install};

/// Whether there is one, or can be.
pub(crate) fn is_there() -> Result<(), String> {
    if env::var_os(BROKERS_VARIABLE).is_some() { Ok(()) } else { can_start() }
}

/// Whether a test can have one of its own.
pub(crate) fn can_start() -> Result<(), String> {
    if install::is_there() { Ok(()) } else { Err("needs Apache Kafka: cargo xtask kafka --fetch".to_owned()) }
}

pub(crate) fn brokers() -> &'static str {
    Broker::shared().unwrap()
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(test)
}

/// A name that no other test has, also not in an earlier run with the same broker.
pub(crate) fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("client-{what}-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a topic and returns its name.
pub(crate) async fn topic_at(brokers: &str, what: &str, partitions: i32) -> String {
    let name = name(what);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    made[0].as_ref().unwrap();
    name
}

pub(crate) async fn topic(what: &str, partitions: i32) -> String {
    topic_at(brokers(), what, partitions).await
}

pub(crate) fn consumer(topic: &str, group: &str) -> ConsumerBuilder {
    Consumer::builder().brokers(brokers()).topic(topic).group(group)
}

pub(crate) fn producer(topic: &str) -> ProducerBuilder {
    Producer::builder().brokers(brokers()).topic(topic)
}

/// A flow that is told from others by its number, with times that every format has.
pub(crate) fn flow(number: u32) -> Flow {
    Flow {
        time_received_ns: 1_700_000_060_000_000_000,
        time_flow_start_ns: 1_700_000_000_000_000_000,
        time_flow_end_ns: 1_700_000_050_000_000_000,
        src_addr: vec![192, 0, 2, 1],
        dst_addr: vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        bytes: 1000 + u64::from(number),
        packets: 10,
        proto: 6,
        src_port: 49_152,
        dst_port: 443,
        sequence_num: number,
        cid: 1001,
        ..Flow::default()
    }
}

/// Writes the flows with these numbers.
pub(crate) async fn write(mut producer: Producer, numbers: impl Iterator<Item = u32>) {
    for number in numbers {
        producer.send(&flow(number)).await.unwrap();
    }
    producer.flush().await.unwrap();
}

/// Writes a value as it is.
pub(crate) async fn write_value(topic: &str, partition: i32, value: Option<&[u8]>) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let mut record = FutureRecord::<(), [u8]>::to(topic).partition(partition);
    record.payload = value;
    producer.send(record, None).await.unwrap();
}

/// Reads until there are `count` flows, commits them if asked to, and returns their numbers, sorted.
pub(crate) async fn read(consumer: &mut Consumer, count: usize, commits: bool) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        match consumer.recv().await {
            Ok(received) => {
                numbers.extend(received.flows.iter().map(|flow| flow.sequence_num));
                if commits {
                    consumer.commit(&received.offsets).unwrap();
                }
            }
            // They are started, killed and elected; librdkafka goes on.
            Err(RecvError::Brokers(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    numbers.sort_unstable();
    numbers
}
