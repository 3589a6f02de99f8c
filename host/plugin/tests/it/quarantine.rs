//! A plugin that fails again and again is not called any more, and nothing of a private stage passes whatever happens.

use std::time::Duration;

use sluice_flow::{Batch, col};
use sluice_pipeline::{Processed, Stage};
use sluice_plugin::{Budget, OnError, OverBudget, QuarantineRules};

use crate::{Bench, batch, guest, outcome};

const NEVER: Duration = Duration::from_secs(1_000_000);
const LONG: Duration = Duration::from_secs(3600);

/// A plugin that traps on the rows of [`batch`], quarantined after two batches.
fn bench(retry_after: Duration) -> Bench {
    let mut bench = Bench::new("trap", 20);
    bench.spec.failure.bisect = false;
    bench.spec.failure.quarantine =
        Some(QuarantineRules { traps: 2, within: LONG, retry_after, max_retry_after: NEVER });
    bench
}

fn good() -> Batch {
    crate::batch_of(&[("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3)])
}

fn is_quarantined(bench: &Bench) -> f64 {
    bench.metric("sluice_stage_plugin_quarantined{stage=\"tag\"}")
}

fn calls(bench: &Bench) -> f64 {
    bench.metric("sluice_stage_plugin_calls_total{stage=\"tag\"}")
}

#[test]
fn after_so_many_traps_of_all_instances_the_plugin_is_not_called() {
    let bench = bench(NEVER);
    let loaded = bench.load();
    let mut stages = [loaded.instance(), loaded.instance()];
    for stage in &mut stages {
        assert_eq!((loaded.is_quarantined(), is_quarantined(&bench)), (None, 0.0));
        assert_eq!(outcome(&stage.process(batch()), 3), "dropped: 3 trap\n");
    }
    let what = loaded.is_quarantined().unwrap();
    assert!(what.why.contains("unreachable") && what.until > Some(what.since), "{what:?}");
    let before = calls(&bench);
    for stage in &mut stages {
        assert_eq!(outcome(&stage.process(good()), 3), "dropped: 3 quarantined\n");
        stage.tick(1);
    }
    assert_eq!((calls(&bench), is_quarantined(&bench)), (before, 1.0));
    assert_eq!(bench.metric("sluice_stage_plugin_quarantines_total{stage=\"tag\"}"), 1.0);
    // An operator ends it.
    assert!(loaded.release() && !loaded.release());
    assert_eq!(stages[0].process(good()).outs().count(), 1);
    assert_eq!(is_quarantined(&bench), 0.0);
}

#[test]
fn a_batch_that_works_after_the_wait_ends_it_and_one_that_traps_makes_it_longer() {
    let bench = bench(Duration::from_nanos(1));
    let loaded = bench.load();
    let mut stage = loaded.instance();
    (0..2).for_each(|_| assert_eq!(stage.process(batch()).dropped, [("trap", 3)]));
    let first = loaded.is_quarantined().unwrap();
    // The wait of a nanosecond is over: this batch is the one that tries.
    assert_eq!(stage.process(batch()).dropped, [("trap", 3)]);
    let second = loaded.is_quarantined().unwrap();
    assert_eq!(second.since, first.since);
    assert!(second.until > first.until);
    assert_eq!(stage.process(good()).outs().count(), 1);
    assert_eq!((loaded.is_quarantined(), is_quarantined(&bench)), (None, 0.0));
}

#[test]
fn a_row_that_is_found_does_not_count_and_a_loop_does() {
    let mut bench = bench(NEVER);
    bench.spec.failure.bisect = true;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    for _ in 0..5 {
        assert_eq!(stage.process(batch()).dropped, [("trap", 1)]);
    }
    assert_eq!(loaded.is_quarantined(), None, "whoever sends such rows must not switch the plugin off");

    let mut bench = Bench::new("poison-loop", 20);
    bench.spec.failure.quarantine = bench.spec.failure.quarantine.map(|rules| QuarantineRules { traps: 2, ..rules });
    bench.spec.limits.deadline_ms = 200;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    (0..2).for_each(|_| assert_eq!(stage.process(batch()).rows(), 3));
    assert!(loaded.is_quarantined().is_some());
}

#[test]
fn a_plugin_that_works_on_nothing_is_quarantined_after_one_batch() {
    let bench = Bench::new("stack", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    let rows: Vec<_> = (0..100).map(|row| ("192.0.2.1", row)).collect();
    assert_eq!(stage.process(crate::batch_of(&rows)).dropped, [("trap", 100)]);
    assert!(loaded.is_quarantined().is_some());
    let before = calls(&bench);
    assert_eq!(stage.process(crate::batch_of(&rows)).dropped, [("quarantined", 100)]);
    assert_eq!(calls(&bench), before);
}

#[test]
fn a_trial_is_one_call() {
    let mut bench = bench(Duration::from_nanos(1));
    bench.spec.failure.bisect = true;
    bench.spec.config_json = "{\"mode\":\"stack\"}".to_owned();
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(stage.process(batch()).dropped, [("trap", 3)]);
    let before = calls(&bench);
    assert_eq!(stage.process(batch()).dropped, [("trap", 3)]);
    assert_eq!(calls(&bench), before + 1.0);
}

#[test]
fn another_version_begins_with_a_clean_sheet() {
    let bench = bench(NEVER);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    (0..2).for_each(|_| assert_eq!(stage.process(batch()).dropped, [("trap", 3)]));
    bench.install(&guest::version(2));
    loaded.reload().unwrap();
    assert_eq!((loaded.is_quarantined(), is_quarantined(&bench)), (None, 0.0));
    assert_eq!(stage.process(good()).outs().count(), 1);
}

#[test]
fn an_operator_puts_it_in_and_a_pipeline_that_would_stop_does_not() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.on_error = OnError::Stop;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    loaded.quarantine("we look into it");
    let what = loaded.is_quarantined().unwrap();
    assert_eq!((what.why.as_str(), what.until), ("we look into it", None));
    assert_eq!(outcome(&stage.process(batch()), 3), "dropped: 3 quarantined\n");
    assert!(loaded.release());
    assert_eq!(stage.process(batch()).outs().count(), 1);
}

/// Nothing came out that the plugin has not processed: it writes 9 into every row.
fn is_hidden(processed: &Processed) -> bool {
    assert_eq!(processed.rows(), 3, "{processed:?}");
    processed.outs().all(|batch| (0..batch.rows()).all(|row| batch.number(col::SRC_AS, row) == 9))
}

#[test]
fn a_private_stage_lets_nothing_through_that_was_not_processed() {
    let private = |on_error| {
        let mut bench = Bench::new("trap", 20);
        (bench.spec.is_private, bench.spec.on_error) = (true, on_error);
        bench
    };
    for on_error in [OnError::Drop, OnError::DeadLetter, OnError::Stop] {
        // A trap, with and without taking the batch apart.
        for bisect in [true, false] {
            let mut bench = private(on_error);
            bench.spec.failure.bisect = bisect;
            assert!(is_hidden(&bench.process(batch())), "{on_error:?}");
        }
        // Quarantine.
        let bench = private(on_error);
        let loaded = bench.load();
        let mut stage = loaded.instance();
        loaded.quarantine("asked");
        assert!(is_hidden(&stage.process(good())) && is_hidden(&stage.process(batch())), "{on_error:?}");
        // The version before is put back in the middle of a batch.
        let mut bench = private(on_error);
        bench.spec.rollback_window = LONG;
        let loaded = bench.load();
        let mut stage: Box<dyn Stage> = loaded.instance();
        assert!(is_hidden(&stage.process(good())));
        bench.install(&guest::version(9));
        loaded.reload().unwrap();
        for _ in 0..4 {
            assert!(is_hidden(&stage.process(good())) && is_hidden(&stage.process(batch())), "{on_error:?}");
        }
        assert_eq!(bench.metric("sluice_stage_plugin_rollbacks_total{stage=\"tag\"}"), 1.0);
        // CPU time that is used up.
        let mut bench = private(on_error);
        bench.spec.config_json = "{\"mode\":\"burn\",\"arg\":50000}".to_owned();
        bench.spec.budget = Some(Budget::new("tag", 1, OverBudget::Shed));
        let mut stage = bench.load().instance();
        assert!(is_hidden(&stage.process(good())));
        let shed = stage.process(good());
        assert!(is_hidden(&shed) && shed.outs().count() == 0, "{on_error:?}");
        // No instance to be had.
        let bench = private(on_error);
        let loaded = bench.load();
        let mut stage = loaded.instance();
        assert!(is_hidden(&stage.process(batch())));
        assert!(is_hidden(&stage.process(good())));
    }
    let mut bench = private(OnError::Pass);
    assert!(bench.error().contains("unprotected"), "{}", bench.error());
    bench.spec.on_error = OnError::Drop;
    let loaded = bench.load();
    bench.spec.on_error = OnError::Pass;
    assert!(loaded.candidate(&bench.spec).is_err());
}
