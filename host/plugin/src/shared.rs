//! What every instance of a stage shares: its name, grants, limits, metrics and rate limits.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use sluice_flow::Schema;
use sluice_pipeline::{Event, EventOut, Labels, Metrics};

use crate::abi::{Alert, Level};
use crate::budget::{Budget, OverBudget};
use crate::instance::cpu_ns;
use crate::limits::{
    Limits, MAX_ALERT_TEXT, MAX_KEPT_LINES, MAX_LOG_LINE, MAX_METRIC_NAME, MAX_PLUGIN_METRICS, MAX_TOLD_AT_ONCE,
    MemoryInUse,
};
use crate::quarantine::{Change, Quarantine};
use crate::recording::Recorder;
use crate::spec::{FailurePolicy, Grant, Isolation, LogLine, LogOut, OnError, Services, StageSpec};
use crate::tables::Joined;

type FloatGauge = Gauge<f64, AtomicU64>;

/// So many a second, and so many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    size: f64,
    per_second: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(size: u32, per_second: f64) -> Bucket {
        Bucket { tokens: f64::from(size), size: f64::from(size), per_second, filled: None }
    }

    /// How many there are.
    fn left(&mut self, now: Instant) -> usize {
        let since = self.filled.map_or(0.0, |filled| now.saturating_duration_since(filled).as_secs_f64());
        self.filled = Some(now);
        self.tokens = (self.tokens + since * self.per_second).min(self.size);
        self.tokens as usize
    }

    /// Takes as many as there are, `wanted` at most.
    fn take_up_to(&mut self, wanted: usize, now: Instant) -> usize {
        let taken = self.left(now).min(wanted);
        self.tokens -= taken as f64;
        taken
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_up_to(1, now) == 1
    }
}

/// The numbers of a stage.
pub(crate) struct Meters {
    pub(crate) calls: Counter,
    pub(crate) cpu_ns: Counter,
    pub(crate) memory: FloatGauge,
    pub(crate) kept_rows: Counter,
    pub(crate) log_suppressed: Counter,
    pub(crate) alerts: Counter,
    pub(crate) alerts_suppressed: Counter,
    pub(crate) alerts_withdrawn: Counter,
    pub(crate) metrics_refused: Counter,
    pub(crate) swaps: Counter,
    pub(crate) swaps_refused: Counter,
    pub(crate) rollbacks: Counter,
    pub(crate) swap_seconds: Histogram,
    pub(crate) generation: FloatGauge,
    pub(crate) recordings: Counter,
    pub(crate) recordings_left_out: Counter,
    pub(crate) retries: Counter,
    pub(crate) bisections: Counter,
    pub(crate) recycled: Counter,
    pub(crate) over_budget: Counter,
    pub(crate) quarantines: Counter,
    pub(crate) quarantined: FloatGauge,
    pub(crate) batch_rows_limit: FloatGauge,
    traps: Mutex<BTreeMap<&'static str, u64>>,
    metrics: Arc<Metrics>,
    stage: String,
}

