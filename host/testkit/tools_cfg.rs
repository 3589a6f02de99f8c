// A part of the build scripts of crates whose tests build plugins in other languages.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Sets `cfg(zig)`, `cfg(go)`, `cfg(python)` and `cfg(node)` where `cargo xtask sdks` has put the tools of
/// that language into the cache, or (Go) has found them installed.
pub(crate) fn set() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=XDG_CACHE_HOME");
    let cache = env::var("XDG_CACHE_HOME").ok().filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    let tools = cache.unwrap_or_else(home).join("sluice/tools");
    for language in ["zig", "go", "python", "node"] {
        println!("cargo:rustc-check-cfg=cfg({language})");
        // Of whatever version: a test that finds the wrong one says how to get the right one.
        if is_there(&tools, language) {
            println!("cargo:rustc-cfg={language}");
        }
    }
}

/// Whether there is a marker `LANGUAGE@VERSION`, which the fetching leaves when it is done.
fn is_there(tools: &Path, language: &str) -> bool {
    let mut markers = fs::read_dir(tools.join("done")).into_iter().flatten().flatten();
    let prefix = format!("{language}@");
    markers.any(|marker| marker.file_name().to_string_lossy().starts_with(&prefix))
}
