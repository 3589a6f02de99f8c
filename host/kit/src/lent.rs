//! What a plugin is lent, granted and allowed, as it is written in TOML: the same tables in a collector's configuration
//! and in the cases of a plugin's tests.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sluice_flow::{ColumnSet, Schema};
use sluice_pipeline::chain;
use sluice_plugin::keys::{KeySpec, Keys};
use sluice_plugin::tables::{TableSpec, Tables};
use sluice_plugin::{Assets, Budget, Granted, Limits, OverBudget};
use toml::Spanned;

use crate::document::{ConfigError, Document, Named, Table, did_you_mean, named, unknown_type};

/// A file that a plugin may read is at most this long, because it crosses in one piece.
const MAX_ASSET_BYTES: u64 = 16 << 20;

/// `grant` of a stage: what its plugin may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// Columns it may read; the name of an address means both halves; `"*"` means all.
    #[serde(default)]
    pub read: Vec<Spanned<String>>,
    /// Columns it may write or clear.
    #[serde(default)]
    pub write: Vec<Spanned<String>>,
    /// Tables it may look up in.
    #[serde(default)]
    pub tables: Vec<Spanned<String>>,
    /// Keys it may use.
    #[serde(default)]
    pub keys: Vec<Spanned<String>>,
    /// Files it may read.
    #[serde(default)]
    pub assets: Vec<Spanned<String>>,
    /// Whether it may raise alerts. Default false.
    #[serde(default)]
    pub events: bool,
}

/// `limits` of a stage; what is not said is the plugin host's default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Bytes of memory an instance may have. Default 67 108 864 (64 MiB).
    pub memory_bytes: Option<usize>,
    /// Milliseconds of CPU time for one batch. Default 1000; with `cpu_ms_per_s` twice that number, at least 20 and at most 1000.
    pub deadline_ms: Option<u64>,
    /// Milliseconds of CPU time for `init`, `snapshot` and `restore`. Default 10 000; with `cpu_ms_per_s` four times that number, at
    /// least 1000 and at most 10 000.
    pub init_deadline_ms: Option<u64>,
    /// Log lines a second; more are counted. Default 20.
    pub log_lines_per_s: Option<u32>,
    /// Alerts a minute; more are counted. Default 600.
    pub alerts_per_min: Option<u32>,
    /// Bytes of memory at which an instance is exchanged between two batches for a fresh one, which is given its state.
    /// Default: seven eighths of `memory_bytes`; as much as that or more: never.
    pub recycle_memory_bytes: Option<usize>,
    /// Milliseconds of CPU time that the plugin may use a second, all its instances together, e.g. `200`. Not counted in
    /// tests of a plugin. Default: as much as there is.
    pub cpu_ms_per_s: Option<NonZeroU32>,
    /// What becomes of rows while `cpu_ms_per_s` is used up: `"shed"` (they go by `on_error`, under the reason `over_budget`) or
    /// `"delay"` (they wait, up to 32 batches a worker; what comes then is shed). Default `"shed"`.
    #[serde(default)]
    pub over_budget: OverBudgetConfig,
}

/// `over_budget` in `limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverBudgetConfig {
    /// The rows go by `on_error`.
    #[default]
    Shed,
    /// The rows wait.
    Delay,
}

/// `[tables.NAME]`: a table that plugins look up in.
#[derive(Clone, Debug)]
pub enum TableConfig {
    /// `type = "prefix"`: prefixes and a value each, from CSV.
    Prefix(PrefixConfig),
    /// `type = "mmdb"`: a MaxMind database.
    Mmdb(MmdbConfig),
    /// `type = "values"`: keys and a value each, from CSV.
    Values(ValuesConfig),
}