impl Meters {
    fn new(metrics: &Arc<Metrics>, stage: &str) -> Meters {
        let labels = || vec![("stage", stage.to_owned())];
        let counter = |name: &str, help: &str| metrics.counter(name, help, labels());
        let gauge = |name: &str, help: &str| metrics.gauge(name, help, labels());
        Meters {
            calls: counter("sluice_stage_plugin_calls", "Calls of the plugin's process and tick."),
            cpu_ns: counter(
                "sluice_stage_plugin_cpu_nanoseconds",
                "CPU time of the calling threads within the plugin; estimated from one batch in eight.",
            ),
            memory: gauge("sluice_stage_plugin_memory_bytes", "Linear memory of all instances."),
            kept_rows: counter("sluice_stage_plugin_kept_rows", "Rows that the plugin let through."),
            log_suppressed: counter(
                "sluice_stage_plugin_log_suppressed",
                "Log lines of the plugin, and about its failures, beyond their rates.",
            ),
            alerts: counter("sluice_stage_plugin_alerts", "Alerts raised."),
            alerts_suppressed: counter("sluice_stage_plugin_alerts_suppressed", "Alerts beyond the stage's rate."),
            alerts_withdrawn: counter(
                "sluice_stage_plugin_alerts_withdrawn",
                "Alerts that were not raised because the call failed.",
            ),
            metrics_refused: counter(
                "sluice_stage_plugin_metrics_refused",
                "Calls for metrics with a bad name, or beyond the number a stage may have.",
            ),
            swaps: counter("sluice_stage_plugin_swaps", "Instances exchanged for a newer version."),
            swaps_refused: counter(
                "sluice_stage_plugin_swaps_refused",
                "Newer versions, or their instances, that were refused; the old one runs on.",
            ),
            swap_seconds: metrics.latency(
                "sluice_stage_plugin_swap_seconds",
                "How long a worker stood still to exchange an instance, with the state handed over.",
                labels(),
            ),
            rollbacks: counter(
                "sluice_stage_plugin_rollbacks",
                "Times that the version before was put back, by itself or as an operator asked.",
            ),
            generation: gauge("sluice_stage_plugin_generation", "Number of the version that is published, from 1."),
            recordings: counter("sluice_stage_plugin_recordings", "Recordings of calls that were written."),
            recordings_left_out: counter(
                "sluice_stage_plugin_recordings_left_out",
                "Recordings that were not written: the same trap has one, it was too large, or the directory refused it.",
            ),
            retries: counter("sluice_stage_plugin_retries", "Batches given again after `retry-later`."),
            bisections: counter("sluice_stage_plugin_bisections", "Batches that were taken apart after a failure."),
            recycled: counter(
                "sluice_stage_plugin_recycled",
                "Instances exchanged for fresh ones, with their state, because their memory had grown.",
            ),
            over_budget: counter("sluice_stage_plugin_over_budget", "Calls that used the last of the CPU budget."),
            quarantines: counter("sluice_stage_plugin_quarantines", "Times that the plugin was put into quarantine."),
            quarantined: gauge("sluice_stage_plugin_quarantined", "1 while the plugin is not called, else 0."),
            batch_rows_limit: gauge(
                "sluice_stage_plugin_batch_rows_limit",
                "Rows that batches are split at because the memory was too little for more; 0: not split.",
            ),
            traps: Mutex::default(),
            metrics: Arc::clone(metrics),
            stage: stage.to_owned(),
        }
    }

    /// Counts rows that went by `on_error`.
    pub(crate) fn failed_rows(&self, reason: &'static str, rows: usize) {
        let labels: Labels = vec![("stage", self.stage.clone()), ("reason", reason.to_owned())];
        let help = "Rows that were not processed and went by `on_error`, by reason.";
        self.metrics.counter("sluice_stage_plugin_failed_rows", help, labels).inc_by(rows as u64);
    }

    /// Counts a trap.
    pub(crate) fn trap(&self, kind: &'static str) {
        *self.traps.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let labels: Labels = vec![("stage", self.stage.clone()), ("kind", kind.to_owned())];
        self.metrics.counter("sluice_stage_plugin_traps", "Calls that ended the instance, by kind.", labels).inc();
    }

    /// Traps by kind.
    pub(crate) fn traps(&self) -> BTreeMap<&'static str, u64> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes which plugin runs, and takes back what was published of the one before: a stage whose plugin is exchanged for months
    /// has one series all the time.
    pub(crate) fn info(&self, runs: &Component<'_>, before: Option<&Component<'_>>) {
        let help = "Plugin, version, SHA-256 and signer of the component that runs; always 1.";
        let labels = runs.labels(&self.stage);
        if let Some(before) = before.map(|before| before.labels(&self.stage)).filter(|before| *before != labels) {
            self.metrics.remove(INFO, &before);
        }
        self.metrics.gauge(INFO, help, labels).set(1.0);
    }

    /// Takes back what was published of a plugin.
    pub(crate) fn withdraw(&self, component: &Component<'_>) {
        self.metrics.remove(INFO, &component.labels(&self.stage));
    }
}

