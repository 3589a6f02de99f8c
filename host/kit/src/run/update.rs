//! `--update`: writes into a file of cases what came out, where it was not what is written there.

use std::ops::Range;

use super::{Outcome, Seen, compare};
use crate::case::{AlertExpect, Case, Expect, Fixture};
use crate::rows::{Row, of_batch, to_toml, toml_text};

/// Rows that are written into an `expect` that was empty; of more, only how many there are.
const MAX_NEW_ROWS: usize = 20;

/// Longest list that is written on one line.
const MAX_LINE: usize = 100;

/// Something that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the case.
    pub case: String,
    /// Line of the file as it was, from 1.
    pub line: usize,
    /// What was written: keys of `expect`.
    pub keys: Vec<&'static str>,
    /// What should have been, and is written as tables under headers of their own, `[[case.expect.rows]]`, so that there
    /// is no one place for it.
    pub not_written: Vec<&'static str>,
}

/// A value that takes the place of another in the text.
struct Edit {
    keys: Vec<&'static str>,
    span: Range<usize>,
    text: String,
}

/// The text of a file with the expectations that were not met changed to what came out, and what was changed: `rows`,
/// `row_count`, `kept`, `routes`, `alerts`, `metrics`, `error` and `max_fuel`; an `expect` that is empty gets `rows` and
/// `metrics`. Everything
/// else stays as it is, to the byte. None if there is nothing to change.
#[must_use]
pub fn update(fixture: &Fixture, outcomes: &[Option<Outcome>]) -> Option<(String, Vec<Change>)> {
    let mut edits = Vec::new();
    let mut changes = Vec::new();
    for (case, outcome) in fixture.cases.iter().zip(outcomes) {
        let Some(outcome) = outcome else { continue };
        for (expect, seen) in expects(case, outcome) {
            let found = changed(fixture.doc.text(), case, outcome, expect, seen);
            if found.is_empty() {
                continue;
            }
            let is_in_place = |edit: &Edit| !fixture.doc.text()[edit.span.clone()].starts_with("[[");
            let (written, not_written): (Vec<Edit>, Vec<Edit>) = found.into_iter().partition(is_in_place);
            let keys = |edits: &[Edit]| {
                let mut keys: Vec<&'static str> = edits.iter().flat_map(|edit| edit.keys.iter().copied()).collect();
                keys.dedup();
                keys
            };
            let line = fixture.doc.line(expect.span.start);
            let (keys, not_written) = (keys(&written), keys(&not_written));
            changes.push(Change { case: case.name.clone(), line, keys, not_written });
            edits.extend(written);
        }
    }
    if changes.is_empty() {
        return None;
    }
    // From the end, so that the places before stay right.
    edits.sort_by_key(|edit| std::cmp::Reverse((edit.span.start, edit.span.end)));
    let mut text = fixture.doc.text().to_owned();
    for edit in edits {
        text.replace_range(edit.span, &edit.text);
    }
    Some((text, changes))
}

/// The expectations of a case with what was seen of them.
fn expects<'a>(case: &'a Case, outcome: &'a Outcome) -> Vec<(&'a Expect, &'a Seen)> {
    if let Some(start) = &case.start {
        return outcome.seen.first().map(|seen| (start, seen)).into_iter().collect();
    }
    if outcome.manifest.is_none() {
        // It did not start: what was seen is about the first expectation, wherever that is.
        let first = case.steps.iter().find_map(|step| step.expect.as_ref());
        return first.zip(outcome.seen.first()).into_iter().collect();
    }
    let steps = case.steps.iter().zip(&outcome.seen);
    steps.filter_map(|(step, seen)| Some((step.expect.as_ref()?, seen))).collect()
}

fn changed(text: &str, case: &Case, outcome: &Outcome, expect: &Expect, seen: &Seen) -> Vec<Edit> {
    if expect.is_empty() {
        return filled(text, case, outcome, expect, seen).into_iter().collect();
    }
    let found = compare::compare(expect, seen);
    let is_wrong = |key: &str| found.iter().any(|found| found.what == key);
    let mut edits = Vec::new();
    let mut edit = |key, span: &Range<usize>, text| edits.push(Edit { keys: vec![key], span: span.clone(), text });
    if let (Some(error), Some(problem)) = (&expect.error, &seen.problem)
        && is_wrong("error")
    {
        edit("error", &error.span, toml_text(&problem.text));
    }
    if let Some(after) = &seen.after {
        if let Some(rows) = expect.rows.as_ref().filter(|_| is_wrong("rows")) {
            edit("rows", &rows.span, list(&alike(&rows.value, of_batch(after), case, outcome)));
        }
        if let Some(count) = expect.row_count.as_ref().filter(|_| is_wrong("row_count")) {
            edit("row_count", &count.span, after.rows().to_string());
        }
        if let Some(kept) = expect.kept.as_ref().filter(|_| is_wrong("kept")) {
            edit("kept", &kept.span, format!("{:?}", seen.kept));
        }
        if let Some(routes) = expect.routes.as_ref().filter(|_| is_wrong("routes")) {
            let found: Vec<String> = compare::routes(after).iter().map(|route| toml_text(route)).collect();
            edit("routes", &routes.span, format!("[{}]", found.join(", ")));
        }
    }
    if seen.problem.is_none()
        && let Some(alerts) = expect.alerts.as_ref().filter(|_| is_wrong("alerts"))
    {
        let whole = AlertExpect { kind: Some(String::new()), subject: Some(String::new()), ..AlertExpect::default() };
        let found = seen.alerts.iter().enumerate();
        let found = found.map(|(at, alert)| {
            let like = alerts.value.get(at).or(alerts.value.last()).unwrap_or(&whole);
            like.of(alert).to_string()
        });
        edit("alerts", &alerts.span, array(&found.collect::<Vec<_>>()));
    }
    for (name, expected) in expect.metrics.iter().flat_map(|metrics| &metrics.value) {
        if let Some(actual) = seen.metrics.get(name).filter(|actual| **actual != expected.value) {
            edit("metrics", &expected.span, number(*actual));
        }
    }
    if let (Some(limit), Some(fuel)) = (&expect.max_fuel, seen.fuel)
        && fuel > limit.value
    {
        edit("max_fuel", &limit.span, roomy(fuel).to_string());
    }
    edits
}