impl TableConfig {
    /// What the plugin host loads.
    #[must_use]
    pub fn spec(&self) -> TableSpec {
        match self {
            TableConfig::Prefix(prefix) => {
                TableSpec::Prefix { path: prefix.path.clone(), column: prefix.column.clone() }
            }
            TableConfig::Mmdb(mmdb) => TableSpec::Mmdb { path: mmdb.path.clone(), field: mmdb.field.clone() },
            TableConfig::Values(values) => TableSpec::Values {
                path: values.path.clone(),
                column: values.column.clone(),
                key_columns: usize::from(values.key_columns.unwrap_or(1)),
            },
        }
    }
}

/// `type = "prefix"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixConfig {
    /// The file, relative to the configuration file: `prefix,value` a line, or `value,v4 prefixes,v6 prefixes`.
    pub path: PathBuf,
    /// Which column has the values, where a line has a prefix and several: its name in the first line, e.g. `"site"`, or its
    /// number, e.g. `"3"`, the prefix being `"1"`. Several tables may be of one file. Default: a line has one value.
    pub column: Option<String>,
}

/// `type = "mmdb"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmdbConfig {
    /// The file; relative to the configuration file.
    pub path: PathBuf,
    /// What to take of a record, e.g. `country.iso_code` or `autonomous_system_number`.
    pub field: String,
}

/// `type = "values"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValuesConfig {
    /// The file, relative to the configuration file: `key,value` a line, where the key is a number (`443`, `0x1bb`, `AS64500`) or
    /// an address, or `key,number,value`, e.g. an exporter and an interface index. All lines alike, each key once.
    pub path: PathBuf,
    /// Which column has the values, where a line has several: its name in the first line, e.g. `"speed"`, or its number, e.g.
    /// `"4"`. Several tables may be of one file. Default: a line has one value, the last field.
    pub column: Option<String>,
    /// With `column`, how many columns make the key, from the first: 1 or 2. Default 1.
    pub key_columns: Option<u8>,
}

/// `[keys.NAME]`: a secret that plugins use without seeing it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// File with 64 hexadecimal digits, or 32 bytes or more; relative to the configuration file.
    pub path: PathBuf,
}

/// `[assets.NAME]`: a read-only file for plugins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetConfig {
    /// The file; relative to the configuration file.
    pub path: PathBuf,
}

/// Everything that there is to lend: `[tables.NAME]`, `[keys.NAME]` and `[assets.NAME]`.
#[derive(Clone, Debug, Default)]
pub struct Lent {
    /// Tables to look up in.
    pub tables: Vec<Named<TableConfig>>,
    /// Secrets.
    pub keys: Vec<Named<KeyConfig>>,
    /// Files.
    pub assets: Vec<Named<AssetConfig>>,
}

impl Lent {
    /// Keys of a table that [`read`](Self::read) takes.
    pub const KEYS: [&str; 3] = ["tables", "keys", "assets"];

    /// Takes the three kinds of tables out of `top`; their paths are relative to the folder `base`.
    ///
    /// # Errors
    /// A mistake, with its place. Nothing is opened.
    pub fn read(doc: &Document, top: &mut Table<'_>, base: &Path) -> Result<Lent, ConfigError> {
        let tables = named(doc, top, "tables", |doc, table| lookup_table(doc, table, base))?;
        let mut keys = named(doc, top, "keys", |doc, table| table.rest::<KeyConfig>(doc))?;
        for key in &mut keys {
            key.value.path = base.join(&key.value.path);
        }
        let mut assets = named(doc, top, "assets", |doc, table| table.rest::<AssetConfig>(doc))?;
        for asset in &mut assets {
            asset.value.path = base.join(&asset.value.path);
        }
        Ok(Lent { tables, keys, assets })
    }

    /// Everything of both; where both have a name, what `other` has under it.
    #[must_use]
    pub fn and(&self, other: Lent) -> Lent {
        fn joined<T: Clone>(ours: &[Named<T>], theirs: Vec<Named<T>>) -> Vec<Named<T>> {
            let ours = ours.iter().filter(|one| theirs.iter().all(|other| other.name != one.name));
            let mut all: Vec<Named<T>> = ours.cloned().collect();
            all.extend(theirs);
            all
        }
        Lent {
            tables: joined(&self.tables, other.tables),
            keys: joined(&self.keys, other.keys),
            assets: joined(&self.assets, other.assets),
        }
    }

