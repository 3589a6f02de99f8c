//! From text to [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use sluice_endpoints::Invalid;
use sluice_endpoints::sinks::{EventsConfig, FileConfig, KafkaSinkConfig, StdoutConfig};
use sluice_endpoints::sources::{CaptureConfig, KafkaSourceConfig, UdpConfig};
use sluice_flow::{CustomField, Schema, Width};
use sluice_kit::document::{Table, named, unknown_type};
use sluice_kit::lent::Lent;
use sluice_plugin::{DEFAULT_RETRIES, MAX_RETRIES, MAX_TRAPS};

use super::sections::{AdminConfig, ColumnConfig};
use super::tenants::{Files, Tenant};
use super::{
    Config, ConfigError, Document, IsolationConfig, PluginsConfig, QuarantineConfig, RecordConfig, ShadowConfig, Sink,
    SinkKind, Source, SourceKind, Stage,
};

/// Batches that may wait in front of a worker or a sink.
const DEFAULT_QUEUE: usize = 8;
/// How long the version before is kept after an exchange.
pub(super) const DEFAULT_ROLLBACK_WINDOW_MS: u64 = 60_000;

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It cannot be read.
    #[error("{}{}", file.display(), where_looked(file))]
    Read {
        file: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    /// There is a mistake in it.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads a file. Paths in it are relative to the directory it is in.
pub(crate) fn load(file: &Path) -> Result<Config, LoadError> {
    load_after(file, &BTreeMap::new())
}

/// For a path that counts from somewhere, from where.
fn where_looked(file: &Path) -> String {
    let folder = std::env::current_dir().ok().filter(|_| file.is_relative());
    folder.map_or_else(String::new, |folder| format!(" (looked for in {})", folder.display()))
}

/// The same, where some tenants have been looked at: their folders, and what is taken up of each.
pub(crate) fn load_after(file: &Path, taken: &BTreeMap<String, (PathBuf, Files)>) -> Result<Config, LoadError> {
    let text = std::fs::read_to_string(file).map_err(|cause| LoadError::Read { file: file.to_owned(), cause })?;
    Ok(again(Document::new(file, text), taken)?)
}

/// A text that was read before, with other files of tenants.
pub(crate) fn again(doc: Document, taken: &BTreeMap<String, (PathBuf, Files)>) -> Result<Config, ConfigError> {
    let mut config = parse(doc)?;
    config.expand(taken)?;
    Ok(config)
}

/// Reads a text.
fn parse(doc: Document) -> Result<Config, ConfigError> {
    let doc = &doc;
    let base = doc.file.parent().unwrap_or(Path::new("")).to_owned();
    let mut top = doc.parse()?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = at_least_one(doc, &mut top, "workers", cores)?;
    let shutdown_grace_ms = top.take(doc, "shutdown_grace_ms")?.unwrap_or(10_000);
    let cache_dir = top.take::<PathBuf>(doc, "cache_dir")?.map(|dir| base.join(dir));
    let mut admin: Option<AdminConfig> = top.table(doc, "admin")?.map(|mut table| table.rest(doc)).transpose()?;
    if let Some(tokens) = admin.as_mut().and_then(|admin| admin.tokens.as_mut()) {
        *tokens = toml::Spanned::new(tokens.span(), base.join(tokens.get_ref()));
    }

    let plugins = plugins(doc, &mut top)?;

    let schema = Arc::new(schema(doc, &mut top)?);
    let sources = named(doc, &mut top, "sources", |doc, table| source(doc, table, &base))?;
    let stages = named(doc, &mut top, "stages", stage)?;
    let tenants = named(doc, &mut top, "tenants", Tenant::read)?;
    let sinks = named(doc, &mut top, "sinks", |doc, table| sink(doc, table, &base, &schema))?;
    let lent = Lent::read(doc, &mut top, &base)?;

    let known = [
        "workers",
        "shutdown_grace_ms",
        "cache_dir",
        "admin",
        "plugins",
        "columns",
        "sources",
        "stages",
        "tenants",
        "sinks",
        "tables",
        "keys",
        "assets",
    ];
    top.finish(doc, &known)?;
    for (list, what) in [(sources.is_empty(), "sources"), (sinks.is_empty(), "sinks")] {
        if list {
            return Err(doc.error(0..0, "", format!("no {what}; add a `[{what}.NAME]` table")));
        }
    }
    let doc = doc.clone();
    Ok(Config {
        doc,
        workers,
        shutdown_grace_ms,
        cache_dir,
        admin,
        plugins,
        schema,
        sources,
        stages,
        tenants,
        sinks,
        lent,
    })
}

/// Address space that compiling the smallest plugin takes, with the program itself.
const MIN_COMPILE_MEMORY: u64 = 256 << 20;
/// Memory that a process takes before it has a plugin, with some for one.
const MIN_PROCESS_MEMORY: u64 = 128 << 20;

fn plugins(doc: &Document, top: &mut Table<'_>) -> Result<PluginsConfig, ConfigError> {
    let Some(mut table) = top.table(doc, "plugins")? else { return Ok(PluginsConfig::default()) };
    let plugins: PluginsConfig = table.rest(doc)?;
    for (key, value, least) in [
        ("compile_memory_bytes", &plugins.compile_memory_bytes, MIN_COMPILE_MEMORY),
        ("process_memory_bytes", &plugins.process_memory_bytes, MIN_PROCESS_MEMORY),
    ] {
        if let Some(bytes) = value.as_ref().filter(|bytes| *bytes.get_ref() < least) {
            let problem = format!("{key}: {} is not enough for any plugin; {least} or more", bytes.get_ref());
            return Err(doc.error(bytes.span(), &table.path, problem));
        }
    }
    let is_wrong = |seconds: &&toml::Spanned<u64>| !(1..=86_400).contains(seconds.get_ref());
    if let Some(seconds) = plugins.compile_seconds.as_ref().filter(is_wrong) {
        let problem = format!("compile_seconds: {} is not within 1 to 86400", seconds.get_ref());
        return Err(doc.error(seconds.span(), &table.path, problem));
    }
    Ok(plugins)
}

fn at_least_one(doc: &Document, table: &mut Table<'_>, key: &str, default: usize) -> Result<usize, ConfigError> {
    match table.take::<usize>(doc, key)? {
        Some(0) => Err(doc.error(table.span(key), &table.path, format!("{key}: 0 is none; use 1 or more"))),
        Some(number) => Ok(number),
        None => Ok(default),
    }
}

fn schema<'d>(doc: &'d Document, top: &mut Table<'d>) -> Result<Schema, ConfigError> {
    let span = top.span("columns");
    let columns = named(doc, top, "columns", |doc, table| {
        let column: ColumnConfig = table.rest(doc)?;
        let name = column.width.get_ref();
        let width = Width::of_name(name).ok_or_else(|| {
            let known = "expected one of `u8`, `u16`, `u32`, `u64`, `text`, `lists`";
            doc.error(column.width.span(), &table.path, format!("unknown width `{name}`, {known}"))
        })?;
        let element = match column.element {
            Some(element) if *element.id.get_ref() > 0x7fff => {
                return Err(doc.error(element.id.span(), &table.path, "element ids are below 32768"));
            }
            Some(element) => Some((element.enterprise, *element.id.get_ref())),
            None => None,
        };
        Ok((width, element))
    })?;
    let first = columns.first().map_or(span, |column| column.span.clone());
    let custom = columns.into_iter().map(|column| {
        let (width, element) = column.value;
        CustomField { name: column.name, width, element }
    });
    Schema::with_custom(custom.collect()).map_err(|error| doc.error(first, "columns", error.to_string()))
}

