//! Which sinks a source with `delivery = "exactly-once"` writes to, and whether that can be kept.

use std::collections::BTreeSet;

use sluice_endpoints::sinks::KafkaSinkConfig;
use sluice_endpoints::sources::KafkaSourceDelivery;
use sluice_pipeline::{Edge, Target};

use crate::build::Prepared;
use crate::collector::Running;
use crate::config::{Config, ConfigError, SinkKind, SourceKind};
use crate::differs::Differs;
use crate::plan::Plan;

/// A source and the sinks that share its transactions, by their places in the configuration.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) source: usize,
    pub(crate) sinks: BTreeSet<usize>,
}

/// The scopes of a configuration.
///
/// # Errors
/// Something behind such a source that no transaction can take back, or that belongs to another source too.
pub(crate) fn scopes(config: &Config, plan: &Plan) -> Result<Vec<Scope>, ConfigError> {
    let mut scopes = Vec::new();
    for (at, source) in config.sources.iter().enumerate() {
        let SourceKind::Kafka(kafka) = &source.value.kind else { continue };
        if kafka.delivery != KafkaSourceDelivery::ExactlyOnce {
            continue;
        }
        let (stages, sinks) = behind(plan, at);
        let error = |problem: String| {
            let problem = format!("`delivery = \"exactly-once\"`: {problem}");
            Err(config.doc.error(source.span.clone(), &format!("sources.{}", source.name), problem))
        };
        let mut first: Option<(&str, &KafkaSinkConfig)> = None;
        for sink in &sinks {
            let sink = &config.sinks[*sink];
            let SinkKind::Kafka(to) = &sink.value.kind else {
                return error(format!(
                    "`{}` is no Kafka sink, and what it has written cannot be taken back",
                    sink.name
                ));
            };
            if to.buffer.is_some() {
                return error(format!("`{}` has a `buffer`, from which nothing can be taken back", sink.name));
            }
            if to.brokers != kafka.brokers {
                return error(format!("`{}` has other `brokers`; a transaction is of one cluster", sink.name));
            }
            let (name, first) = *first.get_or_insert((&sink.name, to));
            if !is_same_client(first, to) {
                return error(format!(
                    "`{name}` and `{}` share a producer; give them the same `tls`, `sasl`, `compression`, `linger_ms`, `dead_letter` and `librdkafka`",
                    sink.name
                ));
            }
        }
        for (other, entry) in config.sources.iter().enumerate().filter(|(other, _)| *other != at) {
            let (other_stages, other_sinks) = behind(plan, other);
            if !stages.is_disjoint(&other_stages) || !sinks.is_disjoint(&other_sinks) {
                return error(format!("`{}` feeds the same stages or sinks, outside of the transactions", entry.name));
            }
        }
        scopes.push(Scope { source: at, sinks });
    }
    Ok(scopes)
}

/// Checks that transactions are of the same sources and sinks as in the collector that runs: theirs cannot be exchanged.
///
/// # Errors
/// One that is not.
pub(crate) fn check_kept(running: &Running, prepared: &Prepared, differs: &Differs) -> Result<(), ConfigError> {
    let config = &prepared.config;
    let names = |config: &Config, scopes: &[Scope]| -> Vec<(String, Vec<String>)> {
        let sinks = |scope: &Scope| scope.sinks.iter().map(|sink| config.sinks[*sink].name.clone()).collect();
        scopes.iter().map(|scope| (config.sources[scope.source].name.clone(), sinks(scope))).collect()
    };
    let (old, new) =
        (names(&running.config, &scopes(&running.config, &running.plan)?), names(config, &prepared.scopes));
    let differs_in = |(source, sinks): &(String, Vec<String>)| {
        differs.endpoint("sources", source) || sinks.iter().any(|sink| differs.endpoint("sinks", sink))
    };
    if old == new && !new.iter().any(differs_in) {
        return Ok(());
    }
    let named = |(source, _): &(String, Vec<String>)| config.sources.iter().find(|found| found.name == *source);
    let span = new.iter().chain(&old).find_map(named).map_or(0..0, |source| source.span.clone());
    let problem = "what takes part in `delivery = \"exactly-once\"` cannot change while the collector runs; restart it";
    Err(config.doc.error(span, "sources", problem))
}

/// Whether one producer can write for both. (Their `Debug` texts say everything but passwords.)
fn is_same_client(a: &KafkaSinkConfig, b: &KafkaSinkConfig) -> bool {
    let client = |sink: &KafkaSinkConfig| {
        format!(
            "{:?} {:?} {:?} {} {:?} {:?}",
            sink.tls, sink.sasl, sink.compression, sink.linger_ms, sink.dead_letter, sink.librdkafka
        )
    };
    client(a) == client(b)
}

/// The stages and sinks that rows of a source can reach.
fn behind(plan: &Plan, source: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut stages, mut sinks) = (BTreeSet::new(), BTreeSet::new());
    let mut left: Vec<&Edge> = plan.sources[source].iter().collect();
    while let Some(edge) = left.pop() {
        match edge.target {
            Target::Stage(stage) => {
                if stages.insert(stage) {
                    left.extend(&plan.stages[stage]);
                }
            }
            Target::Sink(sink) => drop(sinks.insert(plan.row_sinks[sink])),
        }
    }
    (stages, sinks)
}
