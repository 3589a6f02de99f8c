//! Raises an alert when a customer gets more bytes in a window of time than it may.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice_sdk::{Alert, Batch, Failure, Manifest, Plugin, Table, columns, config};

/// The stage's `config` table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bytes that a customer may get in a window.
    bytes: u64,
    /// Length of a window in seconds.
    window_s: u64,
}

/// The plugin.
#[derive(Default)]
pub struct Quota {
    config: Config,
    table: Option<Table>,
    /// Names by code, of one generation of the table.
    names: Vec<Option<String>>,
    generation: u64,
    /// When the window began, in milliseconds of batch time.
    since_ms: u64,
    /// Bytes in the window, by customer.
    got: BTreeMap<String, u64>,
}

/// What a snapshot begins with.
const VERSION: &str = "1";

impl Plugin for Quota {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        self.config = config::parse(config)?;
        self.table = Some(Table::open("customers")?);
        manifest.read(columns::DST_ADDR).read(columns::BYTES);
        manifest.tick_ms = Some(1000);
        manifest.stateful = true;
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.roll(batch.now_ms());
        let Some(table) = &self.table else { return Ok(()) };
        // One code a row, 0 where no prefix covers the address; none at all if no row has one.
        let Some(codes) = table.find_columns(batch, columns::DST_ADDR)? else { return Ok(()) };
        let bytes = batch.get_or_zero(columns::BYTES)?;
        let mut sums = vec![0_u64; table.codes() as usize];
        for (code, bytes) in codes.iter().zip(&bytes) {
            sums[*code as usize] = sums[*code as usize].saturating_add(*bytes);
        }
        // When the file of the table has changed, codes mean something else.
        if self.generation != table.generation() {
            self.generation = table.generation();
            self.names.clear();
        }
        self.names.resize(sums.len(), None);
        for (code, sum) in sums.iter().enumerate().skip(1).filter(|(_, sum)| **sum > 0) {
            let name = self.names[code].get_or_insert_with(|| table.value(code as u32).unwrap_or_default());
            let got = self.got.entry(name.clone()).or_default();
            let before = *got;
            *got = got.saturating_add(*sum);
            if before <= self.config.bytes && *got > self.config.bytes {
                Alert {
                    kind: "quota".to_owned(),
                    severity: 4,
                    subject: name.clone(),
                    value: *got as f64,
                    threshold: self.config.bytes as f64,
                    note: format!("{got} bytes in {} s", self.config.window_s),
                }
                .emit();
            }
        }
        Ok(())
    }

    /// Time goes by without batches, too.
    fn tick(&mut self, now_ms: u64) {
        self.roll(now_ms);
    }

    fn snapshot(&self) -> Vec<u8> {
        let lines = self.got.iter().map(|(name, got)| format!("{got} {name}"));
        let lines: Vec<String> = [VERSION.to_owned(), self.since_ms.to_string()].into_iter().chain(lines).collect();
        lines.join("\n").into_bytes()
    }

    fn restore(&mut self, data: &[u8]) -> Result<bool, String> {
        let text = std::str::from_utf8(data).map_err(|error| error.to_string())?;
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            // Another version's: not understood, and no mistake.
            return Ok(false);
        }
        let bad = |line: &str| format!("`{line}` is no line of a snapshot");
        let since = lines.next().ok_or("the snapshot is cut off")?;
        self.since_ms = since.parse().map_err(|_| bad(since))?;
        for line in lines {
            let (got, name) = line.split_once(' ').ok_or_else(|| bad(line))?;
            self.got.insert(name.to_owned(), got.parse().map_err(|_| bad(line))?);
        }
        Ok(true)
    }
}

impl Quota {
    /// Begins a new window when the last one is over. Batch time may go back a little: then the window stays.
    fn roll(&mut self, now_ms: u64) {
        if now_ms >= self.since_ms.saturating_add(1000 * self.config.window_s) {
            self.since_ms = now_ms;
            self.got.clear();
        }
    }
}

sluice_sdk::export!(Quota, stateful);
