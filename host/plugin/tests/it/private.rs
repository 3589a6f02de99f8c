//! A stage that hides addresses: what its plugin leaves as it came does not go on.

use std::time::Duration;

use expect_test::{Expect, expect};
use sluice_pipeline::Processed;
use sluice_plugin::{Answer, Grant, Loaded, OnError, Reloaded, Trial};

use crate::{Bench, batch, batch_of, columns, guest, outcome};

/// The guest as a private stage that says it hides the source address.
fn private(arg: u32, on_error: OnError) -> Bench {
    let mut bench = Bench::new("hide", arg);
    bench.spec.is_private = true;
    bench.spec.on_error = on_error;
    bench
}

fn check(arg: u32, on_error: OnError, expected: Expect) {
    let processed: Processed = private(arg, on_error).process(batch());
    expected.assert_eq(&outcome(&processed, 3));
}

#[test]
fn an_address_that_is_written_or_cleared_whole_goes_on() {
    let bench = private(0, OnError::Drop);
    assert_eq!(bench.load().access().hides, columns(&["src_addr"]));
    check(
        0,
        OnError::Drop,
        expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        - 10 0 0 -
        - 20 0 0 -
        - 30 0 0 -
    "#]],
    );
}

#[test]
fn an_address_that_is_left_alone_fails_closed_whatever_the_plugin_says() {
    check(
        1,
        OnError::Drop,
        expect![[r#"
        dropped: 3 address_left
    "#]],
    );
    check(
        2,
        OnError::Drop,
        expect![[r#"
        dropped: 3 address_left
    "#]],
    );
    check(
        1,
        OnError::DeadLetter,
        expect![[r#"
        dead:
        src_addr bytes src_as customer_id route
        192.0.2.1 10 0 0 -
        198.51.100.7 20 0 0 -
        2001:db8::1 30 0 0 -
    "#]],
    );
    check(
        1,
        OnError::Stop,
        expect![[r#"
        dropped: 3 address_left
        stop: stage tag: src_addr was left as it came
    "#]],
    );
}

#[test]
fn an_address_that_a_kernel_truncated_goes_on_and_one_that_it_only_looked_at_does_not() {
    check(
        4,
        OnError::Drop,
        expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        192.0.2.0 10 0 0 -
        198.51.100.0 20 0 0 -
        2001:db8:: 30 0 0 -
    "#]],
    );
    // The high halves of these stay as they are.
    let processed = private(4, OnError::Drop).process(batch_of(&[("192.0.2.1", 10), ("192.0.2.2", 20)]));
    expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        192.0.2.0 10 0 0 -
        192.0.2.0 20 0 0 -
    "#]]
    .assert_eq(&outcome(&processed, 2));
    check(
        5,
        OnError::Drop,
        expect![[r#"
        dropped: 3 address_left
    "#]],
    );
}

#[test]
fn no_row_that_goes_on_is_none_with_an_address() {
    check(
        3,
        OnError::Drop,
        expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        dropped: 3 filtered
    "#]],
    );
}

#[test]
fn a_stage_that_is_not_private_may_leave_alone_what_it_likes() {
    let bench = Bench::new("hide", 1);
    assert!(bench.load().access().hides.is_empty());
    assert_eq!(bench.process(batch()).out.unwrap().rows(), 3);
}

#[test]
fn a_version_that_hides_less_is_refused() {
    let bench = private(0, OnError::Drop);
    let loaded: std::sync::Arc<Loaded> = bench.load();
    bench.install(&guest::version(9));
    expect!["stage tag: the plugin's manifest does not write src_addr, which the running version of this private stage hides: restart to change that"].assert_eq(&loaded.reload().unwrap_err().to_string());
    bench.install(&guest::version(2));
    assert!(matches!(loaded.reload().unwrap(), Reloaded::Swapped { .. }));
}

#[test]
fn nothing_goes_back_to_a_version_that_hid_less() {
    let mut bench = private(0, OnError::Drop);
    bench.spec.rollback_window = Duration::from_secs(3600);
    let hiding = bench.spec.clone();
    bench.spec.config_json = "{\"mode\":\"pass\"}".to_owned();
    let loaded = bench.load();
    assert!(loaded.access().hides.is_empty());
    // What hides more takes over, and is not taken back.
    loaded.publish(loaded.candidate(&hiding).unwrap());
    assert_eq!(loaded.access().hides, columns(&["src_addr"]));
    assert_eq!(loaded.roll_back(), None);
}

#[test]
fn a_grant_that_was_taken_away_does_not_come_back() {
    let mut bench = Bench::new("pass", 0);
    bench.spec.rollback_window = Duration::from_secs(3600);
    let wide = bench.spec.clone();
    let loaded = bench.load();
    let Grant::Listed(granted) = &mut bench.spec.grant else { panic!("the bench lists") };
    granted.write = columns(&["src_as", "customer_id"]);
    loaded.publish(loaded.candidate(&bench.spec).unwrap());
    assert_eq!(loaded.roll_back(), None);
    // More than before can be taken back.
    loaded.publish(loaded.candidate(&wide).unwrap());
    assert!(loaded.roll_back().is_some());
    assert_eq!(loaded.writes(), columns(&["src_as", "customer_id"]));
}

#[test]
fn a_call_by_hand_is_held_to_it_too() {
    let mut trial = Trial::new(&private(1, OnError::Drop).load()).unwrap();
    let called = trial.process(batch());
    assert!(matches!(&called.answer, Answer::Refused(why) if why == "src_addr was left as it came"), "{called:?}");
}
