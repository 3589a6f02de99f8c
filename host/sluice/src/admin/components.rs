//! Endpoints about pipelines, books, plugins and tables.

use std::sync::Arc;

use axum::http::StatusCode;
use sluice_pipeline::chain;
use sluice_plugin::{Loaded, Numbers, Reloaded, grant_names};

use super::graph;
use super::route::{Call, NoQuery, Refusal};
use super::shapes::{Balance, Balances, Changed, Pipeline, Plugin, Plugins, Swap, Table, TableReload, Tables};
use super::tokens::hex;
use crate::collector::{self, Running};
use crate::config::did_you_mean;
use crate::failure::Failure;

pub(super) async fn pipeline(call: Call, _: NoQuery) -> Result<Pipeline, Refusal> {
    let api = &call.api;
    let running = api.collector()?.running();
    Ok(Pipeline {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: if api.stop.is_cancelled() { "draining" } else { "running" }.to_owned(),
        uptime_s: api.since.elapsed().as_secs(),
        sources: graph::sources(&running),
        stages: graph::stages(&running),
        sinks: graph::sinks(&running),
    })
}

pub(super) async fn balance(call: Call, _: NoQuery) -> Result<Balances, Refusal> {
    Ok(Balances { components: call.api.metrics.balances().into_iter().map(balance_of).collect() })
}

pub(super) fn balance_of(balance: sluice_pipeline::Balance) -> Balance {
    Balance {
        kind: balance.kind.name().to_owned(),
        rows_in: balance.rows_in,
        rows_out: balance.rows_out,
        in_flight: i64::try_from(balance.open()).unwrap_or(i64::MAX),
        name: balance.name,
        dropped: balance.dropped.into_iter().map(|(reason, rows)| (reason.to_owned(), rows)).collect(),
    }
}

pub(super) async fn plugins(call: Call, _: NoQuery) -> Result<Plugins, Refusal> {
    let running = call.api.collector()?.running();
    Ok(Plugins { plugins: running.stages.iter().map(|stage| about(&running, &stage.loaded)).collect() })
}

pub(super) async fn plugin(call: Call, _: NoQuery) -> Result<Plugin, Refusal> {
    let running = call.api.collector()?.running();
    Ok(about(&running, find(&running, call.part("stage"))?))
}

/// The plugin of a stage, or the stage that was meant.
pub(super) fn find<'r>(running: &'r Running, stage: &str) -> Result<&'r Arc<Loaded>, Refusal> {
    running.stage(stage).map(|stage| &stage.loaded).ok_or_else(|| {
        let near = did_you_mean(stage, running.stages.iter().map(|stage| stage.name.as_str()));
        Refusal::new(StatusCode::NOT_FOUND, format!("there is no stage `{stage}`{near}"))
    })
}

pub(super) fn about(running: &Running, loaded: &Loaded) -> Plugin {
    let manifest = loaded.manifest();
    let Numbers { calls, cpu_ns, memory_bytes, kept_rows, traps, alerts, log_suppressed, swaps } = loaded.numbers();
    Plugin {
        stage: loaded.stage(),
        name: manifest.name,
        version: manifest.version,
        sha256: hex(&loaded.digest()),
        origin: loaded.origin(),
        generation: loaded.generation(),
        stateful: manifest.stateful,
        tick_ms: manifest.tick_ms,
        reads: grant_names(&running.config.schema, manifest.reads),
        writes: grant_names(&running.config.schema, manifest.writes),
        memory_bytes,
        calls,
        cpu_ns,
        kept_rows,
        traps: traps.into_iter().map(|(kind, calls)| (kind.to_owned(), calls)).collect(),
        alerts: alerts.0,
        alerts_suppressed: alerts.1,
        log_suppressed,
        swaps: swaps.0,
        swaps_refused: swaps.1,
        rollback_s: loaded.can_roll_back_for().map(|left| left.as_secs()),
        candidate: loaded.shadow_candidate().map(|candidate| candidate.manifest().version.clone()),
        quarantined: loaded.is_quarantined().is_some(),
    }
}

pub(super) async fn swap(call: Call, _: NoQuery) -> Result<Swap, Refusal> {
    let loaded = Arc::clone(find(&call.api.collector()?.running(), call.part("stage"))?);
    if loaded.path().is_none() {
        let error = "its plugin is built in and is exchanged with the collector; give the stage a path to a .wasm file";
        return Err(Refusal::new(StatusCode::CONFLICT, format!("stage {}: {error}", loaded.stage())));
    }
    // Compiling takes seconds.
    let looked = blocking(move || {
        let looked = loaded.retry();
        (loaded, looked)
    });
    let (loaded, looked) = looked.await?;
    let version = loaded.manifest().version;
    let (swapped, from, to) = match looked {
        Ok(Reloaded::Swapped { from, to, generation }) => {
            let stage = loaded.stage();
            tracing::info!(stage, from, to, generation, "new plugin takes over at the next batch");
            (true, from, to)
        }
        Ok(Reloaded::Unchanged) => (false, version.clone(), version),
        Err(error) => return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, chain(&error))),
    };
    let (sha256, generation) = (hex(&loaded.digest()), loaded.generation());
    Ok(Swap { stage: loaded.stage(), swapped, from, to, sha256, generation })
}

pub(super) async fn tables(call: Call, _: NoQuery) -> Result<Tables, Refusal> {
    let tables = Arc::clone(&call.api.collector()?.running().tables);
    Ok(Tables { tables: tables.names().filter_map(|name| table(&tables, name)).collect() })
}

fn table(tables: &sluice_plugin::tables::Tables, name: &str) -> Option<Table> {
    let (spec, table) = (tables.spec(name)?, tables.get(name)?);
    Some(Table {
        name: name.to_owned(),
        kind: spec.kind().to_owned(),
        path: spec.path().display().to_string(),
        prefixes: table.prefixes() as u64,
        keys: table.keys() as u64,
        values: u64::from(table.codes().saturating_sub(1)),
        generation: table.generation(),
        sha256: hex(&table.digest()),
    })
}

pub(super) async fn reload_table(call: Call, _: NoQuery) -> Result<TableReload, Refusal> {
    let name = call.part("table").to_owned();
    let tables = Arc::clone(&call.api.collector()?.running().tables);
    if tables.spec(&name).is_none() {
        let near = did_you_mean(&name, tables.names());
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no table `{name}`{near}")));
    }
    let looked = blocking(move || {
        let exchanged = tables.retry(&name);
        (tables, name, exchanged)
    });
    let (tables, name, exchanged) = looked.await?;
    let exchanged = exchanged.map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, chain(&error)))?;
    if exchanged {
        tracing::info!(table = name, "table exchanged");
    }
    let gone = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no table `{name}`"));
    Ok(TableReload { exchanged, table: table(&tables, &name).ok_or_else(gone)? })
}

pub(super) async fn reload(call: Call, _: NoQuery) -> Result<Changed, Refusal> {
    let collector = Arc::clone(call.api.collector()?);
    let changed = blocking(move || collector.reload()).await?;
    // Files that the configuration names, and tokens; the log says what came of those.
    (call.api.reload)();
    let refused = |error: Failure| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, chain(&error));
    let collector::Changed { added, removed, changed, rewired } = changed.map_err(refused)?;
    Ok(Changed { added, removed, changed, rewired })
}

/// Does what takes long on a thread where nobody waits for it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("this is a fault of sluice: {error}")))
}
