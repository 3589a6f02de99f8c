//! What is remembered of a table, so that a value crosses once per generation and not once per row.

use sluice_sdk::{KeyColumns, Table, columns};

/// What tables are looked up by where it is the addresses of a flow.
pub(crate) const ADDRESS: KeyColumns = KeyColumns::address(columns::SRC_ADDR);

/// Opens the table that `key` of the configuration names, to be looked up by `by`.
pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Table, String> {
    let table = Table::open(name).map_err(|error| format!("`{key}`: cannot open table `{name}`: {error}"))?;
    // The host says what the table is instead.
    table.check(by).map_err(|_| format!("`{key}` does not fit"))?;
    Ok(table)
}

/// In place of what a code stands for, which has 32 bits: it is not learned yet.
const UNKNOWN: u64 = u64::MAX;

/// What codes of a table stand for.
trait Memo {
    /// By code; [`UNKNOWN`] where it is not learned yet. No longer than the table has codes.
    fn known(&self) -> &[u64];

    /// Learns what a code stands for. Much longer than a look at what is known.
    fn learn(&mut self, code: u32) -> u32;

    /// Replaces codes by what they stand for.
    #[inline(always)]
    fn replace(&mut self, codes: &mut [u32]) {
        let (eights, rest) = codes.as_chunks_mut::<8>();
        for codes in eights {
            let known = self.known();
            let found = codes.map(|code| known.get(code as usize).copied().unwrap_or(UNKNOWN));
            // One question for all of them.
            if found.iter().fold(0, |all, found| all | found) >> 32 == 0 {
                *codes = found.map(|found| found as u32);
            } else {
                *codes = codes.map(|code| self.one(code));
            }
        }
        rest.iter_mut().for_each(|code| *code = self.one(*code));
    }

    fn one(&mut self, code: u32) -> u32 {
        match self.known().get(code as usize) {
            Some(found) if *found != UNKNOWN => *found as u32,
            _ => self.learn(code),
        }
    }
}

/// Puts what a code stands for into a list by code.
fn put(known: &mut Vec<u64>, code: u32, value: u32) {
    let at = code as usize;
    if known.len() <= at {
        known.resize(at + 1, UNKNOWN);
    }
    if let Some(known) = known.get_mut(at) {
        *known = u64::from(value);
    }
}

/// A table of numbers: code to number, 0 for none.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) table: Table,
    key: String,
    /// The largest number that counts.
    max: u32,
    generation: Option<u64>,
    /// By code; [`UNKNOWN`] where it is not learned yet. No longer than the table has codes.
    numbers: Vec<u64>,
    /// Whether a value that is no number was complained about in this generation.
    complained: bool,
}

impl Numbers {
    pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Numbers, String> {
        let table = open(key, name, by)?;
        let (key, max) = (key.to_owned(), u32::MAX);
        Ok(Numbers { table, key, max, generation: None, numbers: Vec::new(), complained: false })
    }

    /// The same, where numbers above `max` count as none.
    pub(crate) fn up_to(self, max: u32) -> Numbers {
        Numbers { max, ..self }
    }

    /// Begins a batch: forgets everything if the table was exchanged.
    pub(crate) fn begin(&mut self) {
        let generation = self.table.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.numbers.clear();
            self.numbers.push(0);
            self.complained = false;
        }
    }

    /// Replaces codes by their numbers.
    #[inline(never)]
    pub(crate) fn resolve(&mut self, codes: &mut [u32]) {
        self.replace(codes);
    }
}

impl Memo for Numbers {
    fn known(&self) -> &[u64] {
        &self.numbers
    }

    #[cold]
    fn learn(&mut self, code: u32) -> u32 {
        if code >= self.table.codes() {
            return 0;
        }
        let value = self.table.value(code).unwrap_or_default();
        let digits = value.strip_prefix("AS").unwrap_or(&value);
        let number = digits.parse().ok().filter(|number| *number <= self.max).unwrap_or_else(|| {
            if !self.complained {
                self.complained = true;
                let (key, max) = (&self.key, self.max);
                let limit = if max == u32::MAX { String::new() } else { format!(" up to {max}") };
                sluice_sdk::warn!(
                    "{key}: the table's value `{value}` is no number{limit}; it and others like it count as none"
                );
            }
            0
        });
        put(&mut self.numbers, code, number);
        number
    }
}

/// A table of texts, and the dictionary of the current batch: only the words that occur in it. Who gets some rows of it, a tenant, say,
/// must not see in it what others have had.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) table: Table,
    generation: Option<u64>,
    /// By code: the text, once learned.
    texts: Vec<Option<Box<str>>>,
    /// By code: the place of its text in the dictionary, 0 if it is empty; [`UNKNOWN`] if the batch has not had it yet.
    places: Vec<u64>,
    /// The codes of the words of the batch, without the empty one.
    seen: Vec<u32>,
    /// The words of the batch, the empty one first; buffers of earlier batches stay behind them.
    words: Vec<String>,
}

impl Words {
    pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Words, String> {
        let table = open(key, name, by)?;
        let words = vec![String::new()];
        Ok(Words { table, generation: None, texts: Vec::new(), places: Vec::new(), seen: Vec::new(), words })
    }

    /// Begins a batch with an empty dictionary; forgets everything if the table was exchanged.
    pub(crate) fn begin(&mut self) {
        let generation = self.table.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.texts.clear();
            self.places.clear();
            self.places.push(0);
            self.seen.clear();
        }
        for code in self.seen.drain(..) {
            if let Some(place) = self.places.get_mut(code as usize) {
                *place = UNKNOWN;
            }
        }
    }

    /// Replaces codes of the table by indices into [`words`](Self::words); 0 is the empty text.
    #[inline(never)]
    pub(crate) fn resolve(&mut self, codes: &mut [u32]) {
        self.replace(codes);
    }

    /// The dictionary of the batch.
    pub(crate) fn words(&self) -> &[String] {
        self.words.get(..=self.seen.len()).unwrap_or_default()
    }
}

impl Memo for Words {
    fn known(&self) -> &[u64] {
        &self.places
    }

    #[cold]
    fn learn(&mut self, code: u32) -> u32 {
        if code >= self.table.codes() {
            return 0;
        }
        let at = code as usize;
        if self.texts.len() <= at {
            self.texts.resize(at + 1, None);
        }
        let Some(text) = self.texts.get_mut(at) else { return 0 };
        let text = text.get_or_insert_with(|| self.table.value(code).unwrap_or_default().into_boxed_str());
        let mut place = 0;
        if !text.is_empty() {
            self.seen.push(code);
            place = self.seen.len();
            if self.words.len() == place {
                self.words.push(String::new());
            }
            if let Some(word) = self.words.get_mut(place) {
                word.clear();
                word.push_str(text);
            }
        }
        put(&mut self.places, code, place as u32);
        place as u32
    }
}
