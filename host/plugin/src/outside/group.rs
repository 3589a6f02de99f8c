//! A process for plugins, as the host sees it: started when it is needed, started again when it died, later each time.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::frame::{self, Kind};
use super::{Outside, Process, RunOrder};

/// How long a process that died for the second time in a row is left alone; doubled each time after that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that lived so long died of something else than the one before it.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// What starting a process and telling it the first thing may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stages that share a process.
pub(crate) struct Group {
    name: String,
    outside: Outside,
    fuel: bool,
    state: Mutex<Lives>,
}

struct Lives {
    live: Option<Arc<Live>>,
    started: Instant,
    /// Processes that died young, one after another.
    deaths: u32,
    not_before: Instant,
}

/// A process that runs, or did until it was found dead.
pub(super) struct Live {
    group: String,
    /// None when it is known how it ended.
    process: Mutex<Option<Process>>,
    control: UnixStream,
    is_dead: AtomicBool,
    obituary: Mutex<String>,
    /// Versions that it has. Locked while one is sent.
    pub(super) versions: Mutex<HashSet<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    pub(crate) fn new(name: &str, outside: Outside, fuel: bool) -> Group {
        let now = Instant::now();
        let state = Lives { live: None, started: now, deaths: 0, not_before: now };
        Group { name: name.to_owned(), outside, fuel, state: Mutex::new(state) }
    }

    /// The process: the one that runs, or a new one.
    ///
    /// # Errors
    /// If none can be started, or those before died so fast that it is not yet time.
    pub(super) fn live(&self) -> Result<Arc<Live>, String> {
        let mut state = lock(&self.state);
        if let Some(live) = &state.live {
            if !live.has_ended() {
                return Ok(Arc::clone(live));
            }
            state.deaths = if state.started.elapsed() >= GOOD_LIFE { 1 } else { state.deaths + 1 };
            // The first death may be chance; those after it will have a reason.
            let pause = match state.deaths {
                1 => Duration::ZERO,
                deaths => FIRST_PAUSE.saturating_mul(1 << (deaths - 2).min(16)).min(LONGEST_PAUSE),
            };
            state.not_before = Instant::now() + pause;
            state.live = None;
        }
        let left = state.not_before.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            let (deaths, ms) = (state.deaths, left.as_millis());
            return Err(format!("the process has died {deaths} times; it is started again in {ms} ms"));
        }
        let live = self.start().map_err(|error| format!("the process could not be started: {error}"))?;
        let live = Arc::new(live);
        state.started = Instant::now();
        state.live = Some(Arc::clone(&live));
        Ok(live)
    }

    /// The process, if one runs.
    pub(super) fn running(&self) -> Option<Arc<Live>> {
        lock(&self.state).live.clone().filter(|live| !live.is_dead.load(Ordering::Acquire))
    }

    fn start(&self) -> io::Result<Live> {
        let environment = [("MALLOC_ARENA_MAX", "2".to_owned())];
        let mut process = Process::start(&self.outside, &environment)?;
        let order = RunOrder { fuel: self.fuel, memory_bytes: self.outside.process_memory_bytes };
        let until = Instant::now() + PATIENCE;
        process.send(Kind::Run, &[&serde_json::to_vec(&order)?], until)?;
        let ready = process.receive(frame::MAX_ORDER_BYTES, until);
        if !ready.as_ref().is_ok_and(|frame| frame.kind == Kind::Answer) {
            return Err(io::Error::other(process.end().to_string()));
        }
        tracing::info!(group = self.name, pid = process.child.id(), "process for plugins started");
        Ok(Live {
            group: self.name.clone(),
            control: process.pipe.try_clone()?,
            process: Mutex::new(Some(process)),
            is_dead: AtomicBool::new(false),
            obituary: Mutex::default(),
            versions: Mutex::default(),
        })
    }
}

impl Live {
    /// Whether it is gone, of itself or by the host.
    fn has_ended(&self) -> bool {
        if self.is_dead.load(Ordering::Acquire) {
            return true;
        }
        let is_gone = match &mut *lock(&self.process) {
            Some(process) => !matches!(process.child.try_wait(), Ok(None)),
            None => true,
        };
        if is_gone {
            self.bury("ended");
        }
        is_gone
    }

    /// Ends it, and says how it ended. The second to ask hears what the first heard.
    pub(super) fn bury(&self, why: &str) -> String {
        let mut process = lock(&self.process);
        let mut obituary = lock(&self.obituary);
        if let Some(process) = process.take() {
            self.is_dead.store(true, Ordering::Release);
            *obituary = process.end().to_string();
            tracing::warn!(group = self.group, why, "the process for plugins {obituary}");
        }
        obituary.clone()
    }

    /// A new connection: on the other side a thread reads it until it is closed.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut files = SendAncillaryBuffer::new(&mut space);
        let theirs = [theirs.as_fd()];
        if !files.push(SendAncillaryMessage::ScmRights(&theirs)) {
            return Err(io::Error::other("no room for a file"));
        }
        sendmsg(&self.control, &[IoSlice::new(&[0])], &mut files, SendFlags::NOSIGNAL)?;
        Ok(ours)
    }
}
