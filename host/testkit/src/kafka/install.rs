//! Where Apache Kafka and Java are. `cargo xtask kafka --fetch` puts Kafka there; nothing here
//! downloads, so that no test does. The build script reads this file too: std only.

use std::env;
use std::path::{Path, PathBuf};

/// The version of Apache Kafka that tests talk to: the last that Java 17 runs and that was tried.
pub const VERSION: &str = "4.1.0";

/// The folder of this version: `$XDG_CACHE_HOME/sluice/kafka/VERSION`, or the same below `~/.cache`.
#[must_use]
pub fn folder() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("sluice/kafka").join(VERSION)
}

/// The folder of Kafka's jars below `folder`: there when all of them are, since it is renamed into place.
#[must_use]
pub fn jars(folder: &Path) -> PathBuf {
    folder.join("jars")
}

/// The classes of a broker that started, in the form that the same JVM starts from in half the time
/// (JEP 350). It may be missing or of another JVM, which Java then leaves aside.
#[must_use]
pub fn archive(folder: &Path) -> PathBuf {
    folder.join("startup.jsa")
}

/// The Java to run Kafka with: that of `$JAVA_HOME`, or else the first on the path.
#[must_use]
pub fn java() -> Option<PathBuf> {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = home.into_iter().chain(env::split_paths(&path));
    places.find_map(|place| Some(place.join("java")).filter(|java| java.is_file()))
}

/// Whether a broker can be started.
#[must_use]
pub fn is_there() -> bool {
    java().is_some() && jars(&folder()).is_dir()
}
