//! What the formats write, byte for byte.

use std::sync::Arc;

use expect_test::{Expect, expect};
use sluice_endpoints::format::{Format, Formatter};
use sluice_flow::{Batch, BatchBuilder, ColumnSet, DeadLetter, Pool, Schema};
use sluice_wire::proto::{Decoder, Dialect, Framing};

use crate::rows::{two_flows, two_routes};

fn written(batch: &Batch, format: Format, fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let mut formatter = Formatter::new(format, &Schema::standard(), &fields).unwrap();
    let mut out = Vec::new();
    formatter.write(batch, 0..batch.rows(), &mut out);
    String::from_utf8(out).unwrap()
}

fn check(batch: &Batch, format: Format, fields: &[&str], expected: Expect) {
    expected.assert_eq(&written(batch, format, fields));
}

#[test]
fn json_has_every_field_of_goflow2_and_then_ours() {
    check(
        &two_flows(),
        Format::Json,
        &[],
        expect![[r#"
        {"type":"NETFLOW_V9","time_received_ns":1700000020000000000,"sequence_num":7,"sampling_rate":100,"sampler_address":"203.0.113.1","time_flow_start_ns":1700000000000000000,"time_flow_end_ns":1700000012000000000,"bytes":18000,"packets":12,"src_addr":"192.0.2.10","dst_addr":"198.51.100.7","etype":"IPv4","proto":"TCP","src_port":443,"dst_port":50123,"in_if":3,"out_if":4,"src_mac":"02:00:5e:00:53:01","dst_mac":"00:00:00:00:00:00","src_vlan":0,"dst_vlan":0,"vlan_id":0,"ip_tos":0,"forwarding_status":64,"ip_ttl":0,"ip_flags":0,"tcp_flags":24,"icmp_type":0,"icmp_code":0,"ipv6_flow_label":0,"fragment_id":0,"fragment_offset":0,"src_as":64500,"dst_as":0,"next_hop":"","next_hop_as":0,"src_net":"192.0.2.0/24","dst_net":"0.0.0.0/0","bgp_next_hop":"","bgp_communities":[],"as_path":[],"mpls_ttl":[],"mpls_label":[],"mpls_ip":[],"observation_domain_id":0,"observation_point_id":0,"layer_stack":[],"layer_size":[],"ipv6_routing_header_addresses":[],"ipv6_routing_header_seg_left":0,"customer_id":42,"note":"say \"hi\"\u001b[2J"}
        {"type":"IPFIX","time_received_ns":1700000021000000000,"sequence_num":8,"sampling_rate":0,"sampler_address":"203.0.113.1","time_flow_start_ns":1700000009000000000,"time_flow_end_ns":1700000009000000000,"bytes":1280,"packets":1,"src_addr":"2001:db8::1","dst_addr":"2001:db8::2","etype":"IPv6","proto":"ICMPv6","src_port":0,"dst_port":0,"in_if":1,"out_if":0,"src_mac":"00:00:00:00:00:00","dst_mac":"00:00:00:00:00:00","src_vlan":0,"dst_vlan":0,"vlan_id":0,"ip_tos":0,"forwarding_status":0,"ip_ttl":0,"ip_flags":0,"tcp_flags":0,"icmp_type":128,"icmp_code":0,"ipv6_flow_label":0,"fragment_id":0,"fragment_offset":0,"src_as":0,"dst_as":0,"next_hop":"","next_hop_as":0,"src_net":"::/0","dst_net":"::/0","bgp_next_hop":"","bgp_communities":[],"as_path":[],"mpls_ttl":[],"mpls_label":[],"mpls_ip":[],"observation_domain_id":0,"observation_point_id":0,"layer_stack":[],"layer_size":[],"ipv6_routing_header_addresses":[],"ipv6_routing_header_seg_left":0}
    "#]],
    );
}

#[test]
fn every_line_of_json_is_an_object() {
    for batch in [two_flows(), two_routes()] {
        for line in written(&batch, Format::Json, &[]).lines() {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            assert!(object.len() >= 50, "{line}");
        }
    }
}

#[test]
fn rows_that_nobody_could_process_say_why() {
    let mut batch = two_routes();
    batch.set_dead_letter(Some(Arc::new(DeadLetter {
        stage: "tenants".into(),
        reason: "trap",
        error: "it said \"no\"".to_owned(),
        backtrace: vec!["tenants::rate".to_owned()],
        plugin: "tenants".to_owned(),
        version: "1.4.0".to_owned(),
        digest: "00ff".to_owned(),
    })));
    check(
        &batch,
        Format::Json,
        &["bytes"],
        expect![[r#"
        {"bytes":18000,"dead_letter":{"backtrace":["tenants::rate"],"digest":"00ff","error":"it said \"no\"","plugin":"tenants","reason":"trap","stage":"tenants","version":"1.4.0"}}
        {"bytes":1280,"dead_letter":{"backtrace":["tenants::rate"],"digest":"00ff","error":"it said \"no\"","plugin":"tenants","reason":"trap","stage":"tenants","version":"1.4.0"}}
    "#]],
    );
    check(
        &batch,
        Format::Table,
        &["bytes", "proto"],
        expect![[r#"
        BYTES  PROTO
         1280  ICMPv6  ✗ tenants: trap: it said "no"
        18000  TCP     ✗ tenants: trap: it said "no"
    "#]],
    );
    for line in written(&batch, Format::Flowdump, &[]).lines() {
        assert!(line.ends_with(" ✗ tenants: trap: it said \"no\""), "{line}");
    }
    assert!(written(&batch, Format::Json, &[]).lines().all(|line| line.ends_with("}}")));
}

#[test]
fn chosen_fields_are_written_in_their_order_under_goflow2s_names() {
    let fields = ["route", "exporter_addr", "customer_id", "etype", "bytes"];
    check(
        &two_routes(),
        Format::Json,
        &fields,
        expect![[r#"
        {"route":"enriched-42","sampler_address":"203.0.113.1","customer_id":42,"etype":"IPv4","bytes":18000}
        {"route":"enriched-0","sampler_address":"203.0.113.1","customer_id":0,"etype":"IPv6","bytes":1280}
    "#]],
    );
}

#[test]
fn a_field_that_does_not_exist_is_answered_with_the_nearest() {
    let error = Formatter::new(Format::Json, &Schema::standard(), &["src_adr".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "fields: there is no field `src_adr`; did you mean `src_addr`?");
}

#[test]
fn a_table_is_aligned_and_keeps_routes_together() {
    check(
        &two_routes(),
        Format::Table,
        &[],
        expect![[r#"
            ROUTE        CUSTOMER_ID  LAST      EXPORTER_ADDR  SRC_ADDR     SRC_PORT  DST_ADDR      DST_PORT  PROTO   BYTES  PACKETS  SAMPLING_RATE  NOTE
            enriched-0             0  22:13:29  203.0.113.1    2001:db8::1         0  2001:db8::2          0  ICMPv6   1280        1              0  -
            enriched-42           42  22:13:32  203.0.113.1    192.0.2.10        443  198.51.100.7     50123  TCP     18000       12            100  say "hi"\u{1b}[2J
        "#]],
    );
    check(
        &two_flows(),
        Format::Table,
        &["src_addr", "src_mac", "layer_stack"],
        expect![[r#"
        SRC_ADDR     SRC_MAC            LAYER_STACK
        192.0.2.10   02:00:5e:00:53:01  -
        2001:db8::1  00:00:00:00:00:00  -
    "#]],
    );
}

#[test]
fn the_header_of_a_table_comes_again_when_a_column_grows_or_a_page_is_full() {
    let fields = ["proto".to_owned()];
    let mut formatter = Formatter::new(Format::Table, &Schema::standard(), &fields).unwrap();
    let mut headers = |batch: &Batch| {
        let mut out = Vec::new();
        formatter.write(batch, 0..batch.rows(), &mut out);
        String::from_utf8(out).unwrap().matches("PROTO").count()
    };
    assert_eq!(headers(&crate::rows::numbered(1, 41)), 2);
    assert_eq!(headers(&crate::rows::numbered(2, 1)), 0);
    // ICMPv6 is wider than anything before, and then no more.
    assert_eq!(headers(&two_flows()), 1);
    assert_eq!(headers(&two_flows()), 0);
}

#[test]
fn protobuf_is_read_back_as_the_same_rows() {
    let schema = Arc::new(Schema::standard());
    let mut formatter = Formatter::new(Format::Protobuf, &schema, &[]).unwrap();
    let batch = two_flows();
    let mut out = Vec::new();
    formatter.write(&batch, 0..2, &mut out);
    let mut builder = BatchBuilder::new(Arc::clone(&schema), ColumnSet::ALL, Pool::default());
    let mut decoder = Decoder::new(Dialect::Goflow2, Framing::Delimited, &ColumnSet::ALL);
    assert_eq!(decoder.decode_value(&out, &mut builder), Ok(2));
    let again = builder.finish(1, 0);
    for format in [Format::Json, Format::Flowdump] {
        assert_eq!(written(&again, format, &[]), written(&batch, format, &[]));
    }
    assert!(Formatter::new(Format::Protobuf, &schema, &["bytes".to_owned()]).is_err());
}

#[test]
fn a_flow_dump_is_a_line_a_flow() {
    check(
        &two_routes(),
        Format::Flowdump,
        &[],
        expect![[r#"
        22:13:32 AS64500/192.0.2.10:443 → 198.51.100.7:50123 [3 → FORWARDED/64@203.0.113.1 → 4] TCP 12s 1.2 Mbps 100 pps customer 42 ⇒ enriched-42 say "hi"\u{1b}[2J
        22:13:29 [2001:db8::1]:0 → 2001:db8::2 128/0 [1 → -@203.0.113.1 → 0] ICMPv6 1s 10.2 kbps 1 pps ⇒ enriched-0
    "#]],
    );
}
