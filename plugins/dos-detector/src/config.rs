//! The keys of the stage's `config` table.

use serde::Deserialize;

use crate::meter::{CLASSES, Class, Meter, UNITS, Unit};

/// Most buckets of a window.
const MAX_BUCKETS: u64 = 60;
/// Most subjects of a level.
const MAX_TRACKED: usize = 1 << 16;
/// Most lists of prefix lengths.
const MAX_PREFIX_LEVELS: usize = 4;
/// Longest window: rates over more than an hour are no attacks.
const MAX_WINDOW_S: u64 = 3600;
/// Bytes that the windows of all subjects may take.
const MAX_WINDOW_BYTES: usize = 64 << 20;

/// `[stages.NAME.config]` of the plugin `dos-detector`. At least one threshold, or `learn`, is needed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Thresholds of each destination address, e.g. `{ total = { bits = 1_000_000_000 }, tcp_syn = { packets = 20_000 } }`.
    pub hosts: Option<Thresholds>,
    /// Thresholds of each destination prefix, e.g. `[{ v4 = 24, v6 = 48, total = { bits = 5_000_000_000 } }]`. At most 4.
    #[serde(default)]
    pub prefixes: Vec<Prefixes>,
    /// Thresholds of all traffic together.
    pub network: Option<Thresholds>,
    /// Thresholds of all traffic together that are learned, e.g. `{}` for the defaults.
    pub learn: Option<Learn>,
    /// Name of a prefix table: only destinations in it count, in every level. Default: all do.
    pub protect: Option<String>,
    /// Seconds over which rates are taken. Default 10.
    #[serde(default = "default_window_s")]
    pub window_s: u64,
    /// Milliseconds by which the window slides; at most 60 of them in a window. Default 1000.
    #[serde(default = "default_bucket_ms")]
    pub bucket_ms: u64,
    /// Seconds that a rate must stay below `clear_ratio` of its threshold before its alert is cleared. Default 60.
    #[serde(default = "default_hold_s")]
    pub hold_s: u64,
    /// Part of the threshold below which a rate counts as over, above 0 and at most 1. Default 0.8.
    #[serde(default = "default_clear_ratio")]
    pub clear_ratio: f64,
    /// Most subjects that are watched at once, per level. Default 4096.
    #[serde(default = "default_max_tracked")]
    pub max_tracked: usize,
    /// Sampling rate of rows that come without one. Default 1.
    #[serde(default = "default_fallback_rate")]
    pub fallback_rate: u64,
}

fn default_window_s() -> u64 {
    10
}

fn default_bucket_ms() -> u64 {
    1000
}

fn default_hold_s() -> u64 {
    60
}

fn default_clear_ratio() -> f64 {
    0.8
}

fn default_max_tracked() -> usize {
    4096
}

fn default_fallback_rate() -> u64 {
    1
}

/// Thresholds by class of traffic.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// All protocols.
    pub total: Option<Rates>,
    /// TCP, SYN or not.
    pub tcp: Option<Rates>,
    /// UDP.
    pub udp: Option<Rates>,
    /// ICMP and ICMPv6.
    pub icmp: Option<Rates>,
    /// TCP flows with SYN and without ACK.
    pub tcp_syn: Option<Rates>,
}

/// Thresholds of prefixes of one length.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefixes {
    /// Length of IPv4 prefixes, 1 to 32, e.g. 24. Left out: IPv4 does not count here.
    pub v4: Option<u8>,
    /// Length of IPv6 prefixes, 1 to 128, e.g. 48. Left out: IPv6 does not count here.
    pub v6: Option<u8>,
    /// All protocols.
    pub total: Option<Rates>,
    /// TCP, SYN or not.
    pub tcp: Option<Rates>,
    /// UDP.
    pub udp: Option<Rates>,
    /// ICMP and ICMPv6.
    pub icmp: Option<Rates>,
    /// TCP flows with SYN and without ACK.
    pub tcp_syn: Option<Rates>,
}

