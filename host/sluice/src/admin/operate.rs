//! Endpoints about candidates, the way back, and quarantine.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_plugin::{Loaded, Reloaded, ShadowReport};

use super::components::{blocking, find};
use super::route::{Call, NoQuery, Refusal};
use super::shapes::{ColumnChange, Exchange, Pair, Quarantine, Shadow};
use super::tokens::hex;
use crate::operate::{self, Refused};

/// Which candidate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowQuery {
    /// Path of the component on the collector's machine, relative to its configuration, or name of a built-in plugin.
    pub(crate) plugin: String,
    /// It gets a copy of every so many batches of each instance. Default 10.
    pub(crate) every: Option<u32>,
}

fn loaded(call: &Call) -> Result<Arc<Loaded>, Refusal> {
    find(&call.api.collector()?.running(), call.part("stage")).map(Arc::clone)
}

pub(super) fn refusal(stage: &str, refused: Refused) -> Refusal {
    match refused {
        Refused::State(problem) => Refusal::new(StatusCode::CONFLICT, format!("stage {stage}: {problem}")),
        Refused::Component(problem) => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, problem),
    }
}

fn no_candidate(loaded: &Loaded) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, format!("stage {}: no candidate runs beside it", loaded.stage()))
}

pub(super) async fn begin_shadow(call: Call, query: ShadowQuery) -> Result<Shadow, Refusal> {
    let (loaded, collector) = (loaded(&call)?, Arc::clone(call.api.collector()?));
    let every = query.every.unwrap_or(10);
    if every == 0 {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "every: 0 is none; use 1 or more"));
    }
    // Compiling takes seconds.
    let begun = blocking(move || {
        let begun = operate::shadow(&collector.running(), &loaded, &query.plugin, every);
        begun.map_err(|refused| refusal(&loaded.stage(), refused)).and_then(|()| report(&loaded))
    });
    begun.await?
}

pub(super) async fn shadow(call: Call, _: NoQuery) -> Result<Shadow, Refusal> {
    report(&*loaded(&call)?)
}

pub(super) async fn end_shadow(call: Call, _: NoQuery) -> Result<Shadow, Refusal> {
    let loaded = loaded(&call)?;
    let last = report(&loaded)?;
    if loaded.end_shadow() { Ok(last) } else { Err(no_candidate(&loaded)) }
}

pub(super) fn report(loaded: &Loaded) -> Result<Shadow, Refusal> {
    let report = loaded.shadow_report().ok_or_else(|| no_candidate(loaded))?;
    let is_same = report.is_same();
    let ShadowReport { plugin, version, digest, every, batches, rows, kept_by_both, .. } = report;
    let column = |(name, change): (String, sluice_plugin::ColumnChange)| {
        (name, ColumnChange { rows: change.rows, examples: pairs(change.examples) })
    };
    Ok(Shadow {
        stage: loaded.stage(),
        is_same,
        plugin,
        version,
        sha256: digest,
        every,
        batches,
        rows,
        kept_by_both,
        kept_by_running_only: report.kept_by_running_only,
        kept_by_candidate_only: report.kept_by_candidate_only,
        routes_changed: report.routes_changed,
        route_examples: pairs(report.route_examples),
        columns: report.columns.into_iter().map(column).collect(),
        alerts_by_running_only: report.alerts_by_running_only,
        alerts_by_candidate_only: report.alerts_by_candidate_only,
        alert_examples: report.alert_examples,
        batches_over_budget: report.batches_over_budget,
        failures: report.failures,
        failure_examples: report.failure_examples,
        running_ns_per_row: report.running_ns_per_row,
        candidate_ns_per_row: report.candidate_ns_per_row,
        running_memory_bytes: report.running_memory,
        candidate_memory_bytes: report.candidate_memory,
        log: report.log,
    })
}

fn pairs(examples: Vec<(String, String)>) -> Vec<Pair> {
    examples.into_iter().map(|(running, candidate)| Pair { running, candidate }).collect()
}

pub(super) async fn promote(call: Call, _: NoQuery) -> Result<Exchange, Refusal> {
    exchange(loaded(&call)?, operate::promote).await
}

pub(super) async fn roll_back(call: Call, _: NoQuery) -> Result<Exchange, Refusal> {
    exchange(loaded(&call)?, |loaded| operate::roll_back(loaded)).await
}

async fn exchange(
    loaded: Arc<Loaded>,
    act: impl FnOnce(&Arc<Loaded>) -> Result<Reloaded, Refused> + Send + 'static,
) -> Result<Exchange, Refusal> {
    let done = blocking(move || {
        let done = act(&loaded).map_err(|refused| refusal(&loaded.stage(), refused));
        (loaded, done)
    });
    let (loaded, done) = done.await?;
    let now = loaded.manifest().version;
    let (from, to) = match done? {
        Reloaded::Swapped { from, to, .. } => (from, to),
        Reloaded::Unchanged => (now.clone(), now),
    };
    tracing::info!(stage = loaded.stage(), from, to, "plugin exchanged as asked");
    let (sha256, generation) = (hex(&loaded.digest()), loaded.generation());
    Ok(Exchange { stage: loaded.stage(), from, to, sha256, generation })
}

pub(super) async fn quarantine(call: Call, _: NoQuery) -> Result<Quarantine, Refusal> {
    let loaded = loaded(&call)?;
    let who = call.who.as_ref().map_or("an operator", |who| &who.name);
    loaded.quarantine(&format!("{who} asked for it"));
    Ok(quarantined(&loaded))
}

pub(super) async fn release(call: Call, _: NoQuery) -> Result<Quarantine, Refusal> {
    let loaded = loaded(&call)?;
    if !loaded.release() {
        let problem = format!("stage {}: it is not in quarantine", loaded.stage());
        return Err(Refusal::new(StatusCode::CONFLICT, problem));
    }
    Ok(quarantined(&loaded))
}

pub(super) fn quarantined(loaded: &Loaded) -> Quarantine {
    let now = Instant::now();
    let known = loaded.is_quarantined();
    Quarantine {
        stage: loaded.stage(),
        quarantined: known.is_some(),
        since_s: known.as_ref().map(|known| now.saturating_duration_since(known.since).as_secs()),
        retry_in_s: known.as_ref().and_then(|known| Some(known.until?.saturating_duration_since(now).as_secs())),
        why: known.map(|known| known.why),
    }
}
