//! The tools of other languages that plugins are built with, fetched into the cache for the tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use sluice_testkit::tools::{TOOLS, Tools, folder};

use crate::{Outcome, kafka, root, run, system};

/// `cargo xtask sdks`: fetches what is missing, and says which languages cannot be had.
pub(crate) fn sdks() -> Outcome {
    let missing: Vec<String> = fetch().into_iter().filter_map(|(_, outcome)| outcome.err()).collect();
    if missing.is_empty() {
        println!("the tools of all languages are in {}", folder().display());
        return Ok(());
    }
    Err(missing.join("\n"))
}

/// Who writes the columns of an SDK in its own language: folder, command, and what makes it look only.
const GENERATORS: &[(&str, &[&str], &str)] = &[
    ("sdk/c", &["python3", "generate.py", "--columns"], "--check"),
    ("sdk/python", &["python3", "generate.py"], "--check"),
    ("sdk/js", &["node", "generate.mjs"], "--check"),
    ("sdk/go", &["go", "run", "./generate"], "-check"),
];

/// Writes the constants of the columns for the SDKs from `wit/columns.md`, or checks that they are current; those whose
/// language is not installed are told apart.
pub(crate) fn columns(check: bool) -> Vec<(&'static str, Result<Outcome, String>)> {
    let run_one = |(folder, command, flag): &(&'static str, &[&str], &str)| {
        let mut generator = Command::new(command[0]);
        generator
            .current_dir(root().join(folder))
            .args(&command[1..])
            .env("GOTOOLCHAIN", "local")
            .env("GOPROXY", "off");
        let outcome = match generator.args(check.then_some(flag)).output() {
            Err(error) => Err(format!("{}: {error}", command[0])),
            Ok(output) if output.status.success() => Ok(Ok(())),
            Ok(output) => Ok(Err(format!("{folder}: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        };
        (*folder, outcome)
    };
    GENERATORS.iter().map(run_one).collect()
}

/// Fetches what is missing, language by language.
pub(crate) fn fetch() -> Vec<(&'static Tools, Outcome)> {
    TOOLS.iter().map(|tools| (tools, fetch_one(tools))).collect()
}

fn fetch_one(tools: &Tools) -> Outcome {
    if tools.are_there() {
        return Ok(());
    }
    if tools.language == "go" && system::has_go() {
        mark(&tools.marker())?;
        return kafka::build_scripts_look_again();
    }
    let what = format!("fetching {} for plugins in {}", tools.packages.join(" "), tools.purpose);
    let python = folder().join("python");
    match tools.by {
        "pip" => {
            if !python.join("bin/pip").is_file() {
                system::check_venv()?;
                run(Command::new("python3").args(["-m", "venv"]).arg(&python), "a Python environment")?;
            }
            let mut pip = Command::new(python.join("bin/pip"));
            run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(tools.packages), &what)?;
        }
        _ => {
            system::check_npm()?;
            let js = folder().join("js");
            fs::create_dir_all(&js).map_err(|error| format!("{}: {error}", js.display()))?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&js).args(tools.packages);
            run(&mut npm, &what)?;
        }
    }
    mark(&tools.marker())?;
    kafka::build_scripts_look_again()
}

/// Leaves the marker behind that the build scripts look for.
fn mark(marker: &Path) -> Outcome {
    let made = marker.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(marker, ""));
    made.map_err(|error| format!("{}: {error}", marker.display()))
}
