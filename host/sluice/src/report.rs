//! The books, for people: what came in, went out and was dropped, by component.

use std::fmt::Write;

use sluice_pipeline::Balance;

/// A table of all components; the last column says why rows were dropped. A component whose rows do
/// not add up is marked.
pub(crate) fn balance_table(balances: &[Balance]) -> String {
    let width = balances.iter().map(|balance| balance.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<6} {:<width$} {:>12} {:>12} {:>12}  why\n", "", "name", "in", "out", "dropped");
    for balance in balances {
        let dropped: u64 = balance.dropped.values().sum();
        let why: Vec<String> = balance.dropped.iter().map(|(reason, rows)| format!("{rows} {reason}")).collect();
        let (kind, name) = (balance.kind.name(), &balance.name);
        let (rows_in, rows_out) = (balance.rows_in, balance.rows_out);
        write!(text, "{kind:<6} {name:<width$} {rows_in:>12} {rows_out:>12} {dropped:>12}  {}", why.join(", "))
            .expect("a string grows");
        if balance.open() != 0 {
            write!(text, " [{} unaccounted for]", balance.open()).expect("a string grows");
        }
        // Nothing after the last word, so that the table can be compared and pasted.
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;
    use sluice_pipeline::Kind;

    use super::*;

    #[test]
    fn the_table_shows_reasons_and_marks_what_does_not_add_up() {
        let balance = |kind, name: &str, rows_in, rows_out, reason| Balance {
            kind,
            name: name.into(),
            rows_in,
            rows_out,
            dropped: BTreeMap::from([(reason, 3)]),
        };
        let books =
            [balance(Kind::Source, "edge", 10, 7, "pipeline_full"), balance(Kind::Sink, "screen", 7, 2, "rejected")];
        expect![[r#"
                   name             in          out      dropped  why
            source edge             10            7            3  3 pipeline_full
            sink   screen            7            2            3  3 rejected [2 unaccounted for]
        "#]]
        .assert_eq(&balance_table(&books));
    }
}
