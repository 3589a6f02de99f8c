//! What the host does for a plugin besides its batch: tables, keys, assets, kernels, and what it tells people.

use crate::{Address, Batch, Bitmap, Column, ColumnId, Columns, Denied, Reason, batch, sys};

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A person is needed.
    Error,
    /// Something is wrong and the plugin goes on.
    Warn,
    /// Worth knowing.
    Info,
    /// For the plugin's author.
    Debug,
}

/// Lines in the collector's log; see also the macros [`error!`](crate::error), [`warn!`](crate::warn),
/// [`info!`](crate::info) and [`debug!`](crate::debug).
pub mod log {
    pub use super::Level;
    use crate::sys;

    /// Logs one line, with the stage's name; cut after 4096 bytes, rate-limited per stage.
    pub fn write(level: Level, message: &str) {
        sys::log(level, message);
    }
}

/// Logs an error: a person is needed. Arguments as of `format!`.
#[macro_export]
macro_rules! error {
    ($($args:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($args)+)) };
}

/// Logs a warning: something is wrong and the plugin goes on. Arguments as of `format!`.
#[macro_export]
macro_rules! warn {
    ($($args:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($args)+)) };
}

/// Logs what is worth knowing. Arguments as of `format!`.
#[macro_export]
macro_rules! info {
    ($($args:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($args)+)) };
}

/// Logs for the plugin's author. Arguments as of `format!`.
#[macro_export]
macro_rules! debug {
    ($($args:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($args)+)) };
}

/// The plugin's own counters and gauges, published with the stage's name: at most 64 names per
/// stage, of at most 64 bytes, lower case, digits and `_`.
pub mod metrics {
    use crate::sys;

    /// Adds to a counter.
    pub fn count(name: &str, add: u32) {
        sys::count(name, add);
    }

    /// Sets a gauge.
    pub fn gauge(name: &str, value: f64) {
        sys::gauge(name, value);
    }
}

/// Something that a person or another program should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is, from a closed set, e.g. `dos-raised`.
    pub kind: String,
    /// 0 emergency to 7 debug, as in syslog (RFC 5424, section 6.2.1).
    pub severity: u8,
    /// What it is about, e.g. an address.
    pub subject: String,
    /// The measured value.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// For people, with the unit.
    pub note: String,
}

impl Alert {
    /// Raises the alert. Those of a `process` that fails are not raised; rate-limited per stage.
    pub fn emit(&self) {
        sys::emit(self);
    }
}

/// Read-only files named in the TOML.
pub mod assets {
    use crate::sys;

    /// The whole file, as it was when the stage was loaded.
    ///
    /// # Errors
    /// What is wrong, e.g. that the grant does not cover it.
    pub fn read(name: &str) -> Result<Vec<u8>, String> {
        sys::asset(name)
    }
}

/// The columns of a key of a table of values.
#[derive(Clone, Copy, Debug)]
pub struct KeyColumns(Parts);

#[derive(Clone, Copy, Debug)]
enum Parts {
    Number(ColumnId),
    Numbers(ColumnId, ColumnId),
    Address(Address),
    Addressed(Address, ColumnId),
}

impl KeyColumns {
    /// The number in a column of any numeric width, e.g. a port. An operator's own column does as well.
    #[must_use]
    pub const fn number(column: ColumnId) -> KeyColumns {
        KeyColumns(Parts::Number(column))
    }

    /// The numbers in two columns. The first is not the high half of an address.
    #[must_use]
    pub const fn numbers(first: ColumnId, second: ColumnId) -> KeyColumns {
        KeyColumns(Parts::Numbers(first, second))
    }

    /// An address.
    #[must_use]
    pub const fn address(address: Address) -> KeyColumns {
        KeyColumns(Parts::Address(address))
    }

    /// An address and a number, e.g. an exporter and the index of one of its interfaces.
    #[must_use]
    pub const fn addressed(address: Address, number: ColumnId) -> KeyColumns {
        KeyColumns(Parts::Addressed(address, number))
    }

    /// The columns that stand for the key in `lookup-columns`.
    fn pair(self) -> (ColumnId, ColumnId) {
        match self.0 {
            Parts::Number(number) => (0, number),
            Parts::Numbers(first, second) => (first, second),
            Parts::Address(address) => (address.hi.id(), address.lo.id()),
            Parts::Addressed(address, number) => (address.hi.id(), number),
        }
    }
}