fn source(doc: &Document, table: &mut Table<'_>, base: &Path) -> Result<Source, ConfigError> {
    let kind: toml::Spanned<String> = table.need(doc, "type", "\"udp\"")?;
    let queue = at_least_one(doc, table, "queue", DEFAULT_QUEUE)?;
    let kind = match kind.get_ref().as_str() {
        "udp" => {
            let config: UdpConfig = table.rest(doc)?;
            valid(doc, table, config.validate())?;
            SourceKind::Udp(config)
        }
        "capture" => {
            let mut config: CaptureConfig = table.rest(doc)?;
            valid(doc, table, config.validate())?;
            for path in &mut config.paths {
                *path = base.join(&path);
            }
            SourceKind::Capture(config)
        }
        "kafka" => {
            let mut config: KafkaSourceConfig = table.rest(doc)?;
            valid(doc, table, config.validate())?;
            config.resolve(base);
            SourceKind::Kafka(Box::new(config))
        }
        other => return Err(unknown_type(doc, &kind, table, other, &["udp", "capture", "kafka"])),
    };
    Ok(Source { queue, kind })
}

fn stage(doc: &Document, table: &mut Table<'_>) -> Result<Stage, ConfigError> {
    let stage = Stage {
        inputs: table.need(doc, "inputs", "[\"SOURCE\"]")?,
        plugin: table.need(doc, "plugin", "\"enricher\"")?,
        sha256: sha256(doc, table)?,
        grant: table.take(doc, "grant")?,
        on_error: match table.take(doc, "on_error")? {
            Some(on_error) => on_error,
            None => toml::Spanned::new(table.span(""), super::OnErrorConfig::default()),
        },
        retries: retries(doc, table)?,
        bisect: table.take(doc, "bisect")?.unwrap_or(true),
        quarantine: quarantine(doc, table)?,
        is_private: table.take(doc, "private")?,
        instances: table.take(doc, "instances")?,
        state: table.take(doc, "state")?,
        record: record(doc, table)?,
        rollback_window_ms: table.take(doc, "rollback_window_ms")?.unwrap_or(DEFAULT_ROLLBACK_WINDOW_MS),
        shadow: shadow(doc, table)?,
        isolation: table.take(doc, "isolation")?.unwrap_or_default(),
        process_group: process_group(doc, table)?,
        limits: table.take(doc, "limits")?.unwrap_or_default(),
        config_json: match table.take::<serde_json::Value>(doc, "config")? {
            Some(value) if !value.is_object() => {
                return Err(doc.error(table.span("config"), &table.path, "`config` must be a table"));
            }
            Some(value) => value.to_string(),
            None => "{}".to_owned(),
        },
    };
    let known = [
        "inputs",
        "plugin",
        "sha256",
        "grant",
        "on_error",
        "retries",
        "bisect",
        "quarantine",
        "private",
        "instances",
        "state",
        "record",
        "rollback_window_ms",
        "shadow",
        "isolation",
        "process_group",
        "limits",
        "config",
    ];
    table.finish(doc, &known)?;
    if stage.process_group.is_some() && stage.isolation != IsolationConfig::Process {
        let problem = "process_group: the stage is in no process of its own; add `isolation = \"process\"`";
        return Err(doc.error(table.span("process_group"), &table.path, problem));
    }
    Ok(stage)
}

