//! What the API answers: the contract with its clients. Fields are added and never taken away; the comments are the
//! descriptions in the OpenAPI document.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tokens::Role;

/// Why a call was not answered.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// What is wrong, and the way out.
    pub(crate) error: String,
}

/// Who a token is of.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct WhoAmI {
    /// Name of the token.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// Its tenant; null for operators.
    pub(crate) tenant: Option<String>,
}

/// The pipelines that run: who feeds whom.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Pipeline {
    /// Version of the collector.
    pub(crate) version: String,
    /// `running`, or `draining` while it stops.
    pub(crate) state: String,
    /// Seconds since it was started.
    pub(crate) uptime_s: u64,
    /// Where rows come from.
    pub(crate) sources: Vec<SourceNode>,
    /// What transforms them.
    pub(crate) stages: Vec<StageNode>,
    /// Where they go.
    pub(crate) sinks: Vec<SinkNode>,
}

/// A source.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct SourceNode {
    /// Name in the configuration.
    pub(crate) name: String,
    /// `udp`, `capture` or `kafka`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Who gets its rows.
    pub(crate) outputs: Vec<Output>,
}

/// A stage.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct StageNode {
    /// Name in the configuration.
    pub(crate) name: String,
    /// Its plugin, as the configuration names it.
    pub(crate) plugin: String,
    /// What becomes of a batch that the plugin cannot process: `drop`, `pass`, `dead-letter` or `stop`.
    pub(crate) on_error: String,
    /// Who gets its rows and alerts.
    pub(crate) outputs: Vec<Output>,
}

/// A sink.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct SinkNode {
    /// Name in the configuration.
    pub(crate) name: String,
    /// `stdout`, `file`, `kafka`, `null` or `events`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// An edge: which rows of a component go to another one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Name of the stage or sink.
    pub(crate) to: String,
    /// `all`; `routed`: those that have a route; `route`: those of one route; `dead-letter`: those that the stage could not
    /// process; `alerts`: no rows, but the alerts of the stage.
    pub(crate) rows: String,
    /// The route, where `rows` is `route`.
    pub(crate) route: Option<String>,
}

/// The plugins of all stages.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Plugins {
    /// One per stage, in the order of the configuration.
    pub(crate) plugins: Vec<Plugin>,
}

/// The plugin of a stage.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Plugin {
    /// Name of the stage.
    pub(crate) stage: String,
    /// Name that the plugin gives itself.
    pub(crate) name: String,
    /// Version that it gives itself.
    pub(crate) version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub(crate) sha256: String,
    /// Path of the component, or which built-in plugin it is.
    pub(crate) origin: String,
    /// Number of the version that runs: 1, and one more with each that was taken up since the start.
    pub(crate) generation: u64,
    /// Whether it keeps state between batches.
    pub(crate) stateful: bool,
    /// How often it wants to be called without a batch, in milliseconds; null: never.
    pub(crate) tick_ms: Option<u32>,
    /// Columns that it reads. An address is two columns and has one name.
    pub(crate) reads: Vec<String>,
    /// Columns that it writes.
    pub(crate) writes: Vec<String>,
    /// Linear memory of all instances, in bytes.
    pub(crate) memory_bytes: u64,
    /// Calls since the start.
    pub(crate) calls: u64,
    /// CPU time within the plugin in nanoseconds, estimated from one batch in eight.
    pub(crate) cpu_ns: u64,
    /// Rows that it let through.
    pub(crate) kept_rows: u64,
    /// Calls that ended the instance, by kind: `trap`, `deadline` or `memory`. A kind that never occurred is not there.
    pub(crate) traps: BTreeMap<String, u64>,
    /// Alerts that it raised.
    pub(crate) alerts: u64,
    /// Alerts beyond the stage's rate.
    pub(crate) alerts_suppressed: u64,
    /// Log lines beyond the stage's rate.
    pub(crate) log_suppressed: u64,
    /// Instances that were exchanged for a newer version.
    pub(crate) swaps: u64,
    /// Newer versions, or instances of them, that were refused.
    pub(crate) swaps_refused: u64,
    /// How long the version before can still be put back, in seconds; null if there is none.
    pub(crate) rollback_s: Option<u64>,
    /// Version of the candidate that runs beside; null if none does.
    pub(crate) candidate: Option<String>,
    /// Whether it is not called, because it failed again and again or as an operator asked.
    pub(crate) quarantined: bool,
}

