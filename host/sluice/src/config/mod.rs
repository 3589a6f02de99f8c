//! The TOML file: what can be written in it, and reading it with the place of every mistake.

mod read;
mod sections;
pub(crate) mod tenants;

use std::path::PathBuf;
use std::sync::Arc;

use sluice_endpoints::sinks::{EventsConfig, FileConfig, KafkaSinkConfig, NullConfig, StdoutConfig};
use sluice_endpoints::sources::{CaptureConfig, KafkaSourceConfig, UdpConfig};
use sluice_flow::Schema;
use toml::Spanned;

use self::tenants::Tenant;
pub(crate) use read::{LoadError, again, load, load_after};
pub(crate) use sections::{
    AdminConfig, OnErrorConfig, PluginsConfig, QuarantineConfig, RecordConfig, Require, ShadowConfig,
};
pub(crate) use sluice_kit::document::{ConfigError, Document, Named, Table, did_you_mean, named};
use sluice_kit::lent::{GrantConfig, Lent, LimitsConfig};

/// A whole configuration: read, with every name and value in its place, but not yet wired.
#[derive(Debug)]
pub(crate) struct Config {
    /// The text, for errors found later.
    pub(crate) doc: Document,
    /// `workers`: threads that run stages. Default: one per core.
    pub(crate) workers: usize,
    /// `shutdown_grace_ms`: how long draining may take after a signal. Default 10 000.
    pub(crate) shutdown_grace_ms: u64,
    /// `cache_dir`: where compiled plugins are kept. Default: `sluice` in the user's cache directory.
    pub(crate) cache_dir: Option<PathBuf>,
    /// `admin`: a table; metrics, health and the API are served over HTTP if it is there.
    pub(crate) admin: Option<AdminConfig>,
    /// `plugins`: a table; which plugins from files may run, and what compiling them may take. Default: any.
    pub(crate) plugins: PluginsConfig,
    /// The standard columns and those of `[columns.NAME]`.
    pub(crate) schema: Arc<Schema>,
    pub(crate) sources: Vec<Named<Source>>,
    /// Those of the file, then those that tenants are made of.
    pub(crate) stages: Vec<Named<Stage>>,
    /// Those whose plugins run on rows of their own.
    pub(crate) tenants: Vec<Named<Tenant>>,
    pub(crate) sinks: Vec<Named<Sink>>,
    /// Tables, keys and assets.
    pub(crate) lent: Lent,
}

/// `[sources.NAME]`.
#[derive(Debug)]
pub(crate) struct Source {
    /// `queue`: batches that may wait for a worker. Default 8.
    pub(crate) queue: usize,
    /// `type`: `udp`, `capture` or `kafka`. Required.
    pub(crate) kind: SourceKind,
}

/// `type` of a source.
#[derive(Debug)]
pub(crate) enum SourceKind {
    Udp(UdpConfig),
    Capture(CaptureConfig),
    Kafka(Box<KafkaSourceConfig>),
}

