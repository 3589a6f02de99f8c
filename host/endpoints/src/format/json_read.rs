//! Rows from JSON, as goflow2 writes it by default and as the writer beside this does.
//!
//! Keys are goflow2's, those of the writer beyond them, and the names of columns and addresses. A
//! value may be a number or a decimal text where a number is due, and a number where a name is due
//! (`etype`, `proto`, `type`, `layer_stack`, MAC addresses, networks); `null` and `""` are absent. The
//! value is parsed as it is read: no tree, and no more memory than the rows take.

mod row;

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use sluice_flow::{ADDRESSES, BatchBuilder, ColumnSet, Schema};

use self::row::{Row, expected, whole};
use super::field::{self, Field, Kind};

/// Rows of one value at most: a value of `{}` and `{}` would else become many times its size.
pub const MAX_ROWS: usize = 1 << 16;

/// What was read from one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Rows that were appended.
    pub rows: usize,
    /// Keys that no column is called by; they were skipped, whatever they held.
    pub unknown_keys: usize,
}

/// Why a value could not be read. Nothing of it is in the batch then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// There is no object at all.
    #[error("no object")]
    Empty,
    /// Not JSON.
    #[error("object {row} is not JSON: {problem}")]
    Malformed {
        /// Objects before it.
        row: usize,
        /// What the parser says; lines and columns count from the beginning of the object.
        problem: String,
    },
    /// The value ends inside an object.
    #[error("object {row} is cut short")]
    Truncated {
        /// Objects before it.
        row: usize,
    },
    /// Something else than an object where a row begins.
    #[error("{row} objects and then something that is none")]
    NotAnObject {
        /// Objects before it.
        row: usize,
    },
    /// More objects than a value may have.
    #[error("more than {MAX_ROWS} objects")]
    TooManyRows,
    /// A list where a number is due, say.
    #[error("`{key}` holds {found}, not {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// What the column takes.
        expected: &'static str,
        /// What there was instead.
        found: &'static str,
    },
    /// A value of the right type that the column cannot hold: a number below zero, with a fraction or too
    /// large, or a text that is no number, address or known name.
    #[error("`{key}` holds `{found}`, not {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// What the column takes.
        expected: &'static str,
        /// The beginning of what there was instead.
        found: String,
    },
}

impl JsonError {
    /// The reason under which the error is counted.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            JsonError::Empty => "empty",
            JsonError::Malformed { .. } => "malformed",
            JsonError::Truncated { .. } => "truncated",
            JsonError::NotAnObject { .. } => "not_an_object",
            JsonError::TooManyRows => "too_many_rows",
            JsonError::WrongType { .. } => "wrong_type",
            JsonError::BadValue { .. } => "bad_value",
        }
    }
}

/// Reads rows from JSON. Holds the names of one schema's columns.
#[derive(Debug)]
pub struct JsonReader {
    names: Names,
    /// The list that is being read.
    list: Vec<u32>,
}

impl JsonReader {
    /// A reader for batches of `schema`.
    #[must_use]
    pub fn new(schema: &Schema) -> JsonReader {
        JsonReader { names: Names::new(schema), list: Vec::new() }
    }

    /// Reads the objects of one value, one after another with or without white space between them, and
    /// appends each to `out` as one row. Of a key that comes twice the last value counts; columns that
    /// nobody wants are not looked at.
    ///
    /// # Errors
    /// If one of the objects is bad, nothing of the value is appended.
    pub fn read(&mut self, value: &[u8], out: &mut BatchBuilder) -> Result<Read, JsonError> {
        let before = out.rows();
        let read = self.objects(value, out);
        if read.is_err() {
            out.truncate(before);
        }
        read
    }

