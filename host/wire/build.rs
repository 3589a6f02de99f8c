//! Compiles the `.proto` files to Rust types for tests and benchmarks, without `protoc`, and tells the
//! tests whether there are captures.

use std::env;
use std::error::Error;
use std::path::Path;

/// One a dialect, for every language.
const PROTOS: [&str; 3] = [
    "../../proto/sluice/flow/v1/flow.proto",
    "../../proto/flowpipeline/enriched_flow.proto",
    "../../proto/bwnetflow/flow_message.proto",
];
const PROTO_ROOT: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, [PROTO_ROOT])?;
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
