//! Recordings: a call of a plugin in a file, with all that it takes to call it again elsewhere.
//!
//! A stage with `record` writes one when a call ends its instance, and of every so many batches if it is told to.
//! [`Recording::read`] takes a file of a stranger's: nothing in it is believed before it is checked.

pub(crate) mod batch;
pub(crate) mod bytes;
mod files;
mod format;
mod history;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sluice_flow::{Batch, ColumnSet, CustomField, Schema, Width};

pub(crate) use files::Recorder;
pub use format::RecordingError;
pub(crate) use history::History;

use crate::limits::Limits;
use crate::spec::{Grant, Granted};
use crate::tables::TableSpec;

/// Bytes of the calls since the last snapshot that a stage holds for its recordings.
pub const MAX_HISTORY_BYTES: usize = 32 << 20;
/// How many such calls it holds.
pub const MAX_HISTORY_CALLS: usize = 1024;
/// Bytes of a table or an asset that is put into a recording; larger ones are named with their SHA-256.
pub const MAX_ENCLOSED_BYTES: u64 = 1 << 20;
/// Bytes that a recording may have. The largest parts are a snapshot (64 MiB by default) and the calls since.
pub const MAX_RECORDING_BYTES: u64 = 256 << 20;

/// What a stage records, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSpec {
    /// The directory. Made, for its owner only, if it is not there.
    pub dir: PathBuf,
    /// Traps that are kept, and as many sampled batches; the oldest go first.
    pub max_files: usize,
    /// Bytes that the files of the stage may have together; the oldest go first.
    pub max_bytes: u64,
    /// Records every so many batches of an instance, too; 0: only what ends the instance.
    pub every: u32,
}

/// A call of a plugin, and what came before it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Everything but the data.
    pub about: About,
    /// State that the instance began with; none: it began empty.
    pub snapshot: Option<Vec<u8>>,
    /// Calls since then, oldest first. The last one is what the recording is about.
    pub calls: Vec<Recorded>,
    /// Contents of the tables that the plugin used and that are small enough, by name.
    pub tables: Vec<(String, Vec<u8>)>,
    /// The same of assets.
    pub assets: Vec<(String, Vec<u8>)>,
}

/// One call.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are batches")]
pub enum Recorded {
    /// `stage.process`, with the columns that the plugin could read.
    Process(Batch),
    /// `timer.tick` at this batch time in milliseconds.
    Tick(u64),
}

/// What a recording says about itself: everything but the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Program and version that wrote it.
    pub written_by: String,
    /// Package and version of the contract.
    pub wit: String,
    /// Name of the stage.
    pub stage: String,
    /// Whether the stage hides something. What it hides is in the recording.
    pub private: bool,
    /// The plugin.
    pub plugin: PluginId,
    /// The stage's `config` as JSON.
    pub config: String,
    /// What the plugin was granted; none: what its manifest asked for, as for built-in plugins.
    pub grant: Option<GrantedNames>,
    /// Columns that it could read: the batches have these and no others.
    pub reads: Vec<String>,
    /// What the instance could use.
    pub limits: Limits,
    /// Columns that the operator added.
    pub columns: Vec<CustomColumn>,
    /// Tables that the plugin opened.
    pub tables: Vec<TableUsed>,
    /// Assets that it read.
    pub assets: Vec<AssetUsed>,
    /// Keys that it opened. They are never in a recording.
    pub keys: Vec<String>,
    /// Calls between the snapshot and the first that is here, for which there was no room.
    pub calls_left_out: u64,
    /// How the last call ended.
    pub ended: Ended,
}

/// Which plugin it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginId {
    /// Name in its manifest.
    pub name: String,
    /// Version in its manifest.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// The file it was loaded from.
    pub file: Option<PathBuf>,
    /// Its name, if it is built in.
    pub built_in: Option<String>,
}

