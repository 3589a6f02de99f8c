//! What goes in: tables for the enricher, and NetFlow v9 datagrams, encoded in advance and sent at a rate.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluice_endpoints::exporter::{Exporters, Pacer};
use sluice_wire::export::{Datagrams, Encoder, EncoderSettings, Traffic, TrafficSettings, Version};

/// Prefixes of customers: IPv4 and IPv6, 100 000 in all.
const CUSTOMERS_V4: u32 = 80_000;
const CUSTOMERS_V6: u16 = 20_000;
/// Customers that share the prefixes, and so routes of the splitter.
const CUSTOMER_IDS: u32 = 200;
/// Every how many customer prefixes one has traffic: 2000 do.
const QUIET: usize = 50;

/// Prefixes of the rest of the world in the tables of countries and ASes.
const REMOTES_V4: u32 = 16_384;
const REMOTES_V6: u16 = 1024;
/// Every how many of them one has traffic: about 1100 do.
const SILENT: usize = 16;

const COUNTRIES: [&str; 12] = ["AT", "BR", "CH", "CN", "DE", "FR", "GB", "IN", "JP", "NL", "PL", "US"];
/// Different AS numbers, from the private range.
const ASES: u32 = 1000;

/// How old the tables are.
const LONG_AGO: Duration = Duration::from_secs(3600);

/// Exporters, each with an address, an observation domain and templates of its own.
const EXPORTERS: usize = 8;
/// N of "1 in N packets".
const SAMPLING_RATE: u32 = 100;
/// Records that one exporter sends at once: some 25 datagrams, as a router's cache empties.
const BURST_RECORDS: usize = 600;
/// Bursts that are different: 96 000 records in some 4000 datagrams, 6 MB, more than a core's own cache.
const BURSTS: usize = 160;

/// Places of what changes in a NetFlow v9 header when a datagram is sent again (RFC 3954, section 5.1).
const UNIX_SECS: usize = 8;
const SEQUENCE: usize = 12;

/// A prefix: address and length.
type Prefix = (IpAddr, u8);

fn customers() -> Vec<Prefix> {
    let v4 = (0..CUSTOMERS_V4).map(|n| (IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + (n << 7))), 25));
    let v6 = (0..CUSTOMERS_V6).map(|n| (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0)), 48));
    v4.chain(v6).collect()
}

fn remotes() -> Vec<Prefix> {
    let v4 = (0..REMOTES_V4).map(|n| (IpAddr::V4(Ipv4Addr::from_bits(0x6440_0000 + (n << 8))), 24));
    let v6 = (0..REMOTES_V6).map(|n| (IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, n, 0, 0, 0, 0)), 64));
    v4.chain(v6).collect()
}

/// Writes `customers.csv`, `countries.csv`, `ases.csv` and `secret.key` to `dir`.
pub(crate) fn write_tables(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("secret.key"), "5a".repeat(32))?;
    let table = |name: &str, prefixes: &[Prefix], value: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for (number, (addr, bits)) in prefixes.iter().enumerate() {
            writeln!(text, "{addr}/{bits},{}", value(number)).expect("a string grows");
        }
        fs::write(dir.join(name), text)?;
        // What has just been written is read again every second, until its time says enough: not what is measured.
        File::options().write(true).open(dir.join(name))?.set_modified(SystemTime::now() - LONG_AGO)
    };
    let remotes = remotes();
    table("customers.csv", &customers(), &|number| (1 + number as u32 % CUSTOMER_IDS).to_string())?;
    table("countries.csv", &remotes, &|number| COUNTRIES[number % COUNTRIES.len()].to_owned())?;
    table("ases.csv", &remotes, &|number| (64_512 + number as u32 % ASES).to_string())
}

/// Datagrams of one exporter that are sent together; they carry [`BURST_RECORDS`] records.
struct Burst {
    exporter: usize,
    datagrams: Vec<Vec<u8>>,
}

/// Datagrams to send again and again.
pub(crate) struct Load {
    bursts: Vec<Burst>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) records: u64,
    pub(crate) datagrams: u64,
    pub(crate) elapsed: Duration,
}

