//! The file sink: rotation, files that are moved away, disks that are full.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use sluice_endpoints::sinks::{FileConfig, FileFormat, FileSink, OpenError};
use sluice_flow::Schema;
use sluice_pipeline::{Sink, SinkError};

use crate::rows::numbered;

fn config(path: &Path) -> FileConfig {
    FileConfig { fields: vec!["bytes".into()], ..FileConfig::new(path) }
}

fn open(config: &FileConfig) -> FileSink {
    FileSink::open("archive", config, &Schema::standard()).unwrap()
}

fn rows_of(path: impl AsRef<Path>) -> usize {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    text.lines().count()
}

#[tokio::test]
async fn rows_are_appended_to_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    for id in 0..2 {
        let mut sink = open(&config(&path));
        sink.write(&numbered(id, 600)).await.unwrap();
        // The kernel has it before the sink is closed.
        assert_eq!(rows_of(&path), 600 * (id as usize + 1));
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_large_enough_is_set_aside_and_the_oldest_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    let mut sink = open(&FileConfig { rotate_bytes: Some(1), keep: 2, ..config(&path) });
    for rows in 1..=5 {
        sink.write(&numbered(rows, rows as usize)).await.unwrap();
    }
    sink.close().await.unwrap();
    assert_eq!(rows_of(&path), 5);
    assert_eq!(rows_of(dir.path().join("flows.json.1")), 4);
    assert_eq!(rows_of(dir.path().join("flows.json.2")), 3);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_left_alone_and_a_new_one_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    let moved = dir.path().join("moved.json");
    let mut sink = open(&config(&path));
    sink.write(&numbered(1, 3)).await.unwrap();
    fs::rename(&path, &moved).unwrap();
    sink.write(&numbered(2, 4)).await.unwrap();
    assert_eq!((rows_of(&moved), rows_of(&path)), (3, 4));
    fs::remove_file(&path).unwrap();
    sink.write(&numbered(3, 5)).await.unwrap();
    assert_eq!((rows_of(&moved), rows_of(&path)), (3, 5));
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_not_an_error_for_ever() {
    let mut sink = open(&config(Path::new("/dev/full")));
    for _ in 0..2 {
        let answer = sink.write(&numbered(1, 600)).await;
        let Err(SinkError::Unavailable { sink, source }) = answer else { panic!("{answer:?}") };
        assert_eq!(sink, "archive");
        assert!(source.to_string().contains("No space left"), "{source}");
    }
}

#[tokio::test]
async fn what_a_full_disk_took_of_a_batch_is_cut_off_and_written_again_in_whole() {
    // A limit on the size of files stands for the disk: the write that crosses it is cut short. It
    // holds for the whole process, so it is far beyond what any other test writes; the file is sparse.
    const START: u64 = 1 << 30;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    let mut file = fs::File::create(&path).unwrap();
    file.set_len(START - 1).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"\n").unwrap();

    let mut sink = open(&config(&path));
    let limit = FileSizeLimit::set(START + 5000);
    let answer = sink.write(&numbered(1, 600)).await;
    drop(limit);
    assert!(matches!(answer, Err(SinkError::Unavailable { .. })), "{answer:?}");
    assert_eq!(fs::metadata(&path).unwrap().len(), START);
    sink.write(&numbered(1, 600)).await.unwrap();
    let mut written = String::new();
    let mut file = fs::File::open(&path).unwrap();
    file.seek(SeekFrom::Start(START)).unwrap();
    file.read_to_string(&mut written).unwrap();
    let expected: String = (0..600).map(|row| format!("{{\"bytes\":{row}}}\n")).collect();
    assert_eq!(written, expected);
}

/// The process's limit on the size of files, put back when dropped.
struct FileSizeLimit(rustix::process::Rlimit);

impl FileSizeLimit {
    fn set(bytes: u64) -> FileSizeLimit {
        // Without a handler the signal ends the process before the write can fail.
        #[allow(unsafe_code, reason = "no crate of ours can ignore a signal")]
        // SAFETY: SIG_IGN runs no code.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN)
        };
        let before = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        let limit = rustix::process::Rlimit { current: Some(bytes), maximum: before.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        FileSizeLimit(before)
    }
}

