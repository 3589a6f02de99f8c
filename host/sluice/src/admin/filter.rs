//! Which rows of a tail are shown: conditions on fields, all of which must hold.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_flow::{ADDRESSES, Batch, ColumnId, Schema, Width};

use crate::config::did_you_mean;

/// Conditions that one filter may have.
const MOST_CONDITIONS: usize = 16;

/// Conditions on a row. What narrows the rows that a caller may see is one more condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    test: Test,
    /// Whether the test has to fail.
    is_not: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Number(ColumnId, u64),
    Text(ColumnId, String),
    /// The high half of the address, and what it has to lie in.
    Address(ColumnId, IpNet),
    Route(String),
}

impl Filter {
    /// Reads `FIELD=VALUE`, `FIELD!=VALUE`, several with commas between them. A field is a column, an address (`src_addr`),
    /// which takes an address or a prefix, or `route`.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub(crate) fn parse(text: &str, schema: &Schema) -> Result<Filter, String> {
        let conditions: Vec<&str> = text.split(',').collect();
        if conditions.len() > MOST_CONDITIONS {
            return Err(format!("{} conditions, there may be {MOST_CONDITIONS}", conditions.len()));
        }
        conditions
            .into_iter()
            .map(|condition| Condition::parse(condition, schema))
            .collect::<Result<_, _>>()
            .map(Filter)
    }

    /// The rows that are shown.
    pub(crate) fn rows(&self, batch: &Batch) -> Vec<usize> {
        (0..batch.rows()).filter(|row| self.0.iter().all(|condition| condition.holds(batch, *row))).collect()
    }
}

impl Condition {
    fn parse(text: &str, schema: &Schema) -> Result<Condition, String> {
        let Some((field, value)) = text.split_once('=') else {
            return Err(format!("`{text}` is no condition; write FIELD=VALUE or FIELD!=VALUE"));
        };
        let (field, is_not) = field.strip_suffix('!').map_or((field, false), |field| (field, true));
        let (field, value) = (field.trim(), value.trim());
        Ok(Condition { test: Test::parse(field, value, schema)?, is_not })
    }

    fn holds(&self, batch: &Batch, row: usize) -> bool {
        let is_so = match &self.test {
            Test::Number(column, number) => batch.number(*column, row) == *number,
            Test::Text(column, text) => batch.text(*column, row) == text,
            Test::Address(column, net) => batch.addr(*column, row).is_some_and(|addr| net.contains(&addr)),
            Test::Route(route) => batch.route(row).is_some_and(|of_row| **of_row == **route),
        };
        is_so != self.is_not
    }
}

impl Test {
    fn parse(field: &str, value: &str, schema: &Schema) -> Result<Test, String> {
        if field == "route" {
            return Ok(Test::Route(value.to_owned()));
        }
        if let Some(address) = ADDRESSES.iter().find(|address| address.name == field) {
            let net = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
            let net = net.map_err(|_| format!("`{field}={value}`: no address and no prefix, e.g. 192.0.2.0/24"))?;
            return Ok(Test::Address(address.hi, net));
        }
        let Some(column) = schema.column(field) else {
            let names = schema.names().chain(ADDRESSES.iter().map(|address| address.name)).chain(["route"]);
            return Err(format!("there is no field `{field}`{}", did_you_mean(field, names)));
        };
        match schema.width(column) {
            Some(Width::Text) => Ok(Test::Text(column, value.to_owned())),
            Some(Width::U8 | Width::U16 | Width::U32 | Width::U64) => {
                let number = value.parse().map_err(|_| format!("`{field}={value}`: no number, 0 or more"))?;
                Ok(Test::Number(column, number))
            }
            Some(Width::Lists) | None => Err(format!("`{field}` holds lists, which a condition cannot look into")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use sluice_flow::{BatchBuilder, ColumnSet, Pool, col, halves_of};

    use super::*;

    /// Two rows: 192.0.2.1 to port 443, and 2001:db8::1 to port 53 with a note.
    fn batch() -> Batch {
        let schema = Arc::new(Schema::standard());
        let mut builder = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
        for (addr, port, note) in [("192.0.2.1", 443, ""), ("2001:db8::1", 53, "dns")] {
            let (hi, lo) = halves_of(addr.parse().unwrap());
            builder.set_number(col::SRC_ADDR_HI, hi);
            builder.set_number(col::SRC_ADDR_LO, lo);
            builder.set_number(col::DST_PORT, port);
            if !note.is_empty() {
                builder.push_text(col::NOTE, 0, note);
            }
            builder.advance(1);
        }
        builder.finish(1, 0)
    }

    fn check(text: &str, expected: Expect) {
        let batch = batch();
        let found = Filter::parse(text, batch.schema()).map(|filter| filter.rows(&batch));
        expected.assert_eq(&format!("{found:?}"));
    }

    #[test]
    fn rows_pass_for_which_all_conditions_hold() {
        check("dst_port=443", expect!["Ok([0])"]);
        check("dst_port!=443", expect!["Ok([1])"]);
        check("src_addr=192.0.2.0/24", expect!["Ok([0])"]);
        check("src_addr=2001:db8::1", expect!["Ok([1])"]);
        check("src_addr=0.0.0.0/0, dst_port=53", expect!["Ok([])"]);
        check("note=dns,dst_port=53", expect!["Ok([1])"]);
        check("route=a", expect!["Ok([])"]);
        check("dst_addr=::/0", expect!["Ok([])"]);
    }

    #[test]
    fn what_is_no_condition_is_answered_with_the_way_out() {
        check("", expect![[r#"Err("`` is no condition; write FIELD=VALUE or FIELD!=VALUE")"#]]);
        check("dst_port", expect![[r#"Err("`dst_port` is no condition; write FIELD=VALUE or FIELD!=VALUE")"#]]);
        check("dst_prot=443", expect![[r#"Err("there is no field `dst_prot`; did you mean `dst_port`?")"#]]);
        check("dst_port=https", expect![[r#"Err("`dst_port=https`: no number, 0 or more")"#]]);
        check(
            "src_addr=192.0.2.0/33",
            expect![[r#"Err("`src_addr=192.0.2.0/33`: no address and no prefix, e.g. 192.0.2.0/24")"#]],
        );
        check("mpls_labels=1", expect![[r#"Err("`mpls_labels` holds lists, which a condition cannot look into")"#]]);
        check(&"dst_port=1,".repeat(16), expect![[r#"Err("17 conditions, there may be 16")"#]]);
    }
}
