//! A TOML text that can say where in it something is wrong.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A mistake in a configuration file: place, problem and way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {path}{problem}")]
pub struct ConfigError {
    file: String,
    line: usize,
    column: usize,
    /// The table it is in, `sources.edge: `, or nothing.
    path: String,
    problem: String,
}

/// The text of a file and its name, for errors.
#[derive(Clone, Debug)]
pub struct Document {
    /// Name of the file.
    pub file: PathBuf,
    text: String,
}

/// A table that is being taken apart: its name in the file, its place, and what is left in it.
#[derive(Debug)]
pub struct Table<'d> {
    /// Its name in the file, e.g. `sources.edge`; `""` at the top.
    pub path: String,
    span: Range<usize>,
    table: DeTable<'d>,
    keys: Vec<(String, Range<usize>)>,
}

/// Something with a name, and where that stands.
#[derive(Clone, Debug)]
pub struct Named<T> {
    /// The name.
    pub name: String,
    /// Place of its table in the file.
    pub span: Range<usize>,
    /// What it is.
    pub value: T,
}

impl Document {
    /// A text that was read from `file`.
    #[must_use]
    pub fn new(file: &Path, text: String) -> Document {
        Document { file: file.to_owned(), text }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of the line that the byte at `offset` is on, from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(&self.text).matches('\n').count() + 1
    }

    /// An error at `span`, in the table called `path` (`""` at the top).
    pub fn error(&self, span: Range<usize>, path: &str, problem: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = self.line(span.start);
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        ConfigError { file: self.file.display().to_string(), line, column, path, problem: problem.into() }
    }

    /// The whole file as a table.
    ///
    /// # Errors
    /// If it is not TOML.
    pub fn parse(&self) -> Result<Table<'_>, ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|error| self.in_place(&error, "", 0..0))?;
        let span = table.span();
        Ok(Table::new(String::new(), span, table.into_inner()))
    }

    /// An error of the TOML reader, in our words.
    fn in_place(&self, error: &toml::de::Error, path: &str, fallback: Range<usize>) -> ConfigError {
        self.error(error.span().unwrap_or(fallback), path, in_our_words(error.message()))
    }
}

impl<'d> Table<'d> {
    fn new(path: String, span: Range<usize>, table: DeTable<'d>) -> Table<'d> {
        let keys = table.keys().map(|key| (key.get_ref().to_string(), key.span())).collect();
        Table { path, span, table, keys }
    }

    /// Where `key` stands, or the table if it does not.
    #[must_use]
    pub fn span(&self, key: &str) -> Range<usize> {
        let found = self.keys.iter().find(|(name, _)| name == key);
        found.map_or(self.span.clone(), |(_, span)| span.clone())
    }

    /// Takes a key out as it stands there; `None` if it is not there.
    pub fn value(&mut self, key: &str) -> Option<Spanned<DeValue<'d>>> {
        self.table.remove(key)
    }

    /// Takes a key out and reads it; `None` if it is not there.
    ///
    /// # Errors
    /// If the value is not a `T`.
    pub fn take<T: DeserializeOwned>(&mut self, doc: &Document, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        let span = value.span();
        let read = T::deserialize(ValueDeserializer::from(value));
        read.map(Some).map_err(|error| doc.in_place(&error, &self.path_of(key), span))
    }

    /// Takes a key out and reads it.
    ///
    /// # Errors
    /// If the value is not a `T`; if it is not there, with what to add.
    pub fn need<T: DeserializeOwned>(&mut self, doc: &Document, key: &str, example: &str) -> Result<T, ConfigError> {
        let found = self.take(doc, key)?;
        found.ok_or_else(|| doc.error(self.span.clone(), &self.path, format!("no `{key}`; add `{key} = {example}`")))
    }

