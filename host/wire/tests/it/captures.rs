//! Captures from real exporters. What is expected of them is in the README beside them.
//!
//! Without captures these tests are ignored, which libtest says.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use sluice_flow::{Batch, ColumnId, addr_of, col};
use sluice_testkit::{captures, datagrams, line_protocol};

use crate::build::{Bench, EXPORTER};
use crate::oracle::{Oracle, Row};

fn folder(name: &str) -> PathBuf {
    captures().expect("the build script found captures").join(name)
}

/// The UDP payloads of a pcap file of raw IPv4 packets.
fn payloads(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((u32_at(0), u32_at(20)), (0xa1b2_c3d4, 101), "a little-endian pcap of raw IP");
    let (mut at, mut payloads) = (24, Vec::new());
    while at < bytes.len() {
        let packet = &bytes[at + 16..at + 16 + u32_at(at + 8)];
        let header = usize::from(packet[0] & 15) * 4;
        payloads.push(packet[header + 8..].to_vec());
        at += 16 + packet.len();
    }
    payloads
}

/// Decodes datagrams, compares every row with netflow_parser, and returns the rows and the decoder.
fn compare(name: &str, datagrams: &[Vec<u8>]) -> (Batch, Bench) {
    let mut oracle = Oracle::new();
    let mut bench = Bench::new();
    let mut expected = Vec::new();
    for datagram in datagrams {
        expected.extend(oracle.rows(EXPORTER, bench.now_ns, datagram));
        bench.decode(datagram);
    }
    let batch = bench.batch();
    assert_eq!(batch.rows(), expected.len(), "{name}: {}", bench.text(&[]));
    for (row, expected) in expected.into_iter().enumerate() {
        // What is told in options data, the oracle does not know.
        let mut unknown = vec![col::SAMPLING_RATE];
        if expected.is_uptime && batch.number(col::FLOW_TYPE, row) == 4 {
            unknown.extend([col::FIRST_NS, col::LAST_NS]);
        }
        let (found, expected) = (Row::of(&batch, row).without(&unknown), expected.without(&unknown));
        assert_eq!(found, expected, "{name} row {row}\n found {}\nwanted {}", found.text(), expected.text());
    }
    (batch, bench)
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn exporters_of_debian_give_the_records_they_sent() {
    for (name, records, options) in [
        ("pmacct-nfprobe-v5", 55, 0),
        ("pmacct-nfprobe-v9", 68, 2),
        ("pmacct-nfprobe-v10", 68, 2),
        ("softflowd-v5", 55, 0),
        ("softflowd-v9", 68, 1),
        ("softflowd-v9-vlan-sampled", 36, 1),
        ("softflowd-ipfix", 68, 1),
    ] {
        let datagrams = payloads(&folder("exporters").join(format!("{name}.pcap")));
        let (batch, bench) = compare(name, &datagrams);
        let stats = bench.stats();
        assert_eq!((stats.records, stats.options_records), (records, options), "{name}");
        assert_eq!(stats.errors().map(|(_, count)| count).sum::<u64>(), 0, "{name}");
        assert_eq!((stats.missing_datagrams, stats.missing_records, stats.sequence_resets), (0, 0, 0), "{name}");
        let day = |column: ColumnId| (0..batch.rows()).all(|row| batch.number(column, row) > 1_000_000_000_000_000_000);
        assert!(day(col::FIRST_NS) && day(col::LAST_NS), "{name}: every flow has its times");
    }
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn sampling_that_an_exporter_announces_is_in_its_rows() {
    let datagrams = payloads(&folder("exporters").join("softflowd-v9-vlan-sampled.pcap"));
    let (batch, _) = compare("softflowd-v9-vlan-sampled", &datagrams);
    let rates: BTreeMap<u64, usize> = (0..batch.rows()).fold(BTreeMap::new(), |mut rates, row| {
        *rates.entry(batch.number(col::SAMPLING_RATE, row)).or_default() += 1;
        rates
    });
    assert_eq!(rates.keys().filter(|rate| **rate > 1).count(), 1, "{rates:?}");
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn netflow_v1_of_softflowd_is_read() {
    let mut bench = Bench::new();
    for datagram in payloads(&folder("exporters").join("softflowd-v1.pcap")) {
        assert_eq!(bench.decode(&datagram).error, None);
    }
    let (batch, stats) = (bench.batch(), bench.stats());
    assert_eq!((stats.netflow1, stats.records), (stats.datagrams, batch.rows() as u64));
    for row in 0..batch.rows() {
        assert!([0, 1, 6, 17].contains(&batch.number(col::PROTO, row)), "row {row}");
        assert!(batch.number(col::FIRST_NS, row) <= batch.number(col::LAST_NS, row), "row {row}");
        assert!(batch.number(col::BYTES, row) >= 20 * batch.number(col::PACKETS, row), "row {row}");
    }
    expect_test::expect!["55 rows in 2 datagrams"].assert_eq(&format!(
        "{} rows in {} datagrams",
        batch.rows(),
        stats.datagrams
    ));
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn devices_of_fifteen_families_give_what_netflow_parser_reads() {
    let mut families: HashMap<String, Vec<(String, Vec<u8>)>> = HashMap::new();
    for (name, datagram) in datagrams(&folder("logstash")).unwrap() {
        if !name.contains("invalid") {
            let family = name.split("_data").next().unwrap().split("_tpl").next().unwrap();
            let family = family.split("_opttpl").next().unwrap().to_owned();
            families.entry(family).or_default().push((name, datagram));
        }
    }
    let mut rows = BTreeMap::new();
    for (family, mut files) in families {
        // Templates come first, and `tpl` after `data` in the alphabet.
        files.sort_by_key(|(name, _)| (!name.contains("tpl"), name.clone()));
        let datagrams: Vec<Vec<u8>> = files.into_iter().map(|(_, datagram)| datagram).collect();
        let (batch, _) = compare(&family, &datagrams);
        rows.insert(family, batch.rows());
    }
    let text: String = rows.iter().map(|(family, rows)| format!("{family} {rows}\n")).collect();
    expect_test::expect![[r#"
        ipfix.dat 12
        ipfix_test_mikrotik 46
        ipfix_test_netscaler 3
        ipfix_test_openbsd_pflow 26
        ipfix_test_vmware_vds 5
        netflow5.dat 30
        netflow5_test_juniper_mx80.dat 29
        netflow5_test_microtik.dat 30
        netflow9_test_cisco_asr9k 21
        netflow9_test_juniper_srx 0
        netflow9_test_macaddr 29
        netflow9_test_nprobe 1
        netflow9_test_nprobe_dpi.dat 1
        netflow9_test_softflowd 7
        netflow9_test_ubnt_edgerouter 16
        netflow9_test_valid01.dat 7
    "#]]
    .assert_eq(&text);
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn invalid_captures_are_refused_with_a_reason() {
    let mut refused = 0;
    for (name, datagram) in datagrams(&folder("logstash")).unwrap() {
        if name.starts_with("netflow5_test_invalid") {
            let decoded = Bench::new().decode(&datagram);
            assert_eq!((decoded.rows, decoded.error.unwrap().reason()), (0, "bad_count"), "{name}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn the_capture_that_is_called_invalid_and_is_not_decodes() {
    // softflowd, whose header counts data records only, and whose options set is not padded.
    let datagram = fs::read(folder("logstash").join("netflow9_test_invalid01.dat")).unwrap();
    let mut bench = Bench::new();
    bench.decode(&datagram);
    expect_test::expect![[r#"
        2 rows
        src_addr dst_addr src_port dst_port proto bytes packets sampling_rate
        2001:44b8:1118:7200::10 2001:44b8:4030:cd91:8075:bae:d39d:2621 123 123 17 96 1 100
        192.168.0.1 192.168.0.105 53 55575 17 98 1 100
    "#]]
    .assert_eq(&bench.text(&[
        "src_addr",
        "dst_addr",
        "src_port",
        "dst_port",
        "proto",
        "bytes",
        "packets",
        "sampling_rate",
    ]));
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn telegraf_reads_the_same() {
    for name in [
        "netflow_v5_example",
        "netflow_v9_example",
        "netflow_v9_options",
        "ipfix_example",
        "ipfix_options",
        "ipfix_pen_35632",
        "issue_13305",
        "issue_14370",
    ] {
        let folder = folder("telegraf").join(name);
        let mut bench = Bench::new();
        for (_, datagram) in datagrams(&folder).unwrap() {
            bench.decode(&datagram);
        }
        let batch = bench.batch();
        let lines = line_protocol(&fs::read_to_string(folder.join("expected.out")).unwrap());
        let is_flow = |line: &BTreeMap<String, String>| line.contains_key("src") || line.contains_key("in_packets");
        let flows: Vec<_> = lines.iter().filter(|line| is_flow(line)).collect();
        let records = bench.stats().records;
        assert_eq!(records, flows.len() as u64, "{name}: {}", bench.text(&[]));
        let mut free: Vec<usize> = (0..batch.rows()).collect();
        for line in flows {
            let found = free.iter().position(|row| differences(&batch, *row, line).is_empty());
            let Some(found) = found else {
                let nearest = free.iter().map(|row| differences(&batch, *row, line)).min_by_key(Vec::len);
                panic!("{name}: no row for {line:?}, the nearest differs in {nearest:?}");
            };
            free.remove(found);
        }
    }
}

/// What of a line of Telegraf's is not so in a row.
fn differences(batch: &Batch, row: usize, line: &BTreeMap<String, String>) -> Vec<String> {
    let number = |column: ColumnId| batch.number(column, row);
    let addr = |column: ColumnId| {
        addr_of(number(column), number(column + 1)).map_or_else(|| "0.0.0.0".to_owned(), |addr| addr.to_string())
    };
    let mut wrong = Vec::new();
    for (field, value) in line {
        let found = match field.as_str() {
            "src" => addr(col::SRC_ADDR_HI),
            "dst" => addr(col::DST_ADDR_HI),
            "next_hop" => addr(col::NEXT_HOP_HI),
            "src_port" => number(col::SRC_PORT).to_string(),
            "dst_port" => number(col::DST_PORT).to_string(),
            "in_bytes" | "in_total_bytes" => number(col::BYTES).to_string(),
            "in_packets" | "in_total_packets" => number(col::PACKETS).to_string(),
            "in_snmp" => number(col::IN_IF).to_string(),
            "out_snmp" => number(col::OUT_IF).to_string(),
            "src_mask" => number(col::SRC_NET).to_string(),
            "dst_mask" => number(col::DST_NET).to_string(),
            "bgp_src_as" => number(col::SRC_AS).to_string(),
            "bgp_dst_as" => number(col::DST_AS).to_string(),
            "vlan_src" => number(col::SRC_VLAN).to_string(),
            "icmp_type" => number(col::ICMP_TYPE).to_string(),
            "icmp_code" => number(col::ICMP_CODE).to_string(),
            "seq_number" => number(col::SEQUENCE).to_string(),
            "sampling_interval" => number(col::SAMPLING_RATE).to_string(),
            "flow_start_ms" => (number(col::FIRST_NS) / 1_000_000).to_string(),
            "flow_end_ms" => (number(col::LAST_NS) / 1_000_000).to_string(),
            "src_tos" => format!("{:#04x}", number(col::TOS)),
            "protocol" => match number(col::PROTO) {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                58 => "ipv6-icmp".to_owned(),
                other => other.to_string(),
            },
            "direction" => ["none", "ingress", "egress"][number(col::FLOW_DIRECTION) as usize].to_owned(),
            "tcp_flags" => {
                let flags = (0..8).rev().zip("CEUAPRSF".chars());
                flags.map(|(bit, name)| if number(col::TCP_FLAGS) >> bit & 1 == 1 { name } else { '.' }).collect()
            }
            "flow_end_reason" => {
                let names = ["", "idle timeout", "active timeout", "end of flow", "forced end", "lack of resources"];
                names[number(col::FLOW_END_REASON) as usize].to_owned()
            }
            _ => continue,
        };
        if found != *value {
            wrong.push(format!("{field} {value}: {found}"));
        }
    }
    wrong
}
