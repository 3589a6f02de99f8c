//! For programs.

use serde_json::{Value, json};

use super::Report;
use crate::run::{Coverage, Outcome, level_name};

pub(super) fn json(report: &Report<'_>) -> String {
    let (passed, failed) = report.counts();
    let files = report.by_file();
    let cases = files.flat_map(|(fixture, cases)| {
        cases.into_iter().map(move |(case, outcome)| {
            let mut value = of_outcome(outcome);
            value["file"] = json!(fixture.doc.file.display().to_string());
            value["line"] = json!(fixture.doc.line(case.span.start));
            value["name"] = json!(case.name);
            value
        })
    });
    let value = json!({
        "passed": passed,
        "failed": failed,
        "seconds": report.elapsed.as_secs_f64(),
        "cases": cases.collect::<Vec<_>>(),
        "coverage": report.coverage.map(|coverage| of_coverage(report, coverage)),
    });
    format!("{value}\n")
}

fn of_outcome(outcome: &Outcome) -> Value {
    let mismatches = outcome.mismatches.iter().map(|mismatch| {
        json!({
            "step": mismatch.step,
            "what": mismatch.what,
            "line": mismatch.line,
            "text": mismatch.text,
            "backtrace": mismatch.backtrace,
        })
    });
    let log = outcome.logs.iter().map(|line| json!({ "level": level_name(line.level), "text": line.text }));
    json!({
        "passed": outcome.is_passed(),
        "rows_in": outcome.rows_in,
        "rows_out": outcome.rows_out,
        "fuel": outcome.fuel,
        "seconds": outcome.elapsed.as_secs_f64(),
        "mismatches": mismatches.collect::<Vec<_>>(),
        "log": log.collect::<Vec<_>>(),
    })
}

fn of_coverage(report: &Report<'_>, coverage: &Coverage) -> Value {
    json!({
        "reads": report.names(coverage.reads),
        "writes": report.names(coverage.writes),
        "never_read": report.names(coverage.never_read),
        "never_written": report.names(coverage.never_written),
        "refused": report.names(coverage.refused),
        "never_counted": coverage.never_counted,
    })
}
