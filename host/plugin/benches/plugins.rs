//! Each built-in plugin in wasm against the same code compiled natively, over the same rows with the same
//! tables and keys: what running in the sandbox costs. Rates are rows a second; the last line of each plugin has both in turn.

#![allow(clippy::print_stdout, reason = "a benchmark talks to people")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_flow::{Batch, Column, Pool, Schema, col};
use sluice_pipeline::Metrics;
use sluice_plugin::keys::{Key, KeySpec, Keys};
use sluice_plugin::tables::{Joint, Table, TableSpec, Tables};
use sluice_plugin::{
    ComponentSource, FailurePolicy, Grant, Host, HostSettings, Limits, Loaded, OnError, Services, StageSpec, Trust,
};
use sluice_sdk::harness::{Harness, KeySource, TableSource};
use sluice_sdk::{Plugin, columns};

/// Rows of a batch. What a call costs by itself weighs more in a small one.
const ROWS: usize = 4096;
/// Rows of a batch in a collector that has a lot to do.
const FULL: usize = 32_768;
/// Rows that either works on, in turn with the other, for the one number.
const IN_TURN: usize = 2000 * ROWS;
const KEY: &str = "a key that is long enough to be one";

/// The host's own tables behind the native plugin, which looks up in them together as an instance does.
struct Table4Native {
    table: Arc<Table>,
    joined: Rc<Joined4Native>,
}

struct Joined4Native {
    joint: Joint,
    /// What was found in this batch, by where a column of addresses is.
    regions: RefCell<HashMap<*const u64, Vec<u32>>>,
}

impl Joined4Native {
    fn begin_batch(&self) {
        self.regions.borrow_mut().values_mut().for_each(Vec::clear);
    }
}

impl TableSource for Table4Native {
    fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32> {
        let Joined4Native { joint, regions } = &*self.joined;
        let mut regions = regions.borrow_mut();
        let regions = regions.entry(lo.as_ptr()).or_default();
        if regions.is_empty() {
            joint.regions_of(hi, lo, regions);
        }
        let mut codes = Vec::with_capacity(hi.len());
        joint.codes_of(&self.table, regions, &mut codes);
        codes
    }

    fn value(&self, code: u32) -> Option<String> {
        self.table.value(code).map(str::to_owned)
    }

    fn codes(&self) -> u32 {
        self.table.codes()
    }

    fn generation(&self) -> u64 {
        self.table.generation()
    }
}

/// The host's own key behind the native plugin.
struct Key4Native(Key);

impl KeySource for Key4Native {
    fn prefix_preserving(&self, hi: &mut [u64], lo: &mut [u64]) {
        for (hi, lo) in hi.iter_mut().zip(lo) {
            (*hi, *lo) = self.0.prefix_preserving(*hi, *lo);
        }
    }

    fn keyed_hash(&self, hi: &mut [u64], lo: &mut [u64]) {
        for (hi, lo) in hi.iter_mut().zip(lo) {
            (*hi, *lo) = self.0.keyed_hash(*hi, *lo);
        }
    }

    fn prf(&self, hi: &[u64], lo: &[u64]) -> Vec<u64> {
        hi.iter().zip(lo).map(|(hi, lo)| self.0.prf(*hi, *lo)).collect()
    }
}

/// The rows, once for both: 64 customers talk to 4096 others, half of the rows each way; a row has the
/// customer of the side that is one.
struct Rows {
    src: Vec<u64>,
    dst: Vec<u64>,
    bytes: Vec<u64>,
    packets: Vec<u64>,
    proto: Vec<u8>,
    port: Vec<u16>,
    customer: Vec<u32>,
}

fn rows(count: usize) -> Rows {
    let mixed = |row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let numbers = || 0..count as u64;
    let inside = |row: u64| 0xffff_0a00_0000 + (mixed(row) % 64) * 256 + row % 200;
    let outside = |row: u64| 0xffff_c000_0000 + mixed(row) % 4096;
    Rows {
        src: numbers().map(|row| if row % 2 == 0 { inside(row) } else { outside(row) }).collect(),
        dst: numbers().map(|row| if row % 2 == 0 { outside(row) } else { inside(row) }).collect(),
        bytes: numbers().map(|row| 64 + mixed(row) % 1400).collect(),
        packets: numbers().map(|row| 1 + row % 7).collect(),
        proto: numbers().map(|row| if row % 3 == 0 { 17 } else { 6 }).collect(),
        port: numbers().map(|row| 1024 + (row % 5000) as u16).collect(),
        customer: numbers().map(|row| 1 + (mixed(row) % 64) as u32).collect(),
    }
}

