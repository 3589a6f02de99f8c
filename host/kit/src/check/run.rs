//! Sequences of calls in fresh instances, and whether two instances answered the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_flow::{Batch, Column, ColumnId, ColumnSet};
use sluice_pipeline::Event;
use sluice_plugin::{Answer, Called, LoadError, Loaded, Trap, Trial};

use crate::generate::Step;

/// A call.
pub(super) fn call(trial: &mut Trial, step: &Step) -> Called {
    match step {
        Step::Batch(batch) => trial.process(Batch::clone(batch)),
        Step::Tick(now_ms) => trial.tick(*now_ms),
    }
}

/// What an instance answers to the steps, until one ends it.
pub(super) fn run(trial: &mut Trial, steps: &[Step]) -> Vec<Called> {
    let mut answers = Vec::with_capacity(steps.len());
    for step in steps {
        let called = call(trial, step);
        let is_over = matches!(called.answer, Answer::Trapped(_));
        answers.push(called);
        if is_over {
            break;
        }
    }
    answers
}

/// The same of an instance of its own.
pub(super) fn run_fresh(loaded: &Arc<Loaded>, steps: &[Step]) -> Result<Vec<Called>, LoadError> {
    Ok(run(&mut Trial::new(loaded)?, steps))
}

/// How the answers ended, if by a trap.
pub(super) fn trap_in(answers: &[Called]) -> Option<&Trap> {
    match &answers.last()?.answer {
        Answer::Trapped(trap) => Some(trap),
        _ => None,
    }
}

/// Whether two traps are the same fault.
pub(super) fn is_same_trap(a: &Trap, b: &Trap) -> bool {
    // Where a call was when its time or memory ended is chance, and so is the depth of a stack. Else the whole way counts:
    // the innermost function of a panic is that of all panics.
    let is_place_known = a.kind == "trap" && !a.text.contains("stack exhausted");
    a.kind == b.kind && a.text == b.text && (!is_place_known || a.backtrace == b.backtrace)
}

/// Columns that were asked for and are not in the manifest.
pub(super) fn refused_in(answers: &[Called]) -> ColumnSet {
    answers.iter().fold(ColumnSet::EMPTY, |all, called| all.union(called.touched.refused))
}

/// The first answer that is not the same in both, and how.
pub(super) fn first_difference(a: &[Called], b: &[Called]) -> Option<(usize, String)> {
    let longest = a.len().max(b.len());
    (0..longest).find_map(|at| {
        let difference = match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => difference(a, b),
            _ => Some("one of them had ended".to_owned()),
        };
        Some((at, difference?))
    })
}

/// How two answers differ.
pub(super) fn difference(a: &Called, b: &Called) -> Option<String> {
    match (&a.answer, &b.answer) {
        (Answer::Done(Some((a, _))), Answer::Done(Some((b, _)))) => {
            if let Some(difference) = difference_of_batches(a, b) {
                return Some(difference);
            }
        }
        (Answer::Done(None), Answer::Done(None)) => {}
        (Answer::RetryLater(a), Answer::RetryLater(b)) | (Answer::Refused(a), Answer::Refused(b)) if a == b => {}
        (Answer::Trapped(a), Answer::Trapped(b)) if is_same_trap(a, b) => {}
        (a, b) => return Some(format!("{} in one, {} in the other", said(a), said(b))),
    }
    if a.alerts.len() != b.alerts.len() {
        return Some(format!("{} alerts in one, {} in the other", a.alerts.len(), b.alerts.len()));
    }
    let different = a.alerts.iter().zip(&b.alerts).find(|(a, b)| facts(a) != facts(b));
    different.map(|(a, b)| format!("alert {} in one, {} in the other", shown(a), shown(b)))
}

/// What an alert says, as text: a number that is none is equal to itself there. Who says it is not part of it.
fn facts(alert: &Event) -> String {
    let Event { stage: _, time_ms, kind, severity, subject, value, threshold, note } = alert;
    format!("{time_ms} {kind:?} {severity} {subject:?} {value} {threshold} {note:?}")
}

fn shown(alert: &Event) -> String {
    format!("`{}` about `{}` ({})", alert.kind, alert.subject, alert.value)
}

/// How counters and gauges differ.
pub(super) fn difference_of_metrics(a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> Option<String> {
    let names = a.keys().chain(b.keys());
    let shown = |value: Option<&f64>| value.map_or("nothing".to_owned(), f64::to_string);
    names.map(|name| (name, shown(a.get(name)), shown(b.get(name)))).find(|(_, a, b)| a != b).map(|(name, a, b)| {
        format!("the same calls in the same way, and the metric `{name}` is {a} in one, {b} in the other")
    })
}

/// An answer in a few words.
pub(super) fn said(answer: &Answer) -> String {
    match answer {
        Answer::Done(Some((batch, _))) => format!("{} rows kept", batch.rows()),
        Answer::Done(None) => "ok".to_owned(),
        Answer::RetryLater(text) => format!("retry-later \"{text}\""),
        Answer::Refused(text) => format!("fatal \"{text}\""),
        Answer::Trapped(trap) => format!("a trap ({})", trap.text),
    }
}

/// How two batches differ, as sinks would see them: a column that is absent is one of zeros, and the order of the
/// words of a text is nobody's business.
fn difference_of_batches(a: &Batch, b: &Batch) -> Option<String> {
    if a.rows() != b.rows() {
        return Some(format!("{} rows kept in one, {} in the other", a.rows(), b.rows()));
    }
    let columns: ColumnSet = a.columns().chain(b.columns()).map(|(column, _)| column).collect();
    for column in columns.iter().filter(|column| a.column(*column) != b.column(*column)) {
        for row in 0..a.rows() {
            let (one, other) = (value(a, column, row), value(b, column, row));
            if one != other {
                let name = a.schema().name(column).unwrap_or("?");
                return Some(format!("`{name}` of row {row} is {one} in one, {other} in the other"));
            }
        }
    }
    let row = (0..a.rows()).find(|row| a.route(*row) != b.route(*row))?;
    let shown = |batch: &Batch| batch.route(row).map_or("nowhere".to_owned(), |route| format!("to `{route}`"));
    Some(format!("row {row} goes {} in one, {} in the other", shown(a), shown(b)))
}

fn value(batch: &Batch, column: ColumnId, row: usize) -> String {
    let absent = match batch.schema().width(column) {
        Some(width) if width.is_number() => "0",
        Some(sluice_flow::Width::Text) => "\"\"",
        _ => "[]",
    };
    match batch.column(column) {
        Some(Column::Text(texts)) => format!("{:?}", texts.get(row)),
        Some(Column::Lists(lists)) => format!("{:?}", lists.get(row)),
        Some(column) => column.number(row).to_string(),
        None => absent.to_owned(),
    }
}
