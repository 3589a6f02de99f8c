//! A few rows of numbers on their way into columns.

use crate::ColumnId;

/// Rows that are collected: those of 30 columns are half of a first-level cache.
const ROWS: usize = 64;

/// Numbers of up to 64 rows at the end of a batch that is being filled, and of the row behind them.
///
/// Everything that is not set is zero, at all times.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    lanes: Vec<[u64; ROWS]>,
    /// Whose lanes they are.
    columns: Vec<ColumnId>,
    /// Place in `lanes` by column, plus one; 0 where there is none.
    places: Vec<u16>,
    rows: usize,
    /// Whether the next row has anything.
    is_begun: bool,
}

impl Stage {
    /// Sets a number of the next row, or returns that the column is not there yet.
    #[inline(always)]
    pub(crate) fn set(&mut self, column: ColumnId, value: u64) -> bool {
        let place = self.places.get(usize::from(column)).copied().unwrap_or(0);
        match self.lanes.get_mut(usize::from(place).wrapping_sub(1)) {
            Some(lane) => {
                lane[self.rows % ROWS] = value;
                self.is_begun = true;
                true
            }
            None => false,
        }
    }

    /// Makes a place for a column.
    #[cold]
    pub(crate) fn open(&mut self, column: ColumnId) {
        if self.places.len() <= usize::from(column) {
            self.places.resize(usize::from(column) + 1, 0);
        }
        self.lanes.push([0; ROWS]);
        self.columns.push(column);
        self.places[usize::from(column)] = self.lanes.len() as u16;
    }

    /// Rows that are complete.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there is nothing in it.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        self.rows == 0 && !self.is_begun
    }

    /// Makes one more row complete, and returns whether they have to go now.
    #[inline(always)]
    pub(crate) fn advance(&mut self) -> bool {
        self.is_begun = false;
        self.rows += 1;
        self.rows >= ROWS
    }

    /// Takes back the last `n` rows and the one behind them.
    pub(crate) fn truncate(&mut self, n: usize) {
        let rows = self.rows.saturating_sub(n);
        for lane in &mut self.lanes {
            lane[rows..].fill(0);
        }
        self.rows = rows;
        self.is_begun = false;
    }

    /// The columns that have anything but zeros in the complete rows, those, and all of them or-ed.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (ColumnId, &[u64], u64)> {
        let lanes = self.columns.iter().zip(&self.lanes).map(|(column, lane)| (*column, &lane[..self.rows]));
        let lanes = lanes.map(|(column, values)| (column, values, values.iter().fold(0, |any, value| any | value)));
        lanes.filter(|(_, _, any)| *any != 0)
    }

    /// Forgets the complete rows; the row behind them becomes the first.
    pub(crate) fn restart(&mut self) {
        if self.rows == 0 {
            return;
        }
        for lane in &mut self.lanes {
            let next = lane.get(self.rows).copied().unwrap_or(0);
            lane.fill(0);
            lane[0] = next;
        }
        self.rows = 0;
    }
}
