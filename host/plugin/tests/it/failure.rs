//! What a failure costs: instances, and the rows that cause it; and every row is accounted for.

use std::time::Instant;

use expect_test::{Expect, expect};
use sluice_flow::{Batch, col};
use sluice_pipeline::Processed;
use sluice_plugin::{Limits, MAX_APART_CALLS, MAX_APART_ROWS, OnError};

use crate::{Bench, batch, batch_of, outcome};

fn check(mode: &str, limits: Limits, expected: Expect) -> Bench {
    let mut bench = Bench::new(mode, 20);
    bench.spec.limits = limits;
    bench.spec.failure.quarantine = None;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    // Twice: the second batch gets a new instance.
    let first = outcome(&stage.process(batch()), 3);
    assert_eq!(first, outcome(&stage.process(batch()), 3));
    expected.assert_eq(&first);
    bench
}

#[test]
fn a_trap_costs_its_rows_and_the_others_are_processed() {
    let bench = Bench::new("trap", 666);
    let mut stage = bench.load().instance();
    let answers = [&[("192.0.2.1", 1), ("192.0.2.2", 666)][..], &[("192.0.2.3", 2)]]
        .map(|rows| outcome(&stage.process(batch_of(rows)), rows.len()));
    expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        192.0.2.1 1 9 0 -
        dropped: 1 trap
        out:
        src_addr bytes src_as customer_id route
        192.0.2.3 2 9 0 -
    "#]]
    .assert_eq(&answers.concat());
    // Both rows, and the bad one.
    assert_eq!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"trap\"}"), 2.0);
    // The alerts of the calls that trapped were not raised, those of the others were.
    assert_eq!(bench.events.try_iter().count(), 2);
}

