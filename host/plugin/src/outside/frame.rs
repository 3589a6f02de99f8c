//! What crosses between two processes: a kind, a length, and so many bytes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes of the first frame, which says what the process is for.
pub(super) const MAX_ORDER_BYTES: usize = 1 << 20;

/// What a frame is. The numbers are between processes of the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// To the process: compile under these limits what comes next.
    Compile = 1,
    /// A component.
    Component = 2,
    /// Compiled code, after its SHA-256.
    Code = 3,
    /// What went wrong, as text.
    Failed = 4,
    /// To the process: run plugins under these limits.
    Run = 5,
    /// To the process: a version of a stage's plugin; parts follow.
    Load = 6,
    /// Code, a table, a key or an asset.
    Part = 7,
    /// To the process: start an instance of a version on this connection.
    Start = 8,
    /// To the process: a batch.
    Process = 9,
    /// To the process: a time.
    Tick = 10,
    /// To the process: give the state.
    Snapshot = 11,
    /// To the process: take a state.
    Restore = 12,
    /// To the process: a table in place of the one that a version has.
    Table = 13,
    /// What a request gave.
    Answer = 14,
    /// To the process: no more instances of a version will be wanted. No answer.
    Forget = 15,
}

impl Kind {
    const ALL: [Kind; 15] = [
        Kind::Compile,
        Kind::Component,
        Kind::Code,
        Kind::Failed,
        Kind::Run,
        Kind::Load,
        Kind::Part,
        Kind::Start,
        Kind::Process,
        Kind::Tick,
        Kind::Snapshot,
        Kind::Restore,
        Kind::Table,
        Kind::Answer,
        Kind::Forget,
    ];
}

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// Reads a frame of up to `max_bytes` bytes.
pub(super) fn read(from: &mut impl Read, max_bytes: usize) -> io::Result<Frame> {
    let mut head = [0; 9];
    from.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
    let kind = kind.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an unknown kind of frame"))?;
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > max_bytes {
        let problem = format!("a frame of {length} bytes, more than {max_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let mut bytes = Vec::new();
    // Grows with what comes, not with what was announced.
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame { kind, bytes })
}

/// Writes a frame of the bytes of all `parts`.
pub(super) fn write(to: &mut impl Write, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut head = [kind as u8; 9];
    head[1..].copy_from_slice(&(length as u64).to_le_bytes());
    to.write_all(&head)?;
    parts.iter().try_for_each(|part| to.write_all(part))
}

/// A socket that is read and written until a moment; then [`io::ErrorKind::TimedOut`].
pub(super) struct Until<'a> {
    pub(super) pipe: &'a UnixStream,
    pub(super) until: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// The kernel says "would block" when its time is over.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.pipe.set_read_timeout(self.left()?)?;
        self.pipe.read(bytes).map_err(timed_out)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.set_write_timeout(self.left()?)?;
        self.pipe.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_as_it_went_in() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Code, &[b"ab", b"", b"c"]).unwrap();
        let frame = read(&mut &bytes[..], 3).unwrap();
        assert_eq!((frame.kind, &*frame.bytes), (Kind::Code, &b"abc"[..]));
    }

    #[test]
    fn a_frame_that_is_cut_off_too_long_or_of_no_kind_is_refused() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Code, &[b"abc"]).unwrap();
        for (bytes, max, expected) in [
            (&bytes[..bytes.len() - 1], 3, io::ErrorKind::UnexpectedEof),
            (&bytes[..5], 3, io::ErrorKind::UnexpectedEof),
            (&bytes[..], 2, io::ErrorKind::InvalidData),
            (&[0; 9][..], 2, io::ErrorKind::InvalidData),
            (&[[3].as_slice(), &[0xff; 8]].concat()[..], usize::MAX - 1, io::ErrorKind::InvalidData),
        ] {
            assert_eq!(read(&mut &*bytes, max).unwrap_err().kind(), expected);
        }
    }

    #[test]
    fn who_waits_for_a_process_that_says_nothing_stops_waiting() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let until = Instant::now() + Duration::from_millis(1);
        let error = read(&mut Until { pipe: &ours, until }, 9).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
