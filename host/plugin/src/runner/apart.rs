//! Batches that are taken apart: because a part of them ends the plugin, or because the whole is too large for its memory.

use sluice_flow::Batch;
use sluice_pipeline::Processed;

use super::call::Failed;
use super::{Runner, reason};
use crate::instance::{TrapKind, cpu_ns, wall_ns};
use crate::limits::{MAX_APART_CALLS, MAX_APART_ROWS};
use crate::spec::OnError;

/// Calls without a failure after which twice as many rows are tried.
const CALLS_TO_GROW: u32 = 64;
/// Milliseconds that a part of a batch has at least, or the deadline if that is shorter.
const SHORTEST_MS: u64 = 50;
/// Rows a batch has at most.
const MOST_ROWS: usize = 1 << 16;

/// Rows that the plugin's memory is enough for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Batches with more are taken apart before the call.
    max: usize,
    /// Calls since it was set.
    calls: u32,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { max: usize::MAX, calls: 0 }
    }
}

impl Sizes {
    /// Larger parts failed for want of memory.
    fn at_most(&mut self, rows: usize) {
        *self = Sizes { max: rows.max(1), calls: 0 };
    }

    /// A call worked: whether more is tried from now on.
    fn worked(&mut self) -> bool {
        if self.max == usize::MAX {
            return false;
        }
        self.calls += 1;
        if self.calls < CALLS_TO_GROW {
            return false;
        }
        let max = self.max.saturating_mul(2);
        *self = Sizes { max: if max >= MOST_ROWS { usize::MAX } else { max }, calls: 0 };
        true
    }

    /// The number for the metrics: 0 is no limit.
    fn gauge(self) -> f64 {
        if self.max == usize::MAX { 0.0 } else { self.max as f64 }
    }
}

/// What came of a batch so far.
struct Apart {
    rows: usize,
    deadline_ms: u64,
    /// What the worker pays with, in nanoseconds.
    time: fn() -> u64,
    /// What is left at this time goes by the policy as it is.
    until_ns: Option<u64>,
    first: Option<(&'static str, String)>,
    /// Calls that failed.
    failures: u32,
    /// Single rows that failed.
    single: u32,
    saved: usize,
    /// The largest part that worked.
    largest: usize,
    /// Calls that ended for want of memory, and those of them that were for a single row.
    memory: u32,
    memory_single: u32,
    is_slow: bool,
    is_trap: bool,
    is_trial: bool,
    gave_up: bool,
}

impl Apart {
    fn new(rows: usize, deadline_ms: u64, time: fn() -> u64) -> Apart {
        Apart {
            rows,
            deadline_ms,
            time,
            until_ns: None,
            first: None,
            failures: 0,
            single: 0,
            saved: 0,
            largest: 0,
            memory: 0,
            memory_single: 0,
            is_slow: false,
            is_trap: false,
            is_trial: false,
            gave_up: false,
        }
    }

    fn is_over(&self) -> bool {
        self.gave_up || self.single >= MAX_APART_ROWS || self.failures >= MAX_APART_CALLS || self.left_ns() == Some(0)
    }

    /// How much is left of the time that the parts may take, once something failed.
    fn left_ns(&self) -> Option<u64> {
        Some(self.until_ns?.saturating_sub((self.time)()))
    }

    /// A part has its share of the time that the whole may take, and a bit at least: a plugin may need some for a batch of
    /// any size. It has no more than is left, so that a batch costs three deadlines at most.
    fn deadline_ms(&self, rows: usize) -> u64 {
        if self.first.is_none() {
            return self.deadline_ms;
        }
        let share = self.deadline_ms.saturating_mul(rows as u64) / (self.rows.max(1) as u64);
        let left_ms = self.left_ns().map_or(u64::MAX, |left_ns| left_ns / 1_000_000);
        share.max(SHORTEST_MS.min(self.deadline_ms)).min(left_ms).max(1)
    }

