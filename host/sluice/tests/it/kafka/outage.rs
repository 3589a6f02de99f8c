//! Brokers that go away and come back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluice_testkit::kafka::{Broker, Options};

use super::cluster::{Cluster, until};
use super::pipeline::{Config, admin, feed, kafka_to_kafka, metric, until_metric};
use super::row::{delimited, doubled, numbers};
use crate::tool::{exporter, netflow5};

/// Time without a broker.
const OUTAGE: Duration = Duration::from_secs(30);
/// Longest time after SIGTERM: the grace period of these configurations, and what is left to do after it.
const END: Duration = Duration::from_secs(60);

/// From UDP to a topic, over a queue on disk.
fn buffered(brokers: &str) -> String {
    format!(
        r#"
        shutdown_grace_ms = 5000
        [admin]
        listen = "127.0.0.1:0"

        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_delay_ms = 20

        [sinks.out]
        type = "kafka"
        inputs = ["edge"]
        brokers = ["{brokers}"]
        topic = "udp-out"
        format = "json"
        buffer = {{ path = "kafka.queue" }}
        "#
    )
}

/// Sends datagrams with 20 rows each, and waits until the disk has them.
fn export(to: SocketAddr, admin: SocketAddr, sent: &mut u32, datagrams: u32) {
    let socket = exporter(to);
    for _ in 0..datagrams {
        socket.send(&netflow5(*sent, &[7; 20])).unwrap();
        *sent += 20;
    }
    until_metric(admin, "sluice_sink_out_rows_total", "sink=\"out\"", f64::from(*sent));
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn nothing_is_lost_when_the_broker_is_away_for_half_a_minute() {
    let mut broker = Broker::start(Options::default()).unwrap();
    let cluster = Cluster::at(broker.brokers());
    cluster.topic("udp-out", 1);
    for name in ["least", "once"] {
        cluster.topic(&format!("{name}-in"), 2);
        cluster.topic(&format!("{name}-out"), 2);
    }
    let brokers = broker.brokers().to_owned();
    let config = Config::new(&buffered(&brokers));
    let mut udp = config.start();
    let udp_admin = admin(&mut udp);
    let to = udp.listening();
    let least_config = Config::new(&kafka_to_kafka("least", &brokers, &brokers, "", ""));
    let once_config = Config::new(&kafka_to_kafka("once", &brokers, &brokers, "delivery = \"exactly-once\"", ""));
    let (mut least, mut once) = (least_config.start(), once_config.start());

    let mut sent = 0;
    export(to, udp_admin, &mut sent, 10);
    until("rows before", || (cluster.length("udp-out") == i64::from(sent)).then_some(()));
    let before = [feed(&cluster, "least", 0, 1000), feed(&cluster, "once", 0, 1000)];

    broker.stop().unwrap();
    let stopped = Instant::now();
    udp.wait_for("kafka");
    least.wait_for("kafka");
    once.wait_for("kafka");
    until("half a minute", || {
        export(to, udp_admin, &mut sent, 1);
        (stopped.elapsed() >= OUTAGE).then_some(())
    });
    assert!(metric(udp_admin, "sluice_sink_buffer_rows", "sink=\"out\"").unwrap() > 0.0);
    broker.restart().unwrap();

    export(to, udp_admin, &mut sent, 10);
    until("the buffer is empty", || {
        (metric(udp_admin, "sluice_sink_buffer_rows", "sink=\"out\"") == Some(0.0)).then_some(())
    });
    let ended = udp.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("edge"), (u64::from(sent), u64::from(sent), 0));
    let arrived = cluster.read("udp-out").len();
    assert!(arrived >= sent as usize, "{arrived} of {sent}");
    println!("disk buffer: {sent} rows, {} more than once", arrived - sent as usize);

    for ((name, run), before) in [("least", least), ("once", once)].into_iter().zip(before) {
        let sent = feed(&cluster, name, before, 2000);
        let from = format!("{name}-in");
        until("the last commit", || (cluster.committed(name, &from) == sent as i64).then_some(()));
        let ended = run.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let found = cluster.read(&format!("{name}-out")).into_iter().flat_map(|record| numbers(&record.value));
        let doubled = doubled(found, sent);
        println!("{name}: {sent} rows, {doubled} more than once");
        assert!(name == "least" || doubled == 0);
    }
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn the_end_does_not_wait_for_a_broker_that_is_away() {
    let mut broker = Broker::start(Options::default()).unwrap();
    let cluster = Cluster::at(broker.brokers());
    cluster.topic("udp-out", 1);
    let brokers = broker.brokers().to_owned();
    let config = Config::new(&buffered(&brokers));
    let mut udp = config.start();
    let udp_admin = admin(&mut udp);
    let to = udp.listening();
    let mut runs = Vec::new();
    for (name, source) in [("least", ""), ("once", "delivery = \"exactly-once\"")] {
        cluster.topic(&format!("{name}-in"), 2);
        cluster.topic(&format!("{name}-out"), 2);
        let text = format!("shutdown_grace_ms = 5000\n{}", kafka_to_kafka(name, &brokers, &brokers, source, ""));
        let config = Config::new(&text);
        let run = config.start();
        feed(&cluster, name, 0, 1000);
        // More than it can be done with when the broker goes.
        cluster.produce(&format!("{name}-in"), (0..20_000).map(delimited));
        runs.push((name, config, run));
    }
    broker.kill();
    let mut sent = 0;
    export(to, udp_admin, &mut sent, 10);
    udp.wait_for("kafka");
    runs.iter_mut().for_each(|(_, _, run)| drop(run.wait_for("kafka")));

    let stopped = Instant::now();
    udp.signal("TERM");
    runs.iter().for_each(|(_, _, run)| run.signal("TERM"));
    let ended = udp.end();
    assert!(stopped.elapsed() < END, "buffer: {:?}\n{}", stopped.elapsed(), ended.log);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("out"), (u64::from(sent), u64::from(sent), 0));
    for (name, _config, run) in runs {
        let ended = run.end();
        assert!(stopped.elapsed() < END, "{name}: {:?}\n{}", stopped.elapsed(), ended.log);
        ended.books("in");
        ended.books("out");
        println!("{name}: ended {:?} after SIGTERM", stopped.elapsed());
    }

    // What waited on disk is written by the next run.
    broker.restart().unwrap();
    let udp = config.start();
    until("rows of the last run", || (cluster.length("udp-out") == i64::from(sent)).then_some(()));
    assert_eq!(udp.stop().code, Some(0));
}
