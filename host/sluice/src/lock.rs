//! `sluice lock`: writes down which component each stage runs.

use std::collections::BTreeMap;
use std::path::Path;

use sluice_plugin::{Lock, Locked, Manifest, Signer};

use crate::author::write_whole;
use crate::build::{Prepared, prepare};
use crate::config;
use crate::failure::Failure;
use crate::trust::lock_path;

/// Writes the lock of a configuration, or with `is_check` compares it with what is there.
pub(crate) fn lock(file: &Path, is_check: bool) -> Result<(), Failure> {
    let mut config = config::load(file)?;
    // The lock that is there does not decide about the one to come; signatures do.
    config.plugins.locked = None;
    let prepared = prepare(config)?;
    let path = lock_path(&prepared.config);
    let lock = Lock::new(stages(&prepared));
    if is_check {
        let written = Lock::read(&path).map_err(|error| Failure::failed(error.to_string()))?;
        return match difference(&written, &lock) {
            None => Ok(()),
            Some(difference) => {
                let problem =
                    format!("{}: not current: {difference}; write it anew with `sluice lock`", path.display());
                Err(Failure::failed(problem))
            }
        };
    }
    write_whole(&path, lock.text().as_bytes())?;
    eprintln!("{}: {} plugins from files", path.display(), lock.stages.len());
    Ok(())
}

fn stages(prepared: &Prepared) -> BTreeMap<String, Locked> {
    let mut stages = BTreeMap::new();
    for (stage, loaded) in prepared.config.stages.iter().zip(&prepared.stages) {
        if loaded.path().is_some() {
            let locked = locked(stage.value.plugin.get_ref(), loaded.manifest(), loaded.digest(), loaded.signer());
            stages.insert(stage.name.clone(), locked);
        }
    }
    for (at, candidate) in &prepared.shadows {
        let stage = &prepared.config.stages[*at];
        if let (Some(shadow), Some((candidate, _))) = (&stage.value.shadow, candidate)
            && candidate.is_file()
        {
            let (manifest, plugin) = (candidate.manifest().clone(), &shadow.get_ref().plugin);
            let locked = locked(plugin, manifest, candidate.digest(), candidate.signer());
            stages.insert(Lock::candidate_of(&stage.name), locked);
        }
    }
    stages
}

fn locked(path: &str, manifest: Manifest, digest: [u8; 32], signer: Option<Signer>) -> Locked {
    Locked {
        path: path.to_owned(),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        name: manifest.name,
        version: manifest.version,
        signer: signer.map_or("unsigned".to_owned(), |signer| signer.to_string()),
    }
}

/// The first stage in which two locks differ, and how.
fn difference(written: &Lock, now: &Lock) -> Option<String> {
    let names = written.stages.keys().chain(now.stages.keys());
    let name = names.filter(|name| written.stages.get(*name) != now.stages.get(*name)).min()?;
    Some(match (written.stages.get(name), now.stages.get(name)) {
        (Some(written), Some(now)) if written.sha256 != now.sha256 => {
            let shown = |locked: &Locked| format!("{} {} ({})", locked.name, locked.version, locked.sha256);
            format!("stage {name} is locked to {} and has {}", shown(written), shown(now))
        }
        (Some(_), Some(_)) => format!("stage {name} has another path, name, version or signer"),
        (None, _) => format!("stage {name} is not in it"),
        (_, None) => format!("stage {name} is in it and has no plugin from a file"),
    })
}
