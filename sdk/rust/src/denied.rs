//! Why the host refused a call.

use std::fmt;

use crate::{ColumnId, Field, Width};

/// A refused call. It changed nothing.
///
/// `?` in [`process`](crate::Plugin::process) turns it into [`Failure::Fatal`](crate::Failure::Fatal), with the column named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The column it was about, if it was about one.
    pub column: Option<ColumnId>,
    /// Why.
    pub reason: Reason,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no batch now: the call came from outside `process`.
    NoBatch,
    /// The stage's grant does not cover the column, for reading or for writing.
    NotGranted,
    /// The column holds something else.
    WrongWidth(Width),
    /// No row of this batch has the column; it would read as zeros.
    Absent,
    /// The list has another length than the batch has rows (or, for a bitmap, words), given here.
    WrongLength(u32),
    /// A value is out of range: a code beyond the words, offsets that do not ascend, an index beyond the names.
    OutOfRange,
}

impl Denied {
    /// The refusal of a call about `column`.
    #[must_use]
    pub const fn of(column: ColumnId, reason: Reason) -> Denied {
        Denied { column: Some(column), reason }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column.map(|id| (id, Field::numbered(id))) {
            Some((_, Some(field))) => write!(f, "column `{}`: ", field.name)?,
            Some((id, None)) => write!(f, "column {id}: ")?,
            None => {}
        }
        match self.reason {
            Reason::NoBatch => f.write_str("there is no batch outside `process`"),
            Reason::NotGranted => f.write_str("the stage's grant does not cover it"),
            Reason::WrongWidth(width) => write!(f, "it holds {}", width.name()),
            Reason::Absent => f.write_str("no row has it"),
            Reason::WrongLength(rows) => write!(f, "the batch wants a length of {rows}"),
            Reason::OutOfRange => f.write_str("a value is out of range"),
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_column() {
        assert_eq!(
            Denied::of(20, Reason::NotGranted).to_string(),
            "column `bytes`: the stage's grant does not cover it"
        );
        assert_eq!(Denied::of(600, Reason::WrongWidth(Width::U32)).to_string(), "column 600: it holds u32");
    }
}
