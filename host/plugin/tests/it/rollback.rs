//! Putting back what ran before, and candidates that run beside.

use std::time::Duration;

use expect_test::expect;
use sluice_flow::col;
use sluice_plugin::{ColumnChange, ComponentSource, LoadErrorKind, Reloaded};

use crate::{Bench, batch, batch_of, guest};

/// Number of the first row and version of the plugin that gave it.
fn numbered(stage: &mut Box<dyn sluice_pipeline::Stage>) -> (u64, u64) {
    let processed = stage.process(batch());
    let out = processed.out.unwrap_or_else(|| panic!("rows come out: {:?}", processed.dropped));
    assert_eq!(out.rows(), 3);
    (out.number(col::CUSTOMER_ID, 0), out.number(col::SRC_AS, 0))
}

fn with_window(mode: &str) -> Bench {
    let mut bench = Bench::new(mode, 0);
    bench.spec.rollback_window = Duration::from_secs(3600);
    bench
}

fn metric(bench: &Bench, name: &str) -> f64 {
    bench.metric(&format!("sluice_stage_plugin_{name}_total{{stage=\"tag\"}}"))
}

#[test]
fn a_new_version_that_traps_is_put_back_and_the_batch_is_not_lost() {
    let bench = with_window("count");
    let loaded = bench.load();
    let mut stages = [loaded.instance(), loaded.instance()];
    assert_eq!(numbered(&mut stages[0]), (1, 1));
    bench.install(&guest::version(9));
    loaded.reload().unwrap();
    // It takes over with the state, works twice, and traps on the third batch.
    assert_eq!(numbered(&mut stages[0]), (4, 9));
    assert_eq!(numbered(&mut stages[1]), (1, 9));
    assert_eq!(numbered(&mut stages[0]), (7, 9));
    // What the old one knew when it was put aside: the batches between are the price.
    assert_eq!(numbered(&mut stages[0]), (4, 1));
    assert_eq!(numbered(&mut stages[1]), (1, 1), "the other instance goes back with it");
    assert_eq!((metric(&bench, "rollbacks"), loaded.generation()), (1.0, 3));
    // The bad file is still there, and is not taken up again.
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    assert_eq!(numbered(&mut stages[0]), (7, 1));
    bench.install(&guest::version(2));
    loaded.reload().unwrap();
    assert_eq!(numbered(&mut stages[0]), (10, 2));
}

#[test]
fn what_was_put_back_begins_after_a_trap_with_what_it_knew_when_it_was_put_aside() {
    let mut bench = with_window("count");
    bench.spec.config_json = bench.spec.config_json.replace(":0", ":666");
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    bench.install(&guest::version(9));
    loaded.reload().unwrap();
    assert_eq!((numbered(&mut stage), numbered(&mut stage)), ((4, 9), (7, 9)));
    assert_eq!((numbered(&mut stage), numbered(&mut stage)), ((4, 1), (7, 1)));
    assert!(stage.process(batch_of(&[("192.0.2.1", 666)])).out.is_none());
    assert_eq!(numbered(&mut stage), (4, 1));
}

#[test]
fn an_instance_that_traps_first_on_the_batch_of_another_goes_back_too() {
    let bench = with_window("count");
    let loaded = bench.load();
    let mut stages = [loaded.instance(), loaded.instance()];
    bench.install(&guest::version(9));
    loaded.reload().unwrap();
    for stage in &mut stages {
        assert_eq!((numbered(stage).1, numbered(stage).1), (9, 9));
    }
    assert_eq!(numbered(&mut stages[0]).1, 1);
    assert_eq!(numbered(&mut stages[1]).1, 1);
    assert_eq!(metric(&bench, "rollbacks"), 1.0);
}

#[test]
fn a_state_that_the_new_version_refuses_puts_the_stage_back() {
    for version in [3, 4] {
        let bench = with_window("count");
        let loaded = bench.load();
        let mut stage = loaded.instance();
        assert_eq!(numbered(&mut stage), (1, 1));
        bench.install(&guest::version(version));
        loaded.reload().unwrap();
        assert_eq!(numbered(&mut stage), (4, 1), "version {version}");
        assert_eq!((metric(&bench, "rollbacks"), metric(&bench, "swaps_refused")), (1.0, 1.0));
        assert_eq!(loaded.manifest().version, "1.0.0-guest-version");
        assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
    }
}

