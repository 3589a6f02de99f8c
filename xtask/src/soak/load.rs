//! Numbered flows in.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::ChildStderr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::collector::{PATIENCE, Processes, get, note};
use super::cpu;
use super::metrics::counter;

/// Records of a datagram.
pub(super) const RECORDS: u64 = 30;
/// Of those, the ones to the hosts of [`TENANTS_PREFIX`].
const TENANTS_RECORDS: u64 = 15;
/// What a tenant's rows go to: the first 15 hosts.
pub(super) const TENANTS_PREFIX: &str = "192.0.2.0/28";
/// Flows that may be on their way into the collector: UDP then loses nothing, which would hide what the collector loses.
const AHEAD: u64 = 6000;
/// The same from end to end, where the receive buffer has room for as many: a third of a second at 500 000 flows a second.
const AHEAD_OF_READER: u64 = 150_000;
/// Memory that the kernel takes from a receive buffer, as it is granted, for a datagram: half of 2304 bytes, for it keeps twice
/// what was granted, and some to spare.
const DATAGRAM_BYTES: u64 = 1300;
/// How often the sender looks what is due.
const TURN: Duration = Duration::from_millis(2);
/// Without a row for so long, rows that are under way are looked for in what was dropped. The collector tells of the kernel's
/// drops twice a second.
const STANDSTILL: Duration = Duration::from_secs(1);
/// One flow in so many has [`POISON`] bytes.
const POISONOUS: u64 = 20_011;
/// Bytes that a plugin told to trap traps on.
pub(super) const POISON: u32 = 666;

/// How many of the flows that were sent are a tenant's.
pub(super) fn tenants_share(sent: u64) -> u64 {
    sent / RECORDS * TENANTS_RECORDS
}

/// Sends flows at a rate, none that there is no room for: a collector that is too slow makes the sender slow, and the sender
/// says so.
pub(super) struct Exporter {
    pub(super) to: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Flows a second.
    pub(super) rate: u64,
    /// Rows that were read back, where all of them are: then so many at most are between sender and reader. Else only what is on
    /// its way into the collector is bounded, as its metrics tell.
    pub(super) read_back: Option<Arc<AtomicU64>>,
    pub(super) sent: Arc<AtomicU64>,
    pub(super) is_over: Arc<AtomicBool>,
}

/// What became of the sending.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sending {
    /// From the first flow to the last.
    pub(super) took: Duration,
    /// How much of that it was behind, and had to wait for room.
    pub(super) waited: Duration,
    /// What it took of a processor.
    pub(super) cpu: Duration,
}