/// What goes into an `expect` that says nothing.
fn filled(text: &str, case: &Case, outcome: &Outcome, expect: &Expect, seen: &Seen) -> Option<Edit> {
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    if let Some(problem) = &seen.problem {
        lines.push(("error", toml_text(&problem.text)));
    } else {
        match &seen.after {
            Some(after) if after.rows() <= MAX_NEW_ROWS => {
                lines.push(("rows", list(&alike(&[], of_batch(after), case, outcome))));
            }
            Some(after) => lines.push(("row_count", after.rows().to_string())),
            None => {}
        }
        if !seen.metrics.is_empty() {
            let cells: Vec<String> =
                seen.metrics.iter().map(|(name, value)| format!("{name} = {}", number(*value))).collect();
            lines.push(("metrics", format!("{{ {} }}", cells.join(", "))));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let keys = lines.iter().map(|(key, _)| *key).collect();
    let lines: Vec<String> = lines.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    if text.get(expect.span.clone())?.starts_with('{') {
        let text = format!("{{ {} }}", lines.join(", "));
        return Some(Edit { keys, span: expect.span.clone(), text });
    }
    // Below the header, and below a comment behind it.
    let end = text[expect.span.start..].find('\n').map_or(text.len(), |end| expect.span.start + end);
    let text = lines.iter().map(|line| format!("\n{line}")).collect();
    Some(Edit { keys, span: end..end, text })
}

/// `found` with the columns that `written` is about: row by row if there are as many, else all that it names in any row;
/// if it names none, those that the plugin reads or writes.
fn alike(written: &[Row], found: Vec<Row>, case: &Case, outcome: &Outcome) -> Vec<Row> {
    if written.len() == found.len() {
        return written.iter().zip(found).map(|(like, row)| in_order_of(like, &row)).collect();
    }
    let mut all = Row::default();
    for (name, value) in written.iter().flat_map(Row::iter) {
        all.set(name, value.clone());
    }
    if all == Row::default() {
        let ours = outcome.manifest.as_ref().map(|manifest| manifest.reads.union(manifest.writes)).unwrap_or_default();
        let schema = case.steps.iter().find_map(|step| match &step.act {
            crate::case::Act::Process(batch) => Some(batch.schema()),
            _ => None,
        });
        let names = schema.map(|schema| crate::rows::names_of(schema, ours)).unwrap_or_default();
        return found.into_iter().map(|row| row.only(|name| names.iter().any(|known| known == name))).collect();
    }
    found.into_iter().map(|row| in_order_of(&all, &row)).collect()
}

/// The values of `row` under the names of `like`, in its order; what is absent as it would be written.
fn in_order_of(like: &Row, row: &Row) -> Row {
    let mut ordered = Row::default();
    for (name, value) in like.iter() {
        ordered.set(name, row.get(name).cloned().unwrap_or_else(|| value.absent()));
    }
    ordered
}

fn list(rows: &[Row]) -> String {
    match rows {
        [row] if row.to_string().len() <= MAX_LINE => format!("[{row}]"),
        rows => to_toml(rows),
    }
}

fn array(entries: &[String]) -> String {
    match entries {
        [] => "[]".to_owned(),
        [entry] if entry.len() <= MAX_LINE => format!("[{entry}]"),
        entries => format!("[\n{}]", entries.iter().map(|entry| format!("  {entry},\n")).collect::<String>()),
    }
}

fn number(value: f64) -> String {
    // 2^53: beyond it a float is not every whole number.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        format!("{value:.0}")
    } else {
        format!("{value:?}")
    }
}

/// A tenth more, rounded up to two digits: room for a compiler that does a little worse.
fn roomy(fuel: u64) -> u64 {
    let room = fuel.saturating_add(fuel / 10).max(1);
    let unit = 10_u64.pow(room.ilog10().saturating_sub(1));
    room.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_tenth_of_room_and_is_a_round_number() {
        assert_eq!([1, 9, 100, 12_345, u64::MAX].map(roomy), [1, 9, 110, 14_000, u64::MAX]);
    }
}
