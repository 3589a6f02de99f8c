//! `sluice plugin replay`: a recorded call, made again.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sluice_flow::{Batch, ColumnSet, Pool, Schema};
use sluice_kit::check::{self, Case, CaseStep};
use sluice_kit::generate::Step;
use sluice_kit::replay::{self, Given, ReplayError, Replayed, Verdict};
use sluice_kit::rows::toml_text;
use sluice_pipeline::chain;
use sluice_plugin::recording::{About, Ended, GrantedNames, Recorded, Recording};
use sluice_plugin::{ComponentSource, digest_of};

use crate::author::check::{ReportFormat, write_case};
use crate::author::print;
use crate::author::subject::{self, With, table_toml};
use crate::build::BUILT_IN;
use crate::failure::Failure;

/// `sluice plugin replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The recording that a stage with `record` wrote.
    pub(crate) recording: PathBuf,
    /// Make the call with this component instead, or with a built-in plugin: exit 0 if it does not end the instance.
    #[arg(long, value_name = "OTHER.wasm")]
    pub(crate) plugin: Option<PathBuf>,
    /// Look here for the component of the recording, by its SHA-256; else it is looked for where it was, and among the
    /// built-in plugins.
    #[arg(long, value_name = "DIR", conflicts_with = "plugin")]
    pub(crate) plugin_dir: Option<PathBuf>,
    /// Lend it the tables and assets of this file that are not in the recording.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) with: Option<PathBuf>,
    /// Write the calls as a case of `sluice plugin test` into this folder, too.
    #[arg(long, value_name = "DIR")]
    pub(crate) save_case: Option<PathBuf>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
}

/// Replays, and prints what came of it.
pub(super) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let recording = Recording::read(&args.recording).map_err(|error| Failure::usage(printable(&chain(&error))))?;
    let about = &recording.about;
    let component = match &args.plugin {
        Some(plugin) => subject::component(plugin)?,
        None => find(about, args.plugin_dir.as_deref())?,
    };
    let given = given(&With::read(args.with.as_deref())?)?;
    let case = args.save_case.as_ref().map(|dir| save(args, &recording, dir)).transpose()?;
    let replayed = replay::replay(&recording, &subject::host(false)?, component.clone(), &given);
    let mut replayed = replayed.map_err(|error| match &error {
        ReplayError::Earlier { trap, .. } => {
            let places: Vec<String> =
                trap.backtrace.iter().map(|frame| format!("\n  at {}", printable(frame))).collect();
            Failure::failed(format!("{}{}", printable(&error.to_string()), places.concat()))
        }
        _ => Failure::usage(printable(&error.to_string())),
    })?;
    // Counting costs time, of which a deadline leaves only so much: what it is like is seen without.
    let counted = replay::replay(&recording, &subject::host(true)?, component, &given);
    replayed.fuel = counted.ok().and_then(|counted| counted.fuel);
    let verdict = replay::verdict(&about.ended, &replayed.ended);
    match args.format {
        ReportFormat::Text => print(&text(args, &recording, &replayed, verdict, case.as_deref()))?,
        ReportFormat::Json => {
            print(&format!("{:#}\n", as_json(args, &recording, &replayed, verdict, case.as_deref())))?
        }
    }
    if is_fine(args, &replayed, verdict) {
        return Ok(());
    }
    let file = args.recording.display();
    Err(Failure::failed(match args.plugin {
        Some(_) => format!("{file}: the other component fails too"),
        None => format!("{file}: not reproduced"),
    }))
}

/// What the exit code says: with another component whether it is better, else whether it is the same.
fn is_fine(args: &ReplayArgs, replayed: &Replayed, verdict: Verdict) -> bool {
    match args.plugin {
        Some(_) => !is_trap(&replayed.ended),
        None => verdict == Verdict::Reproduced,
    }
}

fn is_trap(ended: &Ended) -> bool {
    ["trap", "deadline", "memory"].contains(&ended.how.as_str())
}

/// The component that was recorded, wherever it is.
fn find(about: &About, dir: Option<&Path>) -> Result<ComponentSource, Failure> {
    let wanted = |source: &ComponentSource| digest_of(source).is_ok_and(|digest| hex(&digest) == about.plugin.sha256);
    let built_in = BUILT_IN.iter().map(|(name, bytes)| ComponentSource::Embedded { name, bytes });
    let mut files: Vec<PathBuf> = about.plugin.file.iter().cloned().collect();
    if let Some(dir) = dir {
        let entries =
            fs::read_dir(dir).map_err(|error| Failure::usage(format!("--plugin-dir {}: {error}", dir.display())))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        found.sort();
        files.extend(found);
    }
    // The name of the file is a stranger's: what is no plain file is not opened.
    let files = files.into_iter().filter(|path| path.is_file());
    let files = files.map(|path| ComponentSource::File { path, sha256: None });
    built_in.chain(files).find(wanted).ok_or_else(|| {
        let plugin = &about.plugin;
        Failure::usage(printable(&format!(
            "the component of the recording is not here ({} {}, SHA-256 {}{}): give its folder with --plugin-dir, or \
             another version with --plugin",
            plugin.name,
            plugin.version,
            plugin.sha256,
            plugin.file.as_ref().map_or(String::new(), |file| format!(", was {}", file.display())),
        )))
    })
}

