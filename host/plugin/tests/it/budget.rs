//! What a plugin may use: CPU time, memory, and everything that it hands over.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sluice_flow::{Batch, col};
use sluice_pipeline::Processed;
use sluice_plugin::{Budget, Limits, OnError, OverBudget, StageSpec};

use crate::{Bench, batch, batch_of, guest, outcome};

/// Uses 50 million turns of a loop a batch: many times the budget of a millisecond a second, on any machine.
fn burning(budget: &std::sync::Arc<Budget>) -> Bench {
    let mut bench = Bench::new("burn", 50_000);
    bench.spec.budget = Some(std::sync::Arc::clone(budget));
    bench.spec.limits.deadline_ms = 60_000;
    bench
}

fn metric(bench: &Bench, name: &str) -> f64 {
    bench.metric(&format!("sluice_stage_plugin_{name}{{stage=\"tag\"}}"))
}

fn processed_rows(processed: &Processed) -> usize {
    processed.outs().map(Batch::rows).sum()
}

#[test]
fn a_plugin_over_its_budget_is_shed_and_others_are_not() {
    let budget = Budget::new("tag", 1, OverBudget::Shed);
    let bench = burning(&budget);
    let loaded = bench.load();
    let mut stages = [loaded.instance(), loaded.instance()];
    assert_eq!(processed_rows(&stages[0].process(batch())), 3);
    // Of all instances together.
    for stage in &mut stages {
        assert_eq!(outcome(&stage.process(batch()), 3), "dropped: 3 over_budget\n");
    }
    assert_eq!(metric(&bench, "over_budget_total"), 1.0);
    // Every call is measured: what was used is far beyond one call in eight of it.
    assert!(metric(&bench, "cpu_nanoseconds_total") > 1e6);
    let free = Bench::new("burn", 50_000);
    assert_eq!(processed_rows(&free.process(batch())), 3);
}

#[test]
fn a_budget_can_be_that_of_several_stages() {
    let budget = Budget::new("tenant", 1, OverBudget::Shed);
    let (one, other) = (burning(&budget), burning(&budget));
    let (mut first, mut second) = (one.load().instance(), other.load().instance());
    assert_eq!(processed_rows(&first.process(batch())), 3);
    assert_eq!(outcome(&second.process(batch()), 3), "dropped: 3 over_budget\n");
}

