//! Answers as text for people: aligned tables.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::admin::shapes::{
    Balance, Balances, Changed, Exchange, Exporters, Output, Pair, Pipeline, Plugins, Quarantine, Shadow, Swap,
    TableReload, Tables, TemplateField, Templates, Tenant,
};

/// A table: a line of headings, then the rows; columns of which every cell is a number are aligned on the right.
fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<(usize, bool)> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let widest = cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let is_number = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| b"0123456789-".contains(&byte));
            (widest.max(heading.len()), !rows.is_empty() && cells(column).all(is_number))
        })
        .collect();
    let mut text = String::new();
    let mut line = |row: &mut dyn Iterator<Item = &str>| {
        let start = text.len();
        for (cell, (width, is_number)) in row.zip(&widths) {
            let written = if *is_number { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
            written.expect("a string grows");
        }
        // Nothing after the last word, so that the table can be compared and pasted.
        let end = text[start..].trim_end().len() + start;
        text.truncate(end);
        text.push('\n');
    };
    line(&mut headings.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `3d 4h`, `5m 6s`: the two largest units.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(3);
    let shown = units.iter().skip(first).take(2).filter(|(_, count)| *count > 0);
    let text: Vec<String> = shown.map(|(unit, count)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text.join(" ") }
}

/// Bytes in the largest unit that leaves a whole number of them.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

pub(super) fn status(pipeline: &Pipeline, balances: &Balances) -> String {
    let Pipeline { version, state, uptime_s, sources, stages, sinks } = pipeline;
    let mut text = format!("sluice {version}, {state} for {}\n\n", span(uptime_s * 1000));
    let balance = |kind: &str, name: &str| balances.components.iter().find(|of| of.kind == kind && of.name == name);
    let row = |kind: &str, name: &str, what: &str, outputs: &[Output]| {
        let count = |count: fn(&Balance) -> u64| balance(kind, name).map_or(String::new(), |of| count(of).to_string());
        let dropped = count(|of| of.dropped.values().sum());
        let to: Vec<String> = outputs.iter().map(output).collect();
        let (rows_in, rows_out) = (count(|of| of.rows_in), count(|of| of.rows_out));
        vec![kind.to_owned(), name.to_owned(), what.to_owned(), rows_in, rows_out, dropped, to.join(", ")]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    rows.extend(sources.iter().map(|source| row("source", &source.name, &source.kind, &source.outputs)));
    rows.extend(stages.iter().map(|stage| row("stage", &stage.name, &stage.plugin, &stage.outputs)));
    rows.extend(sinks.iter().map(|sink| row("sink", &sink.name, &sink.kind, &[])));
    text.push_str(&table(&["", "name", "what", "in", "out", "dropped", "to"], &rows));
    text
}

fn output(output: &Output) -> String {
    match (output.rows.as_str(), &output.route) {
        ("all", _) => output.to.clone(),
        (_, Some(route)) => format!("{} ({route})", output.to),
        (rows, None) => format!("{} ({rows})", output.to),
    }
}

pub(super) fn balance(balances: &Balances) -> String {
    let row = |of: &Balance| {
        let why: Vec<String> = of.dropped.iter().map(|(reason, rows)| format!("{rows} {reason}")).collect();
        let dropped: u64 = of.dropped.values().sum();
        let numbers = [of.rows_in.to_string(), of.rows_out.to_string(), dropped.to_string(), of.in_flight.to_string()];
        [vec![of.kind.clone(), of.name.clone()], numbers.to_vec(), vec![why.join(", ")]].concat()
    };
    let rows: Vec<_> = balances.components.iter().map(row).collect();
    table(&["", "name", "in", "out", "dropped", "in flight", "why"], &rows)
}

pub(super) fn plugins(plugins: &Plugins) -> String {
    let rows: Vec<_> = plugins
        .plugins
        .iter()
        .map(|plugin| {
            let traps: u64 = plugin.traps.values().sum();
            vec![
                plugin.stage.clone(),
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.sha256.chars().take(12).collect(),
                plugin.generation.to_string(),
                plugin.calls.to_string(),
                traps.to_string(),
                plugin.kept_rows.to_string(),
                bytes(plugin.memory_bytes),
                format!("{} ms", plugin.cpu_ns / 1_000_000),
                plugin.origin.clone(),
            ]
        })
        .collect();
    let headings =
        ["stage", "plugin", "version", "sha256", "gen", "calls", "traps", "kept rows", "memory", "cpu", "from"];
    table(&headings, &rows)
}

pub(super) fn swap(swap: &Swap) -> String {
    let Swap { stage, swapped, from, to, sha256, generation } = swap;
    let digest: String = sha256.chars().take(12).collect();
    if *swapped {
        format!("{stage}: {from} -> {to} ({digest}), generation {generation}\n")
    } else {
        format!("{stage}: unchanged, {to} ({digest}), generation {generation}\n")
    }
}

pub(super) fn tenant(tenant: &Tenant) -> String {
    let plugins = Plugins { plugins: tenant.plugins.iter().map(|plugin| plugin.about.clone()).collect() };
    let mut text = self::plugins(&plugins);
    let cpu = tenant.cpu_ms_per_s.map_or("as much as there is".to_owned(), |ms| format!("{ms} ms a second"));
    text.push_str(&format!("cpu: {} ms used; may use {cpu}\n", tenant.cpu_ns / 1_000_000));
    text.push_str(&format!("may read: {}\n", tenant.reads.join(" ")));
    for (file, why) in &tenant.refused {
        text.push_str(&format!("{file}.wasm is not taken up: {why}\n"));
    }
    for stage in &tenant.stages {
        let dropped: u64 = stage.dropped.values().sum();
        text.push_str(&format!(
            "{}: {} rows in, {} out, {dropped} dropped\n",
            stage.name, stage.rows_in, stage.rows_out
        ));
    }
    text
}

pub(super) fn exchange(exchange: &Exchange) -> String {
    let Exchange { stage, from, to, sha256, generation } = exchange;
    let digest: String = sha256.chars().take(12).collect();
    format!("{stage}: {from} -> {to} ({digest}), generation {generation}\n")
}

pub(super) fn quarantine(quarantine: &Quarantine) -> String {
    let Quarantine { stage, quarantined, since_s, retry_in_s, why } = quarantine;
    if !quarantined {
        return format!("{stage}: called again\n");
    }
    let until = retry_in_s.map_or("until it is released".to_owned(), |seconds| format!("tried again in {seconds} s"));
    let why = why.as_deref().unwrap_or_default();
    format!("{stage}: not called since {} s, {until}: {why}\n", since_s.unwrap_or(0))
}

/// What a candidate does differently.
pub(super) fn shadow(shadow: &Shadow) -> String {
    let mut text = format!(
        "{} {} beside stage {}, every {} batches: {} batches, {} rows\n",
        shadow.plugin, shadow.version, shadow.stage, shadow.every, shadow.batches, shadow.rows
    );
    let mut line = |what: &str, value: String| text.push_str(&format!("  {what:<30}{value}\n"));
    line("kept by both", shadow.kept_by_both.to_string());
    line("kept by the running only", shadow.kept_by_running_only.to_string());
    line("kept by the candidate only", shadow.kept_by_candidate_only.to_string());
    line("routes changed", format!("{}{}", shadow.routes_changed, pairs(&shadow.route_examples)));
    for (column, change) in &shadow.columns {
        line(&format!("{column} changed"), format!("{}{}", change.rows, pairs(&change.examples)));
    }
    line("alerts of the running only", shadow.alerts_by_running_only.to_string());
    line("alerts of the candidate only", shadow.alerts_by_candidate_only.to_string());
    for alert in &shadow.alert_examples {
        line("", alert.clone());
    }
    line("batches over its budget", shadow.batches_over_budget.to_string());
    line("failures", shadow.failures.to_string());
    for failure in &shadow.failure_examples {
        line("", failure.clone());
    }
    line("ns a row", format!("{:.1} -> {:.1}", shadow.running_ns_per_row, shadow.candidate_ns_per_row));
    let kib = |bytes: u64| bytes >> 10;
    line("memory", format!("{} -> {} KiB", kib(shadow.running_memory_bytes), kib(shadow.candidate_memory_bytes)));
    text.push_str(if shadow.is_same { "the same so far\n" } else { "not the same\n" });
    text
}

fn pairs(examples: &[Pair]) -> String {
    let shown: Vec<String> = examples.iter().map(|pair| format!("{} -> {}", pair.running, pair.candidate)).collect();
    if shown.is_empty() { String::new() } else { format!(", e.g. {}", shown.join(", ")) }
}

pub(super) fn tables(tables: &Tables) -> String {
    let rows: Vec<_> = tables
        .tables
        .iter()
        .map(|of| {
            let numbers = [(of.prefixes + of.keys).to_string(), of.values.to_string()];
            let digest = of.sha256.chars().take(12).collect();
            [vec![of.name.clone(), of.kind.clone()], numbers.to_vec(), vec![digest, of.path.clone()]].concat()
        })
        .collect();
    table(&["table", "type", "entries", "values", "sha256", "file"], &rows)
}

pub(super) fn table_reload(reload: &TableReload) -> String {
    let TableReload { exchanged, table } = reload;
    let what = if *exchanged { "exchanged" } else { "unchanged" };
    let entries =
        if table.kind == "values" { format!("{} keys", table.keys) } else { format!("{} prefixes", table.prefixes) };
    format!("{}: {what}, {entries}, {} values\n", table.name, table.values)
}

pub(super) fn changed(changed: &Changed) -> String {
    let Changed { added, removed, changed, rewired } = changed;
    let lists = [("added", added), ("removed", removed), ("changed", changed)];
    let said = lists.into_iter().filter(|(_, names)| !names.is_empty());
    let mut said: Vec<String> = said.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
    said.extend(rewired.then(|| "rows go other ways".to_owned()));
    if said.is_empty() { "nothing changed\n".to_owned() } else { format!("{}\n", said.join("; ")) }
}

pub(super) fn exporters(exporters: &Exporters) -> String {
    let now_ms = now_ms();
    let rows: Vec<_> = exporters
        .exporters
        .iter()
        .map(|of| {
            let rate = |rate: &crate::admin::shapes::Sampling| match rate.of.as_str() {
                "exporter" => format!("1/{}", rate.rate),
                what => format!("1/{} ({what} {})", rate.rate, rate.id),
            };
            let sampling: Vec<String> = of.sampling.iter().map(rate).collect();
            vec![
                of.source.clone(),
                of.exporter.to_string(),
                of.protocol.clone(),
                of.domain.to_string(),
                of.datagrams.to_string(),
                of.records.to_string(),
                of.missing.to_string(),
                of.gaps.to_string(),
                of.templates.to_string(),
                format!("{} ago", span(now_ms.saturating_sub(of.last_seen_ms))),
                sampling.join(", "),
            ]
        })
        .collect();
    let headings = [
        "source",
        "exporter",
        "protocol",
        "domain",
        "datagrams",
        "records",
        "missing",
        "gaps",
        "templates",
        "last seen",
        "sampling",
    ];
    table(&headings, &rows) + &left_out(exporters.left_out)
}

pub(super) fn templates(templates: &Templates) -> String {
    let mut text = String::new();
    for of in &templates.templates {
        writeln!(
            text,
            "{} {} {} domain {}: {} template {}, {} old",
            of.source,
            of.exporter,
            of.protocol,
            of.domain,
            of.kind,
            of.id,
            span(of.age_ms)
        )
        .expect("a string grows");
        let rows: Vec<_> = of.fields.iter().map(field).collect();
        for line in table(&["element", "name", "bytes", ""], &rows).lines() {
            writeln!(text, "    {line}").expect("a string grows");
        }
    }
    text + &left_out(templates.left_out)
}

fn field(field: &TemplateField) -> Vec<String> {
    let element = if field.enterprise == 0 {
        field.element.to_string()
    } else {
        format!("{}/{}", field.enterprise, field.element)
    };
    let length = field.length.map_or_else(|| "varying".to_owned(), |length| length.to_string());
    let scope = if field.scope { "scope" } else { "" };
    vec![element, field.name.clone().unwrap_or_default(), length, scope.to_owned()]
}

fn left_out(left_out: u64) -> String {
    if left_out == 0 { String::new() } else { format!("{left_out} more; see --limit, --source and --exporter\n") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn numbers_stand_on_the_right_and_words_on_the_left() {
        let rows = [vec!["edge".to_owned(), "7".to_owned(), String::new()], vec!["x".to_owned(), "1234".to_owned()]];
        expect![[r#"
            name    in  why
            edge     7
            x     1234
        "#]]
        .assert_eq(&table(&["name", "in", "why"], &rows));
        assert_eq!(table(&["name", "in"], &[]), "name  in\n");
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        let spans = [0, 999, 61_000, 3_600_000, 93_784_000].map(span);
        assert_eq!(spans, ["0s", "0s", "1m 1s", "1h", "1d 2h"]);
    }
}
