//! Collectors as child processes: what they say, what they cost, how they end. sluice, and where they are
//! installed nfcapd (Debian's nfdump) and goflow2.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load::Load;
use crate::yardstick::Yardstick;
use crate::{Lost, Measured, announce};

/// Longest time that a collector may take to listen, to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time that a collector is given to work off what it has received and queued.
const WORK_OFF: Duration = Duration::from_secs(15);
/// Time between two looks at a process that is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// A process that uses less CPU time than [`IDLE_CPU`] in this is done with what it received.
const IDLE: Duration = Duration::from_millis(600);
const IDLE_CPU: Duration = Duration::from_millis(20);
/// Unit of CPU time in `/proc` (USER_HZ): the same on every Linux that Rust has a tier for.
const TICK: Duration = Duration::from_millis(10);

/// A running collector. Killed if it is dropped before [`stop`](Process::stop).
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// What it wrote to stderr and stdout so far.
    said: Vec<String>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of all its threads, in the program and in the kernel.
    pub(crate) cpu: Duration,
    /// Resident memory now and at its highest, in bytes.
    pub(crate) resident: u64,
    pub(crate) most_resident: u64,
}

impl Process {
    /// Starts a collector.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Process, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        for pipe in [stdout, stderr].into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Process { name: name.to_owned(), child, lines, said: Vec::new() })
    }

    /// Waits for a line in which `find` finds something.
    pub(crate) fn wait_for<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.said.iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => return Err(self.failed(&format!("did not say {what}"))),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(&format!("ended and did not say {what}")));
                }
            }
        }
    }

    /// Waits until the process listens on UDP `port`.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let place = format!(":{port:04X} ");
        while Instant::now() < until {
            let sockets = ["/proc/net/udp", "/proc/net/udp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
            if sockets.iter().any(|sockets| sockets.contains(&place)) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(&format!("ended ({status}) and did not listen on port {port}")));
            }
            thread::sleep(LOOK);
        }
        Err(self.failed(&format!("did not listen on port {port}")))
    }

    /// Waits until the process has nothing to do, or for 15 seconds, and returns what it has used.
    pub(crate) fn settle(&mut self) -> Result<Usage, String> {
        let until = Instant::now() + WORK_OFF;
        let (mut since, mut before) = (Instant::now(), self.usage()?);
        loop {
            thread::sleep(LOOK);
            let now = self.usage()?;
            if now.cpu.saturating_sub(before.cpu) > IDLE_CPU {
                (since, before) = (Instant::now(), now);
            }
            if since.elapsed() >= IDLE || Instant::now() >= until {
                return Ok(now);
            }
        }
    }

    /// What the process has used so far.
    pub(crate) fn usage(&mut self) -> Result<Usage, String> {
        let pid = self.child.id();
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let cpu = read("stat").and_then(|stat| cpu(&stat));
        let status = read("status").unwrap_or_default();
        match (cpu, kib(&status, "VmRSS:"), kib(&status, "VmHWM:")) {
            (Some(cpu), Some(resident), Some(most_resident)) => Ok(Usage { cpu, resident, most_resident }),
            _ => Err(self.failed("ended too early")),
        }
    }

    /// Lets the process end in order and returns what it said.
    pub(crate) fn stop(mut self, signal: Signal) -> Result<Vec<String>, String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).map_err(|error| format!("cannot signal {}: {error}", self.name))?;
        let status = self.wait()?;
        // The pipes are closed, so this ends.
        self.said.extend(self.lines.iter());
        if status.success() {
            Ok(std::mem::take(&mut self.said))
        } else {
            Err(self.failed(&format!("ended: {status}")))
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(LOOK),
                Err(error) => return Err(format!("cannot wait for {}: {error}", self.name)),
            }
        }
        Err(self.failed("does not end"))
    }

    /// An error with what the process last said.
    fn failed(&mut self, what: &str) -> String {
        self.said.extend(self.lines.try_iter());
        let last = self.said.len().saturating_sub(20);
        let said: String = self.said[last..].iter().map(|line| format!("\n    {line}")).collect();
        let said = if said.is_empty() { " nothing".to_owned() } else { said };
        format!("{} {what}; it said:{said}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // On the way out with an error that is worth more than that of a failed kill.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// `utime` + `stime` of `/proc/PID/stat` (proc(5)): fields 14 and 15, counted after the name, which is
/// in brackets and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    Some(TICK * (ticks.next()?? + ticks.next()??))
}

/// A line such as `VmRSS:  1234 kB`, in bytes.
fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A UDP port that is free now.
pub(crate) fn free_port() -> Result<u16, String> {
    let socket = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    socket.map(|addr| addr.port()).map_err(|error| format!("no free port: {error}"))
}

/// A running sluice.
pub(crate) struct Sluice {
    pub(crate) process: Process,
    /// Where exporters send to.
    pub(crate) collector: SocketAddr,
    metrics: SocketAddr,
}

impl Sluice {
    /// Runs a configuration with a UDP source and an admin port.
    pub(crate) fn start(name: &str, config: &Path) -> Result<Sluice, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["--log-json", "--log", "info", "run"]).arg(config);
        let mut process = Process::start(name, &mut command)?;
        let collector = process.wait_for("where it listens", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = line.get("fields")?;
            (fields.get("message")? == "listening").then(|| fields.get("addr")?.as_str()?.parse().ok()).flatten()
        })?;
        let metrics = process.wait_for("where its metrics are", |line| {
            let url = line.split_once("metrics on http://")?.1;
            url.split_once("/metrics")?.0.parse().ok()
        })?;
        Ok(Sluice { process, collector, metrics })
    }

    /// The metrics, as text.
    pub(crate) fn metrics(&mut self) -> Result<Metrics, String> {
        let fetch = || -> io::Result<String> {
            let mut stream = TcpStream::connect(self.metrics)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        fetch().map(Metrics).map_err(|error| self.process.failed(&format!("does not tell its metrics ({error})")))
    }
}

