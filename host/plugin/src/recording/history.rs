//! The calls of an instance since its state was last known.

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_flow::{Batch, ColumnSet};

use super::{MAX_HISTORY_BYTES, MAX_HISTORY_CALLS, Recorded};

/// What has to be done again to bring another instance to where this one is.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Whether a call depends on those before it.
    is_stateful: bool,
    /// State that the calls follow; none: the instance had just started.
    pub(super) snapshot: Option<Arc<Vec<u8>>>,
    pub(super) calls: VecDeque<Recorded>,
    bytes: usize,
    pub(super) left_out: u64,
}

impl History {
    /// Begins anew: the instance has the state of `snapshot`, or none.
    pub(crate) fn begin(&mut self, snapshot: Option<Arc<Vec<u8>>>, is_stateful: bool) {
        *self = History { is_stateful, snapshot, ..History::default() };
    }

    /// Notes a call of `process`, with the columns that the plugin may read.
    pub(crate) fn process(&mut self, batch: &Batch, readable: &ColumnSet) {
        self.push(Recorded::Process(narrow(batch, readable)));
    }

    /// Notes a call of `tick`.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.push(Recorded::Tick(now_ms));
    }

    fn push(&mut self, call: Recorded) {
        if !self.is_stateful {
            self.calls.clear();
            self.bytes = 0;
        }
        self.bytes += bytes(&call);
        self.calls.push_back(call);
        while self.calls.len() > 1 && self.is_over() {
            let oldest = self.calls.pop_front().expect("there is more than one");
            self.bytes -= bytes(&oldest);
            self.left_out += 1;
        }
    }

    fn is_over(&self) -> bool {
        self.bytes > MAX_HISTORY_BYTES || self.calls.len() > MAX_HISTORY_CALLS
    }

    /// Whether it is time for a snapshot, so that nothing has to be left out.
    pub(crate) fn is_filling(&self) -> bool {
        self.bytes > MAX_HISTORY_BYTES / 2 || self.calls.len() > MAX_HISTORY_CALLS / 2
    }
}

fn bytes(call: &Recorded) -> usize {
    match call {
        Recorded::Process(batch) => batch.bytes(),
        Recorded::Tick(_) => 0,
    }
}

/// The batch as the plugin sees it. Columns are shared, not copied.
fn narrow(batch: &Batch, readable: &ColumnSet) -> Batch {
    let mut seen = Batch::new(Arc::clone(batch.schema()), batch.pool().clone(), batch.rows());
    seen.stamp(batch.id(), batch.now_ms());
    for (number, column) in batch.columns().filter(|(number, _)| readable.contains(*number)) {
        seen.set(number, column.clone()).expect("it fits the other batch");
    }
    seen
}

#[cfg(test)]
mod tests {
    use sluice_flow::{Column, Pool, Schema, col};

    use super::*;

    fn batch(rows: usize) -> Batch {
        let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows);
        batch.set(col::BYTES, Column::U64(Arc::new(vec![1; rows]))).unwrap();
        batch.set(col::PACKETS, Column::U64(Arc::new(vec![1; rows]))).unwrap();
        batch
    }

    #[test]
    fn what_has_no_room_is_left_out_and_counted_oldest_first() {
        let readable = [col::BYTES].into_iter().collect();
        let mut history = History::default();
        history.begin(None, true);
        let rows = MAX_HISTORY_BYTES / 8 / 4;
        (0..4).for_each(|_| history.process(&batch(rows), &readable));
        assert_eq!((history.calls.len(), history.left_out, history.is_filling()), (4, 0, true));
        history.process(&batch(rows), &readable);
        assert_eq!((history.calls.len(), history.left_out), (4, 1));
        (0..MAX_HISTORY_CALLS as u64).for_each(|now_ms| history.tick(now_ms));
        assert_eq!((history.calls.len(), history.left_out), (MAX_HISTORY_CALLS, 5));
        history.process(&batch(2 * MAX_HISTORY_BYTES / 8), &readable);
        assert_eq!(history.calls.len(), 1, "the call itself is never left out");
    }

    #[test]
    fn only_the_last_call_counts_without_state_and_only_readable_columns_are_held() {
        let mut history = History::default();
        history.begin(None, false);
        (0..3).for_each(|_| history.process(&batch(2), &[col::BYTES].into_iter().collect()));
        assert_eq!((history.calls.len(), history.left_out), (1, 0));
        let Some(Recorded::Process(held)) = history.calls.back() else { panic!("a batch") };
        assert!(held.has(col::BYTES) && !held.has(col::PACKETS));
    }
}
