//! What is remembered of a table, so that a value crosses once per generation and not once per row.

use sluice_sdk::{KeyColumns, Table, columns, rows};

/// What tables are looked up by where it is the addresses of a flow.
pub(crate) const ADDRESS: KeyColumns = KeyColumns::address(columns::SRC_ADDR);

/// Opens the table that `key` of the configuration names, to be looked up by `by`.
pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Table, String> {
    let table = Table::open(name).map_err(|error| format!("`{key}`: cannot open table `{name}`: {error}"))?;
    // The host says what the table is instead.
    table.check(by).map_err(|_| format!("`{key}` does not fit"))?;
    Ok(table)
}

/// What no number is: none has more than 32 bits.
const UNKNOWN: u64 = u64::MAX;

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
        rows::each(codes, |code| {
            *code = match self.numbers.get(*code as usize) {
                Some(number) if *number != UNKNOWN => *number as u32,
                _ => self.learn(*code),
            };
        });
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
        let at = code as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, UNKNOWN);
        }
        if let Some(slot) = self.numbers.get_mut(at) {
            *slot = u64::from(number);
        }
        number
    }
}

/// A table of texts, and the dictionary of the current batch: only the words that occur in it. Who gets some rows of it, a tenant, say,
/// must not see in it what others have had.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) table: Table,
    generation: Option<u64>,
    /// By code: the text once learned, and the batch's index for it if `batch` is the current one.
    known: Vec<Known>,
    batch: u32,
    /// The words of the batch, the empty one first; buffers of earlier batches stay behind `used`.
    words: Vec<String>,
    used: usize,
}

#[derive(Clone, Debug, Default)]
struct Known {
    text: Option<Box<str>>,
    batch: u32,
    index: u32,
}

impl Words {
    pub(crate) fn open(key: &str, name: &str, by: KeyColumns) -> Result<Words, String> {
        let table = open(key, name, by)?;
        Ok(Words { table, generation: None, known: Vec::new(), batch: 0, words: vec![String::new()], used: 1 })
    }

    /// Begins a batch with an empty dictionary; forgets everything if the table was exchanged.
    pub(crate) fn begin(&mut self) {
        let generation = self.table.generation();
        self.batch = self.batch.wrapping_add(1);
        // After 2^32 batches old marks would mean something again.
        if self.generation != Some(generation) || self.batch == 0 {
            self.generation = Some(generation);
            self.known.clear();
            self.batch = 1;
        }
        self.used = 1;
    }

    /// Replaces codes of the table by indices into [`words`](Self::words); 0 is the empty text.
    #[inline(never)]
    pub(crate) fn resolve(&mut self, codes: &mut [u32]) {
        rows::each(codes, |code| {
            *code = match self.known.get(*code as usize) {
                Some(known) if known.batch == self.batch => known.index,
                _ if *code == 0 => 0,
                _ => self.learn(*code),
            };
        });
    }

    /// The dictionary of the batch.
    pub(crate) fn words(&self) -> &[String] {
        self.words.get(..self.used).unwrap_or_default()
    }

    #[cold]
    fn learn(&mut self, code: u32) -> u32 {
        if code >= self.table.codes() {
            return 0;
        }
        let at = code as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, Known::default());
        }
        let Some(known) = self.known.get_mut(at) else { return 0 };
        let text = known.text.get_or_insert_with(|| self.table.value(code).unwrap_or_default().into_boxed_str());
        if text.is_empty() {
            return 0;
        }
        if self.words.len() == self.used {
            self.words.push(String::new());
        }
        let Some(word) = self.words.get_mut(self.used) else { return 0 };
        word.clear();
        word.push_str(text);
        known.batch = self.batch;
        known.index = self.used as u32;
        self.used += 1;
        known.index
    }
}
