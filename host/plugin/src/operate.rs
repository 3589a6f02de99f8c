//! What operators do with the plugin of a stage that runs: candidates beside it.

use std::sync::Arc;

use crate::admit;
use crate::candidate::Candidate;
use crate::error::{LoadError, LoadErrorKind};
use crate::load::{Loaded, Reloaded, check_exchange, check_hides};
use crate::shadow::Shadow;
use crate::spec::{ComponentSource, Grant};
use crate::trust::Stamps;
use crate::version::Version;

/// The candidate that runs beside the published version.
impl Loaded {
    /// Runs `candidate` on a copy of every `every`th batch of each instance, and compares. What it does has no effect.
    /// One that ran before it is let go.
    pub fn shadow(&self, candidate: Candidate, every: u32) {
        self.shadow.store(Some(Arc::new(Shadow::new(&candidate.version, every, self.host.metrics()))));
    }

    /// What was seen of the candidate; none if none runs.
    #[must_use]
    pub fn shadow_report(&self) -> Option<crate::ShadowReport> {
        self.shadow.load().as_ref().map(|shadow| shadow.report())
    }

    /// Lets the candidate go: whether there was one.
    pub fn end_shadow(&self) -> bool {
        self.shadow.swap(None).is_some()
    }

    /// Checks a component as a candidate for this stage: with the configuration, grant and limits of the version that
    /// runs.
    ///
    /// # Errors
    /// As [`load`](Self::load); and if it could not take over from the version that runs.
    pub fn candidate_from(&self, source: &ComponentSource) -> Result<Candidate, LoadError> {
        let running = self.version();
        let checked = || {
            check_granted(&running, source)?;
            let stamps = running.trust.stamps(source);
            let (bytes, digest) = admit::read(source)?;
            let presented = running.trust.presented(source, &bytes, digest);
            let (version, _) = Version::prepare(&self.host, &running.shared, &running.trust, &presented)?;
            let (ours, new) = (&running.manifest.name, &version.manifest.name);
            if ours != new {
                let problem =
                    format!("calls it `{new}`, and the stage runs `{ours}`: only another build of that can take over");
                return Err(LoadErrorKind::Manifest { problem });
            }
            check_exchange(&running, &version)?;
            check_hides(&running, &version)?;
            Ok(Candidate { version: Arc::new(version), stamps })
        };
        checked().map_err(|kind: LoadErrorKind| kind.at(&running.shared.name))
    }

    /// Publishes the candidate.
    pub fn promote(&self) -> Option<Reloaded> {
        let shadow = self.shadow.swap(None)?;
        let stamps = shadow.candidate.trust.stamps(&shadow.candidate.source);
        Some(self.publish(Candidate { version: Arc::clone(&shadow.candidate), stamps }))
    }

    /// The candidate as the instances see it.
    pub(crate) fn shadowed_by(&self) -> arc_swap::Guard<Option<Arc<Shadow>>> {
        self.shadow.load()
    }

    /// The candidate that runs beside; none if none does.
    #[must_use]
    pub fn shadow_candidate(&self) -> Option<Candidate> {
        let shadow = self.shadow.load_full()?;
        Some(Candidate { version: Arc::clone(&shadow.candidate), stamps: Stamps::default() })
    }

    /// Path of the file of the published version, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<std::path::PathBuf> {
        match self.source() {
            ComponentSource::File { path, .. } => Some(path),
            ComponentSource::Embedded { .. } => None,
        }
    }
}

/// Refuses a component from a file where the built-in plugin has what it asks for, as no operator granted that to it.
fn check_granted(running: &Version, source: &ComponentSource) -> Result<(), LoadErrorKind> {
    match (&running.shared.grant, source) {
        (Grant::Requested, ComponentSource::File { path, .. }) => {
            Err(LoadErrorKind::NothingGranted { path: path.clone() })
        }
        _ => Ok(()),
    }
}
