//! The books of one component: rows in = rows out + rows dropped, by reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use sluice_flow::Batch;

use crate::Metrics;
use crate::tap::Tap;

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows come in by decoding and go out to the pipeline.
    Source,
    /// Rows come from sources and stages, and go out to others.
    Stage,
    /// Rows go out by being delivered.
    Sink,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Kind; 3] = [Kind::Source, Kind::Stage, Kind::Sink];

    /// `source`, `stage` or `sink`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Stage => "stage",
            Kind::Sink => "sink",
        }
    }
}

/// The counters of one component. Shared by all its threads.
#[derive(Debug)]
pub struct Account {
    kind: Kind,
    name: String,
    dropped: Dropped,
    rows_in: Counter,
    rows_out: Counter,
    batches: Counter,
    bytes: Counter,
    latency: Histogram,
    tap: Arc<Tap>,
}

/// Counters by reason; a reason that never occurred has none.
#[derive(Debug)]
struct Dropped {
    by_reason: Mutex<BTreeMap<&'static str, Counter>>,
    make: CounterMaker,
}

struct CounterMaker(Box<dyn Fn(&'static str) -> Counter + Send + Sync>);

impl std::fmt::Debug for CounterMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterMaker")
    }
}

/// The books at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What the component is.
    pub kind: Kind,
    /// Its name in the TOML.
    pub name: String,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went out; for a sink, rows delivered.
    pub rows_out: u64,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

impl Balance {
    /// Rows that came in and neither went out nor were dropped: in flight while running, 0 at rest.
    #[must_use]
    pub fn open(&self) -> i128 {
        i128::from(self.rows_in) - i128::from(self.rows_out) - i128::from(self.dropped.values().sum::<u64>())
    }
}

impl Account {
    pub(crate) fn new(metrics: &Metrics, kind: Kind, name: &str) -> Account {
        let label = kind.name();
        let labels = || vec![(label, name.to_owned())];
        let counter = |what: &str, help: &str| metrics.counter(&format!("sluice_{label}_{what}"), help, labels());
        // Families are shared by every component of a kind, so the counters of a reason can be made later.
        let family = metrics.dropped_family(kind);
        let owner = name.to_owned();
        let make = CounterMaker(Box::new(move |reason| {
            family.get_or_create(&vec![(label, owner.clone()), ("reason", reason.to_owned())]).clone()
        }));
        Account {
            kind,
            name: name.to_owned(),
            dropped: Dropped { by_reason: Mutex::default(), make },
            rows_in: counter("in_rows", "Rows that came in."),
            rows_out: counter("out_rows", "Rows that went out; for a sink, rows delivered."),
            batches: counter("batches", "Batches handled."),
            bytes: counter("in_bytes", "Bytes that came in: of datagrams for a source, of columns otherwise."),
            latency: metrics.latency(
                &format!("sluice_{label}_batch_seconds"),
                "Time spent on a batch: filling it (source), processing it (stage), delivering it (sink).",
                labels(),
            ),
            tap: metrics.taps().of(kind, name),
        }
    }

    /// Shows rows that go out (for a sink: that come in) to whoever looks at this component. While nobody does, it
    /// costs one load.
    #[inline]
    pub(crate) fn show(&self, batch: &Batch) {
        if self.tap.is_watched() {
            self.tap.show(batch);
        }
    }

    /// The batch, to be shown once it has gone out, if anybody looks.
    #[inline]
    pub(crate) fn to_show(&self, batch: &Batch) -> Option<Batch> {
        self.tap.is_watched().then(|| batch.clone())
    }

    /// What the component is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name in the TOML.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds the books of a component that is not there any more.
    pub(crate) fn add(&self, books: &Balance) {
        self.rows_in.inc_by(books.rows_in);
        self.rows_out.inc_by(books.rows_out);
        for (&reason, &rows) in &books.dropped {
            self.dropped_rows(reason, rows);
        }
    }

    /// Counts rows that came in.
    pub fn rows_in(&self, rows: usize) {
        self.rows_in.inc_by(rows as u64);
    }

    /// Counts rows that went out.
    pub fn rows_out(&self, rows: usize) {
        self.rows_out.inc_by(rows as u64);
    }

    /// Counts rows dropped. `reason` is from a closed set; 0 rows leave no trace.
    pub fn dropped(&self, reason: &'static str, rows: usize) {
        if rows > 0 {
            self.dropped_rows(reason, rows as u64);
        }
    }

    fn dropped_rows(&self, reason: &'static str, rows: u64) {
        let mut by_reason = self.dropped.by_reason.lock().unwrap_or_else(PoisonError::into_inner);
        by_reason.entry(reason).or_insert_with(|| (self.dropped.make.0)(reason)).inc_by(rows);
    }

    /// Counts bytes that came in.
    pub fn bytes(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    /// Counts a batch and the seconds spent on it.
    pub fn batch(&self, seconds: f64) {
        self.batches.inc();
        self.latency.observe(seconds);
    }

    /// The books now.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let by_reason = self.dropped.by_reason.lock().unwrap_or_else(PoisonError::into_inner);
        Balance {
            kind: self.kind,
            name: self.name.clone(),
            rows_in: self.rows_in.get(),
            rows_out: self.rows_out.get(),
            dropped: by_reason.iter().map(|(reason, rows)| (*reason, rows.get())).collect(),
        }
    }
}
