//! What the reducer does to batches, on the harness.

use std::net::IpAddr;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use sluice_plugin_reducer::Reducer;
use sluice_sdk::harness::{Harness, ToyKey};
use sluice_sdk::{Address, columns};

const SRC: [&str; 3] = ["192.0.2.129", "", "2001:db8:1:2:3:4:5:6"];

fn batch() -> Harness {
    Harness::new()
        .key("anon", ToyKey(7))
        .rows(3)
        .addrs(columns::SRC_ADDR, SRC)
        .addrs(columns::DST_ADDR, ["198.51.100.7", "198.51.100.7", "198.51.100.7"])
        .column(columns::BYTES, [1, 2, 3])
        .column(columns::SRC_MAC, [1, 2, 3])
        .texts(columns::NOTE, ["a", "", ""])
}

fn reduce(mut harness: Harness, config: &str) -> Harness {
    let mut plugin = Reducer::default();
    harness.init(&mut plugin, config).expect("the configuration is right");
    harness.run(&mut plugin).expect("everything is granted");
    harness
}

fn check_error(config: &str, message: Expect) {
    let error = Harness::new().key("anon", ToyKey(7)).init(&mut Reducer::default(), config);
    let error = error.expect_err("the configuration is wrong");
    message.assert_eq(&error);
}

/// `ADDRESS anon/preserved` of each row.
fn rows(harness: &Harness, address: Address) -> String {
    let (anon, preserved) = (harness.get(address.anon), harness.get(address.preserved));
    let rows = harness.get_addrs(address).into_iter().zip(anon.into_iter().zip(preserved));
    rows.map(|(addr, (anon, preserved))| format!("{addr} {anon}/{preserved}\n")).collect()
}

