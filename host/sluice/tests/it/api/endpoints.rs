//! What each endpoint answers; every answer is compared with the OpenAPI document, too.

use std::fs;

use serde_json::{Value, json};

use super::{Collector, OPERATOR, bearer, splitter};
use crate::tool::{exporter, netflow5};

/// Two bytes each.
fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A NetFlow v9 datagram.
fn netflow9(sequence: u16, domain: u16, sets: &[u16]) -> Vec<u8> {
    words(&[&[9, 1, 0, 0, 0, 0, 0, sequence, 0, domain], sets].concat())
}

#[test]
fn the_pipeline_is_shown_as_it_is_wired() {
    let collector = Collector::start();
    let mut pipeline = collector.get("/v1/pipeline");
    assert!(pipeline["uptime_s"].take().is_u64());
    let to = |to: &str, rows: &str, route: Option<&str>| json!({ "to": to, "rows": rows, "route": route });
    let all = |name: &str| to(name, "all", None);
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": "running",
        "uptime_s": null,
        "sources": [{ "name": "edge", "type": "udp", "outputs": [all("enrich"), all("disk")] }],
        "stages": [
            { "name": "enrich", "plugin": "enricher", "on_error": "drop", "outputs": [all("split"), all("dos")] },
            {
                "name": "split", "plugin": "./split.wasm", "on_error": "drop",
                "outputs": [to("out", "routed", None), to("out", "route", Some("proto-6"))],
            },
            { "name": "dos", "plugin": "dos-detector", "on_error": "drop", "outputs": [to("alerts", "alerts", None)] },
        ],
        "sinks": [
            { "name": "out", "type": "null" },
            { "name": "disk", "type": "file" },
            { "name": "alerts", "type": "events" },
        ],
    });
    assert_eq!(pipeline, expected);
    collector.stop();
}

