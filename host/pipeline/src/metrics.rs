//! What is counted, as Prometheus text.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::tap::Taps;
use crate::{Account, Balance, Kind, Tail, TailError};

/// Label names and values of one time series. Values come from closed or capped sets.
pub type Labels = Vec<(&'static str, String)>;

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 11] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// A float gauge.
pub(crate) type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug)]
pub(crate) struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCY_BUCKETS)
    }
}

/// Every metric of one collector. Families are made on first use; asking again for the same name and
/// labels gives the same series.
#[derive(Debug, Default)]
pub struct Metrics {
    inner: Mutex<Inner>,
    taps: Taps,
}

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    counters: HashMap<String, Family<Labels, Counter>>,
    gauges: HashMap<String, Family<Labels, FloatGauge>>,
    latencies: HashMap<String, Family<Labels, Histogram, Latency>>,
    accounts: Vec<Arc<Account>>,
}

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Arc<Metrics> {
        Arc::new(Metrics::default())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counter `name` (without `_total`, which the text adds) with these labels.
    pub fn counter(&self, name: &str, help: &str, labels: Labels) -> Counter {
        self.with(|inner| {
            let registry = &mut inner.registry;
            let family = inner.counters.entry(name.to_owned()).or_insert_with(|| {
                let family = Family::default();
                registry.register(name, sentence(help), Family::clone(&family));
                family
            });
            family.get_or_create(&labels).clone()
        })
    }

    /// The counters of rows dropped by components of one kind, by component and reason.
    pub(crate) fn dropped_family(&self, kind: Kind) -> Family<Labels, Counter> {
        let name = format!("sluice_{}_dropped_rows", kind.name());
        self.with(|inner| {
            let registry = &mut inner.registry;
            let family = inner.counters.entry(name.clone()).or_insert_with(|| {
                let family = Family::default();
                registry.register(name, sentence("Rows dropped, by reason."), Family::clone(&family));
                family
            });
            Family::clone(family)
        })
    }

    /// The gauge `name` with these labels.
    pub fn gauge(&self, name: &str, help: &str, labels: Labels) -> Gauge<f64, AtomicU64> {
        self.with(|inner| {
            let registry = &mut inner.registry;
            let family = inner.gauges.entry(name.to_owned()).or_insert_with(|| {
                let family = Family::default();
                registry.register(name, sentence(help), Family::clone(&family));
                family
            });
            family.get_or_create(&labels).clone()
        })
    }

    /// The histogram of seconds `name` with these labels.
    pub fn latency(&self, name: &str, help: &str, labels: Labels) -> Histogram {
        self.with(|inner| {
            let registry = &mut inner.registry;
            let family = inner.latencies.entry(name.to_owned()).or_insert_with(|| {
                let family = Family::new_with_constructor(Latency);
                registry.register(name, sentence(help), Family::clone(&family));
                family
            });
            family.get_or_create(&labels).clone()
        })
    }

    /// The books of a component, opened when they are first asked for.
    pub fn account(&self, kind: Kind, name: &str) -> Arc<Account> {
        let is_it = |account: &&Arc<Account>| account.kind() == kind && account.name() == name;
        if let Some(known) = self.with(|inner| inner.accounts.iter().find(is_it).cloned()) {
            return known;
        }
        let account = Arc::new(Account::new(self, kind, name));
        self.with(|inner| inner.accounts.push(Arc::clone(&account)));
        account
    }

    pub(crate) fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Begins to look at the rows of `node`: the name of a component, or `sources.NAME`, `stages.NAME` or `sinks.NAME`.
    ///
    /// # Errors
    /// If there is none or several, or too many tails are open.
    pub fn tail(&self, node: &str) -> Result<Tail, TailError> {
        self.taps.tail(node)
    }

    /// The books of every component, in the order they were opened.
    pub fn balances(&self) -> Vec<Balance> {
        let accounts = self.with(|inner| inner.accounts.clone());
        accounts.iter().map(|account| account.balance()).collect()
    }

    /// Everything as OpenMetrics text, which Prometheus reads.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        self.with(|inner| text::encode(&mut out, &inner.registry)).expect("writing to a string does not fail");
        out
    }
}

/// A help text as the registry wants it, which adds the full stop.
fn sentence(help: &str) -> &str {
    help.strip_suffix('.').unwrap_or(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_asked_for_twice_is_the_same_and_is_published() {
        let metrics = Metrics::new();
        let labels = || vec![("stage", "tag".to_owned())];
        metrics.counter("sluice_stage_traps", "Traps.", labels()).inc();
        metrics.counter("sluice_stage_traps", "Traps.", labels()).inc();
        let text = metrics.encode();
        assert!(text.contains("sluice_stage_traps_total{stage=\"tag\"} 2"), "{text}");
    }
}
