use std::fmt::Write;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use sluice_flow::{Batch, ColumnSet, Pool, Schema, table};

use crate::{Decoder, Limits};

use super::*;

const EXPORTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 99));
const RECEIVED_NS: u64 = 1_700_000_000_123_456_789;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A structure with its format and length.
fn structure(format: u32, content: &[u8]) -> Vec<u8> {
    [&words(&[format, content.len() as u32]), content].concat()
}

/// A datagram of agent 192.0.2.1, sub-agent 3.
fn datagram(sequence: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    [words(&[5, 1, 0xc000_0201, 3, sequence, 1000, samples.len() as u32]), samples.concat()].concat()
}

/// A flow sample of interface 7, in 7 and out as given, 1 in 512.
fn sample(out_if: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let head = words(&[1, 7, 512, 512, 0, 7, out_if, records.len() as u32]);
    structure(1, &[head, records.concat()].concat())
}

/// A sampled header: Ethernet, IPv4, UDP 192.0.2.1:53 -> 198.51.100.2:1024, of a frame of 500 bytes.
fn header() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x08, 0x00];
    frame.extend_from_slice(&[0x45, 0x10, 0x01, 0xe2, 0, 1, 0x40, 0, 63, 17, 0, 0]);
    frame.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 2, 0, 53, 4, 0, 1, 0xce, 0, 0]);
    raw_header(1, &frame)
}

fn raw_header(protocol: u32, packet: &[u8]) -> Vec<u8> {
    let mut content = [&words(&[protocol, 500, 4, packet.len() as u32]), packet].concat();
    content.resize(content.len().next_multiple_of(4), 0);
    structure(1, &content)
}

fn decode(datagrams: &[Vec<u8>]) -> (Batch, Decoder, Vec<Option<DecodeError>>) {
    let schema = Arc::new(Schema::standard());
    let mut decoder = Decoder::new(Arc::clone(&schema), ColumnSet::ALL, Limits::default());
    let mut out = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
    let errors =
        datagrams.iter().map(|datagram| decoder.decode(EXPORTER, RECEIVED_NS, datagram, &mut out).error).collect();
    (out.finish(1, 0), decoder, errors)
}

/// Rows as a table of `names`, then errors and what was counted.
fn check(datagrams: &[Vec<u8>], names: &[&str], expected: Expect) {
    let (batch, decoder, errors) = decode(datagrams);
    let mut text = table(&batch, names);
    for error in errors.into_iter().flatten() {
        writeln!(text, "error: {error}").unwrap();
    }
    let stats = decoder.stats();
    let SflowSamples { flow, bad, counter, discard, unknown, unknown_records } = stats.sflow_samples;
    writeln!(text, "flow {flow} bad {bad} counter {counter} discard {discard} unknown {unknown} {unknown_records}")
        .unwrap();
    writeln!(text, "missing {} late {}", stats.missing_datagrams, stats.sequence_late).unwrap();
    expected.assert_eq(&text);
}

