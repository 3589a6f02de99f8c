//! The state of a stage in a file, so that it outlives the process.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// First line of the file; the second is the plugin's name, and the rest is its snapshot.
const MAGIC: &[u8] = b"sluice state 1\n";

/// Why there is no state to begin with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    /// The system says so.
    #[error("{path} cannot be read", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is something else, or another plugin's.
    #[error("{path} holds no state of the plugin `{plugin}`", path = path.display())]
    Foreign { path: PathBuf, plugin: String },
    /// The file is larger than a snapshot may be.
    #[error("{path} has more than the {max} bytes that a snapshot may have", path = path.display())]
    TooLarge { path: PathBuf, max: usize },
}

/// Reads what [`save`] wrote; `None` if there is no file.
pub(crate) fn load(path: &Path, plugin: &str, max: usize) -> Result<Option<Vec<u8>>, SavedError> {
    let unreadable = |source| SavedError::Unreadable { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let header = header(plugin);
    let mut bytes = Vec::new();
    file.take((header.len() + max + 1) as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    let Some(state) = bytes.strip_prefix(header.as_slice()) else {
        return Err(SavedError::Foreign { path: path.to_owned(), plugin: plugin.to_owned() });
    };
    if state.len() > max {
        return Err(SavedError::TooLarge { path: path.to_owned(), max });
    }
    Ok(Some(state.to_vec()))
}

/// Replaces the file: a crash leaves the old state or the new one.
pub(crate) fn save(path: &Path, plugin: &str, state: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = File::create(&new)?;
    file.write_all(&header(plugin))?;
    file.write_all(state)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

fn header(plugin: &str) -> Vec<u8> {
    [MAGIC, plugin.as_bytes(), b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_for_the_same_plugin_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.state");
        assert!(matches!(load(&path, "p", 9), Ok(None)));
        save(&path, "p", b"one").unwrap();
        save(&path, "p", b"two").unwrap();
        assert_eq!(load(&path, "p", 9).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(load(&path, "p", 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert!(matches!(load(&path, "p", 2), Err(SavedError::TooLarge { max: 2, .. })));
        assert!(matches!(load(&path, "q", 9), Err(SavedError::Foreign { .. })));
        fs::write(&path, "what").unwrap();
        assert!(matches!(load(&path, "p", 9), Err(SavedError::Foreign { .. })));
        assert!(matches!(load(dir.path(), "p", 9), Err(SavedError::Unreadable { .. })));
    }
}
