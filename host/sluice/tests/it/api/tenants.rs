//! Tenants send plugins, try them beside those that run, promote them and take them back, over the API.

use std::fs;
use std::io::{Read, Write};

use serde_json::{Value, json};

use super::{CONFIG, Collector, KEY, OPERATOR, Signing, TENANT, ask, bearer, connect, now, splitter};
use crate::tool::{exporter, metrics_with, netflow5};

const TENANTS: &str = r#"
    [tenants.acme]
    inputs = ["edge"]
    prefixes = ["192.0.2.0/28"]
    plugins = "acme"
    grant = { read = ["proto", "dst_addr"] }
    limits = { cpu_ms_per_s = 500 }
    config.web = { name = "proto-{proto}" }

    [tenants.bolt]
    inputs = ["edge"]
    prefixes = ["192.0.2.16/28"]
    plugins = "bolt"
    grant = { read = ["proto"] }
    config.web = { name = "proto-{proto}" }

    [sinks.acme-rows]
    type = "null"
    inputs = ["acme"]
    [sinks.bolt-rows]
    type = "null"
    inputs = ["bolt"]
"#;

fn start() -> Collector {
    Collector::with_files(&format!("{CONFIG}{TENANTS}"), |folder| {
        fs::create_dir(folder.join("acme")).unwrap();
        fs::create_dir(folder.join("bolt")).unwrap();
    })
}

fn call(collector: &Collector, method: &str, path: &str, token: &str, body: &[u8]) -> (u16, Value) {
    let answer = ask(collector.admin, method, path, &bearer(token), body);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let document = collector.get("/v1/openapi.json");
    super::schema::check(&document, method, path, answer.status, &body);
    (answer.status, body)
}

#[test]
fn a_tenant_sends_a_plugin_tries_the_next_beside_it_promotes_it_and_goes_back() {
    let collector = start();
    let path = "/v1/tenants/acme/plugins/web";
    let files = |collector: &Collector| {
        let names = fs::read_dir(collector.folder.path().join("acme")).unwrap();
        let mut names: Vec<String> = names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let digest = |body: &Value| body["plugins"][0]["about"]["sha256"].as_str().unwrap().to_owned();

    // What is refused leaves nothing behind, and the reason says nothing of where the folder is.
    let (status, body) = call(&collector, "PUT", path, TENANT, b"no component");
    assert_eq!(status, 422, "{body}");
    assert!(body["error"].as_str().unwrap().contains("tenants.acme: web: "), "{body}");
    assert!(files(&collector).is_empty());
    let asks_too_much = crate::hostile::guest::guest();
    let (status, body) = call(&collector, "PUT", path, TENANT, asks_too_much);
    assert_eq!(status, 422, "{body}");
    let (status, body) = call(&collector, "PUT", "/v1/tenants/acme/plugins/a%2F..%2Fb", TENANT, &splitter(0));
    assert_eq!(status, 422, "{body}");
    assert!(body["error"].as_str().unwrap().contains("names are 1 to 64 letters"), "{body}");

    // The first runs.
    let (status, first) = call(&collector, "PUT", path, TENANT, &splitter(0));
    assert_eq!((status, &first["plugins"][0]["plugin"], &first["cpu_ms_per_s"]), (200, &"web".into(), &500.into()));
    assert_eq!(files(&collector), ["web.wasm"]);
    let names: Vec<&Value> = first["stages"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(names, ["acme:select", "acme:web"], "its own stages only");

    // The next runs beside it, on its rows, without effect.
    assert_eq!(call(&collector, "POST", &format!("{path}/promote"), TENANT, b"").0, 409, "there is none");
    let (status, body) = call(&collector, "PUT", &format!("{path}?every=1"), TENANT, &splitter(1));
    assert_eq!((status, digest(&body)), (200, digest(&first)), "{body}");
    let socket = exporter(collector.to);
    socket.send(&netflow5(0, &(1..=30).collect::<Vec<u8>>())).unwrap();
    metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"acme-rows\"} 15");
    let (status, report) = call(&collector, "GET", &format!("{path}/shadow"), TENANT, b"");
    assert_eq!((status, &report["rows"], &report["is_same"]), (200, &15.into(), &true.into()), "{report}");

    // A link that lies where files are to be is replaced, not followed: the folder may be the tenant's own.
    let outside = collector.folder.path().join("outside");
    fs::write(&outside, "not the tenant's").unwrap();
    for name in ["web.wasm.previous", "web.wasm.new"] {
        let link = collector.folder.path().join("link");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        fs::rename(&link, collector.folder.path().join("acme").join(name)).unwrap();
    }
    let (status, promoted) = call(&collector, "POST", &format!("{path}/promote"), TENANT, b"");
    assert_eq!(status, 200, "{promoted}");
    assert_ne!(digest(&promoted), digest(&first));
    assert_eq!(files(&collector), ["web.wasm", "web.wasm.previous"]);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "not the tenant's");
    let (status, back) = call(&collector, "POST", &format!("{path}/rollback"), TENANT, b"");
    assert_eq!((status, digest(&back)), (200, digest(&first)), "{back}");
    assert_eq!(fs::read(collector.folder.path().join("acme/web.wasm")).unwrap(), splitter(0));

    let (status, gone) = call(&collector, "DELETE", path, TENANT, b"");
    assert_eq!((status, &gone["plugins"]), (200, &json!([])), "{gone}");
    assert_eq!(call(&collector, "DELETE", path, TENANT, b"").0, 404);
    assert_eq!(files(&collector), ["web.wasm.previous"]);
    collector.stop();
}

