//! Kafka in and out, as one process among others: `sluice run` is started with a configuration beside a real
//! broker, and what counts is CPU time a record of sluice's process. The broker has the other cores: on one core they
//! would empty each other's caches. A word as argument leaves out the cases whose name does not contain it; the first
//! two fill the topics that the others read, and always run.

#![allow(clippy::print_stdout, reason = "a benchmark talks to people")]

#[path = "../pipeline/load.rs"]
#[allow(dead_code, reason = "what it sends over UDP is the other benchmark's")]
mod load;
#[path = "../pipeline/shapes.rs"]
mod shapes;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sluice_testkit::kafka::{Broker, Options};

use crate::load::{Load, write_tables};
use crate::shapes::{EVERY_COLUMN, FOUR_PLUGINS};

/// Times that the different records are played: what it takes to start (tables, connections) is a few per cent then.
const ROUNDS: usize = 40;

/// One run of sluice.
struct Case {
    name: &'static str,
    source: &'static str,
    /// What is between source and sink; its last stage is `tenants`.
    stages: &'static str,
    sink: &'static str,
    /// Records per CPU-second to reach, in millions.
    target: f64,
    /// Fills a topic for others.
    is_needed: bool,
}

const CAPTURE: &str = "type = \"capture\"\npaths = [\"flows.pcap\"]\n";
const PACKED: &str = "type = \"kafka\"\ntopics = [\"packed\"]\nFROM\n";
const BARE: &str = "type = \"kafka\"\ntopics = [\"bare\"]\nFROM\n";
const TO_PACKED: &str = "type = \"kafka\"\ntopic = \"packed\"\npack = 100\ncompression = \"none\"\nTO\n";
const TO_LZ4: &str = "type = \"kafka\"\ntopic = \"lz4\"\npack = 100\nTO\n";
const TO_BARE: &str = "type = \"kafka\"\ntopic = \"bare\"\ncompression = \"none\"\nTO\n";
const TO_COPY: &str = "type = \"kafka\"\ntopic = \"copy\"\npack = 100\ncompression = \"none\"\nTO\n";
const NULL: &str = "type = \"null\"\n";
const CASES: &[Case] = &[
    Case {
        name: "encode -> Kafka, 100 a value",
        source: CAPTURE,
        stages: "",
        sink: TO_PACKED,
        target: 2.0,
        is_needed: true,
    },
    Case {
        name: "encode -> Kafka, 1 a value",
        source: CAPTURE,
        stages: "",
        sink: TO_BARE,
        target: 0.6,
        is_needed: true,
    },
    Case {
        name: "encode -> Kafka, 100 a value, lz4",
        source: CAPTURE,
        stages: "",
        sink: TO_LZ4,
        target: 0.0,
        is_needed: false,
    },
    Case {
        name: "Kafka -> decode -> null, 100 a value",
        source: PACKED,
        stages: EVERY_COLUMN,
        sink: NULL,
        target: 2.0,
        is_needed: false,
    },
    Case {
        name: "Kafka -> decode -> null, 1 a value",
        source: BARE,
        stages: EVERY_COLUMN,
        sink: NULL,
        target: 0.6,
        is_needed: false,
    },
    Case {
        name: "Kafka -> 4 plugins -> Kafka, 100 a value",
        source: PACKED,
        stages: FOUR_PLUGINS,
        sink: TO_COPY,
        target: 1.0,
        is_needed: false,
    },
];

