//! The whole pipeline, from datagrams to a sink, as one process among others: `sluice run` is started with
//! a configuration, NetFlow v9 comes over loopback UDP, and what counts is CPU time a record and what
//! got lost where. With `--peers` nfcapd and goflow2 get the same datagrams; a word as argument leaves out
//! the cases whose name does not contain it.
//!
//! CPU time is that of the collector's process. On loopback part of the kernel's work for receiving
//! runs in the sender's context, for every collector alike, and is not in it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to people")]

mod collectors;
mod load;
mod shapes;
mod yardstick;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::Signal;

use crate::collectors::{Metrics, PEER_RATE, PEER_SECONDS, PEERS, Sluice, find, run_peer};
use crate::load::{Load, Sent};
use crate::shapes::{EVERY_COLUMN, FOUR_PLUGINS};
use crate::yardstick::Yardstick;

/// Rows per CPU-second that the four plugins are to reach, in millions.
const TARGET: f64 = 2.0;

/// What a sluice is configured to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Nothing reads a column, so none is decoded: receiving, framing, counting.
    Null,
    /// One plugin, and every column decoded.
    EveryColumn,
    /// Enricher, DoS detector, reducer and splitter; the reducer's `mode`.
    FourPlugins(&'static str),
    /// JSON lines of every column to a file.
    File,
}

/// One run of sluice.
struct Case {
    name: &'static str,
    shape: Shape,
    /// Records a second; 0 is as many as can be sent.
    rate: u64,
    seconds: u64,
}

const fn case(name: &'static str, shape: Shape, rate: u64, seconds: u64) -> Case {
    Case { name, shape, rate, seconds }
}

const TRUNCATE: Shape = Shape::FourPlugins("truncate");
const CRYPTO_PAN: Shape = Shape::FourPlugins("crypto-pan");

const CASES: &[Case] = &[
    case("udp -> null", Shape::Null, 1_000_000, 4),
    case("udp -> splitter (all columns) -> null", Shape::EveryColumn, 1_000_000, 4),
    case(MAIN, TRUNCATE, 500_000, 6),
    case("udp -> 4 plugins (crypto-pan) -> null", CRYPTO_PAN, 200_000, 5),
    case("udp -> 4 plugins, as fast as can be sent", TRUNCATE, 0, 5),
    case(PROOF, TRUNCATE, 200_000, 30),
];

/// The case that has a target, and the one that may lose nothing.
const MAIN: &str = "udp -> 4 plugins -> null";
const PROOF: &str = "udp -> 4 plugins, 200 k records/s";

/// Cases for comparison: at a rate that every collector here can take, and as fast as can be sent.
const COMPARED: &[Case] = &[
    case("sluice: udp -> null", Shape::Null, PEER_RATE, PEER_SECONDS),
    case("sluice: udp -> file (json)", Shape::File, PEER_RATE, PEER_SECONDS),
    case("sluice: udp -> null, flooded", Shape::Null, 0, PEER_SECONDS),
    case("sluice: udp -> file (json), flooded", Shape::File, 0, PEER_SECONDS),
];

/// What a run came to.
struct Measured {
    name: String,
    sent: Sent,
    /// Records that the collector delivered.
    delivered: u64,
    /// Records that were lost in the kernel's buffer, in a full queue, and for any other reason.
    lost: Lost,
    cpu: Duration,
    /// What the yardstick's loop took meanwhile, in nanoseconds.
    loop_ns: f64,
    resident: u64,
    most_resident: u64,
}

/// Where records were lost; `None` where a collector does not tell.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    kernel: Option<u64>,
    queue: Option<u64>,
    other: Option<u64>,
}

