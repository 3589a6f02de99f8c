//! Compiles `flow.proto` to Rust types, without `protoc`, and tells the tests whether there are captures.

use std::env;
use std::error::Error;
use std::path::Path;

/// Beside the workspace: one file for every language.
const PROTO: &str = "../../proto/sluice/flow/v1/flow.proto";
const PROTO_ROOT: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], [PROTO_ROOT])?;
    prost_build::Config::new().compile_fds(descriptors)?;

    // Tests that need captures are ignored without them, which libtest then says; see `testkit::captures`.
    println!("cargo:rustc-check-cfg=cfg(captures)");
    println!("cargo:rerun-if-env-changed=SLUICE_CAPTURES");
    let directory = env::var("SLUICE_CAPTURES").unwrap_or_else(|_| "../../../shared/captures".to_owned());
    println!("cargo:rerun-if-changed={directory}");
    if Path::new(&directory).is_dir() {
        println!("cargo:rustc-cfg=captures");
    }
    Ok(())
}
