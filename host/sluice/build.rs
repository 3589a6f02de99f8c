//! Builds the plugins that come with sluice as wasm components and embeds them in the binary. Tells the tests
//! whether there is a Kafka (see `testkit::kafka`).

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugins that a configuration can name without a path.
const BUILT_IN: [&str; 4] = ["enricher", "splitter", "reducer", "dos-detector"];

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let workspace = Path::new(&env("CARGO_MANIFEST_DIR")).join("../..");
    for watched in ["plugins", "sdk/rust/src", "sdk/rust/Cargo.toml", "wit", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(watched).display());
    }
    let out = PathBuf::from(env("OUT_DIR"));
    // .../target/PROFILE/build/sluice-HASH/out: one folder for the plugins of every profile.
    let target = out.ancestors().nth(4).expect("cargo's layout of OUT_DIR").join("plugins");
    build(&workspace, &target);

    let mut table = String::from("pub(crate) const BUILT_IN: &[(&str, &[u8])] = &[\n");
    for name in BUILT_IN {
        let file = format!("sluice_plugin_{}.wasm", name.replace('-', "_"));
        let built = target.join(TARGET).join("release").join(&file);
        let kept = out.join(&file);
        fs::copy(&built, &kept).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", kept.display().to_string()).expect("a string grows");
    }
    table.push_str("];\n");
    fs::write(out.join("built_in.rs"), table).expect("OUT_DIR can be written");
    kafka();
}

/// Sets `cfg(kafka)` where `cargo xtask kafka --fetch` has put one into the cache and there is a Java to
/// run it, or where the environment names a broker.
fn kafka() {
    println!("cargo::rustc-check-cfg=cfg(kafka)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=XDG_CACHE_HOME");
    println!("cargo::rerun-if-env-changed=JAVA_HOME");
    // Of whatever version: a test that finds the wrong one says how to get the right one.
    let cache = env::var("XDG_CACHE_HOME").ok().filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    let kafka = cache.unwrap_or_else(home).join("sluice/kafka");
    let mut versions = fs::read_dir(&kafka).into_iter().flatten().flatten();
    let is_fetched = versions.any(|version| version.path().join("jars").is_dir());
    let path = env::var_os("PATH").unwrap_or_default();
    let has_java = env::var_os("JAVA_HOME").is_some() || env::split_paths(&path).any(|dir| dir.join("java").is_file());
    if is_fetched && has_java {
        println!("cargo::rerun-if-changed={}", kafka.display());
        println!("cargo::rustc-cfg=kafka");
        return;
    }
    // Not watched above: a broker of the tests has another port each time, and each would be a new build.
    println!("cargo::rerun-if-env-changed=SLUICE_TEST_BROKERS");
    if env::var("SLUICE_TEST_BROKERS").is_ok_and(|brokers| !brokers.is_empty()) {
        println!("cargo::rustc-cfg=kafka");
    }
}

fn build(workspace: &Path, target: &Path) {
    let mut cargo = Command::new(env("CARGO"));
    cargo.current_dir(workspace).args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(target);
    for name in BUILT_IN {
        cargo.args(["--package", &format!("sluice-plugin-{name}")]);
    }
    // What was set for the host (clippy, coverage, native flags) is not meant for the plugins.
    for set_for_host in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        cargo.env_remove(set_for_host);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128");
    // Symbols for a backtrace are kept; debug information would make a component fifteen times as large.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false").env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    let built = cargo.output().expect("cargo can be run");
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        if said.contains("may not be installed") || said.contains("can't find crate for `core`") {
            panic!("the {TARGET} target is missing; add it with: rustup target add {TARGET}");
        }
        panic!("the built-in plugins do not build:\n{said}");
    }
}

fn env(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
