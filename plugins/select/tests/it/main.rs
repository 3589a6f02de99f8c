//! What select does to batches, on the harness.

use expect_test::{Expect, expect};
use sluice_plugin_select::Select;
use sluice_sdk::columns;
use sluice_sdk::harness::Harness;

fn select(config: &str, mut harness: Harness) -> Vec<usize> {
    let mut plugin = Select::default();
    harness.init(&mut plugin, config).expect("the configuration is right");
    harness.run(&mut plugin).expect("everything is granted");
    harness.kept()
}

fn check_error(config: &str, message: Expect) {
    let error = Harness::new().init(&mut Select::default(), config);
    message.assert_eq(&error.expect_err("the configuration is wrong"));
}

#[test]
fn rows_of_the_customers_stay_whichever_column_names_them() {
    let harness = Harness::new()
        .rows(6)
        .column(columns::CUSTOMER_ID, [7, 0, 0, 0, 9, 8])
        .column(columns::SRC_CUSTOMER_ID, [0, 7, 9, 0, 9, 0])
        .column(columns::DST_CUSTOMER_ID, [0, 9, 8, 0, 9, 0]);
    assert_eq!(select(r#"{"customers": [7, 8]}"#, harness), [0, 1, 2, 5]);
    let absent = Harness::new().rows(2).column(columns::CUSTOMER_ID, [7, 1]);
    assert_eq!(select(r#"{"customers": [7]}"#, absent), [0], "columns that are absent hold nobody");
}

#[test]
fn rows_with_either_address_in_a_prefix_stay() {
    let rows = || {
        Harness::new()
            .rows(5)
            .addrs(columns::SRC_ADDR, ["192.0.2.1", "198.51.100.1", "192.0.3.1", "2001:db8:1::5", "::"])
            .addrs(columns::DST_ADDR, ["198.51.100.1", "192.0.2.255", "198.51.100.9", "2001:db8:9::1", "::"])
    };
    assert_eq!(select(r#"{"prefixes": ["192.0.2.0/24"]}"#, rows()), [0, 1]);
    assert_eq!(select(r#"{"prefixes": ["192.0.2.1/32", "2001:db8:1::/48"]}"#, rows()), [0, 3]);
    assert_eq!(select(r#"{"prefixes": ["0.0.0.0/0"]}"#, rows()), [0, 1, 2], "every IPv4 address and no absent one");
}

#[test]
fn a_row_stays_for_either_reason() {
    let harness = Harness::new()
        .rows(3)
        .column(columns::CUSTOMER_ID, [7, 0, 0])
        .addrs(columns::SRC_ADDR, ["198.51.100.1", "192.0.2.9", "198.51.100.2"]);
    assert_eq!(select(r#"{"customers": [7], "prefixes": ["192.0.2.0/24"]}"#, harness), [0, 1]);
}

#[test]
fn a_wrong_configuration_says_what_would_be_right() {
    check_error("{}", expect!["no row would stay; give `customers` or `prefixes`"]);
    check_error(
        r#"{"customers": [0]}"#,
        expect!["`customers`: 0 is no customer, but what rows of none have; leave it out"],
    );
    check_error(
        r#"{"prefixes": ["192.0.2.1/24"]}"#,
        expect![[r#"`prefixes`: `192.0.2.1/24` has bits beyond the first 24; write "192.0.2.0/24""#]],
    );
    check_error(
        r#"{"prefixes": ["2001:db8::1/32"]}"#,
        expect![[r#"`prefixes`: `2001:db8::1/32` has bits beyond the first 32; write "2001:db8::/32""#]],
    );
    for wrong in ["192.0.2.0", "192.0.2.0/33", "x/8", "::1/129", "1.2.3.4/255"] {
        let error = Harness::new().init(&mut Select::default(), &format!(r#"{{"prefixes": ["{wrong}"]}}"#));
        assert!(error.unwrap_err().contains("is no prefix such as"), "{wrong}");
    }
    check_error(
        r#"{"prefixes": ["::/0"]}"#,
        expect!["`prefixes`: `::/0` has `::` in it, which rows without an address have; take a longer one"],
    );
}