/// Name of the metric that says which plugin runs.
const INFO: &str = "sluice_stage_plugin_info";

/// Families with series of a plugin's own, which are not published any more when its stage is gone: beside the name of the stage
/// their labels have values that plugins choose.
pub const PLUGIN_FAMILIES: [&str; 3] = [INFO, COUNTS, GAUGES];
/// The plugins' own counters.
const COUNTS: &str = "sluice_plugin_count";
/// Their gauges.
const GAUGES: &str = "sluice_plugin_gauge";

/// Which component it is.
pub(crate) struct Component<'v> {
    pub(crate) plugin: &'v str,
    pub(crate) version: &'v str,
    pub(crate) digest: String,
    pub(crate) signer: String,
}

impl Component<'_> {
    fn labels(&self, stage: &str) -> Labels {
        vec![
            ("stage", stage.to_owned()),
            ("plugin", self.plugin.to_owned()),
            ("version", self.version.to_owned()),
            ("digest", self.digest.clone()),
            ("signer", self.signer.clone()),
        ]
    }
}

/// A metric of the plugin's own.
#[derive(Clone)]
pub(crate) enum OwnMetric {
    Counter(Counter),
    Gauge(FloatGauge),
}

/// What every instance of a version shares. What is behind an `Arc` of its own stays when the version is exchanged.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) grant: Grant,
    pub(crate) config_json: String,
    pub(crate) on_error: OnError,
    pub(crate) failure: FailurePolicy,
    pub(crate) is_private: bool,
    pub(crate) state: Option<PathBuf>,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) limits: Limits,
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) rollback_window: Duration,
    pub(crate) services: Services,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) memory: Arc<MemoryInUse>,
    pub(crate) quarantine: Arc<Quarantine>,
    log_lines: Arc<Mutex<Bucket>>,
    /// For the host's own lines about what the plugin does: one that fails again and again must not fill the log either.
    told: Arc<Mutex<Bucket>>,
    alerts: Arc<Mutex<Bucket>>,
    own: Arc<Mutex<HashMap<(String, bool), OwnMetric>>>,
    /// The tables that the first instance has opened, as far as they are looked up together.
    pub(crate) joined: OnceLock<Option<Arc<Joined>>>,
}

impl Shared {
    /// For the first version of a stage.
    pub(crate) fn new(spec: &StageSpec, metrics: &Arc<Metrics>) -> Shared {
        let limits = &spec.limits;
        Shared {
            name: Arc::from(spec.name.as_str()),
            schema: Arc::clone(&spec.schema),
            grant: spec.grant.clone(),
            config_json: spec.config_json.clone(),
            on_error: spec.on_error,
            failure: spec.failure,
            is_private: spec.is_private,
            state: spec.state.clone(),
            recorder: spec.record.clone().map(Recorder::new),
            limits: limits.clone(),
            budget: spec.budget.clone(),
            rollback_window: spec.rollback_window,
            services: spec.services.clone(),
            isolation: spec.isolation.clone(),
            meters: Arc::new(Meters::new(metrics, &spec.name)),
            memory: Arc::default(),
            quarantine: Arc::default(),
            log_lines: log_lines(limits),
            told: told(),
            alerts: alerts(limits),
            own: Arc::default(),
            joined: OnceLock::new(),
        }
    }

    /// For another version of the same stage: its counters go on, and its rates where their limits are the same.
    pub(crate) fn next(&self, spec: &StageSpec) -> Shared {
        let mut next = Shared::new(spec, &self.meters.metrics);
        next.meters = Arc::clone(&self.meters);
        next.memory = Arc::clone(&self.memory);
        next.quarantine = Arc::clone(&self.quarantine);
        next.own = Arc::clone(&self.own);
        next.told = Arc::clone(&self.told);
        if next.limits.log_lines_per_s == self.limits.log_lines_per_s {
            next.log_lines = Arc::clone(&self.log_lines);
        }
        if next.limits.alerts_per_min == self.limits.alerts_per_min {
            next.alerts = Arc::clone(&self.alerts);
        }
        next
    }

