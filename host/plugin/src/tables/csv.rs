//! Prefix tables as text: `prefix,value` a line, or `value,v4 prefixes,v6 prefixes`; and what all text tables share.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{MAX_PREFIXES, MAX_VALUE_BYTES, Rows};

/// What is wrong in one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// Reads a prefix table.
///
/// A line has two fields, `prefix,value`, or three, `value,prefixes,prefixes`, where several prefixes
/// in one field are separated by commas (the field is then quoted), semicolons or blanks, as
/// in the files of bwNetFlow (`"cid","v4","v6"`). Fields may be quoted; `""` in quotes is a quote. Empty
/// lines and lines that begin with `#` mean nothing; so does a first line of names. An address
/// without a length is a prefix of full length; bits beyond the length are ignored.
///
/// With a `column` a line has a prefix and any number of fields, of which that one is the value. Where it is empty, nothing is
/// found, not even under a shorter prefix: an address has what its own line says.
///
/// # Errors
/// The first bad line: another number of fields, something that is no prefix, a prefix that an
/// earlier line gives another value, more than [`MAX_PREFIXES`]; or a first line without the `column`.
pub(crate) fn read(text: &str, column: Option<&str>) -> Result<Rows, BadLine> {
    let mut rows = Rows::default();
    let mut seen: HashMap<IpNet, (u32, usize)> = HashMap::new();
    let mut is_first = true;
    let mut picked = column.map(|column| Picked::new(column, 1));
    for (line, number) in lines(text) {
        let bad = |problem: String| BadLine { line: number, problem };
        let fields = fields(line).ok_or_else(|| bad("a quote is not closed".into()))?;
        let fields: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let pick = picked.as_mut().map(|picked| picked.pick(&fields)).transpose().map_err(bad)?;
        let (value, prefixes): (&str, Vec<&str>) = match (pick, &fields[..]) {
            (Some(Pick::Names), _) => {
                is_first = false;
                continue;
            }
            (Some(Pick::Value(value)), fields) => (value, fields.iter().take(1).copied().collect()),
            (None, [prefix, value]) => (value, vec![prefix]),
            (None, [value, v4, v6]) => {
                let split = |list: &'static [char]| list;
                let separators = split(&[',', ';', ' ', '\t']);
                let each = v4.split(separators).chain(v6.split(separators));
                (value, each.filter(|prefix| !prefix.is_empty()).collect())
            }
            _ => {
                return Err(bad(format!(
                    "{} fields where `prefix,value` has 2 and `value,v4,v6` has 3; `column` picks a value of several",
                    fields.len()
                )));
            }
        };
        let is_header = std::mem::take(&mut is_first)
            && !prefixes.is_empty()
            && prefixes.iter().all(|prefix| !prefix.contains(['.', ':', '/']));
        if is_header {
            continue;
        }
        let code = if pick.is_some() && value.is_empty() { 0 } else { rows.code(self::value(value).map_err(bad)?) };
        for text in prefixes {
            let prefix = prefix(text).ok_or_else(|| bad(format!("`{text}` is no prefix, e.g. `192.0.2.0/24`")))?;
            match seen.insert(prefix, (code, number)) {
                Some((earlier, at)) if earlier != code => {
                    let other = rows.value(earlier);
                    return Err(bad(format!("{prefix} is `{value}` here and `{other}` in line {at}")));
                }
                Some(_) => {}
                None => rows.push(prefix, code),
            }
            if seen.len() > MAX_PREFIXES {
                return Err(bad(format!("more than {MAX_PREFIXES} prefixes")));
            }
        }
    }
    Ok(rows)
}

/// The lines that say something, with their numbers from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).zip(1..);
    lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
}

/// Which column of several has the values.
pub(super) struct Picked<'a> {
    column: &'a str,
    /// Columns in front that make the key.
    keys: usize,
    /// Where it is, and how many columns there are: known from the first line on.
    found: Option<(usize, usize)>,
}

/// What a line has in the column.
#[derive(Clone, Copy)]
pub(super) enum Pick<'a> {
    /// It is the line of names.
    Names,
    Value(&'a str),
}

impl<'a> Picked<'a> {
    /// The column of this name in the first line; one of digits is a number, from 1.
    pub(super) fn new(column: &'a str, keys: usize) -> Picked<'a> {
        Picked { column, keys, found: None }
    }

    /// What is in the column of the next line.
    pub(super) fn pick<'f>(&mut self, fields: &[&'f str]) -> Result<Pick<'f>, String> {
        let Some((at, count)) = self.found else {
            let number = self.column.parse::<usize>().ok();
            let at = match number {
                Some(number) => number.checked_sub(1).filter(|at| *at < fields.len()),
                None => fields.iter().position(|name| *name == self.column),
            };
            let column = self.column;
            let at = at.ok_or_else(|| {
                format!("there is no column `{column}` in the first line, which has `{}`", fields.join("`, `"))
            })?;
            if at < self.keys {
                return Err(format!("the column `{column}` is of the key, which comes first"));
            }
            self.found = Some((at, fields.len()));
            return if number.is_none() { Ok(Pick::Names) } else { self.pick(fields) };
        };
        if fields.len() != count {
            return Err(format!("{} fields where the first line has {count}", fields.len()));
        }
        Ok(Pick::Value(fields.get(at).copied().unwrap_or_default()))
    }
}

