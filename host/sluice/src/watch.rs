//! Looks for changed plugins and tables, and exchanges them in the running pipeline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_pipeline::{Stop, chain};
use sluice_plugin::Reloaded;
use tokio::sync::Notify;
use tokio::task;
use tracing::{error, info, warn};

use crate::build::base;
use crate::collector::{Collector, RunningStage};
use crate::config::tenants::{self, Files, Found, parts};
use crate::tenancy;

/// How often files are looked at. A look is a `stat` a file.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after a collector.
pub(crate) struct Watch {
    collector: Arc<Collector>,
    /// Folders of tenants that were refused as they are.
    refused: Mutex<BTreeMap<String, Result<Found, String>>>,
}

impl Watch {
    pub(crate) fn new(collector: &Arc<Collector>) -> Watch {
        Watch { collector: Arc::clone(collector), refused: Mutex::default() }
    }

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

    /// Stages whose file is not one any more that may be read.
    fn refused_stages(&self) -> Vec<String> {
        let running = self.collector.running();
        let is_refused = |stage: &&RunningStage| {
            parts(&stage.name).is_some_and(|(tenant, plugin)| {
                let tenant = running.config.tenant(tenant);
                tenant.is_some_and(|tenant| tenant.value.files.refused.contains_key(plugin))
            })
        };
        running.stages.iter().filter(is_refused).map(|stage| stage.name.clone()).collect()
    }

    /// What an operator asks for: the configuration first, then the files that it names.
    fn reload(&self) {
        match self.collector.reload() {
            Ok(changed) => info!(%changed, "configuration read"),
            Err(cause) => error!(error = %cause, "configuration not taken up, the old one goes on"),
        }
    }

    /// Looks at the folders of the tenants, each for itself: what is wrong with one is nothing to the others.
    fn folders(&self, is_asked: bool) {
        // What a tenant is about to put there or take away is not looked at before it is done.
        let _one_at_a_time = tenancy::alone();
        let tenants: Vec<_> = {
            let running = self.collector.running();
            let base = base(&running.config);
            let tenants = running.config.tenants.iter();
            tenants.map(|tenant| (tenant.name.clone(), tenant.value.folder(base), tenant.value.files.clone())).collect()
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|name, _| tenants.iter().any(|(tenant, ..)| tenant == name));
        for (tenant, folder, files) in tenants {
            let found = tenants::look(&folder);
            if !is_asked && refused.get(&tenant) == Some(&found) {
                continue;
            }
            let outcome = match &found {
                Ok(found) => self.take_up(&tenant, &files, found.files.clone()),
                Err(problem) => Err(problem.clone()),
            };
            match outcome {
                Ok(()) => drop(refused.remove(&tenant)),
                Err(error) => {
                    error!(tenant, error, "folder not taken up, the tenant's plugins go on");
                    refused.insert(tenant, found);
                }
            }
        }
    }

    /// Takes up what is in the folder of a tenant, if that is something else than what runs.
    fn take_up(&self, tenant: &str, runs: &Files, mut files: Files) -> Result<(), String> {
        for (file, why) in &files.refused {
            if runs.refused.get(file) != Some(why) {
                warn!(tenant, file, why, "file of a tenant refused");
            }
            // What was put in its place is not taken up; what runs is not taken away for it.
            if runs.plugins.contains(file) {
                files.plugins.insert(file.clone());
            }
        }
        if files == *runs {
            return Ok(());
        }
        let changed = self.collector.take_up(tenant, files).map_err(|failure| chain(&failure))?;
        info!(tenant, %changed, "folder taken up");
        Ok(())
    }

    fn look(&self, is_asked: bool) {
        if is_asked {
            self.reload();
        }
        self.folders(is_asked);
        let refused = self.refused_stages();
        for RunningStage { name: stage, loaded, .. } in &self.collector.stages() {
            if refused.contains(stage) {
                continue;
            }
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