impl Load {
    /// Encodes the traffic. The same every time but for its timestamps.
    pub(crate) fn encode() -> Load {
        let mut traffic = Traffic::new(TrafficSettings {
            customers: customers().into_iter().step_by(QUIET).collect(),
            remotes: remotes().into_iter().step_by(SILENT).collect(),
            sampling_rate: SAMPLING_RATE,
            ..TrafficSettings::default()
        });
        let now_ms = wall().as_millis() as u64;
        let encoder = |number: usize| {
            let agent = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let settings = EncoderSettings::new(Version::NetFlow9, number as u32, SAMPLING_RATE, agent);
            Encoder::new(EncoderSettings { boot_ms: now_ms - 3_600_000, ..settings })
        };
        let mut encoders: Vec<Encoder> = (0..EXPORTERS).map(encoder).collect();
        let (mut flows, mut datagrams) = (Vec::new(), Datagrams::default());
        let bursts = (0..BURSTS).map(|number| {
            let exporter = number % EXPORTERS;
            traffic.fill(now_ms, BURST_RECORDS, &mut flows);
            datagrams.clear();
            let carried = encoders[exporter].encode(&flows, now_ms, &mut datagrams);
            assert_eq!(carried, BURST_RECORDS, "NetFlow v9 carries every flow");
            Burst { exporter, datagrams: datagrams.iter().map(<[u8]>::to_vec).collect() }
        });
        Load { bursts: bursts.collect() }
    }

    /// Different records and datagrams.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.bursts.len() * BURST_RECORDS, self.bursts.iter().map(|burst| burst.datagrams.len()).sum())
    }

    /// All datagrams, in order.
    #[allow(dead_code, reason = "for the benchmark of Kafka")]
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bursts.iter().flat_map(|burst| burst.datagrams.iter().map(Vec::as_slice))
    }

    /// Sends for `time` to `collector`, beginning with templates; `records_per_second` 0 is as fast as possible.
    ///
    /// Time of export and sequence numbers are as if the traffic were new. Datagrams go one by one: as
    /// trains (`UDP_SEGMENT`) they would reach a collector that asks for them (`UDP_GRO`) uncut, and
    /// cost it less than datagrams from a network do.
    pub(crate) fn send(
        &mut self,
        collector: SocketAddr,
        records_per_second: u64,
        time: Duration,
    ) -> Result<Sent, String> {
        let failed = |error: io::Error| format!("cannot send to {collector}: {error}");
        let mut exporters = Exporters::open(collector, EXPORTERS).map_err(failed)?;
        let mut sequences = [0_u32; EXPORTERS];
        let pacer = Pacer::new(records_per_second as f64);
        let mut sent = Sent::default();
        let began = Instant::now();
        for at in (0..self.bursts.len()).cycle() {
            let mut elapsed = began.elapsed();
            let mut delay = pacer.delay(sent.records, elapsed);
            while !delay.is_zero() && elapsed < time {
                thread::sleep(delay);
                elapsed = began.elapsed();
                delay = pacer.delay(sent.records, elapsed);
            }
            if elapsed >= time {
                break;
            }
            let seconds = wall().as_secs() as u32;
            let Burst { exporter, datagrams } = &mut self.bursts[at];
            for datagram in datagrams {
                let sequence = &mut sequences[*exporter];
                put_u32(datagram, UNIX_SECS, seconds);
                put_u32(datagram, SEQUENCE, *sequence);
                *sequence = sequence.wrapping_add(1);
                let now = exporters.send(*exporter, &[&datagram[..]]).map_err(failed)?;
                if now.refused > 0 {
                    return Err(format!("nobody listens on {collector} any more"));
                }
                sent.datagrams += now.datagrams;
            }
            sent.records += BURST_RECORDS as u64;
        }
        sent.elapsed = began.elapsed();
        Ok(sent)
    }
}

fn put_u32(datagram: &mut [u8], at: usize, value: u32) {
    datagram[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
