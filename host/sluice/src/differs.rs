//! What of a configuration is not as it was.

use std::collections::BTreeSet;

use sluice_plugin::Grant;
use toml::{Table, Value};

use crate::config::tenants::{SELECT, path_of, stage_of};
use crate::config::{Config, ConfigError, Named, Stage};

/// Keys at the top that are looked at once, when the collector starts.
const FIXED: [&str; 5] = ["workers", "shutdown_grace_ms", "cache_dir", "admin", "columns"];
/// Keys of `[plugins]` that are.
const FIXED_OF_PLUGINS: [&str; 3] = ["compile_memory_bytes", "compile_seconds", "process_memory_bytes"];
/// Keys of a stage that are looked at once, when the stage starts.
const FIXED_OF_STAGES: [&str; 2] = ["instances", "state"];
/// Keys of a sink that are about its way, not about itself.
const NO_PART_OF_SINKS: [&str; 3] = ["inputs", "require", "allow"];
/// What there is to lend.
const LENT: [&str; 3] = ["tables", "keys", "assets"];

/// Two configurations, one after the other.
#[derive(Debug)]
pub(crate) struct Differs {
    old: Table,
    new: Table,
    /// Names of tables, keys and assets that are not the same, by what they are.
    lent: BTreeSet<(&'static str, String)>,
}

impl Differs {
    /// Compares.
    ///
    /// # Errors
    /// Something that cannot change while the collector runs.
    pub(crate) fn between(old: &Config, new: &Config) -> Result<Differs, ConfigError> {
        let (old, doc, new) = (table(old), &new.doc, table(new));
        for key in FIXED {
            if old.get(key) != new.get(key) {
                let problem = format!("`{key}` cannot change while the collector runs; restart it, or change it back");
                let place = doc.parse()?.span(key);
                return Err(doc.error(place, "", problem));
            }
        }
        for key in FIXED_OF_PLUGINS {
            if part(&old, "plugins", key) != part(&new, "plugins", key) {
                let problem = format!("`{key}` cannot change while the collector runs; restart it, or change it back");
                return Err(doc.error(doc.parse()?.span("plugins"), "plugins", problem));
            }
        }
        let mut lent = BTreeSet::new();
        for kind in LENT {
            let names = [&old, &new].into_iter().filter_map(|table| table.get(kind)?.as_table()).flat_map(Table::keys);
            let names: BTreeSet<&String> = names.collect();
            let differ = names.into_iter().filter(|name| part(&old, kind, name) != part(&new, kind, name));
            lent.extend(differ.map(|name| (kind, name.clone())));
        }
        Ok(Differs { old, new, lent })
    }

    /// Whether a source or sink that runs is another one now. Who feeds a sink is no part of it.
    pub(crate) fn endpoint(&self, kind: &str, name: &str) -> bool {
        let definition = |table| without(part(table, kind, name), &NO_PART_OF_SINKS);
        definition(&self.old) != definition(&self.new)
    }

    /// Whether a stage that runs is another one now: in itself, or in what it is lent.
    pub(crate) fn stage(&self, stage: &Named<Stage>, grant: &Grant) -> bool {
        let definition = |table| without(part(table, "stages", &stage.name), &["inputs", "shadow"]);
        // Who may sign plugins is a part of every stage.
        if definition(&self.old) != definition(&self.new) || self.old.get("plugins") != self.new.get("plugins") {
            return true;
        }
        let is_lent = |(kind, name): &(&str, String)| match grant {
            Grant::Requested => true,
            Grant::Listed(granted) => match *kind {
                "tables" => granted.tables.contains(name),
                "keys" => granted.keys.contains(name),
                _ => granted.assets.contains(name),
            },
        };
        self.lent.iter().any(is_lent)
    }

    /// Whether the candidate beside a stage is another one now.
    pub(crate) fn shadow(&self, stage: &str) -> bool {
        let shadow = |table| part(table, "stages", stage).and_then(|stage| stage.get("shadow"));
        shadow(&self.old) != shadow(&self.new)
    }

    /// Checks that a stage changes in what can be changed only.
    pub(crate) fn check_stage(&self, config: &Config, stage: &Named<Stage>) -> Result<(), ConfigError> {
        let old = part(&self.old, "stages", &stage.name);
        let new = part(&self.new, "stages", &stage.name);
        let is_other = |key: &&str| old.and_then(|old| old.get(*key)) != new.and_then(|new| new.get(*key));
        let Some(fixed) = FIXED_OF_STAGES.into_iter().find(|key| is_other(key)) else { return Ok(()) };
        let problem = format!(
            "`{fixed}` cannot change while the stage runs; restart the collector, or give the stage another name"
        );
        Err(config.doc.error(stage.span.clone(), &path_of(&stage.name), problem))
    }
}

/// A file that was read already, with the stages that its tenants are made of.
fn table(config: &Config) -> Table {
    let mut table: Table = config.doc.text().parse().unwrap_or_default();
    let mut stages: Vec<(String, Value)> = Vec::new();
    for tenant in &config.tenants {
        let Some(own) = part(&table, "tenants", &tenant.name).and_then(Value::as_table) else { continue };
        let keys = |keys: &[&str]| -> Table {
            let there = keys.iter().filter_map(|key| Some(((*key).to_owned(), own.get(*key)?.clone())));
            there.collect()
        };
        stages.push((stage_of(&tenant.name, SELECT), Value::Table(keys(&["customers", "prefixes"]))));
        for plugin in tenant.value.in_order() {
            let mut stage = keys(&["plugins", "grant", "on_error", "limits", "over_budget", "isolation"]);
            if let Some(config) = own.get("config").and_then(|config| config.get(plugin)) {
                stage.insert("config".to_owned(), config.clone());
            }
            stages.push((stage_of(&tenant.name, plugin), Value::Table(stage)));
        }
    }
    let all = table.entry("stages").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(all) = all {
        all.extend(stages);
    }
    table
}

fn part<'t>(table: &'t Table, kind: &str, name: &str) -> Option<&'t Value> {
    table.get(kind)?.get(name)
}

fn without(part: Option<&Value>, keys: &[&str]) -> Option<Table> {
    let mut table = part?.as_table()?.clone();
    for key in keys {
        table.remove(*key);
    }
    Some(table)
}
