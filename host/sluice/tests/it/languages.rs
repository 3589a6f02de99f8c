//! A plugin in each language, made as its author makes it: from the template, built, tested, and run in a pipeline.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sluice_testkit::tools;
use tempfile::TempDir;

use crate::tool::{Running, sluice};

/// Records of a NetFlow v5 datagram.
const RECORDS: u32 = 30;
const DATAGRAMS: u32 = 40;

/// Protocol, destination port and bytes of the record `number`.
fn flow(number: u32) -> (u8, u16, u32) {
    let proto = if number.is_multiple_of(5) { 17 } else { 6 };
    let port = if number.is_multiple_of(3) { 80 } else { 443 };
    (proto, port, number * 37 % 20_011)
}

/// A datagram with the flows from `first` on; the number of a flow is its source address.
fn datagram(first: u32) -> Vec<u8> {
    let mut datagram = vec![0, 5, 0, RECORDS as u8];
    datagram.extend(3_600_000_u32.to_be_bytes());
    datagram.extend(1_700_000_000_u32.to_be_bytes());
    datagram.extend([0; 4]);
    datagram.extend(first.to_be_bytes());
    datagram.extend([0, 0, 0x40, 100]);
    for number in first..first + RECORDS {
        let (proto, port, bytes) = flow(number);
        datagram.extend((0x0a00_0000 + number).to_be_bytes());
        datagram.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 1, 0, 2]);
        datagram.extend(10_u32.to_be_bytes());
        datagram.extend(bytes.to_be_bytes());
        datagram.extend(3_590_000_u32.to_be_bytes());
        datagram.extend(3_599_000_u32.to_be_bytes());
        datagram.extend(40_000_u16.to_be_bytes());
        datagram.extend(port.to_be_bytes());
        datagram.extend([0, 0x18, proto, 0]);
        datagram.extend([0; 8]);
    }
    datagram
}

/// Runs a command to its end, which has to be a good one.
fn run(command: &mut Command) -> Output {
    let output = command.env("PATH", tools::path().unwrap()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", said(&output.stdout), said(&output.stderr));
    output
}

fn check(language: &str) {
    let folder = tempfile::tempdir().unwrap();
    run(sluice().current_dir(folder.path()).args(["plugin", "new", "my-filter", "--lang", language]));
    let project = folder.path().join("my-filter");
    if project.join("package.json").is_file() {
        tools::install_node_modules(&project).unwrap();
    }
    run(sluice().current_dir(&project).args(["plugin", "build"]));
    let tested = run(sluice().current_dir(&project).args(["plugin", "test", "--format", "json"]));
    let tested: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!((tested["passed"].as_u64(), tested["failed"].as_u64()), (Some(11), Some(0)), "{tested}");
    // No trap, the same answers, and memory that does not grow in 10 000 batches.
    let check = ["plugin", "check", "build/my-filter.wasm", "--config", "{\"customer_id\": 7}"];
    run(sluice().current_dir(&project).args(check));
    pipeline(folder.path());
}

/// Runs the plugin `my-filter` over a capture, and compares the rows that come out with those that should.
fn pipeline(folder: &Path) {
    let captures = folder.join("captures");
    fs::create_dir(&captures).unwrap();
    for at in 0..DATAGRAMS {
        fs::write(captures.join(format!("{at:03}.bin")), datagram(at * RECORDS)).unwrap();
    }
    let config = folder.join("sluice.toml");
    let text = r#"
        # A large component, compiled by a debug build while other tests run.
        [plugins]
        compile_seconds = 600

        [sources.edge]
        type = "capture"
        paths = ["captures"]

        [stages.filter]
        inputs = ["edge"]
        plugin = "my-filter/build/my-filter.wasm"
        grant = { read = ["proto", "dst_port", "bytes"], write = ["customer_id"] }
        config = { customer_id = 7 }

        [sinks.out]
        type = "file"
        inputs = ["filter"]
        path = "out.json"
    "#;
    fs::write(&config, text).unwrap();
    let ended = Running::start(&config).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);

    let stays = |number: &u32| matches!(flow(*number), (6, 443, bytes) if bytes > 10_000);
    let expected: Vec<(String, u64, u64)> = (0..DATAGRAMS * RECORDS)
        .filter(stays)
        .map(|number| (format!("10.0.{}.{}", number >> 8, number & 255), u64::from(flow(number).2), 7))
        .collect();
    let written = fs::read_to_string(folder.join("out.json")).unwrap();
    let mut found: Vec<(String, u64, u64)> = written
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| row[name].as_u64().unwrap();
            (row["src_addr"].as_str().unwrap().to_owned(), number("bytes"), number("customer_id"))
        })
        .collect();
    // Workers may finish two batches in either order.
    let mut sorted = expected.clone();
    sorted.sort();
    found.sort();
    assert_eq!(found, sorted);
    let (sent, kept) = (u64::from(DATAGRAMS * RECORDS), expected.len() as u64);
    assert_eq!(ended.books("filter"), (sent, kept, sent - kept));
}

