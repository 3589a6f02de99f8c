//! Alerts: what stages say beside the rows.

use std::sync::{Arc, PoisonError, RwLock};

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

/// Where a stage puts its alerts. Never waits: a queue that is full counts the alert as lost. Clones have the same targets.
#[derive(Clone, Debug, Default)]
pub struct EventOut {
    targets: Arc<RwLock<Vec<EventTarget>>>,
}

/// The near end of a queue of alerts.
#[derive(Clone, Debug)]
pub struct EventTarget {
    sender: Sender<Event>,
    lost: Counter,
}

/// Where a sink takes alerts from; ends when every stage that feeds it is gone.
pub type EventQueue = Receiver<Event>;

/// A queue of at most `capacity` alerts; `lost` counts those that found it full.
#[must_use]
pub fn event_channel(capacity: usize, lost: Counter) -> (EventOut, EventQueue) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    let out = EventOut::default();
    out.set(vec![EventTarget { sender, lost }]);
    (out, receiver)
}

/// The same, for stages that are told of it by [`EventOut::set`].
#[must_use]
pub fn event_queue(capacity: usize, lost: Counter) -> (EventTarget, EventQueue) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (EventTarget { sender, lost }, receiver)
}

impl EventOut {
    /// Puts the alert into every queue that has room.
    pub fn emit(&self, event: &Event) {
        for EventTarget { sender, lost } in &*self.targets.read().unwrap_or_else(PoisonError::into_inner) {
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(event.clone()) {
                lost.inc();
            }
        }
    }

    /// From now on alerts go into these queues. One that no stage has any more ends when it is empty.
    pub fn set(&self, targets: Vec<EventTarget>) {
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Whether nobody listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
