//! A worker: takes batches from the sources and runs them through the stages to the sinks, without a
//! channel in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Select};
use sluice_flow::Batch;
use tokio::sync::mpsc;

use crate::control::Inner;
use crate::graph::share_out;
use crate::plan::{Own, Plan, PlanSink, Slot};
use crate::run::Failures;
use crate::waiting::Waiting;
use crate::{Account, Ack, Edge, Parcel, Piece, Processed, Selection, Stage, Target};

/// How often an idle worker looks whether a stage wants a tick.
pub(crate) const IDLE: Duration = Duration::from_millis(100);

pub(crate) struct Worker {
    inner: Arc<Inner>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) failures: Arc<Failures>,
    /// By their places in the plan.
    sources: Vec<(usize, Receiver<Parcel>)>,
    pub(crate) stages: Vec<(Arc<Slot>, Own)>,
    pub(crate) waiting: Waiting,
    pub(crate) wake: Receiver<()>,
}

/// How a batch is given to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Process,
    /// There is no room for it to wait.
    Refuse,
}

impl Call {
    fn on(self, stage: &mut dyn Stage, batch: Batch) -> Processed {
        match self {
            Call::Process => stage.process(batch),
            Call::Refuse => stage.refuse(batch),
        }
    }
}

/// What a worker found to do.
enum Next {
    /// A batch of the source at this place of the plan.
    Parcel(usize, Box<Parcel>),
    /// Nothing came for a while.
    Idle,
    /// Another plan may be in force.
    Changed,
    /// Every source has ended.
    End,
}

impl Worker {
    /// Takes its instances of the plan in force.
    pub(crate) fn new(inner: &Arc<Inner>, number: usize, failures: Arc<Failures>) -> Worker {
        let mut worker = Worker {
            inner: Arc::clone(inner),
            plan: Arc::new(Plan::empty()),
            failures,
            sources: Vec::new(),
            stages: Vec::new(),
            waiting: Waiting::default(),
            wake: inner.wake(number),
        };
        worker.take_up();
        worker
    }

    /// Runs until every source has ended and nothing is left in their channels.
    pub(crate) fn run(mut self) {
        loop {
            self.inner.pass_gate();
            if self.inner.number.load(Ordering::Acquire) != self.plan.number {
                self.take_up();
            }
            self.resume();
            let plan = Arc::clone(&self.plan);
            match self.next() {
                Next::Parcel(source, parcel) => {
                    self.tick(parcel.batch.now_ms());
                    // A source has no account for what nobody takes: check_plan refuses such a plan.
                    let Parcel { batch, ack } = *parcel;
                    let (shares, _) = share_out(batch, &plan.sources[source].edges);
                    self.hand_out(shares, &ack);
                }
                Next::Idle if plan.is_live() => self.tick(wall_ms()),
                Next::Idle | Next::Changed => {}
                Next::End if !self.waiting.is_empty() => self.wait_at_end(),
                Next::End if self.inner.may_end(plan.number) => return,
                Next::End => {}
            }
        }
    }

    /// Takes up the plan in force: what is kept of the one before goes on as it is.
    fn take_up(&mut self) {
        let plan = self.inner.plan();
        self.settle(|slot| !plan.stages.iter().any(|(kept, _)| Arc::ptr_eq(kept, slot)));
        let mut sources: Vec<_> = std::mem::take(&mut self.sources)
            .into_iter()
            .map(|(at, receiver)| (Arc::clone(&self.plan.sources[at].identity), receiver))
            .collect();
        for (at, source) in plan.sources.iter().enumerate() {
            let own = sources.iter().position(|(identity, _)| Arc::ptr_eq(identity, &source.identity));
            let was_there = self.plan.sources.iter().any(|before| Arc::ptr_eq(&before.identity, &source.identity));
            // One that has ended since is not begun again.
            let receiver = match own {
                Some(own) => Some(sources.swap_remove(own).1),
                None if was_there => None,
                None => source.take_receiver(),
            };
            self.sources.extend(receiver.map(|receiver| (at, receiver)));
        }
        let mut stages = std::mem::take(&mut self.stages);
        for (slot, _) in &plan.stages {
            let own = stages.iter().position(|(before, _)| Arc::ptr_eq(before, slot));
            let own = own.map_or_else(|| slot.take(), |own| stages.swap_remove(own).1);
            self.stages.push((Arc::clone(slot), own));
        }
        self.plan = plan;
    }