/// A tenant, as far as it is its own business.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Tenant {
    /// Its name.
    pub(crate) name: String,
    /// Its plugins, in the order in which they run.
    pub(crate) plugins: Vec<TenantPlugin>,
    /// Files of its folder that are not taken up, and why.
    pub(crate) refused: BTreeMap<String, String>,
    /// Columns that its plugins may read.
    pub(crate) reads: Vec<String>,
    /// Milliseconds of CPU time a second that its plugins share; null: as much as there is.
    pub(crate) cpu_ms_per_s: Option<u32>,
    /// CPU time within its plugins in nanoseconds, estimated from one batch in eight.
    pub(crate) cpu_ns: u64,
    /// The books of its stages.
    pub(crate) stages: Vec<Balance>,
}

/// A plugin of a tenant.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct TenantPlugin {
    /// Name of its file without `.wasm`.
    pub(crate) plugin: String,
    /// What runs.
    pub(crate) about: Plugin,
}

/// What a candidate does differently from the plugin of a stage, on the batches that both got.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Shadow {
    /// Name of the stage.
    pub(crate) stage: String,
    /// Whether nothing differs and nothing failed.
    pub(crate) is_same: bool,
    /// Name of the candidate.
    pub(crate) plugin: String,
    /// Its version.
    pub(crate) version: String,
    /// SHA-256 of its component, in hexadecimal.
    pub(crate) sha256: String,
    /// It gets every so many batches of each instance.
    pub(crate) every: u64,
    /// Batches that both processed.
    pub(crate) batches: u64,
    /// Rows of them.
    pub(crate) rows: u64,
    /// Rows that both kept.
    pub(crate) kept_by_both: u64,
    /// Rows that only the running plugin kept.
    pub(crate) kept_by_running_only: u64,
    /// Rows that only the candidate kept.
    pub(crate) kept_by_candidate_only: u64,
    /// Rows that both kept and gave different routes.
    pub(crate) routes_changed: u64,
    /// Some of them.
    pub(crate) route_examples: Vec<Pair>,
    /// Columns that differ in rows that both kept, by name.
    pub(crate) columns: BTreeMap<String, ColumnChange>,
    /// Alerts that only the running plugin raised.
    pub(crate) alerts_by_running_only: u64,
    /// Alerts that only the candidate raised.
    pub(crate) alerts_by_candidate_only: u64,
    /// Some of both: `-` and what the candidate does not raise, `+` and what only it does.
    pub(crate) alert_examples: Vec<String>,
    /// Batches that it did not get because its CPU time was used up: it has as much as the stage's budget allows.
    pub(crate) batches_over_budget: u64,
    /// Batches that the candidate failed on.
    pub(crate) failures: u64,
    /// What it said of the first of them.
    pub(crate) failure_examples: Vec<String>,
    /// CPU time of the running plugin in nanoseconds a row.
    pub(crate) running_ns_per_row: f64,
    /// CPU time of the candidate in nanoseconds a row.
    pub(crate) candidate_ns_per_row: f64,
    /// Linear memory of an instance of the running plugin, in bytes.
    pub(crate) running_memory_bytes: u64,
    /// Linear memory of an instance of the candidate, in bytes.
    pub(crate) candidate_memory_bytes: u64,
    /// The last lines that the candidate logged.
    pub(crate) log: Vec<String>,
}

/// How a column differs.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct ColumnChange {
    /// Rows in which it differs.
    pub(crate) rows: u64,
    /// Some of them.
    pub(crate) examples: Vec<Pair>,
}

