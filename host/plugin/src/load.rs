//! A plugin that is loaded, checked and can be exchanged while it runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use sluice_flow::ColumnSet;
use sluice_pipeline::Stage;

use crate::admit;
use crate::candidate::Candidate;
use crate::engine::Host;
use crate::error::{LoadError, LoadErrorKind};
use crate::hex;
use crate::instance::Instance;
use crate::per_partition::PerPartition;
use crate::runner::Runner;
use crate::shadow::Shadow;
use crate::shared::{Component, Shared};
use crate::signature::Signer;
use crate::spec::{ComponentSource, OnError, StageSpec};
use crate::trust::{Stamps, Trust};
use crate::version::{Access, Version, grant_names};

/// What a plugin is and what it asks for, as it said in `init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Columns it reads.
    pub reads: ColumnSet,
    /// Columns it writes or clears.
    pub writes: ColumnSet,
    /// Whether it keeps state between batches.
    pub stateful: bool,
    /// How often it wants `timer.tick`, in milliseconds.
    pub tick_ms: Option<u32>,
}

/// What [`Loaded::reload`] and [`Loaded::publish`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The file is the one that runs.
    Unchanged,
    /// A new version is published; every instance takes it up at its next batch or tick.
    Swapped {
        /// Version that ran.
        from: String,
        /// Version that is published.
        to: String,
        /// Number of the new version, from 1 for the first.
        generation: u64,
    },
}

/// What a stage is to run from now on.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) version: Arc<Version>,
    pub(crate) came: Came,
}

/// How a version came to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was not there before.
    New,
    /// It ran before, and the one after it failed: what that one knew is not to be trusted.
    BackByItself,
    /// It ran before, and an operator wants it back.
    BackAsAsked,
}

/// The version that ran before the published one.
struct Previous {
    version: Arc<Version>,
    until: Instant,
}

/// The plugin of one stage: compiled, linked as far as granted, tried once.
pub struct Loaded {
    pub(crate) host: Arc<Host>,
    current: ArcSwap<Generation>,
    /// A candidate that runs on copies of batches.
    pub(crate) shadow: ArcSwapOption<Shadow>,
    /// The instance that was tried: the first worker takes it.
    first: Mutex<Option<Instance>>,
    /// Runners that take up what is published.
    pub(crate) runners: AtomicUsize,
    /// Locked while a file is looked at: one at a time.
    looking: Mutex<()>,
    seen: Mutex<Seen>,
    /// What may be gone back to. Locked while another version is published.
    previous: Mutex<Option<Previous>>,
}

/// The file of a plugin as it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    stamps: Stamps,
    /// What was refused, so that the same files are an error once.
    refused: Option<Refused>,
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// A component with what stood beside it.
    Presented([u8; 32]),
    /// A component, whatever stands beside it.
    Digest([u8; 32]),
    Unreadable,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = self.version();
        write!(f, "Loaded({} {} {})", version.shared.name, version.manifest.name, version.manifest.version)
    }
}

impl Loaded {
    /// Reads, compiles (or takes from the cache) and links the component, starts one instance and asks
    /// it for its manifest.
    ///
    /// # Errors
    /// If the component is none, was built for another contract, imports or asks for what is not
    /// granted, does not start, or refuses its configuration; each names the stage and the way out.
    pub fn load(host: &Arc<Host>, spec: StageSpec) -> Result<Arc<Loaded>, LoadError> {
        let name = spec.name.clone();
        let shared = Shared::new(&spec, host.metrics());
        let (version, stamps, instance) = prepare(host, shared, &spec).map_err(|kind| kind.at(&name))?;
        let generation = Generation { number: 1, version: Arc::new(version), came: Came::New };
        let loaded = Loaded {
            host: Arc::clone(host),
            current: ArcSwap::from_pointee(generation),
            shadow: ArcSwapOption::empty(),
            first: Mutex::new(Some(instance)),
            runners: AtomicUsize::new(0),
            looking: Mutex::default(),
            seen: Mutex::new(Seen { stamps, refused: None }),
            previous: Mutex::default(),
        };
        Ok(Arc::new(loaded))
    }

    /// Name of the stage.
    #[must_use]
    pub fn stage(&self) -> String {
        self.version().shared.name.to_string()
    }

