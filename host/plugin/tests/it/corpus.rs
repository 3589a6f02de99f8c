//! Components of every language that were built for this version of the contract some time ago.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_flow::{Batch, Column, Pool, Schema, col};
use sluice_plugin::{Answer, ComponentSource, Grant, Trial};

use crate::Bench;

/// TCP and UDP, to ports 443 and 80, small and large.
fn flows() -> Batch {
    let rows: [(u8, u16, u64); 5] =
        [(6, 443, 20_000), (17, 443, 20_000), (6, 80, 20_000), (6, 443, 10_000), (6, 443, 1 << 40)];
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows.len());
    batch.set(col::PROTO, Column::U8(Arc::new(rows.map(|row| row.0).to_vec()))).unwrap();
    batch.set(col::DST_PORT, Column::U16(Arc::new(rows.map(|row| row.1).to_vec()))).unwrap();
    batch.set(col::BYTES, Column::U64(Arc::new(rows.map(|row| row.2).to_vec()))).unwrap();
    batch.stamp(1, 1_700_000_000_000);
    batch
}

/// The component in a file, which may be packed by xz: then in a file in `folder`.
fn unpack(path: PathBuf, folder: &Path) -> PathBuf {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return path;
    }
    let unpacked = folder.join(path.file_stem().unwrap());
    let mut from = BufReader::new(File::open(&path).unwrap());
    lzma_rs::xz_decompress(&mut from, &mut BufWriter::new(File::create(&unpacked).unwrap())).unwrap();
    unpacked
}

#[test]
fn what_was_built_for_this_contract_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/0.1.0");
    let unpacked = tempfile::tempdir().unwrap();
    let component = |entry: io::Result<fs::DirEntry>| unpack(entry.unwrap().path(), unpacked.path());
    let mut components: Vec<_> = fs::read_dir(folder).unwrap().map(component).collect();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    components.sort_by_key(name);
    let names: Vec<_> = components.iter().map(name).collect();
    assert_eq!(names, ["assemblyscript", "c", "go", "js", "python", "rust", "zig"]);
    for path in &components {
        let mut bench = Bench::new("", 0);
        bench.spec.component = ComponentSource::File { path: path.clone(), sha256: None };
        bench.spec.config_json = "{\"customer_id\": 7}".to_owned();
        bench.spec.grant = Grant::Requested;
        let loaded = bench.load();
        let manifest = loaded.manifest();
        assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("tenant-filter", "0.1.0"), "{path:?}");
        let mut trial = Trial::new(&loaded).unwrap();
        // More than once: what is wrong with memory shows in the second call.
        for call in 1..=3 {
            let Answer::Done(Some((batch, dropped))) = trial.process(flows()).answer else { panic!("{path:?}") };
            assert_eq!((batch.u64s(col::BYTES).unwrap(), dropped), (&[20_000, 1 << 40][..], 3), "{path:?}");
            assert_eq!(batch.u32s(col::CUSTOMER_ID).unwrap(), [7, 7], "{path:?}");
            assert_eq!(trial.metrics()["kept"], f64::from(2 * call), "{path:?}");
        }
        // A refusal is an answer, not a trap.
        bench.spec.config_json = "{\"customer\": 7}".to_owned();
        let error = bench.error();
        assert!(error.contains("unknown key `customer`, expected `customer_id` or `min_bytes`"), "{path:?}: {error}");
    }
}
