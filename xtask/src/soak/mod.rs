//! `cargo xtask soak`: a collector under load for an hour, while everything that can change does, and an exact balance at the end.

mod asks;
mod changes;
mod collector;
mod folder;
mod load;
mod report;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use collector::Collector;

use crate::{Outcome, root, system};

/// What the arguments say.
struct Settings {
    time: Duration,
    /// Records a second.
    rate: u64,
    seed: u64,
    /// Longest time between two changes, in milliseconds.
    pace: u64,
    /// Whether plugins are exchanged for good ones, and nothing else happens.
    only_swaps: bool,
    binary: Option<PathBuf>,
    /// Where the report goes.
    report: Option<PathBuf>,
}

pub(crate) const HELP: &str =
    "soak [--for 1h] [--rate 20000] [--seed 1] [--pace 1500] [--only swaps] [--binary FILE] [--report FILE]";

fn settings(arguments: &[String]) -> Result<Settings, String> {
    let mut settings = Settings {
        time: Duration::from_secs(3600),
        rate: 20_000,
        seed: 1,
        pace: 1500,
        only_swaps: false,
        binary: None,
        report: None,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} wants a value: {HELP}"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{argument} {value}: {error}"));
        match argument.as_str() {
            "--for" => settings.time = duration(value)?,
            "--rate" => settings.rate = number()?.max(1),
            "--seed" => settings.seed = number()?,
            "--pace" => settings.pace = number()?.max(1),
            "--only" if value == "swaps" => settings.only_swaps = true,
            "--binary" => settings.binary = Some(PathBuf::from(value)),
            "--report" => settings.report = Some(PathBuf::from(value)),
            other => return Err(format!("unknown argument `{other}`: {HELP}")),
        }
    }
    Ok(settings)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write e.g. 90s, 30m or 1h");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().map(|number| Duration::from_secs(number * seconds)).map_err(|_| wrong())
}

/// Runs it.
pub(crate) fn soak(arguments: &[String]) -> Outcome {
    let settings = settings(arguments)?;
    let binary = match &settings.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let plugin = guest()?;
    let asks = if settings.only_swaps { None } else { Some(asks::Asks::new(&binary, folder.path())?) };
    let mut changes = changes::Changes::new(folder.path(), &plugin, settings.seed, asks)?;
    let tenants_rows = load::Pipe::make(&folder.path().join(folder::TENANTS_ROWS))?;
    let (mut collector, rows, log) = Collector::start(&binary, folder.path())?;
    let seen = load::Seen::read(rows);
    let log = load::Log::read(log, Arc::clone(&collector.processes));

    let is_over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let exporter = {
        let (is_over, sent) = (Arc::clone(&is_over), Arc::clone(&sent));
        let (exports, admin, rate) = (collector.exports, collector.admin, settings.rate);
        thread::spawn(move || load::send(exports, admin, rate, &sent, &is_over))
    };
    let began = Instant::now();
    let mut memory = Vec::new();
    let mut said = Instant::now();
    while began.elapsed() < settings.time {
        changes.make_one(&collector, settings.pace)?;
        if memory.is_empty() || said.elapsed() >= Duration::from_secs(10) {
            said = Instant::now();
            memory.push((began.elapsed(), collector.memory()));
            println!(
                "{:>5} s: {} flows sent, {} changes, {} MB",
                began.elapsed().as_secs(),
                sent.load(Ordering::Relaxed),
                changes.made(),
                collector.memory() >> 20
            );
        }
    }
    is_over.store(true, Ordering::Release);
    exporter.join().map_err(|_| "the exporter failed")??;
    let metrics = collector::get(collector.admin, "/metrics")?;
    collector.signal("TERM");
    let status = collector.wait()?;
    let facts = report::Facts {
        ran: began.elapsed(),
        rate: settings.rate,
        seed: settings.seed,
        pace: settings.pace,
        sent: sent.load(Ordering::Acquire),
        seen: seen.end(),
        has_tenant: !settings.only_swaps,
        tenants: tenants_rows.end(),
        log: log.end(),
        metrics,
        memory,
        made: changes.by_kind(),
        asked: changes.outcomes(),
        wrong: changes.wrong(),
        is_in_order: status.success(),
    };
    let (text, problems) = facts.text();
    println!("{text}");
    if let Some(report) = &settings.report {
        fs::write(report, &text).map_err(|error| format!("{}: {error}", report.display()))?;
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn build() -> Result<PathBuf, String> {
    let status = Command::new(env!("CARGO")).args(["build", "--release", "-p", "sluice"]).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(system::target_dir().join("release/sluice")),
        _ => Err("the collector was not built".to_owned()),
    }
}

/// The plugin of the plugin host's tests, which does what it is told to.
fn guest() -> Result<Vec<u8>, String> {
    let source = root().join("host/plugin/tests/guest");
    let target = system::target_dir().join("soak");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128")
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("the plugin was not built (rustup target add wasm32-wasip2?)".to_owned());
    }
    let file = target.join("wasm32-wasip2/release/guest.wasm");
    fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))
}
