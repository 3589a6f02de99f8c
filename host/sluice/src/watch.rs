//! Looks for changed plugins and tables, and exchanges them in the running pipeline.

use std::sync::Arc;
use std::time::Duration;

use sluice_pipeline::Stop;
use sluice_plugin::Reloaded;
use tokio::sync::Notify;
use tokio::task;
use tracing::{error, info};

use crate::collector::{Collector, RunningStage};

/// How often files are looked at. A look is a `stat` a file.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after a collector.
pub(crate) struct Watch {
    pub(crate) collector: Arc<Collector>,
}

impl Watch {
    /// Looks every second, and at once when `asked`, until `stop`.
    pub(crate) async fn watch(self, stop: Stop, asked: Arc<Notify>) {
        let watch = Arc::new(self);
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => false,
                () = asked.notified() => true,
            };
            let watch = Arc::clone(&watch);
            // Compiling takes seconds; the tasks that write to sinks must not wait for it.
            if let Err(error) = task::spawn_blocking(move || watch.look(is_asked)).await {
                error!(%error, "watching for changed files failed");
            }
        }
    }

    /// What an operator asks for: the configuration first, then the files that it names.
    fn reload(&self) {
        match self.collector.reload() {
            Ok(changed) => info!(%changed, "configuration read"),
            Err(cause) => error!(error = %cause, "configuration not taken up, the old one goes on"),
        }
    }

    fn look(&self, is_asked: bool) {
        if is_asked {
            self.reload();
        }
        for RunningStage { name: stage, loaded, .. } in &self.collector.stages() {
            // A file that was refused is tried again only when somebody asks.
            let reloaded = if is_asked { loaded.retry() } else { loaded.reload() };
            match reloaded {
                Ok(Reloaded::Swapped { from, to, generation }) => {
                    info!(stage, from, to, generation, "new plugin takes over at the next batch");
                }
                Ok(Reloaded::Unchanged) if is_asked => info!(stage, "plugin unchanged"),
                Ok(Reloaded::Unchanged) => {}
                Err(cause) => {
                    error!(
                        stage,
                        error = &cause as &dyn std::error::Error,
                        "plugin not exchanged, the old one goes on"
                    );
                }
            }
        }
        let tables = Arc::clone(&self.collector.running().tables);
        for name in tables.names() {
            match tables.reload(name) {
                Ok(true) => info!(table = name, "table exchanged"),
                Ok(false) => {}
                Err(cause) => {
                    error!(
                        table = name,
                        error = &cause as &dyn std::error::Error,
                        "table not exchanged, the old one goes on"
                    );
                }
            }
        }
    }
}