impl Columns for KeyColumns {
    fn each(&self, each: &mut dyn FnMut(ColumnId)) {
        match self.0 {
            Parts::Number(number) => each(number),
            Parts::Numbers(first, second) => [first, second].into_iter().for_each(each),
            Parts::Address(address) => address.each(each),
            Parts::Addressed(address, number) => {
                address.each(each);
                each(number);
            }
        }
    }
}

/// What becomes of rows that [`Table::lookup_into`] has nothing to write into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They become 0 or empty.
    Blank,
    /// They stay as they are.
    Keep,
}

/// A prefix or MMDB table, or one of values, that the host owns. A lookup gives a code per row; 0 means that
/// nothing matched. Codes are those of one [`generation`](Self::generation).
#[derive(Debug)]
pub struct Table(sys::Table);

impl Table {
    /// Opens the table called `name` in the TOML.
    ///
    /// # Errors
    /// What is wrong, e.g. that there is no such table or that it is not granted.
    pub fn open(name: &str) -> Result<Table, String> {
        sys::Table::open(name).map(Table)
    }

    /// Whether anything can be found in the table by these columns: for `init`, so that a table of another type is an error in the
    /// configuration. What is wrong with it is added by the host to the error of `init`. With a batch it costs as much as a lookup.
    ///
    /// # Errors
    /// Wrong-width: the table has other keys, or a column is not numeric.
    pub fn check(&self, key: KeyColumns) -> Result<(), Denied> {
        let (hi, lo) = key.pair();
        match self.0.lookup_columns(hi, lo) {
            Err(reason @ Reason::WrongWidth(_)) => Err(Denied::of(lo, reason)),
            _ => Ok(()),
        }
    }

    /// Codes of the longest prefixes that cover the addresses given as halves, which are of one length. In a table of
    /// values, codes of keys in two numbers: a number is `(0, n)`, an address its halves, an IPv4 address beside a number its
    /// low half and the number.
    #[must_use]
    pub fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32> {
        self.0.lookup(hi, lo)
    }

    /// The same for an address column of the batch: one code per row, and nothing crosses but the codes.
    ///
    /// # Errors
    /// As [`Batch::get`]: absent if no row has the address.
    pub fn lookup_columns(&self, batch: &Batch, address: Address) -> Result<Vec<u32>, Denied> {
        let _: &Batch = batch;
        let id = address.hi.id();
        self.0.lookup_columns(id, address.lo.id()).map_err(|reason| Denied::of(id, reason))
    }

    /// The same, or `None` if no row has the address.
    ///
    /// # Errors
    /// As [`lookup_columns`](Self::lookup_columns), but absence is none.
    pub fn find_columns(&self, batch: &Batch, address: Address) -> Result<Option<Vec<u32>>, Denied> {
        match self.lookup_columns(batch, address) {
            Ok(codes) => Ok(Some(codes)),
            Err(Denied { reason: Reason::Absent, .. }) => Ok(None),
            Err(denied) => Err(denied),
        }
    }

    /// Codes of the keys that columns of the batch hold, in a table of values: one a row. Absent numbers count as 0.
    ///
    /// # Errors
    /// As [`Batch::get`], and wrong-width for a column that is not numeric: absent if no row has any of the columns, and the
    /// table nothing for 0.
    pub fn lookup_keys(&self, batch: &Batch, key: KeyColumns) -> Result<Vec<u32>, Denied> {
        let _: &Batch = batch;
        let (hi, lo) = key.pair();
        self.0.lookup_columns(hi, lo).map_err(|reason| Denied::of(lo, reason))
    }

    /// The same, or `None` if no row has any of the columns.
    ///
    /// # Errors
    /// As [`lookup_keys`](Self::lookup_keys), but absence is none.
    pub fn find_keys(&self, batch: &Batch, key: KeyColumns) -> Result<Option<Vec<u32>>, Denied> {
        match self.lookup_keys(batch, key) {
            Ok(codes) => Ok(Some(codes)),
            Err(Denied { reason: Reason::Absent, .. }) => Ok(None),
            Err(denied) => Err(denied),
        }
    }