#[test]
fn truncation_masks_each_family_by_its_own_length() {
    let harness = reduce(batch(), r#"{"mode": "truncate", "mask_v4": 25, "mask_v6": 52}"#);
    expect![[r#"
        192.0.2.128 2/25
         0/0
        2001:db8:1:: 2/52
    "#]]
    .assert_eq(&rows(&harness, columns::SRC_ADDR));
    assert_eq!(harness.get_addrs(columns::DST_ADDR), ["198.51.100.0"; 3]);
}

#[test]
fn masks_of_no_and_of_all_bits_are_masks() {
    let harness = reduce(batch(), r#"{"mode": "truncate", "mask_v4": 0, "mask_v6": 128}"#);
    expect![[r#"
        0.0.0.0 2/0
         0/0
        2001:db8:1:2:3:4:5:6 2/128
    "#]]
    .assert_eq(&rows(&harness, columns::SRC_ADDR));
}

#[test]
fn an_address_of_which_every_bit_is_left_counts_as_written() {
    let hi = [0x2001_0db8_0001_0002, 0];
    let harness = Harness::new().rows(2).column(columns::SRC_ADDR.hi, hi);
    let harness = reduce(harness, r#"{"mode": "truncate", "mask_v4": 32, "mask_v6": 128}"#);
    expect![[r#"
        2001:db8:1:2:: 2/128
         0/0
    "#]]
    .assert_eq(&rows(&harness, columns::SRC_ADDR));
    assert_eq!(harness.changes(), ["src_addr_hi", "src_addr_lo", "src_addr_anon", "src_addr_preserved"]);
}

#[test]
fn every_address_column_is_anonymised_unless_fields_says_otherwise() {
    let mut harness = Harness::new().key("anon", ToyKey(7)).rows(1);
    for address in columns::ADDRESSES {
        harness = harness.addrs(*address, ["192.0.2.1"]);
    }
    let harness = reduce(harness, r#"{"mode": "crypto-pan", "key": "anon"}"#);
    let first = harness.get_addrs(columns::SRC_ADDR);
    assert_ne!(first, ["192.0.2.1"]);
    for address in columns::ADDRESSES {
        assert_eq!(harness.get_addrs(*address), first, "{}", address.name);
        assert_eq!(rows(&harness, *address), format!("{} 1/0\n", first[0]));
    }
    let harness = reduce(batch(), r#"{"mode": "hash", "key": "anon", "fields": ["src_addr"]}"#);
    assert_ne!(harness.get_addrs(columns::SRC_ADDR)[0], SRC[0]);
    assert_eq!(harness.get(columns::SRC_ADDR.anon), [4, 0, 4]);
    assert!(!harness.touched(columns::DST_ADDR.hi.id()));
}

#[test]
fn one_address_may_be_treated_otherwise() {
    let config = r#"{"mode": "truncate+crypto-pan", "key": "anon", "mask_v4": 16,
        "per_field": {"src_addr": {"mode": "none"}, "dst_addr": {"mode": "truncate", "mask_v4": 8}}}"#;
    let harness = reduce(batch().addrs(columns::NEXT_HOP, ["192.0.2.1", "192.0.9.9", ""]), config);
    assert!(!harness.touched(columns::SRC_ADDR.lo.id()));
    assert_eq!(rows(&harness, columns::DST_ADDR), "198.0.0.0 2/8\n".repeat(3));
    let hops = harness.get_addrs(columns::NEXT_HOP);
    // Truncated to one /16 first, so Crypto-PAn gives one address.
    assert_eq!(hops[0], hops[1]);
    assert_eq!(harness.get(columns::NEXT_HOP.anon), [3, 3, 0]);
    assert_eq!(harness.get(columns::NEXT_HOP.preserved), [16, 16, 0]);
}

#[test]
fn a_second_reducer_adds_to_the_record_of_the_first() {
    let again = |anon: [u8; 3], preserved: [u8; 3], config: &str| {
        let harness = batch().column(columns::SRC_ADDR.anon, anon).column(columns::SRC_ADDR.preserved, preserved);
        let harness = reduce(harness, config);
        harness
            .get(columns::SRC_ADDR.anon)
            .into_iter()
            .zip(harness.get(columns::SRC_ADDR.preserved))
            .collect::<Vec<_>>()
    };
    let truncate = r#"{"mode": "truncate"}"#;
    assert_eq!(again([1, 0, 2], [0, 0, 32], truncate), [(3, 24), (0, 0), (2, 32)]);
    assert_eq!(again([2, 0, 4], [16, 0, 0], truncate), [(2, 16), (0, 0), (4, 0)]);
    // Lengths without what they are the lengths of mean nothing.
    let lengths = batch().column(columns::SRC_ADDR.preserved, [8, 8, 8]);
    assert_eq!(reduce(lengths, truncate).get(columns::SRC_ADDR.preserved), [24, 0, 48]);
    let crypto_pan = r#"{"mode": "crypto-pan", "key": "anon"}"#;
    assert_eq!(again([2, 0, 3], [16, 0, 40], crypto_pan), [(3, 16), (0, 0), (3, 40)]);
}

#[test]
fn drop_clears_what_it_lists_and_keep_everything_else() {
    let harness = reduce(batch(), r#"{"drop": ["src_mac", "dst_addr"]}"#);
    let expected = ["dst_addr_hi", "dst_addr_lo", "src_mac", "dst_addr_anon", "dst_addr_preserved"];
    assert_eq!(harness.changes(), expected);
    let harness = reduce(batch(), r#"{"keep": ["src_addr", "bytes"]}"#);
    let kept: Vec<_> =
        columns::STANDARD.iter().filter(|field| harness.has(field.number)).map(|field| field.name).collect();
    assert_eq!(kept, ["src_addr_hi", "src_addr_lo", "bytes"]);
    assert_eq!(harness.get_addrs(columns::SRC_ADDR), SRC);
}

#[test]
fn what_is_kept_is_anonymised_and_what_is_dropped_is_not_even_read() {
    let config = r#"{"keep": ["src_addr", "bytes"], "mode": "truncate"}"#;
    let mut plugin = Reducer::default();
    let mut harness = batch();
    let manifest = harness.init(&mut plugin, config).unwrap();
    assert!(!manifest.reads.contains(&columns::DST_ADDR.hi.id()));
    harness.run(&mut plugin).unwrap();
    assert_eq!(harness.get_addrs(columns::SRC_ADDR)[0], "192.0.2.0");
    assert_eq!(harness.get(columns::SRC_ADDR.anon), [2, 0, 2]);
    assert_eq!(harness.get_addrs(columns::DST_ADDR), ["", "", ""]);
}

#[test]
fn own_columns_are_dropped_by_name() {
    let with_own = || {
        let mut harness = batch();
        let id = harness.add_column("score", sluice_sdk::Width::U8);
        harness.column(sluice_sdk::Column::<u8>::new(id), [1, 2, 3])
    };
    assert!(reduce(with_own(), r#"{"keep": ["bytes"]}"#).has(512));
    assert!(!reduce(with_own(), r#"{"keep": ["bytes"], "drop_own": ["score"]}"#).has(512));
    assert!(!reduce(with_own(), r#"{"drop": ["score"]}"#).has(512));
    assert!(reduce(with_own(), r#"{"keep": ["bytes", "score"]}"#).has(512));
}

#[test]
fn a_refused_call_is_fatal_and_leaves_the_batch_as_it_was() {
    for denied in [columns::DST_ADDR.hi.id(), columns::DST_ADDR.anon.id(), columns::SRC_MAC.id()] {
        let mut plugin = Reducer::default();
        let mut harness = batch().deny(denied);
        harness.init(&mut plugin, r#"{"drop": ["src_mac"], "mode": "hash", "key": "anon"}"#).unwrap();
        let failure = harness.run(&mut plugin).unwrap_err();
        assert!(failure.message().ends_with("the stage's grant does not cover it"), "{failure:?}");
        assert!(harness.changes().is_empty());
    }
}

#[test]
fn a_batch_without_rows_or_addresses_is_fine() {
    let config = r#"{"mode": "truncate+crypto-pan", "key": "anon", "drop": ["note"]}"#;
    reduce(Harness::new().key("anon", ToyKey(7)).rows(0), config);
    let harness = reduce(Harness::new().key("anon", ToyKey(7)).rows(2).column(columns::BYTES, [1, 2]), config);
    assert_eq!(harness.changes(), ["note"]);
}

#[test]
fn half_an_address_is_anonymised_too() {
    let harness = Harness::new().key("anon", ToyKey(7)).rows(1).column(columns::SRC_ADDR.hi, [0x2001_0db8_0001_0002]);
    let harness = reduce(harness, r#"{"mode": "truncate", "mask_v6": 32}"#);
    assert_eq!(harness.get_addrs(columns::SRC_ADDR), ["2001:db8::"]);
    let harness = Harness::new().key("anon", ToyKey(7)).rows(1).column(columns::SRC_ADDR.hi, [0x2001_0db8_0001_0002]);
    let harness = reduce(harness, r#"{"mode": "crypto-pan", "key": "anon"}"#);
    assert_ne!(harness.get_addrs(columns::SRC_ADDR), ["2001:db8:1:2::"]);
}

#[test]
fn a_wrong_configuration_says_what_would_be_right() {
    check_error("{}", expect!["nothing to do; set `keep`, `drop` or `mode`"]);
    check_error(
        r#"{"keep": ["bytes"], "drop": ["note"]}"#,
        expect!["`keep` and `drop` are two ways to say the same; use one"],
    );
    check_error(r#"{"drop": ["src_adr"]}"#, expect!["`drop`: there is no field `src_adr`; did you mean `src_addr`?"]);
    check_error(
        r#"{"drop": ["src_addr_hi"]}"#,
        expect!["`drop`: `src_addr_hi` is half of an address; name `src_addr`"],
    );
    check_error(
        r#"{"mode": "hash"}"#,
        expect![
            "`key` is missing: exporter_addr is anonymised with a key; name one of `[keys.NAME]`, or use mode \"truncate\""
        ],
    );
    check_error(r#"{"mode": "hash", "key": "anno"}"#, expect!["`key`: cannot open `anno`: there is no key `anno`"]);
    check_error(r#"{"mode": "truncate", "mask_v4": 33}"#, expect!["`mask_v4`: an IPv4 address has 32 bits, not 33"]);
    check_error(
        r#"{"mode": "truncate", "per_field": {"src_addr": {"mask_v6": 129}}}"#,
        expect!["`per_field.src_addr.mask_v6`: an IPv6 address has 128 bits, not 129"],
    );
    check_error(r#"{"mode": "truncate", "fields": ["bytes"]}"#, expect!["`fields`: there is no address `bytes`"]);
    check_error(
        r#"{"mode": "cryptopan"}"#,
        expect![
            "`mode`: unknown variant `cryptopan`, expected one of `none`, `crypto-pan`, `truncate`, `truncate+crypto-pan`, `hash`; did you mean `crypto-pan`?"
        ],
    );
    check_error(
        r#"{"modes": "hash"}"#,
        expect![
            "unknown field `modes`, expected one of `keep`, `drop`, `drop_own`, `mode`, `mask_v4`, `mask_v6`, `key`, `fields`, `per_field`; did you mean `mode`?"
        ],
    );
}

proptest! {
    #[test]
    fn truncation_leaves_the_leading_bits_and_nothing_else(
        bits in proptest::collection::vec(any::<u128>(), 1..20), v4 in any::<bool>(), mask_v4 in 0u8..=32, mask_v6 in 0u8..=128,
    ) {
        let bits: Vec<u128> = bits.into_iter().map(|bits| if v4 { 0xffff << 32 | bits & 0xffff_ffff } else { bits }).collect();
        let harness = Harness::new()
            .rows(bits.len())
            .column(columns::SRC_ADDR.hi, bits.iter().map(|bits| (bits >> 64) as u64).collect::<Vec<_>>())
            .column(columns::SRC_ADDR.lo, bits.iter().map(|bits| *bits as u64).collect::<Vec<_>>());
        let harness = reduce(harness, &format!(r#"{{"mode": "truncate", "mask_v4": {mask_v4}, "mask_v6": {mask_v6}}}"#));
        let (hi, lo) = (harness.get(columns::SRC_ADDR.hi), harness.get(columns::SRC_ADDR.lo));
        for (row, before) in bits.iter().enumerate() {
            let after = u128::from(hi[row]) << 64 | u128::from(lo[row]);
            let length = if *before >> 32 == 0xffff { 96 + u32::from(mask_v4) } else { mask_v6.into() };
            let kept = u128::MAX.checked_shl(128 - length).unwrap_or_default();
            prop_assert_eq!(after, before & kept);
        }
    }

    #[test]
    fn no_address_column_keeps_its_address(addr in 1u32..) {
        let text = IpAddr::from(addr.to_be_bytes()).to_string();
        let mut harness = Harness::new().key("anon", ToyKey(3)).rows(1);
        for address in columns::ADDRESSES {
            harness = harness.addrs(*address, [text.as_str()]);
        }
        let harness = reduce(harness, r#"{"mode": "hash", "key": "anon"}"#);
        for address in columns::ADDRESSES {
            prop_assert_eq!(harness.get(address.anon), [4]);
            prop_assert_ne!(harness.get_addrs(*address), [text.as_str()]);
        }
    }
}
