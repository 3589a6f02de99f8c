//! The API of a running collector: who may use it, what it answers, what it withstands, and the commands that use it.

mod auth;
mod commands;
mod endpoints;
mod limits;
mod operate;
mod page;
mod schema;
mod signed;
mod tail;
mod tenants;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::tool::Running;

/// Everything that the API can be asked about.
const CONFIG: &str = r#"
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

    [tables.services]
    type = "values"
    path = "services.csv"

    [stages.enrich]
    inputs = ["edge"]
    plugin = "enricher"
    config = { customers = { table = "customers" } }

    [stages.split]
    inputs = ["enrich"]
    plugin = "./split.wasm"
    grant = { read = ["proto"] }
    config = { name = "proto-{proto}" }

    [stages.dos]
    inputs = ["enrich"]
    plugin = "dos-detector"
    config = { hosts = { total = { flows = 1_000_000 } } }

    [sinks.out]
    type = "null"
    inputs = ["split.*", "split.proto-6"]

    [sinks.disk]
    type = "file"
    inputs = ["edge"]
    path = "flows.json"

    [sinks.alerts]
    type = "events"
    inputs = ["dos"]
"#;

/// The operator's token.
const OPERATOR: &str = "sluice_for-operators";
/// The tenant's.
const TENANT: &str = "sluice_for-tenants";
/// The key of `signer`, an operator; as it stands in the file, `AAEC...`.
const KEY: [u8; 32] = {
    let mut key = [0; 32];
    let mut at = 0;
    while at < 32 {
        key[at] = at as u8;
        at += 1;
    }
    key
};
const KEY_BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Longest time that is waited for something.
const PATIENCE: Duration = Duration::from_secs(120);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tokens() -> String {
    let digest = |token: &str| hex(&Sha256::digest(token));
    format!(
        "[tokens.boss]\nrole = \"operator\"\nsha256 = \"{}\"\n[tokens.acme-1]\nrole = \"tenant\"\ntenant = \"acme\"\nsha256 = \
         \"{}\"\n[tokens.signer]\nrole = \"operator\"\nhmac_key = \"{KEY_BASE64}\"\n",
        digest(OPERATOR),
        digest(TENANT)
    )
}

/// Writes a file that nobody else may read.
fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A component that does the same as the built-in splitter and has another digest: a custom section (component model
/// binary format, "Custom Section") is appended.
fn splitter(version: u8) -> Vec<u8> {
    let mut component = fs::read(Path::new(env!("OUT_DIR")).join("sluice_plugin_splitter.wasm")).unwrap();
    let section = [7, b'v', b'e', b'r', b's', b'i', b'o', b'n', version];
    component.extend([0, section.len() as u8]);
    component.extend(section);
    component
}

/// A collector that runs, and its folder.
struct Collector {
    run: Running,
    admin: SocketAddr,
    /// Where it takes datagrams.
    to: SocketAddr,
    folder: TempDir,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Collector {
    fn start() -> Collector {
        Collector::with(CONFIG)
    }

    fn with(config: &str) -> Collector {
        Collector::with_files(config, |_| {})
    }

    /// With more files in the folder.
    fn with_files(config: &str, prepare: impl Fn(&Path)) -> Collector {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        fs::write(folder.path().join("sluice.toml"), config).unwrap();
        fs::write(folder.path().join("customers.csv"), "192.0.2.0/25,7\n").unwrap();
        fs::write(folder.path().join("services.csv"), "443,web\n80,web\n").unwrap();
        fs::write(folder.path().join("split.wasm"), splitter(0)).unwrap();
        write_private(&folder.path().join("tokens.toml"), &tokens());
        let mut run = Running::start(&folder.path().join("sluice.toml"));
        let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
        let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
        let to = run.listening();
        Collector { run, admin, to, folder }
    }

    /// Asks as the operator; the answer is compared with the OpenAPI document.
    fn call(&self, method: &str, path: &str) -> (u16, Value) {
        let answer = self.ask(method, path, &bearer(OPERATOR));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let document = self.ask("GET", "/v1/openapi.json", &bearer(OPERATOR));
        schema::check(&serde_json::from_slice(&document.body).unwrap(), method, path, answer.status, &body);
        (answer.status, body)
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Asks until the answer is as it should be: what is counted is counted a moment after it can be seen elsewhere.
    fn get_until(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let body = self.get(path);
            if is_it(&body) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "{path} never as it should be: {body}");
        }
    }

    fn ask(&self, method: &str, path: &str, authorization: &str) -> Answer {
        ask(self.admin, method, path, authorization, b"")
    }

    fn stop(self) {
        let ended = self.run.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        ended.books("edge");
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Sends a request, with header lines of its own, and reads the whole answer.
fn ask(admin: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = connect(admin);
    let len = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n"
    )
    .unwrap();
    // A collector that refuses may close before it has read everything.
    stream.write_all(body).unwrap_or_default();
    read_answer(stream)
}

fn connect(admin: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {bytes:?}"));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A request that `signer` signs, as the page says.
#[derive(Clone)]
struct Signing<'a> {
    key_name: &'a str,
    key: &'a [u8],
    method: &'a str,
    target: &'a str,
    body: &'a [u8],
    timestamp: u64,
    nonce: &'a str,
}

impl Signing<'_> {
    fn header(&self) -> String {
        let Signing { key_name, key, method, target, body, timestamp, nonce } = self;
        let text = format!("{method}\n{target}\n{}\n{timestamp}\n{nonce}", hex(&Sha256::digest(body)));
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        format!(
            "Authorization: SLUICE-HMAC-SHA256 key={key_name}, timestamp={timestamp}, nonce={nonce}, \
             signature={signature}\r\n"
        )
    }
}
