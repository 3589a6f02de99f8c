//! Who feeds whom, as the API shows it.

use sluice_pipeline::{Edge, Selection, Target};

use super::shapes::{Output, SinkNode, SourceNode, StageNode};
use crate::collector::Running;
use crate::config::{OnErrorConfig, SinkKind, SourceKind};

pub(super) fn sources(running: &Running) -> Vec<SourceNode> {
    let node = |(source, edges): (&crate::config::Named<crate::config::Source>, &Vec<Edge>)| SourceNode {
        name: source.name.clone(),
        kind: match &source.value.kind {
            SourceKind::Udp(_) => "udp",
            SourceKind::Capture(_) => "capture",
            SourceKind::Kafka(_) => "kafka",
        }
        .to_owned(),
        outputs: outputs(running, edges),
    };
    running.config.sources.iter().zip(&running.plan.sources).map(node).collect()
}

pub(super) fn stages(running: &Running) -> Vec<StageNode> {
    let (config, plan) = (&running.config, &running.plan);
    let mut nodes = Vec::new();
    for (at, (stage, edges)) in config.stages.iter().zip(&plan.stages).enumerate() {
        let heard = plan.event_sinks.iter().filter(|(_, stages)| stages.contains(&at));
        let alerts = heard.map(|(sink, _)| Output {
            to: config.sinks[*sink].name.clone(),
            rows: "alerts".to_owned(),
            route: None,
        });
        nodes.push(StageNode {
            name: stage.name.clone(),
            plugin: stage.value.plugin.get_ref().clone(),
            on_error: match stage.value.on_error.get_ref() {
                OnErrorConfig::Drop => "drop",
                OnErrorConfig::Pass => "pass",
                OnErrorConfig::DeadLetter => "dead-letter",
                OnErrorConfig::Stop => "stop",
            }
            .to_owned(),
            outputs: outputs(running, edges).into_iter().chain(alerts).collect(),
        });
    }
    nodes
}

pub(super) fn sinks(running: &Running) -> Vec<SinkNode> {
    let node = |sink: &crate::config::Named<crate::config::Sink>| SinkNode {
        name: sink.name.clone(),
        kind: match &sink.value.kind {
            SinkKind::Stdout(_) => "stdout",
            SinkKind::File(_) => "file",
            SinkKind::Kafka(_) => "kafka",
            SinkKind::Null(_) => "null",
            SinkKind::Events(_) => "events",
        }
        .to_owned(),
    };
    running.config.sinks.iter().map(node).collect()
}

fn outputs(running: &Running, edges: &[Edge]) -> Vec<Output> {
    let output = |edge: &Edge| {
        let config = &running.config;
        let to = match edge.target {
            Target::Stage(at) => config.stages[at].name.clone(),
            Target::Sink(at) => config.sinks[running.plan.row_sinks[at]].name.clone(),
        };
        let (rows, route) = match &edge.selection {
            Selection::All => ("all", None),
            Selection::Routed => ("routed", None),
            Selection::Route(route) => ("route", Some(route.to_string())),
            Selection::DeadLetter => ("dead-letter", None),
        };
        Output { to, rows: rows.to_owned(), route }
    };
    edges.iter().map(output).collect()
}
