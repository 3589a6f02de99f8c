//! Pipelines that are changed while rows flow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_flow::{Batch, Column, ColumnSet, col};
use sluice_pipeline::{
    Ack, Change, ChangeError, Control, Grace, Kind, Metrics, Outcome, Outlet, Parcel, Part, Pipeline, Processed,
    Running, SinkEntry, Source, SourceEntry, SourceError, Stage, StageEntry, StageSet, Stop, Target,
};
use tokio::runtime::Runtime;

use crate::{Away, all, batch, kept};

type Rows = Arc<Mutex<Vec<u64>>>;

/// Sends numbered rows until it is stopped, ten a batch; the numbers begin with `first`.
struct Endless {
    first: u64,
    sent: Arc<AtomicU64>,
    wanted: Arc<Mutex<Vec<ColumnSet>>>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

impl Source for Endless {
    fn run(self: Box<Self>, mut out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let mut next = self.first;
        while !stop.is_cancelled() {
            self.wanted.lock().unwrap().extend(out.wanted());
            let outcomes = Arc::clone(&self.outcomes);
            let ack = Ack::new(move |outcome| outcomes.lock().unwrap().push(outcome));
            let rows = (next..next + 10).collect();
            out.send(Parcel { batch: batch(out.next_id(), rows), ack }).expect("workers are there");
            next += 10;
            self.sent.store(next - self.first, Ordering::Release);
        }
        Ok(())
    }
}

/// Writes what `version` says into every row, and counts its batches by itself.
struct Mark {
    version: Arc<AtomicU64>,
    batches: u64,
}

impl Stage for Mark {
    fn process(&mut self, mut batch: Batch) -> Processed {
        self.batches += 1;
        let (rows, version) = (batch.rows(), self.version.load(Ordering::Acquire) as u32);
        batch.set(col::SRC_AS, Column::U32(Arc::new(vec![version; rows]))).unwrap();
        batch.set(col::DST_AS, Column::U32(Arc::new(vec![self.batches as u32; rows]))).unwrap();
        Processed::pass(batch)
    }
}

/// Keeps what versions it has seen.
struct Versions(Rows, Rows);

impl sluice_pipeline::Sink for Versions {
    async fn write(&mut self, batch: &Batch) -> Result<(), sluice_pipeline::SinkError> {
        let versions = batch.u32s(col::SRC_AS).map_or(&[][..], |versions| versions);
        self.0.lock().unwrap().extend(versions.iter().copied().map(u64::from));
        self.1.lock().unwrap().extend(batch.u64s(col::BYTES).unwrap());
        Ok(())
    }

    async fn close(self) -> Result<(), sluice_pipeline::SinkError> {
        Ok(())
    }
}

struct Bench {
    metrics: Arc<Metrics>,
    runtime: Runtime,
    stop: Stop,
    sent: Arc<AtomicU64>,
    wanted: Arc<Mutex<Vec<ColumnSet>>>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            metrics: Metrics::new(),
            runtime: Runtime::new().unwrap(),
            stop: Stop::new(),
            sent: Arc::default(),
            wanted: Arc::default(),
            outcomes: Arc::default(),
        }
    }

    fn source(&self, name: &str, first: u64, sent: &Arc<AtomicU64>, to: Target) -> SourceEntry {
        let (wanted, outcomes) = (Arc::clone(&self.wanted), Arc::clone(&self.outcomes));
        let endless = Endless { first, sent: Arc::clone(sent), wanted, outcomes };
        let account = self.metrics.account(Kind::Source, name);
        SourceEntry { runners: vec![Box::new(endless)], account, queue: 2, edges: vec![all(to)] }
    }

    fn sink(&self, name: &str, sink: impl sluice_pipeline::Sink) -> SinkEntry {
        SinkEntry::new(sink, self.metrics.account(Kind::Sink, name), 2)
    }

    fn marks(&self, name: &str, version: &Arc<AtomicU64>, to: Target) -> StageEntry {
        let mark = || Box::new(Mark { version: Arc::clone(version), batches: 0 }) as Box<dyn Stage>;
        let stages = StageSet::each(vec![mark(), mark()]);
        StageEntry { stages, account: self.metrics.account(Kind::Stage, name), edges: vec![all(to)] }
    }

    fn start(&self, stages: Vec<StageEntry>, first: Target, sinks: Vec<SinkEntry>) -> Running {
        let sources = vec![self.source("endless", 0, &self.sent, first)];
        let pipeline = Pipeline { sources, stages, sinks, workers: 2, grace: Grace(Duration::from_millis(100)) };
        pipeline.start(&self.stop, self.runtime.handle())
    }

    fn end(&self, running: Running) {
        self.stop.cancel();
        running.wait().unwrap();
        for balance in self.metrics.balances() {
            assert_eq!(balance.open(), 0, "{balance:?}");
        }
    }

    /// Waits until a hundred more rows were sent.
    fn flow(&self) {
        let until = self.sent.load(Ordering::Acquire) + 100;
        while self.sent.load(Ordering::Acquire) < until {
            std::thread::yield_now();
        }
    }
}