/// `[stages.NAME]`.
#[derive(Debug)]
pub(crate) struct Stage {
    /// `inputs`: sources and stages whose rows it gets. Required.
    pub(crate) inputs: Vec<Spanned<String>>,
    /// `plugin`: name of a built-in plugin, or a path with a `/` or ending in `.wasm`. Required.
    pub(crate) plugin: Spanned<String>,
    /// `sha256`: the component must have this digest. For plugins from files.
    pub(crate) sha256: Option<[u8; 32]>,
    /// `grant`: what the plugin may do. Default: what a built-in plugin asks for, and nothing for others.
    pub(crate) grant: Option<Spanned<GrantConfig>>,
    /// `on_error`: what becomes of a batch that the plugin cannot process: `drop`, `pass` (the rows go on as they
    /// came), `dead-letter` or `stop` (the whole pipeline). Default `drop`.
    pub(crate) on_error: Spanned<OnErrorConfig>,
    /// `retries`: times that a batch is given again to a plugin that answers `retry-later`. Default 2; at most 100.
    pub(crate) retries: u32,
    /// `bisect`: a batch that ends the plugin's instance, or is refused, is halved again and again until the rows that do it are
    /// alone; only they go by `on_error`. Not with `on_error = "stop"`. Default true.
    pub(crate) bisect: bool,
    /// `quarantine`: when the plugin is not called any more because it traps again and again, e.g. `{ traps = 5 }`; rows
    /// then go by `on_error` under the reason `quarantined`. Default: after 5 traps in a minute.
    pub(crate) quarantine: QuarantineConfig,
    /// `private`: the stage hides something, so its rows must never pass unprocessed. Default: true for
    /// `reducer` and for stages with keys.
    pub(crate) is_private: Option<bool>,
    /// `instances`: `"one"`, `"per-worker"`, or `"per-partition"` of Kafka, each with its own state. Default: one for stateful plugins.
    pub(crate) instances: Option<Instances>,
    /// `state`: file that keeps the plugin's state from run to run, e.g. `"dos.state"`; relative to the configuration
    /// file. With an instance per partition: directory of such files, shared by the processes of the group. Written
    /// every ten seconds of batch time, when a partition goes, and at the end. For stateful plugins. Default: the
    /// plugin begins empty.
    pub(crate) state: Option<Spanned<PathBuf>>,
    /// `record`: writes a file when a call ends the plugin's instance, e.g. `{ dir = "recordings" }`; what it costs is in
    /// `docs/howto/replay-a-trap.md`. Default: nothing is recorded.
    pub(crate) record: Option<RecordConfig>,
    /// `rollback_window_ms`: how long after an exchange of the plugin, its configuration or grant the version before is kept,
    /// with its state: if the new one traps or does not take the state in that time, the old one is put back by itself.
    /// Default 60 000; 0: never.
    pub(crate) rollback_window_ms: u64,
    /// `shadow`: a candidate that runs on copies of batches without effect, e.g. `{ plugin = "new.wasm", every = 10 }`;
    /// `sluice plugin shadow` shows what it does differently. Default: none.
    pub(crate) shadow: Option<Spanned<ShadowConfig>>,
    /// `isolation`: `"process"` runs the plugin in a process of its own, which has what the stage was granted and no files, so
    /// that what breaks out of the sandbox, or breaks the engine, has no more than that. Default `"thread"`.
    pub(crate) isolation: IsolationConfig,
    /// `process_group`: with `isolation = "process"`, a name; stages with the same one share a process, e.g. those of one tenant.
    /// Default: the stage has a process for itself.
    pub(crate) process_group: Option<String>,
    /// `limits`: what one instance may use.
    pub(crate) limits: LimitsConfig,
    /// `config`: a table for the plugin, which gets it as JSON.
    pub(crate) config_json: String,
}

/// `instances` of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Instances {
    One,
    PerWorker,
    PerPartition,
}

/// `isolation` of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IsolationConfig {
    #[default]
    Thread,
    Process,
}

/// `[sinks.NAME]`.
#[derive(Debug)]
pub(crate) struct Sink {
    /// `inputs`: sources and stages whose rows (for `events`: alerts) it gets. Required.
    pub(crate) inputs: Vec<Spanned<String>>,
    /// `queue`: batches that may wait; then whoever feeds it waits. Default 8.
    pub(crate) queue: usize,
    /// `require`: `"anonymised"` refuses a pipeline in which an address can reach this sink as it came. Default: nothing is
    /// required; `sluice check` says what can.
    pub(crate) require: Option<Spanned<Require>>,
    /// `allow`: with `require`, what may reach it all the same, e.g. `["exporter_addr", "note"]`: addresses, columns that may
    /// hold one, `route`, and `unknown` for fields that sluice does not know. Default: nothing.
    pub(crate) allow: Vec<Spanned<String>>,
    /// `type`: `stdout`, `file`, `kafka`, `null` or `events`. Required.
    pub(crate) kind: SinkKind,
}

/// `type` of a sink.
#[derive(Debug)]
pub(crate) enum SinkKind {
    Stdout(StdoutConfig),
    File(FileConfig),
    Kafka(Box<KafkaSinkConfig>),
    Null(NullConfig),
    Events(EventsConfig),
}