impl Drop for FileSizeLimit {
    fn drop(&mut self) {
        let limit = rustix::process::Rlimit { current: self.0.current, maximum: self.0.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    }
}

#[tokio::test]
async fn a_line_that_a_crash_tore_does_not_tear_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    fs::File::create(&path).unwrap().write_all(b"{\"bytes\":1}\n{\"byt").unwrap();
    let mut sink = open(&config(&path));
    sink.write(&numbered(1, 1)).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"bytes\":1}\n{\"byt\n{\"bytes\":0}\n");
}

#[tokio::test]
async fn a_message_that_a_crash_tore_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    let config = FileConfig { format: FileFormat::Protobuf, ..FileConfig::new(&path) };
    let mut sink = open(&config);
    sink.write(&numbered(0, 3)).await.unwrap();
    sink.close().await.unwrap();
    let whole = fs::read(&path).unwrap();
    // In a message, and in a length of two bytes.
    for torn in [&[200, 1, 8, 1][..], &[200]] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        let mut sink = open(&config);
        assert_eq!(fs::read(&path).unwrap(), whole);
        sink.write(&numbered(0, 3)).await.unwrap();
        sink.close().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), [&whole[..], &whole].concat());
    }
}

#[test]
fn a_file_that_holds_no_messages_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    let config = FileConfig { format: FileFormat::Protobuf, ..FileConfig::new(&path) };
    fs::write(&path, vec![0xff; 17 << 20]).unwrap();
    let error = FileSink::open("archive", &config, &Schema::standard()).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(why, "is no file of messages from byte 0 on: move it away, or name another");
    assert_eq!(fs::metadata(&path).unwrap().len(), 17 << 20);
}

#[test]
fn a_file_that_cannot_be_opened_says_which() {
    let config = FileConfig::new("/nonexistent/flows.json");
    let error = FileSink::open("archive", &config, &Schema::standard()).unwrap_err();
    assert!(matches!(error, OpenError::Open { .. }));
    assert_eq!(error.to_string(), "/nonexistent/flows.json cannot be opened for appending");
}

#[test]
fn numbers_that_cannot_work_are_refused() {
    let refused = |config: FileConfig| config.validate().unwrap_err().key;
    let config = || FileConfig::new("flows.json");
    assert_eq!(refused(FileConfig { keep: 0, ..config() }), "keep");
    assert_eq!(refused(FileConfig { rotate_bytes: Some(0), ..config() }), "rotate_bytes");
    assert_eq!(refused(FileConfig { rotate_s: Some(0), ..config() }), "rotate_s");
    assert_eq!(refused(FileConfig::new("/")), "path");
}

#[tokio::test]
async fn a_sink_that_takes_the_place_of_another_writes_when_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    let link = dir.path().join("link.json");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut old = open(&config(&path));
    old.write(&numbered(0, 100)).await.unwrap();
    // By whatever path.
    let mut new = open(&config(&link));
    {
        let (batch, more) = (numbered(1, 10), numbered(2, 100));
        let mut waits = std::pin::pin!(new.write(&batch));
        let before = rows_of(&path);
        tokio::select! {
            biased;
            _ = &mut waits => panic!("two sinks write to one file"),
            written = old.write(&more) => written.unwrap(),
        }
        assert_eq!((before, rows_of(&path)), (100, 200));
        let (closed, written) = tokio::join!(old.close(), waits);
        closed.unwrap();
        written.unwrap();
    }
    assert_eq!(rows_of(&path), 210);
    new.write(&numbered(3, 10)).await.unwrap();
    new.close().await.unwrap();
    assert_eq!(rows_of(&path), 220);
    // One that never got its turn, or was never written to, is closed without the file.
    let (first, second) = (open(&config(&path)), open(&config(&path)));
    second.close().await.unwrap();
    first.close().await.unwrap();
    assert_eq!(rows_of(&path), 220);
}

#[tokio::test]
async fn a_wait_for_the_file_that_is_given_up_can_be_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.json");
    let (mut old, mut new) = (open(&config(&path)), open(&config(&path)));
    let (batch, before) = (numbered(1, 10), numbered(0, 10));
    tokio::select! {
        biased;
        _ = new.write(&batch) => panic!("two sinks write to one file"),
        written = old.write(&before) => written.unwrap(),
    }
    drop(old);
    new.write(&batch).await.unwrap();
    new.close().await.unwrap();
    assert_eq!(rows_of(&path), 20);
}
