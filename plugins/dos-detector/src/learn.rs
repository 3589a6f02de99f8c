//! Thresholds that are learned: by meter and hour of the day, the highest rate in training.

use crate::config::Learn;

const HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;

/// What was learned of each meter of the learned level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learned {
    multiplier: f64,
    training_ms: u64,
    offset_ms: i64,
    /// Batch time of the first batch.
    pub(crate) started_ms: Option<u64>,
    /// By meter and hour: the highest sum over a window; 0 where the hour was not trained.
    pub(crate) highest: Vec<[u64; HOURS]>,
}

impl Learned {
    pub(crate) fn new(config: &Learn, meters: usize) -> Learned {
        Learned {
            multiplier: config.multiplier,
            training_ms: config.training_s.saturating_mul(1000),
            offset_ms: i64::from(config.utc_offset_minutes) * 60_000,
            started_ms: None,
            highest: vec![[0; HOURS]; meters],
        }
    }

    fn hour(&self, at_ms: u64) -> usize {
        let local = i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_add(self.offset_ms);
        local.div_euclid(HOUR_MS).rem_euclid(HOURS as i64) as usize
    }

    /// Whether training is still on at `at_ms`.
    pub(crate) fn is_training(&self, at_ms: u64) -> bool {
        self.started_ms.is_none_or(|started| at_ms.saturating_sub(started) < self.training_ms)
    }

    /// Takes in a full window of meter `m` that ended at `at_ms`, while training is on.
    pub(crate) fn train(&mut self, m: usize, sum: u64, at_ms: u64) {
        if !self.is_training(at_ms) {
            return;
        }
        let hour = self.hour(at_ms);
        if let Some(highest) = self.highest.get_mut(m).and_then(|hours| hours.get_mut(hour)) {
            *highest = sum.max(*highest);
        }
    }

    /// The sum over a window from which on meter `m` is too high at `at_ms`: none in training, and none
    /// in an hour that was not trained.
    pub(crate) fn limit(&self, m: usize, at_ms: u64) -> u64 {
        let highest = self.highest.get(m).and_then(|hours| hours.get(self.hour(at_ms))).copied().unwrap_or_default();
        if highest == 0 || self.is_training(at_ms) {
            return u64::MAX;
        }
        // A float that is too large becomes u64::MAX, which is no limit; one below 1 becomes 1.
        ((highest as f64 * self.multiplier) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = HOUR_MS as u64;

    fn learned(utc_offset_minutes: i32) -> Learned {
        let config = Learn { multiplier: 2.0, training_s: 86_400, utc_offset_minutes, classes: vec![], units: vec![] };
        Learned { started_ms: Some(0), ..Learned::new(&config, 1) }
    }

    #[test]
    fn the_highest_window_of_an_hour_is_its_threshold_after_training() {
        let mut learned = learned(0);
        learned.train(0, 10, 3 * HOUR);
        learned.train(0, 30, 3 * HOUR + 5);
        learned.train(0, 20, 4 * HOUR - 1);
        assert_eq!(learned.limit(0, 3 * HOUR), u64::MAX);
        assert_eq!(learned.limit(0, 27 * HOUR), 60);
        assert_eq!(learned.limit(0, 28 * HOUR), u64::MAX);
        learned.train(0, 1000, 27 * HOUR);
        assert_eq!(learned.limit(0, 27 * HOUR), 60);
    }

    #[test]
    fn hours_are_those_of_local_time() {
        let mut learned = learned(-90);
        learned.train(0, 5, HOUR);
        // 01:00 UTC is 23:30 of the day before.
        assert_eq!(learned.highest[0][23], 5);
        assert_eq!(learned.limit(0, 25 * HOUR + HOUR / 2 - 1), 10);
        assert_eq!(learned.limit(0, 25 * HOUR + HOUR / 2), u64::MAX);
    }
}
