//! The consumer's callbacks: errors, rebalances, commits, statistics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::statistics::Statistics;
use sluice_pipeline::Metrics;
use tracing::info;

use super::state::State;
use crate::kafka::{Events, KafkaError};

type Lag = Gauge<f64, AtomicU64>;

/// What librdkafka calls, with the state that it works on. The state is locked by whoever has it in hand,
/// and never while librdkafka is polled: its callbacks run within that.
pub(super) struct Context {
    pub(super) events: Events,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
    lags: Mutex<HashMap<(String, i32), Lag>>,
    /// Reading is paused, and the lags are looked at by [`look_at_lags`](Self::look_at_lags).
    pub(super) is_paused: AtomicBool,
    rebalances: Counter,
}

impl Context {
    pub(super) fn new(state: State, metrics: &Arc<Metrics>) -> Context {
        let labels = || vec![("source", state.name.clone())];
        let counter = |name, help| metrics.counter(name, help, labels());
        Context {
            events: Events::new(&state.name),
            rebalances: counter("sluice_source_kafka_rebalances", "Times that partitions came or went."),
            metrics: Arc::clone(metrics),
            lags: Mutex::default(),
            is_paused: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Looks whether there is a place for dead letters, if they go to a topic.
    ///
    /// # Errors
    /// A topic that cannot take any.
    pub(super) fn check_letters(&self, brokers: &[String]) -> Result<(), KafkaError> {
        self.state().letters.as_ref().map_or(Ok(()), |letters| letters.check(brokers))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    fn lag(&self, source: &str, (topic, partition): &(String, i32)) -> Lag {
        let labels =
            vec![("source", source.to_owned()), ("topic", topic.clone()), ("partition", partition.to_string())];
        let help = "Values between what is committed and the end of the partition.";
        self.metrics.gauge("sluice_source_kafka_lag", help, labels)
    }

    /// Asks the brokers for the ends of the partitions that are assigned; gives up at the first that does not answer.
    pub(super) fn look_at_lags(&self, consumer: &BaseConsumer<Self>) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let Ok(assigned) = consumer.assignment() else { return };
        let source = self.state().name.clone();
        for element in assigned.elements() {
            let key = (element.topic().to_owned(), element.partition());
            let Ok((_, end)) = consumer.fetch_watermarks(&key.0, key.1, PATIENCE) else { return };
            let Some(next) = self.state().settled_to(&key.0, key.1) else { continue };
            let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
            let gauge = lags.entry(key).or_insert_with_key(|key| self.lag(&source, key));
            gauge.set((end - next).max(0) as f64);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.events.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        if self.is_paused.load(Ordering::Relaxed) {
            // Of partitions that are not read librdkafka does not know the end.
            return;
        }
        let state = self.state();
        let source = state.name.clone();
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                let key = (topic.topic.clone(), partition.partition);
                // Its own answer leaves out what was committed in a transaction.
                let lag = match state.settled_to(&topic.topic, partition.partition) {
                    Some(next) if partition.ls_offset >= 0 => (partition.ls_offset - next).max(0),
                    _ => partition.consumer_lag,
                };
                if partition.fetch_state != "active" || lag < 0 {
                    // Somebody else's by now, who tells its lag.
                    if let Some(lag) = lags.get(&key) {
                        lag.set(0.0);
                    }
                    continue;
                }
                let gauge = lags.entry(key).or_insert_with_key(|key| self.lag(&source, key));
                gauge.set(lag as f64);
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.state().revoke(consumer, partitions);
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.rebalances.inc();
        let (what, partitions) = match rebalance {
            Rebalance::Assign(partitions) => ("partitions assigned", partitions),
            Rebalance::Revoke(partitions) => ("partitions given up", partitions),
            Rebalance::Error(_) => return,
        };
        let mut names: Vec<String> = partitions
            .elements()
            .iter()
            .map(|element| format!("{}/{}", element.topic(), element.partition()))
            .collect();
        names.sort_unstable();
        info!(source = self.state().name, partitions = names.join(" "), "{what}");
    }
}
