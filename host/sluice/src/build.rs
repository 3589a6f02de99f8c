//! From a plan to a pipeline: first everything that opens no socket, then the sockets.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_endpoints::capture;
use sluice_endpoints::kafka::Transactions;
use sluice_endpoints::sinks::{EventsSink, FileFormat, FileSink, KafkaSink, NullSink, StdoutSink};
use sluice_endpoints::sources::{CaptureSource, KafkaSource, Reading, UdpSockets};
use sluice_flow::ColumnSet;
use sluice_kit::lent::columns;
use sluice_pipeline::{
    EventOut, EventQueue, Grace, Kind, Metrics, Pipeline, SinkEntry, SourceEntry, StageEntry, StageSet, Stop, chain,
    event_channel,
};
use sluice_plugin::recording::RecordSpec;
use sluice_plugin::tables::Tables;
use sluice_plugin::{ComponentSource, Grant, Granted, Host, HostSettings, Loaded, OnError, Services, StageSpec};

use crate::config::{Config, ConfigError, Instances, Named, OnErrorConfig, SinkKind, SourceKind, Stage, did_you_mean};
use crate::failure::Failure;
use crate::plan::{Plan, plan};
use crate::transaction::{self, Scope};

include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

/// Alerts that may wait for an `events` sink; more are counted as lost.
const EVENT_QUEUE: usize = 1024;

/// A configuration with its plugins and tables loaded: everything but sockets and files to write.
pub(crate) struct Prepared {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    scopes: Vec<Scope>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) stages: Vec<Arc<Loaded>>,
    events: Vec<(usize, EventQueue)>,
}

/// Loads and checks everything that a configuration names.
///
/// # Errors
/// The first mistake, with its place in the file.
pub(crate) fn prepare(config: Config) -> Result<Prepared, Failure> {
    let plan = plan(&config)?;
    let scopes = transaction::scopes(&config, &plan)?;
    let metrics = Metrics::new();
    let cache_dir = config.cache_dir.clone().or_else(user_cache);
    let host = Host::new(HostSettings { cache_dir, ..HostSettings::default() }, Arc::clone(&metrics))
        .map_err(|error| Failure::running("plugins cannot be run", error))?;
    let tables = Arc::new(config.lent.load_tables(&config.doc)?);
    let keys = Arc::new(config.lent.load_keys(&config.doc)?);
    let assets = Arc::new(config.lent.load_assets(&config.doc)?);
    captures(&config)?;

    let mut outs = vec![EventOut::default(); config.stages.len()];
    let mut events = Vec::new();
    for (sink, heard) in &plan.event_sinks {
        let labels = vec![("sink", config.sinks[*sink].name.clone())];
        let lost = metrics.counter("sluice_sink_events_lost", "Alerts that found the queue full.", labels);
        let (out, queue) = event_channel(EVENT_QUEUE, lost);
        for stage in heard {
            outs[*stage].join(&out);
        }
        events.push((*sink, queue));
    }

    let mut stages = Vec::new();
    for (stage, events) in config.stages.iter().zip(outs) {
        let services = Services {
            tables: Arc::clone(&tables),
            keys: Arc::clone(&keys),
            assets: Arc::clone(&assets),
            events,
            ..Services::default()
        };
        let spec = stage_spec(&config, stage, services)?;
        let loaded = Loaded::load(&host, spec.clone()).map_err(|error| {
            let path = format!("stages.{}", stage.name);
            config.doc.error(stage.span.clone(), &path, chain(&error.kind))
        })?;
        if let Some(state) = &stage.value.state
            && !(loaded.exports().1 && instances(stage, &loaded) != Instances::PerWorker)
        {
            let problem = "`state` is for a plugin that exports `state` and has one instance for all workers or one per \
                           partition; leave it out";
            return Err(config.doc.error(state.span(), &format!("stages.{}", stage.name), problem).into());
        }
        let has_kafka = || config.sources.iter().any(|source| matches!(source.value.kind, SourceKind::Kafka(_)));
        if instances(stage, &loaded) == Instances::PerPartition && !has_kafka() {
            let problem = "`instances = \"per-partition\"` needs a source of type `kafka`; use `one`";
            return Err(config.doc.error(stage.span.clone(), &format!("stages.{}", stage.name), problem).into());
        }
        shadow(&config, stage, &loaded, spec)?;
        stages.push(loaded);
    }
    Ok(Prepared { config, plan, scopes, metrics, tables, stages, events })
}

