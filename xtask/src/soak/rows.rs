//! Rows that come out of the collector, each read and ticked off by its number.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::cpu;

/// What the number of a row stands behind. One in every row, wherever in the line.
const KEY: &[u8] = b"\"packets\":";

/// Which flows came out, and how often.
#[derive(Debug, Default)]
pub(super) struct Flows {
    once: Vec<u64>,
    pub(super) rows: u64,
    pub(super) doubled: u64,
    pub(super) strange: u64,
    /// The longest time between two reads of rows.
    pub(super) longest_wait: Duration,
    /// What reading them took of a processor.
    pub(super) cpu: Duration,
}

impl Flows {
    fn add(&mut self, number: u64) {
        self.rows += 1;
        let (word, bit) = ((number / 64) as usize, number % 64);
        if self.once.len() <= word {
            self.once.resize(word + 1, 0);
        }
        self.doubled += self.once[word] >> bit & 1;
        self.once[word] |= 1 << bit;
    }

    /// Takes whole lines.
    fn lines(&mut self, mut lines: &[u8]) {
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            match number(&lines[..end]) {
                Some(number) => self.add(number),
                None => self.strange += 1,
            }
            lines = &lines[end + 1..];
        }
    }
}

/// The number of the flow that a line of JSON is.
fn number(line: &[u8]) -> Option<u64> {
    let from = if line.get(1..)?.starts_with(KEY) {
        1 + KEY.len()
    } else {
        line.windows(KEY.len()).position(|window| window == KEY)? + KEY.len()
    };
    // Flows are numbered in 32 bits: ten digits.
    let digits = line[from..].iter().take(11).take_while(|byte| byte.is_ascii_digit());
    let (number, len) =
        digits.fold((0_u64, 0), |(number, len), digit| (number * 10 + u64::from(digit - b'0'), len + 1));
    let is_whole = len > 0 && matches!(line.get(from + len), Some(b',' | b'}')) && line.ends_with(b"}");
    (is_whole && number <= u64::from(u32::MAX)).then_some(number)
}

/// Reads what the collector writes.
pub(super) struct Seen {
    reader: JoinHandle<Flows>,
    rows: Arc<AtomicU64>,
}

impl Seen {
    pub(super) fn read(from: impl Read + Send + 'static) -> Seen {
        let rows = Arc::default();
        let counted = Arc::clone(&rows);
        Seen { reader: thread::spawn(move || read(from, &counted)), rows }
    }

    /// How many rows there are by now.
    pub(super) fn rows(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.rows)
    }

    pub(super) fn end(self) -> Flows {
        self.reader.join().unwrap_or_default()
    }
}

fn read(mut from: impl Read, rows: &AtomicU64) -> Flows {
    let mut flows = Flows::default();
    let mut last: Option<Instant> = None;
    let (mut buffer, mut filled) = (vec![0; 1 << 20], 0);
    loop {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        let now = Instant::now();
        flows.longest_wait = flows.longest_wait.max(last.map_or(Duration::ZERO, |last| now - last));
        last = Some(now);
        let whole = buffer[..filled].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A line that fills the buffer is none of ours.
        let whole = if filled == buffer.len() { whole.max(1) } else { whole };
        flows.lines(&buffer[..whole]);
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        rows.store(flows.rows, Ordering::Release);
    }
    flows.strange += u64::from(filled > 0);
    flows.cpu = cpu::of_thread();
    flows
}

/// A named pipe, for a file sink whose rows are not to fill a disk.
pub(super) struct Pipe {
    /// So that readers see no end while the sink opens it anew.
    open: File,
    seen: Seen,
}

impl Pipe {
    pub(super) fn make(path: &Path) -> Result<Pipe, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        if !Command::new("mkfifo").arg(path).status().map_err(failed)?.success() {
            return Err(format!("mkfifo {} failed", path.display()));
        }
        let open = File::options().read(true).write(true).open(path).map_err(failed)?;
        let seen = Seen::read(File::open(path).map_err(failed)?);
        Ok(Pipe { open, seen })
    }

    /// What came through it, when nobody writes any more.
    pub(super) fn end(self) -> Flows {
        drop(self.open);
        self.seen.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_number_and_anything_else_is_strange() {
        let number = |line: &str| number(line.as_bytes());
        assert_eq!(number(r#"{"packets":1234567890}"#), Some(1_234_567_890));
        assert_eq!(number(r#"{"packets":0,"dst_addr":"192.0.2.1"}"#), Some(0));
        assert_eq!(number(r#"{"dst_addr":"192.0.2.1","packets":7}"#), Some(7));
        for strange in ["", "{", "{}", r#"{"packets":}"#, r#"{"packets":12"#, r#"{"packets":1x}"#, "packets"] {
            assert_eq!(number(strange), None, "{strange}");
        }
        assert_eq!(number(r#"{"packets":4294967296}"#), None);
        assert_eq!(number(r#"{"packets":99999999999999999999999}"#), None);
    }

    #[test]
    fn every_row_is_counted_once_however_the_reads_fall() {
        /// Gives so many bytes at a time.
        struct Slow<'t>(&'t [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let len = self.1.min(self.0.len());
                let (now, later) = self.0.split_at(len);
                into[..len].copy_from_slice(now);
                self.0 = later;
                Ok(len)
            }
        }
        let lines = b"{\"packets\":3}\n{\"packets\":64}\nodd\n{\"packets\":3}\n{\"packets\":4}\n{\"pack";
        for at_once in 1..lines.len() {
            let rows = AtomicU64::new(0);
            let flows = read(Slow(lines, at_once), &rows);
            assert_eq!((flows.rows, flows.doubled, flows.strange), (4, 1, 2), "{at_once} bytes at once");
            assert_eq!(rows.into_inner(), 4);
        }
    }
}
