//! Telling whether a file changed without reading it.

use std::path::Path;
use std::time::{Duration, SystemTime};

/// A file that changed less than this before it was read may change again without its times
/// telling, so its times are not trusted.
const RACY: Duration = Duration::from_secs(2);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Whether the times say enough.
    is_settled: bool,
}

impl Stamp {
    /// The file now; none if it is not there.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok();
        let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        Some(Stamp { bytes: metadata.len(), modified, is_settled: age.is_some_and(|age| age > RACY) })
    }

    /// Whether a file that looked like `before` when it was read is sure to be the same now.
    pub(crate) fn is_same(now: Option<Stamp>, before: Option<Stamp>) -> bool {
        now.is_some_and(|now| now.is_settled) && now == before
    }
}
