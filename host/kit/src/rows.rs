//! Rows as people write them: from TOML, and from files of CSV, JSON or captured datagrams, to a [`Batch`]; and back
//! to rows by name and to TOML.
//!
//! Names are those of `wit/columns.md`; an address is one name (`src_addr`) for its two columns. What a row leaves
//! out is absent: zero, an empty text, an empty list.

mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sluice_flow::{
    ADDRESSES, AddressField, Batch, BatchBuilder, Column, ColumnId, ColumnSet, Pool, Schema, Width, col, halves_of,
};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

pub use self::file::{FromFile, MAX_FILE_BYTES, MAX_FILE_ROWS, RowsError, read_file};
use crate::document::{ConfigError, Document, did_you_mean};

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A MAC address, its first octet most significant.
    Mac(u64),
    /// An address.
    Address(IpAddr),
    /// A text.
    Text(String),
    /// A list of numbers.
    List(Vec<u32>),
}

/// A row: values by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(Vec<(String, Value)>);

/// What a name in a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A column of numbers, and the highest that it takes.
    Number(ColumnId, u64),
    Mac(ColumnId),
    Address(&'static AddressField),
    Text(ColumnId),
    List(ColumnId),
}

impl Value {
    /// Whether it is what an absent column reads as.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Value::Number(number) | Value::Mac(number) => *number == 0,
            Value::Address(address) => halves_of(*address) == (0, 0),
            Value::Text(text) => text.is_empty(),
            Value::List(list) => list.is_empty(),
        }
    }

    /// What an absent column reads as, for a value of this kind.
    #[must_use]
    pub fn absent(&self) -> Value {
        match self {
            Value::Number(_) => Value::Number(0),
            Value::Mac(_) => Value::Mac(0),
            Value::Address(_) => Value::Address(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
            Value::Text(_) => Value::Text(String::new()),
            Value::List(_) => Value::List(Vec::new()),
        }
    }
}

/// As in TOML: texts and addresses in quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Mac(mac) => {
                let octets: Vec<String> = mac.to_be_bytes()[2..].iter().map(|octet| format!("{octet:02x}")).collect();
                write!(f, "\"{}\"", octets.join(":"))
            }
            Value::Address(address) => write!(f, "\"{address}\""),
            Value::Text(text) => f.write_str(&toml_text(text)),
            Value::List(list) => write!(f, "{list:?}"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Number(number) => serializer.serialize_u64(*number),
            Value::Mac(_) => serializer.serialize_str(self.to_string().trim_matches('"')),
            Value::Address(address) => serializer.collect_str(address),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(list) => list.serialize(serializer),
        }
    }
}

impl Row {
    /// The value called `name`; none if the row has none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Names and values, in their order: that of the columns' numbers for a row of a batch, else that of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Adds a value, or replaces it.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The row with nothing but the values that `wanted` says yes to.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Row {
        Row(self.0.iter().filter(|(name, _)| wanted(name)).cloned().collect())
    }
}

/// As an inline table of TOML: `{ proto = 6, src_addr = "192.0.2.1" }`.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("{}");
        }
        let cells: Vec<String> = self.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        write!(f, "{{ {} }}", cells.join(", "))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Rows from an array of tables in TOML; `path` is its name in the file, for errors.
///
/// # Errors
/// A name that is no column, or a value that its column does not take, with its place.
pub fn from_toml(
    doc: &Document,
    path: &str,
    rows: Spanned<DeValue<'_>>,
    schema: &Schema,
) -> Result<Vec<Row>, ConfigError> {
    let not_rows = "must be an array of rows: [{ proto = 6, dst_port = 443 }]";
    let span = rows.span();
    let DeValue::Array(array) = rows.into_inner() else { return Err(doc.error(span, path, not_rows)) };
    let row = |value: Spanned<DeValue<'_>>| {
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else { return Err(doc.error(span, path, not_rows)) };
        from_toml_table(doc, path, table, schema)
    };
    array.into_iter().map(row).collect()
}