    /// Writes what the table says of each row into a column, as text or as a number in decimal digits, with `AS` before them or not:
    /// nothing crosses. `others` are the rows without a match, those that `only` leaves out, and those whose value is no number that
    /// the column has room for, which is logged. Returns whether the batch has the columns of the key: without them nothing is written.
    ///
    /// # Errors
    /// As [`lookup_keys`](Self::lookup_keys), and as [`Batch::set`] for `into`: wrong-width for one of lists.
    pub fn lookup_into(
        &self,
        batch: &mut Batch,
        key: KeyColumns,
        into: ColumnId,
        only: Option<&Bitmap>,
        others: Others,
    ) -> Result<bool, Denied> {
        let _: &mut Batch = batch;
        let (hi, lo) = key.pair();
        match self.0.lookup_into(hi, lo, into, only.map(Bitmap::words), others == Others::Keep) {
            Ok(()) => Ok(true),
            Err(Reason::Absent) => Ok(false),
            Err(reason) => {
                // The answer does not say which of the columns it is about.
                let is_of_key = self.0.lookup_columns(hi, lo).is_err();
                Err(Denied::of(if is_of_key { lo } else { into }, reason))
            }
        }
    }

    /// The value of a code, or `None` for 0 and for codes of another generation. Keep it: it is a call and a text.
    #[must_use]
    pub fn value(&self, code: u32) -> Option<String> {
        self.0.value(code)
    }

    /// One more than the highest code.
    #[must_use]
    pub fn codes(&self) -> u32 {
        self.0.codes()
    }

    /// Changes whenever the table was exchanged: codes learned before are void. Does not change
    /// within one call of `process`.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }
}

/// A key that the host owns. It never enters the plugin.
#[derive(Debug)]
pub struct Key(sys::Key);

impl Key {
    /// Opens the key called `name` in the TOML.
    ///
    /// # Errors
    /// What is wrong, e.g. that there is no such key or that it is not granted.
    pub fn open(name: &str) -> Result<Key, String> {
        sys::Key::open(name).map(Key)
    }

    /// Replaces an address column by its prefix-preserving anonymisation (Crypto-PAn); IPv4 stays
    /// IPv4, absent addresses stay absent.
    ///
    /// # Errors
    /// If the grant does not cover reading and writing both halves, or no row has the address.
    pub fn prefix_preserving(&self, batch: &mut Batch, address: Address) -> Result<(), Denied> {
        let _: &mut Batch = batch;
        let id = address.hi.id();
        self.0.prefix_preserving(id, address.lo.id()).map_err(|reason| Denied::of(id, reason))
    }

    /// Replaces an address column by the first bits of a keyed hash (HMAC-SHA-256): 32 for IPv4,
    /// which stays IPv4, 128 for IPv6. Absent addresses stay absent.
    ///
    /// # Errors
    /// As [`prefix_preserving`](Self::prefix_preserving).
    pub fn keyed_hash(&self, batch: &mut Batch, address: Address) -> Result<(), Denied> {
        let _: &mut Batch = batch;
        let id = address.hi.id();
        self.0.keyed_hash(id, address.lo.id()).map_err(|reason| Denied::of(id, reason))
    }

    /// A pseudo-random function of each pair: 64 bits of HMAC-SHA-256 over its 16 big-endian bytes.
    /// The lists are of one length.
    #[must_use]
    pub fn prf(&self, hi: &[u64], lo: &[u64]) -> Vec<u64> {
        self.0.prf(hi, lo)
    }
}

/// How [`kernels::test`] compares a value (left) with the given one (right), both unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Ge,
}

/// Loops over columns that run in the host. Compiled plugins rarely need them: reading the column
/// costs no more. They see what this call of `process` has written so far.
pub mod kernels {
    pub use super::Cmp;
    use super::{Address, Batch, Bitmap, Column, ColumnId, Denied, batch, sys};
    pub use crate::groups::{Groups, group, numbers_at, texts_at};

    /// Rows whose number compares as asked with `value`. An absent column compares as zeros.
    ///
    /// # Errors
    /// As [`Batch::get`].
    pub fn test<T: batch::Number>(batch: &Batch, column: Column<T>, cmp: Cmp, value: u64) -> Result<Bitmap, Denied> {
        rows(batch, sys::test(column.id(), cmp, value).map_err(|reason| Denied::of(column.id(), reason)))
    }

