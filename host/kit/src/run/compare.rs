//! What was seen against what was expected.

use std::fmt::{Display, Write};
use std::ops::Range;

use sluice_pipeline::Event;

use super::Seen;
use super::align::{Difference, differences};
use crate::case::{AlertExpect, Expect, NoLogs};
use crate::rows::{Row, Value, of_batch, toml_text};

/// Differences of one list that are shown; the others are counted.
const SHOWN: usize = 20;

/// An expectation that was not met.
pub(super) struct Found {
    pub(super) what: &'static str,
    pub(super) span: Range<usize>,
    pub(super) text: String,
    pub(super) backtrace: Vec<String>,
}

/// Every expectation that was not met.
pub(super) fn compare(expect: &Expect, seen: &Seen) -> Vec<Found> {
    let mut found = Vec::new();
    let mut wrong = |what, span: &Range<usize>, text| {
        found.push(Found { what, span: span.clone(), text, backtrace: Vec::new() });
    };
    match (&expect.error, &seen.problem) {
        (Some(error), Some(problem)) if problem.full.contains(&error.value) => {}
        (Some(error), Some(problem)) => {
            wrong("error", &error.span, both("another error", &error.value, &problem.full));
        }
        (Some(error), None) => {
            wrong("error", &error.span, format!("no error, where one was expected with: {}", error.value));
        }
        (None, Some(problem)) => {
            let backtrace = problem.backtrace.clone();
            found.push(Found { what: "error", span: expect.span.clone(), text: problem.full.clone(), backtrace });
            // Nothing came out; saying that for every key would hide the one thing that happened.
            return found;
        }
        (None, None) => {}
    }
    if let Some(after) = &seen.after {
        if let Some(rows) = &expect.rows
            && let Some(text) = rows_differ(&rows.value, &of_batch(after))
        {
            wrong("rows", &rows.span, text);
        }
        if let Some(count) = expect.row_count.as_ref().filter(|count| count.value != after.rows()) {
            wrong("row_count", &count.span, both("another number of rows", &count.value, &after.rows()));
        }
        if let Some(kept) = expect.kept.as_ref().filter(|kept| kept.value != seen.kept) {
            let (expected, actual) = (shortened(&kept.value), shortened(&seen.kept));
            wrong("kept", &kept.span, both("other rows stay", &expected, &actual));
        }
        let actual = routes(after);
        if let Some(routes) = expect.routes.as_ref().filter(|routes| routes.value != actual) {
            let text = |list: &[String]| list.iter().map(|route| toml_text(route)).collect::<Vec<_>>();
            let text = list_differs("route", &text(&routes.value), &text(&actual), |a, b| a == b);
            wrong("routes", &routes.span, text);
        }
    }
    if let Some(alerts) = &expect.alerts {
        let is_as_expected = alerts.value.len() == seen.alerts.len()
            && alerts.value.iter().zip(&seen.alerts).all(|(expected, alert)| expected.fits(alert));
        if !is_as_expected {
            let shown: Vec<String> = seen.alerts.iter().map(alert_text).collect();
            let expected: Vec<String> = alerts.value.iter().map(AlertExpect::to_string).collect();
            let fits = |e: usize, a: usize| alerts.value[e].fits(&seen.alerts[a]);
            wrong("alerts", &alerts.span, differ("alert", &expected, &shown, fits));
        }
    }
    for (name, expected) in expect.metrics.iter().flat_map(|metrics| &metrics.value) {
        let actual = seen.metrics.get(name).copied();
        // A counter that was never counted is at 0.
        let is_as_expected =
            actual.unwrap_or(0.0).to_bits() == expected.value.to_bits() || actual.unwrap_or(0.0) == expected.value;
        if !is_as_expected {
            let actual = actual.map_or_else(|| "never counted".to_owned(), |actual| actual.to_string());
            wrong("metrics", &expected.span, both(&format!("`{name}`"), &expected.value, &actual));
        }
    }
    for part in expect.logs.iter().flat_map(|logs| &logs.value) {
        if !seen.logs.iter().any(|line| line.text.contains(part.as_str())) {
            let span = expect.logs.as_ref().map_or(0..0, |logs| logs.span.clone());
            let lines = if seen.logs.is_empty() { "; nothing was logged" } else { "" };
            wrong("logs", &span, format!("no line with {} in it{lines}", toml_text(part)));
        }
    }
    if let Some(no_logs) = &expect.no_logs {
        let is_unwanted = |line: &str| match &no_logs.value {
            NoLogs::All(_) => true,
            NoLogs::Containing(parts) => parts.iter().any(|part| line.contains(part.as_str())),
        };
        if let Some(line) = seen.logs.iter().find(|line| is_unwanted(&line.text)) {
            wrong("no_logs", &no_logs.span, format!("this was logged: {}", line.text));
        }
    }
    if let (Some(limit), Some(fuel)) = (&expect.max_fuel, seen.fuel)
        && fuel > limit.value
    {
        wrong("max_fuel", &limit.span, format!("the call cost {fuel} fuel, more than {}", limit.value));
    }
    found
}

