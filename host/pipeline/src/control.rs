//! Changing a pipeline that runs: what every worker runs is exchanged while all of them stand between two batches.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task;

use crate::plan::{Plan, PlanSink, PlanSource, Slot};
use crate::run::{Failures, Grace, join, spawn};
use crate::{Account, Edge, Outlet, Parcel, SinkEntry, Source, SourceEntry, StageEntry, Stop, Wanted};

/// How long the workers that are between batches wait for the others; then they go on for a while, so that no queue
/// in front of them fills because one worker waits for a slow sink.
const STANDSTILL: Duration = Duration::from_millis(50);
/// How long they go on before the next try.
const GO_ON: Duration = Duration::from_millis(200);
/// How often it is looked whether the rows of a source that ended were taken.
const LOOK: Duration = Duration::from_millis(2);

/// A part of a pipeline after a change.
#[derive(Debug)]
pub enum Part<T> {
    /// The one that runs under this name, with these edges out of it: none for a sink.
    Kept(String, Vec<Edge>),
    /// A new one. One of the same name that runs is replaced.
    New(T),
}

/// What a pipeline is to be. Whatever is not in it ends: a source hands on what it has, a sink writes what it was given.
#[derive(Debug, Default)]
pub struct Change {
    /// Where rows come from.
    pub sources: Vec<Part<SourceEntry>>,
    /// What transforms them.
    pub stages: Vec<Part<StageEntry>>,
    /// Where they go.
    pub sinks: Vec<Part<SinkEntry>>,
}

/// Why a pipeline was not changed. It runs on as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It is ending, or has ended.
    #[error("the pipeline is ending")]
    Ending,
    /// A part is to be kept that is not there.
    #[error("there is no `{0}` to keep")]
    Unknown(String),
}

/// A source that runs.
struct SourceRun {
    name: String,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
    /// To see whether what it handed on was taken.
    waiting: Receiver<Parcel>,
}

/// A sink that runs, or ran and still writes.
struct SinkRun {
    account: Arc<Account>,
    task: task::JoinHandle<()>,
}

/// Where the workers stand.
#[derive(Default)]
struct Gate {
    /// Whether workers are to stop between two batches.
    is_closed: bool,
    /// Workers that stand there.
    standing: usize,
    /// Workers that have not ended.
    alive: usize,
    /// Whether workers that have no source left wait for another.
    is_changing: bool,
}

/// What the workers and whoever changes the pipeline share.
pub(crate) struct Inner {
    plan: Mutex<Arc<Plan>>,
    /// Number of the plan, to be looked at before every batch.
    pub(crate) number: AtomicU64,
    is_closed: AtomicBool,
    gate: Mutex<Gate>,
    moved: Condvar,
    wake: Vec<(Sender<()>, Receiver<()>)>,
    sources: Mutex<Vec<SourceRun>>,
    sinks: Mutex<Vec<SinkRun>>,
    /// One change at a time.
    changing: Mutex<()>,
    ids: Arc<AtomicU64>,
    wanted: Arc<Wanted>,
    failures: Arc<Failures>,
    runtime: Handle,
    grace: Grace,
    stop: Stop,
    pub(crate) abort: Stop,
}

