//! The reducer: drops columns and anonymises addresses.
//!
//! It fails closed. A refused call of any kind ends the batch as [`Failure::Fatal`], so that no row
//! goes on with an address that should have been anonymised or a column that should be gone.

mod anonymize;
mod config;

use sluice_sdk::{Batch, ColumnId, Failure, Manifest, Plugin};

use anonymize::Task;
pub use config::{Config, Mode, PerField};

/// The plugin.
#[derive(Debug, Default)]
pub struct Reducer {
    /// Columns to clear, ascending.
    clear: Vec<ColumnId>,
    tasks: Vec<Task>,
}

impl Plugin for Reducer {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        let plan = sluice_sdk::config::parse::<Config>(config)?.plan()?;
        for id in &plan.clear {
            manifest.write(*id);
        }
        self.clear = plan.clear;
        self.tasks.clear();
        for (address, how) in plan.anonymize {
            for half in [address.hi, address.lo] {
                manifest.read(half).write(half);
            }
            for record in [address.anon, address.preserved] {
                manifest.read(record).write(record);
            }
            self.tasks.push(Task::open(address, how)?);
        }
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        for id in &self.clear {
            batch.clear(*id)?;
        }
        for task in &self.tasks {
            task.run(batch)?;
        }
        Ok(())
    }
}

sluice_sdk::export!(Reducer);