fn keep<T>(name: &str, to: Target) -> Part<T> {
    Part::Kept(name.to_owned(), vec![all(to)])
}

fn kept_sink(name: &str) -> Part<SinkEntry> {
    Part::Kept(name.to_owned(), Vec::new())
}

/// Every number once, over all the lists.
fn each_once(lists: &[&Rows], sent: u64) {
    let mut rows: Vec<u64> = lists.iter().flat_map(|list| list.lock().unwrap().clone()).collect();
    rows.sort_unstable();
    assert_eq!(rows.len() as u64, sent);
    assert!(rows.into_iter().eq(0..sent));
}

#[test]
fn stages_come_and_go_and_sinks_are_exchanged_without_a_row_lost_or_doubled() {
    let bench = Bench::new();
    let (one, rows_of_one) = kept();
    let running = bench.start(Vec::new(), Target::Sink(0), vec![bench.sink("one", one)]);
    let control = running.control();
    let version = Arc::new(AtomicU64::new(1));
    bench.flow();
    // A stage comes.
    let change = Change {
        sources: vec![keep("endless", Target::Stage(0))],
        stages: vec![Part::New(bench.marks("mark", &version, Target::Sink(0)))],
        sinks: vec![kept_sink("one")],
    };
    control.change(change, || {}).unwrap();
    bench.flow();
    // The sink is exchanged for two others, one of them of the same name.
    let ((again, rows_of_again), (two, rows_of_two)) = (kept(), kept());
    let change = Change {
        sources: vec![keep("endless", Target::Stage(0))],
        stages: vec![keep("mark", Target::Sink(1))],
        sinks: vec![Part::New(bench.sink("one", again)), Part::New(bench.sink("two", two))],
    };
    control.change(change, || {}).unwrap();
    bench.flow();
    // The stage goes.
    let change = Change {
        sources: vec![keep("endless", Target::Sink(0))],
        stages: Vec::new(),
        sinks: vec![kept_sink("one"), kept_sink("two")],
    };
    control.change(change, || {}).unwrap();
    bench.flow();
    bench.end(running);
    let lists = [&rows_of_one, &rows_of_again, &rows_of_two];
    assert!(lists.iter().all(|list| !list.lock().unwrap().is_empty()));
    each_once(&lists, bench.sent.load(Ordering::Acquire));
    let outcomes = bench.outcomes.lock().unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Settled));
    assert_eq!(outcomes.len() as u64 * 10, bench.sent.load(Ordering::Acquire));
}

#[test]
fn no_batch_sees_half_of_a_change() {
    let bench = Bench::new();
    let version = Arc::new(AtomicU64::new(0));
    let lists: [(Rows, Rows); 2] = Default::default();
    let sink = |at: usize| Versions(Arc::clone(&lists[at].0), Arc::clone(&lists[at].1));
    let sinks = vec![bench.sink("even", sink(0)), bench.sink("odd", sink(1))];
    let running = bench.start(vec![bench.marks("mark", &version, Target::Sink(0))], Target::Stage(0), sinks);
    let control = running.control();
    for number in 1..=60 {
        let change = Change {
            sources: vec![keep("endless", Target::Stage(0))],
            stages: vec![keep("mark", Target::Sink(number as usize % 2))],
            sinks: vec![kept_sink("even"), kept_sink("odd")],
        };
        control.change(change, || version.store(number, Ordering::Release)).unwrap();
        bench.flow();
    }
    bench.end(running);
    for (parity, (versions, rows)) in lists.iter().enumerate() {
        assert!(rows.lock().unwrap().len() > 1000);
        assert!(versions.lock().unwrap().iter().all(|version| version % 2 == parity as u64));
    }
    each_once(&[&lists[0].1, &lists[1].1], bench.sent.load(Ordering::Acquire));
}

#[test]
fn the_only_source_is_exchanged_and_what_the_old_one_sent_arrives() {
    let bench = Bench::new();
    let (sink, rows) = kept();
    let running = bench.start(Vec::new(), Target::Sink(0), vec![bench.sink("out", sink)]);
    bench.flow();
    let sent = Arc::default();
    let change = Change {
        sources: vec![Part::New(bench.source("endless", 1 << 40, &sent, Target::Sink(0)))],
        stages: Vec::new(),
        sinks: vec![kept_sink("out")],
    };
    running.control().change(change, || {}).unwrap();
    while sent.load(Ordering::Acquire) < 100 {
        std::thread::yield_now();
    }
    bench.end(running);
    let rows = rows.lock().unwrap();
    let (new, old): (Vec<u64>, Vec<u64>) = rows.iter().partition(|row| **row >= 1 << 40);
    assert_eq!(
        (old.len() as u64, new.len() as u64),
        (bench.sent.load(Ordering::Acquire), sent.load(Ordering::Acquire))
    );
}

