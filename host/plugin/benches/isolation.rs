//! What a bad plugin costs another pipeline of the same process: rows a second of a good one, which takes all it can get, beside
//! it, in shares of what it does beside another good one. Both have the same workers; the other one gets 200 batches a
//! second, and has a budget of 50 ms CPU time a second, and the deadline that goes with it: a tenth of a second for each
//! worker before the budget is asked for the first time.
//!
//! `cargo bench --bench isolation`, or some of it with `-- loops leaks`; seconds of each run: `ISOLATION_SECONDS` (10, which
//! is a quarter of an hour in all).

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_flow::{Batch, Column, ColumnSet, Pool, Schema, col};
use sluice_pipeline::{
    Ack, Edge, Grace, Kind, Metrics, Outlet, Parcel, Pipeline, Selection, Sink, SinkEntry, SinkError, Source,
    SourceEntry, SourceError, StageEntry, StageSet, Stop, Target,
};
use sluice_plugin::keys::{KeySpec, Keys};
use sluice_plugin::{
    Budget, ComponentSource, FailurePolicy, Grant, Granted, Host, HostSettings, Limits, Loaded, OnError, OverBudget,
    Services, StageSpec, Trust,
};

const ROWS: usize = 4096;
/// Pairs of runs of each kind; the middle one counts.
const RUNS: usize = 5;
/// Between two batches of the other pipeline.
const EVERY: Duration = Duration::from_millis(5);

/// Gives the same batch again and again: as fast as it is taken, or one in so much time.
struct Endless(Batch, Option<Duration>);

impl Source for Endless {
    fn run(self: Box<Self>, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        while !stop.is_cancelled() {
            if let Some(time) = self.1 {
                std::thread::sleep(time);
            }
            let mut batch = self.0.clone();
            batch.stamp(out.next_id(), 1_700_000_000_000);
            if out.send(Parcel { batch, ack: Ack::none() }).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Counts rows.
struct Counted(Arc<AtomicU64>);

impl Sink for Counted {
    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.0.fetch_add(batch.rows() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn close(self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn batch() -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), ROWS);
    let lo = (0..ROWS as u64).map(|row| 0xffff_0a00_0000 | row.wrapping_mul(0x9e37_79b9) & 0xff_ffff).collect();
    batch.set(col::SRC_ADDR_HI, Column::U64(Arc::new(vec![0; ROWS]))).expect("schema has src_addr");
    batch.set(col::SRC_ADDR_LO, Column::U64(Arc::new(lo))).expect("schema has src_addr");
    batch
}

fn spec(name: &str, mode: &str, arg: u32, budget: Option<Arc<Budget>>) -> StageSpec {
    let keys = [("secret".to_owned(), KeySpec::literal("5e".repeat(32)))];
    let keys = Keys::load(keys).expect("it is a key");
    let mut limits = Limits::default();
    if let Some(budget) = &budget {
        limits.deadline_ms = Limits::deadline_within(budget.cpu_ms_per_s());
    }
    StageSpec {
        name: name.to_owned(),
        component: ComponentSource::Embedded { name: "guest", bytes: guest::guest() },
        trust: Trust::default(),
        config_json: format!("{{\"mode\":\"{mode}\",\"arg\":{arg}}}"),
        grant: Grant::Listed(Granted {
            read: ColumnSet::ALL,
            write: ColumnSet::ALL,
            events: true,
            tables: ["t".to_owned()].into(),
            keys: ["secret".to_owned()].into(),
            assets: ["a".to_owned()].into(),
        }),
        on_error: OnError::Drop,
        limits,
        is_private: false,
        state: None,
        failure: FailurePolicy::default(),
        budget,
        rollback_window: Duration::ZERO,
        isolation: None,
        record: None,
        services: Services { keys: Arc::new(keys), ..Services::default() },
        schema: Arc::new(Schema::standard()),
    }
}

/// Rows a second of the good pipeline beside one whose plugin is in `mode`.
fn beside(host: &Arc<Host>, mode: &str, arg: u32, seconds: f64) -> f64 {
    let metrics = Metrics::new();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let rows = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let budget = Budget::new("other", 50, OverBudget::Shed);
    let specs = [spec("good", "boundary", 0, None), spec("other", mode, arg, Some(budget))];
    let mut pipeline = Pipeline {
        sources: Vec::new(),
        stages: Vec::new(),
        sinks: Vec::new(),
        workers,
        grace: Grace(Duration::from_secs(60)),
    };
    for (at, (spec, rows)) in specs.into_iter().zip(&rows).enumerate() {
        let name = spec.name.clone();
        let edge = |target| vec![Edge { selection: Selection::All, target }];
        let loaded = Loaded::load(host, spec).expect("the guest loads");
        pipeline.sources.push(SourceEntry {
            runners: vec![Box::new(Endless(batch(), (at == 1).then_some(EVERY)))],
            account: metrics.account(Kind::Source, &name),
            queue: 8,
            edges: edge(Target::Stage(at)),
        });
        let instances = (0..workers).map(|_| loaded.instance()).collect();
        let account = metrics.account(Kind::Stage, &name);
        pipeline.stages.push(StageEntry { stages: StageSet::each(instances), account, edges: edge(Target::Sink(at)) });
        pipeline.sinks.push(SinkEntry::new(Counted(Arc::clone(rows)), metrics.account(Kind::Sink, &name), 8));
    }
    let stop = Stop::new();
    let end = stop.clone();
    let began = Instant::now();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs_f64(seconds));
        end.cancel();
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    pipeline.run(&stop, runtime.handle()).expect("nothing stops it");
    timer.join().expect("it sleeps");
    rows[0].load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    let seconds = std::env::var("ISOLATION_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let host = Host::new(HostSettings::default(), Metrics::new()).expect("an engine");
    let kinds = [
        ("good", "boundary", 0),
        ("loops", "loop", 0),
        ("loops in the host", "loop-in-host", 0),
        ("allocates", "memory", 0),
        ("leaks memory", "leak", 1 << 20),
        ("floods the log", "log", 1000),
        ("floods alerts", "alerts", 1000),
        ("leaks handles", "leak-handles", 1000),
    ];
    // As other benchmarks take it: what follows `--`, without the option that cargo gives.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("{:<20} {:>14} {:>14} {:>8}", "other pipeline", "rows/s", "beside a good", "share");
    for (name, mode, arg) in kinds {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        // In pairs: what else the machine does changes from minute to minute.
        let mut runs: Vec<(f64, f64)> =
            (0..RUNS).map(|_| (beside(&host, mode, arg, seconds), beside(&host, "boundary", 0, seconds))).collect();
        runs.sort_by(|a, b| f64::total_cmp(&(a.0 / a.1), &(b.0 / b.1)));
        let (rate, base) = runs[RUNS / 2];
        println!("{name:<20} {rate:>14.0} {base:>14.0} {:>7.1}%", 100.0 * rate / base);
    }
}
