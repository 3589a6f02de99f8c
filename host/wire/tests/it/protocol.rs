//! How records become rows, protocol by protocol.

use expect_test::{Expect, expect};
use sluice_flow::{ColumnSet, CustomField, Width, col};
use sluice_wire::Limits;

use crate::build::{Bench, ipfix, netflow1, netflow5, netflow7, netflow9, numbers, set, template};

const V4: u64 = 0x0a00_0001;

/// Decodes one IPFIX record of `fields` and shows `columns`.
fn check_ipfix(fields: &[(u32, u16, u16)], record: &[u8], columns: &[&str], expected: Expect) {
    let mut bench = Bench::new();
    bench.decode(&ipfix(1, 0, &[set(2, &template(256, fields)), set(256, record)]));
    expected.assert_eq(&bench.text(columns));
}

/// The same in NetFlow v9.
fn check_netflow9(fields: &[(u16, u16)], record: &[u8], columns: &[&str], expected: Expect) {
    let fields: Vec<(u32, u16, u16)> = fields.iter().map(|(id, len)| (0, *id, *len)).collect();
    let mut bench = Bench::new();
    bench.decode(&netflow9(1, 0, &[set(0, &template(256, &fields)), set(256, record)]));
    expected.assert_eq(&bench.text(columns));
}

