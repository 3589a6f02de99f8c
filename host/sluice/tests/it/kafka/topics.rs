//! Topics by route, made when they are needed, and made again; and fields that nobody knows.

use super::cluster::{Cluster, until};
use super::pipeline::{Config, admin, metric, until_metric};
use super::row::{bytes, delimited, framed, message, numbers, varint};

/// Reads `NAME-in` to its end, through stages into sinks.
fn read_to_the_end(cluster: &Cluster, name: &str, rest: &str) -> Config {
    Config::new(&format!(
        r#"
[sources.in]
type = "kafka"
brokers = ["{}"]
topics = ["{name}-in"]
group = "{name}"
start = "earliest"
until_end = true
format = "goflow2"
framing = "delimited"
{}"#,
        cluster.brokers,
        rest.replace("BROKERS", &cluster.brokers)
    ))
}

/// A message of this number with the name of a country as its source.
fn from_country(number: u64, country: &str) -> Vec<u8> {
    let mut message = message(number);
    bytes(&mut message, 1000, country.as_bytes());
    framed(&message)
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn routes_have_topics_that_are_made_and_no_more_than_there_may_be() {
    let cluster = Cluster::shared();
    let from = cluster.topic("routes-in", 1);
    let countries = ["DE", "FR", "G/B", "IT"];
    cluster.produce(&from, (0..400).map(|number| from_country(number, countries[number as usize % 4])));
    let config = read_to_the_end(
        &cluster,
        "routes",
        r#"
        [stages.split]
        inputs = ["in"]
        plugin = "splitter"
        config = { name = "{src_country}" }

        [sinks.out]
        type = "kafka"
        inputs = ["split.*"]
        brokers = ["BROKERS"]
        topic = "routes-out-{route}"
        format = "json"
        max_topics = 3
        create_topics = { partitions = 2, replication = 1 }
        "#,
    );
    let ended = config.start().end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("split"), (400, 400, 0));
    assert_eq!(ended.books("out"), (400, 300, 100));
    assert!(ended.log.contains("100 too_many_topics"), "{}", ended.log);
    let topics = cluster.topics("routes-out-");
    assert_eq!(topics, ["routes-out-DE", "routes-out-FR", "routes-out-G_B"]);
    for (at, topic) in topics.iter().enumerate() {
        assert_eq!(cluster.partitions(topic), 2);
        let mut rows: Vec<u64> = cluster.read(topic).iter().flat_map(|record| numbers(&record.value)).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..100).map(|number| number * 4 + at as u64).collect::<Vec<_>>());
    }
    // What was left out was left out on purpose: it does not come again.
    assert_eq!(cluster.committed("routes", &from), 400);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn unknown_fields_go_through_stages_and_are_dropped_behind_a_private_one() {
    let cluster = Cluster::shared();
    let from = cluster.topic("unknown-in", 1);
    let unknown = |number: u64| {
        let mut message = message(number);
        varint(&mut message, 17_000, 4_711 + number);
        bytes(&mut message, 17_001, b"of somebody else");
        framed(&message)
    };
    cluster.produce(&from, (0..100).map(unknown));
    for name in ["open", "enriched", "hidden"] {
        cluster.topic(&format!("unknown-{name}"), 1);
    }
    let sink = |name: &str, input: &str| {
        format!(
            "[sinks.{name}]\ntype = \"kafka\"\ninputs = [\"{input}\"]\nbrokers = [\"BROKERS\"]\n\
             topic = \"unknown-{name}\"\nformat = \"goflow2\"\nframing = \"delimited\"\n"
        )
    };
    let config = read_to_the_end(
        &cluster,
        "unknown",
        &format!(
            r#"
            [stages.split]
            inputs = ["in"]
            plugin = "splitter"
            config = {{ name = "proto-{{proto}}" }}

            [stages.enrich]
            inputs = ["in"]
            plugin = "enricher"
            config = {{ proto_name = true }}

            [stages.hide]
            inputs = ["in"]
            plugin = "reducer"
            config = {{ mode = "truncate", fields = ["src_addr"], mask_v4 = 16 }}

            {}{}{}"#,
            sink("open", "split"),
            sink("enriched", "enrich"),
            sink("hidden", "hide")
        ),
    );
    let ended = config.start().end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (name, is_kept) in [("open", true), ("enriched", true), ("hidden", false)] {
        assert_eq!(ended.books(name), (100, 100, 0));
        let values = cluster.read(&format!("unknown-{name}"));
        assert_eq!(values.len(), 100, "{name}");
        for (number, record) in values.iter().enumerate() {
            let mut field = Vec::new();
            varint(&mut field, 17_000, 4_711 + number as u64);
            bytes(&mut field, 17_001, b"of somebody else");
            let has_it = record.value.windows(field.len()).any(|window| window == field);
            assert_eq!(has_it, is_kept, "{name}, value {number}");
            let leaks = record.value.windows(4).any(|window| window == b"else");
            assert!(is_kept || !leaks, "{name}, value {number}");
        }
    }
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_topic_that_is_deleted_is_made_again_and_rows_go_on_arriving() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.topic("deleted-in", 1), "deleted-out");
    let text = super::pipeline::kafka_to_kafka(
        "deleted",
        &cluster.brokers,
        &cluster.brokers,
        "",
        "create_topics = { partitions = 1, replication = 1 }",
    );
    let config = Config::new(&text);
    let mut run = config.start();
    let admin = admin(&mut run);
    cluster.produce(&from, (0..1000).map(delimited));
    let (name, labels) = ("sluice_sink_out_rows_total", "sink=\"out\"");
    until_metric(admin, name, labels, 1000.0);
    assert_eq!(cluster.length(to), 1000);

    cluster.delete(to);
    cluster.produce(&from, (1000..2000).map(delimited));
    until("the topic is there again", || (cluster.partitions(to) == 1).then_some(()));
    until_metric(admin, name, labels, 2000.0);
    cluster.produce(&from, (2000..3000).map(delimited));
    until_metric(admin, name, labels, 3000.0);
    assert_eq!(metric(admin, "sluice_sink_dropped_rows_total", labels).unwrap_or_default(), 0.0);
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("out"), (3000, 3000, 0));
    // Those that were written before went with the topic; of the others none is missing.
    let found: Vec<u64> = cluster.read(to).iter().flat_map(|record| numbers(&record.value)).collect();
    let late = found.into_iter().filter_map(|number| number.checked_sub(1000));
    super::row::doubled(late, 2000);
}
