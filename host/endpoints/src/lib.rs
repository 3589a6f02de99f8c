//! Where rows come from and where they go: sources, sinks, the formats that sinks write, and the
//! sender that plays the exporters.
//!
//! Each component's configuration is beside it. Construction opens nothing that configuration does
//! not name, and starts no thread: the pipeline runs sources and sinks.

pub mod capture;
pub mod disk_queue;
pub mod exporter;
pub mod format;
mod invalid;
pub mod kafka;
pub mod sinks;
pub mod sources;

pub use invalid::Invalid;
