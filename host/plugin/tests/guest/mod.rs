//! The test plugin as a component, built once per run of the tests by the toolchain that builds them; and a tiny one as
//! a core module.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// What the guest's version begins with, in its data.
const VERSION: &[u8] = b"1.0.0-guest-version";

/// The component, version 1.
pub(crate) fn guest() -> &'static [u8] {
    static GUEST: OnceLock<Vec<u8>> = OnceLock::new();
    GUEST.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin/tests/guest");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "--manifest-path"])
            .arg(source.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            // Flags for the host are none for the guest, which is built as the built-in plugins are.
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128")
            .output()
            .expect("cargo runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the guest was not built (rustup target add wasm32-wasip2?): {complaint}");
        std::fs::read(target.join("wasm32-wasip2/release/guest.wasm")).expect("cargo built it")
    })
}

/// The component with another version number: what it does then is in its source.
#[allow(dead_code, reason = "the benchmark uses one version only")]
pub(crate) fn version(number: u8) -> Vec<u8> {
    let mut bytes = guest().to_vec();
    let places: Vec<usize> =
        bytes.windows(VERSION.len()).enumerate().filter(|(_, at)| *at == VERSION).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the guest has its version in it");
    for at in places {
        bytes[at] = b'0' + number;
    }
    bytes
}

/// `tiny.wat` as a core module, each text replaced by the other.
#[allow(dead_code, reason = "not every user packs")]
pub(crate) fn tiny(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut text = include_str!("tiny.wat").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is in tiny.wat");
        text = text.replace(from, to);
    }
    wat::parse_str(&text).expect("it is WebAssembly")
}
