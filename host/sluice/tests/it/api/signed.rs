//! Tenants send signed components, where the operator asks for signatures.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{CONFIG, Collector, TENANT, ask, bearer, splitter};
use crate::tool::{exporter, get, metrics_with, netflow5, sluice};

const PLUGINS: &str = r#"
    [plugins]
    keys = ["acme.pub"]
    require_signature = true

    [tenants.acme]
    inputs = ["edge"]
    prefixes = ["192.0.2.0/28"]
    plugins = "acme"
    grant = { read = ["proto", "dst_addr"] }
    config.web = { name = "proto-{proto}" }

    [sinks.acme-rows]
    type = "null"
    inputs = ["acme"]
"#;

const WEB: &str = "/v1/tenants/acme/plugins/web";

/// Runs `sluice plugin ...` in a folder.
fn plugin(folder: &Path, args: &[&str]) {
    let output = sluice().current_dir(folder).arg("plugin").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A collector that wants signatures of `acme.pub`, and beside it the keys of `acme` and of somebody else.
fn start() -> Collector {
    Collector::with_files(&format!("{CONFIG}{PLUGINS}"), |folder| {
        fs::create_dir(folder.join("acme")).unwrap();
        plugin(folder, &["keygen", "acme"]);
        plugin(folder, &["keygen", "somebody"]);
        // The stage of the operator has to be signed, too.
        fs::write(folder.join("split.wasm"), splitter(0)).unwrap();
        plugin(folder, &["sign", "split.wasm", "--key", "acme.key"]);
    })
}

/// The signature of `component` by the key `NAME.key`.
fn signature(collector: &Collector, component: &[u8], name: &str) -> String {
    let folder = collector.folder.path();
    fs::write(folder.join("mine.wasm"), component).unwrap();
    plugin(folder, &["sign", "mine.wasm", "--key", &format!("{name}.key")]);
    fs::read_to_string(folder.join("mine.wasm.sig")).unwrap()
}

/// Every byte as `%XX`, as a query may have it.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn send(collector: &Collector, component: &[u8], signature: Option<&str>) -> (u16, Value) {
    let query = signature.map_or_else(String::new, |text| format!("&signature={}", escaped(text)));
    let path = format!("{WEB}?every=1{query}");
    let answer = ask(collector.admin, "PUT", &path, &bearer(TENANT), component);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    super::schema::check(&collector.get("/v1/openapi.json"), "PUT", WEB, answer.status, &body);
    (answer.status, body)
}

fn post(collector: &Collector, act: &str) -> (u16, Value) {
    let answer = ask(collector.admin, "POST", &format!("{WEB}/{act}"), &bearer(TENANT), b"");
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// The files of the tenant's folder, with what they hold.
fn files(collector: &Collector) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(collector.folder.path().join("acme"))
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn names(collector: &Collector) -> Vec<String> {
    files(collector).into_iter().map(|(name, _)| name).collect()
}

/// What the shadow report says the candidate is, if there is one.
fn candidate(collector: &Collector) -> Option<String> {
    let answer = ask(collector.admin, "GET", &format!("{WEB}/shadow"), &bearer(TENANT), b"");
    let report: Value = serde_json::from_slice(&answer.body).unwrap();
    report["sha256"].as_str().map(str::to_owned)
}

#[test]
fn a_signed_component_is_taken_and_one_whose_signature_does_not_hold_changes_nothing() {
    let collector = start();
    let (first, second) = (splitter(1), splitter(2));
    let good = signature(&collector, &first, "acme");
    let refused = |component: &[u8], signature: Option<&str>, says: &str| {
        let before = (files(&collector), candidate(&collector));
        let (status, body) = send(&collector, component, signature);
        assert_eq!(status, 422, "{body}");
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(says), "{says:?} is not in {error}");
        assert!(!error.contains(&collector.folder.path().display().to_string()), "{error}");
        assert_eq!((files(&collector), candidate(&collector)), before, "{says}");
    };
    let of_somebody = signature(&collector, &first, "somebody");
    let all = |what: &str| {
        refused(&first, None, "is not signed: there is no ");
        refused(&first, Some(&of_somebody), "which is none of those that are trusted");
        refused(&second, Some(&good), "is not what acme (");
        refused(&first, Some("nothing of the kind"), "it does not begin like one");
        refused(&first, Some(&format!("{good}{}", "\n".repeat(1024))), "it is longer than 1024 bytes");
        assert!(what == "first" || candidate(&collector).is_some(), "the candidate before runs on");
    };
    all("first");
    assert_eq!(send(&collector, &first, Some(&good)).0, 200);
    assert_eq!(names(&collector), ["web.wasm", "web.wasm.sig"]);
    assert_eq!(fs::read_to_string(collector.folder.path().join("acme/web.wasm.sig")).unwrap(), good);

    // The next is a candidate; what is refused leaves that as it is.
    let next = signature(&collector, &second, "acme");
    assert_eq!(send(&collector, &second, Some(&next)).0, 200);
    all("candidate");
    let third = splitter(3);
    assert_eq!(send(&collector, &third, Some(&signature(&collector, &third, "acme"))).0, 200);
    exporter(collector.to).send(&netflow5(0, &(1..=30).collect::<Vec<u8>>())).unwrap();
    metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"acme-rows\"} 15");

    let (status, body) = post(&collector, "promote");
    assert_eq!(status, 200, "{body}");
    assert_eq!(names(&collector), ["web.wasm", "web.wasm.previous", "web.wasm.sig", "web.wasm.sig.previous"]);
    assert_eq!(fs::read(collector.folder.path().join("acme/web.wasm")).unwrap(), third);
    let info = get(collector.admin, "/metrics");
    assert!(info.contains("stage=\"acme:web\"") && info.contains("signer=\"acme ("), "{info}");
    let (status, body) = post(&collector, "rollback");
    assert_eq!(status, 200, "{body}");
    let now = files(&collector);
    assert_eq!(now, [("web.wasm".to_owned(), first), ("web.wasm.sig".to_owned(), good.into_bytes())]);

    // What is there by now is what a start takes up.
    let check = |folder: &Path| sluice().current_dir(folder).args(["check", "sluice.toml"]).output().unwrap();
    let said = check(collector.folder.path());
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    fs::remove_file(collector.folder.path().join("acme/web.wasm.sig")).unwrap();
    let said = check(collector.folder.path());
    assert!(!said.status.success(), "without it nothing runs");
    collector.stop();
}

#[test]
fn the_command_sends_the_signature_that_is_beside_the_file() {
    let collector = start();
    let folder = collector.folder.path();
    fs::write(folder.join("web-1.wasm"), splitter(1)).unwrap();
    let upload = || {
        let mut command: Command = collector.command(&["tenant", "upload", "acme", "web"]);
        let output = command.arg(folder.join("web-1.wasm")).env("SLUICE_TOKEN", TENANT).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, said) = upload();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("sluice: ") && said.contains("web.wasm is not signed"), "{said}");
    plugin(folder, &["sign", "web-1.wasm", "--key", "acme.key"]);
    let (code, said) = upload();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(&collector), ["web.wasm", "web.wasm.sig"]);
    let remove = collector.command(&["tenant", "remove", "acme", "web"]).env("SLUICE_TOKEN", TENANT).output().unwrap();
    assert!(remove.status.success());
    assert_eq!(names(&collector), ["web.wasm.previous", "web.wasm.sig.previous"]);
    collector.stop();
}
