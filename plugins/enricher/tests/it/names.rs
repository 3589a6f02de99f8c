//! Columns from tables of values.

use std::rc::Rc;

use expect_test::{Expect, expect};
use sluice_plugin_enricher::Enricher;
use sluice_sdk::harness::{Harness, MemoryTable, MemoryValues};
use sluice_sdk::{Width, columns};

use crate::{enrich, texts};

fn world() -> Harness {
    Harness::new()
        .table("if-names", MemoryValues::new([("192.0.2.1,3", "ge-0/0/3"), ("2001:db8::1,3", "xe-3")]))
        .table("if-descriptions", MemoryValues::new([("192.0.2.1,4", "transit")]))
        .table("if-speeds", MemoryValues::new([("192.0.2.1,3", "10000"), ("192.0.2.1,4", "100000")]))
        .table("systems", MemoryValues::new([("AS64500", "Example"), ("64501", "Exemple")]))
        .table("asn", MemoryTable::new([("198.51.100.0/24", "64500")]))
        .table("sites", MemoryValues::new([("0", "untagged"), ("7", "Springfield")]))
        .table("classes", MemoryValues::new([("6,443", "1"), ("17,443", "2"), ("17,53", "300"), ("6,80", "x")]))
        .table("hosts", MemoryValues::new([("198.51.100.1", "mail"), ("2001:db8:8::1", "web")]))
}

fn flows(harness: Harness) -> Harness {
    harness
        .rows(3)
        .addrs(columns::EXPORTER_ADDR, ["192.0.2.1", "192.0.2.1", "2001:db8::1"])
        .column(columns::IN_IF, [3, 4, 3])
        .column(columns::OUT_IF, [4, 0, 4])
        .column(columns::SRC_AS, [64500, 0, 64501])
        .addrs(columns::SRC_ADDR, ["203.0.113.1", "198.51.100.1", "2001:db8:8::1"])
        .column(columns::PROTO, [6, 17, 17])
        .column(columns::DST_PORT, [443, 443, 53])
}

#[test]
fn interfaces_of_each_exporter_have_names_descriptions_and_speeds() {
    let config = r#"{"interfaces": {"names": "if-names", "descriptions": "if-descriptions", "speeds": "if-speeds"}}"#;
    let harness = enrich(flows(world()), config);
    assert_eq!(texts(&harness, columns::SRC_IF_NAME), "ge-0/0/3,,xe-3");
    assert_eq!(texts(&harness, columns::DST_IF_NAME), ",,");
    assert_eq!(texts(&harness, columns::SRC_IF_DESC), ",transit,");
    assert_eq!(texts(&harness, columns::DST_IF_DESC), "transit,,");
    assert_eq!(harness.get(columns::SRC_IF_SPEED), [10_000, 100_000, 0]);
    assert_eq!(harness.get(columns::DST_IF_SPEED), [100_000, 0, 0]);
}

#[test]
fn names_follow_what_the_other_parts_wrote() {
    let config =
        r#"{"as": {"table": "asn"}, "names": [{"table": "systems", "key": ["src_as"], "column": "src_as_name"}]}"#;
    let harness = enrich(flows(world()), config);
    assert_eq!(harness.get(columns::SRC_AS), [64500, 64500, 64501]);
    assert_eq!(texts(&harness, columns::SRC_AS_NAME), "Example,Example,Exemple");
}

#[test]
fn addresses_and_pairs_have_names_and_a_number_has_the_width_of_its_column() {
    let config = r#"{"names": [
        {"table": "hosts", "key": ["src_addr"], "column": "note"},
        {"table": "classes", "key": ["proto", "dst_port"], "column": "customer_id"},
        {"table": "classes", "key": ["proto", "dst_port"], "column": "tos"},
        {"table": "classes", "key": ["proto", "dst_port"], "column": "src_vlan"},
        {"table": "classes", "key": ["proto", "dst_port"], "column": "scaled_bytes"}
    ]}"#;
    let harness = enrich(flows(world()), config);
    assert_eq!(texts(&harness, columns::NOTE), ",mail,web");
    assert_eq!(harness.get(columns::CUSTOMER_ID), [1, 2, 300]);
    assert_eq!(harness.get(columns::TOS), [1, 2, 0]);
    assert_eq!(harness.get(columns::SRC_VLAN), [1, 2, 300]);
    assert_eq!(harness.get(columns::SCALED_BYTES), [1, 2, 300]);
    let lines: Vec<_> = harness.log_lines().iter().map(|(_, line)| line.as_str()).collect();
    let line = "the value `300` of the table `classes` is no number that `tos` has room for; it and others like it count as none";
    assert_eq!(lines, [line]);
}

#[test]
fn an_operators_own_column_is_written_as_what_it_holds() {
    let mut harness = flows(world());
    let ids = [("site", Width::Text), ("class", Width::U16)].map(|(name, width)| harness.add_column(name, width));
    let config = r#"{"names": [
        {"table": "systems", "key": ["src_as"], "column": "site"},
        {"table": "classes", "key": ["proto", "dst_port"], "column": "class"}
    ]}"#;
    let harness = enrich(harness, config);
    assert_eq!(texts(&harness, sluice_sdk::Text::new(ids[0])), "Example,,Exemple");
    assert_eq!(harness.get(sluice_sdk::Column::<u16>::new(ids[1])), [1, 2, 300]);
}

