//! For people.

use std::fmt::Write;

use super::Report;
use crate::case::{Act, Case, Fixture};
use crate::run::{Coverage, Outcome, level_name};

/// Log lines and frames of a backtrace that are shown; of log lines the last.
const SHOWN: usize = 20;

/// Widest column of names; a longer name pushes its numbers aside.
const MAX_NAME: usize = 72;

pub(super) fn text(report: &Report<'_>) -> String {
    let mut text = String::new();
    let names = report.by_file().flat_map(|(_, cases)| cases).map(|(case, _)| case.name.chars().count());
    let width = names.max().unwrap_or(0).min(MAX_NAME);
    for (fixture, cases) in report.by_file() {
        writeln!(text, "{}", fixture.doc.file.display()).expect("a string grows");
        for (case, outcome) in cases {
            line(&mut text, case, outcome, width);
            if !outcome.is_passed() {
                failed(&mut text, fixture, case, outcome);
            }
            left_out(&mut text, case);
        }
    }
    if let Some(coverage) = report.coverage {
        untouched(&mut text, report, coverage);
    }
    let (passed, failed) = report.counts();
    let seconds = report.elapsed.as_secs_f64();
    writeln!(text, "{passed} passed, {failed} failed, in {seconds:.2} s").expect("a string grows");
    text
}

fn line(text: &mut String, case: &Case, outcome: &Outcome, width: usize) {
    let verdict = if outcome.is_passed() { "ok" } else { "FAIL" };
    let Outcome { rows_in, rows_out, fuel, .. } = outcome;
    write!(text, "  {verdict:<4}  {:<width$}", one_line(&case.name)).expect("a string grows");
    if outcome.fuel > 0 {
        write!(text, "  {rows_in:>5} -> {rows_out} rows, {fuel} fuel").expect("a string grows");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn failed(text: &mut String, fixture: &Fixture, case: &Case, outcome: &Outcome) {
    let line = fixture.doc.line(case.span.start);
    writeln!(text, "        {}:{line}", fixture.doc.file.display()).expect("a string grows");
    for mismatch in &outcome.mismatches {
        let said = format!("{}: {}", mismatch.place(), mismatch.text);
        indented(text, 8, &said);
        for frame in mismatch.backtrace.iter().take(SHOWN) {
            indented(text, 10, &format!("at {frame}"));
        }
        if mismatch.backtrace.len() > SHOWN {
            indented(text, 10, &format!("... and {} more", mismatch.backtrace.len() - SHOWN));
        }
    }
    let skipped = outcome.logs.len().saturating_sub(SHOWN);
    if !outcome.logs.is_empty() {
        indented(text, 8, "it logged:");
    }
    if skipped > 0 {
        indented(text, 10, &format!("({skipped} lines before)"));
    }
    for line in &outcome.logs[skipped..] {
        indented(text, 10, &format!("{:<5} {}", level_name(line.level), line.text));
    }
}

/// What of a capture became no rows: whoever expects them should know.
fn left_out(text: &mut String, case: &Case) {
    for step in case.steps.iter().filter(|step| matches!(step.act, Act::Process(_)) && !step.left_out.is_empty()) {
        let reasons: Vec<String> = step.left_out.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        indented(text, 8, &format!("left out of the capture: {}", reasons.join(", ")));
    }
}

fn untouched(text: &mut String, report: &Report<'_>, coverage: &Coverage) {
    let columns = report.names(coverage.reads.union(coverage.writes)).len();
    if columns == 0 && coverage.refused.is_empty() {
        return;
    }
    let mut lines = Vec::new();
    let mut add = |what: &str, names: &[String]| {
        if !names.is_empty() {
            lines.push(format!("{what}: {}", names.join(", ")));
        }
    };
    add("in the manifest, and never read", &report.names(coverage.never_read));
    add("in the manifest, and never written", &report.names(coverage.never_written));
    add("asked for and refused", &report.names(coverage.refused));
    add("in `metrics` of a case, and never counted", &coverage.never_counted);
    if lines.is_empty() {
        writeln!(text, "columns of the manifest: {columns}, all touched").expect("a string grows");
        return;
    }
    writeln!(text, "columns of the manifest: {columns}").expect("a string grows");
    for line in lines {
        writeln!(text, "  {line}").expect("a string grows");
    }
}

fn indented(text: &mut String, spaces: usize, lines: &str) {
    for line in lines.lines() {
        writeln!(text, "{:spaces$}{line}", "").expect("a string grows");
    }
}

/// A name as it can stand in a line.
fn one_line(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
