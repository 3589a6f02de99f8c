//! A process that is killed while it writes, and a second process at the same file.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Names the queue to the process that the test starts and kills.
const CHILD_VARIABLE: &str = "SLUICE_DISK_QUEUE_CHILD";
const THIS: &str = "disk_queue::tests::crash::what_was_acknowledged_survives_a_kill";
const MAX_BYTES: u64 = 64 << 20;

/// Entry `number`: the number, as often as fits a length that the number gives.
fn bytes(number: u64) -> Vec<u8> {
    let length = Random(number).below(300_000) as usize + 8;
    number.to_le_bytes().iter().copied().cycle().take(length).collect()
}

fn number(entry: &Queued) -> u64 {
    u64::from_le_bytes(entry.bytes[..8].try_into().unwrap())
}

/// Pushes one, two or three entries at a time and now and then removes some, until it is killed.
fn child(path: &Path) {
    let queue = DiskQueue::open(path, MAX_BYTES).unwrap();
    let held = queue.peek(None, usize::MAX).unwrap();
    let mut next = held.last().map_or(1, |last| number(last) + 1);
    let mut random = Random(u64::from(std::process::id()));
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{what} {number}").and_then(|()| out.flush()).unwrap();
    };
    loop {
        let entries: Vec<_> = (next..=next + random.below(3)).map(bytes).collect();
        let entries: Vec<_> = entries.iter().map(|bytes| Entry { rows: 3, bytes }).collect();
        queue.push(&entries).unwrap();
        next += entries.len() as u64;
        say("pushed", next - 1);
        if random.below(4) == 0 {
            let found = queue.peek(None, 1 + random.below(5) as usize).unwrap();
            // One always stays, so that numbers go on after the kill.
            let last = found.last().unwrap();
            if number(last) + 1 < next {
                queue.remove_through(last.seq).unwrap();
                say("removed", number(last));
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = env::var_os(CHILD_VARIABLE) {
        child(Path::new(&path));
    }
    let (_folder, path) = folder();
    let mut random = Random(u64::from(std::process::id()));
    let (mut pushed, mut removed) = (0, 0);
    for _ in 0..8 {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", THIS, "--nocapture"]).env(CHILD_VARIABLE, &path);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // A moment within a call: after some lines and then some more turns of an empty loop.
        let (mut lines_left, spins) = (2 + random.below(30), random.below(3_000_000));
        let mut note = |line: &str| {
            let (what, number) = line.split_once(' ').unwrap_or_default();
            match what {
                "pushed" => pushed = number.parse().unwrap(),
                "removed" => removed = number.parse().unwrap(),
                _ => return 0,
            }
            1
        };
        while lines_left > 0 {
            lines_left -= note(&lines.next().unwrap());
        }
        let error = DiskQueue::open(&path, MAX_BYTES).unwrap_err();
        assert!(matches!(error, DiskQueueError::InUse { .. }), "{error}");
        (0..spins).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it went.
        lines.for_each(|line| lines_left += note(&line));

        let queue = DiskQueue::open(&path, MAX_BYTES).unwrap();
        let found = queue.peek(None, usize::MAX).unwrap();
        let numbers: Vec<_> = found.iter().map(number).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        assert!(first > removed && last >= pushed, "{first} to {last}; pushed {pushed}, removed {removed}");
        assert!(numbers.iter().copied().eq(first..=last), "{numbers:?}");
        assert!(found.iter().all(|entry| entry.bytes == bytes(number(entry)) && entry.rows == 3));
        assert_eq!(queue.len(), numbers.len() as u64);
        assert_eq!(queue.rows(), 3 * numbers.len() as u64);
        assert_eq!(queue.bytes(), found.iter().map(|entry| bytes_on_disk(entry.bytes.len())).sum::<u64>());
    }
}

#[test]
fn a_queue_that_is_open_is_locked() {
    let (folder, path) = folder();
    let queue = DiskQueue::open(&path, 1 << 20).unwrap();
    let error = DiskQueue::open(&path, 1 << 20).unwrap_err().to_string();
    let expected = expect!["FOLDER/queue is in use by another process: stop that one, or name another file"];
    expected.assert_eq(&error.replace(&folder.path().display().to_string(), "FOLDER"));
    drop(queue);
    DiskQueue::open(&path, 1 << 20).unwrap();
}
