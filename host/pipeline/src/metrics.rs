//! What is counted, as Prometheus text.

use std::collections::{HashMap, HashSet, VecDeque};
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

/// Components that were removed and still have books and series of their own. Those of one more are added to what is kept under
/// [`REMOVED`]: a configuration that changes for months, or a tenant with ever new names, must not make the metrics grow for ever.
pub const MOST_REMOVED: usize = 64;
/// What the components are called together that were removed long ago. Nothing in a configuration can be called that.
pub const REMOVED: &str = "(removed)";

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
    /// Series by their first label, which says what they are of.
    series: HashMap<(&'static str, String), HashSet<(String, Labels)>>,
    /// Components that are not there any more, the one that left first in front.
    gone: VecDeque<(Kind, String)>,
}

impl Inner {
    /// Takes note of a series, to be able to remove it.
    fn note(&mut self, family: &str, labels: &Labels) {
        if let Some(of) = labels.first() {
            self.series.entry(of.clone()).or_default().insert((family.to_owned(), labels.clone()));
        }
    }

    fn remove(&mut self, family: &str, labels: &Labels) {
        // A name is that of one family, of whatever type.
        self.counters.get(family).map(|family| family.remove(labels));
        self.gauges.get(family).map(|family| family.remove(labels));
        self.latencies.get(family).map(|family| family.remove(labels));
        if let Some(of) = labels.first()
            && let Some(series) = self.series.get_mut(of)
        {
            series.remove(&(family.to_owned(), labels.clone()));
        }
    }

    /// Removes what is published of a component, in the families that `is_it` names.
    fn remove_of(&mut self, kind: Kind, name: &str, is_it: impl Fn(&str) -> bool) {
        let of = (kind.name(), name.to_owned());
        let series = self.series.get(&of).cloned().unwrap_or_default();
        for (family, labels) in series.into_iter().filter(|(family, _)| is_it(family)) {
            self.remove(&family, &labels);
        }
        if self.series.get(&of).is_some_and(HashSet::is_empty) {
            self.series.remove(&of);
        }
    }

    /// Removes what is published of components that neither are there nor have books.
    fn remove_strangers(&mut self, is_there: impl Fn(Kind, &str) -> bool) {
        let kind_of = |label: &str| Kind::ALL.into_iter().find(|kind| kind.name() == label);
        let known = |of: Kind, name: &str| {
            is_there(of, name) || self.accounts.iter().any(|known| known.kind() == of && known.name() == name)
        };
        let all = self.series.keys().filter_map(|(label, name)| Some((kind_of(label)?, name.clone())));
        let strangers: Vec<(Kind, String)> = all.filter(|(kind, name)| !known(*kind, name)).collect();
        for (kind, name) in strangers {
            self.remove_of(kind, &name, |_| true);
        }
    }

