//! Components that explode the compiler: it runs in a process of its own, under limits, and the collector goes on.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::tool::{Running, exporter, metrics_with, netflow5, sluice};

/// An unsigned LEB128 number (WebAssembly core specification, 5.2.2).
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, contents: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(contents.len()), contents].concat()
}

/// A component of one function: `locals` numbers that are each counted up within `loops` nested loops. Every loop has a value
/// for every number in the compiler's form of it, so that a file of kilobytes becomes gigabytes.
fn bomb(loops: usize, locals: usize) -> Vec<u8> {
    let mut body = [leb(1), leb(locals), vec![0x7e]].concat();
    body.extend([0x03, 0x40].repeat(loops));
    for local in 1..=locals {
        // local.get, i64.const 1, i64.add, local.set
        body.extend([&[0x20][..], &leb(local), &[0x42, 1, 0x7c, 0x21], &leb(local)].concat());
    }
    // local.get 0, br_if 0, end
    body.extend([0x20, 0, 0x0d, 0, 0x0b].repeat(loops));
    body.push(0x0b);
    let code = section(10, &[leb(1), leb(body.len()), body].concat());
    let module = [&b"\0asm\x01\0\0\0"[..], &section(1, &[1, 0x60, 1, 0x7f, 0]), &section(3, &[1, 0]), &code].concat();
    [&b"\0asm\x0d\0\x01\0"[..], &section(1, &module)].concat()
}

/// A folder with `plugin.wasm` and a configuration that runs it.
fn folder(component: &[u8], plugins: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plugin.wasm"), component).unwrap();
    let config = folder.path().join("sluice.toml");
    let text = format!(
        r#"
        cache_dir = "code"
        [admin]
        listen = "127.0.0.1:0"
        [plugins]
        {plugins}
        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_delay_ms = 5
        [stages.tag]
        inputs = ["edge"]
        plugin = "./plugin.wasm"
        grant = {{ read = ["proto"] }}
        config = {{ name = "proto-{{proto}}" }}
        [sinks.out]
        type = "null"
        inputs = ["tag.*"]
        "#
    );
    fs::write(&config, text).unwrap();
    (folder, config)
}

/// What `check` says of a configuration that it refuses.
fn refusal(config: &Path) -> String {
    let output = sluice().args(["--log=warn", "check"]).arg(config).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

fn splitter() -> Vec<u8> {
    fs::read(Path::new(env!("OUT_DIR")).join("sluice_plugin_splitter.wasm")).unwrap()
}

#[test]
fn a_component_that_takes_more_memory_to_compile_than_allowed_is_refused_with_the_way_out() {
    let (folder, config) = folder(&bomb(2000, 20_000), "compile_memory_bytes = 1_073_741_824");
    let said = refusal(&config);
    let expected = format!(
        ":11:17: stages.tag: compiling {}/./plugin.wasm took more than 1024 MiB of memory: it may be made to do that; if you \
         trust it, raise `compile_memory_bytes` in `[plugins]`\n",
        folder.path().display()
    );
    assert!(said.ends_with(&expected), "{said}");
    assert_eq!(fs::read_dir(folder.path().join("code")).unwrap().count(), 0, "nothing of it is in the cache");
}

#[test]
fn a_component_that_takes_longer_to_compile_than_allowed_is_refused_with_the_way_out() {
    let (_folder, config) = folder(&bomb(1000, 10_000), "compile_seconds = 1");
    let said = refusal(&config);
    assert!(
        said.contains("took more than 1 s: it may be made to do that; if you trust it, raise `compile_seconds`"),
        "{said}"
    );
}

#[test]
fn a_compiler_that_somebody_kills_is_an_error_that_says_so() {
    let (_folder, config) = folder(&bomb(1000, 10_000), "");
    let mut check = sluice().args(["--log=warn", "check"]).arg(&config).stderr(Stdio::piped()).spawn().unwrap();
    let compiler = child_of(check.id());
    assert!(std::process::Command::new("kill").args(["-9", &compiler]).status().unwrap().success());
    let mut said = String::new();
    check.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(check.wait().unwrap().code(), Some(2), "{said}");
    assert!(said.contains("plugin.wasm: the process for that was ended by signal 9"), "{said}");
}

/// The process that `parent` started, once there is one.
fn child_of(parent: u32) -> String {
    let started = Instant::now();
    loop {
        for task in fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
            let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            let mut children = children.split_whitespace();
            let is_it = |pid: &&str| {
                fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("plugin-process"))
            };
            if let Some(child) = children.find(is_it) {
                return child.to_owned();
            }
        }
        assert!(started.elapsed() < Duration::from_secs(120), "no process was started");
        std::thread::yield_now();
    }
}

#[test]
fn a_component_that_explodes_the_compiler_at_a_hot_swap_costs_the_running_collector_nothing() {
    let (folder, config) = folder(&splitter(), "compile_memory_bytes = 1_073_741_824");
    let mut run = Running::start(&config);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();
    let socket = exporter(to);
    let send = |upto: u32| {
        for sequence in (upto - 300..upto).step_by(30) {
            socket.send(&netflow5(sequence, &(1..=30).collect::<Vec<_>>())).unwrap();
        }
        metrics_with(admin, &format!("sluice_sink_out_rows_total{{sink=\"out\"}} {upto}"));
    };
    send(300);
    for round in 1..=2 {
        fs::write(folder.path().join("plugin.wasm"), bomb(2000, 20_000 + round)).unwrap();
        run.signal("HUP");
        send(300 + 600 * round as u32 - 300);
        let refused = run.wait_for("plugin not exchanged");
        assert!(refused["error"].as_str().unwrap().contains("took more than 1024 MiB of memory"), "{refused}");
        send(300 + 600 * round as u32);
    }
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for component in ["edge", "tag", "out"] {
        assert_eq!(ended.books(component), (1500, 1500, 0));
    }
}

#[test]
fn what_was_compiled_once_is_in_the_cache_and_a_component_that_is_wrong_is_answered_as_before() {
    let (folder, config) = folder(&splitter(), "compile_seconds = 120");
    for _ in 0..2 {
        let output = sluice().arg("check").arg(&config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read_dir(folder.path().join("code")).unwrap().count(), 1);
    }
    let mut damaged = splitter();
    damaged.truncate(damaged.len() / 2);
    fs::write(folder.path().join("plugin.wasm"), damaged).unwrap();
    let said = refusal(&config);
    assert!(said.contains("plugin.wasm does not compile: "), "{said}");
}

#[test]
fn the_command_for_the_collector_itself_is_not_shown_and_does_nothing_for_a_person() {
    let help = sluice().arg("help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("plugin-process"));
    let output = sluice().arg("plugin-process").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("sluice: plugin-process is for sluice to start: "), "{said}");
}
