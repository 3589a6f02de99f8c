use proptest::prelude::*;
use sluice_flow::{Batch, Column, Lists, Pool, Texts, col};

use super::super::{CustomColumn, Ended, GrantedNames, PluginId};
use super::*;
use crate::limits::Limits;

fn about() -> About {
    About {
        written_by: "sluice 0".to_owned(),
        wit: "sluice:plugin@0.1.0".to_owned(),
        stage: "tag".to_owned(),
        private: false,
        plugin: PluginId {
            name: "p".to_owned(),
            version: "1".to_owned(),
            sha256: "00".repeat(32),
            file: None,
            built_in: None,
        },
        config: "{}".to_owned(),
        grant: Some(GrantedNames { read: vec!["bytes".to_owned()], ..GrantedNames::default() }),
        reads: vec!["bytes".to_owned()],
        limits: Limits::default(),
        columns: vec![CustomColumn { name: "mine".to_owned(), width: "text".to_owned() }],
        tables: Vec::new(),
        assets: Vec::new(),
        keys: vec!["k".to_owned()],
        calls_left_out: 3,
        ended: Ended { how: "trap".to_owned(), text: "unreachable".to_owned(), ..Ended::default() },
    }
}

fn recording() -> Recording {
    let schema = Arc::new(about().schema().unwrap());
    let mut batch = Batch::new(Arc::clone(&schema), Pool::default(), 3);
    batch.stamp(7, 1_700_000_000_123);
    batch.set(col::BYTES, Column::U64(Arc::new(vec![1, 2, u64::MAX]))).unwrap();
    batch.set(col::PROTO, Column::U8(Arc::new(vec![6; 3]))).unwrap();
    batch.set(col::DST_PORT, Column::U16(Arc::new(vec![443, 80, 0]))).unwrap();
    batch.set(col::SRC_AS, Column::U32(Arc::new(vec![64496; 3]))).unwrap();
    let words = vec!["".into(), "wörld".into()];
    let mine = schema.column("mine").unwrap();
    batch.set(mine, Column::Text(Arc::new(Texts { words, codes: vec![1, 0, 1] }))).unwrap();
    let lists = Lists { offsets: vec![0, 2, 2, 3], values: vec![16, 17, 18] };
    batch.set(col::MPLS_LABELS, Column::Lists(Arc::new(lists))).unwrap();
    Recording {
        about: about(),
        snapshot: Some(vec![1, 2, 3]),
        calls: vec![
            Recorded::Tick(5),
            Recorded::Process(Batch::new(schema, Pool::default(), 0)),
            Recorded::Process(batch),
        ],
        tables: vec![("t".to_owned(), b"192.0.2.0/24,1\n".to_vec())],
        assets: vec![("a".to_owned(), Vec::new())],
    }
}

fn written() -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(recording().write(&mut bytes).unwrap(), bytes.len() as u64);
    bytes
}

/// The bytes with a checksum that fits them, as a stranger would write it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let done = bytes.len() - 44;
    let digest = Sha256::digest(&bytes[..done]);
    bytes[done + 12..].copy_from_slice(&digest);
    bytes
}

#[test]
fn what_was_written_is_read() {
    let read = parse(&written()).unwrap();
    assert_eq!(read.about, about());
    // Batches have no equality; their bytes do.
    let mut again = Vec::new();
    read.write(&mut again).unwrap();
    assert!(again == written());
    let Some(Recorded::Process(batch)) = read.calls.last() else { panic!("a batch") };
    assert_eq!((batch.id(), batch.now_ms(), batch.rows()), (7, 1_700_000_000_123, 3));
    assert_eq!(batch.u64s(col::BYTES), Some(&[1, 2, u64::MAX][..]));
    assert_eq!(batch.text(batch.schema().column("mine").unwrap(), 2), "wörld");
    assert_eq!(batch.list(col::MPLS_LABELS, 0), [16, 17]);
}

#[test]
fn a_column_of_equal_rows_takes_one_value() {
    let rows = 10_000;
    let size = |values: Vec<u64>| {
        let mut one = recording();
        let mut batch = Batch::new(Arc::new(about().schema().unwrap()), Pool::default(), rows);
        batch.set(col::BYTES, Column::U64(Arc::new(values))).unwrap();
        one.calls = vec![Recorded::Process(batch)];
        one.write(&mut Vec::new()).unwrap()
    };
    assert_eq!(size((0..rows as u64).collect()) - size(vec![5; rows]), (rows as u64 - 1) * 8);
}

#[test]
fn a_file_that_was_cut_off_says_so_wherever_it_was() {
    let bytes = written();
    for length in MAGIC.len()..bytes.len() {
        assert!(matches!(parse(&bytes[..length]), Err(Wrong::CutOff)), "{length} bytes");
    }
    for length in 0..MAGIC.len() {
        assert!(matches!(parse(&bytes[..length]), Err(Wrong::Foreign)), "{length} bytes");
    }
}

#[test]
fn a_file_of_another_version_or_kind_says_so() {
    assert!(matches!(parse(b"sluice recording 27\nwhatever"), Err(Wrong::OtherVersion(found)) if found == "27"));
    assert!(matches!(parse(b"sluice recording x\x1b[2J\n"), Err(Wrong::Foreign)));
    assert!(matches!(parse(b"sluice state 1\n"), Err(Wrong::Foreign)));
    assert!(matches!(parse(b""), Err(Wrong::Foreign)));
}

#[test]
fn more_is_promised_than_is_there_and_nothing_is_allocated_for_it() {
    let schema = Arc::new(Schema::standard());
    let refused = |part: &[u8], room: usize| {
        let mut room = room;
        batch::take(&mut Take { rest: part, room: &mut room }, &schema).unwrap_err()
    };
    let head = |rows: u32, columns: u16| {
        let mut part = vec![0; 16];
        part.put_u32(rows);
        part.put_u16(columns);
        part
    };
    assert!(refused(&head(u32::MAX, 0), MAX_EXPANDED).contains("rows"));
    assert!(refused(&head(1, 1), MAX_EXPANDED).contains("ends early"));
    // Twelve bytes that stand for 8 MiB, more often than there is room for.
    let mut part = head(1 << 20, 1000);
    for _ in 0..1000 {
        part.extend([col::BYTES as u8, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert!(refused(&part, 64 << 20).contains("more than it may"));
    // A text column that says it has 4 billion words.
    let mut part = head(1, 1);
    part.extend([137, 0, 4, 0xff, 0xff, 0xff, 0xff]);
    assert!(refused(&part, MAX_EXPANDED).contains("words"));
}

proptest! {
    #[test]
    fn a_changed_byte_is_found(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = written();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn strangers_bytes_are_read_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = written();
        let length = bytes.len() - 44;
        for (at, value) in changes {
            bytes[at.index(length)] = value;
        }
        // Whatever it says: no panic, and what is read can be written.
        if let Ok(read) = parse(&sealed(bytes)) {
            read.write(&mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let all = [MAGIC, VERSION, &bytes].concat();
        prop_assert!(parse(&all).is_err());
    }
}