#[test]
fn every_field_of_netflow_v5_has_its_column() {
    let last = numbers(&[(0, 1), (0x1b, 1), (6, 1), (0xb8, 1), (64_500, 2), (64_501, 2), (8, 1), (24, 1), (0, 2)]);
    let mut bench = Bench::new();
    bench.decode(&netflow5(77, 0x4064, &[[fixed_record(), last].concat()]));
    expect![[r#"
        1 rows
        flow_type received_ns first_ns last_ns sampling_rate sequence observation_domain exporter_addr src_addr dst_addr next_hop
        2 1000 1699999999000000500 1699999999500000500 100 77 258 192.0.2.1 10.0.0.1 192.0.2.2 192.0.2.254
    "#]]
    .assert_eq(&bench.text(&[
            "flow_type",
            "received_ns",
            "first_ns",
            "last_ns",
            "sampling_rate",
            "sequence",
            "observation_domain",
            "exporter_addr",
            "src_addr",
            "dst_addr",
            "next_hop",
    ]));
    let record = numbers(&[(0, 12), (3, 2), (4, 2), (10, 4), (1_500, 4), (0, 8), (443, 2), (50_000, 2)]);
    let record =
        [record, numbers(&[(0, 1), (0x1b, 1), (6, 1), (0xb8, 1), (64_500, 2), (64_501, 2), (8, 1), (24, 1), (0, 2)])];
    bench.decode(&netflow5(78, 0, &[record.concat()]));
    expect![[r#"
        1 rows
        bytes packets src_as dst_as src_net dst_net in_if out_if proto src_port dst_port tos tcp_flags etype icmp_type
        1500 10 64500 64501 8 24 3 4 6 443 50000 184 27 2048 0
    "#]]
    .assert_eq(&bench.text(&[
        "bytes",
        "packets",
        "src_as",
        "dst_as",
        "src_net",
        "dst_net",
        "in_if",
        "out_if",
        "proto",
        "src_port",
        "dst_port",
        "tos",
        "tcp_flags",
        "etype",
        "icmp_type",
    ]));
}

/// What a record of NetFlow v1, v5 and v7 begins with.
fn fixed_record() -> Vec<u8> {
    let numbers = numbers(&[
        (V4, 4),
        (0xc000_0202, 4),
        (0xc000_02fe, 4),
        (3, 2),
        (4, 2),
        (10, 4),
        (1_500, 4),
        (999_000, 4),
        (999_500, 4),
        (443, 2),
        (50_000, 2),
    ]);
    assert_eq!(numbers.len(), 36);
    numbers
}

const OF_FIXED: [&str; 18] = [
    "flow_type",
    "first_ns",
    "last_ns",
    "sequence",
    "observation_domain",
    "sampling_rate",
    "src_addr",
    "dst_addr",
    "next_hop",
    "in_if",
    "out_if",
    "packets",
    "bytes",
    "src_port",
    "dst_port",
    "proto",
    "tos",
    "tcp_flags",
];

#[test]
fn every_field_of_netflow_v1_has_its_column_in_records_of_either_length() {
    for padding in [7, 11] {
        let last = numbers(&[(0, 2), (6, 1), (0xb8, 1), (0x1b, 1)]);
        // What is reserved may hold anything.
        let record = [fixed_record(), last, vec![0xff; padding]].concat();
        let mut bench = Bench::new();
        bench.decode(&netflow1(&[record.clone(), record]));
        assert_eq!(bench.stats().netflow1, 1);
        let text = bench.text(&OF_FIXED);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("2 rows"), "{text}");
        assert_eq!(lines.next(), Some(OF_FIXED.join(" ").as_str()));
        let row = "0 1699999999000000500 1699999999500000500 0 0 0 10.0.0.1 192.0.2.2 192.0.2.254 3 4 10 1500 443 50000 6 184 27";
        assert_eq!(lines.collect::<Vec<_>>(), [row, row]);
    }
}

#[test]
fn every_field_of_netflow_v7_has_its_column_and_the_router_can_have_one() {
    let last = numbers(&[
        (0x1f, 1),
        (0x1b, 1),
        (6, 1),
        (0xb8, 1),
        (64_500, 2),
        (64_501, 2),
        (8, 1),
        (24, 1),
        (0xffff, 2),
        (0xc000_02fd, 4),
    ]);
    let router = CustomField { name: "router".to_owned(), width: Width::U32, element: Some((0, 43)) };
    let mut bench = Bench::with(vec![router], ColumnSet::ALL, Limits::default());
    bench.decode(&netflow7(77, &[[fixed_record(), last].concat()]));
    assert_eq!(bench.stats().netflow7, 1);
    expect![[r#"
        1 rows
        flow_type first_ns last_ns sequence observation_domain sampling_rate src_addr dst_addr next_hop in_if out_if packets bytes src_port dst_port proto tos tcp_flags src_as dst_as src_net dst_net etype router
        0 1699999999000000500 1699999999500000500 77 0 0 10.0.0.1 192.0.2.2 192.0.2.254 3 4 10 1500 443 50000 6 184 27 64500 64501 8 24 2048 3221226237
    "#]].assert_eq(
        &bench.text(&[&OF_FIXED[..], &["src_as", "dst_as", "src_net", "dst_net", "etype", "router"]].concat()),
    );
}

#[test]
fn icmp_is_taken_from_the_destination_port_in_netflow_and_the_port_stays() {
    let record = numbers(&[(1, 1), (0x0301, 2), (6, 1), (0x0301, 2), (58, 1), (0x8000, 2)]);
    check_netflow9(
        &[(4, 1), (11, 2)],
        &record,
        &["proto", "dst_port", "icmp_type", "icmp_code"],
        expect![[r#"
            3 rows
            proto dst_port icmp_type icmp_code
            1 769 3 1
            6 769 0 0
            58 32768 128 0
        "#]],
    );
}

#[test]
fn icmp_elements_of_all_kinds_are_read() {
    check_ipfix(
        &[(0, 32, 2), (0, 139, 2)],
        &numbers(&[(0x0800, 2), (0, 2), (0, 2), (0x8701, 2)]),
        &["icmp_type", "icmp_code"],
        expect![[r#"
            2 rows
            icmp_type icmp_code
            8 0
            135 1
        "#]],
    );
    check_ipfix(
        &[(0, 178, 1), (0, 179, 1)],
        &numbers(&[(1, 1), (4, 1)]),
        &["icmp_type", "icmp_code"],
        expect![[r#"
            1 rows
            icmp_type icmp_code
            1 4
        "#]],
    );
}

#[test]
fn of_ipv4_and_ipv6_addresses_in_one_template_the_one_that_is_not_zero_counts() {
    let v6 = numbers(&[(0x2001_0db8_0000_0000, 8), (9, 8)]);
    let mut records = [numbers(&[(V4, 4)]), vec![0; 16]].concat();
    records.extend([numbers(&[(0, 4)]), v6].concat());
    records.extend([0; 20]);
    check_ipfix(
        &[(0, 8, 4), (0, 27, 16)],
        &records,
        &["src_addr", "etype"],
        expect![[r#"
            3 rows
            src_addr etype
            10.0.0.1 2048
            2001:db8::9 34525
            - 0
        "#]],
    );
}

#[test]
fn the_ethertype_follows_from_the_version_or_the_address_and_an_exported_one_wins() {
    let columns = ["etype"];
    check_ipfix(
        &[(0, 60, 1)],
        &[4, 6, 5],
        &columns,
        expect![[r#"
        3 rows
        etype
        2048
        34525
        0
    "#]],
    );
    check_ipfix(
        &[(0, 28, 16)],
        &[1; 16],
        &columns,
        expect![[r#"
        1 rows
        etype
        34525
    "#]],
    );
    check_ipfix(
        &[(0, 256, 2), (0, 8, 4)],
        &[0x88, 0x47, 1, 2, 3, 4],
        &columns,
        expect![[r#"
        1 rows
        etype
        34887
    "#]],
    );
}

#[test]
fn where_the_first_choice_of_an_element_is_zero_the_next_one_counts() {
    check_netflow9(
        &[(1, 4), (23, 4), (85, 8), (2, 4), (24, 4)],
        &numbers(&[(0, 4), (0, 4), (7, 8), (0, 4), (5, 4), (1, 4), (2, 4), (3, 8), (4, 4), (5, 4)]),
        &["bytes", "packets"],
        expect![[r#"
            2 rows
            bytes packets
            7 5
            1 4
        "#]],
    );
}

#[test]
fn numbers_may_be_of_any_length() {
    check_ipfix(
        &[(0, 1, 3), (0, 2, 5), (0, 10, 1), (0, 14, 8), (0, 56, 6), (0, 7, 1)],
        &numbers(&[(0x01_0203, 3), (0x01_0203_0405, 5), (9, 1), (0x7_0000_0008, 8), (0x0011_2233_4455, 6), (53, 1)]),
        &["bytes", "packets", "in_if", "out_if", "src_mac", "src_port"],
        expect![[r#"
            1 rows
            bytes packets in_if out_if src_mac src_port
            66051 4328719365 9 8 73588229205 53
        "#]],
    );
}

#[test]
fn times_of_every_kind_become_nanoseconds() {
    let ntp = (2_208_988_800_u64 + 100) << 32 | 1 << 31;
    let columns = ["first_ns", "last_ns"];
    check_ipfix(
        &[(0, 150, 4), (0, 153, 8)],
        &numbers(&[(100, 4), (100_001, 8)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            100000000000 100001000000
        "#]],
    );
    check_ipfix(
        &[(0, 154, 8), (0, 157, 8)],
        &numbers(&[(ntp, 8), (ntp, 8)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            100500000000 100500000000
        "#]],
    );
    check_ipfix(
        &[(0, 158, 4), (0, 159, 4)],
        &numbers(&[(2_000_000, 4), (1_000, 4)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            1699999998000000000 1699999999999000000
        "#]],
    );
    check_netflow9(
        &[(22, 4), (21, 4)],
        &numbers(&[(999_000, 4), (1_000_000, 4)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            1699999999000000000 1700000000000000000
        "#]],
    );
}

#[test]
fn uptime_in_ipfix_needs_the_start_which_is_in_the_record_or_unknown() {
    let columns = ["first_ns", "last_ns"];
    check_ipfix(
        &[(0, 22, 4), (0, 21, 4), (0, 160, 8)],
        &numbers(&[(1_000, 4), (2_000, 4), (1_699_999_900_000, 8)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            1699999901000000000 1699999902000000000
        "#]],
    );
    check_ipfix(
        &[(0, 22, 4), (0, 21, 4)],
        &numbers(&[(1_000, 4), (2_000, 4)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            0 0
        "#]],
    );
}

#[test]
fn uptime_in_ipfix_is_of_the_turn_that_is_nearest_to_the_export() {
    let columns = ["first_ns", "last_ns"];
    // Up for 60 days, and the counter began anew after 49.7: five seconds and one second ago.
    let up_ms = 60 * 86_400_000_u64;
    let wrapped = |ago_ms: u64| (up_ms - ago_ms) % (1 << 32);
    check_ipfix(
        &[(0, 22, 4), (0, 21, 4), (0, 160, 8)],
        &numbers(&[(wrapped(5_000), 4), (wrapped(1_000), 4), (1_700_000_000_000 - up_ms, 8)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            1699999995000000000 1699999999000000000
        "#]],
    );
    // The flow began before the turn and ended after it.
    check_ipfix(
        &[(0, 22, 4), (0, 21, 4), (0, 160, 8)],
        &numbers(&[((1 << 32) - 2_000, 4), (3_000, 4), (1_700_000_000_000 - (1 << 32) - 4_000, 8)]),
        &columns,
        expect![[r#"
            1 rows
            first_ns last_ns
            1699999994000000000 1699999999000000000
        "#]],
    );
}

#[test]
fn the_direction_is_told_apart_from_none() {
    check_netflow9(
        &[(61, 1)],
        &[0, 1],
        &["flow_direction"],
        expect![[r#"
            2 rows
            flow_direction
            1
            2
        "#]],
    );
    check_netflow9(
        &[(4, 1)],
        &[6],
        &["flow_direction"],
        expect![[r#"
            1 rows
            flow_direction
            0
        "#]],
    );
}

#[test]
fn a_record_may_name_its_exporter_and_observation_domain() {
    check_ipfix(
        &[(0, 130, 4), (0, 149, 4)],
        &numbers(&[(V4, 4), (7, 4), (0, 4), (0, 4)]),
        &["exporter_addr", "observation_domain"],
        expect![[r#"
            2 rows
            exporter_addr observation_domain
            10.0.0.1 7
            192.0.2.1 1
        "#]],
    );
}

#[test]
fn mpls_labels_are_listed_from_the_top_without_the_empty_ones() {
    check_netflow9(
        &[(70, 3), (71, 3), (72, 3)],
        &numbers(&[(16 << 4, 3), (17 << 4 | 1, 3), (0, 3), (0, 9)]),
        &["mpls_labels"],
        expect![[r#"
            2 rows
            mpls_labels
            16,17
            -
        "#]],
    );
}

#[test]
fn variable_length_fields_are_walked_over_and_structured_data_with_them() {
    let long = [vec![255, 1, 4], vec![b'x'; 260]].concat();
    let records = [
        numbers(&[(6, 1)]),
        vec![3, b'a', b'b', b'c'],
        numbers(&[(80, 2)]),
        vec![2, 0, 0],
        numbers(&[(11, 4), (17, 1)]),
        long,
        numbers(&[(81, 2)]),
        vec![0],
        numbers(&[(12, 4)]),
    ];
    check_ipfix(
        &[(0, 4, 1), (0, 82, 65535), (0, 7, 2), (0, 291, 65535), (0, 1, 4)],
        &records.concat(),
        &["proto", "src_port", "bytes"],
        expect![[r#"
            2 rows
            proto src_port bytes
            6 80 11
            17 81 12
        "#]],
    );
}

#[test]
fn a_record_that_runs_over_its_set_is_reported_and_those_before_it_stay() {
    check_ipfix(
        &[(0, 82, 65535), (0, 4, 1)],
        &[1, b'a', 6, 9, b'b', 17],
        &["proto"],
        expect![[r#"
            1 rows, bad_record: record of template 256 at offset 39 does not end within its set
            proto
            6
        "#]],
    );
}

#[test]
fn enterprise_fields_unknown_ones_and_those_of_no_length_cost_nothing_but_their_place() {
    check_ipfix(
        &[(9, 1, 4), (0, 4, 1), (0, 30_000, 2), (0, 82, 0), (0, 7, 2)],
        &numbers(&[(99, 4), (6, 1), (99, 2), (443, 2)]),
        &["bytes", "proto", "src_port"],
        expect![[r#"
            1 rows
            bytes proto src_port
            0 6 443
        "#]],
    );
}

#[test]
fn firewalls_number_of_their_own_in_netflow_v9_is_understood() {
    check_netflow9(
        &[(40_001, 4), (40_003, 2), (40_005, 1), (231, 4), (323, 8)],
        &numbers(&[(V4, 4), (1024, 2), (2, 1), (77, 4), (1_600_000_000_123, 8)]),
        &["nat_src_addr", "nat_src_port", "firewall_event", "bytes", "first_ns", "last_ns"],
        expect![[r#"
            1 rows
            nat_src_addr nat_src_port firewall_event bytes first_ns last_ns
            10.0.0.1 1024 2 77 1600000000123000000 1600000000123000000
        "#]],
    );
}

#[test]
fn a_biflow_is_two_rows_if_anything_came_back() {
    let fields = [
        (0, 8, 4),
        (0, 12, 4),
        (0, 7, 2),
        (0, 11, 2),
        (0, 10, 2),
        (0, 14, 2),
        (0, 6, 1),
        (0, 1, 4),
        (29_305, 1, 4),
        (29_305, 2, 4),
        (29_305, 6, 1),
    ];
    let record = |back: u64| {
        numbers(&[
            (V4, 4),
            (0x0a00_0002, 4),
            (1000, 2),
            (80, 2),
            (1, 2),
            (2, 2),
            (2, 1),
            (60, 4),
            (back, 4),
            (0, 4),
            (18, 1),
        ])
    };
    check_ipfix(
        &fields,
        &[record(0), record(99)].concat(),
        &["src_addr", "dst_addr", "src_port", "dst_port", "in_if", "out_if", "tcp_flags", "bytes"],
        expect![[r#"
            3 rows
            src_addr dst_addr src_port dst_port in_if out_if tcp_flags bytes
            10.0.0.1 10.0.0.2 1000 80 1 2 2 60
            10.0.0.1 10.0.0.2 1000 80 1 2 2 60
            10.0.0.2 10.0.0.1 80 1000 2 1 18 99
        "#]],
    );
}

#[test]
fn a_biflow_with_variable_length_fields_is_two_rows_too() {
    check_ipfix(
        &[(0, 82, 65535), (0, 8, 4), (0, 12, 4), (29_305, 85, 4)],
        &[vec![2, 1, 1], numbers(&[(1, 4), (2, 4), (9, 4)]), vec![0], numbers(&[(3, 4), (4, 4), (8, 4)])].concat(),
        &["src_addr", "dst_addr", "bytes"],
        expect![[r#"
            4 rows
            src_addr dst_addr bytes
            0.0.0.1 0.0.0.2 0
            0.0.0.3 0.0.0.4 0
            0.0.0.2 0.0.0.1 9
            0.0.0.4 0.0.0.3 8
        "#]],
    );
}

fn custom(name: &str, width: Width, pen: u32, id: u16) -> CustomField {
    CustomField { name: name.to_owned(), width, element: Some((pen, id)) }
}

#[test]
fn operators_columns_take_numbers_text_and_lists() {
    let columns = vec![
        custom("app", Width::U16, 9, 12_235),
        custom("host", Width::Text, 35_632, 187),
        custom("interface", Width::Text, 0, 82),
        custom("vlans", Width::Lists, 9, 77),
    ];
    let mut bench = Bench::with(columns, ColumnSet::ALL, Limits::default());
    let fields = [(9, 12_235, 4), (35_632, 187, 65535), (0, 82, 6), (9, 77, 2), (9, 77, 2)];
    let record = |host: &[u8]| {
        let host = [&[host.len() as u8], host].concat();
        [numbers(&[(0x1_0007, 4)]), host, b"eth0\0\0".to_vec(), numbers(&[(100, 2), (200, 2)])].concat()
    };
    let records = [record(b"example.org"), record(b""), record(b"bad \xff")].concat();
    bench.decode(&ipfix(1, 0, &[set(2, &template(256, &fields)), set(256, &records)]));
    expect![[r#"
        3 rows
        app host interface vlans
        7 example.org eth0 100,200
        7 - eth0 100,200
        7 bad � eth0 100,200
    "#]]
    .assert_eq(&bench.text(&["app", "host", "interface", "vlans"]));
    assert_eq!(bench.stats().records_general, 0);
}

#[test]
fn what_no_plan_covers_is_decoded_by_the_general_decoder() {
    let columns = vec![
        custom("source", Width::Text, 0, 8),
        custom("mac", Width::Text, 0, 56),
        custom("probability", Width::Text, 0, 311),
        custom("rounded", Width::U8, 0, 311),
    ];
    let mut bench = Bench::with(columns, ColumnSet::ALL, Limits::default());
    let fields = [(0, 8, 4), (0, 56, 6), (0, 311, 8), (0, 4, 1)];
    let record = |probability: f64, proto: u8| {
        let mut record = numbers(&[(V4, 4), (0x0011_2233_4455, 6)]);
        record.extend(probability.to_be_bytes());
        record.push(proto);
        record
    };
    let records = [record(0.5, 6), record(1_000.7, 17)].concat();
    bench.decode(&ipfix(1, 0, &[set(2, &template(256, &fields)), set(256, &records)]));
    expect![[r#"
        2 rows
        source mac probability rounded proto src_addr sampling_rate
        10.0.0.1 00:11:22:33:44:55 0.5 0 6 10.0.0.1 2
        10.0.0.1 00:11:22:33:44:55 1000.7 255 17 10.0.0.1 0
    "#]]
    .assert_eq(&bench.text(&["source", "mac", "probability", "rounded", "proto", "src_addr", "sampling_rate"]));
    assert_eq!(bench.stats().records_general, 2);
}

#[test]
fn the_general_decoder_takes_empty_text_beside_its_fields() {
    let mut bench = Bench::with(vec![custom("source", Width::Text, 0, 8)], ColumnSet::ALL, Limits::default());
    let fields = [(0, 82, 65535), (0, 8, 4)];
    let records = [vec![0], numbers(&[(V4, 4)]), vec![2, 1, 1], numbers(&[(V4 + 1, 4)])].concat();
    bench.decode(&ipfix(1, 0, &[set(2, &template(256, &fields)), set(256, &records)]));
    expect![[r#"
        2 rows
        source
        10.0.0.1
        10.0.0.2
    "#]]
    .assert_eq(&bench.text(&["source"]));
}

#[test]
fn columns_that_nobody_wants_are_absent() {
    let wanted: ColumnSet = [col::BYTES, col::SRC_PORT].into_iter().collect();
    let mut bench = Bench::with(Vec::new(), wanted, Limits::default());
    let fields = [(0, 1, 4), (0, 7, 2), (0, 8, 4), (0, 27, 16), (0, 70, 3), (0, 34, 4)];
    bench.decode(&ipfix(1, 0, &[set(2, &template(256, &fields)), set(256, &[1; 33])]));
    bench.decode(&netflow5(0, 1, &[vec![1; 48]]));
    let batch = bench.batch();
    let present: Vec<_> = batch.columns().map(|(column, _)| column).collect();
    assert_eq!((present, batch.rows()), (vec![col::BYTES, col::SRC_PORT], 2));
}
