//! Writes [sluice](https://github.com/sluice-flow/sluice) plugins in Rust.
//!
//! A plugin is a type that implements [`Plugin`] and is given to [`export!`]. It is called once per
//! batch, pulls the columns it wants as plain vectors ([`Batch::get`]), and writes columns, drops
//! rows ([`Batch::keep`]) or routes them ([`Batch::route`]). Nothing counts until `process` returned `Ok`.
//!
//! ```
//! use sluice_sdk::{Batch, Bitmap, Failure, Manifest, Plugin, columns};
//!
//! /// Keeps flows of more than 10 kB.
//! #[derive(Default)]
//! pub struct Large;
//!
//! impl Plugin for Large {
//!     fn init(&mut self, _config: &str, manifest: &mut Manifest) -> Result<(), String> {
//!         manifest.read(columns::BYTES);
//!         Ok(())
//!     }
//!
//!     fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
//!         let bytes = batch.get_or_zero(columns::BYTES)?;
//!         let large: Bitmap = bytes.iter().map(|bytes| *bytes > 10_000).collect();
//!         batch.keep(&large)?;
//!         Ok(())
//!     }
//! }
//!
//! sluice_sdk::export!(Large);
//!
//! // The same code runs natively, in a test:
//! # #[cfg(not(target_family = "wasm"))] {
//! use sluice_sdk::harness::Harness;
//! let mut harness = Harness::new().rows(3).column(columns::BYTES, [400, 20_000, 10_001]);
//! let mut plugin = Large;
//! harness.init(&mut plugin, "{}").unwrap();
//! harness.run(&mut plugin).unwrap();
//! assert_eq!(harness.kept(), [1, 2]);
//! # }
//! ```

// The export macros name the crate from outside, and so must the bindings that they share.
#[cfg(target_family = "wasm")]
extern crate self as sluice_sdk;

mod batch;
mod bitmap;
mod column;
pub mod columns;
pub mod config;
mod denied;
mod groups;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;
#[cfg(not(target_family = "wasm"))]
pub mod harness;
mod plugin;
pub mod rows;
mod services;

pub use batch::{Addresses, Batch, ListColumn, Number, Texts, Values};
pub use bitmap::Bitmap;
pub use column::{Address, Column, ColumnId, Columns, Field, Lists, Text, Width, address_named};
pub use denied::{Denied, Reason};
pub use plugin::{Failure, Manifest, Plugin};
pub use services::{Alert, Key, KeyColumns, Others, Table, assets, kernels, log, metrics};

// Where calls to the host go: in a component to the imports, natively to the harness.
#[cfg(target_family = "wasm")]
use guest as sys;
#[cfg(not(target_family = "wasm"))]
use harness::sys;

/// Number of the column called `name` (half of an address: `src_addr_hi`), or `None`. The way to an
/// operator's own columns, which have no constants.
#[must_use]
pub fn column_of(name: &str) -> Option<ColumnId> {
    sys::column_of(name)
}