fn retries(doc: &Document, table: &mut Table<'_>) -> Result<u32, ConfigError> {
    let retries = table.take::<u32>(doc, "retries")?.unwrap_or(DEFAULT_RETRIES);
    if retries > MAX_RETRIES {
        let problem = format!("retries: {retries} is more than {MAX_RETRIES}; a batch waits for each of them");
        return Err(doc.error(table.span("retries"), &table.path, problem));
    }
    Ok(retries)
}

fn quarantine(doc: &Document, table: &mut Table<'_>) -> Result<QuarantineConfig, ConfigError> {
    let quarantine = table.take::<QuarantineConfig>(doc, "quarantine")?.unwrap_or_default();
    let problem = if quarantine.traps > MAX_TRAPS {
        format!("quarantine.traps: {} is more than {MAX_TRAPS}", quarantine.traps)
    } else if quarantine.traps > 0 && quarantine.retry_after_ms == 0 {
        "quarantine.retry_after_ms: 0 is no quarantine; use `traps = 0` for none".to_owned()
    } else {
        return Ok(quarantine);
    };
    Err(doc.error(table.span("quarantine"), &table.path, problem))
}

fn process_group(doc: &Document, table: &mut Table<'_>) -> Result<Option<String>, ConfigError> {
    let group = table.take::<String>(doc, "process_group")?;
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if group.as_ref().is_some_and(|name| !is_name(name)) {
        let problem = "process_group: names are letters, digits, `_` and `-`";
        return Err(doc.error(table.span("process_group"), &table.path, problem));
    }
    Ok(group)
}

