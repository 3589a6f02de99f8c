//! A plugin that is loaded, checked and can be exchanged while it runs.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sluice_flow::{ADDRESSES, ColumnId, ColumnSet, Schema};
use sluice_pipeline::Stage;
use wasmtime::component::InstancePre;

use crate::abi;
use crate::admit::{self, Exports};
use crate::engine::Host;
use crate::error::{LoadError, LoadErrorKind};
use crate::hex;
use crate::instance::{Instance, NoInstance, TrapKind, Trapped};
use crate::per_partition::PerPartition;
use crate::runner::Runner;
use crate::shared::Shared;
use crate::spec::{ComponentSource, Grant, OnError, StageSpec};
use crate::stamp::Stamp;
use crate::state::State;

/// Bytes that a plugin's name and version may have: both are label values.
const MAX_NAME_BYTES: usize = 64;

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

/// What [`Loaded::reload`] did.
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

/// One version of a stage's plugin.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) manifest: Manifest,
    pre: InstancePre<State>,
    exports: Exports,
}

/// The plugin of one stage: compiled, linked as far as granted, tried once.
pub struct Loaded {
    host: Arc<Host>,
    pub(crate) shared: Arc<Shared>,
    source: ComponentSource,
    current: ArcSwap<Generation>,
    /// What no version may go beyond: the grant, or for [`Grant::Requested`] what the first version asked for.
    ceiling: (ColumnSet, ColumnSet),
    /// The instance that was tried: the first worker takes it.
    first: Mutex<Option<Instance>>,
    /// Locked while a reload is under way: one at a time.
    seen: Mutex<Seen>,
}

