//! What commands that try a plugin have in common: where it is, what it is lent, the host it runs in.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sluice_flow::Schema;
use sluice_kit::document::Document;
use sluice_kit::lent::Lent;
use sluice_kit::rows::toml_text;
use sluice_pipeline::Metrics;
use sluice_plugin::tables::TableSpec;
use sluice_plugin::{
    ComponentSource, FailurePolicy, Grant, Host, HostSettings, Limits, OnError, Services, StageSpec, Trust,
};

use crate::build::{BUILT_IN, user_cache};
use crate::config::{ConfigError, did_you_mean};
use crate::failure::Failure;

/// What tables, keys and files a plugin is lent: those of a TOML file.
pub(super) struct With {
    file: Option<PathBuf>,
    pub(super) lent: Lent,
    doc: Option<Document>,
}

impl With {
    /// Reads `[tables.NAME]`, `[keys.NAME]` and `[assets.NAME]` of a file, which may be a whole configuration.
    pub(super) fn read(file: Option<&Path>) -> Result<With, Failure> {
        let Some(path) = file else { return Ok(With { file: None, lent: Lent::default(), doc: None }) };
        let text =
            fs::read_to_string(path).map_err(|error| Failure::usage(format!("--with {}: {error}", path.display())))?;
        let doc = Document::new(path, text);
        let base = path.parent().unwrap_or(Path::new(""));
        let lent = Lent::read(&doc, &mut doc.parse()?, base)?;
        Ok(With { file: Some(path.to_owned()), lent, doc: Some(doc) })
    }

    pub(super) fn services(&self) -> Result<Services, ConfigError> {
        let Some(doc) = &self.doc else { return Ok(Services::default()) };
        Ok(Services {
            tables: Arc::new(self.lent.load_tables(doc)?),
            keys: Arc::new(self.lent.load_keys(doc)?),
            assets: Arc::new(self.lent.load_assets(doc)?),
            ..Services::default()
        })
    }

    /// The same tables in the TOML of a file in the folder `dir`.
    pub(super) fn to_toml(&self, dir: &Path) -> String {
        let path = |path: &Path| toml_text(&relative(dir, path).display().to_string());
        let mut text = String::new();
        for table in &self.lent.tables {
            let spec = table.value.spec();
            text.push_str(&table_toml(&table.name, &spec, &relative(dir, spec.path()).display().to_string()));
        }
        for key in &self.lent.keys {
            text.push_str(&format!("\n[keys.{}]\npath = {}\n", key.name, path(&key.value.path)));
        }
        for asset in &self.lent.assets {
            text.push_str(&format!("\n[assets.{}]\npath = {}\n", asset.name, path(&asset.value.path)));
        }
        text
    }

    /// What to do about a plugin that does not start, if it says what it misses.
    pub(super) fn hint(&self, problem: &str) -> &'static str {
        let is_missing = ["no table `", "no key `", "no asset `"].iter().any(|missing| problem.contains(missing));
        match self.file {
            None if is_missing => "; give it with --with FILE.toml",
            _ => "",
        }
    }
}

/// A table in TOML, of the file `path`; `name` is quoted where it has to be.
pub(super) fn table_toml(name: &str, spec: &TableSpec, path: &str) -> String {
    let key = if matches!(spec, TableSpec::Mmdb { .. }) { "field" } else { "column" };
    let mut field = spec.field().map_or(String::new(), |field| format!("{key} = {}\n", toml_text(field)));
    if let Some(columns) = spec.key_columns() {
        field.push_str(&format!("key_columns = {columns}\n"));
    }
    format!("\n[tables.{name}]\ntype = \"{}\"\npath = {}\n{field}", spec.kind(), toml_text(path))
}

