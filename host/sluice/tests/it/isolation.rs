//! `isolation = "process"` in a running collector: the same rows, a process that has next to nothing, and its death.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::hostile::guest;
use crate::tool::{Running, exporter, get, metrics_with, netflow5, sluice};

const ISOLATED: &str = "isolation = \"process\"";

/// Runs every built-in plugin over a capture and returns the rows of each, and the alerts.
fn rows(isolation: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stages = [
        (
            "enricher",
            "config = { customers = { table = \"customers\" } }\ngrant = { read = [\"*\"], write = [\"*\"], tables = [\"customers\"] }",
        ),
        ("splitter", "config = { name = \"port-{dst_port}\" }"),
        (
            "reducer",
            "config = { mode = \"crypto-pan\", key = \"secret\" }\ngrant = { read = [\"*\"], write = [\"*\"], keys = [\"secret\"] }",
        ),
        ("dos-detector", "config = { hosts = { total = { flows = 5 } } }"),
    ];
    let mut text = "workers = 1\n[sources.old]\ntype = \"capture\"\npaths = [\"old\"]\nbatch_rows = 60\n".to_owned();
    text.push_str(
        "[tables.customers]\ntype = \"prefix\"\npath = \"customers.csv\"\n[keys.secret]\npath = \"secret.key\"\n",
    );
    for (name, more) in stages {
        text.push_str(&format!("[stages.{name}]\ninputs = [\"old\"]\nplugin = \"{name}\"\n{isolation}\n{more}\n"));
        text.push_str(&format!(
            "[sinks.{name}-rows]\ntype = \"file\"\ninputs = [\"{name}\"]\npath = \"{name}.json\"\n"
        ));
    }
    text.push_str("[sinks.alerts]\ntype = \"events\"\ninputs = [\"dos-detector\"]\nto = \"alerts.json\"\n");
    fs::write(path("sluice.toml"), text).unwrap();
    fs::write(path("customers.csv"), "192.0.2.0/28,7\n192.0.2.16/28,8\n").unwrap();
    fs::write(path("secret.key"), "5a".repeat(32)).unwrap();
    fs::create_dir(path("old")).unwrap();
    for sequence in 0..20 {
        let hosts: Vec<u8> = (0..30).map(|host| (host * 7 + sequence as u8) % 40).collect();
        fs::write(path(&format!("old/{sequence:02}.bin")), netflow5(sequence * 30, &hosts)).unwrap();
    }
    let output = sluice().arg("run").arg(path("sluice.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("process for plugins started").count(), if isolation.is_empty() { 0 } else { 4 }, "{said}");
    let names = ["enricher", "splitter", "reducer", "dos-detector", "alerts"];
    names.map(|name| fs::read_to_string(path(&format!("{name}.json"))).unwrap()).to_vec()
}

#[test]
fn every_built_in_plugin_gives_the_same_rows_in_a_process() {
    let (here, there) = (rows(""), rows(ISOLATED));
    for rows in &here[..4] {
        assert_eq!(rows.lines().count(), 600);
    }
    assert!(here[0].contains("\"customer_id\":8") || here[0].contains("customer"), "{}", here[0]);
    assert!(!here[2].contains("198.18.0.1") && !here[4].is_empty());
    assert_eq!(here, there);
}

/// A collector with the test plugin in a process, in `mode`, and good stage beside it.
fn running(folder: &Path, mode: &str, more: &str) -> (Running, SocketAddr, SocketAddr) {
    fs::write(folder.join("guest.wasm"), guest::guest()).unwrap();
    fs::write(folder.join("secret.key"), "5a".repeat(32)).unwrap();
    fs::write(folder.join("t.csv"), "192.0.2.0/24,1\n").unwrap();
    // Every row has 1000 bytes, which `trap` takes for its cue.
    let arg = if mode == "trap" { 1000 } else { 0 };
    let text = format!(
        r#"
        workers = 2
        [admin]
        listen = "127.0.0.1:0"
        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_rows = 64
        batch_delay_ms = 5
        [tables.t]
        type = "prefix"
        path = "t.csv"
        [keys.k]
        path = "secret.key"
        [assets.a]
        path = "t.csv"
        [stages.tag]
        inputs = ["edge"]
        plugin = "./guest.wasm"
        isolation = "process"
        private = false
        grant = {{ read = ["src_addr", "bytes", "src_as", "proto", "customer_id", "note", "mpls_labels"], write = ["src_addr", "src_as", "customer_id", "note", "mpls_labels"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }}
        limits = {{ deadline_ms = 500, memory_bytes = 8_000_000 }}
        config = {{ mode = "{mode}", arg = {arg} }}
        {more}
        [stages.good]
        inputs = ["edge"]
        plugin = "splitter"
        config = {{ name = "proto-{{proto}}" }}
        [sinks.out]
        type = "null"
        inputs = ["tag"]
        [sinks.good-rows]
        type = "null"
        inputs = ["good"]
        "#
    );
    let config = folder.join("sluice.toml");
    fs::write(&config, text).unwrap();
    let mut run = Running::start(&config);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();
    (run, admin, to)
}

/// The process of the plugins of `run`.
fn child(run: &mut Running) -> u64 {
    run.wait_for("process for plugins started")["pid"].as_u64().unwrap()
}

/// Sends 30 rows and waits until the good stage has passed so many.
fn send(to: SocketAddr, admin: SocketAddr, sent: &mut u64) {
    exporter(to).send(&netflow5(*sent as u32, &(1..=30).collect::<Vec<_>>())).unwrap();
    *sent += 30;
    metrics_with(admin, &format!("sluice_sink_out_rows_total{{sink=\"good-rows\"}} {sent}"));
}

#[test]
fn a_process_that_is_killed_in_mid_stream_costs_counted_rows_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut run, admin, to) = running(folder.path(), "count", "quarantine = { traps = 0 }");
    let mut sent = 0;
    send(to, admin, &mut sent);
    for _ in 0..3 {
        let pid = child(&mut run);
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        // Until rows come out again: the first death costs nothing but its batch, later ones a pause.
        let before = rows_out(admin);
        let began = Instant::now();
        while rows_out(admin) == before {
            assert!(began.elapsed() < Duration::from_secs(120), "it never came back");
            send(to, admin, &mut sent);
        }
    }
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let (rows_in, rows_out, dropped) = ended.books("tag");
    assert_eq!(rows_in, sent);
    assert!(rows_out > 0 && dropped >= 90, "{}", ended.log);
    assert!(ended.log.contains(&format!("{dropped} process")), "{}", ended.log);
    assert_eq!(ended.books("out"), (rows_out, rows_out, 0));
    assert_eq!(ended.books("good"), (sent, sent, 0));
}

fn rows_out(admin: SocketAddr) -> u64 {
    let metrics = get(admin, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("sluice_sink_out_rows_total{sink=\"out\"} "));
    line.map_or(0, |rows| rows.parse().unwrap())
}

#[test]
fn plugins_that_trap_loop_or_allocate_in_a_process_cost_their_batch_and_not_the_process() {
    for (mode, reason) in [("trap", "trap"), ("loop", "deadline"), ("memory", "memory")] {
        let folder = tempfile::tempdir().unwrap();
        let (run, admin, to) = running(folder.path(), mode, "quarantine = { traps = 0 }");
        let mut sent = 0;
        send(to, admin, &mut sent);
        send(to, admin, &mut sent);
        let ended = run.stop();
        assert_eq!(ended.books("tag"), (60, 0, 60));
        assert!(ended.log.contains(&format!("60 {reason}")), "{}", ended.log);
        assert_eq!(ended.books("good"), (60, 60, 0));
        assert_eq!(ended.log.matches("process for plugins started").count(), 1, "{}", ended.log);
    }
}

#[test]
fn a_process_has_its_sockets_and_no_files_environment_arguments_or_rights() {
    let folder = tempfile::tempdir().unwrap();
    let (mut run, admin, to) = running(folder.path(), "count", "");
    let pid = child(&mut run);
    send(to, admin, &mut 0);
    let of = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap();
    let text = |what: &str| String::from_utf8(of(what)).unwrap();
    assert_eq!(of("environ"), b"MALLOC_ARENA_MAX=2\0");
    assert!(text("cmdline").ends_with("\0plugin-process\0"), "{}", text("cmdline"));
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let mut kinds = BTreeSet::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(file.unwrap().path()).unwrap().display().to_string();
        kinds.insert(target.split(':').next().unwrap().to_owned());
    }
    // A pipe for its last words; the engine's files have no names and are in memory.
    kinds.remove("/memfd");
    assert_eq!(kinds, ["/dev/null", "pipe", "socket"].map(str::to_owned).into());
    let status = text("status");
    assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
    let limits = text("limits");
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(limit("Max core file size").contains(" 0 "), "{limits}");
    assert!(limit("Max data size").contains(" 4294967296 "), "{limits}");
    // Of all sockets only those between the two: the collector's own are not there.
    let udp = fs::read_to_string("/proc/net/udp").unwrap() + &fs::read_to_string("/proc/net/tcp").unwrap();
    for file in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let inode = fs::metadata(file.unwrap().path()).unwrap().ino().to_string();
        assert!(!udp.lines().any(|line| line.split_whitespace().nth(9) == Some(&*inode)), "a socket of the network");
    }
    assert_eq!(run.stop().code, Some(0));
}