    fn next(&mut self) -> Next {
        loop {
            if self.sources.is_empty() {
                return Next::End;
            }
            let patience = self.patience();
            let mut select = Select::new();
            for (_, receiver) in &self.sources {
                select.recv(receiver);
            }
            let wake = select.recv(&self.wake);
            let Ok(ready) = select.select_timeout(patience) else { return Next::Idle };
            let at = ready.index();
            if at == wake {
                ready.recv(&self.wake).unwrap_or_default();
                return Next::Changed;
            }
            match ready.recv(&self.sources[at].1) {
                Ok(parcel) => return Next::Parcel(self.sources[at].0, Box::new(parcel)),
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

    /// Runs a batch through a stage and hands its rows on, or has it wait. Depth is bounded: the graph has no circle.
    fn process(&mut self, stage: usize, batch: Batch, ack: &Ack) {
        let slot = &self.stages[stage].0;
        let is_behind = self.waiting.has(slot);
        if !is_behind && self.wait_of(stage).is_none() {
            return self.run_stage(stage, batch, ack, Call::Process);
        }
        if let Some(batch) = self.waiting.push(slot, batch, ack) {
            self.run_stage(stage, batch, ack, Call::Refuse);
        }
    }

    /// Gives a batch to a stage and hands its rows on.
    pub(crate) fn run_stage(&mut self, stage: usize, batch: Batch, ack: &Ack, call: Call) {
        let plan = Arc::clone(&self.plan);
        let (slot, edges) = &plan.stages[stage];
        let account = &*slot.account;
        let (rows, bytes) = (batch.rows(), batch.bytes());
        let began = Instant::now();
        let processed = match &mut self.stages[stage].1 {
            Own::Mine(stage, _) => call.on(&mut **stage, batch),
            Own::Shared(shared) => shared.with(|stage| call.on(stage, batch)),
        };
        account.batch(began.elapsed().as_secs_f64());
        debug_assert_eq!(processed.rows(), rows, "{} loses rows without saying so", account.name());
        // Parts that come later count when they do.
        account.rows_in(rows - processed.rows_later());
        account.bytes(bytes.saturating_sub(processed.later.iter().map(Batch::bytes).sum()));
        let Processed { out, dead, more, later, dropped, stop } = processed;
        self.waiting.put_back(slot, later, ack);
        for (reason, rows) in dropped {
            account.dropped(reason, rows);
        }
        if let Some(why) = stop {
            ack.fail();
            self.failures.fail(format!("stage {}: {why}", account.name()));
        }
        for piece in out.map(Piece::Out).into_iter().chain(dead.map(Piece::Dead)).chain(more) {
            match piece {
                Piece::Out(batch) => self.hand_on(account, edges, batch, ack),
                Piece::Dead(batch) => self.bury(account, edges, &batch, ack),
            }
        }
    }

    /// Hands rows that a stage let through to whoever takes them.
    fn hand_on(&mut self, account: &Account, edges: &[Edge], out: Batch, ack: &Ack) {
        account.show(&out);
        let rows = out.rows();
        let (shares, untaken) = share_out(out, edges);
        // A stage that is there for its alerts only is the end of its rows, which is no accident.
        let is_last = edges.iter().all(|edge| edge.selection == Selection::DeadLetter);
        account.dropped(if is_last { "last_stage" } else { "unrouted" }, untaken);
        account.rows_out(rows - untaken);
        self.hand_out(shares, ack);
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
        let PlanSink { account, sender, .. } = &self.plan.sinks[sink];
        if let Err(mpsc::error::SendError(parcel)) = sender.blocking_send(Parcel { batch, ack }) {
            // The sink's task has ended early, which only its panic can cause.
            parcel.ack.fail();
            account.rows_in(parcel.batch.rows());
            account.dropped("sink_gone", parcel.batch.rows());
        }
    }

    /// Ticks the stages that are due at `now_ms`.
    fn tick(&mut self, now_ms: u64) {
        for (_, own) in &mut self.stages {
            match own {
                Own::Mine(stage, last_ms) => {
                    if let Some(every) = stage.tick_ms()
                        && now_ms >= last_ms.saturating_add(u64::from(every))
                    {
                        stage.tick(now_ms);
                        *last_ms = now_ms;
                    }
                }
                Own::Shared(shared) => shared.tick(now_ms),
            }
        }
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inner.is_gone();
        }
    }
}
