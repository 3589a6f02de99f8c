//! The examples are what people start from: each is checked, and each is run on flows. Those with Kafka are run in
//! `kafka/examples.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tool::{Running, exporter, netflow5, sluice};

/// The folder of the examples.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// The files and folders of a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The configurations in a folder.
fn configurations(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files
}

/// Those that need nothing but this machine.
fn examples() -> Vec<PathBuf> {
    let files = configurations(&folder());
    assert!(files.len() >= 4, "the examples are gone");
    files
}

#[test]
fn every_example_passes_check() {
    let in_folders: Vec<PathBuf> =
        entries(&folder()).iter().filter(|entry| entry.is_dir()).flat_map(|entry| configurations(entry)).collect();
    assert!(in_folders.len() >= 7, "the examples in folders are gone");
    for file in examples().into_iter().chain(in_folders) {
        let output = sluice().arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{}: {said}", file.display());
    }
}

#[test]
fn every_example_runs_and_its_books_add_up() {
    for file in examples() {
        // A copy, so that ports are free ones and files are written to a folder of the test.
        let folder = tempfile::tempdir().unwrap();
        copy(file.parent().unwrap(), folder.path());
        let copied = folder.path().join(file.file_name().unwrap());
        let text = fs::read_to_string(&copied).unwrap();
        let is_live = text.contains("type = \"udp\"");
        fs::write(&copied, with_free_ports(&text)).unwrap();

        let mut run = Running::start(&copied);
        let ended = if is_live {
            let socket = exporter(run.listening());
            socket.send(&netflow5(0, &[1, 2, 3, 4, 5])).unwrap();
            run.stop()
        } else {
            run.end()
        };
        assert_eq!(ended.code, Some(0), "{}: {}", file.display(), ended.log);
        assert!(!ended.log.contains("unaccounted"), "{}: {}", file.display(), ended.log);
        assert!(ended.log.contains("source "), "{}: no books in {}", file.display(), ended.log);
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// The configuration with every `listen` on a free port of this machine only.
pub(crate) fn with_free_ports(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim_start().starts_with("listen = ") {
        true => "listen = \"127.0.0.1:0\"".to_owned(),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