fn main() -> ExitCode {
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    match run(word.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(word: Option<&str>) -> Result<(), String> {
    let cores = Cores::find().map_err(|error| format!("no cores to share: {error}"))?;
    let others = |error: io::Error| format!("cannot choose cores: {error}");
    cores.to_others().map_err(others)?;
    let broker = Broker::start(Options::default()).map_err(|error| format!("no broker: {error}"))?;
    cores.to_first().map_err(others)?;
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let load = Load::encode();
    let failed = |error: io::Error| format!("cannot write to {}: {error}", dir.path().display());
    write_tables(dir.path()).map_err(failed)?;
    write_capture(&dir.path().join("flows.pcap"), &load).map_err(failed)?;
    let records = load.size().0 * ROUNDS;
    println!(
        "{records} records of NetFlow v9 ({} different), beside Apache Kafka on other cores of the same machine",
        load.size().0
    );
    println!("{:<42} {:>10} {:>8} {:>10} {:>10} {:>8}", "", "records", "s", "CPU ns", "M records", "target");
    println!("{:<42} {:>10} {:>8} {:>10} {:>10} {:>8}", "", "", "", "/record", "/CPU-s", "");
    for case in CASES.iter().filter(|case| case.is_needed || word.is_none_or(|word| case.name.contains(word))) {
        let config = config(case, broker.brokers());
        let file = dir.path().join("bench.toml");
        fs::write(&file, config).map_err(failed)?;
        // Plugins are compiled once and kept: what counts is a collector that runs.
        sluice("check", &file)?;
        let began = Instant::now();
        let (cpu, said) = sluice("run", &file)?;
        let elapsed = began.elapsed();
        let delivered = said
            .lines()
            .find(|line| line.starts_with("sink"))
            .and_then(|line| line.split_ascii_whitespace().nth(3)?.parse::<usize>().ok());
        if delivered != Some(records) {
            return Err(format!("{}: {delivered:?} of {records} records were delivered\n{said}", case.name));
        }
        let rate = records as f64 / cpu.as_secs_f64() / 1e6;
        println!(
            "{:<42} {records:>10} {:>8.1} {:>10.0} {rate:>10.2} {:>8.1}{}",
            case.name,
            elapsed.as_secs_f64(),
            1000.0 / rate,
            case.target,
            if rate < case.target { "  MISSED" } else { "" },
        );
    }
    Ok(())
}

/// The cores of the machine: the first for sluice, the others for the broker. A process has those of the thread that starts it.
struct Cores {
    first: CpuSet,
    others: CpuSet,
}

impl Cores {
    fn find() -> io::Result<Cores> {
        let all = sched_getaffinity(None)?;
        let mut numbers = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let (mut first, mut others) = (CpuSet::new(), CpuSet::new());
        numbers.by_ref().take(1).for_each(|core| first.set(core));
        numbers.for_each(|core| others.set(core));
        // Of one core both have it.
        Ok(Cores { first, others: if others.count() == 0 { all } else { others } })
    }

    fn to_first(&self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &self.first)?)
    }

    fn to_others(&self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &self.others)?)
    }
}

fn config(case: &Case, brokers: &str) -> String {
    let common = format!("brokers = [\"{brokers}\"]\nformat = \"goflow2\"\nframing = \"delimited\"");
    let from = format!("{common}\ngroup = \"{}\"\nstart = \"earliest\"\nuntil_end = true", case.name);
    let to = format!("{common}\ncreate_topics = {{ partitions = 4 }}");
    let input = if case.stages.is_empty() { "edge" } else { "tenants" };
    format!(
        "cache_dir = \"cache\"\n[sources.edge]\n{}\n{}\n[sinks.out]\ninputs = [\"{input}\"]\n{}",
        case.source.replace("FROM", &from),
        case.stages.replace("MODE", "\"truncate\""),
        case.sink.replace("TO", &to),
    )
}

/// Runs a command of sluice to its end. Returns its CPU time and what it said.
fn sluice(command: &str, config: &Path) -> Result<(Duration, String), String> {
    let dir = config.parent().ok_or("a file has a folder")?;
    let said = dir.join("said");
    let log = File::create(&said).map_err(|error| error.to_string())?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args([command.as_ref(), config.as_os_str()])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("cannot start sluice: {error}"))?;
    // The process has ended, but is still there to be asked.
    let pid = Pid::from_child(&child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).map_err(|error| error.to_string())?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    let said = fs::read_to_string(&said).unwrap_or_default();
    if !status.success() {
        return Err(format!("sluice ended with {status}\n{said}"));
    }
    // Fields 14 and 15, in ticks of 10 ms; field 2 is in brackets and may hold spaces.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect()
        })
        .unwrap_or_default();
    Ok((Duration::from_millis(fields.iter().sum::<u64>() * 10), said))
}

/// Writes the datagrams as a capture of raw IPv4 packets (pcap, LINKTYPE_RAW), [`ROUNDS`] times over.
fn write_capture(path: &Path, load: &Load) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let u32s = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    out.write_all(&u32s(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101]))?;
    for round in 0..ROUNDS as u32 {
        for datagram in load.datagrams() {
            let udp = 8 + datagram.len() as u16;
            let ip = 20 + udp;
            out.write_all(&u32s(&[1_700_000_000 + round, 0, u32::from(ip), u32::from(ip)]))?;
            out.write_all(&[0x45, 0])?;
            out.write_all(&ip.to_be_bytes())?;
            out.write_all(&[0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1])?;
            for field in [2055, 2055, udp, 0] {
                out.write_all(&u16::to_be_bytes(field))?;
            }
            out.write_all(datagram)?;
        }
    }
    out.flush()
}