/// The value, if there is one and it is no longer than it may be.
pub(super) fn value(value: &str) -> Result<&str, String> {
    if value.is_empty() {
        return Err("the value is empty".to_owned());
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("the value has {} bytes, {MAX_VALUE_BYTES} are allowed", value.len()));
    }
    Ok(value)
}

fn prefix(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net.trunc(),
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    // ::ffff:192.0.2.0/120 is 192.0.2.0/24: an address has one form in a column.
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        return IpNet::new(IpAddr::V4(v4), v6.prefix_len() - 96).ok();
    }
    Some(net)
}

/// The fields of a line, without their quotes; `None` if a quote is not closed.
pub(super) fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            _ => field.push(c),
        }
    }
    (!is_quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        check_column(text, None, expected);
    }

    fn check_column(text: &str, column: Option<&str>, expected: Expect) {
        let found = match read(text, column) {
            Ok(rows) => {
                let each = rows.prefixes.iter().map(|(net, code)| format!("{net} {}\n", rows.value(*code)));
                each.collect()
            }
            Err(bad) => format!("line {}: {}\n", bad.line, bad.problem),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn prefix_and_value_a_line_with_comments_and_a_header() {
        check(
            "# customers\nprefix,cid\n192.0.2.0/24,100\n\n2001:db8::/32, 200 \n198.51.100.7,\"a, \"\"b\"\"\"\n",
            expect![[r#"
                192.0.2.0/24 100
                2001:db8::/32 200
                198.51.100.7/32 a, "b"
            "#]],
        );
    }

    #[test]
    fn value_and_cells_of_prefixes() {
        check(
            "\"cid\",\"v4\",\"v6\"\n\"100\",\"10.0.0.0/8,192.168.1.0/16\",\"2001:db8::/32\"\n\"200\",\"\",\"fd00::/8 fe80::/10\"\n",
            expect![[r#"
                10.0.0.0/8 100
                192.168.0.0/16 100
                2001:db8::/32 100
                fd00::/8 200
                fe80::/10 200
            "#]],
        );
    }

    const SITES: &str =
        "prefix,cid,site,vlan\n10.0.0.0/8,100,north,7\n10.1.0.0/16,100,,8\n2001:db8::/32,200,\"a, b\",\n";

    #[test]
    fn one_column_of_several_is_named_in_the_first_line_or_has_a_number() {
        for column in ["site", "3"] {
            check_column(
                SITES,
                Some(column),
                expect![[r#"
                    10.0.0.0/8 north
                    10.1.0.0/16 
                    2001:db8::/32 a, b
                "#]],
            );
        }
        // Without a line of names.
        check_column(
            "10.0.0.0/8,100,north\n",
            Some("2"),
            expect![[r#"
            10.0.0.0/8 100
        "#]],
        );
        check_column(
            SITES,
            Some("rack"),
            expect![[r#"
            line 1: there is no column `rack` in the first line, which has `prefix`, `cid`, `site`, `vlan`
        "#]],
        );
        check_column(
            SITES,
            Some("prefix"),
            expect![[r#"
            line 1: the column `prefix` is of the key, which comes first
        "#]],
        );
        check_column(
            SITES,
            Some("5"),
            expect![[r#"
            line 1: there is no column `5` in the first line, which has `prefix`, `cid`, `site`, `vlan`
        "#]],
        );
        check_column(
            SITES,
            Some("0"),
            expect![[r#"
            line 1: there is no column `0` in the first line, which has `prefix`, `cid`, `site`, `vlan`
        "#]],
        );
        check_column(
            "prefix,site\n10.0.0.0/8,a, b\n",
            Some("site"),
            expect![[r#"
            line 2: 3 fields where the first line has 2
        "#]],
        );
        check_column(
            "prefix,site\n10.0.0.0/8,a\n10.0.0.0/8,\n",
            Some("site"),
            expect![[r#"
            line 3: 10.0.0.0/8 is `` here and `a` in line 2
        "#]],
        );
        check_column(
            "prefix,site\nnorth,10.0.0.0/8\n",
            Some("site"),
            expect![[r#"
            line 2: `north` is no prefix, e.g. `192.0.2.0/24`
        "#]],
        );
    }

    #[test]
    fn a_mapped_prefix_is_an_ipv4_prefix() {
        check(
            "::ffff:192.0.2.0/120,1\n",
            expect![[r#"
                192.0.2.0/24 1
            "#]],
        );
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        check(
            "10.0.0/8,1\n",
            expect![[r#"
                line 1: `10.0.0/8` is no prefix, e.g. `192.0.2.0/24`
            "#]],
        );
        check(
            "prefix,cid\n10.0.0.0/8\n",
            expect![[r#"
                line 2: 1 fields where `prefix,value` has 2 and `value,v4,v6` has 3; `column` picks a value of several
            "#]],
        );
        check(
            "10.0.0.0/8,1\n10.0.0.0/8,2\n",
            expect![[r#"
                line 2: 10.0.0.0/8 is `2` here and `1` in line 1
            "#]],
        );
        check(
            "10.0.0.0/33,1\n",
            expect![[r#"
                line 1: `10.0.0.0/33` is no prefix, e.g. `192.0.2.0/24`
            "#]],
        );
        check(
            "10.0.0.0/8,\"1\n",
            expect![[r#"
                line 1: a quote is not closed
            "#]],
        );
        check(
            "10.0.0.0/8,\n",
            expect![[r#"
                line 1: the value is empty
            "#]],
        );
    }
}
