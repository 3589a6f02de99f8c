//! Configurations that tests share, and what a running process says of itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::cluster::{Cluster, until};
use crate::tool::{Running, get};

/// From `NAME-in` at one cluster through a plugin to `NAME-out` at another, in small steps. `source` and `sink` are further lines.
pub(super) fn kafka_to_kafka(name: &str, from: &str, to: &str, source: &str, sink: &str) -> String {
    format!(
        r#"
[admin]
listen = "127.0.0.1:0"

[sources.in]
type = "kafka"
brokers = ["{from}"]
topics = ["{name}-in"]
group = "{name}"
start = "earliest"
format = "goflow2"
framing = "delimited"
commit_interval_ms = 100
batch_rows = 100
batch_delay_ms = 20
max_in_flight = 8
{source}

[stages.split]
inputs = ["in"]
plugin = "splitter"
config = {{ name = "proto-{{proto}}" }}

[sinks.out]
type = "kafka"
inputs = ["split"]
brokers = ["{to}"]
topic = "{name}-out"
format = "json"
linger_ms = 5
{sink}
"#
    )
}

/// A configuration in a folder of its own, which goes with it.
pub(super) struct Config {
    _folder: tempfile::TempDir,
    pub(super) file: PathBuf,
}

impl Config {
    pub(super) fn new(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sluice.toml");
        std::fs::write(&file, text).unwrap();
        Config { _folder: folder, file }
    }

    pub(super) fn start(&self) -> Running {
        Running::start(&self.file)
    }
}

/// Where a process with `[admin]` has its metrics.
pub(super) fn admin(run: &mut Running) -> SocketAddr {
    let said = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    said.split('/').nth(2).unwrap().parse().unwrap()
}

/// The metrics of a name whose labels contain `labels`, added up; none if there are none.
pub(super) fn metric(admin: SocketAddr, name: &str, labels: &str) -> Option<f64> {
    let metrics = get(admin, "/metrics");
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    let values = lines.filter(|(found, _)| found.contains(labels)).map(|(_, value)| value.parse::<f64>().unwrap());
    values.reduce(|sum, value| sum + value)
}

/// Waits until a metric is at least so large.
pub(super) fn until_metric(admin: SocketAddr, name: &str, labels: &str, least: f64) {
    until(&format!("{name}{{{labels}}} >= {least}"), || {
        metric(admin, name, labels).is_some_and(|value| value >= least).then_some(())
    });
}

/// Produces numbered rows to `NAME-in` until `NAME-out` has grown by `rows`, never far ahead of it. Returns how many there are.
pub(super) fn feed(cluster: &Cluster, name: &str, sent: u64, rows: i64) -> u64 {
    const AT_ONCE: u64 = 500;
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    let goal = cluster.length(&to) + rows;
    let mut sent = sent;
    until("rows that arrive", || {
        let arrived = cluster.length(&to);
        if arrived < goal && (sent as i64) < arrived + 3000 {
            cluster.produce(&from, (sent..sent + AT_ONCE).map(super::row::delimited));
            sent += AT_ONCE;
        }
        (arrived >= goal).then_some(())
    });
    sent
}
