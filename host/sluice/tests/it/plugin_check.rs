//! `sluice plugin check`: what breaks a plugin is found, made small, and saved as a case that fails.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::hostile::guest::guest;
use crate::tool::sluice;

/// Runs `sluice plugin ARGS` in a folder that has the test plugin in it.
fn plugin(folder: &Path, args: &[&str]) -> Output {
    fs::write(folder.join("guest.wasm"), guest()).unwrap();
    sluice().current_dir(folder).args(["--log=error", "plugin"]).args(args).output().unwrap()
}

/// The report on the test plugin in `mode`, and the exit code.
fn check(folder: &Path, mode: &str, arg: u64) -> (Value, Option<i32>) {
    let config = format!("{{\"mode\":\"{mode}\",\"arg\":{arg}}}");
    let args = ["check", "guest.wasm", "--config", &config, "--batches", "60", "--memory-batches", "1000"];
    let output = plugin(folder, &[&args[..], &["--save", "found", "--format", "json"]].concat());
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))), output.status.code())
}

/// What the report says of a rule.
fn rule<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == name).unwrap_or_else(|| panic!("{report:#}"))
}

#[test]
fn a_plugin_that_does_as_it_should_breaks_no_rule() {
    let folder = tempfile::tempdir().unwrap();
    for mode in ["boundary", "count"] {
        let (report, code) = check(folder.path(), mode, 0);
        assert_eq!((code, &report["holds"]), (Some(0), &Value::Bool(true)), "{report:#}");
    }
    let (report, _) = check(folder.path(), "count", 0);
    assert_eq!(rule(&report, "restore")["outcome"], "ok", "{report:#}");
    assert!(!folder.path().join("found").exists(), "nothing found, nothing saved");
}

#[test]
fn a_row_that_traps_is_found_and_becomes_a_case_of_one_row_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    // It traps on a row of one byte.
    let (report, code) = check(folder.path(), "trap", 1);
    assert_eq!(code, Some(1), "{report:#}");
    let trap = rule(&report, "trap");
    assert_eq!(trap["outcome"], "broken", "{report:#}");
    assert_eq!((&trap["case"]["batches"], &trap["case"]["rows"]), (&1.into(), &1.into()), "{report:#}");
    let saved = fs::read_to_string(folder.path().join("found/check-trap.toml")).unwrap();
    assert!(saved.contains("bytes = 1 ") || saved.contains("bytes = 1}") || saved.contains("bytes = 1,"), "{saved}");

    let tested = plugin(folder.path(), &["test", "guest.wasm", "--tests", "found"]);
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert_eq!(tested.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&tested.stderr));
    assert!(said.contains("0 passed, 1 failed"), "{said}");
}

/// Checks the test plugin in `mode`, whose only broken rule is to be `broken`; what is said of it, and the case that was
/// saved of it.
fn broken(mode: &str, arg: u64, broken: &str) -> (String, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (report, code) = check(folder.path(), mode, arg);
    assert_eq!(code, Some(1), "{report:#}");
    for rule in report["rules"].as_array().unwrap() {
        assert_eq!(rule["outcome"] == "broken", rule["rule"] == broken, "{report:#}");
    }
    let found = rule(&report, broken);
    let case = found["case"]["file"].as_str().map(|file| {
        // Whatever it is, it fails as a test, too.
        let tested = plugin(folder.path(), &["test", "guest.wasm", "--tests", file]);
        let said = String::from_utf8_lossy(&tested.stdout);
        assert!(tested.status.code() == Some(1) && said.contains("0 passed, 1 failed"), "{said}");
        fs::read_to_string(folder.path().join(file)).unwrap()
    });
    (found["text"].as_str().unwrap().to_owned(), case)
}

#[test]
fn a_trap_that_takes_many_rows_is_found_by_adding_up() {
    let (text, case) = broken("count-to", 12, "trap");
    assert!(text.contains("process trapped"), "{text}");
    assert_eq!(case.unwrap().matches("  {}").count(), 12);
}

