//! Made-up batches for plugins: ordinary traffic and what nobody thinks of, the same for the same seed.

mod odd;
mod random;
mod traffic;

use std::sync::Arc;

use sluice_flow::{Batch, ColumnSet, Schema};
use sluice_plugin::Manifest;

pub(crate) use odd::Odd;
pub(crate) use random::Random;
pub(crate) use traffic::Ordinary;

/// Rows of the largest batch.
pub const MOST_ROWS: usize = 65_535;

/// Batch time at which every sequence begins, in milliseconds since the Unix epoch.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// Milliseconds between two ticks for a plugin that does not say.
const TICK_MS: u64 = 1000;

/// One call.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are batches")]
pub enum Step {
    /// `process` on a batch.
    Batch(Batch),
    /// `tick` at this batch time, in milliseconds.
    Tick(u64),
}

/// Makes sequences of calls for one plugin.
pub struct Generator {
    odd: Odd,
    ordinary: Ordinary,
    random: Random,
    tick_ms: Option<u64>,
    now_ms: u64,
    next_id: u64,
}

impl Generator {
    /// Batches for the plugin of `manifest`, whose numbers in `config_json` are worth being near to. `ticks`: whether
    /// it exports `timer`.
    #[must_use]
    pub fn new(seed: u64, schema: &Arc<Schema>, manifest: &Manifest, ticks: bool, config_json: &str) -> Generator {
        let touched = manifest.reads.union(manifest.writes);
        Generator {
            odd: Odd::new(schema, touched.iter().collect(), &numbers_of(config_json)),
            ordinary: Ordinary::new(seed, schema, manifest.reads),
            random: Random::new(seed),
            tick_ms: ticks.then(|| manifest.tick_ms.map_or(TICK_MS, u64::from)),
            now_ms: START_MS,
            next_id: 1,
        }
    }

    /// A sequence with `batches` batches, and ticks between them for a plugin that has them. Batch time goes on,
    /// stands, jumps ahead and back.
    pub fn sequence(&mut self, batches: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..batches {
            let rows = self.rows();
            let from_ms = self.now_ms;
            self.pass_time();
            if let Some(tick_ms) = self.tick_ms
                && self.now_ms / tick_ms != from_ms / tick_ms
            {
                steps.push(Step::Tick(self.now_ms));
            }
            steps.push(Step::Batch(self.batch(rows)));
        }
        steps
    }

    /// One batch of `rows` rows at the time where the generator is.
    pub fn batch(&mut self, rows: usize) -> Batch {
        if self.random.is_one_of(1, 3) {
            return self.ordinary(rows);
        }
        let id = self.id();
        self.odd.batch(rows, id, self.now_ms, &mut self.random)
    }

    /// One batch of `rows` rows of ordinary traffic.
    pub fn ordinary(&mut self, rows: usize) -> Batch {
        let id = self.id();
        self.ordinary.batch(rows, id, self.now_ms)
    }

    /// Lets `ms` milliseconds pass.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Batch time.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Rows of a batch: the sizes that matter first, whatever the seed; then any, small ones most often.
    fn rows(&mut self) -> usize {
        const FIRST: [usize; 12] = [3, 0, 1, 2, 31, 32, 33, 64, 0, 1000, 4096, 5];
        FIRST.get(self.next_id as usize - 1).copied().unwrap_or_else(|| match self.random.below(40) {
            0..=3 => 0,
            4..=8 => 1,
            9..=30 => 2 + self.random.below(15) as usize,
            31..=37 => 16 + self.random.below(300) as usize,
            38 => 4096,
            _ => 8192,
        })
    }

    fn pass_time(&mut self) {
        self.now_ms = match self.random.below(16) {
            0..=3 => self.now_ms,
            4..=11 => self.now_ms + self.random.below(1000),
            12 => self.now_ms + 10_000,
            13 => self.now_ms + 86_400_000,
            // Captures are old, and clocks are set.
            14 => self.now_ms.saturating_sub(self.random.below(120_000)),
            _ if self.random.is_one_of(1, 4) => 0,
            _ => START_MS.max(self.now_ms) + 1,
        };
    }
}

/// The whole numbers in a text of JSON, wherever they stand.
fn numbers_of(json: &str) -> Vec<u64> {
    fn collect(value: &serde_json::Value, found: &mut Vec<u64>) {
        match value {
            serde_json::Value::Number(number) => found.extend(number.as_u64()),
            serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            serde_json::Value::Object(values) => values.values().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_str(json) {
        collect(&value, &mut found);
    }
    found
}

/// Traffic of exporters for a plugin that reads `reads`: the same for the same seed.
#[must_use]
pub fn ordinary_batches(schema: &Arc<Schema>, reads: ColumnSet, rows: usize, batches: usize) -> Vec<Batch> {
    let mut ordinary = Ordinary::new(1, schema, reads);
    (0..batches as u64).map(|number| ordinary.batch(rows, number + 1, START_MS + number * 100)).collect()
}

#[cfg(test)]
mod tests;
