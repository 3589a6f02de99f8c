mod crash;
mod disk;
mod power;

use std::os::unix::fs::MetadataExt;
use std::sync::Barrier;
use std::thread;

use expect_test::expect;
use tempfile::TempDir;

use super::*;

/// Numbers without order, the same in every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    /// One of `0..end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue");
    (folder, path)
}

fn push(queue: &DiskQueue, texts: &[&str]) -> Result<(), PushError> {
    let entries: Vec<_> = texts.iter().map(|text| Entry { rows: 10, bytes: text.as_bytes() }).collect();
    queue.push(&entries)
}

/// The entries as text, then what the queue says about itself.
fn shown(queue: &DiskQueue) -> String {
    let entries = queue.peek(None, usize::MAX).unwrap();
    let texts = entries.iter().map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned());
    let texts = texts.collect::<Vec<_>>().join(" ");
    format!("[{texts}] {} entries, {} rows, {} bytes\n", queue.len(), queue.rows(), queue.bytes())
}

/// Bytes of the disk that a file takes.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn entries_come_in_order_and_stay_until_they_are_removed() {
    let (_folder, path) = folder();
    let queue = DiskQueue::open(&path, 1 << 20).unwrap();
    let mut story = shown(&queue);
    push(&queue, &["a", "b"]).unwrap();
    push(&queue, &["c", "", "e"]).unwrap();
    story += &shown(&queue);
    let first = queue.peek(None, 2).unwrap();
    let second = queue.peek(Some(first[1].seq), 2).unwrap();
    assert_eq!((&first[0].bytes[..], &first[1].bytes[..], &second[0].bytes[..]), (&b"a"[..], &b"b"[..], &b"c"[..]));
    assert!(first[0].seq < first[1].seq && first[1].seq < second[0].seq);
    queue.remove_through(first[1].seq).unwrap();
    story += &shown(&queue);
    // Again, which changes nothing, and with entries that went by then.
    queue.remove_through(first[0].seq).unwrap();
    assert!(queue.peek(Some(second[1].seq), 9).unwrap().len() == 1 && queue.peek(None, 0).unwrap().is_empty());
    drop(queue);
    let queue = DiskQueue::open(&path, 1 << 20).unwrap();
    story += &shown(&queue);
    push(&queue, &["f"]).unwrap();
    assert!(queue.peek(Some(second[1].seq), 9).unwrap()[1].seq > second[1].seq);
    story += &shown(&queue);
    expect![[r#"
        [] 0 entries, 0 rows, 0 bytes
        [a b c  e] 5 entries, 50 rows, 20480 bytes
        [c  e] 3 entries, 30 rows, 12288 bytes
        [c  e] 3 entries, 30 rows, 12288 bytes
        [c  e f] 4 entries, 40 rows, 16384 bytes
    "#]]
    .assert_eq(&story);
}

#[test]
fn places_go_on_growing_in_a_queue_that_was_empty() {
    let (_folder, path) = folder();
    let queue = DiskQueue::open(&path, 1 << 20).unwrap();
    push(&queue, &["a", "b"]).unwrap();
    let last = queue.peek(None, 2).unwrap()[1].seq;
    queue.remove_through(last).unwrap();
    drop(queue);
    let queue = DiskQueue::open(&path, 1 << 20).unwrap();
    push(&queue, &["c"]).unwrap();
    assert!(queue.peek(Some(last), 1).unwrap()[0].seq > last);
}

#[test]
fn an_entry_of_any_length_comes_back_as_it_was_and_fills_its_pages() {
    let (_folder, path) = folder();
    let queue = DiskQueue::open(&path, 64 << 20).unwrap();
    let lengths = [0, 1, 4075, 4076, 4077, 8171, 8172, 8173, 12_000, 65_515, 65_516, 65_517, 131_072, 1_000_003];
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8).collect();
    let entries = lengths.map(|length| Entry { rows: 1, bytes: &bytes[..length] });
    queue.push(&entries).unwrap();
    let found = queue.peek(None, usize::MAX).unwrap();
    assert_eq!(found.len(), lengths.len());
    for (found, pushed) in found.iter().zip(&entries) {
        assert!(found.bytes == pushed.bytes, "of {} bytes", pushed.bytes.len());
    }
    let pages: Vec<_> = lengths.iter().map(|length| format!("{length}:{}", bytes_on_disk(*length) / 4096)).collect();
    expect![
        "0:1 1:1 4075:1 4076:1 4077:2 8171:2 8172:2 8173:3 12000:3 65515:16 65516:16 65517:17 131072:33 1000003:245"
    ]
    .assert_eq(&pages.join(" "));
}

