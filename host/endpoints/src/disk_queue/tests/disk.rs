//! A disk that is full, and one that fails.

use std::env;
use std::fs::File;
use std::ops::Bound;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::*;

/// A file whose disk is full after some writes.
#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    /// Writes, flushes and changes of length that succeed until one fails.
    left: Arc<AtomicI64>,
    /// Whether those after it fail too.
    stays: bool,
}

impl Faulty {
    fn ask(&self) -> io::Result<()> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let fails = if self.stays { left <= 0 } else { left == 0 };
        if fails { Err(rustix::io::Errno::NOSPC.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ask()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.ask()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ask()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

fn faulty(path: &Path, left: &Arc<AtomicI64>, stays: bool) -> DiskQueue {
    let left = Arc::clone(left);
    let opener = move |path: &Path| {
        let file = File::options().read(true).write(true).open(path)?;
        let faulty = Faulty { file: FileBackend::new(file)?, left: Arc::clone(&left), stays };
        store::builder().create_with_backend(faulty)
    };
    DiskQueue::open_with(path, 64 << 20, Box::new(opener)).unwrap()
}

const FINE: i64 = i64::MAX;

/// Fails `call` at each of its writes in turn, until none is left to fail; after each failure the queue is
/// `before`, and works again as soon as the disk does.
fn fails_everywhere(stays: bool, call: impl Fn(&DiskQueue) -> Result<(), PushError>, may_be: &[&str]) {
    for writes in 0.. {
        let (_folder, path) = folder();
        let left = Arc::new(AtomicI64::new(FINE));
        let queue = faulty(&path, &left, stays);
        push(&queue, &["a", "b", "c"]).unwrap();
        left.store(writes, Ordering::SeqCst);
        let answer = call(&queue);
        left.store(FINE, Ordering::SeqCst);
        let Err(error) = answer else {
            assert!(writes > 5, "only {writes} writes");
            return;
        };
        let PushError::Disk(DiskQueueError::Io { source, .. }) = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let found = shown(&queue);
        assert!(may_be.contains(&found.as_str()), "{found} after {writes} writes");
        call(&queue).unwrap();
        let after = shown(&queue);
        drop(queue);
        assert_eq!(shown(&DiskQueue::open(&path, 64 << 20).unwrap()), after);
    }
}

const BEFORE: &str = "[a b c] 3 entries, 30 rows, 12288 bytes\n";

#[test]
fn a_push_that_fails_leaves_the_queue_as_it_was() {
    let large = "x".repeat(200_000);
    for stays in [false, true] {
        fails_everywhere(stays, |queue| push(queue, &["d", &large]), &[BEFORE]);
    }
}

#[test]
fn a_removal_that_fails_is_done_again() {
    let removed = "[c] 1 entries, 10 rows, 4096 bytes\n";
    let remove = |queue: &DiskQueue| {
        // By its number, as somebody does who has read it before the disk failed.
        Ok(queue.remove_through(Seq::of(1))?)
    };
    for stays in [false, true] {
        fails_everywhere(stays, remove, &[BEFORE, removed]);
    }
}

const FOLDER_VARIABLE: &str = "SLUICE_DISK_QUEUE_TMPFS";
const THIS: &str = "disk_queue::tests::disk::a_full_disk_is_told_and_leaves_room_to_drain";

/// On a file system of 24 MiB, in a process that has it for itself.
fn on_a_small_disk(folder: &Path) {
    let path = folder.join("queue");
    let queue = DiskQueue::open(&path, 1 << 30).unwrap();
    let bytes = vec![7; 1 << 20];
    let entry = Entry { rows: 1, bytes: &bytes };
    let until_full = |queue: &DiskQueue| loop {
        match queue.push(&[entry]) {
            Ok(()) => {}
            Err(PushError::Disk(DiskQueueError::Io { source, .. })) if source.kind() == io::ErrorKind::StorageFull => {
                break queue.len();
            }
            Err(error) => panic!("{error}"),
        }
    };
    let first = until_full(&queue);
    assert!(first >= 16, "{first} entries of 1 MiB");
    // Somebody else takes the rest, to the last byte.
    let hog = folder.join("hog");
    let filled = fs::write(&hog, vec![1; 30 << 20]).unwrap_err();
    assert_eq!(filled.kind(), io::ErrorKind::StorageFull);
    assert!(queue.push(&[entry]).is_err());
    assert_eq!((queue.len(), queue.rows()), (first, first));
    // It can be read, also after opening it again, and its space be used again.
    drop(queue);
    let queue = DiskQueue::open(&path, 1 << 30).unwrap();
    let found = queue.peek(None, usize::MAX).unwrap();
    assert!(found.len() as u64 == first && found.iter().all(|entry| entry.bytes == bytes));
    fs::remove_file(&hog).unwrap();
    queue.remove_through(found[9].seq).unwrap();
    let again = until_full(&queue);
    assert!(again + 2 >= first, "{again} entries instead of {first}");
    // A process is killed on a full disk, and the next one still gets everything.
    let found = queue.peek(None, usize::MAX).unwrap();
    assert!(found.iter().all(|entry| entry.bytes == bytes));
    queue.remove_through(found[found.len() - 1].seq).unwrap();
    assert!(queue.is_empty() && taken(&path) <= LARGE_BYTES);
    until_full(&queue);
}

#[test]
fn a_full_disk_is_told_and_leaves_room_to_drain() {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        return on_a_small_disk(Path::new(&folder));
    }
    let (folder, _) = folder();
    // In a name space of its own: that needs no privileges on most machines, and nothing stays mounted.
    const MOUNT: &str = "mount -t tmpfs -o size=24m tmpfs \"$0\" || exit 97; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]).arg(folder.path());
    command.arg(env::current_exe().unwrap()).args(["--exact", THIS, "--nocapture"]);
    let ran = command.env(FOLDER_VARIABLE, folder.path()).output();
    let (code, said) = match &ran {
        Ok(ran) => (ran.status.code(), String::from_utf8_lossy(&ran.stderr)),
        Err(error) => (None, error.to_string().into()),
    };
    match code {
        Some(0) => {}
        Some(101) => panic!("{said}"),
        // Said, not passed over in silence.
        _ => println!("skipped: no small file system can be mounted here: {said}"),
    }
}