/// What differs in one row.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Pair {
    /// By the running plugin.
    pub(crate) running: String,
    /// By the candidate.
    pub(crate) candidate: String,
}

/// An exchange of a plugin; every instance takes it up at its next batch.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Exchange {
    /// Name of the stage.
    pub(crate) stage: String,
    /// Version that ran.
    pub(crate) from: String,
    /// Version that is to run.
    pub(crate) to: String,
    /// SHA-256 of its component, in hexadecimal.
    pub(crate) sha256: String,
    /// Number of the version that runs.
    pub(crate) generation: u64,
}

/// Whether the plugin of a stage is not called.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Quarantine {
    /// Name of the stage.
    pub(crate) stage: String,
    /// Whether it is so.
    pub(crate) quarantined: bool,
    /// Since how many seconds.
    pub(crate) since_s: Option<u64>,
    /// In how many seconds a batch is tried again; null: when an operator releases it.
    pub(crate) retry_in_s: Option<u64>,
    /// Why.
    pub(crate) why: Option<String>,
}

/// What looking for a new version of a plugin did.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Swap {
    /// Name of the stage.
    pub(crate) stage: String,
    /// Whether a new version was published; every instance takes it up at its next batch.
    pub(crate) swapped: bool,
    /// Version that ran.
    pub(crate) from: String,
    /// Version that is published; the same as `from` if nothing changed.
    pub(crate) to: String,
    /// Its SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    /// Its number.
    pub(crate) generation: u64,
}

/// The tables that plugins look up in.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Tables {
    /// By name.
    pub(crate) tables: Vec<Table>,
}

/// A table.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Table {
    /// Name in the configuration.
    pub(crate) name: String,
    /// `prefix`, `mmdb` or `values`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its file.
    pub(crate) path: String,
    /// Prefixes in it; 0 in a table of values.
    pub(crate) prefixes: u64,
    /// Keys in it; 0 in the other tables.
    pub(crate) keys: u64,
    /// Different values in it.
    pub(crate) values: u64,
    /// Number of its contents: another one after each exchange.
    pub(crate) generation: u64,
    /// SHA-256 of the file that it was made of, in hexadecimal.
    pub(crate) sha256: String,
}

/// What looking for a new version of a table did.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct TableReload {
    /// Whether its file had changed and took its place.
    pub(crate) exchanged: bool,
    /// The table as it is now.
    pub(crate) table: Table,
}

/// Exporters that are known. Of Kafka sources none are: they read rows, not datagrams.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Exporters {
    /// For each socket, that which sent last first.
    pub(crate) exporters: Vec<Exporter>,
    /// How many more there are, beyond `limit` and what a source tells of.
    pub(crate) left_out: u64,
}

/// An exporter: address, protocol and observation domain.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Exporter {
    /// Name of the source.
    pub(crate) source: String,
    /// Number of the source's socket, from 0: each has a decoder of its own, and an exporter that changes its port may be
    /// known to several.
    pub(crate) socket: u32,
    /// Source address; of sFlow the agent's.
    pub(crate) exporter: IpAddr,
    /// `netflow1`, `netflow5`, `netflow7`, `netflow9`, `ipfix` or `sflow`.
    pub(crate) protocol: String,
    /// Observation domain; engine type and id of NetFlow v5, sub-agent of sFlow.
    pub(crate) domain: u32,
    /// Datagrams (IPFIX: messages) that came.
    pub(crate) datagrams: u64,
    /// Flow records that were decoded.
    pub(crate) records: u64,
    /// What sequence numbers say was sent and did not come: datagrams of NetFlow v9 and sFlow, records of NetFlow v5 and
    /// IPFIX.
    pub(crate) missing: u64,
    /// Places in the sequence where something is missing.
    pub(crate) gaps: u64,
    /// Datagrams that came after later ones; they were counted as missing before.
    pub(crate) late: u64,
    /// Restarts of the exporter, as far as its sequence numbers tell.
    pub(crate) resets: u64,
    /// When its last datagram came, in milliseconds since the Unix epoch; of a capture, by the time of the capture.
    pub(crate) last_seen_ms: u64,
    /// Sampling rates that it announced, in options data or headers; 32 at most.
    pub(crate) sampling: Vec<Sampling>,
    /// Templates of it that are in force.
    pub(crate) templates: u64,
}

