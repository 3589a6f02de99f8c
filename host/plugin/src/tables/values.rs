//! Tables of values as text: `key,value` a line, or `key,number,value`.

use std::collections::HashSet;
use std::net::IpAddr;

use sluice_flow::halves_of;

use super::csv::{self, BadLine, Pick, Picked};
use super::exact::{Exact, Key, KeyKind};
use super::{MAX_KEYS, Rows};

/// Reads a table of values.
///
/// A line has two fields, `key,value`, or three, `key,number,value`. A key is a number in decimal or `0x` and hexadecimal digits, an
/// AS number with its `AS`, or an address. Fields may be quoted; `""` in quotes is a quote. Empty lines and lines that begin
/// with `#` mean nothing; so does a first line of names (with neither digits nor colons before the value).
///
/// With a `column` and the number of columns that make the key, a line has any number of fields, of which that one is the value;
/// where it is empty, the key has none.
///
/// # Errors
/// The first bad line: another number of fields or kind of key than the lines before, something that is no key, a key that an
/// earlier line has, more than [`MAX_KEYS`]; or a first line without the `column`.
pub(crate) fn read(text: &str, column: Option<(&str, usize)>) -> Result<Rows, BadLine> {
    let mut rows = Rows::default();
    let mut exact = Exact::default();
    let mut first: Option<(KeyKind, usize)> = None;
    let mut is_first = true;
    let mut picked = column.map(|(column, keys)| Picked::new(column, keys));
    // Keys without a value, which are there once too.
    let mut empty: HashSet<Key> = HashSet::new();
    for (line, number) in csv::lines(text) {
        let bad = |problem: String| BadLine { line: number, problem };
        let fields = csv::fields(line).ok_or_else(|| bad("a quote is not closed".into()))?;
        let fields: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let pick = picked.as_mut().map(|picked| picked.pick(&fields)).transpose().map_err(bad)?;
        let (keys, value) = match (pick, &fields[..]) {
            (Some(Pick::Names), _) => {
                is_first = false;
                continue;
            }
            (Some(Pick::Value(value)), fields) => (key_fields(fields, column), value),
            (None, [keys @ .., value]) if matches!(keys.len(), 1 | 2) => (keys, *value),
            _ => {
                return Err(bad(format!(
                    "{} fields where `key,value` has 2 and `key,number,value` has 3; a value with a comma needs quotes, \
                     and `column` picks one of several",
                    fields.len()
                )));
            }
        };
        let is_name = |key: &&str| !key.is_empty() && !key.contains(|c: char| c.is_ascii_digit() || c == ':');
        if std::mem::take(&mut is_first) && keys.iter().all(is_name) {
            continue;
        }
        let (kind, key) = key(keys).map_err(bad)?;
        // Where a line is of another kind, somebody forgot something.
        match first {
            None => first = Some((kind, number)),
            Some((other, at)) if other != kind => {
                return Err(bad(format!("the key is {} here and {} in line {at}", kind.name(), other.name())));
            }
            Some(_) => {}
        }
        let is_known = if pick.is_some() && value.is_empty() {
            exact.lookup(key) != 0 || !empty.insert(key)
        } else {
            exact.insert(key, rows.code(csv::value(value).map_err(bad)?)).is_err() || empty.contains(&key)
        };
        if is_known {
            let at = line_of(text, column, key).unwrap_or(number);
            return Err(bad(format!("line {at} has the key `{}` already", keys.join(","))));
        }
        rows.keys += 1;
        if rows.keys > MAX_KEYS {
            return Err(bad(format!("more than {MAX_KEYS} keys")));
        }
    }
    exact.finish();
    exact.kind = first.map(|(kind, _)| kind);
    rows.exact = Some(exact);
    Ok(rows)
}

/// What is the key of a line.
fn key_fields<'a, 'f>(fields: &'a [&'f str], column: Option<(&str, usize)>) -> &'a [&'f str] {
    let keys = column.map_or(fields.len().saturating_sub(1), |(_, keys)| keys);
    fields.get(..keys).unwrap_or(fields)
}

