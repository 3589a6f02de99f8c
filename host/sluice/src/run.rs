//! `sluice run` and `sluice check`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_pipeline::{Metrics, Selection, Stop, Target};
use tokio::sync::Notify;
use tracing::info;

use crate::admin::{Admin, Api};
use crate::build::{Prepared, prepare};
use crate::collector::Collector;
use crate::config;
use crate::failure::Failure;
use crate::signals::Reload;
use crate::watch::Watch;
use crate::{privacy, report, signals};

/// Runs a configuration file until a signal, or until its captures end.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let prepared = prepare(config::load(file)?)?;
    let stop = Stop::new();
    run_prepared(prepared, Some(file.to_owned()), &stop, |name, addr| info!(source = name, %addr, "listening"))
}

/// Runs what was prepared; ends with the books on stderr.
pub(crate) fn run_prepared(
    prepared: Prepared,
    file: Option<PathBuf>,
    stop: &Stop,
    on_bound: impl FnMut(&str, SocketAddr),
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::running("no threads", error))?;
    let metrics = Arc::clone(&prepared.metrics);
    let asked = Arc::new(Notify::new());
    let reload: Reload = {
        let (asked, tokens) = (Arc::clone(&asked), prepared.tokens.clone());
        Arc::new(move || {
            asked.notify_one();
            tokens.iter().for_each(|tokens| tokens.reload_and_say());
        })
    };
    let api = Api::new(&metrics, stop, prepared.tokens.clone(), Arc::clone(&reload));
    if let Some(admin) = &prepared.config.admin {
        Admin::bind(admin.listen, admin.tokens.is_some())?.serve(Arc::clone(&api))?;
    }
    signals::handle(stop.clone(), Some(reload)).map_err(|error| Failure::running("signals", error))?;
    let started = Collector::start(prepared, file, stop, runtime.handle(), on_bound)?;
    api.started(&started.collector);
    let watch = Watch::new(&started.collector);
    runtime.spawn(watch.watch(stop.clone(), asked));

    info!("running");
    let outcome = started.wait();
    print_books(&metrics);
    // A write to a terminal that nobody reads may still be under way: it must not hold up the end.
    runtime.shutdown_background();
    outcome.map_err(|error| Failure::failed(error.0))
}

fn print_books(metrics: &Metrics) {
    eprint!("{}", report::balance_table(&metrics.balances()));
}

/// Checks a configuration file: everything that `run` does but sockets and files to write; prints the plan.
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    let prepared = prepare(config::load(file)?)?;
    let wanted = prepared.wanted()?;
    let mut plan = describe(&prepared);
    let missing = prepared.config.schema.all().minus(wanted);
    let read = if missing.is_empty() { "all".to_owned() } else { names(&prepared, wanted.iter()) };
    plan.push_str(&format!("columns read: {read}\n"));
    plan.push_str(&privacy::describe(&prepared)?);
    match std::io::stdout().write_all(plan.as_bytes()) {
        // A reader that has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::running("standard output", error)),
    }
}

/// The pipelines, as text.
fn describe(prepared: &Prepared) -> String {
    use std::fmt::Write as _;
    let config = &prepared.config;
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
    let to = |edges: &[sluice_pipeline::Edge]| {
        let names: Vec<String> = edges
            .iter()
            .map(|edge| {
                let name = match edge.target {
                    Target::Stage(at) => &config.stages[at].name,
                    Target::Sink(at) => &config.sinks[prepared.plan.row_sinks[at]].name,
                };
                match &edge.selection {
                    Selection::All => name.clone(),
                    Selection::Routed => format!("{name} (routed)"),
                    Selection::Route(route) => format!("{name} ({route})"),
                    Selection::DeadLetter => format!("{name} (dead letters)"),
                }
            })
            .collect();
        if names.is_empty() { "nothing (alerts only)".to_owned() } else { names.join(", ") }
    };
    for (source, edges) in config.sources.iter().zip(&prepared.plan.sources) {
        line(format_args!("source {} -> {}", source.name, to(edges)));
    }
    for ((stage, edges), loaded) in config.stages.iter().zip(&prepared.plan.stages).zip(&prepared.stages) {
        let manifest = loaded.manifest();
        let kind = if manifest.stateful { "stateful" } else { "stateless" };
        line(format_args!("stage {} -> {}", stage.name, to(edges)));
        line(format_args!("  plugin {} {}, {kind}", manifest.name, manifest.version));
        if let Some(signer) = loaded.signer() {
            line(format_args!("  signed by {signer}"));
        }
        line(format_args!("  reads  {}", names(prepared, manifest.reads.iter())));
        line(format_args!("  writes {}", names(prepared, manifest.writes.iter())));
    }
    for (at, stages) in &prepared.plan.event_sinks {
        let stages: Vec<&str> = stages.iter().map(|stage| config.stages[*stage].name.as_str()).collect();
        line(format_args!("alerts of {} -> {}", stages.join(", "), config.sinks[*at].name));
    }
    text
}

fn names(prepared: &Prepared, columns: impl Iterator<Item = sluice_flow::ColumnId>) -> String {
    let names: Vec<&str> = columns.filter_map(|column| prepared.config.schema.name(column)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}
