//! The DoS detector: alerts when a destination gets too many bits, packets or flows a second.
//!
//! Rates are sums over a sliding window of batch time; the rows' own times are not used, because
//! exporters disagree about them and an attacker's exporter may lie. Counters are multiplied by the
//! sampling rate. The host groups a batch by destination and adds up its rows; each group is then added to
//! the windows of its host, its prefixes and the network.

mod addr;
mod codec;
mod config;
mod detector;
mod index;
mod learn;
mod level;
mod measure;
mod meter;
mod sketch;
mod state;

use sluice_sdk::{Batch, Bitmap, Failure, KeyColumns, Manifest, Plugin, Table, columns};

use addr::Addr;
pub use config::{Config, Learn, Prefixes, Rates, Thresholds};
use detector::Detector;
use measure::Measured;
pub use meter::{Class, Unit};

/// The plugin.
#[derive(Debug, Default)]
pub struct DosDetector {
    // There from `init` on.
    config: Option<Config>,
    detector: Option<Detector>,
    protect: Option<Table>,
    measured: Measured,
    /// Whether the first batch has given the hashes their seed.
    is_seeded: bool,
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
        let protected: Option<Bitmap> = match &self.protect {
            Some(table) => {
                let codes = table.find_columns(batch, columns::DST_ADDR)?.unwrap_or_default();
                Some(codes.iter().map(|code| *code != 0).collect())
            }
            None => None,
        };
        if protected.as_ref().is_some_and(|protected| protected.count() == 0) {
            detector.advance(now_ms);
            return Ok(());
        }
        // Everything that can be refused comes before anything is counted: a batch counts once or not at all.
        self.measured.run(batch, protected.as_ref(), &detector.meters, config.fallback_rate)?;
        if !self.is_seeded {
            self.is_seeded = true;
            let seed = addr::hash(Addr { hi: batch.id(), lo: now_ms }, 0);
            detector.levels.iter_mut().for_each(|level| level.reseed(seed));
        }
        detector.advance(now_ms);
        detector.add(&self.measured, now_ms);
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
        self.is_seeded = false;
        self.detector = Some(detector);
        Ok(understood)
    }
}

sluice_sdk::export!(DosDetector, stateful);
