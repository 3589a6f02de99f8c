//! What a producer writes, and what it says of what it could not write.

use std::error::Error;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sluice_client::{Flow, Framing, Producer, SendError};
use sluice_testkit::kafka::{Broker, Options};

use crate::broker::{brokers, consumer, flow, name, producer, read, run, topic, topic_at, write};

/// Values in partition 0.
fn values(topic: &str) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    consumer.fetch_watermarks(topic, 0, Duration::from_secs(30)).unwrap().1
}

pub(crate) fn flows_are_packed() {
    run(async {
        let packed = topic("packed", 1).await;
        write(producer(&packed).flows_per_value(40).connect().await.unwrap(), 0..100).await;
        assert_eq!(values(&packed), 3);
        // A value is sent before it is too large for the brokers.
        let large = topic("large", 1).await;
        let mut producer_of_large = producer(&large).flows_per_value(60_000).connect().await.unwrap();
        let note = Flow { note: "x".repeat(60_000), ..flow(0) };
        for _ in 0..50 {
            producer_of_large.send(&note).await.unwrap();
        }
        producer_of_large.flush().await.unwrap();
        assert_eq!(values(&large), 10);
        let bare = topic("bare", 1).await;
        write(producer(&bare).framing(Framing::Bare).flows_per_value(40).connect().await.unwrap(), 0..4).await;
        assert_eq!(values(&bare), 4);
    });
}

pub(crate) fn a_flow_that_is_too_long_is_left_out() {
    run(async {
        let topic = topic("too-long", 1).await;
        let mut producer = producer(&topic).connect().await.unwrap();
        producer.send(&flow(0)).await.unwrap();
        let error = producer.send(&Flow { note: "x".repeat(70_000), ..flow(1) }).await.unwrap_err();
        assert!(matches!(error, SendError::TooLong { bytes: 70_000.. }), "{error}");
        producer.send(&flow(2)).await.unwrap();
        producer.flush().await.unwrap();
        let mut consumer = consumer(&topic, &name("group")).connect().await.unwrap();
        assert_eq!(read(&mut consumer, 2, true).await, [0, 2]);
    });
}

pub(crate) fn flows_that_did_not_arrive_are_counted() {
    run(async {
        let mut broker = Broker::start(Options::default()).unwrap();
        let topic = topic_at(broker.brokers(), "lost", 1).await;
        write(Producer::builder().brokers(broker.brokers()).topic(&topic).connect().await.unwrap(), 0..1).await;
        let producer = Producer::builder().brokers(broker.brokers()).topic(&topic).flows_per_value(3);
        // A value is given up after a second.
        let producer = producer.setting("message.timeout.ms", "1000").setting("linger.ms", "5");
        let mut producer = producer.connect().await.unwrap();
        broker.stop().unwrap();
        for number in 1..8 {
            producer.send(&flow(number)).await.unwrap();
        }
        let error = producer.flush().await.unwrap_err();
        assert_eq!(error.to_string(), "7 flows were not delivered");
        assert!(error.source().unwrap().to_string().contains("timed out"), "{error:?}");
        // Said once; and the producer goes on.
        producer.flush().await.unwrap();
        broker.restart().unwrap();
        let producer = Producer::builder().brokers(broker.brokers()).topic(&topic);
        write(producer.connect().await.unwrap(), 8..9).await;
        let consumer = sluice_client::Consumer::builder().brokers(broker.brokers()).topic(&topic).group("after");
        assert_eq!(read(&mut consumer.connect().await.unwrap(), 2, true).await, [0, 8]);
    });
}
