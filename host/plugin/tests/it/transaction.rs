//! What a call sees and what it changes.

use expect_test::expect;
use sluice_flow::{Schema, col};
use sluice_plugin::{Grant, OnError};

use crate::{Bench, batch, outcome};

#[test]
fn columns_cross_as_they_are_and_refusals_say_why() {
    let report = Bench::new("columns", 0).report();
    expect![[r#"
        ((Ok([10, 20, 30]), Ok([10.0, 20.0, 30.0]), Ok([6, 6, 6]), Ok([6, 6, 6])), (Err(Denied::WrongWidth(Width::W64)), Err(Denied::NotGranted), Err(Denied::NotGranted), true, false), (Err(Denied::Absent), Err(Denied::Absent), Some(137), None), (5, 1700000000123))"#]]
    .assert_eq(&report);
}

#[test]
fn a_plugin_reads_what_it_wrote_and_a_bad_write_changes_nothing() {
    let report = Bench::new("writes", 0).report();
    expect![[r#"
        Err(Denied::NotGranted)
        Err(Denied::WrongLength(3))
        Err(Denied::WrongWidth(Width::W32))
        Err(Denied::NotGranted)
        Err(Denied::WrongLength(12))
        Ok(())
        Ok([1, 1, 1])
        Ok(())
        Ok([1, 5, 1])
        Ok(7)
        Ok(())
        Err(Denied::Absent)
        Err(Denied::OutOfRange)
        Ok(())
        Ok((["a", "b"], [1, 1, 1]))
        Err(Denied::OutOfRange)
        Ok(())
        Ok(([0, 2, 2, 3], [7, 8, 9]))"#]]
    .assert_eq(&report);
}

#[test]
fn kernels_compute_in_the_host_what_a_loop_would() {
    let report = Bench::new("kernels", 0).report();
    expect![[r#"
        Ok([6])
        Ok([7])
        Err(Denied::WrongWidth(Width::Text))
        Err(Denied::NotGranted)
        Ok([5])
        Ok([6])
        Ok([2])
        Ok([7])
        Err(Denied::NotGranted)
        Err(Denied::OutOfRange)
        Ok([1])
        Ok([7])
        Err(Denied::OutOfRange)
        Ok(40)
        Err(Denied::WrongLength(1))
        Err(Denied::NotGranted)
        Ok(())"#]]
    .assert_eq(&report);
}

#[test]
fn an_address_is_truncated_in_the_host_and_said_to_be_of_which_family() {
    let mut bench = Bench::new("truncate", 1);
    expect![[r#"
        [Some(Denied::OutOfRange), Some(Denied::OutOfRange), Some(Denied::OutOfRange), Some(Denied::WrongWidth(Width::W32))] Some(Denied::WrongWidth(Width::W8))
        32/128 Ok(Families { v4: [3], v6: [4] }) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000201, ffffc6336407, 1]))
        24/128 Ok(Families { v4: [3], v6: [4] }) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000200, ffffc6336400, 1]))
        24/48 Ok(Families { v4: [3], v6: [4] }) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000200, ffffc6336400, 0]))
        8/48 Ok(Families { v4: [3], v6: [4] }) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000000, ffffc6000000, 0]))
        0/0 Ok(Families { v4: [3], v6: [4] }) (Ok([0, 0, 0]), Ok([ffff00000000, ffff00000000, 0]))
        half Ok(Families { v4: [0], v6: [7] }) (Ok([fffff00000000000, fffff00000000000, fffff00000000000]), Ok([0, 0, 0]))
        none Err(Denied::Absent) Err(Denied::Absent)"#]].assert_eq(&bench.report());
}

#[test]
fn families_are_for_who_may_read_and_truncation_is_for_who_may_write() {
    let mut bench = Bench::new("truncate", 0);
    bench.spec.grant = Grant::Requested;
    expect![[r#"
        [Some(Denied::OutOfRange), Some(Denied::OutOfRange), Some(Denied::OutOfRange), Some(Denied::WrongWidth(Width::W32))] Some(Denied::NotGranted)
        32/128 Ok(Families { v4: [3], v6: [4] }) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000201, ffffc6336407, 1]))
        24/128 Err(Denied::NotGranted) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000201, ffffc6336407, 1]))
        24/48 Err(Denied::NotGranted) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000201, ffffc6336407, 1]))
        8/48 Err(Denied::NotGranted) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000201, ffffc6336407, 1]))
        0/0 Err(Denied::NotGranted) (Ok([0, 0, 20010db800000000]), Ok([ffffc0000201, ffffc6336407, 1]))"#]].assert_eq(&bench.report());
}

