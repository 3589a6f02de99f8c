//! A collector that runs, and changing its configuration while it does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use sluice_endpoints::sources::{Reading, Roster, UdpSockets};
use sluice_flow::ColumnSet;
use sluice_pipeline::{Control, EventOut, EventTarget, Grace, Kind, Metrics, Part, Pipeline, RunError, Stop};
use sluice_plugin::tables::Tables;
use sluice_plugin::{Budget, Host, Loaded, PLUGIN_FAMILIES};
use tokio::runtime::Handle;
use tracing::info;

use crate::build::{Prepared, Way, prepare_after};
use crate::config::tenants::Files;
use crate::config::{self, Config};
use crate::differs::Differs;
use crate::failure::Failure;
use crate::open::{Opened, Opening};
use crate::plan::Plan;

/// What runs.
pub(crate) struct Running {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    pub(crate) host: Arc<Host>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) stages: Vec<RunningStage>,
    /// What the plugins of each tenant share.
    pub(crate) budgets: BTreeMap<String, Arc<Budget>>,
    pub(crate) sockets: BTreeMap<String, UdpSockets>,
    /// What tells of the exporters of a source, one a socket.
    pub(crate) rosters: BTreeMap<String, Vec<Arc<Roster>>>,
    pub(crate) listeners: BTreeMap<String, EventTarget>,
    pub(crate) wanted: ColumnSet,
    pub(crate) reading: Reading,
    event_threads: Vec<JoinHandle<()>>,
}

/// A stage that runs.
#[derive(Clone)]
pub(crate) struct RunningStage {
    pub(crate) name: String,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) out: EventOut,
}

impl Running {
    pub(crate) fn stage(&self, name: &str) -> Option<&RunningStage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Folder of each tenant, and what of it runs.
    fn tenant_files(&self) -> BTreeMap<String, (PathBuf, Files)> {
        let base = crate::build::base(&self.config);
        let tenant = |tenant: &config::Named<config::tenants::Tenant>| {
            (tenant.name.clone(), (tenant.value.folder(base), tenant.value.files.clone()))
        };
        self.config.tenants.iter().map(tenant).collect()
    }

    /// Whether there is a component of that name.
    fn is_there(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Source | Kind::Sink => self.has(if kind == Kind::Source { "sources" } else { "sinks" }, name),
            Kind::Stage => self.stage(name).is_some(),
        }
    }

    /// Whether there is a source or sink of that name.
    pub(crate) fn has(&self, kind: &str, name: &str) -> bool {
        match kind {
            "sources" => self.config.sources.iter().any(|source| source.name == name),
            _ => self.config.sinks.iter().any(|sink| sink.name == name),
        }
    }
}

/// What a new configuration changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Changed {
    /// What is new.
    pub(crate) added: Vec<String>,
    /// What is there no more.
    pub(crate) removed: Vec<String>,
    /// What is another one now: stages with the state they had, sources and sinks opened anew.
    pub(crate) changed: Vec<String>,
    /// Whether rows go other ways.
    pub(crate) rewired: bool,
}

impl Changed {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Changed::default()
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let mut said = Vec::new();
        for (what, names) in [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)] {
            if !names.is_empty() {
                said.push(format!("{what} {}", names.join(", ")));
            }
        }
        if self.rewired {
            said.push("rows go other ways".to_owned());
        }
        f.write_str(&said.join("; "))
    }
}

/// A collector that runs. Whoever changes something waits for whoever does already.
pub(crate) struct Collector {
    /// None for one that was made without a file, as the demo's.
    file: Option<PathBuf>,
    running: RwLock<Running>,
    /// One change at a time; meanwhile `running` can be read.
    changing: Mutex<()>,
    control: Control,
    stop: Stop,
}

/// A pipeline to wait for.
pub(crate) struct Started {
    pub(crate) collector: Arc<Collector>,
    pipeline: sluice_pipeline::Running,
}

impl Collector {
    /// Opens and starts what was prepared.
    ///
    /// # Errors
    /// What cannot be opened.
    pub(crate) fn start(
        prepared: Prepared,
        file: Option<PathBuf>,
        stop: &Stop,
        runtime: &Handle,
        on_bound: impl FnMut(&str, SocketAddr),
    ) -> Result<Started, Failure> {
        let mut opened = Opening { prepared: &prepared, running: None, stop }.open(on_bound)?;
        let change = std::mem::take(&mut opened.change);
        let grace = Grace(std::time::Duration::from_millis(prepared.config.shutdown_grace_ms));
        let pipeline = Pipeline {
            sources: new(change.sources),
            stages: new(change.stages),
            sinks: new(change.sinks),
            workers: prepared.config.workers,
            grace,
        };
        let running = Running::of(prepared, opened);
        let pipeline = pipeline.start(stop, runtime);
        let (control, running) = (pipeline.control(), RwLock::new(running));
        let changing = Mutex::default();
        let collector = Arc::new(Collector { file, running, changing, control, stop: stop.clone() });
        Ok(Started { collector, pipeline })
    }

