//! Alerts: what stages say beside the rows.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use prometheus_client::metrics::counter::Counter;

/// An alert that a stage raised.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name of the stage.
    pub stage: Arc<str>,
    /// Batch time in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it is, e.g. `dos-raised`.
    pub kind: String,
    /// 0 emergency to 7 debug (RFC 5424, section 6.2.1).
    pub severity: u8,
    /// What it is about, e.g. an address.
    pub subject: String,
    /// The measured value.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// For people, with the unit.
    pub note: String,
}

/// Where a stage puts its alerts. Never waits: a queue that is full counts the alert as lost.
#[derive(Clone, Debug, Default)]
pub struct EventOut {
    targets: Vec<(Sender<Event>, Counter)>,
}

/// Where a sink takes alerts from; ends when every stage that feeds it is gone.
pub type EventQueue = Receiver<Event>;

/// A queue of at most `capacity` alerts; `lost` counts those that found it full.
#[must_use]
pub fn event_channel(capacity: usize, lost: Counter) -> (EventOut, EventQueue) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (EventOut { targets: vec![(sender, lost)] }, receiver)
}

impl EventOut {
    /// Puts the alert into every queue that has room.
    pub fn emit(&self, event: &Event) {
        for (sender, lost) in &self.targets {
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(event.clone()) {
                lost.inc();
            }
        }
    }

    /// Adds the targets of `other`.
    pub fn join(&mut self, other: &EventOut) {
        self.targets.extend(other.targets.iter().cloned());
    }

    /// Whether nobody listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}
