//! Looking at the rows that pass a component, without being in their way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sluice_flow::Batch;
use tokio::sync::mpsc;

use crate::Kind;

/// Tails that may be open at once, of all components together.
pub const MOST_TAILS: usize = 16;

/// Batches that may wait for one tail; the rows of more are skipped, and counted.
const QUEUE: usize = 8;

/// Why rows cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// Nothing is called that.
    #[error("no source, stage or sink is called `{0}`")]
    Unknown(String),
    /// Several components are called that.
    #[error("several components are called `{name}`: write {}", choices.join(" or "))]
    Ambiguous {
        /// The name.
        name: String,
        /// What to write instead.
        choices: Vec<String>,
    },
    /// There are as many tails as may be.
    #[error("{MOST_TAILS} tails are open already; end one")]
    TooMany,
}

/// The taps of all components. A component that is opened anew gets the tap that it had.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    by_name: Mutex<BTreeMap<(String, &'static str), Arc<Tap>>>,
    open: Arc<AtomicUsize>,
}

/// Where the rows of one component can be seen: what a source or stage hands on, what comes into a sink.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    is_watched: AtomicBool,
    ends: Mutex<Vec<End>>,
}

/// The end of a tail that batches are put into.
#[derive(Debug)]
struct End {
    batches: mpsc::Sender<Batch>,
    skipped: Arc<AtomicU64>,
}

/// The batches that pass a component from now on, as many as its reader keeps up with. Dropping it ends it.
#[derive(Debug)]
pub struct Tail {
    batches: mpsc::Receiver<Batch>,
    skipped: Arc<AtomicU64>,
    /// Whether skipped rows were told of last: then it is a batch's turn, or a busy component would show none.
    has_told: bool,
    tap: Arc<Tap>,
    open: Arc<AtomicUsize>,
}

/// What a tail gives next.
#[derive(Debug)]
pub enum Seen {
    /// Rows.
    Batch(Box<Batch>),
    /// So many rows passed that there was no room for.
    Skipped(u64),
}

impl Taps {
    /// The tap of a component, made at the first asking.
    pub(crate) fn of(&self, kind: Kind, name: &str) -> Arc<Tap> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_name.entry((name.to_owned(), kind.name())).or_default())
    }

    /// Forgets the tap of a component that is not there any more.
    pub(crate) fn remove(&self, kind: Kind, name: &str) {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.remove(&(name.to_owned(), kind.name()));
    }

    /// Begins to look at the rows of `node`: a name, or `sources.NAME`, `stages.NAME` or `sinks.NAME`.
    pub(crate) fn tail(&self, node: &str) -> Result<Tail, TailError> {
        let tap = self.find(node)?;
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let one_more = |open| (open < MOST_TAILS).then_some(open + 1);
        if self.open.fetch_update(order.0, order.1, one_more).is_err() {
            return Err(TailError::TooMany);
        }
        let (sender, batches) = mpsc::channel(QUEUE);
        let skipped = Arc::new(AtomicU64::new(0));
        tap.add(End { batches: sender, skipped: Arc::clone(&skipped) });
        Ok(Tail { batches, skipped, has_told: false, tap, open: Arc::clone(&self.open) })
    }

    fn find(&self, node: &str) -> Result<Arc<Tap>, TailError> {
        let (kind, name) = match node.split_once('.') {
            Some((kind, name)) => (kind.strip_suffix('s'), name),
            None => (None, node),
        };
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |found: &(String, &'static str)| found.0 == name && kind.is_none_or(|kind| kind == found.1);
        let found: Vec<_> = by_name.iter().filter(|(found, _)| is_it(found)).collect();
        match found.as_slice() {
            [] => Err(TailError::Unknown(node.to_owned())),
            [(_, tap)] => Ok(Arc::clone(tap)),
            several => Err(TailError::Ambiguous {
                name: name.to_owned(),
                choices: several.iter().map(|((name, kind), _)| format!("`{kind}s.{name}`")).collect(),
            }),
        }
    }
}