#[test]
fn the_rows_of_a_trap_go_where_the_policy_says() {
    let with = |on_error: OnError| {
        let mut bench = Bench::new("trap", 20);
        bench.spec.on_error = on_error;
        bench.spec.failure.bisect = false;
        outcome(&bench.process(batch()), 3)
    };
    let rows =
        "src_addr bytes src_as customer_id route\n192.0.2.1 10 0 0 -\n198.51.100.7 20 0 0 -\n2001:db8::1 30 0 0 -\n";
    assert_eq!(with(OnError::Drop), "dropped: 3 trap\n");
    assert_eq!(with(OnError::Pass), format!("out:\n{rows}"));
    assert_eq!(with(OnError::DeadLetter), format!("dead:\n{rows}"));
    expect![[r#"
        dropped: 3 trap
        stop: stage tag: wasm trap: wasm `unreachable` instruction executed
    "#]]
    .assert_eq(&with(OnError::Stop));
}

#[test]
fn a_loop_ends_at_its_deadline_in_the_plugin_and_between_host_calls() {
    let limits = Limits { deadline_ms: 40, ..Limits::default() };
    let expected = || {
        expect![[r#"
        dropped: 3 deadline
    "#]]
    };
    check("loop", limits.clone(), expected());
    let bench = check("loop-in-host", limits, expected());
    // Twice all three rows, and parts of them as long as there is time.
    assert!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"deadline\"}") >= 4.0);
}

#[test]
fn memory_without_end_ends_at_the_limit() {
    let bench = check(
        "memory",
        Limits { memory: 8 << 20, ..Limits::default() },
        expect![[r#"
            dropped: 3 memory
        "#]],
    );
    let memory = bench.metric("sluice_stage_plugin_memory_bytes{stage=\"tag\"}");
    assert!(memory > 0.0 && memory <= f64::from(8 << 20), "{memory}");
}

#[test]
fn a_deep_stack_and_an_exit_are_traps() {
    let expected = || {
        expect![[r#"
        dropped: 3 trap
    "#]]
    };
    check("stack", Limits::default(), expected());
    check("exit", Limits::default(), expected());
}

#[test]
fn a_host_call_that_hands_over_too_much_is_a_trap() {
    // Three rows of three columns fit into 40 bytes each, 4097 names do not.
    check(
        "marks",
        Limits { hostcall_bytes: 2000, ..Limits::default() },
        expect![[r#"
            dropped: 3 trap
        "#]],
    );
}

#[test]
fn retry_later_is_tried_again_as_often_as_the_stage_says_and_then_given_up() {
    let retried = |retries: u32, answers: u32| {
        let mut bench = Bench::new("retry", answers);
        bench.spec.failure.retries = retries;
        let processed = bench.process(batch());
        (processed, bench.metric("sluice_stage_plugin_retries_total{stage=\"tag\"}"))
    };
    let (processed, retries) = retried(2, 2);
    assert_eq!((processed.rows(), processed.dropped.len(), retries), (3, 0, 2.0));
    assert!(!processed.out.unwrap().has(col::SRC_AS), "what the first try wrote is gone");
    let (processed, retries) = retried(2, 3);
    assert_eq!((outcome(&processed, 3).as_str(), retries), ("dropped: 3 not_ready\n", 2.0));
    assert_eq!(outcome(&retried(0, 1).0, 3), "dropped: 3 not_ready\n");
    assert_eq!(retried(5, 5).0.outs().count(), 1);
}

#[test]
fn a_refusal_is_no_trap() {
    let bench = Bench::new("fatal", 0);
    assert_eq!(outcome(&bench.process(batch()), 3), "dropped: 3 refused\n");
    assert!(!bench.metrics.encode().contains("sluice_stage_plugin_traps_total{"));
}

#[test]
fn a_recycled_instance_gets_the_last_snapshot() {
    let bench = Bench::new("count", 666);
    let mut stage = bench.load().instance();
    let mut numbered = |rows: &[(&str, u64)], now_ms: u64| {
        let mut batch = batch_of(rows);
        batch.stamp(1, now_ms);
        stage.process(batch).out.map(|batch| batch.number(col::CUSTOMER_ID, 0))
    };
    assert_eq!(numbered(&[("192.0.2.1", 1)], 1000), Some(1));
    assert_eq!(numbered(&[("192.0.2.1", 1)], 11_000), Some(2)); // a snapshot: two rows
    assert_eq!(numbered(&[("192.0.2.1", 1)], 12_000), Some(3));
    assert_eq!(numbered(&[("192.0.2.1", 666)], 13_000), None); // a trap
    assert_eq!(numbered(&[("192.0.2.1", 1)], 14_000), Some(3)); // two rows remembered
}

#[test]
fn state_that_traps_again_at_once_is_not_restored_twice() {
    let bench = Bench::new("count", 666);
    let mut stage = bench.load().instance();
    let mut numbered = |bytes: u64, now_ms: u64| {
        let mut batch = batch_of(&[("192.0.2.1", bytes)]);
        batch.stamp(1, now_ms);
        stage.process(batch).out.map(|batch| batch.number(col::CUSTOMER_ID, 0))
    };
    assert_eq!(numbered(1, 0), Some(1));
    assert_eq!(numbered(1, 10_000), Some(2)); // a snapshot
    assert_eq!(numbered(666, 10_001), None);
    assert_eq!(numbered(666, 10_002), None); // restored, and trapped before anything succeeded
    assert_eq!(numbered(1, 10_003), Some(1)); // so it starts empty
}

/// Rows with these numbers of bytes.
fn rows(bytes: impl IntoIterator<Item = u64>) -> Batch {
    let rows: Vec<_> = bytes.into_iter().map(|bytes| ("192.0.2.1", bytes)).collect();
    batch_of(&rows)
}

/// The bytes of the rows that came out and of those that are dead, in their order; all of the former were processed.
fn parts(processed: &Processed) -> (Vec<u64>, Vec<u64>) {
    let bytes = |batch: &Batch| batch.u64s(col::BYTES).unwrap().to_vec();
    assert!(processed.outs().all(|batch| (0..batch.rows()).all(|row| batch.number(col::SRC_AS, row) == 9)));
    (processed.outs().flat_map(bytes).collect(), processed.deads().flat_map(bytes).collect())
}

fn patient(mode: &str) -> Bench {
    let mut bench = Bench::new(mode, 666);
    bench.spec.on_error = OnError::DeadLetter;
    // A machine that does much else must not end the search early.
    bench.spec.limits.deadline_ms = 5_000;
    bench
}

#[test]
fn poisonous_rows_are_found_one_by_one_and_the_others_go_on_in_their_order() {
    for (mode, reason) in [("trap", "trap"), ("poison-refuse", "refused"), ("poison-memory", "memory")] {
        let bench = patient(mode);
        let mut stage = bench.load().instance();
        let bytes: Vec<u64> =
            (0..1000).map(|row| if [0, 17, 18, 999].contains(&row) { 666 } else { 1000 + row }).collect();
        let processed = stage.process(rows(bytes.iter().copied()));
        assert_eq!(processed.rows(), 1000);
        let (out, dead) = parts(&processed);
        let good: Vec<u64> = bytes.iter().copied().filter(|bytes| *bytes != 666).collect();
        assert_eq!((out, dead), (good, vec![666; 4]), "{mode}");
        assert!(processed.deads().all(|dead| dead.dead_letter().unwrap().reason == reason));
        assert_eq!(bench.metric("sluice_stage_plugin_bisections_total{stage=\"tag\"}"), 1.0);
        let failed = format!("sluice_stage_plugin_failed_rows_total{{stage=\"tag\",reason=\"{reason}\"}}");
        assert_eq!(bench.metric(&failed), 4.0);
        // Nothing is left of it.
        assert_eq!(parts(&stage.process(rows(1000..2000))).0.len(), 1000);
    }
}

#[test]
fn a_row_that_loops_is_found_within_twice_the_deadline() {
    let mut bench = patient("poison-loop");
    bench.spec.limits.deadline_ms = 400;
    let began = Instant::now();
    let processed = bench.process(rows((0..64).map(|row| if row == 40 { 666 } else { row })));
    assert_eq!(processed.rows(), 64);
    let (out, dead) = parts(&processed);
    assert!(dead.contains(&666) && !out.contains(&666), "{dead:?}");
    assert!(out.len() >= 32, "the half without it is saved at least");
    // The whole, twice as long for the parts, and the part that was being tried then, with its instance.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_plugin_that_fails_on_everything_is_tried_so_often_and_what_is_left_goes_as_it_is() {
    let bench = patient("stack");
    let processed = bench.process(rows(0..1000));
    assert_eq!((processed.rows(), processed.outs().count()), (1000, 0));
    assert_eq!(parts(&processed).1, (0..1000).collect::<Vec<_>>(), "in their order");
    let single = processed.deads().filter(|dead| dead.rows() == 1).count();
    assert!((16..=MAX_APART_ROWS as usize).contains(&single), "{single}");
    let traps = bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"trap\"}");
    assert!(traps <= f64::from(MAX_APART_CALLS), "{traps}");
}

#[test]
fn without_bisection_and_where_the_pipeline_stops_the_batch_fails_whole() {
    let mut bench = patient("trap");
    bench.spec.failure.bisect = false;
    assert_eq!(parts(&bench.process(rows([1, 666, 3]))), (vec![], vec![1, 666, 3]));
    let mut bench = patient("trap");
    bench.spec.on_error = OnError::Stop;
    let processed = bench.process(rows([1, 666, 3]));
    assert_eq!((processed.dropped.as_slice(), processed.stop.is_some()), (&[("trap", 3)][..], true));
    assert_eq!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"trap\"}"), 1.0);
}

#[test]
fn rows_that_pass_stay_in_their_places() {
    let mut bench = patient("trap");
    bench.spec.on_error = OnError::Pass;
    let processed = bench.process(rows([1, 2, 666, 4]));
    let seen: Vec<_> = processed
        .outs()
        .flat_map(|batch| (0..batch.rows()).map(|row| (batch.number(col::BYTES, row), batch.number(col::SRC_AS, row))))
        .collect();
    assert_eq!(seen, [(1, 9), (2, 9), (666, 0), (4, 9)]);
}

#[test]
fn state_counts_every_good_row_of_a_batch_that_is_taken_apart_once() {
    let bench = patient("count");
    let mut stage = bench.load().instance();
    let mut numbers = |bytes: &[u64], now_ms: u64| {
        let mut batch = rows(bytes.iter().copied());
        batch.stamp(1, now_ms);
        let processed = stage.process(batch);
        assert_eq!(processed.rows(), bytes.len());
        let number =
            |batch: &Batch| (0..batch.rows()).map(|row| batch.number(col::CUSTOMER_ID, row)).collect::<Vec<_>>();
        processed.outs().flat_map(number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&[1], 0), [1]);
    assert_eq!(numbers(&[1], 10_000), [2]); // a snapshot: two rows
    assert_eq!(numbers(&[666, 1, 1, 666, 1, 1, 1, 666], 10_001), [3, 4, 5, 6, 7]);
    assert_eq!(numbers(&[1], 10_002), [8]);
}

#[test]
fn dead_letters_say_which_plugin_failed_how_and_where() {
    let bench = patient("trap");
    let loaded = bench.load();
    let mut stage = loaded.instance();
    let mut processed = stage.process(rows([1, 666]));
    let dead = processed.dead.take().unwrap();
    let why = dead.dead_letter().unwrap();
    assert_eq!((&*why.stage, why.reason, why.plugin.as_str()), ("tag", "trap", "guest"));
    assert_eq!(why.version, "1.0.0-guest-version");
    assert_eq!(why.digest, loaded.digest().map(|byte| format!("{byte:02x}")).concat());
    assert_eq!(why.to_string(), "tag: trap: wasm trap: wasm `unreachable` instruction executed");
    assert!(why.backtrace.iter().any(|frame| frame.contains("guest::run")), "{:?}", why.backtrace);
    assert!(processed.outs().all(|batch| batch.dead_letter().is_none()));
    // What the plugin says itself is made fit for a log and a header.
    let why = patient("poison-refuse").process(rows([666])).dead.unwrap().dead_letter().unwrap().to_string();
    assert_eq!(why, "tag: refused: a row of 666\\u{1b}[2J bytes");
    // Whoever can process it after all makes rows of it again.
    let mut bench = patient("trap");
    bench.spec.config_json = bench.spec.config_json.replace("666", "1");
    let again = bench.process(dead.clone());
    assert!(again.out.unwrap().dead_letter().is_none());
    // Whoever cannot says so in its own name.
    let mut bench = patient("trap");
    bench.spec.name = "second".to_owned();
    assert_eq!(&*bench.process(dead).dead.unwrap().dead_letter().unwrap().stage, "second");
}
