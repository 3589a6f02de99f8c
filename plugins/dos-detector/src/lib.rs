//! The DoS detector: alerts when a destination gets too many bits, packets or flows a second.
//!
//! Rates are sums over a sliding window of batch time; the rows' own times are not used, because
//! exporters disagree about them and an attacker's exporter may lie. Counters are multiplied by the
//! sampling rate. A batch is first grouped by destination; each group is then added to the windows of
//! its host, its prefixes and the network.

mod aggregate;
mod codec;
mod config;
mod detector;
mod index;
mod learn;
mod level;
mod meter;
mod sketch;
mod state;

use sluice_sdk::{Batch, Failure, KeyColumns, Manifest, Plugin, Table, columns, rows};

use aggregate::{Addr, Aggregate, Rows};
pub use config::{Config, Learn, Prefixes, Rates, Thresholds};
use detector::Detector;
pub use meter::{Class, Unit};

/// The plugin.
#[derive(Debug, Default)]
pub struct DosDetector {
    // There from `init` on.
    config: Option<Config>,
    detector: Option<Detector>,
    protect: Option<Table>,
    aggregate: Aggregate,
    /// Set by the first batch.
    seed: Option<u64>,
}

impl Plugin for DosDetector {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        let config: Config = sluice_sdk::config::parse(config)?;
        let detector = Detector::new(&config)?;
        let protect = match &config.protect {
            Some(name) => {
                let table =
                    Table::open(name).map_err(|error| format!("`protect`: cannot open table `{name}`: {error}"))?;
                // The host says what the table is instead.
                table.check(KeyColumns::address(columns::DST_ADDR)).map_err(|_| "`protect` does not fit")?;
                Some(table)
            }
            None => None,
        };
        manifest.read(columns::DST_ADDR).read(columns::BYTES).read(columns::PACKETS).read(columns::PROTO);
        manifest.read(columns::TCP_FLAGS).read(columns::SAMPLING_RATE).read(columns::NORMALIZED);
        manifest.tick_ms = Some(u32::try_from(config.bucket_ms).unwrap_or(u32::MAX));
        manifest.stateful = true;
        *self = DosDetector { config: Some(config), detector: Some(detector), protect, ..DosDetector::default() };
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let (Some(config), Some(detector)) = (&self.config, &mut self.detector) else {
            return Err(Failure::Fatal("processed before init".into()));
        };
        let now_ms = batch.now_ms();
        let rows = batch.rows();
        let protected = match &self.protect {
            Some(table) => table.find_columns(batch, columns::DST_ADDR)?,
            None => None,
        };
        if self.protect.is_some() && protected.iter().flatten().all(|code| *code == 0) {
            detector.advance(now_ms);
            return Ok(());
        }
        // Everything that can be refused comes before anything is counted: a batch counts once or not at all.
        let addrs = batch.find_addresses(columns::DST_ADDR)?;
        let bytes = batch.get_or_zero(columns::BYTES)?;
        let packets = batch.get_or_zero(columns::PACKETS)?;
        let proto = batch.get_or_zero(columns::PROTO)?;
        let tcp_flags = batch.get_or_zero(columns::TCP_FLAGS)?;
        let mut rate = batch.get_or_zero(columns::SAMPLING_RATE)?;
        let normalized = batch.find(columns::NORMALIZED)?;
        let fallback = config.fallback_rate;
        rows::each(&mut rate, |rate| *rate = if *rate == 0 { fallback } else { *rate });
        rows::each2(&mut rate, &normalized.unwrap_or_default(), |rate, normalized| {
            *rate = if *normalized == 1 { 1 } else { *rate };
        });
        let seed = *self.seed.get_or_insert_with(|| {
            let seed = aggregate::hash(Addr { hi: batch.id(), lo: now_ms }, 0);
            detector.levels.iter_mut().for_each(|level| level.reseed(seed));
            seed
        });
        let zeros = if addrs.is_none() { vec![0; rows] } else { Vec::new() };
        let (hi, lo) = addrs.as_ref().map_or((&zeros, &zeros), |addrs| (&addrs.hi, &addrs.lo));
        self.aggregate.run(
            &Rows {
                hi,
                lo,
                bytes: &bytes,
                packets: &packets,
                rate: &rate,
                proto: &proto,
                tcp_flags: &tcp_flags,
                protected: protected.as_deref(),
            },
            seed,
        );
        detector.advance(now_ms);
        detector.add(self.aggregate.groups(), now_ms);
        Ok(())
    }

    fn tick(&mut self, now_ms: u64) {
        // Before the first batch there is nothing to move on.
        if let Some(detector) = self.detector.as_mut().filter(|detector| detector.current.is_some()) {
            detector.advance(now_ms);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.detector.as_ref().map(state::snapshot).unwrap_or_default()
    }

    fn restore(&mut self, data: &[u8]) -> Result<bool, String> {
        let config = self.config.as_ref().ok_or("restored before init")?;
        let mut detector = Detector::new(config)?;
        let understood = state::restore(&mut detector, data)?;
        self.seed = None;
        self.detector = Some(detector);
        Ok(understood)
    }
}

sluice_sdk::export!(DosDetector, stateful);
