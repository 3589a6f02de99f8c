//! The commands that use the API.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Collector, KEY_BASE64, OPERATOR, TENANT, splitter, write_private};
use crate::tool::{exporter, netflow5, sluice};

/// Exit code, standard output and standard error of a command.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

impl Collector {
    /// A command that asks this collector, as the operator.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = sluice();
        command.args(args).env("SLUICE_ADMIN", format!("http://{}", self.admin)).env("SLUICE_TOKEN", OPERATOR);
        command
    }

    /// What a command that succeeds prints.
    pub(super) fn say(&self, args: &[&str]) -> String {
        let (code, out, said) = run(&mut self.command(args));
        assert_eq!(code, 0, "{args:?}: {said}");
        out
    }
}

/// The words of the line that begins with these words.
fn words<'t>(text: &'t str, begin: &[&str]) -> Vec<&'t str> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.into_iter().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin:?} in\n{text}"))
}

#[test]
fn what_runs_is_shown_in_tables() {
    let collector = Collector::start();
    exporter(collector.to).send(&netflow5(0, &[1, 2, 200])).unwrap();
    let is_out = |books: &Value| books["components"].as_array().unwrap().iter().all(|of| of["in_flight"] == 0);
    let is_there = |books: &Value| books["components"][0]["rows_in"] == 3 && is_out(books);
    collector.get_until("/v1/balance", is_there);
    collector.get_until("/v1/exporters", |exporters| exporters["exporters"][0]["records"] == 3);

    let status = collector.say(&["status"]);
    assert!(status.starts_with("sluice 0.1.0, running for "), "{status}");
    assert_eq!(words(&status, &["source", "edge"]), ["source", "edge", "udp", "3", "3", "0", "enrich,", "disk"]);
    let dos = ["stage", "dos", "dos-detector", "3", "0", "3", "alerts", "(alerts)"];
    assert_eq!(words(&status, &["stage", "dos"]), dos);
    let books = collector.say(&["balance"]);
    assert_eq!(words(&books, &["stage", "dos"]), ["stage", "dos", "3", "0", "3", "0", "3", "last_stage"]);
    let plugins = collector.say(&["plugin", "list"]);
    assert_eq!(words(&plugins, &["split"])[..3], ["split", "sluice-plugin-splitter", "0.1.0"]);
    let tables = collector.say(&["tables"]);
    assert_eq!(words(&tables, &["customers"])[..4], ["customers", "prefix", "1", "1"]);
    assert_eq!(words(&tables, &["services"])[..4], ["services", "values", "2", "1"]);
    let exporters = collector.say(&["exporters", "--source", "edge"]);
    let words = words(&exporters, &["edge"]);
    assert_eq!((&words[1..3], words.last()), (&["127.0.0.1", "netflow5"][..], Some(&"1/100")), "{exporters}");
    assert_eq!(collector.say(&["templates"]), "");
    let json: Value = serde_json::from_str(&collector.say(&["balance", "--format", "json"])).unwrap();
    assert_eq!(json, collector.get("/v1/balance"));
    collector.stop();
}

#[test]
fn plugins_tables_and_tokens_are_exchanged_by_command() {
    let mut collector = Collector::start();
    let folder = collector.folder.path().to_owned();
    assert!(collector.say(&["plugin", "swap", "split"]).starts_with("split: unchanged, 0.1.0 ("));
    fs::write(folder.join("split.wasm"), splitter(1)).unwrap();
    assert!(collector.say(&["plugin", "swap", "split"]).ends_with("generation 2\n"));
    fs::write(folder.join("split.wasm"), b"not a component").unwrap();
    let (code, out, said) = run(&mut collector.command(&["plugin", "swap", "split"]));
    assert_eq!((code, out.as_str(), said.lines().count()), (1, "", 1), "{said}");
    assert!(said.starts_with("sluice: stage split: ") && said.contains("is not a WebAssembly component"), "{said}");

    fs::write(folder.join("customers.csv"), "192.0.2.0/25,7\n198.51.100.0/24,8\n").unwrap();
    let reloaded = collector.say(&["tables", "reload", "customers"]);
    assert!(
        reloaded.ends_with("changed, 2 prefixes, 2 values\n") || reloaded.contains("exchanged, 2 prefixes"),
        "{reloaded}"
    );
    fs::write(folder.join("services.csv"), "443,https\n80,http\n8080,http\n").unwrap();
    let reloaded = collector.say(&["tables", "reload", "services"]);
    assert!(reloaded.ends_with("changed, 3 keys, 2 values\n") || reloaded.contains("exchanged, 3 keys"), "{reloaded}");
    collector.say(&["reload"]);
    collector.run.wait_for("tokens read again");
    collector.stop();
}

#[test]
fn rows_are_printed_as_they_pass() {
    let collector = Collector::start();
    let args = ["tail", "enrich", "--rows", "2", "--match", "customer_id=7"];
    let start = |format: &str| {
        let mut command = collector.command(&[&args[..], &["--format", format]].concat());
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let tails = ["flowdump", "table", "json"].map(start);
    // Rows are sent until each tail has its two: when a tail begins cannot be seen from here.
    let socket = exporter(collector.to);
    let (tell, told) = std::sync::mpsc::channel();
    let readers: Vec<_> = tails
        .into_iter()
        .map(|mut tail| {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let lines: Vec<String> =
                    BufReader::new(tail.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
                assert!(tail.wait().unwrap().success());
                tell.send(()).unwrap();
                lines
            })
        })
        .collect();
    let began = std::time::Instant::now();
    let mut ended = 0;
    while ended < readers.len() {
        socket.send(&netflow5(0, &[1, 200])).unwrap();
        collector.get("/v1/balance");
        ended += told.try_iter().count();
        assert!(began.elapsed() < super::PATIENCE, "a tail never ends");
    }
    let mut lines = readers.into_iter().map(|reader| reader.join().unwrap());
    let flowdump = lines.next().unwrap();
    assert_eq!(flowdump.len(), 2);
    assert!(flowdump.iter().all(|line| line.contains("198.18.0.1:49152 → 192.0.2.1:443")), "{flowdump:?}");
    let table = lines.next().unwrap();
    assert!(table[0].contains("SRC_ADDR") && table[1].contains("192.0.2.1"), "{table:?}");
    let json = lines.next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json[1]).unwrap()["dst_addr"], json!("192.0.2.1"));
    collector.stop();
}

