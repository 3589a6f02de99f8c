//! The configuration of a collector is changed while flows go through it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::tool::{Running, exporter, metrics_until, netflow5, sluice};

/// What every configuration here begins with.
const HEAD: &str = r#"
    workers = 2

    [admin]
    listen = "127.0.0.1:0"

    [sources.edge]
    type = "udp"
    listen = "127.0.0.1:0"
    batch_rows = 64
    batch_delay_ms = 5
    queue = 256
"#;

/// An exporter that never runs ahead of what has reached the sinks, so that UDP loses nothing and what has arrived has gone the
/// ways that were then in force.
struct Load {
    is_done: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    arrived: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(to: SocketAddr, admin: SocketAddr) -> Load {
        let (is_done, sent, arrived) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let thread = thread::spawn({
            let (is_done, sent, arrived) = (Arc::clone(&is_done), Arc::clone(&sent), Arc::clone(&arrived));
            move || {
                let socket = exporter(to);
                let hosts: Vec<u8> = (1..=30).collect();
                while !is_done.load(Ordering::Acquire) {
                    for _ in 0..20 {
                        let before = sent.fetch_add(30, Ordering::AcqRel);
                        socket.send(&netflow5(before as u32, &hosts)).unwrap();
                    }
                    let sent = sent.load(Ordering::Acquire);
                    metrics_until(admin, &format!("{sent} rows at the sinks"), |metrics| sink_rows(metrics) == sent);
                    arrived.store(sent, Ordering::Release);
                }
            }
        });
        Load { is_done, sent, arrived, thread }
    }

    /// Waits until this many rows that had not been sent are at the sinks; the number of the first of them.
    fn pass(&self, rows: u64) -> u64 {
        let from = self.sent.load(Ordering::Acquire);
        while self.arrived.load(Ordering::Acquire) < from + rows {
            thread::yield_now();
        }
        from
    }

    fn end(self) -> u64 {
        self.is_done.store(true, Ordering::Release);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Acquire)
    }
}

/// Rows that all sinks have been given, those included that are no more.
fn sink_rows(metrics: &str) -> u64 {
    let series = metrics.lines().filter(|line| line.starts_with("sluice_sink_in_rows_total{"));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn write(path: &Path, text: &str) {
    fs::write(path, format!("{HEAD}{text}")).unwrap();
}

fn admin_of(run: &mut Running) -> SocketAddr {
    let message = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    message.split('/').nth(2).unwrap().parse().unwrap()
}

/// How often each flow is in the files of these sinks, and what was written by each.
fn rows(folder: &Path, files: &[&str]) -> (BTreeMap<(u64, String), u32>, BTreeMap<String, u64>) {
    let (mut flows, mut by_file) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let flow = (row["sequence_num"].as_u64().unwrap(), row["dst_addr"].as_str().unwrap().to_owned());
            *flows.entry(flow).or_insert(0) += 1;
            *by_file.entry((*file).to_owned()).or_insert(0) += 1;
        }
    }
    (flows, by_file)
}