    /// What runs.
    pub(crate) fn running(&self) -> RwLockReadGuard<'_, Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stages that run, as they are now.
    pub(crate) fn stages(&self) -> Vec<RunningStage> {
        self.running().stages.clone()
    }

    /// Reads the configuration again and changes what runs into what it says. Everything that can fail is done beside;
    /// then it is exchanged between two batches. Sources, stages and sinks that are the same go on as they are.
    ///
    /// # Errors
    /// A mistake in the file, or what cannot change without a restart: everything runs on as it did.
    pub(crate) fn reload(&self) -> Result<Changed, Failure> {
        let Some(file) = &self.file else { return Ok(Changed::default()) };
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Tenants that run have the files that they have: what is new in their folders is looked at one tenant at a time.
        let config = config::load_after(file, &self.running().tenant_files())?;
        self.change_and_tell(config)
    }

    /// Takes up other files of a tenant; everything else is as it runs, whatever the configuration file says by now.
    ///
    /// # Errors
    /// A plugin that is refused: everything runs on as it did.
    pub(crate) fn take_up(&self, tenant: &str, files: Files) -> Result<Changed, Failure> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (doc, mut taken) = {
            let running = self.running();
            (running.config.doc.clone(), running.tenant_files())
        };
        if let Some((_, taken)) = taken.get_mut(tenant) {
            *taken = files;
        }
        self.change_and_tell(config::again(doc, &taken)?)
    }

    /// Changes what runs, and what is published of it.
    fn change_and_tell(&self, config: Config) -> Result<Changed, Failure> {
        let before = self.stages();
        let outcome = self.change_to(config);
        let running = self.running();
        let runs = |loaded: &Arc<Loaded>| running.stages.iter().any(|stage| Arc::ptr_eq(&stage.loaded, loaded));
        before.iter().filter(|stage| !runs(&stage.loaded)).for_each(|stage| stage.loaded.withdraw());
        running.stages.iter().for_each(|stage| stage.loaded.announce());
        // Whether it was done or refused: what was prepared may have left series behind.
        running.metrics.retain(|kind, name| running.is_there(kind, name), &PLUGIN_FAMILIES);
        outcome
    }

    fn change_to(&self, mut config: Config) -> Result<Changed, Failure> {
        let running = self.running();
        // The same columns: what differs there was refused before.
        let differs = Differs::between(&running.config, &config)?;
        config.schema = Arc::clone(&running.config.schema);
        let prepared = prepare_after(config, Some(&running))?;
        crate::transaction::check_kept(&running, &prepared, &differs)?;
        let changed = changed(&running, &prepared, &differs);
        let opening = Opening { prepared: &prepared, running: Some((&running, &differs)), stop: &self.stop };
        let opened = opening.open(|name, addr| info!(source = name, %addr, "listening"))?;
        if opened.wanted != running.wanted {
            self.control.want(opened.wanted);
        }
        let next = self.put(&running, prepared, opened)?;
        drop(running);
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::replace(&mut *running, next);
        running.event_threads.append(&mut before.event_threads);
        Ok(changed)
    }

    /// Takes into force what was prepared and opened.
    fn put(&self, running: &Running, mut prepared: Prepared, mut opened: Opened) -> Result<Running, Failure> {
        let change = std::mem::take(&mut opened.change);
        let ways: Vec<Way> = std::mem::take(&mut prepared.ways);
        // Where rows go other ways behind a stage, what it was before would not fit there.
        let is_rewired = |at: usize| {
            let name = &prepared.config.stages[at].name;
            let edges = |config: &Config, plan: &Plan| {
                config
                    .stages
                    .iter()
                    .position(|stage| stage.name == *name)
                    .map(|at| targets(config, plan, &plan.stages[at]))
            };
            edges(&running.config, &running.plan) != edges(&prepared.config, &prepared.plan)
        };
        let commit = || {
            for (at, way) in ways.into_iter().enumerate() {
                if let Way::Changed(candidate) = way {
                    prepared.stages[at].publish(*candidate);
                    if is_rewired(at) {
                        prepared.stages[at].settle();
                    }
                }
            }
            Running::wire(&prepared, &opened);
        };
        self.control.change(change, commit).map_err(|error| Failure::failed(format!("not changed: {error}")))?;
        for (at, shadow) in std::mem::take(&mut prepared.shadows) {
            match shadow {
                Some((candidate, every)) => prepared.stages[at].shadow(candidate, every),
                None => drop(prepared.stages[at].end_shadow()),
            }
        }
        Ok(Running::of(prepared, opened))
    }
}

