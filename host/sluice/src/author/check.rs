//! `sluice plugin check`: what breaks a plugin, found with made-up batches.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};
use sluice_flow::Schema;
use sluice_kit::check::{self, CheckReport, CheckSettings, Found, Outcome};
use sluice_kit::rows;

use crate::author::subject::{self, Shown, With};
use crate::author::{print, write_whole};
use crate::failure::Failure;

/// `sluice plugin check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// A component or core module, or the name of a built-in plugin.
    pub(crate) plugin: PathBuf,
    /// Configuration for its `init`.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) config: String,
    /// Lend it the `[tables.NAME]`, `[keys.NAME]` and `[assets.NAME]` of this file, e.g. of a pipeline's configuration.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) with: Option<PathBuf>,
    /// The same batches for the same number.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Made-up batches, beside those that show whether its memory grows.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) batches: usize,
    /// Small batches in a row that show whether its memory grows; 0 skips that.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) memory_batches: usize,
    /// Folder for cases that show what was found, as check-RULE.toml. Made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "tests")]
    pub(crate) save: PathBuf,
    /// How the findings are printed.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
}

/// How findings and measurements are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Checks, prints what was found, and saves cases of what is broken.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = subject::config(&args.config)?;
    let with = With::read(args.with.as_deref())?;
    let component = subject::component(&args.plugin)?;
    let name = component.describe();
    let host = subject::host(true)?;
    let spec = subject::stage(component, &args.config, with.services()?);
    let settings = CheckSettings {
        seed: args.seed,
        batches: args.batches.max(1),
        memory_batches: args.memory_batches,
        ..CheckSettings::default()
    };
    let mut shown = Shown::new();
    let checked = check::check(&host, &spec, &settings, &mut |what, done, of| shown.progress(what, done, of));
    drop(shown);
    let report = checked.map_err(|error| {
        let problem = error.kind.to_string();
        let problem = problem.strip_prefix(&format!("{name} ")).unwrap_or(&problem);
        Failure::usage(format!("{name}: {problem}{}", with.hint(problem)))
    })?;

    let header = format!("{}{}", subject::config_toml(&config), with.to_toml(&args.save));
    let saved = save(args, &report, &header)?;
    match args.format {
        ReportFormat::Text => print(&text(args, &report, &saved))?,
        ReportFormat::Json => print(&format!("{:#}\n", as_json(args, &report, &saved)))?,
    }
    if report.holds() {
        return Ok(());
    }
    let broken = report.found.iter().filter(|found| found.outcome == Outcome::Broken).count();
    let things = if broken == 1 { "a rule is broken" } else { "rules are broken" };
    Err(Failure::failed(format!("{name}: {things}")))
}

/// Writes a fixture for each case; the files, finding by finding.
fn save(args: &CheckArgs, report: &CheckReport, header: &str) -> Result<Vec<Option<PathBuf>>, Failure> {
    let mut saved: Vec<Option<PathBuf>> = Vec::new();
    for (at, found) in report.found.iter().enumerate() {
        let shows = found.rule.shows_in_a_test();
        let Some(case) = found.case.as_ref().filter(|case| shows && case.is_writable) else {
            saved.push(None);
            continue;
        };
        let before = report.found[..at].iter().filter(|other| other.rule == found.rule).count();
        let number = if before > 0 { format!("-{}", before + 1) } else { String::new() };
        let path = args.save.join(format!("check-{}{number}.toml", found.rule.name()));
        let mut comment = vec![
            format!("Found by `sluice plugin check` (seed {}): {}", args.seed, found.text),
            "It fails until that is mended.".to_owned(),
        ];
        comment.extend(found.details.iter().take(8).map(|line| format!("  {line}")));
        let name = format!("check {}{number}: {}", found.rule.name(), found.rule.promise());
        let text = check::fixture(&name, &comment, header, case, report.manifest.writes);
        write_case(&args.save, &path, &text)?;
        saved.push(Some(path));
    }
    Ok(saved)
}

/// Writes a fixture into a folder, which is made.
pub(super) fn write_case(dir: &Path, path: &Path, text: &str) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| Failure::running(dir.display().to_string(), error))?;
    write_whole(path, text.as_bytes())
}

fn text(args: &CheckArgs, report: &CheckReport, saved: &[Option<PathBuf>]) -> String {
    let schema = Schema::standard();
    let manifest = &report.manifest;
    let columns = |set| match rows::names_of(&schema, set) {
        names if names.is_empty() => "nothing".to_owned(),
        names => names.join(" "),
    };
    let mut text = format!("{} {}, seed {}\n", manifest.name, manifest.version, args.seed);
    let mut line = |what: &str, value: &str| writeln!(text, "{what:<8} {value}").expect("a string grows");
    line("reads", &columns(manifest.reads));
    line("writes", &columns(manifest.writes));
    line("state", if manifest.stateful { "stateful" } else { "stateless" });
    for (found, saved) in report.found.iter().zip(saved) {
        line(outcome(found.outcome), &format!("{}: {}", found.rule.name(), found.text));
        for detail in &found.details {
            line("", &format!("  {detail}"));
        }
        if let Some(case) = &found.case {
            let (calls, _, rows) = case.size();
            let smallest = format!(
                "{} with {} in all, found in {}",
                count(calls, "call"),
                count(rows, "row"),
                count(case.attempts, "attempt")
            );
            match saved {
                Some(path) => {
                    line("", &format!("  case: {} ({smallest}); `sluice plugin test` runs it", path.display()))
                }
                None => line("", &format!("  case: {smallest}; not one that `sluice plugin test` could show")),
            }
        }
    }
    text
}

/// `1 row`, `2 rows`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Holds => "ok",
        Outcome::Warning => "warning",
        Outcome::Broken => "BROKEN",
        Outcome::Skipped => "-",
    }
}

fn as_json(args: &CheckArgs, report: &CheckReport, saved: &[Option<PathBuf>]) -> Value {
    let found = |(found, saved): (&Found, &Option<PathBuf>)| {
        let case = found.case.as_ref().map(|case| {
            let (calls, batches, rows) = case.size();
            json!({ "file": saved, "calls": calls, "batches": batches, "rows": rows, "attempts": case.attempts })
        });
        let outcome = match found.outcome {
            Outcome::Holds => "ok",
            Outcome::Warning => "warning",
            Outcome::Broken => "broken",
            Outcome::Skipped => "skipped",
        };
        json!({
            "rule": found.rule.name(),
            "outcome": outcome,
            "text": found.text,
            "details": found.details,
            "case": case,
        })
    };
    json!({
        "plugin": report.manifest.name,
        "version": report.manifest.version,
        "seed": args.seed,
        "batches": args.batches,
        "holds": report.holds(),
        "rules": report.found.iter().zip(saved).map(found).collect::<Vec<_>>(),
    })
}
