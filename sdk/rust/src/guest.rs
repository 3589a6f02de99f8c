//! In a component: the generated bindings, and the glue between them and [`Plugin`]. For
//! [`export!`](crate::export) only; nothing here is part of the interface.

use std::cell::RefCell;
use std::thread::LocalKey;

use bindings::sluice::plugin as wit;

use crate::kernels::Comparison;
use crate::services::{Cmp, Level};
use crate::{Alert, Batch, ColumnId, Failure, Manifest, Plugin, Reason, Width};

pub use bindings::export_stage;
pub use bindings::exports::sluice::plugin::stage::{Failure as WitFailure, Guest as Stage, Manifest as WitManifest};
pub use state_bindings::export_state;
pub use state_bindings::exports::sluice::plugin::state::Guest as State;
pub use state_bindings::exports::sluice::plugin::timer::Guest as Timer;
pub use wit_bindgen::rt;

/// World `plugin`: all imports, and the export `stage`.
#[allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, clippy::allow_attributes_without_reason)]
#[allow(clippy::clone_on_ref_ptr, clippy::unwrap_used, reason = "generated from wit/")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        runtime_path: "::sluice_sdk::guest::rt",
        default_bindings_module: "::sluice_sdk::guest::bindings",
        export_macro_name: "export_stage",
        pub_export_macro: true,
    });
}

/// What world `stateful` has besides: the linker merges both worlds' exports into one component.
#[allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, clippy::allow_attributes_without_reason)]
#[allow(clippy::clone_on_ref_ptr, clippy::unwrap_used, reason = "generated from wit/")]
pub mod state_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package sluice:sdk;
            world keeps-state {
                export sluice:plugin/timer@0.1.0;
                export sluice:plugin/state@0.1.0;
            }
        ",
        world: "sluice:sdk/keeps-state",
        runtime_path: "::sluice_sdk::guest::rt",
        default_bindings_module: "::sluice_sdk::guest::state_bindings",
        export_macro_name: "export_state",
        pub_export_macro: true,
    });
}

type Cell<P> = LocalKey<RefCell<P>>;

/// `stage.init`.
pub fn init<P: Plugin>(
    plugin: &'static Cell<P>,
    config: &str,
    name: &str,
    version: &str,
    stateful: bool,
) -> Result<WitManifest, String> {
    // Without it the text of a panic is lost: a trap says only where.
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
    let mut manifest = Manifest { name: name.to_owned(), version: version.to_owned(), stateful, ..Manifest::default() };
    plugin.with_borrow_mut(|plugin| plugin.init(config, &mut manifest))?;
    Ok(WitManifest {
        name: manifest.name,
        version: manifest.version,
        reads: manifest.reads,
        writes: manifest.writes,
        stateful: manifest.stateful,
        tick_ms: manifest.tick_ms,
    })
}

/// `stage.process`.
pub fn process<P: Plugin>(plugin: &'static Cell<P>) -> Result<(), WitFailure> {
    plugin.with_borrow_mut(|plugin| plugin.process(&mut Batch::current())).map_err(|failure| match failure {
        Failure::RetryLater(message) => WitFailure::RetryLater(message),
        Failure::Fatal(message) => WitFailure::Fatal(message),
    })
}

/// `timer.tick`.
pub fn tick<P: Plugin>(plugin: &'static Cell<P>, now_ms: u64) {
    plugin.with_borrow_mut(|plugin| plugin.tick(now_ms));
}

/// `state.snapshot`.
pub fn snapshot<P: Plugin>(plugin: &'static Cell<P>) -> Vec<u8> {
    plugin.with_borrow(Plugin::snapshot)
}

/// `state.restore`.
pub fn restore<P: Plugin>(plugin: &'static Cell<P>, data: &[u8]) -> Result<bool, String> {
    plugin.with_borrow_mut(|plugin| plugin.restore(data))
}

fn reason(denied: wit::types::Denied) -> Reason {
    use wit::types::{Denied, Width as W};
    match denied {
        Denied::NoBatch => Reason::NoBatch,
        Denied::NotGranted => Reason::NotGranted,
        Denied::WrongWidth(width) => Reason::WrongWidth(match width {
            W::W8 => Width::U8,
            W::W16 => Width::U16,
            W::W32 => Width::U32,
            W::W64 => Width::U64,
            W::Text => Width::Text,
            W::Lists => Width::Lists,
        }),
        Denied::Absent => Reason::Absent,
        Denied::WrongLength(length) => Reason::WrongLength(length),
        Denied::OutOfRange => Reason::OutOfRange,
    }
}

