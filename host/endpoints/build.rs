//! Tells the tests whether there are captures (see `testkit::captures`) and a Kafka (see `testkit::kafka`).

#[path = "../testkit/kafka_cfg.rs"]
mod kafka_cfg;

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(captures)");
    println!("cargo:rerun-if-env-changed=SLUICE_CAPTURES");
    let directory = env::var("SLUICE_CAPTURES").unwrap_or_else(|_| "../../../shared/captures".to_owned());
    println!("cargo:rerun-if-changed={directory}");
    if Path::new(&directory).is_dir() {
        println!("cargo:rustc-cfg=captures");
    }
    kafka_cfg::set();
}
