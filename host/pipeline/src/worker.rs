//! A worker: takes batches from the sources and runs them through the stages to the sinks, without a
//! channel in between.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Select};
use sluice_flow::Batch;
use tokio::sync::mpsc;

use crate::graph::share_out;
use crate::run::Failures;
use crate::stage::Shared;
use crate::{Account, Ack, Edge, Parcel, Processed, Selection, Stage, Target};

/// How often an idle worker looks whether a stage wants a tick.
const IDLE: Duration = Duration::from_millis(100);

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source_edges: Vec<Vec<Edge>>,
    pub(crate) stages: Vec<(Arc<Account>, Vec<Edge>)>,
    pub(crate) sinks: Vec<(Arc<Account>, mpsc::Sender<Parcel>)>,
    /// Whether time goes on while no batch comes.
    pub(crate) is_live: bool,
    pub(crate) failures: Arc<Failures>,
}

/// A stage as one worker has it.
pub(crate) enum Own {
    /// Its own instance, and when that wants its next tick.
    Mine(Box<dyn Stage>, u64),
    /// The instance of all workers.
    Shared(Arc<Shared>),
}

pub(crate) struct Worker {
    pub(crate) plan: Arc<Plan>,
    pub(crate) sources: Vec<(usize, Receiver<Parcel>)>,
    pub(crate) stages: Vec<Own>,
}

impl Worker {
    /// Runs until every source has ended and nothing is left in their channels.
    pub(crate) fn run(mut self) {
        let plan = Arc::clone(&self.plan);
        while let Some((at, received)) = self.next() {
            match received {
                Some(parcel) => {
                    self.tick(parcel.batch.now_ms());
                    let source = self.sources[at].0;
                    // A source has no account for what nobody takes: check_plan refuses such a plan.
                    let (shares, _) = share_out(parcel.batch, &plan.source_edges[source]);
                    self.hand_out(shares, &parcel.ack);
                }
                None if plan.is_live => self.tick(wall_ms()),
                None => {}
            }
        }
    }

    /// The next parcel and the place of its source in `sources`; no parcel when nothing came for a
    /// while; `None` when every source has ended.
    fn next(&mut self) -> Option<(usize, Option<Parcel>)> {
        loop {
            if self.sources.is_empty() {
                return None;
            }
            let mut select = Select::new();
            for (_, receiver) in &self.sources {
                select.recv(receiver);
            }
            let Ok(ready) = select.select_timeout(IDLE) else { return Some((0, None)) };
            let at = ready.index();
            match ready.recv(&self.sources[at].1) {
                Ok(parcel) => return Some((at, Some(parcel))),
                Err(_) => drop(self.sources.remove(at)),
            }
        }
    }

    fn hand_out(&mut self, shares: Vec<(Target, Batch)>, ack: &Ack) {
        for (target, batch) in shares {
            match target {
                Target::Stage(stage) => self.process(stage, batch, ack),
                Target::Sink(sink) => self.deliver(sink, batch, ack.clone()),
            }
        }
    }

    /// Runs a batch through a stage and hands its rows on. Depth is bounded: the graph has no circle.
    fn process(&mut self, stage: usize, batch: Batch, ack: &Ack) {
        let plan = Arc::clone(&self.plan);
        let (account, edges) = &plan.stages[stage];
        let rows = batch.rows();
        account.rows_in(rows);
        account.bytes(batch.bytes());
        let began = Instant::now();
        let processed = match &mut self.stages[stage] {
            Own::Mine(stage, _) => stage.process(batch),
            Own::Shared(shared) => shared.stage.lock().unwrap_or_else(PoisonError::into_inner).process(batch),
        };
        account.batch(began.elapsed().as_secs_f64());
        debug_assert_eq!(processed.rows(), rows, "{} loses rows without saying so", account.name());
        let Processed { out, dead, dropped, stop } = processed;
        for (reason, rows) in dropped {
            account.dropped(reason, rows);
        }
        if let Some(why) = stop {
            ack.fail();
            plan.failures.fail(format!("stage {}: {why}", account.name()));
        }
        if let Some(out) = out {
            let rows = out.rows();
            let (shares, untaken) = share_out(out, edges);
            // A stage that is there for its alerts only is the end of its rows, which is no accident.
            let is_last = edges.iter().all(|edge| edge.selection == Selection::DeadLetter);
            account.dropped(if is_last { "last_stage" } else { "unrouted" }, untaken);
            account.rows_out(rows - untaken);
            self.hand_out(shares, ack);
        }
        if let Some(dead) = dead {
            self.bury(account, edges, &dead, ack);
        }
    }

    /// Hands rows that a stage could not process to whoever takes its dead letters.
    fn bury(&mut self, account: &Account, edges: &[Edge], dead: &Batch, ack: &Ack) {
        let takers: Vec<Target> =
            edges.iter().filter(|edge| edge.selection == Selection::DeadLetter).map(|edge| edge.target).collect();
        if takers.is_empty() {
            account.dropped("dead_letter", dead.rows());
            return;
        }
        account.rows_out(dead.rows());
        self.hand_out(takers.into_iter().map(|target| (target, dead.clone())).collect(), ack);
    }

    /// Gives a batch to a sink, waiting for room: that is how a slow sink slows its sources.
    fn deliver(&self, sink: usize, batch: Batch, ack: Ack) {
        let (account, sender) = &self.plan.sinks[sink];
        if let Err(mpsc::error::SendError(parcel)) = sender.blocking_send(Parcel { batch, ack }) {
            // The sink's task has ended early, which only its panic can cause.
            parcel.ack.fail();
            account.rows_in(parcel.batch.rows());
            account.dropped("sink_gone", parcel.batch.rows());
        }
    }

    /// Ticks the stages that are due at `now_ms`.
    fn tick(&mut self, now_ms: u64) {
        for own in &mut self.stages {
            match own {
                Own::Mine(stage, next) => {
                    if let Some(every) = stage.tick_ms()
                        && now_ms >= *next
                    {
                        stage.tick(now_ms);
                        *next = now_ms.saturating_add(u64::from(every));
                    }
                }
                Own::Shared(shared) => {
                    let Some(every) = shared.tick_ms else { continue };
                    let due = shared.next_tick.load(Ordering::Acquire);
                    let next = now_ms.saturating_add(u64::from(every));
                    let order = (Ordering::AcqRel, Ordering::Relaxed);
                    // Whoever moves the time forward ticks; the others go on.
                    if now_ms >= due && shared.next_tick.compare_exchange(due, next, order.0, order.1).is_ok() {
                        shared.stage.lock().unwrap_or_else(PoisonError::into_inner).tick(now_ms);
                    }
                }
            }
        }
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