fn key(fields: &[&str]) -> Result<(KeyKind, Key), String> {
    let (first, second) = match fields {
        [first] => (first, None),
        [first, second, ..] => {
            let second = number(second).ok_or_else(|| {
                format!("`{second}` is no number, e.g. `443` or `0x1bb`; a value with a comma needs quotes")
            })?;
            (first, Some(second))
        }
        [] => return Err("no key".to_owned()),
    };
    if let Some(number) = number(first) {
        return Ok(match second {
            None => (KeyKind::Number, [0, 0, number]),
            Some(second) => (KeyKind::Numbers, [0, number, second]),
        });
    }
    let address: IpAddr =
        first.parse().map_err(|_| format!("`{first}` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`"))?;
    let (hi, lo) = halves_of(address);
    Ok(match second {
        None => (KeyKind::Address, [0, hi, lo]),
        Some(second) => (KeyKind::AddressAndNumber, [hi, lo, second]),
    })
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text.strip_prefix("AS").unwrap_or(text), 10),
    };
    // `from_str_radix` takes signs.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// The first line with a key: looked for when another has it too, so that lines need not be remembered.
fn line_of(text: &str, column: Option<(&str, usize)>, wanted: Key) -> Option<usize> {
    let is_it = |line: &str| {
        let fields = csv::fields(line)?;
        let fields: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let (_, key) = key(key_fields(&fields, column)).ok()?;
        Some(key == wanted)
    };
    csv::lines(text).find(|(line, _)| is_it(line) == Some(true)).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// What is found under `keys`, or what is wrong.
    fn check(text: &str, keys: &[Key], expected: Expect) {
        check_column(text, None, keys, expected);
    }

    fn check_column(text: &str, column: Option<(&str, usize)>, keys: &[Key], expected: Expect) {
        let found = match read(text, column) {
            Ok(rows) => {
                let exact = rows.exact.as_ref().unwrap();
                let each = keys.iter().map(|key| format!("{key:x?} {}\n", rows.value(exact.lookup(*key))));
                each.collect()
            }
            Err(bad) => format!("line {}: {}\n", bad.line, bad.problem),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn numbers_have_values() {
        check(
            "\u{feff}port,service\r\n# by hand\r\n80,http\r\n0x1bb,\"https, \"\"tls\"\"\"\r\n\r\nAS4200000000, Example \r\n0,none\r\n",
            &[[0, 0, 80], [0, 0, 443], [0, 0, 4_200_000_000], [0, 0, 0], [0, 0, 81], [0, 1, 80]],
            expect![[r#"
                [0, 0, 50] http
                [0, 0, 1bb] https, "tls"
                [0, 0, fa56ea00] Example
                [0, 0, 0] none
                [0, 0, 51] 
                [0, 1, 50] 
            "#]],
        );
    }

    #[test]
    fn addresses_have_values_and_an_ipv4_mapped_one_is_ipv4() {
        check(
            "192.0.2.1,a\n::ffff:192.0.2.2,b\n2001:db8::1,c\n",
            &[[0, 0, 0xffff_c000_0201], [0, 0, 0xffff_c000_0202], [0, 0x2001_0db8_0000_0000, 1]],
            expect![[r#"
                [0, 0, ffffc0000201] a
                [0, 0, ffffc0000202] b
                [0, 20010db800000000, 1] c
            "#]],
        );
    }

    #[test]
    fn two_numbers_and_an_address_with_a_number_have_values() {
        check(
            "exporter,in_if,name\n7,3,x\n7,4,y\n",
            &[[0, 7, 3], [0, 7, 4], [0, 0, 3]],
            expect![[r#"
            [0, 7, 3] x
            [0, 7, 4] y
            [0, 0, 3] 
        "#]],
        );
        check(
            "192.0.2.1,3,ge-0/0/3\n2001:db8::1,3,ge-0/0/4\n",
            &[[0, 0xffff_c000_0201, 3], [0x2001_0db8_0000_0000, 1, 3], [0, 1, 3]],
            expect![[r#"
                [0, ffffc0000201, 3] ge-0/0/3
                [20010db800000000, 1, 3] ge-0/0/4
                [0, 1, 3] 
            "#]],
        );
    }

    #[test]
    fn one_column_of_several_is_named_in_the_first_line_or_has_a_number() {
        let vlans = "vlan,site,rack\n7,north,12\n8,,13\n";
        for column in ["site", "2"] {
            check_column(
                vlans,
                Some((column, 1)),
                &[[0, 0, 7], [0, 0, 8]],
                expect![[r#"
                [0, 0, 7] north
                [0, 0, 8] 
            "#]],
            );
        }
        let interfaces = "exporter,index,name,speed\n192.0.2.1,3,ge-0/0/3,10000\n";
        let key = [0, 0xffff_c000_0201, 3];
        check_column(
            interfaces,
            Some(("name", 2)),
            &[key],
            expect![[r#"
            [0, ffffc0000201, 3] ge-0/0/3
        "#]],
        );
        check_column(
            interfaces,
            Some(("speed", 2)),
            &[key],
            expect![[r#"
            [0, ffffc0000201, 3] 10000
        "#]],
        );
        check_column(
            interfaces,
            Some(("index", 2)),
            &[key],
            expect![[r#"
            line 1: the column `index` is of the key, which comes first
        "#]],
        );
        for again in ["7,a,1\n7,b,1\n", "7,a,1\n7,,1\n", "7,,1\n7,b,1\n", "7,,1\n7,,1\n"] {
            check_column(
                again,
                Some(("2", 1)),
                &[],
                expect![[r#"
                line 2: line 1 has the key `7` already
            "#]],
            );
        }
        check_column(
            "7,a,1\n8,a\n",
            Some(("2", 1)),
            &[],
            expect![[r#"
            line 2: 2 fields where the first line has 3
        "#]],
        );
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        let wrong = |text: &str, expected: Expect| check(text, &[], expected);
        wrong(
            "80,http\n443,https\n80,http\n",
            expect![[r#"
            line 3: line 1 has the key `80` already
        "#]],
        );
        wrong(
            "0x50,http\n80,web\n",
            expect![[r#"
            line 2: line 1 has the key `80` already
        "#]],
        );
        wrong(
            "80,http\n192.0.2.1,x\n",
            expect![[r#"
            line 2: the key is an address here and a number in line 1
        "#]],
        );
        wrong(
            "80,http\n6,443,https\n",
            expect![[r#"
            line 2: the key is two numbers here and a number in line 1
        "#]],
        );
        wrong(
            "64500,Example, Inc.\n",
            expect![[r#"
            line 1: `Example` is no number, e.g. `443` or `0x1bb`; a value with a comma needs quotes
        "#]],
        );
        wrong(
            "64500,Example, Inc., Springfield\n",
            expect![[r#"
                line 1: 4 fields where `key,value` has 2 and `key,number,value` has 3; a value with a comma needs quotes, and `column` picks one of several
            "#]],
        );
        wrong(
            "64500\n",
            expect![[r#"
                line 1: 1 fields where `key,value` has 2 and `key,number,value` has 3; a value with a comma needs quotes, and `column` picks one of several
            "#]],
        );
        wrong(
            "key1,value\n",
            expect![[r#"
            line 1: `key1` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            "port,value\nprotocol,value\n",
            expect![[r#"
            line 2: `protocol` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            "-1,x\n",
            expect![[r#"
            line 1: `-1` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            "18446744073709551616,x\n",
            expect![[r#"
            line 1: `18446744073709551616` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            "0x,x\n",
            expect![[r#"
            line 1: `0x` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            ",x\n",
            expect![[r#"
            line 1: `` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            "10.0.0.0/8,x\n",
            expect![[r#"
            line 1: `10.0.0.0/8` is no key, e.g. `443`, `0x1bb`, `AS64500` or `192.0.2.1`
        "#]],
        );
        wrong(
            "80,\n",
            expect![[r#"
            line 1: the value is empty
        "#]],
        );
        wrong(
            "80,\"http\n",
            expect![[r#"
            line 1: a quote is not closed
        "#]],
        );
    }
}
