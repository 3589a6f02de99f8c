//! `[tenants.NAME]`: somebody whose plugins run on rows of their own. Each becomes stages: `NAME:select`, which keeps the
//! tenant's rows, and `NAME:PLUGIN` for every component in its folder. No name in the file can have a `:`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sluice_kit::lent::{GrantConfig, LimitsConfig, OverBudgetConfig};
use sluice_plugin::{DEFAULT_RETRIES, MAX_COMPONENT_BYTES};
use toml::Spanned;

use super::read::DEFAULT_ROLLBACK_WINDOW_MS;
use super::{Config, ConfigError, Document, IsolationConfig, Named, OnErrorConfig, QuarantineConfig, Stage, Table};

/// Stands between the name of a tenant and that of its plugin.
pub(crate) const SEPARATOR: char = ':';
/// The stage that selects a tenant's rows, and the built-in plugin that does it.
pub(crate) const SELECT: &str = "select";

/// Plugins that a tenant may have.
pub(crate) const MAX_PLUGINS: usize = 32;
/// Bytes of the name of a plugin: it is in metrics.
const MAX_NAME_BYTES: usize = 64;
/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1024;

/// `[tenants.NAME]`.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// `inputs`: sources and stages of whose rows the tenant's are selected. Required.
    pub(crate) inputs: Vec<Spanned<String>>,
    /// `customers`: the tenant's rows are those with one of these as `customer_id`, `src_customer_id` or `dst_customer_id`, e.g.
    /// `[7, 8]`. One of `customers` and `prefixes` is required.
    pub(crate) customers: Vec<u32>,
    /// `prefixes`: and those with a source or destination in one of these, e.g. `["192.0.2.0/24"]`.
    pub(crate) prefixes: Vec<String>,
    /// `plugins`: folder of the tenant's components, e.g. `"tenants/acme"`, relative to the configuration file. `web.wasm` is
    /// its plugin `web`; they run one after the other, in the order of their names. The folder is watched. Required.
    pub(crate) plugins: Spanned<PathBuf>,
    /// `order`: names of plugins that run first, in this order, e.g. `["web"]`. Default: none.
    pub(crate) order: Vec<String>,
    /// `grant`: what each of its plugins may do, and never more. Default: nothing.
    pub(crate) grant: Option<Spanned<GrantConfig>>,
    /// `on_error`: what becomes of a batch that one of its plugins cannot process: `drop`, `pass` or `dead-letter`. Default
    /// `drop`.
    pub(crate) on_error: Spanned<OnErrorConfig>,
    /// `limits`: what one instance of a plugin may use; `cpu_ms_per_s` is for all of the tenant's plugins together.
    pub(crate) limits: LimitsConfig,
    /// `over_budget`: what becomes of rows while `cpu_ms_per_s` is used up, as in `limits`. Default `"shed"`.
    pub(crate) over_budget: Option<OverBudgetConfig>,
    /// `isolation`: `"process"` runs all of its plugins in one process of their own, as for a stage. Default `"thread"`.
    pub(crate) isolation: IsolationConfig,
    /// `config`: a table for each plugin under its name, e.g. `[tenants.acme.config.web]`.
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) files: Files,
}

/// What of a tenant's folder is taken up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Names of the plugins.
    pub(crate) plugins: BTreeSet<String>,
    /// Files that are not taken up, and why.
    pub(crate) refused: BTreeMap<String, String>,
}

/// A folder as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) files: Files,
    /// Bytes and time of each file, so that the same folder is an error once.
    pub(crate) stamps: Vec<(String, u64, Option<SystemTime>)>,
}

