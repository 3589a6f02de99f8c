//! `kernels.group` of the harness, and what is asked of the groups.

use std::borrow::Cow;
use std::collections::HashMap;

use super::kernels::numbers;
use super::state::{Filled, State};
use super::sys::{check_bitmap, keep, route_rows, rows_in_process, with};
use crate::{ColumnId, Reason, Width};

/// Columns of one grouping.
const COLUMNS: usize = 8;

/// The rows by group.
#[derive(Debug, Default)]
pub(crate) struct Grouping {
    of_rows: Vec<u32>,
    firsts: Vec<u32>,
    has_rest: bool,
    numbers: Numbers<u64>,
    pairs: Numbers<(u64, u64)>,
}

impl Grouping {
    fn count(&self) -> usize {
        self.firsts.len() + usize::from(self.has_rest)
    }

    /// Splits the groups by one more value of each row.
    fn split<T: Copy + Into<u64>>(&mut self, values: &[T]) {
        if self.firsts.len() <= 1 {
            let Grouping { of_rows, firsts, numbers, .. } = self;
            return split(of_rows, firsts, self.has_rest, numbers, values.iter().map(|value| (*value).into()));
        }
        let before = self.of_rows.clone();
        self.split_by_pairs(values.iter().zip(before).map(|(value, group)| ((*value).into(), u64::from(group))));
    }

    fn split_by_pairs(&mut self, pairs: impl Iterator<Item = (u64, u64)>) {
        split(&mut self.of_rows, &mut self.firsts, self.has_rest, &mut self.pairs, pairs);
    }
}

fn split<K: Key>(
    of_rows: &mut [u32],
    firsts: &mut Vec<u32>,
    has_rest: bool,
    numbers: &mut Numbers<K>,
    keys: impl Iterator<Item = K>,
) {
    let rest = if has_rest { firsts.len() as u32 } else { u32::MAX };
    numbers.clear();
    firsts.clear();
    for (row, (group, key)) in of_rows.iter_mut().zip(keys).enumerate() {
        let known = numbers.keys.len();
        *group = if *group == rest { u32::MAX } else { numbers.number(key) };
        if numbers.keys.len() > known {
            firsts.push(row as u32);
        }
    }
    if has_rest {
        let rest = firsts.len() as u32;
        of_rows.iter_mut().for_each(|group| *group = (*group).min(rest));
    }
}

trait Key: Copy + PartialEq {
    fn hash(self) -> u64;
}

