//! Sampling rates: from the record, from options data by sampler, by interface, by domain.

use expect_test::expect;

use crate::build::{Bench, ipfix, ipfix_options, netflow9, netflow9_options, numbers, set, template};

const SYSTEM: (u16, u16) = (1, 4);
const INTERFACE: (u16, u16) = (2, 4);

/// Flows with a sampler (48) and an input interface.
fn flows(records: &[(u64, u64)]) -> Vec<Vec<u8>> {
    let records: Vec<u8> =
        records.iter().flat_map(|(sampler, interface)| numbers(&[(*sampler, 1), (*interface, 2)])).collect();
    vec![set(0, &template(300, &[(0, 48, 1), (0, 10, 2)])), set(300, &records)]
}

#[test]
fn rows_get_the_rate_of_their_sampler_and_those_before_the_announcement_none() {
    let mut bench = Bench::new();
    bench.decode(&netflow9(1, 0, &flows(&[(1, 0)])));
    let samplers = netflow9_options(257, &[SYSTEM], &[(48, 1), (50, 4)]);
    bench.decode(&netflow9(
        1,
        1,
        &[set(1, &samplers), set(257, &numbers(&[(9, 4), (1, 1), (100, 4), (9, 4), (2, 1), (1000, 4)]))],
    ));
    bench.decode(&netflow9(1, 2, &flows(&[(1, 0), (2, 0), (3, 0)])));
    expect![[r#"
        1 rows
        0 rows
        3 rows
        sampler_id sampling_rate
        1 0
        1 100
        2 1000
        3 0
    "#]]
    .assert_eq(&bench.text(&["sampler_id", "sampling_rate"]));
    assert_eq!(bench.stats().options_records, 2);
}

#[test]
fn a_rate_for_the_whole_domain_is_for_rows_that_name_no_known_sampler() {
    let mut bench = Bench::new();
    bench.decode(&netflow9(
        1,
        0,
        &[
            set(1, &netflow9_options(257, &[SYSTEM], &[(34, 4), (35, 1)])),
            set(257, &numbers(&[(9, 4), (50, 4), (2, 1)])),
            set(1, &netflow9_options(258, &[INTERFACE], &[(34, 4)])),
            set(258, &numbers(&[(7, 4), (64, 4)])),
        ],
    ));
    bench.decode(&netflow9(1, 1, &flows(&[(1, 6), (1, 7)])));
    bench.decode(&netflow9(2, 0, &flows(&[(1, 7)])));
    expect![[r#"
        0 rows
        2 rows
        1 rows
        observation_domain in_if sampling_rate
        1 6 50
        1 7 64
        2 7 0
    "#]]
    .assert_eq(&bench.text(&["observation_domain", "in_if", "sampling_rate"]));
}

#[test]
fn the_rate_in_a_record_wins() {
    let mut bench = Bench::new();
    let options = ipfix_options(257, 1, &[(0, 149, 4), (0, 305, 4), (0, 306, 4)]);
    bench.decode(&ipfix(1, 0, &[set(3, &options), set(257, &numbers(&[(1, 4), (10, 4), (90, 4)]))]));
    let fields = template(256, &[(0, 4, 1), (0, 34, 4)]);
    bench.decode(&ipfix(1, 1, &[set(2, &fields), set(256, &numbers(&[(6, 1), (512, 4), (17, 1), (0, 4)]))]));
    expect![[r#"
        0 rows
        2 rows
        proto sampling_rate
        6 512
        17 10
    "#]]
    .assert_eq(&bench.text(&["proto", "sampling_rate"]));
}

#[test]
fn selectors_of_ipfix_are_samplers_and_may_be_the_scope() {
    let mut bench = Bench::new();
    let options = ipfix_options(257, 1, &[(0, 302, 8), (0, 309, 4), (0, 310, 4)]);
    bench.decode(&ipfix(1, 0, &[set(3, &options), set(257, &numbers(&[(5, 8), (1, 4), (2048, 4)]))]));
    let fields = template(256, &[(0, 302, 8)]);
    bench.decode(&ipfix(1, 1, &[set(2, &fields), set(256, &numbers(&[(5, 8), (6, 8)]))]));
    expect![[r#"
        0 rows
        2 rows
        sampler_id sampling_rate
        5 2048
        6 2048
    "#]]
    .assert_eq(&bench.text(&["sampler_id", "sampling_rate"]));
}

#[test]
fn a_rate_given_in_domain_0_is_for_all_domains_without_one_of_their_own() {
    let mut bench = Bench::new();
    let options = netflow9_options(257, &[SYSTEM], &[(34, 4)]);
    let announce = |rate: u64| vec![set(1, &options), set(257, &numbers(&[(9, 4), (rate, 4)]))];
    bench.decode(&netflow9(0, 0, &announce(10)));
    bench.decode(&netflow9(2, 0, &announce(20)));
    bench.decode(&netflow9(1, 0, &flows(&[(0, 0)])));
    bench.decode(&netflow9(2, 1, &flows(&[(0, 0)])));
    expect![[r#"
        0 rows
        0 rows
        1 rows
        1 rows
        observation_domain sampling_rate
        1 10
        2 20
    "#]]
    .assert_eq(&bench.text(&["observation_domain", "sampling_rate"]));
}

#[test]
fn the_start_of_the_exporter_may_come_in_options_data() {
    let mut bench = Bench::new();
    let options = ipfix_options(257, 1, &[(0, 143, 4), (0, 160, 8)]);
    bench.decode(&ipfix(1, 0, &[set(3, &options), set(257, &numbers(&[(1, 4), (1_699_999_990_000, 8)]))]));
    let fields = template(256, &[(0, 22, 4)]);
    bench.decode(&ipfix(1, 1, &[set(2, &fields), set(256, &numbers(&[(5_000, 4)]))]));
    expect![[r#"
        0 rows
        1 rows
        first_ns
        1699999995000000000
    "#]]
    .assert_eq(&bench.text(&["first_ns"]));
}

#[test]
fn an_empty_name_does_not_cost_the_rate_beside_it() {
    let mut bench = Bench::new();
    let options = ipfix_options(257, 1, &[(0, 302, 2), (0, 335, 65535), (0, 34, 4)]);
    let records = [numbers(&[(1, 2), (0, 1), (10, 4), (2, 2), (0xff_0001, 3), (b'x'.into(), 1), (20, 4)])].concat();
    bench.decode(&ipfix(1, 0, &[set(3, &options), set(257, &records)]));
    let fields = template(256, &[(0, 302, 1)]);
    bench.decode(&ipfix(1, 2, &[set(2, &fields), set(256, &[1, 2])]));
    expect![[r#"
        0 rows
        2 rows
        sampler_id sampling_rate
        1 10
        2 20
    "#]]
    .assert_eq(&bench.text(&["sampler_id", "sampling_rate"]));
}