    /// Reads the tables.
    ///
    /// # Errors
    /// A file that cannot be read or is none, at the place that names it.
    pub fn load_tables(&self, doc: &Document) -> Result<Tables, ConfigError> {
        self.load_tables_after(&Tables::default(), doc)
    }

    /// The same; tables that are in `before` too are not read again.
    ///
    /// # Errors
    /// A file that cannot be read or is none, at the place that names it.
    pub fn load_tables_after(&self, before: &Tables, doc: &Document) -> Result<Tables, ConfigError> {
        let specs = self.tables.iter().map(|table| (table.name.clone(), table.value.spec()));
        before.next(specs).map_err(|(name, error)| misplaced(doc, "tables", &self.tables, &name, &error))
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// A file that cannot be read or is none, at the place that names it.
    pub fn load_keys(&self, doc: &Document) -> Result<Keys, ConfigError> {
        let specs = self.keys.iter().map(|key| (key.name.clone(), KeySpec::File { path: key.value.path.clone() }));
        Keys::load(specs).map_err(|(name, error)| misplaced(doc, "keys", &self.keys, &name, &error))
    }

    /// Reads the files for plugins.
    ///
    /// # Errors
    /// A file that cannot be read or is too large, at the place that names it.
    pub fn load_assets(&self, doc: &Document) -> Result<Assets, ConfigError> {
        let mut assets = Assets::new();
        for asset in &self.assets {
            let path = &asset.value.path;
            let read = fs::metadata(path)
                .and_then(|found| if found.len() > MAX_ASSET_BYTES { Ok(None) } else { fs::read(path).map(Some) });
            let problem = match read {
                Ok(Some(bytes)) => {
                    assets.insert(asset.name.clone(), Arc::new(bytes));
                    continue;
                }
                Ok(None) => format!("{} has more than {MAX_ASSET_BYTES} bytes", path.display()),
                Err(error) => format!("{} cannot be read: {error}", path.display()),
            };
            return Err(doc.error(asset.span.clone(), &format!("assets.{}", asset.name), problem));
        }
        Ok(assets)
    }

    /// What a `grant` lets a plugin do; `path` is its name in the file.
    ///
    /// # Errors
    /// A column, table, key or asset that does not exist.
    pub fn granted(
        &self,
        doc: &Document,
        schema: &Schema,
        path: &str,
        grant: &GrantConfig,
    ) -> Result<Granted, ConfigError> {
        let tables = self.tables.iter().map(|table| table.name.as_str());
        let keys = self.keys.iter().map(|key| key.name.as_str());
        let assets = self.assets.iter().map(|asset| asset.name.as_str());
        Ok(Granted {
            read: columns(doc, schema, path, &grant.read)?,
            write: columns(doc, schema, path, &grant.write)?,
            events: grant.events,
            tables: names(doc, path, &grant.tables, "tables", tables.collect())?,
            keys: names(doc, path, &grant.keys, "keys", keys.collect())?,
            assets: names(doc, path, &grant.assets, "assets", assets.collect())?,
        })
    }
}

impl LimitsConfig {
    /// The limits, with the host's defaults where nothing is said.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        let deadline_ms = || self.cpu_ms_per_s.map_or(default.deadline_ms, |ms| Limits::deadline_within(ms.get()));
        let init_deadline_ms =
            || self.cpu_ms_per_s.map_or(default.init_deadline_ms, |ms| Limits::init_deadline_within(ms.get()));
        Limits {
            memory: self.memory_bytes.unwrap_or(default.memory),
            deadline_ms: self.deadline_ms.unwrap_or_else(deadline_ms),
            init_deadline_ms: self.init_deadline_ms.unwrap_or_else(init_deadline_ms),
            log_lines_per_s: self.log_lines_per_s.unwrap_or(default.log_lines_per_s),
            alerts_per_min: self.alerts_per_min.unwrap_or(default.alerts_per_min),
            recycle_memory: self.recycle_memory_bytes,
            ..default
        }
    }