impl Tenant {
    pub(super) fn read(doc: &Document, table: &mut Table<'_>) -> Result<Tenant, ConfigError> {
        let tenant = Tenant {
            inputs: table.need(doc, "inputs", "[\"SOURCE\"]")?,
            customers: table.take(doc, "customers")?.unwrap_or_default(),
            prefixes: table.take(doc, "prefixes")?.unwrap_or_default(),
            plugins: table.need(doc, "plugins", "\"tenants/NAME\"")?,
            order: table.take(doc, "order")?.unwrap_or_default(),
            grant: table.take(doc, "grant")?,
            on_error: match table.take(doc, "on_error")? {
                Some(on_error) => on_error,
                None => Spanned::new(table.span(""), OnErrorConfig::default()),
            },
            limits: table.take(doc, "limits")?.unwrap_or_default(),
            over_budget: table.take(doc, "over_budget")?,
            isolation: table.take(doc, "isolation")?.unwrap_or_default(),
            config: configs(doc, table)?,
            files: Files::default(),
        };
        let known = [
            "inputs",
            "customers",
            "prefixes",
            "plugins",
            "order",
            "grant",
            "on_error",
            "limits",
            "over_budget",
            "isolation",
            "config",
        ];
        table.finish(doc, &known)?;
        if tenant.customers.is_empty() && tenant.prefixes.is_empty() {
            let problem = "which rows are the tenant's? Add `customers = [7]` or `prefixes = [\"192.0.2.0/24\"]`";
            return Err(doc.error(table.span(""), &table.path, problem));
        }
        if tenant.on_error.get_ref() == &OnErrorConfig::Stop {
            let problem =
                "`on_error = \"stop\"` would let a tenant's plugin stop everybody; use `drop`, `pass` or `dead-letter`";
            return Err(doc.error(tenant.on_error.span(), &table.path, problem));
        }
        Ok(tenant)
    }

    /// The limits of each of its stages.
    pub(crate) fn limits(&self) -> LimitsConfig {
        let over_budget = self.over_budget.unwrap_or(self.limits.over_budget);
        LimitsConfig { over_budget, ..self.limits.clone() }
    }

    /// Names of its plugins as they run, one after the other.
    pub(crate) fn in_order(&self) -> Vec<&str> {
        let first = self.order.iter().filter(|name| self.files.plugins.contains(*name));
        let others = self.files.plugins.iter().filter(|name| !self.order.contains(name));
        first.chain(others).map(String::as_str).collect()
    }

    /// Its folder; `base` is that of the configuration file.
    pub(crate) fn folder(&self, base: &Path) -> PathBuf {
        base.join(self.plugins.get_ref())
    }
}

fn configs(doc: &Document, table: &mut Table<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut configs = BTreeMap::new();
    for (name, value) in table.take::<BTreeMap<String, serde_json::Value>>(doc, "config")?.unwrap_or_default() {
        if !value.is_object() {
            let problem = format!("`config.{name}` must be a table, of the plugin `{name}`");
            return Err(doc.error(table.span("config"), &table.path, problem));
        }
        configs.insert(name, value.to_string());
    }
    Ok(configs)
}

/// Name of the stage of a tenant's plugin.
pub(crate) fn stage_of(tenant: &str, plugin: &str) -> String {
    format!("{tenant}{SEPARATOR}{plugin}")
}

/// Tenant and plugin of a stage, if it is of one.
pub(crate) fn parts(stage: &str) -> Option<(&str, &str)> {
    stage.split_once(SEPARATOR)
}

/// What a stage is called in an error about its configuration.
pub(crate) fn path_of(stage: &str) -> String {
    match parts(stage) {
        Some((tenant, plugin)) => format!("tenants.{tenant}: {plugin}"),
        None => format!("stages.{stage}"),
    }
}

impl Config {
    /// The tenant of that name.
    pub(crate) fn tenant(&self, name: &str) -> Option<&Named<Tenant>> {
        self.tenants.iter().find(|tenant| tenant.name == name)
    }

    /// Makes the stages of the tenants. Of those in `taken` that is what they have; the folders of the others are looked at.
    pub(super) fn expand(&mut self, taken: &BTreeMap<String, (PathBuf, Files)>) -> Result<(), ConfigError> {
        let base = self.doc.file.parent().unwrap_or(Path::new("")).to_owned();
        for tenant in &mut self.tenants {
            let (name, value) = (&tenant.name, &mut tenant.value);
            let folder = value.folder(&base);
            let error = |problem: String| self.doc.error(value.plugins.span(), &format!("tenants.{name}"), problem);
            let files = match taken.get(name).filter(|(of, _)| *of == folder) {
                Some((_, files)) => files.clone(),
                None => look(&folder).map_err(error)?.files,
            };
            value.files = files;
            let stages = stages(name, tenant.span.clone(), value);
            self.stages.extend(stages);
        }
        Ok(())
    }
}

