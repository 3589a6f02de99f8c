//! Values that cannot be read: put aside with where they came from, and everything else goes on.

use std::fs;

use expect_test::{Expect, expect};
use serde_json::Value;

use super::cluster::Cluster;
use super::pipeline::{Config, kafka_to_kafka};
use super::row::{delimited, framed, message, numbers, varint};
use crate::tool::{Ended, Running};

/// Good values, and others between them.
fn values() -> Vec<Vec<u8>> {
    // bwNetFlow's customer is a number where goflow2 has the name of a country.
    let mut other_dialect = message(1000);
    varint(&mut other_dialect, 1000, 7);
    vec![
        delimited(0),
        vec![0xff; 20],
        delimited(1),
        // Not behind its length.
        message(1001),
        framed(&other_dialect),
        [delimited(2), delimited(3), delimited(4)].concat(),
        // Two messages, and the half of a third: none of it counts.
        [delimited(1002), delimited(1003), delimited(1004)[..20].to_vec()].concat(),
        br#"{"bytes":1005}"#.to_vec(),
        delimited(5),
        Vec::new(),
        vec![0],
    ]
}

/// Reads the values to the end, with such a place for dead letters.
fn check(
    name: &str,
    dead_letter: &str,
    letters: impl Fn(&Cluster, &std::path::Path) -> Vec<String>,
    expected: &Expect,
) {
    let cluster = Cluster::shared();
    let topic = cluster.topic(name, 1);
    cluster.produce(&topic, values());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    let text = format!(
        r#"
        [sources.in]
        type = "kafka"
        brokers = ["{}"]
        topics = ["{topic}"]
        group = "{topic}"
        start = "earliest"
        until_end = true
        format = "goflow2"
        framing = "delimited"
        dead_letter = {dead_letter}

        [sinks.out]
        type = "file"
        inputs = ["in"]
        path = "rows.json"
        "#,
        cluster.brokers
    );
    fs::write(&file, text).unwrap();
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("value cannot be read"), "{}", ended.log);
    // The six good ones, and one that is empty but for its length: a message with every field absent.
    assert_eq!(ended.books("in"), (7, 7, 0));
    assert_eq!(ended.books("out"), (7, 7, 0));
    let mut rows = numbers(&fs::read(folder.path().join("rows.json")).unwrap());
    rows.sort_unstable();
    assert_eq!(rows, [0, 0, 1, 2, 3, 4, 5]);
    assert_eq!(cluster.committed(&topic, &topic), values().len() as i64);
    let found: Vec<String> = letters(&cluster, folder.path());
    expected.assert_eq(&found.join("\n"));
}