/// [`Granted`], by names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedNames {
    /// Columns it could read.
    pub read: Vec<String>,
    /// Columns it could write.
    pub write: Vec<String>,
    /// Whether it could raise alerts.
    pub events: bool,
    /// Tables it could open.
    pub tables: Vec<String>,
    /// Keys it could open.
    pub keys: Vec<String>,
    /// Assets it could read.
    pub assets: Vec<String>,
}

/// A column that the operator added; its number follows from the order of the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomColumn {
    /// Name.
    pub name: String,
    /// `u8`, `u16`, `u32`, `u64`, `text` or `lists`.
    pub width: String,
}

/// A table that the plugin opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUsed {
    /// Its name in the TOML.
    pub name: String,
    /// Its `type` in the TOML. Recordings of sluice before there were tables of values have none.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Field of an MMDB file, or the column of a text file with several; none for others.
    pub field: Option<String>,
    /// Columns of a text file that make the key, if they are not as many as they are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_columns: Option<usize>,
    /// Its file.
    pub file: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Whether its contents are in the recording.
    pub enclosed: bool,
}

impl TableUsed {
    /// The table, of the file `path`.
    ///
    /// # Errors
    /// If there is no such type of table.
    pub fn spec(&self, path: PathBuf) -> Result<TableSpec, String> {
        let kind = self.kind.as_deref().unwrap_or(if self.field.is_some() { "mmdb" } else { "prefix" });
        let spec = TableSpec::of(kind, self.field.as_deref(), self.key_columns, path);
        spec.ok_or_else(|| format!("table `{}` is of the type `{kind}`, which this sluice does not know", self.name))
    }
}

/// An asset that the plugin read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetUsed {
    /// Its name in the TOML.
    pub name: String,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Whether its contents are in the recording.
    pub enclosed: bool,
}

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// `done`, `refused`, `retry-later`, `trap`, `deadline` or `memory`.
    pub how: String,
    /// What the plugin or the engine said.
    #[serde(default)]
    pub text: String,
    /// Of a trap: where it was, innermost first.
    #[serde(default)]
    pub backtrace: Vec<String>,
    /// Of a batch that is done: rows that it kept.
    #[serde(default)]
    pub rows_kept: Option<usize>,
}

impl About {
    /// The columns there were.
    ///
    /// # Errors
    /// If the operator's columns are none that could be added.
    pub fn schema(&self) -> Result<Schema, String> {
        let custom = self.columns.iter().map(|column| {
            let width = Width::of_name(&column.width).ok_or_else(|| format!("no width `{}`", column.width))?;
            Ok(CustomField { name: column.name.clone(), width, element: None })
        });
        Schema::with_custom(custom.collect::<Result<_, String>>()?).map_err(|error| error.to_string())
    }

    /// The grant, for columns of `schema`.
    ///
    /// # Errors
    /// If it names a column that is not there.
    pub fn grant(&self, schema: &Schema) -> Result<Grant, String> {
        let Some(names) = &self.grant else { return Ok(Grant::Requested) };
        let columns = |names: &[String]| -> Result<ColumnSet, String> {
            names.iter().map(|name| schema.column(name).ok_or_else(|| format!("no column `{name}`"))).collect()
        };
        let set = |names: &[String]| names.iter().cloned().collect();
        Ok(Grant::Listed(Granted {
            read: columns(&names.read)?,
            write: columns(&names.write)?,
            events: names.events,
            tables: set(&names.tables),
            keys: set(&names.keys),
            assets: set(&names.assets),
        }))
    }
}

impl GrantedNames {
    fn of(granted: &Granted, schema: &Schema) -> GrantedNames {
        GrantedNames {
            read: names(&granted.read, schema),
            write: names(&granted.write, schema),
            events: granted.events,
            tables: granted.tables.iter().cloned().collect(),
            keys: granted.keys.iter().cloned().collect(),
            assets: granted.assets.iter().cloned().collect(),
        }
    }
}

/// Names of columns.
fn names(columns: &ColumnSet, schema: &Schema) -> Vec<String> {
    columns.iter().filter_map(|column| schema.name(column)).map(str::to_owned).collect()
}
