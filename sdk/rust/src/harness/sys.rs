//! What `guest` is in a component: calls to the host, answered by the harness of this thread.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

pub(crate) use super::groups::{
    group, group_counts, group_of_rows, group_sums, keep_groups, numbers_at, route_groups, texts_at,
};
use super::kernels::numbers;
pub(crate) use super::kernels::{fill, sum, test, test_all, test_in, test_prefix, truncate};
use super::lookup_into::{Memo, complain};
use super::state::{Filled, State};
use super::{KeySource, TableSource};
use crate::services::Level;
use crate::{Alert, ColumnId, Reason, Width};

thread_local! {
    // Outside of a harness it is empty: there is no batch, and nothing to open.
    static CURRENT: RefCell<State> = RefCell::default();
}

/// Puts the harness's state in place for one call, and back even if the call panics.
struct Inside<'a>(&'a mut State);

impl Inside<'_> {
    fn swap(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.0));
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.swap();
    }
}

pub(super) fn with_state<R>(state: &mut State, call: impl FnOnce() -> R) -> R {
    let mut inside = Inside(state);
    inside.swap();
    call()
}

pub(super) fn with<R>(call: impl FnOnce(&mut State) -> R) -> R {
    CURRENT.with_borrow_mut(call)
}

/// Numbers by the kind of column that holds them.
pub trait Number: Sized {
    /// Reads a column.
    fn get(column: ColumnId) -> Result<Vec<Self>, Reason>;
    /// Replaces a column.
    fn set(column: ColumnId, values: &[Self]) -> Result<(), Reason>;
    /// A column of these numbers.
    fn values(values: Vec<Self>) -> Filled;
    /// The numbers of a column, if it is of these.
    fn of(values: &Filled) -> Option<&[Self]>;
}

macro_rules! numbers {
    ($($type:ty, $kind:ident;)*) => {$(
        impl Number for $type {
            fn get(column: ColumnId) -> Result<Vec<$type>, Reason> {
                with(|state| match state.read(column)? {
                    Filled::$kind(values) => Ok(values.clone()),
                    _ => Err(state.wrong_width(column)),
                })
            }

            fn set(column: ColumnId, values: &[$type]) -> Result<(), Reason> {
                with(|state| {
                    match state.write(column, Width::$kind, values.len())? {
                        Some(Filled::$kind(buffer)) => {
                            buffer.clear();
                            buffer.extend_from_slice(values);
                        }
                        slot => *slot = Some(Filled::$kind(values.to_vec())),
                    }
                    Ok(())
                })
            }

            fn values(values: Vec<$type>) -> Filled {
                Filled::$kind(values)
            }

            fn of(values: &Filled) -> Option<&[$type]> {
                match values {
                    Filled::$kind(values) => Some(values),
                    _ => None,
                }
            }
        }
    )*};
}

numbers! {
    u8, U8;
    u16, U16;
    u32, U32;
    u64, U64;
}

pub(crate) fn column_of(name: &str) -> Option<ColumnId> {
    with(|state| state.column_of(name))
}

pub(crate) fn rows() -> u32 {
    with(|state| if state.in_process { state.rows as u32 } else { 0 })
}

pub(crate) fn id() -> u64 {
    with(|state| state.id)
}

pub(crate) fn now_ms() -> u64 {
    with(|state| state.now_ms)
}

pub(crate) fn has(column: ColumnId) -> bool {
    with(|state| state.read(column).is_ok())
}

pub(crate) fn texts(column: ColumnId) -> Result<(Vec<String>, Vec<u32>), Reason> {
    with(|state| match state.read(column)? {
        Filled::Text(words, codes) => Ok((words.clone(), codes.clone())),
        _ => Err(state.wrong_width(column)),
    })
}

pub(crate) fn lists(column: ColumnId) -> Result<(Vec<u32>, Vec<u32>), Reason> {
    with(|state| match state.read(column)? {
        Filled::Lists(offsets, values) => Ok((offsets.clone(), values.clone())),
        _ => Err(state.wrong_width(column)),
    })
}

pub(crate) fn set_texts(column: ColumnId, words: &[String], codes: &[u32]) -> Result<(), Reason> {
    with(|state| {
        let slot = state.write(column, Width::Text, codes.len())?;
        if codes.iter().any(|code| *code as usize >= words.len()) {
            return Err(Reason::OutOfRange);
        }
        *slot = Some(Filled::Text(words.to_vec(), codes.to_vec()));
        Ok(())
    })
}