#[test]
fn what_a_start_function_does_is_paid_for() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.budget = Some(Budget::new("tag", 1, OverBudget::Shed));
    let start = "
        (func $spin (local $left i32)
          (local.set $left (i32.const 50000000))
          (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
        (start $spin)
        (memory (export";
    bench.install(&guest::tiny(&[("(memory (export", start)]));
    assert_eq!(outcome(&bench.process(batch()), 3), "dropped: 3 over_budget\n");
}

#[test]
fn a_candidate_has_as_much_as_the_stage_and_takes_none_of_it() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.budget = Some(Budget::new("tag", 20, OverBudget::Shed));
    bench.spec.limits.deadline_ms = 60_000;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    let config_json = r#"{"mode":"burn","arg":200000}"#.to_owned();
    let spec = StageSpec { config_json, ..bench.spec.clone() };
    loaded.shadow(loaded.candidate(&spec).unwrap(), 1);
    for _ in 0..3 {
        assert_eq!(processed_rows(&stage.process(batch())), 3);
    }
    let report = loaded.shadow_report().unwrap();
    assert_eq!((report.batches, report.batches_over_budget, report.failures), (1, 2, 0));
}

#[test]
fn rows_over_the_budget_go_by_the_policy_of_the_stage() {
    let with = |on_error: OnError| {
        let mut bench = burning(&Budget::new("tag", 1, OverBudget::Shed));
        bench.spec.on_error = on_error;
        let mut stage = bench.load().instance();
        stage.process(batch());
        stage.process(batch())
    };
    assert_eq!(with(OnError::Pass).outs().map(|batch| batch.number(col::SRC_AS, 0)).collect::<Vec<_>>(), [0]);
    let dead = with(OnError::DeadLetter);
    let why = dead.dead.as_ref().unwrap().dead_letter().unwrap().to_string();
    assert_eq!(why, "tag: over_budget: the budget tag of 1 ms CPU time a second is used up");
    let stop = with(OnError::Stop);
    assert_eq!((stop.stop, stop.dropped.as_slice()), (None, &[("over_budget", 3)][..]));
}

/// Milliseconds of CPU time that the plugin has used.
fn cpu_ms(bench: &Bench) -> f64 {
    metric(bench, "cpu_nanoseconds_total") / 1e6
}

fn deadlines(bench: &Bench) -> f64 {
    bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"deadline\"}")
}

/// A batch of a plugin that loops, with this budget and the deadline that goes with it.
fn looped(cpu_ms_per_s: u32, policy: OverBudget) -> Bench {
    let mut bench = Bench::new("loop", 0);
    bench.spec.budget = Some(Budget::new("tag", cpu_ms_per_s, policy));
    bench.spec.limits.deadline_ms = Limits::deadline_within(cpu_ms_per_s);
    let rows: Vec<_> = (0..1000).map(|row| ("192.0.2.1", row)).collect();
    assert_eq!(outcome(&bench.process(batch_of(&rows)), 1000), "dropped: 1000 deadline\n");
    bench
}

#[test]
fn a_loop_costs_one_deadline_where_the_budget_ends_the_search_for_the_row() {
    let bench = looped(50, OverBudget::Shed);
    assert_eq!(deadlines(&bench), 1.0);
    assert!((100.0..400.0).contains(&cpu_ms(&bench)), "{}", cpu_ms(&bench));
}

#[test]
fn a_loop_costs_three_deadlines_where_nothing_else_ends_the_search_for_the_row() {
    let bench = looped(100, OverBudget::Delay);
    assert!(deadlines(&bench) >= 3.0, "the parts have less time than the whole, so that there are some");
    // Beyond the 600: what the ticks of the clock are apart, for each call.
    assert!((200.0..900.0).contains(&cpu_ms(&bench)), "{}", cpu_ms(&bench));
}

#[test]
fn a_machine_that_is_busy_with_other_things_does_not_end_a_call() {
    const WORK: u32 = 10_000;
    let alone = Bench::new("burn", WORK);
    assert_eq!(processed_rows(&alone.process(batch())), 3);
    let mut bench = Bench::new("burn", WORK);
    bench.spec.failure.bisect = false;
    // With sixteen threads at each core, the call takes some seventeen times as long.
    bench.spec.limits.deadline_ms = (cpu_ms(&alone) * 5.0) as u64 + 1;
    let mut stage = bench.load().instance();
    let is_over = AtomicBool::new(false);
    let processed = thread::scope(|scope| {
        for _ in 0..16 * thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| while !black_box(&is_over).load(Ordering::Relaxed) {});
        }
        let processed = stage.process(batch());
        is_over.store(true, Ordering::Relaxed);
        processed
    });
    assert_eq!((processed_rows(&processed), deadlines(&bench)), (3, 0.0));
}

#[test]
fn a_plugin_that_is_never_ready_is_not_tried_again_with_the_time_of_others() {
    let retried = |cpu_ms_per_s: u32| {
        let mut bench = Bench::new("retry-burn", 20_000);
        bench.spec.budget = Some(Budget::new("tag", cpu_ms_per_s, OverBudget::Shed));
        bench.spec.limits.deadline_ms = 60_000;
        assert_eq!(outcome(&bench.process(batch()), 3), "dropped: 3 not_ready\n");
        metric(&bench, "retries_total")
    };
    assert_eq!((retried(1), retried(60_000)), (0.0, 2.0));
}

#[test]
fn a_version_that_breaks_the_budget_in_its_first_time_is_put_back() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.rollback_window = std::time::Duration::from_secs(3600);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    stage.process(batch());
    let mut hungry = burning(&Budget::new("tag", 1, OverBudget::Shed));
    hungry.spec.rollback_window = bench.spec.rollback_window;
    let spec = sluice_plugin::StageSpec { component: bench.spec.component.clone(), ..hungry.spec.clone() };
    loaded.publish(loaded.candidate(&spec).unwrap());
    assert_eq!(processed_rows(&stage.process(batch())), 3);
    assert_eq!((metric(&bench, "rollbacks_total"), loaded.generation()), (1.0, 3));
    assert_eq!(processed_rows(&stage.process(batch())), 3, "the one before has no such budget");
    assert_eq!(metric(&bench, "over_budget_total"), 1.0);
}

