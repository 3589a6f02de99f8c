//! What `isolation = "process"` costs: the same plugin on the same batches in the collector's process and in one of its own.
//! Rates are rows a second.

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use sluice_flow::{Batch, Column, Pool, Schema, col};
use sluice_pipeline::Metrics;
use sluice_plugin::outside::{Outside, serve};
use sluice_plugin::{
    ComponentSource, Grant, Granted, Host, HostSettings, Isolation, Limits, Loaded, OnError, Services, StageSpec, Trust,
};

/// With this argument the program is the process of the plugin.
const PROCESS: &str = "plugin-process";

fn batch(rows: usize) -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows);
    let values = |seed: u64| (0..rows as u64).map(|row| row.wrapping_mul(0x9e37_79b9 + seed)).collect::<Vec<_>>();
    for (seed, column) in [col::SRC_ADDR_HI, col::SRC_ADDR_LO, col::BYTES].into_iter().enumerate() {
        batch.set(column, Column::U64(Arc::new(values(seed as u64)))).expect("schema has them");
    }
    batch
}

/// Two address columns in and a number column out; as many columns cross to a process as are granted.
fn spec(read: &[u16], isolation: Option<&str>) -> StageSpec {
    StageSpec {
        name: "bench".to_owned(),
        component: ComponentSource::Embedded { name: "guest", bytes: guest::guest() },
        config_json: "{\"mode\":\"boundary\"}".to_owned(),
        grant: Grant::Listed(Granted {
            read: read.iter().copied().collect(),
            write: [col::CUSTOMER_ID, col::SRC_AS].into_iter().collect(),
            events: true,
            tables: ["t".to_owned()].into(),
            keys: ["k".to_owned()].into(),
            assets: ["a".to_owned()].into(),
        }),
        on_error: OnError::Stop,
        limits: Limits::default(),
        is_private: false,
        state: None,
        rollback_window: std::time::Duration::ZERO,
        failure: sluice_plugin::FailurePolicy::default(),
        budget: None,
        trust: Trust::default(),
        isolation: isolation.map(|group| Isolation { group: group.to_owned() }),
        record: None,
        services: Services::default(),
        schema: Arc::new(Schema::standard()),
    }
}

fn isolation(c: &mut Criterion) {
    let settings = HostSettings { outside: Some(Outside::this_program(PROCESS)), ..HostSettings::default() };
    let host = Host::new(settings, Metrics::new()).expect("an engine");
    let read = [col::SRC_ADDR_HI, col::SRC_ADDR_LO, col::BYTES, col::SRC_AS];
    let mut group = c.benchmark_group("isolation");
    for rows in [1024, 4096, 16_384] {
        group.throughput(Throughput::Elements(rows as u64));
        for (name, process) in [("thread", None), ("process", Some("bench"))] {
            let mut stage = Loaded::load(&host, spec(&read, process)).expect("the guest loads").instance();
            let flows = batch(rows);
            group.bench_function(format!("{name}/{rows}"), |b| {
                b.iter(|| stage.process(black_box(flows.clone())).out.expect("no failure"));
            });
        }
    }
    group.finish();
}

fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(PROCESS) {
        return serve();
    }
    let mut criterion = Criterion::default().configure_from_args();
    isolation(&mut criterion);
    criterion.final_summary();
    Ok(())
}
