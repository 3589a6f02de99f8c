//! A plugin as a stage with an instance for each partition.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_flow::{Batch, Partition};
use sluice_pipeline::{Processed, Stage};

use crate::load::Loaded;
use crate::runner::Runner;

/// Instances of a plugin by the partition whose rows they see, so that what a plugin knows of a partition goes where the partition
/// goes: at its end the state is in the file of the partition, which the next process to get it begins with.
///
/// Batches of no partition, and late ones of a partition that is over, have an instance of their own, whose state is not kept.
pub(crate) struct PerPartition {
    loaded: Arc<Loaded>,
    own: BTreeMap<String, Own>,
    stray: Option<Runner>,
}

/// The instance of one partition; none when the partition is over.
struct Own {
    partition: Arc<Partition>,
    runner: Arc<Mutex<Option<Runner>>>,
    /// Batch time of the last batch, if there was one since the last tick.
    now_ms: Option<u64>,
}

impl PerPartition {
    pub(crate) fn new(loaded: Arc<Loaded>) -> PerPartition {
        PerPartition { loaded, own: BTreeMap::new(), stray: None }
    }

    /// The instance of a partition, made when its first batch comes; none of one that is over.
    fn own(&mut self, partition: &Arc<Partition>) -> Option<&mut Own> {
        let is_known = self.own.get(partition.name()).is_some_and(|own| Arc::ptr_eq(&own.partition, partition));
        if !is_known {
            let runner = Arc::new(Mutex::new(None));
            let at_end = Arc::clone(&runner);
            let is_live = partition.on_end(move |is_complete| {
                let runner: Option<Runner> = at_end.lock().unwrap_or_else(PoisonError::into_inner).take();
                match runner {
                    // Its last act is to keep its state.
                    Some(runner) if is_complete => drop(runner),
                    Some(runner) => runner.forget(),
                    None => {}
                }
            });
            if !is_live {
                return None;
            }
            // What is over goes when something new comes.
            self.own.retain(|_, own| own.runner.lock().unwrap_or_else(PoisonError::into_inner).is_some());
            let new = Runner::new(Arc::clone(&self.loaded), None, self.state_file(partition));
            *runner.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
            let own = Own { partition: Arc::clone(partition), runner, now_ms: None };
            self.own.insert(partition.name().to_owned(), own);
        }
        self.own.get_mut(partition.name())
    }

    fn state_file(&self, partition: &Partition) -> Option<PathBuf> {
        Some(self.loaded.version().shared.state.as_ref()?.join(format!("{}.state", partition.name())))
    }
}

impl Stage for PerPartition {
    fn process(&mut self, batch: Batch) -> Processed {
        let partition = batch.partition().cloned();
        if let Some(own) = partition.and_then(|partition| self.own(&partition)) {
            own.now_ms = Some(batch.now_ms());
            if let Some(runner) = &mut *own.runner.lock().unwrap_or_else(PoisonError::into_inner) {
                return runner.process(batch);
            }
        }
        let loaded = &self.loaded;
        self.stray.get_or_insert_with(|| Runner::new(Arc::clone(loaded), None, None)).process(batch)
    }

    fn wait(&self) -> Option<Duration> {
        self.loaded.version().shared.wait()
    }

    fn refuse(&mut self, batch: Batch) -> Processed {
        let loaded = &self.loaded;
        self.stray.get_or_insert_with(|| Runner::new(Arc::clone(loaded), None, None)).refuse(batch)
    }

    fn tick_ms(&self) -> Option<u32> {
        self.loaded.manifest().tick_ms.filter(|_| self.loaded.exports().0)
    }

    /// Partitions may be at different times, where one is read behind the others: each has its own, and that of the whole
    /// stage when it has nothing to read.
    fn tick(&mut self, now_ms: u64) {
        for own in self.own.values_mut() {
            let own_ms = own.now_ms.take().unwrap_or(now_ms);
            if let Some(runner) = &mut *own.runner.lock().unwrap_or_else(PoisonError::into_inner) {
                runner.tick(own_ms);
            }
        }
        if let Some(stray) = &mut self.stray {
            stray.tick(now_ms);
        }
    }
}