pub(crate) fn set_lists(column: ColumnId, offsets: &[u32], values: &[u32]) -> Result<(), Reason> {
    with(|state| {
        let slot = state.write(column, Width::Lists, offsets.len().saturating_sub(1))?;
        let ends = offsets.first() == Some(&0) && offsets.last().is_some_and(|last| *last as usize == values.len());
        if !ends || !offsets.is_sorted() {
            return Err(Reason::OutOfRange);
        }
        *slot = Some(Filled::Lists(offsets.to_vec(), values.to_vec()));
        Ok(())
    })
}

pub(crate) fn clear(column: ColumnId) -> Result<(), Reason> {
    with(|state| state.clear(column))
}

/// The rows of the batch, for calls that need one.
pub(super) fn rows_in_process(state: &State) -> Result<usize, Reason> {
    if state.in_process { Ok(state.rows) } else { Err(Reason::NoBatch) }
}

pub(crate) fn keep(words: &[u32]) -> Result<(), Reason> {
    with(|state| {
        check_bitmap(rows_in_process(state)?, words)?;
        state.keep = Some(words.to_vec());
        Ok(())
    })
}

pub(super) fn check_bitmap(rows: usize, words: &[u32]) -> Result<(), Reason> {
    let expected = rows.div_ceil(32);
    if words.len() == expected { Ok(()) } else { Err(Reason::WrongLength(expected as u32)) }
}

pub(crate) fn route(names: &[String], index: &[u16]) -> Result<(), Reason> {
    route_rows(names, index.to_vec())
}

pub(super) fn route_rows(names: &[String], index: Vec<u16>) -> Result<(), Reason> {
    with(|state| {
        let rows = rows_in_process(state)?;
        if index.len() != rows {
            return Err(Reason::WrongLength(rows as u32));
        }
        if index.iter().any(|at| usize::from(*at) >= names.len()) {
            return Err(Reason::OutOfRange);
        }
        state.route = Some((names.to_vec(), index));
        Ok(())
    })
}

pub(crate) fn log(level: Level, message: &str) {
    with(|state| state.lines.push((level, message.to_owned())));
}

pub(crate) fn count(name: &str, add: u32) {
    with(|state| match state.counters.get_mut(name) {
        Some(counter) => *counter += u64::from(add),
        None => drop(state.counters.insert(name.to_owned(), add.into())),
    });
}

pub(crate) fn gauge(name: &str, value: f64) {
    with(|state| match state.gauges.get_mut(name) {
        Some(gauge) => *gauge = value,
        None => drop(state.gauges.insert(name.to_owned(), value)),
    });
}

pub(crate) fn emit(alert: &Alert) {
    with(|state| state.alerts.push(alert.clone()));
}

pub(crate) fn asset(name: &str) -> Result<Vec<u8>, String> {
    with(|state| state.assets.get(name).cloned().ok_or_else(|| format!("there is no asset `{name}`")))
}

fn pair(state: &State, hi: ColumnId, lo: ColumnId) -> Result<(Vec<u64>, Vec<u64>), Reason> {
    let half = |column| match state.read(column) {
        Ok(Filled::U64(values)) => Ok(Some(values.clone())),
        Ok(_) => Err(state.wrong_width(column)),
        Err(Reason::Absent) => Ok(None),
        Err(reason) => Err(reason),
    };
    match (half(hi)?, half(lo)?) {
        (None, None) => Err(Reason::Absent),
        (high, low) => Ok((high.unwrap_or_else(|| vec![0; state.rows]), low.unwrap_or_else(|| vec![0; state.rows]))),
    }
}