#[test]
fn a_sampled_header_becomes_a_row_of_one_packet() {
    let names = [
        "flow_type",
        "exporter_addr",
        "observation_domain",
        "sequence",
        "sampling_rate",
        "bytes",
        "packets",
        "first_ns",
        "in_if",
        "out_if",
        "flow_direction",
        "src_addr",
        "dst_addr",
        "src_port",
        "dst_port",
        "proto",
        "tos",
        "ttl",
        "etype",
        "src_mac",
        "dst_mac",
        "layer_stack",
        "layer_sizes",
    ];
    check(
        &[datagram(1, &[sample(9, &[header()])])],
        &names,
        expect![[r#"
        flow_type exporter_addr observation_domain sequence sampling_rate bytes packets first_ns in_if out_if flow_direction src_addr dst_addr src_port dst_port proto tos ttl etype src_mac dst_mac layer_stack layer_sizes
        1 192.0.2.1 3 1 512 500 1 1700000000123456789 7 9 1 192.0.2.1 198.51.100.2 53 1024 17 16 63 2048 2199023255560 2199023255561 0,1,4 14,20,8
        flow 1 bad 0 counter 0 discard 0 unknown 0 0
        missing 0 late 0
    "#]],
    );
}

#[test]
fn a_second_header_of_a_packet_takes_the_place_of_the_first() {
    let mpls = raw_header(13, &[0, 0x01, 0x01, 64, 0x45, 0, 0, 20]);
    check(
        &[datagram(1, &[sample(9, &[mpls, header()])])],
        &["src_port", "layer_stack", "layer_sizes", "mpls_labels"],
        expect![[r#"
            src_port layer_stack layer_sizes mpls_labels
            53 0,1,4 14,20,8 0
            flow 1 bad 0 counter 0 discard 0 unknown 0 0
            missing 0 late 0
        "#]],
    );
}

#[test]
fn an_expanded_sample_has_formats_of_interfaces_of_their_own() {
    let head = |out_format, out_if| words(&[1, 0, 0x0100_0007, 512, 512, 0, 0, 0x0100_0007, out_format, out_if, 1]);
    let samples: Vec<_> = [(0, 0x0200_0009), (1, 258), (2, 3)]
        .map(|(format, out_if)| structure(3, &[head(format, out_if), header()].concat()))
        .into();
    check(
        &[datagram(1, &samples)],
        &["in_if", "out_if", "forwarding_status", "flow_direction", "src_addr"],
        expect![[r#"
            in_if out_if forwarding_status flow_direction src_addr
            16777223 33554441 0 1 192.0.2.1
            16777223 0 130 1 192.0.2.1
            16777223 0 0 1 192.0.2.1
            flow 3 bad 0 counter 0 discard 0 unknown 0 0
            missing 0 late 0
        "#]],
    );
}

#[test]
fn an_interface_says_its_format_in_two_bits() {
    let samples = [9, 0x4000_0000 | 257, 0x8000_0003, 0x3fff_ffff, 0].map(|out_if| sample(out_if, &[header()]));
    check(
        &[datagram(1, &samples)],
        &["in_if", "out_if", "forwarding_status"],
        expect![[r#"
        in_if out_if forwarding_status
        7 9 0
        7 0 137
        7 0 0
        7 1073741823 0
        7 0 0
        flow 5 bad 0 counter 0 discard 0 unknown 0 0
        missing 0 late 0
    "#]],
    );
}

#[test]
fn records_of_switch_router_and_gateway_fill_their_columns() {
    let switch = structure(1001, &words(&[20, 0, 0xffff_ffff, 0]));
    let router = structure(1002, &words(&[1, 0x0a00_0001, 24, 16]));
    let gateway = structure(
        1003,
        &words(&[
            1,
            0x0a00_0002,
            64496,
            64497,
            64498,
            2,
            2,
            2,
            64499,
            64500,
            1,
            1,
            64501,
            2,
            0xfbf0_0001,
            0xfbf0_0002,
            100,
        ]),
    );
    check(
        &[datagram(1, &[sample(9, &[header(), switch, router, gateway]), sample(9, &[header()])])],
        &[
            "src_vlan",
            "dst_vlan",
            "next_hop",
            "src_net",
            "dst_net",
            "bgp_next_hop",
            "src_as",
            "dst_as",
            "next_hop_as",
            "as_path",
            "bgp_communities",
        ],
        expect![[r#"
            src_vlan dst_vlan next_hop src_net dst_net bgp_next_hop src_as dst_as next_hop_as as_path bgp_communities
            20 0 10.0.0.1 24 16 10.0.0.2 64497 64501 64499 64499,64500,64501 4226809857,4226809858
            0 0 - 0 0 - 0 0 0 - -
            flow 2 bad 0 counter 0 discard 0 unknown 0 0
            missing 0 late 0
        "#]],
    );
}

#[test]
fn samples_without_header_are_described_by_other_records() {
    let ethernet = structure(
        2,
        &[&words(&[100])[..], &[2, 0, 0, 0, 0, 8, 0, 0, 2, 0, 0, 0, 0, 9, 0, 0], &words(&[0x86dd])].concat(),
    );
    let ipv4 = structure(3, &words(&[80, 6, 0xc000_0201, 0xc633_6402, 443, 50_000, 0x12, 0]));
    let ipv6 = structure(4, &words(&[90, 17, 0x2001_0db8, 0, 0, 1, 0x2001_0db8, 0, 0, 2, 53, 1024, 0, 8]));
    check(
        &[datagram(
            1,
            &[
                sample(9, std::slice::from_ref(&ipv4)),
                sample(9, &[ipv6, ethernet]),
                sample(9, &[header(), ipv4]),
                sample(9, &[raw_header(7, &[0xff, 3, 0, 0x21])]),
            ],
        )],
        &["bytes", "src_addr", "dst_addr", "src_port", "dst_port", "proto", "tcp_flags", "tos", "etype", "src_mac"],
        expect![[r#"
            bytes src_addr dst_addr src_port dst_port proto tcp_flags tos etype src_mac
            80 192.0.2.1 198.51.100.2 443 50000 6 18 0 2048 0
            100 2001:db8::1 2001:db8::2 53 1024 17 0 8 34525 2199023255560
            500 192.0.2.1 198.51.100.2 53 1024 17 0 16 2048 2199023255560
            500 - - 0 0 0 0 0 0 0
            flow 4 bad 0 counter 0 discard 0 unknown 0 0
            missing 0 late 0
        "#]],
    );
}

#[test]
fn other_samples_and_records_are_counted_and_skipped() {
    let samples = [
        structure(2, &[0; 24]),
        structure(4, &[0; 28]),
        structure(5, &[0; 40]),
        structure(0x0012_3001, &[0; 8]),
        sample(9, &[structure(1009, &[1, 2, 3, 4]), header(), structure(0x0012_3001, &[0; 12])]),
    ];
    check(
        &[datagram(1, &samples)],
        &["src_addr"],
        expect![[r#"
        src_addr
        192.0.2.1
        flow 1 bad 0 counter 2 discard 1 unknown 1 2
        missing 0 late 0
    "#]],
    );
}

#[test]
fn a_broken_sample_does_not_lose_its_neighbours() {
    let too_long = structure(1, &words(&[1, 7, 512, 512, 0, 7, 9, 1, 1, 5000]));
    let short = structure(1, &words(&[1, 7]));
    let bad_address = sample(9, &[header(), structure(1002, &words(&[9, 0, 0]))]);
    let samples = [sample(9, &[header()]), too_long, short, bad_address, sample(9, &[header()])];
    check(
        &[datagram(1, &samples)],
        &["src_addr", "src_port"],
        expect![[r#"
        src_addr src_port
        192.0.2.1 53
        192.0.2.1 53
        192.0.2.1 53
        error: record at offset 184 needs 5000 bytes, 0 left
        flow 3 bad 2 counter 0 discard 0 unknown 0 0
        missing 0 late 0
    "#]],
    );
}

#[test]
fn a_datagram_cut_anywhere_gives_the_samples_before_the_cut_and_an_error() {
    let whole = datagram(1, &[sample(9, &[header()]), sample(9, &[header()])]);
    let mut text = String::new();
    let mut last = String::new();
    for length in 4..=whole.len() {
        let (batch, _, errors) = decode(&[whole[..length].to_vec()]);
        let found = format!("{} rows, {}", batch.rows(), if errors[0].is_some() { "error" } else { "no error" });
        if found != last {
            writeln!(text, "from {length}: {found}").unwrap();
            last = found;
        }
    }
    expect![[r#"
        from 4: 0 rows, error
        from 136: 1 rows, error
        from 244: 2 rows, no error
    "#]]
    .assert_eq(&text);
}

#[test]
fn lengths_that_no_datagram_has_are_refused() {
    let mut lies = vec![datagram(1, &[structure(1, &words(&[1, 7, 512, 512, 0, 7, 9, u32::MAX]))])];
    lies.push(words(&[5, 1, 0xc000_0201, 3, 1, 1000, u32::MAX]));
    lies.push(words(&[5, 1, 0xc000_0201, 3, 2, 1000, 1, 1, u32::MAX]));
    lies.push(datagram(3, &[sample(9, &[structure(1, &words(&[1, 500, 4, u32::MAX]))])]));
    lies.push(datagram(4, &[sample(9, &[structure(1003, &words(&[0, 1, 1, 1, u32::MAX, 2, u32::MAX]))])]));
    check(
        &lies,
        &["bytes"],
        expect![[r#"
            bytes
            error: record at offset 68 needs 4 bytes, 0 left
            error: sample at offset 28 needs 4 bytes, 0 left
            error: sample at offset 36 needs 4294967295 bytes, 0 left
            error: sampled header at offset 92 needs 4294967295 bytes, 0 left
            error: AS path at offset 104 needs 17179869180 bytes, 0 left
            flow 0 bad 3 counter 0 discard 0 unknown 0 0
            missing 0 late 1
        "#]],
    );
}

#[test]
fn sequence_numbers_tell_what_is_missing_by_sub_agent() {
    let other = words(&[5, 1, 0xc000_0201, 4, 500, 1000, 0]);
    let sequence = [1, 2, 5, 4, 6].map(|sequence| datagram(sequence, &[]));
    let [a, b, c, d, e] = sequence;
    check(
        &[a, b, other, c, d, e],
        &[],
        expect![[r#"

        flow 0 bad 0 counter 0 discard 0 unknown 0 0
        missing 2 late 1
    "#]],
    );
}

#[test]
fn columns_that_nobody_wants_are_absent() {
    let schema = Arc::new(Schema::standard());
    let wanted: ColumnSet = [col::BYTES, col::SRC_PORT].into_iter().collect();
    let mut decoder = Decoder::new(Arc::clone(&schema), wanted, Limits::default());
    let mut out = BatchBuilder::new(schema, wanted, Pool::default());
    decoder.decode(EXPORTER, RECEIVED_NS, &datagram(1, &[sample(9, &[header()])]), &mut out);
    let batch = out.finish(1, 0);
    assert_eq!(batch.columns().map(|(number, _)| number).collect::<Vec<_>>(), [col::BYTES, col::SRC_PORT]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_bytes_give_rows_or_a_reason(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let switch = structure(1001, &words(&[20, 0, 30, 0]));
        let gateway = structure(1003, &words(&[1, 0x0a00_0002, 1, 2, 3, 1, 2, 2, 4, 5, 1, 6, 100]));
        let mut bytes = datagram(1, &[sample(9, &[header(), switch]), structure(2, &[0; 24]), sample(9, &[gateway, header()])]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (batch, decoder, errors) = decode(&[bytes]);
        let reported = decoder.stats().errors().map(|(_, count)| count).sum::<u64>();
        prop_assert_eq!(reported > 0, errors[0].is_some());
        prop_assert!(batch.rows() as u64 == decoder.stats().rows);
    }
}

/// Fields of `expected.out` that have a column, as that column would be written.
#[cfg_attr(not(captures), allow(dead_code, reason = "only captures need it"))]
const TELEGRAF: &[(&str, &str)] = &[
    ("agent_ip", "exporter_addr"),
    ("agent_subid", "observation_domain"),
    ("sampling_interval", "sampling_rate"),
    ("src", "src_addr"),
    ("dst", "dst_addr"),
    ("src_port", "src_port"),
    ("dst_port", "dst_port"),
    ("l2_bytes", "bytes"),
    ("src_tos", "tos"),
    ("ttl", "ttl"),
    ("ipv4_id", "fragment_id"),
    ("fragment_offset", "fragment_offset"),
    ("vlan_src", "src_vlan"),
    ("vlan_dst", "dst_vlan"),
];

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn captures_decode_as_telegraf_decodes_them() {
    let directory = sluice_testkit::captures().unwrap().join("telegraf");
    let mut compared = 0;
    for name in ["sflow_issue_15375", "sflow_issue_15918", "sflow_issue_18876", "sflow_v5_example"] {
        let datagrams: Vec<_> =
            sluice_testkit::datagrams(&directory.join(name)).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        let (batch, decoder, errors) = decode(&datagrams);
        assert!(errors.iter().all(Option::is_none), "{name}: {errors:?}");
        let text = std::fs::read_to_string(directory.join(name).join("expected.out")).unwrap();
        let expected = sluice_testkit::line_protocol(&text);
        let samples = decoder.stats().sflow_samples;
        assert_eq!((samples.bad, samples.unknown), (0, 0), "{name}");
        // Telegraf gives a line for every sample: counters and discards as well.
        assert_eq!(samples.flow + samples.counter + samples.discard, expected.len() as u64, "{name}");
        let flows: Vec<_> = expected.iter().filter(|line| line.contains_key("sampling_interval")).collect();
        assert_eq!(batch.rows(), flows.len(), "{name}");
        for (row, line) in flows.iter().enumerate() {
            for (field, column) in TELEGRAF {
                if let Some(expected) = line.get(*field) {
                    let cell = table(&batch.select(&[row as u32]), &[column]);
                    assert_eq!(cell.lines().nth(1), Some(expected.as_str()), "{name}, row {row}: {column}");
                    compared += 1;
                }
            }
            let direction = ["", "ingress", "egress"][batch.number(col::FLOW_DIRECTION, row) as usize];
            assert_eq!(Some(direction), line.get("direction").map(String::as_str), "{name}, row {row}");
            // Telegraf calls the interface that the sample was taken at the input, whichever it is.
            let interface = if direction == "ingress" { col::IN_IF } else { col::OUT_IF };
            if let (Some(expected), 1..) = (line.get("in_snmp"), batch.number(interface, row)) {
                assert_eq!(&batch.number(interface, row).to_string(), expected, "{name}, row {row}");
            }
            for (field, column) in [("in_src_mac", col::SRC_MAC), ("out_dst_mac", col::DST_MAC)] {
                let mac = line.get(field).map(|mac| u64::from_str_radix(&mac.replace(':', ""), 16).unwrap());
                assert_eq!(mac, Some(batch.number(column, row)), "{name}, row {row}: {field}");
            }
            // Of an IPv6 packet Telegraf gives the first header after the fixed one, we the last.
            let proto = match batch.number(col::PROTO, row) {
                17 => "udp",
                58 => "hopopt",
                _ => "?",
            };
            assert_eq!(Some(proto), line.get("protocol").map(String::as_str), "{name}, row {row}");
        }
    }
    assert_eq!(compared, 76);
}