fn both(what: &str, expected: &dyn Display, actual: &dyn Display) -> String {
    format!("{what}\n  expected  {expected}\n  actual    {actual}")
}

fn shortened(rows: &[u32]) -> String {
    if rows.len() <= 4 * SHOWN {
        return format!("{rows:?}");
    }
    format!("{:?} and {} more", &rows[..4 * SHOWN], rows.len() - 4 * SHOWN)
}

/// The route of each row; `""` for none.
pub(super) fn routes(batch: &sluice_flow::Batch) -> Vec<String> {
    (0..batch.rows()).map(|row| batch.route(row).map_or_else(String::new, |route| route.to_string())).collect()
}

/// Whether a row has what is expected of it. What a row does not have is absent: zero, empty.
fn row_fits(expected: &Row, actual: &Row) -> bool {
    expected.iter().all(|(name, value)| value_fits(value, actual.get(name)))
}

fn value_fits(expected: &Value, actual: Option<&Value>) -> bool {
    match actual {
        Some(actual) => expected == actual,
        None => expected.is_absent(),
    }
}

/// A table of the values that differ; none if all is as expected.
fn rows_differ(expected: &[Row], actual: &[Row]) -> Option<String> {
    let found = differences(expected.len(), actual.len(), |e, a| row_fits(&expected[e], &actual[a]));
    if found.is_empty() {
        return None;
    }
    let mut text = match expected.len() == actual.len() {
        true => "other values".to_owned(),
        false => format!("{} rows expected, {} came out", expected.len(), actual.len()),
    };
    let mut lines = vec![["row", "column", "expected", "actual"].map(str::to_owned)];
    for difference in found.iter().take(SHOWN) {
        match *difference {
            Difference::Other(e, a) => {
                for (name, value) in expected[e].iter().filter(|(name, value)| !value_fits(value, actual[a].get(name)))
                {
                    let there = actual[a].get(name).map_or_else(|| "(absent)".to_owned(), Value::to_string);
                    lines.push([e.to_string(), name.to_owned(), value.to_string(), there]);
                }
            }
            Difference::Missing(e) => {
                lines.push([e.to_string(), "(all)".to_owned(), expected[e].to_string(), "(no such row)".to_owned()]);
            }
            Difference::Extra(a) => {
                // Only what the other rows are about; of a flow record there is much more.
                let is_named = |name: &str| expected.iter().any(|row| row.get(name).is_some());
                let shown = if expected.is_empty() { actual[a].clone() } else { actual[a].only(is_named) };
                lines.push([a.to_string(), "(all)".to_owned(), "(no such row)".to_owned(), shown.to_string()]);
            }
        }
    }
    text.push_str(&aligned(&lines));
    if found.len() > SHOWN {
        write!(text, "\n  ... and {} more rows", found.len() - SHOWN).expect("a string grows");
    }
    Some(text)
}