#[test]
fn who_is_refused_is_told_what_to_do() {
    let collector = Collector::start();
    let said = |command: &mut Command| {
        let (code, out, said) = run(command);
        assert_eq!((out.as_str(), said.lines().count()), ("", 1), "{said}");
        (code, said.replace(&collector.admin.to_string(), "ADMIN"))
    };
    let status = |token: &str| said(collector.command(&["status"]).env("SLUICE_TOKEN", token));
    let (code, text) = said(collector.command(&["status"]).env_remove("SLUICE_TOKEN"));
    let expected =
        "sluice: http://ADMIN: this needs a token; set SLUICE_TOKEN, or use --token-file (`sluice token` makes one)\n";
    assert_eq!((code, text.as_str()), (1, expected));
    let expected =
        "sluice: http://ADMIN: the collector does not know the token; look at SLUICE_TOKEN or --token-file\n";
    assert_eq!(status("wrong"), (1, expected.to_owned()));
    assert_eq!(status(TENANT), (1, "sluice: http://ADMIN: for operators only; the token is of a tenant\n".to_owned()));
    let (code, text) = said(collector.command(&["plugin", "swap", "splt"]).env("SLUICE_TOKEN", OPERATOR));
    assert_eq!((code, text.as_str()), (1, "sluice: there is no stage `splt`; did you mean `split`?\n"));

    let (code, text) =
        said(collector.command(&["status", "--admin", "https://collector.example"]).env_remove("SLUICE_ADMIN"));
    assert_eq!(code, 2);
    assert!(text.contains("write http://HOST:PORT"), "{text}");
    // A port that nobody listens on: one that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = said(&mut collector.command(&["status", "--admin", &format!("http://{free}")]));
    assert_eq!(code, 1);
    assert!(text.contains("is sluice running there, with `[admin]` in its configuration?"), "{text}");
    collector.stop();
}

#[test]
fn a_token_that_is_made_is_taken_and_so_is_a_key() {
    let mut collector = Collector::start();
    let folder = collector.folder.path().to_owned();
    let file = folder.join("tokens.toml");
    let make = |args: &[&str]| {
        let (code, out, said) =
            run(sluice().current_dir(&folder).arg("token").args(args).args(["--file", "tokens.toml"]));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("is shown this once"), "{said}");
        out.trim_end().to_owned()
    };
    let token = make(&["laptop", "--role", "operator"]);
    let key = make(&["robot", "--role", "operator", "--hmac"]);
    let tenant = make(&["portal", "--role", "tenant", "--tenant", "acme \"gmbh\""]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("[tokens.laptop]") && !text.contains(&token), "the file does not hold the token");
    collector.run.signal("HUP");
    assert_eq!(collector.run.wait_for("tokens read again")["tokens"], 6);

    write_private(&folder.join("token"), &format!("{token}\n"));
    write_private(&folder.join("key"), &key);
    write_private(&folder.join("other-key"), KEY_BASE64);
    let with = |file: &str, more: &[&str]| {
        let file = folder.join(file);
        let mut command = collector.command(&["tables", "--token-file", file.to_str().unwrap()]);
        run(command.args(more).env_remove("SLUICE_TOKEN"))
    };
    assert_eq!(with("token", &[]).0, 0);
    assert_eq!(with("key", &["--key", "robot"]).0, 0);
    assert_eq!(with("other-key", &["--key", "signer"]).0, 0);
    let (code, _, said) = with("other-key", &["--key", "robot"]);
    assert_eq!(code, 1);
    assert!(said.contains("look at the key of `robot` and the clock"), "{said}");
    let whoami = collector.ask("GET", "/v1/whoami", &super::bearer(&tenant));
    assert_eq!(serde_json::from_slice::<Value>(&whoami.body).unwrap()["tenant"], "acme \"gmbh\"");
    collector.stop();
}

#[test]
fn a_token_that_the_collector_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let make = |args: &[&str]| {
        run(sluice().current_dir(folder.path()).arg("token").args(args).args(["--file", "tokens.toml"]))
    };
    let file = folder.path().join("tokens.toml");
    let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(make(&["laptop", "--role", "operator"]).0, 0);
    assert_eq!(mode(&file), 0o600);
    let before = fs::read_to_string(&file).unwrap();
    for (args, expected) in [
        (&["laptop", "--role", "operator"][..], "duplicate key"),
        (&["lap top", "--role", "operator"], "tokens.toml:5:"),
        (&["laptop.x", "--role", "operator"], "tokens.toml:"),
        (&["desk", "--role", "operator", "--tenant", "acme"], "an operator is of no tenant"),
        (&["desk", "--role", "tenant"], "--tenant"),
        (&["desk", "--role", "owner"], "operator"),
    ] {
        let (code, out, said) = make(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, said) = make(&["robot", "--role", "operator", "--hmac"]);
    assert_eq!(code, 2);
    assert!(said.contains("others may read the keys in it; run `chmod 600 tokens.toml`"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    // A file of digests may be read by others, and stays so.
    assert_eq!(make(&["desk", "--role", "operator"]).0, 0);
    assert_eq!(mode(&file), 0o644);
}
