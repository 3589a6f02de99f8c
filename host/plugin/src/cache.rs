//! Compiled code between runs, in a directory that only this user can write.
//!
//! Compiled code is native code: whoever can write it runs it. So nothing is loaded from a directory
//! or file that another user owns or may write, and every file carries the digest of its contents,
//! which finds the half-written and the rotten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::PluginError;
use crate::hex;

/// Files kept; the oldest go first.
const MAX_FILES: usize = 128;
/// Bytes of a file that is read: compiled code is some three times the size of a component.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 30;
/// Begins every file; the number changes with the layout.
const MAGIC: &[u8; 16] = b"sluice code v1\n\0";

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    /// Hash of all that compiled code depends on beside the component.
    environment: [u8; 32],
}

/// A hasher that loses nothing, for what only offers [`Hash`].
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // The digest is taken instead.
        0
    }
}

impl Cache {
    /// Opens the directory, or makes it.
    pub(crate) fn open(path: PathBuf, engine: &Engine) -> Result<Cache, PluginError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        let checked = made.and_then(|()| fs::symlink_metadata(&path)).map_err(|error| error.to_string());
        let problem = match checked {
            Err(problem) => Some(problem),
            Ok(metadata) if !metadata.is_dir() => Some("not a directory".to_owned()),
            Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => {
                Some("belongs to another user: choose a directory of your own".to_owned())
            }
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                Some(format!("others have access (mode {:o}): chmod 700", metadata.mode() & 0o777))
            }
            Ok(_) => None,
        };
        if let Some(problem) = problem {
            return Err(PluginError::Cache { path, problem });
        }
        let mut hasher = Sha(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        Ok(Cache { path, environment: hasher.0.finalize().into() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, component: &[u8; 32]) -> PathBuf {
        let key = Sha256::new().chain_update(self.environment).chain_update(component).finalize();
        self.path.join(format!("{}.code", hex(&key)))
    }

    /// The compiled component, if it is there and whole.
    pub(crate) fn load(&self, engine: &Engine, component: &[u8; 32]) -> Option<Component> {
        let code = self.read(component)?;
        // SAFETY: the bytes are what `store` got from `Component::serialize`: the directory and the file
        // belong to this user and nobody else may write them (checked when the cache was opened and in
        // `read`), the digest shows that they are whole, and the name binds them to this component,
        // engine version and settings.
        #[allow(unsafe_code, reason = "code that this user compiled and nobody else could change")]
        let loaded = unsafe { Component::deserialize(engine, &code) };
        loaded.ok()
    }

    /// The same, not loaded: for a process to load it.
    pub(crate) fn read(&self, component: &[u8; 32]) -> Option<Vec<u8>> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.file(component)).ok()?;
        let metadata = file.metadata().ok()?;
        let is_ours = metadata.is_file()
            && metadata.uid() == rustix::process::geteuid().as_raw()
            && metadata.mode() & 0o022 == 0
            && metadata.len() <= MAX_FILE_BYTES;
        if !is_ours {
            return None;
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (digest, code) = rest.split_at_checked(32)?;
        (Sha256::digest(code).as_slice() == digest).then(|| code.to_vec())
    }

    /// Stores compiled code: written beside and renamed, so that no reader sees half of it.
    pub(crate) fn store(&self, component: &[u8; 32], code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.persist(self.file(component)).map_err(|error| error.error)?;
        self.evict()
    }

    /// Removes the oldest files beyond [`MAX_FILES`].
    fn evict(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "code") {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let excess = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.into_iter().take(excess) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn cache() -> (tempfile::TempDir, Engine, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(dir.path().join("cache"), &engine).unwrap();
        (dir, engine, cache)
    }

    #[test]
    fn what_was_stored_is_loaded_and_nothing_else() {
        let (_dir, engine, cache) = cache();
        let code = Component::from_binary(&engine, EMPTY_COMPONENT).unwrap().serialize().unwrap();
        assert!(cache.load(&engine, &[1; 32]).is_none());
        cache.store(&[1; 32], &code).unwrap();
        assert!(cache.load(&engine, &[1; 32]).is_some());
        assert!(cache.load(&engine, &[2; 32]).is_none());
    }

    #[test]
    fn code_for_an_engine_with_other_settings_is_another_file() {
        let (_dir, engine, cache) = cache();
        let code = Component::from_binary(&engine, EMPTY_COMPONENT).unwrap().serialize().unwrap();
        cache.store(&[1; 32], &code).unwrap();
        let counting = Engine::new(wasmtime::Config::new().consume_fuel(true)).unwrap();
        let other = Cache::open(cache.path().to_owned(), &counting).unwrap();
        assert_ne!(other.file(&[1; 32]), cache.file(&[1; 32]));
        assert!(other.load(&counting, &[1; 32]).is_none());
        let same = Cache::open(cache.path().to_owned(), &Engine::default()).unwrap();
        assert!(same.load(&engine, &[1; 32]).is_some());
    }

    #[test]
    fn a_file_that_was_changed_or_that_others_may_write_is_not_loaded() {
        let (_dir, engine, cache) = cache();
        let code = Component::from_binary(&engine, EMPTY_COMPONENT).unwrap().serialize().unwrap();
        cache.store(&[1; 32], &code).unwrap();
        let path = cache.file(&[1; 32]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.load(&engine, &[1; 32]).is_none());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(cache.load(&engine, &[1; 32]).is_some());
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(cache.load(&engine, &[1; 32]).is_none());
        fs::write(&path, &bytes[..20]).unwrap();
        assert!(cache.load(&engine, &[1; 32]).is_none());
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Cache::open(path.clone(), &Engine::default()).unwrap_err().to_string();
        assert_eq!(error, format!("code cache {}: others have access (mode 755): chmod 700", path.display()));
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), &link).unwrap();
        let error = Cache::open(link.clone(), &Engine::default()).unwrap_err().to_string();
        assert_eq!(error, format!("code cache {}: not a directory", link.display()));
    }

    #[test]
    fn the_oldest_files_go_when_there_are_too_many() {
        let (_dir, _engine, cache) = cache();
        for number in 0..MAX_FILES + 5 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            cache.store(&key, b"code").unwrap();
        }
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), MAX_FILES);
    }
}
