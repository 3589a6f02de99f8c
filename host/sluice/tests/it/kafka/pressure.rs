//! Sinks that take nothing: the source stands still, stays in its group, and goes on later.

use std::fs;

use sluice_testkit::kafka::{Broker, Options};

use super::cluster::{Cluster, until};
use super::pipeline::{Config, admin, kafka_to_kafka, metric, until_metric};
use super::row::{delimited, doubled, numbers};

/// Rows that wait while the sink is away: many more than may be under way.
const ROWS: u64 = 100_000;

/// Resident memory of a process in MiB.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_source_whose_sink_is_away_waits_in_its_group_and_goes_on_later() {
    let cluster = Cluster::shared();
    let from = cluster.topic("pressure-in", 2);
    let mut broker = Broker::start(Options::default()).unwrap();
    let far = Cluster::at(broker.brokers());
    far.topic("pressure-out", 2);
    // So that the test sees what it is to see: members that do not answer are missed soon, and so is the lag.
    let source = "librdkafka = { \"session.timeout.ms\" = 6000, \"statistics.interval.ms\" = 200 }";
    let text = kafka_to_kafka("pressure", &cluster.brokers, broker.brokers(), source, "");
    let config = Config::new(&text);
    let mut run = config.start();
    let admin = admin(&mut run);
    cluster.produce(&from, (0..1000).map(delimited));
    until_metric(admin, "sluice_sink_out_rows_total", "sink=\"out\"", 1000.0);
    let rebalances = || metric(admin, "sluice_source_kafka_rebalances_total", "source=\"in\"");
    let before = (rebalances(), resident(run.id()));

    broker.stop().unwrap();
    cluster.produce(&from, (1000..ROWS / 2).map(delimited));
    run.wait_for("reading is paused");
    cluster.produce(&from, (ROWS / 2..ROWS).map(delimited));
    until_metric(admin, "sluice_source_kafka_lag", "source=\"in\"", ROWS as f64 * 0.9);
    // Eight batches of a hundred rows may be under way, and what waits in between is bounded too.
    let read = metric(admin, "sluice_source_in_rows_total", "source=\"in\"").unwrap();
    assert!(read < 10_000.0, "{read} rows were read while the sink was away");
    let after = (rebalances(), resident(run.id()));
    assert_eq!(before.0, after.0, "the group stays as it is");
    assert!(after.1 < before.1 + 128, "{} MiB, then {} MiB", before.1, after.1);

    broker.restart().unwrap();
    until("the last commit", || (cluster.committed("pressure", &from) == ROWS as i64).then_some(()));
    let said = [
        ("sluice_source_kafka_values_total", "source=\"in\""),
        ("sluice_source_kafka_commits_total", "source=\"in\""),
        ("sluice_sink_kafka_messages_total", "sink=\"out\""),
    ];
    for (name, labels) in said {
        assert!(metric(admin, name, labels).is_some_and(|value| value > 0.0), "{name}");
    }
    until("there is no lag", || (metric(admin, "sluice_source_kafka_lag", "source=\"in\"") == Some(0.0)).then_some(()));
    assert_eq!(before.0, rebalances());
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = far.read("pressure-out").into_iter().flat_map(|record| numbers(&record.value));
    let doubled = doubled(found, ROWS);
    println!(
        "{ROWS} rows, {doubled} more than once; {} MiB, then {} MiB; {read} read while the sink was away",
        before.1, after.1
    );
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn transactions_and_messages_are_counted() {
    let cluster = Cluster::shared();
    let from = cluster.topic("counted-in", 1);
    cluster.topic("counted-out", 1);
    let source = "delivery = \"exactly-once\"\nlibrdkafka = { \"statistics.interval.ms\" = 200 }";
    let config = Config::new(&kafka_to_kafka("counted", &cluster.brokers, &cluster.brokers, source, ""));
    let mut run = config.start();
    let admin = admin(&mut run);
    cluster.produce(&from, (0..1000).map(delimited));
    until("the commit", || (cluster.committed("counted", &from) == 1000).then_some(()));
    until_metric(admin, "sluice_sink_kafka_transactions_total", "", 1.0);
    assert_eq!(metric(admin, "sluice_sink_kafka_aborted_transactions_total", ""), Some(0.0));
    assert_eq!(metric(admin, "sluice_sink_kafka_messages_total", ""), Some(1000.0));
    assert_eq!(metric(admin, "sluice_sink_kafka_failed_messages_total", ""), Some(0.0));
    assert_eq!(metric(admin, "sluice_source_kafka_values_total", ""), Some(1000.0));
    until("there is no lag", || {
        (metric(admin, "sluice_source_kafka_lag", "topic=\"counted-in\",partition=\"0\"") == Some(0.0)).then_some(())
    });
    assert_eq!(run.stop().code, Some(0));
}