fn stages(name: &str, span: std::ops::Range<usize>, tenant: &Tenant) -> Vec<Named<Stage>> {
    let selected = serde_json::json!({ "customers": tenant.customers, "prefixes": tenant.prefixes });
    let stage = |inputs, plugin: String, config_json: String| Stage {
        inputs,
        plugin: Spanned::new(tenant.plugins.span(), plugin),
        sha256: None,
        grant: None,
        on_error: Spanned::new(span.clone(), OnErrorConfig::Drop),
        retries: DEFAULT_RETRIES,
        bisect: true,
        quarantine: QuarantineConfig::default(),
        is_private: None,
        instances: None,
        state: None,
        record: None,
        rollback_window_ms: DEFAULT_ROLLBACK_WINDOW_MS,
        shadow: None,
        isolation: IsolationConfig::Thread,
        process_group: None,
        limits: LimitsConfig::default(),
        config_json,
    };
    // What selects is the operator's: it is granted what it asks for, and its failures never pass rows of others.
    let first = stage(tenant.inputs.clone(), SELECT.to_owned(), selected.to_string());
    let named = |name: String, value: Stage| Named { name, span: span.clone(), value };
    let mut stages = vec![named(stage_of(name, SELECT), first)];
    for plugin in tenant.in_order() {
        let before = stages.last().map(|stage| stage.name.clone()).unwrap_or_default();
        let file = tenant.plugins.get_ref().join(format!("{plugin}.wasm"));
        let config = tenant.config.get(plugin).cloned().unwrap_or_else(|| "{}".to_owned());
        let own = Stage {
            grant: tenant.grant.clone(),
            on_error: tenant.on_error.clone(),
            limits: tenant.limits(),
            isolation: tenant.isolation,
            // No group of the file has a space in its name.
            process_group: Some(format!("tenant {name}")),
            ..stage(vec![Spanned::new(span.clone(), before)], file.display().to_string(), config)
        };
        stages.push(named(stage_of(name, plugin), own));
    }
    stages
}

/// Looks at a tenant's folder: which files are plugins, and which of them are not taken up.
///
/// # Errors
/// A folder that cannot be read, or that everybody can write to.
pub(crate) fn look(folder: &Path) -> Result<Found, String> {
    let unread = |error: std::io::Error| format!("{} cannot be read: {error}; make the folder", folder.display());
    let about = fs::symlink_metadata(folder).map_err(unread)?;
    if !about.is_dir() {
        return Err(format!("{} is no folder", folder.display()));
    }
    if about.mode() & 0o002 != 0 {
        return Err(format!("everybody can write to {}; `chmod o-w` it", folder.display()));
    }
    let mut found = Found::default();
    let mut names = Vec::new();
    for (entries, entry) in fs::read_dir(folder).map_err(unread)?.enumerate() {
        if entries == MAX_ENTRIES {
            return Err(format!("{} has more than {MAX_ENTRIES} entries; remove some", folder.display()));
        }
        let name = entry.map_err(unread)?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "wasm") {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        let shown = name.to_string_lossy().into_owned();
        let plugin = shown.strip_suffix(".wasm").unwrap_or(&shown).to_owned();
        // Gone since.
        let Ok(file) = fs::symlink_metadata(folder.join(&name)) else { continue };
        found.stamps.push((shown.clone(), file.len(), file.modified().ok()));
        let why = match refusal(&plugin, &file, about.uid()) {
            None if found.files.plugins.len() == MAX_PLUGINS => {
                Some(format!("a tenant may have {MAX_PLUGINS} plugins"))
            }
            why => why,
        };
        match why {
            None => drop(found.files.plugins.insert(plugin)),
            Some(why) => drop(found.files.refused.insert(plugin, why)),
        }
    }
    Ok(found)
}

/// Why a file is not taken up.
fn refusal(plugin: &str, file: &fs::Metadata, owner: u32) -> Option<String> {
    name_refusal(plugin).or_else(|| {
        let own = rustix::process::geteuid().as_raw();
        if file.is_symlink() {
            Some("it is a symbolic link; put the file itself there".to_owned())
        } else if !file.is_file() {
            Some("it is no file".to_owned())
        } else if ![owner, own, 0].contains(&file.uid()) {
            Some("it belongs to somebody else than the folder".to_owned())
        } else if file.mode() & 0o002 != 0 {
            Some("everybody can write to it; `chmod o-w` it".to_owned())
        } else if file.len() > MAX_COMPONENT_BYTES as u64 {
            Some(format!("it is larger than {MAX_COMPONENT_BYTES} bytes"))
        } else {
            None
        }
    })
}

/// Why nothing can be called that.
pub(crate) fn name_refusal(plugin: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if plugin.is_empty() || plugin.len() > MAX_NAME_BYTES || !plugin.chars().all(fits) {
        Some(format!("names are 1 to {MAX_NAME_BYTES} letters, digits, `_` and `-`"))
    } else if plugin == SELECT {
        Some(format!("`{SELECT}` is what selects the tenant's rows; give it another name"))
    } else {
        None
    }
}
