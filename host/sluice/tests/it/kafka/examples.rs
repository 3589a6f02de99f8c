//! The examples with Kafka, run on a real broker; and what the processes of `examples/bwnetflow` write, beside what the one
//! process writes that takes their place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::cluster::Cluster;
use super::row::{bytes, varint};
use crate::examples::{copy, folder, with_free_ports};
use crate::tool::{Ended, Running, sluice};

/// A number of bwNetFlow's and a number of nobody's: no column takes them. One has a text with an address in it.
const SOURCE_IP: u64 = 1290;
const OF_NOBODY: u64 = 5000;

/// Customers of `tables/customers.csv`, each with an address of its own; an address that is nobody's; and the remote side.
const LOCAL: [(u32, [u8; 4]); 5] = [
    (1001, [192, 0, 2, 1]),
    (1002, [192, 0, 2, 129]),
    (1003, [198, 51, 100, 1]),
    (1004, [203, 0, 113, 1]),
    (0, [198, 19, 0, 1]),
];
const REMOTE: [u8; 4] = [198, 18, 64, 77];

/// Flows of each address in [`LOCAL`].
const FLOWS: u64 = 250;

/// A folder with copies of the examples for the brokers of the tests. Topics and groups begin with `id`, topics to write
/// with `out`; who reads from the end reads everything there is, and ends with it.
fn adapted(cluster: &Cluster, id: &str, out: &str) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    copy(&folder(), copied.path());
    for file in ["bwnetflow", "kafka"].iter().flat_map(|folder| fs::read_dir(copied.path().join(folder)).unwrap()) {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let text = text
            .replace("127.0.0.1:9092", &cluster.brokers)
            .replace("topics = [\"", &format!("topics = [\"{id}-"))
            .replace("topic = \"", &format!("topic = \"{out}-"))
            .replace("group = \"", &format!("group = \"{id}-"))
            .replace("start = \"earliest\"", "start = \"earliest\"\nuntil_end = true");
        fs::write(&file, with_free_ports(&text)).unwrap();
    }
    copied
}

/// Runs a configuration until it ends.
fn to_the_end(config: PathBuf) -> Ended {
    let ended = Running::start(&config).end();
    assert_eq!(ended.code, Some(0), "{}: {}", config.display(), ended.log);
    ended
}

/// Runs a collector, with made-up flows of every protocol. Returns how many rows `sink` delivered.
fn collect(config: &Path, sink: &str) -> u64 {
    let mut run = Running::start(config);
    let to = format!("127.0.0.1:{}", run.listening().port());
    let protocols = ["--version-set", "v5,v9,ipfix,sflow", "--exporters", "4"];
    let made = ["--rate", "4000", "--records", "2000"];
    let generated = sluice().args(["generate", "--to", &to]).args(protocols).args(made).output().unwrap();
    assert!(generated.status.success());
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let (rows, delivered, dropped) = ended.books(sink);
    assert_eq!((delivered, dropped), (rows, 0), "{}", ended.log);
    delivered
}

/// Flows as another program writes them, with fields that no column takes.
fn foreign() -> impl Iterator<Item = Vec<u8>> {
    LOCAL.into_iter().flat_map(|(_, local)| {
        (0..FLOWS).map(move |number| {
            let mut message = Vec::new();
            let (src, dst) = if number % 2 == 0 { (REMOTE, local) } else { (local, REMOTE) };
            varint(&mut message, 1, 4);
            varint(&mut message, 2, 1_700_000_000);
            bytes(&mut message, 6, &src);
            bytes(&mut message, 7, &dst);
            varint(&mut message, 9, 1000 + number);
            varint(&mut message, 10, 10);
            varint(&mut message, 20, 6);
            varint(&mut message, 38, 1_699_999_990);
            varint(&mut message, 42, number % 2);
            bytes(&mut message, SOURCE_IP, b"known-by-name");
            varint(&mut message, OF_NOBODY, number);
            message
        })
    })
}

