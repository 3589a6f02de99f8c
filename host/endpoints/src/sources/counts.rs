//! What a decoder counts, published as metrics, and its errors, logged without flooding the log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use sluice_pipeline::Metrics;
use sluice_wire::{DecodeError, DecodeStats};
use tracing::warn;

/// Time between two lines of the log about errors of one reason.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

type Read = fn(&DecodeStats) -> u64;

/// One series of what a decoder counts.
struct Series {
    /// After `sluice_decode_`.
    name: &'static str,
    /// Tells apart what is summed under the name.
    label: Option<(&'static str, &'static str)>,
    help: &'static str,
    read: Read,
}

const fn plain(name: &'static str, help: &'static str, read: Read) -> Series {
    Series { name, label: None, help, read }
}

const DATAGRAMS: &str = "Datagrams, by protocol.";
const TEMPLATES: &str = "Templates, by what became of them.";
const OPTIONS: &str = "Records of options data, by what became of them.";
const PENDING: &str = "Data sets without template, by what became of them.";

const fn datagrams(protocol: &'static str, read: Read) -> Series {
    Series { name: "datagrams", label: Some(("protocol", protocol)), help: DATAGRAMS, read }
}

const fn event(name: &'static str, help: &'static str, event: &'static str, read: Read) -> Series {
    Series { name, label: Some(("event", event)), help, read }
}

/// Everything but errors and levels.
const COUNTERS: &[Series] = &[
    datagrams("netflow1", |stats| stats.netflow1),
    datagrams("netflow5", |stats| stats.netflow5),
    datagrams("netflow7", |stats| stats.netflow7),
    datagrams("netflow9", |stats| stats.netflow9),
    datagrams("ipfix", |stats| stats.ipfix),
    datagrams("sflow", |stats| stats.sflow),
    plain("rows", "Rows decoded.", |stats| stats.rows),
    plain("records", "Flow records and flow samples decoded.", |stats| stats.records),
    plain("records_general", "Records that needed the slow general decoder.", |stats| stats.records_general),
    event("templates", TEMPLATES, "learned", |stats| stats.templates_learned),
    event("templates", TEMPLATES, "changed", |stats| stats.templates_changed),
    event("templates", TEMPLATES, "withdrawn", |stats| stats.templates_withdrawn),
    event("templates", TEMPLATES, "evicted", |stats| stats.templates_evicted),
    event("options_records", OPTIONS, "read", |stats| stats.options_records),
    event("options_records", OPTIONS, "dropped", |stats| stats.options_dropped),
    event("pending_sets", PENDING, "held", |stats| stats.pending_held),
    event("pending_sets", PENDING, "released", |stats| stats.pending_released),
    event("pending_sets", PENDING, "expired", |stats| stats.pending_expired),
    event("pending_sets", PENDING, "dropped", |stats| stats.pending_dropped),
    plain("exporters_evicted", "Exporters forgotten for want of room.", |stats| stats.exporters_evicted),
    plain("sequence_missing_datagrams", "Datagrams that sequence numbers miss.", |stats| stats.missing_datagrams),
    plain("sequence_missing_records", "Records that sequence numbers miss.", |stats| stats.missing_records),
    plain("sequence_late", "Datagrams that came after later ones.", |stats| stats.sequence_late),
    plain("sequence_resets", "Exporters that began to count anew.", |stats| stats.sequence_resets),
];

/// Publishes what one decoder counts. Several decoders of one source add up.
#[derive(Debug)]
pub(crate) struct Counts {
    source: String,
    counters: Vec<(Counter, Read, u64)>,
    errors: BTreeMap<&'static str, (Counter, u64)>,
    exporters: Level,
    pending_bytes: Level,
}

/// A number that goes up and down, in a gauge that other threads of the source change too.
#[derive(Debug)]
struct Level {
    gauge: prometheus_client::metrics::gauge::Gauge<f64, std::sync::atomic::AtomicU64>,
    last: f64,
}

impl Level {
    fn set(&mut self, value: u64) {
        let value = value as f64;
        self.gauge.inc_by(value - self.last);
        self.last = value;
    }
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics, source: &str) -> Counts {
        let labels = || vec![("source", source.to_owned())];
        let counters = COUNTERS.iter().map(|series| {
            let mut labels = labels();
            labels.extend(series.label.map(|(key, value)| (key, value.to_owned())));
            (metrics.counter(&format!("sluice_decode_{}", series.name), series.help, labels), series.read, 0)
        });
        let counters = counters.collect();
        let errors = sluice_wire::REASONS.iter().map(|reason| {
            let labels = vec![("source", source.to_owned()), ("reason", (*reason).to_owned())];
            (*reason, (metrics.counter("sluice_decode_errors", "Errors in datagrams, by reason.", labels), 0))
        });
        let errors = errors.collect();
        let gauge = |name, help| Level { gauge: metrics.gauge(name, help, labels()), last: 0.0 };
        Counts {
            source: source.to_owned(),
            counters,
            errors,
            exporters: gauge("sluice_decode_exporters", "Exporters known: address, protocol and domain."),
            pending_bytes: gauge("sluice_decode_pending_bytes", "Bytes of data sets held until their template comes."),
        }
    }

    /// Brings the metrics up to `stats`.
    pub(crate) fn publish(&mut self, stats: &DecodeStats) {
        let rise = |counter: &Counter, last: &mut u64, now: u64| {
            if now > *last {
                counter.inc_by(now - *last);
                *last = now;
            }
        };
        for (counter, read, last) in &mut self.counters {
            rise(counter, last, read(stats));
        }
        for (reason, now) in stats.errors() {
            if let Some((counter, last)) = self.errors.get_mut(reason) {
                rise(counter, last, now);
            }
        }
        self.exporters.set(stats.exporters);
        self.pending_bytes.set(stats.pending_bytes);
    }

    /// The name of the source.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

/// Logs the first error of each reason at once and then, at most every ten seconds, one with the
/// number of those since. The metrics count every one.
#[derive(Debug, Default)]
pub(crate) struct ErrorLog {
    by_reason: BTreeMap<&'static str, Quiet>,
}

#[derive(Debug)]
struct Quiet {
    since: Instant,
    more: u64,
}

impl ErrorLog {
    pub(crate) fn note(&mut self, source: &str, exporter: IpAddr, error: &DecodeError) {
        let reason = error.reason();
        let mut more = 0;
        if let Some(quiet) = self.by_reason.get_mut(reason) {
            if quiet.since.elapsed() < LOG_INTERVAL {
                quiet.more += 1;
                return;
            }
            more = quiet.more;
        }
        self.by_reason.insert(reason, Quiet { since: Instant::now(), more: 0 });
        warn!(source, %exporter, reason, more, "datagram not decoded in whole: {error}");
    }
}
