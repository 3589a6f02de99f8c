//! `lookup-into`, as the host does it: what a table says of each row, written into a column.

use super::TableSource;
use super::state::{Filled, State};
use super::sys::check_bitmap;
use crate::services::Level;
use crate::{ColumnId, Reason, Width};

/// In place of the place of a word, of which there are fewer: there is none yet.
const NO_PLACE: u32 = u32::MAX;

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

/// What is known of a table's values. Those of another generation are forgotten.
#[derive(Debug, Default)]
pub(super) struct Memo {
    generation: Option<u64>,
    /// By code the number that the value is; `u64::MAX` where it is none.
    numbers: Vec<u64>,
    /// By code.
    words: Vec<String>,
    /// By code the place among the words of a column, [`NO_PLACE`] between two calls.
    places: Vec<u32>,
    /// The codes that have one, in the order in which they came.
    placed: Vec<u32>,
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
        let (numbers, mut places) = (words.iter().map(number).collect(), vec![NO_PLACE; words.len()]);
        // No match is the first word.
        places.iter_mut().take(1).for_each(|none| *none = 0);
        *self = Memo { generation: Some(generation), numbers, words, places, placed: Vec::new(), complained: false };
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
            let (eights, rest) = codes.as_chunks_mut::<8>();
            let mut bytes = only.iter().flat_map(|word| word.to_le_bytes());
            for (codes, byte) in eights.iter_mut().zip(&mut bytes) {
                let bits = &BITS[usize::from(byte)];
                *codes = std::array::from_fn(|row| codes[row] & bits[row]);
            }
            let bits = &BITS[usize::from(bytes.next().unwrap_or_default())];
            rest.iter_mut().zip(bits).for_each(|(code, bits)| *code &= bits);
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
        let (eights, rest) = codes.as_chunks_mut::<8>();
        for codes in eights {
            let places = codes.map(|code| self.places.get(code as usize).copied().unwrap_or_default());
            if places.iter().fold(0, |all, place| all | place) != NO_PLACE {
                *codes = places;
            } else {
                codes.iter_mut().for_each(|code| self.place(code, &mut words));
            }
        }
        rest.iter_mut().for_each(|code| self.place(code, &mut words));
        for code in self.placed.drain(..) {
            self.places[code as usize] = NO_PLACE;
        }
        for (place, before) in codes.iter_mut().zip(before) {
            *place = if *place != 0 { *place } else { before };
        }
        let rows = codes.len();
        *state.write(into, Width::Text, rows)? = Some(Filled::Text(words, codes));
        Ok(())
    }

    fn place(&mut self, code: &mut u32, words: &mut Vec<String>) {
        let at = *code as usize;
        let Some(place) = self.places.get_mut(at) else { return };
        if *place == NO_PLACE {
            *place = words.len() as u32;
            words.push(self.words[at].clone());
            self.placed.push(*code);
        }
        *code = *place;
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
