use sluice_flow::{col, table};

use super::*;

fn manifest(names: &[&str]) -> Manifest {
    let schema = Schema::standard();
    let reads = names.iter().flat_map(|name| schema.columns(name).unwrap()).collect();
    let (name, version) = ("p".to_owned(), "1".to_owned());
    Manifest { name, version, reads, writes: ColumnSet::EMPTY, stateful: false, tick_ms: Some(500) }
}

fn generator(seed: u64, names: &[&str]) -> Generator {
    let config = "{\"threshold\": 12345}";
    Generator::new(seed, &Arc::new(Schema::standard()), &manifest(names), true, config)
}

fn batches(steps: &[Step]) -> Vec<&Batch> {
    let batches = steps.iter().filter_map(|step| match step {
        Step::Batch(batch) => Some(batch),
        Step::Tick(_) => None,
    });
    batches.collect()
}

const NAMES: &[&str] = &["src_addr", "bytes", "proto", "dst_port", "src_as", "note", "mpls_labels"];

#[test]
fn the_same_seed_gives_the_same_batches() {
    let shown = |seed| {
        let steps = generator(seed, NAMES).sequence(30);
        batches(&steps).iter().map(|batch| table(batch, NAMES)).collect::<String>()
    };
    assert!(shown(1) == shown(1));
    assert!(shown(1) != shown(2));
}

#[test]
fn every_kind_of_batch_comes_up() {
    let steps = generator(1, NAMES).sequence(300);
    let batches = batches(&steps);
    for rows in [0, 1, 32, 33, 4096, 8192] {
        assert!(batches.iter().any(|batch| batch.rows() == rows), "{rows} rows");
    }
    let any = |what: &str, is_it: &dyn Fn(&Batch, usize) -> bool| {
        let found = batches.iter().any(|batch| (0..batch.rows().min(500)).any(|row| is_it(batch, row)));
        assert!(found, "{what}");
    };
    for number in [12_344, 12_345, 12_346, 1, u64::MAX, 1 << 32] {
        any(&format!("{number} bytes"), &|batch, row| batch.number(col::BYTES, row) == number);
    }
    any("IPv4", &|batch, row| batch.addr(col::SRC_ADDR_HI, row).is_some_and(|addr| addr.is_ipv4()));
    any("IPv6", &|batch, row| batch.addr(col::SRC_ADDR_HI, row).is_some_and(|addr| addr.is_ipv6()));
    any("no address", &|batch, row| batch.has(col::SRC_ADDR_HI) && batch.addr(col::SRC_ADDR_HI, row).is_none());
    any("a long text", &|batch, row| batch.text(col::NOTE, row).len() == 4096);
    any("a long list", &|batch, row| batch.list(col::MPLS_LABELS, row).len() == 2000);
    any("a column of no concern", &|batch, _| batch.columns().any(|(column, _)| column == col::VLAN_ID));
    assert!(batches.iter().any(|batch| batch.rows() > 0 && batch.columns().next().is_none()), "all columns absent");
    assert!(batches.iter().any(|batch| !batch.has(col::BYTES) && batch.has(col::PROTO)), "a column absent");
    let times: Vec<u64> = batches.iter().map(|batch| batch.now_ms()).collect();
    let steps_of_time = |is_it: fn(i64) -> bool| times.windows(2).any(|w| is_it(w[1] as i64 - w[0] as i64));
    assert!(steps_of_time(|ms| ms == 0) && steps_of_time(|ms| ms < 0) && steps_of_time(|ms| ms > 80_000_000));
    assert!(steps.iter().any(|step| matches!(step, Step::Tick(_))), "a tick");
}

#[test]
fn ordinary_traffic_has_every_column_that_is_read() {
    let schema = Arc::new(Schema::standard());
    let reads = manifest(&["src_addr", "bytes", "customer_id", "src_country", "as_path"]).reads;
    let made = ordinary_batches(&schema, reads, 1000, 2);
    assert_eq!(made.iter().map(Batch::rows).collect::<Vec<_>>(), [1000, 1000]);
    assert!(made.iter().all(|batch| reads.iter().all(|column| batch.has(column))));
}
