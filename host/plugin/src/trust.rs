//! What has to stand beside a component from a file before it runs: a signature, a line in the lock file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::LoadErrorKind;
use crate::hex;
use crate::lock::Lock;
use crate::signature::{PublicKey, SignatureError, Signer, signature_of, signature_path, verify};
use crate::spec::ComponentSource;
use crate::stamp::Stamp;

/// Which components from files may run. Built-in ones always may. By default any may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys whose signatures hold. None: signatures are not looked at. With keys, a signature that is there has to
    /// hold.
    pub keys: Arc<[PublicKey]>,
    /// Whether there has to be a signature.
    pub require_signature: bool,
    /// The lock file; with it, a component runs only if it is the one that is locked for its stage. It is read
    /// with each component, so that a new lock lets a new version in.
    pub lock: Option<PathBuf>,
}

/// A component as it was read, once: what is vouched for is what is compiled.
pub(crate) struct Presented<'c> {
    pub(crate) source: &'c ComponentSource,
    pub(crate) bytes: &'c [u8],
    pub(crate) digest: [u8; 32],
    signature: Result<Option<String>, SignatureError>,
    lock: Option<Result<Lock, crate::lock::LockError>>,
}

/// Stamps of all files that decide whether a component runs; none for a built-in one, and of files that were not looked at.
pub(crate) type Stamps = Option<[Option<Stamp>; 3]>;

impl Trust {
    /// What the files look like that decide about a component; none are looked at for a built-in one.
    pub(crate) fn stamps(&self, source: &ComponentSource) -> Stamps {
        let ComponentSource::File { path, .. } = source else { return None };
        let signature = if self.looks_at_signatures() { Stamp::of(&signature_path(path)) } else { None };
        Some([Stamp::of(path), signature, self.lock.as_deref().and_then(Stamp::of)])
    }

    /// Whether files that looked like `before` when they were read are sure to be the same now. A file that is not
    /// there is the same as one that was not, and a built-in component always is.
    pub(crate) fn are_same(now: &Stamps, before: &Stamps) -> bool {
        let Some(now) = now else { return true };
        let Some(before) = before else { return false };
        Stamp::is_same(now[0], before[0])
            && (1..3).all(|at| (now[at].is_none() && before[at].is_none()) || Stamp::is_same(now[at], before[at]))
    }

    fn looks_at_signatures(&self) -> bool {
        self.require_signature || !self.keys.is_empty()
    }

    /// Takes up what stands beside a component.
    pub(crate) fn presented<'c>(
        &self,
        source: &'c ComponentSource,
        bytes: &'c [u8],
        digest: [u8; 32],
    ) -> Presented<'c> {
        let path = file(source);
        let signature = path.filter(|_| self.looks_at_signatures()).map_or(Ok(None), signature_of);
        let lock = path.and(self.lock.as_deref()).map(Lock::read);
        Presented { source, bytes, digest, signature, lock }
    }

    /// Whether the component may run as the stage `stage`, and whose it is.
    pub(crate) fn judge(&self, stage: &str, presented: &Presented<'_>) -> Result<Option<Signer>, LoadErrorKind> {
        let Some(path) = file(presented.source) else { return Ok(None) };
        let name = || presented.source.describe();
        let signer = match &presented.signature {
            Ok(Some(text)) => Some(verify(path, presented.bytes, text, &self.keys)),
            Ok(None) if self.require_signature => Some(Err(SignatureError::NotSigned { file: path.to_owned() })),
            Ok(None) => None,
            Err(error) => return Err(LoadErrorKind::Unsigned { problem: error.to_string() }),
        };
        let signer = signer.transpose().map_err(|error| LoadErrorKind::Unsigned { problem: error.to_string() })?;
        match &presented.lock {
            None => {}
            Some(Err(error)) => return Err(LoadErrorKind::NoLock { problem: error.to_string() }),
            Some(Ok(lock)) => {
                let found = hex(&presented.digest);
                // A candidate that runs beside may be published, and is then the stage's component.
                let candidate = lock.stages.get(&Lock::candidate_of(stage));
                let locked = lock.stages.get(stage);
                if !locked.into_iter().chain(candidate).any(|locked| locked.sha256 == found) {
                    let locked = locked.map_or("no component".to_owned(), |locked| locked.sha256.clone());
                    return Err(LoadErrorKind::NotLocked { component: name(), found, locked });
                }
            }
        }
        Ok(signer)
    }
}

impl Presented<'_> {
    /// What tells this component, with what stands beside it, from any other: what was refused once is not tried
    /// again before one of them changes.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Sha256::new().chain_update(self.digest);
        // Errors count by their text.
        hasher.update(match &self.signature {
            Ok(text) => format!("{text:?}"),
            Err(error) => error.to_string(),
        });
        hasher.update(match &self.lock {
            None => String::new(),
            Some(Ok(lock)) => lock.text(),
            Some(Err(error)) => error.to_string(),
        });
        hasher.finalize().into()
    }
}

fn file(source: &ComponentSource) -> Option<&Path> {
    match source {
        ComponentSource::File { path, .. } => Some(path),
        ComponentSource::Embedded { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_component_is_not_read_again_and_a_file_not_looked_at_is() {
        let trust = Trust::default();
        let built_in = trust.stamps(&ComponentSource::Embedded { name: "reducer", bytes: b"" });
        assert!(Trust::are_same(&built_in, &built_in));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin.wasm");
        std::fs::write(&path, "component").unwrap();
        let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(an_hour_ago).unwrap();
        let file = trust.stamps(&ComponentSource::File { path, sha256: None });
        assert!(Trust::are_same(&file, &file));
        assert!(!Trust::are_same(&file, &Stamps::default()));
    }
}
