//! From a plan to a pipeline: first everything that opens no socket, then the sockets.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_endpoints::capture;
use sluice_flow::ColumnSet;
use sluice_kit::lent::columns;
use sluice_pipeline::{EventOut, Metrics, chain};
use sluice_plugin::keys::Keys;
use sluice_plugin::outside::Outside;
use sluice_plugin::recording::RecordSpec;
use sluice_plugin::tables::Tables;
use sluice_plugin::{
    Assets, Budget, Candidate, ComponentSource, FailurePolicy, Grant, Granted, Host, HostSettings, Isolation,
    LoadError, Loaded, OnError, Services, StageSpec, Trust,
};

use crate::admin::tokens::Tokens;
use crate::cli::PLUGIN_PROCESS;
use crate::collector::Running;
use crate::config::tenants::{SELECT, Tenant, parts, path_of};
use crate::config::{
    Config, ConfigError, Instances, IsolationConfig, LoadError as NotLoaded, Named, OnErrorConfig, SinkKind,
    SourceKind, Stage, did_you_mean,
};
use crate::differs::Differs;
use crate::failure::Failure;
use crate::plan::{Plan, plan};
use crate::privacy;
use crate::transaction::{self, Scope};
use crate::trust;

include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

/// A configuration with its plugins and tables loaded: everything but sockets and files to write.
pub(crate) struct Prepared {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) host: Arc<Host>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) assets: Arc<Assets>,
    pub(crate) stages: Vec<Arc<Loaded>>,
    /// What is to be done with each of them.
    pub(crate) ways: Vec<Way>,
    /// Candidates that are to run beside, by place; none where the one that runs, if one does, is to end.
    pub(crate) shadows: Vec<(usize, Option<(Candidate, u32)>)>,
    /// Where each of them puts its alerts.
    pub(crate) outs: Vec<EventOut>,
    /// What the plugins of each tenant share.
    pub(crate) budgets: BTreeMap<String, Arc<Budget>>,
    /// Who may use the API, if there is one.
    pub(crate) tokens: Option<Arc<Tokens>>,
}

/// What becomes of a stage.
#[derive(Debug)]
pub(crate) enum Way {
    /// It is started.
    New,
    /// It goes on as it is.
    Kept,
    /// It goes on as another version.
    Changed(Box<Candidate>),
}

/// Loads and checks everything that a configuration names.
///
/// # Errors
/// The first mistake, with its place in the file.
pub(crate) fn prepare(config: Config) -> Result<Prepared, Failure> {
    prepare_after(config, None)
}

fn host_settings(config: &Config) -> HostSettings {
    let cache_dir = config.cache_dir.clone().or_else(user_cache);
    let or = |value: &Option<toml::Spanned<u64>>, default| value.as_ref().map_or(default, |value| *value.get_ref());
    let outside = Outside {
        compile_memory_bytes: or(&config.plugins.compile_memory_bytes, Outside::COMPILE_MEMORY_BYTES),
        compile_seconds: or(&config.plugins.compile_seconds, Outside::COMPILE_SECONDS),
        process_memory_bytes: or(&config.plugins.process_memory_bytes, Outside::PROCESS_MEMORY_BYTES),
        ..Outside::this_program(PLUGIN_PROCESS)
    };
    HostSettings { cache_dir, outside: Some(outside), fuel: false }
}

/// The same, for a collector that runs: what did not change is not loaded again, and nothing that runs is touched.
///
/// # Errors
/// The first mistake, and what cannot be changed without a restart.
pub(crate) fn prepare_after(config: Config, running: Option<&Running>) -> Result<Prepared, Failure> {
    let plan = plan(&config)?;
    let scopes = transaction::scopes(&config, &plan)?;
    let differs = running.map(|running| Differs::between(&running.config, &config)).transpose()?;
    let (host, metrics) = match running {
        Some(running) => (Arc::clone(&running.host), Arc::clone(&running.metrics)),
        None => {
            let metrics = Metrics::new();
            let host = Host::new(host_settings(&config), Arc::clone(&metrics))
                .map_err(|error| Failure::running("plugins cannot be run", error))?;
            (host, metrics)
        }
    };
    let tables_before = running.map(|running| Arc::clone(&running.tables)).unwrap_or_default();
    let tables = Arc::new(config.lent.load_tables_after(&tables_before, &config.doc)?);
    let keys = Arc::new(config.lent.load_keys(&config.doc)?);
    let assets = Arc::new(config.lent.load_assets(&config.doc)?);
    captures(&config)?;
    let trust = trust::trust(&config)?;
    let budgets = budgets(&config, running);
    // Of a collector that runs they are read again by themselves.
    let tokens = if running.is_none() { tokens(&config)? } else { None };

    let mut prepared = Prepared {
        config,
        plan,
        scopes,
        host,
        metrics,
        tables,
        keys,
        assets,
        stages: Vec::new(),
        ways: Vec::new(),
        shadows: Vec::new(),
        outs: Vec::new(),
        budgets,
        tokens,
    };
    for at in 0..prepared.config.stages.len() {
        prepared.stage(at, running, differs.as_ref(), &trust)?;
    }
    privacy::require(&prepared)?;
    Ok(prepared)
}