fn given(with: &With) -> Result<Given, Failure> {
    let tables = with.lent.tables.iter().map(|table| (table.name.clone(), table.value.spec()));
    let services = with.services()?;
    let assets = services.assets.iter().map(|(name, bytes)| (name.clone(), Arc::clone(bytes)));
    Ok(Given { tables: tables.collect(), assets: assets.collect() })
}

/// Writes the calls as a fixture; the file.
fn save(args: &ReplayArgs, recording: &Recording, dir: &Path) -> Result<PathBuf, Failure> {
    let about = &recording.about;
    let stem = args.recording.file_stem().unwrap_or_default().to_string_lossy();
    let path = dir.join(format!("replay-{}.toml", plain(&stem)));
    let mut header = config_toml(about);
    let beside = |kind: &str, name: &str, bytes: &[u8]| -> Result<String, Failure> {
        let file = format!("replay-{}.{kind}-{}", plain(&stem), plain(name));
        write_case_file(dir, &dir.join(&file), bytes)?;
        Ok(file)
    };
    for table in &about.tables {
        let Some((_, contents)) = recording.tables.iter().find(|(name, _)| *name == table.name) else { continue };
        let file = beside("table", &table.name, contents)?;
        let spec = table.spec(file.clone().into()).map_err(Failure::usage)?;
        header.push_str(&table_toml(&toml_text(&table.name), &spec, &file));
    }
    for key in &about.keys {
        let file = toml_text(&beside("key", key, replay::made_up_key(key).as_bytes())?);
        header.push_str(&format!("\n[keys.{}]\npath = {file}\n", toml_text(key)));
    }
    for (name, contents) in &recording.assets {
        let file = toml_text(&beside("asset", name, contents)?);
        header.push_str(&format!("\n[assets.{}]\npath = {file}\n", toml_text(name)));
    }
    let steps = recording.calls.iter().map(|call| CaseStep { step: step(call), restart: false, expected: None });
    let case = Case { steps: steps.collect(), attempts: 0, is_writable: true };
    let mut comment = vec![format!(
        "Recorded in stage `{}`: {} {} ended with {}",
        about.stage,
        about.plugin.name,
        about.plugin.version,
        said(&about.ended)
    )];
    if recording.snapshot.as_ref().is_some_and(|state| !state.is_empty()) {
        comment.push(
            "The state that it had before these calls is not in this case, and it may not fail without.".to_owned(),
        );
    }
    let name = format!("replay of {stem}");
    let text = check::fixture(&name, &comment, &header, &case, ColumnSet::EMPTY);
    write_case(dir, &path, &text)?;
    Ok(path)
}

fn write_case_file(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| Failure::running(dir.display().to_string(), error))?;
    super::write_whole(path, bytes)
}

/// Configuration, grant and limits as a fixture has them.
fn config_toml(about: &About) -> String {
    let mut text = serde_json::from_str(&about.config).map_or(String::new(), |config| subject::config_toml(&config));
    let limits = &about.limits;
    text.push_str(&format!("limits = {{ memory_bytes = {}, deadline_ms = {} }}\n", limits.memory, limits.deadline_ms));
    // A grant of what is not in the recording cannot be written; without one a test grants what the manifest asks for.
    let is_whole = |grant: &&GrantedNames| grant.tables.is_empty() && grant.keys.is_empty() && grant.assets.is_empty();
    if let Some(grant) = about.grant.as_ref().filter(is_whole) {
        let list = |names: &[String]| names.iter().map(|name| toml_text(name)).collect::<Vec<_>>().join(", ");
        let (read, write) = (list(&grant.read), list(&grant.write));
        text.push_str(&format!("grant = {{ read = [{read}], write = [{write}], events = {} }}\n", grant.events));
    }
    text
}

