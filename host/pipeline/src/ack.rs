//! Telling a source that its rows have arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What became of a parcel when the last part of it was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every row was delivered by every sink that got it, dropped on purpose and counted, or rejected by a sink
    /// for good and counted.
    Settled,
    /// Some rows were lost on the way: a source that can give them again should.
    Failed,
}

/// One share in a parcel. Clones go with the rows as they fan out; when the last one is dropped the
/// source is told. Dropping is success; [`fail`](Self::fail) before it is failure.
#[derive(Clone, Debug, Default)]
pub struct Ack(Option<Arc<Shared>>);

struct Shared {
    failed: AtomicBool,
    tell: Option<Box<dyn FnOnce(Outcome) + Send + Sync>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ack").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Ack {
    /// For a source that cannot give anything again, such as UDP.
    #[must_use]
    pub fn none() -> Ack {
        Ack(None)
    }

    /// Calls `tell` once, when the last clone is dropped. It must be quick and must not block: it runs
    /// on whatever thread lets go last.
    pub fn new(tell: impl FnOnce(Outcome) + Send + Sync + 'static) -> Ack {
        Ack(Some(Arc::new(Shared { failed: AtomicBool::new(false), tell: Some(Box::new(tell)) })))
    }

    /// Says that rows of this share are lost.
    pub fn fail(&self) {
        if let Some(shared) = &self.0 {
            shared.failed.store(true, Ordering::Release);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let outcome = if *self.failed.get_mut() { Outcome::Failed } else { Outcome::Settled };
        if let Some(tell) = self.tell.take() {
            tell(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn told() -> (Ack, Arc<Mutex<Vec<Outcome>>>) {
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&outcomes);
        (Ack::new(move |outcome| told.lock().unwrap().push(outcome)), outcomes)
    }

    #[test]
    fn the_source_is_told_once_when_the_last_share_is_gone() {
        let (ack, outcomes) = told();
        let other = ack.clone();
        drop(ack);
        assert!(outcomes.lock().unwrap().is_empty());
        drop(other);
        assert_eq!(*outcomes.lock().unwrap(), [Outcome::Settled]);
    }

    #[test]
    fn one_failed_share_fails_the_parcel() {
        let (ack, outcomes) = told();
        let other = ack.clone();
        other.fail();
        drop(other);
        drop(ack);
        assert_eq!(*outcomes.lock().unwrap(), [Outcome::Failed]);
    }
}
