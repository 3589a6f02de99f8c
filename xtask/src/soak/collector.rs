//! The collector that is changed: a child process, its processes for plugins, and what its ports answer.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest time without an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Ids of the processes for plugins, as the log told of them.
pub(super) type Processes = Arc<Mutex<Vec<u32>>>;

/// A collector that runs in a folder of its own.
pub(super) struct Collector {
    child: Child,
    /// Where its metrics and its API are.
    pub(super) admin: SocketAddr,
    /// Where it listens for exports.
    pub(super) exports: SocketAddr,
    pub(super) processes: Processes,
}

impl Collector {
    /// Starts the collector and waits until it says where it listens.
    pub(super) fn start(
        binary: &Path,
        folder: &Path,
    ) -> Result<(Collector, ChildStdout, BufReader<ChildStderr>), String> {
        let mut child = Command::new(binary)
            .args(["--log-json", "run"])
            .arg(folder.join("sluice.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let rows = child.stdout.take().ok_or("no output")?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no log")?);
        let processes = Processes::default();
        let (mut admin, mut exports) = (None, None);
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if log.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err(format!("the collector did not start:\n{said}"));
            }
            said.push_str(&line);
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            note(&processes, &entry);
            let message = entry["fields"]["message"].as_str().unwrap_or_default();
            if let Some(url) = message.strip_prefix("metrics on http://") {
                admin = url.split('/').next().and_then(|addr| addr.parse().ok());
            }
            if message == "listening" {
                exports = entry["fields"]["addr"].as_str().and_then(|addr| addr.parse().ok());
            }
            if message == "running" {
                break;
            }
        }
        let (admin, exports) = (admin.ok_or("no metrics")?, exports.ok_or("it does not listen")?);
        Ok((Collector { child, admin, exports, processes }, rows, log))
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(signal, self.child.id());
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().map_err(|error| error.to_string())
    }

    /// Kills the process for plugins that was started last: whether there was one.
    pub(super) fn kill_process(&self) -> bool {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are over are forgotten; their numbers may be somebody else's by now.
        processes.retain(|process| parent(*process) == Some(self.child.id()));
        let Some(process) = processes.pop() else { return false };
        kill(Signal::KILL, process);
        true
    }

    /// Resident memory in bytes.
    pub(super) fn memory(&self) -> u64 {
        let pages = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Takes down the id of a process for plugins, if this line of the log tells of one.
pub(super) fn note(processes: &Processes, entry: &Value) {
    if entry["fields"]["message"] == "process for plugins started"
        && let Some(process) = entry["fields"]["pid"].as_u64().and_then(|process| u32::try_from(process).ok())
    {
        processes.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }
}

fn kill(signal: Signal, process: u32) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    // A process that has ended is noticed by whoever waits for it.
    process.and_then(|process| kill_process(process, signal).ok()).unwrap_or_default();
}

/// Whose child a process is.
fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Asks for something over plain HTTP, with the token if there is one.
pub(super) fn request(admin: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let proof = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{proof}\r\n")?;
    Ok(stream)
}

/// Asks for a page over plain HTTP.
pub(super) fn get(admin: SocketAddr, path: &str) -> Result<String, String> {
    let asked = || -> std::io::Result<String> {
        let mut answer = String::new();
        request(admin, path, None)?.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().map_err(|error| format!("http://{admin}{path}: {error}"))
}
