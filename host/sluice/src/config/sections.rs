//! The tables of the file that belong to no component of another crate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sluice_plugin::QuarantineRules;
use toml::Spanned;

/// `[admin]`: metrics, health and the API over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminConfig {
    /// Address and port. Default `127.0.0.1:9188`: reachable from this machine only.
    #[serde(default = "default_admin")]
    pub(crate) listen: SocketAddr,
    /// File of those who may use the API, e.g. `"tokens.toml"`; relative to the configuration file. `sluice token` writes it,
    /// and a SIGHUP reads it again. Default: there is no API, only metrics and health.
    #[serde(default)]
    pub(crate) tokens: Option<Spanned<PathBuf>>,
}

fn default_admin() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9188))
}

/// `[plugins]`: which plugins from files may run (built-in ones always may), and what it may take.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginsConfig {
    /// Public keys of `sluice plugin keygen`, e.g. `["operator.pub"]`. A plugin with a signature beside it (`x.wasm.sig`)
    /// has to be signed by one of them, and its signer is in the metrics. Default: none, signatures are not looked at.
    #[serde(default)]
    pub(crate) keys: Vec<Spanned<PathBuf>>,
    /// Whether a plugin without a signature is refused: by `check`, by `run`, and as a new version of one that runs. Needs
    /// `keys`. Default false.
    pub(crate) require_signature: Option<Spanned<bool>>,
    /// Whether a plugin is refused that is not the one in `sluice.lock`, which `sluice lock` writes beside this file. Default
    /// false.
    pub(crate) locked: Option<Spanned<bool>>,
    /// Bytes of memory that compiling one plugin may take, in a process of its own; a plugin that takes more is refused.
    /// Default 4 294 967 296 (4 GiB); 268 435 456 (256 MiB) or more.
    pub(crate) compile_memory_bytes: Option<Spanned<u64>>,
    /// Seconds that compiling one plugin may take, e.g. `300` for a large one on a slow machine. Default 120; 1 to 86400.
    pub(crate) compile_seconds: Option<Spanned<u64>>,
    /// Bytes of memory that a process of stages with `isolation = "process"` may have: all their instances, code and tables.
    /// Default 4 294 967 296 (4 GiB); 134 217 728 (128 MiB) or more.
    pub(crate) process_memory_bytes: Option<Spanned<u64>>,
}

/// `[columns.NAME]`: a column that an operator adds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnConfig {
    /// What it holds: `u8`, `u16`, `u32`, `u64`, `text` or `lists`.
    pub(crate) width: Spanned<String>,
    /// Information element it is read from: `{ enterprise = 35632, id = 57 }`; `enterprise` is 0 for IANA's.
    pub(crate) element: Option<ElementConfig>,
}

/// An information element.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ElementConfig {
    /// Private enterprise number. Default 0: IANA.
    #[serde(default)]
    pub(crate) enterprise: u32,
    /// Element id, below 32768.
    pub(crate) id: Spanned<u16>,
}

/// `on_error` of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnErrorConfig {
    /// The rows end here, counted.
    #[default]
    Drop,
    /// The rows go on as they came.
    Pass,
    /// The rows go to whoever has `NAME.dead-letter` among its inputs.
    DeadLetter,
    /// The pipeline stops.
    Stop,
}

/// `shadow` of a stage: a candidate that runs beside its plugin, with the same configuration, grant and limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowConfig {
    /// Path of the component, or name of a built-in plugin. Required.
    pub(crate) plugin: String,
    /// It gets a copy of every so many batches of each instance. Default 10.
    #[serde(default = "default_shadow_every")]
    pub(crate) every: u32,
}

fn default_shadow_every() -> u32 {
    10
}

/// `require` of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Require {
    /// No address gets here as it came.
    Anonymised,
}

/// `record` of a stage: calls of its plugin in files, to be repeated with `sluice plugin replay`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordConfig {
    /// Directory for the files, relative to the configuration file; it is made if it is not there. The files hold what
    /// the plugin read (addresses, and of a private stage what it is there to hide) and its `config`; only their owner can
    /// read them. Required.
    pub(crate) dir: PathBuf,
    /// Traps that are kept, and as many of the batches that `every` asks for; the oldest are removed. A trap at a place that
    /// has a file already is not written again. Default 10.
    #[serde(default = "default_record_files")]
    pub(crate) max_files: usize,
    /// Bytes that the files of the stage may have together; the oldest are removed. Default 268 435 456 (256 MiB).
    #[serde(default = "default_record_bytes")]
    pub(crate) max_bytes: u64,
    /// Records every so many batches of an instance too, whatever comes of them, e.g. `1000`. Default 0: traps only.
    #[serde(default)]
    pub(crate) every: u32,
}

fn default_record_files() -> usize {
    10
}

fn default_record_bytes() -> u64 {
    256 << 20
}

/// `quarantine` of a stage: when its plugin is not called any more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineConfig {
    /// Batches and ticks that end in a trap, all instances together, after which it begins. Default 5; 0: never; at most 1000.
    #[serde(default = "default_traps")]
    pub(crate) traps: u32,
    /// Milliseconds in which they do. Default 60 000.
    #[serde(default = "default_within_ms")]
    pub(crate) within_ms: u64,
    /// Milliseconds until one batch tries it again. Twice as long after each that traps too. Default 10 000.
    #[serde(default = "default_retry_after_ms")]
    pub(crate) retry_after_ms: u64,
    /// The longest that this gets, in milliseconds. Default 600 000.
    #[serde(default = "default_max_retry_after_ms")]
    pub(crate) max_retry_after_ms: u64,
}

impl Default for QuarantineConfig {
    fn default() -> QuarantineConfig {
        QuarantineConfig {
            traps: default_traps(),
            within_ms: default_within_ms(),
            retry_after_ms: default_retry_after_ms(),
            max_retry_after_ms: default_max_retry_after_ms(),
        }
    }
}

impl QuarantineConfig {
    /// As the plugin host wants it; none if it never begins.
    pub(crate) fn rules(&self) -> Option<QuarantineRules> {
        (self.traps > 0).then(|| QuarantineRules {
            traps: self.traps,
            within: Duration::from_millis(self.within_ms),
            retry_after: Duration::from_millis(self.retry_after_ms),
            max_retry_after: Duration::from_millis(self.max_retry_after_ms),
        })
    }
}

fn default_traps() -> u32 {
    QuarantineRules::default().traps
}

fn default_within_ms() -> u64 {
    QuarantineRules::default().within.as_millis() as u64
}

fn default_retry_after_ms() -> u64 {
    QuarantineRules::default().retry_after.as_millis() as u64
}

fn default_max_retry_after_ms() -> u64 {
    QuarantineRules::default().max_retry_after.as_millis() as u64
}