fn record(doc: &Document, table: &mut Table<'_>) -> Result<Option<RecordConfig>, ConfigError> {
    let record = table.take::<RecordConfig>(doc, "record")?;
    if record.as_ref().is_some_and(|record| record.max_files == 0) {
        return Err(doc.error(table.span("record"), &table.path, "record.max_files: 0 is none; leave `record` out"));
    }
    Ok(record)
}

fn shadow(doc: &Document, table: &mut Table<'_>) -> Result<Option<toml::Spanned<ShadowConfig>>, ConfigError> {
    let shadow = table.take::<toml::Spanned<ShadowConfig>>(doc, "shadow")?;
    if let Some(shadow) = shadow.as_ref().filter(|shadow| shadow.get_ref().every == 0) {
        return Err(doc.error(shadow.span(), &table.path, "shadow.every: 0 is none; leave `shadow` out"));
    }
    Ok(shadow)
}

fn sha256(doc: &Document, table: &mut Table<'_>) -> Result<Option<[u8; 32]>, ConfigError> {
    let Some(text) = table.take::<toml::Spanned<String>>(doc, "sha256")? else { return Ok(None) };
    let hex = text.get_ref();
    let mut digest = [0_u8; 32];
    let is_hex = hex.len() == 64 && hex.is_ascii();
    let bytes = (0..32).map(|at| hex.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    for (byte, read) in digest.iter_mut().zip(bytes) {
        match read {
            Some(read) if is_hex => *byte = read,
            _ => return Err(doc.error(text.span(), &table.path, "`sha256` must be 64 hexadecimal digits")),
        }
    }
    Ok(Some(digest))
}

fn sink(doc: &Document, table: &mut Table<'_>, base: &Path, schema: &Schema) -> Result<Sink, ConfigError> {
    let kind: toml::Spanned<String> = table.need(doc, "type", "\"stdout\"")?;
    let inputs = table.need(doc, "inputs", "[\"STAGE\"]")?;
    let queue = at_least_one(doc, table, "queue", DEFAULT_QUEUE)?;
    let require = table.take(doc, "require")?;
    let allow: Vec<_> = table.take(doc, "allow")?.unwrap_or_default();
    if require.is_none() && !allow.is_empty() {
        return Err(doc.error(
            table.span("allow"),
            &table.path,
            "`allow` is for `require = \"anonymised\"`; leave it out",
        ));
    }
    let kind = match kind.get_ref().as_str() {
        "stdout" => {
            let config: StdoutConfig = table.rest(doc)?;
            valid(doc, table, config.validate().and_then(|()| config.reads(schema).map(drop)))?;
            SinkKind::Stdout(config)
        }
        "file" => {
            let mut config: FileConfig = table.rest(doc)?;
            valid(doc, table, config.validate().and_then(|()| config.reads(schema).map(drop)))?;
            config.path = base.join(&config.path);
            SinkKind::File(config)
        }
        "kafka" => {
            let mut config: KafkaSinkConfig = table.rest(doc)?;
            valid(doc, table, config.validate().and_then(|()| config.reads(schema).map(drop)))?;
            config.resolve(base);
            SinkKind::Kafka(Box::new(config))
        }
        "null" => SinkKind::Null(table.rest(doc)?),
        "events" => {
            let mut config: EventsConfig = table.rest(doc)?;
            valid(doc, table, config.validate())?;
            config.resolve(base);
            SinkKind::Events(config)
        }
        other => return Err(unknown_type(doc, &kind, table, other, &["stdout", "file", "kafka", "null", "events"])),
    };
    Ok(Sink { inputs, queue, require, allow, kind })
}

/// Places what a component's own check found.
fn valid(doc: &Document, table: &Table<'_>, checked: Result<(), Invalid>) -> Result<(), ConfigError> {
    checked.map_err(|invalid| doc.error(table.span(invalid.key), &table.path, invalid.to_string()))
}
