//! `lookup-into`, as the host does it: what a table says of each row, written into a column.

use super::TableSource;
use super::state::{Filled, State};
use super::sys::check_bitmap;
use crate::services::Level;
use crate::{ColumnId, Reason, Width};

/// What is known of a table's values. Those of another generation are forgotten.
#[derive(Debug, Default)]
pub(super) struct Memo {
    generation: Option<u64>,
    /// By code the number that the value is; `u64::MAX` where it is none.
    numbers: Vec<u64>,
    /// By code.
    words: Vec<String>,
    /// By code the place among the words of a column, and in which call it has it.
    places: Vec<(u32, u32)>,
    call: u32,
    complained: bool,
}

impl Memo {
    fn renew(&mut self, table: &dyn TableSource) {
        let generation = table.generation();
        if self.generation == Some(generation) {
            return;
        }
        let words: Vec<String> = (0..table.codes()).map(|code| table.value(code).unwrap_or_default()).collect();
        let number = |word: &String| {
            let digits = word.strip_prefix("AS").unwrap_or(word);
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number).unwrap_or(u64::MAX)
        };
        let (numbers, places) = (words.iter().map(number).collect(), vec![(0, 0); words.len()]);
        *self = Memo { generation: Some(generation), numbers, words, places, call: 0, complained: false };
    }

    /// Writes into a column what codes stand for. Rows that are left out have the code 0 after this.
    pub(super) fn write(
        &mut self,
        state: &mut State,
        table: &dyn TableSource,
        mut codes: Vec<u32>,
        (into, only, keep): (ColumnId, Option<&[u32]>, bool),
    ) -> Result<Option<String>, Reason> {
        let width = state.writable(into)?;
        if width == Width::Lists {
            return Err(Reason::WrongWidth(width));
        }
        if let Some(only) = only {
            check_bitmap(state.rows, only)?;
            for (codes, word) in codes.chunks_mut(32).zip(only) {
                for (bit, code) in (0..32).zip(codes) {
                    *code &= (word >> bit & 1).wrapping_neg();
                }
            }
        }
        self.renew(table);
        if width == Width::Text {
            return self.texts(state, codes, into, keep).map(|()| None);
        }
        let misfit = self.numbers(state, &codes, into, keep)?;
        let is_first = misfit != 0 && !self.complained;
        self.complained |= is_first;
        Ok(self.words.get(misfit as usize).filter(|_| is_first).cloned())
    }

    /// Writes numbers. Returns the code of a value that is none with room in the column, 0 if all were.
    fn numbers(&self, state: &mut State, codes: &[u32], into: ColumnId, keep: bool) -> Result<u32, Reason> {
        if !keep {
            state.clear(into)?;
        }
        let mut misfit = 0;
        macro_rules! written {
            ($values:ident, $type:ty) => {
                for (value, code) in $values.iter_mut().zip(codes) {
                    let number = self.numbers.get(*code as usize).copied().unwrap_or(u64::MAX);
                    let fits = number <= u64::from(<$type>::MAX) && number != u64::MAX;
                    *value = if fits { number as $type } else { *value };
                    misfit = if fits || *code == 0 { misfit } else { *code };
                }
            };
        }
        match state.change(into)? {
            Filled::U8(values) => written!(values, u8),
            Filled::U16(values) => written!(values, u16),
            Filled::U32(values) => written!(values, u32),
            Filled::U64(values) => written!(values, u64),
            Filled::Text(..) | Filled::Lists(..) => {}
        }
        Ok(misfit)
    }

    fn texts(&mut self, state: &mut State, mut codes: Vec<u32>, into: ColumnId, keep: bool) -> Result<(), Reason> {
        let (mut words, before) = match state.visible(into) {
            Some(Filled::Text(words, codes)) if keep => (words.clone(), codes.clone()),
            _ => (vec![String::new()], Vec::new()),
        };
        self.call += 1;
        if let Some(none) = self.places.first_mut() {
            *none = (self.call, 0);
        }
        for code in &mut codes {
            let at = *code as usize;
            let Some((call, place)) = self.places.get_mut(at) else { continue };
            if *call != self.call {
                (*call, *place) = (self.call, words.len() as u32);
                words.push(self.words.get(at).cloned().unwrap_or_default());
            }
            *code = *place;
        }
        for (place, before) in codes.iter_mut().zip(before) {
            *place = if *place != 0 { *place } else { before };
        }
        let rows = codes.len();
        *state.write(into, Width::Text, rows)? = Some(Filled::Text(words, codes));
        Ok(())
    }
}

/// The line that the host writes when a value is no number.
pub(super) fn complain(state: &mut State, table: &str, into: ColumnId, value: &str) {
    let column = state.name_of(into);
    let line = format!(
        "the value `{value}` of the table `{table}` is no number that `{column}` has room for; it and others like it count as none"
    );
    state.lines.push((Level::Warn, line));
}
