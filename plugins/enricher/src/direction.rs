//! Direction and remote side.

use sluice_sdk::kernels::{self, Cmp};
use sluice_sdk::{Address, Batch, Denied, Table, columns};

use crate::config::DirectionMode;
use crate::memo;

/// Values of the columns `direction` and `remote_side`.
const UNKNOWN: u8 = 0;
const IN: u8 = 1;
const OUT: u8 = 2;
const THROUGH: u8 = 3;
const INSIDE: u8 = 4;
pub(crate) const REMOTE_SOURCE: u8 = 1;
pub(crate) const REMOTE_DESTINATION: u8 = 2;

/// What decides, and on what ground.
#[derive(Debug)]
pub(crate) enum Decider {
    /// `flow_direction`, by its value (0 not exported, 1 ingress, 2 egress).
    Exported([u8; 3]),
    /// A table of local prefixes.
    Local(Table),
}

/// Codes of source and destination in a table, one of each per row.
pub(crate) type SideCodes = [Vec<u32>; 2];

/// Direction and remote side of each row.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) direction: Vec<u8>,
    pub(crate) remote: Vec<u8>,
    /// Codes in the table of local prefixes, if it decided.
    pub(crate) codes: Option<SideCodes>,
}

impl Decider {
    pub(crate) fn open(mode: DirectionMode, table: Option<&str>) -> Result<Decider, String> {
        match (mode, table) {
            (DirectionMode::User, _) => Ok(Decider::Exported([UNKNOWN, OUT, IN])),
            (DirectionMode::Prefixes, Some(name)) => {
                Ok(Decider::Local(memo::open("direction.table", name, memo::ADDRESS)?))
            }
            (DirectionMode::Border | DirectionMode::Prefixes, _) => Ok(Decider::Exported([UNKNOWN, IN, OUT])),
        }
    }

    /// Decides for every row; unknown where what it needs is absent.
    pub(crate) fn decide(&self, batch: &Batch) -> Result<Sides, Denied> {
        let (direction, codes) = match self {
            Decider::Exported(directions) => {
                let mut column = batch.get_or_zero(columns::FLOW_DIRECTION)?;
                for value in &mut column {
                    *value = directions.get(usize::from(*value)).copied().unwrap_or(UNKNOWN);
                }
                (column, None)
            }
            Decider::Local(table) => by_prefixes(table, batch)?,
        };
        let remote = remote_sides(&direction);
        Ok(Sides { direction, remote, codes })
    }
}

fn by_prefixes(table: &Table, batch: &Batch) -> Result<(Vec<u8>, Option<SideCodes>), Denied> {
    let src = table.find_columns(batch, columns::SRC_ADDR)?;
    let dst = table.find_columns(batch, columns::DST_ADDR)?;
    let (Some(src), Some(dst)) = (src, dst) else { return Ok((vec![UNKNOWN; batch.rows()], None)) };
    let mut direction = directions(&src, &dst);
    // Without an address (a frame that is not IP) a side is not remote but nowhere.
    for address in [columns::SRC_ADDR, columns::DST_ADDR] {
        blank_absent(batch, address, &mut direction)?;
    }
    Ok((direction, Some([src, dst])))
}

fn blank_absent(batch: &Batch, address: Address, direction: &mut [u8]) -> Result<(), Denied> {
    let lo = kernels::test(batch, address.lo, Cmp::Eq, 0)?;
    // Hardly any address ends in 64 zero bits: mostly one column is enough to know.
    if lo.count() == 0 {
        return Ok(());
    }
    for row in lo.and(&kernels::test(batch, address.hi, Cmp::Eq, 0)?).iter() {
        if let Some(direction) = direction.get_mut(row) {
            *direction = UNKNOWN;
        }
    }
    Ok(())
}

#[inline(never)]
fn directions(src: &[u32], dst: &[u32]) -> Vec<u8> {
    let mut directions = vec![UNKNOWN; src.len().min(dst.len())];
    for ((direction, src), dst) in directions.iter_mut().zip(src).zip(dst) {
        let from_inside = if *dst != 0 { INSIDE } else { OUT };
        let from_outside = if *dst != 0 { IN } else { THROUGH };
        *direction = if *src != 0 { from_inside } else { from_outside };
    }
    directions
}

/// Who is outside: the sender of what comes in, the receiver of what goes out.
#[inline(never)]
fn remote_sides(directions: &[u8]) -> Vec<u8> {
    let mut remote = directions.to_vec();
    for side in &mut remote {
        let not_in = if *side == OUT { REMOTE_DESTINATION } else { 0 };
        *side = if *side == IN { REMOTE_SOURCE } else { not_in };
    }
    remote
}
