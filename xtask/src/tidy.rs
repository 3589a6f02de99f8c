//! The rules of ARCHITECTURE.md that a compiler does not check.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Outcome, cargo, generate, root};

/// What each crate may use of the others. Data flows one way, and so do the crates.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sluice-flow", &[]),
    ("sluice-wire", &["sluice-flow"]),
    ("sluice-pipeline", &["sluice-flow"]),
    ("sluice-plugin", &["sluice-flow", "sluice-pipeline"]),
    ("sluice-endpoints", &["sluice-flow", "sluice-pipeline", "sluice-wire"]),
    ("sluice-kit", &["sluice-flow", "sluice-pipeline", "sluice-wire", "sluice-plugin", "sluice-endpoints"]),
    ("sluice", &["sluice-flow", "sluice-pipeline", "sluice-wire", "sluice-plugin", "sluice-endpoints", "sluice-kit"]),
    ("sluice-testkit", &["sluice-flow", "sluice-wire"]),
    ("sluice-sdk", &[]),
    ("sluice-client", &[]),
    ("xtask", &["sluice-flow", "sluice-testkit"]),
];

/// Crates from outside that have one home, so that their types do not spread.
const ONE_HOME: &[(&str, &[&str])] = &[
    ("wasmtime", &["sluice-plugin"]),
    ("netflow_parser", &["sluice-wire"]),
    // The client is no part of the collector.
    ("rdkafka", &["sluice-endpoints", "sluice-client"]),
];

/// Longest source file that one can hold in the head.
const LONGEST_FILE: usize = 700;

/// Words that only crates outside `flow` and `wire` may use: those two read no clock, open nothing
/// and spawn nothing.
const IMPURE: &[&str] = &["SystemTime", "Instant::now", "std::fs", "std::net::UdpSocket", "thread::spawn"];

/// Checks every rule and reports all that is wrong.
pub(crate) fn tidy() -> Outcome {
    let mut wrong = directions()?;
    wrong.extend(sources());
    if let Err(error) = generate::generate(true) {
        wrong.push(error);
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("not tidy:\n  {}", wrong.join("\n  "))) }
}

/// Uses that go against the direction of the crates.
fn directions() -> Result<Vec<String>, String> {
    let asked = cargo().args(["metadata", "--format-version", "1", "--no-deps"]).output();
    let metadata = asked.map_err(|error| format!("cargo metadata: {error}"))?.stdout;
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        // Tests may use more: a test kit, an oracle.
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        uses.insert(name, normal.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect());
    }
    Ok(misdirected(&uses))
}

fn misdirected(uses: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, used) in uses {
        let may_use: &[&str] = match MAY_USE.iter().find(|(known, _)| known == name) {
            Some((_, may_use)) => may_use,
            None if name.starts_with("sluice-plugin-") => &["sluice-sdk"],
            None => {
                wrong.push(format!("{name}: a new crate; say in xtask/src/tidy.rs what it may use"));
                continue;
            }
        };
        for other in used {
            if (other == "sluice" || other.starts_with("sluice-")) && !may_use.contains(&other.as_str()) {
                wrong.push(format!("{name} uses {other}: against the direction of the crates"));
            }
            if let Some((_, homes)) = ONE_HOME.iter().find(|(known, _)| known == other)
                && !homes.contains(&name.as_str())
            {
                wrong.push(format!("{name} uses {other}, whose only home is {}", homes.join(", ")));
            }
        }
    }
    wrong
}

/// Source files that are too long, impure, or sleep in a test.
fn sources() -> Vec<String> {
    let mut wrong = Vec::new();
    for top in ["host", "plugins", "sdk", "xtask"] {
        for file in rust_files(&root().join(top)) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            wrong.extend(source(&shown, &text));
        }
    }
    wrong
}

fn source(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        wrong.push(format!("{name}: {lines} lines, more than {LONGEST_FILE}: split it"));
    }
    let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
    let is_pure = !is_test && (name.starts_with("host/flow/src/") || name.starts_with("host/wire/src/"));
    let production = text.split("#[cfg(test)]").next().unwrap_or(text);
    for word in IMPURE.iter().filter(|word| is_pure && production.contains(**word)) {
        wrong.push(format!("{name}: `{word}`, but flow and wire read no clock, open nothing and spawn nothing"));
    }
    if is_test && text.contains(concat!("::", "sleep(")) {
        wrong.push(format!("{name}: sleeps; wait for what the test waits for"));
    }
    wrong
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != "generated" {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        tidy().unwrap();
    }

    #[test]
    fn a_use_against_the_direction_is_found() {
        let uses = |name: &str, used: &str| BTreeMap::from([(name.to_owned(), vec![used.to_owned()])]);
        assert_eq!(misdirected(&uses("sluice-flow", "sluice-wire")).len(), 1);
        assert_eq!(misdirected(&uses("sluice-pipeline", "wasmtime")).len(), 1);
        assert_eq!(misdirected(&uses("sluice-new", "serde")).len(), 1);
        assert!(misdirected(&uses("sluice-plugin-enricher", "sluice-sdk")).is_empty());
    }

    #[test]
    fn a_clock_in_a_pure_crate_and_a_sleep_in_a_test_are_found() {
        assert_eq!(source("host/flow/src/a.rs", "SystemTime::now()").len(), 1);
        assert!(source("host/pipeline/src/a.rs", "SystemTime::now()").is_empty());
        assert_eq!(source("host/sluice/tests/it/a.rs", concat!("thread::", "sleep(x)")).len(), 1);
        assert_eq!(source("host/flow/src/a.rs", &"x\n".repeat(701)).len(), 1);
    }
}