    /// What the published version says it is.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        self.version().manifest.clone()
    }

    /// SHA-256 of the published version.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.version().digest
    }

    /// Whose signature the published version has; none if it has none or nobody looked.
    #[must_use]
    pub fn signer(&self) -> Option<Signer> {
        self.version().signer.clone()
    }

    /// Number of the published version: 1, and one more with each that is taken up.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().number
    }

    /// Columns that the plugin may read, whichever version of it is in the file. What a later version may read has to
    /// be decoded before it comes.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        self.version().ceiling.0
    }

    /// Columns that the plugin may write, whichever version of it is in the file.
    #[must_use]
    pub fn writes(&self) -> ColumnSet {
        self.version().ceiling.1
    }

    /// What the plugin can get at, whichever version of it is in the file.
    #[must_use]
    pub fn access(&self) -> Access {
        self.version().access()
    }

    /// Whether its component was looked at in the light of `trust`.
    #[must_use]
    pub fn is_trusted_by(&self, trust: &Trust) -> bool {
        self.version().trust == *trust
    }

    /// `stateful` if the plugin exports `timer` or `state`, else `plugin`.
    #[must_use]
    pub fn world(&self) -> &'static str {
        self.version().world()
    }

    /// Whether the plugin exports `timer` and whether it exports `state`.
    #[must_use]
    pub fn exports(&self) -> (bool, bool) {
        self.version().exports()
    }

    /// Where the component of the published version comes from.
    #[must_use]
    pub fn source(&self) -> ComponentSource {
        self.version().source.clone()
    }

    /// An instance for one worker, or for all of them to share.
    pub fn instance(self: &Arc<Self>) -> Box<dyn Stage> {
        self.announce();
        let state = self.version().shared.state.clone();
        Box::new(Runner::new(Arc::clone(self), self.take_first(), state))
    }

    /// The instance that was tried when the plugin was loaded, unless somebody has taken it.
    pub(crate) fn take_first(&self) -> Option<Instance> {
        lock(&self.first).take()
    }

    /// An instance for each partition that batches are of, each with its own state, and one for batches of none. The
    /// state file of the stage is then a directory, with a file for each partition.
    pub fn instance_per_partition(self: &Arc<Self>) -> Box<dyn Stage> {
        self.announce();
        Box::new(PerPartition::new(Arc::clone(self)))
    }

    /// Reads the component again if its file changed. If it is another one, it is compiled and checked
    /// beside the running one, which takes as long as it takes and disturbs no batch; then it is
    /// published, and every instance exchanges itself between two batches: the old one's `snapshot` goes to
    /// the new one's `restore`. Where that fails, or the new version traps within the stage's `rollback_window`, the old
    /// one is put back. A look at a file that did not change costs a `stat`.
    ///
    /// # Errors
    /// If the new component is refused, for the reasons of [`load`](Self::load), or because it asks for more
    /// than was granted to the running one. The old one runs on. The same bad file is an error once:
    /// until it changes it counts as [`Reloaded::Unchanged`]; [`retry`](Self::retry) tries it again.
    pub fn reload(&self) -> Result<Reloaded, LoadError> {
        self.look(false)
    }

    /// The same, for when an operator asks: reads the file whatever its times say, and tries one again
    /// that was refused.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn retry(&self) -> Result<Reloaded, LoadError> {
        self.look(true)
    }

    fn look(&self, is_asked: bool) -> Result<Reloaded, LoadError> {
        let _one_at_a_time = lock(&self.looking);
        let old = self.version();
        let stamps = old.trust.stamps(&old.source);
        {
            let mut seen = lock(&self.seen);
            if is_asked {
                seen.refused = None;
            } else if Trust::are_same(&stamps, &seen.stamps) {
                return Ok(Reloaded::Unchanged);
            }
            seen.stamps = stamps;
        }
        self.try_reload(&old).map_err(|kind| {
            old.shared.meters.swaps_refused.inc();
            kind.at(&old.shared.name)
        })
    }

    fn try_reload(&self, old: &Arc<Version>) -> Result<Reloaded, LoadErrorKind> {
        let read = admit::read(&old.source);
        let (bytes, digest) = {
            let mut seen = lock(&self.seen);
            let (bytes, digest) = match read {
                Ok(read) => read,
                Err(_) if seen.refused == Some(Refused::Unreadable) => return Ok(Reloaded::Unchanged),
                Err(error) => {
                    seen.refused = Some(Refused::Unreadable);
                    return Err(error);
                }
            };
            if digest == old.digest {
                seen.refused = None;
                return Ok(Reloaded::Unchanged);
            }
            if seen.refused == Some(Refused::Digest(digest)) {
                return Ok(Reloaded::Unchanged);
            }
            (bytes, digest)
        };
        let presented = old.trust.presented(&old.source, &bytes, digest);
        {
            let mut seen = lock(&self.seen);
            let refused = Refused::Presented(presented.fingerprint());
            if seen.refused.as_ref() == Some(&refused) {
                return Ok(Reloaded::Unchanged);
            }
            // Until it has been taken up.
            seen.refused = Some(refused);
        }
        let (new, _) = Version::prepare(&self.host, &old.shared, &old.trust, &presented)?;
        check_exchange(old, &new)?;
        check_hides(old, &new)?;
        // A plugin that starts the first time only must not have the workers wait for the deadline of `init`.
        new.start_spares(self.runners.load(Ordering::Relaxed))?;
        let reloaded = self.publish_version(Arc::new(new));
        lock(&self.seen).refused = None;
        Ok(reloaded)
    }

    /// Checks what a stage is to be from now on: another component, configuration, grant, limit or policy. Nothing
    /// changes until it is [published](Self::publish), for which it has to [fit](Self::fits).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn candidate(&self, spec: &StageSpec) -> Result<Candidate, LoadError> {
        let running = self.version();
        let checked = prepare(&self.host, running.shared.next(spec), spec)
            .map(|(version, stamps, _)| Candidate { version: Arc::new(version), stamps });
        checked.map_err(|kind| {
            running.shared.meters.swaps_refused.inc();
            kind.at(&running.shared.name)
        })
    }

    /// Whether a candidate can take over from the instances that run: it is the same plugin, and does not begin to keep
    /// state where there may be an instance per worker.
    #[must_use]
    pub fn fits(&self, candidate: &Candidate) -> bool {
        let running = self.version();
        running.manifest.name == candidate.version.manifest.name && check_exchange(&running, &candidate.version).is_ok()
    }

    /// Publishes what was checked: every instance takes it up at its next batch or tick.
    pub fn publish(&self, candidate: Candidate) -> Reloaded {
        let _one_at_a_time = lock(&self.looking);
        *lock(&self.seen) = Seen { stamps: candidate.stamps, refused: None };
        self.publish_version(candidate.version)
    }

    fn publish_version(&self, new: Arc<Version>) -> Reloaded {
        // The one who needs one that could not be started tries again, and says why it failed.
        new.start_spares(self.runners.load(Ordering::Relaxed)).unwrap_or_default();
        let mut previous = lock(&self.previous);
        let old = self.current.load_full();
        let reloaded = Reloaded::Swapped {
            from: old.version.manifest.version.clone(),
            to: new.manifest.version.clone(),
            generation: old.number + 1,
        };
        let until = Instant::now() + new.shared.rollback_window;
        *previous =
            (!new.shared.rollback_window.is_zero()).then(|| Previous { version: Arc::clone(&old.version), until });
        self.store(&old, Generation { number: old.number + 1, version: new, came: Came::New });
        reloaded
    }

    fn store(&self, old: &Generation, new: Generation) {
        publish_info(&new, Some(old));
        let shared = Arc::clone(&new.version.shared);
        self.current.store(Arc::new(new));
        // What the version before did is not held against this one.
        shared.release("another version");
    }

    /// Puts the version back that ran before `from`, if `from` is published and its window is not over. For when
    /// `from` failed.
    pub(crate) fn roll_back_from(&self, from: &Arc<Version>, why: &str) -> bool {
        let is_back = self.go_back(Came::BackByItself, |version| Arc::ptr_eq(version, from)).is_some();
        if is_back {
            let (stage, version) = (&from.shared.name, &from.manifest.version);
            tracing::error!(%stage, version, why, "the new version failed, the one before is put back");
        }
        is_back
    }

    /// Puts the version back that ran before the published one, as an operator asks: `None` if there is none, or the
    /// stage's `rollback_window` is over. What the newer version knew is handed over if the older one understands it.
    pub fn roll_back(&self) -> Option<Reloaded> {
        self.go_back(Came::BackAsAsked, |_| true)
    }

    fn go_back(&self, came: Came, is_it: impl Fn(&Arc<Version>) -> bool) -> Option<Reloaded> {
        let mut previous = lock(&self.previous);
        let old = self.current.load_full();
        let is_open = previous.as_ref().is_some_and(|previous| Instant::now() <= previous.until);
        if !is_open || !is_it(&old.version) || previous.as_ref().is_some_and(|previous| hides_less(previous, &old)) {
            return None;
        }
        let Previous { version, .. } = previous.take()?;
        // Else the file would be taken up again at the next look.
        let refused = Refused::Digest(old.version.digest);
        *lock(&self.seen) = Seen { stamps: Stamps::default(), refused: Some(refused) };
        let reloaded = Reloaded::Swapped {
            from: old.version.manifest.version.clone(),
            to: version.manifest.version.clone(),
            generation: old.number + 1,
        };
        version.shared.meters.rollbacks.inc();
        self.store(&old, Generation { number: old.number + 1, version, came });
        Some(reloaded)
    }

    /// The published version stays: what ran before it is not put back any more.
    pub fn settle(&self) {
        *lock(&self.previous) = None;
    }

    /// How long the version before can still be put back; none if there is none.
    #[must_use]
    pub fn can_roll_back_for(&self) -> Option<Duration> {
        let left =
            lock(&self.previous).as_ref().map(|previous| previous.until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero())
    }

    /// Publishes which plugin runs. That is done with the first instance; it is to be asked for again where another plugin of a
    /// stage of the same name was [withdrawn](Self::withdraw).
    pub fn announce(&self) {
        publish_info(&self.current.load(), None);
    }

    /// Takes back what was published of the plugin that runs: its stage is gone, or has another one.
    pub fn withdraw(&self) {
        let version = self.version();
        version.shared.meters.withdraw(&component(&version));
    }

    /// What is to run.
    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Generation>> {
        self.current.load()
    }

    /// The published version.
    pub(crate) fn version(&self) -> Arc<Version> {
        Arc::clone(&self.current.load().version)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads, compiles and tries what `spec` names.
fn prepare(host: &Arc<Host>, shared: Shared, spec: &StageSpec) -> Result<(Version, Stamps, Instance), LoadErrorKind> {
    if spec.is_private && spec.on_error == OnError::Pass {
        return Err(LoadErrorKind::PassOnPrivate);
    }
    let stamps = spec.trust.stamps(&spec.component);
    let (bytes, digest) = admit::read(&spec.component)?;
    let presented = spec.trust.presented(&spec.component, &bytes, digest);
    let (version, instance) = Version::prepare(host, &Arc::new(shared), &spec.trust, &presented)?;
    Ok((version, stamps, instance))
}

/// Whether going back would let something through, or give something back, that the published version does not.
fn hides_less(previous: &Previous, published: &Generation) -> bool {
    let (before, now) = (previous.version.access(), published.version.access());
    let is_wider = |before: ColumnSet, now: ColumnSet| !before.minus(now).is_empty();
    is_wider(now.hides, before.hides)
        || is_wider(before.reads, now.reads)
        || is_wider(before.writes, now.writes)
        || (before.alerts && !now.alerts)
        || (now.is_private && !before.is_private)
}

/// What cannot be exchanged in a running pipeline.
pub(crate) fn check_exchange(old: &Version, new: &Version) -> Result<(), LoadErrorKind> {
    if new.manifest.stateful && !old.manifest.stateful {
        // The running one may have an instance per worker, which would split the state.
        let problem = "says that it keeps state, and the running version does not: restart to change that";
        return Err(LoadErrorKind::Manifest { problem: problem.to_owned() });
    }
    Ok(())
}

/// Whether the next version in a file hides what the one before does.
pub(crate) fn check_hides(old: &Version, new: &Version) -> Result<(), LoadErrorKind> {
    let bare = old.hides.minus(new.hides);
    if !bare.is_empty() {
        let names = grant_names(&old.shared.schema, bare).join(", ");
        let problem = format!(
            "does not write {names}, which the running version of this private stage hides: restart to change that"
        );
        return Err(LoadErrorKind::Manifest { problem });
    }
    Ok(())
}

/// Publishes what runs in the place of `before`.
fn publish_info(runs: &Generation, before: Option<&Generation>) {
    let meters = &runs.version.shared.meters;
    let before = before.map(|before| component(&before.version));
    meters.info(&component(&runs.version), before.as_ref());
    meters.generation.set(runs.number as f64);
}

fn component(version: &Version) -> Component<'_> {
    let Manifest { name, version: text, .. } = &version.manifest;
    Component { plugin: name, version: text, digest: hex(&version.digest), signer: version.signed_by() }
}