#[test]
fn a_sink_that_takes_nothing_can_be_removed() {
    let bench = Bench::new();
    let running = bench.start(Vec::new(), Target::Sink(0), vec![bench.sink("away", Away)]);
    let (sink, rows) = kept();
    // Until it is full and every worker waits for it.
    bench.flow_until_it_stands();
    let change = Change {
        sources: vec![keep("endless", Target::Sink(0))],
        stages: Vec::new(),
        sinks: vec![Part::New(bench.sink("out", sink))],
    };
    running.control().change(change, || {}).unwrap();
    bench.flow();
    bench.end(running);
    let balances = bench.metrics.balances();
    let away = balances.iter().find(|balance| balance.name == "away").unwrap();
    assert!(away.rows_in > 0 && away.dropped["shutdown"] == away.rows_in, "{away:?}");
    assert_eq!(rows.lock().unwrap().len() as u64 + away.rows_in, bench.sent.load(Ordering::Acquire));
    let failed = bench.outcomes.lock().unwrap().iter().filter(|outcome| **outcome == Outcome::Failed).count();
    assert_eq!(failed as u64 * 10, away.rows_in, "the source is told of what was lost");
}

impl Bench {
    /// Waits until the sinks and queues are full. (Two in the source's, two in the sink's, one with each worker, one with the
    /// sink, one with the source.)
    fn flow_until_it_stands(&self) {
        while self.sent.load(Ordering::Acquire) < 70 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_source_that_reads_more_columns_takes_note() {
    let bench = Bench::new();
    let (sink, _) = kept();
    let running = bench.start(Vec::new(), Target::Sink(0), vec![bench.sink("out", sink)]);
    let wanted = ColumnSet::from_iter([col::BYTES]);
    running.control().want(wanted);
    assert_eq!(*bench.wanted.lock().unwrap(), [wanted]);
    bench.end(running);
}

#[test]
fn what_cannot_be_kept_or_has_ended_is_refused_and_nothing_changes() {
    let bench = Bench::new();
    let (sink, rows) = kept();
    let running = bench.start(Vec::new(), Target::Sink(0), vec![bench.sink("out", sink)]);
    let control = running.control();
    let change = |sink: &str| Change {
        sources: vec![keep("endless", Target::Sink(0))],
        stages: Vec::new(),
        sinks: vec![kept_sink(sink)],
    };
    let refused = |control: &Control, change| control.change(change, || panic!("nothing is committed"));
    assert_eq!(refused(&control, change("other")), Err(ChangeError::Unknown("other".to_owned())));
    bench.flow();
    bench.end(running);
    assert_eq!(refused(&control, change("out")), Err(ChangeError::Ending));
    each_once(&[&rows], bench.sent.load(Ordering::Acquire));
}

/// Never has what it needs.
struct Broke;

impl Stage for Broke {
    fn process(&mut self, batch: Batch) -> Processed {
        Processed::pass(batch)
    }

    fn wait(&self) -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }

    fn refuse(&mut self, batch: Batch) -> Processed {
        Processed::drop("no_room", batch.rows())
    }
}

#[test]
fn what_waits_for_a_stage_is_processed_when_the_stage_goes() {
    let bench = Bench::new();
    let (one, rows_of_one) = kept();
    let stages = StageSet::each(vec![Box::new(Broke), Box::new(Broke)]);
    let account = bench.metrics.account(Kind::Stage, "broke");
    let broke = StageEntry { stages, account, edges: vec![all(Target::Sink(0))] };
    let running = bench.start(vec![broke], Target::Stage(0), vec![bench.sink("one", one)]);
    let books = || bench.metrics.balances().into_iter().find(|balance| balance.name == "broke").unwrap();
    // A worker has as many waiting as may.
    while books().dropped.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(books().rows_out, 0);
    let change =
        Change { sources: vec![keep("endless", Target::Sink(0))], stages: Vec::new(), sinks: vec![kept_sink("one")] };
    running.control().change(change, || {}).unwrap();
    bench.flow();
    bench.end(running);
    let books = books();
    assert!(books.rows_out >= 320, "{books:?}");
    let dropped: u64 = books.dropped.values().sum();
    assert_eq!(rows_of_one.lock().unwrap().len() as u64 + dropped, bench.sent.load(Ordering::Acquire));
}