impl Measured {
    /// Millions of records delivered per second of CPU time.
    fn per_cpu_second(&self) -> f64 {
        self.delivered as f64 / self.cpu.as_secs_f64().max(1e-9) / 1e6
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let with_peers = arguments.iter().any(|argument| argument == "--peers");
    // Cargo adds `--bench`.
    let word = arguments.iter().find(|argument| !argument.starts_with("--"));
    match bench(with_peers, word.map_or("", String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\npipeline: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(with_peers: bool, word: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    load::write_tables(dir.path()).map_err(|error| format!("{}: {error}", dir.path().display()))?;
    let mut load = Load::encode();
    let (records, datagrams) = load.size();
    println!("input: NetFlow v9, {records} different records in {datagrams} datagrams, from 8 exporters over loopback");

    let yardstick = Yardstick::start();
    let mut measured = Vec::new();
    let mut proofs = String::new();
    for case in CASES.iter().filter(|case| case.name.contains(word)) {
        let (line, counters) = run(case, dir.path(), &mut load, &yardstick)?;
        if [MAIN, PROOF].contains(&case.name) {
            proofs.push_str(&counters);
        }
        measured.push(line);
    }
    let mut skipped = Vec::new();
    if with_peers {
        for case in COMPARED.iter().filter(|case| case.name.contains(word)) {
            measured.push(run(case, dir.path(), &mut load, &yardstick)?.0);
        }
        for (peer, rate) in PEERS.into_iter().filter(|(peer, _)| peer.title().contains(word)) {
            match find(peer) {
                Some(program) => measured.push(run_peer(peer, &program, rate, dir.path(), &mut load, &yardstick)?),
                None => skipped.push(format!("skipped: {} is not installed ({})", peer.program(), peer.remedy())),
            }
        }
        skipped.dedup();
    }

    println!("\n{}\n{}", machine(), table(&measured, yardstick.least()));
    println!("CPU time is the collector's own process; the sender's part of the kernel's work is not in it.");
    println!(
        "speed: what the processor gave a loop of arithmetic meanwhile, of the most in this run; the rest is others'."
    );
    skipped.iter().for_each(|line| println!("{line}"));
    if let Some(main) = measured.iter().find(|line| line.name == MAIN) {
        let rate = main.per_cpu_second();
        let verdict = if rate >= TARGET { "reached" } else { "MISSED" };
        println!("{MAIN}: {rate:.2} M records per CPU-second, target {TARGET:.2}: {verdict}");
    }
    print!("{proofs}");
    Ok(())
}

/// Says what runs now, on a line that the result completes.
fn announce(name: &str, rate: u64, seconds: u64) {
    let rate = if rate == 0 { "as fast as can be sent".to_owned() } else { format!("{} k records/s", rate / 1000) };
    print!("{name}: {rate} for {seconds} s ... ");
    // Progress only: a closed stdout shows with the table.
    drop(io::stdout().flush());
}

/// Runs a case. Returns what it came to, and the counters that prove it, as text.
fn run(case: &Case, dir: &Path, load: &mut Load, yardstick: &Yardstick) -> Result<(Measured, String), String> {
    announce(case.name, case.rate, case.seconds);
    let file = dir.join("bench.toml");
    let json = dir.join("flows.json");
    fs::write(&file, config(case.shape)).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut sluice = Sluice::start("sluice", &file)?;
    let before = sluice.process.settle()?;
    yardstick.read();
    let sent = load.send(sluice.collector, case.rate, Duration::from_secs(case.seconds))?;
    let after = sluice.process.settle()?;
    let loop_ns = yardstick.read();
    let metrics = sluice.metrics()?;
    let said = sluice.process.stop(Signal::INT)?;

    let decoded = metrics.sum("sluice_decode_rows_total", "");
    let delivered = metrics.sum("sluice_sink_out_rows_total", "");
    let queue = metrics.sum("sluice_source_dropped_rows_total", "reason=\"pipeline_full\"");
    let datagrams = metrics.sum("sluice_source_datagrams_total", "");
    let kernel_datagrams = metrics.sum("sluice_source_kernel_dropped_datagrams_total", "");
    let missing = metrics.sum("sluice_decode_sequence_missing_datagrams_total", "");
    let buffer = metrics.sum("sluice_source_receive_buffer_bytes", "");
    let kernel = sent.records.saturating_sub(decoded);
    let measured = Measured {
        name: case.name.to_owned(),
        sent,
        delivered,
        lost: Lost { kernel: Some(kernel), queue: Some(queue), other: Some(decoded.saturating_sub(delivered + queue)) },
        cpu: after.cpu.saturating_sub(before.cpu),
        loop_ns,
        resident: after.resident,
        most_resident: after.most_resident,
    };
    println!("{:.2} M records per CPU-second", measured.per_cpu_second());
    // It is written anew by the next case, and may be large.
    drop(fs::remove_file(json));

    let lost = sent.records.saturating_sub(delivered);
    let verdict = if delivered == sent.records && missing == 0 { "0 lost".to_owned() } else { format!("{lost} LOST") };
    let mut counters = spent(&metrics, &measured);
    counters.push_str(&format!(
        "\n{}: {verdict} in {:.1} s (receive buffer {} KiB)\n\
         \x20 sent      {:>10} records {:>8} datagrams\n\
         \x20 received  {decoded:>10} records {datagrams:>8} datagrams, {kernel_datagrams} dropped by the kernel, \
         {missing} missing by sequence number\n\
         \x20 delivered {delivered:>10} records, {queue} dropped by a full pipeline\n",
        case.name,
        sent.elapsed.as_secs_f64(),
        buffer / 1024,
        sent.records,
        sent.datagrams,
    ));
    // The books that sluice prints at its end, as they are.
    let books = said.iter().skip_while(|line| !line.trim_start().starts_with("name "));
    books.for_each(|line| counters.push_str(&format!("  {line}\n")));
    Ok((measured, counters))
}

/// Where the CPU time of a case with plugins went, by what the plugin host measured; `""` without plugins.
fn spent(metrics: &Metrics, measured: &Measured) -> String {
    let a_record = |ns: u128| ns / u128::from(measured.delivered.max(1));
    let mut rest = measured.cpu.as_nanos();
    let mut stages = String::new();
    for stage in ["enrich", "dos", "anonymise", "tenants"] {
        let label = format!("stage=\"{stage}\"");
        let ns = u128::from(metrics.sum("sluice_stage_plugin_cpu_nanoseconds_total", &label));
        if ns > 0 {
            rest = rest.saturating_sub(ns);
            stages.push_str(&format!(", {stage} {}", a_record(ns)));
        }
    }
    if stages.is_empty() {
        return stages;
    }
    format!("\n{}: CPU ns a record: receiving, decoding and the rest {}{stages}\n", measured.name, a_record(rest))
}

/// The configuration of a shape; files are beside it.
fn config(shape: Shape) -> String {
    let source = "cache_dir = \"cache\"\n[sources.edge]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let rest = match shape {
        Shape::Null => "[sinks.out]\ntype = \"null\"\ninputs = [\"edge\"]\n".to_owned(),
        Shape::File => "[sinks.out]\ntype = \"file\"\ninputs = [\"edge\"]\npath = \"flows.json\"\n".to_owned(),
        Shape::EveryColumn => format!("{EVERY_COLUMN}{TO_NULL}"),
        Shape::FourPlugins(mode) => {
            let key = if mode == "truncate" { "" } else { ", key = \"secret\"" };
            format!("{}{TO_NULL}", FOUR_PLUGINS.replace("MODE", &format!("\"{mode}\"{key}")))
        }
    };
    format!("{source}{rest}")
}

const TO_NULL: &str = "[sinks.out]\ntype = \"null\"\ninputs = [\"tenants.*\"]\n";

/// One line for each run, aligned.
fn table(measured: &[Measured], least_ns: f64) -> String {
    let width = measured.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let count = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let mut text = format!(
        "{:<width$} {:>9} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>9} {:>6} {:>12}\n",
        "records",
        "k sent/s",
        "sent",
        "delivered",
        "lost:",
        "lost:",
        "lost:",
        "CPU ns",
        "M records",
        "speed",
        "MB resident"
    );
    text.push_str(&format!(
        "{:<width$} {:>9} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>9} {:>6} {:>12}\n",
        "", "", "", "", "kernel", "queue", "other", "/record", "/CPU-s", "", "(most)"
    ));
    for line in measured {
        let per_second = line.sent.records as f64 / line.sent.elapsed.as_secs_f64().max(1e-9) / 1e3;
        let rate = line.per_cpu_second();
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let memory = format!("{} ({})", megabytes(line.resident), megabytes(line.most_resident));
        text.push_str(&format!(
            "{:<width$} {per_second:>9.0} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8.0} {rate:>9.2} {:>5.0}% {memory:>12}\n",
            line.name,
            line.sent.records,
            line.delivered,
            count(line.lost.kernel),
            count(line.lost.queue),
            count(line.lost.other),
            1000.0 / rate,
            100.0 * least_ns / line.loop_ns,
        ));
    }
    text
}

/// CPU, cores, kernel and compiler.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let rustc = Command::new(option_env!("RUSTC").unwrap_or("rustc")).arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    format!("machine: {model}, {cores} cores, Linux {}, {}", kernel.trim(), rustc.trim())
}
