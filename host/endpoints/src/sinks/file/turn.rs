//! Whose turn it is to write to a file: one sink at a time, whatever path leads to it.
//!
//! A sink that changes while the collector runs is opened before the one that it takes the place of has written what it was
//! given. With both at work their rows would mix, and what one cuts off when the disk is full would be the other's.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

/// The files that sinks have open or wait for.
static PLACES: Mutex<Option<HashMap<PathBuf, Weak<Semaphore>>>> = Mutex::new(None);

/// Where the turn for the file is to be had, which is there already; none for devices, which everybody can write to at once.
///
/// # Errors
/// A path that cannot be followed.
pub(super) fn place(path: &Path) -> io::Result<Option<Arc<Semaphore>>> {
    if path.starts_with("/dev") {
        return Ok(None);
    }
    let path = fs::canonicalize(path)?;
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let places = places.get_or_insert_default();
    places.retain(|_, place| place.strong_count() > 0);
    if let Some(place) = places.get(&path).and_then(Weak::upgrade) {
        return Ok(Some(place));
    }
    let place = Arc::new(Semaphore::new(1));
    places.insert(path, Arc::downgrade(&place));
    Ok(Some(place))
}
