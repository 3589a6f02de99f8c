//! `lookup-into` of `tables`: what a table says of each row, written into a column.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Texts, Width};

use super::kernels::{check_bitmap, to_change};
use super::{batch, lookup, services};
use crate::abi::{Denied, Level};
use crate::limits::MAX_WORDS;
use crate::state::{OpenTable, State};
use crate::tables::{MAX_NUMBER, Table};

/// By eight bits of a bitmap all bits for each row that is chosen, none for the others.
static BITS: [[u32; 8]; 256] = {
    let mut all = [[0; 8]; 256];
    let mut at = 0;
    while at < 8 * 256 {
        all[at / 8][at % 8] = if (at / 8) >> (at % 8) & 1 == 1 { u32::MAX } else { 0 };
        at += 1;
    }
    all
};

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
        let (eights, rest) = codes.as_chunks_mut::<8>();
        let mut bytes = only.iter().flat_map(|word| word.to_le_bytes());
        for (codes, byte) in eights.iter_mut().zip(&mut bytes) {
            let bits = &BITS[usize::from(byte)];
            *codes = std::array::from_fn(|row| codes[row] & bits[row]);
        }
        let bits = &BITS[usize::from(bytes.next().unwrap_or_default())];
        rest.iter_mut().zip(bits).for_each(|(code, bits)| *code &= bits);
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

/// In place of the place of a word, of which there are fewer: there is none yet.
const NO_PLACE: u32 = u32::MAX;

/// Where the values of a table are among the words of a column.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// By code. Between two calls there are none: the next is about another column.
    by_code: Vec<u32>,
    /// The codes that have one, in the order in which they came.
    codes: Vec<u32>,
}

impl Places {
    /// Replaces codes by places of words, numbered from `first` (at least 1) in the order in which they come; 0 stays.
    /// Returns the code of each place.
    fn of(&mut self, table: &Table, codes: &mut [u32], first: usize) -> &[u32] {
        self.by_code.resize(self.by_code.len().max(table.codes() as usize), NO_PLACE);
        self.codes.clear();
        // No match is the first word.
        self.by_code[0] = 0;
        let (eights, rest) = codes.as_chunks_mut::<8>();
        for codes in eights {
            let places = codes.map(|code| self.by_code.get(code as usize).copied().unwrap_or_default());
            // One question for all of them.
            if places.iter().fold(0, |all, place| all | place) != NO_PLACE {
                *codes = places;
            } else {
                codes.iter_mut().for_each(|code| self.place(code, first));
            }
        }
        rest.iter_mut().for_each(|code| self.place(code, first));
        for code in &self.codes {
            self.by_code[*code as usize] = NO_PLACE;
        }
        &self.codes
    }

    fn place(&mut self, code: &mut u32, first: usize) {
        let Some(place) = self.by_code.get_mut(*code as usize) else { return };
        if *place == NO_PLACE {
            *place = (first + self.codes.len()) as u32;
            self.codes.push(*code);
        }
        *code = *place;
    }
}

fn texts(state: &mut State, table: &Table, into: Into, mut codes: Vec<u32>) -> Result<(), Denied> {
    let State { current, places, .. } = state;
    let current = current.as_ref().ok_or(Denied::NoBatch)?;
    let before = match current.column(into.column) {
        Some(Column::Text(texts)) if into.keep => Some(Arc::clone(texts)),
        _ => None,
    };
    // The first word is the empty one, where there are none yet.
    let mut words = before.as_ref().map_or_else(|| vec![Arc::from("")], |before| before.words.clone());
    let added = places.of(table, &mut codes, words.len());
    words.extend(added.iter().map(|code| table.word(*code)));
    if words.len() > MAX_WORDS {
        return Err(Denied::OutOfRange);
    }
    if let Some(before) = before {
        for (place, before) in codes.iter_mut().zip(&before.codes) {
            *place = if *place != 0 { *place } else { *before };
        }
    }
    batch::put(state, into.column, Some(Column::Text(Arc::new(Texts { words, codes }))))
}
