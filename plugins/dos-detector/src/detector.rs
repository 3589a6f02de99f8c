//! Time, levels and alarms: when a rate is too high, and when it is over.

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_sdk::{Alert, metrics};

use crate::addr::Addr;
use crate::config::{Config, Scope};
use crate::learn::Learned;
use crate::level::{Crossed, Level};
use crate::measure::Measured;
use crate::meter::Meter;

/// Alerts that may be raised at the same time; further ones are counted and not raised.
const MAX_ALARMS: usize = 1024;

/// Severities as in syslog (RFC 5424, section 6.2.1).
const ALERT: u8 = 1;
const NOTICE: u8 = 5;

/// A meter of a subject that is too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) level: usize,
    pub(crate) slot: u32,
    pub(crate) meter: usize,
    pub(crate) raised_ms: u64,
    /// Since when it has been low enough to be over.
    pub(crate) below_since: Option<u64>,
    /// The highest sum over a window.
    pub(crate) peak: u64,
}

/// The state of detection.
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) levels: Vec<Level>,
    /// Those of all levels, each once.
    pub(crate) meters: Vec<Meter>,
    pub(crate) learned: Option<Learned>,
    pub(crate) alarms: Vec<Alarm>,
    /// The newest bucket there was, and the first; `None` before any batch.
    pub(crate) current: Option<u64>,
    pub(crate) first: u64,
    pub(crate) buckets: usize,
    pub(crate) bucket_ms: u64,
    hold_ms: u64,
    clear_ratio: f64,
}

impl Detector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// A configuration error.
    pub(crate) fn new(config: &Config) -> Result<Detector, String> {
        let (plans, buckets) = (config.levels()?, config.buckets());
        let level = |plan| Level::new(plan, config.max_tracked, buckets, config.window_s * 1000, 0);
        let levels: Vec<Level> = plans.iter().map(level).collect();
        let learned = levels.last().map_or(0, |level| level.meters.len());
        let mut meters: Vec<Meter> = levels.iter().flat_map(|level| level.meters.iter().copied()).collect();
        meters.sort_unstable_by_key(|meter| meter.code());
        meters.dedup();
        Ok(Detector {
            // The learned level is the last one, if there is one.
            learned: config.learn.as_ref().map(|learn| Learned::new(learn, learned)),
            levels,
            meters,
            alarms: Vec::new(),
            current: None,
            first: 0,
            buckets,
            bucket_ms: config.bucket_ms,
            hold_ms: config.hold_s.saturating_mul(1000),
            clear_ratio: config.clear_ratio,
        })
    }

    fn window_ms(&self) -> u64 {
        self.bucket_ms * self.buckets as u64
    }

    /// Moves time on to `now_ms`: old buckets leave the windows, alerts that are over are cleared.
    ///
    /// Time that lags behind by less than a window is that of a late batch, and changes nothing. Time that
    /// lags more is another clock: windows begin anew, so that nothing is counted into a future that may never come.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        let bucket = now_ms / self.bucket_ms;
        match self.current {
            Some(current) if bucket > current => {
                self.rotate(current, bucket);
                metrics::gauge("tracked", self.levels.iter().map(Level::tracked).sum::<usize>() as f64);
            }
            Some(current) if bucket == current => {}
            Some(current) if current - bucket < self.buckets as u64 => return,
            Some(_) => self.restart(now_ms, bucket),
            None => {
                self.current = Some(bucket);
                self.first = bucket;
            }
        }
        self.learn_limits(now_ms);
    }

    fn rotate(&mut self, from: u64, to: u64) {
        let buckets = self.buckets as u64;
        for bucket in from + 1..=to.min(from.saturating_add(buckets)) {
            // The window that ends with the bucket before this one is complete now.
            let end_ms = bucket * self.bucket_ms;
            if bucket - self.first >= buckets
                && let (Some(learned), Some(level)) = (&mut self.learned, self.levels.last())
                && let Some(slot) = level.slot_of(Addr::default())
            {
                for m in 0..level.meters.len() {
                    learned.train(m, level.sum(slot, m), end_ms - 1);
                }
            }
            self.learn_limits(end_ms - 1);
            self.review(end_ms);
            let place = (bucket % buckets) as usize;
            for level in &mut self.levels {
                level.rotate(place, place == 0);
            }
        }
        if to - from > buckets {
            // From the first window after the last that held anything, nothing came.
            self.review((from + buckets + 1) * self.bucket_ms);
            self.review(to * self.bucket_ms);
        }
        self.current = Some(to);
    }

    fn restart(&mut self, now_ms: u64, bucket: u64) {
        sluice_sdk::warn!("batch time went back by more than a window, to {now_ms} ms: windows begin anew");
        for level in &mut self.levels {
            level.empty();
        }
        for alarm in &mut self.alarms {
            alarm.raised_ms = alarm.raised_ms.min(now_ms);
            alarm.below_since = None;
        }
        (self.current, self.first) = (Some(bucket), bucket);
    }

    fn learn_limits(&mut self, now_ms: u64) {
        if let (Some(learned), Some(level)) = (&mut self.learned, self.levels.last_mut()) {
            learned.started_ms.get_or_insert(now_ms);
            for (m, limit) in level.limits.iter_mut().enumerate() {
                *limit = learned.limit(m, now_ms);
            }
        }
    }

    /// Clears what has been low for long enough. Looks at whole windows only, of which `now_ms` is the end: one whose
    /// last bucket has just begun is always low.
    fn review(&mut self, now_ms: u64) {
        let (window_ms, hold_ms, clear_ratio) = (self.window_ms(), self.hold_ms, self.clear_ratio);
        let levels = &mut self.levels;
        let before = self.alarms.len();
        self.alarms.retain_mut(|alarm| {
            let Some(level) = levels.get_mut(alarm.level) else { return false };
            let (sum, limit) =
                (level.sum(alarm.slot, alarm.meter), level.limits.get(alarm.meter).copied().unwrap_or(u64::MAX));
            alarm.peak = alarm.peak.max(sum);
            if limit != u64::MAX && sum as f64 >= limit as f64 * clear_ratio {
                alarm.below_since = None;
                return true;
            }
            let since = *alarm.below_since.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) < hold_ms {
                return true;
            }
            let seconds = now_ms.saturating_sub(alarm.raised_ms) / 1000;
            let peak = format!("; raised for {seconds} s, at most {:.0}", rate(alarm.peak, window_ms));
            alert("dos-cleared", NOTICE, level, alarm, (sum, limit), window_ms, &peak);
            level.mark(alarm.slot, 1 << alarm.meter, false);
            false
        });
        let cleared = before - self.alarms.len();
        if cleared > 0 {
            metrics::count("cleared", cleared as u32);
            metrics::gauge("alarms", self.alarms.len() as f64);
        }
    }

    /// Counts one batch, grouped by destination, into the bucket of `now_ms`. [`advance`](Self::advance) comes first.
    pub(crate) fn add(&mut self, groups: &Measured, now_ms: u64) {
        let place = (now_ms / self.bucket_ms % self.buckets as u64) as usize;
        let mut crossings: Vec<(usize, Crossed)> = Vec::new();
        for (at, level) in self.levels.iter_mut().enumerate() {
            if level.is_whole() {
                let sum =
                    |meter: &Meter| groups.of(*meter).iter().fold(0, |sum: u64, value| sum.saturating_add(*value));
                let total: Vec<u64> = level.meters.iter().map(sum).collect();
                crossings.extend(level.add(Addr::default(), &total, place).map(|crossed| (at, crossed)));
            } else {
                level.add_all(groups, place, |crossed| crossings.push((at, crossed)));
            }
        }
        // Only now is everything counted that the alerts tell of.
        for (level, crossed) in &crossings {
            self.raise(*level, *crossed, now_ms);
        }
        if !crossings.is_empty() {
            metrics::gauge("alarms", self.alarms.len() as f64);
        }
        let untracked =
            self.levels.iter_mut().map(|level| std::mem::take(&mut level.untracked)).fold(0, u32::saturating_add);
        if untracked > 0 {
            metrics::count("untracked", untracked);
        }
    }

    #[cold]
    fn raise(&mut self, at: usize, crossed: Crossed, now_ms: u64) {
        let window_ms = self.window_ms();
        let Some(level) = self.levels.get_mut(at) else { return };
        for meter in (0..level.meters.len()).filter(|m| crossed.meters >> m & 1 == 1) {
            if self.alarms.len() >= MAX_ALARMS {
                level.mark(crossed.slot, 1 << meter, false);
                metrics::count("alerts_suppressed", 1);
                continue;
            }
            let sum = level.sum(crossed.slot, meter);
            let limit = level.limits.get(meter).copied().unwrap_or(u64::MAX);
            let alarm = Alarm { level: at, slot: crossed.slot, meter, raised_ms: now_ms, below_since: None, peak: sum };
            alert("dos-raised", ALERT, level, &alarm, (sum, limit), window_ms, "");
            metrics::count("raised", 1);
            self.alarms.push(alarm);
        }
    }
}