#[test]
fn stages_sinks_and_grants_change_under_load_and_every_flow_arrives_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    let plain = "[sinks.one]\ntype = \"file\"\npath = \"one.json\"\ninputs = [\"edge\"]\n";
    write(&config, plain);
    let mut run = Running::start(&config);
    let admin = admin_of(&mut run);
    let to = run.listening();
    let load = Load::start(to, admin);
    load.pass(1200);
    let mut reload = |text: &str, says: &str| {
        write(&config, text);
        run.signal("HUP");
        let taken = run.wait_for("configuration");
        let said = format!("{} {}", taken["changed"].as_str().unwrap_or(""), taken["error"].as_str().unwrap_or(""));
        assert!(said.contains(says), "{said}");
        // Rows go that way.
        load.pass(1200);
    };
    let split = |grant: &str, name: &str, rest: &str| {
        format!(
            "[stages.split]\ninputs = [\"edge\"]\nplugin = \"splitter\"\ngrant = {{ read = [{grant}] }}\n\
             config = {{ name = \"{name}\" }}\n{rest}"
        )
    };
    let by_proto = "[sinks.one]\ntype = \"file\"\npath = \"one.json\"\ninputs = [\"split.proto-6\"]\n";
    let by_port = "[sinks.two]\ntype = \"file\"\npath = \"two.json\"\ninputs = [\"split.port-443\"]\n";
    // A stage comes between; the sink goes on with its file.
    reload(&split("\"proto\"", "proto-{proto}", by_proto), "added stages.split; rows go other ways");
    // A column that nobody read before, a wider grant, other routes and another sink, at once.
    reload(
        &split("\"dst_port\"", "port-{dst_port}", by_port),
        "added sinks.two; removed sinks.one; changed stages.split",
    );
    // Mistakes leave everything as it is.
    reload("[sinks.one\n", "sluice.toml:");
    let asks_too_much = split("\"proto\"", "port-{dst_port}", by_port);
    reload(&asks_too_much, "column dst_port, which the grant does not include");
    reload(&format!("shutdown_grace_ms = 5\n{plain}"), "sluice.toml:");
    reload(&split("\"dst_port\"", "port-{dst_port}", by_port), "nothing changed");
    // Two stages, and the same in the other order.
    let two = |first: &str, second: &str| {
        let stage = |name: &str, input: &str| {
            format!(
                "[stages.{name}]\ninputs = [\"{input}\"]\nplugin = \"enricher\"\nconfig = {{ proto_name = true }}\n"
            )
        };
        let sink = format!("[sinks.three]\ntype = \"file\"\npath = \"three.json\"\ninputs = [\"{second}\"]\n");
        format!("{}{}{sink}", stage(first, "edge"), stage(second, first))
    };
    reload(&two("a", "b"), "added stages.a, stages.b, sinks.three; removed stages.split, sinks.two");
    reload(&two("b", "a"), "rows go other ways");
    // The stages go.
    reload(plain, "removed stages.b, stages.a, sinks.three");
    let sent = load.end();
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("edge"), (sent, sent, 0));
    let (flows, by_file) = rows(folder.path(), &["one.json", "two.json", "three.json"]);
    assert!(by_file.values().all(|rows| *rows > 1000) && by_file.len() == 3, "{by_file:?}");
    assert!(flows.values().all(|times| *times == 1));
    assert_eq!(flows.len() as u64, sent);
    assert_eq!(ended.books("one").1 + ended.books("two").1 + ended.books("three").1, sent);
}

#[test]
fn a_source_that_changes_keeps_its_socket_and_what_waits_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    let sink = "[sinks.out]\ntype = \"null\"\ninputs = [\"edge\"]\n";
    write(&config, sink);
    let mut run = Running::start(&config);
    let admin = admin_of(&mut run);
    let to = run.listening();
    let load = Load::start(to, admin);
    for rows in [128, 32, 64] {
        fs::write(&config, format!("{HEAD}{sink}").replace("batch_rows = 64", &format!("batch_rows = {rows}")))
            .unwrap();
        run.signal("HUP");
        let changed = run.wait_for("configuration read")["changed"].as_str().unwrap().to_owned();
        assert_eq!(changed, "changed sources.edge");
    }
    let sent = load.end();
    let ended = run.stop();
    assert_eq!(ended.books("edge"), (sent, sent, 0));
    assert_eq!(ended.books("out"), (sent, sent, 0));
    assert!(!ended.log.contains("kernel"), "{}", ended.log);
}

#[test]
fn a_table_of_values_changes_under_load_and_a_bad_file_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    let names = folder.path().join("interfaces.csv");
    fs::write(&names, "exporter,in_if,name\n127.0.0.1,1,one\n127.0.0.1,2,two\n").unwrap();
    write(
        &config,
        "[tables.interfaces]\ntype = \"values\"\npath = \"interfaces.csv\"\n[stages.enrich]\ninputs = [\"edge\"]\n\
         plugin = \"enricher\"\nconfig = { interfaces = { names = \"interfaces\" } }\n\
         [sinks.out]\ntype = \"file\"\npath = \"out.json\"\ninputs = [\"enrich\"]\n",
    );
    let mut run = Running::start(&config);
    let admin = admin_of(&mut run);
    let to = run.listening();
    let load = Load::start(to, admin);
    load.pass(1200);
    fs::write(&names, "127.0.0.1,1,uno\n127.0.0.1,3,tres\n").unwrap();
    run.signal("HUP");
    assert_eq!(run.wait_for("table exchanged")["table"], "interfaces");
    let exchanged = load.pass(1200);
    // Twice the same key: refused, with the line, and what was there stays.
    fs::write(&names, "127.0.0.1,1,bad\n127.0.0.1,1,worse\n").unwrap();
    run.signal("HUP");
    let refused = run.wait_for("table not exchanged")["error"].as_str().unwrap().to_owned();
    assert!(refused.ends_with("interfaces.csv:2: line 1 has the key `127.0.0.1,1` already"), "{refused}");
    load.pass(1200);
    let sent = load.end();
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("edge"), (sent, sent, 0));
    assert_eq!(ended.books("enrich"), (sent, sent, 0));
    assert_eq!(ended.books("out"), (sent, sent, 0));
    let (mut before, mut after) = (0, 0);
    for line in fs::read_to_string(folder.path().join("out.json")).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let is_new = row["sequence_num"].as_u64().unwrap() >= exchanged;
        match (row["src_if_name"].as_str(), row["dst_if_name"].as_str()) {
            (Some("one"), Some("two")) if !is_new => before += 1,
            (Some("uno"), None | Some("")) => after += 1,
            _ => panic!("neither the old table nor the new one, or the old one too late: {line}"),
        }
    }
    assert_eq!(before + after, sent);
    assert!(before >= 600 && after >= 1200, "{before} with the old names, {after} with the new");
}

