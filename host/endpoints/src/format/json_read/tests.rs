use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;
use sluice_flow::{Batch, Column, ColumnId, CustomField, Lists, Pool, Texts, Width, col};

use super::*;
use crate::format::json::Json;

fn schema() -> Arc<Schema> {
    let custom = |name: &str, width| CustomField { name: name.to_owned(), width, element: None };
    let custom = vec![custom("score", Width::U16), custom("app", Width::Text), custom("hops", Width::Lists)];
    Arc::new(Schema::with_custom(custom).unwrap())
}

fn builder(wanted: ColumnSet) -> BatchBuilder {
    BatchBuilder::new(schema(), wanted, Pool::default())
}

/// Rows of `value` as the writer shows them, chosen fields only.
fn check(value: &str, fields: &[&str], expected: Expect) {
    let mut out = builder(ColumnSet::ALL);
    let mut text = match JsonReader::new(&schema()).read(value.as_bytes(), &mut out) {
        Ok(read) if read.unknown_keys == 0 => format!("{} rows\n", read.rows).into_bytes(),
        Ok(read) => format!("{} rows, {} unknown keys\n", read.rows, read.unknown_keys).into_bytes(),
        Err(error) => format!("{}: {error}\n", error.reason()).into_bytes(),
    };
    let batch = out.finish(1, 0);
    let fields = fields.iter().map(|name| field::of_name(batch.schema(), name).unwrap()).collect();
    Json::new(batch.schema(), Some(fields)).write(&batch, 0..batch.rows(), &mut text);
    expected.assert_eq(&String::from_utf8(text).unwrap());
}

/// A value with the fields, names and rendering of goflow2 2, put together by hand.
const GOFLOW2: &str = r#"{"type":"SFLOW_5","time_received_ns":1681583295157626000,"sequence_num":2999,"sampling_rate":100,"sampler_address":"192.168.0.1","time_flow_start_ns":1681583295157626000,"time_flow_end_ns":1681583295157626000,"bytes":1500,"packets":1,"src_addr":"fd01::1","dst_addr":"fd01::2","etype":"IPv6","proto":"TCP","src_port":443,"dst_port":50001,"in_if":1,"out_if":2,"src_mac":"00:11:22:33:44:55","dst_mac":"66:77:88:99:aa:bb","src_vlan":10,"dst_vlan":20,"vlan_id":30,"ip_tos":0,"forwarding_status":0,"ip_ttl":64,"ip_flags":0,"tcp_flags":16,"icmp_type":0,"icmp_code":0,"ipv6_flow_label":0,"fragment_id":0,"fragment_offset":0,"src_as":65001,"dst_as":65002,"next_hop":"fd01::3","next_hop_as":0,"src_net":"fd01::/64","dst_net":"invalid Prefix","bgp_next_hop":"","bgp_communities":[4259905537],"as_path":[65003,65002],"mpls_ttl":[],"mpls_label":[],"mpls_ip":["10.0.0.1"],"observation_domain_id":0,"observation_point_id":0,"layer_stack":["Ethernet","Dot1Q","IPv6","TCP"],"layer_size":[14,4,40,20],"ipv6_routing_header_addresses":[],"ipv6_routing_header_seg_left":0}"#;

