//! Core modules: what becomes a component, what does not and why, and that the host takes them as they are.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sha2::{Digest, Sha256};
use sluice_plugin::{ComponentSource, Renames, pack};

use crate::guest::{guest, tiny};
use crate::{Bench, batch, outcome};

const INIT: &str = "sluice:plugin/stage@0.1.0#init";
const PROCESS: &str = "sluice:plugin/stage@0.1.0#process";

/// Where tests put another line.
const IMPORTS: &str = "(memory (export";

/// `tiny.wat` with an import.
fn importing(import: &str) -> Vec<u8> {
    tiny(&[(IMPORTS, &format!("{import} {IMPORTS}"))])
}

fn renames(pairs: &[(&str, &str)]) -> Renames {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

/// Why a module does not become a component.
fn check(module: &[u8], expected: Expect) {
    expected.assert_eq(&pack(module, &Renames::new()).unwrap_err().to_string());
}

/// Runs a component or core module on one batch; it keeps every row.
fn runs(bytes: &[u8]) {
    let bench = Bench::new("pass", 0);
    bench.install(bytes);
    let text = outcome(&bench.process(batch()), 3);
    assert!(text.starts_with("out:"), "{text}");
}

#[test]
fn a_module_of_a_compiler_without_bindings_becomes_a_component() {
    runs(&pack(&tiny(&[]), &Renames::new()).unwrap());
    // What it imports of the contract is there, and what it does not is not asked for.
    let reading = importing(r#"(import "sluice:plugin/batch@0.1.0" "rows" (func (result i32)))"#);
    runs(&pack(&reading, &Renames::new()).unwrap());
}

#[test]
fn timer_and_state_are_part_of_the_component_if_the_module_has_them() {
    let ticking = [(IMPORTS, r#"(func (export "sluice:plugin/timer@0.1.0#tick") (param i64)) (memory (export"#)];
    let bench = Bench::new("pass", 0);
    bench.install(&pack(&tiny(&ticking), &Renames::new()).unwrap());
    assert_eq!(bench.load().exports(), (true, false));

    let half = [(
        IMPORTS,
        r#"(func (export "sluice:plugin/state@0.1.0#snapshot") (result i32) (i32.const 0)) (memory (export"#,
    )];
    check(
        &tiny(&half),
        expect![
            "does not export `sluice:plugin/state@0.1.0#restore`; a name that the compiler cannot spell can be given by a rename"
        ],
    );
}

#[test]
fn names_that_a_compiler_cannot_spell_are_exchanged() {
    let import = r#"(import "env" "batch_rows" (func (result i32)))"#;
    let module = tiny(&[(INIT, "stage_init"), (PROCESS, "stage_process"), (IMPORTS, &format!("{import} {IMPORTS}"))]);
    let all = [("stage_init", INIT), ("stage_process", PROCESS), ("env.batch_rows", "sluice:plugin/batch@0.1.0#rows")];
    runs(&pack(&module, &renames(&all)).unwrap());

    let wrong = |pairs: &[(&str, &str)]| pack(&module, &renames(pairs)).unwrap_err().to_string();
    expect!["rename `stage_start`: there is no such export or import (an import is written MODULE.NAME)"]
        .assert_eq(&wrong(&[("stage_start", INIT)]));
    expect!["rename `stage_process`: there would be two exports `sluice:plugin/stage@0.1.0#init`"]
        .assert_eq(&wrong(&[("stage_init", INIT), ("stage_process", INIT)]));
    expect!["rename `env.batch_rows`: `rows` is no import; write INTERFACE#FUNCTION"]
        .assert_eq(&wrong(&[("env.batch_rows", "rows")]));
    expect!["imports `env.batch_rows`, which a plugin is not given"].assert_eq(&wrong(&all[..2]));
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    check(
        b"\0asm\x01\0\0\0",
        expect![
            "does not export `sluice:plugin/stage@0.1.0#init`, `sluice:plugin/stage@0.1.0#process`, `memory`, `cabi_realloc`; a name that the compiler cannot spell can be given by a rename"
        ],
    );
    check(
        &tiny(&[(INIT, "init"), ("\"cabi_realloc\"", "\"realloc\"")]),
        expect![
            "does not export `sluice:plugin/stage@0.1.0#init`, `cabi_realloc`; a name that the compiler cannot spell can be given by a rename"
        ],
    );
    check(
        &tiny(&[("\"memory\"", "\"heap\"")]),
        expect!["does not export `memory`; a name that the compiler cannot spell can be given by a rename"],
    );
    check(
        &importing(
            r#"(import "env" "abort" (func (param i32 i32 i32 i32))) (import "env" "seed" (func (result f64)))"#,
        ),
        expect!["imports `env.abort`, `env.seed`, which a plugin is not given"],
    );
    check(
        &importing(r#"(import "sluice:plugin/batch@0.1.0" "u128s" (func (param i32 i32)))"#),
        expect!["imports `sluice:plugin/batch@0.1.0#u128s`, which a plugin is not given"],
    );
    check(
        &importing(r#"(import "sluice:plugin/batch@0.2.0" "rows" (func (result i32)))"#),
        expect![
            "uses sluice:plugin/batch@0.2.0, this collector speaks sluice:plugin@0.1.0: rebuild it with the SDK of this version"
        ],
    );
    check(
        &tiny(&[("@0.1.0", "@0.2.0")]),
        expect![
            "uses sluice:plugin/stage@0.2.0, this collector speaks sluice:plugin@0.1.0: rebuild it with the SDK of this version"
        ],
    );
    check(
        &importing(r#"(import "wasi:http/types@0.2.0" "x" (func))"#),
        expect!["imports `wasi:http/types@0.2.0.x`, which a plugin is not given"],
    );
}

#[test]
fn what_has_another_type_than_the_contract_says_does_not_fit() {
    check(
        &importing(r#"(import "sluice:plugin/batch@0.1.0" "rows" (func (result i64)))"#),
        expect![
            "does not fit the contract: failed to resolve import `sluice:plugin/batch@0.1.0::rows`: failed to validate import interface `sluice:plugin/batch@0.1.0`: type mismatch for function `rows`: expected `[] -> [I32]` but found `[] -> [I64]`"
        ],
    );
    check(
        &tiny(&[("(param i32 i32) (result i32)", "(param i32) (result i32)")]),
        expect![
            "does not fit the contract: failed to classify export `sluice:plugin/stage@0.1.0#init`: failed to validate export for `sluice:plugin/stage@0.1.0`: type mismatch for function `init`: expected `[I32, I32] -> [I32]` but found `[I32] -> [I32]`"
        ],
    );
    check(
        &importing(r#"(import "wasi_snapshot_preview1" "fd_red" (func (result i32)))"#),
        expect![
            "does not fit the contract: failed to validate the imports of the adapter module `wasi_snapshot_preview1`: adapter module did not export `fd_red`"
        ],
    );
}

#[test]
fn what_is_no_module_is_named_for_what_it_is() {
    check(b"", expect!["not a WebAssembly module: the file is empty"]);
    check(b"#!/bin/sh\n", expect!["not a WebAssembly module: it is text"]);
    check(guest(), expect!["is a component already: use it as it is"]);
    check(&tiny(&[])[..100], expect!["not a valid WebAssembly module: unexpected end-of-file (at offset 0x33)"]);
}

#[test]
fn a_module_for_preview1_is_adapted() {
    let module = importing(
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
           (func (export "_initialize") (drop (call $write (i32.const 2) (i32.const 400) (i32.const 1) (i32.const 500))))"#,
    );
    runs(&pack(&module, &Renames::new()).unwrap());
}

#[test]
fn a_core_module_is_loaded_as_its_component_is_and_pinned_by_its_own_digest() {
    let module = tiny(&[]);
    runs(&module);
    let mut bench = Bench::new("pass", 0);
    bench.install(&module);
    let digest: [u8; 32] = Sha256::digest(&module).into();
    bench.spec.component = ComponentSource::File { path: bench.path(), sha256: Some(digest) };
    assert_eq!(bench.load().digest(), digest);
}

/// The section that bindings leave in a module is read by nobody: a damaged one once overflowed the stack.
#[test]
fn the_world_in_a_module_counts_for_nothing() {
    let section = |name: &str, data: &[u8]| {
        let mut section = vec![0, (1 + name.len() + data.len()) as u8, name.len() as u8];
        section.extend(name.as_bytes());
        section.extend(data);
        section
    };
    let whole = tiny(&[]);
    let packed = pack(&whole, &Renames::new()).unwrap();
    let odd = [whole, section("component-type:plugin", b"\0asm\x0d\0\x01\0 and then nothing of the kind")].concat();
    assert_eq!(pack(&odd, &Renames::new()).unwrap(), packed);
}

/// Every run tries other bytes: whatever a module holds, packing and loading it is an answer.
#[test]
fn broken_modules_are_refused_or_run_and_never_panic() {
    let bench = Bench::new("pass", 0);
    let whole = importing(r#"(import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))"#);
    let change = (8..whole.len(), any::<u8>());
    let strategy = prop::collection::vec(change, 1..3);
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |changes| {
            let mut bytes = whole.clone();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bench.install(&bytes);
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
