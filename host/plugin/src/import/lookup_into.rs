//! `lookup-into` of `tables`: what a table says of each row, written into a column.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Texts, Width};

use super::kernels::{check_bitmap, to_change};
use super::{batch, lookup, services};
use crate::abi::{Denied, Level};
use crate::limits::MAX_WORDS;
use crate::state::{OpenTable, State};
use crate::tables::{MAX_NUMBER, Table};

/// What is looked up by, where it goes, and whether the other rows keep what they have.
#[derive(Clone, Copy)]
pub(super) struct Into {
    pub(super) hi: ColumnId,
    pub(super) lo: ColumnId,
    pub(super) column: ColumnId,
    pub(super) keep: bool,
}

/// Writes into a column, in the rows of the bitmap or in all.
pub(super) fn write(
    state: &mut State,
    handle: u32,
    into: Into,
    only: Option<&[u32]>,
) -> wasmtime::Result<Result<(), Denied>> {
    let open = services::opened(&state.tables, handle)?;
    let (codes, width) = match codes(state, open, into, only) {
        Ok(found) => found,
        Err(denied) => return Ok(Err(denied)),
    };
    let table = Arc::clone(&open.table);
    if width == Width::Text {
        return Ok(texts(state, &table, into, codes));
    }
    let written = numbers(state, &table, into, width, codes);
    if let Ok(misfit @ 1..) = written {
        complain(state, services::opened(&state.tables, handle)?, into.column, misfit);
    }
    Ok(written.map(drop))
}

/// The code of each row, 0 where nothing is to be written, and what the column holds.
fn codes(state: &State, open: &OpenTable, into: Into, only: Option<&[u32]>) -> Result<(Vec<u32>, Width), Denied> {
    let mut codes = state.current.as_ref().map_or_else(Vec::new, |current| current.batch().pool().u32s());
    // First, for what it refuses when there is no batch.
    lookup::columns(state, open, into.hi, into.lo, &mut codes)?;
    let width = state.writable(into.column)?;
    if width == Width::Lists {
        return Err(Denied::WrongWidth(width.into()));
    }
    if let Some(only) = only {
        check_bitmap(only, codes.len())?;
        for (codes, word) in codes.chunks_mut(32).zip(only) {
            for (bit, code) in (0..32).zip(codes) {
                *code &= (word >> bit & 1).wrapping_neg();
            }
        }
    }
    Ok((codes, width))
}

/// Writes numbers. Returns the code of a value that is none with room in the column, 0 if all were.
fn numbers(state: &mut State, table: &Table, into: Into, width: Width, codes: Vec<u32>) -> Result<u32, Denied> {
    let (numbers, current) = (table.numbers(), state.current_mut()?);
    let pool = current.batch().pool().clone();
    let mut misfit = 0;
    macro_rules! written {
        ($variant:ident, $type:ty, $buffer:ident) => {{
            let before = if into.keep { current.take(into.column) } else { None };
            let mut values = match before {
                Some(Column::$variant(values)) => to_change(values, || pool.$buffer()),
                _ => {
                    let mut zeros = pool.$buffer();
                    zeros.resize(codes.len(), 0);
                    zeros
                }
            };
            let most = MAX_NUMBER.min(<$type>::MAX.into());
            for (value, code) in values.iter_mut().zip(&codes) {
                let number = numbers.get(*code as usize).copied().unwrap_or(u64::MAX);
                let fits = number <= most;
                *value = if fits { number as $type } else { *value };
                misfit = if fits || *code == 0 { misfit } else { *code };
            }
            Column::$variant(Arc::new(values))
        }};
    }
    let written = match width {
        Width::U8 => written!(U8, u8, u8s),
        Width::U16 => written!(U16, u16, u16s),
        Width::U32 => written!(U32, u32, u32s),
        Width::U64 => written!(U64, u64, u64s),
        Width::Text | Width::Lists => return Err(Denied::WrongWidth(width.into())),
    };
    current.put(into.column, Some(written));
    pool.recycle([Column::U32(Arc::new(codes))].into_iter());
    Ok(misfit)
}

/// Says once for each generation of a table that a value of it is no number.
fn complain(state: &State, open: &OpenTable, column: ColumnId, misfit: u32) {
    let generation = open.table.generation();
    if open.complained.replace(generation) == generation || !state.shared.admits_line() {
        return;
    }
    let (value, name) = (open.table.value(misfit).unwrap_or_default(), &open.name);
    let column = state.shared.schema.name(column).unwrap_or_default();
    let line = format!(
        "the value `{value}` of the table `{name}` is no number that `{column}` has room for; it and others like it count as none"
    );
    state.shared.write_line(Level::Warn, &line);
}

/// Which values of a table are among the words of a column, by code.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The call in which the value got its place, above the place. No call is 0.
    by_code: Vec<u64>,
    call: u32,
}

impl Marks {
    /// Replaces codes by places of words, numbered from `first` (at least 1) in the order in which they come; 0 stays.
    /// Returns the code of each place.
    fn places(&mut self, table: &Table, codes: &mut [u32], first: usize) -> Vec<u32> {
        self.call = self.call.wrapping_add(1);
        // After 2^32 calls old marks would mean something again.
        if self.call == 0 {
            self.by_code.clear();
            self.call = 1;
        }
        let length = table.codes() as usize;
        if self.by_code.len() < length {
            self.by_code.resize(length, 0);
        }
        let call = u64::from(self.call) << 32;
        // No match is the first word in every call.
        self.by_code[0] = call;
        let mut words = Vec::new();
        let (eights, rest) = codes.as_chunks_mut::<8>();
        for codes in eights {
            let marks = codes.map(|code| self.by_code.get(code as usize).copied().unwrap_or_default());
            // One question for all of them.
            if marks.iter().fold(0, |all, mark| all | (mark ^ call)) >> 32 == 0 {
                *codes = marks.map(|mark| mark as u32);
            } else {
                codes.iter_mut().for_each(|code| self.place(code, call, first, &mut words));
            }
        }
        rest.iter_mut().for_each(|code| self.place(code, call, first, &mut words));
        words
    }

    fn place(&mut self, code: &mut u32, call: u64, first: usize, words: &mut Vec<u32>) {
        let Some(mark) = self.by_code.get_mut(*code as usize) else { return };
        if *mark >> 32 != call >> 32 {
            *mark = call | (first + words.len()) as u64;
            words.push(*code);
        }
        *code = *mark as u32;
    }
}

fn texts(state: &mut State, table: &Table, into: Into, mut codes: Vec<u32>) -> Result<(), Denied> {
    let State { current, marks, .. } = state;
    let current = current.as_ref().ok_or(Denied::NoBatch)?;
    let before = match current.column(into.column) {
        Some(Column::Text(texts)) if into.keep => Some(Arc::clone(texts)),
        _ => None,
    };
    // The first word is the empty one, where there are none yet.
    let mut words = before.as_ref().map_or_else(|| vec![Arc::from("")], |before| before.words.clone());
    let added = marks.places(table, &mut codes, words.len());
    words.extend(added.into_iter().map(|code| table.word(code)));
    if words.len() > MAX_WORDS {
        return Err(Denied::OutOfRange);
    }
    for (place, before) in codes.iter_mut().zip(before.iter().flat_map(|before| &before.codes)) {
        *place = if *place != 0 { *place } else { *before };
    }
    batch::put(state, into.column, Some(Column::Text(Arc::new(Texts { words, codes }))))
}
