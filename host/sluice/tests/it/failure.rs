//! Rows that a plugin cannot process, plugins that are quarantined, and budgets, in a running collector: every row is
//! accounted for.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::hostile::guest;
use crate::tool::{Ended, Running, exporter, metrics_with, netflow5};

/// What the test plugin wants to be granted.
const GRANT: &str = r#"grant = { read = ["src_addr", "bytes", "src_as", "proto", "customer_id", "note", "mpls_labels"], write = ["src_addr", "src_as", "customer_id", "note", "mpls_labels"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }"#;
const LENT: &str = r#"
[tables.t]
type = "prefix"
path = "t.csv"
[keys.k]
path = "k.key"
[assets.a]
path = "t.csv"
"#;

/// A folder with the test plugin under `name`, and what it is lent.
fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), guest::guest()).unwrap();
    fs::write(folder.path().join("t.csv"), "192.0.2.0/24,1\n").unwrap();
    fs::write(folder.path().join("k.key"), "00".repeat(32)).unwrap();
    folder
}

/// Thirty rows, those of `poisonous` with 666 bytes.
fn rows(poisonous: &[usize]) -> Vec<u8> {
    let hosts: Vec<u8> = (1..=30).collect();
    let mut datagram = netflow5(0, &hosts);
    for row in poisonous {
        // Header of 24 bytes, records of 48, dOctets at 20 in each.
        datagram[24 + row * 48 + 20..][..4].copy_from_slice(&666_u32.to_be_bytes());
    }
    datagram
}

/// The configuration of a page, with the test plugin in `mode` for its stage.
fn of_page(page: &str, stage: &str, mode: &str, folder: &Path) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto").join(page);
    let text = fs::read_to_string(path).unwrap();
    let example = text.split("```").find_map(|block| block.strip_prefix("toml\n")).unwrap();
    let grant = example.lines().find(|line| line.starts_with("grant = ")).unwrap();
    // The page asks for a private stage nowhere; the key of the test plugin would make it one.
    let example = example.replace(grant, &format!("{GRANT}\nprivate = false"));
    let config = folder.join("sluice.toml");
    let own = format!("[stages.{stage}.config]\nmode = \"{mode}\"\narg = 666\n");
    fs::write(&config, format!("{example}\n{own}{LENT}")).unwrap();
    config
}

fn json(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn as_the_page_says_the_bad_rows_are_dead_letters_with_a_reason_and_the_others_go_on() {
    let folder = folder("tenants.wasm");
    fs::write(folder.path().join("flows.bin"), rows(&[0, 11, 29])).unwrap();
    let config = of_page("when-a-plugin-fails.md", "tenants", "trap", folder.path());
    let mut run = Running::start(&config);
    let taken_apart = run.wait_for("batch taken apart");
    assert_eq!((&taken_apart["rows"], &taken_apart["saved"]), (&30.into(), &27.into()));
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("tenants"), (30, 30, 0));
    assert_eq!(ended.books("flows"), (27, 27, 0));
    assert_eq!(ended.books("graves"), (3, 3, 0));
    let flows = json(&folder.path().join("flows.json"));
    assert!(flows.iter().all(|row| row["bytes"] == 1000 && row["dead_letter"].is_null()));
    let hosts: Vec<&str> = flows.iter().map(|row| row["dst_addr"].as_str().unwrap()).collect();
    let expected: Vec<String> =
        (1..=30).filter(|host| ![1, 12, 30].contains(host)).map(|host| format!("192.0.2.{host}")).collect();
    assert_eq!(hosts, expected, "in their order");
    for row in json(&folder.path().join("dead.json")) {
        let why = &row["dead_letter"];
        assert_eq!((&row["bytes"], &row["src_as"]), (&666.into(), &0.into()), "as it came");
        assert_eq!(
            (&why["stage"], &why["reason"], &why["plugin"]),
            (&"tenants".into(), &"trap".into(), &"guest".into())
        );
        assert!(why["error"].as_str().unwrap().contains("unreachable"), "{why}");
        assert!(
            !why["backtrace"].as_array().unwrap().is_empty() && why["digest"].as_str().unwrap().len() == 64,
            "{why}"
        );
    }
}

/// A collector with a bad stage (`options` in its table) and a good one on the same flows.
fn start(folder: &Path, mode: &str, arg: u32, options: &str) -> (Running, SocketAddr, SocketAddr) {
    let config = folder.join("sluice.toml");
    let text = format!(
        r#"
workers = 1
[admin]
listen = "127.0.0.1:0"
[sources.edge]
type = "udp"
listen = "127.0.0.1:0"
batch_delay_ms = 5

[stages.bad]
inputs = ["edge"]
plugin = "./guest.wasm"
{GRANT}
config = {{ mode = "{mode}", arg = {arg} }}
{options}

[stages.good]
inputs = ["edge"]
plugin = "splitter"
config = {{ name = "proto-{{proto}}" }}

[sinks.bad-rows]
type = "null"
inputs = ["bad"]
[sinks.good-rows]
type = "null"
inputs = ["good"]
{LENT}
"#
    );
    fs::write(&config, text).unwrap();
    let mut run = Running::start(&config);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();
    (run, admin, to)
}