/// `path` as it is seen from `dir`.
fn relative(dir: &Path, path: &Path) -> PathBuf {
    let (Ok(dir), Ok(path)) = (std::path::absolute(dir), std::path::absolute(path)) else { return path.to_owned() };
    let shared = dir.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = dir.components().skip(shared).map(|_| Path::new(".."));
    up.chain(path.components().skip(shared).map(|component| Path::new(component.as_os_str()))).collect()
}

/// The plugin called `plugin`: a built-in one, or a file.
pub(super) fn component(plugin: &Path) -> Result<ComponentSource, Failure> {
    if let Some((name, bytes)) = BUILT_IN.iter().copied().find(|(name, _)| Path::new(name) == plugin) {
        return Ok(ComponentSource::Embedded { name, bytes });
    }
    if plugin.exists() {
        return Ok(ComponentSource::File { path: plugin.to_owned(), sha256: None });
    }
    let name = plugin.display().to_string();
    let near = did_you_mean(&name, BUILT_IN.iter().map(|(name, _)| *name));
    let known: Vec<String> = BUILT_IN.iter().map(|(name, _)| format!("`{name}`")).collect();
    Err(Failure::usage(format!("no file {name}, and built in are {}{near}", known.join(", "))))
}

/// A host for trying plugins. Counting fuel costs it a third of its speed.
pub(super) fn host(fuel: bool) -> Result<Arc<Host>, Failure> {
    let settings = HostSettings { cache_dir: user_cache(), fuel, outside: None };
    Host::new(settings, Metrics::new()).map_err(|error| Failure::running("plugins cannot be run", error))
}

/// The plugin as a stage that grants what it asks for.
pub(super) fn stage(component: ComponentSource, config_json: &str, services: Services) -> StageSpec {
    StageSpec {
        name: "plugin".to_owned(),
        component,
        trust: Trust::default(),
        config_json: config_json.to_owned(),
        grant: Grant::Requested,
        on_error: OnError::Drop,
        limits: Limits::default(),
        is_private: false,
        state: None,
        failure: FailurePolicy::default(),
        budget: None,
        rollback_window: std::time::Duration::ZERO,
        isolation: None,
        record: None,
        services,
        schema: Arc::new(Schema::standard()),
    }
}

/// Checks that `--config` is a table of JSON.
pub(super) fn config(json: &str) -> Result<Value, Failure> {
    match serde_json::from_str(json) {
        Ok(Value::Object(table)) => Ok(Value::Object(table)),
        Ok(_) => Err(Failure::usage(format!("--config {json}: not a table; write {{\"key\": 1}}"))),
        Err(error) => Err(Failure::usage(format!("--config {json}: {error}"))),
    }
}

/// `config = ...` for a fixture; nothing for an empty table.
pub(super) fn config_toml(config: &Value) -> String {
    if config.as_object().is_none_or(serde_json::Map::is_empty) {
        return String::new();
    }
    match toml::Value::try_from(config) {
        Ok(value) => format!("config = {value}\n"),
        // Null, and numbers beyond 2^63, have no place in TOML.
        Err(error) => format!("# config = {config} # {error}\n"),
    }
}

/// Says on stderr what is being done, if somebody watches.
pub(super) struct Shown {
    is_watched: bool,
    width: usize,
}

impl Shown {
    pub(super) fn new() -> Shown {
        Shown { is_watched: std::io::stderr().is_terminal(), width: 0 }
    }

    /// One line, over the last.
    pub(super) fn line(&mut self, line: &str) {
        if self.is_watched {
            let width = self.width;
            eprint!("\r{line:<width$}");
            std::io::stderr().flush().unwrap_or_default();
            self.width = line.chars().count();
        }
    }

    pub(super) fn progress(&mut self, what: &str, done: usize, of: usize) {
        match of {
            0 => self.line(&format!("{what}: attempt {done}")),
            _ => self.line(&format!("{what}: {done} of {of}")),
        }
    }
}

impl Drop for Shown {
    /// Leaves nothing behind.
    fn drop(&mut self) {
        if self.width > 0 {
            self.line("");
            eprint!("\r");
        }
    }
}
