//! Exchange of a plugin while batches flow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use expect_test::expect;
use sluice_flow::col;
use sluice_plugin::tables::{TableSpec, Tables};
use sluice_plugin::{Limits, Loaded, Reloaded, StageSpec};

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
fn a_version_that_starts_the_first_time_only_is_refused_before_a_worker_has_to_start_it() {
    let mut bench = Bench::new("starts-once", 0);
    let path = bench.dir.path().join("customers.csv");
    std::fs::write(&path, "192.0.2.0/24,100\n").unwrap();
    bench.spec.services.tables = Arc::new(Tables::load([("customers".to_owned(), TableSpec::prefix(path))]).unwrap());
    bench.spec.limits.init_deadline_ms = 50;
    let loaded = bench.load();
    let mut stages = [loaded.instance(), loaded.instance()];
    bench.install(&guest::version(7));
    let error = loaded.reload().unwrap_err().to_string();
    assert!(error.ends_with("the plugin did not start: init did not return within 50 ms"), "{error}");
    for stage in &mut stages {
        assert_eq!(stage.process(batch()).out.map(|out| out.rows()), Some(3));
    }
    assert_eq!((loaded.generation(), bench.metric("sluice_stage_plugin_swaps_total{stage=\"tag\"}")), (1, 0.0));
}

#[test]
fn batches_go_on_while_a_new_version_loops_in_init() {
    let bench = Bench::new("count", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    let mut spec = bench.spec.clone();
    spec.config_json = "{\"mode\":\"init-loops\"}".to_owned();
    spec.limits.init_deadline_ms = 300;
    let (begun, is_begun) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let candidate = scope.spawn(|| {
            begun.send(()).unwrap();
            loaded.candidate(&spec).unwrap_err().to_string()
        });
        is_begun.recv().unwrap();
        let mut during = 0;
        while !candidate.is_finished() {
            assert_eq!(stage.process(batch()).out.map(|out| out.rows()), Some(3));
            during += 1;
        }
        let error = candidate.join().unwrap();
        assert_eq!(error, "stage tag: the plugin did not start: init did not return within 300 ms");
        // One may have been before it, and one after.
        assert!(during > 2, "{during} batches in the time of init");
    });
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

/// A bench for each way that a state can take: copied where nothing is put aside, else from memory to memory.
fn both_ways(mode: &str, arg: u32, then: impl Fn(&mut Bench)) {
    for window in [Duration::ZERO, Duration::from_secs(3600)] {
        let mut bench = Bench::new(mode, arg);
        bench.spec.rollback_window = window;
        then(&mut bench);
    }
}

/// Publishes the same plugin with another configuration and other limits.
fn publish(bench: &Bench, loaded: &Loaded, config_json: &str, limits: Limits) {
    let spec = StageSpec { config_json: config_json.to_owned(), limits, ..bench.spec.clone() };
    loaded.publish(loaded.candidate(&spec).unwrap());
}

fn traps(bench: &Bench) -> f64 {
    bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"trap\"}")
}

