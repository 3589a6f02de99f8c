//! Who feeds whom: names in `inputs` become edges, and every mistake in them is found.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use sluice_pipeline::{Edge, Selection, Target, check_order};
use toml::Spanned;

use crate::config::tenants::{SELECT, parts, path_of, stage_of};
use crate::config::{Config, ConfigError, OnErrorConfig, SinkKind, did_you_mean};

/// Name of the output for rows that a stage could not process.
const DEAD_LETTER: &str = "dead-letter";

/// The wiring of a configuration. Places are those in [`Config`]; a sink that takes alerts is not in
/// the edges.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Edges out of each source.
    pub(crate) sources: Vec<Vec<Edge>>,
    /// Edges out of each stage.
    pub(crate) stages: Vec<Vec<Edge>>,
    /// Places of the sinks that take rows; [`Target::Sink`] is a place in this list.
    pub(crate) row_sinks: Vec<usize>,
    /// Places of the sinks that take alerts, with the places of the stages they listen to.
    pub(crate) event_sinks: Vec<(usize, Vec<usize>)>,
}

/// What a name in `inputs` means.
#[derive(Clone, Copy)]
enum Node {
    Source(usize),
    Stage(usize),
    Tenant(usize),
}

/// Wires a configuration.
///
/// # Errors
/// The first name that does not fit, with its place.
pub(crate) fn plan(config: &Config) -> Result<Plan, ConfigError> {
    let nodes = nodes(config)?;
    let mut plan = Plan {
        sources: vec![Vec::new(); config.sources.len()],
        stages: vec![Vec::new(); config.stages.len()],
        row_sinks: Vec::new(),
        event_sinks: Vec::new(),
    };
    for (at, stage) in config.stages.iter().enumerate() {
        let path = path_of(&stage.name);
        plan.connect(config, &nodes, &path, stage.span.clone(), &stage.value.inputs, Target::Stage(at))?;
    }
    for (at, sink) in config.sinks.iter().enumerate() {
        let path = format!("sinks.{}", sink.name);
        if matches!(sink.value.kind, SinkKind::Events(_)) {
            let stages = listened_to(config, &nodes, &path, &sink.value.inputs)?;
            plan.event_sinks.push((at, stages));
        } else {
            let target = Target::Sink(plan.row_sinks.len());
            plan.connect(config, &nodes, &path, sink.span.clone(), &sink.value.inputs, target)?;
            plan.row_sinks.push(at);
        }
    }
    plan.check(config)?;
    check_files(config)?;
    Ok(plan)
}

/// Two sinks that write to one file would wait for each other for ever. Devices take what both write.
fn check_files(config: &Config) -> Result<(), ConfigError> {
    let mut files: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for sink in &config.sinks {
        let SinkKind::File(file) = &sink.value.kind else { continue };
        if file.path.starts_with("/dev") {
            continue;
        }
        // One that is there may have several paths.
        let path = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
        if let Some(other) = files.insert(path, &sink.name) {
            let problem = format!(
                "`path` is the file of `sinks.{other}` too; give it another, or name the inputs of both in one sink"
            );
            return Err(config.doc.error(sink.span.clone(), &format!("sinks.{}", sink.name), problem));
        }
    }
    Ok(())
}

/// Sources and stages by name; sinks too have to be called differently, because metrics and errors name them.
fn nodes(config: &Config) -> Result<BTreeMap<&str, Node>, ConfigError> {
    let mut nodes = BTreeMap::new();
    for (at, source) in config.sources.iter().enumerate() {
        nodes.insert(source.name.as_str(), Node::Source(at));
    }
    for (at, stage) in config.stages.iter().enumerate() {
        if nodes.insert(&stage.name, Node::Stage(at)).is_some() {
            let problem = format!("`{0}` is a source and a stage; rename one, `inputs` could mean either", stage.name);
            return Err(config.doc.error(stage.span.clone(), "stages", problem));
        }
    }
    for (at, tenant) in config.tenants.iter().enumerate() {
        if nodes.insert(&tenant.name, Node::Tenant(at)).is_some() {
            let problem = format!(
                "`{0}` is a tenant, and a source or stage; rename one, `inputs` could mean either",
                tenant.name
            );
            return Err(config.doc.error(tenant.span.clone(), "tenants", problem));
        }
    }
    Ok(nodes)
}

/// Places of the stages of a tenant's plugins; if it has none, of what selects its rows.
fn stages_of(config: &Config, tenant: usize) -> Vec<usize> {
    let Some(tenant) = config.tenants.get(tenant) else { return Vec::new() };
    let mut plugins = tenant.value.in_order();
    if plugins.is_empty() {
        plugins.push(SELECT);
    }
    let place = |plugin: &str| {
        let name = stage_of(&tenant.name, plugin);
        config.stages.iter().position(|stage| stage.name == name)
    };
    plugins.into_iter().filter_map(place).collect()
}

fn listened_to(
    config: &Config,
    nodes: &BTreeMap<&str, Node>,
    path: &str,
    inputs: &[Spanned<String>],
) -> Result<Vec<usize>, ConfigError> {
    let stage = |input: &Spanned<String>| match nodes.get(input.get_ref().as_str()) {
        Some(Node::Stage(stage)) => Ok(vec![*stage]),
        Some(Node::Tenant(tenant)) => Ok(stages_of(config, *tenant)),
        _ => {
            let stages = config.stages.iter().map(|stage| stage.name.as_str());
            let near = did_you_mean(input.get_ref(), stages);
            let problem = format!("`{}` is no stage; alerts come from stages{near}", input.get_ref());
            Err(config.doc.error(input.span(), path, problem))
        }
    };
    Ok(inputs.iter().map(stage).collect::<Result<Vec<_>, _>>()?.concat())
}