/// The call with the standard columns: tests know no others.
fn step(call: &Recorded) -> Step {
    let batch = match call {
        Recorded::Process(batch) => batch,
        Recorded::Tick(now_ms) => return Step::Tick(*now_ms),
    };
    let mut standard = Batch::new(Arc::new(Schema::standard()), Pool::default(), batch.rows());
    standard.stamp(batch.id(), batch.now_ms());
    for (number, column) in batch.columns() {
        // An operator's own column is none of the standard ones.
        standard.set(number, column.clone()).unwrap_or_default();
    }
    Step::Batch(standard)
}

fn text(
    args: &ReplayArgs,
    recording: &Recording,
    replayed: &Replayed,
    verdict: Verdict,
    case: Option<&Path>,
) -> String {
    let about = &recording.about;
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        writeln!(text, "{what:<9} {}", printable(value)).expect("a string grows");
    };
    let plugin = &about.plugin;
    line(
        "recorded",
        &format!("{} {} in stage `{}`, by {}", plugin.name, plugin.version, about.stage, about.written_by),
    );
    line("sha256", &plugin.sha256);
    line("call", &call(recording));
    line("ended", &said(&about.ended));
    about.ended.backtrace.iter().for_each(|frame| line("", &format!("  at {frame}")));
    line("replayed", &format!("{} {}", replayed.manifest.name, replayed.manifest.version));
    if replayed.sha256 != plugin.sha256 {
        line("sha256", &replayed.sha256);
    }
    line("ended", &said(&replayed.ended));
    if replayed.ended.backtrace == about.ended.backtrace && is_trap(&about.ended) {
        line("", "  at the same place");
    } else {
        replayed.ended.backtrace.iter().for_each(|frame| line("", &format!("  at {frame}")));
    }
    replayed.log.iter().for_each(|logged| line("log", &logged.text));
    let ms = replayed.time.as_secs_f64() * 1000.0;
    let fuel = replayed.fuel.map_or(String::new(), |fuel| format!("{fuel} fuel, "));
    line("cost", &format!("{fuel}{ms:.1} ms"));
    replayed.doubts.iter().for_each(|doubt| line("doubt", doubt));
    if let Some(case) = case {
        line("case", &format!("{}; `sluice plugin test` runs it", case.display()));
    }
    line("verdict", sentence(args, replayed, verdict));
    text
}

fn sentence(args: &ReplayArgs, replayed: &Replayed, verdict: Verdict) -> &'static str {
    match (&args.plugin, verdict) {
        (Some(_), _) if is_trap(&replayed.ended) => "the other component fails too",
        (Some(_), _) => "the other component passes",
        (None, Verdict::Reproduced) => "reproduced",
        (None, Verdict::OtherPlace) => "not reproduced: it ends in the same way, at another place",
        (None, Verdict::Differs) => "not reproduced: it ends otherwise",
    }
}

/// What the call was given.
fn call(recording: &Recording) -> String {
    let what = match recording.calls.last() {
        Some(Recorded::Process(batch)) => {
            format!("process on batch {} of {} rows, batch time {} ms", batch.id(), batch.rows(), batch.now_ms())
        }
        Some(Recorded::Tick(now_ms)) => format!("tick, batch time {now_ms} ms"),
        None => "nothing".to_owned(),
    };
    let before = recording.calls.len() - 1;
    let state = recording.snapshot.as_ref().map(|state| format!("from a state of {} bytes", state.len()));
    match (before, state) {
        (0, None) => what,
        (0, Some(state)) => format!("{what}, {state}"),
        (before, None) => format!("{what}, after {before} others"),
        (before, Some(state)) => format!("{what}, after {before} others {state}"),
    }
}

fn said(ended: &Ended) -> String {
    let rows = ended.rows_kept.map_or(String::new(), |rows| format!(", {rows} rows kept"));
    let text = ended.text.strip_prefix("wasm trap: ").unwrap_or(&ended.text);
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    format!("{}{text}{rows}", ended.how)
}

fn as_json(
    args: &ReplayArgs,
    recording: &Recording,
    replayed: &Replayed,
    verdict: Verdict,
    case: Option<&Path>,
) -> Value {
    let log: Vec<&str> = replayed.log.iter().map(|line| line.text.as_str()).collect();
    json!({
        "recorded": recording.about,
        "calls_before": replayed.calls_before,
        "replayed": {
            "plugin": replayed.manifest.name,
            "version": replayed.manifest.version,
            "sha256": replayed.sha256,
            "ended": replayed.ended,
            "fuel": replayed.fuel,
            "ms": replayed.time.as_secs_f64() * 1000.0,
            "log": log,
            "doubts": replayed.doubts,
        },
        "reproduced": verdict == Verdict::Reproduced,
        "passes": !is_trap(&replayed.ended),
        "verdict": sentence(args, replayed, verdict),
        "case": case,
    })
}

/// A stranger's text on one line, without what a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// A stranger's name as part of a file's.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
