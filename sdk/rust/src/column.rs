//! What names a column: typed constants ([`crate::columns`]), and numbers where the configuration says which.

use std::fmt;
use std::marker::PhantomData;

/// Number of a column. The standard numbers never change and are never reused; an operator's own
/// columns have a name only and are resolved with [`crate::column_of`].
pub type ColumnId = u16;

/// A numeric column: one `T` per row, 0 where the flow record did not have it.
pub struct Column<T> {
    id: ColumnId,
    holds: PhantomData<fn() -> T>,
}

impl<T> Column<T> {
    /// The column numbered `id`, said to hold `T`; a wrong `T` is answered with a wrong-width refusal at run time.
    #[must_use]
    pub const fn new(id: ColumnId) -> Column<T> {
        Column { id, holds: PhantomData }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> ColumnId {
        self.id
    }
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Column<T> {
        *self
    }
}

impl<T> Copy for Column<T> {}

impl<T> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Column").field(&self.id).finish()
    }
}

/// A text column: one text per row, empty where the flow record did not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    id: ColumnId,
}

impl Text {
    /// The text column numbered `id`.
    #[must_use]
    pub const fn new(id: ColumnId) -> Text {
        Text { id }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> ColumnId {
        self.id
    }
}

/// A list column: 32-bit numbers per row, none where the flow record did not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lists {
    id: ColumnId,
}

impl Lists {
    /// The list column numbered `id`.
    #[must_use]
    pub const fn new(id: ColumnId) -> Lists {
        Lists { id }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> ColumnId {
        self.id
    }
}

/// An address: two columns that belong together, and two that record its anonymisation.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// Name of the pair, as in grants.
    pub name: &'static str,
    /// High half of the 128 bits; IPv4 is `::ffff:a.b.c.d`, both halves 0 mean absent.
    pub hi: Column<u64>,
    /// Low half of the 128 bits.
    pub lo: Column<u64>,
    /// How it was anonymised: 0 not, 1 Crypto-PAn, 2 truncated, 3 both, 4 keyed hash.
    pub anon: Column<u8>,
    /// How many leading bits are the original ones, counted in its own family.
    pub preserved: Column<u8>,
}

impl Address {
    /// The address called `name` whose columns are, in this order, high half, low half, how it was
    /// anonymised, and how many bits were preserved.
    #[must_use]
    pub const fn new(name: &'static str, [hi, lo, anon, preserved]: [ColumnId; 4]) -> Address {
        Address {
            name,
            hi: Column::new(hi),
            lo: Column::new(lo),
            anon: Column::new(anon),
            preserved: Column::new(preserved),
        }
    }
}

/// What a column holds per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// Text, dictionary coded.
    Text,
    /// A list of 32-bit numbers.
    Lists,
}

impl Width {
    /// The name in messages: `u8`, `u16`, `u32`, `u64`, `text` or `lists`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Width::U8 => "u8",
            Width::U16 => "u16",
            Width::U32 => "u32",
            Width::U64 => "u64",
            Width::Text => "text",
            Width::Lists => "lists",
        }
    }
}

/// A standard column as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number.
    pub number: ColumnId,
    /// Its name, as in TOML.
    pub name: &'static str,
    /// What it holds.
    pub width: Width,
}

impl Field {
    /// The standard column called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Field> {
        crate::columns::STANDARD.iter().find(|field| field.name == name)
    }

    /// The standard column numbered `id`.
    #[must_use]
    pub fn numbered(id: ColumnId) -> Option<&'static Field> {
        let at = crate::columns::STANDARD.binary_search_by_key(&id, |field| field.number).ok()?;
        crate::columns::STANDARD.get(at)
    }
}

/// The standard address called `name`, e.g. `src_addr`.
#[must_use]
pub fn address_named(name: &str) -> Option<&'static Address> {
    crate::columns::ADDRESSES.iter().find(|address| address.name == name)
}

/// What can be named in a [`Manifest`](crate::Manifest): one column, or both halves of an address.
pub trait Columns {
    /// Calls `each` with the number of every column meant.
    fn each(&self, each: &mut dyn FnMut(ColumnId));
}

impl<T> Columns for Column<T> {
    fn each(&self, each: &mut dyn FnMut(ColumnId)) {
        each(self.id);
    }
}

impl Columns for Text {
    fn each(&self, each: &mut dyn FnMut(ColumnId)) {
        each(self.id);
    }
}

impl Columns for Lists {
    fn each(&self, each: &mut dyn FnMut(ColumnId)) {
        each(self.id);
    }
}

impl Columns for ColumnId {
    fn each(&self, each: &mut dyn FnMut(ColumnId)) {
        each(*self);
    }
}

impl Columns for Address {
    fn each(&self, each: &mut dyn FnMut(ColumnId)) {
        each(self.hi.id);
        each(self.lo.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{ADDRESSES, STANDARD};

    #[test]
    fn standard_columns_are_found_by_name_and_by_number() {
        assert!(STANDARD.is_sorted_by(|a, b| a.number < b.number));
        for field in STANDARD {
            assert_eq!(Field::named(field.name), Some(field));
            assert_eq!(Field::numbered(field.number), Some(field));
        }
        assert_eq!(Field::numbered(65535), None);
    }

    #[test]
    fn the_parts_of_an_address_are_columns_of_its_name() {
        for address in ADDRESSES {
            let parts = [(address.hi.id(), "hi"), (address.lo.id(), "lo"), (address.anon.id(), "anon")];
            for (id, part) in parts.into_iter().chain([(address.preserved.id(), "preserved")]) {
                assert_eq!(Field::numbered(id).unwrap().name, format!("{}_{part}", address.name));
            }
            assert_eq!(address_named(address.name).unwrap().hi.id(), address.hi.id());
        }
    }
}
