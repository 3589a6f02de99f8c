//! Processes that are killed in the middle of their work: nothing is lost, and exactly once is once.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::cluster::{Cluster, until};
use super::row::{delimited, doubled, numbers};
use crate::tool::Running;

/// Times that the process is killed.
const KILLS: u64 = 20;
/// Rows that are there for each life, besides those that the last one left.
const A_LIFE: u64 = 2000;

/// A configuration from Kafka through a plugin to Kafka, in small steps, for a process that is killed often. (A member with
/// a name has its partitions again at once.)
fn config(folder: &Path, cluster: &Cluster, name: &str, delivery: &str) -> PathBuf {
    let brokers = &cluster.brokers;
    let text = format!(
        r#"
        [sources.in]
        type = "kafka"
        brokers = ["{brokers}"]
        topics = ["{name}-in"]
        group = "{name}"
        instance_id = "one"
        start = "earliest"
        format = "goflow2"
        framing = "delimited"
        delivery = "{delivery}"
        commit_interval_ms = 100
        batch_rows = 100
        batch_delay_ms = 20
        max_in_flight = 8

        [stages.split]
        inputs = ["in"]
        plugin = "splitter"
        config = {{ name = "proto-{{proto}}" }}

        [sinks.out]
        type = "kafka"
        inputs = ["split"]
        brokers = ["{brokers}"]
        topic = "{name}-out"
        format = "json"
        linger_ms = 5
        "#
    );
    let file = folder.join("sluice.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Lets a pipeline work through numbered rows, kills it in the middle again and again, and returns how many
/// rows came more than once.
fn killed_again_and_again(name: &str, delivery: &str) -> u64 {
    let began = Instant::now();
    let cluster = Cluster::shared();
    let (from, to) = (cluster.topic(&format!("{name}-in"), 3), cluster.topic(&format!("{name}-out"), 2));
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), &cluster, name, delivery);
    for life in 0..KILLS {
        cluster.produce(&from, (life * A_LIFE..(life + 1) * A_LIFE).map(delimited));
        let before = cluster.length(&to);
        let run = Running::start(&file);
        // Never at the same place, and never at the end.
        let far = before + 1 + (life * 379 % 1500) as i64;
        until("rows of this life", || (cluster.length(&to) >= far).then_some(()));
        run.kill();
    }
    let count = KILLS * A_LIFE;
    let run = Running::start(&file);
    until("the last commit", || (cluster.committed(name, &from) == count as i64).then_some(()));
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = cluster.read(&to).into_iter().flat_map(|record| numbers(&record.value));
    let doubled = doubled(found, count);
    println!("{delivery}: {count} rows, {KILLS} kills, {doubled} rows more than once, {:?}", began.elapsed());
    doubled
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn nothing_is_lost_when_the_process_is_killed_twenty_times() {
    killed_again_and_again("killed", "at-least-once");
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn exactly_once_is_once_when_the_process_is_killed_twenty_times() {
    assert_eq!(killed_again_and_again("killed-once", "exactly-once"), 0);
}