/// Builds the plugins that an SDK tests itself with, and runs their cases.
fn fixtures(language: &str, names: &[&str]) -> TempDir {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk").join(language);
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let project = if language == "go" {
            // Modules within the SDK, which they find beside them.
            copy(&sdk, &folder.path().join("go"));
            folder.path().join("go/tests").join(name)
        } else {
            // What differs from the template, with its own cases and those that several languages share.
            run(sluice().current_dir(folder.path()).args(["plugin", "new", name, "--lang", language]));
            let project = folder.path().join(name);
            fs::remove_dir_all(project.join("tests")).unwrap();
            copy(&sdk.join("tests").join(name), &project);
            let shared = sdk.join("../tests").join(name);
            if shared.is_dir() {
                copy(&shared, &project.join("tests"));
            }
            project
        };
        if project.join("package.json").is_file() {
            tools::install_node_modules(&project).unwrap();
        }
        run(sluice().current_dir(&project).args(["plugin", "build"]));
        run(sluice().current_dir(&project).args(["plugin", "test"]));
    }
    folder
}

/// The same for a language whose memory is the plugin's own affair: what crosses is given back, batch for batch.
fn fixtures_by_hand(language: &str) {
    let folder = fixtures(language, &["calls", "stateful"]);
    for act in ["read", "write"] {
        let config = format!("{{\"act\": \"{act}\"}}");
        let check = ["plugin", "check", "build/calls.wasm", "--config", &config];
        run(sluice().current_dir(folder.path().join("calls")).args(check));
    }
}

/// Copies a folder into another one, which may be there; of what is built nothing.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.as_ref().unwrap().file_name());
        if name == "build" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn fixtures_in_rust() {
    fixtures("rust", &["quota"]);
}

#[test]
#[cfg_attr(not(zig), ignore = "needs zig: cargo xtask sdks")]
fn fixtures_in_c() {
    fixtures_by_hand("c");
}

#[test]
#[cfg_attr(not(zig), ignore = "needs zig: cargo xtask sdks")]
fn fixtures_in_zig() {
    fixtures_by_hand("zig");
}

#[test]
#[cfg_attr(not(node), ignore = "needs asc: cargo xtask sdks")]
fn fixtures_in_assemblyscript() {
    fixtures_by_hand("assemblyscript");
}

#[test]
#[cfg_attr(not(go), ignore = "needs Go: cargo xtask sdks")]
fn fixtures_in_go() {
    fixtures("go", &["calls", "counter"]);
}

#[test]
#[cfg_attr(not(node), ignore = "needs componentize-qjs: cargo xtask sdks")]
fn fixtures_in_js() {
    fixtures("js", &["basics", "services", "stateful"]);
}

#[test]
#[cfg_attr(not(python), ignore = "needs componentize-py: cargo xtask sdks")]
fn fixtures_in_python() {
    fixtures("python", &["basics", "services", "stateful"]);
}

#[test]
fn rust() {
    check("rust");
}

#[test]
#[cfg_attr(not(zig), ignore = "needs zig: cargo xtask sdks")]
fn c() {
    check("c");
}

#[test]
#[cfg_attr(not(zig), ignore = "needs zig: cargo xtask sdks")]
fn zig() {
    check("zig");
}

#[test]
#[cfg_attr(not(go), ignore = "needs Go: cargo xtask sdks")]
fn go() {
    check("go");
}

#[test]
#[cfg_attr(not(python), ignore = "needs componentize-py: cargo xtask sdks")]
fn python() {
    check("python");
}

#[test]
#[cfg_attr(not(node), ignore = "needs componentize-qjs: cargo xtask sdks")]
fn js() {
    check("js");
}

#[test]
#[cfg_attr(not(node), ignore = "needs asc: cargo xtask sdks")]
fn assemblyscript() {
    check("assemblyscript");
}
