//! What the author of a plugin does: make a project, build it, look at what came out. And what is said when something
//! is wrong with any of that.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::hostile::guest::{guest, tiny};
use crate::tool::sluice;

/// Where tests put another line into `tiny.wat`.
const IMPORTS: &str = "(memory (export";

/// Runs `sluice plugin ARGS` in a folder.
fn plugin(folder: &Path, args: &[&str]) -> Output {
    sluice().current_dir(folder).arg("--log=error").arg("plugin").args(args).output().unwrap()
}

/// Standard output of a command that ends well.
fn good(folder: &Path, args: &[&str]) -> String {
    let output = plugin(folder, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and last line on standard error of a command that fails; before it there may be what a command said.
fn bad(folder: &Path, args: &[&str]) -> String {
    let output = plugin(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap_or_default();
    format!("{} {last}", output.status.code().unwrap())
}

/// A folder with a file in it.
fn folder_with(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

/// What `inspect` says of a file.
fn inspect_bad(bytes: &[u8], expected: Expect) {
    let folder = folder_with("x.wasm", bytes);
    expected.assert_eq(&bad(folder.path(), &["inspect", "x.wasm"]));
}

/// The guest with one text replaced by another of its length, everywhere.
fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = guest().to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// A project whose command copies `tiny.wasm`, with `[build]` as given.
fn project(build: &str) -> tempfile::TempDir {
    let folder = folder_with("tiny.wasm", &tiny(&[]));
    let text = format!("[plugin]\nname = \"tiny\"\nlanguage = \"wat\"\n\n[build]\n{build}\n");
    fs::write(folder.path().join("plugin.toml"), text).unwrap();
    folder
}

const COPY: &str = "commands = [\"cp tiny.wasm build/core.wasm\"]\ncore = \"build/core.wasm\"";

#[test]
fn a_core_module_is_packed_and_the_component_runs() {
    let folder = folder_with("core.wasm", &tiny(&[("sluice:plugin/stage@0.1.0#init", "stage_init")]));
    let here = folder.path();
    let rename = "stage_init=sluice:plugin/stage@0.1.0#init";
    let said = good(here, &["pack", "core.wasm", "--rename", rename, "-o", "out.wasm"]);
    assert!(said.starts_with("out.wasm: "), "{said}");
    assert!(good(here, &["inspect", "out.wasm"]).starts_with("plugin    tiny 0.1.0\n"));

    fs::write(here.join("core.wasm"), tiny(&[])).unwrap();
    good(here, &["pack", "core.wasm"]);
    assert_eq!(fs::read(here.join("core.component.wasm")).unwrap(), fs::read(here.join("out.wasm")).unwrap());

    let config = "[sources.a]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\n[stages.t]\ninputs = [\"a\"]\nplugin = \"core.wasm\"\n\
                  [sinks.b]\ntype = \"null\"\ninputs = [\"t\"]\n";
    fs::write(here.join("sluice.toml"), config).unwrap();
    let checked = sluice().current_dir(here).args(["check", "sluice.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("plugin tiny 0.1.0, stateless"), "{checked:?}");
}

#[test]
fn what_cannot_be_packed_is_named() {
    let check = |bytes: &[u8], expected: Expect| {
        let folder = folder_with("x.wasm", bytes);
        expected.assert_eq(&bad(folder.path(), &["pack", "x.wasm"]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written");
    };
    check(b"(module)", expect!["1 sluice: x.wasm: not a WebAssembly module: it is text"]);
    check(guest(), expect!["1 sluice: x.wasm: is a component already: use it as it is"]);
    check(
        &tiny(&[])[..60],
        expect!["1 sluice: x.wasm: not a valid WebAssembly module: unexpected end-of-file (at offset 0x33)"],
    );
    check(
        &tiny(&[("sluice:plugin/stage@0.1.0#init", "stage_init")]),
        expect![
            "1 sluice: x.wasm: does not export `sluice:plugin/stage@0.1.0#init`; a name that the compiler cannot spell can be given by a rename"
        ],
    );
    check(
        &tiny(&[(IMPORTS, "(import \"env\" \"abort\" (func)) (memory (export")]),
        expect!["1 sluice: x.wasm: imports `env.abort`, which a plugin is not given"],
    );
    let folder = folder_with("x.wasm", &tiny(&[]));
    expect!["1 sluice: x.wasm: rename `a`: there is no such export or import (an import is written MODULE.NAME)"]
        .assert_eq(&bad(folder.path(), &["pack", "x.wasm", "--rename", "a=b"]));
    expect!["1 sluice: y.wasm: No such file or directory (os error 2)"]
        .assert_eq(&bad(folder.path(), &["pack", "y.wasm"]));
}

#[test]
fn inspect_tells_people_and_programs_what_a_plugin_is() {
    let folder = folder_with("tiny.wasm", &tiny(&[]));
    let text = good(folder.path(), &["inspect", "tiny.wasm"]);
    // Numbers that differ from machine to machine.
    let differs = ["compile ", "sha256 ", "cost "];
    let lines = text.lines().filter(|line| !differs.iter().any(|what| line.starts_with(what)));
    expect![[r#"
        plugin    tiny 0.1.0
        file      tiny.wasm, 275 bytes
                  a core module, 1797 bytes as a component
        signer    not signed
        contract  sluice:plugin@0.1.0
        exports   stage: init process
        imports   nothing
        wasi      nothing
        reads     nothing
        writes    nothing
        state     stateless
        tick      never
        memory    524288 bytes after init
                  524288 bytes of memory after them"#]]
    .assert_eq(&lines.collect::<Vec<_>>().join("\n"));

    let folder = folder_with("guest.wasm", guest());
    let text = good(folder.path(), &["inspect", "guest.wasm", "--format", "json", "--config", r#"{"mode": "tick"}"#]);
    let json: Value = serde_json::from_str(&text).unwrap();
    let plugin = json!({
        "name": "guest",
        "version": "1.0.0-guest-version",
        "reads": ["src_addr", "bytes", "src_as"],
        "writes": ["src_as", "customer_id"],
        "stateful": false,
        "tick_ms": 100,
        "memory_bytes": json["plugin"]["memory_bytes"],
    });
    assert_eq!(json["plugin"], plugin);
    assert_eq!((&json["init"], &json["contract"]), (&json!("ok"), &json!("sluice:plugin@0.1.0")));
    assert_eq!(json["exports"]["sluice:plugin/state@0.1.0"], json!(["restore", "snapshot"]));
    let asked = json["imports"]["sluice:plugin/kernels@0.1.0"].as_array().unwrap();
    assert!(asked.contains(&json!("test-prefix")), "{asked:?}");
    assert!(json["wasi"].as_object().unwrap().keys().all(|name| name.starts_with("wasi:")), "{json}");
    assert!(json["plugin"]["memory_bytes"].as_u64() > Some(65_535), "{json}");
    assert!(json["compile_ms"].as_f64() > Some(0.0) && json["load_ms"].as_f64() > Some(0.0), "{json}");
    assert_eq!(json["bytes"], json!(guest().len()));
}

#[test]
fn a_file_that_is_no_plugin_is_named_for_what_it_is() {
    inspect_bad(b"", expect!["1 sluice: x.wasm is not a WebAssembly component: the file is empty"]);
    inspect_bad(b"#!/bin/sh\n", expect!["1 sluice: x.wasm is not a WebAssembly component: it is text"]);
    inspect_bad(
        &guest()[..1000],
        expect![
            "1 sluice: x.wasm does not compile: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x36b)"
        ],
    );
    inspect_bad(
        b"\0asm\x01\0\0\0",
        expect![
            "1 sluice: x.wasm does not export `sluice:plugin/stage@0.1.0#init`, `sluice:plugin/stage@0.1.0#process`, `memory`, `cabi_realloc`; a name that the compiler cannot spell can be given by a rename"
        ],
    );
    inspect_bad(
        b"\0asm\x0d\0\x01\0",
        expect!["1 sluice: x.wasm does not export sluice:plugin/stage: it is not a sluice plugin"],
    );
    inspect_bad(
        &patched("@0.1.0", "@0.2.0"),
        expect![
            "1 sluice: x.wasm: the plugin uses sluice:plugin/timer@0.2.0, this collector speaks sluice:plugin@0.1.0: rebuild the plugin with its SDK"
        ],
    );
    inspect_bad(
        &patched("sluice:plugin/kernels", "sluice:plugin/kernelz"),
        expect!["1 sluice: x.wasm: the plugin imports sluice:plugin/kernelz@0.1.0, which this collector does not have"],
    );
    inspect_bad(
        &patched("wasi:cli/", "evil:cli/"),
        expect!["1 sluice: x.wasm: the plugin imports evil:cli/environment@0.2.6, which this collector does not have"],
    );
    let nowhere = tempfile::tempdir().unwrap();
    expect!["1 sluice: x.wasm cannot be read: No such file or directory (os error 2)"]
        .assert_eq(&bad(nowhere.path(), &["inspect", "x.wasm"]));
}

#[test]
fn a_plugin_that_does_not_start_is_shown_as_far_as_it_goes() {
    let folder = folder_with("guest.wasm", guest());
    let config = |mode: &str| format!(r#"{{"mode": "{mode}"}}"#);
    let fails = |mode: &str| {
        bad(folder.path(), &["inspect", "guest.wasm", "--config", &config(mode), "--init-deadline-ms", "50"])
    };
    expect!["1 sluice: guest.wasm: the plugin refused its configuration: there is no `threshold`"]
        .assert_eq(&fails("init-fails"));
    expect!["1 sluice: guest.wasm: the plugin did not start: init: wasm trap: wasm `unreachable` instruction executed"]
        .assert_eq(&fails("init-traps"));
    expect!["1 sluice: guest.wasm: the plugin did not start: init did not return within 50 ms"]
        .assert_eq(&fails("init-loops"));
    expect!["1 sluice: guest.wasm: the plugin's manifest has a name that is not 1 to 64 visible ASCII characters"]
        .assert_eq(&fails("bad-name"));
    let output = plugin(folder.path(), &["inspect", "guest.wasm", "--config", &config("init-traps")]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("contract  sluice:plugin@0.1.0") && shown.contains("init      the plugin did not start"),
        "{shown}"
    );

    expect!["2 sluice: --config {: EOF while parsing an object at line 1 column 1"]
        .assert_eq(&bad(folder.path(), &["inspect", "guest.wasm", "--config", "{"]));
    expect![[r#"2 sluice: --config 7: not a table; write {"key": 1}"#]]
        .assert_eq(&bad(folder.path(), &["inspect", "guest.wasm", "--config", "7"]));
}

#[test]
fn a_project_in_rust_is_made_built_and_taken() {
    let folder = tempfile::tempdir().unwrap();
    let said = good(folder.path(), &["new", "drop-dns", "--lang", "rust"]);
    assert!(said.contains("cd drop-dns\n  sluice plugin build"), "{said}");
    let project = folder.path().join("drop-dns");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"drop-dns\""), "{manifest}");
    let toml = fs::read_to_string(project.join("plugin.toml")).unwrap();
    assert!(!toml.contains("[new") && toml.contains("release/drop_dns.wasm"), "{toml}");
    let code = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    assert!(code.contains("pub struct DropDns"), "{code}");
    assert!(project.join("wit/stage.wit").exists() && project.join("sdk/rust/src/lib.rs").exists());

    // The same folder of compiled crates in every run of the tests: the second takes seconds.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-rust");
    let toml = toml.replace("--target-dir target", &format!("--target-dir {}", kept.display()));
    let toml = toml.replace("core = \"target", &format!("core = \"{}", kept.display()));
    fs::write(project.join("plugin.toml"), toml).unwrap();
    let built = good(&project, &["build"]);
    assert!(built.starts_with("build/drop-dns.wasm: ") && built.contains("imports batch, log, metrics\n"), "{built}");
    assert!(
        built.contains("it says: customer_id is missing: add config = { customer_id = 7 } to the stage\n"),
        "{built}"
    );

    let tested = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&project)
        .args(["test", "--target-dir"])
        .arg(&kept)
        .output()
        .unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));

    let inspected = good(&project, &["inspect", "build/drop-dns.wasm", "--config", r#"{"customer_id": 7}"#]);
    for line in
        ["plugin    drop-dns 0.1.0", "wasi      nothing", "reads     bytes proto dst_port", "writes    customer_id"]
    {
        assert!(inspected.contains(&format!("{line}\n")), "{inspected}");
    }
    let refused = bad(&project, &["inspect", "build/drop-dns.wasm", "--config", r#"{"customer": 7}"#]);
    assert!(refused.ends_with("unknown key `customer`, expected `customer_id` or `min_bytes`"), "{refused}");
}

#[test]
fn a_project_is_not_made_over_something_or_under_a_bad_name() {
    let folder = folder_with("kept", b"mine");
    let check = |args: &[&str], expected: Expect| {
        let args = [&["new"], args, &["--lang", "rust"]].concat();
        expected.assert_eq(&bad(folder.path(), &args));
    };
    check(&["a", "--dir", "."], expect!["2 sluice: . is not empty; choose another folder with --dir"]);
    check(
        &["a", "--dir", "kept"],
        expect!["2 sluice: kept: Not a directory (os error 20); choose another folder with --dir"],
    );
    check(
        &["Tenant"],
        expect![
            "2 sluice: name `Tenant` must be lower-case letters, digits and single `-`, a letter first: tenant-filter"
        ],
    );
    check(&["match"], expect!["2 sluice: name `match` means something to a compiler; add a word: match-filter"]);
    check(
        &["../a"],
        expect![
            "2 sluice: name `../a` must be lower-case letters, digits and single `-`, a letter first: tenant-filter"
        ],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is made");
    let output = plugin(folder.path(), &["new", "a", "--lang", "cobol"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("possible values: "), "the languages are listed");
}

#[test]
fn a_build_runs_its_commands_and_packs_what_they_write() {
    let folder = project(COPY);
    let said = good(folder.path(), &["build"]);
    assert!(said.starts_with("build/tiny.wasm: "), "{said}");
    let component = fs::read(folder.path().join("build/tiny.wasm")).unwrap();

    // From elsewhere, with a tool that is found, quotes and an environment.
    let build = "commands = [\"$shell -c 'cp $FROM build/out.wasm'\"]\ncomponent = \"build/out.wasm\"\n\
                 env = { FROM = \"made.wasm\" }\n[build.tools.shell]\ntry = [\"no-such-shell\", \"sh\"]\n\
                 check = \"-c true\"\ninstall = \"apt-get install dash\"";
    let folder = project(build);
    fs::write(folder.path().join("made.wasm"), &component).unwrap();
    let nowhere = tempfile::tempdir().unwrap();
    good(nowhere.path(), &["build", &folder.path().display().to_string()]);
    assert_eq!(fs::read(folder.path().join("build/tiny.wasm")).unwrap(), component);
}

#[test]
fn a_build_that_fails_says_where_and_what_to_do() {
    let check = |build: &str, expected: Expect| {
        let folder = project(build);
        expected.assert_eq(&bad(folder.path(), &["build"]));
        assert!(!folder.path().join("build/tiny.wasm").exists(), "{build}");
    };
    let nowhere = tempfile::tempdir().unwrap();
    expect!["2 sluice: plugin.toml: there is no such file; run this in a plugin's folder, or make one with: sluice plugin new NAME --lang LANGUAGE"].assert_eq(&bad(nowhere.path(), &["build"]));
    let tool = "[build.tools.x]\ntry = [\"no-such-tool\", \"no-such-tool -m x\"]\ncheck = \"--version\"\ninstall = \"pip install x==1\"";
    check(
        &format!("{COPY}\n{tool}"),
        expect![
            "1 sluice: plugin.toml:8:14: build.tools.x: not found: `no-such-tool --version` and `no-such-tool -m x --version` did not work; install it: pip install x==1"
        ],
    );
    check(
        &COPY.replace("cp", "$cp"),
        expect!["2 sluice: plugin.toml:6:13: build.commands: `$cp` is no tool; add `[build.tools.cp]`"],
    );
    check(
        &COPY.replace("cp tiny", "cp tinny"),
        expect!["1 sluice: plugin.toml:6:13: build.commands: `cp tinny.wasm build/core.wasm` failed: exit status: 1"],
    );
    check(
        &COPY.replace("cp", "no-such-command"),
        expect![
            "1 sluice: plugin.toml:6:13: build.commands: `no-such-command` cannot be run: No such file or directory (os error 2)"
        ],
    );
    check(
        &COPY.replace("build/core.wasm\"]", "build/other.wasm\"]"),
        expect!["1 sluice: plugin.toml:7:8: build.core: the commands did not write build/core.wasm"],
    );
    check(
        &COPY.replace("cp tiny.wasm", "cp plugin.toml"),
        expect!["1 sluice: plugin.toml:7:8: build.core: build/core.wasm: not a WebAssembly module: it is text"],
    );
    check(
        &COPY.replace("cp tiny", "cp 'tiny"),
        expect!["2 sluice: plugin.toml:6:13: build.commands: the quote ' is not closed"],
    );
    check(
        &COPY.replace("commands", "command"),
        expect![
            "2 sluice: plugin.toml:6:1: build: unknown key `command`, expected one of `commands`, `core`, `component`, `rename`, `env`, `tools`; did you mean `commands`?"
        ],
    );
    check(
        &format!("{COPY}\ncore_ = 1"),
        expect![
            "2 sluice: plugin.toml:8:1: build: unknown key `core_`, expected one of `commands`, `core`, `component`, `rename`, `env`, `tools`; did you mean `core`?"
        ],
    );
    check(
        &format!("{COPY}\ncomponent = \"x.wasm\""),
        expect!["2 sluice: plugin.toml:8:13: build: `core` and `component`: only one is the output"],
    );
    check(
        "commands = [\"true\"]",
        expect![[
            r#"2 sluice: plugin.toml:5:1: build: no `core` and no `component`; add the file that the commands write: `core = "build/core.wasm"`"#
        ]],
    );
    check(
        &format!("{COPY}\nrename = {{ a = \"b\" }}"),
        expect![
            "1 sluice: plugin.toml:7:8: build.core: build/core.wasm: rename `a`: there is no such export or import (an import is written MODULE.NAME)"
        ],
    );
    check(
        &format!("{COPY}\n[new]\nsdk = []"),
        expect![
            "2 sluice: plugin.toml:8:1: this is a template; make a project of it with: sluice plugin new NAME --lang LANGUAGE"
        ],
    );
}
