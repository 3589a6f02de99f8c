//! Flow records in columns: [`Batch`], [`Column`], [`Schema`] and the one table of [`FIELDS`].
//!
//! Pure data. Nothing here reads a clock, opens a file, spawns a thread or waits; whoever needs
//! "now" passes it in. Everything else in sluice speaks this crate's types.

mod address;
mod batch;
mod builder;
mod column;
mod dead_letter;
pub mod fetch;
mod field;
mod partition;
mod pool;
mod schema;
mod set;
mod stage;
mod table;
mod unknown;

pub use address::{addr_of, halves_of};
pub use batch::{Batch, Finding, Routes, SetError};
pub use builder::BatchBuilder;
pub use column::{Column, Lists, Texts};
pub use dead_letter::DeadLetter;
pub use field::{ADDRESSES, AddressField, FIELDS, Field, Width, col, name_of_flow_type};
pub use partition::Partition;
pub use pool::Pool;
pub use schema::{CustomField, FIRST_CUSTOM_COLUMN, MAX_COLUMNS, Schema, SchemaError};
pub use set::ColumnSet;
pub use table::table;
pub use unknown::Unknown;

/// Number of a column. Standard numbers are those of [`FIELDS`]; they never change and are never
/// reused. Operators' own columns start at [`FIRST_CUSTOM_COLUMN`].
pub type ColumnId = u16;
