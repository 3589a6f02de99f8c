//! The page of the reference is what the table says.

use std::fmt::Write;

use super::super::table::{Form, MILLI, SECOND, TABLE};
use super::*;

/// The table in Markdown.
fn markdown() -> String {
    let mut page = "| column | form | goflow2 | flowpipeline | bwnetflow |\n|---|---|---|---|---|\n".to_owned();
    for row in TABLE {
        let name = FIELDS.iter().find(|field| field.number == row.column).expect("the column exists").name;
        let form = match row.form {
            Form::Number(Width::U64) => "uint64",
            Form::Number(_) => "uint32",
            Form::MinusOne => "uint32, the column minus one",
            Form::Divided(MILLI) => "uint64, milliseconds",
            Form::Divided(SECOND) => "uint64, seconds",
            Form::Divided(_) => unreachable!("times are in milliseconds or seconds"),
            Form::Address => "bytes, 4 or 16",
            Form::Text => "string",
            Form::List => "repeated uint32",
        };
        let numbers = row.numbers.map(|number| if number == 0 { "-".to_owned() } else { number.to_string() });
        let name = name.strip_suffix("_hi").unwrap_or(name);
        writeln!(page, "| `{name}` | {form} | {} |", numbers.join(" | ")).unwrap();
    }
    page
}

#[test]
fn the_reference_has_the_table() {
    let page = include_str!("../../../../../docs/reference/dialects.md");
    let lines = page.lines().skip_while(|line| !line.starts_with("| column |"));
    let table: String = lines.take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    assert_eq!(table, markdown(), "docs/reference/dialects.md: replace its table by the one on the right");
}
