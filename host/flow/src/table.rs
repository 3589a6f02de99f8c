//! A batch as text, for tests and for people.

use std::fmt::Write;

use crate::{ADDRESSES, Batch, Column, ColumnId};

/// The rows as text: a header line of names, then a line a row, columns separated by one blank.
///
/// `names` are columns or addresses; an unknown name is written as `?`. Absent addresses, texts and
/// lists are `-`.
#[must_use]
pub fn table(batch: &Batch, names: &[&str]) -> String {
    let mut text = names.join(" ");
    text.push('\n');
    for row in 0..batch.rows() {
        for (position, name) in names.iter().enumerate() {
            if position > 0 {
                text.push(' ');
            }
            cell(&mut text, batch, name, row);
        }
        text.push('\n');
    }
    text
}

fn cell(text: &mut String, batch: &Batch, name: &str, row: usize) {
    if name == "route" {
        text.push_str(batch.route(row).map_or("-", |route| route));
        return;
    }
    if let Some(address) = ADDRESSES.iter().find(|address| address.name == name) {
        match batch.addr(address.hi, row) {
            Some(addr) => write!(text, "{addr}").expect("writing to a string"),
            None => text.push('-'),
        }
        return;
    }
    match batch.schema().column(name) {
        Some(column) => value(text, batch, column, row),
        None => text.push('?'),
    }
}

fn value(text: &mut String, batch: &Batch, column: ColumnId, row: usize) {
    match batch.column(column) {
        Some(Column::Text(texts)) if !texts.get(row).is_empty() => text.push_str(texts.get(row)),
        Some(Column::Lists(lists)) if !lists.get(row).is_empty() => {
            let list: Vec<String> = lists.get(row).iter().map(u32::to_string).collect();
            text.push_str(&list.join(","));
        }
        Some(Column::Text(_) | Column::Lists(_)) => text.push('-'),
        _ => write!(text, "{}", batch.number(column, row)).expect("writing to a string"),
    }
}
