//! The lock file: which component each stage is to run, written down for people to compare.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Bytes that a lock file may have.
const MAX_BYTES: u64 = 4 << 20;
const HEADER: &str = "# Written by `sluice lock`: the components that `plugins.locked = true` lets run.\n\n";
/// Version of the layout.
const LAYOUT: u32 = 1;

/// The components of a configuration, by stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By name of the stage; of its candidate, as [`candidate_of`](Self::candidate_of) says.
    #[serde(default)]
    pub stages: BTreeMap<String, Locked>,
}

/// The component of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Where it is, as the configuration says.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// What the plugin calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whose signature it has, or `unsigned`.
    pub signer: String,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}; write it anew with `sluice lock`", path.display())]
pub struct LockError {
    path: PathBuf,
    problem: String,
}

impl Lock {
    /// A lock of these stages.
    #[must_use]
    pub fn new(stages: BTreeMap<String, Locked>) -> Lock {
        Lock { version: LAYOUT, stages }
    }

    /// What the candidate of a stage is called in a lock. No stage is called so: a name has no dot in it.
    #[must_use]
    pub fn candidate_of(stage: &str) -> String {
        format!("{stage}.shadow")
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// If it is not there, or not what `sluice lock` writes.
    pub fn read(path: &Path) -> Result<Lock, LockError> {
        let failed = |problem: String| LockError { path: path.to_owned(), problem };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        read.map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(failed(format!("larger than {MAX_BYTES} bytes")));
        }
        let lock: Lock = toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))?;
        if lock.version != LAYOUT {
            return Err(failed(format!("its version is {}, this collector knows {LAYOUT}", lock.version)));
        }
        Ok(lock)
    }

    /// The text of the file: stages in the order of their names.
    #[must_use]
    pub fn text(&self) -> String {
        let toml = toml::to_string(self).expect("tables of texts are TOML");
        format!("{HEADER}{toml}")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_lock_is_written_in_order_and_read_back() {
        let locked = |path: &str| Locked {
            path: path.to_owned(),
            sha256: "07".repeat(32),
            name: "tenant-filter".to_owned(),
            version: "1.2.0".to_owned(),
            signer: "unsigned".to_owned(),
        };
        let lock =
            Lock::new(BTreeMap::from([("b".to_owned(), locked("b.wasm")), ("a".to_owned(), locked("./a.wasm"))]));
        expect![[r#"
            # Written by `sluice lock`: the components that `plugins.locked = true` lets run.

            version = 1

            [stages.a]
            path = "./a.wasm"
            sha256 = "0707070707070707070707070707070707070707070707070707070707070707"
            name = "tenant-filter"
            version = "1.2.0"
            signer = "unsigned"

            [stages.b]
            path = "b.wasm"
            sha256 = "0707070707070707070707070707070707070707070707070707070707070707"
            name = "tenant-filter"
            version = "1.2.0"
            signer = "unsigned"
        "#]]
        .assert_eq(&lock.text());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sluice.lock");
        std::fs::write(&path, lock.text()).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
    }

    #[test]
    fn a_lock_that_cannot_be_used_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sluice.lock");
        let error = || Lock::read(&path).unwrap_err().to_string().replace(&path.display().to_string(), "LOCK");
        assert_eq!(error(), "LOCK: No such file or directory (os error 2); write it anew with `sluice lock`");
        std::fs::write(&path, "version = 9\n").unwrap();
        assert_eq!(error(), "LOCK: its version is 9, this collector knows 1; write it anew with `sluice lock`");
        std::fs::write(&path, "version = 1\nstage = 2\n").unwrap();
        assert!(error().contains("unknown field `stage`"), "{}", error());
    }
}
