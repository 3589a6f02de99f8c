//! Numbered flows in, and what comes out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{ChildStderr, ChildStdout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Records of a datagram.
const RECORDS: u64 = 30;
/// Flows that may be on their way: UDP then loses nothing, which would hide what the collector loses.
const AHEAD: u64 = 6000;
/// One flow in so many has [`POISON`] bytes.
const POISONOUS: u64 = 20_011;
/// Bytes that a plugin told to trap traps on.
pub(super) const POISON: u32 = 666;
/// Longest time without progress.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// Asks for a page over plain HTTP.
pub(super) fn get(addr: SocketAddr, path: &str) -> Result<String, String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().map_err(|error| format!("http://{addr}{path}: {error}"))
}

/// The sum of a metric over its labels.
pub(super) fn counter(metrics: &str, name: &str) -> u64 {
    let of_it = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    of_it.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
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
    pub(super) fn read(rows: ChildStdout) -> Seen {
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
    pub(super) fn read(log: BufReader<ChildStderr>) -> Log {
        Log(thread::spawn(move || {
            let (mut messages, mut books) = (BTreeMap::new(), String::new());
            for line in log.lines().map_while(Result::ok) {
                match serde_json::from_str::<serde_json::Value>(&line) {
                    Ok(entry) => {
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
