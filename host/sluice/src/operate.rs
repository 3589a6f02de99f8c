//! What operators do with plugins that run: candidates beside them, promotion, the way back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_pipeline::chain;
use sluice_plugin::{ComponentSource, Loaded, Reloaded, signature_path};

use crate::build::component;
use crate::collector::Running;

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It does not fit what runs: nothing to promote, nothing to go back to.
    State(String),
    /// The component, or a file.
    Component(String),
}

/// Runs the component `plugin`, a path relative to the configuration or a built-in plugin, beside that of a stage.
///
/// # Errors
/// If it is refused; what runs, and a candidate that does, go on.
pub(crate) fn shadow(running: &Running, loaded: &Loaded, plugin: &str, every: u32) -> Result<(), Refused> {
    let path = format!("stages.{}.shadow", loaded.stage());
    let refused = |error: &dyn std::error::Error| Refused::Component(chain(error));
    let source = component(&running.config, &path, plugin, 0..0, None).map_err(|error| refused(&error))?;
    let candidate = loaded.candidate_from(&source).map_err(|error| refused(&error))?;
    loaded.shadow(candidate, every);
    Ok(())
}

/// Makes the candidate of a stage its plugin: its file takes the place of the plugin's, so that the next start has it too.
/// What was there is kept beside, as `NAME.previous`. A built-in plugin, which has no file, is exchanged in memory.
///
/// # Errors
/// If there is none, or it is refused now; then everything is as it was.
pub(crate) fn promote(loaded: &Arc<Loaded>) -> Result<Reloaded, Refused> {
    let candidate =
        loaded.shadow_candidate().ok_or_else(|| Refused::State("no candidate runs beside it".to_owned()))?;
    let (ComponentSource::File { path, sha256 }, ComponentSource::File { path: new, .. }) =
        (loaded.source(), candidate.source())
    else {
        return loaded.promote().ok_or_else(|| Refused::State("no candidate runs beside it".to_owned()));
    };
    if sha256.is_some() {
        let problem = "its `sha256` is in the configuration: change that and `plugin` there, and reload";
        return Err(Refused::State(problem.to_owned()));
    }
    let failed = |error: std::io::Error| Refused::Component(format!("{}: {error}", path.display()));
    exchange(&new, &path).map_err(failed)?;
    // What was compared is what is promoted, whatever is in its file by now.
    let copied = ComponentSource::File { path: path.clone(), sha256: None };
    if !sluice_plugin::digest_of(&copied).is_ok_and(|digest| digest == candidate.digest()) {
        put_back(&path).map_err(failed)?;
        let problem = format!("{} is not the candidate any more that was compared; begin anew with it", new.display());
        return Err(Refused::State(problem));
    }
    match loaded.retry() {
        Ok(reloaded) => {
            loaded.end_shadow();
            Ok(reloaded)
        }
        Err(error) => {
            put_back(&path).map_err(failed)?;
            Err(Refused::Component(chain(&error)))
        }
    }
}

/// Puts back what ran before, and its file if a promotion took its place.
///
/// # Errors
/// If there is nothing to go back to.
pub(crate) fn roll_back(loaded: &Loaded) -> Result<Reloaded, Refused> {
    let Some(reloaded) = loaded.roll_back() else {
        let problem = "there is nothing to go back to: it was not exchanged, or its `rollback_window_ms` is over";
        return Err(Refused::State(problem.to_owned()));
    };
    if let Some(path) = loaded.path() {
        let before = ComponentSource::File { path: beside(&path, "previous"), sha256: None };
        let is_it = sluice_plugin::digest_of(&before).is_ok_and(|digest| digest == loaded.digest());
        if is_it && let Err(error) = put_back(&path) {
            tracing::warn!(stage = loaded.stage(), %error, "the file of the plugin is still the newer one");
        }
    }
    Ok(reloaded)
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Puts the component `new`, and its signature, in the place of `path`, which is kept.
fn exchange(new: &Path, path: &Path) -> std::io::Result<()> {
    // The signature first: a component that is there is looked at at once.
    for (new, path) in [(signature_path(new), signature_path(path)), (new.to_owned(), path.to_owned())] {
        let previous = beside(&path, "previous");
        if path.exists() {
            copy(&path, &previous)?;
        } else {
            gone(&previous)?;
        }
        if new.exists() {
            let copied = beside(&path, "new");
            copy(&new, &copied)?;
            fs::rename(copied, &path)?;
        } else {
            // A signature is of one component: that of another would refuse the new one.
            gone(&path)?;
        }
    }
    Ok(())
}

/// Copies a file in the place of another. A link that lies there is replaced, not followed: the folder may be a tenant's,
/// and what it leads to is not.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut from = fs::File::open(from)?;
    gone(to)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(to)?;
    std::io::copy(&mut from, &mut file)?;
    file.set_permissions(from.metadata()?.permissions())
}

fn put_back(path: &Path) -> std::io::Result<()> {
    for path in [signature_path(path), path.to_owned()] {
        let previous = beside(&path, "previous");
        if previous.exists() {
            fs::rename(previous, &path)?;
        } else {
            gone(&path)?;
        }
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(crate) fn gone(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
