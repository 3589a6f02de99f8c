//! Exchange of a plugin while batches flow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use expect_test::expect;
use sluice_flow::col;
use sluice_plugin::Reloaded;

use crate::{Bench, batch, batch_of, guest};

/// Number of the first row and version of the plugin that gave it.
fn numbered(stage: &mut Box<dyn sluice_pipeline::Stage>) -> (u64, u64) {
    let out = stage.process(batch()).out.expect("rows come out");
    (out.number(col::CUSTOMER_ID, 0), out.number(col::SRC_AS, 0))
}

#[test]
fn the_state_goes_over_to_the_new_version_at_the_next_batch() {
    let bench = Bench::new("count", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    bench.install(&guest::version(2));
    let swapped = Reloaded::Swapped {
        from: "1.0.0-guest-version".to_owned(),
        to: "2.0.0-guest-version".to_owned(),
        generation: 2,
    };
    assert_eq!(loaded.reload().unwrap(), swapped);
    assert_eq!(numbered(&mut stage), (4, 2));
    assert_eq!(numbered(&mut stage), (7, 2));
    assert_eq!(bench.metric("sluice_stage_plugin_swaps_total{stage=\"tag\"}"), 1.0);
    assert_eq!(bench.metric("sluice_stage_plugin_generation{stage=\"tag\"}"), 2.0);
    assert!(bench.metrics.encode().contains("version=\"2.0.0-guest-version\""), "{}", bench.metrics.encode());
}

#[test]
fn a_bad_file_leaves_the_old_one_running_and_says_why() {
    let bench = Bench::new("count", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    let refused = |bytes: &[u8]| {
        bench.install(bytes);
        let error = loaded.reload().unwrap_err().to_string();
        error.replace(&bench.path().display().to_string(), "FILE")
    };
    expect!["stage tag: FILE is not a WebAssembly component: it is text"].assert_eq(&refused(b"no component"));
    expect!["stage tag: the plugin refused its configuration: version 5 does not like this"]
        .assert_eq(&refused(&guest::version(5)));
    assert_eq!(numbered(&mut stage), (4, 1));
    assert_eq!(loaded.generation(), 1);
    // The same file is not tried again, unless somebody asks.
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    assert_eq!(bench.metric("sluice_stage_plugin_swaps_refused_total{stage=\"tag\"}"), 2.0);
    assert!(loaded.retry().is_err());
    // Nor is a file that is gone complained about twice.
    std::fs::remove_file(bench.path()).unwrap();
    assert!(loaded.reload().is_err());
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    bench.install(&guest::version(2));
    assert!(matches!(loaded.reload().unwrap(), Reloaded::Swapped { .. }));
    assert_eq!(numbered(&mut stage), (7, 2));
}

#[test]
fn a_new_version_may_not_ask_for_more_nor_begin_to_keep_state() {
    let mut bench = Bench::new("pass", 0);
    if let sluice_plugin::Grant::Listed(granted) = &mut bench.spec.grant {
        granted.read.remove(col::PROTO);
    }
    let loaded = bench.load();
    bench.install(&guest::version(6));
    expect!["stage tag: the plugin asks to read column proto, which the grant does not include: add it to grant.read"]
        .assert_eq(&loaded.reload().unwrap_err().to_string());
    bench.install(&guest::version(8));
    expect!["stage tag: the plugin's manifest says that it keeps state, and the running version does not: restart to change that"]
        .assert_eq(&loaded.reload().unwrap_err().to_string());
}

#[test]
fn an_instance_whose_state_the_new_version_refuses_keeps_the_old_code() {
    for version in [3, 4] {
        let bench = Bench::new("count", 0);
        let loaded = bench.load();
        let mut stage = loaded.instance();
        assert_eq!(numbered(&mut stage), (1, 1));
        bench.install(&guest::version(version));
        loaded.reload().unwrap();
        assert_eq!(numbered(&mut stage), (4, 1), "version {version}");
        assert_eq!(numbered(&mut stage), (7, 1), "and does not try again");
        assert_eq!(bench.metric("sluice_stage_plugin_swaps_refused_total{stage=\"tag\"}"), 1.0);
        // The next version is tried again.
        bench.install(&guest::version(2));
        loaded.reload().unwrap();
        assert_eq!(numbered(&mut stage), (10, 2));
    }
}

#[test]
fn a_version_that_does_not_know_the_state_starts_empty() {
    let bench = Bench::new("count", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    bench.install(&guest::version(7));
    loaded.reload().unwrap();
    assert_eq!(numbered(&mut stage), (1, 7));
}

#[test]
fn an_instance_that_trapped_takes_up_the_new_version() {
    let bench = Bench::new("count", 666);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    assert!(stage.process(batch_of(&[("192.0.2.1", 666)])).out.is_none());
    bench.install(&guest::version(2));
    loaded.reload().unwrap();
    assert_eq!(numbered(&mut stage), (1, 2));
}

#[test]
fn many_exchanges_under_load_lose_nothing_and_double_nothing() {
    const WORKERS: usize = 3;
    const SWAPS: u64 = 30;
    let bench = Bench::new("count", 0);
    let loaded = bench.load();
    let is_over = AtomicBool::new(false);
    let exchanged = AtomicU64::new(0);
    let (rows_in, rows_out) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let mut stage = loaded.instance();
            let (is_over, exchanged, rows_in, rows_out) = (&is_over, &exchanged, &rows_in, &rows_out);
            scope.spawn(move || {
                let (mut seen, mut version) = (0, 1);
                while !is_over.load(Ordering::Relaxed) {
                    let processed = stage.process(batch());
                    assert!(processed.dropped.is_empty() && processed.dead.is_none(), "{processed:?}");
                    let out = processed.out.expect("rows come out");
                    rows_in.fetch_add(3, Ordering::Relaxed);
                    rows_out.fetch_add(out.rows() as u64, Ordering::Relaxed);
                    // Each row has the number after the one before it: none lost, none twice.
                    for row in 0..out.rows() {
                        seen += 1;
                        assert_eq!(out.number(col::CUSTOMER_ID, row), seen);
                    }
                    let now = out.number(col::SRC_AS, 0);
                    exchanged.fetch_add(u64::from(now != version), Ordering::Relaxed);
                    version = now;
                }
            });
        }
        for swap in 0..SWAPS {
            // The next exchange comes when this one has happened somewhere.
            let before = exchanged.load(Ordering::Relaxed);
            bench.install(&guest::version(if swap % 2 == 0 { 2 } else { 1 }));
            loaded.reload().unwrap();
            while exchanged.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(rows_in.into_inner(), rows_out.into_inner());
    assert!(exchanged.into_inner() >= SWAPS);
    assert_eq!(loaded.generation(), SWAPS + 1);
}

#[test]
fn a_built_in_plugin_never_changes() {
    let mut bench = Bench::new("count", 0);
    bench.spec.component = sluice_plugin::ComponentSource::Embedded { name: "guest", bytes: guest::guest() };
    let loaded = bench.load();
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    assert_eq!(loaded.path(), None);
}

#[test]
fn state_in_a_file_outlives_the_process() {
    let mut bench = Bench::new("count", 0);
    let file = bench.dir.path().join("tag.state");
    bench.spec.state = Some(file.clone());
    let mut stage = bench.load().instance();
    assert_eq!((numbered(&mut stage).0, numbered(&mut stage).0), (1, 4));
    // The end of the run.
    drop(stage);
    let mut stage = bench.load().instance();
    assert_eq!(numbered(&mut stage).0, 7);
    drop(stage);
    // A file of something else is left out, and the plugin begins empty.
    std::fs::write(&file, "what").unwrap();
    assert_eq!(numbered(&mut bench.load().instance()).0, 1);
}
