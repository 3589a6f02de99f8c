//! Every endpoint, in the order of the reference.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sluice_plugin::MAX_COMPONENT_BYTES;

use super::route::{Access, Call, NoQuery, Refusal, Route, content_type};
use super::shapes::WhoAmI;
use super::{components, exporters, openapi, operate, tail, tenants};

/// What OpenMetrics text is called; Prometheus reads it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";

/// All of them. An endpoint is added here, with its handler, and nowhere else.
pub(crate) fn routes() -> Vec<Route> {
    use Access::{Anyone, Operator, Public, Tenant};
    const NO_STAGE: (u16, &str) = (404, "There is no such stage, or `[admin]` has no `tokens`.");
    const NO_CANDIDATE: (u16, &str) = (409, "No candidate runs beside it.");
    const NO_TABLE: (u16, &str) = (404, "There is no such table, or `[admin]` has no `tokens`.");
    const NO_TENANT: (u16, &str) =
        (404, "There is no such tenant or plugin for whoever asks, or `[admin]` has no `tokens`.");
    let get = Method::GET;
    vec![
        Route::raw::<NoQuery, String, _, _>(
            (get.clone(), "/metrics", Public, "metrics", "Every metric as OpenMetrics text."),
            OPENMETRICS,
            &[],
            metrics,
        ),
        Route::raw::<NoQuery, String, _, _>(
            (get.clone(), "/healthz", Public, "health", "Whether the collector runs: 200, or 503 while it stops."),
            TEXT,
            &[],
            health,
        ),
        Route::json((get.clone(), "/v1/whoami", Anyone, "whoami", "Who the token is of."), &[], whoami),
        Route::json((get.clone(), "/v1/openapi.json", Anyone, "openapi", "This document."), &[], document),
        Route::json(
            (get.clone(), "/v1/pipeline", Operator, "pipeline", "Sources, stages and sinks, and who feeds whom."),
            &[],
            components::pipeline,
        ),
        Route::json(
            (get.clone(), "/v1/balance", Operator, "balance", "The books of every component."),
            &[],
            components::balance,
        ),
        Route::json(
            (get.clone(), "/v1/plugins", Operator, "plugins", "The plugin of every stage."),
            &[],
            components::plugins,
        ),
        Route::json(
            (get.clone(), "/v1/plugins/{stage}", Operator, "plugin", "The plugin of a stage."),
            &[NO_STAGE],
            components::plugin,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/plugins/{stage}/swap",
                Operator,
                "swap",
                "Read the file of a stage's plugin now, and exchange the plugin if it is another one.",
            ),
            &[NO_STAGE, (409, "The plugin is built in."), (422, "The new plugin is refused; the old one runs on.")],
            components::swap,
        ),
        Route::json(
            (
                get.clone(),
                "/v1/plugins/{stage}/shadow",
                Operator,
                "shadow",
                "What the candidate of a stage does differently.",
            ),
            &[NO_STAGE, NO_CANDIDATE],
            operate::shadow,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/plugins/{stage}/shadow",
                Operator,
                "begin-shadow",
                "Run a candidate on copies of batches of a stage, without effect, and compare.",
            ),
            &[NO_STAGE, (422, "The candidate is refused; what runs goes on.")],
            operate::begin_shadow,
        ),
        Route::json(
            (
                Method::DELETE,
                "/v1/plugins/{stage}/shadow",
                Operator,
                "end-shadow",
                "Let the candidate of a stage go; the answer is its last report.",
            ),
            &[NO_STAGE, NO_CANDIDATE],
            operate::end_shadow,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/plugins/{stage}/promote",
                Operator,
                "promote",
                "Make the candidate of a stage its plugin, with its file in the place of the plugin's.",
            ),
            &[
                NO_STAGE,
                (409, "No candidate runs beside it, or its digest is pinned in the configuration."),
                (422, "The candidate is refused; the old one runs on."),
            ],
            operate::promote,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/plugins/{stage}/rollback",
                Operator,
                "rollback",
                "Put back the version of a stage's plugin that ran before, within its rollback window.",
            ),
            &[NO_STAGE, (409, "There is nothing to go back to.")],
            operate::roll_back,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/plugins/{stage}/quarantine",
                Operator,
                "quarantine",
                "Do not call the plugin of a stage any more, until it is released or exchanged: rows go by its on_error.",
            ),
            &[NO_STAGE],
            operate::quarantine,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/plugins/{stage}/release",
                Operator,
                "release",
                "End the quarantine of a stage's plugin.",
            ),
            &[NO_STAGE, (409, "It is not in quarantine.")],
            operate::release,
        ),
        Route::json(
            (get.clone(), "/v1/tenants/{tenant}", Tenant, "tenant", "A tenant: its plugins, books and what is refused."),
            &[NO_TENANT],
            tenants::tenant,
        ),
        Route::json(
            (
                Method::PUT,
                "/v1/tenants/{tenant}/plugins/{plugin}",
                Tenant,
                "send-plugin",
                "Send a component, which is checked as at load. The first of a name runs; another runs as a candidate beside it, \
                 without effect, on copies of the tenant's batches, until it is promoted.",
            ),
            &[
                NO_TENANT,
                (409, "There is no room for one more."),
                (422, "The component or its signature is refused; nothing changed."),
            ],
            tenants::send,
        )
        .taking(MAX_COMPONENT_BYTES),
        Route::json(
            (
                Method::DELETE,
                "/v1/tenants/{tenant}/plugins/{plugin}",
                Tenant,
                "remove-plugin",
                "Take a plugin away. Its file is kept beside.",
            ),
            &[NO_TENANT, (409, "It cannot go now."), (422, "The others cannot run without it.")],
            tenants::remove,
        ),
        Route::json(
            (
                get.clone(),
                "/v1/tenants/{tenant}/plugins/{plugin}/shadow",
                Tenant,
                "tenant-shadow",
                "What the candidate beside a plugin does differently.",
            ),
            &[NO_TENANT, (409, "No candidate runs beside it.")],
            tenants::shadow,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/tenants/{tenant}/plugins/{plugin}/promote",
                Tenant,
                "tenant-promote",
                "Make the candidate the plugin. What ran is kept as NAME.wasm.previous.",
            ),
            &[NO_TENANT, (409, "No candidate runs beside it."), (422, "The candidate is refused; nothing changed.")],
            tenants::promote,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/tenants/{tenant}/plugins/{plugin}/rollback",
                Tenant,
                "tenant-rollback",
                "Put back what ran before a plugin was exchanged.",
            ),
            &[NO_TENANT, (409, "There is nothing to go back to."), (422, "The file cannot be put back.")],
            tenants::roll_back,
        ),
        Route::json((get.clone(), "/v1/tables", Operator, "tables", "Every table."), &[], components::tables),
        Route::json(
            (
                Method::POST,
                "/v1/tables/{table}/reload",
                Operator,
                "reload-table",
                "Read the file of a table now, if it changed, and exchange the table.",
            ),
            &[NO_TABLE, (422, "The file is refused; the table is as it was.")],
            components::reload_table,
        ),
        Route::json(
            (get.clone(), "/v1/exporters", Operator, "exporters", "Exporters that are known, and what came of them."),
            &[],
            exporters::exporters,
        ),
        Route::json(
            (get.clone(), "/v1/templates", Operator, "templates", "Templates in force, with their fields."),
            &[],
            exporters::templates,
        ),
        Route::raw::<tail::TailQuery, super::shapes::TailLine, _, _>(
            (
                get,
                "/v1/tail/{node}",
                Tenant,
                "tail",
                "Rows as they leave a source or stage or come into a sink, a JSON object a line, until the client goes.",
            ),
            NDJSON,
            &[
                (404, "Nothing is called that, or `[admin]` has no `tokens`."),
                (409, "Several components are called that."),
                (503, "As many tails are open as may be."),
            ],
            tail::tail,
        ),
        Route::json(
            (
                Method::POST,
                "/v1/reload",
                Operator,
                "reload",
                "Do what a SIGHUP does: take up what changed in the configuration, then look for changed plugins, tables and \
                 tokens, of which the log says what came.",
            ),
            &[(422, "The configuration is refused; everything runs on as it did.")],
            components::reload,
        ),
    ]
}

async fn metrics(call: Call, _: NoQuery) -> Result<Response, Refusal> {
    Ok((content_type(OPENMETRICS), call.api.metrics.encode()).into_response())
}

/// 200 while running, 503 while draining: a load balancer then sends no more.
async fn health(call: Call, _: NoQuery) -> Result<Response, Refusal> {
    let (status, text) = if call.api.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    };
    Ok((status, content_type(TEXT), text).into_response())
}

async fn whoami(call: Call, _: NoQuery) -> Result<WhoAmI, Refusal> {
    let who = call.who.as_deref().cloned();
    let who = who.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "nobody"))?;
    Ok(WhoAmI { name: who.name, role: who.role, tenant: who.tenant })
}

async fn document(_: Call, _: NoQuery) -> Result<&'static Value, Refusal> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::document(&routes()));
    Ok(&DOCUMENT)
}
