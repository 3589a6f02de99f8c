//! Rows that a sink has taken, and of which something else decides whether they arrive: a transaction.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Account;

/// Reason under which rows are dropped whose transaction did not come to be.
const TAKEN_BACK: &str = "taken_back";

/// Rows of the open transaction, by sink. Until it has ended they are neither delivered nor dropped; what is left when nobody
/// holds this any more was not delivered.
#[derive(Clone, Debug, Default)]
pub struct Provisional(Arc<Rows>);

#[derive(Debug, Default)]
struct Rows(Mutex<Vec<(Arc<Account>, usize)>>);

impl Provisional {
    /// Counts them as delivered: the transaction was committed.
    pub fn delivered(&self) {
        for (account, rows) in self.0.take() {
            account.rows_out(rows);
        }
    }

    /// Counts them as dropped under `taken_back`: a source that can give them again does.
    pub fn taken_back(&self) {
        self.0.drop_all();
    }

    pub(crate) fn add(&self, account: &Arc<Account>, rows: usize) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|(known, _)| Arc::ptr_eq(known, account)) {
            Some((_, known)) => *known += rows,
            None => all.push((Arc::clone(account), rows)),
        }
    }
}

impl Rows {
    fn take(&self) -> Vec<(Arc<Account>, usize)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn drop_all(&self) {
        for (account, rows) in self.take() {
            account.dropped(TAKEN_BACK, rows);
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.drop_all();
    }
}
