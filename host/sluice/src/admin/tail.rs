//! The live tail: rows as they pass, as JSON lines, until the client goes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_endpoints::format::{Format, Formatter};
use sluice_flow::Batch;
use sluice_kit::lent::columns;
use sluice_pipeline::{Seen, Stop, Tail, TailError};
use sluice_plugin::grant_names;
use tokio::sync::mpsc;

use super::filter::Filter;
use super::places::Place;
use super::route::{Call, Refusal, content_type};
use super::shapes::Skipped;
use crate::config::tenants::parts;

/// Rows that are written before somebody else has a turn.
const ROWS_AT_ONCE: usize = 256;

/// Tails that one tenant may have open, and all of them: the rest is for the others, and for operators.
pub(super) const MOST_OF_A_TENANT: usize = 4;
pub(super) const MOST_OF_TENANTS: usize = 12;

/// Which rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TailQuery {
    /// End after so many rows. Default: go on until the client goes.
    rows: Option<u64>,
    /// Only rows for which this holds: `FIELD=VALUE` or `FIELD!=VALUE`, several with commas between them. A field is a
    /// column; an address (`src_addr`), which takes an address or a prefix; or `route`.
    #[serde(rename = "match")]
    filter: Option<String>,
}

pub(super) async fn tail(call: Call, query: TailQuery) -> Result<Response, Refusal> {
    let api = &call.api;
    let schema = Arc::clone(&api.collector()?.running().config.schema);
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, format!("query: match: {error}"));
    // Operators see every row; a tenant what leaves its own stages, of it what its plugins may read.
    let fields = match call.tenant() {
        Some(tenant) => fields_of(&call, tenant, query.filter.as_deref())?,
        None => Vec::new(),
    };
    let filter = query.filter.map_or(Ok(Filter::default()), |text| Filter::parse(&text, &schema)).map_err(bad)?;
    let formatter = Formatter::new(Format::Json, &schema, &fields);
    let formatter = formatter.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let place = match call.tenant() {
        Some(tenant) => Some(api.tails.take(tenant).ok_or_else(|| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "four tails of yours are open already, or twelve of tenants; end one",
            )
        })?),
        None => None,
    };
    let tail = api.metrics.tail(call.part("node")).map_err(|error| {
        let status = match error {
            TailError::Unknown(_) => StatusCode::NOT_FOUND,
            TailError::Ambiguous { .. } => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal::new(status, error)
    })?;
    // One chunk under way: a client that does not read makes the tail skip rows, and nothing wait.
    let (lines, chunks) = mpsc::channel(1);
    let left = query.rows.unwrap_or(u64::MAX);
    tokio::spawn(Writer { filter, formatter, left, lines, _place: place }.run(tail, api.stop.clone()));
    Ok((content_type("application/x-ndjson"), Body::new(Chunks(chunks))).into_response())
}

/// What a tenant may see of the node.
fn fields_of(call: &Call, tenant: &str, filter: Option<&str>) -> Result<Vec<String>, Refusal> {
    let running = call.api.collector()?.running();
    let node = call.part("node");
    let stage = node.strip_prefix("stages.").unwrap_or(node);
    let is_own = parts(stage).is_some_and(|(of, _)| of == tenant) && running.stage(stage).is_some();
    let Some(own) = running.config.tenant(tenant).filter(|_| is_own) else {
        let error = format!("there is no `{node}`; yours are `{tenant}:select` and `{tenant}:PLUGIN`");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    };
    let (doc, schema) = (&running.config.doc, &running.config.schema);
    let read = own.value.grant.as_ref().map_or(&[][..], |grant| grant.get_ref().read.as_slice());
    let granted = columns(doc, schema, "", read);
    let names = granted.map(|columns| grant_names(schema, columns)).unwrap_or_default();
    if names.is_empty() {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "your plugins may read no column; ask an operator for a `grant`",
        ));
    }
    let asked = filter.unwrap_or_default().split(',').filter_map(|condition| condition.split_once('='));
    let asked = asked.map(|(field, _)| field.trim_end_matches('!').trim());
    if let Some(field) = asked.into_iter().find(|field| !names.iter().any(|name| name == field)) {
        let error = format!("query: match: `{field}` is nothing that your plugins may read");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
    }
    Ok(names)
}

struct Writer {
    filter: Filter,
    formatter: Formatter,
    /// Rows that may still be shown.
    left: u64,
    lines: mpsc::Sender<Bytes>,
    _place: Option<Place>,
}

impl Writer {
    async fn run(mut self, mut tail: Tail, stop: Stop) {
        while self.left > 0 {
            let seen = tokio::select! {
                seen = tail.next() => seen,
                () = self.lines.closed() => return,
                () = stop.cancelled() => return,
            };
            let is_there = match seen {
                Seen::Batch(batch) => self.show(&batch).await,
                Seen::Skipped(rows) => {
                    let skipped = Skipped { sluice: "skipped".to_owned(), rows };
                    let mut line = serde_json::to_vec(&skipped).expect("plain fields become JSON");
                    line.push(b'\n');
                    self.lines.send(line.into()).await.is_ok()
                }
            };
            if !is_there {
                return;
            }
        }
    }

    /// Sends the rows of a batch. False if nobody reads any more.
    async fn show(&mut self, batch: &Batch) -> bool {
        let rows = self.filter.rows(batch);
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let mut lines = Vec::new();
            for row in rows.iter().take(usize::try_from(self.left).unwrap_or(usize::MAX)) {
                self.formatter.write(batch, *row..*row + 1, &mut lines);
                self.left -= 1;
            }
            if self.lines.send(lines.into()).await.is_err() {
                return false;
            }
            if self.left == 0 {
                break;
            }
            // A client that reads as fast as this writes must not keep others from their answers.
            tokio::task::yield_now().await;
        }
        true
    }
}

/// The lines as the body of an answer.
struct Chunks(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