/// A table of the harness.
pub(crate) struct Table {
    name: String,
    source: Rc<dyn TableSource>,
    memo: RefCell<Memo>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl Table {
    pub(crate) fn open(name: &str) -> Result<Table, String> {
        with(|state| {
            let source = state.tables.get(name).map(Rc::clone).ok_or_else(|| format!("there is no table `{name}`"))?;
            Ok(Table { name: name.to_owned(), source, memo: RefCell::default() })
        })
    }

    pub(crate) fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32> {
        self.source.lookup(hi, lo)
    }

    pub(crate) fn lookup_columns(&self, hi: ColumnId, lo: ColumnId) -> Result<Vec<u32>, Reason> {
        if self.source.lookup_addressed(&[], &[], &[]).is_some() {
            return with(|state| self.lookup_keys(state, hi, lo));
        }
        with(|state| {
            if hi == 0 {
                return Err(state.wrong_width(lo));
            }
            // The usual case, without a copy: the host does not make one either.
            if let (Ok(Filled::U64(hi)), Ok(Filled::U64(lo))) = (state.read(hi), state.read(lo)) {
                return Ok(self.source.lookup(hi, lo));
            }
            let (hi, lo) = pair(state, hi, lo)?;
            Ok(self.source.lookup(&hi, &lo))
        })
    }

    pub(crate) fn lookup_into(
        &self,
        hi: ColumnId,
        lo: ColumnId,
        into: ColumnId,
        only: Option<&[u32]>,
        keep: bool,
    ) -> Result<(), Reason> {
        let codes = self.lookup_columns(hi, lo)?;
        with(|state| {
            let misfit = self.memo.borrow_mut().write(state, &*self.source, codes, (into, only, keep))?;
            if let Some(value) = misfit {
                complain(state, &self.name, into, &value);
            }
            Ok(())
        })
    }

    /// As the host does it: 0 is no column, and the high half of an address stands for all of it beside anything but its low half.
    fn lookup_keys(&self, state: &State, hi: ColumnId, lo: ColumnId) -> Result<Vec<u32>, Reason> {
        let read = |column| {
            let mut values = Vec::with_capacity(state.rows);
            numbers(state, column, |value| values.push(value))?;
            Ok((values, matches!(state.read(column), Err(Reason::Absent))))
        };
        let (last, is_last_absent) = read(lo)?;
        let address = crate::columns::ADDRESSES.iter().find(|address| address.hi.id() == hi && address.lo.id() != lo);
        let (codes, is_absent) = match address {
            None if hi == 0 => (self.source.lookup(&vec![0; state.rows], &last), is_last_absent),
            None => {
                let (first, is_absent) = read(hi)?;
                (self.source.lookup(&first, &last), is_absent && is_last_absent)
            }
            Some(address) => {
                let ((high, is_high_absent), (low, is_low_absent)) = (read(hi)?, read(address.lo.id())?);
                let codes = self.source.lookup_addressed(&high, &low, &last).unwrap_or_default();
                (codes, is_high_absent && is_low_absent && is_last_absent)
            }
        };
        if is_absent && self.source.lookup(&[0], &[0]) == [0] { Err(Reason::Absent) } else { Ok(codes) }
    }

    pub(crate) fn value(&self, code: u32) -> Option<String> {
        self.source.value(code)
    }

    pub(crate) fn codes(&self) -> u32 {
        self.source.codes()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.source.generation()
    }
}

/// A key of the harness.
pub(crate) struct Key(Rc<dyn KeySource>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub(crate) fn open(name: &str) -> Result<Key, String> {
        with(|state| state.keys.get(name).map(Rc::clone).map(Key).ok_or_else(|| format!("there is no key `{name}`")))
    }

    pub(crate) fn prefix_preserving(&self, hi: ColumnId, lo: ColumnId) -> Result<(), Reason> {
        self.replace(hi, lo, |key, hi, lo| key.prefix_preserving(hi, lo))
    }

    pub(crate) fn keyed_hash(&self, hi: ColumnId, lo: ColumnId) -> Result<(), Reason> {
        self.replace(hi, lo, |key, hi, lo| key.keyed_hash(hi, lo))
    }

    fn replace(
        &self,
        hi: ColumnId,
        lo: ColumnId,
        change: impl FnOnce(&dyn KeySource, &mut [u64], &mut [u64]),
    ) -> Result<(), Reason> {
        let (mut high, mut low) = with(|state| pair(state, hi, lo))?;
        change(&*self.0, &mut high, &mut low);
        u64::set(hi, &high)?;
        u64::set(lo, &low)
    }

    pub(crate) fn prf(&self, hi: &[u64], lo: &[u64]) -> Vec<u64> {
        self.0.prf(hi, lo)
    }
}