/// A sampling rate.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Sampling {
    /// `exporter`, `sampler` or `interface`.
    pub(crate) of: String,
    /// Number of the sampler or interface; 0 of the exporter as a whole.
    pub(crate) id: u32,
    /// N of "1 in N packets".
    pub(crate) rate: u64,
}

/// Templates in force.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Templates {
    /// By exporter, as in the list of exporters, and number.
    pub(crate) templates: Vec<Template>,
    /// How many more there are, beyond `limit`; those of exporters that are left out are not counted.
    pub(crate) left_out: u64,
}

/// A template.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Template {
    /// Name of the source.
    pub(crate) source: String,
    /// Number of the source's socket, from 0.
    pub(crate) socket: u32,
    /// Source address.
    pub(crate) exporter: IpAddr,
    /// `netflow9` or `ipfix`.
    pub(crate) protocol: String,
    /// Observation domain.
    pub(crate) domain: u32,
    /// Number of the template.
    pub(crate) id: u16,
    /// What it describes: `data` or `options`.
    pub(crate) kind: String,
    /// When it was defined with these fields, in milliseconds since the Unix epoch.
    pub(crate) learned_ms: u64,
    /// Milliseconds from then to the exporter's last datagram.
    pub(crate) age_ms: u64,
    /// Its fields, in the order of the record.
    pub(crate) fields: Vec<TemplateField>,
}

/// A field of a template.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct TemplateField {
    /// Name of the information element, where it is one of IANA's or the reverse of one.
    pub(crate) name: Option<String>,
    /// Number of the element; for a scope of NetFlow v9, of the kind of scope.
    pub(crate) element: u16,
    /// Private enterprise number; 0 for IANA's elements.
    pub(crate) enterprise: u32,
    /// Bytes; null: each record says how many.
    pub(crate) length: Option<u16>,
    /// Whether it says what the options data is about.
    pub(crate) scope: bool,
}

/// The books: what came in, went out and was dropped, by component.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Balances {
    /// In the order in which they were opened.
    pub(crate) components: Vec<Balance>,
}

/// The books of one component: rows in = rows out + rows dropped + rows in flight.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Balance {
    /// `source`, `stage` or `sink`.
    pub(crate) kind: String,
    /// Name in the configuration.
    pub(crate) name: String,
    /// Rows that came in.
    pub(crate) rows_in: u64,
    /// Rows that went out; of a sink, rows delivered.
    pub(crate) rows_out: u64,
    /// Rows dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Rows that came in and neither went out nor were dropped yet. Counters are read one by one, so while rows flow it may
    /// be off by a batch, even below 0.
    pub(crate) in_flight: i64,
}

/// What a new configuration changed, by name: `sources.NAME`, `stages.NAME`, `sinks.NAME`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// What is new.
    pub(crate) added: Vec<String>,
    /// What is there no more.
    pub(crate) removed: Vec<String>,
    /// What is another one now: stages with the state they had, sources and sinks opened anew.
    pub(crate) changed: Vec<String>,
    /// Whether rows go other ways.
    pub(crate) rewired: bool,
}

/// A line of a tail: a row, or word of rows that the client was too slow for.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum TailLine {
    /// So many rows passed that are not shown.
    Skipped(Skipped),
    /// A row, as the `json` format of sinks writes it: goflow2's fields, then sluice's own where they are not zero.
    Row(BTreeMap<String, serde_json::Value>),
}

/// Word of rows that are not shown.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Skipped {
    /// Always `skipped`; no row has this field.
    pub(crate) sluice: String,
    /// How many.
    pub(crate) rows: u64,
}
