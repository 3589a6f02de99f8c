//! Every format, framing and packing, out and in again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cluster::Cluster;
use super::row::{delimited, message};
use crate::tool::Running;

/// Name, format, framing and rows in a value.
const KINDS: [(&str, &str, &str, usize); 11] = [
    ("goflow2", "goflow2", "delimited", 1),
    ("goflow2-packed", "goflow2", "delimited", 100),
    ("goflow2-bare", "goflow2", "bare", 1),
    ("flowpipeline", "flowpipeline", "delimited", 1),
    ("flowpipeline-packed", "flowpipeline", "delimited", 100),
    ("flowpipeline-bare", "flowpipeline", "bare", 1),
    ("bwnetflow", "bwnetflow", "delimited", 1),
    ("bwnetflow-packed", "bwnetflow", "delimited", 100),
    ("bwnetflow-bare", "bwnetflow", "bare", 1),
    ("json", "json", "", 1),
    ("json-packed", "json", "", 100),
];

/// Fields that the bwNetFlow suite has too, in the same unit.
const COMMON: [&str; 16] = [
    "type",
    "sampling_rate",
    "sequence_num",
    "sampler_address",
    "src_addr",
    "dst_addr",
    "bytes",
    "packets",
    "src_as",
    "dst_as",
    "in_if",
    "out_if",
    "proto",
    "src_port",
    "dst_port",
    "tcp_flags",
];

/// The rows of a file, each as text with these fields or all, and how often it occurs.
fn rows(file: &Path, fields: Option<&[&str]>) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).lines() {
        let mut row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        row.retain(|name, _| fields.is_none_or(|fields| fields.contains(&name.as_str())));
        *rows.entry(Value::Object(row).to_string()).or_default() += 1;
    }
    rows
}