/// Thresholds by unit, each above 0; what is left out is not watched.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Bits a second.
    pub bits: Option<u64>,
    /// Packets a second.
    pub packets: Option<u64>,
    /// Flow records a second.
    pub flows: Option<u64>,
}

/// `learn`: for each hour of the day, the highest rate seen in training, times `multiplier`, is the threshold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learn {
    /// Times the highest rate in training. Default 2.
    #[serde(default = "default_multiplier")]
    pub multiplier: f64,
    /// Seconds of training, from the first batch; until then it does not alert. Default 86400, a day.
    #[serde(default = "default_training_s")]
    pub training_s: u64,
    /// Minutes that local time is ahead of UTC, e.g. 60 or -300: which hour it is. Default 0.
    #[serde(default)]
    pub utc_offset_minutes: i32,
    /// The classes to learn. Default `["total"]`.
    #[serde(default = "default_classes")]
    pub classes: Vec<Class>,
    /// The units to learn. Default `["bits", "packets"]`.
    #[serde(default = "default_units")]
    pub units: Vec<Unit>,
}

fn default_multiplier() -> f64 {
    2.0
}

fn default_training_s() -> u64 {
    86_400
}

fn default_classes() -> Vec<Class> {
    vec![Class::Total]
}

fn default_units() -> Vec<Unit> {
    vec![Unit::Bits, Unit::Packets]
}

impl Prefixes {
    fn thresholds(&self) -> Thresholds {
        let Prefixes { total, tcp, udp, icmp, tcp_syn, .. } = *self;
        Thresholds { total, tcp, udp, icmp, tcp_syn }
    }
}

/// What a level watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Hosts,
    /// Lengths of the 128 bits; `None` where the family does not count.
    Prefixes {
        v4: Option<u8>,
        v6: Option<u8>,
    },
    Network,
    Learned,
}

/// A level to be: what it watches, and from which rate a second on.
#[derive(Clone, Debug)]
pub(crate) struct LevelPlan {
    pub(crate) scope: Scope,
    pub(crate) meters: Vec<(Meter, u64)>,
}

impl Config {
    /// Buckets of a window.
    pub(crate) fn buckets(&self) -> usize {
        (self.window_s * 1000 / self.bucket_ms) as usize
    }

    /// Checks what the types cannot, and returns the levels.
    ///
    /// # Errors
    /// Which key is wrong, and what would be right.
    pub(crate) fn levels(&self) -> Result<Vec<LevelPlan>, String> {
        if !(1..=MAX_WINDOW_S).contains(&self.window_s) {
            return Err(format!("`window_s`: {} is not between 1 and {MAX_WINDOW_S}", self.window_s));
        }
        let window_ms = self.window_s * 1000;
        if self.bucket_ms == 0 || !window_ms.is_multiple_of(self.bucket_ms) || window_ms / self.bucket_ms > MAX_BUCKETS
        {
            return Err(format!(
                "`bucket_ms`: {} does not divide a window of {window_ms} ms into at most {MAX_BUCKETS} parts; use e.g. {}",
                self.bucket_ms,
                window_ms.div_ceil(10)
            ));
        }
        if !(self.clear_ratio > 0.0 && self.clear_ratio <= 1.0) {
            return Err(format!("`clear_ratio`: {} is not above 0 and at most 1", self.clear_ratio));
        }
        if !(1..=MAX_TRACKED).contains(&self.max_tracked) {
            return Err(format!("`max_tracked`: {} is not between 1 and {MAX_TRACKED}", self.max_tracked));
        }
        if self.fallback_rate == 0 {
            return Err("`fallback_rate`: 0 would make every rate 0; use 1 for unsampled exporters".into());
        }
        if self.prefixes.len() > MAX_PREFIX_LEVELS {
            return Err(format!(
                "`prefixes`: {} entries, at most {MAX_PREFIX_LEVELS} are possible",
                self.prefixes.len()
            ));
        }
        let levels = self.list()?;
        if levels.is_empty() {
            return Err(
                "nothing to detect; set a threshold, e.g. `hosts = { total = { packets = 100000 } }`, or `learn`"
                    .into(),
            );
        }
        let cells = |level: &LevelPlan| match level.scope {
            Scope::Hosts | Scope::Prefixes { .. } => self.max_tracked * level.meters.len() * (self.buckets() + 1),
            Scope::Network | Scope::Learned => 0,
        };
        let bytes = levels.iter().map(cells).sum::<usize>() * size_of::<u64>();
        if bytes > MAX_WINDOW_BYTES {
            return Err(format!(
                "`max_tracked`: {} subjects, with these windows and thresholds, may take {} MiB of {}; lower it, or raise `bucket_ms`",
                self.max_tracked,
                bytes >> 20,
                MAX_WINDOW_BYTES >> 20
            ));
        }
        Ok(levels)
    }