    /// Takes the books of the component out that has been gone for longest, if there are too many and all that it took in is
    /// settled; a sink may still write.
    fn outdated(&mut self) -> Option<Arc<Account>> {
        if self.gone.len() <= MOST_REMOVED {
            return None;
        }
        let account = |(kind, name): &(Kind, String)| {
            let is_it = |account: &&Arc<Account>| account.kind() == *kind && account.name() == name;
            self.accounts.iter().find(is_it).filter(|account| account.balance().open() == 0).cloned()
        };
        let (at, account) = self.gone.iter().enumerate().find_map(|(at, gone)| Some((at, account(gone)?)))?;
        self.gone.remove(at);
        self.accounts.retain(|known| !Arc::ptr_eq(known, &account));
        let (kind, name) = (account.kind(), account.name());
        self.remove_of(kind, name, |_| true);
        for reason in account.balance().dropped.into_keys() {
            self.remove(&dropped_name(kind), &vec![(kind.name(), name.to_owned()), ("reason", reason.to_owned())]);
        }
        Some(account)
    }
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
            let series = family.get_or_create(&labels).clone();
            inner.note(name, &labels);
            series
        })
    }

    /// Takes a series back, if it was made: what it was about is not there any more.
    pub fn remove(&self, name: &str, labels: &Labels) {
        self.with(|inner| inner.remove(name, labels));
    }

    /// Takes note of which components there are by now. Of those that left, what `own` names is not published any more; their
    /// books stay until many others have left since, and are then kept together as [`REMOVED`]. Of those that never were, since
    /// they were refused, nothing stays.
    pub fn retain(&self, is_there: impl Fn(Kind, &str) -> bool, own: &[&str]) {
        let outdated: Vec<Arc<Account>> = self.with(|inner| {
            inner.gone.retain(|(kind, name)| !is_there(*kind, name));
            let all = inner.accounts.iter().map(|account| (account.kind(), account.name().to_owned()));
            let left = all.filter(|(kind, name)| name != REMOVED && !is_there(*kind, name));
            let left: Vec<(Kind, String)> = left.filter(|of| !inner.gone.contains(of)).collect();
            for (kind, name) in left {
                inner.remove_of(kind, &name, |family| own.contains(&family));
                inner.gone.push_back((kind, name));
            }
            inner.remove_strangers(&is_there);
            std::iter::from_fn(|| inner.outdated()).collect()
        });
        for account in outdated {
            self.account(account.kind(), REMOVED).add(&account.balance());
            self.taps.remove(account.kind(), account.name());
        }
    }

    /// The counters of rows dropped by components of one kind, by component and reason.
    pub(crate) fn dropped_family(&self, kind: Kind) -> Family<Labels, Counter> {
        let name = dropped_name(kind);
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
            let series = family.get_or_create(&labels).clone();
            inner.note(name, &labels);
            series
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
            let series = family.get_or_create(&labels).clone();
            inner.note(name, &labels);
            series
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

/// Name of the counters of rows dropped by components of one kind.
fn dropped_name(kind: Kind) -> String {
    format!("sluice_{}_dropped_rows", kind.name())
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

    /// Series of a component, by lines of the text.
    fn series(metrics: &Metrics, name: &str) -> usize {
        metrics.encode().lines().filter(|line| line.contains(&format!("\"{name}\""))).count()
    }

    #[test]
    fn what_is_published_does_not_grow_with_ever_new_names_and_no_row_is_forgotten() {
        let metrics = Metrics::new();
        let stays = metrics.account(Kind::Stage, "stays");
        let is_there = |kind: Kind, name: &str| (kind, name) == (Kind::Stage, "stays");
        let mut most = 0;
        for number in 0..300 {
            let name = format!("tenant:{number}");
            let account = metrics.account(Kind::Stage, &name);
            let labels = || vec![("stage", name.clone())];
            metrics.latency("sluice_stage_swap_seconds", "Swaps.", labels()).observe(0.1);
            metrics.gauge("sluice_plugin_gauge", "Own.", [labels(), vec![("name", "x".to_owned())]].concat()).set(1.0);
            account.rows_in(10);
            account.rows_out(7);
            account.dropped("trap", 2);
            account.dropped("filtered", 1);
            stays.rows_in(1);
            stays.rows_out(1);
            metrics.retain(is_there, &["sluice_plugin_gauge"]);
            most = most.max(metrics.encode().lines().count());
            assert!(!metrics.encode().contains("sluice_plugin_gauge{"), "its own are gone at once");
        }
        let books = metrics.balances();
        assert_eq!(books.len(), MOST_REMOVED + 2);
        assert!(most < (MOST_REMOVED + 3) * 60, "{most} lines");
        assert_eq!(metrics.encode().lines().count(), most, "no more than when it was full");
        let sum = |of: &dyn Fn(&Balance) -> u64| books.iter().map(of).sum::<u64>();
        assert_eq!(sum(&|books| books.rows_in), 3300);
        assert_eq!(sum(&|books| books.rows_out), 2400);
        let removed = books.iter().find(|books| books.name == REMOVED).unwrap();
        let times = (300 - MOST_REMOVED) as u64;
        assert_eq!(removed.dropped, [("filtered", times), ("trap", 2 * times)].into());
        assert_eq!(metrics.inner.lock().unwrap().series.len(), MOST_REMOVED + 2);
    }

    #[test]
    fn of_what_was_refused_nothing_stays() {
        let metrics = Metrics::new();
        metrics.account(Kind::Stage, "stays");
        let before = metrics.encode();
        let refused = || vec![("stage", "refused".to_owned())];
        metrics.counter("sluice_stage_plugin_calls", "Calls.", refused());
        metrics.counter("sluice_admin_refused", "Requests.", vec![("reason", "busy".to_owned())]);
        metrics.retain(|_, name| name == "stays", &[]);
        let after = metrics.encode();
        assert!(after.contains("{reason=\"busy\"}") && !after.contains("\"refused\""), "{after}");
        assert!(before.lines().filter(|line| *line != "# EOF").all(|line| after.contains(line)), "{after}");
    }

    #[test]
    fn what_comes_back_goes_on_with_its_books_and_what_still_writes_keeps_them() {
        let metrics = Metrics::new();
        let slow = metrics.account(Kind::Sink, "slow");
        slow.rows_in(5);
        let back = metrics.account(Kind::Sink, "back");
        back.rows_in(3);
        back.rows_out(3);
        for number in 0..200 {
            metrics.account(Kind::Sink, &number.to_string());
            // It is there for a moment every hundred times: it left last then.
            metrics.retain(|_, name| number % 60 == 0 && name == "back", &[]);
        }
        slow.rows_out(5);
        let books = metrics.balances();
        let of =
            |name: &str| books.iter().find(|books| books.name == name).map(|books| (books.rows_in, books.rows_out));
        assert_eq!(of("slow"), Some((5, 5)));
        assert_eq!(of("back"), Some((3, 3)));
        assert_eq!(of(REMOVED), Some((0, 0)));
        assert_eq!((series(&metrics, "slow") > 0, series(&metrics, "10")), (true, 0));
        back.rows_in(1);
        assert!(metrics.encode().contains("sluice_sink_in_rows_total{sink=\"back\"} 4"));
    }
}
