//! What the boundary costs: two address columns in and one number column out, in wasm and natively, and
//! the work that the host does for plugins (tables, Crypto-PAn). Rates are rows a second.

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_flow::{Batch, Column, ColumnSet, Pool, Schema, col};
use sluice_pipeline::Metrics;
use sluice_plugin::keys::{Key, KeySpec};
use sluice_plugin::tables::{Joint, Table, TableSpec};
use sluice_plugin::{
    ComponentSource, FailurePolicy, Grant, Granted, Host, HostSettings, Limits, Loaded, OnError, Renames, Services,
    StageSpec, Trust, pack,
};

const ROWS: usize = 4096;

fn batch(rows: usize) -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows);
    let lo = (0..rows as u64).map(|row| 0xffff_0a00_0000 | row.wrapping_mul(0x9e37_79b9) & 0xff_ffff).collect();
    batch.set(col::SRC_ADDR_HI, Column::U64(Arc::new(vec![0; rows]))).expect("schema has src_addr");
    batch.set(col::SRC_ADDR_LO, Column::U64(Arc::new(lo))).expect("schema has src_addr");
    batch
}

/// What the guest does in mode `boundary`.
fn native(batch: &mut Batch) {
    let mut hashes = batch.pool().u32s();
    {
        let hi = batch.u64s(col::SRC_ADDR_HI).expect("set above");
        let lo = batch.u64s(col::SRC_ADDR_LO).expect("set above");
        let hash = |(hi, lo): (&u64, &u64)| ((hi ^ lo).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        hashes.extend(hi.iter().zip(lo).map(hash));
    }
    batch.set(col::CUSTOMER_ID, Column::U32(Arc::new(hashes))).expect("schema has customer_id");
}

fn boundary(c: &mut Criterion) {
    let host = Host::new(HostSettings::default(), Metrics::new()).expect("an engine");
    let spec = StageSpec {
        name: "bench".to_owned(),
        component: ComponentSource::Embedded { name: "guest", bytes: guest::guest() },
        trust: Trust::default(),
        config_json: "{\"mode\":\"boundary\"}".to_owned(),
        grant: Grant::Listed(Granted {
            read: ColumnSet::ALL,
            write: ColumnSet::ALL,
            events: true,
            tables: ["t".to_owned()].into(),
            keys: ["k".to_owned()].into(),
            assets: ["a".to_owned()].into(),
        }),
        on_error: OnError::Drop,
        limits: Limits::default(),
        is_private: false,
        state: None,
        failure: FailurePolicy::default(),
        budget: None,
        rollback_window: std::time::Duration::ZERO,
        isolation: None,
        record: None,
        services: Services::default(),
        schema: Arc::new(Schema::standard()),
    };
    let loaded = Loaded::load(&host, spec).expect("the guest loads");
    let mut group = c.benchmark_group("boundary");
    for rows in [256, ROWS, 4 * ROWS] {
        group.throughput(Throughput::Elements(rows as u64));
        let mut stage = loaded.instance();
        // The batch goes round, as buffers do in a running pipeline.
        let mut travelling = Some(batch(rows));
        group.bench_function(format!("wasm/{rows}"), |b| {
            b.iter(|| travelling = stage.process(travelling.take().expect("came back")).out);
        });
        let mut batch = batch(rows);
        group.bench_function(format!("native/{rows}"), |b| b.iter(|| native(black_box(&mut batch))));
    }
    group.finish();
}

fn tables(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("t.csv");
    let mut text = String::new();
    for number in 0..50_000_u32 {
        writeln!(text, "{}/28,{}", std::net::Ipv4Addr::from_bits(0x0a00_0000 | number << 4), number % 5000)
            .expect("text");
        writeln!(text, "2001:db8:{:x}:{:x}::/64,{}", number >> 8, number & 0xff, number % 5000).expect("text");
    }
    std::fs::write(&path, text).expect("written");
    let spec = TableSpec::prefix(path);
    let mut group = c.benchmark_group("tables");
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("load/100k", |b| b.iter(|| Table::load(&spec).expect("good")));
    let table = Table::load(&spec).expect("good");
    let both = [Arc::new(Table::load(&spec).expect("good")), Arc::new(Table::load(&spec).expect("good"))];
    group.bench_function("join/2 of 100k", |b| b.iter(|| Joint::new(&both).expect("tables of prefixes")));
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 32
    };
    let v4: Vec<u64> = (0..ROWS).map(|_| 0xffff_0a00_0000 | next() & 0xf_ffff).collect();
    let v6: Vec<u64> = (0..ROWS).map(|_| 0x2001_0db8_0000_0000 | (next() & 0xff) << 16 | next() & 0xff).collect();
    let zeros = vec![0; ROWS];
    let mut codes = Vec::new();
    group.sample_size(100);
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, hi, lo) in [("lookup/ipv4", &zeros, &v4), ("lookup/ipv6", &v6, &zeros)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                codes.clear();
                table.lookup_all(black_box(hi), black_box(lo), &mut codes);
            });
        });
    }
    group.finish();
}