#[test]
fn a_plugin_in_a_process_is_exchanged_with_its_state_and_the_state_outlives_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (mut run, admin, to) = running(folder.path(), "count", "state = \"tag.state\"");
    let mut sent = 0;
    send(to, admin, &mut sent);
    for version in [2, 1, 2] {
        fs::write(folder.path().join("guest.wasm"), guest::version(version)).unwrap();
        run.signal("HUP");
        run.wait_for("new plugin takes over");
        send(to, admin, &mut sent);
        run.wait_for("plugin exchanged");
    }
    let ended = run.stop();
    assert_eq!(ended.books("tag"), (120, 120, 0));
    assert_eq!(ended.log.matches("process for plugins started").count(), 1, "{}", ended.log);
    let state = fs::read(folder.path().join("tag.state")).unwrap();
    assert!(state.ends_with(&120_u64.to_le_bytes()), "all rows are counted once: {state:?}");
}

#[test]
fn the_configuration_of_the_page_is_one_that_runs_with_two_processes() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto/isolate-a-plugin.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let text = blocks.collect::<Vec<_>>().join("\n").replace("[::]:2055", "[::1]:0");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("isolated.toml"), text).unwrap();
    fs::write(folder.path().join("customers.csv"), "192.0.2.0/24,7\n").unwrap();
    assert!(page.contains("    sluice check isolated.toml\n"));
    let output = sluice().current_dir(folder.path()).args(["check", "isolated.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for group in ["stage customers", "tenant-a"] {
        assert_eq!(said.matches("process for plugins started").count(), 2, "{said}");
        assert!(said.contains(&format!("group=\"{group}\"")), "{said}");
    }
    // What the page shows of the log is how it is written.
    assert!(page.contains("INFO process for plugins started group=\"stage customers\" pid="));
}