/// The file of a plugin as it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    /// What was refused, so that the same file is an error once.
    refused: Option<Refused>,
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Digest([u8; 32]),
    Unreadable,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let current = self.current.load();
        write!(f, "Loaded({} {} {})", self.shared.name, current.manifest.name, current.manifest.version)
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
        let at = |kind: LoadErrorKind| kind.at(&spec.name);
        if spec.is_private && spec.on_error == OnError::Pass {
            return Err(at(LoadErrorKind::PassOnPrivate));
        }
        let shared = Arc::new(Shared::new(&spec, host.metrics()));
        let stamp = stamp_of(&spec.component);
        let (bytes, digest) = admit::read(&spec.component).map_err(at)?;
        let prepared = prepare(host, &shared, &spec.component, &bytes, digest, 1).map_err(at)?;
        let (generation, instance) = prepared;
        let ceiling = match &spec.grant {
            Grant::Listed(granted) => (granted.read, granted.write),
            Grant::Requested => (generation.manifest.reads, generation.manifest.writes),
        };
        check_grant(&shared.schema, &generation.manifest, ceiling).map_err(at)?;
        let loaded = Loaded {
            host: Arc::clone(host),
            shared,
            source: spec.component,
            current: ArcSwap::from_pointee(generation),
            ceiling,
            first: Mutex::new(None),
            seen: Mutex::new(Seen { stamp, refused: None }),
        };
        *loaded.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded.granted(instance));
        loaded.publish_info(&loaded.current.load(), true);
        Ok(Arc::new(loaded))
    }

    /// Name of the stage.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.shared.name
    }

    /// What the published version says it is.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        self.current.load().manifest.clone()
    }

    /// SHA-256 of the published version.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.current.load().digest
    }

    /// Number of the published version: 1, and one more with each that is taken up.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().number
    }

    /// Columns that any version of the plugin may read. What a later version may read has to be decoded
    /// before it comes.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        self.ceiling.0
    }

    /// Columns that any version of the plugin may write.
    #[must_use]
    pub fn writes(&self) -> ColumnSet {
        self.ceiling.1
    }

    /// `stateful` if the plugin exports `timer` or `state`, else `plugin`.
    #[must_use]
    pub fn world(&self) -> &'static str {
        let exports = &self.current.load().exports;
        if exports.tick.is_some() || exports.snapshot.is_some() { "stateful" } else { "plugin" }
    }

    /// Whether the plugin exports `timer` and whether it exports `state`.
    #[must_use]
    pub fn exports(&self) -> (bool, bool) {
        let exports = &self.current.load().exports;
        (exports.tick.is_some(), exports.snapshot.is_some() && exports.restore.is_some())
    }

    /// Where the component comes from.
    pub(crate) fn source(&self) -> &ComponentSource {
        &self.source
    }

    /// The file to watch, if the component is one.
    #[must_use]
    pub fn watch_path(&self) -> Option<&Path> {
        match &self.source {
            ComponentSource::File { path, .. } => Some(path),
            ComponentSource::Embedded { .. } => None,
        }
    }

    /// An instance for one worker, or for all of them to share.
    pub fn instance(self: &Arc<Self>) -> Box<dyn Stage> {
        Box::new(Runner::new(Arc::clone(self), self.take_first(), self.shared.state.clone()))
    }

    /// The instance that was tried when the plugin was loaded, unless somebody has taken it.
    pub(crate) fn take_first(&self) -> Option<Instance> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// An instance for each partition that batches are of, each with its own state, and one for batches of none. The
    /// state file of the stage is then a directory, with a file for each partition.
    pub fn instance_per_partition(self: &Arc<Self>) -> Box<dyn Stage> {
        Box::new(PerPartition::new(Arc::clone(self)))
    }

    /// Reads the component again if its file changed. If it is another one, it is compiled and checked
    /// beside the running one, which takes as long as it takes and disturbs no batch; then it is
    /// published, and every instance exchanges itself between two batches: the old one's `snapshot` goes to
    /// the new one's `restore`. Where that fails, that instance keeps the old code, says so in the log and
    /// counts it. A look at a file that did not change costs a `stat`.
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
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp_of(&self.source);
        if is_asked {
            seen.refused = None;
        } else if Stamp::is_same(stamp, seen.stamp) {
            return Ok(Reloaded::Unchanged);
        }
        seen.stamp = stamp;
        self.try_reload(&mut seen).map_err(|kind| {
            self.shared.meters.swaps_refused.inc();
            kind.at(&self.shared.name)
        })
    }

    fn try_reload(&self, seen: &mut Seen) -> Result<Reloaded, LoadErrorKind> {
        let old = self.current.load_full();
        let (bytes, digest) = match admit::read(&self.source) {
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
        // Until it has been taken up.
        seen.refused = Some(Refused::Digest(digest));
        let number = old.number + 1;
        let (new, _) = prepare(&self.host, &self.shared, &self.source, &bytes, digest, number)?;
        check_grant(&self.shared.schema, &new.manifest, self.ceiling)?;
        if new.manifest.stateful && !old.manifest.stateful {
            // The running one may have an instance per worker, which would split the state.
            let problem = "says that it keeps state, and the running version does not: restart to change that";
            return Err(LoadErrorKind::Manifest { problem: problem.to_owned() });
        }
        let reloaded = Reloaded::Swapped {
            from: old.manifest.version.clone(),
            to: new.manifest.version.clone(),
            generation: number,
        };
        self.publish_info(&old, false);
        self.publish_info(&new, true);
        self.current.store(Arc::new(new));
        seen.refused = None;
        Ok(reloaded)
    }

    fn publish_info(&self, generation: &Generation, is_current: bool) {
        let meters = &self.shared.meters;
        let Manifest { name, version, .. } = &generation.manifest;
        meters.info(name, version, &hex(&generation.digest), is_current);
        if is_current {
            meters.generation.set(generation.number as f64);
        }
    }

    /// The published version.
    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Generation>> {
        self.current.load()
    }

    /// Starts an instance of a version; its manifest is within the grant or it is refused, for a
    /// plugin may answer differently each time.
    pub(crate) fn start(&self, generation: &Generation) -> Result<Instance, LoadErrorKind> {
        let (instance, manifest) = start(&self.host, &self.shared, &generation.pre, &generation.exports)?;
        check_grant(&self.shared.schema, &manifest, self.ceiling)?;
        Ok(self.granted(instance))
    }

    /// Lets the instance have its columns.
    fn granted(&self, mut instance: Instance) -> Instance {
        let state = instance.store.data_mut();
        (state.read, state.write) = self.ceiling;
        instance
    }
}

fn stamp_of(source: &ComponentSource) -> Option<Stamp> {
    match source {
        ComponentSource::File { path, .. } => Stamp::of(path),
        ComponentSource::Embedded { .. } => None,
    }
}