/// Lookups by number, by pair and by an address and a number, in tables of values, each of 100,000 keys but the first.
fn values(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let table = |name: &str, keys: &mut dyn Iterator<Item = String>| {
        let path = dir.path().join(name);
        let text: String = keys.enumerate().map(|(number, key)| format!("{key},{}\n", number % 5000)).collect();
        std::fs::write(&path, text).expect("written");
        TableSpec::values(path)
    };
    let load = |spec: &TableSpec| Table::load(spec).expect("good");
    let port_spec = table("ports", &mut (0..6000).map(|port| (port * 10).to_string()));
    let system_spec = table("systems", &mut (0..100_000_u64).map(|number| (number * 4).to_string()));
    // 1000 exporters with 100 interfaces each.
    let interfaces = |number: u32| format!("10.0.{}.{},{}", number / 100 / 250, number / 100 % 250, number % 100);
    let v4_spec = table("interfaces4", &mut (0..100_000).map(interfaces));
    let interfaces = |number: u32| format!("2001:db8::{:x},{}", number / 100, number % 100);
    let v6_spec = table("interfaces6", &mut (0..100_000).map(interfaces));
    let mut group = c.benchmark_group("values");
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("load/100k", |b| b.iter(|| load(&v4_spec)));
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 32
    };
    let ports: Vec<u16> = (0..ROWS).map(|_| next() as u16).collect();
    let systems: Vec<u32> = (0..ROWS).map(|_| (next() % 400_000) as u32).collect();
    let exporters: Vec<u64> = (0..ROWS).map(|_| next() % 1000).collect();
    let indices: Vec<u64> = (0..ROWS).map(|_| next() % 128).collect();
    let v4_of = |number: &u64| 0xffff_0a00_0000 + (number / 250) * 256 + number % 250;
    let v4: Vec<u64> = exporters.iter().map(v4_of).collect();
    let (zeros, v6) = (vec![0; ROWS], vec![0x2001_0db8_0000_0000; ROWS]);
    let runs: Vec<u64> = (0..ROWS).map(|row| indices[row / 16]).collect();
    group.sample_size(100);
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut codes = Vec::new();
    let mut measure = |name: &str, spec: &TableSpec, look: &dyn Fn(&Table, &mut Vec<u32>)| {
        let table = load(spec);
        group.bench_function(name, |b| {
            b.iter(|| {
                codes.clear();
                look(&table, &mut codes);
            });
        });
    };
    measure("lookup/port", &port_spec, &|table, codes| table.lookup_numbers(black_box(&ports), codes));
    measure("lookup/as", &system_spec, &|table, codes| table.lookup_numbers(black_box(&systems), codes));
    let interfaces = |lists: [&[u64]; 3], table: &Table, codes: &mut Vec<u32>| {
        let [hi, lo, number] = black_box(lists);
        table.lookup_addressed(hi, lo, number, codes);
    };
    measure("lookup/ipv4-and-number", &v4_spec, &|table, codes| interfaces([&zeros, &v4, &indices], table, codes));
    measure("lookup/ipv6-and-number", &v6_spec, &|table, codes| interfaces([&v6, &exporters, &indices], table, codes));
    let one = vec![v4[0]; ROWS];
    measure("lookup/ipv4-and-number, in runs of 16", &v4_spec, &|table, codes| {
        interfaces([&zeros, &one, &runs], table, codes)
    });
    group.finish();
}