    fn failed(&mut self, failed: &Failed) {
        self.failures += 1;
        self.single += u32::from(failed.batch.rows() <= 1);
        self.memory += u32::from(failed.trap == Some(TrapKind::Memory));
        self.memory_single += u32::from(failed.trap == Some(TrapKind::Memory) && failed.batch.rows() <= 1);
        self.is_slow |= failed.trap == Some(TrapKind::Deadline);
        self.is_trap |= failed.trap.is_some() || failed.reason == reason::NO_INSTANCE;
        self.first.get_or_insert_with(|| (failed.reason, failed.error.clone()));
        let most_ns = self.deadline_ms.saturating_mul(2_000_000);
        self.until_ns.get_or_insert_with(|| (self.time)().saturating_add(most_ns));
    }

    /// For how many traps the batch counts, and why. Where nothing worked, each is one. A batch of which the plugin let
    /// through all but single rows, in good time, is none: else whoever can send a flow that ends it could have the
    /// plugin put out of use.
    fn counts(&self) -> Option<(u32, String)> {
        let is_saved = self.saved > 0 && !self.is_slow && !self.gave_up;
        let (_, error) = self.first.as_ref().filter(|_| self.is_trap && !is_saved)?;
        Some((if self.saved == 0 { self.failures } else { 1 }, error.clone()))
    }
}

impl Runner {
    /// Processes a batch, in parts if it must be. The answer is for how many traps it counts towards the quarantine and
    /// why, if it does. A trial is not halved: it is to show whether the plugin works, at little cost.
    pub(super) fn run(&mut self, batch: Batch, is_trial: bool, processed: &mut Processed) -> Option<(u32, String)> {
        let rows = batch.rows();
        // For a plugin in another process the worker waits.
        let time = if self.version.shared.isolation.is_some() { wall_ns } else { cpu_ns };
        let mut apart = Apart::new(rows, self.version.shared.limits.deadline_ms, time);
        apart.is_trial = is_trial;
        let mut left = Vec::new();
        if rows <= self.sizes.max {
            match self.attempt(batch, apart.deadline_ms, processed) {
                Ok(()) => {
                    self.worked();
                    return None;
                }
                Err(failed) => self.failed(*failed, &mut apart, &mut left, processed),
            }
        } else {
            let size = self.sizes.max;
            left.extend((0..rows).step_by(size).rev().map(|from| part(&batch, from, (from + size).min(rows))));
        }
        self.parts(&mut apart, left, processed);
        self.is_apart = false;
        self.learn(&apart);
        apart.counts()
    }

    /// Processes the parts of a batch, the last of `left` first.
    fn parts(&mut self, apart: &mut Apart, mut left: Vec<Batch>, processed: &mut Processed) {
        let is_taken_apart = apart.first.is_some() && !left.is_empty();
        while let Some(batch) = left.pop() {
            let rows = batch.rows();
            // One that was asked for by the batch. Once something failed, the time that the parts may take is the limit: each
            // for itself would have a whole deadline again.
            if apart.saved > 0 && apart.first.is_none() && self.version.shared.wait().is_some() {
                left.push(batch);
                processed.later.extend(left.drain(..).rev());
                break;
            }
            // The parts of a batch must not use the time of others either.
            if apart.is_over() || self.is_over_budget().is_some() {
                apart.gave_up = true;
                let over_budget = || (reason::OVER_BUDGET, self.budget_is_used_up());
                let (reason, error) = apart.first.clone().unwrap_or_else(over_budget);
                self.fail(Failed::not_called(batch, reason, error), processed);
                continue;
            }
            self.is_apart = apart.first.is_some();
            if self.is_apart {
                // It is a row that ends the instances, as far as we know, and not what they know.
                self.is_kept_in_doubt = false;
            }
            match self.attempt(batch, apart.deadline_ms(rows), processed) {
                Ok(()) => {
                    apart.saved += rows;
                    apart.largest = apart.largest.max(rows);
                    self.worked();
                    if self.is_apart {
                        // The next trap must not cost what this part has taught.
                        self.keep_now();
                    }
                }
                Err(failed) => self.failed(*failed, apart, &mut left, processed),
            }
        }
        if is_taken_apart {
            // If nothing worked, it may be what the instances know after all.
            self.is_kept_in_doubt &= apart.saved == 0;
            self.version.shared.meters.bisections.inc();
            let (rows, saved, calls) = (apart.rows, apart.saved, apart.failures);
            let (stage, plugin) = (&self.version.shared.name, &self.version.manifest.name);
            if self.version.shared.may_tell() {
                tracing::warn!(%stage, %plugin, rows, saved, failed_calls = calls, "batch taken apart");
            }
        }
    }

