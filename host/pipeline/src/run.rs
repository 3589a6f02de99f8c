//! The life of a pipeline: start, drain, end.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::control::{Change, Control, Inner, Part};
use crate::worker::Worker;
use crate::{Account, Edge, SinkEntry, Source, StageSet, Stop};

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

impl std::fmt::Debug for SourceEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceEntry({})", self.account.name())
    }
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
    /// Whether the pipeline is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

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
    pub fn run(self, stop: &Stop, runtime: &Handle) -> Result<(), RunError> {
        self.start(stop, runtime).wait()
    }

    /// Starts everything. It can be changed from now on.
    #[must_use]
    pub fn start(self, stop: &Stop, runtime: &Handle) -> Running {
        let failures = Arc::new(Failures { first: Mutex::new(None), stop: stop.clone() });
        let count = self.workers.max(1);
        let inner = Arc::new(Inner::new(count, self.grace, stop, Arc::clone(&failures), runtime));
        let timer = runtime.spawn({
            let (stop, abort, Grace(grace)) = (stop.clone(), inner.abort.clone(), self.grace);
            async move {
                stop.cancelled().await;
                tokio::time::sleep(grace).await;
                abort.cancel();
            }
        });
        let change = Change {
            sources: self.sources.into_iter().map(Part::New).collect(),
            stages: self.stages.into_iter().map(Part::New).collect(),
            sinks: self.sinks.into_iter().map(Part::New).collect(),
        };
        inner.begin(change).expect("nothing is to be kept");
        let workers = (0..count)
            .map(|number| {
                let worker = Worker::new(&inner, number, Arc::clone(&failures));
                spawn(format!("worker-{number}"), move || worker.run())
            })
            .collect();
        Running { inner, workers, timer, failures }
    }
}

/// A pipeline that runs.
pub struct Running {
    inner: Arc<Inner>,
    workers: Vec<thread::JoinHandle<()>>,
    timer: tokio::task::JoinHandle<()>,
    failures: Arc<Failures>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({} workers)", self.workers.len())
    }
}

impl Running {
    /// What changes it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.inner))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    pub fn wait(self) -> Result<(), RunError> {
        self.inner.end(self.workers);
        self.timer.abort();
        self.failures.take().map_or(Ok(()), |why| Err(RunError(why)))
    }
}

pub(crate) fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    // Names of threads are cut to 15 bytes by Linux.
    thread::Builder::new().name(name).spawn(work).expect("the system has room for one more thread")
}

pub(crate) fn join(threads: Vec<thread::JoinHandle<()>>, failures: &Failures, what: &str) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or(what).to_owned();
        if thread.join().is_err() {
            failures.fail(format!("{what} thread {name} panicked"));
        }
    }
}