fn keys(c: &mut Criterion) {
    let key = Key::load(&KeySpec::literal("a key that is long enough to be one")).expect("long enough");
    let mut group = c.benchmark_group("keys");
    group.throughput(Throughput::Elements(1));
    let mut addr = 0;
    for (name, hi, base) in [("ipv4", 0, 0xffff_0000_0000), ("ipv6", 1_u64 << 61, 0)] {
        group.bench_function(format!("prefix-preserving/{name}"), |b| {
            b.iter(|| {
                addr += 1;
                key.prefix_preserving(black_box(hi), base | addr & 0xffff_ffff)
            });
        });
    }
    group.bench_function("keyed-hash/ipv4", |b| {
        b.iter(|| {
            addr += 1;
            key.keyed_hash(0, 0xffff_0000_0000 | addr & 0xffff_ffff)
        });
    });
    group.finish();
}

/// The rows by protocol, of which there are 18.
const GROUP: &str = "(i32.const 126) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)";

/// A plugin that calls one kernel, and forgets what it says. It groups the rows first if that is what the kernel needs.
fn caller(kernel: &str, params: &str, call: &str) -> Vec<u8> {
    let first = if kernel.contains("group") && kernel != "group" {
        format!("(call $group {GROUP} (i32.const 400))")
    } else {
        String::new()
    };
    let text = format!(
        r#"(module
          (import "sluice:plugin/kernels@0.1.0" "group" (func $group (param i32 i32 i32 i32 i32 i32)))
          (import "sluice:plugin/kernels@0.1.0" "{kernel}" (func $kernel (param {params})))
          (memory (export "memory") 8)
          (global $free (mut i32) (i32.const 1024))
          (func (export "sluice:plugin/stage@0.1.0#init") (param i32 i32) (result i32) (i32.const 200))
          (func (export "sluice:plugin/stage@0.1.0#process") (result i32)
            (global.set $free (i32.const 1024))
            ;; Every other row, for kernels that take a bitmap.
            (memory.fill (i32.const 262144) (i32.const 0x55) (i32.const {bytes}))
            {first}
            (call $kernel {call} (i32.const 400))
            (i32.const 300))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
            (global.get $free)
            (global.set $free (i32.add (global.get $free) (local.get 3))))
          (data (i32.const 100) "caller0.1.0")
          ;; Columns 12, 13, 20, 29 and 31 are read, 128, 12 and 13 are written.
          (data (i32.const 120) "\0c\00\0d\00\14\00\1d\00\1f\00" "\80\00\0c\00\0d\00")
          (data (i32.const 200) "\00\00\00\00" "\64\00\00\00\06\00\00\00" "\6a\00\00\00\05\00\00\00"
            "\78\00\00\00\05\00\00\00" "\82\00\00\00\03\00\00\00")
          ;; proto == 6, dst_port == 443, bytes > 10000.
          (data (i32.const 800) "\1d\00\00\00\00\00\00\00" "\06\00\00\00\00\00\00\00"
            "\1f\00\00\00\00\00\00\00" "\bb\01\00\00\00\00\00\00"
            "\14\00\04\00\00\00\00\00" "\10\27\00\00\00\00\00\00")
          ;; Names of 18 routes, all "caller"; which of them each group has is all zeros.
          (data (i32.const 860) "{names}"))"#,
        names = r"\64\00\00\00\06\00\00\00".repeat(18),
        bytes = ROWS / 8,
    );
    let core = wat::parse_str(text).expect("good text");
    pack(&core, &Renames::default()).expect("a plugin")
}

