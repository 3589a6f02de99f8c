//! What a stage is made of: the component, what the operator grants it, and what happens when it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_flow::{ColumnSet, Schema};
use sluice_pipeline::EventOut;

use crate::abi::Level as LogLevel;
use crate::budget::Budget;
use crate::keys::Keys;
use crate::limits::{DEFAULT_RETRIES, Limits};
use crate::quarantine::QuarantineRules;
use crate::recording::RecordSpec;
use crate::tables::Tables;
use crate::trust::Trust;

/// Everything that makes a plugin a stage of a pipeline.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// Name of the stage in the TOML; it is in every error, log line and metric.
    pub name: String,
    /// Where the code is.
    pub component: ComponentSource,
    /// Which components it may be.
    pub trust: Trust,
    /// The stage's `config` table as JSON; `{}` if there is none.
    pub config_json: String,
    /// What the plugin may do.
    pub grant: Grant,
    /// What becomes of a batch that the plugin fails on.
    pub on_error: OnError,
    /// What is tried before that.
    pub failure: FailurePolicy,
    /// What the plugin may use.
    pub limits: Limits,
    /// CPU time that it may use, and share with other stages; none: as much as there is.
    pub budget: Option<Arc<Budget>>,
    /// Whether the stage hides something (a reducer, an anonymiser): then [`OnError::Pass`] is refused,
    /// since it would let through what was to be hidden.
    pub is_private: bool,
    /// File that keeps the plugin's state from run to run; with an instance per partition, the directory of such files. Not for
    /// an instance per worker. The plugin has to export `state`.
    pub state: Option<PathBuf>,
    /// How long after an exchange the version before is kept, with its state, to be put back if the new one fails.
    pub rollback_window: Duration,
    /// Recordings to make of calls; none: no recordings.
    pub record: Option<RecordSpec>,
    /// What the host lends to the plugin, as far as it is granted.
    pub services: Services,
    /// The process that the plugin runs in; none: in the collector's.
    pub isolation: Option<Isolation>,
    /// The columns there are.
    pub schema: Arc<Schema>,
}

/// A plugin that runs in a process of its own, or of those that trust each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// Stages with the same name here share a process.
    pub group: String,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// A file, read again on [`reload`](crate::Loaded::reload).
    File {
        /// Path of the component.
        path: PathBuf,
        /// The SHA-256 it must have. A file with another one is refused.
        sha256: Option<[u8; 32]>,
    },
    /// A component that is part of the program. Never changes.
    Embedded {
        /// Name of the built-in plugin.
        name: &'static str,
        /// The component.
        bytes: &'static [u8],
    },
}

impl ComponentSource {
    /// What to call it in a message: the path, or the name of the built-in plugin.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            ComponentSource::File { path, .. } => path.display().to_string(),
            ComponentSource::Embedded { name, .. } => format!("built-in plugin `{name}`"),
        }
    }
}

/// What a plugin may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one per stage")]
pub enum Grant {
    /// Whatever its manifest asks for, alerts, and every table, key and asset there is: for built-in
    /// plugins without a `grant` in the TOML. What is outside the manifest is still refused.
    Requested,
    /// What is listed, and nothing else.
    Listed(Granted),
}

/// What an operator granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Columns the plugin may read.
    pub read: ColumnSet,
    /// Columns the plugin may write or clear.
    pub write: ColumnSet,
    /// Whether it may raise alerts.
    pub events: bool,
    /// Tables it may open.
    pub tables: BTreeSet<String>,
    /// Keys it may open.
    pub keys: BTreeSet<String>,
    /// Assets it may read.
    pub assets: BTreeSet<String>,
}

/// What becomes of the rows of a batch that the plugin failed on (trapped, took too long, refused).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// They are dropped under the reason of the failure.
    #[default]
    Drop,
    /// They go on as they came.
    Pass,
    /// They go to those who take the stage's `dead-letter` output.
    DeadLetter,
    /// They are dropped and the whole pipeline stops.
    Stop,
}

/// What is tried before rows go by [`OnError`], and when nothing is tried any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Times that a batch is given again to a plugin that answered `retry-later`.
    pub retries: u32,
    /// Whether a batch that ends an instance or is refused is halved again and again until the rows that do it are alone.
    /// Not with [`OnError::Stop`].
    pub bisect: bool,
    /// When the plugin is not called any more; none: it is always called.
    pub quarantine: Option<QuarantineRules>,
}

impl Default for FailurePolicy {
    fn default() -> FailurePolicy {
        FailurePolicy { retries: DEFAULT_RETRIES, bisect: true, quarantine: Some(QuarantineRules::default()) }
    }
}

/// What the host lends to plugins. One for all stages; each opens only what it was granted.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// Tables by name.
    pub tables: Arc<Tables>,
    /// Keys by name.
    pub keys: Arc<Keys>,
    /// Contents of the files that plugins may read, by name.
    pub assets: Arc<Assets>,
    /// Where alerts go.
    pub events: EventOut,
    /// Where log lines go.
    pub log: LogOut,
}

/// Where the log lines of plugins go.
#[derive(Clone, Debug, Default)]
pub enum LogOut {
    /// To the collector's log, as fast as the stage's limit allows.
    #[default]
    Collector,
    /// To whoever tries a plugin: all of them, up to [`MAX_KEPT_LINES`](crate::MAX_KEPT_LINES).
    Kept(Arc<Mutex<Vec<LogLine>>>),
}

/// A line that a plugin logged, or wrote to standard output or error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// On one line, cut at [`MAX_LOG_LINE`](crate::MAX_LOG_LINE).
    pub text: String,
}

/// Contents of asset files by name, as they were when the collector started.
pub type Assets = BTreeMap<String, Arc<Vec<u8>>>;

/// Which interfaces of the host a component may be linked with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linkable {
    pub(crate) events: bool,
    pub(crate) tables: bool,
    pub(crate) keys: bool,
    pub(crate) assets: bool,
}

impl Grant {
    pub(crate) fn linkable(&self) -> Linkable {
        match self {
            Grant::Requested => Linkable { events: true, tables: true, keys: true, assets: true },
            Grant::Listed(granted) => Linkable {
                events: granted.events,
                tables: !granted.tables.is_empty(),
                keys: !granted.keys.is_empty(),
                assets: !granted.assets.is_empty(),
            },
        }
    }

    pub(crate) fn allows_table(&self, name: &str) -> bool {
        match self {
            Grant::Requested => true,
            Grant::Listed(granted) => granted.tables.contains(name),
        }
    }

    pub(crate) fn allows_key(&self, name: &str) -> bool {
        match self {
            Grant::Requested => true,
            Grant::Listed(granted) => granted.keys.contains(name),
        }
    }

    pub(crate) fn allows_asset(&self, name: &str) -> bool {
        match self {
            Grant::Requested => true,
            Grant::Listed(granted) => granted.assets.contains(name),
        }
    }
}