/// The values of every topic that begins with `out`, in an order of their own, by the rest of the topic's name.
fn written(cluster: &Cluster, out: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    let beginning = format!("{out}-");
    let topics = cluster.topics(&beginning).into_iter();
    let values = topics.map(|topic| {
        let mut values: Vec<Vec<u8>> = cluster.read(&topic).into_iter().map(|record| record.value).collect();
        values.sort_unstable();
        (topic[beginning.len()..].to_owned(), values)
    });
    values.collect()
}

fn has(value: &[u8], text: &[u8]) -> bool {
    value.windows(text.len()).any(|found| found == text)
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn one_process_writes_what_the_chain_of_processes_writes() {
    let cluster = Cluster::shared();
    let id = format!("chain{}", std::process::id());
    let (in_chain, at_once) = (format!("{id}-chain"), format!("{id}-once"));
    let input = cluster.topic(&format!("{id}-flow-messages"), 3);

    let collector = adapted(&cluster, &id, &id);
    let collected = collect(&collector.path().join("bwnetflow/collector.toml"), "flow-messages");
    cluster.produce(&input, foreign());
    let rows = collected + FLOWS * LOCAL.len() as u64;
    assert_eq!(cluster.length(&input), rows as i64);

    // The enricher reads what the collector wrote; splitter and reducer read what the enricher wrote.
    let first = adapted(&cluster, &id, &in_chain);
    let ended = to_the_end(first.path().join("bwnetflow/enricher.toml"));
    assert_eq!(ended.books("enriched"), (rows, rows, 0));
    let others = adapted(&cluster, &in_chain, &in_chain);
    let split = to_the_end(others.path().join("bwnetflow/splitter.toml"));
    let reduced = to_the_end(others.path().join("bwnetflow/reducer.toml"));
    assert_eq!(split.books("tenants"), (rows, rows - FLOWS, FLOWS), "flows of nobody are dropped");
    assert_eq!(reduced.books("anon"), (rows, rows, 0));

    let only = adapted(&cluster, &id, &at_once);
    let ended = to_the_end(only.path().join("bwnetflow/all-in-one.toml"));
    assert_eq!(ended.books("enriched"), (rows, rows, 0));
    assert_eq!(ended.books("anon"), (rows, rows, 0));
    // Both have a stage and a sink `tenants`; the stage is first.
    assert_eq!(ended.books("tenants"), split.books("tenants"));

    let (chain, once) = (written(&cluster, &in_chain), written(&cluster, &at_once));
    let counts = |topics: &BTreeMap<String, Vec<Vec<u8>>>| -> Vec<(String, usize)> {
        topics.iter().map(|(topic, values)| (topic.clone(), values.len())).collect()
    };
    assert_eq!(counts(&chain), counts(&once));
    assert!(chain == once, "the same topics with as many rows, and other rows");

    let tenants: Vec<&str> = chain.keys().filter_map(|topic| topic.strip_prefix("flows-")).collect();
    assert_eq!(tenants, ["1001", "1002", "1003", "1004", "1005", "1006"]);
    for (customer, _) in LOCAL.iter().filter(|(customer, _)| *customer != 0) {
        let known = chain[&format!("flows-{customer}")].iter().filter(|value| has(value, b"known-by-name"));
        assert_eq!(known.count() as u64, FLOWS, "unknown fields go through, {customer}");
    }
    let anon = &chain["flow-messages-anon"];
    assert!(!anon.iter().any(|value| has(value, b"known-by-name")), "unknown fields end at a private stage");
    assert!(!anon.iter().any(|value| has(value, &REMOTE)), "an address that was not truncated");
    assert!(anon.iter().any(|value| has(value, &[198, 18, 64, 0])));
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn what_one_example_writes_the_other_reads() {
    let cluster = Cluster::shared();
    let id = format!("example{}", std::process::id());
    let folder = adapted(&cluster, &id, &id);
    let collected = collect(&folder.path().join("kafka/write.toml"), "flows");
    assert_eq!(cluster.length(&format!("{id}-flows")), collected as i64);
    let ended = to_the_end(folder.path().join("kafka/read.toml"));
    assert_eq!(ended.books("screen"), (collected, collected, 0));
}