impl Tap {
    /// Whether anybody looks.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Shows a batch to whoever looks; never waits for a reader.
    #[cold]
    pub(crate) fn show(&self, batch: &Batch) {
        for end in &*self.ends.lock().unwrap_or_else(PoisonError::into_inner) {
            if end.batches.try_send(batch.clone()).is_err() {
                end.skipped.fetch_add(batch.rows() as u64, Ordering::Relaxed);
            }
        }
    }

    fn add(&self, end: End) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push(end);
        self.is_watched.store(true, Ordering::Relaxed);
    }

    fn remove(&self, skipped: &Arc<AtomicU64>) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|end| !Arc::ptr_eq(&end.skipped, skipped));
        self.is_watched.store(!ends.is_empty(), Ordering::Relaxed);
    }
}

impl Tail {
    /// The next rows; waits for them.
    pub async fn next(&mut self) -> Seen {
        if !std::mem::take(&mut self.has_told) {
            let skipped = self.skipped.swap(0, Ordering::Relaxed);
            if skipped > 0 {
                self.has_told = true;
                return Seen::Skipped(skipped);
            }
        }
        let batch = self.batches.recv().await.expect("the tap keeps the other end until this one is dropped");
        Seen::Batch(Box::new(batch))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.tap.remove(&self.skipped);
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use sluice_flow::{Pool, Schema};

    use super::*;

    fn batch(rows: usize) -> Batch {
        Batch::new(Arc::new(Schema::standard()), Pool::default(), rows)
    }

    fn next(tail: &mut Tail) -> Option<Result<usize, u64>> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let future = std::pin::pin!(tail.next());
        match future.poll(&mut context) {
            std::task::Poll::Ready(Seen::Batch(batch)) => Some(Ok(batch.rows())),
            std::task::Poll::Ready(Seen::Skipped(rows)) => Some(Err(rows)),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_reader_that_is_slow_skips_rows_and_is_told_how_many() {
        let taps = Taps::default();
        let tap = taps.of(Kind::Stage, "tag");
        let mut tail = taps.tail("tag").unwrap();
        for rows in 1..=QUEUE + 2 {
            tap.show(&batch(rows));
        }
        let skipped = (QUEUE + 1 + QUEUE + 2) as u64;
        assert_eq!(next(&mut tail), Some(Err(skipped)));
        for rows in 1..=QUEUE {
            assert_eq!(next(&mut tail), Some(Ok(rows)));
        }
        assert_eq!(next(&mut tail), None);
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_is_gone() {
        let taps = Taps::default();
        let tap = taps.of(Kind::Source, "edge");
        let (first, mut second) = (taps.tail("edge").unwrap(), taps.tail("sources.edge").unwrap());
        drop(first);
        tap.show(&batch(3));
        assert_eq!((next(&mut second), tap.ends.lock().unwrap().len()), (Some(Ok(3)), 1));
        drop(second);
        assert!(!tap.is_watched());
    }

    #[test]
    fn names_are_found_and_those_of_several_components_need_their_kind() {
        let taps = Taps::default();
        taps.of(Kind::Stage, "out");
        taps.of(Kind::Sink, "out");
        assert_eq!(taps.tail("in").unwrap_err().to_string(), "no source, stage or sink is called `in`");
        let several = "several components are called `out`: write `sinks.out` or `stages.out`";
        assert_eq!(taps.tail("out").unwrap_err().to_string(), several);
        assert!(taps.tail("sinks.out").is_ok());
        assert!(taps.tail("sources.out").is_err());
    }

    #[test]
    fn there_is_a_limit_and_an_end_makes_room() {
        let taps = Taps::default();
        taps.of(Kind::Sink, "out");
        let mut tails: Vec<Tail> = (0..MOST_TAILS).map(|_| taps.tail("out").unwrap()).collect();
        assert_eq!(taps.tail("out").unwrap_err(), TailError::TooMany);
        tails.pop();
        assert!(taps.tail("out").is_ok());
    }
}