    fn list(&self) -> Result<Vec<LevelPlan>, String> {
        let mut levels = Vec::new();
        if let Some(hosts) = &self.hosts {
            levels.push(LevelPlan { scope: Scope::Hosts, meters: meters("hosts", hosts)? });
        }
        for (at, prefixes) in self.prefixes.iter().enumerate() {
            let key = format!("prefixes[{at}]");
            let bad = |length: Option<u8>, whole: u8| length.is_some_and(|length| length == 0 || length > whole);
            if (prefixes.v4.is_none() && prefixes.v6.is_none()) || bad(prefixes.v4, 32) || bad(prefixes.v6, 128) {
                return Err(format!("`{key}`: set `v4` (1 to 32), `v6` (1 to 128) or both to lengths of prefixes"));
            }
            let scope = Scope::Prefixes { v4: prefixes.v4.map(|length| length + 96), v6: prefixes.v6 };
            levels.push(LevelPlan { scope, meters: meters(&key, &prefixes.thresholds())? });
        }
        if let Some(network) = &self.network {
            levels.push(LevelPlan { scope: Scope::Network, meters: meters("network", network)? });
        }
        if let Some(learn) = &self.learn {
            if !(learn.multiplier.is_finite() && learn.multiplier > 0.0) {
                return Err(format!("`learn.multiplier`: {} is not above 0", learn.multiplier));
            }
            if learn.utc_offset_minutes.abs() > 24 * 60 {
                return Err(format!("`learn.utc_offset_minutes`: {} is more than a day", learn.utc_offset_minutes));
            }
            let mut meters: Vec<(Meter, u64)> = Vec::new();
            for class in &learn.classes {
                for unit in &learn.units {
                    let meter = Meter { class: *class, unit: *unit };
                    if !meters.iter().any(|(known, _)| *known == meter) {
                        meters.push((meter, u64::MAX));
                    }
                }
            }
            if meters.is_empty() {
                return Err("`learn` learns nothing; leave `classes` and `units` out for the defaults".into());
            }
            levels.push(LevelPlan { scope: Scope::Learned, meters });
        }
        Ok(levels)
    }
}

fn meters(key: &str, thresholds: &Thresholds) -> Result<Vec<(Meter, u64)>, String> {
    let mut meters = Vec::new();
    for class in CLASSES {
        let rates = match class {
            Class::Total => thresholds.total,
            Class::Tcp => thresholds.tcp,
            Class::Udp => thresholds.udp,
            Class::Icmp => thresholds.icmp,
            Class::TcpSyn => thresholds.tcp_syn,
        };
        let Some(rates) = rates else { continue };
        for unit in UNITS {
            let rate = match unit {
                Unit::Bits => rates.bits,
                Unit::Packets => rates.packets,
                Unit::Flows => rates.flows,
            };
            match rate {
                Some(0) => {
                    let (class, unit) = (class.name(), unit.name());
                    return Err(format!("`{key}.{class}.{unit}`: 0 would always alert; leave it out to not watch it"));
                }
                Some(rate) => meters.push((Meter { class, unit }, rate)),
                None => {}
            }
        }
    }
    if meters.is_empty() {
        return Err(format!("`{key}` has no threshold; set one, e.g. `{key}.total.packets`, or leave it out"));
    }
    Ok(meters)
}
