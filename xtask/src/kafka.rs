//! A Kafka broker for the tests: fetched with Maven, started once for all test binaries, and there for
//! whoever wants one by hand.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

use sluice_testkit::kafka::{BROKERS_VARIABLE, Broker, KafkaError, Options, install};

use crate::{Outcome, root, run, system};

/// What Maven is asked for: Kafka with what it needs, and where it logs to. `slf4j-simple` has the
/// version of the `slf4j-api` that Kafka brings.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sluice</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// Maven's goal, with the version that was tried.
const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Where Kafka listens unless it is told otherwise.
const USUAL_PORT: u16 = 9092;

/// `cargo xtask kafka`: fetches Kafka where that was not done, starts a broker, and runs a command beside it
/// or waits.
pub(crate) fn kafka(arguments: &[String]) -> Outcome {
    match arguments {
        [] => {
            fetch()?;
            let mut broker = start_for_people()?;
            println!("{}", broker.brokers());
            eprintln!("a Kafka broker without data; Ctrl-C ends it");
            Err(format!("the broker ended; it printed last:\n{}", broker.wait()))
        }
        [fetch_only] if fetch_only == "--fetch" => fetch(),
        [dashes, program, rest @ ..] if dashes == "--" => {
            fetch()?;
            let broker = start()?;
            let mut command = Command::new(program);
            run(command.args(rest).env(BROKERS_VARIABLE, broker.brokers()), program)
        }
        _ => Err("usage: cargo xtask kafka [--fetch | -- COMMAND ARGUMENTS...]".to_owned()),
    }
}

/// Whether the environment names a broker, so that none need be fetched or started.
pub(crate) fn is_given() -> bool {
    env::var_os(BROKERS_VARIABLE).is_some_and(|brokers| !brokers.is_empty())
}

/// Starts a broker that ends when it is dropped, or when this process does.
pub(crate) fn start() -> Result<Broker, String> {
    Broker::start(Options::default()).map_err(|error| explain(&error))
}

/// The same where people and examples look for one, if nobody is there.
fn start_for_people() -> Result<Broker, String> {
    if TcpListener::bind(("127.0.0.1", USUAL_PORT)).is_err() {
        eprintln!("port {USUAL_PORT} is taken; another one:");
        return start();
    }
    Broker::start(Options::default().port(USUAL_PORT)).map_err(|error| explain(&error))
}

/// Puts Kafka's jars into the cache, unless they are there, and an archive of classes beside them.
pub(crate) fn fetch() -> Outcome {
    system::check_java()?;
    let folder = install::folder();
    let jars = install::jars(&folder);
    if jars.is_dir() {
        return Ok(());
    }
    system::check_maven()?;
    copy_jars(&folder, &jars)?;
    if let Err(error) = archive_classes(&folder) {
        // Brokers start without, in twice the time.
        eprintln!("xtask: no archive of classes: {error}");
    }
    eprintln!("Apache Kafka {} is in {}", install::VERSION, folder.display());
    build_scripts_look_again()
}

/// Lets Maven copy Kafka and what it needs to `jars`, which is there only when it is whole.
fn copy_jars(folder: &Path, jars: &Path) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let temporary = tempfile::tempdir_in(folder).map_err(failed)?;
    let (pom, copied) = (temporary.path().join("pom.xml"), temporary.path().join("jars"));
    fs::write(&pom, POM.replace("VERSION", install::VERSION)).map_err(failed)?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--strict-checksums", "--file"]).arg(&pom).arg(GOAL);
    maven.args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", copied.display())]);
    run(&mut maven, &format!("fetching Apache Kafka {} with Maven (40 MB)", install::VERSION))?;
    // Another xtask may have been faster; what it made is as good.
    if jars.is_dir() { Ok(()) } else { fs::rename(&copied, jars).map_err(failed) }
}

/// Starts and stops a broker once, and keeps the classes that it loaded in the form that Java starts from
/// in half the time.
fn archive_classes(folder: &Path) -> Outcome {
    eprintln!("==> keeping the classes of a first start");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let temporary = tempfile::tempdir_in(folder).map_err(failed)?;
    let made = temporary.path().join("startup.jsa");
    let option = format!("-XX:ArchiveClassesAtExit={}", made.display());
    let mut broker = Broker::start(Options::default().java(&option)).map_err(|error| explain(&error))?;
    broker.stop().map_err(|error| explain(&error))?;
    fs::rename(&made, install::archive(folder)).map_err(failed)
}

/// Makes cargo run the build scripts again that tell the tests whether there is a Kafka, or a tool. They cannot
/// watch for it: of a file that is missing cargo thinks that it has changed, at every build.
pub(crate) fn build_scripts_look_again() -> Outcome {
    let packages = fs::read_dir(root().join("host")).into_iter().flatten().flatten();
    for script in packages.map(|package| package.path().join("build.rs")) {
        if fs::read_to_string(&script).is_ok_and(|text| text.contains("cfg(kafka)") || text.contains("kafka_cfg")) {
            let touched = fs::File::options().append(true).open(&script);
            let touched = touched.and_then(|script| script.set_modified(SystemTime::now()));
            touched.map_err(|error| format!("{}: {error}", script.display()))?;
        }
    }
    Ok(())
}

fn explain(error: &KafkaError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_answered_with_the_usage() {
        let usage = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            kafka(&arguments).unwrap_err()
        };
        for arguments in [&["--fetch", "x"][..], &["--"], &["cargo", "test"]] {
            assert!(usage(arguments).starts_with("usage:"), "{arguments:?}");
        }
    }
}
