//! Plugins in the host: what loads, what a call does, what failure costs, and exchange under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../guest/mod.rs"]
mod guest;

mod budget;
mod corpus;
mod failure;
mod loading;
mod outside;
mod pack;
mod per_partition;
mod private;
mod quarantine;
mod recording;
mod rollback;
mod services;
mod swap;
mod transaction;
mod trial;
mod trust;
mod world;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_flow::{Batch, Column, ColumnSet, Pool, Schema, col, halves_of};
use sluice_pipeline::{EventQueue, Metrics, Processed, event_channel};
use sluice_plugin::{
    ComponentSource, FailurePolicy, Grant, Granted, Host, HostSettings, Limits, Loaded, OnError, Services, StageSpec,
    Trust,
};

/// A host, a stage of the test plugin, and the files they use.
struct Bench {
    dir: tempfile::TempDir,
    host: Arc<Host>,
    metrics: Arc<Metrics>,
    spec: StageSpec,
    events: EventQueue,
}

fn columns(names: &[&str]) -> ColumnSet {
    let schema = Schema::standard();
    names.iter().flat_map(|name| schema.columns(name).unwrap()).collect()
}

impl Bench {
    /// The plugin in `mode`, with everything that it uses granted.
    fn new(mode: &str, arg: u32) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        // One cache for all tests: the component compiles once.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("code");
        let (outside, isolation) = outside::outside();
        let settings = HostSettings { cache_dir: Some(cache), outside, fuel: false };
        let host = Host::new(settings, Arc::clone(&metrics)).unwrap();
        let path = dir.path().join("guest.wasm");
        std::fs::write(&path, guest::guest()).unwrap();
        let (events_out, events) = event_channel(4096, metrics.counter("lost_alerts", "", Vec::new()));
        let grant = Granted {
            read: columns(&["src_addr", "bytes", "src_as", "proto", "customer_id", "note", "mpls_labels"]),
            write: columns(&["src_addr", "src_as", "customer_id", "note", "mpls_labels"]),
            events: true,
            tables: ["customers".to_owned()].into(),
            keys: ["secret".to_owned()].into(),
            assets: ["names".to_owned()].into(),
        };
        let spec = StageSpec {
            name: "tag".to_owned(),
            component: ComponentSource::File { path, sha256: None },
            trust: Trust::default(),
            config_json: format!("{{\"mode\":\"{mode}\",\"arg\":{arg}}}"),
            grant: Grant::Listed(grant),
            on_error: OnError::Drop,
            limits: Limits::default(),
            is_private: false,
            state: None,
            failure: FailurePolicy::default(),
            budget: None,
            rollback_window: std::time::Duration::ZERO,
            isolation,
            record: None,
            services: Services { events: events_out, ..Services::default() },
            schema: Arc::new(Schema::standard()),
        };
        Bench { dir, host, metrics, spec, events }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("guest.wasm")
    }

    /// Puts another component in place, as an operator does: written beside and renamed.
    fn install(&self, bytes: &[u8]) {
        let beside = self.dir.path().join("new.wasm");
        std::fs::write(&beside, bytes).unwrap();
        std::fs::rename(beside, self.path()).unwrap();
    }

    fn load(&self) -> Arc<Loaded> {
        Loaded::load(&self.host, self.spec.clone()).unwrap()
    }

    /// Why the stage does not load.
    fn error(&self) -> String {
        Loaded::load(&self.host, self.spec.clone()).unwrap_err().to_string()
    }

    /// What became of one batch.
    fn process(&self, batch: Batch) -> Processed {
        self.load().instance().process(batch)
    }

    /// What the plugin reports of the batch of [`batch`].
    fn report(&mut self) -> String {
        self.spec.on_error = OnError::Stop;
        let processed = self.process(batch());
        processed.stop.expect("the plugin reports").strip_prefix("stage tag: ").expect("says the stage").to_owned()
    }

    /// The value of a series of the stage, 0 if there is none.
    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Three rows: source address, bytes, protocol.
fn batch() -> Batch {
    batch_of(&[("192.0.2.1", 10), ("198.51.100.7", 20), ("2001:db8::1", 30)])
}

fn batch_of(rows: &[(&str, u64)]) -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows.len());
    let halves: Vec<_> = rows.iter().map(|(addr, _)| halves_of(addr.parse::<IpAddr>().unwrap())).collect();
    batch.set(col::SRC_ADDR_HI, Column::U64(Arc::new(halves.iter().map(|halves| halves.0).collect()))).unwrap();
    batch.set(col::SRC_ADDR_LO, Column::U64(Arc::new(halves.iter().map(|halves| halves.1).collect()))).unwrap();
    batch.set(col::BYTES, Column::U64(Arc::new(rows.iter().map(|row| row.1).collect()))).unwrap();
    batch.set(col::PROTO, Column::U8(Arc::new(vec![6; rows.len()]))).unwrap();
    batch.stamp(5, 1_700_000_000_123);
    batch
}

/// A batch as text: the columns that tests look at.
fn shown(batch: &Batch) -> String {
    sluice_flow::table(batch, &["src_addr", "bytes", "src_as", "customer_id", "route"])
}

/// What became of a batch, as text. Its rows are all accounted for.
fn outcome(processed: &Processed, rows: usize) -> String {
    assert_eq!(processed.rows(), rows, "{processed:?}");
    let mut text = String::new();
    for batch in processed.outs() {
        text.push_str(&format!("out:\n{}", shown(batch)));
    }
    for batch in processed.deads() {
        text.push_str(&format!("dead:\n{}", shown(batch)));
    }
    for (reason, rows) in &processed.dropped {
        text.push_str(&format!("dropped: {rows} {reason}\n"));
    }
    if let Some(stop) = &processed.stop {
        text.push_str(&format!("stop: {stop}\n"));
    }
    text
}
