//! Where rows come from that belong together.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What is done at the end of a partition; told whether its rows have all arrived and were committed.
type OnEnd = Box<dyn FnOnce(bool) + Send>;

/// A part of a stream that one process reads at a time, in order: a partition of Kafka. Batches that name one have rows of
/// no other.
///
/// Whoever keeps something per partition (the state of a plugin) says with [`on_end`](Self::on_end) how it lets go of it, and has done
/// so when [`end`](Self::end) returns: only then does another process get the partition.
pub struct Partition {
    name: String,
    /// None when it is over.
    on_end: Mutex<Option<Vec<OnEnd>>>,
}

impl Partition {
    /// A partition that begins. The name tells it from others of the same run, and from run to run.
    #[must_use]
    pub fn new(name: String) -> Partition {
        Partition { name, on_end: Mutex::new(Some(Vec::new())) }
    }

    /// Its name, e.g. `flows-3`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `act` at the end. Returns false, and does not call it, if the partition is over.
    pub fn on_end(&self, act: impl FnOnce(bool) + Send + 'static) -> bool {
        match &mut *self.on_end.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(acts) => {
                acts.push(Box::new(act));
                true
            }
            None => false,
        }
    }

    /// Ends the partition. `is_complete`: all rows that were read have arrived, so that what was learned of them is
    /// worth handing on; if not, they are read again by somebody else.
    pub fn end(&self, is_complete: bool) {
        let acts = self.on_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        acts.into_iter().flatten().for_each(|act| act(is_complete));
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Partition").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_to_be_done_at_the_end_is_done_once() {
        let partition = Partition::new("flows-3".to_owned());
        let count = Arc::new(AtomicUsize::new(0));
        let act = |count: &Arc<AtomicUsize>| {
            let count = Arc::clone(count);
            move |is_complete: bool| {
                count.fetch_add(if is_complete { 1 } else { 100 }, Ordering::Relaxed);
            }
        };
        assert!(partition.on_end(act(&count)) && partition.on_end(act(&count)));
        partition.end(true);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        partition.end(false);
        assert!(!partition.on_end(act(&count)));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
