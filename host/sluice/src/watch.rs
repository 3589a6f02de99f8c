//! Looks for changed plugins and tables, and exchanges them in the running pipeline.

use std::sync::Arc;
use std::time::Duration;

use sluice_pipeline::Stop;
use sluice_plugin::tables::Tables;
use sluice_plugin::{Loaded, Reloaded};
use tokio::sync::Notify;
use tokio::task;
use tracing::{error, info};

use crate::build::Prepared;

/// How often files are looked at. A look is a `stat` a file.
const EVERY: Duration = Duration::from_secs(1);

/// What may change while we run.
pub(crate) struct Watched {
    stages: Vec<(String, Arc<Loaded>)>,
    tables: Arc<Tables>,
}

impl Watched {
    pub(crate) fn of(prepared: &Prepared) -> Watched {
        let names = prepared.config.stages.iter().map(|stage| stage.name.clone());
        Watched { stages: names.zip(prepared.stages.iter().cloned()).collect(), tables: Arc::clone(&prepared.tables) }
    }

    /// Looks every second, and at once when `asked`, until `stop`.
    pub(crate) async fn watch(self, stop: Stop, asked: Arc<Notify>) {
        let watched = Arc::new(self);
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => false,
                () = asked.notified() => true,
            };
            let watched = Arc::clone(&watched);
            // Compiling takes seconds; the tasks that write to sinks must not wait for it.
            if let Err(error) = task::spawn_blocking(move || watched.look(is_asked)).await {
                error!(%error, "watching for changed files failed");
            }
        }
    }

    fn look(&self, is_asked: bool) {
        for (stage, loaded) in &self.stages {
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
        for name in self.tables.names() {
            match self.tables.reload(name) {
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