    /// Takes a table of tables out, each with its name: `[sources.NAME]`.
    ///
    /// # Errors
    /// If it holds something else.
    pub fn tables(&mut self, doc: &Document, key: &str) -> Result<Vec<(String, Table<'d>)>, ConfigError> {
        let Some(value) = self.table.remove(key) else { return Ok(Vec::new()) };
        let (span, key) = (value.span(), self.path_of(key));
        let DeValue::Table(outer) = value.into_inner() else {
            return Err(doc.error(span, &key, format!("must be tables: `[{key}.NAME]`")));
        };
        let mut found = Vec::new();
        for (name, value) in outer {
            let (span, name) = (name.span(), name.get_ref().to_string());
            let path = format!("{key}.{name}");
            let DeValue::Table(inner) = value.into_inner() else {
                return Err(doc.error(span, &key, format!("`{name}` must be a table: `[{path}]`")));
            };
            found.push((name, Table::new(path, span, inner)));
        }
        // By place in the file, which is the order that people think in.
        found.sort_by_key(|(_, table)| table.span.start);
        Ok(found)
    }

    /// Takes an array of tables out, `[[case]]`, each with its number, from 1, in its path.
    ///
    /// # Errors
    /// If it holds something else.
    pub fn list(&mut self, doc: &Document, key: &str) -> Result<Vec<Table<'d>>, ConfigError> {
        let Some(value) = self.table.remove(key) else { return Ok(Vec::new()) };
        let (span, path) = (value.span(), self.path_of(key));
        let problem = || format!("must be tables: `[[{path}]]`");
        let DeValue::Array(array) = value.into_inner() else { return Err(doc.error(span, &self.path, problem())) };
        let table = |(number, value): (usize, Spanned<DeValue<'d>>)| {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(inner) => Ok(Table::new(format!("{path}[{number}]"), span, inner)),
                _ => Err(doc.error(span, &self.path, problem())),
            }
        };
        (1..).zip(array).map(table).collect()
    }

    /// Takes an inner table out.
    ///
    /// # Errors
    /// If it is none.
    pub fn table(&mut self, doc: &Document, key: &str) -> Result<Option<Table<'d>>, ConfigError> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        let (span, path) = (value.span(), self.path_of(key));
        match value.into_inner() {
            DeValue::Table(inner) => Ok(Some(Table::new(path, span, inner))),
            _ => Err(doc.error(span, &path, "must be a table")),
        }
    }

    /// Keys that are left, in the order of the file, each with its value.
    #[must_use]
    pub fn entries(self) -> Vec<(Spanned<String>, Spanned<DeValue<'d>>)> {
        let mut entries: Vec<_> = self
            .table
            .into_iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.into_inner().into_owned()), value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Reads what is left into `T`.
    ///
    /// # Errors
    /// If it is not a `T`; unknown keys are errors where `T` says so.
    pub fn rest<T: DeserializeOwned>(&mut self, doc: &Document) -> Result<T, ConfigError> {
        let table = std::mem::take(&mut self.table);
        let value = Spanned::new(self.span.clone(), DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| {
            // The reader names the keys it does not know, and not those whose value it does not like.
            let at = error.span().map_or(self.span.start, |span| span.start);
            let key = self.keys.iter().filter(|(_, span)| span.end <= at).max_by_key(|(_, span)| span.end);
            let is_about_a_key = self.keys.iter().any(|(_, span)| span.start == at);
            match key {
                Some((key, _)) if !is_about_a_key => doc.in_place(&error, &self.path_of(key), self.span.clone()),
                _ => doc.in_place(&error, &self.path, self.span.clone()),
            }
        })
    }

    /// Checks that there are no other keys than `known`, before any is taken: of a mistyped key that is needed, the typing
    /// is the mistake and not that the right one is missing.
    pub fn only(&self, doc: &Document, known: &[&str]) -> Result<(), ConfigError> {
        let Some((key, span)) = self.keys.iter().find(|(key, _)| !known.contains(&key.as_str())) else { return Ok(()) };
        Err(doc.error(span.clone(), &self.path, unknown_key(key, known)))
    }

    /// Checks that nothing is left; `known` are the keys that were taken.
    ///
    /// # Errors
    /// A key that is left, with the nearest of `known`.
    pub fn finish(&self, doc: &Document, known: &[&str]) -> Result<(), ConfigError> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let problem = unknown_key(key.get_ref(), known);
        Err(doc.error(key.span(), &self.path, problem))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Takes every `[KIND.NAME]` out of `top` and reads it with `read`.
