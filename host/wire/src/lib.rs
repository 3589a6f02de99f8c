//! Export datagrams to columns: NetFlow v1, v5, v7 and v9, IPFIX and sFlow v5.
//!
//! A [`Decoder`] takes datagrams and appends rows to a
//! [`BatchBuilder`](sluice_flow::BatchBuilder). It reads no clock and opens nothing. The way of a
//! NetFlow v9 or IPFIX datagram: the sets are found (`netflow9`, `ipfix`, `sets`); a template becomes
//! a plan once (`template`, `compile`); a data set runs its plan, a column at a time (`plan`,
//! `kernel`, `source`, `gather`); options data gives sampling rates (`options`, `sampling`); a data set without
//! template waits (`pending`). NetFlow v1, v5 and v7 have a plan for all datagrams (`fixed`). sFlow samples
//! go through a dissector of packet headers (`sflow`, `packet`).
//!
//! Templates and options data are parsed by netflow_parser, which also fills the rare column that no
//! plan covers. Decoding is total: any bytes give rows, a counted reason, or both.
//!
//! The other direction is in [`export`] (flows to datagrams). [`proto`] has protobuf messages, both ways.

mod bytes;
mod compile;
mod decode;
mod element;
mod error;
pub mod export;
mod exporter;
mod fixed;
mod gather;
mod ipfix;
mod kernel;
mod known;
mod netflow9;
mod options;
mod packet;
mod pending;
mod plan;
pub mod proto;
mod sampling;
mod sequence;
mod sets;
mod sflow;
mod source;
mod stats;
mod strided;
mod template;

pub use decode::{Decoded, Decoder, Limits};
pub use error::{DecodeError, REASONS};
pub use known::{KnownExporter, KnownField, KnownRate, KnownTemplate};
pub use sflow::SflowSamples;
pub use stats::DecodeStats;