fn from_toml_table(doc: &Document, path: &str, table: DeTable<'_>, schema: &Schema) -> Result<Row, ConfigError> {
    let mut row = Vec::with_capacity(table.len());
    for (name, value) in table {
        let place = place_of(schema, name.get_ref()).map_err(|problem| doc.error(name.span(), path, problem))?;
        let span = value.span();
        let read = from_toml_value(place, value.get_ref());
        let read = read.ok_or_else(|| {
            let there = doc.text().get(span.clone()).unwrap_or("");
            doc.error(span.clone(), path, wrong(name.get_ref(), there, place))
        })?;
        row.push((span.start, (name.into_inner().into_owned(), read)));
    }
    row.sort_by_key(|(start, _)| *start);
    Ok(Row(row.into_iter().map(|(_, cell)| cell).collect()))
}

fn from_toml_value(place: Place, value: &DeValue<'_>) -> Option<Value> {
    match (place, value) {
        (Place::Number(_, max), value) => number(value).filter(|number| *number <= max).map(Value::Number),
        (Place::Mac(_), DeValue::String(text)) => mac(text).map(Value::Mac),
        (Place::Mac(_), value) => number(value).filter(|number| number >> 48 == 0).map(Value::Mac),
        (Place::Address(_), DeValue::String(text)) => text.parse().ok().map(Value::Address),
        (Place::Text(_), DeValue::String(text)) => Some(Value::Text(text.clone().into_owned())),
        (Place::List(_), DeValue::Array(list)) => numbers(list).map(Value::List),
        _ => None,
    }
}

/// A whole number of TOML; also those beyond 2^63 - 1, which TOML leaves open.
fn number(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

fn numbers(list: &DeArray<'_>) -> Option<Vec<u32>> {
    list.iter().map(|value| u32::try_from(number(value.get_ref())?).ok()).collect()
}

/// `00:00:5e:00:53:01`.
fn mac(text: &str) -> Option<u64> {
    let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    let octets = octets.filter(|octets| octets.len() == 6)?;
    Some(octets.into_iter().fold(0, |mac, octet| mac << 8 | u64::from(octet)))
}

/// What `name` stands for, or what is wrong with it.
fn place_of(schema: &Schema, name: &str) -> Result<Place, String> {
    if let Some(address) = ADDRESSES.iter().find(|address| address.name == name) {
        return Ok(Place::Address(address));
    }
    let Some(column) = schema.column(name) else {
        let whole = schema.names().filter(|name| half_of(schema, name).is_none());
        return Err(format!("there is no column `{name}`{}", did_you_mean(name, whole)));
    };
    if let Some(address) = half_of(schema, name) {
        return Err(format!("`{name}` is half an address; write `{} = \"192.0.2.1\"`", address.name));
    }
    Ok(match schema.width(column).expect("a column with a name has a width") {
        Width::U64 if matches!(column, col::SRC_MAC | col::DST_MAC) => Place::Mac(column),
        Width::U8 => Place::Number(column, u64::from(u8::MAX)),
        Width::U16 => Place::Number(column, u64::from(u16::MAX)),
        Width::U32 => Place::Number(column, u64::from(u32::MAX)),
        Width::U64 => Place::Number(column, u64::MAX),
        Width::Text => Place::Text(column),
        Width::Lists => Place::List(column),
    })
}

/// The address that the column called `name` is a half of.
fn half_of(schema: &Schema, name: &str) -> Option<&'static AddressField> {
    let column = schema.column(name)?;
    ADDRESSES.iter().find(|address| address.hi == column || address.lo == column)
}

/// What is there, and what would be right.
fn wrong(name: &str, there: &str, place: Place) -> String {
    let right = match place {
        Place::Number(_, max) => format!("a number from 0 to {max}"),
        Place::Mac(_) => "a MAC address such as \"00:00:5e:00:53:01\"".to_owned(),
        Place::Address(_) => "an address such as \"192.0.2.1\" or \"2001:db8::1\"".to_owned(),
        Place::Text(_) => "a text in quotes".to_owned(),
        Place::List(_) => format!("a list of numbers from 0 to {}", u32::MAX),
    };
    format!("`{name}` holds {}, not {right}", shortened(there))
}

