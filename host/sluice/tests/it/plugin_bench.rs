//! `sluice plugin bench`: what of its numbers is the same on every machine.

use std::process::Output;

use serde_json::Value;

use crate::tool::sluice;

fn bench(args: &[&str]) -> Output {
    sluice().args(["--log=error", "plugin", "bench"]).args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = bench(&[args, &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const SPLIT: &[&str] = &["--config", "{\"name\": \"proto-{proto}\"}"];

#[test]
fn fuel_and_bytes_are_the_same_each_time_and_times_are_there() {
    let args = [&["splitter", "splitter", "--rows", "64,1024"], SPLIT].concat();
    let (once, again) = (json(&args), json(&args));
    let of = |report: &Value, plugin: usize, size: usize, what: &str| {
        report["plugins"][plugin]["sizes"][size][what].as_f64().unwrap()
    };
    for size in [0, 1] {
        let fuel = of(&once, 0, size, "fuel");
        assert!(fuel > 0.0, "{once}");
        assert_eq!((fuel, fuel), (of(&once, 1, size, "fuel"), of(&again, 0, size, "fuel")));
        // No row crosses: the host groups them.
        assert_eq!(of(&once, 0, size, "copied_bytes"), 0.0);
        let (call, all) = (of(&once, 0, size, "call_ns"), of(&once, 0, size, "median_ns"));
        assert!(call > 0.0 && call < all, "{call} of {all}");
        assert!(of(&once, 0, size, "min_ns") > 0.0 && of(&once, 0, size, "median_ns") >= of(&once, 0, size, "min_ns"));
    }
    // What a call costs is shared by more rows.
    assert!(of(&once, 0, 0, "fuel") > of(&once, 0, 1, "fuel"));
    let idle = &once["null"]["sizes"][1];
    assert!(idle["fuel"].as_f64().unwrap() < of(&once, 0, 1, "fuel"));
    assert_eq!(idle["copied_bytes"].as_f64(), Some(0.0));
    assert!(once["plugins"][0]["memory_bytes"].as_u64().unwrap() >= 65_536);
}

#[test]
fn two_plugins_are_shown_side_by_side() {
    let output = bench(&[&["splitter", "splitter", "--rows", "64"], SPLIT].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("sluice-plugin-splitter ")).count(), 2, "{text}");
    assert!(text.contains("against the first") && text.contains("   1.00x"), "{text}");
}

#[test]
fn what_cannot_be_measured_is_one_clear_error() {
    let said = |args: &[&str]| {
        let output = bench(args);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = said(&["spliter"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("no file spliter") && error.contains("did you mean `splitter`?"), "{error}");
    let (code, error) = said(&["splitter"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("refused its configuration"), "{error}");
    let (code, error) = said(&["splitter", "--rows", "0"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("a batch has 1 to 65536 rows"), "{error}");
}
