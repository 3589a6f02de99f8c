//! The examples are what people start from: each is checked, and each is run on flows.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tool::{Running, exporter, netflow5, sluice};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 4, "the examples are gone");
    files
}

#[test]
fn every_example_passes_check() {
    for file in examples() {
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

fn copy(from: &Path, to: &Path) {
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
fn with_free_ports(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim_start().starts_with("listen = ") {
        true => "listen = \"127.0.0.1:0\"".to_owned(),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
