//! What transforms batches.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_flow::Batch;

/// Transforms one batch at a time. An instance is used by one thread at a time.
///
/// Errors are the stage's own business: it decides by its policy what becomes of the rows and says so
/// in [`Processed`], whose rows add up to the rows of the batch.
pub trait Stage: Send {
    /// Processes a batch. Its rows come out, are dead-lettered or are dropped by reason.
    fn process(&mut self, batch: Batch) -> Processed;

    /// How long the next batch has to wait, because what the stage may use is used up; none: it may come.
    fn wait(&self) -> Option<Duration> {
        None
    }

    /// Takes a batch for which there is no room to wait. Its rows go by the stage's policy, as in [`process`](Self::process).
    fn refuse(&mut self, batch: Batch) -> Processed {
        self.process(batch)
    }

    /// How often [`tick`](Self::tick) is wanted, in milliseconds.
    fn tick_ms(&self) -> Option<u32> {
        None
    }

    /// Called between batches when at least [`tick_ms`](Self::tick_ms) have gone by in batch time, or
    /// by the wall clock while a live source is idle.
    fn tick(&mut self, now_ms: u64) {
        let _ = now_ms;
    }
}

/// What became of a batch. Nearly always it goes on whole, or not at all; a batch that was taken apart has pieces.
#[derive(Debug, Default)]
pub struct Processed {
    /// The rows that go on, with their routes if the stage set them.
    pub out: Option<Batch>,
    /// The rows for those who take the stage's `dead-letter` output.
    pub dead: Option<Batch>,
    /// What follows, in the order of the rows, where a batch was taken apart.
    pub more: Vec<Piece>,
    /// Parts that are still to be processed, in the order of the rows: what the stage may use was used up between two of them. They
    /// wait, each until [`wait`](Stage::wait) says that it may come, and those of the next batch behind them.
    pub later: Vec<Batch>,
    /// Rows that end here, by reason.
    pub dropped: Vec<(&'static str, usize)>,
    /// Why the whole pipeline has to stop, if it has to.
    pub stop: Option<String>,
}

/// A piece of a batch that was taken apart.
#[derive(Debug)]
pub enum Piece {
    /// Rows that go on.
    Out(Batch),
    /// Rows for those who take the stage's `dead-letter` output.
    Dead(Batch),
}

impl Piece {
    fn rows(&self) -> usize {
        match self {
            Piece::Out(batch) | Piece::Dead(batch) => batch.rows(),
        }
    }
}

impl Processed {
    /// The rows go on.
    #[must_use]
    pub fn pass(batch: Batch) -> Processed {
        Processed { out: Some(batch), ..Processed::default() }
    }

    /// The rows end here.
    #[must_use]
    pub fn drop(reason: &'static str, rows: usize) -> Processed {
        Processed { dropped: vec![(reason, rows)], ..Processed::default() }
    }

    /// Adds rows that go on, behind those that are there.
    pub fn add_out(&mut self, batch: Batch) {
        let is_first = self.more.iter().all(|piece| matches!(piece, Piece::Dead(_)));
        match &self.out {
            None if is_first => self.out = Some(batch),
            _ => self.more.push(Piece::Out(batch)),
        }
    }

    /// Adds dead letters, behind those that are there.
    pub fn add_dead(&mut self, batch: Batch) {
        let is_first = self.more.iter().all(|piece| matches!(piece, Piece::Out(_)));
        match &self.dead {
            None if is_first => self.dead = Some(batch),
            _ => self.more.push(Piece::Dead(batch)),
        }
    }

    /// Adds rows that end here.
    pub fn add_dropped(&mut self, reason: &'static str, rows: usize) {
        match self.dropped.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, dropped)) => *dropped += rows,
            None if rows > 0 => self.dropped.push((reason, rows)),
            None => {}
        }
    }

    /// The batches that go on, in the order of their rows.
    pub fn outs(&self) -> impl Iterator<Item = &Batch> {
        let more = self.more.iter().filter_map(|piece| match piece {
            Piece::Out(batch) => Some(batch),
            Piece::Dead(_) => None,
        });
        self.out.iter().chain(more)
    }

    /// The dead letters, in the order of their rows.
    pub fn deads(&self) -> impl Iterator<Item = &Batch> {
        let more = self.more.iter().filter_map(|piece| match piece {
            Piece::Dead(batch) => Some(batch),
            Piece::Out(_) => None,
        });
        self.dead.iter().chain(more)
    }

    /// Rows that are still to be processed.
    pub(crate) fn rows_later(&self) -> usize {
        self.later.iter().map(Batch::rows).sum()
    }

    /// Rows accounted for.
    #[must_use]
    pub fn rows(&self) -> usize {
        let out = self.out.as_ref().map_or(0, Batch::rows) + self.dead.as_ref().map_or(0, Batch::rows);
        let more = self.more.iter().map(Piece::rows).sum::<usize>() + self.rows_later();
        out + more + self.dropped.iter().map(|(_, rows)| rows).sum::<usize>()
    }
}

/// The instances of a stage.
pub struct StageSet(pub(crate) Instances);

pub(crate) enum Instances {
    Each(Vec<Box<dyn Stage>>),
    One(Arc<Shared>),
}

/// One instance that all workers use in turn.
pub(crate) struct Shared {
    stage: Mutex<Box<dyn Stage>>,
    /// How often the instance wants a tick, 0 if never, and when it had its last: outside the lock, so that looking costs nothing.
    tick_ms: AtomicU32,
    last_tick_ms: AtomicU64,
}

impl Shared {
    /// Does something with the instance, when nobody else does.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut dyn Stage) -> T) -> T {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut **stage);
        // It may be another version of its plugin now, which wants its ticks at other times.
        self.tick_ms.store(stage.tick_ms().unwrap_or(0), Ordering::Relaxed);
        done
    }

    /// Ticks the instance if that is due and no other worker does.
    pub(crate) fn tick(&self, now_ms: u64) {
        let every = self.tick_ms.load(Ordering::Relaxed);
        let last = self.last_tick_ms.load(Ordering::Acquire);
        let is_due = every > 0 && now_ms >= last.saturating_add(u64::from(every));
        // Whoever moves the time forward ticks; the others go on.
        if is_due && self.last_tick_ms.compare_exchange(last, now_ms, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.with(|stage| stage.tick(now_ms));
        }
    }
}

impl StageSet {
    /// One instance per worker, for stages without state between batches.
    #[must_use]
    pub fn each(stages: Vec<Box<dyn Stage>>) -> StageSet {
        StageSet(Instances::Each(stages))
    }

    /// One instance for all workers, which take turns: its state sees every row.
    #[must_use]
    pub fn one(stage: Box<dyn Stage>) -> StageSet {
        let tick_ms = AtomicU32::new(stage.tick_ms().unwrap_or(0));
        let stage = Mutex::new(stage);
        StageSet(Instances::One(Arc::new(Shared { stage, tick_ms, last_tick_ms: AtomicU64::new(0) })))
    }
}

impl std::fmt::Debug for StageSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Instances::Each(stages) => write!(f, "StageSet({})", stages.len()),
            Instances::One(_) => f.write_str("StageSet(one)"),
        }
    }
}
