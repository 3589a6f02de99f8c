//! Numbered flows in, and what comes out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{ChildStderr, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::collector::{PATIENCE, Processes, get, note};

/// Records of a datagram.
const RECORDS: u64 = 30;
/// Of those, the ones to the hosts of [`TENANTS_PREFIX`].
const TENANTS_RECORDS: u64 = 15;
/// What a tenant's rows go to: the first 15 hosts.
pub(super) const TENANTS_PREFIX: &str = "192.0.2.0/28";
/// Flows that may be on their way: UDP then loses nothing, which would hide what the collector loses.
const AHEAD: u64 = 6000;
/// One flow in so many has [`POISON`] bytes.
const POISONOUS: u64 = 20_011;
/// Bytes that a plugin told to trap traps on.
pub(super) const POISON: u32 = 666;

/// How many of the flows that were sent are a tenant's.
pub(super) fn tenants_share(sent: u64) -> u64 {
    sent / RECORDS * TENANTS_RECORDS
}

/// Sends flows until `is_over`, each numbered by the sequence number of its datagram and its destination.
pub(super) fn send(
    to: SocketAddr,
    admin: SocketAddr,
    rate: u64,
    sent: &AtomicU64,
    is_over: &AtomicBool,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("exporter: {error}");
    let socket =
        UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.connect(to).map(|()| socket)).map_err(failed)?;
    let (began, mut progress) = (Instant::now(), Instant::now());
    let mut received = 0;
    while !is_over.load(Ordering::Acquire) || received < sent.load(Ordering::Acquire) {
        let number = sent.load(Ordering::Acquire);
        let is_due = number < (began.elapsed().as_secs_f64() * rate as f64) as u64;
        if !is_over.load(Ordering::Acquire) && is_due && number - received < AHEAD {
            socket.send(&netflow5(number)).map_err(failed)?;
            sent.fetch_add(RECORDS, Ordering::AcqRel);
            continue;
        }
        let now = counter(&get(admin, "/metrics")?, "sluice_source_out_rows_total");
        if now > received {
            (received, progress) = (now, Instant::now());
        } else if progress.elapsed() > PATIENCE {
            return Err(format!("{received} of {number} flows came in, and no more for {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A NetFlow v5 datagram whose records are the flows from `first` on.
fn netflow5(first: u64) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(24 + 48 * RECORDS as usize);
    datagram.extend([0, 5, 0, RECORDS as u8]);
    datagram.extend(3_600_000_u32.to_be_bytes());
    datagram.extend(1_700_000_000_u32.to_be_bytes());
    datagram.extend([0; 4]);
    datagram.extend((first as u32).to_be_bytes());
    datagram.extend([0, 0, 0x40, 100]);
    for record in 0..RECORDS {
        let number = first + record;
        let bytes = if number.is_multiple_of(POISONOUS) { POISON } else { 1000 };
        let port: u16 = if number.is_multiple_of(3) { 443 } else { 80 };
        datagram.extend([198, 18, 0, 1, 192, 0, 2, record as u8 + 1, 0, 0, 0, 0, 0, 1, 0, 2]);
        datagram.extend(10_u32.to_be_bytes());
        datagram.extend(bytes.to_be_bytes());
        datagram.extend(3_590_000_u32.to_be_bytes());
        datagram.extend(3_599_000_u32.to_be_bytes());
        datagram.extend([0xc0, 0]);
        datagram.extend(port.to_be_bytes());
        datagram.extend([0, 0x18, 6, 0]);
        datagram.extend([0; 8]);
    }
    datagram
}

/// The sum of a metric over its labels.
pub(super) fn counter(metrics: &str, name: &str) -> u64 {
    let of_it = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    of_it.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// The values of a metric that have labels, with what is between the braces.
pub(super) fn series<'m>(metrics: &'m str, name: &str) -> impl Iterator<Item = (&'m str, u64)> {
    let rest = metrics.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{'));
    rest.filter_map(|rest| {
        let (labels, value) = rest.rsplit_once("} ")?;
        Some((labels, value.parse::<f64>().ok()? as u64))
    })
}

/// The value of one label.
pub(super) fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let from = labels.find(&format!("{name}=\""))? + name.len() + 2;
    labels[from..].split('"').next()
}

/// Rows that stages dropped, by stage and reason, as the books at the end have it.
pub(super) fn dropped(books: &str) -> Vec<(&str, &str, u64)> {
    let mut dropped = Vec::new();
    for line in books.lines().filter(|line| line.starts_with("stage ")) {
        let name = line.split_whitespace().nth(1).unwrap_or_default();
        // Kind, name and three sums; then `ROWS REASON, ...`.
        let words: Vec<&str> = line.split_whitespace().skip(5).collect();
        for pair in words.chunks_exact(2) {
            if let Ok(rows) = pair[0].parse() {
                dropped.push((name, pair[1].trim_end_matches(','), rows));
            }
        }
    }
    dropped
}

/// Which flows came out, and how often.
#[derive(Debug, Default)]
pub(super) struct Flows {
    once: Vec<u64>,
    pub(super) rows: u64,
    pub(super) doubled: u64,
    pub(super) strange: u64,
}

impl Flows {
    fn add(&mut self, number: u64) {
        self.rows += 1;
        let (word, bit) = ((number / 64) as usize, number % 64);
        if self.once.len() <= word {
            self.once.resize(word + 1, 0);
        }
        self.doubled += self.once[word] >> bit & 1;
        self.once[word] |= 1 << bit;
    }
}

/// Reads what the collector writes.
pub(super) struct Seen(JoinHandle<Flows>);

impl Seen {
    pub(super) fn read(rows: impl Read + Send + 'static) -> Seen {
        Seen(thread::spawn(move || {
            let mut flows = Flows::default();
            for line in BufReader::with_capacity(1 << 20, rows).lines().map_while(Result::ok) {
                match number(&line) {
                    Some(number) => flows.add(number),
                    None => flows.strange += 1,
                }
            }
            flows
        }))
    }

    pub(super) fn end(self) -> Flows {
        self.0.join().unwrap_or_default()
    }
}

/// A named pipe, for a file sink whose rows are not to fill a disk.
pub(super) struct Pipe {
    /// So that readers see no end while the sink opens it anew.
    open: File,
    seen: Seen,
}

impl Pipe {
    pub(super) fn make(path: &Path) -> Result<Pipe, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        if !Command::new("mkfifo").arg(path).status().map_err(failed)?.success() {
            return Err(format!("mkfifo {} failed", path.display()));
        }
        let open = File::options().read(true).write(true).open(path).map_err(failed)?;
        let seen = Seen::read(File::open(path).map_err(failed)?);
        Ok(Pipe { open, seen })
    }

    /// What came through it, when nobody writes any more.
    pub(super) fn end(self) -> Flows {
        drop(self.open);
        self.seen.end()
    }
}

/// The number of the flow that a line of JSON is.
fn number(line: &str) -> Option<u64> {
    let value = |key: &str| {
        let rest = &line[line.find(key)? + key.len()..];
        Some(&rest[..rest.find([',', '}'])?])
    };
    let first: u64 = value("\"sequence_num\":")?.parse().ok()?;
    let host: u64 = value("\"dst_addr\":\"192.0.2.")?.trim_end_matches('"').parse().ok()?;
    Some(first + host - 1)
}

/// What the collector logged: how often what, and the books at the end.
pub(super) struct Log(JoinHandle<(BTreeMap<String, u64>, String)>);

impl Log {
    pub(super) fn read(log: BufReader<ChildStderr>, processes: Processes) -> Log {
        Log(thread::spawn(move || {
            let (mut messages, mut books) = (BTreeMap::new(), String::new());
            for line in log.lines().map_while(Result::ok) {
                match serde_json::from_str::<serde_json::Value>(&line) {
                    Ok(entry) => {
                        note(&processes, &entry);
                        let level = entry["level"].as_str().unwrap_or_default().to_owned();
                        let message = entry["fields"]["message"].as_str().unwrap_or_default().to_owned();
                        *messages.entry(format!("{level} {message}")).or_insert(0) += 1;
                    }
                    Err(_) => {
                        books.push_str(&line);
                        books.push('\n');
                    }
                }
            }
            (messages, books)
        }))
    }

    pub(super) fn end(self) -> (BTreeMap<String, u64>, String) {
        self.0.join().unwrap_or_default()
    }
}