impl Key for u64 {
    fn hash(self) -> u64 {
        self.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Key for (u64, u64) {
    fn hash(self) -> u64 {
        let product = u128::from(self.0 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(self.1 ^ 0xd6e8_feb8_6659_fd93);
        (product ^ product >> 64) as u64
    }
}

/// Numbers keys in the order in which they come.
#[derive(Debug, Default)]
struct Numbers<K> {
    keys: Vec<K>,
    /// Where a key is found by its hash: its number and 1, or 0.
    places: Vec<u32>,
}

impl<K: Key> Numbers<K> {
    fn clear(&mut self) {
        self.resize((self.keys.len() * 3).next_power_of_two().max(2048));
        self.keys.clear();
    }

    fn resize(&mut self, length: usize) {
        self.places.clear();
        self.places.resize(length, 0);
    }

    #[inline(always)]
    fn number(&mut self, key: K) -> u32 {
        let home = (key.hash() >> 32) as usize & (self.places.len() - 1);
        let number = self.places[home].wrapping_sub(1);
        if self.keys.get(number as usize) == Some(&key) { number } else { self.find_or_add(key, home) }
    }

    #[inline(never)]
    fn find_or_add(&mut self, key: K, home: usize) -> u32 {
        let mut at = home;
        while self.places[at] != 0 {
            if self.keys[self.places[at] as usize - 1] == key {
                return self.places[at] - 1;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
        self.keys.push(key);
        self.places[at] = self.keys.len() as u32;
        if self.keys.len() * 2 > self.places.len() {
            let keys = std::mem::take(&mut self.keys);
            self.resize(self.places.len() * 2);
            for key in keys {
                self.number(key);
            }
        }
        self.keys.len() as u32 - 1
    }
}

pub(crate) fn group(columns: &[ColumnId], only: Option<&[u32]>) -> Result<Vec<u32>, Reason> {
    with(|state| {
        let rows = rows_in_process(state)?;
        if columns.len() > COLUMNS {
            return Err(Reason::OutOfRange);
        }
        if let Some(words) = only {
            check_bitmap(rows, words)?;
        }
        let mut grouping = std::mem::take(&mut state.grouping);
        let sorted = sort(state, &mut grouping, columns, only);
        state.grouping = grouping;
        state.is_grouped = sorted.is_ok();
        sorted.map(|()| state.grouping.firsts.clone())
    })
}

fn sort(state: &State, grouping: &mut Grouping, columns: &[ColumnId], only: Option<&[u32]>) -> Result<(), Reason> {
    let mut filled = Vec::new();
    for column in columns {
        let read = state.read(*column);
        let lists = Reason::WrongWidth(Width::Lists);
        if state.wrong_width(*column) == lists && !matches!(read, Err(Reason::NotGranted | Reason::NoBatch)) {
            return Err(lists);
        }
        match read {
            Ok(values) => filled.push(values),
            Err(Reason::Absent) => {}
            Err(reason) => return Err(reason),
        }
    }
    grouping.has_rest = only.is_some();
    grouping.of_rows.clear();
    grouping.of_rows.resize(state.rows, 0);
    grouping.firsts.clear();
    if let Some(words) = only {
        // Two groups by the bitmap, and the rest is taken for one that has no first row.
        let is_out = |row: usize| words[row / 32] >> (row % 32) & 1 == 0;
        let first = (0..state.rows).find(|row| !is_out(*row));
        grouping.firsts.extend(first.map(|row| row as u32));
        let rest = grouping.firsts.len() as u32;
        grouping.of_rows.iter_mut().enumerate().for_each(|(row, group)| *group = if is_out(row) { rest } else { 0 });
    } else if state.rows > 0 {
        grouping.firsts.push(0);
    }
    let mut filled = filled.as_slice();
    if let [Filled::U64(first), Filled::U64(second), others @ ..] = filled {
        grouping.split_by_pairs(first.iter().copied().zip(second.iter().copied()));
        filled = others;
    }
    for values in filled {
        match values {
            Filled::U8(values) => grouping.split(values),
            Filled::U16(values) => grouping.split(values),
            Filled::U32(values) => grouping.split(values),
            Filled::U64(values) => grouping.split(values),
            Filled::Text(words, codes) => {
                let mut known = HashMap::new();
                let of_words: Vec<u32> =
                    (0..).zip(words).map(|(code, word)| *known.entry(word).or_insert(code)).collect();
                let values: Vec<u32> = codes.iter().map(|code| of_words[*code as usize]).collect();
                grouping.split(&values);
            }
            Filled::Lists(..) => {}
        }
    }
    Ok(())
}

/// Asks the grouping of this call.
fn with_groups<R>(ask: impl FnOnce(&State, &Grouping) -> Result<R, Reason>) -> Result<R, Reason> {
    with(|state| {
        rows_in_process(state)?;
        if state.is_grouped { ask(state, &state.grouping) } else { Err(Reason::Absent) }
    })
}

pub(crate) fn group_of_rows() -> Result<Vec<u32>, Reason> {
    with_groups(|_, groups| Ok(groups.of_rows.clone()))
}

pub(crate) fn group_counts(only: Option<&[u32]>) -> Result<Vec<u32>, Reason> {
    with_groups(|state, groups| {
        let mut counts = vec![0; groups.count()];
        let Some(words) = only else {
            let (eights, rest) = groups.of_rows.as_chunks::<8>();
            eights.iter().for_each(|eight| eight.iter().for_each(|group| counts[*group as usize] += 1));
            rest.iter().for_each(|group| counts[*group as usize] += 1);
            return Ok(counts);
        };
        check_bitmap(state.rows, words)?;
        for (row, group) in groups.of_rows.iter().enumerate() {
            counts[*group as usize] += words[row / 32] >> (row % 32) & 1;
        }
        Ok(counts)
    })
}

pub(crate) fn group_sums(column: ColumnId, times: Option<ColumnId>, only: Option<&[u32]>) -> Result<Vec<u64>, Reason> {
    with_groups(|state, groups| {
        if let Some(words) = only {
            check_bitmap(state.rows, words)?;
        }
        let (values, factors) = (wide(state, column)?, times.map(|times| wide(state, times)).transpose()?);
        let rows = groups.of_rows.iter().zip(&*values);
        Ok(match factors {
            None => add_up(groups, only, rows.map(|(group, value)| (*group, *value))),
            Some(factors) => {
                let rows = rows.zip(&*factors);
                add_up(groups, only, rows.map(|((group, value), factor)| (*group, value.saturating_mul(*factor))))
            }
        })
    })
}

fn add_up(groups: &Grouping, only: Option<&[u32]>, rows: impl Iterator<Item = (u32, u64)>) -> Vec<u64> {
    let mut sums = vec![0u64; groups.count()];
    let mut add = |(group, value): (u32, u64)| sums[group as usize] = sums[group as usize].saturating_add(value);
    match only {
        None => rows.for_each(add),
        Some(words) => {
            let chosen = rows.enumerate().filter(|(row, _)| words[row / 32] >> (row % 32) & 1 == 1);
            chosen.for_each(|(_, row)| add(row));
        }
    }
    sums
}

/// The numbers of a column in 64 bits, zeros where it is absent.
fn wide(state: &State, column: ColumnId) -> Result<Cow<'_, [u64]>, Reason> {
    if let Ok(Filled::U64(values)) = state.read(column) {
        return Ok(Cow::Borrowed(values));
    }
    let mut values = Vec::with_capacity(state.rows);
    numbers(state, column, |value| values.push(value))?;
    Ok(Cow::Owned(values))
}

pub(crate) fn keep_groups(words: &[u32]) -> Result<(), Reason> {
    let rows = with_groups(|_, groups| {
        check_bitmap(groups.count(), words)?;
        let is_kept = |group: &u32| words[*group as usize / 32] >> (group % 32) & 1;
        let of_words = groups.of_rows.chunks(32);
        let word = |groups: &[u32]| groups.iter().zip(0..).fold(0, |word, (group, bit)| word | is_kept(group) << bit);
        Ok(of_words.map(word).collect::<Vec<_>>())
    })?;
    keep(&rows)
}

pub(crate) fn route_groups(names: &[String], index: &[u16]) -> Result<(), Reason> {
    let rows = with_groups(|_, groups| {
        if index.len() != groups.count() {
            return Err(Reason::WrongLength(groups.count() as u32));
        }
        Ok(groups.of_rows.iter().map(|group| index[*group as usize]).collect())
    })?;
    route_rows(names, rows)
}

pub(crate) fn numbers_at(column: ColumnId, rows: &[u32]) -> Result<Vec<u64>, Reason> {
    fn at<T: Copy + Default + Into<u64>>(values: &[T], rows: &[u32]) -> Vec<u64> {
        rows.iter().map(|row| values[*row as usize].into()).collect()
    }
    with(|state| {
        let values = match state.read(column) {
            Ok(Filled::Text(..) | Filled::Lists(..)) => return Err(state.wrong_width(column)),
            Ok(values) => Some(values),
            Err(Reason::Absent) => match state.wrong_width(column) {
                wrong @ Reason::WrongWidth(Width::Text | Width::Lists) => return Err(wrong),
                _ => None,
            },
            Err(reason) => return Err(reason),
        };
        check_rows(state, rows)?;
        Ok(match values {
            Some(Filled::U8(values)) => at(values, rows),
            Some(Filled::U16(values)) => at(values, rows),
            Some(Filled::U32(values)) => at(values, rows),
            Some(Filled::U64(values)) => at(values, rows),
            _ => vec![0; rows.len()],
        })
    })
}

pub(crate) fn texts_at(column: ColumnId, rows: &[u32]) -> Result<Vec<String>, Reason> {
    with(|state| {
        let text: Box<dyn Fn(usize) -> String> = match state.read(column) {
            Ok(Filled::Text(words, codes)) => Box::new(|row| words[codes[row] as usize].clone()),
            Err(Reason::Absent) if state.wrong_width(column) == Reason::WrongWidth(Width::Text) => {
                Box::new(|_| String::new())
            }
            Ok(_) | Err(Reason::Absent) => return Err(state.wrong_width(column)),
            Err(reason) => return Err(reason),
        };
        check_rows(state, rows)?;
        Ok(rows.iter().map(|row| text(*row as usize)).collect())
    })
}

/// Whether the batch has these rows, and as many.
fn check_rows(state: &State, rows: &[u32]) -> Result<(), Reason> {
    let has_all = rows.len() <= state.rows && rows.iter().all(|row| (*row as usize) < state.rows);
    if has_all { Ok(()) } else { Err(Reason::OutOfRange) }
}