impl Prepared {
    /// CPU time of a stage: its own, or what it shares with the others of its tenant.
    fn budget(&self, stage: &Named<Stage>) -> Option<Arc<Budget>> {
        match parts(&stage.name) {
            Some((_, SELECT)) => None,
            Some((tenant, _)) => self.budgets.get(tenant).cloned(),
            None => stage.value.limits.budget(&stage.name),
        }
    }

    /// Loads a stage, or what it is to become.
    fn stage(
        &mut self,
        at: usize,
        running: Option<&Running>,
        differs: Option<&Differs>,
        trust: &Trust,
    ) -> Result<(), Failure> {
        let stage = &self.config.stages[at];
        let path = path_of(&stage.name);
        let before = running.and_then(|running| running.stage(&stage.name));
        let out = before.map(|before| before.out.clone()).unwrap_or_default();
        let services = Services {
            tables: Arc::clone(&self.tables),
            keys: Arc::clone(&self.keys),
            assets: Arc::clone(&self.assets),
            events: out.clone(),
            ..Services::default()
        };
        let spec =
            StageSpec { budget: self.budget(stage), ..stage_spec(&self.config, stage, trust.clone(), services)? };
        let refused = |error: LoadError| self.config.doc.error(stage.span.clone(), &path, chain(&error.kind));
        let (loaded, way) = match (before, differs) {
            (Some(before), Some(differs))
                if !differs.stage(stage, &spec.grant) && before.loaded.is_trusted_by(&spec.trust) =>
            {
                (Arc::clone(&before.loaded), Way::Kept)
            }
            (Some(before), Some(differs)) => {
                differs.check_stage(&self.config, stage)?;
                let candidate = before.loaded.candidate(&spec).map_err(refused)?;
                if before.loaded.fits(&candidate) {
                    (Arc::clone(&before.loaded), Way::Changed(Box::new(candidate)))
                } else {
                    // Another plugin has no use for what this one knows, and may need other instances.
                    (Loaded::load(&self.host, spec.clone()).map_err(refused)?, Way::New)
                }
            }
            _ => (Loaded::load(&self.host, spec.clone()).map_err(refused)?, Way::New),
        };
        if let Some(state) = &stage.value.state
            && !(loaded.exports().1 && instances(stage, &loaded) != Instances::PerWorker)
        {
            let problem = "`state` is for a plugin that exports `state` and has one instance for all workers or one per \
                           partition; leave it out";
            return Err(self.config.doc.error(state.span(), &path, problem).into());
        }
        let has_kafka = || self.config.sources.iter().any(|source| matches!(source.value.kind, SourceKind::Kafka(_)));
        if instances(stage, &loaded) == Instances::PerPartition && !has_kafka() {
            let problem = "`instances = \"per-partition\"` needs a source of type `kafka`; use `one`";
            return Err(self.config.doc.error(stage.span.clone(), &path, problem).into());
        }
        if !matches!(way, Way::Kept) || differs.is_some_and(|differs| differs.shadow(&stage.name)) {
            let shadow = shadow(&self.config, stage, &loaded, spec)?;
            self.shadows.push((at, shadow));
        }
        self.stages.push(loaded);
        self.ways.push(way);
        self.outs.push(out);
        Ok(())
    }
}

