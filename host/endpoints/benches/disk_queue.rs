//! What an entry of 1 MB costs to put into a queue on disk, and to read and take out again.
//!
//! The queue is in the folder for temporary files: `TMPDIR` names the disk to measure.

#![allow(missing_docs, reason = "criterion's macros make functions without comments")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_endpoints::disk_queue::{DiskQueue, Entry, PushError};

const BYTES: usize = 1_000_000;
/// Entries that one transaction takes out.
const AT_ONCE: usize = 8;
const MAX_BYTES: u64 = 1 << 30;

fn disk_queue(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at * 7) as u8).collect();
    let entry = Entry { rows: 5000, bytes: &bytes };
    let mut group = c.benchmark_group("disk-queue");
    group.sample_size(20);

    let queue = DiskQueue::open(&folder.path().join("push"), MAX_BYTES).expect("an empty folder");
    group.throughput(Throughput::Bytes(BYTES as u64));
    group.bench_function("push/1-MB", |b| {
        b.iter(|| match queue.push(&[entry]) {
            Err(PushError::Full { .. }) => {
                let last = queue.peek(None, usize::MAX).expect("a good disk").pop().expect("it is full");
                queue.remove_through(last.seq).expect("a good disk");
            }
            other => other.expect("a good disk"),
        });
    });

    let queue = DiskQueue::open(&folder.path().join("take"), MAX_BYTES).expect("an empty folder");
    group.throughput(Throughput::Bytes((BYTES * AT_ONCE) as u64));
    group.bench_function("peek-and-remove/8-of-1-MB", |b| {
        b.iter_batched(
            || queue.push(&[entry; AT_ONCE]).expect("a good disk"),
            |()| {
                let found = queue.peek(None, AT_ONCE).expect("a good disk");
                let last = found.last().expect("eight were pushed");
                queue.remove_through(last.seq).expect("a good disk");
                found
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, disk_queue);
criterion_main!(benches);