    fn objects(&mut self, value: &[u8], out: &mut BatchBuilder) -> Result<Read, JsonError> {
        let mut read = Read::default();
        let mut left = value.trim_ascii_start();
        while let Some(first) = left.first() {
            let row = read.rows;
            if *first != b'{' {
                return Err(JsonError::NotAnObject { row });
            }
            if row == MAX_ROWS {
                return Err(JsonError::TooManyRows);
            }
            let mut json = serde_json::Deserializer::from_slice(left);
            let mut problem = None;
            let object = Object {
                names: &mut self.names,
                row: Row { out, list: &mut self.list, set: ColumnSet::EMPTY, problem: &mut problem },
            };
            read.unknown_keys += json.deserialize_map(object).map_err(|error| {
                problem.unwrap_or_else(|| match error.classify() {
                    Category::Eof => JsonError::Truncated { row },
                    _ => JsonError::Malformed { row, problem: error.to_string() },
                })
            })?;
            out.advance(1);
            read.rows += 1;
            // A stream of the same parser knows where it has come to, unlike the parser itself.
            let end = json.into_iter::<IgnoredAny>().byte_offset();
            left = left.get(end..).unwrap_or_default().trim_ascii_start();
        }
        if read.rows == 0 { Err(JsonError::Empty) } else { Ok(read) }
    }
}

/// Where a key's value goes.
#[derive(Debug)]
struct Place {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
struct Names {
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
    /// The place that comes next if the keys have the writer's order, as they mostly have.
    next: usize,
}

impl Names {
    fn new(schema: &Schema) -> Names {
        let fields = field::goflow2().into_iter().chain(field::beyond_goflow2(schema));
        let places: Vec<Place> = fields.map(|Field { name, kind }| Place { name, kind }).collect();
        let known = places.iter().enumerate().map(|(at, place)| (place.name.clone(), at));
        let mut by_name: HashMap<String, usize> = known.collect();
        // Names of columns and addresses that goflow2 calls differently. Half an address has no place.
        let is_half =
            |name: &str| ADDRESSES.iter().any(|pair| [pair.hi, pair.lo].map(Some).contains(&schema.column(name)));
        for name in schema.names().filter(|name| !is_half(name)) {
            let at = field::of_name(schema, name).and_then(|field| by_name.get(&field.name).copied());
            if let Some(at) = at {
                by_name.entry(name.to_owned()).or_insert(at);
            }
        }
        Names { places, by_name, next: 0 }
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let is_next = self.places.get(self.next).is_some_and(|place| place.name == name);
        let at = if is_next { self.next } else { *self.by_name.get(name)? };
        self.next = at + 1;
        Some(at)
    }
}

/// One object, which becomes one row; gives the number of keys that were skipped.
struct Object<'a> {
    names: &'a mut Names,
    row: Row<'a>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<usize, A::Error> {
        let mut unknown = 0;
        self.names.next = 0;
        while let Some(at) = object.next_key_seed(Key(self.names))? {
            match at.and_then(|at| self.names.places.get(at)) {
                Some(place) if self.row.wants(place.kind) => {
                    object.next_value_seed(Value { place, row: &mut self.row, is_entry: false })?;
                }
                place => {
                    unknown += usize::from(place.is_none());
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(unknown)
    }
}

/// A key, which becomes its place.
struct Key<'a>(&'a mut Names);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Option<usize>, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.find(key))
    }
}

/// The value of a key, or an entry of the list that is one: a number, a text, or a list of them.
struct Value<'a, 'b> {
    place: &'a Place,
    row: &'a mut Row<'b>,
    is_entry: bool,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(expected(self.place.kind))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.is_entry { self.row.wrong_type(self.place, "null") } else { Ok(()) }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        if self.is_entry { self.row.push(self.place, number) } else { self.row.number(self.place, number) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.row.bad_value(self.place, &number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        match whole(number) {
            Some(number) => self.visit_u64(number),
            None => self.row.bad_value(self.place, &number),
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.row.wrong_type(self.place, "a truth value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.is_entry { self.row.push_named(self.place, text) } else { self.row.text(self.place, text) }
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.row.wrong_type(self.place, "an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.is_entry || !matches!(self.place.kind, Kind::List(_) | Kind::Layers(_)) {
            return self.row.wrong_type(self.place, "a list");
        }
        self.row.list.clear();
        while list.next_element_seed(Value { place: self.place, row: self.row, is_entry: true })?.is_some() {}
        self.row.end_list(self.place);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
