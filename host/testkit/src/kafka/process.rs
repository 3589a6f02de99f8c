//! Java as a child process: its output, its end, and that it does not outlive this process.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a loaded machine may take to start a broker; an idle one takes a second or three.
const START_WITHIN: Duration = Duration::from_secs(120);

/// How long a broker may take to stop in order before it is killed; 0.3 s is usual.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Lines of a broker's output that are kept to explain a failure.
const KEPT_LINES: usize = 60;

/// What a broker prints when it takes connections on all listeners.
const STARTED: &str = "Kafka Server started";

/// Kills process $1 and removes folder $2 when its input ends, which it does when the process that
/// holds the other end is gone, however it went. (`PR_SET_PDEATHSIG` would follow the thread that
/// started the broker, and every test has its own.)
const WATCHDOG: &str = r#"read -r _; kill -KILL "$1"; rm -rf "$2" || rm -rf "$2""#;

/// The last lines that a broker printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }
}

/// A broker that started.
#[derive(Debug)]
pub(super) struct Process {
    java: Child,
    watchdog: Child,
    /// Says something once, at the start, and hangs up when Java is gone. A mutex only for `Sync`.
    output: Mutex<Receiver<()>>,
    log: Log,
}

impl Process {
    /// Runs `command` and waits until it says that it has started; `data` is removed should this process die.
    ///
    /// # Errors
    /// If it cannot be run, or what it printed last if it ends or does not say so in time.
    pub(super) fn start(command: &mut Command, data: &Path) -> Result<Process, StartError> {
        let (reader, writer) = io::pipe()?;
        // A process group of their own: Ctrl-C is for the tests, which take the broker with them.
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let java = command.spawn()?;
        // The command holds the pipe open for writing until it is told otherwise.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, "sh", &java.id().to_string()]).arg(data);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let watchdog = match watchdog.spawn() {
            Ok(watchdog) => watchdog,
            Err(error) => {
                end(java);
                return Err(error.into());
            }
        };
        let log = Log::default();
        let (started, output) = sync_channel(1);
        let lines = log.clone();
        thread::spawn(move || read(reader, &lines, started));
        let mut process = Process { java, watchdog, output: Mutex::new(output), log };
        match process.next(START_WITHIN) {
            Ok(()) => Ok(process),
            Err(why) => {
                let log = process.log.clone();
                let is_late = why == RecvTimeoutError::Timeout;
                process.kill();
                Err(StartError::Failed { is_late, log: log.text() })
            }
        }
    }

    fn next(&mut self, within: Duration) -> Result<(), RecvTimeoutError> {
        self.output.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(within)
    }

    /// Asks Java to stop and waits for it.
    ///
    /// # Errors
    /// What it printed last, if it took so long that it was killed.
    pub(super) fn stop(mut self) -> Result<(), String> {
        // A process that is already gone is as good as one that was signalled.
        kill_process(Pid::from_child(&self.java), Signal::TERM).unwrap_or_default();
        let is_stopped = self.next(STOP_WITHIN) == Err(RecvTimeoutError::Disconnected);
        let log = self.log.clone();
        self.kill();
        if is_stopped { Ok(()) } else { Err(log.text()) }
    }

    /// Kills Java.
    pub(super) fn kill(self) {
        // First the watchdog: once Java was waited for, its number may be another's.
        end(self.watchdog);
        end(self.java);
    }

    /// Waits until Java is gone of its own, and returns what it printed last.
    pub(super) fn wait(mut self) -> String {
        let output = self.output.get_mut().unwrap_or_else(PoisonError::into_inner);
        while output.recv().is_ok() {}
        let log = self.log.clone();
        self.kill();
        log.text()
    }
}

/// Why a process did not start.
#[derive(Debug)]
pub(super) enum StartError {
    /// The machine would not run it.
    Io(io::Error),
    /// It ended, or said nothing in time.
    Failed { is_late: bool, log: String },
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::Io(error)
    }
}

/// Kills a child and waits for it. Both fail only if it is gone already.
fn end(mut child: Child) {
    child.kill().unwrap_or_default();
    child.wait().map(drop).unwrap_or_default();
}

/// Keeps what is printed, says when the broker has started, and hangs up at the end of the output.
fn read(output: PipeReader, log: &Log, started: SyncSender<()>) {
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let is_started = line.contains(STARTED);
        log.push(line);
        if is_started {
            // Nobody listens if the start was given up; the output is still read, lest Java blocks.
            started.try_send(()).unwrap_or_default();
        }
    }
}