/// Metrics in Prometheus' text form.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of all series called `name` whose labels contain `label` (`""` is in all of them).
    pub(crate) fn sum(&self, name: &str, label: &str) -> u64 {
        let series = self.0.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
            labels.contains(label).then(|| value.parse::<f64>().ok()).flatten()
        });
        series.sum::<f64>() as u64
    }
}

/// Records a second that every collector here takes without loss, and seconds of a run.
pub(crate) const PEER_RATE: u64 = 100_000;
pub(crate) const PEER_SECONDS: u64 = 5;

/// Bytes asked for as receive buffer: sluice's default.
const RECEIVE_BUFFER_BYTES: &str = "16777216";

/// Another collector, and what it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Writes nfdump's binary files.
    Nfcapd,
    /// Writes JSON lines to a file.
    Goflow2Json,
    /// Writes protobuf messages, each after its length, to a file.
    Goflow2Protobuf,
}

/// The peers with the rates at which they run; 0 is as fast as can be sent.
pub(crate) const PEERS: [(Peer, u64); 4] = [
    (Peer::Nfcapd, PEER_RATE),
    (Peer::Nfcapd, 0),
    (Peer::Goflow2Json, PEER_RATE / 5),
    (Peer::Goflow2Protobuf, PEER_RATE),
];

impl Peer {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Peer::Nfcapd => "nfcapd",
            Peer::Goflow2Json | Peer::Goflow2Protobuf => "goflow2",
        }
    }

    /// What it does in this benchmark.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Peer::Nfcapd => "nfcapd: udp -> file (nfdump)",
            Peer::Goflow2Json => "goflow2: udp -> file (json)",
            Peer::Goflow2Protobuf => "goflow2: udp -> file (protobuf)",
        }
    }

    /// How to install it.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Peer::Nfcapd => "apt-get install nfdump",
            Peer::Goflow2Json | Peer::Goflow2Protobuf => {
                "go install github.com/netsampler/goflow2/v2/cmd/goflow2@latest"
            }
        }
    }
}

