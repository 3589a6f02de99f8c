//! The life of a pipeline: start, drain, end.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::stage::Instances;
use crate::worker::{Own, Plan, Worker};
use crate::{Account, Edge, Outlet, SinkEntry, Source, StageSet, Stop};

/// A source with its books and where its rows go.
pub struct SourceEntry {
    /// One per thread.
    pub runners: Vec<Box<dyn Source>>,
    /// The source's books.
    pub account: Arc<Account>,
    /// Batches that may wait for a worker.
    pub queue: usize,
    /// Who gets the rows: at least one edge, each [`Selection::All`](crate::Selection::All).
    pub edges: Vec<Edge>,
}

/// A stage with its books and where its rows go.
#[derive(Debug)]
pub struct StageEntry {
    /// Its instances.
    pub stages: StageSet,
    /// Its books.
    pub account: Arc<Account>,
    /// Who gets the rows.
    pub edges: Vec<Edge>,
}

/// How long a stopping pipeline may drain; then what is left is counted as `shutdown`.
#[derive(Clone, Copy, Debug)]
pub struct Grace(pub Duration);

/// Everything that runs, wired and inert until [`run`](Self::run). Targets of edges are places in
/// `stages` and `sinks`; the stages have no circle ([`check_order`](crate::check_order)).
pub struct Pipeline {
    /// Where rows come from.
    pub sources: Vec<SourceEntry>,
    /// What transforms them.
    pub stages: Vec<StageEntry>,
    /// Where they go.
    pub sinks: Vec<SinkEntry>,
    /// Worker threads; a [`StageSet::each`] has as many instances.
    pub workers: usize,
    /// How long draining may take.
    pub grace: Grace,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipeline({} -> {} -> {})", self.sources.len(), self.stages.len(), self.sinks.len())
    }
}

/// Why a run failed. Everything that could be delivered was.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(pub String);

/// The first reason why the run has failed; there being one stops the pipeline in order.
#[derive(Debug)]
pub(crate) struct Failures {
    first: Mutex<Option<String>>,
    stop: Stop,
}

impl Failures {
    pub(crate) fn fail(&self, why: String) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.cancel();
    }

    fn take(&self) -> Option<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Pipeline {
    /// Runs until every source has ended, or until `stop` is cancelled and everything has drained, or
    /// the grace period is over. Blocks the calling thread; sinks run on `runtime`.
    ///
    /// Sources end first; then the workers empty the channels and end; then the sinks write what they
    /// were given and close. Nothing is cut off before the grace period ends.
    ///
    /// # Errors
    /// A source that could not go on, a stage whose policy is to stop, or a thread that panicked.
    pub fn run(self, stop: Stop, runtime: &Handle) -> Result<(), RunError> {
        let abort = Stop::new();
        let timer = runtime.spawn({
            let (stop, abort, Grace(grace)) = (stop.clone(), abort.clone(), self.grace);
            async move {
                stop.cancelled().await;
                tokio::time::sleep(grace).await;
                abort.cancel();
            }
        });

        let failures = Arc::new(Failures { first: Mutex::new(None), stop: stop.clone() });
        let mut sinks = Vec::new();
        let mut sink_tasks = Vec::new();
        for entry in self.sinks {
            let (sender, receiver) = mpsc::channel(entry.queue.max(1));
            let task = (entry.start)(receiver, Arc::clone(&failures), abort.clone());
            sink_tasks.push((Arc::clone(&entry.account), runtime.spawn(task)));
            sinks.push((entry.account, sender));
        }

        let is_live = self.sources.iter().any(|source| source.runners.iter().any(|runner| runner.is_live()));
        let ids = Arc::new(AtomicU64::new(1));
        let mut source_edges = Vec::new();
        let mut receivers = Vec::new();
        let mut runners = Vec::new();
        for (at, source) in self.sources.into_iter().enumerate() {
            let (sender, receiver) = crossbeam_channel::bounded(source.queue.max(1));
            receivers.push((at, receiver));
            source_edges.push(source.edges);
            let outlet = Outlet::new(sender, source.account, Arc::clone(&ids));
            runners.extend(source.runners.into_iter().map(|runner| (runner, outlet.clone())));
        }

        let mut instances: Vec<Instances> = Vec::new();
        let mut stages = Vec::new();
        for entry in self.stages {
            instances.push(entry.stages.0);
            stages.push((entry.account, entry.edges));
        }
        let plan = Arc::new(Plan { source_edges, stages, sinks, is_live, failures: Arc::clone(&failures) });

        let mut workers = Vec::new();
        for number in 0..self.workers.max(1) {
            let worker = Worker {
                plan: Arc::clone(&plan),
                sources: receivers.clone(),
                stages: instances.iter_mut().map(take_instance).collect(),
            };
            workers.push(spawn(format!("worker-{number}"), move || worker.run()));
        }
        drop(receivers);
        drop(instances);

        let mut source_threads = Vec::new();
        for (runner, outlet) in runners {
            let (name, stop, failures) = (outlet.account().name().to_owned(), stop.clone(), Arc::clone(&failures));
            source_threads.push(spawn(name, move || {
                if let Err(error) = runner.run(outlet, stop) {
                    failures.fail(crate::chain(&error));
                }
            }));
        }

        join(source_threads, &failures, "source");
        join(workers, &failures, "worker");
        // The last senders go with the plan; the sinks see the end of their channels.
        drop(plan);
        for (account, task) in sink_tasks {
            if runtime.block_on(task).is_err() {
                failures.fail(format!("sink {} panicked", account.name()));
            }
        }
        timer.abort();
        failures.take().map_or(Ok(()), |why| Err(RunError(why)))
    }
}

/// The next worker's instance of a stage.
fn take_instance(instances: &mut Instances) -> Own {
    match instances {
        Instances::Each(stages) => Own::Mine(stages.pop().expect("one instance per worker"), 0),
        Instances::One(shared) => Own::Shared(Arc::clone(shared)),
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    // Names of threads are cut to 15 bytes by Linux.
    thread::Builder::new().name(name).spawn(work).expect("the system has room for one more thread")
}

fn join(threads: Vec<thread::JoinHandle<()>>, failures: &Failures, what: &str) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or(what).to_owned();
        if thread.join().is_err() {
            failures.fail(format!("{what} thread {name} panicked"));
        }
    }
}