/// What both places say.
fn expected() -> Expect {
    expect![[r#"
        topic/0 1: malformed (message 0 of the value is bad: no protobuf field at offset 0 of the message), 20 bytes
        topic/0 3: malformed (message 0 of the value is bad: no protobuf field at offset 0 of the message), 43 bytes
        topic/0 4: wrong_type (message 0 of the value is bad: field 1000 has wire type 0), 47 bytes
        topic/0 6: truncated (message 2 of the value is bad: field 0 has 43 bytes, 19 left), 108 bytes
        topic/0 7: truncated (message 0 of the value is bad: field 0 has 123 bytes, 13 left), 14 bytes"#]]
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn values_that_cannot_be_read_are_lines_of_a_file() {
    let letters = |_: &Cluster, folder: &std::path::Path| {
        let text = fs::read_to_string(folder.join("bad.json")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let one = |letter: Value| {
            assert!(letter["timestamp_ms"].as_i64().unwrap() > 1_700_000_000_000);
            let bytes = text(&letter["value"]).trim_end_matches('=').len() * 3 / 4;
            format!(
                "{}/{} {}: {} ({}), {bytes} bytes",
                if text(&letter["topic"]) == "poison-file" { "topic" } else { "?" },
                letter["partition"],
                letter["offset"],
                text(&letter["reason"]),
                text(&letter["error"])
            )
        };
        lines.map(one).collect()
    };
    check("poison-file", r#"{ path = "bad.json" }"#, letters, &expected());
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn values_that_cannot_be_read_go_to_a_topic_as_they_were() {
    Cluster::shared().topic("poison-bad", 1);
    let letters = |cluster: &Cluster, _: &std::path::Path| {
        let one = |record: super::cluster::Record| {
            let header = |name: &str| {
                let found = record.headers.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            let offset: usize = header("sluice-offset").parse().unwrap();
            assert_eq!(record.value, values()[offset]);
            format!(
                "{}/{} {offset}: {} ({}), {} bytes",
                if header("sluice-topic") == "poison-topic" { "topic" } else { "?" },
                header("sluice-partition"),
                header("sluice-reason"),
                header("sluice-error"),
                record.value.len()
            )
        };
        cluster.read("poison-bad").into_iter().map(one).collect()
    };
    check("poison-topic", r#"{ topic = "poison-bad" }"#, letters, &expected());
}

/// Reads 50 good values and 50 others from a topic, with such a place for dead letters, which does not take them: the run fails.
fn flood(cluster: &Cluster, folder: &std::path::Path, name: &str, dead_letter: &str) -> (Ended, String) {
    let topic = cluster.topic(name, 1);
    cluster.produce(&topic, (0..100).map(|number| if number < 50 { delimited(number) } else { vec![0xff; 100] }));
    let file = folder.join("sluice.toml");
    let text = format!(
        r#"
        [sources.in]
        type = "kafka"
        brokers = ["{}"]
        topics = ["{topic}"]
        group = "{topic}"
        start = "earliest"
        until_end = true
        format = "goflow2"
        framing = "delimited"
        commit_interval_ms = 10
        dead_letter = {dead_letter}

        [sinks.out]
        type = "null"
        inputs = ["in"]
        "#,
        cluster.brokers
    );
    fs::write(&file, text).unwrap();
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    (ended, topic)
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn dead_letters_that_fill_their_file_end_the_run_and_nothing_is_skipped() {
    let cluster = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    let (ended, topic) = flood(&cluster, folder.path(), "poison-flood", "{ path = \"bad.json\", max_bytes = 3000 }");
    assert!(ended.log.contains("sluice: source in: keeping a dead letter: "), "{}", ended.log);
    assert!(ended.log.contains("has its 3000 bytes"), "{}", ended.log);
    let kept = fs::read_to_string(folder.path().join("bad.json")).unwrap().lines().count() as i64;
    assert!(kept > 0 && cluster.committed(&topic, &topic) <= 50 + kept);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_topic_that_takes_little_at_once_refuses_what_comes_together_and_the_log_has_the_way_out() {
    const ROWS: u64 = 2000;
    let cluster = Cluster::shared();
    let run = |name: &str, sink: &str| {
        let from = cluster.topic(&format!("{name}-in"), 1);
        cluster.topic_with(&format!("{name}-out"), 1, &[("max.message.bytes", "20000")]);
        cluster.produce(&from, (0..ROWS).map(delimited));
        let text = kafka_to_kafka(name, &cluster.brokers, &cluster.brokers, "until_end = true", sink);
        // All rows are one batch, and wait for each other in librdkafka.
        let text = text
            .replace("batch_rows = 100", "batch_rows = 2000")
            .replace("batch_delay_ms = 20", "batch_delay_ms = 60000")
            .replace("linger_ms = 5", "linger_ms = 1000");
        let ended = Config::new(&text).start().end();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        ended
    };
    let refused = run("small-sets", "");
    assert!(refused.books("out").2 > 0, "{}", refused.log);
    assert!(refused.log.contains("below `max.message.bytes` of the topic"), "{}", refused.log);
    let taken = run("smaller-sets", "librdkafka = { \"batch.size\" = 15000 }");
    assert_eq!(taken.books("out"), (ROWS, ROWS, 0), "{}", taken.log);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_topic_for_dead_letters_that_is_not_there_is_said_before_anything_is_read() {
    let cluster = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    let (ended, topic) = flood(&cluster, folder.path(), "poison-nowhere", "{ topic = \"poison-missing\" }");
    let error = format!(
        "sluice: sources.in: the topic poison-missing of `dead_letter` on the Kafka brokers {} is not there: make it, or name one \
         that is\n",
        cluster.brokers
    );
    assert!(ended.log.ends_with(&error), "{}", ended.log);
    assert!(cluster.topics("poison-missing").is_empty(), "to ask makes none");
    assert_eq!(cluster.committed(&topic, &topic), 0);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_dead_letter_that_the_brokers_refuse_ends_the_run_and_is_not_taken_for_kept() {
    let cluster = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    cluster.topic_with("poison-small", 1, &[("max.message.bytes", "50")]);
    let (ended, topic) = flood(&cluster, folder.path(), "poison-large", "{ topic = \"poison-small\" }");
    let error = "sluice: source in: keeping a dead letter: dead letters are not accepted by the topic poison-small: ";
    assert!(ended.log.contains(error), "{}", ended.log);
    assert!(cluster.read("poison-small").is_empty());
    assert!(cluster.committed(&topic, &topic) <= 50, "what is not kept is read again");
}