#[test]
fn a_full_queue_takes_all_or_nothing_and_more_when_there_is_room() {
    let (_folder, path) = folder();
    let queue = DiskQueue::open(&path, 3 * 4096).unwrap();
    push(&queue, &["a", "b"]).unwrap();
    let full = push(&queue, &["c", "d"]).unwrap_err();
    assert_eq!(full.to_string(), "the queue holds 8192 of 12288 bytes and has no room for 8192");
    assert!(matches!(full, PushError::Full { .. }));
    let too_large = push(&queue, &["c", "d", "e", "f"]).unwrap_err();
    assert_eq!(too_large.to_string(), "16384 bytes are more than the 12288 of the whole queue");
    push(&queue, &["c"]).unwrap();
    assert_eq!(shown(&queue), "[a b c] 3 entries, 30 rows, 12288 bytes\n");
    queue.remove_through(queue.peek(None, 2).unwrap()[1].seq).unwrap();
    push(&queue, &["d", "e"]).unwrap();
    assert_eq!(shown(&queue), "[c d e] 3 entries, 30 rows, 12288 bytes\n");
    drop(queue);
    // With a lower bound than there is in it.
    let queue = DiskQueue::open(&path, 2 * 4096).unwrap();
    assert!(matches!(push(&queue, &["f"]), Err(PushError::Full { .. })));
    assert_eq!(shown(&queue), "[c d e] 3 entries, 30 rows, 12288 bytes\n");
}

fn refused(make: impl FnOnce(&Path), expected: &str) {
    let (folder, path) = folder();
    make(&path);
    let before = fs::read(&path).ok();
    let error = DiskQueue::open(&path, 1 << 20).unwrap_err();
    assert_eq!(error.to_string().replace(&folder.path().display().to_string(), "FOLDER"), expected);
    assert!(fs::read(&path).ok() == before, "the file was changed");
}

#[test]
fn a_file_that_is_no_queue_is_left_alone() {
    let no_queue = "FOLDER/queue is not a queue of sluice: name another file, or move this one away";
    refused(|path| fs::write(path, "1;2;3\n".repeat(10_000)).unwrap(), no_queue);
    refused(|path| fs::write(path, "").unwrap(), no_queue);
    let other = |path: &Path| {
        let database = Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = redb::TableDefinition::<u64, u64>::new("other");
        transaction.open_table(table).unwrap().insert(1, 1).unwrap();
        transaction.commit().unwrap();
    };
    let (_folder, path) = folder();
    other(&path);
    let error = DiskQueue::open(&path, 1 << 20).unwrap_err();
    assert!(matches!(error, DiskQueueError::NotAQueue { .. }), "{error}");
    refused(|path| fs::create_dir(path).unwrap(), "FOLDER/queue cannot be opened");
    let error = DiskQueue::open(Path::new("/no/such/folder/queue"), 1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "/no/such/folder/queue.new cannot be made");
}