#[test]
fn an_instance_that_passed_over_what_failed_keeps_what_it_knows() {
    let bench = with_window("count");
    let loaded = bench.load();
    let mut stages = [loaded.instance(), loaded.instance()];
    assert_eq!(numbered(&mut stages[0]), (1, 1));
    for version in [2, 9] {
        bench.install(&guest::version(version));
        loaded.reload().unwrap();
    }
    // It fails in the other instance, while this one runs the first version still.
    assert_eq!([(); 3].map(|()| numbered(&mut stages[1]).1), [9, 9, 2]);
    assert_eq!(metric(&bench, "rollbacks"), 1.0);
    assert_eq!(numbered(&mut stages[0]), (4, 2));
}

#[test]
fn after_the_window_the_new_version_stays() {
    let mut bench = Bench::new("count", 0);
    bench.spec.rollback_window = Duration::ZERO;
    // Its trap has nothing to do with the rows: parts of them would go through a fresh instance.
    bench.spec.failure.bisect = false;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    bench.install(&guest::version(9));
    loaded.reload().unwrap();
    assert_eq!((numbered(&mut stage).1, numbered(&mut stage).1), (9, 9));
    assert_eq!(stage.process(batch()).dropped, [("trap", 3)]);
    assert_eq!((numbered(&mut stage).1, loaded.generation()), (9, 2));
    assert_eq!((loaded.roll_back(), loaded.can_roll_back_for()), (None, None));
}

#[test]
fn an_operator_goes_back_with_what_the_new_version_learned() {
    let bench = with_window("count");
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    assert_eq!(loaded.roll_back(), None);
    bench.install(&guest::version(2));
    loaded.reload().unwrap();
    assert_eq!(numbered(&mut stage), (4, 2));
    assert!(loaded.can_roll_back_for().is_some());
    let back = Reloaded::Swapped {
        from: "2.0.0-guest-version".to_owned(),
        to: "1.0.0-guest-version".to_owned(),
        generation: 3,
    };
    assert_eq!(loaded.roll_back(), Some(back));
    assert_eq!(numbered(&mut stage), (7, 1));
    assert_eq!(loaded.roll_back(), None, "once");
    assert_eq!(loaded.reload().unwrap(), Reloaded::Unchanged);
}

#[test]
fn another_configuration_and_grant_are_a_version_too() {
    let bench = with_window("count");
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(numbered(&mut stage), (1, 1));
    // A grant that leaves out what the plugin asks for leaves the running one.
    let mut spec = bench.spec.clone();
    if let sluice_plugin::Grant::Listed(granted) = &mut spec.grant {
        granted.write.remove(col::SRC_AS);
    }
    let error = loaded.candidate(&spec).unwrap_err();
    assert!(matches!(*error.kind, LoadErrorKind::NotGranted { .. }), "{error}");
    assert_eq!(numbered(&mut stage), (4, 1));
    // The same plugin, told to do something else, knows what it knew.
    let mut spec = bench.spec.clone();
    spec.config_json = spec.config_json.replace("count", "half-state");
    let candidate = loaded.candidate(&spec).unwrap();
    assert!(candidate.reads().contains(col::SRC_AS));
    loaded.publish(candidate);
    // It takes half of the six rows, and counts three more.
    stage.process(batch());
    loaded.publish(loaded.candidate(&bench.spec).unwrap());
    assert_eq!(numbered(&mut stage), (7, 1));
}

