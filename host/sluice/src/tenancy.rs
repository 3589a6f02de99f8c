//! What is done with the plugins of a tenant while they run: a component that was sent becomes a candidate, then the
//! plugin; the way back; removal. Everything stays within the tenant's folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_pipeline::chain;
use sluice_plugin::{ComponentSource, Loaded, check_signature, signature_path};

use crate::build::base;
use crate::collector::Collector;
use crate::config::tenants::{self, Files, MAX_PLUGINS, SELECT, stage_of};
use crate::operate::{self, Refused, beside, gone};

/// One change of a folder at a time.
static CHANGING: Mutex<()> = Mutex::new(());

/// Waits until nobody changes the folder of a tenant; nobody begins to before the answer is dropped.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tenant that runs.
pub(crate) struct Tenancy<'c> {
    collector: &'c Collector,
    name: String,
    folder: PathBuf,
    /// Where the configuration is.
    base: PathBuf,
}

/// A component that was sent.
pub(crate) struct Component<'b> {
    pub(crate) bytes: &'b [u8],
    /// What would be in the `.sig` beside its file.
    pub(crate) signature: Option<&'b str>,
}

impl Component<'_> {
    /// Puts it into a file, with its signature beside it, which is there first: a plugin that is there is looked at at once.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        match self.signature {
            Some(signature) => write(&signature_path(file), signature.as_bytes())?,
            None => gone(&signature_path(file))?,
        }
        write(file, self.bytes)
    }
}

