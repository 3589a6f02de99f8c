//! A trap in a running collector is recorded, and happens again anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::hostile::guest;
use crate::tool::{Ended, Running, exporter, metrics_with, netflow5, sluice};

/// Runs a collector whose plugin traps on every row, with two datagrams in batches of their own, and returns the recordings.
fn recorded(folder: &Path) -> Vec<PathBuf> {
    let (files, ended) = run(folder, r#"{ mode = "trap", arg = 1000 }"#, "");
    assert_eq!(ended.books("bad"), (5, 0, 5));
    files
}

/// Runs a collector with the test plugin, which gets two datagrams in batches of their own; the recordings, and how it ended.
/// `more` goes into `record`.
fn run(folder: &Path, plugin_config: &str, more: &str) -> (Vec<PathBuf>, Ended) {
    fs::write(folder.join("guest.wasm"), guest::guest()).unwrap();
    fs::write(folder.join("a.bin"), netflow5(0, &[1, 2, 3])).unwrap();
    fs::write(folder.join("b.bin"), netflow5(3, &[4, 5])).unwrap();
    fs::write(folder.join("t.csv"), "192.0.2.0/24,1\n").unwrap();
    fs::write(folder.join("k.key"), "00".repeat(32)).unwrap();
    let config = folder.join("sluice.toml");
    let text = format!(
        r#"
        workers = 1

        [sources.edge]
        type = "capture"
        paths = ["a.bin", "b.bin"]
        batch_rows = 2

        [stages.bad]
        inputs = ["edge"]
        plugin = "./guest.wasm"
        private = false
        bisect = false
        grant = {{ read = ["src_addr", "bytes", "src_as"], write = ["src_as", "customer_id"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }}
        config = {plugin_config}
        record = {{ dir = "recordings", max_files = 2{more} }}

        [tables.t]
        type = "prefix"
        path = "t.csv"
        [keys.k]
        path = "k.key"
        [assets.a]
        path = "t.csv"

        [sinks.out]
        type = "null"
        inputs = ["bad"]
    "#
    );
    fs::write(&config, text).unwrap();
    let ended = Running::start(&config).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.join("recordings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    (files, ended)
}

fn replay(folder: &Path, recording: &Path, args: &[&str]) -> Output {
    let mut command = sluice();
    command.current_dir(folder).args(["--log=error", "plugin", "replay"]).arg(recording).args(args);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_trap_is_recorded_once_and_happens_again_at_the_same_place() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let files = recorded(folder.path());
    // The same trap three times over is one recording.
    assert_eq!(files.len(), 1, "{files:?}");
    // It has addresses in it.
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let output = replay(folder.path(), &files[0], &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = replay(folder.path(), &files[0], &[]);
    let text = said(&text);
    assert!(text.contains("reproduced"), "{text}\n{report:#}");
    // Names of functions, from the component itself.
    assert!(text.contains("panic"), "{text}");
}

#[test]
fn a_trap_that_took_several_batches_happens_again_and_as_a_case() {
    let folder = tempfile::tempdir().unwrap();
    // It traps when it has seen five rows: in the second batch.
    let (files, ended) = run(folder.path(), r#"{ mode = "count-to", arg = 5 }"#, "");
    assert_eq!(ended.books("bad"), (5, 3, 2));
    let output = replay(folder.path(), &files[0], &["--save-case", "tests", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["calls_before"], &report["reproduced"]), (&1.into(), &true.into()), "{report:#}");
    assert_eq!(report["replayed"]["ended"], report["recorded"]["ended"], "text and backtrace: {report:#}");
    assert!(report["replayed"]["fuel"].as_u64().unwrap() > 0, "{report:#}");
    let log = report["replayed"]["log"].to_string();
    assert!(log.contains("5 rows"), "what it said then: {log}");

    let case = fs::read_to_string(report["case"].as_str().map(|file| folder.path().join(file)).unwrap()).unwrap();
    assert_eq!(case.matches("[[case.step]]").count(), 2, "{case}");
    let mut test = sluice();
    test.current_dir(folder.path()).args(["--log=error", "plugin", "test", "guest.wasm", "--tests", "tests"]);
    assert_eq!(test.output().unwrap().status.code(), Some(1));
}

#[test]
fn batches_are_recorded_on_demand_and_no_more_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = run(folder.path(), r#"{ mode = "count" }"#, ", every = 1");
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        let output = replay(folder.path(), file, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("ended     done, "), "{}", said(&output));
    }
    // There is room for two, and these are newer.
    let (newer, _) = run(folder.path(), r#"{ mode = "boundary" }"#, ", every = 1");
    assert_eq!(newer.len(), 2, "{newer:?}");
}

#[test]
fn recordings_are_counted_and_said_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("guest.wasm"), guest::guest()).unwrap();
    fs::write(folder.path().join("t.csv"), "192.0.2.0/24,1\n").unwrap();
    fs::write(folder.path().join("k.key"), "00".repeat(32)).unwrap();
    let config = folder.path().join("sluice.toml");
    let text = r#"
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
        grant = { read = ["src_addr", "bytes", "src_as"], write = ["src_as", "customer_id"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }
        config = { mode = "trap", arg = 1000 }
        record = { dir = "recordings" }
        [tables.t]
        type = "prefix"
        path = "t.csv"
        [keys.k]
        path = "k.key"
        [assets.a]
        path = "t.csv"
        [sinks.out]
        type = "null"
        inputs = ["bad"]
    "#;
    fs::write(&config, text).unwrap();
    let mut running = Running::start(&config);
    // A stage with a key hides something.
    running.wait_for("recordings of this stage hold what it is there to hide");
    let admin = running.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = running.listening();
    exporter(to).send(&netflow5(0, &[1, 2])).unwrap();
    let said = running.wait_for("call recorded");
    metrics_with(admin, "sluice_stage_plugin_recordings_total{stage=\"bad\"} 1");
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let output = replay(folder.path(), Path::new(said["file"].as_str().unwrap()), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", self::said(&output));
}

#[test]
fn what_cannot_be_replayed_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let files = recorded(folder.path());
    let whole = fs::read(&files[0]).unwrap();
    let output = replay(folder.path(), &files[0], &["--plugin", "splitter"]);
    assert_eq!(output.status.code(), Some(2), "it has another configuration: {}", said(&output));
    assert!(said(&output).contains("refused its configuration"), "{}", said(&output));

    let bad = folder.path().join("other.recording");
    let text = "sluice recording 1\n".len();
    fs::write(&bad, [b"sluice recording 7\n", &whole[text..]].concat()).unwrap();
    let output = replay(folder.path(), &bad, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("format 7, this sluice reads format 1"), "{}", said(&output));
}

#[test]
fn another_version_is_tried_on_what_broke_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let files = recorded(folder.path());
    fs::write(folder.path().join("other.wasm"), guest::version(2)).unwrap();
    let output = replay(folder.path(), &files[0], &["--plugin", "other.wasm"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the other component fails too"), "{}", said(&output));

    // One that does nothing does not trap either.
    let tiny = wat::parse_str(include_str!("../../../plugin/tests/guest/tiny.wat")).unwrap();
    fs::write(folder.path().join("tiny.wasm"), tiny).unwrap();
    let output = replay(folder.path(), &files[0], &["--plugin", "tiny.wasm"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("the other component passes"), "{}", said(&output));

    // Elsewhere, the component is found by its digest.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(folder.path().join("guest.wasm"), elsewhere.path().join("renamed.wasm")).unwrap();
    let output = replay(folder.path(), &files[0], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("give its folder with --plugin-dir"), "{}", said(&output));
    let dir = elsewhere.path().to_str().unwrap();
    let output = replay(folder.path(), &files[0], &["--plugin-dir", dir]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_recording_becomes_a_case_that_fails_until_the_plugin_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let files = recorded(folder.path());
    let output = replay(folder.path(), &files[0], &["--save-case", "tests"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut test = sluice();
    test.current_dir(folder.path()).args(["--log=error", "plugin", "test", "guest.wasm", "--tests", "tests"]);
    let output = test.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("0 passed, 1 failed"), "{}", said(&output));
}

#[test]
fn a_file_that_is_no_whole_recording_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let files = recorded(folder.path());
    let whole = fs::read(&files[0]).unwrap();
    let bad = folder.path().join("bad.recording");
    let refused = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        let output = replay(folder.path(), &bad, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("sluice: ") && error.lines().count() == 1, "{error}");
    };
    for length in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length]);
    }
    for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        refused(&broken);
    }
    refused(b"what is this");
}