    /// For a candidate beside this version: nothing that it counts, logs or raises gets out.
    pub(crate) fn aside(&self) -> Shared {
        let limits = &self.limits;
        Shared {
            name: Arc::clone(&self.name),
            schema: Arc::clone(&self.schema),
            grant: self.grant.clone(),
            config_json: self.config_json.clone(),
            on_error: self.on_error,
            failure: self.failure,
            is_private: self.is_private,
            state: None,
            recorder: None,
            limits: limits.clone(),
            // Its time is not the stage's: what it uses must not cost rows. But it has no more than that.
            budget: self.budget.as_ref().map(|budget| budget.alike()),
            rollback_window: Duration::ZERO,
            services: Services {
                events: EventOut::default(),
                log: LogOut::Kept(Arc::default()),
                ..self.services.clone()
            },
            isolation: self.isolation.clone(),
            meters: Arc::new(Meters::new(&Metrics::new(), &self.name)),
            memory: Arc::default(),
            quarantine: Arc::default(),
            log_lines: log_lines(limits),
            told: told(),
            alerts: alerts(limits),
            own: Arc::default(),
            joined: OnceLock::new(),
        }
    }

    /// How long batches wait for the budget, if they do.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let budget = self.budget.as_ref().filter(|budget| budget.policy() == OverBudget::Delay)?;
        budget.wait(Instant::now())
    }

    /// Counts a batch or tick that failed, towards the quarantine.
    pub(crate) fn failed(&self, traps: u32, why: &str) {
        let Some(rules) = &self.failure.quarantine else { return };
        let stage = &self.name;
        match self.quarantine.failed(rules, Instant::now(), traps, why) {
            Some(Change::Begun(wait)) => {
                self.meters.quarantines.inc();
                self.meters.quarantined.set(1.0);
                let retry_after_s = wait.as_secs_f64();
                tracing::error!(%stage, why, retry_after_s, "plugin quarantined: it is not called, rows go by on_error");
            }
            Some(Change::Longer(wait)) => {
                let retry_after_s = wait.as_secs_f64();
                tracing::warn!(%stage, why, retry_after_s, "plugin tried again, it stays in quarantine");
            }
            None => {}
        }
    }

    /// Ends the quarantine if this was the trial of it.
    pub(crate) fn worked(&self) {
        if self.quarantine.worked() {
            self.meters.quarantined.set(0.0);
            tracing::info!(stage = %self.name, "plugin tried again, its quarantine is over");
        }
    }

    /// Begins a quarantine that lasts until it is released.
    pub(crate) fn begin_quarantine(&self, why: &str) {
        self.quarantine.begin(Instant::now(), why);
        self.meters.quarantines.inc();
        self.meters.quarantined.set(1.0);
        tracing::warn!(stage = %self.name, why, "plugin quarantined as asked: rows go by on_error until it is released");
    }

    /// Ends the quarantine, whatever the plugin did: whether there was one.
    pub(crate) fn release(&self, why: &str) -> bool {
        let was_on = self.quarantine.release();
        if was_on {
            self.meters.quarantined.set(0.0);
            tracing::info!(stage = %self.name, why, "plugin released from quarantine");
        }
        was_on
    }

    /// Whether a line about what the plugin did may be logged; one that may not is counted.
    pub(crate) fn may_tell(&self) -> bool {
        let is_allowed = self.told.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if !is_allowed {
            self.meters.log_suppressed.inc();
        }
        is_allowed
    }

    /// Writes a line of the plugin's to the log, if its rate allows.
    pub(crate) fn log(&self, level: Level, message: &str) {
        if self.admits_line() {
            self.write_line(level, message);
        }
    }

    /// Whether the rate allows a line of the plugin's; one that may not be written is counted.
    pub(crate) fn admits_line(&self) -> bool {
        if let LogOut::Kept(_) = &self.services.log {
            return true;
        }
        let is_allowed = self.log_lines.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if !is_allowed {
            self.meters.log_suppressed.inc();
        }
        is_allowed
    }

    /// Writes a line of the plugin's that its rate allows to the log.
    pub(crate) fn write_line(&self, level: Level, message: &str) {
        if let LogOut::Kept(lines) = &self.services.log {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() < MAX_KEPT_LINES {
                lines.push(LogLine { level, text: printable(message, MAX_LOG_LINE) });
            }
            return;
        }
        let line = printable(message, MAX_LOG_LINE);
        let stage = &*self.name;
        match level {
            Level::Error => tracing::error!(target: "plugin", stage, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", stage, "{line}"),
            Level::Info => tracing::info!(target: "plugin", stage, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", stage, "{line}"),
        }
    }

    /// Alerts that the rate allows now.
    pub(crate) fn alerts_left(&self) -> usize {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).left(Instant::now())
    }

    /// Raises the alerts of a call that worked, as far as the rate allows. The stage's budget pays for it: whether that used
    /// the last of it.
    pub(crate) fn raise(&self, alerts: Vec<Alert>, time_ms: u64) -> bool {
        self.pay_for(alerts, |alerts| {
            let mut bucket = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
            let raised = bucket.take_up_to(alerts.len(), Instant::now());
            // Nobody else waits while they are written down.
            drop(bucket);
            self.meters.alerts.inc_by(raised as u64);
            self.meters.alerts_suppressed.inc_by((alerts.len() - raised) as u64);
            if !self.services.events.is_empty() {
                alerts.iter().take(raised).for_each(|alert| self.services.events.emit(&self.event(alert, time_ms)));
            }
        })
    }

    /// Counts the alerts of a call that failed: they are not raised. The stage's budget pays for it, as for others.
    pub(crate) fn withdraw(&self, alerts: Vec<Alert>) -> bool {
        self.pay_for(alerts, |alerts| {
            self.meters.alerts_withdrawn.inc_by(alerts.len() as u64);
        })
    }

    /// Has the stage's budget pay for what is done with alerts, and for letting go of them: whether that used the last of it.
    fn pay_for(&self, alerts: Vec<Alert>, act: impl FnOnce(&[Alert])) -> bool {
        if alerts.is_empty() {
            return false;
        }
        let budget = self.budget.as_ref().map(|budget| (budget, cpu_ns()));
        act(&alerts);
        drop(alerts);
        budget.is_some_and(|(budget, began)| {
            let used = cpu_ns().saturating_sub(began);
            self.meters.cpu_ns.inc_by(used);
            budget.spend(used, Instant::now())
        })
    }

    /// The alert as others see it.
    pub(crate) fn event(&self, alert: &Alert, time_ms: u64) -> Event {
        Event {
            stage: Arc::clone(&self.name),
            time_ms,
            kind: printable(&alert.kind, MAX_ALERT_TEXT),
            severity: alert.severity.min(7),
            subject: printable(&alert.subject, MAX_ALERT_TEXT),
            value: alert.value,
            threshold: alert.threshold,
            note: printable(&alert.note, MAX_ALERT_TEXT),
        }
    }

    /// The plugin's own counters and gauges, by name.
    pub(crate) fn own_values(&self) -> BTreeMap<String, f64> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let value = |metric: &OwnMetric| match metric {
            OwnMetric::Counter(counter) => counter.get() as f64,
            OwnMetric::Gauge(gauge) => gauge.get(),
        };
        own.iter().map(|((name, _), metric)| (name.clone(), value(metric))).collect()
    }

    /// The plugin's own counters and gauges, by name and whether they count.
    pub(crate) fn own_metrics(&self) -> Vec<((String, bool), OwnMetric)> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.iter().map(|(key, metric)| (key.clone(), metric.clone())).collect()
    }

    /// The plugin's own metric called `name`; none if the name is bad or there are too many.
    pub(crate) fn own_metric(&self, name: &str, is_counter: bool) -> Option<OwnMetric> {
        let is_good = (1..=MAX_METRIC_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), is_counter);
        if let Some(metric) = own.get(&key) {
            return Some(metric.clone());
        }
        if !is_good || own.len() >= MAX_PLUGIN_METRICS {
            return None;
        }
        let labels = vec![("stage", self.meters.stage.clone()), ("name", name.to_owned())];
        let metrics = &self.meters.metrics;
        let metric = if is_counter {
            OwnMetric::Counter(metrics.counter(COUNTS, "Counters of the plugins' own.", labels))
        } else {
            OwnMetric::Gauge(metrics.gauge(GAUGES, "Gauges of the plugins' own.", labels))
        };
        own.insert(key, metric.clone());
        Some(metric)
    }
}

