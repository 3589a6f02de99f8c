//! Where tables come from, what they may have at most, and why one is refused.

use std::path::{Path, PathBuf};

/// Bytes that a table file may have: the largest MMDB files have about 500 MiB.
pub const MAX_TABLE_BYTES: u64 = 1 << 30;
/// Prefixes that a table may have.
pub const MAX_PREFIXES: usize = 16 << 20;
/// Keys that a table of values may have.
pub const MAX_KEYS: usize = 16 << 20;
/// Bytes that a value may have.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Where a table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableSpec {
    /// A text file, `prefix,value` or `value,v4 prefixes,v6 prefixes` a line.
    Prefix {
        /// Path of the file.
        path: PathBuf,
        /// The column of the value where there are several, by its name in the first line or its number, from 1; the first is the prefix.
        column: Option<String>,
    },
    /// A file in MaxMind's format.
    Mmdb {
        /// Path of the file.
        path: PathBuf,
        /// Path of the value within a record, e.g. `country.iso_code`.
        field: String,
    },
    /// A text file, `key,value` or `key,number,value` a line.
    Values {
        /// Path of the file.
        path: PathBuf,
        /// The column of the value where there are several, as of prefixes.
        column: Option<String>,
        /// With a `column`, how many columns in front are the key: 1 or 2.
        key_columns: usize,
    },
}

impl TableSpec {
    /// A text file of prefixes and one value each.
    #[must_use]
    pub fn prefix(path: PathBuf) -> TableSpec {
        TableSpec::Prefix { path, column: None }
    }

    /// A text file of keys and one value each.
    #[must_use]
    pub fn values(path: PathBuf) -> TableSpec {
        TableSpec::Values { path, column: None, key_columns: 1 }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            TableSpec::Prefix { path, .. } | TableSpec::Mmdb { path, .. } | TableSpec::Values { path, .. } => path,
        }
    }

    /// Its `type` in the TOML: `prefix`, `mmdb` or `values`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            TableSpec::Prefix { .. } => "prefix",
            TableSpec::Mmdb { .. } => "mmdb",
            TableSpec::Values { .. } => "values",
        }
    }

    /// What of the file is the value: its `field` in the TOML, for text files its `column`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            TableSpec::Mmdb { field, .. } => Some(field),
            TableSpec::Prefix { column, .. } | TableSpec::Values { column, .. } => column.as_deref(),
        }
    }

    /// Its `key_columns` in the TOML, where they are not as many as they are by default.
    #[must_use]
    pub fn key_columns(&self) -> Option<usize> {
        match self {
            TableSpec::Values { column: Some(_), key_columns, .. } => {
                Some(*key_columns).filter(|columns| *columns != 1)
            }
            _ => None,
        }
    }

    /// The table whose `type` is `kind`, of another file; none if there is no such type, or it lacks its field.
    #[must_use]
    pub fn of(kind: &str, field: Option<&str>, key_columns: Option<usize>, path: PathBuf) -> Option<TableSpec> {
        let column = field.map(str::to_owned);
        match (kind, field) {
            ("prefix", _) => Some(TableSpec::Prefix { path, column }),
            ("mmdb", Some(field)) => Some(TableSpec::Mmdb { path, field: field.to_owned() }),
            ("values", _) => Some(TableSpec::Values { path, column, key_columns: key_columns.unwrap_or(1) }),
            _ => None,
        }
    }
}

/// Why a table could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file could not be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than a table may be.
    #[error("{} has {bytes} bytes, a table may have {MAX_TABLE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A line of a text file is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An MMDB file is wrong.
    #[error("{}: {problem}", path.display())]
    Mmdb {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such table.
    #[error("there is no table `{0}`")]
    Unknown(String),
}
