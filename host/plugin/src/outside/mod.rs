//! Work with components that is done in other processes: this program, started again by itself.
//!
//! What such a process does comes to it over one socket, its standard input, and so does what it answers; it has no
//! arguments, an empty environment and no other files. [`serve`] is its main function. `compile` is the host's side of a
//! process that compiles, `remote` and `group` those of one that runs plugins, `child` is such a process from within;
//! `wall` and `confine` take from a process what it does not need.

mod child;
mod compile;
mod confine;
mod frame;
mod group;
mod material;
mod refusal;
mod remote;
mod report;
mod wall;

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

pub(crate) use compile::{compile, load};
use frame::{Frame, Kind};
pub(crate) use group::Group;
pub(crate) use remote::{Remote, RemoteVersion};
use serde::{Deserialize, Serialize};

/// Bytes of what a process said on its standard error before it ended that are kept.
const MAX_LAST_WORDS: u64 = 4096;

/// Which processes a [`Host`](crate::Host) may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The program, whose main function is [`serve`] when it is started with `args`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Bytes of address space that a process may have while it compiles.
    pub compile_memory_bytes: u64,
    /// Seconds that it may take to compile a component.
    pub compile_seconds: u64,
    /// Bytes of memory that a process may have while it runs plugins: all their instances, code and tables.
    pub process_memory_bytes: u64,
}

impl Outside {
    /// Bytes of address space for compiling, if nobody says otherwise: the largest plugins, an interpreter with its libraries,
    /// take less than a quarter.
    pub const COMPILE_MEMORY_BYTES: u64 = 4 << 30;
    /// Seconds for compiling, if nobody says otherwise.
    pub const COMPILE_SECONDS: u64 = 120;
    /// Bytes of memory for running plugins, if nobody says otherwise.
    pub const PROCESS_MEMORY_BYTES: u64 = 4 << 30;

    /// The running program itself, started with `arg`.
    #[must_use]
    pub fn this_program(arg: &str) -> Outside {
        Outside {
            // Not its path: after an upgrade there is another program, which speaks otherwise.
            program: PathBuf::from("/proc/self/exe"),
            args: vec![arg.into()],
            compile_memory_bytes: Outside::COMPILE_MEMORY_BYTES,
            compile_seconds: Outside::COMPILE_SECONDS,
            process_memory_bytes: Outside::PROCESS_MEMORY_BYTES,
        }
    }
}

/// The main function of a process that a [`Host`](crate::Host) starts: does what it is told on its standard input, until that
/// ends.
///
/// To be called before there is a thread, a file or a log.
///
/// # Errors
/// If it was not started by a host, or cannot take from itself what it does not need.
pub fn serve() -> io::Result<()> {
    confine::close_files()?;
    let mut pipe = confine::standard_input()?;
    let order = frame::read(&mut pipe, frame::MAX_ORDER_BYTES)?;
    match order.kind {
        Kind::Compile => compile::serve(&mut pipe, &order.bytes),
        Kind::Run => child::serve(&mut pipe, &order.bytes),
        _ => Err(io::Error::other("no order to begin with")),
    }
}

/// What a process that runs plugins is told first.
#[derive(Serialize, Deserialize)]
struct RunOrder {
    /// Whether the code counts fuel: the settings of the engine are to be the same.
    fuel: bool,
    memory_bytes: u64,
}

/// A process that this one started, and the socket to it. It ends with this value.
struct Process {
    child: Child,
    pipe: UnixStream,
}

/// How a process ended, with what it said last.
struct Death {
    status: Option<ExitStatus>,
    last_words: String,
}

impl Process {
    fn start(outside: &Outside, environment: &[(&str, String)]) -> io::Result<Process> {
        let (pipe, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&outside.program);
        command.args(&outside.args).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: who presses Ctrl-C means the collector, which ends it in its time.
        command.process_group(0).current_dir("/").stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        Ok(Process { child, pipe })
    }

    /// Sends one frame. [`io::ErrorKind::TimedOut`] past the deadline.
    fn send(&mut self, kind: Kind, parts: &[&[u8]], until: Instant) -> io::Result<()> {
        frame::write(&mut frame::Until { pipe: &self.pipe, until }, kind, parts)
    }

    /// The next frame. [`io::ErrorKind::TimedOut`] past the deadline.
    fn receive(&mut self, max_bytes: usize, until: Instant) -> io::Result<Frame> {
        frame::read(&mut frame::Until { pipe: &self.pipe, until }, max_bytes)
    }

    /// Ends it, if it did not end itself, and says how that was.
    fn end(mut self) -> Death {
        // One that has ended already cannot be killed, which is as well.
        self.child.kill().unwrap_or_default();
        let status = self.child.wait().ok();
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What can be read is what helps; the rest is gone.
            stderr.take(MAX_LAST_WORDS).read_to_end(&mut words).map(drop).unwrap_or_default();
        }
        let words = String::from_utf8_lossy(&words);
        let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).take(2).collect();
        Death { status, last_words: crate::shared::printable(&lines.join(" "), 512) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

impl Death {
    fn signal(&self) -> Option<i32> {
        self.status?.signal()
    }
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.signal(), self.status.and_then(|status| status.code())) {
            (Some(signal), _) => write!(f, "was ended by signal {signal}")?,
            (None, Some(code)) => write!(f, "ended with exit code {code}")?,
            (None, None) => f.write_str("is gone")?,
        }
        if self.last_words.is_empty() { Ok(()) } else { write!(f, " ({})", self.last_words) }
    }
}