#[test]
fn a_changed_stage_keeps_its_state_and_tables_are_exchanged_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    fs::write(folder.path().join("old.csv"), "192.0.2.0/24,7\n").unwrap();
    fs::write(folder.path().join("new.csv"), "192.0.2.0/24,8\n").unwrap();
    let text = |table: &str, file: &str| {
        format!(
            "[tables.customers]\ntype = \"prefix\"\npath = \"{table}\"\n[stages.enrich]\ninputs = [\"edge\"]\n\
             plugin = \"enricher\"\nconfig = {{ customers = {{ table = \"customers\" }} }}\n\
             [sinks.out]\ntype = \"file\"\npath = \"{file}\"\ninputs = [\"enrich\"]\n"
        )
    };
    write(&config, &text("old.csv", "old.json"));
    let mut run = Running::start(&config);
    let admin = admin_of(&mut run);
    let to = run.listening();
    let load = Load::start(to, admin);
    load.pass(1200);
    write(&config, &text("new.csv", "new.json"));
    run.signal("HUP");
    let changed = run.wait_for("configuration read")["changed"].as_str().unwrap().to_owned();
    assert_eq!(changed, "changed stages.enrich, sinks.out");
    load.pass(1200);
    let sent = load.end();
    let ended = run.stop();
    assert_eq!(ended.books("out"), (sent, sent, 0));
    for (file, customer) in [("old.json", 7), ("new.json", 8)] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(text.lines().count() > 1000);
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(row["customer_id"], customer, "{file}: no batch sees half of a change");
        }
    }
}

#[test]
fn a_file_sink_that_changes_gets_its_file_when_the_one_before_is_done_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    let text = |fields: &str| {
        format!(
            "[sinks.one]\ntype = \"file\"\npath = \"one.json\"\ninputs = [\"edge\"]\nqueue = 64\nfields = [{fields}]\n"
        )
    };
    let (number_first, host_first) = ("\"sequence_num\", \"dst_addr\"", "\"dst_addr\", \"sequence_num\"");
    write(&config, &text(number_first));
    let mut run = Running::start(&config);
    let admin = admin_of(&mut run);
    let to = run.listening();
    let load = Load::start(to, admin);
    load.pass(600);
    for change in 0..20 {
        write(&config, &text(if change % 2 == 0 { host_first } else { number_first }));
        run.signal("HUP");
        let changed = run.wait_for("configuration read")["changed"].as_str().unwrap().to_owned();
        assert_eq!(changed, "changed sinks.one");
        load.pass(600);
    }
    let sent = load.end();
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("one"), (sent, sent, 0));
    let (flows, _) = rows(folder.path(), &["one.json"]);
    assert!(flows.values().all(|times| *times == 1));
    assert_eq!(flows.len() as u64, sent);
    // Each has the file for itself: the order of the fields changes as often as the configuration did.
    let text = fs::read_to_string(folder.path().join("one.json")).unwrap();
    let orders: Vec<bool> = text.lines().map(|line| line.starts_with("{\"dst_addr\"")).collect();
    assert_eq!(orders.windows(2).filter(|two| two[0] != two[1]).count(), 20);
}

#[test]
fn two_sinks_with_one_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    let sink =
        |name: &str, path: &str| format!("[sinks.{name}]\ntype = \"file\"\npath = \"{path}\"\ninputs = [\"edge\"]\n");
    let check = |one: &str, two: &str| {
        write(&config, &format!("{}{}", sink("one", one), sink("two", two)));
        let output = sluice().current_dir(folder.path()).args(["check", "sluice.toml"]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(check("/dev/null", "/dev/null"), "");
    assert_eq!(check("one.json", "two.json"), "");
    let said = check("one.json", "one.json");
    let error =
        "sinks.two: `path` is the file of `sinks.one` too; give it another, or name the inputs of both in one sink\n";
    assert!(said.starts_with("sluice: sluice.toml:") && said.ends_with(error), "{said}");
}
