//! What a process takes from itself before it touches what a stranger wrote.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::wall;
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

/// Files that a process may have open: its standard streams, the socket, and what a library opens for a moment.
const MAX_FILES: u64 = 16;
/// The same of a process that has a socket for each of its instances.
const MAX_CONNECTIONS: u64 = 1024;
/// How far behind the collector's own threads the kernel is to put it.
const NICE: i32 = 10;

/// Closes what the collector had open and did not mark to be closed, as libraries in C may not.
pub(super) fn close_files() -> io::Result<()> {
    // SAFETY: this is the first thing that the process does, so that nothing in it owns a file above the standard streams.
    #[allow(unsafe_code, reason = "no safe function closes files that nobody owns")]
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if closed == 0 => Ok(()),
        // Linux before 5.9.
        Some(libc::ENOSYS) => close_one_by_one(),
        _ => Err(error),
    }
}

fn close_one_by_one() -> io::Result<()> {
    let files = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name()));
    for name in files.collect::<io::Result<Vec<_>>>()? {
        let Some(file) = name.to_str().and_then(|name| name.parse::<i32>().ok()).filter(|file| *file > 2) else {
            continue;
        };
        // SAFETY: as above; the directory that was read is closed already, and closing it again is an error and no harm.
        #[allow(unsafe_code, reason = "no safe function closes files that nobody owns")]
        unsafe {
            libc::close(file);
        }
    }
    Ok(())
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
    memory: (Resource, u64),
    files: u64,
    /// Whether it does not work without a filter of its system calls.
    is_walled: bool,
    /// Seconds of CPU time, of all threads; none: no limit, for what runs as long as the collector does.
    cpu_seconds: Option<u64>,
}

impl Ration {
    /// So much address space and time, to compile.
    pub(super) fn address_space(memory_bytes: u64, cpu_seconds: u64) -> Ration {
        Ration {
            memory: (Resource::As, memory_bytes),
            files: MAX_FILES,
            is_walled: false,
            cpu_seconds: Some(cpu_seconds),
        }
    }

    /// So much memory that can be written, to run plugins: an instance has gigabytes of addresses of which it may use few.
    pub(super) fn data(memory_bytes: u64) -> Ration {
        Ration { memory: (Resource::Data, memory_bytes), files: MAX_CONNECTIONS, is_walled: true, cpu_seconds: None }
    }
}

/// Holds the process to a ration, and lets it gain no privileges. Nothing takes that back.
pub(super) fn confine(ration: &Ration) -> io::Result<()> {
    let limit = |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    limit(ration.memory.0, ration.memory.1)?;
    // What is in memory may be a tenant's: no file of it.
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, ration.files)?;
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
    // If memory runs out on this machine, this process goes and not the collector; without /proc it is chance. Now, because
    // behind the wall no file opens.
    fs::write("/proc/self/oom_score_adj", "1000").unwrap_or_default();
    match wall::build() {
        Err(error) if ration.is_walled => Err(error),
        // A kernel without filters compiles all the same.
        _ => Ok(()),
    }
}

/// Goes on when everybody is asked to stop, as a service manager asks all processes of a service: the collector still has
/// batches for it, and this process ends with it.
pub(super) fn outlive_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: to ignore a signal is no function that would have to be safe in one.
        #[allow(unsafe_code, reason = "no safe function ignores a signal")]
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Lets the kernel prefer everybody else.
pub(super) fn step_back() {
    // A process that may not even do that runs like any other.
    setpriority_process(None, NICE).unwrap_or_default();
}