#[test]
fn what_no_row_has_is_left_alone_unless_zero_has_a_name() {
    let config =
        r#"{"interfaces": {"names": "if-names"}, "names": [{"table": "sites", "key": ["vlan_id"], "column": "note"}]}"#;
    let harness = enrich(world().rows(2).column(columns::SRC_PORT, [1, 2]), config);
    assert_eq!(texts(&harness, columns::NOTE), "untagged,untagged");
    assert_eq!(harness.changes(), ["note"]);
    let harness = enrich(world().rows(2).column(columns::VLAN_ID, [0, 7]), config);
    assert_eq!(texts(&harness, columns::NOTE), "untagged,Springfield");
}

#[test]
fn an_exchanged_table_voids_the_names_that_were_learned() {
    let table = Rc::new(MemoryValues::new([("64500", "old"), ("64501", "gone")]));
    let mut plugin = Enricher::default();
    let mut harness = flows(Harness::new().shared_table("systems", Rc::clone(&table) as Rc<_>));
    let config = r#"{"names": [{"table": "systems", "key": ["src_as"], "column": "src_as_name"}]}"#;
    harness.init(&mut plugin, config).unwrap();
    harness.run(&mut plugin).unwrap();
    assert_eq!(texts(&harness, columns::SRC_AS_NAME), "old,,gone");
    table.replace([("0", "none"), ("64500", "new")]);
    harness.run(&mut plugin).unwrap();
    assert_eq!(texts(&harness, columns::SRC_AS_NAME), "new,none,");
}

#[test]
fn the_manifest_asks_for_the_keys_and_what_is_written() {
    let manifest = |config: &str| {
        let manifest = world().init(&mut Enricher::default(), config).expect("the configuration is right");
        let name = |id: &u16| sluice_sdk::Field::numbered(*id).map_or("?", |field| field.name);
        let list = |ids: &[u16]| ids.iter().map(name).collect::<Vec<_>>().join(" ");
        format!("{} -> {}", list(&manifest.reads), list(&manifest.writes))
    };
    assert_eq!(
        manifest(r#"{"interfaces": {"speeds": "if-speeds"}}"#),
        "exporter_addr_hi exporter_addr_lo in_if out_if -> src_if_speed dst_if_speed"
    );
    assert_eq!(manifest(r#"{"names": [{"table": "sites", "key": ["vlan_id"], "column": "note"}]}"#), "vlan_id -> note");
}

#[test]
fn a_table_of_prefixes_has_names_for_addresses_and_none_for_numbers() {
    let config = r#"{"names": [{"table": "asn", "key": ["src_addr"], "column": "note"}]}"#;
    assert_eq!(texts(&enrich(flows(world()), config), columns::NOTE), ",64500,");
    let config = r#"{"names": [{"table": "asn", "key": ["src_as"], "column": "note"}]}"#;
    let error = flows(world()).init(&mut Enricher::default(), config).unwrap_err();
    expect!["`names[0].table` does not fit"].assert_eq(&error);
}

#[test]
fn wrong_names_say_what_would_be_right() {
    let check = |config: &str, message: Expect| {
        let error = world().init(&mut Enricher::default(), config);
        message.assert_eq(&error.expect_err("the configuration is wrong"));
    };
    let name =
        |key: &str, column: &str| format!(r#"{{"names": [{{"table": "sites", "key": {key}, "column": "{column}"}}]}}"#);
    check(
        r#"{"interfaces": {}}"#,
        expect!["`interfaces` does nothing; set `names`, `descriptions` or `speeds` to a table of values"],
    );
    check(
        r#"{"interfaces": {"names": "x"}}"#,
        expect!["`interfaces.names`: cannot open table `x`: there is no table `x`"],
    );
    check(
        &name("[]", "note"),
        expect![[r#"`names[0].key` has 0 columns; it is one, or two, e.g. ["vlan_id"] or ["exporter_addr", "in_if"]"#]],
    );
    check(
        &name(r#"["proto", "dst_port", "tos"]"#, "note"),
        expect![[r#"`names[0].key` has 3 columns; it is one, or two, e.g. ["vlan_id"] or ["exporter_addr", "in_if"]"#]],
    );
    check(&name(r#"["vlan"]"#, "note"), expect!["`names[0].key`: there is no column `vlan`; did you mean `vlan_id`?"]);
    check(&name(r#"["note"]"#, "note"), expect!["`names[0].key`: `note` holds text; use a number or an address"]);
    check(
        &name(r#"["in_if", "exporter_addr"]"#, "note"),
        expect!["`names[0].key`: the address `exporter_addr` comes first, and one number after it"],
    );
    check(
        &name(r#"["src_addr_lo"]"#, "note"),
        expect!["`names[0].key`: `src_addr_lo` is half of the address `src_addr`"],
    );
    check(
        &name(r#"["vlan_id"]"#, "notes"),
        expect!["`names[0].column`: there is no column `notes`; did you mean `note`?"],
    );
    check(
        &name(r#"["vlan_id"]"#, "src_addr"),
        expect!["`names[0].column`: `src_addr` is an address; use a text or a number"],
    );
    check(
        &name(r#"["vlan_id"]"#, "as_path"),
        expect!["`names[0].column`: `as_path` holds lists; use a text or a number"],
    );
    check(
        r#"{"interfaces": {"names": "if-names"}, "names": [{"table": "sites", "key": ["in_if"], "column": "src_if_name"}]}"#,
        expect!["`interfaces.names` and `names[0]` write the same column; leave one out"],
    );
    check(
        r#"{"names": [{"tabel": "sites", "key": ["vlan_id"], "column": "note"}]}"#,
        expect!["`names[0]`: unknown field `tabel`, expected one of `table`, `key`, `column`; did you mean `table`?"],
    );
}