/// The beginning of a text that somebody else wrote.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A batch of rows. A column that no row names is absent.
///
/// # Panics
/// If a row names something that is no column of `schema`, or gives it a value of another kind: rows that were read
/// with the same schema do not.
#[must_use]
pub fn to_batch(rows: &[Row], schema: &Arc<Schema>, id: u64, now_ms: u64) -> Batch {
    let mut builder = BatchBuilder::new(Arc::clone(schema), ColumnSet::ALL, Pool::default());
    for row in rows {
        for (name, value) in row.iter() {
            let place = place_of(schema, name).expect("rows are read with the same schema");
            match (place, value) {
                (Place::Number(column, _) | Place::Mac(column), Value::Number(number) | Value::Mac(number)) => {
                    put(&mut builder, column, *number);
                }
                (Place::Address(pair), Value::Address(address)) => {
                    let (hi, lo) = halves_of(*address);
                    put(&mut builder, pair.hi, hi);
                    put(&mut builder, pair.lo, lo);
                }
                (Place::Text(column), Value::Text(text)) => builder.push_text(column, 0, text),
                (Place::List(column), Value::List(list)) => builder.push_list(column, 0, list),
                _ => panic!("`{name}` holds {value}"),
            }
        }
        builder.advance(1);
    }
    builder.finish(id, now_ms)
}

/// Sets a number in the next row. Unlike [`BatchBuilder::set_number`] it makes the column be there for a 0, too.
fn put(builder: &mut BatchBuilder, column: ColumnId, number: u64) {
    match builder.schema().width(column) {
        Some(Width::U8) => builder.set_u8(column, number as u8),
        Some(Width::U16) => builder.set_u16(column, number as u16),
        Some(Width::U32) => builder.set_u32(column, number as u32),
        _ => builder.set_u64(column, number),
    }
}

/// The rows of a batch; what is absent is left out.
#[must_use]
pub fn of_batch(batch: &Batch) -> Vec<Row> {
    (0..batch.rows()).map(|row| row_of(batch, row)).collect()
}

/// One row of a batch; what is absent is left out.
#[must_use]
pub fn row_of(batch: &Batch, row: usize) -> Row {
    let mut cells = Vec::new();
    for (number, column) in batch.columns() {
        let pair = ADDRESSES.iter().find(|pair| pair.hi == number || pair.lo == number);
        let (name, value) = match (pair, column) {
            // Told with the first half that is there.
            (Some(pair), _) if number == pair.lo && batch.has(pair.hi) => continue,
            (Some(pair), _) => match batch.addr(pair.hi, row) {
                Some(address) => (pair.name, Value::Address(address)),
                None => continue,
            },
            (None, Column::Text(texts)) => (name_of(batch, number), Value::Text(texts.get(row).to_owned())),
            (None, Column::Lists(lists)) => (name_of(batch, number), Value::List(lists.get(row).to_vec())),
            (None, column) if matches!(number, col::SRC_MAC | col::DST_MAC) => {
                (name_of(batch, number), Value::Mac(column.number(row)))
            }
            (None, column) => (name_of(batch, number), Value::Number(column.number(row))),
        };
        if !value.is_absent() {
            cells.push((name.to_owned(), value));
        }
    }
    Row(cells)
}

fn name_of(batch: &Batch, column: ColumnId) -> &str {
    batch.schema().name(column).expect("a column of a batch is one of its schema")
}

/// The rows as the value of `rows` in a fixture, a row a line; `[]` if there are none.
#[must_use]
pub fn to_toml(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "[]".to_owned();
    }
    let mut text = "[\n".to_owned();
    for row in rows {
        text.push_str(&format!("  {row},\n"));
    }
    text.push(']');
    text
}

/// A text as TOML writes it (TOML 1.0, "String"), on one line.
#[must_use]
pub fn toml_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The names that rows may use, for "did you mean" and for lists: columns, and addresses by their pair.
pub fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.names().filter(|name| half_of(schema, name).is_none())
}

/// What column or columns are called in a row.
#[must_use]
pub fn names_of(schema: &Schema, columns: ColumnSet) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in columns.iter() {
        let pair = ADDRESSES.iter().find(|pair| pair.hi == column || pair.lo == column);
        let name = pair.map_or_else(|| schema.name(column).unwrap_or("?"), |pair| pair.name);
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    names
}
