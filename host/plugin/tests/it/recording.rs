//! Recordings of calls: what is in them, that it is enough to make the call again, and that there are never too many.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_flow::{Batch, col};
use sluice_plugin::recording::{RecordSpec, Recorded, Recording};
use sluice_plugin::{Answer, SNAPSHOT_INTERVAL_MS, Trial};

use crate::{Bench, batch, batch_of};

/// A bench whose stage records into `recordings`.
fn bench(mode: &str, arg: u32, record: impl FnOnce(&mut RecordSpec)) -> Bench {
    let mut bench = Bench::new(mode, arg);
    let dir = bench.dir.path().join("recordings");
    let mut spec = RecordSpec { dir, max_files: 10, max_bytes: 1 << 20, every: 0 };
    record(&mut spec);
    bench.spec.record = Some(spec);
    bench
}

/// The recordings there are, by name.
fn files(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.dir.path().join("recordings")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn only(files: &[PathBuf]) -> Recording {
    let [file] = files else { panic!("one file: {files:?}") };
    Recording::read(file).unwrap()
}

fn counted(bench: &Bench) -> (f64, f64) {
    let value = |name: &str| bench.metric(&format!("sluice_stage_plugin_{name}_total{{stage=\"tag\"}}"));
    (value("recordings"), value("recordings_left_out"))
}

/// A batch of so many rows at a time.
fn at(rows: usize, id: u64, now_ms: u64) -> Batch {
    let mut batch = batch_of(&vec![("192.0.2.1", 7); rows]);
    batch.stamp(id, now_ms);
    batch
}

/// Rows of the batches in a recording.
fn rows(recording: &Recording) -> Vec<usize> {
    let rows = recording.calls.iter().map(|call| match call {
        Recorded::Process(batch) => batch.rows(),
        Recorded::Tick(_) => usize::MAX,
    });
    rows.collect()
}

/// Makes the calls again in a new instance of the same component; how the last one ended.
fn again(bench: &Bench, recording: &Recording) -> Answer {
    let mut trial = Trial::new(&bench.load()).unwrap();
    if let Some(snapshot) = &recording.snapshot {
        assert_eq!(trial.restore(snapshot.clone()), Ok(Ok(true)));
    }
    let mut answers = recording.calls.iter().map(|call| match call {
        Recorded::Process(batch) => trial.process(batch.clone()).answer,
        Recorded::Tick(now_ms) => trial.tick(*now_ms).answer,
    });
    let last = answers.len() - 1;
    let before: Vec<Answer> = answers.by_ref().take(last).collect();
    assert!(before.iter().all(|answer| matches!(answer, Answer::Done(_))), "{before:?}");
    answers.next().unwrap()
}

#[test]
fn a_trap_is_recorded_with_what_the_plugin_could_see() {
    let bench = bench("trap", 20, |_| {});
    bench.process(batch());
    let recording = only(&files(&bench));
    let about = &recording.about;
    assert_eq!((about.stage.as_str(), about.plugin.name.as_str()), ("tag", "guest"));
    assert_eq!(about.config, bench.spec.config_json);
    assert_eq!(about.ended.how, "trap");
    assert!(about.ended.backtrace.iter().any(|frame| frame.contains("guest::")), "{:#?}", about.ended);
    assert_eq!(about.plugin.file.as_deref(), Some(bench.path().as_path()));
    let [Recorded::Process(seen)] = recording.calls.as_slice() else { panic!("{:?}", recording.calls) };
    assert_eq!((seen.id(), seen.now_ms(), seen.rows()), (5, 1_700_000_000_123, 3));
    assert_eq!(seen.u64s(col::BYTES), batch().u64s(col::BYTES));
    match again(&bench, &recording) {
        Answer::Trapped(trap) => {
            assert_eq!((trap.text, trap.backtrace), (about.ended.text.clone(), about.ended.backtrace.clone()))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(counted(&bench), (1.0, 0.0));
}

#[test]
fn what_was_not_granted_is_not_recorded() {
    let mut bench = bench("trap", 20, |_| {});
    let sluice_plugin::Grant::Listed(granted) = &mut bench.spec.grant else { panic!("listed") };
    granted.read.remove(col::PROTO);
    bench.process(batch());
    let recording = only(&files(&bench));
    let [Recorded::Process(seen)] = recording.calls.as_slice() else { panic!("{:?}", recording.calls) };
    assert!(seen.has(col::BYTES) && !seen.has(col::PROTO), "proto is not for it to read");
    assert!(!recording.about.reads.contains(&"proto".to_owned()));
}

#[test]
fn the_same_trap_is_recorded_once_however_often_it_comes() {
    let bench = bench("trap", 20, |_| {});
    let loaded = bench.load();
    let mut stage = loaded.instance();
    (0..5).for_each(|_| drop(stage.process(batch())));
    assert_eq!(files(&bench).len(), 1);
    assert_eq!(counted(&bench), (1.0, 4.0));
    // Whoever took it away wants another.
    fs::remove_file(&files(&bench)[0]).unwrap();
    stage.process(batch());
    assert_eq!(files(&bench).len(), 1);
}

#[test]
fn a_plugin_with_state_is_brought_to_where_it_was() {
    // Traps when it has seen 20 rows, over all batches.
    let mut bench = bench("count-to", 20, |_| {});
    bench.spec.failure.bisect = false;
    let mut stage = bench.load().instance();
    let start = 1_700_000_000_000;
    stage.process(at(5, 1, start));
    stage.process(at(3, 2, start + 1));
    stage.process(at(12, 3, start + 2));
    let recording = only(&files(&bench));
    assert_eq!((rows(&recording), recording.snapshot.is_some()), (vec![5, 3, 12], false));
    assert!(matches!(again(&bench, &recording), Answer::Trapped(_)));

    // And from a snapshot, which takes the place of the calls before it.
    fs::remove_file(&files(&bench)[0]).unwrap();
    stage.process(at(5, 4, start + 3));
    stage.process(at(6, 5, start + 2 * SNAPSHOT_INTERVAL_MS));
    stage.process(at(1, 6, start + 2 * SNAPSHOT_INTERVAL_MS + 1));
    stage.process(at(9, 7, start + 2 * SNAPSHOT_INTERVAL_MS + 2));
    let recording = only(&files(&bench));
    assert_eq!((rows(&recording), recording.snapshot.as_deref()), (vec![1, 9], Some(&11_u64.to_le_bytes()[..])));
    assert_eq!(recording.about.calls_left_out, 0);
    assert!(matches!(again(&bench, &recording), Answer::Trapped(_)));
}

#[test]
fn there_are_never_more_files_or_bytes_than_allowed_and_the_newest_stay() {
    let bench = bench("count", 0, |record| (record.every, record.max_files) = (2, 3));
    let mut stage = bench.load().instance();
    (1..=20).for_each(|id| drop(stage.process(at(2, id, 1_700_000_000_000 + id))));
    let ids: Vec<u64> = files(&bench).iter().map(|file| last_id(file)).collect();
    assert_eq!(ids, [16, 18, 20]);
    assert_eq!(counted(&bench), (10.0, 0.0));
    let recording = Recording::read(&files(&bench)[2]).unwrap();
    assert_eq!((recording.about.ended.how.as_str(), recording.about.ended.rows_kept), ("done", Some(2)));
    assert!(matches!(again(&bench, &recording), Answer::Done(_)));

    let bytes: u64 = files(&bench).iter().map(|file| file.metadata().unwrap().len()).sum();
    let small = self::bench("boundary", 0, |record| (record.every, record.max_bytes) = (1, bytes / 2));
    let mut stage = small.load().instance();
    (1..=20).for_each(|id| drop(stage.process(at(2, id, 1_700_000_000_000 + id))));
    let there: u64 = files(&small).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(there > 0 && there <= bytes / 2, "{there} of {bytes}");
    assert_eq!(last_id(files(&small).last().unwrap()), 20);
}

fn last_id(file: &Path) -> u64 {
    match Recording::read(file).unwrap().calls.last() {
        Some(Recorded::Process(batch)) => batch.id(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_written_is_counted_and_costs_nothing_else() {
    let bench = bench("trap", 20, |record| record.max_bytes = 10);
    bench.process(batch());
    assert_eq!((files(&bench).len(), counted(&bench)), (0, (0.0, 1.0)));

    let bench = self::bench("trap", 20, |record| record.dir = PathBuf::from("/proc/nowhere"));
    assert_eq!(bench.process(batch()).dropped, [("trap", 1)]);
    assert_eq!(counted(&bench), (0.0, 1.0));
}

#[test]
fn a_table_of_values_is_recorded_as_one_and_older_recordings_say_prefix_or_mmdb() {
    let mut bench = bench("tables", 0, |record| record.every = 1);
    let table = bench.dir.path().join("values.csv");
    fs::write(&table, "192.0.2.1,one\n").unwrap();
    let spec = sluice_plugin::tables::TableSpec::values(table);
    bench.spec.services.tables = sluice_plugin::tables::Tables::load([("customers".to_owned(), spec)]).unwrap().into();
    bench.process(batch());
    let recording = Recording::read(&files(&bench).pop().unwrap()).unwrap();
    assert_eq!(recording.tables, [("customers".to_owned(), b"192.0.2.1,one\n".to_vec())]);
    let used = &recording.about.tables[0];
    let spec = |used: &sluice_plugin::recording::TableUsed| used.spec("t".into()).map(|spec| spec.kind());
    assert_eq!(spec(used), Ok("values"));
    let older = |field: Option<&str>| {
        let field = field.map(str::to_owned);
        sluice_plugin::recording::TableUsed { kind: None, field, ..used.clone() }
    };
    assert_eq!((spec(&older(None)), spec(&older(Some("asn")))), (Ok("prefix"), Ok("mmdb")));
    let newer = sluice_plugin::recording::TableUsed { kind: Some("graph".into()), ..used.clone() };
    let problem = "table `customers` is of the type `graph`, which this sluice does not know";
    assert_eq!(spec(&newer), Err(problem.to_owned()));
    let mut json = serde_json::to_value(used).unwrap();
    json.as_object_mut().unwrap().remove("type");
    assert_eq!(serde_json::from_value::<sluice_plugin::recording::TableUsed>(json).unwrap(), older(None));
}

#[test]
fn tables_and_assets_that_were_used_are_enclosed_and_keys_are_not() {
    let mut bench = bench("tables", 0, |record| record.every = 1);
    let (table, names) = (bench.dir.path().join("customers.csv"), std::sync::Arc::new(b"a,b".to_vec()));
    fs::write(&table, "192.0.2.0/24,seven\n").unwrap();
    let spec = sluice_plugin::tables::TableSpec::prefix(table);
    let tables = sluice_plugin::tables::Tables::load([("customers".to_owned(), spec)]).unwrap();
    let secret = sluice_plugin::keys::KeySpec::literal("5e".repeat(32));
    let keys = sluice_plugin::keys::Keys::load([("secret".to_owned(), secret)]).unwrap();
    bench.spec.services.tables = tables.into();
    bench.spec.services.keys = keys.into();
    bench.spec.services.assets = std::sync::Arc::new([("names".to_owned(), names)].into());
    for mode in ["tables", "assets", "keys"] {
        bench.spec.config_json = format!("{{\"mode\":\"{mode}\",\"arg\":0}}");
        fs::remove_dir_all(bench.dir.path().join("recordings")).unwrap_or_default();
        bench.process(batch());
        let file = files(&bench).pop().unwrap();
        let recording = Recording::read(&file).unwrap();
        match mode {
            "tables" => {
                assert_eq!(recording.tables, [("customers".to_owned(), b"192.0.2.0/24,seven\n".to_vec())]);
                assert!(recording.about.tables[0].enclosed && recording.assets.is_empty());
            }
            "assets" => assert_eq!(recording.assets, [("names".to_owned(), b"a,b".to_vec())]),
            _ => {
                assert_eq!(recording.about.keys, ["secret"]);
                let bytes = fs::read(&file).unwrap();
                let is_there = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
                assert!(!is_there(&[0x5e; 32]) && !is_there("5e".repeat(32).as_bytes()), "the key");
            }
        }
    }
}
