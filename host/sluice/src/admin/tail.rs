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
use sluice_pipeline::{Seen, Stop, Tail, TailError};
use tokio::sync::mpsc;

use super::filter::Filter;
use super::route::{Call, Refusal, content_type};
use super::shapes::Skipped;

/// Rows that are written before somebody else has a turn.
const ROWS_AT_ONCE: usize = 256;

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
    // Whoever calls is an operator, and sees every row.
    let filter = query.filter.map_or(Ok(Filter::default()), |text| Filter::parse(&text, &schema)).map_err(bad)?;
    let formatter = Formatter::new(Format::Json, &schema, &[]);
    let formatter = formatter.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
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
    tokio::spawn(Writer { filter, formatter, left, lines }.run(tail, api.stop.clone()));
    Ok((content_type("application/x-ndjson"), Body::new(Chunks(chunks))).into_response())
}

struct Writer {
    filter: Filter,
    formatter: Formatter,
    /// Rows that may still be shown.
    left: u64,
    lines: mpsc::Sender<Bytes>,
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