/// Numbers by the import that carries them.
pub trait Number: Sized {
    /// Reads a column.
    fn get(column: ColumnId) -> Result<Vec<Self>, Reason>;
    /// Replaces a column.
    fn set(column: ColumnId, values: &[Self]) -> Result<(), Reason>;
}

macro_rules! numbers {
    ($($type:ty, $get:ident, $set:ident;)*) => {$(
        impl Number for $type {
            fn get(column: ColumnId) -> Result<Vec<$type>, Reason> {
                wit::batch::$get(column).map_err(reason)
            }

            fn set(column: ColumnId, values: &[$type]) -> Result<(), Reason> {
                wit::batch::$set(column, values).map_err(reason)
            }
        }
    )*};
}

numbers! {
    u8, u8s, set_u8s;
    u16, u16s, set_u16s;
    u32, u32s, set_u32s;
    u64, u64s, set_u64s;
}

pub(crate) fn column_of(name: &str) -> Option<ColumnId> {
    wit::batch::column_of(name)
}

pub(crate) fn rows() -> u32 {
    wit::batch::rows()
}

pub(crate) fn id() -> u64 {
    wit::batch::id()
}

pub(crate) fn now_ms() -> u64 {
    wit::batch::now_ms()
}

pub(crate) fn has(column: ColumnId) -> bool {
    wit::batch::has(column)
}

pub(crate) fn texts(column: ColumnId) -> Result<(Vec<String>, Vec<u32>), Reason> {
    wit::batch::texts(column).map_err(reason)
}

pub(crate) fn lists(column: ColumnId) -> Result<(Vec<u32>, Vec<u32>), Reason> {
    wit::batch::u32_lists(column).map_err(reason)
}

pub(crate) fn set_texts(column: ColumnId, words: &[String], codes: &[u32]) -> Result<(), Reason> {
    wit::batch::set_texts(column, words, codes).map_err(reason)
}

pub(crate) fn set_lists(column: ColumnId, offsets: &[u32], values: &[u32]) -> Result<(), Reason> {
    wit::batch::set_u32_lists(column, offsets, values).map_err(reason)
}

pub(crate) fn clear(column: ColumnId) -> Result<(), Reason> {
    wit::batch::clear(column).map_err(reason)
}

pub(crate) fn keep(words: &[u32]) -> Result<(), Reason> {
    wit::batch::keep(words).map_err(reason)
}

pub(crate) fn route(names: &[String], index: &[u16]) -> Result<(), Reason> {
    wit::batch::route(names, index).map_err(reason)
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Error => wit::log::Level::Error,
        Level::Warn => wit::log::Level::Warn,
        Level::Info => wit::log::Level::Info,
        Level::Debug => wit::log::Level::Debug,
    };
    wit::log::log(level, message);
}

pub(crate) fn count(name: &str, add: u32) {
    wit::metrics::count(name, add);
}

pub(crate) fn gauge(name: &str, value: f64) {
    wit::metrics::gauge(name, value);
}

pub(crate) fn emit(alert: &Alert) {
    wit::events::emit(&wit::events::Alert {
        kind: alert.kind.clone(),
        severity: alert.severity,
        subject: alert.subject.clone(),
        value: alert.value,
        threshold: alert.threshold,
        note: alert.note.clone(),
    });
}

pub(crate) fn asset(name: &str) -> Result<Vec<u8>, String> {
    wit::assets::read(name)
}

fn cmp(cmp: Cmp) -> wit::types::Cmp {
    match cmp {
        Cmp::Eq => wit::types::Cmp::Eq,
        Cmp::Ne => wit::types::Cmp::Ne,
        Cmp::Lt => wit::types::Cmp::Lt,
        Cmp::Le => wit::types::Cmp::Le,
        Cmp::Gt => wit::types::Cmp::Gt,
        Cmp::Ge => wit::types::Cmp::Ge,
    }
}

pub(crate) fn test(column: ColumnId, op: Cmp, value: u64) -> Result<Vec<u32>, Reason> {
    wit::kernels::test(column, cmp(op), value).map_err(reason)
}

pub(crate) fn test_all(comparisons: &[Comparison]) -> Result<Vec<u32>, Reason> {
    let wire = |of: &Comparison| wit::kernels::Comparison { column: of.column, op: cmp(of.cmp), value: of.value };
    wit::kernels::test_all(&comparisons.iter().map(wire).collect::<Vec<_>>()).map_err(reason)
}

