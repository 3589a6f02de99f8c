//! What joined tables found out about the addresses of a batch.

use std::cell::RefCell;
use std::sync::Arc;

use sluice_flow::{Batch, Column, ColumnId, Finding};

use crate::state::AddressPair;
use crate::tables::{Joint, Table};

/// Columns of addresses of which regions are remembered in a call; a batch has eight.
const PAIRS: usize = 8;

/// Regions of the addresses that were looked up in a call. Tables of which one is asked after the other, as an enricher does, share the way
/// through the tree, and so do stages that come after each other.
#[derive(Debug, Default)]
pub(crate) struct Regions(RefCell<Vec<Regional>>);

#[derive(Debug)]
struct Regional {
    columns: [ColumnId; 2],
    /// The columns as they were: a plugin may write others meanwhile.
    addresses: AddressPair,
    joint: Arc<Joint>,
    regions: Arc<Vec<u32>>,
}

impl Regions {
    /// Codes in a table of the addresses that two columns hold, appended to `codes`. `joint` is what the plugin's tables are
    /// joined to, `batch` the one that it works on.
    pub(crate) fn lookup(
        &self,
        (table, joint): (&Table, Option<&Arc<Joint>>),
        batch: &Batch,
        columns: [ColumnId; 2],
        addresses: AddressPair,
        codes: &mut Vec<u32>,
    ) {
        // By an earlier stage.
        if is_as_it_came(batch, columns, &addresses) {
            let known = batch.findings(columns).find_map(|finding| {
                let joint = finding.by.downcast_ref::<Joint>().filter(|joint| joint.has(table))?;
                Some((joint, &finding.numbers))
            });
            if let Some((joint, regions)) = known {
                return joint.codes_of(table, regions, codes);
            }
        }
        let Some(joint) = joint.filter(|joint| joint.has(table)) else {
            return table.lookup_all(&addresses.0, &addresses.1, codes);
        };
        let mut known = self.0.borrow_mut();
        let at = known.iter().position(|known| is_same(&known.addresses, &addresses)).unwrap_or_else(|| {
            if known.len() == PAIRS {
                known.pop().into_iter().for_each(|known| known.recycle(batch));
            }
            let mut regions = batch.pool().u32s();
            regions.reserve_exact(addresses.0.len());
            joint.regions_of(&addresses.0, &addresses.1, &mut regions);
            known.push(Regional { columns, addresses, joint: Arc::clone(joint), regions: Arc::new(regions) });
            known.len() - 1
        });
        joint.codes_of(table, &known[at].regions, codes);
    }

    /// Leaves what was found out with the batch, for later stages, as far as the columns are still the same.
    pub(crate) fn leave_with(self, batch: &mut Batch) {
        for known in self.0.into_inner() {
            let Regional { columns, addresses, joint, regions } = known;
            if is_as_it_came(batch, columns, &addresses) {
                batch.remember(Finding { columns, by: joint, numbers: regions });
            } else {
                batch.pool().recycle([Column::U32(regions)].into_iter());
            }
        }
    }
}

impl Regional {
    fn recycle(self, batch: &Batch) {
        batch.pool().recycle([Column::U32(self.regions)].into_iter());
    }
}

fn is_same(one: &AddressPair, other: &AddressPair) -> bool {
    Arc::ptr_eq(&one.0, &other.0) && Arc::ptr_eq(&one.1, &other.1)
}

/// Whether these are the addresses that the batch itself has in the columns.
fn is_as_it_came(batch: &Batch, columns: [ColumnId; 2], addresses: &AddressPair) -> bool {
    let is_in = |column, values| matches!(batch.column(column), Some(Column::U64(own)) if Arc::ptr_eq(own, values));
    is_in(columns[0], &addresses.0) && is_in(columns[1], &addresses.1)
}