impl Plan {
    /// Adds the edges into one stage or sink.
    fn connect(
        &mut self,
        config: &Config,
        nodes: &BTreeMap<&str, Node>,
        path: &str,
        span: Range<usize>,
        inputs: &[Spanned<String>],
        target: Target,
    ) -> Result<(), ConfigError> {
        if inputs.is_empty() {
            return Err(config.doc.error(span, path, "`inputs` is empty; name a source or a stage"));
        }
        for input in inputs {
            let (name, route) = match input.get_ref().split_once('.') {
                Some((name, route)) => (name, Some(route)),
                None => (input.get_ref().as_str(), None),
            };
            let error = |problem: String| Err(config.doc.error(input.span(), path, problem));
            let Some(node) = nodes.get(name) else {
                let near = did_you_mean(name, nodes.keys().copied());
                return error(format!("no source or stage is called `{name}`{near}"));
            };
            let selection = match route {
                None => Selection::All,
                Some("*") => Selection::Routed,
                Some(DEAD_LETTER) => Selection::DeadLetter,
                Some("") => return error(format!("`{name}.` has no route; write `{name}.*` for all routes")),
                Some(route) => Selection::Route(route.into()),
            };
            let edge = Edge { selection: selection.clone(), target };
            if let Node::Tenant(tenant) = node {
                let stages = stages_of(config, *tenant);
                let is_dead_letter = config.tenants[*tenant].value.on_error.get_ref() == &OnErrorConfig::DeadLetter;
                // Its rows leave its last plugin; its dead letters each.
                let from = match selection {
                    Selection::DeadLetter if !is_dead_letter => {
                        return error(format!("`{name}` has no dead letters; set its `on_error = \"dead-letter\"`"));
                    }
                    Selection::DeadLetter => stages.as_slice(),
                    _ => stages.last().map_or(&[][..], std::slice::from_ref),
                };
                for stage in from {
                    if self.stages[*stage].contains(&edge) {
                        return error(format!("`{}` is listed twice", input.get_ref()));
                    }
                    self.stages[*stage].push(edge.clone());
                }
                continue;
            }
            let edges = match node {
                Node::Tenant(_) => continue,
                Node::Source(_) if selection != Selection::All => {
                    return error(format!("`{name}` is a source and has no routes; write `{name}`"));
                }
                Node::Source(source) => &mut self.sources[*source],
                Node::Stage(stage) => {
                    let is_dead_letter = config.stages[*stage].value.on_error.get_ref() == &OnErrorConfig::DeadLetter;
                    if selection == Selection::DeadLetter && !is_dead_letter {
                        return error(format!("`{name}` has no dead letters; set its `on_error = \"dead-letter\"`"));
                    }
                    &mut self.stages[*stage]
                }
            };
            if edges.contains(&edge) {
                return error(format!("`{}` is listed twice", input.get_ref()));
            }
            edges.push(edge);
        }
        Ok(())
    }

    /// Checks that rows go somewhere and never in a circle.
    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        for (source, edges) in config.sources.iter().zip(&self.sources) {
            if edges.is_empty() {
                let problem =
                    format!("nothing takes the rows of `{0}`; name it in the `inputs` of a stage or sink", source.name);
                return Err(config.doc.error(source.span.clone(), "sources", problem));
            }
        }
        for (at, (stage, edges)) in config.stages.iter().zip(&self.stages).enumerate() {
            let takes_dead = edges.iter().any(|edge| edge.selection == Selection::DeadLetter);
            let on_error = &stage.value.on_error;
            // Of a tenant, its own name is what others see.
            let name = parts(&stage.name).map_or(stage.name.as_str(), |(tenant, _)| tenant);
            if on_error.get_ref() == &OnErrorConfig::DeadLetter && !takes_dead {
                let problem =
                    format!("nothing takes the dead letters; name `{name}.{DEAD_LETTER}` in a sink's `inputs`");
                return Err(config.doc.error(on_error.span(), &path_of(&stage.name), problem));
            }
            // A stage at the end is of use only for its alerts.
            let is_heard = self.event_sinks.iter().any(|(_, stages)| stages.contains(&at));
            let takes_rows = edges.iter().any(|edge| edge.selection != Selection::DeadLetter);
            if !takes_rows && !is_heard {
                let problem = format!("nothing takes the rows of `{name}`; name it in the `inputs` of a stage or sink");
                let section = if parts(&stage.name).is_some() { "tenants" } else { "stages" };
                return Err(config.doc.error(stage.span.clone(), section, problem));
            }
        }
        check_order(&self.stages).map_err(|error| {
            let mut names: Vec<&str> = error.circle.iter().map(|at| config.stages[*at].name.as_str()).collect();
            names.push(names[0]);
            let problem = format!("the stages feed each other in a circle: {}", names.join(" -> "));
            config.doc.error(config.stages[error.circle[0]].span.clone(), "stages", problem)
        })
    }
}
