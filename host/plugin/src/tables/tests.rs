use std::net::IpAddr;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use ipnet::IpNet;
use proptest::prelude::*;
use sluice_flow::halves_of;

use super::mmdb_writer::{MmdbWriter, Value};
use super::*;

fn file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn check(table: &Table, addrs: &[&str], expected: Expect) {
    let found = addrs.iter().map(|addr| {
        let (hi, lo) = halves_of(addr.parse::<IpAddr>().unwrap());
        format!("{addr} {}\n", table.value(table.lookup(hi, lo)).unwrap_or("-"))
    });
    expected.assert_eq(&found.collect::<String>());
}

#[test]
fn the_longest_prefix_counts_in_both_families() {
    let (_dir, path) = file("10.0.0.0/8,a\n10.1.0.0/16,b\n10.1.2.3,c\n2001:db8::/32,d\n2001:db8:1::/48,e\n::/0,six\n");
    let table = Table::load(&TableSpec::prefix(path)).unwrap();
    check(
        &table,
        &["10.2.0.1", "10.1.2.2", "10.1.2.3", "11.0.0.0", "2001:db8::1", "2001:db8:1::1", "fe80::1", "::"],
        expect![[r#"
            10.2.0.1 a
            10.1.2.2 b
            10.1.2.3 c
            11.0.0.0 -
            2001:db8::1 d
            2001:db8:1::1 e
            fe80::1 six
            :: -
        "#]],
    );
    assert_eq!((table.codes(), table.prefixes()), (7, 6));
    assert_eq!(table.value(0), None);
    assert_eq!(table.value(7), None);
}

#[test]
fn an_address_has_what_the_line_of_its_longest_prefix_says_in_a_column() {
    let (_dir, path) = file("prefix,cid,site\n10.0.0.0/8,100,north\n10.1.0.0/16,101,\n10.1.2.0/24,,south\n");
    let of =
        |column: &str| Table::load(&TableSpec::Prefix { path: path.clone(), column: Some(column.to_owned()) }).unwrap();
    let addrs = ["10.2.0.1", "10.1.1.1", "10.1.2.3"];
    check(
        &of("cid"),
        &addrs,
        expect![[r#"
        10.2.0.1 100
        10.1.1.1 101
        10.1.2.3 -
    "#]],
    );
    check(
        &of("site"),
        &addrs,
        expect![[r#"
        10.2.0.1 north
        10.1.1.1 -
        10.1.2.3 south
    "#]],
    );
    assert_eq!((of("site").codes(), of("site").prefixes()), (3, 3));
}

#[test]
fn a_bad_line_is_named_with_its_file() {
    let (_dir, path) = file("10.0.0.0/8,a\n10.0.0.0/40,b\n");
    let error = Table::load(&TableSpec::prefix(path.clone())).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2: `10.0.0.0/40` is no prefix, e.g. `192.0.2.0/24`", path.display()));
    let (_dir, path) = file(b"10.0.0.0/8,a\n\xff");
    let error = Table::load(&TableSpec::prefix(path.clone())).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2: not UTF-8 text", path.display()));
}

#[test]
fn a_table_is_exchanged_when_its_file_changed_and_kept_when_it_is_bad() {
    let (_dir, path) = file("10.0.0.0/8,a\n");
    let tables = Tables::load([("t".to_owned(), TableSpec::prefix(path.clone()))]).unwrap();
    let before = tables.get("t").unwrap();
    assert!(!tables.reload("t").unwrap());
    std::fs::write(&path, "10.0.0.0/8,b\n").unwrap();
    assert!(tables.reload("t").unwrap());
    let after = tables.get("t").unwrap();
    assert_ne!(before.generation(), after.generation());
    check(
        &before,
        &["10.0.0.1"],
        expect![[r#"
        10.0.0.1 a
    "#]],
    );
    check(
        &after,
        &["10.0.0.1"],
        expect![[r#"
        10.0.0.1 b
    "#]],
    );
    std::fs::write(&path, "nonsense").unwrap();
    assert!(tables.reload("t").is_err());
    // Once: the same bad file is no news.
    assert!(!tables.reload("t").unwrap());
    assert_eq!(tables.get("t").unwrap().generation(), after.generation());
    assert!(matches!(tables.reload("x"), Err(TableError::Unknown(_))));
}

#[test]
fn joined_tables_are_joined_again_when_one_is_exchanged() {
    let (_first_dir, first) = file("10.0.0.0/8,a\n");
    let (_second_dir, second) = file("10.1.0.0/16,b\n2001:db8::/32,c\n");
    let (_ports_dir, ports) = file("80,http\n");
    let specs = [
        ("x", TableSpec::prefix(first.clone())),
        ("y", TableSpec::prefix(second)),
        ("ports", TableSpec::values(ports)),
    ];
    let tables = Tables::load(specs.map(|(name, spec)| (name.to_owned(), spec))).unwrap();
    // One of prefixes is none to be joined.
    assert!(tables.join(["x", "ports", "x", "unknown"]).is_none());
    let joined = tables.join(["y", "x", "ports"]).unwrap();
    assert!(Arc::ptr_eq(&joined, &tables.join(["x", "y"]).unwrap()));
    let code = |name: &str| {
        let (table, mut regions) = (tables.get(name).unwrap(), Vec::new());
        let joint = joined.current().unwrap();
        joint.regions_of(&[0], &[0xffff_0a01_0203], &mut regions);
        let mut codes = Vec::new();
        joint.codes_of(&table, &regions, &mut codes);
        assert!(joint.has(&table));
        table.value(codes[0]).unwrap_or("-").to_owned()
    };
    assert_eq!((code("x"), code("y")), ("a".to_owned(), "b".to_owned()));
    let before = joined.current().unwrap();
    std::fs::write(&first, "10.1.2.0/24,d\n").unwrap();
    assert!(tables.reload("x").unwrap());
    assert!(!before.has(&tables.get("x").unwrap()));
    assert_eq!((code("x"), code("y")), ("d".to_owned(), "b".to_owned()));
    // A configuration that has the tables in common has what is joined as well, and nobody keeps what nobody needs.
    let next = tables.next(["x", "y"].map(|name| (name.to_owned(), tables.spec(name).unwrap().clone()))).unwrap();
    assert!(Arc::ptr_eq(&joined, &next.join(["x", "y"]).unwrap()));
    let kept = Arc::downgrade(&joined);
    drop(joined);
    assert!(kept.upgrade().is_none());
}

#[test]
fn a_table_of_values_finds_what_is_there_and_is_exchanged_like_any() {
    let (_dir, path) = file("192.0.2.1,3,ge-0/0/3\n2001:db8::1,3,ge-0/0/4\n");
    let tables = Tables::load([("t".to_owned(), TableSpec::values(path.clone()))]).unwrap();
    let before = tables.get("t").unwrap();
    assert_eq!((before.codes(), before.prefixes(), before.keys()), (3, 0, 2));
    let words = |table: &Table| {
        let mut codes = Vec::new();
        let (hi, lo): (Vec<u64>, Vec<u64>) = ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::3"]
            .map(|a| halves_of(a.parse().unwrap()))
            .into_iter()
            .unzip();
        table.lookup_addressed(&hi, &lo, &[3, 4, 3, 3], &mut codes);
        // The same for IPv4 in two lists.
        table.lookup_all(&lo, &[3, 4, 3, 3], &mut codes);
        codes.iter().map(|code| table.value(*code).unwrap_or("-").to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words(&before), "ge-0/0/3 - ge-0/0/4 - ge-0/0/3 - - -");
    std::fs::write(&path, "192.0.2.1,3,a\n192.0.2.1,4,b\n").unwrap();
    assert!(tables.reload("t").unwrap());
    assert_eq!(words(&tables.get("t").unwrap()), "a b - - a b - -");
    std::fs::write(&path, "192.0.2.1,3,a\n192.0.2.1,3,b\n").unwrap();
    let error = tables.reload("t").unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2: line 1 has the key `192.0.2.1,3` already", path.display()));
    assert_eq!(words(&tables.get("t").unwrap()), "a b - - a b - -");
    assert_eq!(words(&before), "ge-0/0/3 - ge-0/0/4 - ge-0/0/3 - - -");
}

#[test]
fn a_hundred_thousand_keys_are_looked_up_by_column() {
    use std::fmt::Write;
    let mut text = String::new();
    for number in 0..100_000_u32 {
        writeln!(text, "{},{}", number * 3, number % 5000).unwrap();
    }
    let (_dir, path) = file(text);
    let table = Table::load(&TableSpec::values(path)).unwrap();
    assert_eq!((table.keys(), table.codes()), (100_000, 5001));
    let numbers: Vec<u32> = (0..310_000).collect();
    let mut codes = Vec::new();
    table.lookup_numbers(&numbers, &mut codes);
    for (number, code) in numbers.into_iter().zip(codes) {
        let expected = (number % 3 == 0 && number < 300_000).then(|| (number / 3 % 5000).to_string());
        assert_eq!(table.value(code), expected.as_deref());
    }
}

#[test]
fn a_hundred_thousand_prefixes_are_looked_up_by_column() {
    use std::fmt::Write;
    let mut text = String::new();
    for number in 0..100_000_u32 {
        let addr = std::net::Ipv4Addr::from_bits(0x0a00_0000 | number << 4);
        writeln!(text, "{addr}/28,{}", number % 5000).unwrap();
    }
    let (_dir, path) = file(text);
    let table = Table::load(&TableSpec::prefix(path)).unwrap();
    let lo: Vec<u64> = (0..4096_u64).map(|row| 0xffff_0a00_0000 | (row * 24 * 16)).collect();
    let mut codes = Vec::new();
    table.lookup_all(&vec![0; lo.len()], &lo, &mut codes);
    let words: Vec<_> = codes.iter().map(|code| table.value(*code).unwrap()).collect();
    let expected: Vec<_> = (0..4096).map(|row| (row * 24 % 5000).to_string()).collect();
    assert_eq!(words, expected);
    assert_eq!(table.codes(), 5001);
}

proptest! {
    #[test]
    fn the_tree_and_another_trie_agree(
        prefixes in prop::collection::vec((any::<[u8; 16]>(), 0..=128u8), 1..50),
        addrs in prop::collection::vec(any::<[u8; 16]>(), 1..50),
    ) {
        // Few values a byte, so that prefixes nest and addresses hit them.
        let near = |bytes: [u8; 16]| u128::from_be_bytes(bytes.map(|byte| byte & 0x83));
        let mut trie = iptrie::Ipv6RTrieMap::with_root(0);
        let mut rows = Vec::new();
        for ((net, len), code) in prefixes.into_iter().zip(1..) {
            let prefix = iptrie::Ipv6Prefix::new(near(net).into(), len).unwrap();
            trie.insert(prefix, code);
            rows.push((near(net), len, code));
        }
        let tree = super::tree::Tree::new(&super::tree::Runs::of_prefixes(rows));
        let trie = trie.compress();
        for addr in addrs {
            let addr = near(addr);
            prop_assert_eq!(tree.lookup(addr), *trie.lookup(&std::net::Ipv6Addr::from_bits(addr)).1);
        }
    }

    #[test]
    fn a_column_is_looked_up_as_its_addresses_are(
        prefixes in prop::collection::vec((any::<[u8; 16]>(), 0..=128u8, any::<bool>()), 0..50),
        addrs in prop::collection::vec((any::<[u8; 16]>(), 0..3u8), 0..700),
    ) {
        let near = |bytes: [u8; 16]| u128::from_be_bytes(bytes.map(|byte| byte & 0x83));
        let mut rows = Rows::default();
        for (net, len, is_v4) in prefixes {
            let code = rows.code(&len.to_string());
            let v4 = || ipnet::Ipv4Net::new((near(net) as u32).into(), len / 4).map(IpNet::V4);
            let v6 = || ipnet::Ipv6Net::new(near(net).into(), len).map(IpNet::V6);
            rows.push(if is_v4 { v4() } else { v6() }.unwrap(), code);
        }
        let table = Table::of(rows);
        let lo = |(addr, family): &([u8; 16], u8)| match family {
            0 => (0, 0xffff_0000_0000 | near(*addr) as u64 & 0xffff_ffff),
            1 => ((near(*addr) >> 64) as u64, near(*addr) as u64),
            _ => (0, 0),
        };
        let (hi, lo): (Vec<u64>, Vec<u64>) = addrs.iter().map(lo).unzip();
        let mut codes = vec![7];
        table.lookup_all(&hi, &lo, &mut codes);
        let each: Vec<u32> = hi.iter().zip(&lo).map(|(hi, lo)| table.lookup(*hi, *lo)).collect();
        prop_assert_eq!(&codes[1..], each);
    }

    #[test]
    fn joined_tables_find_what_each_finds_alone(
        tables in prop::collection::vec(
            prop::collection::vec((any::<[u8; 16]>(), 0..=128u8, any::<bool>(), 1..6u32), 0..40),
            2..5,
        ),
        addrs in prop::collection::vec((any::<[u8; 16]>(), 0..3u8), 0..300),
    ) {
        let near = |bytes: [u8; 16]| u128::from_be_bytes(bytes.map(|byte| byte & 0x83));
        let table = |prefixes: Vec<([u8; 16], u8, bool, u32)>| {
            let mut rows = Rows::default();
            for (net, len, is_v4, value) in prefixes {
                let code = rows.code(&value.to_string());
                let v4 = || ipnet::Ipv4Net::new((near(net) as u32).into(), len / 4).map(IpNet::V4);
                let v6 = || ipnet::Ipv6Net::new(near(net).into(), len).map(IpNet::V6);
                rows.push(if is_v4 { v4() } else { v6() }.unwrap(), code);
            }
            Arc::new(Table::of(rows))
        };
        let tables: Vec<_> = tables.into_iter().map(table).collect();
        let joint = Joint::new(&tables).unwrap();
        let halves = |(addr, family): &([u8; 16], u8)| match family {
            0 => (0, 0xffff_0000_0000 | near(*addr) as u64 & 0xffff_ffff),
            1 => ((near(*addr) >> 64) as u64, near(*addr) as u64),
            _ => (0, 0),
        };
        let (hi, lo): (Vec<u64>, Vec<u64>) = addrs.iter().map(halves).unzip();
        let mut regions = Vec::new();
        joint.regions_of(&hi, &lo, &mut regions);
        for table in &tables {
            let mut codes = Vec::new();
            joint.codes_of(table, &regions, &mut codes);
            let each: Vec<u32> = hi.iter().zip(&lo).map(|(hi, lo)| table.lookup(*hi, *lo)).collect();
            prop_assert_eq!(codes, each);
        }
        prop_assert!(tables.iter().all(|table| joint.has(table)) && !joint.has(&Table::of(Rows::default())));
    }

    #[test]
    fn any_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[0-9a-f.:/,\"# \n]{0,80}") {
        let path = PathBuf::from("t");
        drop(Table::parse(&TableSpec::prefix(path.clone()), &bytes));
        drop(Table::parse(&TableSpec::prefix(path.clone()), text.as_bytes()));
        drop(Table::parse(&TableSpec::values(path.clone()), &bytes));
        drop(Table::parse(&TableSpec::values(path.clone()), text.as_bytes()));
        for column in ["2", "a"].map(|column| Some(column.to_owned())) {
            drop(Table::parse(&TableSpec::Prefix { path: path.clone(), column: column.clone() }, text.as_bytes()));
            drop(Table::parse(&TableSpec::Values { path: path.clone(), column, key_columns: 2 }, text.as_bytes()));
        }
        let mut mmdb = country().finish();
        drop(Table::parse(&TableSpec::Mmdb { path: path.clone(), field: "a.b".into() }, &bytes));
        // Damage somewhere in a good file.
        for (at, byte) in bytes.chunks_exact(3).map(|chunk| (usize::from(chunk[0]) << 8 | usize::from(chunk[1]), chunk[2])) {
            let len = mmdb.len();
            mmdb[at % len] = byte;
        }
        drop(Table::parse(&TableSpec::Mmdb { path, field: "country.iso_code".into() }, &mmdb));
    }
}

#[test]
fn an_mmdb_tree_that_points_back_is_broken() {
    let mut bytes = country().finish();
    // The left side of the second node is the root.
    bytes[6..9].copy_from_slice(&[0, 0, 0]);
    let spec = TableSpec::Mmdb { path: "t".into(), field: "country.iso_code".into() };
    assert_eq!(Table::parse(&spec, &bytes).unwrap_err().to_string(), "t: the search tree is broken");
}

fn country() -> MmdbWriter {
    let record = |code: &str| Value::map([("country", Value::map([("iso_code", Value::text(code))]))]);
    let mut writer = MmdbWriter::new("Test-Country");
    writer.insert("192.0.2.0/24", &record("DE"));
    writer.insert("198.51.100.0/25", &record("FR"));
    writer.insert("2001:db8::/32", &record("DE"));
    writer.insert("203.0.113.0/24", &Value::map([("country", Value::map([]))]));
    writer
}

#[test]
fn an_mmdb_file_is_looked_up_like_any_table() {
    let (_dir, path) = file(country().finish());
    let table = Table::load(&TableSpec::Mmdb { path, field: "country.iso_code".into() }).unwrap();
    check(
        &table,
        &["192.0.2.255", "198.51.100.127", "198.51.100.128", "203.0.113.1", "2001:db8::1", "2001:db9::1"],
        expect![[r#"
            192.0.2.255 DE
            198.51.100.127 FR
            198.51.100.128 -
            203.0.113.1 -
            2001:db8::1 DE
            2001:db9::1 -
        "#]],
    );
    assert_eq!(table.codes(), 3);
}

#[test]
fn numbers_in_an_mmdb_file_are_values_too() {
    let mut writer = MmdbWriter::new("Test-ASN");
    writer.insert("192.0.2.0/24", &Value::map([("autonomous_system_number", Value::Number(64500))]));
    let (_dir, path) = file(writer.finish());
    let table = Table::load(&TableSpec::Mmdb { path: path.clone(), field: "autonomous_system_number".into() }).unwrap();
    check(
        &table,
        &["192.0.2.1"],
        expect![[r#"
        192.0.2.1 64500
    "#]],
    );
    let error = Table::load(&TableSpec::Mmdb { path: path.clone(), field: "asn".into() }).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: no network of this Test-ASN database has `asn`", path.display()));
}
