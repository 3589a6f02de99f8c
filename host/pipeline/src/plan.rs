//! What the workers run.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use tokio::sync::mpsc;

use crate::stage::{Instances, Shared};
use crate::{Account, Edge, Parcel, Stage, StageSet, Stop};

/// What all workers run. They take another one up between two batches.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) sources: Vec<PlanSource>,
    pub(crate) stages: Vec<(Arc<Slot>, Vec<Edge>)>,
    pub(crate) sinks: Vec<PlanSink>,
}

#[derive(Debug)]
pub(crate) struct PlanSource {
    pub(crate) name: Arc<str>,
    /// What tells it from another one of the same name.
    pub(crate) identity: Arc<()>,
    pub(crate) edges: Vec<Edge>,
    /// Whether time goes on while no batch comes.
    pub(crate) is_live: bool,
    /// Where its batches come from, once for each worker. Taken out, so that a source sees when the last worker is gone.
    receivers: Mutex<Vec<Receiver<Parcel>>>,
}

impl PlanSource {
    pub(crate) fn new(
        name: &Arc<str>,
        edges: Vec<Edge>,
        is_live: bool,
        receiver: &Receiver<Parcel>,
        workers: usize,
    ) -> PlanSource {
        let receivers = Mutex::new((0..workers).map(|_| receiver.clone()).collect());
        PlanSource { name: Arc::clone(name), identity: Arc::default(), edges, is_live, receivers }
    }

    /// The same source in the next plan, with other edges: the workers have their receivers.
    pub(crate) fn kept(&self, edges: Vec<Edge>) -> PlanSource {
        let receivers = std::mem::take(&mut *self.receivers.lock().unwrap_or_else(PoisonError::into_inner));
        PlanSource {
            name: Arc::clone(&self.name),
            identity: Arc::clone(&self.identity),
            edges,
            is_live: self.is_live,
            receivers: Mutex::new(receivers),
        }
    }

    pub(crate) fn take_receiver(&self) -> Option<Receiver<Parcel>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// A stage with its books and the instances that no worker has taken yet.
pub(crate) struct Slot {
    pub(crate) account: Arc<Account>,
    instances: Mutex<Instances>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.account.name())
    }
}

/// A stage as one worker has it.
pub(crate) enum Own {
    /// Its own instance, and when that had its last tick.
    Mine(Box<dyn Stage>, u64),
    /// The instance of all workers.
    Shared(Arc<Shared>),
}

impl Slot {
    pub(crate) fn new(account: Arc<Account>, stages: StageSet) -> Slot {
        Slot { account, instances: Mutex::new(stages.0) }
    }

    /// The next worker's instance.
    pub(crate) fn take(&self) -> Own {
        match &mut *self.instances.lock().unwrap_or_else(PoisonError::into_inner) {
            Instances::Each(stages) => Own::Mine(stages.pop().expect("one instance per worker"), 0),
            Instances::One(shared) => Own::Shared(Arc::clone(shared)),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct PlanSink {
    pub(crate) account: Arc<Account>,
    pub(crate) sender: mpsc::Sender<Parcel>,
    pub(crate) abort: Stop,
}

impl Plan {
    pub(crate) fn empty() -> Plan {
        Plan { number: 0, sources: Vec::new(), stages: Vec::new(), sinks: Vec::new() }
    }

    pub(crate) fn source(&self, name: &str) -> Option<&PlanSource> {
        self.sources.iter().find(|source| &*source.name == name)
    }

    pub(crate) fn stage(&self, name: &str) -> Option<&(Arc<Slot>, Vec<Edge>)> {
        self.stages.iter().find(|(slot, _)| slot.account.name() == name)
    }

    pub(crate) fn sink(&self, name: &str) -> Option<&PlanSink> {
        self.sinks.iter().find(|sink| sink.account.name() == name)
    }

    pub(crate) fn has(&self, (kind, name): (&str, &str)) -> bool {
        match kind {
            "source" => self.source(name).is_some(),
            "stage" => self.stage(name).is_some(),
            _ => self.sink(name).is_some(),
        }
    }

    pub(crate) fn keeps(&self, sink: &PlanSink) -> bool {
        self.sinks.iter().any(|kept| kept.sender.same_channel(&sink.sender))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.sources.iter().any(|source| source.is_live)
    }
}
