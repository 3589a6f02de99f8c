//! A case as a fixture of `sluice plugin test`.

use sluice_flow::{Batch, ColumnSet};
use sluice_pipeline::Event;

use super::{Case, Expected};
use crate::case::DEFAULT_NOW_MS;
use crate::generate::Step;
use crate::rows::{self, toml_text};

/// The text of a fixture with one case called `name`, which fails until what `comment` says is mended. `header` goes
/// before it: configuration, tables. Of the rows that come out, the columns of `written` are compared.
#[must_use]
pub fn fixture(name: &str, comment: &[String], header: &str, case: &Case, written: ColumnSet) -> String {
    let mut text = String::new();
    for line in comment {
        // What a plugin said is in it.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    text.push_str(header);
    text.push_str(&format!("\n[[case]]\nname = {}\n", toml_text(name)));
    let mut now_ms = Some(DEFAULT_NOW_MS);
    let last = case.steps.len().saturating_sub(1);
    let expects_something = case.steps.iter().any(|step| step.expected.is_some());
    for (at, step) in case.steps.iter().enumerate() {
        if step.restart {
            text.push_str("\n[[case.step]]\nrestart = true\n");
        }
        text.push_str("\n[[case.step]]\n");
        match &step.step {
            Step::Batch(batch) => {
                if now_ms != Some(batch.now_ms()) {
                    text.push_str(&format!("now_ms = {}\n", batch.now_ms()));
                }
                now_ms = Some(batch.now_ms());
                text.push_str(&format!("rows = {}\n", rows::to_toml(&rows::of_batch(batch))));
            }
            Step::Tick(to_ms) => {
                // A tick comes so many milliseconds later.
                let from_ms = now_ms.unwrap_or(*to_ms).min(*to_ms);
                text.push_str(&format!("now_ms = {from_ms}\ntick_ms = {}\n", to_ms - from_ms));
                now_ms = Some(*to_ms);
            }
        }
        match &step.expected {
            Some(expected) => text.push_str(&expect(expected, written)),
            None if at == last && !expects_something => {
                text.push_str("[case.step.expect]\n");
                text.push_str(
                    "# Any answer will do, for now: what is right is for you to say, e.g. with `rows` or `error`.\n",
                );
                text.push_str("no_logs = [\"panicked\"]\n");
            }
            None => {}
        }
    }
    text
}

fn expect(Expected { batch, alerts }: &Expected, written: ColumnSet) -> String {
    let mut text = "[case.step.expect]\n".to_owned();
    if let Some(batch) = batch {
        text.push_str(&format!("row_count = {}\n", batch.rows()));
        if batch.rows() > 0 && !written.is_empty() {
            text.push_str(&format!("rows = {}\n", rows_of(batch, written)));
        }
        if batch.routes().is_some() {
            let routes: Vec<String> =
                (0..batch.rows()).map(|row| toml_text(batch.route(row).map_or("", |route| route))).collect();
            text.push_str(&format!("routes = [{}]\n", routes.join(", ")));
        }
    }
    let alerts: Vec<String> = alerts.iter().map(alert).collect();
    text.push_str(&format!("alerts = [{}]\n", alerts.join(", ")));
    text
}

/// The rows with every column that the plugin writes, absent or not.
fn rows_of(batch: &Batch, written: ColumnSet) -> String {
    let names = rows::names_of(batch.schema(), written);
    let lines: Vec<String> = rows::of_batch(batch)
        .iter()
        .map(|row| {
            let cells = names.iter().filter_map(|name| {
                let value = row.get(name).map(ToString::to_string).or_else(|| nothing(batch, name))?;
                Some(format!("{name} = {value}"))
            });
            format!("  {{ {} }},\n", cells.collect::<Vec<_>>().join(", "))
        })
        .collect();
    format!("[\n{}]", lines.concat())
}

/// How TOML says that a column is absent.
fn nothing(batch: &Batch, name: &str) -> Option<String> {
    let Some(column) = batch.schema().column(name) else { return Some("\"::\"".to_owned()) };
    let text = match batch.schema().width(column)? {
        sluice_flow::Width::Text => "\"\"",
        sluice_flow::Width::Lists => "[]",
        _ => "0",
    };
    Some(text.to_owned())
}

fn alert(event: &Event) -> String {
    let (kind, subject) = (toml_text(&event.kind), toml_text(&event.subject));
    format!("{{ kind = {kind}, subject = {subject}, severity = {} }}", event.severity)
}
