//! The host's side of every interface that a plugin can import, one file per interface of `wit/`.
//!
//! Written by hand rather than generated: a column then crosses as one copy in each direction, from
//! the batch's own memory and into a buffer of its pool.

mod batch;
mod groups;
mod kernels;
mod lookup;
mod lookup_into;
mod services;
mod truncate;

use wasmtime::component::LinkerInstance;

use crate::spec::Linkable;
use crate::state::State;
pub(crate) use lookup_into::Places;

/// Links `interface` (as in `batch`), if there is such a one. `Err` says what to write into the grant
/// for an interface that exists and is not granted.
pub(crate) fn link(
    linker: &mut LinkerInstance<'_, State>,
    interface: &str,
    granted: Linkable,
) -> Result<wasmtime::Result<bool>, &'static str> {
    match interface {
        "types" => Ok(Ok(true)),
        "batch" => Ok(batch::link(linker).map(|()| true)),
        "kernels" => Ok(kernels::link(linker).map(|()| true)),
        "log" => Ok(services::log(linker).map(|()| true)),
        "metrics" => Ok(services::metrics(linker).map(|()| true)),
        "events" if granted.events => Ok(services::events(linker).map(|()| true)),
        "events" => Err("events = true"),
        "tables" if granted.tables => Ok(services::tables(linker).map(|()| true)),
        "tables" => Err("tables = [\"...\"] with the names of its tables"),
        "keys" if granted.keys => Ok(services::keys(linker).map(|()| true)),
        "keys" => Err("keys = [\"...\"] with the names of its keys"),
        "assets" if granted.assets => Ok(services::assets(linker).map(|()| true)),
        "assets" => Err("assets = [\"...\"] with the names of its assets"),
        _ => Ok(Ok(false)),
    }
}