#[test]
fn a_large_state_goes_over_whole_again_and_again() {
    const BYTES: u32 = 3_000_000;
    both_ways("pattern", BYTES, |bench| {
        let loaded = bench.load();
        let mut stage = loaded.instance();
        for exchange in 0..4 {
            let out = stage.process(batch()).out.unwrap();
            assert_eq!(out.number(col::CUSTOMER_ID, 0), u64::from(BYTES), "exchange {exchange}");
            // Of itself it knows nothing from now on.
            publish(bench, &loaded, r#"{"mode":"pattern","arg":0}"#, bench.spec.limits.clone());
        }
        assert_eq!(bench.metric("sluice_stage_plugin_swaps_total{stage=\"tag\"}"), 3.0);
    });
}

#[test]
fn an_instance_that_has_no_room_for_the_state_leaves_it_with_the_old_one() {
    both_ways("pattern", 3_000_000, |bench| {
        let loaded = bench.load();
        let mut stage = loaded.instance();
        publish(bench, &loaded, r#"{"mode":"pattern","arg":0}"#, Limits { memory: 3 << 20, ..Limits::default() });
        for _ in 0..2 {
            assert_eq!(stage.process(batch()).out.unwrap().number(col::CUSTOMER_ID, 0), 3_000_000);
        }
        assert_eq!(bench.metric("sluice_stage_plugin_swaps_refused_total{stage=\"tag\"}"), 1.0);
        assert_eq!(traps(bench), 0.0, "it is not the old one's fault");
    });
}

#[test]
fn a_state_that_is_larger_than_it_may_be_ends_the_old_instance_and_the_new_one_starts_empty() {
    both_ways("count", 0, |bench| {
        bench.spec.limits.snapshot_bytes = 7;
        let loaded = bench.load();
        let mut stage = loaded.instance();
        assert_eq!(numbered(&mut stage), (1, 1));
        bench.install(&guest::version(2));
        loaded.reload().unwrap();
        assert_eq!((numbered(&mut stage), traps(bench)), ((1, 2), 1.0));
    });
}

#[test]
fn a_new_version_that_traps_before_anybody_asked_what_it_knows_begins_with_what_it_was_given() {
    both_ways("count", 666, |bench| {
        let trapping = || batch_of(&[("192.0.2.1", 666)]);
        let loaded = bench.load();
        let mut stage = loaded.instance();
        assert_eq!(numbered(&mut stage), (1, 1));
        bench.install(&guest::version(2));
        loaded.reload().unwrap();
        assert_eq!(numbered(&mut stage), (4, 2));
        loaded.settle();
        assert!(stage.process(trapping()).out.is_none());
        assert_eq!((numbered(&mut stage), numbered(&mut stage)), ((4, 2), (7, 2)));
        // The same, where the next version comes before the next batch.
        bench.install(&guest::version(1));
        loaded.reload().unwrap();
        assert_eq!(numbered(&mut stage), (10, 1));
        loaded.settle();
        assert!(stage.process(trapping()).out.is_none());
        bench.install(&guest::version(2));
        loaded.reload().unwrap();
        assert_eq!(numbered(&mut stage), (10, 2));
    });
}

/// `tiny.wat` with a state of four bytes, which it frees with `free`. As another version it traps unless it was given them.
fn with_state(free: &str, is_new: bool) -> Vec<u8> {
    with_snapshot("(i32.const 400)", free, is_new)
}

/// The same, where `snapshot` does something else.
fn with_snapshot(snapshot: &str, free: &str, is_new: bool) -> Vec<u8> {
    let state = format!(
        r#"
        (global $known (mut i32) (i32.const {known}))
        (func (export "sluice:plugin/state@0.1.0#snapshot") (result i32) {snapshot})
        (func (export "cabi_post_sluice:plugin/state@0.1.0#snapshot") (param i32) {free})
        (func (export "sluice:plugin/state@0.1.0#restore") (param $at i32) (param $len i32) (result i32)
          (global.set $known (i32.eq (i32.load (local.get $at)) (i32.const 0x64636261)))
          (i32.const 500))
        (data (i32.const 400) "\98\01\00\00\04\00\00\00abcd")
        (data (i32.const 500) "\00\00\00\00\01")
        (memory (export"#,
        known = i32::from(!is_new),
    );
    let process = r##"#process") (result i32) (if (i32.eqz (global.get $known)) (then unreachable)) (i32.const 300))"##;
    guest::tiny(&[("(memory (export", &state), (r##"#process") (result i32) (i32.const 300))"##, process)])
}

/// Rows that the new version keeps, and traps of both, where the old one frees its state with `free`.
fn freed(bench: &Bench, free: &str) -> (usize, f64) {
    bench.install(&with_state(free, false));
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(stage.process(batch()).out.unwrap().rows(), 3);
    bench.install(&with_state("", true));
    loaded.reload().unwrap();
    loaded.settle();
    let processed = stage.process(batch());
    (processed.out.map_or(0, |out| out.rows()), traps(bench))
}

#[test]
fn a_state_is_read_before_it_is_freed() {
    both_ways("pass", 0, |bench| {
        assert_eq!(freed(bench, "(memory.fill (i32.const 408) (i32.const 0) (i32.const 4))"), (3, 0.0));
    });
}

#[test]
fn an_instance_that_traps_after_it_gave_its_state_takes_nothing_back() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.rollback_window = Duration::from_secs(3600);
    // From another process it comes when all of the call is over.
    bench.spec.isolation = None;
    assert_eq!(freed(&bench, "unreachable"), (3, 1.0));
}

#[test]
fn a_candidate_whose_running_version_cannot_say_what_it_knows_ends_and_costs_no_row() {
    let bench = Bench::new("pass", 0);
    bench.install(&with_snapshot("unreachable", "", false));
    let loaded = bench.load();
    let mut stage = loaded.instance();
    loaded.shadow(loaded.candidate(&bench.spec).unwrap(), 1);
    for _ in 0..2 {
        assert_eq!(stage.process(batch()).out.unwrap().rows(), 3);
    }
    assert_eq!((loaded.shadow_report(), traps(&bench)), (None, 1.0));
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
