//! Every test there is, in the order in which a mistake is cheapest to find.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sluice_testkit::kafka::BROKERS_VARIABLE;

use crate::{Outcome, cargo, kafka, run, sdks, tidy};

/// What the test runners said.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
}

/// Runs everything and closes with one line of counts; what was skipped is listed with its reason.
pub(crate) fn test() -> Outcome {
    run(cargo().args(["fmt", "--all", "--check"]), "format")?;
    eprintln!("==> tidy");
    tidy::tidy()?;
    let mut tally = Tally::default();
    // Before anything is built: the build scripts ask whether it is there.
    let is_fetched = kafka::is_given() || tally.is_there("tests with Kafka", kafka::fetch());
    for (tools, fetched) in sdks::fetch() {
        tally.is_there(&format!("tests with plugins in {}", tools.purpose), fetched);
    }
    for (folder, outcome) in sdks::columns(true) {
        match outcome {
            Ok(current) => current?,
            Err(missing) => drop(tally.is_there(&format!("whether {folder} is current"), Err(missing))),
        }
    }
    let deny = ["--", "--deny", "warnings"];
    run(cargo().args(["clippy", "--workspace", "--all-targets"]).args(deny), "lints")?;

    let mut outcomes = vec![tally.tests(is_fetched)];
    let docs = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    outcomes.push(run(cargo().args(docs).env("RUSTDOCFLAGS", "--deny warnings"), "documentation"));
    tally.licences();

    for skipped in &tally.skipped {
        println!("skipped: {skipped}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len());
    outcomes.into_iter().collect()
}

impl Tally {
    /// Runs the tests of the workspace, with one broker for all test binaries.
    fn tests(&mut self, is_fetched: bool) -> Outcome {
        let test = ["test", "--workspace", "--no-fail-fast"];
        run(cargo().args(test).arg("--no-run"), "building the tests")?;
        let mut command = cargo();
        command.args(test);
        if !is_fetched || kafka::is_given() {
            return self.run(&mut command, "tests");
        }
        // It has been fetched, so that no start is a failure rather than a reason to skip.
        let broker = kafka::start()?;
        eprintln!("==> a Kafka broker on {}", broker.brokers());
        self.run(command.env(BROKERS_VARIABLE, broker.brokers()), "tests")
    }

    /// Lists `what` as skipped if what it needs could not be had, and says so now as well.
    fn is_there(&mut self, what: &str, needed: Outcome) -> bool {
        let Err(error) = needed else { return true };
        eprintln!("xtask: {what} are skipped: {error}");
        self.skipped.push(format!("{what}: {}", error.split_whitespace().collect::<Vec<_>>().join(" ")));
        false
    }

    /// Runs a test command, shows what it prints and counts.
    fn run(&mut self, command: &mut Command, what: &str) -> Outcome {
        eprintln!("==> {what}");
        let failed = |error: std::io::Error| format!("{what}: {error}");
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                self.read(&line);
            }
        }
        let status = child.wait().map_err(failed)?;
        if status.success() { Ok(()) } else { Err(format!("{what}: {status}")) }
    }

    /// Counts one line of libtest's output.
    fn read(&mut self, line: &str) {
        if let Some((name, rest)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ignored")) {
            // Some runners align what follows.
            self.skipped.push(format!("{}{rest}", name.trim_end()));
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what: &str| -> usize {
                let before = counts.split(what).next().unwrap_or("").trim_end();
                before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            self.passed += count(" passed");
            self.failed += count(" failed");
        }
    }

    /// Checks licences and advisories where cargo-deny is installed; else lists the check as skipped.
    fn licences(&mut self) {
        let has_deny = cargo().args(["deny", "--version"]).output().is_ok_and(|asked| asked.status.success());
        if !has_deny {
            self.skipped.push("licences: cargo-deny is not installed; `cargo install cargo-deny` adds it".to_owned());
            return;
        }
        match run(cargo().args(["deny", "check", "bans", "licenses", "sources"]), "licences") {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("{error}");
                self.failed += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_skips_are_read_from_what_libtest_prints() {
        let mut tally = Tally::default();
        tally.read("test captures::decode ... ignored, needs the captures");
        tally.read("test result: ok. 12 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        tally.read("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        assert_eq!((tally.passed, tally.failed), (15, 1));
        assert_eq!(tally.skipped, ["captures::decode, needs the captures"]);
    }
}
