//! Plugins that trap, loop or allocate without end, in a running collector: their rows go by
//! `on_error`, a metric says what happened, and every other row is unharmed.

use std::fs;

#[path = "../../../plugin/tests/guest/mod.rs"]
pub(crate) mod guest;

use crate::tool::{Ended, Running, exporter, get, netflow5};

/// Runs a stage with the test plugin in `mode` beside a good stage, both on the same five rows, and
/// returns how it ended and the metrics before that.
fn run(mode: &str, on_error: &str) -> (Ended, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("guest.wasm"), guest::guest()).unwrap();
    let config = folder.path().join("sluice.toml");
    let dead = if on_error == "dead-letter" { "\"bad.dead-letter\"" } else { "\"good\"" };
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
        on_error = "{on_error}"
        private = false
        grant = {{ read = ["src_addr", "bytes", "src_as", "proto", "customer_id", "note", "mpls_labels"], write = ["src_addr", "src_as", "customer_id", "note", "mpls_labels"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }}
        limits = {{ deadline_ms = 500, memory_bytes = 8_000_000 }}
        config = {{ mode = "{mode}", arg = 1000 }}

        [stages.good]
        inputs = ["edge"]
        plugin = "splitter"
        config = {{ name = "proto-{{proto}}" }}

        [tables.t]
        type = "prefix"
        path = "t.csv"
        [keys.k]
        path = "k.key"
        [assets.a]
        path = "t.csv"

        [sinks.bad-rows]
        type = "null"
        inputs = ["bad"]
        [sinks.good-rows]
        type = "stdout"
        inputs = ["good"]
        fields = ["bytes"]
        [sinks.other]
        type = "null"
        inputs = [{dead}]
        "#
    );
    fs::write(&config, text).unwrap();
    fs::write(folder.path().join("t.csv"), "192.0.2.0/24,1\n").unwrap();
    fs::write(folder.path().join("k.key"), "00".repeat(32)).unwrap();

    let mut run = Running::start(&config);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();
    exporter(to).send(&netflow5(0, &[1, 2, 3, 4, 5])).unwrap();
    // The good stage comes after the bad one in the same worker: its rows are proof that both are done.
    let shown: Vec<String> = run.stdout.by_ref().take(5).collect();
    assert_eq!(shown.len(), 5, "the rows of the good stage are unharmed");
    if on_error == "stop" {
        return (run.end(), String::new());
    }
    let metrics = get(admin, "/metrics");
    (run.stop(), metrics)
}

fn check(mode: &str, reason: &str) {
    let (ended, metrics) = run(mode, "drop");
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("bad"), (5, 0, 5));
    assert!(ended.log.contains(&format!("5 {reason}")), "{}", ended.log);
    assert_eq!(ended.books("good"), (5, 5, 0));
    assert_eq!(ended.books("good-rows"), (5, 5, 0));
    let counted = metrics.lines().any(|line| {
        line.starts_with("sluice_stage_plugin_traps_total{") && line.contains("stage=\"bad\"") && !line.ends_with(" 0")
    });
    assert!(counted, "no trap of the stage in\n{metrics}");
}

#[test]
fn a_plugin_that_traps_costs_its_batch_and_nothing_else() {
    check("trap", "trap");
}

#[test]
fn a_column_that_is_refused_at_run_time_is_named() {
    let (ended, _) = run("columns", "drop");
    assert_eq!(ended.books("bad"), (5, 0, 5));
    assert!(ended.log.contains("the grant does not include column dst_port, which it asked for"), "{}", ended.log);
}

#[test]
fn a_plugin_that_loops_is_stopped_at_its_deadline() {
    check("loop", "deadline");
}

#[test]
fn a_plugin_that_allocates_without_end_is_stopped_at_its_limit() {
    check("memory", "memory");
}

#[test]
fn rows_of_a_trap_pass_go_to_the_dead_letters_or_stop_the_pipeline_as_configured() {
    let (ended, _) = run("trap", "pass");
    assert_eq!(ended.books("bad"), (5, 5, 0));
    assert_eq!(ended.books("bad-rows"), (5, 5, 0));

    let (ended, _) = run("trap", "dead-letter");
    assert_eq!(ended.books("bad"), (5, 5, 0));
    assert_eq!(ended.books("bad-rows"), (0, 0, 0));
    assert_eq!(ended.books("other"), (5, 5, 0));

    let (ended, _) = run("trap", "stop");
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert_eq!(ended.books("bad"), (5, 0, 5));
    assert!(ended.log.contains("sluice: stage bad: "), "{}", ended.log);
}