/// Each kernel on a whole batch, with the call and the answer that cross.
fn kernels(c: &mut Criterion) {
    let host = Host::new(HostSettings::default(), Metrics::new()).expect("an engine");
    let mut flows = batch(ROWS);
    let numbers = 0..ROWS as u64;
    flows.set(col::PROTO, Column::U8(Arc::new(numbers.clone().map(|n| (n % 18) as u8).collect()))).expect("schema");
    flows.set(col::DST_PORT, Column::U16(Arc::new(numbers.clone().map(|n| n as u16).collect()))).expect("schema");
    flows.set(col::BYTES, Column::U64(Arc::new(numbers.map(|n| n * 37 % 20_011).collect()))).expect("schema");
    let bitmap = format!("(i32.const 262144) (i32.const {})", ROWS / 32);
    let compare = "i32 i32 i64 i32";
    let of_group = "i32 i32 i32 i32 i32 i32";
    let cases = [
        ("test/u8", "test", compare, "(i32.const 29) (i32.const 0) (i64.const 6)".to_owned()),
        ("test/u16", "test", compare, "(i32.const 31) (i32.const 0) (i64.const 443)".to_owned()),
        ("test/u64", "test", compare, "(i32.const 20) (i32.const 4) (i64.const 10000)".to_owned()),
        ("test-all/of 3", "test-all", "i32 i32 i32", "(i32.const 800) (i32.const 3)".to_owned()),
        ("test-in/u16 of 4", "test-in", "i32 i32 i32 i32", "(i32.const 31) (i32.const 1024) (i32.const 4)".to_owned()),
        ("test-prefix", "test-prefix", "i32 i32 i64 i64 i32 i32", {
            "(i32.const 12) (i32.const 13) (i64.const 0) (i64.const 0xffff0a000000) (i32.const 112)".to_owned()
        }),
        ("fill-u32", "fill-u32", "i32 i32 i32 i32 i32", format!("(i32.const 128) {bitmap} (i32.const 7)")),
        ("fill/u32", "fill", "i32 i32 i32 i64 i32", format!("(i32.const 128) {bitmap} (i64.const 7)")),
        ("truncate/families only", "truncate", "i32 i32 i32 i32 i32", {
            "(i32.const 12) (i32.const 13) (i32.const 32) (i32.const 128)".to_owned()
        }),
        ("truncate/24", "truncate", "i32 i32 i32 i32 i32", {
            "(i32.const 12) (i32.const 13) (i32.const 24) (i32.const 48)".to_owned()
        }),
        ("sum/u64", "sum", "i32 i32 i32 i32", format!("(i32.const 20) {bitmap}")),
        ("group/u8, 18 groups", "group", of_group, GROUP.to_owned()),
        ("group/u16, 4096 groups", "group", of_group, GROUP.replace("126", "128")),
        ("group/address, as many as rows", "group", of_group, GROUP.replace("126", "120").replacen(" 1)", " 2)", 1)),
        ("group and group-counts", "group-counts", "i32 i32 i32 i32", {
            "(i32.const 0) (i32.const 0) (i32.const 0)".to_owned()
        }),
        ("group and group-sums", "group-sums", "i32 i32 i32 i32 i32 i32 i32", {
            "(i32.const 20) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)".to_owned()
        }),
        ("group and route-groups", "route-groups", "i32 i32 i32 i32 i32", {
            "(i32.const 860) (i32.const 18) (i32.const 2000) (i32.const 18)".to_owned()
        }),
    ];
    let mut group = c.benchmark_group("kernels");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, kernel, params, call) in cases {
        let component: &'static [u8] = caller(kernel, params, &call).leak();
        let spec = StageSpec {
            name: "bench".to_owned(),
            component: ComponentSource::Embedded { name: "caller", bytes: component },
            trust: Trust::default(),
            config_json: "{}".to_owned(),
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
            services: Services::default(),
            schema: Arc::new(Schema::standard()),
        };
        let loaded = Loaded::load(&host, spec).expect("the caller loads");
        let mut stage = loaded.instance();
        group.bench_function(name, |b| {
            b.iter(|| stage.process(black_box(flows.clone())).out.expect("no failure"));
        });
    }
    group.finish();
}

criterion_group!(benches, boundary, kernels, tables, values, keys);
criterion_main!(benches);