fn log_lines(limits: &Limits) -> Arc<Mutex<Bucket>> {
    Arc::new(Mutex::new(Bucket::new(limits.log_lines_per_s, f64::from(limits.log_lines_per_s))))
}

fn told() -> Arc<Mutex<Bucket>> {
    Arc::new(Mutex::new(Bucket::new(MAX_TOLD_AT_ONCE, 1.0)))
}

fn alerts(limits: &Limits) -> Arc<Mutex<Bucket>> {
    Arc::new(Mutex::new(Bucket::new(limits.alerts_per_min, f64::from(limits.alerts_per_min) / 60.0)))
}

/// `text` up to `bytes` bytes, on one line: what a terminal or a log would act on is escaped.
pub(crate) fn printable(text: &str, bytes: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes));
    for c in text.trim_end().chars() {
        let start = line.len();
        // Also what reverses or hides text.
        let is_plain = !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_plain {
            line.push(c);
        } else {
            line.extend(c.escape_default());
        }
        if line.len() > bytes {
            line.truncate(start);
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::spec::ComponentSource;
    use crate::trust::Trust;

    fn stage(budget: Option<Arc<Budget>>) -> Shared {
        let spec = StageSpec {
            name: "tag".to_owned(),
            component: ComponentSource::Embedded { name: "none", bytes: &[] },
            trust: Trust::default(),
            config_json: String::new(),
            grant: Grant::Requested,
            on_error: OnError::Drop,
            limits: Limits::default(),
            is_private: false,
            state: None,
            failure: FailurePolicy::default(),
            budget,
            rollback_window: Duration::ZERO,
            isolation: None,
            record: None,
            services: Services::default(),
            schema: Arc::new(Schema::standard()),
        };
        Shared::new(&spec, &Metrics::new())
    }

    #[test]
    fn what_is_done_with_alerts_is_paid_for() {
        let alert = || {
            let text = || "x".to_owned();
            Alert { kind: text(), severity: 4, subject: text(), value: 0.0, threshold: 0.0, note: text() }
        };
        // Twice what the budget has.
        let work = |_: &[Alert]| {
            let until_ns = cpu_ns() + 2_000_000;
            while cpu_ns() < until_ns {}
        };
        let budget = Budget::new("tag", 1, OverBudget::Shed);
        let shared = stage(Some(Arc::clone(&budget)));
        assert!(!shared.pay_for(Vec::new(), work) && budget.wait(Instant::now()).is_none(), "there are none");
        assert!(shared.pay_for(vec![alert()], work), "the last of it");
        assert!(budget.wait(Instant::now()).is_some() && shared.meters.cpu_ns.get() >= 2_000_000);
        assert!(!stage(None).pay_for(vec![alert()], work));
    }

    #[test]
    fn a_bucket_gives_its_size_at_once_and_its_rate_after() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2.0);
        let taken = |bucket: &mut Bucket, at: Duration| (0..10).filter(|_| bucket.take(start + at)).count();
        assert_eq!(taken(&mut bucket, Duration::ZERO), 3);
        assert_eq!(taken(&mut bucket, Duration::from_millis(400)), 0);
        assert_eq!(taken(&mut bucket, Duration::from_millis(500)), 1);
        assert_eq!(taken(&mut bucket, Duration::from_secs(60)), 3);
    }

    #[test]
    fn what_a_plugin_says_stays_on_one_line_of_limited_length() {
        assert_eq!(printable("a\nERROR forged\x1b[2J\n", 100), "a\\nERROR forged\\u{1b}[2J");
        assert_eq!(printable("äöü", 5), "äö");
        assert_eq!(printable("ab\n\n", 3), "ab");
    }
}
