//! JUnit's XML: what GitHub, GitLab, Jenkins and others show. There is no standard; this is the part that all of them
//! read: suites of cases, each with a time and perhaps a failure with a message and a text.

use std::fmt::Write;

use super::Report;
use crate::run::{Outcome, level_name};

pub(super) fn junit(report: &Report<'_>) -> String {
    let (passed, failed) = report.counts();
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let total = passed + failed;
    let seconds = report.elapsed.as_secs_f64();
    writeln!(xml, "<testsuites tests=\"{total}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">")
        .expect("a string grows");
    for (fixture, cases) in report.by_file() {
        let file = attribute(&fixture.doc.file.display().to_string());
        let failed = cases.iter().filter(|(_, outcome)| !outcome.is_passed()).count();
        let seconds: f64 = cases.iter().map(|(_, outcome)| outcome.elapsed.as_secs_f64()).sum();
        let total = cases.len();
        writeln!(
            xml,
            "  <testsuite name=\"{file}\" tests=\"{total}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">"
        )
        .expect("a string grows");
        for (case, outcome) in cases {
            let (name, line) = (attribute(&case.name), fixture.doc.line(case.span.start));
            let seconds = outcome.elapsed.as_secs_f64();
            write!(
                xml,
                "    <testcase classname=\"{file}\" name=\"{name}\" file=\"{file}\" line=\"{line}\" time=\"{seconds:.3}\""
            )
            .expect("a string grows");
            body(&mut xml, outcome);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn body(xml: &mut String, outcome: &Outcome) {
    let Some(first) = outcome.mismatches.first() else { return xml.push_str("/>\n") };
    let message = format!("{}: {}", first.place(), first.text.lines().next().unwrap_or(""));
    let mut said = String::new();
    for mismatch in &outcome.mismatches {
        writeln!(said, "{}: {}", mismatch.place(), mismatch.text).expect("a string grows");
        for frame in &mismatch.backtrace {
            writeln!(said, "  at {frame}").expect("a string grows");
        }
    }
    write!(xml, ">\n      <failure message=\"{}\">{}</failure>\n", attribute(&message), content(&said))
        .expect("a string grows");
    if !outcome.logs.is_empty() {
        let lines: Vec<String> =
            outcome.logs.iter().map(|line| format!("{} {}", level_name(line.level), line.text)).collect();
        writeln!(xml, "      <system-out>{}</system-out>", content(&lines.join("\n"))).expect("a string grows");
    }
    xml.push_str("    </testcase>\n");
}

/// A text between tags (XML 1.0, section 2.4). What XML has no place for (section 2.2) is written as an escape.
fn content(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            // `]]>` may not stand in a text.
            '>' => escaped.push_str("&gt;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A text between quotes, where a line end would be read as a blank (section 3.3.3).
fn attribute(text: &str) -> String {
    content(text).replace('"', "&quot;").replace('\n', "&#10;").replace('\t', "&#9;")
}