/// The program, in `PATH` or where `go install` puts it.
pub(crate) fn find(peer: Peer) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let go = env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin"));
    env::split_paths(&path).chain(go).map(|dir| dir.join(peer.program())).find(|file| file.is_file())
}

/// Lets a peer receive the same datagrams as sluice.
pub(crate) fn run_peer(
    peer: Peer,
    path: &Path,
    rate: u64,
    dir: &Path,
    load: &mut Load,
    yardstick: &Yardstick,
) -> Result<Measured, String> {
    let name = if rate == 0 { format!("{}, flooded", peer.title()) } else { peer.title().to_owned() };
    announce(&name, rate, PEER_SECONDS);
    let program = peer.program();
    let failed = |error: io::Error| format!("{program}: {error}");
    let out = dir.join(program);
    fs::create_dir_all(&out).map_err(failed)?;
    let flows = out.join("flows");
    let port = free_port()?;
    let mut command = Command::new(path);
    if peer == Peer::Nfcapd {
        command.args(["-b", "127.0.0.1", "-p", &port.to_string(), "-B", RECEIVE_BUFFER_BYTES, "-t", "86400", "-w"]);
        command.arg(&out);
    } else {
        command.args(["-listen", &format!("netflow://127.0.0.1:{port}"), "-addr", "127.0.0.1:0"]);
        let form = if peer == Peer::Goflow2Json { ["json", "\n"] } else { ["bin", ""] };
        command.args(["-format", form[0], "-transport.file.sep", form[1], "-transport", "file", "-transport.file"]);
        command.arg(&flows);
    }
    let mut process = Process::start(program, &mut command)?;
    process.wait_for_port(port)?;
    let before = process.settle()?;
    yardstick.read();
    let sent = load.send(([127, 0, 0, 1], port).into(), rate, Duration::from_secs(PEER_SECONDS))?;
    let after = process.settle()?;
    let loop_ns = yardstick.read();
    process.stop(Signal::INT)?;
    let delivered = match peer {
        Peer::Nfcapd => stored_by_nfcapd(path, &out)?,
        Peer::Goflow2Json => lines(&flows).map_err(failed)?,
        Peer::Goflow2Protobuf => messages(&flows).map_err(failed)?,
    };
    fs::remove_dir_all(&out).map_err(failed)?;
    let measured = Measured {
        name,
        sent,
        delivered,
        // Neither says where it lost what is missing.
        lost: Lost { kernel: None, queue: None, other: Some(sent.records.saturating_sub(delivered)) },
        cpu: after.cpu.saturating_sub(before.cpu),
        loop_ns,
        resident: after.resident,
        most_resident: after.most_resident,
    };
    println!("{:.2} M records per CPU-second", measured.per_cpu_second());
    Ok(measured)
}

/// Flows in the files of nfcapd, counted by nfdump, which is beside it.
fn stored_by_nfcapd(nfcapd: &Path, dir: &Path) -> Result<u64, String> {
    let nfdump = nfcapd.with_file_name("nfdump");
    let output = Command::new(&nfdump).arg("-R").arg(dir).arg("-I").output();
    let output = output.map_err(|error| format!("{}: {error}", nfdump.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let flows = said.lines().find_map(|line| line.strip_prefix("Flows: ")?.trim().parse().ok());
    flows.ok_or_else(|| format!("nfdump does not say how many flows there are: {said}"))
}

fn lines(file: &Path) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut lines = 0;
    while reader.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

/// Protobuf messages, each after its length as a varint.
fn messages(file: &Path) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut messages = 0;
    let mut byte = [0];
    while !reader.fill_buf()?.is_empty() {
        let (mut length, mut shift) = (0, 0);
        loop {
            reader.read_exact(&mut byte)?;
            length |= i64::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 || shift > 28 {
                break;
            }
        }
        reader.seek_relative(length)?;
        messages += 1;
    }
    Ok(messages)
}
