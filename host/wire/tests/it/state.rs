//! What the decoder keeps between datagrams: templates, sets without one, sequence numbers.

use std::net::IpAddr;

use expect_test::expect;
use sluice_flow::ColumnSet;
use sluice_wire::{Decoder, Limits};

use crate::build::{
    Bench, ipfix, ipfix_options, netflow1, netflow5, netflow7, netflow9, netflow9_options, numbers, set, template,
};

/// A template of one protocol byte.
fn proto_template(id: u16) -> Vec<u8> {
    template(id, &[(0, 4, 1)])
}

#[test]
fn a_decoder_may_be_given_to_a_thread() {
    fn is_send<T: Send>() {}
    is_send::<Decoder>();
}

#[test]
fn data_before_its_template_is_held_and_decoded_with_its_own_time_of_receipt() {
    let mut bench = Bench::new();
    bench.decode(&netflow9(7, 0, &[set(256, &[6, 17])]));
    bench.now_ns = 2_000;
    bench.decode(&netflow9(7, 1, &[set(0, &proto_template(256)), set(256, &[1])]));
    expect![[r#"
        0 rows, no_template: no template 256 in observation domain 7
        3 rows
        proto received_ns sequence
        6 1000 0
        17 1000 0
        1 2000 1
    "#]]
    .assert_eq(&bench.text(&["proto", "received_ns", "sequence"]));
    let stats = bench.stats();
    assert_eq!((stats.pending_held, stats.pending_released, stats.pending_bytes), (1, 1, 0));
}

#[test]
fn only_the_set_without_template_has_to_wait() {
    let mut bench = Bench::new();
    bench.decode(&ipfix(1, 0, &[set(2, &proto_template(256)), set(257, &[9]), set(256, &[6])]));
    expect![[r#"
        1 rows, no_template: no template 257 in observation domain 1
        proto
        6
    "#]]
    .assert_eq(&bench.text(&["proto"]));
}

#[test]
fn a_set_does_not_wait_for_ever_nor_beyond_the_room_there_is() {
    let limits = Limits { pending_ms: 1, pending_bytes_per_exporter: 300, ..Limits::default() };
    let mut bench = Bench::with(Vec::new(), ColumnSet::ALL, limits);
    for sequence in 0..3 {
        bench.decode(&netflow9(7, sequence, &[set(256, &[6])]));
    }
    assert_eq!((bench.stats().pending_held, bench.stats().pending_dropped), (2, 1));
    bench.now_ns += 2_000_000;
    let decoded = bench.decode(&netflow9(7, 3, &[set(0, &proto_template(256))]));
    assert_eq!((decoded.rows, bench.stats().pending_expired), (0, 2));
}

#[test]
fn a_changed_template_takes_effect_within_its_datagram() {
    let mut bench = Bench::new();
    let longer = template(256, &[(0, 7, 2), (0, 4, 1)]);
    bench.decode(&ipfix(
        1,
        0,
        &[set(2, &proto_template(256)), set(256, &[6]), set(2, &longer), set(256, &[0, 80, 17]), set(2, &longer)],
    ));
    expect![[r#"
        2 rows
        proto src_port
        6 0
        17 80
    "#]]
    .assert_eq(&bench.text(&["proto", "src_port"]));
    assert_eq!((bench.stats().templates_learned, bench.stats().templates_changed), (1, 1));
}

#[test]
fn a_template_is_as_old_as_it_was_when_other_columns_are_wanted() {
    let mut bench = Bench::new();
    bench.decode(&ipfix(1, 0, &[set(2, &proto_template(256))]));
    let learned_ns = |bench: &Bench| bench.decoder.known(1).0[0].templates[0].learned_ns;
    let before = learned_ns(&bench);
    bench.now_ns += 1_000_000_000;
    bench.decoder.want(ColumnSet::EMPTY);
    assert_eq!((before, learned_ns(&bench)), (1000, 1000));
}

#[test]
fn data_and_options_templates_replace_each_other() {
    let mut bench = Bench::new();
    let options = netflow9_options(256, &[(1, 4)], &[(34, 4)]);
    bench.decode(&netflow9(
        1,
        0,
        &[set(0, &proto_template(256)), set(1, &options), set(256, &numbers(&[(1, 4), (2, 4)]))],
    ));
    bench.decode(&netflow9(1, 1, &[set(0, &proto_template(256)), set(256, &[6])]));
    expect![[r#"
        0 rows
        1 rows
        proto sampling_rate
        6 2
    "#]]
    .assert_eq(&bench.text(&["proto", "sampling_rate"]));
    assert_eq!((bench.stats().options_records, bench.stats().templates_changed), (1, 2));
}

#[test]
fn a_withdrawn_template_is_gone_at_once_alone_or_with_all_of_its_kind() {
    let mut bench = Bench::new();
    let templates = [proto_template(256), proto_template(257)].concat();
    let options = ipfix_options(258, 1, &[(0, 149, 4), (0, 34, 4)]);
    bench.decode(&ipfix(1, 0, &[set(2, &templates), set(3, &options)]));
    let withdraw = |id: u64| set(2, &numbers(&[(id, 2), (0, 2)]));
    bench.decode(&ipfix(1, 0, &[withdraw(256), set(256, &[6]), set(257, &[6])]));
    bench.decode(&ipfix(1, 1, &[withdraw(258), withdraw(2), set(257, &[6]), set(258, &[0; 8])]));
    bench.decode(&ipfix(1, 3, &[set(3, &numbers(&[(3, 2), (0, 2)])), set(258, &[0; 8])]));
    expect![[r#"
        0 rows
        1 rows, no_template: no template 256 in observation domain 1
        0 rows, no_template: no template 257 in observation domain 1
        0 rows, no_template: no template 258 in observation domain 1
    "#]]
    .assert_eq(&bench.text(&[]));
    assert_eq!(bench.stats().templates_withdrawn, 3);
}

#[test]
fn a_set_that_waits_is_dropped_when_its_template_is_withdrawn_or_bad() {
    let mut bench = Bench::new();
    bench.decode(&ipfix(1, 0, &[set(256, &[6]), set(257, &[6])]));
    // A withdrawal is about a template that is in force; one that is not may still come.
    bench.decode(&ipfix(1, 0, &[set(2, &numbers(&[(256, 2), (0, 2)]))]));
    assert_eq!(bench.stats().pending_dropped, 0);
    bench.decode(&ipfix(1, 0, &[set(2, &template(257, &[(0, 82, 0)]))]));
    assert_eq!(bench.stats().pending_dropped, 1);
    assert_eq!(bench.decode(&ipfix(1, 0, &[set(2, &proto_template(256))])).rows, 1);
}

#[test]
fn a_bad_template_ends_the_one_before_it_and_costs_no_other() {
    let mut bench = Bench::new();
    bench.decode(&netflow9(1, 0, &[set(0, &proto_template(256))]));
    let templates = [template(256, &[(0, 4, 65535)]), proto_template(257)].concat();
    bench.decode(&netflow9(1, 1, &[set(0, &templates), set(256, &[6]), set(257, &[17])]));
    expect![[r#"
        0 rows
        1 rows, bad_template: template 256 in observation domain 1: netflow_parser refuses it
        proto
        17
    "#]]
    .assert_eq(&bench.text(&["proto"]));
    let errors: Vec<_> = bench.stats().errors().filter(|(_, count)| *count > 0).collect();
    assert_eq!(errors, [("no_template", 1), ("bad_template", 1)]);
}

#[test]
fn templates_belong_to_address_protocol_and_domain() {
    let mut bench = Bench::new();
    let other: IpAddr = "192.0.2.2".parse().unwrap();
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    bench.decode(&netflow9(1, 0, &[set(0, &proto_template(256))]));
    bench.decode(&netflow9(2, 0, &[set(256, &[6])]));
    bench.decode(&ipfix(1, 0, &[set(256, &[6])]));
    bench.decode_from(other, &netflow9(1, 0, &[set(256, &[6])]));
    bench.decode_from(mapped, &netflow9(1, 1, &[set(256, &[6])]));
    expect![[r#"
        0 rows
        0 rows, no_template: no template 256 in observation domain 2
        0 rows, no_template: no template 256 in observation domain 1
        0 rows, no_template: no template 256 in observation domain 1
        1 rows
        exporter_addr
        192.0.2.1
    "#]]
    .assert_eq(&bench.text(&["exporter_addr"]));
}

#[test]
fn exporters_and_templates_are_bounded() {
    let limits = Limits { exporters: 3, templates_per_exporter: 2, ..Limits::default() };
    let mut bench = Bench::with(Vec::new(), ColumnSet::ALL, limits);
    for domain in 0..10 {
        bench.decode(&netflow9(domain, 0, &[set(0, &proto_template(256))]));
    }
    assert_eq!((bench.stats().exporters, bench.stats().exporters_evicted), (3, 7));
    for id in 257..260 {
        bench.decode(&netflow9(9, 1, &[set(0, &proto_template(id))]));
    }
    assert_eq!(bench.stats().templates_evicted, 7 + 2);
    let wide: Vec<_> = (0..600).map(|_| (0, 4, 1)).collect();
    let decoded = bench.decode(&ipfix(1, 0, &[set(2, &template(256, &wide))]));
    assert_eq!(decoded.error.unwrap().reason(), "bad_template");
}

#[test]
fn gaps_are_counted_in_the_unit_of_each_protocol() {
    let mut bench = Bench::new();
    let record = vec![0; 48];
    bench.decode(&netflow5(10, 0, &[record.clone(), record.clone()]));
    bench.decode(&netflow5(12, 0, std::slice::from_ref(&record)));
    bench.decode(&netflow5(18, 0, &[record]));
    assert_eq!(bench.stats().missing_records, 5);
    bench.decode(&ipfix(1, 100, &[set(2, &proto_template(256)), set(256, &[6, 6, 6])]));
    bench.decode(&ipfix(1, 103, &[set(256, &[6])]));
    bench.decode(&ipfix(1, 106, &[set(257, &[6])]));
    bench.decode(&ipfix(1, 200, &[set(256, &[6])]));
    assert_eq!(bench.stats().missing_records, 5 + 2);
    for sequence in [u32::MAX - 1, u32::MAX, 0, 4, 2] {
        bench.decode(&netflow9(1, sequence, &[set(0, &proto_template(256))]));
    }
    let stats = bench.stats();
    assert_eq!((stats.missing_datagrams, stats.sequence_late, stats.sequence_resets), (3, 1, 0));
}

#[test]
fn records_missing_of_netflow_v7_are_counted_and_v1_cannot_tell() {
    let mut bench = Bench::new();
    for sequence in [10, 12, 18] {
        bench.decode(&netflow7(sequence, &[vec![0; 52], vec![0; 52]]));
        bench.decode(&netflow1(&[vec![0; 52]]));
    }
    let stats = bench.stats();
    assert_eq!((stats.missing_records, stats.missing_datagrams, stats.exporters), (4, 0, 2));
}

#[test]
fn datagrams_and_rows_are_counted_by_protocol() {
    let mut bench = Bench::new();
    bench.decode(&netflow5(0, 0, &[vec![0; 48]]));
    bench.decode(&netflow9(1, 0, &[set(0, &proto_template(256)), set(256, &[6, 6])]));
    bench.decode(&ipfix(1, 0, &[set(2, &proto_template(256)), set(256, &[6])]));
    bench.decode(&netflow1(&[vec![0; 52], vec![0; 52]]));
    bench.decode(&netflow7(0, &[vec![0; 52]]));
    bench.decode(&[0, 8, 0, 0]);
    let stats = bench.stats();
    assert_eq!((stats.datagrams, stats.netflow5, stats.netflow9, stats.ipfix, stats.sflow), (6, 1, 1, 1, 0));
    assert_eq!((stats.netflow1, stats.netflow7), (1, 1));
    assert_eq!((stats.rows, stats.records), (7, 7));
}