/// Compiles and tries one version.
fn prepare(
    host: &Arc<Host>,
    shared: &Arc<Shared>,
    source: &ComponentSource,
    bytes: &[u8],
    digest: [u8; 32],
    number: u64,
) -> Result<(Generation, Instance), LoadErrorKind> {
    let name = source.describe();
    let component = admit::component(&name, bytes)?;
    let component = host.compile(&name, &component)?;
    let exports = admit::exports(host, &name, &component)?;
    let linker = admit::link(host, &component, shared.grant.linkable())?;
    let misfit = |error: wasmtime::Error| LoadErrorKind::Link { error: format!("{error:#}") };
    let pre = linker.instantiate_pre(&component).map_err(misfit)?;
    let (instance, manifest) = start(host, shared, &pre, &exports)?;
    Ok((Generation { number, digest, manifest, pre, exports }, instance))
}

/// Instantiates and calls `init`.
fn start(
    host: &Host,
    shared: &Arc<Shared>,
    pre: &InstancePre<State>,
    exports: &Exports,
) -> Result<(Instance, Manifest), LoadErrorKind> {
    let mut instance = Instance::new(host.engine(), pre, exports, shared).map_err(|error| match error {
        NoInstance::Misfit(error) => LoadErrorKind::Link { error },
        NoInstance::Trapped(trapped) => LoadErrorKind::Start { error: trapped.text, backtrace: trapped.backtrace },
    })?;
    let manifest = match instance.init() {
        Ok(Ok(manifest)) => checked(&shared.schema, manifest)?,
        Ok(Err(message)) => return Err(LoadErrorKind::Config { message }),
        Err(trapped) => return Err(init_trapped(shared, trapped)),
    };
    Ok((instance, manifest))
}

/// How `init` trapped, and for a limit which one.
fn init_trapped(shared: &Shared, trapped: Trapped) -> LoadErrorKind {
    let limits = &shared.limits;
    let error = match trapped.kind {
        TrapKind::Deadline => format!("init did not return within {} ms", limits.init_deadline_ms),
        TrapKind::Memory => format!("init wanted more than {} bytes of memory", limits.memory),
        TrapKind::Trap => format!("init: {}", trapped.text),
    };
    LoadErrorKind::Start { error, backtrace: trapped.backtrace }
}

fn checked(schema: &Schema, manifest: abi::Manifest) -> Result<Manifest, LoadErrorKind> {
    let bad = |problem: String| Err(LoadErrorKind::Manifest { problem });
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        let is_good = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        if !is_good {
            return bad(format!("has a {what} that is not 1 to {MAX_NAME_BYTES} visible ASCII characters"));
        }
    }
    if let Some(unknown) = manifest.reads.iter().chain(&manifest.writes).find(|column| schema.width(**column).is_none())
    {
        return bad(format!("names column {unknown}, which does not exist"));
    }
    Ok(Manifest {
        name: manifest.name,
        version: manifest.version,
        reads: manifest.reads.into_iter().collect(),
        writes: manifest.writes.into_iter().collect(),
        stateful: manifest.stateful,
        tick_ms: manifest.tick_ms.filter(|tick_ms| *tick_ms > 0),
    })
}

fn check_grant(schema: &Schema, manifest: &Manifest, granted: (ColumnSet, ColumnSet)) -> Result<(), LoadErrorKind> {
    for (access, asked, granted) in [("read", manifest.reads, granted.0), ("write", manifest.writes, granted.1)] {
        let missing = asked.minus(granted);
        if !missing.is_empty() {
            let names = grant_names(schema, missing);
            let (word, them) = if names.len() == 1 { ("column", "it") } else { ("columns", "them") };
            return Err(LoadErrorKind::NotGranted { access, columns: format!("{word} {}", names.join(", ")), them });
        }
    }
    Ok(())
}

/// What columns are called in a grant: the halves of an address are granted by its name.
#[must_use]
pub fn grant_names(schema: &Schema, columns: ColumnSet) -> Vec<String> {
    let name = |column: ColumnId| {
        let address = ADDRESSES.iter().find(|address| address.hi == column || address.lo == column);
        address.map_or_else(|| schema.name(column).unwrap_or("?").to_owned(), |address| address.name.to_owned())
    };
    let mut names: Vec<String> = columns.iter().map(name).collect();
    names.dedup();
    names
}
