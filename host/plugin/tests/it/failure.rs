//! What a failure costs: one instance, at most one batch, and every row is accounted for.

use expect_test::{Expect, expect};
use sluice_plugin::{Limits, OnError};

use crate::{Bench, batch, batch_of, outcome};

fn check(mode: &str, limits: Limits, expected: Expect) -> Bench {
    let mut bench = Bench::new(mode, 20);
    bench.spec.limits = limits;
    let loaded = bench.load();
    let mut stage = loaded.instance();
    // Twice: the second batch gets a new instance.
    let first = outcome(&stage.process(batch()), 3);
    assert_eq!(first, outcome(&stage.process(batch()), 3));
    expected.assert_eq(&first);
    bench
}

#[test]
fn a_trap_costs_its_batch_and_the_next_one_is_processed() {
    let bench = Bench::new("trap", 666);
    let mut stage = bench.load().instance();
    let answers = [&[("192.0.2.1", 1), ("192.0.2.2", 666)][..], &[("192.0.2.3", 2)]]
        .map(|rows| outcome(&stage.process(batch_of(rows)), rows.len()));
    expect![[r#"
        dropped: 2 trap
        out:
        src_addr bytes src_as customer_id route
        192.0.2.3 2 9 0 -
    "#]]
    .assert_eq(&answers.concat());
    assert_eq!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"trap\"}"), 1.0);
    // The alert of the call that trapped was not raised, that of the next one was.
    assert_eq!(bench.events.try_iter().count(), 1);
}

#[test]
fn the_rows_of_a_trap_go_where_the_policy_says() {
    let with = |on_error: OnError| {
        let mut bench = Bench::new("trap", 20);
        bench.spec.on_error = on_error;
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
    let limits = Limits { deadline_ms: 20, ..Limits::default() };
    let expected = || {
        expect![[r#"
        dropped: 3 deadline
    "#]]
    };
    check("loop", limits.clone(), expected());
    let bench = check("loop-in-host", limits, expected());
    assert_eq!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"deadline\"}"), 2.0);
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
fn retry_later_is_tried_again_and_then_given_up() {
    let bench = Bench::new("retry", 2);
    let processed = bench.process(batch());
    assert_eq!(processed.out.as_ref().map(|batch| batch.rows()), Some(3));
    assert!(!processed.out.unwrap().has(sluice_flow::col::SRC_AS), "what the first try wrote is gone");
    let bench = Bench::new("retry", 3);
    assert_eq!(outcome(&bench.process(batch()), 3), "dropped: 3 not_ready\n");
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
        stage.process(batch).out.map(|batch| batch.number(sluice_flow::col::CUSTOMER_ID, 0))
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
        stage.process(batch).out.map(|batch| batch.number(sluice_flow::col::CUSTOMER_ID, 0))
    };
    assert_eq!(numbered(1, 0), Some(1));
    assert_eq!(numbered(1, 10_000), Some(2)); // a snapshot
    assert_eq!(numbered(666, 10_001), None);
    assert_eq!(numbered(666, 10_002), None); // restored, and trapped before anything succeeded
    assert_eq!(numbered(1, 10_003), Some(1)); // so it starts empty
}
