//! Which columns there are: the standard ones and those that an operator added by name.

use std::collections::HashMap;

use crate::{ADDRESSES, ColumnId, ColumnSet, FIELDS, Width};

/// Column numbers are below this; it bounds what an operator can add.
pub const MAX_COLUMNS: usize = 1024;

/// Operators' own columns are numbered from here, in the order of their names.
pub const FIRST_CUSTOM_COLUMN: ColumnId = 512;

/// A column that an operator added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomField {
    /// Name, in the form of the standard ones: lower case, digits and `_`.
    pub name: String,
    /// What it holds.
    pub width: Width,
    /// Information element it is read from: enterprise number (0 for IANA) and element id.
    pub element: Option<(u32, u16)>,
}

/// Why a set of columns is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A custom column is called like a standard one or like another custom one.
    #[error("column `{0}` exists already")]
    Duplicate(String),
    /// A name that could not be written in TOML, JSON and labels alike.
    #[error("column name `{0}` must be lower case letters, digits and `_`, and begin with a letter")]
    BadName(String),
    /// More than the numbers allow.
    #[error("{0} columns are more than the {max} there is room for", max = MAX_COLUMNS - FIRST_CUSTOM_COLUMN as usize)]
    TooMany(usize),
}

/// The columns of a running collector. Built once at start; the same for every batch.
#[derive(Clone, Debug)]
pub struct Schema {
    widths: Vec<Option<Width>>,
    names: HashMap<String, ColumnId>,
    custom: Vec<CustomField>,
}

impl Schema {
    /// The standard columns only.
    #[must_use]
    pub fn standard() -> Schema {
        Schema::with_custom(Vec::new()).expect("no custom column cannot collide")
    }

    /// The standard columns and `custom`.
    ///
    /// # Errors
    /// A name that is taken or malformed, or more columns than there are numbers.
    pub fn with_custom(mut custom: Vec<CustomField>) -> Result<Schema, SchemaError> {
        custom.sort_by(|a, b| a.name.cmp(&b.name));
        if custom.len() > MAX_COLUMNS - usize::from(FIRST_CUSTOM_COLUMN) {
            return Err(SchemaError::TooMany(custom.len()));
        }
        let mut widths = vec![None; usize::from(FIRST_CUSTOM_COLUMN) + custom.len()];
        let mut names = HashMap::new();
        for field in FIELDS {
            widths[usize::from(field.number)] = Some(field.width);
            names.insert(field.name.to_owned(), field.number);
        }
        for (field, number) in custom.iter().zip(FIRST_CUSTOM_COLUMN..) {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if !field.name.starts_with(|c: char| c.is_ascii_lowercase()) || !field.name.chars().all(fits) {
                return Err(SchemaError::BadName(field.name.clone()));
            }
            let is_pair = ADDRESSES.iter().any(|address| address.name == field.name);
            if is_pair || names.insert(field.name.clone(), number).is_some() {
                return Err(SchemaError::Duplicate(field.name.clone()));
            }
            widths[usize::from(number)] = Some(field.width);
        }
        Ok(Schema { widths, names, custom })
    }

    /// Number of the column called `name`; the name of an address pair is not a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<ColumnId> {
        self.names.get(name).copied()
    }

    /// Numbers meant by `name` in a grant or a list of fields: one column, or both halves of an address.
    #[must_use]
    pub fn columns(&self, name: &str) -> Option<Vec<ColumnId>> {
        if let Some(address) = ADDRESSES.iter().find(|address| address.name == name) {
            return Some(vec![address.hi, address.lo]);
        }
        self.column(name).map(|column| vec![column])
    }

    /// Every name that [`columns`](Self::columns) knows, in no order: for "did you mean".
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str).chain(ADDRESSES.iter().map(|address| address.name))
    }

    /// What `column` holds, or `None` if there is no such column.
    #[must_use]
    pub fn width(&self, column: ColumnId) -> Option<Width> {
        self.widths.get(usize::from(column)).copied().flatten()
    }

    /// Name of `column`.
    #[must_use]
    pub fn name(&self, column: ColumnId) -> Option<&str> {
        if let Some(custom) = column.checked_sub(FIRST_CUSTOM_COLUMN) {
            return self.custom.get(usize::from(custom)).map(|field| field.name.as_str());
        }
        let at = FIELDS.binary_search_by_key(&column, |field| field.number).ok()?;
        Some(FIELDS[at].name)
    }

    /// The operator's own columns with their numbers.
    pub fn custom(&self) -> impl Iterator<Item = (ColumnId, &CustomField)> {
        (FIRST_CUSTOM_COLUMN..).zip(&self.custom)
    }

    /// Every column there is.
    #[must_use]
    pub fn all(&self) -> ColumnSet {
        (0..self.slots() as ColumnId).filter(|column| self.width(*column).is_some()).collect()
    }

    /// One more than the highest column number.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.widths.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str) -> CustomField {
        CustomField { name: name.to_owned(), width: Width::U32, element: None }
    }

    #[test]
    fn custom_columns_are_numbered_by_name_and_may_not_collide() {
        let schema = Schema::with_custom(vec![custom("score"), custom("app")]).unwrap();
        assert_eq!(schema.column("app"), Some(512));
        assert_eq!(schema.name(513), Some("score"));
        assert_eq!(schema.width(512), Some(Width::U32));
        for taken in ["bytes", "src_addr"] {
            assert_eq!(Schema::with_custom(vec![custom(taken)]).unwrap_err(), SchemaError::Duplicate(taken.into()));
        }
        assert_eq!(Schema::with_custom(vec![custom("A b")]).unwrap_err(), SchemaError::BadName("A b".into()));
    }

    #[test]
    fn the_name_of_an_address_means_both_halves() {
        let schema = Schema::standard();
        assert_eq!(schema.columns("src_addr"), Some(vec![12, 13]));
        assert_eq!(schema.column("src_addr"), None);
        assert_eq!(schema.columns("bytes"), Some(vec![20]));
    }
}