#[test]
fn a_candidate_runs_beside_without_effect_and_the_report_says_what_differs() {
    let bench = Bench::new("count", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    assert_eq!(loaded.shadow_report(), None);
    let path = bench.dir.path().join("candidate.wasm");
    std::fs::write(&path, guest::version(2)).unwrap();
    let component = ComponentSource::File { path, sha256: None };
    let spec = sluice_plugin::StageSpec { component, ..bench.spec.clone() };
    loaded.shadow(loaded.candidate(&spec).unwrap(), 2);
    for batch in 0..10 {
        assert_eq!(numbered(&mut stage), (batch * 3 + 1, 1), "the rows are those of the running version");
    }
    let report = loaded.shadow_report().unwrap();
    assert_eq!((report.batches, report.rows, report.kept_by_both, report.failures), (5, 15, 15, 0));
    assert!(!report.is_same());
    let changed = |column: &str| report.columns.get(column).map(|change: &ColumnChange| change.rows);
    assert_eq!((changed("src_as"), report.columns.len()), (Some(15), 1), "and it counts as the running one does");
    expect![[r#"("1", "2")"#]].assert_eq(&format!("{:?}", report.columns["src_as"].examples[0]));
    assert!(report.candidate_ns_per_row > 0.0 && report.running_ns_per_row > 0.0);
    assert!(report.candidate_memory > 0);
    assert_eq!(metric(&bench, "swaps"), 0.0);
    // What runs beside is promoted with the state of what runs.
    assert!(matches!(loaded.promote(), Some(Reloaded::Swapped { .. })));
    assert_eq!(numbered(&mut stage), (31, 2));
    assert_eq!((loaded.shadow_report(), loaded.promote(), loaded.end_shadow()), (None, None, false));
}

#[test]
fn a_candidate_is_another_build_of_the_plugin_and_has_what_was_granted() {
    let mut bench = Bench::new("count", 0);
    let path = bench.dir.path().join("candidate.wasm");
    let file = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        ComponentSource::File { path: path.clone(), sha256: None }
    };
    let error = bench.load().candidate_from(&file(&guest::tiny(&[]))).unwrap_err();
    assert!(matches!(*error.kind, LoadErrorKind::Manifest { .. }), "{error}");
    assert!(error.to_string().contains("calls it `tiny`, and the stage runs `guest`"), "{error}");
    // The built-in plugin may have what it asks for; that was not said of a file.
    bench.spec.component = ComponentSource::Embedded { name: "guest", bytes: guest::guest() };
    bench.spec.grant = sluice_plugin::Grant::Requested;
    let error = bench.load().candidate_from(&file(guest::guest())).unwrap_err();
    assert!(matches!(*error.kind, LoadErrorKind::NothingGranted { .. }), "{error}");
}

#[test]
fn a_candidate_that_filters_routes_alerts_or_traps_is_reported() {
    let report = |running: &str, arg: u32, candidate: &str, candidate_arg: u32| {
        let mut bench = Bench::new(running, arg);
        // What is over the rate is compared all the same.
        bench.spec.limits.alerts_per_min = 1;
        let loaded = bench.load();
        let mut stage = loaded.instance();
        let mut spec = bench.spec.clone();
        spec.config_json = format!("{{\"mode\":\"{candidate}\",\"arg\":{candidate_arg}}}");
        loaded.shadow(loaded.candidate(&spec).unwrap(), 1);
        for _ in 0..3 {
            assert_eq!(stage.process(batch()).rows(), 3);
        }
        let traps = bench.metrics.encode();
        assert!(!traps.contains("sluice_stage_plugin_traps_total"), "{traps}");
        loaded.shadow_report().unwrap()
    };
    let same = report("pass", 0, "pass", 0);
    assert!(same.is_same() && same.batches == 3, "{same:?}");
    let same = report("alerts", 5, "alerts", 5);
    assert!(same.is_same() && same.batches == 3, "{same:?}");
    let traps = report("pass", 0, "trap", 20);
    assert_eq!((traps.failures, traps.batches), (3, 0));
    assert!(traps.failure_examples[0].contains("unreachable"), "{traps:?}");
    let marks = report("pass", 0, "marks", 1);
    assert!(!marks.is_same(), "{marks:?}");
    assert!(marks.routes_changed > 0 || marks.kept_by_running_only > 0, "{marks:?}");
    let alerts = report("pass", 0, "alerts", 5);
    assert!(alerts.alerts_by_candidate_only > 0 && alerts.alert_examples[0].starts_with("+ "), "{alerts:?}");
    let alerts = report("alerts", 5, "pass", 0);
    assert!(alerts.alerts_by_running_only > 0 && alerts.alert_examples[0].starts_with("- "), "{alerts:?}");
}