/// A sum over a window as a rate a second.
fn rate(sum: u64, window_ms: u64) -> f64 {
    sum as f64 * 1000.0 / window_ms as f64
}

fn alert(kind: &str, severity: u8, level: &Level, alarm: &Alarm, (sum, limit): (u64, u64), window_ms: u64, more: &str) {
    let (Some(meter), Some(slot)) = (level.meters.get(alarm.meter), level.slot(alarm.slot)) else { return };
    let subject = name(level.scope, slot.subject);
    // An alert may outlive its threshold: the hour went by, and the next one was not trained.
    let threshold = if limit == u64::MAX { 0.0 } else { rate(limit, window_ms) };
    let (value, learned) = (rate(sum, window_ms), if level.scope == Scope::Learned { "learned " } else { "" });
    let (class, unit) = (meter.class.name(), meter.unit.name());
    let note = format!("{class}: {value:.0} {unit}/s to {subject}, {learned}threshold {threshold:.0}{more}");
    Alert { kind: kind.to_owned(), severity, subject, value, threshold, note }.emit();
}

/// A subject as text: an address, a prefix, or `network`.
fn name(scope: Scope, subject: Addr) -> String {
    let v6 = Ipv6Addr::from_bits(u128::from(subject.hi) << 64 | u128::from(subject.lo));
    let v4: Option<Ipv4Addr> = v6.to_ipv4_mapped();
    match (scope, v4) {
        (Scope::Network | Scope::Learned, _) => "network".into(),
        (Scope::Hosts, Some(v4)) => v4.to_string(),
        (Scope::Hosts, None) => v6.to_string(),
        (Scope::Prefixes { v4: bits, .. }, Some(v4)) => format!("{v4}/{}", bits.unwrap_or(128).saturating_sub(96)),
        (Scope::Prefixes { v6: bits, .. }, None) => format!("{v6}/{}", bits.unwrap_or(128)),
    }
}
