//! Candidates, promotion, the way back and quarantine, over the API and by command.

use std::fs;

use serde_json::Value;

use super::Collector;
use crate::hostile::guest;
use crate::tool::{exporter, netflow5};

/// A stage with the test plugin, which numbers its rows and writes its version into them.
const CONFIG: &str = r#"
    workers = 1

    [admin]
    listen = "127.0.0.1:0"
    tokens = "tokens.toml"

    [sources.edge]
    type = "udp"
    listen = "127.0.0.1:0"
    batch_delay_ms = 5

    [tables.customers]
    type = "prefix"
    path = "customers.csv"

    [keys.secret]
    path = "secret.key"

    [assets.names]
    path = "customers.csv"

    [stages.tag]
    inputs = ["edge"]
    plugin = "./tag.wasm"
    private = false
    config = { mode = "count" }

    [stages.tag.grant]
    read = ["src_addr", "bytes", "src_as"]
    write = ["src_as", "customer_id"]
    events = true
    tables = ["customers"]
    keys = ["secret"]
    assets = ["names"]

    [sinks.out]
    type = "file"
    inputs = ["tag"]
    path = "flows.json"
"#;

struct Bench {
    collector: Collector,
    sent: u64,
}

impl Bench {
    fn start() -> Bench {
        let prepare = |folder: &std::path::Path| {
            fs::write(folder.join("tag.wasm"), guest::guest()).unwrap();
            fs::write(folder.join("new.wasm"), guest::version(2)).unwrap();
            fs::write(folder.join("bad.wasm"), guest::version(9)).unwrap();
            fs::write(folder.join("secret.key"), "5a".repeat(32)).unwrap();
        };
        Bench { collector: Collector::with_files(CONFIG, prepare), sent: 0 }
    }

    /// Sends three rows and waits until they are through.
    fn send(&mut self) {
        let socket = exporter(self.collector.to);
        socket.send(&netflow5(self.sent as u32, &[1, 2, 3])).unwrap();
        self.sent += 3;
        let sent = self.sent;
        self.collector.get_until("/v1/balance", |books| {
            let component = |of: &Value| of["name"] == "out" && of["rows_out"] == sent;
            books["components"].as_array().unwrap().iter().any(component)
        });
    }

    /// Number and version of the last row that was written: what the plugin counted, and which it was.
    fn last(&self) -> (u64, u64) {
        let text = fs::read_to_string(self.collector.folder.path().join("flows.json")).unwrap();
        let row: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        (row["customer_id"].as_u64().unwrap(), row["src_as"].as_u64().unwrap())
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.collector.folder.path().join("tag.wasm")).unwrap()
    }
}

#[test]
fn a_candidate_is_compared_promoted_and_taken_back() {
    let mut bench = Bench::start();
    let api =
        |bench: &Bench, method: &str, path: &str| bench.collector.call(method, &format!("/v1/plugins/tag/{path}"));
    bench.send();
    assert_eq!(bench.last(), (3, 1));
    assert_eq!(api(&bench, "GET", "shadow").0, 409);
    assert_eq!(api(&bench, "POST", "shadow?plugin=./none.wasm").0, 422);
    assert_eq!(api(&bench, "POST", "shadow?plugin=./new.wasm&every=0").0, 400);
    assert_eq!(api(&bench, "POST", "promote").0, 409);
    let (status, begun) = api(&bench, "POST", "shadow?plugin=./new.wasm&every=1");
    assert_eq!((status, begun["batches"].as_u64()), (200, Some(0)), "{begun}");
    for _ in 0..4 {
        bench.send();
        assert_eq!(bench.last().1, 1, "the rows are those of the running plugin");
    }
    let report = api(&bench, "GET", "shadow").1;
    assert_eq!((report["batches"].as_u64(), report["rows"].as_u64()), (Some(4), Some(12)), "{report}");
    assert_eq!(report["columns"]["src_as"]["rows"], 12, "{report}");
    assert_eq!(report["columns"]["src_as"]["examples"][0], serde_json::json!({ "running": "1", "candidate": "2" }));
    assert_eq!(report["columns"].as_object().unwrap().len(), 1, "it counts as the running one does: {report}");
    assert_eq!(report["is_same"], false);
    let said = bench.collector.say(&["plugin", "shadow", "tag"]);
    assert!(said.contains("src_as changed") && said.contains("1 -> 2") && said.ends_with("not the same\n"), "{said}");
    let (_, metrics) = (0, String::from_utf8(bench.collector.ask("GET", "/metrics", "").body).unwrap());
    assert!(metrics.contains("sluice_stage_shadow_batches_total{stage=\"tag\"} 4\n"), "{metrics}");
    // Promoted: with the state, and in the file, so that the next start has it too.
    let said = bench.collector.say(&["plugin", "promote", "tag"]);
    assert!(said.starts_with("tag: 1.0.0-guest-version -> 2.0.0-guest-version"), "{said}");
    bench.send();
    assert_eq!(bench.last(), (18, 2));
    assert_eq!(bench.file(), guest::version(2));
    assert_eq!(api(&bench, "GET", "shadow").0, 409);
    // And back, with what the newer one counted.
    let said = bench.collector.say(&["plugin", "rollback", "tag"]);
    assert!(said.starts_with("tag: 2.0.0-guest-version -> 1.0.0-guest-version"), "{said}");
    bench.send();
    assert_eq!(bench.last(), (21, 1));
    assert_eq!(bench.file(), guest::guest());
    assert_eq!(api(&bench, "POST", "rollback").0, 409);
    // The same by the configuration, which leaves the plugin that runs alone.
    let file = bench.collector.folder.path().join("sluice.toml");
    let shadowed =
        CONFIG.replace("private = false", "private = false\nshadow = { plugin = \"./new.wasm\", every = 1 }");
    for (text, status) in [(shadowed.as_str(), 200), (CONFIG, 409)] {
        fs::write(&file, text).unwrap();
        let (_, changed) = bench.collector.call("POST", "/v1/reload");
        assert_eq!(changed["changed"], serde_json::json!(["stages.tag"]), "{changed}");
        bench.send();
        assert_eq!(api(&bench, "GET", "shadow").0, status);
    }
    assert_eq!(bench.last(), (27, 1));
    bench.collector.stop();
}