#[test]
fn a_tenant_sees_and_changes_nothing_of_another_and_an_operator_both() {
    let collector = start();
    let body = splitter(0);
    let calls: [(&str, &str, &[u8]); 6] = [
        ("GET", "", b""),
        ("PUT", "/plugins/web", &body),
        ("DELETE", "/plugins/web", b""),
        ("GET", "/plugins/web/shadow", b""),
        ("POST", "/plugins/web/promote", b""),
        ("POST", "/plugins/web/rollback", b""),
    ];
    for (method, rest, body) in calls {
        for tenant in ["bolt", "nobody"] {
            let (status, body) = call(&collector, method, &format!("/v1/tenants/{tenant}{rest}"), TENANT, body);
            assert_eq!((status, body), (404, json!({ "error": format!("there is no tenant `{tenant}`") })), "{rest}");
        }
    }
    assert_eq!(call(&collector, "PUT", "/v1/tenants/bolt/plugins/web", OPERATOR, &body).0, 200);
    assert_eq!(call(&collector, "GET", "/v1/tenants/acme", OPERATOR, b"").0, 200);

    // Of the live rows too, only those behind its own stages, and of them what it may read.
    for node in ["edge", "bolt:web", "stages.bolt:select", "acme-rows", "nothing"] {
        let answer = collector.ask("GET", &format!("/v1/tail/{node}?rows=1"), &bearer(TENANT));
        assert_eq!(answer.status, 404, "{node}");
    }
    let answer = collector.ask("GET", "/v1/tail/acme:select?rows=1&match=src_addr%3D198.18.0.1", &bearer(TENANT));
    assert_eq!(answer.status, 400, "what it may not read it may not guess");
    let admin = collector.admin;
    let tail = std::thread::spawn(move || ask(admin, "GET", "/v1/tail/acme:select?rows=2", &bearer(TENANT), b""));
    let socket = exporter(collector.to);
    let mut sent = 0;
    while !tail.is_finished() {
        socket.send(&netflow5(sent, &[30, 1, 29, 2])).unwrap();
        sent += 4;
        metrics_with(admin, &format!("sluice_source_out_rows_total{{source=\"edge\"}} {sent}"));
    }
    let answer = tail.join().unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let rows: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect();
    assert_eq!(rows.len(), 2, "{text}");
    for row in rows {
        assert!(["192.0.2.1", "192.0.2.2"].contains(&row["dst_addr"].as_str().unwrap()), "{row}");
        assert_eq!(row.as_object().unwrap().len(), 2, "{row}: proto and dst_addr");
    }
    collector.stop();
}