    /// The CPU time that the stage `name` may use, if it is bounded.
    #[must_use]
    pub fn budget(&self, name: &str) -> Option<Arc<Budget>> {
        let policy = match self.over_budget {
            OverBudgetConfig::Shed => OverBudget::Shed,
            OverBudgetConfig::Delay => OverBudget::Delay,
        };
        Some(Budget::new(name, self.cpu_ms_per_s?.get(), policy))
    }
}

/// The columns of a list of names, `"*"` for all; `path` is the list's name in the file.
///
/// # Errors
/// A name that no column or address has.
pub fn columns(
    doc: &Document,
    schema: &Schema,
    path: &str,
    names: &[Spanned<String>],
) -> Result<ColumnSet, ConfigError> {
    let mut set = ColumnSet::EMPTY;
    for name in names {
        if name.get_ref() == "*" {
            set = set.union(schema.all());
            continue;
        }
        let Some(columns) = schema.columns(name.get_ref()) else {
            let near = did_you_mean(name.get_ref(), schema.names());
            let problem = format!("there is no column `{}`{near}", name.get_ref());
            return Err(doc.error(name.span(), path, problem));
        };
        columns.into_iter().for_each(|column| set.insert(column));
    }
    Ok(set)
}

fn names(
    doc: &Document,
    path: &str,
    names: &[Spanned<String>],
    section: &str,
    known: Vec<&str>,
) -> Result<BTreeSet<String>, ConfigError> {
    let checked = names.iter().map(|name| {
        if known.contains(&name.get_ref().as_str()) {
            return Ok(name.get_ref().clone());
        }
        let near = did_you_mean(name.get_ref(), known.iter().copied());
        let problem = format!("there is no `[{section}.{}]`{near}", name.get_ref());
        Err(doc.error(name.span(), path, problem))
    });
    checked.collect()
}

fn lookup_table(doc: &Document, table: &mut Table<'_>, base: &Path) -> Result<TableConfig, ConfigError> {
    let kind: Spanned<String> = table.need(doc, "type", "\"prefix\"")?;
    match kind.get_ref().as_str() {
        "prefix" => {
            let mut config: PrefixConfig = table.rest(doc)?;
            config.path = base.join(&config.path);
            Ok(TableConfig::Prefix(config))
        }
        "mmdb" => {
            let mut config: MmdbConfig = table.rest(doc)?;
            config.path = base.join(&config.path);
            Ok(TableConfig::Mmdb(config))
        }
        "values" => {
            let mut config: ValuesConfig = table.rest(doc)?;
            let problem = match (&config.column, config.key_columns) {
                (_, None) | (Some(_), Some(1 | 2)) => None,
                (Some(_), Some(_)) => Some("`key_columns` must be 1 or 2"),
                (None, Some(_)) => {
                    Some("`key_columns` says what of a line is the key where `column` says what is the value")
                }
            };
            if let Some(problem) = problem {
                return Err(doc.error(table.span("key_columns"), &table.path, problem));
            }
            config.path = base.join(&config.path);
            Ok(TableConfig::Values(config))
        }
        other => Err(unknown_type(doc, &kind, table, other, &["prefix", "mmdb", "values"])),
    }
}

/// An error of something with a name, at its place in the file.
fn misplaced<T>(
    doc: &Document,
    section: &str,
    all: &[Named<T>],
    name: &str,
    error: &dyn std::error::Error,
) -> ConfigError {
    let span = all.iter().find(|named| named.name == name).map_or(0..0, |named| named.span.clone());
    doc.error(span, &format!("{section}.{name}"), chain(error))
}
