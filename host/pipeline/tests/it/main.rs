//! Whole pipelines with sources, stages and sinks made for the purpose.

#![allow(clippy::unwrap_used, reason = "in a test, unwrap is an assertion")]

mod change;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::{Expect, expect};
use sluice_flow::{Batch, Column, Pool, Routes, Schema, col};
use sluice_pipeline::{
    Ack, Delivery, Edge, Grace, Kind, MOST_UNDER_WAY, Metrics, Outcome, Outlet, Parcel, Pipeline, Processed,
    Provisional, RunError, Selection, Sink, SinkEntry, SinkError, Source, SourceEntry, SourceError, Stage, StageEntry,
    StageSet, Stop, Target,
};
use tokio::sync::oneshot;

/// A batch whose `bytes` are the numbers given.
fn batch(id: u64, bytes: Vec<u64>) -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), bytes.len());
    batch.stamp(id, id * 1000);
    batch.set(col::BYTES, Column::U64(Arc::new(bytes))).unwrap();
    batch
}

/// Sends batches of ten rows and ends, noting what became of each.
struct Ten {
    batches: u64,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    fails: bool,
}

impl Source for Ten {
    fn run(self: Box<Self>, out: Outlet, _stop: Stop) -> Result<(), SourceError> {
        for id in 0..self.batches {
            let outcomes = Arc::clone(&self.outcomes);
            let ack = Ack::new(move |outcome| outcomes.lock().unwrap().push(outcome));
            out.send(Parcel { batch: batch(id, (id * 10..id * 10 + 10).collect()), ack }).expect("workers are there");
        }
        match self.fails {
            true => {
                Err(SourceError { source_name: "ten".into(), what: "reading".into(), cause: Some("broken".into()) })
            }
            false => Ok(()),
        }
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// Keeps the first three rows of a batch, routes them `a`, `b`, `b`, and counts ticks.
struct ThreeRouted {
    ticks: Arc<AtomicUsize>,
}

impl Stage for ThreeRouted {
    fn process(&mut self, mut batch: Batch) -> Processed {
        let dropped = batch.keep(&[0b111]);
        let routes = Routes { names: vec!["a".into(), "b".into()], index: vec![0, 1, 1] };
        batch.set_routes(Some(routes)).unwrap();
        Processed { dropped: vec![("filtered", dropped)], ..Processed::pass(batch) }
    }

    fn tick_ms(&self) -> Option<u32> {
        Some(2000)
    }

    fn tick(&mut self, _now_ms: u64) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Wants ticks only after its first batch, as a plugin does whose next version has a timer.
struct TicksLater {
    has_begun: bool,
    ticks: Arc<AtomicUsize>,
}

impl Stage for TicksLater {
    fn process(&mut self, batch: Batch) -> Processed {
        self.has_begun = true;
        Processed::pass(batch)
    }

    fn tick_ms(&self) -> Option<u32> {
        self.has_begun.then_some(1)
    }

    fn tick(&mut self, _now_ms: u64) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Cannot process batches with an even number.
struct OddOnly {
    stops: bool,
}

impl Stage for OddOnly {
    fn process(&mut self, batch: Batch) -> Processed {
        if batch.id() % 2 == 1 {
            return Processed::pass(batch);
        }
        if self.stops {
            let rows = batch.rows();
            return Processed { stop: Some("even".into()), ..Processed::drop("stopped", rows) };
        }
        Processed { dead: Some(batch), ..Processed::default() }
    }
}

/// Keeps what it gets, after refusing in the ways listed.
struct Kept {
    rows: Arc<Mutex<Vec<u64>>>,
    refusals: VecDeque<SinkError>,
}

impl Sink for Kept {
    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Err(refusal);
        }
        self.rows.lock().unwrap().extend(batch.u64s(col::BYTES).unwrap());
        Ok(())
    }

    async fn close(self) -> Result<(), SinkError> {
        Ok(())
    }
}

type Tell = oneshot::Sender<Result<(), SinkError>>;

/// Answers late: holds deliveries back until it has as many as can be under way, then answers the latest first,
/// the very first with an error at first.
#[derive(Default)]
struct Late {
    rows: Arc<Mutex<Vec<u64>>>,
    waiting: Vec<(Vec<u64>, Tell)>,
    most: Arc<AtomicUsize>,
    has_refused: bool,
}

impl Sink for Late {
    async fn write(&mut self, _batch: &Batch) -> Result<(), SinkError> {
        unreachable!("begin answers")
    }

    async fn begin(&mut self, batch: &Batch) -> Result<Option<Delivery>, SinkError> {
        let (tell, delivery) = oneshot::channel();
        self.waiting.push((batch.u64s(col::BYTES).unwrap().to_vec(), tell));
        self.most.fetch_max(self.waiting.len(), Ordering::Relaxed);
        if self.waiting.len() == MOST_UNDER_WAY {
            self.idle().await?;
        }
        Ok(Some(delivery))
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        for (rows, tell) in self.waiting.drain(..).rev() {
            if rows[0] == 0 && !std::mem::replace(&mut self.has_refused, true) {
                tell.send(Err(away())).unwrap();
                continue;
            }
            self.rows.lock().unwrap().extend(rows);
            tell.send(Ok(())).unwrap();
        }
        Ok(())
    }

    async fn close(self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Takes everything; the transaction that is open when batch 2 comes is committed, the one when batch 5 comes taken back.
#[derive(Default)]
struct InTransactions(Provisional);

impl Sink for InTransactions {
    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        match batch.id() {
            2 => self.0.delivered(),
            5 => self.0.taken_back(),
            _ => {}
        }
        Ok(())
    }

    fn provisional(&self) -> Option<Provisional> {
        Some(self.0.clone())
    }

    async fn close(self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Never takes anything.
struct Away;

impl Sink for Away {
    async fn write(&mut self, _batch: &Batch) -> Result<(), SinkError> {
        Err(away())
    }

    async fn close(self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn away() -> SinkError {
    SinkError::Unavailable { sink: "out".into(), source: "away".into() }
}

fn all(target: Target) -> Edge {
    Edge { selection: Selection::All, target }
}

/// Time to drain that no test needs.
const LONG: Grace = Grace(Duration::from_secs(3600));

/// A pipeline under test, with what it leaves behind.
struct Case {
    metrics: Arc<Metrics>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    pipeline: Pipeline,
}

impl Case {
    fn new(batches: u64, first: Target) -> Case {
        let metrics = Metrics::new();
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let ten = Ten { batches, outcomes: Arc::clone(&outcomes), fails: false };
        let source = SourceEntry {
            runners: vec![Box::new(ten)],
            account: metrics.account(Kind::Source, "ten"),
            queue: 2,
            edges: vec![all(first)],
        };
        let pipeline = Pipeline {
            sources: vec![source],
            stages: Vec::new(),
            sinks: Vec::new(),
            workers: 2,
            grace: Grace(Duration::ZERO),
        };
        Case { metrics, outcomes, pipeline }
    }

    fn stage(mut self, name: &str, stages: StageSet, edges: Vec<Edge>) -> Case {
        let account = self.metrics.account(Kind::Stage, name);
        self.pipeline.stages.push(StageEntry { stages, account, edges });
        self
    }

    fn sink<S: Sink>(mut self, name: &str, sink: S) -> Case {
        let account = self.metrics.account(Kind::Sink, name);
        self.pipeline.sinks.push(SinkEntry::new(sink, account, 2));
        self
    }

    fn run(self, stop: Stop) -> (Result<(), RunError>, String) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let result = self.pipeline.run(&stop, runtime.handle());
        let mut text = String::new();
        for balance in self.metrics.balances() {
            assert_eq!(balance.open(), 0, "{balance:?}");
            let name = &balance.name;
            text.push_str(&format!("{name}: {} in, {} out", balance.rows_in, balance.rows_out));
            for (reason, rows) in &balance.dropped {
                text.push_str(&format!(", {rows} {reason}"));
            }
            text.push('\n');
        }
        let outcomes = self.outcomes.lock().unwrap();
        let settled = outcomes.iter().filter(|outcome| **outcome == Outcome::Settled).count();
        text.push_str(&format!("{settled} settled, {} failed\n", outcomes.len() - settled));
        (result, text)
    }

    fn check(self, expected: Expect) {
        let (result, text) = self.run(Stop::new());
        result.unwrap();
        expected.assert_eq(&text);
    }
}

fn kept() -> (Kept, Arc<Mutex<Vec<u64>>>) {
    let rows = Arc::default();
    (Kept { rows: Arc::clone(&rows), refusals: VecDeque::new() }, rows)
}

#[test]
fn rows_of_a_transaction_are_delivered_when_it_is_committed_and_dropped_when_it_is_not() {
    let mut case = Case::new(10, Target::Sink(0)).sink("out", InTransactions::default());
    case.pipeline.workers = 1;
    // Nobody will commit the last five batches any more.
    case.check(expect![[r#"
        ten: 100 in, 100 out
        out: 100 in, 20 out, 80 taken_back
        10 settled, 0 failed
    "#]]);
}

#[test]
fn every_row_arrives_once_and_the_source_is_told_of_each_batch() {
    let (sink, rows) = kept();
    Case::new(100, Target::Sink(0)).sink("out", sink).check(expect![[r#"
        ten: 1000 in, 1000 out
        out: 1000 in, 1000 out
        100 settled, 0 failed
    "#]]);
    let mut rows = rows.lock().unwrap().clone();
    rows.sort_unstable();
    assert_eq!(rows, (0..1000).collect::<Vec<_>>());
}

#[test]
fn rows_fan_out_by_route_and_every_component_balances() {
    let ticks = Arc::new(AtomicUsize::new(0));
    let stage = StageSet::one(Box::new(ThreeRouted { ticks: Arc::clone(&ticks) }));
    let route = |name: &str, sink| Edge { selection: Selection::Route(name.into()), target: Target::Sink(sink) };
    let (a, _) = kept();
    let (b, _) = kept();
    Case::new(10, Target::Stage(0))
        .stage("split", stage, vec![route("b", 0), route("b", 1)])
        .sink("one", a)
        .sink("two", b)
        .check(expect![[r#"
            ten: 100 in, 100 out
            split: 100 in, 20 out, 70 filtered, 10 unrouted
            one: 20 in, 20 out
            two: 20 in, 20 out
            10 settled, 0 failed
        "#]]);
    // Batch time goes from 0 to 9 s; workers may take batches out of order, but time 0 or later comes
    // first and every 2 s make at most one tick.
    assert!((1..=5).contains(&ticks.load(Ordering::Relaxed)), "{ticks:?}");
}

#[test]
fn a_stage_whose_ticks_change_gets_the_new_ones() {
    let later = |ticks: &Arc<AtomicUsize>| -> Box<dyn Stage> {
        Box::new(TicksLater { has_begun: false, ticks: Arc::clone(ticks) })
    };
    let (one, each) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sink, _) = kept();
    Case::new(10, Target::Stage(0))
        .stage("one", StageSet::one(later(&one)), vec![all(Target::Stage(1))])
        .stage("each", StageSet::each((0..2).map(|_| later(&each)).collect()), vec![all(Target::Sink(0))])
        .sink("out", sink)
        .check(expect![[r#"
            ten: 100 in, 100 out
            one: 100 in, 100 out
            each: 100 in, 100 out
            out: 100 in, 100 out
            10 settled, 0 failed
        "#]]);
    for ticks in [one, each] {
        assert!((1..=10).contains(&ticks.load(Ordering::Relaxed)), "{ticks:?}");
    }
}

#[test]
fn dead_letters_go_to_their_own_edge() {
    let each = || -> Box<dyn Stage> { Box::new(OddOnly { stops: false }) };
    let dead = Edge { selection: Selection::DeadLetter, target: Target::Sink(1) };
    let (good, _) = kept();
    let (bad, rows) = kept();
    Case::new(4, Target::Stage(0))
        .stage("odd", StageSet::each(vec![each(), each()]), vec![all(Target::Sink(0)), dead])
        .sink("good", good)
        .sink("bad", bad)
        .check(expect![[r#"
            ten: 40 in, 40 out
            odd: 40 in, 40 out
            good: 20 in, 20 out
            bad: 20 in, 20 out
            4 settled, 0 failed
        "#]]);
    assert!(rows.lock().unwrap().iter().all(|row| row / 10 % 2 == 0));
}

#[test]
fn a_stage_that_must_stop_stops_the_pipeline_and_fails_its_batch() {
    let odd = StageSet::one(Box::new(OddOnly { stops: true }));
    let (sink, _) = kept();
    let case = Case::new(1, Target::Stage(0)).stage("odd", odd, vec![all(Target::Sink(0))]).sink("out", sink);
    let (result, text) = case.run(Stop::new());
    assert_eq!(result.unwrap_err().to_string(), "stage odd: even");
    expect![[r#"
        ten: 10 in, 10 out
        odd: 10 in, 0 out, 10 stopped
        out: 0 in, 0 out
        0 settled, 1 failed
    "#]]
    .assert_eq(&text);
}

#[test]
fn an_unavailable_sink_gets_the_same_batch_again_and_rejected_rows_are_counted() {
    let (mut sink, rows) = kept();
    sink.refusals.push_back(away());
    sink.refusals.push_back(SinkError::Rejected { sink: "out".into(), rows: 10, source: "garbage".into() });
    Case::new(3, Target::Sink(0)).sink("out", sink).check(expect![[r#"
        ten: 30 in, 30 out
        out: 30 in, 20 out, 10 rejected
        3 settled, 0 failed
    "#]]);
    assert_eq!(rows.lock().unwrap().len(), 20);
}

#[test]
fn a_sink_that_answers_late_has_a_bounded_number_under_way() {
    let sink = Late::default();
    let (rows, most) = (Arc::clone(&sink.rows), Arc::clone(&sink.most));
    Case::new(100, Target::Sink(0)).sink("out", sink).check(expect![[r#"
        ten: 1000 in, 1000 out
        out: 1000 in, 1000 out
        100 settled, 0 failed
    "#]]);
    assert_eq!(most.load(Ordering::Relaxed), MOST_UNDER_WAY);
    let mut rows = rows.lock().unwrap().clone();
    rows.sort_unstable();
    assert_eq!(rows, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_cannot_go_on_ends_the_run_and_settles_nothing() {
    let (mut sink, rows) = kept();
    sink.refusals.push_back(SinkError::Broken { sink: "out".into(), source: "fenced".into() });
    let (result, text) = Case::new(2, Target::Sink(0)).sink("out", sink).run(Stop::new());
    assert_eq!(result.unwrap_err().to_string(), "sink out cannot go on: fenced");
    expect![[r#"
        ten: 20 in, 20 out
        out: 20 in, 0 out, 20 sink_broken
        0 settled, 2 failed
    "#]]
    .assert_eq(&text);
    assert!(rows.lock().unwrap().is_empty());
}

#[test]
fn what_a_sink_has_not_taken_when_the_grace_period_ends_is_counted() {
    let stop = Stop::new();
    stop.cancel();
    let (result, text) = Case::new(3, Target::Sink(0)).sink("out", Away).run(stop);
    result.unwrap();
    expect![[r#"
        ten: 30 in, 30 out
        out: 30 in, 0 out, 30 shutdown
        0 settled, 3 failed
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_source_that_fails_ends_the_run_after_its_rows_are_delivered() {
    let (sink, _) = kept();
    let mut case = Case::new(0, Target::Sink(0)).sink("out", sink);
    let ten = Ten { batches: 2, outcomes: Arc::clone(&case.outcomes), fails: true };
    case.pipeline.sources[0].runners = vec![Box::new(ten)];
    // Failing stops the pipeline, which starts the grace period; this test is not about its end.
    case.pipeline.grace = Grace(Duration::from_mins(1));
    let (result, text) = case.run(Stop::new());
    assert_eq!(result.unwrap_err().to_string(), "source ten: reading: broken");
    assert!(text.contains("out: 20 in, 20 out"), "{text}");
}