#[test]
fn an_instance_whose_memory_has_grown_is_exchanged_for_one_that_knows_the_same() {
    let limits = Limits { memory: 16 << 20, ..Limits::default() };
    // 200 KB a call: full after some eighty.
    let mut bench = Bench::new("leak", 200_000);
    bench.spec.limits = limits.clone();
    let mut stage = bench.load().instance();
    for _ in 0..300 {
        assert_eq!(processed_rows(&stage.process(batch())), 3);
    }
    let recycled = metric(&bench, "recycled_total");
    assert!((2.0..=9.0).contains(&recycled), "{recycled}");
    assert_eq!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"memory\"}"), 0.0);
    // One that needs as much from the start is left alone, for longer and longer.
    let mut bench = Bench::new("count", 0);
    bench.spec.limits = Limits { recycle_memory: Some(1), ..limits };
    let mut stage = bench.load().instance();
    let last = (0..300).map(|_| stage.process(batch())).last().unwrap();
    assert_eq!(last.out.unwrap().number(col::CUSTOMER_ID, 0), 898, "every row was counted once");
    assert_eq!(metric(&bench, "recycled_total"), 3.0, "after 32, 64 and 128 batches");
}

#[test]
fn a_leak_that_is_not_caught_in_time_costs_an_instance_and_no_row() {
    let mut bench = Bench::new("leak", 2_000_000);
    bench.spec.limits = Limits { memory: 16 << 20, ..Limits::default() };
    let mut stage = bench.load().instance();
    for _ in 0..30 {
        assert_eq!(processed_rows(&stage.process(batch())), 3);
    }
    assert!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"memory\"}") >= 2.0);
    assert_eq!(metric(&bench, "batch_rows_limit"), 0.0, "it is not that the batches are too large");
}

#[test]
fn batches_become_as_small_as_the_memory_asks_and_grow_again() {
    // 100 KB a row: 1000 rows do not fit into 32 MiB.
    let mut bench = Bench::new("hungry", 100_000);
    bench.spec.limits = Limits { memory: 32 << 20, deadline_ms: 60_000, ..Limits::default() };
    let mut stage = bench.load().instance();
    let rows: Vec<_> = (0..1000).map(|row| ("192.0.2.1", row)).collect();
    let thousand = || crate::batch_of(&rows);
    let memory = |bench: &Bench| bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"memory\"}");
    assert_eq!(processed_rows(&stage.process(thousand())), 1000);
    assert_eq!(metric(&bench, "batch_rows_limit"), 250.0);
    let traps = memory(&bench);
    assert!(traps > 0.0);
    let processed = stage.process(thousand());
    assert_eq!(processed.outs().map(Batch::rows).collect::<Vec<_>>(), [250; 4], "split before the call");
    let bytes: Vec<u64> = processed.outs().flat_map(|batch| batch.u64s(col::BYTES).unwrap().to_vec()).collect();
    assert_eq!(bytes, (0..1000).collect::<Vec<_>>());
    assert_eq!(memory(&bench), traps, "nothing traps any more");
    // After 64 calls that worked it tries more, and finds again what works.
    for _ in 0..20 {
        assert_eq!(processed_rows(&stage.process(thousand())), 1000);
    }
    assert!(memory(&bench) > traps);
}

