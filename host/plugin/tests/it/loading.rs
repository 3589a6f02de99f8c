//! What loads and what is refused, with the words an operator sees.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_pipeline::Metrics;
use sluice_plugin::outside::Outside;
use sluice_plugin::{ComponentSource, Grant, Granted, Host, HostSettings, Limits, OnError};

use crate::{Bench, columns, guest};

/// Loads `bytes` and compares the refusal.
fn check(bytes: &[u8], expected: Expect) {
    let bench = Bench::new("pass", 0);
    bench.install(bytes);
    expected.assert_eq(&bench.error().replace(&bench.path().display().to_string(), "FILE"));
}

/// The component with one text replaced by another of its length, everywhere.
fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = guest::guest().to_vec();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from.as_bytes()) {
        bytes[at + found..at + found + to.len()].copy_from_slice(to.as_bytes());
        at += found + to.len();
    }
    assert!(at > 0, "{from} is in the component");
    bytes
}

#[test]
fn a_good_component_says_what_it_is() {
    let loaded = Bench::new("tick", 0).load();
    let manifest = loaded.manifest();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("guest", "1.0.0-guest-version"));
    assert_eq!((manifest.tick_ms, manifest.stateful, loaded.generation()), (Some(100), false, 1));
}

#[test]
fn a_file_that_is_no_component_is_named_for_what_it_is() {
    check(b"", expect!["stage tag: FILE is not a WebAssembly component: the file is empty"]);
    check(b"#!/bin/sh\n", expect!["stage tag: FILE is not a WebAssembly component: it is text"]);
    check(
        b"\0asm\x01\0\0\0",
        expect![
            "stage tag: FILE does not export `sluice:plugin/stage@0.1.0#init`, `sluice:plugin/stage@0.1.0#process`, `memory`, `cabi_realloc`; a name that the compiler cannot spell can be given by a rename"
        ],
    );
    check(
        b"\0asm\x0d",
        expect!["stage tag: FILE is not a WebAssembly component: it is WebAssembly of an unknown version, or cut off"],
    );
    check(
        b"\x7fELF\x02\x01",
        expect![
            "stage tag: FILE is not a WebAssembly component: it is native code; give the .wasm file, compiled code is never loaded"
        ],
    );
    check(&[0xff; 100], expect!["stage tag: FILE is not a WebAssembly component: it does not begin like WebAssembly"]);
    check(
        &guest::guest()[..1000],
        expect![
            "stage tag: FILE does not compile: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x36b)"
        ],
    );
    check(
        b"\0asm\x0d\0\x01\0",
        expect!["stage tag: FILE does not export sluice:plugin/stage: it is not a sluice plugin"],
    );
}

#[test]
fn a_missing_file_and_a_wrong_digest_are_errors() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.component = ComponentSource::File { path: bench.path(), sha256: Some([7; 32]) };
    let error = bench.error().replace(&bench.path().display().to_string(), "FILE");
    assert!(error.starts_with("stage tag: FILE has SHA-256 "), "{error}");
    assert!(error.ends_with(&format!(", the TOML asks for {}", "07".repeat(32))), "{error}");
    bench.spec.component = ComponentSource::File { path: "/nowhere/x.wasm".into(), sha256: None };
    expect!["stage tag: /nowhere/x.wasm cannot be read: No such file or directory (os error 2)"]
        .assert_eq(&bench.error());
}

#[test]
fn another_version_of_the_contract_is_named_with_ours() {
    check(
        &patched("@0.1.0", "@0.2.0"),
        expect![
            "stage tag: the plugin uses sluice:plugin/timer@0.2.0, this collector speaks sluice:plugin@0.1.0: rebuild the plugin with its SDK"
        ],
    );
}

#[test]
fn an_import_that_nobody_has_is_named() {
    check(
        &patched("sluice:plugin/kernels", "sluice:plugin/kernelz"),
        expect!["stage tag: the plugin imports sluice:plugin/kernelz@0.1.0, which this collector does not have"],
    );
    check(
        &patched("wasi:cli/", "evil:cli/"),
        expect!["stage tag: the plugin imports evil:cli/environment@0.2.6, which this collector does not have"],
    );
    check(
        &patched("test-prefix", "test-suffix"),
        expect![
            "stage tag: the plugin does not fit the contract: component imports instance `sluice:plugin/kernels@0.1.0`, but a matching implementation was not found in the linker: instance export `test-suffix` has the wrong type: function implementation is missing"
        ],
    );
}

