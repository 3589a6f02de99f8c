//! Plugins called by hand: everything that can be seen of a call.

use std::path::Path;
use std::sync::{Arc, Mutex};

use sluice_flow::ColumnSet;
use sluice_plugin::{Answer, Called, Host, HostSettings, LogLevel, LogOut, Trial};

use crate::{Bench, batch, columns, shown};

/// A bench whose host counts fuel.
fn bench(mode: &str) -> Bench {
    let mut bench = Bench::new(mode, 5);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("code");
    let settings = HostSettings { cache_dir: Some(cache), fuel: true, outside: None };
    bench.host = Host::new(settings, Arc::clone(&bench.metrics)).unwrap();
    bench
}

fn done(called: &Called) -> (String, usize) {
    match &called.answer {
        Answer::Done(Some((batch, dropped))) => (shown(batch), *dropped),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_call_costs_the_same_fuel() {
    let bench = bench("boundary");
    let loaded = bench.load();
    let (mut one, mut other) = (Trial::new(&loaded).unwrap(), Trial::new(&loaded).unwrap());
    assert!(one.start_fuel().unwrap() > 0);
    assert_eq!(one.start_fuel(), other.start_fuel());
    let (first, second) = (one.process(batch()), other.process(batch()));
    assert!(first.fuel.unwrap() > 100, "{:?}", first.fuel);
    assert_eq!(first.fuel, second.fuel);
    assert_eq!(done(&first), done(&second));
    assert!(one.memory() > 65_536);
}

#[test]
fn a_host_that_does_not_count_has_no_fuel() {
    let mut trial = Trial::new(&Bench::new("boundary", 5).load()).unwrap();
    assert_eq!((trial.start_fuel(), trial.process(batch()).fuel), (None, None));
}

#[test]
fn columns_that_were_touched_and_refused_are_told() {
    let bench = bench("writes");
    let called = Trial::new(&bench.load()).unwrap().process(batch());
    let touched = called.touched;
    assert!(!touched.written.is_empty() && touched.written.minus(bench_grant(&bench)).is_empty(), "{touched:?}");
    assert!(!touched.refused.is_empty() && touched.refused.minus(bench_grant(&bench)) == touched.refused);
}

fn bench_grant(bench: &Bench) -> ColumnSet {
    match &bench.spec.grant {
        sluice_plugin::Grant::Listed(granted) => granted.write,
        sluice_plugin::Grant::Requested => columns(&[]),
    }
}

#[test]
fn a_trap_says_where_it_was() {
    let mut bench = bench("trap");
    bench.spec.config_json = "{\"mode\":\"trap\",\"arg\":20}".to_owned();
    let trap = match Trial::new(&bench.load()).unwrap().process(batch()).answer {
        Answer::Trapped(trap) => trap,
        other => panic!("{other:?}"),
    };
    assert_eq!(trap.kind, "trap");
    assert!(trap.backtrace.iter().any(|frame| frame.contains("panic")), "{:#?}", trap.backtrace);
    assert!(trap.backtrace.iter().any(|frame| frame.contains("process")), "{:#?}", trap.backtrace);
}

#[test]
fn log_lines_metrics_and_alerts_are_kept_without_limits() {
    let mut bench = bench("log");
    let lines = Arc::new(Mutex::default());
    bench.spec.services.log = LogOut::Kept(Arc::clone(&lines));
    bench.spec.limits.log_lines_per_s = 1;
    let mut trial = Trial::new(&bench.load()).unwrap();
    done(&trial.process(batch()));
    let lines = lines.lock().unwrap();
    assert!(lines.len() > 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.level == LogLevel::Info), "{lines:?}");

    let mut trial = Trial::new(&self::bench("metrics").load()).unwrap();
    done(&trial.process(batch()));
    assert!(!trial.metrics().is_empty());

    let mut bench = self::bench("alerts");
    bench.spec.limits.alerts_per_min = 1;
    let called = Trial::new(&bench.load()).unwrap().process(batch());
    assert!(called.alerts.len() > 1 && called.alerts.iter().all(|alert| alert.time_ms == batch().now_ms()));
}