#[test]
fn a_tenant_takes_no_room_of_the_others() {
    let collector = start();
    // Of tails: four are its own.
    let tail = "/v1/tail/acme:select";
    let open = |path: &str, token: &str| {
        let mut stream = connect(collector.admin);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(token)).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8(status[9..].to_vec()).unwrap(), stream)
    };
    let own: Vec<_> = (0..4).map(|_| open(tail, TENANT)).collect();
    assert!(own.iter().all(|(status, _)| status == "200"), "{own:?}");
    let (status, refused) = call(&collector, "GET", tail, TENANT, b"");
    assert_eq!(
        (status, refused["error"].as_str().unwrap()),
        (503, "four tails of yours are open already, or twelve of tenants; end one")
    );
    assert_eq!(open(tail, OPERATOR).0, "200");
    drop(own);

    // Of memory: whoever only says that it signs sends nothing large beside two others.
    let path = "/v1/tenants/acme/plugins/web";
    let signing = |nonce| Signing {
        key_name: "nobody",
        key: &KEY,
        method: "PUT",
        target: path,
        body: b"",
        timestamp: now(),
        nonce,
    };
    let silent: Vec<_> = ["00000000000000a1", "00000000000000a2"]
        .into_iter()
        .map(|nonce| {
            let mut stream = connect(collector.admin);
            let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n");
            write!(stream, "{head}{}\r\nhalf", signing(nonce).header()).unwrap();
            stream
        })
        .collect();
    let began = std::time::Instant::now();
    let third = |nonce| ask(collector.admin, "PUT", path, &signing(nonce).header(), b"").status;
    // Until both of them are seen.
    while third("00000000000000a3") != 429 {
        assert!(began.elapsed() < super::PATIENCE, "there is room for everybody");
    }
    let (status, refused) = call(&collector, "PUT", path, TENANT, b"no plugin");
    assert_eq!(status, 422, "who has a token is not held up: {refused}");
    drop(silent);
    while third("00000000000000a4") != 401 {
        assert!(began.elapsed() < super::PATIENCE, "there is never room again");
    }
    collector.stop();
}

#[test]
fn the_commands_do_what_the_endpoints_do() {
    let collector = start();
    fs::write(collector.folder.path().join("web.wasm"), splitter(0)).unwrap();
    fs::write(collector.folder.path().join("web-2.wasm"), splitter(1)).unwrap();
    let file = |name: &str| collector.folder.path().join(name).display().to_string();
    let run = |args: &[&str]| {
        let output = collector.command(args).env("SLUICE_TOKEN", TENANT).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let good = |args: &[&str]| {
        let (code, said) = run(args);
        assert_eq!(code, Some(0), "{said}");
        said
    };
    assert!(good(&["tenant", "upload", "acme", "web", &file("web.wasm")]).contains("acme:web"));
    good(&["tenant", "upload", "acme", "web", &file("web-2.wasm"), "--every", "1"]);
    assert!(good(&["tenant", "shadow", "acme", "web"]).contains("beside stage acme:web, every 1 batches"));
    good(&["tenant", "promote", "acme", "web"]);
    good(&["tenant", "rollback", "acme", "web"]);
    assert!(good(&["tenant", "show", "acme"]).contains("may use 500 ms a second\nmay read: dst_addr proto\n"));
    assert!(!good(&["tenant", "remove", "acme", "web"]).contains("splitter"), "its books stay, it does not");
    assert_eq!(run(&["tenant", "show", "bolt"]), (Some(1), "sluice: there is no tenant `bolt`\n".to_owned()));
    collector.stop();
}

#[test]
fn of_plugins_that_are_exchanged_refused_or_taken_away_no_series_stays() {
    let collector = start();
    let path = "/v1/tenants/acme/plugins/web";
    let good = |method: &str, path: &str, body: &[u8]| {
        let (status, answer) = call(&collector, method, path, TENANT, body);
        assert_eq!(status, 200, "{answer}");
    };
    // Series of a stage: all of them, and those that say which plugin runs.
    let series = |stage: &str| {
        let metrics = crate::tool::get(collector.admin, "/metrics");
        let label = format!("stage=\"{stage}\"");
        let of = metrics.lines().filter(|line| line.contains(&label));
        (of.clone().count(), of.filter(|line| line.starts_with("sluice_stage_plugin_info{")).count())
    };
    good("PUT", path, &splitter(0));
    let (all, info) = series("acme:web");
    assert_eq!(info, 1);
    for version in 1..6 {
        good("PUT", &format!("{path}?every=1"), &splitter(version));
        good("POST", &format!("{path}/promote"), b"");
        assert_eq!(series("acme:web").1, 1, "that of the version before is gone");
    }
    good("POST", &format!("{path}/rollback"), b"");
    // Those of a candidate have come.
    assert!(series("acme:web").0 <= all + 4);
    assert_eq!(series("acme:web").1, 1);
    for name in ["bad-1", "bad-2"] {
        let path = format!("/v1/tenants/acme/plugins/{name}");
        assert_eq!(call(&collector, "PUT", &path, TENANT, b"no component").0, 422);
        assert_eq!(call(&collector, "PUT", &path, TENANT, crate::hostile::guest::guest()).0, 422);
        assert_eq!(series(&format!("acme:{name}")), (0, 0));
    }
    good("DELETE", path, b"");
    assert_eq!(series("acme:web").1, 0);
    // With its books it goes on where it was.
    good("PUT", path, &splitter(7));
    assert_eq!(series("acme:web").1, 1);
    collector.stop();
}
