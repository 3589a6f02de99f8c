//! Endpoints about exporters and their templates.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_wire::{KnownExporter, KnownField, KnownTemplate};

use super::route::{Call, Refusal};
use super::shapes::{Exporter, Exporters, Sampling, Template, TemplateField, Templates};

/// How long a source may take to answer: one that waits for the pipeline tells what it said before.
const PATIENCE: Duration = Duration::from_secs(2);
/// Entries of an answer, if the call does not say, and at most.
const DEFAULT_LIMIT: usize = 1000;
const MOST: usize = 10_000;

/// Which exporters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExporterQuery {
    /// Only those of this source.
    source: Option<String>,
    /// Only those of this address.
    exporter: Option<IpAddr>,
    /// Only those of this observation domain.
    domain: Option<u32>,
    /// How many at most: 1 to 10000. Default 1000.
    limit: Option<usize>,
}

/// What a source says of an exporter.
struct Found {
    source: String,
    socket: u32,
    known: KnownExporter,
}

/// The exporters that a query means, and how many more there are.
async fn find(call: &Call, query: &ExporterQuery) -> Result<(Vec<Found>, u64), Refusal> {
    let rosters = call.api.collector()?.running().rosters.clone();
    let mut asked = Vec::new();
    for (source, rosters) in rosters {
        if query.source.as_ref().is_none_or(|meant| *meant == source) {
            for (socket, roster) in (0..).zip(rosters) {
                let source = source.clone();
                asked.push(tokio::spawn(async move { (source, socket, roster.ask(PATIENCE).await) }));
            }
        }
    }
    let (mut found, mut left_out) = (Vec::new(), 0);
    for asked in asked {
        let Ok((source, socket, told)) = asked.await else { continue };
        left_out += told.left_out as u64;
        let is_meant = |known: &&KnownExporter| {
            query.exporter.is_none_or(|addr| addr == known.addr)
                && query.domain.is_none_or(|domain| domain == known.domain)
        };
        let meant = told.exporters.iter().filter(is_meant).cloned();
        found.extend(meant.map(|known| Found { source: source.clone(), socket, known }));
    }
    Ok((found, left_out))
}

fn limit(query: &ExporterQuery) -> Result<usize, Refusal> {
    match query.limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("query: `limit` is 1 to {MOST}"))),
    }
}

pub(super) async fn exporters(call: Call, query: ExporterQuery) -> Result<Exporters, Refusal> {
    let limit = limit(&query)?;
    let (mut found, mut left_out) = find(&call, &query).await?;
    left_out += found.len().saturating_sub(limit) as u64;
    found.truncate(limit);
    Ok(Exporters { exporters: found.into_iter().map(exporter).collect(), left_out })
}

fn exporter(Found { source, socket, known }: Found) -> Exporter {
    let sampling = known.rates.iter().map(|rate| Sampling { of: rate.of.to_owned(), id: rate.id, rate: rate.rate });
    Exporter {
        source,
        socket,
        exporter: known.addr,
        protocol: known.protocol.to_owned(),
        domain: known.domain,
        datagrams: known.datagrams,
        records: known.records,
        missing: known.missing,
        gaps: known.gaps,
        late: known.late,
        resets: known.resets,
        last_seen_ms: known.last_ns / 1_000_000,
        sampling: sampling.collect(),
        templates: known.templates.len() as u64,
    }
}

pub(super) async fn templates(call: Call, query: ExporterQuery) -> Result<Templates, Refusal> {
    let limit = limit(&query)?;
    let (found, _) = find(&call, &query).await?;
    let all: usize = found.iter().map(|found| found.known.templates.len()).sum();
    let pairs = found.iter().flat_map(|found| found.known.templates.iter().map(move |template| (found, template)));
    let templates: Vec<Template> = pairs.take(limit).map(|(found, of)| template(found, of)).collect();
    let left_out = (all - templates.len()) as u64;
    Ok(Templates { templates, left_out })
}

fn template(found: &Found, template: &KnownTemplate) -> Template {
    let known = &found.known;
    let field = |field: KnownField| TemplateField {
        name: field.name,
        element: field.element,
        enterprise: field.enterprise,
        length: (field.length != u16::MAX).then_some(field.length),
        scope: field.is_scope,
    };
    Template {
        source: found.source.clone(),
        socket: found.socket,
        exporter: known.addr,
        protocol: known.protocol.to_owned(),
        domain: known.domain,
        id: template.id,
        kind: if template.is_options { "options" } else { "data" }.to_owned(),
        learned_ms: template.learned_ns / 1_000_000,
        age_ms: known.last_ns.saturating_sub(template.learned_ns) / 1_000_000,
        fields: template.fields().into_iter().map(field).collect(),
    }
}
