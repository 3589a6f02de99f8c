//! `sluice plugin pack`: a core module to a component.

use std::path::Path;

use crate::author::{print, write_whole};
use crate::failure::Failure;

/// Packs `core` into `out`; by default beside it, as `NAME.component.wasm`.
pub(super) fn pack(core: &Path, out: Option<&Path>, renames: Vec<(String, String)>) -> Result<(), Failure> {
    let failed = |problem: String| Failure::failed(format!("{}: {problem}", core.display()));
    let bytes = std::fs::read(core).map_err(|error| failed(error.to_string()))?;
    let packed = sluice_plugin::pack(&bytes, &renames.into_iter().collect());
    let packed = packed.map_err(|error| failed(error.to_string()))?;
    let beside = core.with_extension("component.wasm");
    let out = out.unwrap_or(&beside);
    write_whole(out, &packed)?;
    print(&format!("{}: {} bytes\n", out.display(), packed.len()))
}
