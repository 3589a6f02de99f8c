//! The capture source: everything is played, in order, with its own time, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sluice_endpoints::sources::{CaptureConfig, CaptureSource, Timing};
use sluice_flow::{Batch, ColumnSet, Schema};
use sluice_pipeline::{Kind, Metrics, Outlet, Source, Stop};

use crate::rows::netflow5;

/// A pcap (link type raw IP) of datagrams with their times in milliseconds.
fn pcap(path: &Path, datagrams: &[(u32, Vec<u8>)]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for (at_ms, payload) in datagrams {
        let (udp_len, ip_len) = (payload.len() as u16 + 8, payload.len() as u16 + 28);
        for word in [at_ms / 1000, at_ms % 1000 * 1000, u32::from(ip_len), u32::from(ip_len)] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x45, 0]);
        file.extend(ip_len.to_be_bytes());
        file.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 9, 192, 0, 2, 1]);
        file.extend([0x30, 0x39, 8, 7]);
        file.extend(udp_len.to_be_bytes());
        file.extend([0, 0]);
        file.extend(payload);
    }
    fs::write(path, file).unwrap();
}

/// Plays, while somebody takes the batches as slowly as can be: one at a time.
fn play(config: &CaptureConfig, stop: &Stop) -> (Vec<Batch>, Arc<Metrics>) {
    let metrics = Metrics::new();
    let schema = Arc::new(Schema::standard());
    let source = CaptureSource::open("replay", config, &schema, ColumnSet::ALL, &metrics).unwrap();
    assert!(!source.is_live());
    let (out, batches) = Outlet::channel(metrics.account(Kind::Source, "replay"), 1);
    let stop = stop.clone();
    let thread = thread::spawn(move || Box::new(source).run(out, stop));
    let batches: Vec<Batch> = batches.iter().map(|parcel| parcel.batch).collect();
    thread.join().unwrap().unwrap();
    let books = &metrics.balances()[0];
    assert_eq!(books.open(), 0, "{books:?}");
    assert_eq!(books.rows_out, batches.iter().map(|batch| batch.rows() as u64).sum::<u64>());
    (batches, metrics)
}

fn capture_of(datagrams: &[(u32, Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.pcap");
    pcap(&path, datagrams);
    (dir, path)
}

fn sizes(batches: &[Batch]) -> Vec<(u64, usize)> {
    batches.iter().map(|batch| (batch.now_ms(), batch.rows())).collect()
}

#[test]
fn batches_close_when_they_are_full_or_span_too_much_time() {
    let datagrams = [(1000, 30), (1100, 30), (1200, 1), (2300, 2), (9000, 3)];
    let datagrams = datagrams.map(|(at_ms, records)| (at_ms, netflow5(0, records)));
    let (_dir, path) = capture_of(&datagrams);
    let config = CaptureConfig { batch_rows: 60, ..CaptureConfig::new(vec![path]) };
    let (batches, metrics) = play(&config, &Stop::new());
    assert_eq!(sizes(&batches), [(1100, 60), (1200, 1), (2300, 2), (9000, 3)]);
    let text = metrics.encode();
    assert!(text.contains("sluice_source_datagrams_total{source=\"replay\"} 5"), "{text}");
    assert!(text.contains("sluice_decode_rows_total{source=\"replay\"} 66"), "{text}");
}

#[test]
fn a_repetition_goes_on_in_time_where_the_last_one_ended() {
    let (_dir, path) = capture_of(&[(1000, netflow5(0, 1)), (5000, netflow5(1, 2))]);
    let config = CaptureConfig { repeat: 3, ..CaptureConfig::new(vec![path]) };
    let (batches, _) = play(&config, &Stop::new());
    // The last of one time and the first of the next are a millisecond apart, and so in one batch.
    assert_eq!(sizes(&batches), [(1000, 1), (5001, 3), (9002, 3), (13_002, 2)]);
}

#[test]
fn the_pauses_of_the_capture_are_kept_at_the_speed_asked_for() {
    let (_dir, path) = capture_of(&[(1000, netflow5(0, 1)), (21_000, netflow5(1, 2))]);
    let config = CaptureConfig { timing: Timing::Original, speed: 100.0, ..CaptureConfig::new(vec![path]) };
    let began = Instant::now();
    let (batches, _) = play(&config, &Stop::new());
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(sizes(&batches), [(1000, 1), (21_000, 2)]);
}

#[test]
fn a_stop_ends_a_pause_and_loses_nothing_that_was_decoded() {
    let (_dir, path) = capture_of(&[(0, netflow5(0, 7)), (4_000_000_000, netflow5(7, 2))]);
    let config = CaptureConfig { timing: Timing::Original, ..CaptureConfig::new(vec![path]) };
    let metrics = Metrics::new();
    let schema = Arc::new(Schema::standard());
    let source = CaptureSource::open("replay", &config, &schema, ColumnSet::ALL, &metrics).unwrap();
    let (out, batches) = Outlet::channel(metrics.account(Kind::Source, "replay"), 8);
    let stop = Stop::new();
    let thread = thread::spawn({
        let stop = stop.clone();
        move || Box::new(source).run(out, stop)
    });
    // The batch of the first datagram is handed on before the pause of weeks, in which the stop comes.
    assert_eq!(batches.recv_timeout(Duration::from_secs(60)).unwrap().batch.rows(), 7);
    stop.cancel();
    thread.join().unwrap().unwrap();
    assert_eq!(metrics.balances()[0].open(), 0);
}

#[test]
fn a_pipeline_that_is_gone_ends_the_source_and_the_rows_are_counted() {
    let (_dir, path) = capture_of(&[(0, netflow5(0, 7)), (9000, netflow5(7, 2))]);
    let metrics = Metrics::new();
    let schema = Arc::new(Schema::standard());
    let config = CaptureConfig::new(vec![path]);
    let source = CaptureSource::open("replay", &config, &schema, ColumnSet::ALL, &metrics).unwrap();
    let (out, batches) = Outlet::channel(metrics.account(Kind::Source, "replay"), 8);
    drop(batches);
    Box::new(source).run(out, Stop::new()).unwrap();
    let books = &metrics.balances()[0];
    assert_eq!((books.open(), books.dropped.get("pipeline_closed")), (0, Some(&7)));
}

#[test]
fn what_cannot_be_read_or_work_is_an_error_before_anything_runs() {
    let config = CaptureConfig::new(vec!["/nonexistent.pcap".into()]);
    let schema = Arc::new(Schema::standard());
    assert!(CaptureSource::open("replay", &config, &schema, ColumnSet::ALL, &Metrics::new()).is_err());
    let refused = |config: CaptureConfig| config.validate().unwrap_err().key;
    let config = || CaptureConfig::new(vec!["edge.pcap".into()]);
    assert_eq!(refused(CaptureConfig::new(Vec::new())), "paths");
    assert_eq!(refused(CaptureConfig { speed: f64::NAN, ..config() }), "speed");
    assert_eq!(refused(CaptureConfig { repeat: 0, ..config() }), "repeat");
}
