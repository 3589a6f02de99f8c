//! Tells the tests whether there is a Kafka to start.

#[path = "src/kafka/install.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the tests need the rest")]
mod install;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(kafka)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=XDG_CACHE_HOME");
    println!("cargo:rerun-if-env-changed=JAVA_HOME");
    if install::is_there() {
        println!("cargo:rerun-if-changed={}", install::jars(&install::folder()).display());
        println!("cargo:rustc-cfg=kafka");
    }
}