#[test]
fn what_goflow2_writes_becomes_a_row() {
    let fields = [
        "type",
        "time_received_ns",
        "sampler_address",
        "src_addr",
        "etype",
        "proto",
        "src_mac",
        "vlan_id",
        "src_net",
        "dst_net",
        "bgp_communities",
        "as_path",
        "layer_stack",
        "layer_size",
    ];
    check(
        GOFLOW2,
        &fields,
        expect![[r#"
        1 rows
        {"type":"SFLOW_5","time_received_ns":1681583295157626000,"sampler_address":"192.168.0.1","src_addr":"fd01::1","etype":"IPv6","proto":"TCP","src_mac":"00:11:22:33:44:55","vlan_id":30,"src_net":"fd01::/64","dst_net":"::/0","bgp_communities":[4259905537],"as_path":[65003,65002],"layer_stack":["Ethernet","Dot1Q","IPv6","TCP"],"layer_size":[14,4,40,20]}
    "#]],
    );
}

#[test]
fn objects_may_follow_one_another_with_or_without_white_space() {
    check(
        "{\"bytes\":1}\n{\"bytes\":2}{\"bytes\":3} \r\n",
        &["bytes"],
        expect![[r#"
        3 rows
        {"bytes":1}
        {"bytes":2}
        {"bytes":3}
    "#]],
    );
    check(
        "{\n  \"bytes\": 1,\n  \"other\": {\"a\": [1, {}]},\n  \"x\": null\n}",
        &["bytes"],
        expect![[r#"
        1 rows, 2 unknown keys
        {"bytes":1}
    "#]],
    );
}

#[test]
fn names_may_be_numbers_and_numbers_texts() {
    let fields = ["type", "etype", "proto", "bytes", "src_mac", "src_net", "layer_stack", "as_path"];
    check(
        r#"{"type":3,"etype":2048,"proto":17,"bytes":"18446744073709551615","src_mac":1108152157446,"src_addr":"192.0.2.1","src_net":24,"layer_stack":[1,"4","99"],"as_path":["64500",1e3]}
           {"type":"4","etype":"ipv6","proto":"47","bytes":1.5e3,"src_mac":"02-00-5E-00-53-01","src_net":"","layer_stack":null,"as_path":[]}
           {"type":"FLOWUNKNOWN","etype":"33024","proto":"UDPLITE","bytes":"","src_mac":""}"#,
        &fields,
        expect![[r#"
            3 rows
            {"type":"NETFLOW_V9","etype":"IPv4","proto":"UDP","bytes":18446744073709551615,"src_mac":"01:02:03:04:05:06","src_net":"192.0.2.0/24","layer_stack":["IPv4","UDP","99"],"as_path":[64500,1000]}
            {"type":"IPFIX","etype":"IPv6","proto":"GRE","bytes":1500,"src_mac":"02:00:5e:00:53:01","src_net":"","layer_stack":[],"as_path":[]}
            {"type":"FLOWUNKNOWN","etype":"33024","proto":"UDPLite","bytes":0,"src_mac":"00:00:00:00:00:00","src_net":"","layer_stack":[],"as_path":[]}
        "#]],
    );
}

#[test]
fn columns_and_addresses_go_by_their_own_names_too() {
    check(
        r#"{"received_ns":5,"exporter_addr":"192.0.2.1","tos":8,"nat_src_addr":"2001:db8::1","customer_id":7,"note":"a\u001b\"ü","score":9,"app":"web","hops":[1,2],"route":"r","src_addr_lo":1}"#,
        &["received_ns", "exporter_addr", "tos", "nat_src_addr", "customer_id", "note", "score", "app", "hops"],
        expect![[r#"
            1 rows, 1 unknown keys
            {"time_received_ns":5,"sampler_address":"192.0.2.1","ip_tos":8,"nat_src_addr":"2001:db8::1","customer_id":7,"note":"a\u001b\"ü","score":9,"app":"web","hops":[1,2]}
        "#]],
    );
}

#[test]
fn of_a_key_that_comes_twice_the_last_value_counts() {
    check(
        r#"{"bytes":5,"bytes":0,"received_ns":1,"time_received_ns":2,"note":"a","note":"","as_path":[1],"as_path":[2],"src_addr":"::1","src_addr":"192.0.2.1"}"#,
        &["bytes", "time_received_ns", "note", "as_path", "src_addr"],
        expect![[r#"
            1 rows
            {"bytes":0,"time_received_ns":2,"note":"","as_path":[2],"src_addr":"192.0.2.1"}
        "#]],
    );
}

#[test]
fn a_bad_value_is_a_reason_and_no_row() {
    for (value, expected) in [
        ("", "empty: no object"),
        (" \n", "empty: no object"),
        ("{\"bytes\":1} x", "not_an_object: 1 objects and then something that is none"),
        ("{\"bytes\":1}\n{\"bytes\":", "truncated: object 1 is cut short"),
        ("{\"bytes\":1}\n{\"bytes\":2,}", "malformed: object 1 is not JSON: trailing comma at line 1 column 12"),
        ("{\"bytes\":1}\n\"{", "not_an_object: 1 objects and then something that is none"),
        ("[{\"bytes\":1}]", "not_an_object: 0 objects and then something that is none"),
        (r#"{"bytes":-1}"#, "bad_value: `bytes` holds `-1`, not a number in the range of the column"),
        (r#"{"bytes":0.5}"#, "bad_value: `bytes` holds `0.5`, not a number in the range of the column"),
        (
            r#"{"bytes":18446744073709551616}"#,
            "bad_value: `bytes` holds `18446744073709552000`, not a number in the range of the column",
        ),
        (r#"{"bytes":1e999}"#, "malformed: object 0 is not JSON: number out of range at line 1 column 14"),
        (r#"{"bytes":"12 kB"}"#, "bad_value: `bytes` holds `12 kB`, not a number in the range of the column"),
        (r#"{"bytes":[1]}"#, "wrong_type: `bytes` holds a list, not a number in the range of the column"),
        (r#"{"bytes":{"n":1}}"#, "wrong_type: `bytes` holds an object, not a number in the range of the column"),
        (r#"{"bytes":true}"#, "wrong_type: `bytes` holds a truth value, not a number in the range of the column"),
        (r#"{"src_port":65536}"#, "bad_value: `src_port` holds `65536`, not a number in the range of the column"),
        (r#"{"src_addr":"192.0.2"}"#, "bad_value: `src_addr` holds `192.0.2`, not an IP address"),
        (r#"{"src_addr":1}"#, "wrong_type: `src_addr` holds a number, not an IP address"),
        (
            r#"{"src_addr":"\u001b[2J\u001b[2J0123456789012345678901234567890123456789"}"#,
            r#"bad_value: `src_addr` holds `\u{1b}[2J\u{1b}[2J01234567890123456789012345678901…`, not an IP address"#,
        ),
        (
            r#"{"src_net":"192.0.2.0/33"}"#,
            "bad_value: `src_net` holds `192.0.2.0/33`, not a network or a prefix length",
        ),
        (r#"{"src_mac":"02:00:5e:00:53"}"#, "bad_value: `src_mac` holds `02:00:5e:00:53`, not a MAC address"),
        (r#"{"src_mac":"02:00:5e:00:53:+1"}"#, "bad_value: `src_mac` holds `02:00:5e:00:53:+1`, not a MAC address"),
        (r#"{"src_mac":281474976710656}"#, "bad_value: `src_mac` holds `281474976710656`, not a MAC address"),
        (r#"{"proto":"HTTP"}"#, "bad_value: `proto` holds `HTTP`, not the name or number of a protocol"),
        (r#"{"note":7}"#, "wrong_type: `note` holds a number, not a text"),
        (r#"{"as_path":"1 2"}"#, "wrong_type: `as_path` holds a text, not a list of 32-bit numbers"),
        (r#"{"as_path":[[1]]}"#, "wrong_type: `as_path` holds a list, not a list of 32-bit numbers"),
        (r#"{"as_path":[null]}"#, "wrong_type: `as_path` holds null, not a list of 32-bit numbers"),
        (
            r#"{"layer_stack":["Token Ring"]}"#,
            "bad_value: `layer_stack` holds `Token Ring`, not a list of names or numbers of headers",
        ),
    ] {
        let mut out = builder(ColumnSet::ALL);
        let error = JsonReader::new(&schema()).read(value.as_bytes(), &mut out).unwrap_err();
        assert_eq!(format!("{}: {error}", error.reason()), expected, "{value}");
        assert_eq!(out.finish(1, 0).columns().count(), 0);
    }
    let mut out = builder(ColumnSet::ALL);
    let error = JsonReader::new(&schema()).read(b"{\"note\":\"\xff\"}", &mut out).unwrap_err();
    assert_eq!(error.reason(), "malformed");
}

#[test]
fn nesting_and_numbers_without_end_are_refused_or_skipped_without_a_stack() {
    let read = |value: String| JsonReader::new(&schema()).read(value.as_bytes(), &mut builder(ColumnSet::ALL));
    let deep = "[".repeat(1 << 20);
    assert_eq!(read(format!("{{\"other\":{deep}")).unwrap_err().reason(), "truncated");
    assert_eq!(read(format!("{{\"bytes\":{deep}")).unwrap_err().reason(), "wrong_type");
    assert_eq!(read(deep.replace('[', "{\"bytes\":")).unwrap_err().reason(), "wrong_type");
    assert_eq!(read(deep.replace('[', "{\"other\":")).unwrap_err().reason(), "truncated");
    assert_eq!(read(format!("{{\"bytes\":{}}}", "9".repeat(1 << 20))).unwrap_err().reason(), "malformed");
    assert_eq!(read("{}".repeat(MAX_ROWS)).unwrap().rows, MAX_ROWS);
    assert_eq!(read("{}".repeat(MAX_ROWS + 1)).unwrap_err(), JsonError::TooManyRows);
}

#[test]
fn what_nobody_wants_is_not_looked_at_and_zeros_make_no_column() {
    let mut out = builder([col::BYTES, col::SRC_ADDR_LO].into_iter().collect());
    let value = br#"{"bytes":1,"packets":"many","src_addr":"192.0.2.1","next_hop":7,"note":"x"}"#;
    let mut reader = JsonReader::new(&schema());
    assert_eq!(reader.read(value, &mut out), Ok(Read { rows: 1, unknown_keys: 0 }));
    let batch = out.finish(1, 0);
    assert_eq!(batch.columns().map(|(column, _)| column).collect::<Vec<_>>(), [col::SRC_ADDR_LO, col::BYTES]);

    let mut out = builder(ColumnSet::ALL);
    reader
        .read(br#"{"bytes":0,"src_addr":"","as_path":[],"note":"","proto":"","src_mac":"00:00:00:00:00:00"}"#, &mut out)
        .unwrap();
    assert_eq!(out.finish(1, 0).columns().count(), 0);
}

#[test]
fn rows_before_a_bad_value_stay_and_those_of_the_value_go() {
    let mut out = builder(ColumnSet::ALL);
    let mut reader = JsonReader::new(&schema());
    reader.read(br#"{"bytes":1,"note":"a"}"#, &mut out).unwrap();
    reader.read(br#"{"bytes":2,"note":"b"}{"packets":3,"note":"c","bytes":-1}"#, &mut out).unwrap_err();
    reader.read(br#"{"proto":"TCP"}"#, &mut out).unwrap();
    let batch = out.finish(1, 0);
    assert_eq!(batch.rows(), 2);
    assert_eq!(batch.u64s(col::BYTES), Some(&[1, 0][..]));
    assert_eq!((batch.text(col::NOTE, 0), batch.text(col::NOTE, 1), batch.number(col::PACKETS, 1)), ("a", "", 0));
}

/// A column of `rows` values of which many are zero.
fn column(column: ColumnId, width: Width, rows: usize) -> BoxedStrategy<Column> {
    fn numbers<T: Clone + Default + std::fmt::Debug + 'static>(
        rows: impl Into<SizeRange>,
        value: impl Strategy<Value = T> + 'static,
    ) -> impl Strategy<Value = Arc<Vec<T>>> {
        vec(prop_oneof![1 => Just(T::default()), 2 => value], rows).prop_map(Arc::new)
    }
    // What the writer does not show in full: six octets of a MAC address, six flow types.
    let most = match column {
        col::SRC_MAC | col::DST_MAC => (1 << 48) - 1,
        col::FLOW_TYPE => 5,
        _ => u64::MAX,
    };
    match width {
        Width::U8 => numbers(rows, 0..=most.min(255) as u8).prop_map(Column::U8).boxed(),
        Width::U16 => numbers(rows, any::<u16>()).prop_map(Column::U16).boxed(),
        Width::U32 => numbers(rows, any::<u32>()).prop_map(Column::U32).boxed(),
        Width::U64 => numbers(rows, 0..=most).prop_map(Column::U64).boxed(),
        Width::Text => numbers(rows, ".{0,6}")
            .prop_map(|texts| {
                let words = texts.iter().map(|text| Arc::from(text.as_str())).collect();
                Column::Text(Arc::new(Texts { words, codes: (0..texts.len() as u32).collect() }))
            })
            .boxed(),
        Width::Lists => vec(vec(prop_oneof![0..13_u32, any::<u32>()], 0..4), rows)
            .prop_map(|rows| {
                let mut lists = Lists { offsets: vec![0], ..Lists::default() };
                rows.iter().for_each(|row| lists.push(row));
                Column::Lists(Arc::new(lists))
            })
            .boxed(),
    }
}

prop_compose! {
    /// Some columns of the schema.
    fn batches()(rows in 1..5_usize)(
        columns in schema().all().iter().map(|number| {
            proptest::option::weighted(0.7, column(number, schema().width(number).unwrap(), rows))
        }).collect::<Vec<_>>(),
        rows in Just(rows),
    ) -> Batch {
        let mut batch = Batch::new(schema(), Pool::default(), rows);
        for (number, column) in schema().all().iter().zip(columns) {
            if let Some(column) = column {
                batch.set(number, column).unwrap();
            }
        }
        batch
    }
}

/// The length that the writer shows of the network of an address: none without the address, and none
/// that the address cannot have.
fn shown_length(batch: &Batch, hi: ColumnId, length: ColumnId, row: usize) -> u64 {
    match batch.addr(hi, row) {
        None => 0,
        Some(addr) => batch.number(length, row).min(if addr.is_ipv4() { 32 } else { 128 }),
    }
}

proptest! {
    #[test]
    fn what_the_writer_writes_is_read_back_as_the_same_rows(batch in batches()) {
        let mut text = Vec::new();
        Json::new(batch.schema(), None).write(&batch, 0..batch.rows(), &mut text);
        let mut out = builder(ColumnSet::ALL);
        let read = JsonReader::new(&schema()).read(&text, &mut out);
        prop_assert_eq!(read, Ok(Read { rows: batch.rows(), unknown_keys: 0 }));
        let again = out.finish(1, 0);
        for (row, column) in (0..batch.rows()).flat_map(|row| schema().all().iter().map(move |column| (row, column)).collect::<Vec<_>>()) {
            let expected = match column {
                col::SRC_NET => shown_length(&batch, col::SRC_ADDR_HI, column, row),
                col::DST_NET => shown_length(&batch, col::DST_ADDR_HI, column, row),
                _ => batch.number(column, row),
            };
            prop_assert_eq!(again.number(column, row), expected, "column {}", column);
            prop_assert_eq!(again.text(column, row), batch.text(column, row), "column {}", column);
            prop_assert_eq!(again.list(column, row), batch.list(column, row), "column {}", column);
        }
    }

    #[test]
    fn no_value_makes_the_reader_panic_or_leave_half_a_row(
        cuts in vec((0..GOFLOW2.len(), 0..GOFLOW2.len(), ".{0,3}"), 0..4),
        tail in vec(any::<u8>(), 0..20),
    ) {
        let mut value = GOFLOW2.as_bytes().to_vec();
        for (from, to, text) in cuts {
            let (from, to) = (from.min(to).min(value.len()), from.max(to).min(value.len()));
            // Small changes reach further than large ones.
            value.splice(from..to.min(from + 5), text.bytes());
        }
        value.extend(tail);
        let mut out = builder(ColumnSet::ALL);
        let read = JsonReader::new(&schema()).read(&value, &mut out);
        prop_assert_eq!(out.rows(), read.map_or(0, |read| read.rows));
    }
}