/// Starts the candidate of a stage, if it has one.
fn shadow(config: &Config, stage: &Named<Stage>, loaded: &Loaded, spec: StageSpec) -> Result<(), ConfigError> {
    let Some(shadow) = &stage.value.shadow else { return Ok(()) };
    let path = format!("stages.{}.shadow", stage.name);
    let component = component(config, &path, &shadow.get_ref().plugin, shadow.span(), None)?;
    let candidate = loaded
        .candidate(&StageSpec { component, ..spec })
        .map_err(|error| config.doc.error(shadow.span(), &path, chain(&error.kind)))?;
    loaded.shadow(candidate, shadow.get_ref().every);
    Ok(())
}

/// How many instances a stage has: where nothing is said, one if its state has to see every row.
fn instances(stage: &Named<Stage>, loaded: &Loaded) -> Instances {
    let fitting = if loaded.manifest().stateful { Instances::One } else { Instances::PerWorker };
    stage.value.instances.unwrap_or(fitting)
}

/// Where compiled plugins are kept if nobody says.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    base.is_absolute().then(|| base.join("sluice"))
}

/// Looks whether the captures can be read, so that `check` finds what `run` would.
fn captures(config: &Config) -> Result<(), ConfigError> {
    for source in &config.sources {
        let SourceKind::Capture(capture) = &source.value.kind else { continue };
        for path in &capture.paths {
            if let Err(error) = capture::open(path) {
                let place = format!("sources.{}", source.name);
                return Err(config.doc.error(source.span.clone(), &place, chain(&error)));
            }
        }
    }
    Ok(())
}

fn stage_spec(config: &Config, stage: &Named<Stage>, services: Services) -> Result<StageSpec, ConfigError> {
    let path = format!("stages.{}", stage.name);
    let value = &stage.value;
    let component = component(config, &path, value.plugin.get_ref(), value.plugin.span(), value.sha256)?;
    let is_built_in = matches!(component, ComponentSource::Embedded { .. });
    let grant = match &value.grant {
        Some(grant) => Grant::Listed(config.lent.granted(
            &config.doc,
            &config.schema,
            &format!("{path}.grant"),
            grant.get_ref(),
        )?),
        None if is_built_in => Grant::Requested,
        None => Grant::Listed(Granted::default()),
    };
    let is_private = hides(value);
    let on_error = match value.on_error.get_ref() {
        OnErrorConfig::Pass if is_private => {
            let problem = "`on_error = \"pass\"` would let rows through that this stage is there to hide; \
                           use `drop`, `dead-letter` or `stop`";
            return Err(config.doc.error(value.on_error.span(), &path, problem));
        }
        OnErrorConfig::Drop => OnError::Drop,
        OnErrorConfig::Pass => OnError::Pass,
        OnErrorConfig::DeadLetter => OnError::DeadLetter,
        OnErrorConfig::Stop => OnError::Stop,
    };
    Ok(StageSpec {
        name: stage.name.clone(),
        component,
        config_json: value.config_json.clone(),
        grant,
        on_error,
        limits: value.limits.limits(),
        is_private,
        state: value.state.as_ref().map(|path| base(config).join(path.get_ref())),
        rollback_window: Duration::from_millis(value.rollback_window_ms),
        record: value.record.as_ref().map(|record| RecordSpec {
            dir: base(config).join(&record.dir),
            max_files: record.max_files,
            max_bytes: record.max_bytes,
            every: record.every,
        }),
        services,
        schema: Arc::clone(&config.schema),
    })
}

/// Whether the stage hides something: if it says so, is our own anonymiser or holds a key.
fn hides(stage: &Stage) -> bool {
    let holds_key = stage.grant.as_ref().is_some_and(|grant| !grant.get_ref().keys.is_empty());
    stage.is_private.unwrap_or(stage.plugin.get_ref() == "reducer" || holds_key)
}

/// What paths in the file are relative to.
fn base(config: &Config) -> &std::path::Path {
    config.doc.file.parent().unwrap_or(std::path::Path::new(""))
}

fn component(
    config: &Config,
    path: &str,
    plugin: &str,
    span: std::ops::Range<usize>,
    sha256: Option<[u8; 32]>,
) -> Result<ComponentSource, ConfigError> {
    if plugin.contains('/') || plugin.ends_with(".wasm") {
        return Ok(ComponentSource::File { path: base(config).join(plugin), sha256 });
    }
    let error = |problem: String| config.doc.error(span.clone(), path, problem);
    let Some((name, bytes)) = BUILT_IN.iter().copied().find(|(name, _)| *name == plugin) else {
        let known: Vec<String> = BUILT_IN.iter().map(|(name, _)| format!("`{name}`")).collect();
        let near = did_you_mean(plugin, BUILT_IN.iter().map(|(name, _)| *name));
        let known = known.join(", ");
        return Err(error(format!(
            "no built-in plugin `{plugin}`; there are {known}, or give a path to a .wasm file{near}"
        )));
    };
    if sha256.is_some() {
        return Err(error("`sha256` is for plugins from files; this one is built in".to_owned()));
    }
    Ok(ComponentSource::Embedded { name, bytes })
}

