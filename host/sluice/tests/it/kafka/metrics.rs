//! The reference says what a process with Kafka counts.

use std::collections::BTreeSet;

use super::cluster::{Cluster, until};
use super::pipeline::{Config, admin};
use super::row::delimited;
use crate::pages::{ONLY_WITH_KAFKA, documented, printed};
use crate::tool::get;

/// Every way to read and to write.
fn every_kind(brokers: &str, id: &str) -> String {
    let source = |name: &str, more: &str| {
        format!(
            r#"
[sources.{name}]
type = "kafka"
brokers = ["{brokers}"]
topics = ["{id}-{name}"]
group = "{id}-{name}"
format = "goflow2"
framing = "delimited"
start = "earliest"
commit_interval_ms = 50
librdkafka = {{ "statistics.interval.ms" = 100 }}
{more}
"#
        )
    };
    let sink = |name: &str, input: &str, more: &str| {
        format!(
            r#"
[sinks.{name}]
type = "kafka"
inputs = ["{input}"]
brokers = ["{brokers}"]
topic = "{id}-to-{name}"
format = "json"
create_topics = {{}}
{more}
"#
        )
    };
    let parts = [
        "[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        source("plain", ""),
        source("once", "delivery = \"exactly-once\""),
        sink("direct", "plain", ""),
        sink("buffered", "plain", "buffer = { path = \"queue\" }"),
        sink("transactional", "once", ""),
    ];
    parts.concat()
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn every_metric_of_kafka_has_its_line_in_the_reference_and_every_line_its_metric() {
    let cluster = Cluster::shared();
    let id = format!("metrics{}", std::process::id());
    for topic in ["plain", "once"] {
        let topic = cluster.topic(&format!("{id}-{topic}"), 1);
        cluster.produce(&topic, (0..10).map(delimited).chain([b"nonsense".to_vec()]));
    }
    let config = Config::new(&every_kind(&cluster.brokers, &id));
    let mut run = config.start();
    let admin = admin(&mut run);
    let of_kafka = |names: BTreeSet<String>| -> BTreeSet<String> {
        names.into_iter().filter(|name| ONLY_WITH_KAFKA.iter().any(|beginning| name.starts_with(beginning))).collect()
    };
    let documented = of_kafka(documented());
    assert!(documented.len() > 10);
    let arrived = [
        "sluice_source_kafka_bad_values_total{source=\"plain\",reason=",
        "sluice_sink_kafka_transactions_total{sink=\"transactional\"} 1\n",
        "sluice_sink_buffer_delivered_rows_total{sink=\"buffered\"} 10\n",
    ];
    let metrics = until("the metrics of the reference", || {
        let metrics = get(admin, "/metrics");
        let is_there = arrived.iter().all(|line| metrics.contains(line)) && documented.is_subset(&printed(&metrics));
        is_there.then_some(metrics)
    });
    assert_eq!(of_kafka(printed(&metrics)), documented);
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("transactional"), (10, 10, 0));
}