#[test]
fn the_books_and_the_numbers_of_plugins_are_those_of_the_rows_that_came() {
    let collector = Collector::start();
    exporter(collector.to).send(&netflow5(0, &[1, 2, 200])).unwrap();
    let of = |books: &Value, name: &str| {
        books["components"].as_array().unwrap().iter().find(|of| of["name"] == name).unwrap().clone()
    };
    let books = collector.get_until("/v1/balance", |books| {
        of(books, "edge")["rows_out"] == 3
            && of(books, "out")["rows_out"] == 6
            && of(books, "disk")["rows_out"] == 3
            && of(books, "dos")["in_flight"] == 0
    });
    assert_eq!(
        of(&books, "dos"),
        json!({
            "kind": "stage", "name": "dos", "rows_in": 3, "rows_out": 0, "dropped": { "last_stage": 3 }, "in_flight": 0,
        })
    );
    assert_eq!(of(&books, "edge")["rows_out"], 3);

    let plugins = collector.get("/v1/plugins");
    let stages: Vec<&str> =
        plugins["plugins"].as_array().unwrap().iter().map(|of| of["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["enrich", "split", "dos"]);
    let plugin = collector.get("/v1/plugins/enrich");
    assert_eq!(
        (&plugin["name"], &plugin["generation"], &plugin["kept_rows"]),
        (&json!("sluice-plugin-enricher"), &json!(1), &json!(3))
    );
    assert_eq!((&plugin["traps"], &plugin["swaps"]), (&json!({}), &json!(0)));
    assert!(plugin["reads"].as_array().unwrap().contains(&json!("src_addr")), "{plugin}");
    assert!(plugin["calls"].as_u64().unwrap() >= 1 && plugin["memory_bytes"].as_u64().unwrap() > 0, "{plugin}");
    assert_eq!(plugin["sha256"].as_str().unwrap().len(), 64);

    let (status, body) = collector.call("GET", "/v1/plugins/enirch");
    assert_eq!((status, &body["error"]), (404, &json!("there is no stage `enirch`; did you mean `enrich`?")));
    collector.stop();
}

#[test]
fn a_plugin_is_exchanged_when_asked_and_a_refusal_says_why() {
    let collector = Collector::start();
    let file = collector.folder.path().join("split.wasm");
    let before = collector.get("/v1/plugins/split");
    let (status, swap) = collector.call("POST", "/v1/plugins/split/swap");
    assert_eq!((status, &swap["swapped"], &swap["generation"]), (200, &json!(false), &json!(1)));

    // The watch on files may be the first to see it: asking again and again is the same.
    fs::write(&file, splitter(1)).unwrap();
    let (status, swap) = collector.call("POST", "/v1/plugins/split/swap");
    assert_eq!((status, &swap["stage"], &swap["generation"]), (200, &json!("split"), &json!(2)));
    assert_ne!(swap["sha256"], before["sha256"]);
    assert_eq!(collector.get("/v1/plugins/split")["sha256"], swap["sha256"]);

    fs::write(&file, b"not a component").unwrap();
    for _ in 0..2 {
        let (status, body) = collector.call("POST", "/v1/plugins/split/swap");
        assert_eq!(status, 422, "{body}");
        assert!(body["error"].as_str().unwrap().contains("is not a WebAssembly component"), "{body}");
    }
    let plugin = collector.get("/v1/plugins/split");
    assert_eq!((&plugin["generation"], &plugin["sha256"]), (&json!(2), &swap["sha256"]));
    assert!(plugin["swaps_refused"].as_u64().unwrap() >= 2);

    let (status, body) = collector.call("POST", "/v1/plugins/enrich/swap");
    assert_eq!(status, 409);
    assert!(body["error"].as_str().unwrap().starts_with("stage enrich: its plugin is built in"), "{body}");
    assert_eq!(collector.call("POST", "/v1/plugins/nowhere/swap").0, 404);
    collector.stop();
}

#[test]
fn a_table_is_exchanged_when_asked_and_a_refusal_names_the_line() {
    let collector = Collector::start();
    let folder = collector.folder.path().to_owned();
    let file = folder.join("customers.csv");
    let before = collector.get("/v1/tables")["tables"][0].clone();
    assert_eq!(
        (&before["name"], &before["type"], &before["prefixes"]),
        (&json!("customers"), &json!("prefix"), &json!(1))
    );

    fs::write(&file, "192.0.2.0/25,7\n198.51.100.0/24,8\n").unwrap();
    let (status, reload) = collector.call("POST", "/v1/tables/customers/reload");
    assert_eq!((status, &reload["table"]["prefixes"], &reload["table"]["values"]), (200, &json!(2), &json!(2)));
    let (_, again) = collector.call("POST", "/v1/tables/customers/reload");
    assert_eq!((&again["exchanged"], &again["table"]), (&json!(false), &reload["table"]));

    fs::write(&file, "192.0.2.0/25,7\nnonsense\n").unwrap();
    for _ in 0..2 {
        let (status, body) = collector.call("POST", "/v1/tables/customers/reload");
        assert_eq!(status, 422);
        assert!(body["error"].as_str().unwrap().contains("customers.csv:2: "), "{body}");
    }
    assert_eq!(collector.get("/v1/tables")["tables"][0], reload["table"]);
    let services = folder.join("services.csv");
    let before = collector.get("/v1/tables")["tables"][1].clone();
    let entries =
        |table: &Value| [&table["type"], &table["prefixes"], &table["keys"], &table["values"]].map(Value::clone);
    assert_eq!(entries(&before), [json!("values"), json!(0), json!(2), json!(1)]);
    fs::write(&services, "443,https\n80,http\n8080,http\n").unwrap();
    let (status, reload) = collector.call("POST", "/v1/tables/services/reload");
    assert_eq!((status, entries(&reload["table"])), (200, [json!("values"), json!(0), json!(3), json!(2)]));
    fs::write(&services, "443,https\n443,https\n").unwrap();
    let (status, body) = collector.call("POST", "/v1/tables/services/reload");
    assert_eq!(status, 422);
    assert!(body["error"].as_str().unwrap().ends_with("services.csv:2: line 1 has the key `443` already"), "{body}");
    assert_eq!(collector.get("/v1/tables")["tables"][1], reload["table"]);
    let (status, body) = collector.call("POST", "/v1/tables/customer/reload");
    assert_eq!((status, &body["error"]), (404, &json!("there is no table `customer`; did you mean `customers`?")));
    collector.stop();
}

#[test]
fn a_configuration_is_taken_up_when_asked_and_a_refusal_says_where() {
    let collector = Collector::start();
    let file = collector.folder.path().join("sluice.toml");
    let before = fs::read_to_string(&file).unwrap();
    let same = json!({ "added": [], "removed": [], "changed": [], "rewired": false });
    assert_eq!(collector.call("POST", "/v1/reload"), (200, same));

    let socket = exporter(collector.to);
    socket.send(&netflow5(0, &[1])).unwrap();
    let records = |answer: &Value| answer["exporters"][0]["records"].clone();
    collector.get_until("/v1/exporters", |answer| records(answer) == 1);
    fs::write(&file, before.clone() + "\n[sinks.second]\ntype = \"null\"\ninputs = [\"edge\"]\n").unwrap();
    let (status, changed) = collector.call("POST", "/v1/reload");
    assert_eq!((status, &changed["added"], &changed["rewired"]), (200, &json!(["sinks.second"]), &json!(true)));
    let pipeline = collector.get("/v1/pipeline");
    let to: Vec<_> =
        pipeline["sources"][0]["outputs"].as_array().unwrap().iter().map(|edge| edge["to"].clone()).collect();
    assert_eq!(to, [json!("enrich"), json!("disk"), json!("second")]);
    // The source goes on, and what it knows can be asked for as before.
    socket.send(&netflow5(1, &[2])).unwrap();
    collector.get_until("/v1/exporters", |answer| records(answer) == 2);

    fs::write(&file, before.replace("batch_delay_ms", "batch_delay")).unwrap();
    let (status, body) = collector.call("POST", "/v1/reload");
    assert_eq!(status, 422);
    assert!(
        body["error"].as_str().unwrap().contains("sluice.toml:9:5: sources.edge: unknown key `batch_delay`"),
        "{body}"
    );
    assert_eq!(collector.get("/v1/pipeline")["sinks"].as_array().unwrap().len(), 4);
    collector.stop();
}

#[test]
fn exporters_and_templates_are_those_that_came() {
    let collector = Collector::start();
    let socket = exporter(collector.to);
    socket.send(&netflow5(0, &[1, 2])).unwrap();
    socket.send(&netflow5(12, &[3])).unwrap();
    socket.send(&netflow9(1, 7, &[0, 16, 256, 2, 8, 4, 12, 4])).unwrap();
    socket.send(&netflow9(2, 7, &[1, 20, 257, 4, 4, 1, 4, 34, 4, 0])).unwrap();
    socket.send(&netflow9(3, 7, &[257, 12, 0, 1, 0, 100])).unwrap();
    socket.send(&netflow9(4, 7, &[256, 12, 0xc633, 0x6401, 0xc000, 0x0201])).unwrap();

    let found = |answer: &Value| answer["exporters"].as_array().unwrap().len();
    let exporters =
        collector.get_until("/v1/exporters", |answer| found(answer) == 2 && answer["exporters"][0]["datagrams"] == 4);
    let mut newest = exporters["exporters"][0].clone();
    assert!(newest["last_seen_ms"].take().as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(
        newest,
        json!({
            "source": "edge", "socket": 0, "exporter": "127.0.0.1", "protocol": "netflow9", "domain": 7,
            "datagrams": 4, "records": 1, "missing": 0, "gaps": 0, "late": 0, "resets": 0, "last_seen_ms": null,
            "sampling": [{ "of": "exporter", "id": 0, "rate": 100 }], "templates": 2,
        })
    );
    let older = &exporters["exporters"][1];
    assert_eq!((&older["protocol"], &older["records"]), (&json!("netflow5"), &json!(3)));
    assert_eq!((&older["missing"], &older["gaps"]), (&json!(10), &json!(1)), "records 2 to 11");

    let count = |query: &str| (found(&collector.get(query)), collector.get(query)["left_out"].as_u64().unwrap());
    assert_eq!(count("/v1/exporters?limit=1"), (1, 1));
    assert_eq!(count("/v1/exporters?domain=7"), (1, 0));
    assert_eq!(count("/v1/exporters?exporter=192.0.2.1"), (0, 0));
    assert_eq!(count("/v1/exporters?source=nowhere"), (0, 0));

    let templates = collector.get("/v1/templates?exporter=127.0.0.1&domain=7");
    let about = |of: &Value| (of["id"].clone(), of["kind"].clone(), of["fields"].clone());
    let field = |name: &str, element: u16, scope: bool| json!({ "name": name, "element": element, "enterprise": 0, "length": 4, "scope": scope });
    let addresses = json!([field("sourceIPv4Address", 8, false), field("destinationIPv4Address", 12, false)]);
    let options = json!([field("system", 1, true), field("samplingInterval", 34, false)]);
    assert_eq!(about(&templates["templates"][0]), (json!(256), json!("data"), addresses));
    assert_eq!(about(&templates["templates"][1]), (json!(257), json!("options"), options));
    assert_eq!(collector.get("/v1/templates?limit=1")["left_out"], 1);
    collector.stop();
}

#[test]
fn what_is_not_there_or_asked_wrongly_is_answered_in_json_with_the_way_out() {
    let collector = Collector::start();
    let answer = |method: &str, path: &str| {
        let answer = collector.ask(method, path, &bearer(OPERATOR));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, body["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(answer("GET", "/v1/nowhere"), (404, "no such endpoint; /v1/openapi.json lists them".to_owned()));
    assert_eq!(answer("DELETE", "/v1/tables"), (405, "no such method here".to_owned()));
    assert_eq!(answer("GET", "/v1/reload"), (405, "no such method here".to_owned()));
    let (status, body) = collector.call("GET", "/v1/exporters?limits=3");
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("unknown field `limits`, expected one of"), "{body}");
    let (status, body) = collector.call("GET", "/v1/exporters?limit=0");
    assert_eq!((status, &body["error"]), (400, &json!("query: `limit` is 1 to 10000")));
    assert_eq!(collector.call("GET", "/v1/exporters?exporter=router").0, 400);
    assert_eq!(collector.call("GET", "/v1/tables?x=1").0, 400);
    collector.stop();
}

#[test]
fn every_endpoint_of_the_document_is_there_and_none_is_beside_it() {
    let collector = Collector::start();
    let document = collector.get("/v1/openapi.json");
    let kept = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json")).unwrap();
    assert_eq!(document, serde_json::from_str::<Value>(&kept).unwrap(), "docs/reference/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            let there = path.replace("{stage}", "x").replace("{table}", "x").replace("{node}", "x");
            let answer = collector.ask(&method.to_uppercase(), &there, &bearer(OPERATOR));
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            assert_ne!(answer.status, 405, "{path}");
            assert_ne!(body["error"], "no such endpoint; /v1/openapi.json lists them", "{path}");
            let status = answer.status.to_string();
            assert!(operation["responses"].get(&status).is_some(), "{method} {path} answers {status}");
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), count), (count, 28), "names of operations are their own");
    collector.stop();
}
