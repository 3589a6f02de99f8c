//! How batches travel: sources, stages and sinks, bounded channels between them, acknowledgement
//! back to the source, ordered shutdown, and the books that show where every row went.
//!
//! Knows no vendor and no plugin engine: those implement [`Source`], [`Stage`] and [`Sink`].

mod account;
mod ack;
mod control;
mod event;
mod graph;
mod metrics;
mod plan;
mod provisional;
mod run;
mod sink;
mod source;
mod stage;
mod tap;
mod waiting;
mod worker;

pub use account::{Account, Balance, Kind};
pub use ack::{Ack, Outcome};
pub use control::{Change, ChangeError, Control, Part};
pub use event::{Event, EventOut, EventQueue, EventTarget, event_channel, event_queue};
pub use graph::{Edge, GraphError, Selection, Target, check_order};
pub use metrics::{Labels, MOST_REMOVED, Metrics, REMOVED};
pub use provisional::Provisional;
pub use run::{Grace, Pipeline, RunError, Running, SourceEntry, StageEntry};
pub use sink::{Delivery, MOST_UNDER_WAY, Sink, SinkEntry, SinkError};
pub use source::{Closed, NoRoom, Outlet, Parcel, Source, SourceError, Wanted};
pub use stage::{Piece, Processed, Stage, StageSet};
pub use tap::{MOST_TAILS, Seen, Tail, TailError};

/// An error of an implementation, kept as the cause of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error with its causes, on one line: what logs and people get.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Says "stop in order": sources hand on what they have and end, everything behind them drains.
pub type Stop = tokio_util::sync::CancellationToken;