/// Sends batches one after the other, each when the one before has gone through the good stage: which comes after the bad
/// one in the only worker.
fn send(admin: SocketAddr, to: SocketAddr, batches: u64, before: u64, poisonous: &[usize]) {
    let socket = exporter(to);
    for batch in 1..=batches {
        socket.send(&rows(poisonous)).unwrap();
        let arrived = (before + batch) * 30;
        metrics_with(admin, &format!("sluice_sink_out_rows_total{{sink=\"good-rows\"}} {arrived}"));
    }
}

fn dropped(ended: &Ended, reason: &str) -> u64 {
    let mut words = ended.log.split_whitespace().zip(ended.log.split_whitespace().skip(1));
    words.find(|(_, word)| word.trim_end_matches(',') == reason).map_or(0, |(rows, _)| rows.parse().unwrap_or(0))
}

#[test]
fn a_plugin_that_traps_on_everything_is_quarantined_until_another_version_comes() {
    let folder = folder("guest.wasm");
    let (mut run, admin, to) = start(folder.path(), "stack", 0, "private = true\non_error = \"drop\"");
    // One batch of which nothing works is enough.
    send(admin, to, 1, 0, &[]);
    let quarantined = run.wait_for("plugin quarantined");
    assert_eq!(quarantined["stage"], "bad");
    send(admin, to, 3, 1, &[]);
    let metrics = metrics_with(admin, "sluice_stage_plugin_quarantined{stage=\"bad\"} 1.0");
    assert!(
        metrics.contains("sluice_stage_dropped_rows_total{stage=\"bad\",reason=\"quarantined\"} 90\n"),
        "{metrics}"
    );
    // The next version is another plugin as far as that goes.
    fs::write(folder.path().join("guest.wasm"), guest::version(2)).unwrap();
    run.signal("HUP");
    run.wait_for("plugin released from quarantine");
    run.wait_for("new plugin takes over");
    send(admin, to, 1, 4, &[]);
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("bad"), (150, 0, 150));
    assert_eq!((dropped(&ended, "quarantined"), dropped(&ended, "trap")), (90, 60), "{}", ended.log);
    assert_eq!(ended.books("good-rows"), (150, 150, 0));
    assert_eq!(ended.books("bad-rows"), (0, 0, 0), "nothing of a private stage passes");
}

#[test]
fn rows_over_the_budget_are_shed_and_the_other_stage_has_all_of_its_own() {
    let folder = folder("guest.wasm");
    // 50 million turns of a loop are many times a millisecond.
    let options = "private = false\non_error = \"pass\"\nlimits = { cpu_ms_per_s = 1, deadline_ms = 60_000 }";
    let (run, admin, to) = start(folder.path(), "burn", 50_000, options);
    send(admin, to, 3, 0, &[]);
    let metrics = metrics_with(admin, "sluice_stage_plugin_failed_rows_total{stage=\"bad\",reason=\"over_budget\"} 60");
    assert!(metrics.contains("sluice_stage_plugin_over_budget_total{stage=\"bad\"} 1\n"), "{metrics}");
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("bad"), (90, 90, 0));
    assert_eq!(ended.books("bad-rows"), (90, 90, 0));
    assert_eq!(ended.books("good-rows"), (90, 90, 0));
}

#[test]
fn rows_over_the_budget_wait_and_keep_nobody_waiting() {
    let folder = folder("guest.wasm");
    let options = "private = false\nlimits = { cpu_ms_per_s = 1, over_budget = \"delay\", deadline_ms = 60_000 }";
    let (run, admin, to) = start(folder.path(), "burn", 50_000, options);
    // The first uses up the budget of a minute; the others wait for it, and all have gone through the good stage.
    send(admin, to, 3, 0, &[]);
    let metrics = crate::tool::get(admin, "/metrics");
    assert!(metrics.contains("sluice_stage_in_rows_total{stage=\"bad\"} 30\n"), "{metrics}");
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let (rows_in, rows_out, shed) = ended.books("bad");
    assert_eq!((rows_in, rows_out + shed), (90, 90), "{}", ended.log);
    assert!(rows_out >= 60, "what waits when the collector stops is processed for a second: {}", ended.log);
    assert_eq!(ended.books("good-rows"), (90, 90, 0));
}

#[test]
fn as_the_page_says_a_budget_that_is_enough_costs_nothing() {
    let folder = folder("score.wasm");
    fs::write(folder.path().join("flows.bin"), rows(&[])).unwrap();
    let config = of_page("budgets.md", "score", "trap", folder.path());
    let ended = Running::start(&config).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("score"), (30, 30, 0));
    assert_eq!(json(&folder.path().join("flows.json")).len(), 30);
}
