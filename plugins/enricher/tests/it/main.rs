//! What the enricher does to batches, on the harness.

mod names;

use std::rc::Rc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use sluice_plugin_enricher::Enricher;
use sluice_sdk::harness::{Harness, MemoryTable};
use sluice_sdk::{Text, columns};

const INSIDE_7: &str = "192.0.2.1";
const INSIDE_8: &str = "2001:db8:8::1";
const OUTSIDE_DE: &str = "198.51.100.1";
const OUTSIDE_FR: &str = "203.0.113.1";

fn world() -> Harness {
    Harness::new()
        .table("customers", MemoryTable::new([("192.0.2.0/24", "7"), ("2001:db8:8::/48", "8")]))
        .table("local", MemoryTable::new([("192.0.2.0/24", "here"), ("2001:db8::/32", "here")]))
        .table("country", MemoryTable::new([("198.51.100.0/24", "DE"), ("203.0.113.0/24", "FR")]))
        .table("asn", MemoryTable::new([("198.51.100.0/24", "AS64500"), ("203.0.113.0/24", "64501")]))
        .table("names", MemoryTable::new([("198.51.100.0/24", "Example"), ("203.0.113.0/24", "Exemple")]))
}

/// Out, in, through, inside, and a frame that is not IP.
fn flows(harness: Harness) -> Harness {
    harness
        .rows(5)
        .addrs(columns::SRC_ADDR, [INSIDE_7, OUTSIDE_DE, OUTSIDE_DE, INSIDE_7, ""])
        .addrs(columns::DST_ADDR, [OUTSIDE_FR, INSIDE_8, OUTSIDE_FR, INSIDE_8, ""])
}

fn enrich(mut harness: Harness, config: &str) -> Harness {
    let mut plugin = Enricher::default();
    harness.init(&mut plugin, config).expect("the configuration is right");
    harness.run(&mut plugin).expect("everything is granted");
    harness
}

fn texts(harness: &Harness, column: Text) -> String {
    harness.get_texts(column).join(",")
}

fn check_error(config: &str, message: Expect) {
    let error = world().init(&mut Enricher::default(), config);
    message.assert_eq(&error.expect_err("the configuration is wrong"));
}