    /// A number of each row, and what it is compared with.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Comparison {
        pub(crate) column: ColumnId,
        pub(crate) cmp: Cmp,
        pub(crate) value: u64,
    }

    impl Comparison {
        /// Compares the number of a row (left) with `value`.
        #[must_use]
        pub fn new<T: batch::Number>(column: Column<T>, cmp: Cmp, value: u64) -> Comparison {
            Comparison { column: column.id(), cmp, value }
        }
    }

    /// Rows for which every one of up to 64 comparisons holds; without any, all rows.
    ///
    /// # Errors
    /// As [`Batch::get`], and out-of-range for more than 64.
    pub fn test_all(batch: &Batch, comparisons: &[Comparison]) -> Result<Bitmap, Denied> {
        let words = sys::test_all(comparisons).map_err(|reason| {
            // The answer does not say which of the columns it is about.
            let refused = |of: &&Comparison| sys::test(of.column, of.cmp, of.value).is_err();
            Denied { column: comparisons.iter().find(refused).map(|of| of.column), reason }
        });
        rows(batch, words)
    }

    /// Rows whose number is one of `values`.
    ///
    /// # Errors
    /// As [`Batch::get`].
    pub fn test_in<T: batch::Number>(batch: &Batch, column: Column<T>, values: &[u64]) -> Result<Bitmap, Denied> {
        rows(batch, sys::test_in(column.id(), values).map_err(|reason| Denied::of(column.id(), reason)))
    }

    /// Rows whose address lies in the prefix `value` (as a number of 128 bits) of `bits` bits, counted
    /// from the left of the 128: an IPv4 prefix has 96 more than it is written with.
    ///
    /// # Errors
    /// As [`Batch::get`], and out-of-range for more than 128 bits.
    pub fn test_prefix(batch: &Batch, address: Address, value: u128, bits: u8) -> Result<Bitmap, Denied> {
        let (hi, lo) = ((value >> 64) as u64, value as u64);
        let words = sys::test_prefix(address.hi.id(), address.lo.id(), hi, lo, bits);
        rows(batch, words.map_err(|reason| Denied::of(address.hi.id(), reason)))
    }

    /// Sets a numeric column to `value` in the rows chosen; elsewhere it stays as it is, and an absent column becomes
    /// one of zeros first.
    ///
    /// # Errors
    /// As [`Batch::set`].
    pub fn fill<T>(batch: &mut Batch, column: Column<T>, chosen: &Bitmap, value: T) -> Result<(), Denied>
    where
        T: batch::Number + Into<u64>,
    {
        let _: &mut Batch = batch;
        sys::fill(column.id(), chosen.words(), value.into()).map_err(|reason| Denied::of(column.id(), reason))
    }

    /// Rows by what their address is; one whose address is absent is in neither.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Families {
        /// Rows with an IPv4 address: IPv4-mapped (RFC 4291, section 2.5.5.2).
        pub v4: Bitmap,
        /// Rows with another address.
        pub v6: Bitmap,
    }

    /// Zeroes the bits of each row's address after the first `v4_bits`, 0 to 32, of an IPv4 address, and after the first
    /// `v6_bits`, 0 to 128, of another; and says which rows had which. With 32 and 128 nothing is written.
    ///
    /// # Errors
    /// As [`Batch::addresses`] and [`Batch::set_addresses`], and out-of-range for more bits: absent if no row has the
    /// address.
    pub fn truncate(batch: &mut Batch, address: Address, v4_bits: u8, v6_bits: u8) -> Result<Families, Denied> {
        let (hi, lo) = (address.hi.id(), address.lo.id());
        let (v4, v6) = sys::truncate(hi, lo, v4_bits, v6_bits).map_err(|reason| Denied::of(hi, reason))?;
        let rows = batch.rows();
        Ok(Families { v4: Bitmap::from_words(rows, v4), v6: Bitmap::from_words(rows, v6) })
    }

    /// Sum of a numeric column over the rows chosen; it stays at 2^64 - 1 when it would pass it.
    ///
    /// # Errors
    /// As [`Batch::get`].
    pub fn sum<T: batch::Number>(batch: &Batch, column: Column<T>, chosen: &Bitmap) -> Result<u64, Denied> {
        let _: &Batch = batch;
        sys::sum(column.id(), chosen.words()).map_err(|reason| Denied::of(column.id(), reason))
    }

    fn rows(batch: &Batch, words: Result<Vec<u32>, Denied>) -> Result<Bitmap, Denied> {
        Ok(Bitmap::from_words(batch.rows(), words?))
    }
}
