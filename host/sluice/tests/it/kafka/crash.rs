//! Processes that are killed in the middle of their work: nothing is lost, and exactly once is once.

use std::time::Instant;

use super::cluster::{Cluster, until};
use super::pipeline::{Config, kafka_to_kafka};
use super::row::{delimited, doubled, numbers};

/// Times that the process is killed.
const KILLS: u64 = 20;
/// Rows that are there for each life, besides those that the last one left.
const A_LIFE: u64 = 2000;

/// Lets a pipeline work through numbered rows, kills it in the middle again and again, and returns how many
/// rows came more than once.
fn killed_again_and_again(name: &str, delivery: &str) -> u64 {
    let began = Instant::now();
    let cluster = Cluster::shared();
    let (from, to) = (cluster.topic(&format!("{name}-in"), 3), cluster.topic(&format!("{name}-out"), 2));
    // A member with a name has its partitions again at once.
    let source = format!("instance_id = \"one\"\ndelivery = \"{delivery}\"");
    let config = Config::new(&kafka_to_kafka(name, &cluster.brokers, &cluster.brokers, &source, ""));
    for life in 0..KILLS {
        cluster.produce(&from, (life * A_LIFE..(life + 1) * A_LIFE).map(delimited));
        let before = cluster.length(&to);
        let run = config.start();
        // Never at the same place, and never at the end.
        let far = before + 1 + (life * 379 % 1500) as i64;
        until("rows of this life", || (cluster.length(&to) >= far).then_some(()));
        run.kill();
    }
    let count = KILLS * A_LIFE;
    let run = config.start();
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