/// Lines with their columns below each other, each on a line of its own, indented.
fn aligned(lines: &[[String; 4]]) -> String {
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let (row, column, expected) = (width(0), width(1), width(2));
    let mut text = String::new();
    for line in lines {
        let [a, b, c, d] = line;
        write!(text, "\n  {a:<row$}  {b:<column$}  {c:<expected$}  {d}").expect("a string grows");
    }
    text
}

fn list_differs(what: &str, expected: &[String], actual: &[String], fits: impl Fn(&str, &str) -> bool) -> String {
    differ(what, expected, actual, |e, a| fits(&expected[e], &actual[a]))
}

fn differ(what: &str, expected: &[String], actual: &[String], fits: impl Fn(usize, usize) -> bool) -> String {
    let found = differences(expected.len(), actual.len(), fits);
    let mut text = format!("{} {what}s expected, {} came", expected.len(), actual.len());
    for difference in found.iter().take(SHOWN) {
        match *difference {
            Difference::Other(e, a) => {
                write!(text, "\n  {what} {e}\n    expected  {}\n    actual    {}", expected[e], actual[a])
            }
            Difference::Missing(e) => write!(text, "\n  {what} {e} did not come: {}", expected[e]),
            Difference::Extra(a) => write!(text, "\n  {what} {a} was not expected: {}", actual[a]),
        }
        .expect("a string grows");
    }
    if found.len() > SHOWN {
        write!(text, "\n  ... and {} more", found.len() - SHOWN).expect("a string grows");
    }
    text
}

impl AlertExpect {
    /// Whether an alert has what is expected of it.
    fn fits(&self, alert: &Event) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == alert.kind)
            && self.subject.as_ref().is_none_or(|subject| *subject == alert.subject)
            && self.severity.is_none_or(|severity| severity == alert.severity)
            && self.value.is_none_or(|value| value == alert.value)
            && self.threshold.is_none_or(|threshold| threshold == alert.threshold)
            && self.note.as_ref().is_none_or(|note| *note == alert.note)
    }

    /// What an alert is, as far as this one says anything.
    pub(super) fn of(&self, alert: &Event) -> AlertExpect {
        AlertExpect {
            kind: self.kind.as_ref().map(|_| alert.kind.clone()),
            subject: self.subject.as_ref().map(|_| alert.subject.clone()),
            severity: self.severity.map(|_| alert.severity),
            value: self.value.map(|_| alert.value),
            threshold: self.threshold.map(|_| alert.threshold),
            note: self.note.as_ref().map(|_| alert.note.clone()),
        }
    }
}

/// As an inline table of TOML.
impl Display for AlertExpect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |key: &str, text: &Option<String>| text.as_ref().map(|text| format!("{key} = {}", toml_text(text)));
        let number = |key: &str, number: Option<f64>| number.map(|number| format!("{key} = {number:?}"));
        let cells = [
            text("kind", &self.kind),
            self.severity.map(|severity| format!("severity = {severity}")),
            text("subject", &self.subject),
            number("value", self.value),
            number("threshold", self.threshold),
            text("note", &self.note),
        ];
        let cells: Vec<String> = cells.into_iter().flatten().collect();
        if cells.is_empty() { f.write_str("{}") } else { write!(f, "{{ {} }}", cells.join(", ")) }
    }
}

/// A whole alert.
fn alert_text(alert: &Event) -> String {
    let all = AlertExpect {
        kind: Some(alert.kind.clone()),
        subject: Some(alert.subject.clone()),
        severity: Some(alert.severity),
        value: Some(alert.value),
        threshold: Some(alert.threshold),
        note: Some(alert.note.clone()),
    };
    all.to_string()
}
