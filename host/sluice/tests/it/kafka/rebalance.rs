//! Processes that come, go, die, and come back when they should not.

use super::cluster::{Cluster, until};
use super::pipeline::{Config, admin, feed, kafka_to_kafka, metric, until_metric};
use super::row::{delimited, doubled, numbers};
use crate::tool::Running;

/// A process that died is missed soon.
const SOON: &str = "librdkafka = { \"session.timeout.ms\" = 6000, \"heartbeat.interval.ms\" = 500 }";

/// Waits until a process has partitions of its own, and rows of them.
fn until_at_work(run: &mut Running) {
    let admin = admin(run);
    until_metric(admin, "sluice_sink_out_rows_total", "sink=\"out\"", 1.0);
}

fn check(name: &str, delivery: &str) -> u64 {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.topic(&format!("{name}-in"), 4), cluster.topic(&format!("{name}-out"), 2));
    let config = |process: usize| {
        let id =
            if delivery == "exactly-once" { format!("transactional_id = \"{name}-{process}\"") } else { String::new() };
        let source = format!("delivery = \"{delivery}\"\n{id}\n{SOON}");
        // One that does not come back holds up its partitions for so long.
        let sink = "librdkafka = { \"transaction.timeout.ms\" = 10000 }";
        Config::new(&kafka_to_kafka(name, &cluster.brokers, &cluster.brokers, &source, sink))
    };
    let configs = [config(0), config(1)];

    let mut first = configs[0].start();
    let mut sent = feed(&cluster, name, 0, 2000);
    until_at_work(&mut first);
    // Another one comes in mid-stream, and leaves in order.
    let mut second = configs[1].start();
    until("both at work", || {
        sent = feed(&cluster, name, sent, 500);
        cluster.members(name).is_some_and(|members| members == [2, 2]).then_some(())
    });
    sent = feed(&cluster, name, sent, 3000);
    until_at_work(&mut second);
    let ended = second.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    sent = feed(&cluster, name, sent, 2000);
    // It comes again, and dies.
    let second = configs[1].start();
    until("both at work again", || {
        sent = feed(&cluster, name, sent, 500);
        cluster.members(name).is_some_and(|members| members == [2, 2]).then_some(())
    });
    sent = feed(&cluster, name, sent, 1000);
    second.kill();
    until("the first one has all", || cluster.members(name).is_some_and(|members| members == [4]).then_some(()));
    until("the last commit", || (cluster.committed(name, &from) == sent as i64).then_some(()));
    let ended = first.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = cluster.read(&to).into_iter().flat_map(|record| numbers(&record.value));
    let doubled = doubled(found, sent);
    println!("{delivery}: {sent} rows, two came and went, {doubled} rows more than once");
    doubled
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn nothing_is_lost_when_processes_come_and_go() {
    check("rebalanced", "at-least-once");
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn exactly_once_is_once_when_processes_come_and_go() {
    assert_eq!(check("rebalanced-once", "exactly-once"), 0);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn rows_of_a_transaction_count_as_delivered_when_it_is_committed_and_not_when_it_is_taken_back() {
    const ROWS: u64 = 1000;
    let (cluster, name) = (Cluster::shared(), "taken-back");
    let (from, to) = (cluster.topic(&format!("{name}-in"), 1), cluster.topic(&format!("{name}-out"), 1));
    let source = format!("delivery = \"exactly-once\"\n{SOON}");
    // The first transaction stays open until something else ends it.
    let text = kafka_to_kafka(name, &cluster.brokers, &cluster.brokers, &source, "")
        .replace("commit_interval_ms = 100", "commit_interval_ms = 60000");
    let config = Config::new(&text);
    let mut run = config.start();
    let admin = admin(&mut run);
    cluster.produce(&from, (0..ROWS).map(delimited));
    until_metric(admin, "sluice_sink_in_rows_total", "sink=\"out\"", ROWS as f64);
    assert_eq!(metric(admin, "sluice_sink_out_rows_total", "sink=\"out\""), Some(0.0));
    // The group goes on without it, so that what it read is not its own any more.
    run.signal("STOP");
    until("it is missed", || cluster.members(name).is_none_or(|members| members.is_empty()).then_some(()));
    run.signal("CONT");
    until_metric(admin, "sluice_sink_in_rows_total", "sink=\"out\"", 2.0 * ROWS as f64);
    assert_eq!(metric(admin, "sluice_sink_kafka_aborted_transactions_total", "sink=\"out\""), Some(1.0));
    assert_eq!(metric(admin, "sluice_sink_out_rows_total", "sink=\"out\""), Some(0.0));
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("out"), (2 * ROWS, ROWS, ROWS), "{}", ended.log);
    let found = cluster.read(&to).into_iter().flat_map(|record| numbers(&record.value));
    assert_eq!(doubled(found, ROWS), 0);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn the_end_is_not_reached_before_the_last_transaction_is_committed() {
    const ROWS: u64 = 100;
    let (cluster, name) = (Cluster::shared(), "never-committed");
    let from = cluster.topic(&format!("{name}-in"), 2);
    // Room for the brokers' mark at the end of a transaction, and for no row.
    let to = cluster.topic_with(&format!("{name}-out"), 1, &[("max.message.bytes", "200")]);
    cluster.produce(&from, (0..ROWS).map(delimited));
    // There is one transaction, at the end, and librdkafka commits none that lacks a message.
    let source = "delivery = \"exactly-once\"\nuntil_end = true";
    let text = kafka_to_kafka(name, &cluster.brokers, &cluster.brokers, source, "")
        .replace("commit_interval_ms = 100", "commit_interval_ms = 60000");
    let ended = Config::new(&text).start().end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let error = "sluice: source in: committing: ten transactions in a row were taken back; see the log\n";
    assert!(ended.log.ends_with(error), "{}", ended.log);
    let (rows_in, out, dropped) = ended.books("out");
    assert_eq!((rows_in, out, dropped), (10 * ROWS, 0, 10 * ROWS), "{}", ended.log);
    assert_eq!(cluster.committed(name, &from), 0);
    assert!(cluster.read(&to).is_empty());
}

/// A process that stands still until another one has its work, and then goes on: in the middle of something, or idle.
fn zombie(name: &str, is_idle: bool) {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.topic(&format!("{name}-in"), 2), cluster.topic(&format!("{name}-out"), 2));
    let source = format!("delivery = \"exactly-once\"\ntransactional_id = \"{name}\"\n{SOON}");
    let config = Config::new(&kafka_to_kafka(name, &cluster.brokers, &cluster.brokers, &source, ""));
    let mut first = config.start();
    let mut sent = feed(&cluster, name, 0, 2000);
    until_at_work(&mut first);
    if is_idle {
        until("nothing to do", || (cluster.committed(name, &from) == sent as i64).then_some(()));
        first.signal("STOP");
    }
    cluster.produce(&from, (sent..sent + 5000).map(delimited));
    sent += 5000;
    if !is_idle {
        first.signal("STOP");
    }
    let second = config.start();
    until("the second one has all", || (cluster.committed(name, &from) == sent as i64).then_some(()));
    first.signal("CONT");
    // It learns that it is fenced when it wants to write, so it gets rows: as a member of the group again, of a
    // partition of its own.
    until("the end of the first one", || {
        cluster.produce(&from, (sent..sent + 100).map(delimited));
        sent += 100;
        first.has_ended().then_some(())
    });
    let ended = first.end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let (_, by_first, _) = ended.books("out");
    let errors: Vec<&str> = ended.log.lines().filter(|line| line.starts_with("sluice: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains("fenced"), "{errors:?}\n{}", ended.log);
    assert!(errors[0].contains("every process needs a `transactional_id` of its own"), "{errors:?}");

    let sent = feed(&cluster, name, sent, 1000);
    until("the last commit", || (cluster.committed(name, &from) == sent as i64).then_some(()));
    let ended = second.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = cluster.read(&to).into_iter().flat_map(|record| numbers(&record.value));
    assert_eq!(doubled(found, sent), 0);
    assert_eq!(by_first + ended.books("out").1, sent, "what was taken back is delivered by the other one");
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_process_that_was_thought_dead_writes_nothing_and_ends_with_one_error() {
    zombie("zombie", false);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn so_does_one_that_had_nothing_to_do() {
    zombie("idle-zombie", true);
}
