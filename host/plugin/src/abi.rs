//! The types of `wit/` that cross the boundary, as wasmtime lifts and lowers them.

use sluice_flow::ColumnId;
use wasmtime::component::{ComponentType, Lift, Lower, WasmStr};

/// Version of the package `sluice:plugin` that this collector speaks.
pub(crate) const VERSION: &str = "0.1.0";

/// `types.width`.
#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Width {
    #[component(name = "w8")]
    W8,
    #[component(name = "w16")]
    W16,
    #[component(name = "w32")]
    W32,
    #[component(name = "w64")]
    W64,
    #[component(name = "text")]
    Text,
    #[component(name = "lists")]
    Lists,
}

impl From<sluice_flow::Width> for Width {
    fn from(width: sluice_flow::Width) -> Width {
        match width {
            sluice_flow::Width::U8 => Width::W8,
            sluice_flow::Width::U16 => Width::W16,
            sluice_flow::Width::U32 => Width::W32,
            sluice_flow::Width::U64 => Width::W64,
            sluice_flow::Width::Text => Width::Text,
            sluice_flow::Width::Lists => Width::Lists,
        }
    }
}

/// `types.cmp`.
#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by lifting")]
pub(crate) enum Cmp {
    #[component(name = "eq")]
    Eq,
    #[component(name = "ne")]
    Ne,
    #[component(name = "lt")]
    Lt,
    #[component(name = "le")]
    Le,
    #[component(name = "gt")]
    Gt,
    #[component(name = "ge")]
    Ge,
}

/// `kernels.comparison`.
#[derive(ComponentType, Lift, Clone, Copy, Debug)]
#[component(record)]
pub(crate) struct Comparison {
    pub(crate) column: ColumnId,
    pub(crate) op: Cmp,
    pub(crate) value: u64,
}

/// `kernels.families`.
#[derive(ComponentType, Lower, Clone, Debug, PartialEq, Eq)]
#[component(record)]
pub(crate) struct Families {
    pub(crate) v4: Vec<u32>,
    pub(crate) v6: Vec<u32>,
}

/// `types.denied`.
#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(variant)]
pub(crate) enum Denied {
    #[component(name = "no-batch")]
    NoBatch,
    #[component(name = "not-granted")]
    NotGranted,
    #[component(name = "wrong-width")]
    WrongWidth(Width),
    #[component(name = "absent")]
    Absent,
    #[component(name = "wrong-length")]
    WrongLength(u32),
    #[component(name = "out-of-range")]
    OutOfRange,
}

/// How much a line of a plugin's log matters: `log.level`.
#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub enum Level {
    /// A person is needed.
    #[component(name = "error")]
    Error,
    /// Something is wrong and the plugin goes on.
    #[component(name = "warn")]
    Warn,
    /// Worth knowing.
    #[component(name = "info")]
    Info,
    /// For the plugin's author.
    #[component(name = "debug")]
    Debug,
}

/// `events.alert`, with its texts where the plugin has them.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct LentAlert {
    pub(crate) kind: WasmStr,
    pub(crate) severity: u8,
    pub(crate) subject: WasmStr,
    pub(crate) value: f64,
    pub(crate) threshold: f64,
    pub(crate) note: WasmStr,
}

/// The same, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) kind: String,
    pub(crate) severity: u8,
    pub(crate) subject: String,
    pub(crate) value: f64,
    pub(crate) threshold: f64,
    pub(crate) note: String,
}

/// `stage.manifest`.
#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) reads: Vec<ColumnId>,
    pub(crate) writes: Vec<ColumnId>,
    pub(crate) stateful: bool,
    #[component(name = "tick-ms")]
    pub(crate) tick_ms: Option<u32>,
}

/// `stage.failure`.
#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "retry-later")]
    RetryLater(String),
    #[component(name = "fatal")]
    Fatal(String),
}
