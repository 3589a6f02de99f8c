//! The pages of the reference that are written by hand say what the binary says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::tool::{Running, exporter, get, netflow5, sluice};

/// Families that are there only after something went wrong, so not in an orderly run.
const ONLY_IN_TROUBLE: &[&str] =
    &["sluice_source_dropped_rows", "sluice_stage_plugin_traps", "sluice_stage_plugin_failed_rows"];

/// Beginnings of families that are there only with Kafka: `kafka/metrics.rs` compares those.
pub(crate) const ONLY_WITH_KAFKA: &[&str] = &["sluice_source_kafka_", "sluice_sink_kafka_", "sluice_sink_buffer_"];

/// Every kind of component that needs nothing but this machine, and rows dropped in a stage and in a sink.
const EVERY_KIND: &str = r#"
    [admin]
    listen = "127.0.0.1:0"

    [sources.edge]
    type = "udp"
    listen = "127.0.0.1:0"
    batch_delay_ms = 5

    [sources.old]
    type = "capture"
    paths = ["old.bin"]

    [tables.customers]
    type = "prefix"
    path = "customers.csv"

    [stages.enrich]
    inputs = ["edge", "old"]
    plugin = "enricher"
    shadow = { plugin = "enricher", every = 1 }
    config = { customers = { table = "customers", drop_unmatched = true } }

    [stages.dos]
    inputs = ["enrich"]
    plugin = "dos-detector"
    config = { hosts = { total = { flows = 1_000_000 } } }

    [stages.reduce]
    inputs = ["dos"]
    plugin = "reducer"
    config = { mode = "truncate" }

    [stages.tenants]
    inputs = ["reduce"]
    plugin = "splitter"
    config = { name = "tenant-{customer_id}" }

    [sinks.screen]
    type = "stdout"
    inputs = ["tenants.*"]
    limit_per_s = 1

    [sinks.disk]
    type = "file"
    inputs = ["tenants"]
    path = "flows.json"

    [sinks.nowhere]
    type = "null"
    inputs = ["edge"]

    [sinks.alerts]
    type = "events"
    inputs = ["dos"]
"#;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics of a run with every kind of component, once the rows of a datagram have arrived everywhere.
fn metrics_of_a_run() -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.toml");
    fs::write(&config, EVERY_KIND).unwrap();
    // Hosts 1, 2 and 3 belong to somebody, host 200 does not and is dropped.
    fs::write(folder.path().join("customers.csv"), "192.0.2.0/25,7\n").unwrap();
    fs::write(folder.path().join("old.bin"), netflow5(0, &[1])).unwrap();

    let mut run = Running::start(&config);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();
    exporter(to).send(&netflow5(0, &[1, 2, 3, 200])).unwrap();
    let arrived = [
        "sluice_sink_in_rows_total{sink=\"disk\"} 4\n",
        "sluice_sink_in_rows_total{sink=\"screen\"} 4\n",
        "sluice_sink_in_rows_total{sink=\"nowhere\"} 4\n",
        "sluice_sink_dropped_rows_total{sink=\"screen\",reason=\"not_shown\"}",
    ];
    let metrics = loop {
        let metrics = get(admin, "/metrics");
        if arrived.iter().all(|line| metrics.contains(line)) {
            break metrics;
        }
    };
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    metrics
}

/// The names of the families in `metrics`, as they are asked for.
pub(crate) fn printed(metrics: &str) -> BTreeSet<String> {
    let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = families.map(|line| match line.split_once(' ').unwrap() {
        (name, "counter") => format!("{name}_total"),
        (name, _) => name.to_owned(),
    });
    names.collect()
}

/// The names of the families in the reference.
pub(crate) fn documented() -> BTreeSet<String> {
    let page = page("metrics.md");
    let lines = page.lines().filter_map(|line| line.strip_prefix("| `sluice_"));
    lines.map(|line| format!("sluice_{}", line.split('`').next().unwrap())).collect()
}

#[test]
fn every_metric_has_its_line_in_the_reference_and_every_line_its_metric() {
    let metrics = metrics_of_a_run();
    let printed = printed(&metrics);
    assert!(printed.len() > 40, "{metrics}");
    let mut documented = documented();
    documented.retain(|name| !ONLY_WITH_KAFKA.iter().any(|beginning| name.starts_with(beginning)));
    let of_trouble = ONLY_IN_TROUBLE.iter().map(|name| format!("{name}_total")).collect();
    let missing: Vec<_> = printed.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference/metrics.md: {missing:?}");
    let gone: Vec<_> = documented.difference(&printed).filter(|name| !BTreeSet::contains(&of_trouble, *name)).collect();
    assert!(gone.is_empty(), "in docs/reference/metrics.md and not printed: {gone:?}");
}

/// Standard output of `sluice ARGS`.
fn help(args: &[&str]) -> String {
    let output = sluice().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the commands, from the lists in the help; one with commands of its own stands for those.
fn commands(of: &[&str]) -> Vec<String> {
    let help = help(&[&["help"], of].concat());
    let Some(list) = help.split("Commands:\n").nth(1) else { return vec![of.join(" ")] };
    let list = list.split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help");
    names.flat_map(|name| commands(&[of, &[name]].concat())).collect()
}

/// The `--options` that a text names.
fn long_options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_option = |word: &&str| word.strip_prefix("--").is_some_and(|name| name.starts_with(char::is_alphabetic));
    words.filter(is_option).map(str::to_owned).collect()
}

#[test]
fn every_command_and_option_is_in_the_reference_and_nothing_else() {
    let page = page("cli.md");
    let commands = commands(&[]);
    assert!(commands.len() >= 5, "{commands:?}");
    let headings = page.lines().filter_map(|line| line.strip_prefix("## `sluice "));
    // `plugin new NAME`: a command is in lower case.
    let is_command = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    let documented: Vec<String> = headings
        .map(|line| line.trim_end_matches('`').split(' ').take_while(is_command).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(documented, commands, "the commands of docs/reference/cli.md, in the order of the help");

    // What every command has, and its help, is described once, above the commands.
    let (general, sections) = page.split_once("\n## `sluice ").unwrap();
    let everywhere = long_options(general);
    for (command, section) in commands.iter().zip(sections.split("\n## `sluice ")) {
        let section = section.split("\n## ").next().unwrap();
        let own: BTreeSet<String> =
            long_options(&help(&[&["help"], &command.split(' ').collect::<Vec<_>>()[..]].concat()))
                .difference(&everywhere)
                .cloned()
                .collect();
        let documented = long_options(section).difference(&everywhere).cloned().collect::<BTreeSet<_>>();
        assert_eq!(documented, own, "options of `sluice {command}` in docs/reference/cli.md");
    }
    assert!(long_options(&help(&["help"])).is_subset(&everywhere), "options of every command");
}
