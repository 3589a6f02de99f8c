//! What the splitter does to batches, on the harness.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use sluice_plugin_splitter::Splitter;
use sluice_sdk::harness::Harness;
use sluice_sdk::{Column, Plugin, Width, columns};

fn customers(ids: &[u32]) -> Harness {
    Harness::new().rows(ids.len()).column(columns::CUSTOMER_ID, ids)
}

fn splitter(config: &str) -> Splitter {
    let mut plugin = Splitter::default();
    Harness::new().init(&mut plugin, config).expect("the configuration is right");
    plugin
}

fn split(mut harness: Harness, plugin: &mut Splitter) -> Harness {
    harness.run(plugin).expect("everything is granted");
    harness
}

/// The route of each row that stays.
fn routed(harness: &Harness) -> String {
    let routes = harness.routes();
    harness.kept().into_iter().map(|row| format!("{row}:{}", routes[row])).collect::<Vec<_>>().join(" ")
}

fn check_error(config: &str, message: Expect) {
    let error = Harness::new().init(&mut Splitter::default(), config);
    message.assert_eq(&error.expect_err("the configuration is wrong"));
}

#[test]
fn each_value_has_its_route_and_the_absent_one_none() {
    let mut plugin = splitter(r#"{"name": "enriched-{customer_id}"}"#);
    let harness = split(customers(&[7, 8, 7, 0]), &mut plugin);
    assert_eq!(routed(&harness), "0:enriched-7 1:enriched-8 2:enriched-7");
    assert_eq!(harness.counter("unlisted"), 1);
    assert_eq!(harness.gauge("routes"), Some(2.0));
}

#[test]
fn what_is_not_listed_goes_to_the_default_or_is_dropped() {
    let ids = [7, 9, 150, 0];
    let mut plugin = splitter(r#"{"name": "t-{customer_id}", "allow": [7, "100-199"], "default": "other stuff"}"#);
    let harness = split(customers(&ids), &mut plugin);
    assert_eq!(routed(&harness), "0:t-7 1:other_stuff 2:t-150 3:other_stuff");
    let mut plugin = splitter(r#"{"name": "t-{customer_id}", "allow": [7, "100-199"]}"#);
    let harness = split(customers(&ids), &mut plugin);
    assert_eq!(routed(&harness), "0:t-7 2:t-150");
    assert_eq!(harness.counter("unlisted"), 2);
    let mut plugin = splitter(r#"{"name": "t-{customer_id}", "allow": [0]}"#);
    assert_eq!(routed(&split(customers(&ids), &mut plugin)), "3:t-0");
}

#[test]
fn a_name_may_be_made_of_several_columns_of_any_kind() {
    let mut plugin = splitter(r#"{"name": "{src_country}.{proto}-{dst_port}", "by": "proto", "default": "x"}"#);
    let harness = Harness::new()
        .rows(5)
        .texts(columns::SRC_COUNTRY, ["DE", "", "DE", "F R", "DE"])
        .column(columns::PROTO, [6, 6, 6, 17, 0])
        .column(columns::DST_PORT, [443, 443, 443, 53, 53]);
    let harness = split(harness, &mut plugin);
    assert_eq!(routed(&harness), "0:DE.6-443 1:none.6-443 2:DE.6-443 3:F_R.17-53 4:x");
    // Another dictionary, the same routes: codes mean nothing across batches.
    let harness = Harness::new()
        .rows(2)
        .texts(columns::SRC_COUNTRY, ["FR", "DE"])
        .column(columns::PROTO, [6, 6])
        .column(columns::DST_PORT, [443, 443]);
    assert_eq!(routed(&split(harness, &mut plugin)), "0:FR.6-443 1:DE.6-443");
}

#[test]
fn texts_and_own_columns_can_be_listed() {
    let mut plugin = splitter(r#"{"name": "c-{src_country}", "allow": ["DE", "FR"]}"#);
    let harness = Harness::new().rows(3).texts(columns::SRC_COUNTRY, ["DE", "AT", ""]);
    assert_eq!(routed(&split(harness, &mut plugin)), "0:c-DE");
    let mut harness = Harness::new();
    let vlan = harness.add_column("tenant", Width::U16);
    let mut plugin = Splitter::default();
    harness.init(&mut plugin, r#"{"name": "t-{tenant}", "allow": ["5-6"]}"#).unwrap();
    let harness = split(harness.rows(3).column(Column::<u16>::new(vlan), [5, 6, 7]), &mut plugin);
    assert_eq!(routed(&harness), "0:t-5 1:t-6");
}

#[test]
fn the_cap_holds_across_batches() {
    let mut plugin = splitter(r#"{"name": "t-{customer_id}", "max_routes": 2, "default": "other"}"#);
    assert_eq!(routed(&split(customers(&[1, 2]), &mut plugin)), "0:t-1 1:t-2");
    let harness = split(customers(&[3, 2, 1, 4, 4]), &mut plugin);
    assert_eq!(routed(&harness), "0:other 1:t-2 2:t-1 3:other 4:other");
    assert_eq!(harness.counter("over_cap"), 3);
    let said: Vec<_> = harness.log_lines().iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        said,
        ["there are 2 routes, as many as `max_routes` allows; rows of further ones are routed to `other`"]
    );
}

#[test]
fn known_routes_survive_a_swap() {
    let config = r#"{"name": "t-{customer_id}", "max_routes": 2}"#;
    let mut old = splitter(config);
    split(customers(&[5, 6]), &mut old);
    let mut new = splitter(config);
    assert_eq!(new.restore(&old.snapshot()), Ok(true));
    assert_eq!(routed(&split(customers(&[7, 6, 5]), &mut new)), "1:t-6 2:t-5");
    let mut other = splitter(r#"{"name": "u-{customer_id}", "max_routes": 2}"#);
    assert_eq!(other.restore(&old.snapshot()), Ok(false));
    assert!(other.restore(&[1, 255]).is_err());
}

#[test]
fn only_a_cap_that_could_be_reached_needs_state() {
    let stateful = |config: &str| Harness::new().init(&mut Splitter::default(), config).expect("right").stateful;
    assert!(stateful(r#"{"name": "t-{customer_id}"}"#));
    assert!(!stateful(r#"{"name": "t-{customer_id}", "allow": [1, "5-9"]}"#));
    assert!(!stateful(r#"{"name": "t-{proto}"}"#));
    assert!(stateful(r#"{"name": "t-{proto}-{direction}"}"#));
    assert!(!stateful(r#"{"name": "t-{proto}-{customer_id}", "by": "customer_id", "allow": [1]}"#));
}

#[test]
fn batches_without_rows_or_columns_are_fine() {
    let mut plugin = splitter(r#"{"name": "t-{customer_id}"}"#);
    assert_eq!(routed(&split(customers(&[]), &mut plugin)), "");
    let harness = split(Harness::new().rows(2).column(columns::BYTES, [1, 2]), &mut plugin);
    assert_eq!(routed(&harness), "");
    assert_eq!(harness.counter("unlisted"), 2);
}

#[test]
fn a_wrong_configuration_says_what_would_be_right() {
    check_error("{}", expect!["missing field `name`"]);
    check_error(r#"{"name": "all"}"#, expect!["`name`: `all` is the same for every row; put a column in braces"]);
    check_error(
        r#"{"name": "{customer}"}"#,
        expect!["`name`: there is no column `customer`; did you mean `customer_id`?"],
    );
    check_error(r#"{"name": "{proto"}"#, expect!["`name`: `{proto` opens a brace that it does not close"]);
    check_error(r#"{"name": "a}{proto}"}"#, expect!["`name`: `a}{proto}` closes a brace that it does not open"]);
    check_error(
        r#"{"name": "{src_addr}"}"#,
        expect!["`name`: `src_addr` is an address; there would be a route for every one, use a number or a text"],
    );
    check_error(r#"{"name": "{as_path}"}"#, expect!["`name`: `as_path` holds lists; use a number or a text"]);
    check_error(
        r#"{"name": "{proto}", "allow": ["tcp"]}"#,
        expect![[r#"`allow`: `tcp` is neither a number nor a range such as "100-199""#]],
    );
    check_error(
        r#"{"name": "{src_country}", "allow": [1]}"#,
        expect![[r#"`allow`: 1 is a number, but `by` is a text; write "1""#]],
    );
    check_error(
        r#"{"name": "{proto}", "allow": [true]}"#,
        expect![[r#"`allow[0]`: a number, a range such as "100-199", or a text"#]],
    );
    check_error(
        r#"{"name": "{customer_id}", "allow": ["1-1000"]}"#,
        expect!["`allow`: 1000 values are more than `max_routes` = 256; raise it or list fewer"],
    );
    check_error(
        r#"{"name": "{proto}", "max_routes": 0}"#,
        expect!["`max_routes`: 0 would route nothing; use 1 or more (default 256)"],
    );
    check_error(
        r#"{"name": "{src_port}", "max_routes": 4097}"#,
        expect!["`max_routes`: 4097 is more than the 4096 that a batch can have"],
    );
    check_error(
        r#"{"name": "{src_port}", "max_routes": 4096, "default": "other"}"#,
        expect!["`max_routes`: 4096 is more than the 4095 that a batch can have"],
    );
}

proptest! {
    #[test]
    fn every_row_has_its_own_route_or_is_counted(batches in proptest::collection::vec(proptest::collection::vec(0u32..9, 0..60), 1..6)) {
        let mut plugin = splitter(r#"{"name": "t-{customer_id}", "max_routes": 4}"#);
        let mut names = std::collections::BTreeSet::new();
        for ids in batches {
            let harness = split(customers(&ids), &mut plugin);
            let routes = harness.routes();
            for row in harness.kept() {
                prop_assert_eq!(&routes[row], &format!("t-{}", ids[row]));
                names.insert(routes[row].clone());
            }
            let lost = harness.counter("unlisted") + harness.counter("over_cap");
            prop_assert_eq!(harness.kept().len() as u64 + lost, ids.len() as u64);
        }
        prop_assert!(names.len() <= 4);
    }

    #[test]
    fn many_values_are_told_apart(mut ids in proptest::collection::vec(1u64.., 1..300)) {
        ids.push(ids[0]);
        let mut plugin = splitter(r#"{"name": "t-{src_mac}-{dst_mac}", "max_routes": 1000}"#);
        let reversed: Vec<u64> = ids.iter().rev().copied().collect();
        let harness = Harness::new().rows(ids.len()).column(columns::SRC_MAC, ids.clone()).column(columns::DST_MAC, reversed.clone());
        let routes = split(harness, &mut plugin).routes();
        for row in 0..ids.len() {
            prop_assert_eq!(&routes[row], &format!("t-{}-{}", ids[row], reversed[row]));
        }
    }
}