impl Exporter {
    /// Sends until `is_over`, and then waits until all has arrived.
    pub(super) fn run(self) -> Result<Sending, String> {
        let failed = |error: std::io::Error| format!("exporter: {error}");
        let socket = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.connect(self.to).map(|()| socket));
        let socket = socket.map_err(failed)?;
        let ahead = self.room()?;
        let mut datagram = Datagram::new();
        let (began, mut progress) = (Instant::now(), Instant::now());
        let (mut number, mut arrived, mut gone) = (0, 0, 0);
        let mut sending = Sending::default();
        loop {
            let is_over = self.is_over.load(Ordering::Acquire);
            let due = if is_over { number } else { (began.elapsed().as_secs_f64() * self.rate as f64) as u64 };
            while number < due && number + RECORDS <= arrived + gone + ahead {
                socket.send(datagram.numbered(number as u32)).map_err(failed)?;
                number += RECORDS;
                self.sent.store(number, Ordering::Release);
            }
            if !is_over {
                sending.took = began.elapsed();
            } else if arrived + gone >= number {
                break;
            }
            // To ask for metrics costs the collector something: only where little room is left.
            let under_way = number - (arrived + gone).min(number);
            let now = match &self.read_back {
                Some(rows) => rows.load(Ordering::Acquire),
                None if is_over || under_way > ahead / 2 => self.counter("sluice_source_out_rows_total")?,
                None => arrived,
            };
            if now > arrived {
                (arrived, progress) = (now, Instant::now());
            } else if under_way > 0 && progress.elapsed() > STANDSTILL {
                let now = self.gone()?;
                if now > gone {
                    (gone, progress) = (now, Instant::now());
                } else if self.read_back.is_some() && is_over {
                    // Whatever is missing then is for the report to say.
                    break;
                } else if progress.elapsed() > PATIENCE {
                    return Err(format!("{arrived} of {number} flows came in, and no more for {PATIENCE:?}"));
                }
            }
            let turn = Instant::now();
            thread::sleep(TURN);
            if number + RECORDS < due {
                sending.waited += turn.elapsed();
            }
        }
        sending.cpu = cpu::of_thread();
        Ok(sending)
    }

    /// How many flows may be under way.
    fn room(&self) -> Result<u64, String> {
        if self.read_back.is_none() {
            return Ok(AHEAD);
        }
        let granted = self.counter("sluice_source_receive_buffer_bytes")?;
        Ok((granted / DATAGRAM_BYTES * RECORDS).clamp(RECORDS, AHEAD_OF_READER))
    }

    /// Flows that the reader will never see, as far as the collector has counted them.
    fn gone(&self) -> Result<u64, String> {
        let Some(_) = &self.read_back else { return Ok(0) };
        let page = get(self.admin, "/metrics")?;
        let dropped = |of: &str| counter(&page, &format!("sluice_{of}_dropped_rows_total"));
        Ok(dropped("source") + dropped("stage") + dropped("sink") + kernel_dropped(&page))
    }

    fn counter(&self, name: &str) -> Result<u64, String> {
        Ok(counter(&get(self.admin, "/metrics")?, name))
    }
}

/// Flows in datagrams that the kernel dropped in front of the collector.
pub(super) fn kernel_dropped(metrics: &str) -> u64 {
    counter(metrics, "sluice_source_kernel_dropped_datagrams_total") * RECORDS
}

/// Bytes of a NetFlow v5 header and record, and where in a record the packets are, the bytes and the destination port.
const HEADER: usize = 24;
const RECORD: usize = 48;
const PACKETS: usize = 16;
const BYTES: usize = 20;
const DST_PORT: usize = 34;

/// A NetFlow v5 datagram, in which each flow has its number for its packets.
struct Datagram(Vec<u8>);

impl Datagram {
    fn new() -> Datagram {
        let mut datagram = Vec::with_capacity(HEADER + RECORD * RECORDS as usize);
        datagram.extend([0, 5, 0, RECORDS as u8]);
        datagram.extend(3_600_000_u32.to_be_bytes());
        datagram.extend(1_700_000_000_u32.to_be_bytes());
        datagram.extend([0; 8]);
        datagram.extend([0, 0, 0x40, 100]);
        for record in 0..RECORDS {
            datagram.extend([198, 18, 0, 1, 192, 0, 2, record as u8 + 1, 0, 0, 0, 0, 0, 1, 0, 2]);
            datagram.extend([0; 8]);
            datagram.extend(3_590_000_u32.to_be_bytes());
            datagram.extend(3_599_000_u32.to_be_bytes());
            datagram.extend([0xc0, 0, 0, 0, 0, 0x18, 6, 0]);
            datagram.extend([0; 8]);
        }
        Datagram(datagram)
    }

    /// The flows from `first` on.
    fn numbered(&mut self, first: u32) -> &[u8] {
        let (header, records) = self.0.split_at_mut(HEADER);
        header[16..20].copy_from_slice(&first.to_be_bytes());
        for (number, record) in (first..).zip(records.chunks_exact_mut(RECORD)) {
            let bytes = if u64::from(number).is_multiple_of(POISONOUS) { POISON } else { 1000 };
            let port: u16 = if number.is_multiple_of(3) { 443 } else { 80 };
            record[PACKETS..PACKETS + 4].copy_from_slice(&number.to_be_bytes());
            record[BYTES..BYTES + 4].copy_from_slice(&bytes.to_be_bytes());
            record[DST_PORT..DST_PORT + 2].copy_from_slice(&port.to_be_bytes());
        }
        &self.0
    }
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
