//! `[plugins]`: the keys and the lock file that decide which plugins from files may run.

use std::path::PathBuf;

use sluice_plugin::{Lock, PublicKey, Trust};

use crate::build::base;
use crate::config::{Config, ConfigError};

/// Where the lock of a configuration is.
pub(crate) fn lock_path(config: &Config) -> PathBuf {
    base(config).join("sluice.lock")
}

/// Reads the keys, and looks whether the lock can be read.
///
/// # Errors
/// A key that cannot be used, no key for what has to be signed, no lock.
pub(crate) fn trust(config: &Config) -> Result<Trust, ConfigError> {
    let plugins = &config.plugins;
    let mut keys: Vec<PublicKey> = Vec::new();
    for path in &plugins.keys {
        let error = |problem: String| config.doc.error(path.span(), "plugins", format!("keys: {problem}"));
        let key = PublicKey::read(&base(config).join(path.get_ref())).map_err(|problem| error(problem.to_string()))?;
        let is_known = keys.iter().any(|known| known.signer().key == key.signer().key);
        if is_known {
            return Err(error(format!("{} is listed twice", key.signer())));
        }
        keys.push(key);
    }
    let require_signature = plugins.require_signature.as_ref().filter(|required| *required.get_ref());
    if let Some(required) = require_signature.filter(|_| keys.is_empty()) {
        let problem = "`require_signature` without `keys` would refuse every plugin; add `keys = [\"operator.pub\"]`, which \
                       `sluice plugin keygen operator` makes";
        return Err(config.doc.error(required.span(), "plugins", problem));
    }
    let locked = plugins.locked.as_ref().filter(|locked| *locked.get_ref());
    if let Some(locked) = locked
        && let Err(problem) = Lock::read(&lock_path(config))
    {
        return Err(config.doc.error(locked.span(), "plugins", format!("locked: {problem}")));
    }
    let lock = locked.map(|_| lock_path(config));
    Ok(Trust { keys: keys.into(), require_signature: require_signature.is_some(), lock })
}