#[test]
fn a_promoted_plugin_that_traps_goes_back_by_itself_and_no_row_is_lost() {
    let mut bench = Bench::start();
    bench.send();
    bench.collector.say(&["plugin", "shadow", "tag", "--plugin", "./bad.wasm", "--every", "1000"]);
    bench.collector.say(&["plugin", "promote", "tag"]);
    for _ in 0..5 {
        bench.send();
    }
    assert_eq!(bench.last().1, 1);
    let plugin = bench.collector.get("/v1/plugins/tag");
    assert_eq!((plugin["generation"].as_u64(), plugin["traps"]["trap"].as_u64()), (Some(3), Some(1)), "{plugin}");
    let books = bench.collector.get("/v1/balance");
    let tag = books["components"].as_array().unwrap().iter().find(|of| of["name"] == "tag").unwrap();
    assert_eq!((tag["rows_in"].as_u64(), tag["rows_out"].as_u64()), (Some(bench.sent), Some(bench.sent)), "{tag}");
    bench.collector.stop();
}

#[test]
fn an_operator_puts_a_plugin_into_quarantine_and_releases_it() {
    let mut bench = Bench::start();
    bench.send();
    let said = bench.collector.say(&["plugin", "quarantine", "tag"]);
    assert!(said.contains("until it is released: boss asked for it"), "{said}");
    assert_eq!(bench.collector.get("/v1/plugins/tag")["quarantined"], true);
    let socket = exporter(bench.collector.to);
    socket.send(&netflow5(3, &[1, 2])).unwrap();
    let books = bench.collector.get_until("/v1/balance", |books| {
        let tag = |of: &Value| of["name"] == "tag" && of["rows_in"] == 5 && of["in_flight"] == 0;
        books["components"].as_array().unwrap().iter().any(tag)
    });
    let tag = books["components"].as_array().unwrap().iter().find(|of| of["name"] == "tag").unwrap();
    assert_eq!(tag["dropped"]["quarantined"], 2, "{tag}");
    assert_eq!(bench.collector.say(&["plugin", "release", "tag"]), "tag: called again\n");
    assert_eq!(bench.collector.call("POST", "/v1/plugins/tag/release").0, 409);
    bench.send();
    assert_eq!(bench.last(), (6, 1));
    bench.collector.stop();
}

#[test]
fn what_was_compared_is_what_is_promoted() {
    let mut bench = Bench::start();
    let api =
        |bench: &Bench, method: &str, path: &str| bench.collector.call(method, &format!("/v1/plugins/tag/{path}"));
    assert_eq!(api(&bench, "POST", "shadow?plugin=./new.wasm&every=1").0, 200);
    bench.send();
    // Another good one, which nobody has looked at.
    fs::write(bench.collector.folder.path().join("new.wasm"), guest::version(3)).unwrap();
    let (status, body) = api(&bench, "POST", "promote");
    assert_eq!(status, 409, "{body}");
    assert!(body["error"].as_str().unwrap().contains("is not the candidate any more that was compared"), "{body}");
    assert_eq!(bench.file(), guest::guest());
    bench.send();
    assert_eq!(bench.last(), (6, 1));
    fs::remove_file(bench.collector.folder.path().join("new.wasm")).unwrap();
    assert_eq!(api(&bench, "POST", "promote").0, 409);
    assert_eq!(bench.file(), guest::guest());
    fs::write(bench.collector.folder.path().join("new.wasm"), guest::version(2)).unwrap();
    assert_eq!(api(&bench, "POST", "promote").0, 200);
    bench.send();
    assert_eq!(bench.last(), (9, 2));
    bench.collector.stop();
}