impl Prepared {
    /// Columns that somebody reads or may come to read by a hot swap: the others are not decoded.
    pub(crate) fn wanted(&self) -> Result<ColumnSet, Failure> {
        let mut wanted = ColumnSet::EMPTY;
        for (stage, loaded) in self.config.stages.iter().zip(&self.stages) {
            let path = format!("stages.{}", stage.name);
            wanted = match &stage.value.grant {
                Some(grant) => {
                    wanted.union(columns(&self.config.doc, &self.config.schema, &path, &grant.get_ref().read)?)
                }
                None => wanted.union(loaded.manifest().reads),
            };
        }
        for sink in &self.config.sinks {
            let invalid = |error: sluice_endpoints::Invalid| {
                self.config.doc.error(sink.span.clone(), &format!("sinks.{}", sink.name), error.to_string())
            };
            wanted = wanted.union(match &sink.value.kind {
                SinkKind::Stdout(config) => config.reads(&self.config.schema).map_err(invalid)?,
                SinkKind::File(config) => config.reads(&self.config.schema).map_err(invalid)?,
                SinkKind::Kafka(config) => config.reads(&self.config.schema).map_err(invalid)?,
                SinkKind::Null(_) | SinkKind::Events(_) => ColumnSet::EMPTY,
            });
        }
        Ok(wanted)
    }

    /// Opens sockets and files and wires everything. `on_bound` is told where each UDP source listens.
    ///
    /// # Errors
    /// A port that is taken, a file that cannot be opened.
    pub(crate) fn open(
        mut self,
        stop: &Stop,
        mut on_bound: impl FnMut(&str, std::net::SocketAddr),
    ) -> Result<(Pipeline, Vec<std::thread::JoinHandle<()>>), Failure> {
        let wanted = self.wanted()?;
        let transactions = self.transactions()?;
        let by_partition =
            self.config.stages.iter().any(|stage| stage.value.instances == Some(Instances::PerPartition));
        let reading = Reading { keep_unknown: self.keeps_unknown(), by_partition };
        let mut sources = Vec::new();
        for (at, edges) in std::mem::take(&mut self.plan.sources).into_iter().enumerate() {
            let source = &self.config.sources[at];
            let account = self.metrics.account(Kind::Source, &source.name);
            let what = format!("sources.{}", source.name);
            let schema = Arc::clone(&self.config.schema);
            let runners: Vec<Box<dyn sluice_pipeline::Source>> = match &source.value.kind {
                SourceKind::Udp(config) => {
                    let sockets =
                        UdpSockets::bind(&source.name, config).map_err(|error| Failure::running(what, error))?;
                    on_bound(&source.name, sockets.local_addr());
                    let sources = sockets.sources(&schema, wanted, &self.metrics);
                    sources.into_iter().map(|source| Box::new(source) as Box<dyn sluice_pipeline::Source>).collect()
                }
                SourceKind::Capture(config) => {
                    let source = CaptureSource::open(&source.name, config, &schema, wanted, &self.metrics)
                        .map_err(|error| Failure::running(what, error))?;
                    vec![Box::new(source)]
                }
                SourceKind::Kafka(config) => {
                    let open = self.transactions_of(&transactions, |scope| scope.source == at);
                    let sources =
                        KafkaSource::open(&source.name, config, (&schema, wanted), reading, open, &self.metrics);
                    let sources = sources.map_err(|error| Failure::running(what, error))?;
                    sources.into_iter().map(|source| Box::new(source) as Box<dyn sluice_pipeline::Source>).collect()
                }
            };
            sources.push(SourceEntry { runners, account, queue: source.value.queue, edges });
        }

        for stage in self.config.stages.iter().filter(|stage| stage.value.record.is_some()) {
            if hides(&stage.value) {
                tracing::warn!(stage = %stage.name, "recordings of this stage hold what it is there to hide");
            }
        }
        let mut stages = Vec::new();
        for (at, edges) in std::mem::take(&mut self.plan.stages).into_iter().enumerate() {
            let account = self.metrics.account(Kind::Stage, &self.config.stages[at].name);
            stages.push(StageEntry { stages: self.instances(at), account, edges });
        }

        let mut sinks = Vec::new();
        for at in &self.plan.row_sinks {
            let open = self.transactions_of(&transactions, |scope| scope.sinks.contains(at));
            sinks.push(self.sink(*at, open, stop)?);
        }
        let mut event_threads = Vec::new();
        for (at, queue) in std::mem::take(&mut self.events) {
            let sink = &self.config.sinks[at];
            let SinkKind::Events(config) = &sink.value.kind else { continue };
            let started = EventsSink::open(&sink.name, config, &self.metrics).and_then(|opened| opened.start(queue));
            let what = || format!("sinks.{}", sink.name);
            event_threads.push(started.map_err(|error| Failure::running(what(), error))?);
        }
        let pipeline = Pipeline {
            sources,
            stages,
            sinks,
            workers: self.config.workers,
            grace: Grace(Duration::from_millis(self.config.shutdown_grace_ms)),
        };
        Ok((pipeline, event_threads))
    }