#[test]
fn a_plugin_that_says_it_forgets_and_does_not_is_found_out() {
    let (text, case) = broken("calls", 1, "order");
    assert!(text.contains("`customer_id`"), "{text}");
    let case = case.unwrap();
    assert_eq!(case.matches("[[case.step]]").count(), 2, "{case}");
    assert!(case.contains("customer_id = 1"), "what a new instance says: {case}");
}

#[test]
fn state_that_is_not_the_same_when_it_was_restored_is_found() {
    let (text, case) = broken("half-state", 0, "restore");
    assert!(text.contains("restored state is not the same"), "{text}");
    assert!(case.as_deref().is_some_and(|case| case.contains("restart = true")), "{case:?}");
}

#[test]
fn bad_state_that_traps_is_found() {
    let (text, case) = broken("brittle-state", 0, "bad-state");
    assert!(text.contains("restore trapped") && case.is_none(), "{text}");
}

#[test]
fn a_leak_is_found() {
    let (text, _) = broken("leak", 10_000, "memory");
    assert!(text.starts_with("grows: "), "{text}");
}

#[test]
fn a_column_that_is_not_in_the_manifest_is_found() {
    let (text, _) = broken("asks", 0, "columns");
    assert!(text.contains("`proto` (column 29)"), "{text}");
}

#[test]
fn a_refusal_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (report, code) = check(folder.path(), "fatal", 0);
    assert_eq!((code, &rule(&report, "refusal")["outcome"]), (Some(0), &"warning".into()), "{report:#}");
    assert!(rule(&report, "refusal")["text"].as_str().unwrap().contains("these rows are not for me"), "{report:#}");
}

#[test]
fn the_built_in_plugins_break_no_rule() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/enrich.toml");
    let examples = examples.to_str().unwrap();
    let enrich = r#"{"customers": {"table": "customers"}, "direction": {"mode": "prefixes", "table": "customers"},
        "country": {"table": "countries"}, "as": {"names": "as-names"}, "proto_name": true, "scale": {"fallback_rate": 1}}"#;
    let detect =
        r#"{"protect": "customers", "window_s": 2, "hosts": {"total": {"bits": 1000000}, "udp": {"packets": 50}}}"#;
    let cases = [
        ("enricher", enrich),
        ("splitter", r#"{"name": "customer-{customer_id}", "allow": ["1001-1006"], "default": "other"}"#),
        ("reducer", r#"{"drop": ["src_mac", "next_hop"], "mode": "truncate", "fields": ["src_addr", "dst_addr"]}"#),
        ("dos-detector", detect),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, config) in cases {
        let args = ["check", name, "--config", config, "--with", examples, "--memory-batches", "1000"];
        let output = plugin(folder.path(), &args);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("ok       trap: ") && !said.contains("warning"), "{said}");
    }
}

#[test]
fn the_same_seed_finds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let report = |seed: &str| {
        let config = "{\"mode\":\"trap\",\"arg\":12345}";
        let args = ["check", "guest.wasm", "--config", config, "--batches", "60", "--memory-batches", "0"];
        let output = plugin(folder.path(), &[&args[..], &["--seed", seed]].concat());
        let said = String::from_utf8(output.stdout).unwrap();
        // How long a batch takes is not the same.
        said.lines().filter(|line| !line.contains("time: ")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(report("5"), report("5"));
    assert_ne!(report("5"), report("6"));
}

#[test]
fn a_plugin_that_does_not_come_back_is_stopped_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (report, code) = check(folder.path(), "loop", 0);
    assert_eq!(code, Some(1), "{report:#}");
    assert!(rule(&report, "trap")["text"].as_str().unwrap().contains("more than 1000 ms"), "{report:#}");
}

#[test]
fn what_cannot_be_checked_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| {
        let output = plugin(folder.path(), args);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = said(&["check", "guest.wasm", "--config", "{\"mode\":\"init-fails\"}"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("there is no `threshold`"), "{error}");
    let (code, error) = said(&["check", "gest.wasm"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("no file gest.wasm"), "{error}");
    let (code, error) = said(&["check", "guest.wasm", "--config", "mode = 1"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--config mode = 1"), "{error}");
}
