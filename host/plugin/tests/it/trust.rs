//! Whose components run, and which: signatures and the lock, when a plugin is loaded and when its file changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sluice_plugin::{ComponentSource, Lock, Locked, PublicKey, Reloaded, SecretKey, Trust, signature_path};

use crate::{Bench, batch, guest};

/// A key pair in the folder of a bench.
fn keys(bench: &Bench, name: &str) -> (SecretKey, PublicKey) {
    let path = |extension: &str| bench.dir.path().join(format!("{name}.{extension}"));
    let secret = SecretKey::generate(name).unwrap();
    secret.write(&path("key"), &path("pub")).unwrap();
    (secret, PublicKey::read(&path("pub")).unwrap())
}

/// A bench whose plugin has to be signed, and the key to do it with.
fn signed() -> (Bench, SecretKey) {
    let mut bench = Bench::new("pass", 0);
    let (secret, public) = keys(&bench, "operator");
    bench.spec.trust = Trust { keys: [public].into(), require_signature: true, lock: None };
    (bench, secret)
}

fn sign(path: &Path, secret: &SecretKey) {
    std::fs::write(signature_path(path), secret.sign(&std::fs::read(path).unwrap())).unwrap();
}

/// A lock in which the stage has this component, or its candidate has.
fn lock(bench: &Bench, stage: &str, digest: [u8; 32]) -> PathBuf {
    let locked = Locked {
        path: "guest.wasm".to_owned(),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        name: "guest".to_owned(),
        version: "1".to_owned(),
        signer: "unsigned".to_owned(),
    };
    let path = bench.dir.path().join("sluice.lock");
    std::fs::write(&path, Lock::new(BTreeMap::from([(stage.to_owned(), locked)])).text()).unwrap();
    path
}

#[test]
fn what_was_refused_is_an_error_once_and_taken_up_when_its_signature_comes() {
    let (bench, secret) = signed();
    assert!(bench.error().contains("guest.wasm is not signed"), "{}", bench.error());
    sign(&bench.path(), &secret);
    let loaded = bench.load();
    assert_eq!(loaded.signer(), Some(secret.signer()));
    let mut stage = loaded.instance();

    bench.install(&guest::version(2));
    let error = loaded.reload().unwrap_err().to_string();
    assert!(error.contains("guest.wasm is not what operator ("), "{error}");
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    // Another wrong signature is another mistake.
    let (other, _) = keys(&bench, "other");
    sign(&bench.path(), &other);
    let error = loaded.reload().unwrap_err().to_string();
    assert!(error.contains("none of those that are trusted"), "{error}");
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    assert_eq!((loaded.generation(), stage.process(batch()).rows()), (1, 3));
    sign(&bench.path(), &secret);
    assert!(matches!(loaded.reload().unwrap(), Reloaded::Swapped { generation: 2, .. }));
    let info = bench.metrics.encode();
    let signers = info.lines().filter(|line| line.contains("plugin_info{") && line.contains("signer=\"operator ("));
    assert_eq!(signers.count(), 1, "that of the version before is gone: {info}");
}

#[test]
fn a_signature_may_come_before_its_component() {
    let (bench, secret) = signed();
    sign(&bench.path(), &secret);
    let loaded = bench.load();
    std::fs::write(signature_path(&bench.path()), secret.sign(&guest::version(2))).unwrap();
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    bench.install(&guest::version(2));
    assert!(matches!(loaded.reload().unwrap(), Reloaded::Swapped { .. }));
}

#[test]
fn a_part_of_the_program_needs_no_signature_and_no_lock() {
    let (mut bench, _) = signed();
    bench.spec.trust.lock = Some(bench.dir.path().join("nowhere.lock"));
    bench.spec.component = ComponentSource::Embedded { name: "guest", bytes: guest::guest() };
    let loaded = bench.load();
    assert_eq!(loaded.signer(), None);
    drop(loaded.instance());
    assert!(bench.metrics.encode().contains("signer=\"built-in\""));
}

#[test]
fn a_lock_holds_for_its_stage_and_for_the_candidate_of_it() {
    let mut bench = Bench::new("pass", 0);
    let digest = sluice_plugin::digest_of(&bench.spec.component).unwrap();
    bench.spec.trust.lock = Some(lock(&bench, "tag", [7; 32]));
    let error = bench.error();
    assert!(error.contains(&format!(", locked is {}: look at what changed", "07".repeat(32))), "{error}");
    lock(&bench, "other", digest);
    assert!(bench.error().contains(", locked is no component: "), "{}", bench.error());
    lock(&bench, "tag.shadow", digest);
    bench.load();
    lock(&bench, "tag", digest);
    let loaded = bench.load();
    // The lock is read with each new version.
    bench.install(&guest::version(2));
    assert!(loaded.reload().unwrap_err().to_string().contains(" has SHA-256 "));
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    lock(&bench, "tag", sluice_plugin::digest_of(&bench.spec.component).unwrap());
    assert!(matches!(loaded.reload().unwrap(), Reloaded::Swapped { .. }));
}