#[test]
fn an_import_outside_the_grant_is_named_with_what_to_add() {
    let with = |change: fn(&mut Granted)| {
        let mut bench = Bench::new("pass", 0);
        if let Grant::Listed(granted) = &mut bench.spec.grant {
            change(granted);
        }
        bench.error()
    };
    expect![[r#"stage tag: the plugin imports sluice:plugin/keys@0.1.0, which the stage's grant does not include: add keys = ["..."] with the names of its keys"#]]
        .assert_eq(&with(|granted| granted.keys = BTreeSet::new()));
    expect![[r#"stage tag: the plugin imports sluice:plugin/events@0.1.0, which the stage's grant does not include: add events = true"#]]
        .assert_eq(&with(|granted| granted.events = false));
    expect![[r#"stage tag: the plugin imports sluice:plugin/tables@0.1.0, which the stage's grant does not include: add tables = ["..."] with the names of its tables"#]].assert_eq(&with(|granted| granted.tables = BTreeSet::new()));
    expect![[r#"stage tag: the plugin imports sluice:plugin/assets@0.1.0, which the stage's grant does not include: add assets = ["..."] with the names of its assets"#]].assert_eq(&with(|granted| granted.assets = BTreeSet::new()));
    expect![[
        r#"stage tag: the plugin asks to write column src_as, which the grant does not include: add it to grant.write"#
    ]]
    .assert_eq(&with(|granted| granted.write = columns(&["customer_id"])));
    expect![[r#"stage tag: the plugin asks to read columns src_addr, src_as, which the grant does not include: add them to grant.read"#]]
        .assert_eq(&with(|granted| granted.read = columns(&["bytes"])));
}

#[test]
fn a_manifest_that_makes_no_sense_is_refused() {
    expect!["stage tag: the plugin's manifest names column 500, which does not exist"]
        .assert_eq(&Bench::new("unknown-column", 0).error());
    expect!["stage tag: the plugin's manifest has a name that is not 1 to 64 visible ASCII characters"]
        .assert_eq(&Bench::new("bad-name", 0).error());
}

#[test]
fn a_plugin_that_does_not_start_says_why() {
    expect!["stage tag: the plugin refused its configuration: there is no `threshold`"]
        .assert_eq(&Bench::new("init-fails", 0).error());
    expect!["stage tag: the plugin did not start: init: wasm trap: wasm `unreachable` instruction executed"]
        .assert_eq(&Bench::new("init-traps", 0).error());
    let mut bench = Bench::new("init-loops", 0);
    bench.spec.limits = Limits { init_deadline_ms: 20, ..Limits::default() };
    expect!["stage tag: the plugin did not start: init did not return within 20 ms"].assert_eq(&bench.error());
    let mut bench = Bench::new("pass", 0);
    bench.spec.limits = Limits { memory: 1 << 10, ..Limits::default() };
    expect!["stage tag: the plugin did not start: memory minimum size of 17 pages exceeds memory limits"]
        .assert_eq(&bench.error());
}

#[test]
fn a_stage_that_hides_something_may_not_let_rows_pass() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.is_private = true;
    bench.spec.on_error = OnError::Pass;
    expect![[
        r#"stage tag: on_error = "pass" would let rows through unprotected: use "drop", "dead-letter" or "stop""#
    ]]
    .assert_eq(&bench.error());
    bench.spec.on_error = OnError::Drop;
    bench.load();
}

/// Not a search (a fuzzer is), but every run tries other bytes: whatever a file holds, loading it is an answer.
#[test]
fn broken_components_are_refused_or_run_and_never_panic() {
    let bench = Bench::new("pass", 0);
    let whole = guest::guest();
    let change = (0..whole.len(), any::<u8>());
    let strategy = (prop::collection::vec(change, 1..4), prop::option::of(0..whole.len()));
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |(changes, cut)| {
            let mut bytes = whole.to_vec();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(cut.unwrap_or(bytes.len()));
            bench.install(&bytes);
            // Either is fine; and what loads is run.
            let mut spec = bench.spec.clone();
            spec.limits.deadline_ms = 50;
            spec.limits.init_deadline_ms = 50;
            if let Ok(loaded) = sluice_plugin::Loaded::load(&bench.host, spec) {
                let processed = loaded.instance().process(crate::batch());
                prop_assert_eq!(processed.rows(), 3);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_in_the_cache_is_loaded_without_another_process() {
    let mut bench = Bench::new("pass", 0);
    let nowhere = |cache: PathBuf| {
        let outside = Outside { program: "/nowhere".into(), ..Outside::this_program("") };
        let settings = HostSettings { cache_dir: Some(cache), outside: Some(outside), fuel: false };
        Host::new(settings, Metrics::new()).unwrap()
    };
    drop(bench.load());
    bench.host = nowhere(Path::new(env!("CARGO_TARGET_TMPDIR")).join("code"));
    drop(bench.load());
    bench.host = nowhere(bench.dir.path().join("empty"));
    let error = bench.error();
    let expected = "the process for that could not be started: No such file or directory";
    assert!(error.contains(expected), "{error}");
}