    fn instances(&self, at: usize) -> StageSet {
        let loaded = &self.stages[at];
        match instances(&self.config.stages[at], loaded) {
            Instances::One => StageSet::one(loaded.instance()),
            Instances::PerPartition => StageSet::one(loaded.instance_per_partition()),
            Instances::PerWorker => StageSet::each((0..self.config.workers).map(|_| loaded.instance()).collect()),
        }
    }

    /// A transactional producer for each scope.
    fn transactions(&self) -> Result<Vec<Arc<Transactions>>, Failure> {
        let open = |scope: &Scope| {
            let source = &self.config.sources[scope.source];
            let sink = scope.sinks.first().map(|sink| &self.config.sinks[*sink]);
            let (SourceKind::Kafka(from), Some(sink)) = (&source.value.kind, sink) else {
                unreachable!("a scope is of a Kafka source and has sinks")
            };
            let SinkKind::Kafka(to) = &sink.value.kind else { unreachable!("a scope has Kafka sinks only") };
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let id = from.transactional_id.clone().unwrap_or_else(|| format!("{}-{}-{host}", from.group, source.name));
            KafkaSink::transactions(&sink.name, to, &id, &self.metrics)
                .map_err(|error| Failure::running(format!("sources.{}", source.name), error))
        };
        self.scopes.iter().map(open).collect()
    }

    fn transactions_of<'t>(
        &self,
        open: &'t [Arc<Transactions>],
        is_it: impl Fn(&Scope) -> bool,
    ) -> Option<&'t Arc<Transactions>> {
        self.scopes.iter().zip(open).find(|(scope, _)| is_it(scope)).map(|(_, open)| open)
    }

    /// Whether some sink can write fields that sluice does not know.
    fn keeps_unknown(&self) -> bool {
        self.config.sinks.iter().any(|sink| match &sink.value.kind {
            SinkKind::Kafka(config) => config.keeps_unknown(),
            SinkKind::File(config) => config.format == FileFormat::Protobuf,
            SinkKind::Stdout(_) | SinkKind::Null(_) | SinkKind::Events(_) => false,
        })
    }

    fn sink(&self, at: usize, transactions: Option<&Arc<Transactions>>, stop: &Stop) -> Result<SinkEntry, Failure> {
        let sink = &self.config.sinks[at];
        let (name, schema, queue) = (&sink.name, &self.config.schema, sink.value.queue);
        let account = self.metrics.account(Kind::Sink, name);
        let what = || format!("sinks.{name}");
        Ok(match &sink.value.kind {
            SinkKind::Stdout(config) => {
                let opened = StdoutSink::new(name, config, schema, stop.clone());
                SinkEntry::new(opened.map_err(|error| Failure::running(what(), error))?, account, queue)
            }
            SinkKind::File(config) => {
                let opened = FileSink::open(name, config, schema);
                SinkEntry::new(opened.map_err(|error| Failure::running(what(), error))?, account, queue)
            }
            SinkKind::Kafka(config) => {
                let opened = match transactions {
                    Some(transactions) => KafkaSink::open_in(name, config, schema, transactions),
                    None => KafkaSink::open(name, config, schema, &self.metrics),
                };
                SinkEntry::new(opened.map_err(|error| Failure::running(what(), error))?, account, queue)
            }
            SinkKind::Null(_) => SinkEntry::new(NullSink, account, queue),
            SinkKind::Events(_) => unreachable!("the plan keeps sinks of alerts apart"),
        })
    }
}