/// The budgets of tenants: one that has not changed goes on, with what is left of it.
fn budgets(config: &Config, running: Option<&Running>) -> BTreeMap<String, Arc<Budget>> {
    let budget = |tenant: &Named<Tenant>| {
        let new = tenant.value.limits().budget(&tenant.name)?;
        let old = running.and_then(|running| running.budgets.get(&tenant.name));
        let is_same = |old: &&Arc<Budget>| old.cpu_ms_per_s() == new.cpu_ms_per_s() && old.policy() == new.policy();
        Some((tenant.name.clone(), old.filter(is_same).map_or_else(|| Arc::clone(&new), Arc::clone)))
    };
    config.tenants.iter().filter_map(budget).collect()
}

/// The candidate that is to run beside a stage, if it has one.
fn shadow(
    config: &Config,
    stage: &Named<Stage>,
    loaded: &Loaded,
    spec: StageSpec,
) -> Result<Option<(Candidate, u32)>, ConfigError> {
    let Some(shadow) = &stage.value.shadow else { return Ok(None) };
    let path = format!("stages.{}.shadow", stage.name);
    let component = component(config, &path, &shadow.get_ref().plugin, shadow.span(), None)?;
    let candidate = loaded
        .candidate(&StageSpec { component, ..spec })
        .map_err(|error| config.doc.error(shadow.span(), &path, chain(&error.kind)))?;
    if !loaded.fits(&candidate) {
        let problem =
            "the candidate is another plugin, or keeps state while the stage's does not: it could not take over";
        return Err(config.doc.error(shadow.span(), &path, problem));
    }
    Ok(Some((candidate, shadow.get_ref().every)))
}

/// How many instances a stage has: where nothing is said, one if its state has to see every row.
pub(crate) fn instances(stage: &Named<Stage>, loaded: &Loaded) -> Instances {
    let fitting = if loaded.manifest().stateful { Instances::One } else { Instances::PerWorker };
    stage.value.instances.unwrap_or(fitting)
}

/// Where compiled plugins are kept if nobody says.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    base.is_absolute().then(|| base.join("sluice"))
}

/// Who may use the API.
fn tokens(config: &Config) -> Result<Option<Arc<Tokens>>, ConfigError> {
    let Some(file) = config.admin.as_ref().and_then(|admin| admin.tokens.as_ref()) else { return Ok(None) };
    let tokens = Tokens::load(file.get_ref()).map_err(|error| match error {
        NotLoaded::Config(mistake) => mistake,
        NotLoaded::Read { file: path, cause } => {
            let problem = format!("{} cannot be read: {cause}; `sluice token` makes it", path.display());
            config.doc.error(file.span(), "admin.tokens", problem)
        }
    })?;
    Ok(Some(Arc::new(tokens)))
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

fn stage_spec(
    config: &Config,
    stage: &Named<Stage>,
    trust: Trust,
    services: Services,
) -> Result<StageSpec, ConfigError> {
    let path = path_of(&stage.name);
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
        trust,
        config_json: value.config_json.clone(),
        grant,
        on_error,
        failure: FailurePolicy { retries: value.retries, bisect: value.bisect, quarantine: value.quarantine.rules() },
        limits: value.limits.limits(),
        budget: None,
        is_private,
        state: value.state.as_ref().map(|path| base(config).join(path.get_ref())),
        rollback_window: Duration::from_millis(value.rollback_window_ms),
        isolation: (value.isolation == IsolationConfig::Process).then(|| Isolation {
            // No name of a group has a space.
            group: value.process_group.clone().unwrap_or_else(|| format!("stage {}", stage.name)),
        }),
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
pub(crate) fn hides(stage: &Stage) -> bool {
    let holds_key = stage.grant.as_ref().is_some_and(|grant| !grant.get_ref().keys.is_empty());
    stage.is_private.unwrap_or(stage.plugin.get_ref() == "reducer" || holds_key)
}

/// What paths in the file are relative to.
pub(crate) fn base(config: &Config) -> &std::path::Path {
    config.doc.file.parent().unwrap_or(std::path::Path::new(""))
}

pub(crate) fn component(
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
        for ((stage, loaded), way) in self.config.stages.iter().zip(&self.stages).zip(&self.ways) {
            let path = path_of(&stage.name);
            wanted = match &stage.value.grant {
                Some(grant) => {
                    wanted.union(columns(&self.config.doc, &self.config.schema, &path, &grant.get_ref().read)?)
                }
                None => wanted.union(match way {
                    Way::Changed(candidate) => candidate.reads(),
                    Way::New | Way::Kept => loaded.reads(),
                }),
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
}