fn batch(rows: &Rows) -> Batch {
    let count = rows.src.len();
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), count);
    let u64s = |values: &[u64]| Column::U64(Arc::new(values.to_vec()));
    for (column, values) in [
        (col::SRC_ADDR_HI, u64s(&vec![0; count])),
        (col::SRC_ADDR_LO, u64s(&rows.src)),
        (col::DST_ADDR_HI, u64s(&vec![0; count])),
        (col::DST_ADDR_LO, u64s(&rows.dst)),
        (col::BYTES, u64s(&rows.bytes)),
        (col::PACKETS, u64s(&rows.packets)),
        (col::SAMPLING_RATE, u64s(&vec![100; count])),
        (col::PROTO, Column::U8(Arc::new(rows.proto.clone()))),
        (col::SRC_PORT, Column::U16(Arc::new(rows.port.clone()))),
        (col::DST_PORT, Column::U16(Arc::new(vec![443; count]))),
        (col::CUSTOMER_ID, Column::U32(Arc::new(rows.customer.clone()))),
    ] {
        batch.set(column, values).expect("as wide as the schema says");
    }
    batch.stamp(1, 1_700_000_000_000);
    batch
}

/// The harness of the native plugin, and what its tables have in common.
fn harness(rows: &Rows, tables: &Tables) -> (Harness, Rc<Joined4Native>) {
    let count = rows.src.len();
    let zeros = || vec![0_u64; count];
    let mut harness = Harness::new()
        .rows(count)
        .now_ms(1_700_000_000_000)
        .column(columns::SRC_ADDR.hi, zeros())
        .column(columns::SRC_ADDR.lo, rows.src.clone())
        .column(columns::DST_ADDR.hi, zeros())
        .column(columns::DST_ADDR.lo, rows.dst.clone())
        .column(columns::BYTES, rows.bytes.clone())
        .column(columns::PACKETS, rows.packets.clone())
        .column(columns::SAMPLING_RATE, vec![100_u64; count])
        .column(columns::PROTO, rows.proto.clone())
        .column(columns::SRC_PORT, rows.port.clone())
        .column(columns::DST_PORT, vec![443_u16; count])
        .column(columns::CUSTOMER_ID, rows.customer.clone())
        .key("key", Key4Native(Key::load(&KeySpec::literal(KEY)).expect("long enough")));
    let all = ["customers", "countries"].map(|name| tables.get(name).expect("loaded before"));
    let joint = Joint::new(&all).expect("tables of prefixes");
    let joined = Rc::new(Joined4Native { joint, regions: RefCell::default() });
    for (name, table) in ["customers", "countries"].into_iter().zip(all) {
        harness = harness.table(name, Table4Native { table, joined: Rc::clone(&joined) });
    }
    (harness, joined)
}

/// The built-in plugin as a component, compiled as the binary's build script does it.
fn component(name: &str) -> &'static [u8] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(&root)
        .args(["build", "--release", "--target", "wasm32-wasip2", "--package", &format!("sluice-plugin-{name}")])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = format!("wasm32-wasip2/release/sluice_plugin_{}.wasm", name.replace('-', "_"));
    std::fs::read(target.join(file)).expect("cargo built it").leak()
}