fn framing(framing: &str) -> String {
    if framing.is_empty() { String::new() } else { format!("framing = \"{framing}\"\n") }
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn rows_are_the_same_after_a_way_through_kafka_in_every_format() {
    let cluster = Cluster::shared();
    let brokers = &cluster.brokers;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old.pcap"), capture()).unwrap();
    let mut text = String::from(
        "[sources.old]\ntype = \"capture\"\npaths = [\"old.pcap\"]\nrepeat = 10\n\
         [sinks.file]\ntype = \"file\"\ninputs = [\"old\"]\npath = \"old.json\"\n",
    );
    for (name, format, frames, pack) in KINDS {
        cluster.topic(&format!("formats-{name}"), 2);
        let framing = framing(frames);
        write!(
            text,
            "[sinks.{name}]\ntype = \"kafka\"\ninputs = [\"old\"]\nbrokers = [\"{brokers}\"]\n\
             topic = \"formats-{name}\"\nformat = \"{format}\"\npack = {pack}\n{framing}"
        )
        .unwrap();
    }
    let file = folder.path().join("out.toml");
    fs::write(&file, text).unwrap();
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let (count, _, _) = ended.books("old");
    assert!(count >= 100, "{count} rows are no test");
    for (name, _, _, pack) in KINDS {
        assert_eq!(ended.books(name), (count, count, 0));
        let values = cluster.read(&format!("formats-{name}")).len() as u64;
        assert!(if pack == 1 { values == count } else { values < count / 10 }, "{name}: {values} values");
    }

    // In again, twice: said what it is, and found out.
    let mut text = String::new();
    for (name, format, frames, _) in KINDS {
        let framing = framing(frames);
        for (name, topic, format) in [
            (name.to_owned(), name, format!("format = \"{format}\"\n{framing}")),
            (format!("{name}-found"), name, "format = \"detect\"\n".to_owned()),
        ] {
            write!(
                text,
                "[sources.{name}]\ntype = \"kafka\"\nbrokers = [\"{brokers}\"]\ntopics = [\"formats-{topic}\"]\n\
                 group = \"formats-{name}\"\nstart = \"earliest\"\nuntil_end = true\n{format}\
                 [sinks.{name}-file]\ntype = \"file\"\ninputs = [\"{name}\"]\npath = \"{name}.json\"\n"
            )
            .unwrap();
        }
    }
    let file = folder.path().join("in.toml");
    fs::write(&file, text).unwrap();
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (name, format, frames, _) in KINDS {
        let fields = (format == "bwnetflow").then_some(COMMON.as_slice());
        let before = rows(&folder.path().join("old.json"), fields);
        for name in [name.to_owned(), format!("{name}-found")] {
            assert_eq!(ended.books(&name), (count, count, 0));
            let after = rows(&folder.path().join(format!("{name}.json")), fields);
            let differ = before.iter().zip(&after).find(|(before, after)| before != after);
            assert!(before == after, "{name}:\n{differ:#?}");
        }
        let found = format!("\"source\":\"{name}-found\",\"format\":\"{}\"", format!("{format} {frames}").trim_end());
        assert!(ended.log.contains(&found), "no {found} in\n{}", ended.log);
    }
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_topic_of_several_formats_is_not_detected_and_nothing_is_committed() {
    let cluster = Cluster::shared();
    let topic = cluster.topic("formats-mixed", 1);
    cluster.produce(&topic, [delimited(1), message(2), br#"{"bytes":3}"#.to_vec()]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    let text = format!(
        "[sources.in]\ntype = \"kafka\"\nbrokers = [\"{}\"]\ntopics = [\"{topic}\"]\ngroup = \"{topic}\"\n\
         start = \"earliest\"\nuntil_end = true\nformat = \"detect\"\n\
         [sinks.out]\ntype = \"null\"\ninputs = [\"in\"]\n",
        cluster.brokers
    );
    fs::write(&file, text).unwrap();
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let expected = "sluice: source in: detecting the format: the first values are not of one format and framing that \
                    is known: say which with `format` and `framing`\n";
    assert!(ended.log.ends_with(expected), "{}", ended.log);
    assert_eq!(ended.books("in"), (0, 0, 0));
    assert_eq!(cluster.committed(&topic, &topic), 0);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn rows_with_the_same_key_are_in_the_same_partition() {
    const ROWS: u64 = 1000;
    let cluster = Cluster::shared();
    let from = cluster.topic("keys-in", 1);
    cluster.produce(&from, (0..ROWS).map(delimited));
    let brokers = &cluster.brokers;
    let mut text = format!(
        "[sources.in]\ntype = \"kafka\"\nbrokers = [\"{brokers}\"]\ntopics = [\"{from}\"]\ngroup = \"{from}\"\n\
         start = \"earliest\"\nuntil_end = true\nformat = \"goflow2\"\nframing = \"delimited\"\n"
    );
    // What is to be the same where the key is the same, and how many keys there are.
    let keys: [(&str, &str, &[&str], usize); 4] = [
        ("none", "\"none\"", &[], 0),
        ("exporter", "\"exporter\"", &["sampler_address"], 1),
        ("tuple", "\"five-tuple\"", &["src_addr", "dst_addr", "proto"], 200),
        ("columns", "[\"proto\", \"dst_addr\"]", &["dst_addr", "proto"], 200),
    ];
    for (name, key, _, _) in keys {
        for pack in [1, 10] {
            cluster.topic(&format!("keys-{name}-{pack}"), 4);
            write!(
                text,
                "[sinks.{name}-{pack}]\ntype = \"kafka\"\ninputs = [\"in\"]\nbrokers = [\"{brokers}\"]\n\
                 topic = \"keys-{name}-{pack}\"\nformat = \"json\"\npack = {pack}\nkey = {key}\n"
            )
            .unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    fs::write(&file, text).unwrap();
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (name, _, fields, count) in keys {
        for pack in [1, 10] {
            assert_eq!(ended.books(&format!("{name}-{pack}")), (ROWS, ROWS, 0));
            let mut found: HashMap<Vec<u8>, BTreeSet<(i32, String)>> = HashMap::new();
            let mut rows = 0;
            for record in cluster.read(&format!("keys-{name}-{pack}")) {
                for line in record.value.split(|byte| *byte == b'\n') {
                    rows += 1;
                    let row: Value = serde_json::from_slice(line).unwrap();
                    let same: String = fields.iter().map(|field| row[field].to_string()).collect();
                    let Some(key) = &record.key else { continue };
                    found.entry(key.clone()).or_default().insert((record.partition, same));
                }
            }
            assert_eq!((rows, found.len()), (ROWS, count), "{name}, {pack} in a value");
            let several = found.values().find(|places| places.len() != 1);
            assert!(several.is_none(), "{name}: {several:?}");
            let partitions: BTreeSet<i32> = found.values().flatten().map(|(partition, _)| *partition).collect();
            assert!(count < 4 || partitions.len() == 4, "{name}: {partitions:?}");
            if name == "exporter" {
                assert!(found.contains_key([127, 0, 0, 1].as_slice()));
            }
        }
    }
}

/// The datagrams of the examples as a capture with times, from an exporter at 192.0.2.9.
fn capture() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/datagrams");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut pcap = Vec::new();
    // Microseconds, version 2.4, Ethernet.
    pcap.extend([0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (at, file) in files.iter().enumerate() {
        let datagram = fs::read(file).unwrap();
        let length = datagram.len() as u16;
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((length + 28).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 9, 192, 0, 2, 10, 0x10, 0, 0x08, 0x07]);
        frame.extend((length + 8).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(datagram);
        pcap.extend((1_795_262_420 + at as u32).to_le_bytes());
        pcap.extend([0; 4]);
        pcap.extend((frame.len() as u32).to_le_bytes());
        pcap.extend((frame.len() as u32).to_le_bytes());
        pcap.extend(frame);
    }
    pcap
}
