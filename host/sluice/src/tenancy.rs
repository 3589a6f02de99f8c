//! What is done with the plugins of a tenant while they run: a component that was sent becomes a candidate, then the
//! plugin; the way back; removal. Everything stays within the tenant's folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sluice_pipeline::chain;
use sluice_plugin::{ComponentSource, Loaded, signature_path};

use crate::build::base;
use crate::collector::Collector;
use crate::config::tenants::{self, Files, MAX_PLUGINS, SELECT, stage_of};
use crate::operate::{self, Refused};

/// One change of a folder at a time.
static CHANGING: Mutex<()> = Mutex::new(());

/// A tenant that runs.
pub(crate) struct Tenancy<'c> {
    collector: &'c Collector,
    name: String,
    folder: PathBuf,
    files: Files,
}

/// What became of a component that was sent.
pub(crate) enum Sent {
    /// It runs beside the plugin of that name.
    Beside,
    /// It is the first of that name, and runs.
    First,
}

impl Tenancy<'_> {
    /// The tenant of that name, if there is one.
    pub(crate) fn of<'c>(collector: &'c Collector, name: &str) -> Option<Tenancy<'c>> {
        let running = collector.running();
        let tenant = running.config.tenant(name)?;
        let (folder, files) = (tenant.value.folder(base(&running.config)), tenant.value.files.clone());
        Some(Tenancy { collector, name: name.to_owned(), folder, files })
    }

    /// What runs as the plugin of that name.
    pub(crate) fn plugin(&self, plugin: &str) -> Option<Arc<Loaded>> {
        let stage = (plugin != SELECT).then(|| stage_of(&self.name, plugin))?;
        self.collector.running().stage(&stage).map(|stage| Arc::clone(&stage.loaded))
    }

    fn file(&self, plugin: &str) -> PathBuf {
        self.folder.join(format!("{plugin}.wasm"))
    }

    /// Where a component is that was sent. Its name does not end like that of a plugin, so that nothing takes it up.
    fn candidate(&self, plugin: &str) -> PathBuf {
        self.folder.join(format!("{plugin}.wasm.candidate"))
    }

    /// Checks a component as one that is loaded, and runs it beside the plugin of that name; the first of a name runs at once.
    ///
    /// # Errors
    /// If it is refused: nothing of it stays.
    pub(crate) fn send(&self, plugin: &str, component: &[u8], every: u32) -> Result<Sent, Refused> {
        let _one_at_a_time = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = tenants::name_refusal(plugin) {
            return Err(Refused::Component(format!("`{plugin}`: {why}")));
        }
        let candidate = self.candidate(plugin);
        let unwritten =
            |error: std::io::Error| Refused::Component(format!("{plugin}.wasm: it cannot be kept: {error}"));
        if let Some(loaded) = self.plugin(plugin) {
            // The one that runs beside was read already, and its file is exchanged whole.
            write(&candidate, component).map_err(unwritten)?;
            let source = ComponentSource::File { path: candidate.clone(), sha256: None };
            let checked = loaded.candidate_from(&source);
            let checked = checked.map_err(|error| {
                let gone = fs::remove_file(&candidate);
                drop(gone);
                loaded.end_shadow();
                Refused::Component(shown(&chain(&error), &self.folder))
            })?;
            loaded.shadow(checked, every);
            return Ok(Sent::Beside);
        }
        if self.files.plugins.len() >= MAX_PLUGINS {
            return Err(Refused::State(format!("a tenant may have {MAX_PLUGINS} plugins; remove one")));
        }
        let file = self.file(plugin);
        if fs::symlink_metadata(&file).is_ok() {
            let problem = format!("there is a {plugin}.wasm already, which was refused; remove it first");
            return Err(Refused::State(problem));
        }
        write(&file, component).map_err(unwritten)?;
        let mut files = self.files.clone();
        files.plugins.insert(plugin.to_owned());
        match self.collector.take_up(&self.name, files) {
            Ok(_) => Ok(Sent::First),
            Err(error) => {
                fs::remove_file(&file).map_err(unwritten)?;
                Err(Refused::Component(shown(&chain(&error), &self.folder)))
            }
        }
    }

    /// Puts the candidate of a plugin in its place.
    ///
    /// # Errors
    /// If there is none, or it is refused by now.
    pub(crate) fn promote(&self, plugin: &str, loaded: &Arc<Loaded>) -> Result<(), Refused> {
        let _one_at_a_time = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        operate::promote(loaded).map_err(|refused| self.shown(refused))?;
        // It is the plugin's file by now.
        fs::remove_file(self.candidate(plugin)).unwrap_or_default();
        Ok(())
    }

    /// Puts back what ran before a plugin was exchanged.
    ///
    /// # Errors
    /// If there is nothing to go back to.
    pub(crate) fn roll_back(&self, loaded: &Loaded) -> Result<(), Refused> {
        let _one_at_a_time = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        operate::roll_back(loaded).map(drop).map_err(|refused| self.shown(refused))
    }

    /// Takes a plugin away; its file is kept beside, as `NAME.wasm.previous`.
    ///
    /// # Errors
    /// If the rest cannot run without it, or the file cannot be moved: it runs on.
    pub(crate) fn remove(&self, plugin: &str) -> Result<(), Refused> {
        let _one_at_a_time = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, previous) = (self.file(plugin), self.folder.join(format!("{plugin}.wasm.previous")));
        let unmoved = |error: std::io::Error| Refused::Component(format!("{plugin}.wasm: {error}"));
        fs::rename(&file, &previous).map_err(unmoved)?;
        let mut files = self.files.clone();
        files.plugins.remove(plugin);
        if let Err(error) = self.collector.take_up(&self.name, files) {
            fs::rename(&previous, &file).map_err(unmoved)?;
            return Err(Refused::Component(shown(&chain(&error), &self.folder)));
        }
        for left in [self.candidate(plugin), signature_path(&file)] {
            fs::remove_file(left).unwrap_or_default();
        }
        Ok(())
    }

    fn shown(&self, refused: Refused) -> Refused {
        match refused {
            Refused::State(problem) => Refused::State(problem),
            Refused::Component(problem) => Refused::Component(shown(&problem, &self.folder)),
        }
    }
}

/// A problem without where the folder is, which is nothing to the tenant.
fn shown(problem: &str, folder: &Path) -> String {
    problem.replace(&format!("{}/", folder.display()), "")
}

/// Writes a whole file in the place of another. What is there by the name it is written under, a link too, is removed first.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
