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
