//! Sources and sinks in a pipeline: what came in went out or was counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sluice_endpoints::exporter::Exporters;
use sluice_endpoints::sinks::{NullSink, StdoutConfig, StdoutSink};
use sluice_endpoints::sources::{UdpConfig, UdpSockets};
use sluice_flow::{ColumnSet, Schema};
use sluice_pipeline::{Edge, Grace, Kind, Metrics, Pipeline, Selection, SinkEntry, Source, SourceEntry, Stop, Target};
use tokio::runtime::Runtime;

use crate::rows::netflow5;

/// A reader that is gone.
struct Gone;

impl io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_is_gone_ends_the_run_in_order_and_the_books_balance() {
    let metrics = Metrics::new();
    let schema = Arc::new(Schema::standard());
    let stop = Stop::new();
    let sockets = UdpSockets::bind("edge", &UdpConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let mut exporters = Exporters::open(sockets.local_addr(), 1).unwrap();
    exporters.send(0, &[netflow5(0, 30), netflow5(30, 30), netflow5(60, 7)]).unwrap();

    let runners = sockets.sources(&schema, ColumnSet::ALL, &metrics);
    let runners = runners.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect();
    let edges = [0, 1].map(|sink| Edge { selection: Selection::All, target: Target::Sink(sink) });
    let source =
        SourceEntry { runners, account: metrics.account(Kind::Source, "edge"), queue: 8, edges: edges.to_vec() };
    let screen = StdoutSink::to(Gone, "screen", &StdoutConfig::default(), &schema, stop.clone()).unwrap();
    let sinks = vec![
        SinkEntry::new(screen, metrics.account(Kind::Sink, "screen"), 8),
        SinkEntry::new(NullSink, metrics.account(Kind::Sink, "null"), 8),
    ];
    let pipeline = Pipeline {
        sources: vec![source],
        stages: Vec::new(),
        sinks,
        workers: 1,
        grace: Grace(Duration::from_secs(60)),
    };
    // Nothing but the sink stops it.
    pipeline.run(&stop, Runtime::new().unwrap().handle()).unwrap();

    let balances = metrics.balances();
    assert!(balances.iter().all(|books| books.open() == 0), "{balances:?}");
    let books = |name: &str| balances.iter().find(|books| books.name == name).unwrap();
    assert_eq!((books("edge").rows_in, books("edge").rows_out), (67, 67));
    assert_eq!((books("null").rows_in, books("null").rows_out), (67, 67));
    assert_eq!((books("screen").rows_out, books("screen").dropped.get("reader_gone")), (0, Some(&67)));
}
