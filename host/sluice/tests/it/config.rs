//! Mistakes in a configuration: each is answered with its place, the problem and the way out, before
//! any socket opens.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;

use crate::tool::sluice;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The TOML files of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_mistake_is_answered_as_written_beside_it() {
    let bad = folder("bad");
    let files = files(&bad);
    assert!(files.len() > 20, "the bad configurations are gone");
    for file in files {
        let name = file.file_name().unwrap();
        let output = sluice().current_dir(&bad).arg("--log=warn").arg("check").arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", file.display());
        assert!(output.stdout.is_empty(), "{}: no plan of a wrong configuration", file.display());
        expect_file![file.with_extension("err")].assert_eq(&String::from_utf8(output.stderr).unwrap());
    }
}

#[test]
fn run_refuses_what_check_refuses() {
    let output =
        sluice().current_dir(folder("bad")).args(["--log=warn", "run", "typo-in-a-key.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("typo-in-a-key.toml:4:1: sources.edge: unknown key `batch_row`"), "{said}");
    assert!(said.contains("did you mean `batch_rows`?"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let said = |file: &Path| {
        let output = sluice().current_dir(folder("bad")).arg("check").arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let here = folder("bad").canonicalize().unwrap();
    let (here, absolute) = (here.display(), here.join("nowhere.toml"));
    assert_eq!(
        said(Path::new("nowhere.toml")),
        format!("sluice: nowhere.toml (looked for in {here}): No such file or directory (os error 2)\n")
    );
    assert_eq!(said(&absolute), format!("sluice: {}: No such file or directory (os error 2)\n", absolute.display()));
}
