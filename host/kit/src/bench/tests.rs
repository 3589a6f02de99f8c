use sluice_flow::{Schema, col};
use sluice_pipeline::Metrics;
use sluice_plugin::{Grant, HostSettings, Limits, OnError};

use super::*;

fn hosts() -> Hosts {
    let host = |fuel| Host::new(HostSettings { cache_dir: None, fuel }, Metrics::new()).unwrap();
    Hosts { plain: host(false), counting: host(true) }
}

fn spec(config: &str) -> StageSpec {
    StageSpec {
        name: "bench".to_owned(),
        component: copy::component(),
        config_json: config.to_owned(),
        grant: Grant::Requested,
        on_error: OnError::Drop,
        limits: Limits::default(),
        is_private: false,
        state: None,
        record: None,
        services: Services::default(),
        schema: Arc::new(Schema::standard()),
    }
}

fn settings(rows: &[usize]) -> BenchSettings {
    BenchSettings { rows: rows.to_vec(), samples: 3, sample_time: Duration::from_micros(1) }
}

/// The configuration of the plugin that copies: reads these, writes these.
fn copies(read: &[u16], written: &[u16]) -> String {
    let set = |columns: &[u16]| columns.iter().copied().collect();
    let touched = Touched { read: set(read), written: set(written), refused: ColumnSet::EMPTY };
    copy::config(&touched, &Schema::standard())
}

#[test]
fn what_copies_touches_what_it_was_told_to_and_every_width_crosses() {
    // One of each width, and text and lists that no exporter sends.
    let read = [col::PROTO, col::DST_PORT, col::SRC_AS, col::BYTES, col::NOTE, col::AS_PATH];
    let written = [col::TTL, col::VLAN_ID, col::CUSTOMER_ID, col::PACKETS, col::SRC_COUNTRY, col::MPLS_LABELS];
    let measured = bench(&hosts(), &[spec(&copies(&read, &written))], &settings(&[1, 70_000]), &mut |_| {}).unwrap();
    let plugin = &measured.plugins[0];
    assert_eq!((plugin.manifest.name.as_str(), plugin.refused), ("copy", 0));
    assert_eq!(plugin.touched.read, read.into_iter().collect());
    assert_eq!(plugin.touched.written, written.into_iter().collect());
    assert!(plugin.memory_at_end >= plugin.memory_at_start && plugin.memory_at_start > 0);
    for point in &measured.points {
        let cost = &point.plugins[0];
        assert!(cost.bytes > 1.0 + 2.0 + 4.0 + 8.0 && cost.fuel.unwrap() > 0.0, "{cost:?}");
        assert!(cost.ns.min > 0.0 && cost.ns.min <= cost.ns.median, "{cost:?}");
        assert!((0.0..=1.0).contains(&cost.copy_share(&point.empty)));
        assert_eq!(point.ratio, None);
    }
}

#[test]
fn two_are_measured_side_by_side_and_fuel_is_the_same_each_time() {
    let (few, many) = (copies(&[col::BYTES], &[]), copies(&[col::BYTES, col::PACKETS, col::SRC_AS], &[col::CUSTOMER_ID]));
    let measure = |specs: &[StageSpec]| bench(&hosts(), specs, &settings(&[100]), &mut |_| {}).unwrap();
    let (first, again) = (measure(&[spec(&few), spec(&many)]), measure(&[spec(&few), spec(&many)]));
    let fuel = |measured: &Measured| {
        measured.points[0].plugins.iter().map(|cost| cost.fuel_total.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(fuel(&first), fuel(&again));
    assert!(fuel(&first)[1] > fuel(&first)[0]);
    assert!(first.points[0].fuel_ratio.unwrap() > 1.0 && first.points[0].ratio.is_some());
    let same = measure(&[spec(&few), spec(&few)]);
    assert_eq!(same.points[0].fuel_ratio, Some(1.0));
}

#[test]
fn a_batch_of_no_rows_is_measured_too() {
    let measured = bench(&hosts(), &[spec("")], &settings(&[0]), &mut |_| {}).unwrap();
    assert!(measured.points[0].plugins[0].ns.median.is_finite());
}