#[test]
fn a_queue_of_another_format_is_refused_with_the_way_out() {
    let (_folder, path) = folder();
    drop(DiskQueue::open(&path, 1 << 20).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("sluice.queue");
    transaction.open_table(table).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = DiskQueue::open(&path, 1 << 20).unwrap_err().to_string();
    let expected = "queue has format 2, this version of sluice reads format 1: let the version that wrote it empty it, \
                    or move it away";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn what_a_crash_left_while_the_file_was_made_does_no_harm() {
    let (folder, path) = folder();
    fs::write(folder.path().join("queue.new"), "redb").unwrap();
    let queue = DiskQueue::open(&path, 1 << 20).unwrap();
    push(&queue, &["a"]).unwrap();
    assert!(!folder.path().join("queue.new").exists());
}

/// A queue that is full most of the time, with entries of any length: none of the counts drifts, and the
/// file stays within what its comment says.
#[test]
fn a_long_run_stays_within_the_bound() {
    const MAX_BYTES: u64 = 16 << 20;
    const LARGEST: u64 = 500_000;
    let (_folder, path) = folder();
    let queue = DiskQueue::open(&path, MAX_BYTES).unwrap();
    let bytes: Vec<u8> = (0..LARGEST).map(|at| (at % 241) as u8).collect();
    let (mut random, mut lengths, mut first) = (Random(7), Vec::new(), 0);
    let (mut pushed, mut most_taken) = (0, 0);
    while pushed < 5 * MAX_BYTES {
        let length = random.below(LARGEST) as usize;
        match queue.push(&[Entry { rows: length as u32, bytes: &bytes[..length] }]) {
            Ok(()) => {
                lengths.push(length);
                pushed += length as u64;
            }
            Err(PushError::Full { .. }) => {
                let found = queue.peek(None, 1 + random.below(9) as usize).unwrap();
                for entry in &found {
                    assert!(entry.bytes == bytes[..lengths[first]] && entry.rows as usize == lengths[first]);
                    first += 1;
                }
                queue.remove_through(found.last().unwrap().seq).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        most_taken = most_taken.max(taken(&path));
        let held = &lengths[first..];
        assert_eq!(queue.len(), held.len() as u64);
        assert_eq!(queue.rows(), held.iter().sum::<usize>() as u64);
        assert_eq!(queue.bytes(), held.iter().map(|length| bytes_on_disk(*length)).sum::<u64>());
    }
    assert!(lengths.len() > 250 && first > 200, "{} entries pushed, {first} removed", lengths.len());
    let bound = MAX_BYTES + MAX_BYTES / 100 + 2 * LARGEST + OVERHEAD_BYTES;
    assert!(most_taken <= bound, "took {most_taken} bytes, more than {bound}");
    // And gives it back.
    queue.remove_through(queue.peek(None, usize::MAX).unwrap().last().unwrap().seq).unwrap();
    assert_eq!((queue.len(), queue.rows(), queue.bytes()), (0, 0, 0));
    assert!(taken(&path) <= LARGE_BYTES, "keeps {} bytes", taken(&path));
}

#[test]
fn a_reader_and_two_writers_share_a_queue() {
    const EACH: u64 = 100;
    let (_folder, path) = folder();
    let queue = DiskQueue::open(&path, 64 << 20).unwrap();
    let start = Barrier::new(3);
    let read = thread::scope(|scope| {
        for writer in 0..2 {
            let (queue, start) = (&queue, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..EACH {
                    let bytes = format!("{writer} {number}").into_bytes().repeat(500);
                    queue.push(&[Entry { rows: 1, bytes: &bytes }]).unwrap();
                }
            });
        }
        start.wait();
        let (mut read, mut after) = ([0; 2], None);
        while read != [EACH; 2] {
            for entry in queue.peek(after, 7).unwrap() {
                let writer = usize::from(entry.bytes[0] - b'0');
                let expected = format!("{writer} {}", read[writer]).into_bytes().repeat(500);
                assert!(entry.bytes == expected, "of writer {writer}, number {}", read[writer]);
                read[writer] += 1;
                after = Some(entry.seq);
                queue.remove_through(entry.seq).unwrap();
            }
        }
        read
    });
    assert_eq!(read, [EACH; 2]);
    assert_eq!((queue.len(), queue.rows(), queue.bytes()), (0, 0, 0));
}
