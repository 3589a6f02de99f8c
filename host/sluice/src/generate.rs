//! `sluice generate`: exporters of made-up traffic.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluice_endpoints::exporter::{Exporters, Pacer, Sent};
use sluice_pipeline::Stop;
use sluice_wire::export::{
    Attack, Datagrams, Encoder, EncoderSettings, Flood, Flow, Traffic, TrafficSettings, Version,
};

use crate::cli::{self, GenerateArgs};
use crate::failure::Failure;
use crate::signals;

/// Flow records that are made, encoded and sent in one go: a few dozen datagrams, which the kernel takes as a train.
const MOST_AT_ONCE: u64 = 600;

/// Share of the flows that belong to the attack while it lasts.
const ATTACK_PERCENT: u8 = 50;

/// Exporters before they are opened.
pub(crate) struct GeneratorSettings {
    /// The collector.
    pub(crate) to: SocketAddr,
    /// Protocols; exporters take them in turn.
    pub(crate) versions: Vec<Version>,
    pub(crate) exporters: u16,
    /// Records a second of all together; 0 is as fast as possible.
    pub(crate) rate: u64,
    pub(crate) traffic: TrafficSettings,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Generated {
    pub(crate) records: u64,
    pub(crate) sent: Sent,
}

/// Exporters that are ready to send.
pub(crate) struct Generator {
    exporters: Exporters,
    encoders: Vec<Encoder>,
    traffic: Traffic,
    rate: u64,
    flows: Vec<Flow>,
    datagrams: Datagrams,
    next: usize,
}

impl Generator {
    pub(crate) fn open(settings: GeneratorSettings) -> io::Result<Generator> {
        let exporters = Exporters::open(settings.to, usize::from(settings.exporters))?;
        let encoder = |number: usize| {
            let version = settings.versions[number % settings.versions.len()];
            let sampling_rate = settings.traffic.sampling_rate;
            let agent = exporters.address(number);
            let boot_ms = wall_ms();
            Encoder::new(EncoderSettings {
                boot_ms: boot_ms.saturating_sub(3_600_000),
                ..EncoderSettings::new(version, number as u32, sampling_rate, agent)
            })
        };
        let encoders = (0..exporters.count()).map(encoder).collect();
        Ok(Generator {
            exporters,
            encoders,
            traffic: Traffic::new(settings.traffic),
            rate: settings.rate,
            flows: Vec::new(),
            datagrams: Datagrams::default(),
            next: 0,
        })
    }

    /// Sends until `stop`, for `time`, or `records`, whichever is first. `progress` is called about once a second.
    ///
    /// # Errors
    /// What the network says; that nobody listens is counted and no error.
    pub(crate) fn run(
        &mut self,
        stop: &Stop,
        time: Option<Duration>,
        records: Option<u64>,
        mut progress: impl FnMut(&Generated, Duration),
    ) -> io::Result<Generated> {
        let mut done = Generated::default();
        let pacer = Pacer::new(self.rate as f64);
        let began = Instant::now();
        let mut shown = Duration::ZERO;
        loop {
            let elapsed = began.elapsed();
            let left = records.map_or(u64::MAX, |records| records.saturating_sub(done.records));
            if stop.is_cancelled() || left == 0 || time.is_some_and(|time| elapsed >= time) {
                return Ok(done);
            }
            if elapsed.saturating_sub(shown) >= Duration::from_secs(1) {
                shown = elapsed;
                progress(&done, elapsed);
            }
            let delay = pacer.delay(done.records, elapsed);
            if !delay.is_zero() {
                thread::sleep(delay.min(Duration::from_millis(20)));
                continue;
            }
            let due = if self.rate == 0 { MOST_AT_ONCE } else { self.rate.div_ceil(100).clamp(1, MOST_AT_ONCE) };
            let now_ms = wall_ms();
            self.send_some(due.min(left) as usize, now_ms, &mut done)?;
        }
    }

    /// Lets the next exporter send `count` records.
    fn send_some(&mut self, count: usize, now_ms: u64, done: &mut Generated) -> io::Result<()> {
        let number = self.next;
        self.next = (self.next + 1) % self.encoders.len();
        self.traffic.fill(now_ms, count, &mut self.flows);
        self.datagrams.clear();
        let carried = self.encoders[number].encode(&self.flows, now_ms, &mut self.datagrams);
        let datagrams: Vec<&[u8]> = self.datagrams.iter().collect();
        done.sent += self.exporters.send(number, &datagrams)?;
        done.records += carried as u64;
        Ok(())
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The victim of an attack: the first host of the first customer.
pub(crate) fn attack_on(victim: IpAddr, start: Duration, length: Duration) -> Attack {
    let from_ms = wall_ms().saturating_add(start.as_millis() as u64);
    let to_ms = from_ms.saturating_add(length.as_millis() as u64);
    Attack { from_ms, to_ms, victim, flood: Flood::UdpReflection, percent: ATTACK_PERCENT }
}

/// Sends what the command line says.
pub(crate) fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let mut traffic =
        TrafficSettings { seed: args.seed, sampling_rate: args.sampling_rate, ..TrafficSettings::default() };
    if let Some((start, length)) = args.attack {
        traffic.attack = Some(attack_on(IpAddr::from([192, 0, 2, 1]), start, length));
    }
    let settings = GeneratorSettings {
        to: args.to,
        versions: args.version_set.iter().map(|version| export_version(*version)).collect(),
        exporters: args.exporters.unwrap_or(args.version_set.len() as u16),
        rate: args.rate,
        traffic,
    };
    let what = format!("cannot send to {}", args.to);
    let mut generator = Generator::open(settings).map_err(|error| Failure::running(what.clone(), error))?;
    let stop = Stop::new();
    signals::handle(stop.clone(), None).map_err(|error| Failure::running("signals", error))?;
    let is_terminal = io::stderr().is_terminal();
    let began = Instant::now();
    let done = generator.run(&stop, args.time, args.records, |done, elapsed| {
        if is_terminal {
            eprint!("\r{}", line(done, elapsed));
        }
    });
    let done = done.map_err(|error| Failure::running(what, error))?;
    if is_terminal {
        eprint!("\r");
    }
    eprintln!("{}", line(&done, began.elapsed()));
    // The answer to a datagram is told at the next one, so a few count as sent before the first refusal.
    if done.sent.refused > 0 && done.sent.refused.saturating_mul(3) >= done.sent.datagrams {
        return Err(Failure::failed(format!("nobody listens on {}", args.to)));
    }
    Ok(())
}

fn line(done: &Generated, elapsed: Duration) -> String {
    let per_second = done.records as f64 / elapsed.as_secs_f64().max(0.001);
    let Generated { records, sent } = done;
    format!(
        "sent {records} records in {} datagrams ({} bytes), {per_second:.0} records/s, {} refused",
        sent.datagrams, sent.bytes, sent.refused
    )
}

pub(crate) fn export_version(version: cli::Version) -> Version {
    match version {
        cli::Version::V5 => Version::NetFlow5,
        cli::Version::V9 => Version::NetFlow9,
        cli::Version::Ipfix => Version::Ipfix,
        cli::Version::Sflow => Version::Sflow5,
    }
}
