//! What a process takes from itself before it touches what a stranger wrote.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

/// Files that a process may have open: its standard streams, the socket, and what a library opens for a moment.
const MAX_FILES: u64 = 16;
/// How far behind the collector's own threads the kernel is to put it.
const NICE: i32 = 10;

/// Closes what the collector had open and did not mark to be closed, as libraries in C may not.
pub(super) fn close_files() -> io::Result<()> {
    // SAFETY: this is the first thing that the process does, so that nothing in it owns a file above the standard streams.
    #[allow(unsafe_code, reason = "no safe function closes files that nobody owns")]
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The socket that the process was started with.
pub(super) fn standard_input() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // A terminal or a file is none.
    socket.peer_addr()?;
    Ok(socket)
}

/// What one process may use.
pub(super) struct Ration {
    /// Bytes of address space.
    pub(super) memory_bytes: u64,
    /// Seconds of CPU time, of all threads; none: no limit, for what runs as long as the collector does.
    pub(super) cpu_seconds: Option<u64>,
}

/// Holds the process to a ration, and lets it gain no privileges. Nothing takes that back.
pub(super) fn confine(ration: &Ration) -> io::Result<()> {
    let limit = |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    limit(Resource::As, ration.memory_bytes)?;
    // What is in memory may be a tenant's: no file of it.
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, MAX_FILES)?;
    if let Some(seconds) = ration.cpu_seconds {
        // Two limits, because at the second one the kernel does not say why.
        setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) })?;
    }
    // SAFETY: takes four numbers and touches no memory.
    #[allow(unsafe_code, reason = "a system call without a safe function in what is built in")]
    let is_set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if is_set != 0 {
        return Err(io::Error::last_os_error());
    }
    // If memory runs out on this machine, this process goes and not the collector. Where /proc is not there, it is chance.
    fs::write("/proc/self/oom_score_adj", "1000").unwrap_or_default();
    Ok(())
}

/// Lets the kernel prefer everybody else.
pub(super) fn step_back() {
    // A process that may not even do that runs like any other.
    setpriority_process(None, NICE).unwrap_or_default();
}