#[test]
fn both_sides_have_customers_and_the_only_one_is_the_flows() {
    let harness = enrich(flows(world()), r#"{"customers": {"table": "customers"}}"#);
    assert_eq!(harness.get(columns::SRC_CUSTOMER_ID), [7, 0, 0, 7, 0]);
    assert_eq!(harness.get(columns::DST_CUSTOMER_ID), [0, 8, 0, 8, 0]);
    // Between two customers it is neither's, as long as no side is known to be remote.
    assert_eq!(harness.get(columns::CUSTOMER_ID), [7, 8, 0, 0, 0]);
    assert_eq!(harness.kept().len(), 5);
}

#[test]
fn the_customer_is_that_of_the_local_side() {
    let config = r#"{"customers": {"table": "customers"}, "direction": {"mode": "border"}}"#;
    let harness = flows(world()).column(columns::FLOW_DIRECTION, [2, 1, 0, 1, 2]);
    let harness = enrich(harness, config);
    assert_eq!(harness.get(columns::CUSTOMER_ID), [7, 8, 0, 8, 0]);
    // What an earlier stage found out counts as well.
    let harness = flows(world()).column(columns::REMOTE_SIDE, [1, 1, 1, 2, 0]);
    let harness = enrich(harness, r#"{"customers": {"table": "customers"}}"#);
    assert_eq!(harness.get(columns::CUSTOMER_ID), [0, 8, 0, 7, 0]);
}

#[test]
fn flows_of_nobody_are_dropped_on_request() {
    let harness = enrich(flows(world()), r#"{"customers": {"table": "customers", "drop_unmatched": true}}"#);
    assert_eq!(harness.kept(), [0, 1, 3]);
    assert_eq!(harness.counter("unmatched"), 2);
    let harness = enrich(flows(world()), r#"{"country": {"table": "country", "drop_unmatched": true}}"#);
    assert_eq!(harness.kept(), [0, 1, 2]);
    let both = r#"{"customers": {"table": "customers", "drop_unmatched": true},
        "country": {"table": "country", "drop_unmatched": true}}"#;
    assert_eq!(enrich(flows(world()), both).kept(), [0, 1]);
    let without_addresses = world().rows(2).column(columns::BYTES, [1, 2]);
    let config = r#"{"customers": {"table": "customers", "drop_unmatched": true}}"#;
    assert!(enrich(without_addresses, config).kept().is_empty());
}

#[test]
fn direction_follows_the_exporter_at_the_border_and_its_reverse_at_the_users() {
    let by = |mode: &str| {
        let harness = flows(world()).column(columns::FLOW_DIRECTION, [1, 2, 0, 9, 1]);
        let harness = enrich(harness, &format!(r#"{{"direction": {{"mode": "{mode}"}}}}"#));
        (harness.get(columns::DIRECTION), harness.get(columns::REMOTE_SIDE))
    };
    assert_eq!(by("border"), (vec![1, 2, 0, 0, 1], vec![1, 2, 0, 0, 1]));
    assert_eq!(by("user"), (vec![2, 1, 0, 0, 2], vec![2, 1, 0, 0, 2]));
}

#[test]
fn direction_follows_local_prefixes() {
    let config = r#"{"direction": {"mode": "prefixes", "table": "local", "drop_unmatched": true}}"#;
    let harness = enrich(flows(world()), config);
    assert_eq!(harness.get(columns::DIRECTION), [2, 1, 3, 4, 0]);
    assert_eq!(harness.get(columns::REMOTE_SIDE), [2, 1, 0, 0, 0]);
    assert_eq!(harness.kept(), [0, 1, 2, 3]);
    // An address that ends in zeros is an address.
    let harness = world().rows(1).addrs(columns::SRC_ADDR, ["2001:db8::"]).addrs(columns::DST_ADDR, [OUTSIDE_DE]);
    assert_eq!(enrich(harness, config).get(columns::DIRECTION), [2]);
}

#[test]
fn customers_are_the_same_whether_their_table_is_that_of_local_prefixes_or_not() {
    let by = |local: &str| {
        // Another table with the same prefixes.
        let same = MemoryTable::new([("192.0.2.0/24", "here"), ("2001:db8:8::/48", "here")]);
        let config = format!(
            r#"{{"customers": {{"table": "customers"}}, "direction": {{"mode": "prefixes", "table": "{local}"}}}}"#
        );
        let harness = enrich(flows(world().table("same", same)), &config);
        let ids = [columns::SRC_CUSTOMER_ID, columns::DST_CUSTOMER_ID, columns::CUSTOMER_ID];
        (ids.map(|column| harness.get(column)), harness.get(columns::DIRECTION))
    };
    let sides = [vec![7, 0, 0, 7, 0], vec![0, 8, 0, 8, 0], vec![7, 8, 0, 0, 0]];
    assert_eq!(by("customers"), (sides, vec![2, 1, 3, 4, 0]));
    assert_eq!(by("same"), by("customers"));
}

#[test]
fn countries_are_those_of_the_addresses_and_the_remote_one_of_the_remote_side() {
    let config = r#"{"country": {"table": "country"}, "direction": {"mode": "prefixes", "table": "local"}}"#;
    let harness = enrich(flows(world()), config);
    assert_eq!(texts(&harness, columns::SRC_COUNTRY), ",DE,DE,,");
    assert_eq!(texts(&harness, columns::DST_COUNTRY), "FR,,FR,,");
    assert_eq!(texts(&harness, columns::REMOTE_COUNTRY), "FR,DE,,,");
    let harness = enrich(flows(world()), r#"{"country": {"table": "country"}}"#);
    assert!(!harness.touched(columns::REMOTE_COUNTRY.id()));
}

#[test]
fn a_batch_has_no_words_of_the_one_before() {
    let mut harness = flows(world());
    let mut plugin = Enricher::default();
    harness.init(&mut plugin, r#"{"country": {"table": "country"}, "as": {"names": "names"}}"#).unwrap();
    let sides = [columns::SRC_COUNTRY, columns::DST_COUNTRY, columns::SRC_AS_NAME, columns::DST_AS_NAME];
    let words = |harness: &Harness| sides.map(|column| harness.get_words(column).join(",")).join(" ");
    harness.run(&mut plugin).unwrap();
    assert_eq!(words(&harness), ",DE ,FR ,Example ,Exemple");
    let mut harness = harness.rows(1).addrs(columns::SRC_ADDR, [OUTSIDE_FR]).addrs(columns::DST_ADDR, [INSIDE_7]);
    harness.run(&mut plugin).unwrap();
    assert_eq!(words(&harness), ",FR  ,Exemple ");
}

#[test]
fn the_exporters_as_numbers_stay_unless_overwritten() {
    let flows = || flows(world()).column(columns::SRC_AS, [0, 1, 0, 4, 5]);
    let harness = enrich(flows(), r#"{"as": {"table": "asn"}}"#);
    assert_eq!(harness.get(columns::SRC_AS), [0, 1, 64500, 4, 5]);
    assert_eq!(harness.get(columns::DST_AS), [64501, 0, 64501, 0, 0]);
    let harness = enrich(flows(), r#"{"as": {"table": "asn", "overwrite": true}}"#);
    assert_eq!(harness.get(columns::SRC_AS), [0, 64500, 64500, 4, 5]);
}

#[test]
fn autonomous_systems_have_names() {
    let harness = enrich(flows(world()), r#"{"as": {"names": "names"}}"#);
    assert_eq!(texts(&harness, columns::SRC_AS_NAME), ",Example,Example,,");
    assert_eq!(texts(&harness, columns::DST_AS_NAME), "Exemple,,Exemple,,");
    assert!(!harness.touched(columns::SRC_AS.id()));
}

#[test]
fn protocols_have_names() {
    let harness = enrich(world().rows(5).column(columns::PROTO, [6, 17, 0, 6, 200]), r#"{"proto_name": true}"#);
    assert_eq!(texts(&harness, columns::PROTO_NAME), "TCP,UDP,,TCP,");
}

#[test]
fn scaled_counters_stand_beside_the_exported_ones() {
    let harness = world()
        .rows(5)
        .column(columns::BYTES, [100, 100, 100, u64::MAX / 2, 1 << 40])
        .column(columns::PACKETS, [1, 1, 1, 1, 1])
        .column(columns::SAMPLING_RATE, [10, 0, 10, 3, 1 << 10])
        .column(columns::NORMALIZED, [0, 0, 1, 0, 0]);
    let harness = enrich(harness, r#"{"scale": {"fallback_rate": 32}}"#);
    assert_eq!(harness.get(columns::SCALED_BYTES), [1000, 3200, 100, u64::MAX, 1 << 50]);
    assert_eq!(harness.get(columns::SCALED_PACKETS), [10, 32, 1, 3, 1 << 10]);
    assert_eq!(harness.changes(), ["scaled_bytes", "scaled_packets"]);
    let unsampled = enrich(world().rows(1).column(columns::BYTES, [5]), r#"{"scale": {}}"#);
    assert_eq!(unsampled.get(columns::SCALED_BYTES), [5]);
    assert_eq!(unsampled.changes(), ["scaled_bytes"]);
}

const ALL: &str = r#"{
    "customers": {"table": "customers"}, "direction": {"mode": "prefixes", "table": "local"},
    "country": {"table": "country"}, "as": {"table": "asn", "names": "names"}, "proto_name": true, "scale": {}
}"#;

#[test]
fn what_the_batch_lacks_is_left_out() {
    let harness = enrich(world().rows(2).column(columns::SRC_PORT, [1, 2]), ALL);
    assert_eq!(harness.changes(), ["direction", "remote_side"]);
    assert_eq!(harness.get(columns::DIRECTION), [0, 0]);
    let harness = enrich(world().rows(0), ALL);
    assert!(harness.kept().is_empty());
    let one_side = enrich(world().rows(1).addrs(columns::DST_ADDR, [INSIDE_8]), ALL);
    assert_eq!(one_side.get(columns::CUSTOMER_ID), [8]);
    assert!(!one_side.touched(columns::SRC_COUNTRY.id()));
}

#[test]
fn the_manifest_asks_only_for_what_is_configured() {
    let manifest = |config: &str| world().init(&mut Enricher::default(), config).expect("the configuration is right");
    let names = |config: &str| {
        let manifest = manifest(config);
        let name = |id: &u16| sluice_sdk::Field::numbered(*id).map_or("?", |field| field.name);
        let list = |ids: &[u16]| ids.iter().map(name).collect::<Vec<_>>().join(" ");
        format!("{} -> {}", list(&manifest.reads), list(&manifest.writes))
    };
    assert_eq!(names(r#"{"proto_name": true}"#), "proto -> proto_name");
    assert_eq!(names(r#"{"direction": {"mode": "user"}}"#), "flow_direction -> direction remote_side");
    assert_eq!(
        names(r#"{"as": {"names": "names"}}"#),
        "src_addr_hi src_addr_lo dst_addr_hi dst_addr_lo -> src_as_name dst_as_name"
    );
    assert!(!manifest(ALL).stateful);
}

#[test]
fn an_exchanged_table_voids_what_was_learned() {
    let table = Rc::new(MemoryTable::new([("192.0.2.0/24", "7"), ("198.51.100.0/24", "9")]));
    let shared = Rc::clone(&table);
    let mut plugin = Enricher::default();
    let mut harness = flows(Harness::new().shared_table("customers", shared));
    harness.init(&mut plugin, r#"{"customers": {"table": "customers"}, "country": {"table": "customers"}}"#).unwrap();
    harness.run(&mut plugin).unwrap();
    assert_eq!(harness.get(columns::SRC_CUSTOMER_ID), [7, 9, 9, 7, 0]);
    // The same codes now mean other values.
    table.replace([("198.51.100.0/24", "70"), ("192.0.2.0/24", "90")]);
    harness.run(&mut plugin).unwrap();
    assert_eq!(harness.get(columns::SRC_CUSTOMER_ID), [90, 70, 70, 90, 0]);
    assert_eq!(texts(&harness, columns::SRC_COUNTRY), "90,70,70,90,");
}

#[test]
fn a_value_that_is_no_number_counts_as_none_and_is_reported_once() {
    let table = MemoryTable::new([("192.0.2.0/24", "seven"), ("198.51.100.0/24", "eight")]);
    let mut plugin = Enricher::default();
    let mut harness = flows(Harness::new().table("customers", table));
    harness.init(&mut plugin, r#"{"customers": {"table": "customers"}}"#).unwrap();
    harness.run(&mut plugin).unwrap();
    harness.run(&mut plugin).unwrap();
    assert_eq!(harness.get(columns::SRC_CUSTOMER_ID), [0, 0, 0, 0, 0]);
    let lines: Vec<_> = harness.log_lines().iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines, ["customers.table: the table's value `seven` is no number; it and others like it count as none"]);
}

#[test]
fn a_wrong_configuration_says_what_would_be_right() {
    check_error(
        "{}",
        expect![
            "nothing to do; set one of `customers`, `direction`, `country`, `as`, `proto_name`, `scale`, `interfaces` and `names`"
        ],
    );
    check_error(
        r#"{"customers": {"table": "x"}}"#,
        expect!["`customers.table`: cannot open table `x`: there is no table `x`"],
    );
    check_error(
        r#"{"direction": {"mode": "prefixes"}}"#,
        expect!["`direction.table` is missing: mode \"prefixes\" needs the table of local prefixes"],
    );
    check_error(
        r#"{"direction": {"mode": "border", "table": "local"}}"#,
        expect!["`direction.table` is for mode \"prefixes\"; leave it out, or set that mode"],
    );
    check_error(r#"{"as": {}}"#, expect!["`as` does nothing; set `as.table`, `as.names` or both"]);
    check_error(
        r#"{"as": {"names": "names", "overwrite": true}}"#,
        expect!["`as.overwrite` is for the numbers of `as.table`; set it, or leave `overwrite` out"],
    );
    check_error(
        r#"{"scale": {"fallback_rate": 0}}"#,
        expect!["`scale.fallback_rate`: 0 would make every counter 0; use 1 for unsampled exporters"],
    );
    check_error(
        r#"{"customers": {"tabel": "customers"}}"#,
        expect!["`customers`: unknown field `tabel`, expected `table` or `drop_unmatched`; did you mean `table`?"],
    );
}

proptest! {
    #[test]
    fn every_row_is_kept_or_counted_as_unmatched(sides in proptest::collection::vec((0..3usize, 0..3usize), 0..80)) {
        let addresses = ["", INSIDE_7, OUTSIDE_DE];
        let harness = world()
            .rows(sides.len())
            .addrs(columns::SRC_ADDR, sides.iter().map(|(src, _)| addresses[*src]))
            .addrs(columns::DST_ADDR, sides.iter().map(|(_, dst)| addresses[*dst]));
        let harness = enrich(harness, r#"{"customers": {"table": "customers", "drop_unmatched": true}}"#);
        let matched = |(src, dst): &(usize, usize)| *src == 1 || *dst == 1;
        let expected: Vec<usize> = (0..sides.len()).filter(|row| matched(&sides[*row])).collect();
        prop_assert_eq!(harness.kept().len() as u64 + harness.counter("unmatched"), sides.len() as u64);
        prop_assert_eq!(harness.kept(), expected);
    }
}
