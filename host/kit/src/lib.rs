//! What the authors of plugins do with one: run it on rows and compare, look for what breaks it, measure it,
//! and repeat a trap. Returns values; the binary prints them.
//!
//! Every call goes through [`sluice_plugin::Trial`], so that the component runs in the host that will run it in
//! production: the same linking, limits, grants and kernels.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "in a test, unwrap is an assertion"))]

pub mod bench;
pub mod case;
pub mod check;
pub mod document;
pub mod generate;
pub mod lent;
pub mod replay;
pub mod report;
pub mod rows;
pub mod run;
mod shrink;
