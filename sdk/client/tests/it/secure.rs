//! Who is let in, and what is said to those who are not.

use std::error::Error;

use sluice_client::{ConnectError, Consumer, Producer, Sasl, Tls};
use sluice_testkit::kafka::{Broker, Options};

use crate::broker::{brokers, name, read, run, topic_at, write};

fn said(error: &ConnectError) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

pub(crate) fn what_is_missing_is_said() {
    run(async {
        let error = Consumer::builder().topic("t").group("g").connect().await.unwrap_err();
        assert_eq!(said(&error), "no brokers given: call `brokers` of the builder");
        let error = Consumer::builder().brokers("b").topic("t").connect().await.unwrap_err();
        assert_eq!(said(&error), "no group given: call `group` of the builder");
        let error = Producer::builder().brokers("b").connect().await.unwrap_err();
        assert_eq!(said(&error), "no topic given: call `topic` of the builder");
        let tls = Tls::new().ca("/no/such/ca.pem");
        let error = Producer::builder().brokers("b").topic("t").tls(tls).connect().await.unwrap_err();
        assert_eq!(said(&error), "/no/such/ca.pem cannot be read: No such file or directory (os error 2)");
        let error = Producer::builder().brokers("b").topic("t").setting("no.such", "1").connect().await.unwrap_err();
        assert!(said(&error).contains("no.such"), "{}", said(&error));
        // Nobody prints a password by accident.
        assert!(!format!("{:?}", Producer::builder().sasl(Sasl::plain("alice", "secret"))).contains("secret"));
    });
}

pub(crate) fn a_password_is_asked_for() {
    run(async {
        let broker = Broker::start(Options::default().user("alice", "secret-1")).unwrap();
        let topic = topic_at(broker.brokers(), "sasl", 1).await;
        let consumer = |sasl| Consumer::builder().brokers(broker.sasl_brokers()).topic(&topic).group("g").sasl(sasl);
        let producer = Producer::builder().brokers(broker.sasl_brokers()).topic(&topic);
        let producer = producer.sasl(Sasl::plain("alice", "secret-1")).connect().await.unwrap();
        write(producer, 0..3).await;
        for sasl in [Sasl::scram_sha_256("alice", "secret-1"), Sasl::scram_sha_512("alice", "secret-1")] {
            let mut consumer = consumer(sasl).connect().await.unwrap();
            assert_eq!(read(&mut consumer, 3, false).await, [0, 1, 2]);
        }
        for sasl in [Sasl::plain("alice", "wrong"), Sasl::scram_sha_512("nobody", "secret-1")] {
            let error = said(&consumer(sasl).connect().await.unwrap_err());
            assert!(error.contains("no access to the Kafka brokers") && error.contains("uthentication"), "{error}");
        }
    });
}

pub(crate) fn certificates_are_checked_both_ways() {
    run(async {
        let broker = Broker::start(Options::default().tls()).unwrap();
        let files = broker.certificates();
        let topic = topic_at(broker.brokers(), "tls", 1).await;
        let producer = |tls| Producer::builder().brokers(broker.tls_brokers()).topic(&topic).tls(tls).connect();
        let trusted = || Tls::new().ca(&files.ca).client(&files.certificate, &files.key);
        write(producer(trusted()).await.unwrap(), 0..3).await;
        let consumer = Consumer::builder().brokers(broker.tls_brokers()).topic(&topic).group("g").tls(trusted());
        assert_eq!(read(&mut consumer.connect().await.unwrap(), 3, true).await, [0, 1, 2]);
        // The system's authorities do not know the broker.
        let error = said(&producer(Tls::new()).await.unwrap_err());
        assert!(error.contains("certificate verify failed"), "{error}");
        // The broker wants a certificate.
        let error = said(&producer(Tls::new().ca(&files.ca)).await.unwrap_err());
        assert!(error.contains("no access to the Kafka brokers"), "{error}");
    });
}

pub(crate) fn a_topic_that_is_not_there() {
    run(async {
        let topic = name("missing");
        let consumer = Consumer::builder().brokers(brokers()).topic(&topic).group(name("group"));
        let error = said(&consumer.connect().await.unwrap_err());
        assert!(error.starts_with(&format!("no access to the topic {topic}: ")), "{error}");
        assert!(error.contains("Unknown topic or partition"), "{error}");
    });
}
