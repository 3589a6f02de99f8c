//! What a build needs from the machine: checked first, and answered with the line that installs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, cargo, run};

/// What the built-in plugins are built for, and what the template of a plugin is built for.
const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-unknown-unknown"];

/// Something that a build wants to find.
struct Needed {
    program: &'static str,
    why: &'static str,
    debian: &'static str,
    fedora: &'static str,
}

const NEEDED: [Needed; 4] = [
    Needed { program: "cc", why: "a C compiler and linker", debian: "gcc libc6-dev", fedora: "gcc glibc-devel" },
    Needed { program: "c++", why: "a C++ compiler, for librdkafka", debian: "g++", fedora: "gcc-c++" },
    Needed { program: "make", why: "for librdkafka", debian: "make", fedora: "make" },
    Needed { program: "pkg-config", why: "for librdkafka", debian: "pkg-config", fedora: "pkgconf-pkg-config" },
];

/// Libraries with headers, by the names that pkg-config knows.
const LIBRARIES: [Needed; 2] = [
    Needed { program: "openssl", why: "TLS, for librdkafka", debian: "libssl-dev", fedora: "openssl-devel" },
    Needed { program: "zlib", why: "compression, for librdkafka", debian: "zlib1g-dev", fedora: "zlib-devel" },
];

const JAVA: [Needed; 1] = [Needed {
    program: "java",
    why: "Java 17 or newer, which runs the Kafka of the tests",
    debian: "openjdk-17-jre-headless",
    fedora: "java-17-openjdk-headless",
}];

const MAVEN: [Needed; 1] =
    [Needed { program: "mvn", why: "Maven, which fetches the Kafka of the tests", debian: "maven", fedora: "maven" }];

const PYTHON: [Needed; 1] = [Needed {
    program: "python3",
    why: "Python with venv, for the tools of C, Zig and Python",
    debian: "python3-venv",
    fedora: "python3",
}];

const NPM: [Needed; 1] =
    [Needed { program: "npm", why: "for the tools of JavaScript and AssemblyScript", debian: "npm", fedora: "npm" }];

/// Checks that there is a Java for Kafka; names Maven too where that is missing as well.
pub(crate) fn check_java() -> Outcome {
    if sluice_testkit::kafka::install::java().is_some() {
        return Ok(());
    }
    let maven = MAVEN.iter().filter(|needed| !is_there(needed.program));
    Err(explain(&JAVA.iter().chain(maven).collect::<Vec<_>>()))
}

/// Checks that there is a Maven to fetch Kafka with.
pub(crate) fn check_maven() -> Outcome {
    if is_there(MAVEN[0].program) { Ok(()) } else { Err(explain(&MAVEN.each_ref())) }
}

/// Checks that programs and the wasm target are there; adds the target where rustup can.
pub(crate) fn check() -> Outcome {
    let programs = NEEDED.iter().filter(|needed| !is_there(needed.program));
    let libraries = LIBRARIES.iter().filter(|needed| !has_library(needed.program));
    let missing: Vec<&Needed> = programs.chain(libraries).collect();
    if !missing.is_empty() {
        return Err(explain(&missing));
    }
    for target in TARGETS.into_iter().filter(|target| !has_target(target)) {
        if !is_there("rustup") {
            return Err(format!(
                "the Rust target {target} is missing and there is no rustup to add it; \
                 install rustup, or your distribution's standard library for {target}"
            ));
        }
        run(Command::new("rustup").args(["target", "add", target]), &format!("rustup target add {target}"))?;
    }
    Ok(())
}

/// Checks that Python can make an environment for tools from PyPI.
pub(crate) fn check_venv() -> Outcome {
    let asked = Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    if asked.is_ok_and(|status| status.success()) { Ok(()) } else { Err(explain(&PYTHON.each_ref())) }
}

/// Checks that there is an npm.
pub(crate) fn check_npm() -> Outcome {
    if is_there(NPM[0].program) { Ok(()) } else { Err(explain(&NPM.each_ref())) }
}

/// Whether a Go is installed that can make plugins, as those from 1.24 on can.
pub(crate) fn has_go() -> bool {
    let mut go = Command::new("go");
    go.args(["list", "-buildmode=c-shared", "unsafe"]).envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]);
    let asked = go.env("GOTOOLCHAIN", "local").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn explain(missing: &[&Needed]) -> String {
    let list = |of: fn(&Needed) -> &'static str| missing.iter().map(|needed| of(needed)).collect::<Vec<_>>().join(" ");
    let what: Vec<String> = missing.iter().map(|needed| format!("`{}` ({})", needed.program, needed.why)).collect();
    let install = if Path::new("/usr/bin/dnf").exists() {
        format!("sudo dnf install {}", list(|needed| needed.fedora))
    } else {
        format!("sudo apt-get install -y {}", list(|needed| needed.debian))
    };
    format!("missing: {}; install with:\n\n    {install}\n", what.join(", "))
}

fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn has_library(name: &str) -> bool {
    let asked = Command::new("pkg-config").args(["--exists", name]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn has_target(target: &str) -> bool {
    let Ok(asked) = Command::new("rustc").args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&asked.stdout);
    Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").exists()
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    let asked = cargo().args(["metadata", "--format-version", "1", "--no-deps"]).output().ok();
    let metadata = asked.and_then(|asked| serde_json::from_slice::<serde_json::Value>(&asked.stdout).ok());
    let dir = metadata.and_then(|metadata| metadata["target_directory"].as_str().map(PathBuf::from));
    dir.unwrap_or_else(|| crate::root().join("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_answered_with_the_line_that_installs_it() {
        let text = explain(&[&NEEDED[0]]);
        assert!(text.contains("`cc` (a C compiler and linker)"), "{text}");
        assert!(text.contains("install -y gcc libc6-dev") || text.contains("install gcc glibc-devel"), "{text}");
    }
}