#[test]
fn a_column_of_any_width_is_filled_with_what_it_can_hold() {
    let mut bench = Bench::new("fill", 0);
    bench.spec.grant = Grant::Requested;
    expect![[r#"
        Err(Denied::OutOfRange) Err(Denied::OutOfRange)
        Err(Denied::OutOfRange) Err(Denied::WrongWidth(Width::Text))
        Err(Denied::WrongLength(1)) Err(Denied::NotGranted)
        Ok(()) Ok(())
        Ok([6, 17, 255])
        Ok(()) Ok([0, 65535, 65535])
        Ok(()) Ok([7, 7, 7])
        Ok(()) Ok([18446744073709551615, 20, 30])
        Ok(()) Ok(()) Ok([1, 0, 0])"#]]
    .assert_eq(&bench.report());
}

#[test]
fn rows_are_grouped_in_the_host_and_asked_for_by_group() {
    let mut bench = Bench::new("groups", 0);
    bench.spec.grant = Grant::Requested;
    expect![[r#"
        Err(Denied::Absent) Err(Denied::Absent)
        Err(Denied::Absent) Err(Denied::Absent)
        Err(Denied::Absent)
        Err(Denied::WrongWidth(Width::Lists)) Err(Denied::OutOfRange)
        Err(Denied::WrongLength(1)) Err(Denied::NotGranted)
        words Ok([0, 1]) Ok([0, 1, 0])
        Ok([2, 1]) Ok([1, 1])
        Ok([40, 20]) Ok([240, 120])
        Ok([30, 20]) Ok([900, 400])
        Ok([0, 0]) Ok([0, 0])
        Err(Denied::WrongWidth(Width::Text)) Err(Denied::WrongWidth(Width::Text))
        Err(Denied::WrongLength(1)) Err(Denied::WrongLength(1))
        rest Ok([0, 2]) Ok([0, 2, 1])
        Ok([1, 1, 1]) Ok([10, 30, 20])
        Ok([10, 30]) Err(Denied::OutOfRange) Ok([0])
        Ok(["b", "a"]) Err(Denied::OutOfRange) Err(Denied::WrongWidth(Width::W64))
        Err(Denied::WrongWidth(Width::Text)) Err(Denied::NotGranted)
        Err(Denied::WrongLength(1)) Ok(())
        Err(Denied::WrongLength(3)) Err(Denied::OutOfRange)
        Ok(())
        all Ok([0]) Ok([0, 0, 0])
        Err(Denied::NotGranted)
        Err(Denied::Absent) Err(Denied::Absent)
        Err(Denied::Absent) Err(Denied::Absent)
        Err(Denied::Absent)"#]]
    .assert_eq(&bench.report());
}

#[test]
fn rows_are_kept_and_routed_by_group() {
    let mut bench = Bench::new("groups", 1);
    bench.spec.grant = Grant::Requested;
    expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        192.0.2.1 10 0 0 y
        2001:db8::1 30 0 0 x
        dropped: 1 filtered
    "#]]
    .assert_eq(&outcome(&bench.process(batch()), 3));
}

#[test]
fn keep_and_route_are_checked_and_the_last_good_one_counts() {
    let mut bench = Bench::new("marks", 0);
    expect![[r#"
        Err(Denied::WrongLength(1))
        Ok(())
        Err(Denied::WrongLength(3))
        Err(Denied::OutOfRange)
        Err(Denied::OutOfRange)
        Err(Denied::OutOfRange)
        Err(Denied::OutOfRange)
        Ok(())"#]]
    .assert_eq(&bench.report());

    bench = Bench::new("marks", 1);
    expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        192.0.2.1 10 0 0 b
        2001:db8::1 30 0 0 a
        dropped: 1 filtered
    "#]]
    .assert_eq(&outcome(&bench.process(batch()), 3));
    assert_eq!(bench.metric("sluice_stage_plugin_kept_rows_total{stage=\"tag\"}"), 2.0);
}

#[test]
fn names_of_routes_are_those_of_the_call_however_many_there_were_before() {
    let mut stage = Bench::new("names", 0).load().instance();
    for call in 1..=8 {
        let batch = stage.process(batch()).out.expect("goes on");
        let routes: Vec<_> = (0..3).map(|row| batch.route(row).expect("has a route").to_string()).collect();
        assert_eq!(routes, ["of-all-0".to_owned(), "of-all-4094".to_owned(), format!("of-{call}-4095")]);
    }
}

#[test]
fn nothing_of_a_call_that_refuses_is_left() {
    let mut bench = Bench::new("fatal", 0);
    bench.spec.on_error = OnError::Pass;
    bench.spec.failure.bisect = false;
    expect![[r#"
        out:
        src_addr bytes src_as customer_id route
        192.0.2.1 10 0 0 -
        198.51.100.7 20 0 0 -
        2001:db8::1 30 0 0 -
    "#]]
    .assert_eq(&outcome(&bench.process(batch()), 3));
}

#[test]
fn outside_of_process_there_is_no_batch() {
    let error = Bench::new("outside", 0).error();
    expect![[r#"stage tag: the plugin refused its configuration: (0, Err(Denied::NoBatch), Err(Denied::NoBatch), false) Some(20)"#]]
        .assert_eq(&error);
}

#[test]
fn what_is_granted_as_requested_is_what_the_manifest_says_and_no_more() {
    let mut bench = Bench::new("columns", 0);
    bench.spec.grant = Grant::Requested;
    // `proto`, which the manifest does not name, is refused; `bytes`, which it does, is read.
    let report = bench.report();
    assert!(report.starts_with("((Ok([10, 20, 30]), Ok([10.0, 20.0, 30.0]), Err(Denied::NotGranted)"), "{report}");
    let loaded = bench.load();
    assert_eq!(loaded.reads(), crate::columns(&["src_addr", "bytes", "src_as"]));
    assert_eq!(loaded.writes(), crate::columns(&["src_as", "customer_id"]));
    assert_eq!((loaded.world(), loaded.exports()), ("stateful", (true, true)));
}

#[test]
fn an_empty_batch_goes_through() {
    let bench = Bench::new("boundary", 0);
    let processed = bench.process(crate::batch_of(&[]));
    assert_eq!(processed.out.unwrap().rows(), 0);
}

#[test]
fn the_guests_column_numbers_are_those_of_the_schema() {
    let schema = Schema::standard();
    let names = ["src_addr_hi", "bytes", "src_as", "proto", "dst_port", "mpls_labels", "customer_id", "note"];
    let numbers: Vec<_> = names.iter().map(|name| schema.column(name).unwrap()).collect();
    assert_eq!(numbers, [12, 20, 22, 29, 31, 52, 128, 137]);
    assert_eq!(col::SRC_ADDR_LO, 13);
}