fn compare<P: Plugin>(c: &mut Criterion, name: &'static str, config: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("t.csv");
    // 10.0.X.0/24 is customer X + 1; nothing else is known.
    let text: String = (0..64).map(|net| format!("10.0.{net}.0/24,{}\n", net + 1)).collect();
    std::fs::write(&path, text).expect("written");
    let spec = |name: &str| (name.to_owned(), TableSpec::prefix(path.clone()));
    let tables = Arc::new(Tables::load([spec("customers"), spec("countries")]).expect("good tables"));
    let keys = Arc::new(Keys::load([("key".to_owned(), KeySpec::literal(KEY))]).expect("a good key"));
    let small = rows(ROWS);

    let mut group = c.benchmark_group(format!("plugin/{name}"));
    group.throughput(Throughput::Elements(ROWS as u64));

    let host = Host::new(HostSettings::default(), Metrics::new()).expect("an engine");
    let spec = StageSpec {
        name: name.to_owned(),
        component: ComponentSource::Embedded { name, bytes: component(name) },
        trust: Trust::default(),
        config_json: config.to_owned(),
        grant: Grant::Requested,
        on_error: OnError::Stop,
        limits: Limits::default(),
        is_private: false,
        state: None,
        failure: FailurePolicy::default(),
        budget: None,
        rollback_window: std::time::Duration::ZERO,
        isolation: None,
        record: None,
        services: Services { tables: Arc::clone(&tables), keys, ..Services::default() },
        schema: Arc::new(Schema::standard()),
    };
    let mut stage = Loaded::load(&host, spec).expect("the plugin loads").instance();
    let batch_of_small = batch(&small);
    group.bench_function("wasm", |b| {
        b.iter_batched(
            // One at a time, as in a worker: the buffers of one batch serve the next.
            || batch_of_small.clone(),
            |batch| {
                let processed = stage.process(batch);
                assert!(processed.stop.is_none(), "{processed:?}");
                processed
            },
            BatchSize::PerIteration,
        );
    });

    let (mut of_small, joined) = harness(&small, &tables);
    let mut plugin = P::default();
    of_small.init(&mut plugin, config).expect("a good configuration");
    group.bench_function("native", |b| {
        b.iter(|| {
            joined.begin_batch();
            of_small.run(&mut plugin).expect("processes");
        });
    });
    group.finish();

    for rows in [small, rows(FULL)] {
        let count = rows.src.len();
        let (batch, (mut harness, joined)) = (batch(&rows), harness(&rows, &tables));
        harness.init(&mut plugin, config).expect("a good configuration");
        let per_row = |time: Duration| time.as_nanos() as f64 / count as f64;
        let turns: Vec<(f64, f64)> = (0..IN_TURN / count)
            .map(|_| {
                let batch = batch.clone();
                joined.begin_batch();
                (per_row(time(|| stage.process(batch))), per_row(time(|| harness.run(&mut plugin))))
            })
            .collect();
        let median = |of: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = turns.iter().map(of).collect();
            all.sort_unstable_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (wasm, native) = (median(|turn| turn.0), median(|turn| turn.1));
        // Of the ratios of each turn: a machine that slows down in between slows down both of them.
        let ratio = median(|turn| turn.0 / turn.1);
        println!(
            "plugin/{name}: in turn {wasm:.2} ns a row in wasm, {native:.2} natively: {ratio:.2} times ({count} rows)"
        );
    }
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    let result = black_box(work());
    let elapsed = began.elapsed();
    drop(result);
    elapsed
}

fn plugins(c: &mut Criterion) {
    compare::<sluice_plugin_enricher::Enricher>(
        c,
        "enricher",
        r#"{"customers":{"table":"customers"},"direction":{"mode":"prefixes","table":"customers"},"country":{"table":"countries"},"proto_name":true,"scale":{"fallback_rate":1}}"#,
    );
    compare::<sluice_plugin_splitter::Splitter>(
        c,
        "splitter",
        r#"{"name":"customer-{customer_id}","allow":["1-40"],"default":"other"}"#,
    );
    compare::<sluice_plugin_select::Select>(c, "select", r#"{"customers":[1,2,3,4],"prefixes":["10.0.0.0/16"]}"#);
    compare::<sluice_plugin_reducer::Reducer>(c, "reducer", r#"{"mode":"truncate","drop":["src_mac","dst_mac"]}"#);
    compare::<sluice_plugin_dos_detector::DosDetector>(
        c,
        "dos-detector",
        r#"{"protect":"customers","window_s":10,"hold_s":60,"hosts":{"total":{"bits":1000000000000},"udp":{"packets":100000000}}}"#,
    );
}

criterion_group!(benches, plugins);
criterion_main!(benches);