    /// A part failed: it is halved, or it goes by the policy.
    fn failed(&self, failed: Failed, apart: &mut Apart, left: &mut Vec<Batch>, processed: &mut Processed) {
        apart.failed(&failed);
        let shared = &self.version.shared;
        // What ends a process is tried no more often than it must be.
        let is_of_rows = failed.trap.is_some_and(|kind| kind != TrapKind::Process) || failed.reason == reason::REFUSED;
        // Where the pipeline stops anyway nothing is to be saved: it is all read again.
        let may_halve = shared.failure.bisect && shared.on_error != OnError::Stop && is_of_rows && !apart.is_trial;
        let rows = failed.batch.rows();
        if !may_halve || rows <= 1 {
            apart.gave_up |= !is_of_rows || shared.on_error == OnError::Stop || apart.is_trial;
            self.fail(failed, processed);
            return;
        }
        left.push(part(&failed.batch, rows / 2, rows));
        left.push(part(&failed.batch, 0, rows / 2));
    }

    /// A call worked.
    fn worked(&mut self) {
        if self.sizes.worked() {
            self.version.shared.meters.batch_rows_limit.set(self.sizes.gauge());
        }
    }

    /// Remembers the size that worked, where a larger one had too little memory and it was not a row of its own that wanted it.
    fn learn(&mut self, apart: &Apart) {
        if apart.memory > 0 && apart.memory_single == 0 && apart.largest > 0 && !apart.gave_up {
            self.sizes.at_most(apart.largest);
            self.version.shared.meters.batch_rows_limit.set(self.sizes.gauge());
        }
    }
}

/// The rows from `from` to before `to`.
fn part(batch: &Batch, from: usize, to: usize) -> Batch {
    let rows: Vec<u32> = (from..to).map(|row| row as u32).collect();
    batch.select(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_works_is_kept_and_grows_again_slowly() {
        let mut sizes = Sizes::default();
        assert!(!sizes.worked());
        sizes.at_most(20_000);
        assert_eq!((1..CALLS_TO_GROW).filter(|_| sizes.worked()).count(), 0);
        assert!(sizes.worked());
        assert_eq!((sizes.max, sizes.gauge()), (40_000, 40_000.0));
        assert_eq!((1..=CALLS_TO_GROW).filter(|_| sizes.worked()).count(), 1);
        assert_eq!((sizes, sizes.gauge()), (Sizes::default(), 0.0));
        sizes.at_most(0);
        assert_eq!(sizes.max, 1);
    }

    #[test]
    fn a_part_has_its_share_of_the_deadline_once_something_failed() {
        let mut apart = Apart::new(1000, 800, || 0);
        assert_eq!(apart.deadline_ms(500), 800);
        apart.first = Some(("trap", String::new()));
        assert_eq!([1000, 500, 250, 1].map(|rows| apart.deadline_ms(rows)), [800, 400, 200, 50]);
        assert_eq!(Apart { deadline_ms: 20, ..Apart::new(1000, 20, || 0) }.deadline_ms(1), 20);
        apart.until_ns = Some(300_000_000);
        assert_eq!([500, 250, 1].map(|rows| apart.deadline_ms(rows)), [300, 200, 50]);
        assert!(!apart.is_over());
        apart.time = || 270_000_000;
        assert_eq!([500, 1].map(|rows| apart.deadline_ms(rows)), [30, 30], "no more than is left");
        apart.time = || 300_000_000;
        assert!(apart.is_over());
        assert_eq!(Apart { deadline_ms: 0, ..apart }.deadline_ms(1), 1);
    }
}
