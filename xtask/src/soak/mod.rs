//! `cargo xtask soak`: a collector under load for an hour, while everything that can change does, and an exact balance at the end.

mod asks;
mod changes;
mod collector;
mod cpu;
mod folder;
mod load;
mod metrics;
mod report;
mod rows;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use collector::Collector;
use rustix::process::Signal;

use crate::{Outcome, root, system};

/// How often memory is looked at, and how often something is said.
const SAMPLE: Duration = Duration::from_secs(1);
const SAY: Duration = Duration::from_secs(10);

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
    /// How many exchanges are enough.
    swaps: Option<u64>,
    binary: Option<PathBuf>,
    /// Where the report goes.
    report: Option<PathBuf>,
}

pub(crate) const HELP: &str = "soak [--for 1h] [--rate 20000] [--seed 1] [--pace 1500] [--only swaps [--swaps N]] [--binary FILE] [--report FILE]";

fn settings(arguments: &[String]) -> Result<Settings, String> {
    let mut settings = Settings {
        time: Duration::from_secs(3600),
        rate: 20_000,
        seed: 1,
        pace: 1500,
        only_swaps: false,
        swaps: None,
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
            "--swaps" => settings.swaps = Some(number()?),
            "--binary" => settings.binary = Some(PathBuf::from(value)),
            "--report" => settings.report = Some(PathBuf::from(value)),
            other => return Err(format!("unknown argument `{other}`: {HELP}")),
        }
    }
    if settings.swaps.is_some() && !settings.only_swaps {
        return Err(format!("--swaps goes with --only swaps: {HELP}"));
    }
    if settings.time.as_secs().saturating_mul(settings.rate) > u64::from(u32::MAX) {
        return Err("flows are numbered in 32 bits: take a lower --rate, or a shorter --for".to_owned());
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
    let tenants_rows = rows::Pipe::make(&folder.path().join(folder::TENANTS_ROWS))?;
    let (own, others) = cpu::of_process_and_children();
    let (mut collector, rows, log) = Collector::start(&binary, folder.path())?;
    let seen = rows::Seen::read(rows);
    let log = load::Log::read(log, Arc::clone(&collector.processes));

    let is_over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let exporter = load::Exporter {
        to: collector.exports,
        admin: collector.admin,
        rate: settings.rate,
        read_back: settings.only_swaps.then(|| seen.rows()),
        sent: Arc::clone(&sent),
        is_over: Arc::clone(&is_over),
    };
    let exporter = thread::spawn(|| exporter.run());
    let began = Instant::now();
    let mut memory: Vec<(Duration, u64)> = Vec::new();
    let mut said = None;
    let mut swaps = 0;
    while began.elapsed() < settings.time
        && settings.swaps.is_none_or(|enough| swaps < enough)
        && !exporter.is_finished()
    {
        if settings.only_swaps {
            swaps = changes.swap(&collector, settings.pace)?;
        } else {
            changes.make_one(&collector, settings.pace)?;
        }
        let now = began.elapsed();
        if memory.last().is_none_or(|(last, _)| now - *last >= SAMPLE) {
            memory.push((now, collector.memory()));
        }
        if said.is_none_or(|said| now - said >= SAY) {
            said = Some(now);
            println!(
                "{:>5} s: {} flows sent, {} changes{}, {} MB",
                now.as_secs(),
                sent.load(Ordering::Relaxed),
                changes.made(),
                if settings.only_swaps { format!(", {swaps} exchanges counted") } else { String::new() },
                collector.memory() >> 20
            );
        }
    }
    is_over.store(true, Ordering::Release);
    let sending = exporter.join().map_err(|_| "the exporter failed")??;
    let metrics = collector::get(collector.admin, "/metrics")?;
    collector.signal(Signal::TERM);
    let status = collector.wait()?;
    let (seen, ran) = (seen.end(), began.elapsed());
    let (own_now, others_now) = cpu::of_process_and_children();
    let cpu = report::Cpu {
        sender: sending.cpu,
        reader: seen.cpu,
        changes: (own_now - own).saturating_sub(sending.cpu + seen.cpu),
        collector: others_now - others,
    };
    let facts = report::Facts {
        ran,
        rate: settings.rate,
        seed: settings.seed,
        pace: settings.pace,
        only_swaps: settings.only_swaps,
        swaps: settings.swaps,
        sent: sent.load(Ordering::Acquire),
        sending,
        cpu,
        seen,
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
