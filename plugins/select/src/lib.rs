//! Select: keeps the rows of some customers or prefixes, and drops all others.
//!
//! The loops over rows run in the host (`kernels`): the plugin only says what to look for and joins the answers.

mod config;

use sluice_sdk::{Batch, Bitmap, Failure, Manifest, Plugin, columns, kernels};

pub use config::Config;
use config::Plan;

const CUSTOMERS: [sluice_sdk::Column<u32>; 3] =
    [columns::CUSTOMER_ID, columns::SRC_CUSTOMER_ID, columns::DST_CUSTOMER_ID];
const ADDRESSES: [sluice_sdk::Address; 2] = [columns::SRC_ADDR, columns::DST_ADDR];

/// The plugin.
#[derive(Debug, Default)]
pub struct Select {
    plan: Plan,
}

impl Plugin for Select {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        self.plan = sluice_sdk::config::parse::<Config>(config)?.plan()?;
        if !self.plan.customers.is_empty() {
            manifest.read(CUSTOMERS[0]).read(CUSTOMERS[1]).read(CUSTOMERS[2]);
        }
        if !self.plan.prefixes.is_empty() {
            manifest.read(ADDRESSES[0]).read(ADDRESSES[1]);
        }
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut kept = Bitmap::none(batch.rows());
        if !self.plan.customers.is_empty() {
            for column in CUSTOMERS {
                kept = kept.or(&kernels::test_in(batch, column, &self.plan.customers)?);
            }
        }
        for (value, bits) in &self.plan.prefixes {
            for address in ADDRESSES {
                kept = kept.or(&kernels::test_prefix(batch, address, *value, *bits)?);
            }
        }
        if !kept.is_all() {
            batch.keep(&kept)?;
        }
        Ok(())
    }
}

sluice_sdk::export!(Select);