impl Running {
    fn of(mut prepared: Prepared, opened: Opened) -> Running {
        Running::wire(&prepared, &opened);
        for (at, shadow) in std::mem::take(&mut prepared.shadows) {
            if let Some((candidate, every)) = shadow {
                prepared.stages[at].shadow(candidate, every);
            }
        }
        let names = prepared.config.stages.iter().map(|stage| stage.name.clone());
        let stages = names.zip(prepared.stages.into_iter().zip(prepared.outs));
        Running {
            stages: stages.map(|(name, (loaded, out))| RunningStage { name, loaded, out }).collect(),
            config: prepared.config,
            plan: prepared.plan,
            host: prepared.host,
            metrics: prepared.metrics,
            tables: prepared.tables,
            budgets: prepared.budgets,
            sockets: opened.sockets,
            rosters: opened.rosters,
            listeners: opened.listeners,
            wanted: opened.wanted,
            reading: opened.reading,
            event_threads: opened.event_threads,
        }
    }

    /// Leads the alerts of the stages where they are to go.
    fn wire(prepared: &Prepared, opened: &Opened) {
        for (at, out) in prepared.outs.iter().enumerate() {
            let heard = prepared.plan.event_sinks.iter().filter(|(_, stages)| stages.contains(&at));
            let targets = heard.filter_map(|(sink, _)| opened.listeners.get(&prepared.config.sinks[*sink].name));
            out.set(targets.cloned().collect());
        }
    }
}

impl Started {
    /// Waits for the end of everything.
    pub(crate) fn wait(self) -> Result<(), RunError> {
        let outcome = self.pipeline.wait();
        // Whatever ended it, nothing that waits for `stop` is needed any more.
        self.collector.stop.cancel();
        let threads = {
            let mut running = self.collector.running.write().unwrap_or_else(PoisonError::into_inner);
            running.stages.iter().for_each(|stage| stage.out.set(Vec::new()));
            running.listeners.clear();
            std::mem::take(&mut running.event_threads)
        };
        for thread in threads {
            // A panic there has been printed; the books are right all the same.
            drop(thread.join());
        }
        outcome
    }
}

/// The first configuration has nothing to keep.
fn new<T>(parts: Vec<Part<T>>) -> Vec<T> {
    let new = parts.into_iter().filter_map(|part| match part {
        Part::New(entry) => Some(entry),
        Part::Kept(..) => None,
    });
    new.collect()
}

/// Edges by the names of what they lead to.
fn targets(config: &Config, plan: &Plan, edges: &[sluice_pipeline::Edge]) -> Vec<String> {
    let name = |edge: &sluice_pipeline::Edge| {
        let target = match edge.target {
            sluice_pipeline::Target::Stage(at) => &config.stages[at].name,
            sluice_pipeline::Target::Sink(at) => &config.sinks[plan.row_sinks[at]].name,
        };
        format!("{:?} {target}", edge.selection)
    };
    edges.iter().map(name).collect()
}

/// What is to change, for people.
fn changed(running: &Running, prepared: &Prepared, differs: &Differs) -> Changed {
    let names = |config: &Config| {
        let sources = config.sources.iter().map(|source| format!("sources.{}", source.name));
        let stages = config.stages.iter().map(|stage| format!("stages.{}", stage.name));
        let sinks = config.sinks.iter().map(|sink| format!("sinks.{}", sink.name));
        sources.chain(stages).chain(sinks).collect::<Vec<_>>()
    };
    let (old, new) = (names(&running.config), names(&prepared.config));
    let mut changed = Changed {
        added: new.iter().filter(|name| !old.contains(name)).cloned().collect(),
        removed: old.iter().filter(|name| !new.contains(name)).cloned().collect(),
        ..Changed::default()
    };
    for name in new.iter().filter(|name| old.contains(name)) {
        let is_changed = match name.split_once('.') {
            Some(("stages", stage)) => {
                let at = prepared.config.stages.iter().position(|found| found.name == stage);
                at.is_some_and(|at| !matches!(prepared.ways[at], Way::Kept)) || differs.shadow(stage)
            }
            Some((kind, name)) => differs.endpoint(kind, name),
            None => false,
        };
        if is_changed {
            changed.changed.push(name.clone());
        }
    }
    let all = |config: &Config, plan: &Plan| {
        let sources = config.sources.iter().zip(&plan.sources).map(|(source, edges)| (source.name.clone(), edges));
        let stages = config.stages.iter().zip(&plan.stages).map(|(stage, edges)| (stage.name.clone(), edges));
        sources.chain(stages).map(|(name, edges)| (name, targets(config, plan, edges))).collect::<BTreeMap<_, _>>()
    };
    changed.rewired = all(&running.config, &running.plan) != all(&prepared.config, &prepared.plan);
    changed
}
