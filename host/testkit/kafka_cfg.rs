// A part of the build scripts of crates whose tests need Kafka.

use std::path::PathBuf;
use std::{env, fs};

/// Sets `cfg(kafka)` where `cargo xtask kafka --fetch` has put one into the cache and there is a Java to
/// run it, or where the environment names a broker.
pub(crate) fn set() {
    println!("cargo:rustc-check-cfg=cfg(kafka)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=XDG_CACHE_HOME");
    println!("cargo:rerun-if-env-changed=JAVA_HOME");
    // Of whatever version: a test that finds the wrong one says how to get the right one.
    let cache = env::var("XDG_CACHE_HOME").ok().filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    let kafka = cache.unwrap_or_else(home).join("sluice/kafka");
    let mut versions = fs::read_dir(&kafka).into_iter().flatten().flatten();
    let is_fetched = versions.any(|version| version.path().join("jars").is_dir());
    let path = env::var_os("PATH").unwrap_or_default();
    let has_java = env::var_os("JAVA_HOME").is_some() || env::split_paths(&path).any(|dir| dir.join("java").is_file());
    if is_fetched && has_java {
        println!("cargo:rerun-if-changed={}", kafka.display());
        println!("cargo:rustc-cfg=kafka");
        return;
    }
    // Not watched above: a broker of the tests has another port each time, and each would be a new build.
    println!("cargo:rerun-if-env-changed=SLUICE_TEST_BROKERS");
    if env::var("SLUICE_TEST_BROKERS").is_ok_and(|brokers| !brokers.is_empty()) {
        println!("cargo:rustc-cfg=kafka");
    }
}
