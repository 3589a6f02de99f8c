//! What joined tables found in this call.

use std::sync::Arc;

use crate::state::AddressPair;
use crate::tables::{Joint, Table};

/// Address columns of which regions are remembered; a batch has eight.
const PAIRS: usize = 8;

/// Regions of the addresses that were looked up in this call. Tables of which one is asked after the other, as an enricher
/// does, share the way through the tree.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    joint: Option<Arc<Joint>>,
    found: Vec<(AddressPair, Vec<u32>)>,
    /// Room for the next.
    spare: Vec<Vec<u32>>,
}

impl Regions {
    /// Begins a call, with the tables that are joined now.
    pub(crate) fn begin(&mut self, joint: Option<Arc<Joint>>) {
        self.end();
        self.joint = joint;
    }

    /// Ends a call: lets go of columns, which go on to the next stage and are changed there.
    pub(crate) fn end(&mut self) {
        self.spare.extend(self.found.drain(..).map(|(_, regions)| regions));
    }

    /// Codes of the addresses in a table, appended to `codes`.
    pub(crate) fn lookup(&mut self, table: &Table, addresses: AddressPair, codes: &mut Vec<u32>) {
        let Regions { joint, found, spare } = self;
        let Some(joint) = joint.as_deref().filter(|joint| joint.has(table)) else {
            return table.lookup_all(&addresses.0, &addresses.1, codes);
        };
        // Whatever has the same values; a plugin may have written others meanwhile.
        let is_same =
            |(known, _): &(AddressPair, _)| Arc::ptr_eq(&known.0, &addresses.0) && Arc::ptr_eq(&known.1, &addresses.1);
        let at = found.iter().position(is_same).unwrap_or_else(|| {
            if found.len() == PAIRS {
                spare.extend(found.pop().map(|(_, regions)| regions));
            }
            let mut regions = spare.pop().unwrap_or_default();
            regions.clear();
            joint.regions_of(&addresses.0, &addresses.1, &mut regions);
            found.push((addresses, regions));
            found.len() - 1
        });
        joint.codes_of(table, &found[at].1, codes);
    }
}