///
/// # Errors
/// A name that could not be used in inputs and metrics, and what `read` finds.
pub fn named<'d, T>(
    doc: &Document,
    top: &mut Table<'d>,
    kind: &str,
    read: impl Fn(&Document, &mut Table<'d>) -> Result<T, ConfigError>,
) -> Result<Vec<Named<T>>, ConfigError> {
    let tables = top.tables(doc, kind)?;
    let mut found = Vec::with_capacity(tables.len());
    for (name, mut table) in tables {
        let span = table.span("");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(fits) {
            let problem =
                format!("name `{name}` must be letters, digits, `_` and `-`: it is used in inputs and metrics");
            return Err(doc.error(span, kind, problem));
        }
        found.push(Named { name, span, value: read(doc, &mut table)? });
    }
    Ok(found)
}

/// An error about a `type` that is none of `known`.
#[must_use]
pub fn unknown_type(
    doc: &Document,
    kind: &Spanned<String>,
    table: &Table<'_>,
    found: &str,
    known: &[&str],
) -> ConfigError {
    let list: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    let near = did_you_mean(found, known.iter().copied());
    doc.error(kind.span(), &table.path, format!("unknown type `{found}`, expected one of {}{near}", list.join(", ")))
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let list: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    let list = list.join(", ");
    format!("unknown key `{key}`, expected one of {list}{}", did_you_mean(key, known.iter().copied()))
}

/// `; did you mean `x`?` for the nearest of `known`, or nothing if none is near.
pub fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|known| (distance(word, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + word.chars().count() / 3 => format!("; did you mean `{known}`?"),
        _ => String::new(),
    }
}

/// Edits (insert, remove, replace, swap neighbours) that lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

/// The TOML reader speaks of fields and variants; people write keys and values.
fn in_our_words(message: &str) -> String {
    let message = message.trim_end().replace('\n', ", ");
    let message = message.replacen("unknown field", "unknown key", 1).replacen("missing field", "no key", 1);
    if message == "invalid socket address syntax" {
        return "no address and port; write e.g. \"[::]:2055\" or \"192.0.2.1:2055\"".to_owned();
    }
    let message = ["usize", "u64", "u32", "u16", "u8"].iter().fold(message, |message, width| {
        message.replacen(&format!(", expected {width}"), ", expected a whole number, 0 or more", 1)
    });
    let message = message.replacen("unknown variant", "unknown value", 1).replacen("duplicate field", "key twice:", 1);
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown ")
        && let Some(word) = quoted.next()
    {
        return format!("{message}{}", did_you_mean(word, quoted));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        let known = ["listen", "batch_rows", "batch_delay_ms"];
        assert_eq!(did_you_mean("batch_row", known.into_iter()), "; did you mean `batch_rows`?");
        assert_eq!(did_you_mean("lisetn", known.into_iter()), "; did you mean `listen`?");
        assert_eq!(did_you_mean("colour", known.into_iter()), "");
    }

    #[test]
    fn an_error_names_line_and_column() {
        let doc = Document::new(Path::new("a.toml"), "x = 1\n  y = 2\n".into());
        let table = doc.parse().unwrap();
        let error = table.finish(&doc, &["x", "z"]).unwrap_err();
        assert!(error.to_string().starts_with("a.toml:1:1: unknown key `x`"), "{error}");
        assert_eq!(doc.error(8..9, "t", "no").to_string(), "a.toml:2:3: t: no");
    }
}
