//! What a plugin knows of a partition goes where the partition goes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::{Cluster, until};
use super::pipeline::Config;
use super::row::delimited;
use crate::hostile::guest;

const PARTITIONS: u64 = 4;

/// Numbered rows through a plugin that counts those it has seen: `customer_id` says which row of its partition it is, from 1.
fn counting(name: &str, brokers: &str, folder: &str) -> Config {
    Config::new(&format!(
        r#"
[sources.in]
type = "kafka"
brokers = ["{brokers}"]
topics = ["{name}-in"]
group = "{name}"
start = "earliest"
format = "goflow2"
framing = "delimited"
commit_interval_ms = 100
batch_rows = 50
batch_delay_ms = 20
max_in_flight = 8
librdkafka = {{ "session.timeout.ms" = 6000, "heartbeat.interval.ms" = 500 }}

[stages.count]
inputs = ["in"]
plugin = "{folder}/guest.wasm"
grant = {{ read = ["src_addr", "bytes", "src_as"], write = ["src_as", "customer_id"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }}
config = {{ mode = "count" }}
instances = "per-partition"
state = "{folder}/state"

[tables.t]
type = "prefix"
path = "{folder}/t.csv"

[keys.k]
path = "{folder}/k"

[assets.a]
path = "{folder}/k"

[sinks.out]
type = "kafka"
inputs = ["count"]
brokers = ["{brokers}"]
topic = "{name}-out"
format = "json"
linger_ms = 5
"#
    ))
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn state_goes_with_its_partition() {
    let (name, cluster) = ("goes-along", Cluster::shared());
    let (from, to) = (cluster.topic("goes-along-in", PARTITIONS as i32), cluster.topic("goes-along-out", 1));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("guest.wasm"), guest::guest()).unwrap();
    std::fs::write(folder.path().join("t.csv"), "prefix,value\n192.0.2.0/24,1\n").unwrap();
    std::fs::write(folder.path().join("k"), [7; 32]).unwrap();
    let config = || counting(name, &cluster.brokers, at);
    let configs = [config(), config()];

    let mut sent = 0;
    let mut feed = |rows: u64| {
        // Row n is the (n / 4)th of partition n % 4.
        cluster.produce(&from, (sent..sent + rows).map(delimited));
        sent += rows;
        until("the rows are committed", || (cluster.committed(name, &from) == sent as i64).then_some(()));
        sent
    };
    let shared_out =
        |shares: &[i32]| until("partitions are shared out", || (cluster.members(name)? == shares).then_some(()));
    let first = configs[0].start();
    feed(800);
    // Two partitions go, and come back; then all of them.
    let second = configs[1].start();
    shared_out(&[2, 2]);
    feed(800);
    assert_eq!(second.stop().code, Some(0));
    shared_out(&[4]);
    feed(800);
    let second = configs[1].start();
    shared_out(&[2, 2]);
    assert_eq!(first.stop().code, Some(0));
    shared_out(&[4]);
    let rows = feed(800);
    let ended = second.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);

    // Workers may take two batches of a partition in either order, so it is the counts that are looked at: each once.
    let mut counted: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for record in cluster.read(&to) {
        for line in record.value.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let row: Value = serde_json::from_slice(line).unwrap();
            let number = |name: &str| row[name].as_u64().unwrap();
            counted.entry(number("bytes") % PARTITIONS).or_default().push(number("customer_id"));
        }
    }
    assert_eq!(counted.len() as u64, PARTITIONS);
    for (partition, mut counts) in counted {
        counts.sort_unstable();
        let all: Vec<u64> = (1..=rows / PARTITIONS).collect();
        assert_eq!(counts, all, "partition {partition}");
    }
}