/// Changes a pipeline that runs. Clones change the same one.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Control(plan {})", self.0.number.load(Ordering::Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn new(workers: usize, grace: Grace, stop: &Stop, failures: Arc<Failures>, runtime: &Handle) -> Inner {
        Inner {
            plan: Mutex::new(Arc::new(Plan::empty())),
            number: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            gate: Mutex::new(Gate { alive: workers, ..Gate::default() }),
            moved: Condvar::new(),
            wake: (0..workers).map(|_| crossbeam_channel::bounded(1)).collect(),
            sources: Mutex::default(),
            sinks: Mutex::default(),
            changing: Mutex::default(),
            ids: Arc::new(AtomicU64::new(1)),
            wanted: Arc::default(),
            failures,
            runtime: runtime.clone(),
            grace,
            stop: stop.clone(),
            abort: Stop::new(),
        }
    }

    /// The plan in force.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&lock(&self.plan))
    }

    /// Tells a worker that waits for a batch that there is something else.
    pub(crate) fn wake(&self, worker: usize) -> Receiver<()> {
        self.wake[worker].1.clone()
    }

    fn wake_all(&self) {
        for (sender, _) in &self.wake {
            // One that was not taken yet does.
            sender.try_send(()).unwrap_or_default();
        }
    }

    /// Where a worker stops between two batches while a change is made. Costs a load.
    pub(crate) fn pass_gate(&self) {
        if !self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let mut gate = lock(&self.gate);
        while gate.is_closed {
            gate.standing += 1;
            self.moved.notify_all();
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
            gate.standing -= 1;
        }
    }

    /// For a worker whose sources have all ended: whether it may end. While the pipeline is changed it waits for what comes
    /// of that; `number` is that of its plan.
    pub(crate) fn may_end(&self, number: u64) -> bool {
        let mut gate = lock(&self.gate);
        loop {
            while gate.is_closed {
                gate.standing += 1;
                self.moved.notify_all();
                gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
                gate.standing -= 1;
            }
            if self.number.load(Ordering::Acquire) != number {
                return false;
            }
            if !gate.is_changing {
                gate.alive -= 1;
                return true;
            }
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs `work` while every worker stands between two batches.
    fn stand_still(&self, work: impl FnOnce()) {
        loop {
            let mut gate = lock(&self.gate);
            gate.is_closed = true;
            self.is_closed.store(true, Ordering::Release);
            self.moved.notify_all();
            self.wake_all();
            let until = Instant::now() + STANDSTILL;
            while gate.standing < gate.alive {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                gate = self.moved.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let is_still = gate.standing >= gate.alive;
            if is_still {
                work();
                gate.is_closed = false;
                gate.is_changing = false;
                self.is_closed.store(false, Ordering::Release);
                self.moved.notify_all();
                return;
            }
            gate.is_closed = false;
            self.is_closed.store(false, Ordering::Release);
            self.moved.notify_all();
            drop(gate);
            std::thread::sleep(GO_ON);
        }
    }

    /// For a worker that panicked: nobody waits for it.
    pub(crate) fn is_gone(&self) {
        lock(&self.gate).alive -= 1;
        self.moved.notify_all();
    }

    /// Whether a change can be made still.
    fn check_alive(&self) -> Result<(), ChangeError> {
        if lock(&self.gate).alive < self.wake.len() || self.stop.is_cancelled() {
            return Err(ChangeError::Ending);
        }
        Ok(())
    }

    /// Begins or ends a change: meanwhile workers that have no source left wait for another.
    fn set_changing(&self, is_changing: bool) {
        lock(&self.gate).is_changing = is_changing;
        self.moved.notify_all();
    }

    /// Makes the plan of `change`, starts its new sinks, and gives its new sources to be started.
    fn prepare(&self, change: Change, old: &Plan) -> Result<Prepared, ChangeError> {
        for name in change.kept() {
            if !old.has(name) {
                return Err(ChangeError::Unknown(name.1.to_owned()));
            }
        }
        let number = old.number + 1;
        let mut plan = Plan { number, ..Plan::empty() };
        let mut starting = Vec::new();
        for part in change.sources {
            match part {
                Part::Kept(name, edges) => {
                    let before = old.source(&name).ok_or(ChangeError::Unknown(name))?;
                    plan.sources.push(before.kept(edges));
                }
                Part::New(entry) => {
                    let (sender, receiver) = crossbeam_channel::bounded(entry.queue.max(1));
                    let outlet = Outlet::new(sender, Arc::clone(&entry.account), Arc::clone(&self.ids))
                        .with_wanted(Arc::clone(&self.wanted));
                    let is_live = entry.runners.iter().any(|runner| runner.is_live());
                    let name: Arc<str> = Arc::from(entry.account.name());
                    plan.sources.push(PlanSource::new(&name, entry.edges, is_live, &receiver, self.wake.len()));
                    starting.push((name, entry.runners, outlet, receiver));
                }
            }
        }
        for part in change.stages {
            match part {
                Part::Kept(name, edges) => {
                    let (slot, _) = old.stage(&name).ok_or(ChangeError::Unknown(name))?;
                    plan.stages.push((Arc::clone(slot), edges));
                }
                Part::New(entry) => plan.stages.push((Arc::new(Slot::new(entry.account, entry.stages)), entry.edges)),
            }
        }
        for part in change.sinks {
            match part {
                Part::Kept(name, _) => {
                    plan.sinks.push(old.sink(&name).ok_or(ChangeError::Unknown(name))?.clone());
                }
                Part::New(entry) => plan.sinks.push(self.start_sink(entry)),
            }
        }
        Ok(Prepared { plan, starting })
    }

    fn start_sink(&self, entry: SinkEntry) -> PlanSink {
        let (sender, receiver) = mpsc::channel(entry.queue.max(1));
        let abort = self.abort.child_token();
        let task = (entry.start)(receiver, Arc::clone(&self.failures), abort.clone());
        let task = self.runtime.spawn(task);
        lock(&self.sinks).push(SinkRun { account: Arc::clone(&entry.account), task });
        PlanSink { account: entry.account, sender, abort }
    }

    fn start_source(&self, (name, runners, outlet, waiting): Starting) {
        let stop = self.stop.child_token();
        let threads = runners.into_iter().map(|runner| {
            let (outlet, stop, failures) = (outlet.clone(), stop.clone(), Arc::clone(&self.failures));
            spawn(name.to_string(), move || {
                if let Err(error) = runner.run(outlet, stop) {
                    failures.fail(crate::chain(&error));
                }
            })
        });
        let threads = threads.collect();
        lock(&self.sources).push(SourceRun { name: name.to_string(), stop, threads, waiting });
    }

    /// Ends the sources that `keeps` does not want, and waits until the workers have taken what they handed on.
    fn end_sources(&self, keeps: impl Fn(&str) -> bool) {
        let leaving: Vec<SourceRun> = {
            let mut sources = lock(&self.sources);
            let (kept, leaving) = std::mem::take(&mut *sources).into_iter().partition(|source| keeps(&source.name));
            *sources = kept;
            leaving
        };
        for source in &leaving {
            source.stop.cancel();
        }
        for SourceRun { threads, waiting, .. } in leaving {
            join(threads, &self.failures, "source");
            while !waiting.is_empty() {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Takes a plan into force.
    fn put(&self, plan: Plan) {
        self.number.store(plan.number, Ordering::Release);
        *lock(&self.plan) = Arc::new(plan);
    }

    /// Starts the first plan.
    pub(crate) fn begin(&self, change: Change) -> Result<(), ChangeError> {
        let Prepared { plan, starting } = self.prepare(change, &Plan::empty())?;
        self.put(plan);
        starting.into_iter().for_each(|starting| self.start_source(starting));
        Ok(())
    }

    /// Waits until everything has ended. Afterwards nothing can be changed.
    pub(crate) fn end(&self, workers: Vec<JoinHandle<()>>) {
        join(workers, &self.failures, "worker");
        let _last = lock(&self.changing);
        let sources = std::mem::take(&mut *lock(&self.sources));
        for source in sources {
            join(source.threads, &self.failures, "source");
        }
        // The last senders go with the plan; the sinks see the end of their channels.
        self.put(Plan { number: u64::MAX, ..Plan::empty() });
        let sinks = std::mem::take(&mut *lock(&self.sinks));
        for SinkRun { account, task, .. } in sinks {
            if self.runtime.block_on(task).is_err() {
                self.failures.fail(format!("sink {} panicked", account.name()));
            }
        }
    }
}

/// A source that is to be started.
type Starting = (Arc<str>, Vec<Box<dyn Source>>, Outlet, Receiver<Parcel>);

struct Prepared {
    plan: Plan,
    starting: Vec<Starting>,
}

impl Change {
    /// Kinds and names of what is to be kept.
    fn kept(&self) -> Vec<(&'static str, &str)> {
        fn names<'a, T>(kind: &'static str, parts: &'a [Part<T>]) -> impl Iterator<Item = (&'static str, &'a str)> {
            parts.iter().filter_map(move |part| match part {
                Part::Kept(name, _) => Some((kind, name.as_str())),
                Part::New(_) => None,
            })
        }
        let sources = names("source", &self.sources);
        sources.chain(names("stage", &self.stages)).chain(names("sink", &self.sinks)).collect()
    }
}

impl Control {
    /// Exchanges what runs for what `change` says, between two batches of every worker, and calls `commit` while all of them
    /// stand there: no batch sees half of a change. Kept parts go on as they are: sources with their sockets and offsets, stages
    /// with their instances, sinks with their queues.
    ///
    /// Sources that are not in `change` end first, and what they handed on is processed as before. Sinks that are not in it write
    /// what they were given; one that cannot gives up after the grace period. Waits for a worker that waits for a slow sink; the
    /// others go on meanwhile.
    ///
    /// # Errors
    /// If the pipeline is ending, or something is to be kept that is not there: nothing was changed then, and `commit` was
    /// not called.
    pub fn change(&self, change: Change, commit: impl FnOnce()) -> Result<(), ChangeError> {
        let inner = &self.0;
        let _one_at_a_time = lock(&inner.changing);
        let old = inner.plan();
        inner.check_alive()?;
        if let Some((_, name)) = change.kept().into_iter().find(|name| !old.has(*name)) {
            return Err(ChangeError::Unknown(name.to_owned()));
        }
        inner.set_changing(true);
        // Those that ended before they saw it.
        inner.check_alive().inspect_err(|_| inner.set_changing(false))?;
        let kept = change.sources.iter().filter_map(|part| match part {
            Part::Kept(name, _) => Some(name.clone()),
            Part::New(_) => None,
        });
        let kept: HashSet<String> = kept.collect();
        inner.end_sources(|name| kept.contains(name));
        let prepared = inner.prepare(change, &old);
        let Prepared { plan, starting } = prepared.inspect_err(|_| inner.set_changing(false))?;
        let leaving: Vec<PlanSink> = old.sinks.iter().filter(|sink| !plan.keeps(sink)).cloned().collect();
        self.give_up_in_time(leaving.iter().map(|sink| sink.abort.clone()).collect());
        drop((old, leaving));
        inner.stand_still(|| {
            commit();
            inner.put(plan);
        });
        inner.wake_all();
        starting.into_iter().for_each(|starting| inner.start_source(starting));
        Ok(())
    }

    /// Sinks that leave may hold up a worker: after the grace period they take nothing any more.
    fn give_up_in_time(&self, sinks: Vec<Stop>) {
        if sinks.is_empty() {
            return;
        }
        let Grace(grace) = self.0.grace;
        self.0.runtime.spawn(async move {
            tokio::time::sleep(grace).await;
            sinks.iter().for_each(Stop::cancel);
        });
    }

    /// Tells the sources which columns somebody reads, and waits until each has taken note, two seconds at most. Rows that
    /// they handed on before may lack columns that are new.
    pub fn want(&self, columns: sluice_flow::ColumnSet) {
        self.0.wanted.set(columns);
        let until = Instant::now() + Duration::from_secs(2);
        let threads =
            || lock(&self.0.sources).iter().flat_map(|source| &source.threads).filter(|t| !t.is_finished()).count();
        while self.0.wanted.taken() < threads() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        // And until the workers have taken what was decoded before.
        let waits = || lock(&self.0.sources).iter().any(|source| !source.waiting.is_empty());
        while waits() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }
}
