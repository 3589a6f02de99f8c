//! Batches that wait in front of a stage because what it may use is used up, while the worker goes on with those of others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::Batch;

use crate::Ack;
use crate::plan::{Own, Slot};
use crate::worker::{Call, IDLE, Worker};

/// Batches of a worker that may wait in front of one stage. A Kafka source has as many under way by default, so that it
/// waits with them.
const MAX_WAITING: usize = 32;
/// How long what waits is still processed when it cannot wait any longer; the rest is refused.
const SETTLING: Duration = Duration::from_secs(1);

/// What waits in one worker, by stage; only stages for which something does.
#[derive(Default)]
pub(crate) struct Waiting(Vec<(Arc<Slot>, Queue)>);

type Queue = VecDeque<(Parts, Ack)>;

/// A batch, or what is left of one that was taken apart.
type Parts = VecDeque<Batch>;

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something waits for `slot`, so that what comes now is behind it.
    pub(crate) fn has(&self, slot: &Arc<Slot>) -> bool {
        self.0.iter().any(|(waiting, _)| Arc::ptr_eq(waiting, slot))
    }

    /// Has a batch wait; gives it back if there is no room.
    pub(crate) fn push(&mut self, slot: &Arc<Slot>, batch: Batch, ack: &Ack) -> Option<Batch> {
        let queue = self.queue(slot);
        if queue.len() >= MAX_WAITING {
            return Some(batch);
        }
        queue.push_back((Parts::from([batch]), ack.clone()));
        None
    }

    /// Has the rest of a batch wait in front of everything else: it was in already, so that there is room.
    pub(crate) fn put_back(&mut self, slot: &Arc<Slot>, rest: Vec<Batch>, ack: &Ack) {
        if !rest.is_empty() {
            self.queue(slot).push_front((rest.into(), ack.clone()));
        }
    }

    fn queue(&mut self, slot: &Arc<Slot>) -> &mut Queue {
        let at = self.0.iter().position(|(waiting, _)| Arc::ptr_eq(waiting, slot));
        let at = at.unwrap_or_else(|| {
            self.0.push((Arc::clone(slot), Queue::new()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// The oldest that waits for `slot`.
    fn pop(&mut self, slot: &Arc<Slot>) -> Option<(Batch, Ack)> {
        let at = self.0.iter().position(|(waiting, _)| Arc::ptr_eq(waiting, slot))?;
        let queue = &mut self.0[at].1;
        let (parts, ack) = queue.front_mut()?;
        let oldest = (parts.pop_front()?, ack.clone());
        if parts.is_empty() {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.0.swap_remove(at);
        }
        Some(oldest)
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.0.iter().map(|(slot, _)| Arc::clone(slot)).collect()
    }
}

impl Worker {
    /// How long the stage wants the next batch to wait.
    pub(crate) fn wait_of(&self, stage: usize) -> Option<Duration> {
        match &self.stages[stage].1 {
            Own::Mine(stage, _) => stage.wait(),
            Own::Shared(shared) => shared.with(|stage| stage.wait()),
        }
    }

    fn place_of(&self, slot: &Arc<Slot>) -> Option<usize> {
        self.stages.iter().position(|(own, _)| Arc::ptr_eq(own, slot))
    }

    /// Goes on with a batch of each stage that may have one again.
    pub(crate) fn resume(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for slot in self.waiting.slots() {
            let Some(stage) = self.place_of(&slot).filter(|stage| self.wait_of(*stage).is_none()) else { continue };
            if let Some((batch, ack)) = self.waiting.pop(&slot) {
                self.run_stage(stage, batch, &ack, Call::Process);
            }
        }
    }

    /// How long to wait for other batches at most.
    pub(crate) fn patience(&self) -> Duration {
        let stages = self.waiting.0.iter().filter_map(|(slot, _)| self.place_of(slot));
        let first = stages.map(|stage| self.wait_of(stage).unwrap_or(Duration::ZERO)).min();
        first.map_or(IDLE, |first| first.min(IDLE))
    }

    /// When no batch will come any more: waits for what waits, but not if the pipeline is to stop.
    pub(crate) fn wait_at_end(&mut self) {
        if self.failures.is_stopping() {
            return self.settle(|_| true);
        }
        // Either way it is looked at again.
        self.wake.recv_timeout(self.patience()).unwrap_or_default();
    }

    /// Ends the waiting for some stages: a second long batches are processed after all, the rest are refused.
    pub(crate) fn settle(&mut self, is_it: impl Fn(&Arc<Slot>) -> bool) {
        let began = Instant::now();
        // What one stage lets go of may come to wait for the next one.
        while let Some(slot) = self.waiting.slots().into_iter().find(&is_it) {
            let Some(stage) = self.place_of(&slot) else { return };
            let Some((batch, ack)) = self.waiting.pop(&slot) else { return };
            let is_late = began.elapsed() >= SETTLING;
            self.run_stage(stage, batch, &ack, if is_late { Call::Refuse } else { Call::Process });
        }
    }
}
