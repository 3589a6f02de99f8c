//! Batches in pieces, and batches that wait in front of a stage without keeping others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use expect_test::expect;
use sluice_flow::{Batch, col};
use sluice_pipeline::{Edge, Processed, Selection, Stage, StageSet, Stop, Target};

use crate::{Case, all, kept};

/// Takes every batch apart: rows whose number ends in 3 are dead, in 7 dropped, and the others go on in pieces.
struct InPieces;

impl Stage for InPieces {
    fn process(&mut self, batch: Batch) -> Processed {
        let mut processed = Processed::default();
        for row in 0..batch.rows() as u32 {
            match batch.number(col::BYTES, row as usize) % 10 {
                3 => processed.add_dead(batch.select(&[row])),
                7 => processed.add_dropped("seven", 1),
                _ => processed.add_out(batch.select(&[row])),
            }
        }
        assert_eq!((processed.outs().count(), processed.deads().count()), (8, 1));
        processed
    }
}

#[test]
fn pieces_of_a_batch_go_their_ways_in_order_and_add_up() {
    let (out, rows) = kept();
    let (graves, dead) = kept();
    let to_graves = Edge { selection: Selection::DeadLetter, target: Target::Sink(1) };
    let mut case = Case::new(3, Target::Stage(0))
        .stage("pieces", StageSet::one(Box::new(InPieces)), vec![all(Target::Sink(0)), to_graves])
        .sink("out", out)
        .sink("graves", graves);
    case.pipeline.workers = 1;
    case.check(expect![[r#"
        ten: 30 in, 30 out
        pieces: 30 in, 27 out, 3 seven
        out: 24 in, 24 out
        graves: 3 in, 3 out
        3 settled, 0 failed
    "#]]);
    let expected: Vec<u64> = (0..30).filter(|row| !matches!(row % 10, 3 | 7)).collect();
    assert_eq!((&*rows.lock().unwrap(), &*dead.lock().unwrap()), (&expected, &vec![3, 13, 23]));
}

/// Has batches wait until the other stage has had so many; what has no room is dropped.
struct Poor {
    seen: Arc<AtomicUsize>,
    until: usize,
}

impl Stage for Poor {
    fn process(&mut self, batch: Batch) -> Processed {
        Processed::pass(batch)
    }

    fn wait(&self) -> Option<Duration> {
        (self.seen.load(Ordering::Acquire) < self.until).then_some(Duration::from_millis(1))
    }

    fn refuse(&mut self, batch: Batch) -> Processed {
        Processed::drop("no_room", batch.rows())
    }
}

/// Counts batches.
struct Counts(Arc<AtomicUsize>);

impl Stage for Counts {
    fn process(&mut self, batch: Batch) -> Processed {
        self.0.fetch_add(1, Ordering::Release);
        Processed::pass(batch)
    }
}

/// A source whose batches go to a stage that has them wait until `until` of them have gone through the other stage, which
/// is behind it in the only worker.
fn poor_beside_rich(batches: u64, until: usize, is_shared: bool) -> (Case, Arc<std::sync::Mutex<Vec<u64>>>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let (poor_out, poor_rows) = kept();
    let (rich_out, _) = kept();
    let poor = Box::new(Poor { seen: Arc::clone(&seen), until });
    let poor = if is_shared { StageSet::one(poor) } else { StageSet::each(vec![poor]) };
    let mut case = Case::new(batches, Target::Stage(0))
        .stage("poor", poor, vec![all(Target::Sink(0))])
        .stage("rich", StageSet::one(Box::new(Counts(seen))), vec![all(Target::Sink(1))])
        .sink("poor-out", poor_out)
        .sink("rich-out", rich_out);
    case.pipeline.workers = 1;
    case.pipeline.sources[0].edges.push(all(Target::Stage(1)));
    (case, poor_rows)
}

#[test]
fn what_waits_keeps_nobody_waiting_and_comes_in_its_order() {
    for is_shared in [true, false] {
        let (case, rows) = poor_beside_rich(20, 20, is_shared);
        case.check(expect![[r#"
            ten: 200 in, 200 out
            poor: 200 in, 200 out
            rich: 200 in, 200 out
            poor-out: 200 in, 200 out
            rich-out: 200 in, 200 out
            20 settled, 0 failed
        "#]]);
        assert_eq!(*rows.lock().unwrap(), (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn what_has_no_room_to_wait_goes_by_the_policy_of_the_stage() {
    let (case, rows) = poor_beside_rich(40, 40, true);
    case.check(expect![[r#"
        ten: 400 in, 400 out
        poor: 400 in, 320 out, 80 no_room
        rich: 400 in, 400 out
        poor-out: 320 in, 320 out
        rich-out: 400 in, 400 out
        40 settled, 0 failed
    "#]]);
    assert_eq!(*rows.lock().unwrap(), (0..320).collect::<Vec<_>>());
}

/// Processes three rows of what it is given, and then has to wait until somebody asked so many times.
struct ThreeAtATime {
    asked: AtomicUsize,
    calls: Arc<AtomicUsize>,
}

impl Stage for ThreeAtATime {
    fn process(&mut self, batch: Batch) -> Processed {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
        let rows: Vec<u32> = (0..batch.rows() as u32).collect();
        let mut parts = rows.chunks(3).map(|rows| batch.select(rows));
        Processed { out: parts.next(), later: parts.collect(), ..Processed::default() }
    }

    fn wait(&self) -> Option<Duration> {
        (self.asked.fetch_add(1, Ordering::Relaxed) < 3).then_some(Duration::from_millis(1))
    }

    fn refuse(&mut self, batch: Batch) -> Processed {
        Processed::drop("no_room", batch.rows())
    }
}

#[test]
fn parts_that_come_later_wait_before_the_next_batch_and_count_when_they_come() {
    for is_stopped in [false, true] {
        let (out, rows) = kept();
        let calls = Arc::new(AtomicUsize::new(0));
        let stage = ThreeAtATime { asked: AtomicUsize::new(0), calls: Arc::clone(&calls) };
        let mut case = Case::new(20, Target::Stage(0))
            .stage("slow", StageSet::one(Box::new(stage)), vec![all(Target::Sink(0))])
            .sink("out", out);
        case.pipeline.workers = 1;
        let stop = Stop::new();
        if is_stopped {
            stop.cancel();
        }
        let (result, text) =
            Case { pipeline: sluice_pipeline::Pipeline { grace: crate::LONG, ..case.pipeline }, ..case }.run(stop);
        result.unwrap();
        assert!(text.contains("slow: 200 in, 200 out\n"), "{text}");
        assert!(text.contains("20 settled, 0 failed\n"), "{text}");
        assert_eq!(*rows.lock().unwrap(), (0..200).collect::<Vec<_>>());
        assert_eq!(calls.load(Ordering::Relaxed), 80, "three, three, three and one of each batch");
    }
}

#[test]
fn a_pipeline_that_stops_waits_for_no_budget() {
    // Nothing will ever come that it waits for.
    let (case, rows) = poor_beside_rich(20, usize::MAX, true);
    let stop = Stop::new();
    stop.cancel();
    let (result, text) =
        Case { pipeline: sluice_pipeline::Pipeline { grace: crate::LONG, ..case.pipeline }, ..case }.run(stop);
    result.unwrap();
    assert!(text.contains("poor: 200 in, 200 out\n"), "{text}");
    assert_eq!(rows.lock().unwrap().len(), 200);
}