/// Removes a component and its signature.
fn remove(file: &Path) -> std::io::Result<()> {
    gone(file)?;
    gone(&signature_path(file))
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
        let base = base(&running.config);
        Some(Tenancy { collector, name: name.to_owned(), folder: tenant.value.folder(base), base: base.to_owned() })
    }

    /// What of its folder runs. To be asked when nobody else changes it.
    fn files(&self) -> Files {
        let running = self.collector.running();
        running.config.tenant(&self.name).map(|tenant| tenant.value.files.clone()).unwrap_or_default()
    }

    /// What runs as the plugin of that name.
    pub(crate) fn plugin(&self, plugin: &str) -> Option<Arc<Loaded>> {
        let stage = (plugin != SELECT).then(|| stage_of(&self.name, plugin))?;
        self.collector.running().stage(&stage).map(|stage| Arc::clone(&stage.loaded))
    }

    fn file(&self, plugin: &str) -> PathBuf {
        self.folder.join(format!("{plugin}.wasm"))
    }

    /// Where components are that were sent: the one that runs beside a plugin, and one that is looked at meanwhile. Their names
    /// do not end like that of a plugin, so that nothing takes them up.
    fn candidates(&self, plugin: &str) -> [PathBuf; 2] {
        ["candidate", "candidate-2"].map(|suffix| beside(&self.file(plugin), suffix))
    }

    /// Checks a component as one that is loaded, and runs it beside the plugin of that name; the first of a name runs at once.
    ///
    /// # Errors
    /// If it is refused: nothing of it stays, and what runs goes on, a candidate too.
    pub(crate) fn send(&self, plugin: &str, component: &Component<'_>, every: u32) -> Result<Sent, Refused> {
        let _one_at_a_time = alone();
        if let Some(why) = tenants::name_refusal(plugin) {
            return Err(Refused::Component(format!("`{plugin}`: {why}")));
        }
        let file = self.file(plugin);
        if let Some(signature) = component.signature {
            let name = signature_path(Path::new(&format!("{plugin}.wasm")));
            check_signature(&name, signature).map_err(|error| Refused::Component(error.to_string()))?;
        }
        let unwritten =
            |error: std::io::Error| Refused::Component(format!("{plugin}.wasm: it cannot be kept: {error}"));
        if let Some(loaded) = self.plugin(plugin) {
            let [first, second] = self.candidates(plugin);
            let is_in_use = |file: &Path| match loaded.shadow_candidate().map(|candidate| candidate.source()) {
                Some(ComponentSource::File { path, .. }) => path == file,
                Some(ComponentSource::Embedded { .. }) | None => false,
            };
            let (candidate, before) = if is_in_use(&first) { (second, first) } else { (first, second) };
            component.write(&candidate).map_err(unwritten)?;
            let source = ComponentSource::File { path: candidate.clone(), sha256: None };
            match loaded.candidate_from(&source) {
                Ok(checked) => loaded.shadow(checked, every),
                Err(error) => {
                    remove(&candidate).map_err(unwritten)?;
                    return Err(Refused::Component(self.shown(&chain(&error))));
                }
            }
            remove(&before).map_err(unwritten)?;
            return Ok(Sent::Beside);
        }
        let mut files = self.files();
        if files.plugins.len() >= MAX_PLUGINS {
            return Err(Refused::State(format!("a tenant may have {MAX_PLUGINS} plugins; remove one")));
        }
        if fs::symlink_metadata(&file).is_ok() {
            let problem = format!("there is a {plugin}.wasm already, which was refused; remove it first");
            return Err(Refused::State(problem));
        }
        component.write(&file).map_err(unwritten)?;
        files.plugins.insert(plugin.to_owned());
        match self.collector.take_up(&self.name, files) {
            Ok(_) => Ok(Sent::First),
            Err(error) => {
                remove(&file).map_err(unwritten)?;
                Err(Refused::Component(self.shown(&chain(&error))))
            }
        }
    }

    /// Puts the candidate of a plugin in its place.
    ///
    /// # Errors
    /// If there is none, or it is refused by now.
    pub(crate) fn promote(&self, plugin: &str, loaded: &Arc<Loaded>) -> Result<(), Refused> {
        let _one_at_a_time = alone();
        operate::promote(loaded).map_err(|refused| self.refused(refused))?;
        // It is the plugin's file by now.
        self.forget_candidates(plugin);
        Ok(())
    }

    /// Puts back what ran before a plugin was exchanged.
    ///
    /// # Errors
    /// If there is nothing to go back to.
    pub(crate) fn roll_back(&self, loaded: &Loaded) -> Result<(), Refused> {
        let _one_at_a_time = alone();
        operate::roll_back(loaded).map(drop).map_err(|refused| self.refused(refused))
    }

    /// Takes a plugin away; its file is kept beside, as `NAME.wasm.previous`.
    ///
    /// # Errors
    /// If the rest cannot run without it, or the file cannot be moved: it runs on.
    pub(crate) fn remove(&self, plugin: &str) -> Result<(), Refused> {
        let _one_at_a_time = alone();
        let file = self.file(plugin);
        let previous = beside(&file, "previous");
        let unmoved = |error: std::io::Error| Refused::Component(format!("{plugin}.wasm: {error}"));
        fs::rename(&file, &previous).map_err(unmoved)?;
        let mut files = self.files();
        files.plugins.remove(plugin);
        if let Err(error) = self.collector.take_up(&self.name, files) {
            fs::rename(&previous, &file).map_err(unmoved)?;
            return Err(Refused::Component(self.shown(&chain(&error))));
        }
        self.forget_candidates(plugin);
        // The signature goes where the component went.
        let signature = signature_path(&file);
        let kept = fs::rename(&signature, beside(&signature, "previous"));
        match kept {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            kept => kept.map_err(unmoved)?,
        }
        Ok(())
    }

    /// Removes what was sent, where nothing runs of it any more.
    fn forget_candidates(&self, plugin: &str) {
        for candidate in self.candidates(plugin) {
            if let Err(error) = remove(&candidate) {
                tracing::warn!(file = %candidate.display(), %error, "a candidate that is over was not removed");
            }
        }
    }

    /// A refusal without where the files are.
    fn refused(&self, refused: Refused) -> Refused {
        match refused {
            Refused::State(problem) => Refused::State(self.shown(&problem)),
            Refused::Component(problem) => Refused::Component(self.shown(&problem)),
        }
    }

    /// A problem without where the folders are, which is nothing to the tenant.
    fn shown(&self, problem: &str) -> String {
        let folders = [&self.folder, &self.base].into_iter().filter(|folder| !folder.as_os_str().is_empty());
        folders.fold(problem.to_owned(), |shown, folder| shown.replace(&format!("{}/", folder.display()), ""))
    }
}

/// Writes a whole file in the place of another. What is there by the name it is written under, a link too, is removed first.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = beside(path, "new");
    gone(&beside)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