pub(crate) fn test_in(column: ColumnId, values: &[u64]) -> Result<Vec<u32>, Reason> {
    wit::kernels::test_in(column, values).map_err(reason)
}

pub(crate) fn test_prefix(
    hi: ColumnId,
    lo: ColumnId,
    hi_value: u64,
    lo_value: u64,
    bits: u8,
) -> Result<Vec<u32>, Reason> {
    wit::kernels::test_prefix(hi, lo, hi_value, lo_value, bits).map_err(reason)
}

pub(crate) fn fill(column: ColumnId, words: &[u32], value: u64) -> Result<(), Reason> {
    wit::kernels::fill(column, words, value).map_err(reason)
}

pub(crate) fn truncate(hi: ColumnId, lo: ColumnId, v4_bits: u8, v6_bits: u8) -> Result<(Vec<u32>, Vec<u32>), Reason> {
    let families = wit::kernels::truncate(hi, lo, v4_bits, v6_bits).map_err(reason)?;
    Ok((families.v4, families.v6))
}

pub(crate) fn sum(column: ColumnId, words: &[u32]) -> Result<u64, Reason> {
    wit::kernels::sum(column, words).map_err(reason)
}

pub(crate) fn group(columns: &[ColumnId], only: Option<&[u32]>) -> Result<Vec<u32>, Reason> {
    wit::kernels::group(columns, only).map_err(reason)
}

pub(crate) fn group_of_rows() -> Result<Vec<u32>, Reason> {
    wit::kernels::group_of_rows().map_err(reason)
}

pub(crate) fn group_counts(only: Option<&[u32]>) -> Result<Vec<u32>, Reason> {
    wit::kernels::group_counts(only).map_err(reason)
}

pub(crate) fn group_sums(column: ColumnId, times: Option<ColumnId>, only: Option<&[u32]>) -> Result<Vec<u64>, Reason> {
    wit::kernels::group_sums(column, times, only).map_err(reason)
}

pub(crate) fn keep_groups(words: &[u32]) -> Result<(), Reason> {
    wit::kernels::keep_groups(words).map_err(reason)
}

pub(crate) fn route_groups(names: &[String], index: &[u16]) -> Result<(), Reason> {
    wit::kernels::route_groups(names, index).map_err(reason)
}

pub(crate) fn numbers_at(column: ColumnId, rows: &[u32]) -> Result<Vec<u64>, Reason> {
    wit::kernels::numbers_at(column, rows).map_err(reason)
}

pub(crate) fn texts_at(column: ColumnId, rows: &[u32]) -> Result<Vec<String>, Reason> {
    wit::kernels::texts_at(column, rows).map_err(reason)
}

/// A table of the host.
#[derive(Debug)]
pub(crate) struct Table(wit::tables::Table);

impl Table {
    pub(crate) fn open(name: &str) -> Result<Table, String> {
        wit::tables::open(name).map(Table)
    }

    pub(crate) fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32> {
        self.0.lookup(hi, lo)
    }

    pub(crate) fn lookup_columns(&self, hi: ColumnId, lo: ColumnId) -> Result<Vec<u32>, Reason> {
        self.0.lookup_columns(hi, lo).map_err(reason)
    }

    pub(crate) fn lookup_into(
        &self,
        hi: ColumnId,
        lo: ColumnId,
        into: ColumnId,
        only: Option<&[u32]>,
        keep: bool,
    ) -> Result<(), Reason> {
        self.0.lookup_into(hi, lo, into, only, keep).map_err(reason)
    }

    pub(crate) fn value(&self, code: u32) -> Option<String> {
        self.0.value(code)
    }

    pub(crate) fn codes(&self) -> u32 {
        self.0.codes()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.0.generation()
    }
}

/// A key of the host.
#[derive(Debug)]
pub(crate) struct Key(wit::keys::Key);

impl Key {
    pub(crate) fn open(name: &str) -> Result<Key, String> {
        wit::keys::open(name).map(Key)
    }

    pub(crate) fn prefix_preserving(&self, hi: ColumnId, lo: ColumnId) -> Result<(), Reason> {
        self.0.prefix_preserving(hi, lo).map_err(reason)
    }

    pub(crate) fn keyed_hash(&self, hi: ColumnId, lo: ColumnId) -> Result<(), Reason> {
        self.0.keyed_hash(hi, lo).map_err(reason)
    }

    pub(crate) fn prf(&self, hi: &[u64], lo: &[u64]) -> Vec<u64> {
        self.0.prf(hi, lo)
    }
}
