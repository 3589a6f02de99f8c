//! An instance for each partition, and what becomes of its state.

use std::sync::Arc;

use sluice_flow::{Partition, col};
use sluice_pipeline::Stage;

use crate::{Bench, batch};

fn partition(name: &str) -> Arc<Partition> {
    Arc::new(Partition::new(name.to_owned()))
}

/// Number that the plugin, which counts rows, gives to the first of three more of a partition.
fn next(stage: &mut Box<dyn Stage>, partition: Option<&Arc<Partition>>) -> u64 {
    let mut batch = batch();
    batch.set_partition(partition.cloned());
    stage.process(batch).out.expect("rows come out").number(col::CUSTOMER_ID, 0)
}

#[test]
fn each_partition_has_a_state_of_its_own_that_goes_where_it_goes() {
    let mut bench = Bench::new("count", 0);
    bench.spec.state = Some(bench.dir.path().join("not/there/yet"));
    let (here, there) = (bench.load(), bench.load());
    let (mut here, mut there) = (here.instance_per_partition(), there.instance_per_partition());
    let (a, b) = (partition("flows-0"), partition("flows-1"));
    assert_eq!((next(&mut here, Some(&a)), next(&mut here, Some(&a))), (1, 4));
    assert_eq!((next(&mut here, Some(&b)), next(&mut here, None)), (1, 1));
    // It goes: what was learned is there when the end has been told.
    a.end(true);
    let a_there = partition("flows-0");
    assert_eq!(next(&mut there, Some(&a_there)), 7);
    // A late batch is no part of it, and disturbs nothing.
    assert_eq!(next(&mut here, Some(&a)), 4);
    assert_eq!(next(&mut there, Some(&a_there)), 10);
    a_there.end(true);
    // And comes back.
    assert_eq!(next(&mut here, Some(&partition("flows-0"))), 13);
    assert_eq!(next(&mut here, Some(&b)), 4);
}

#[test]
fn what_somebody_else_has_already_is_not_written_over() {
    let mut bench = Bench::new("count", 0);
    bench.spec.state = Some(bench.dir.path().to_owned());
    let loaded = bench.load();
    let mut stage = loaded.instance_per_partition();
    let first = partition("flows-0");
    assert_eq!(next(&mut stage, Some(&first)), 1);
    first.end(true);
    let lost = partition("flows-0");
    assert_eq!((next(&mut stage, Some(&lost)), next(&mut stage, Some(&lost))), (4, 7));
    lost.end(false);
    assert_eq!(next(&mut stage, Some(&partition("flows-0"))), 4);
}

#[test]
fn the_end_of_the_stage_keeps_the_state_of_all() {
    let mut bench = Bench::new("count", 0);
    bench.spec.state = Some(bench.dir.path().to_owned());
    let loaded = bench.load();
    let mut stage = loaded.instance_per_partition();
    assert_eq!(next(&mut stage, Some(&partition("flows-0"))), 1);
    assert_eq!(next(&mut stage, Some(&partition("flows-1"))), 1);
    drop(stage);
    let mut stage = loaded.instance_per_partition();
    assert_eq!(next(&mut stage, Some(&partition("flows-1"))), 4);
    assert_eq!(next(&mut stage, Some(&partition("flows-0"))), 4);
}
