//! Builds the plugins that come with sluice as wasm components and embeds them in the binary, with the templates and
//! SDKs for `sluice plugin new`. Tells the tests whether there is a Kafka (see `testkit::kafka`), and the tools of other
//! languages (`testkit::tools`).

#[path = "../testkit/kafka_cfg.rs"]
mod kafka_cfg;
mod templates;
#[path = "../testkit/tools_cfg.rs"]
mod tools_cfg;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugins that a configuration can name without a path.
const BUILT_IN: [&str; 5] = ["enricher", "splitter", "reducer", "dos-detector", "select"];

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
    embed_templates(&workspace.join("sdk"), &out);
    kafka_cfg::set();
    tools_cfg::set();
}

/// Writes the table of templates. The files are watched; folders too, for files that come and go, unless somebody built in
/// them.
fn embed_templates(sdk: &Path, out: &Path) {
    let sources = templates::collect(sdk).unwrap_or_else(|error| panic!("{error}"));
    let mut watched = BTreeSet::new();
    let mut list = |files: &[(String, PathBuf)]| {
        let mut text = String::from("&[\n");
        for (place, path) in files {
            watched.insert(path.clone());
            watched.extend(path.parent().filter(|folder| templates::is_clean(folder)).map(Path::to_owned));
            let path = fs::canonicalize(path).expect("it was found").display().to_string();
            writeln!(text, "        ({place:?}, include_bytes!({path:?})),").expect("a string grows");
        }
        text + "    ]"
    };
    let mut table = String::from("const TEMPLATES: &[Template] = &[\n");
    for source in &sources {
        let (language, files, sdk) = (&source.language, list(&source.template), list(&source.sdk));
        writeln!(table, "    Template {{ language: {language:?}, files: {files}, sdk: {sdk} }},")
            .expect("a string grows");
    }
    table.push_str("];\n");
    fs::write(out.join("templates.rs"), table).expect("OUT_DIR can be written");
    for path in watched {
        println!("cargo::rerun-if-changed={}", path.display());
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
