//! How long a worker stands still when its plugin is exchanged: the first batch after an exchange, against batches without one.
//! Prints the 50th, 90th and 99th hundredth of a thousand.

#![allow(clippy::print_stdout, reason = "a table for the terminal")]

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::{Batch, Column, Pool, Schema, col};
use sluice_pipeline::Metrics;
use sluice_plugin::{
    ComponentSource, Grant, Granted, Host, HostSettings, Limits, Loaded, OnError, Services, StageSpec, Trust,
};

const EXCHANGES: usize = 1000;

fn batch(rows: usize) -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows);
    for column in [col::SRC_ADDR_HI, col::SRC_ADDR_LO, col::BYTES] {
        batch.set(column, Column::U64(Arc::new((0..rows as u64).collect()))).expect("schema has them");
    }
    batch
}

fn spec(mode: &str, arg: u32) -> StageSpec {
    StageSpec {
        name: "bench".to_owned(),
        component: ComponentSource::Embedded { name: "guest", bytes: guest::guest() },
        config_json: format!("{{\"mode\":\"{mode}\",\"arg\":{arg}}}"),
        grant: Grant::Listed(Granted {
            read: [col::SRC_ADDR_HI, col::SRC_ADDR_LO, col::BYTES, col::SRC_AS].into_iter().collect(),
            write: [col::CUSTOMER_ID, col::SRC_AS].into_iter().collect(),
            events: true,
            tables: ["t".to_owned()].into(),
            keys: ["k".to_owned()].into(),
            assets: ["a".to_owned()].into(),
        }),
        on_error: OnError::Stop,
        limits: Limits { memory: 256 << 20, ..Limits::default() },
        is_private: false,
        state: None,
        rollback_window: Duration::from_secs(60),
        failure: sluice_plugin::FailurePolicy::default(),
        budget: None,
        trust: Trust::default(),
        isolation: None,
        record: None,
        services: Services::default(),
        schema: Arc::new(Schema::standard()),
    }
}

/// Times of batches, each after an exchange or not.
fn times(host: &Arc<Host>, spec: &StageSpec, exchanges: bool) -> Vec<Duration> {
    let loaded = Loaded::load(host, spec.clone()).expect("the guest loads");
    let mut stage = loaded.instance();
    let flows = batch(4096);
    let mut times = Vec::with_capacity(EXCHANGES);
    for _ in 0..EXCHANGES {
        if exchanges {
            loaded.publish(loaded.candidate(spec).expect("the guest loads"));
        }
        let began = Instant::now();
        let processed = stage.process(flows.clone());
        times.push(began.elapsed());
        assert!(processed.out.is_some(), "a batch is lost");
    }
    times.sort_unstable();
    times
}

fn main() {
    // Compiled once: how long that takes is another matter.
    let cache = tempfile::tempdir().expect("a folder");
    let settings = HostSettings { cache_dir: Some(cache.path().join("cache")), ..HostSettings::default() };
    let host = Host::new(settings, Metrics::new()).expect("an engine");
    println!("{:<24}{:>12}{:>12}{:>12}", "batch of 4096 rows", "p50 us", "p90 us", "p99 us");
    for (name, spec) in [("no state", spec("pass", 0)), ("10 MB of state", spec("ballast", 10 << 20))] {
        for (what, exchanges) in [("", false), (", exchanged", true)] {
            let times = times(&host, &spec, exchanges);
            let at = |hundredth: usize| times[times.len() * hundredth / 100].as_secs_f64() * 1e6;
            println!("{:<24}{:>12.0}{:>12.0}{:>12.0}", format!("{name}{what}"), at(50), at(90), at(99));
        }
    }
}