#[test]
fn each_part_of_a_batch_that_is_too_large_for_the_memory_waits_for_the_budget() {
    let parts = |cpu_ms_per_s: u32| {
        let mut bench = Bench::new("hungry", 100_000);
        bench.spec.limits = Limits { memory: 32 << 20, deadline_ms: 60_000, ..Limits::default() };
        bench.spec.budget = Some(Budget::new("tag", cpu_ms_per_s, OverBudget::Delay));
        let mut stage = bench.load().instance();
        let rows: Vec<_> = (0..1000).map(|row| ("192.0.2.1", row)).collect();
        // Finds out how many rows are too many, and with a budget of a millisecond is in debt for long.
        assert_eq!(processed_rows(&stage.process(batch_of(&rows))), 1000);
        let calls = || metric(&bench, "calls_total");
        let (mut counts, mut bytes) = (Vec::new(), Vec::new());
        let mut waiting = std::collections::VecDeque::from([batch_of(&rows)]);
        while let Some(batch) = waiting.pop_front() {
            let (before, rows) = (calls(), batch.rows());
            let processed = stage.process(batch);
            assert_eq!(processed.rows(), rows, "what waits is not lost");
            counts.push((calls() - before, processed_rows(&processed)));
            bytes.extend(processed.outs().flat_map(|batch| batch.u64s(col::BYTES).unwrap().to_vec()));
            waiting.extend(processed.later);
        }
        assert_eq!(bytes, (0..1000).collect::<Vec<_>>(), "in their order, each once");
        counts
    };
    assert_eq!(parts(60_000), [(4.0, 1000)]);
    assert_eq!(parts(1), [(1.0, 250); 4]);
}

#[test]
fn one_row_that_wants_all_the_memory_does_not_make_the_batches_small() {
    let bench = Bench::new("poison-memory", 20);
    let processed = bench.process(batch());
    assert_eq!((processed_rows(&processed), processed.dropped.as_slice()), (2, &[("memory", 1)][..]));
    assert_eq!(metric(&bench, "batch_rows_limit"), 0.0);
}

#[test]
fn texts_lists_and_handles_are_capped() {
    let with_key = |bench: &mut Bench| {
        let path = bench.dir.path().join("secret.key");
        std::fs::write(&path, "00".repeat(32)).unwrap();
        let keys = [("secret".to_owned(), sluice_plugin::keys::KeySpec::File { path })];
        bench.spec.services.keys = std::sync::Arc::new(sluice_plugin::keys::Keys::load(keys).unwrap());
    };
    expect_test::expect!["(64, Some(\"more than 64 are open\"))"].assert_eq(&report("handles", 1000, with_key));
    let mut leaky = Bench::new("leak-handles", 5000);
    with_key(&mut leaky);
    assert_eq!(processed_rows(&leaky.process(batch())), 3, "it has no more of them, and nothing else");
    assert_eq!(report("words", 65_536, |_| {}), "(Ok(()), Err(Denied::OutOfRange))");
    assert_eq!(report("words", 65_537, |_| {}), "(Err(Denied::OutOfRange), Err(Denied::OutOfRange))");
    let roomy = |bench: &mut Bench| {
        bench.spec.limits = Limits { memory: 512 << 20, hostcall_bytes: 512 << 20, ..Limits::default() };
    };
    assert_eq!(report("lists", 16 << 20, roomy), "Err(Denied::OutOfRange)");
    assert_eq!(report("lists", 1 << 20, roomy), "Ok(())");
}

/// What the plugin reports.
fn report(mode: &str, arg: u32, with: impl FnOnce(&mut Bench)) -> String {
    let mut bench = Bench::new(mode, arg);
    with(&mut bench);
    bench.report()
}

#[test]
fn floods_of_log_lines_alerts_and_metrics_are_counted_and_end_nothing() {
    let flood = |mode: &str| {
        let bench = Bench::new(mode, 5000);
        assert_eq!(bench.process(batch()).outs().count(), 1);
        bench
    };
    assert!(metric(&flood("log"), "log_suppressed_total") >= 4900.0);
    let alerts = flood("alerts");
    assert!(metric(&alerts, "alerts_suppressed_total") >= 4300.0 && alerts.events.try_iter().count() <= 700);
    let metrics = flood("metrics");
    assert!(metric(&metrics, "metrics_refused_total") >= 4900.0);
    let series = metrics.metrics.encode().lines().filter(|line| line.starts_with("sluice_plugin_count_total{")).count();
    assert!(series <= 64, "{series}");
}

#[test]
fn a_new_version_keeps_the_debt_of_a_shared_budget() {
    let budget = Budget::new("tag", 1, OverBudget::Shed);
    let bench = burning(&budget);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    stage.process(batch());
    bench.install(&guest::version(2));
    loaded.reload().unwrap();
    assert_eq!(outcome(&stage.process(batch()), 3), "dropped: 3 over_budget\n");
}
