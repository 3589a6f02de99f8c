//! The binary as a child process, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

/// The binary under test. Compiled plugins are cached per test run, away from the user's cache.
pub(crate) fn sluice() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")).env_remove("SLUICE_LOG");
    command
}

/// Longest time without a word from a process that is waited for. A test that would wait for ever fails instead.
const PATIENCE: Duration = Duration::from_secs(300);

/// Lines of a process, read by a thread of their own so that waiting for one can end.
pub(crate) struct Said(Receiver<String>);

impl Said {
    fn of(pipe: impl Read + Send + 'static) -> Said {
        let (tell, told) = channel();
        std::thread::spawn(move || {
            // A test that is over does not listen any more.
            BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).unwrap_or_default();
        });
        Said(told)
    }
}

impl Iterator for Said {
    type Item = String;

    /// The next line; none at the end. Panics if the process says nothing for too long.
    fn next(&mut self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("neither a line nor an end within {PATIENCE:?}"),
        }
    }
}

/// A running `sluice run`.
pub(crate) struct Running {
    child: Child,
    log: Said,
    pub(crate) stdout: Said,
    /// Everything that was logged so far.
    logged: String,
    /// Lines of it that nobody has waited for yet.
    unclaimed: Vec<Value>,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Everything that it logged, and the books.
    pub(crate) log: String,
}

impl Running {
    /// Starts `sluice run CONFIG`, logging JSON.
    pub(crate) fn start(config: &Path) -> Running {
        let mut child = sluice()
            .args(["--log-json", "run"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Said::of(child.stderr.take().unwrap());
        let stdout = Said::of(child.stdout.take().unwrap());
        Running { child, log, stdout, logged: String::new(), unclaimed: Vec::new() }
    }

    /// Waits until a message that contains `text` is logged, or was since the last one like it, and
    /// returns its fields.
    pub(crate) fn wait_for(&mut self, text: &str) -> Value {
        let is_it = |entry: &Value| entry["fields"]["message"].as_str().is_some_and(|message| message.contains(text));
        if let Some(at) = self.unclaimed.iter().position(is_it) {
            return self.unclaimed.remove(at)["fields"].clone();
        }
        for line in self.log.by_ref() {
            self.logged.push_str(&line);
            self.logged.push('\n');
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            if is_it(&entry) {
                return entry["fields"].clone();
            }
            self.unclaimed.push(entry);
        }
        panic!("`{text}` was never logged:\n{}", self.logged);
    }

    /// Waits until the UDP source listens and says where.
    pub(crate) fn listening(&mut self) -> SocketAddr {
        let fields = self.wait_for("listening");
        let addr = fields["addr"].as_str().unwrap().parse().unwrap();
        self.wait_for("running");
        addr
    }

    /// Sends a signal, e.g. `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Stops it in order and returns how it ended.
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.end()
    }

    /// Kills it, as a machine that loses its power does, and waits for that.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended, of itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.stdout.by_ref().for_each(drop);
        for line in self.log.by_ref() {
            self.logged.push_str(&line);
            self.logged.push('\n');
        }
        let code = self.child.wait().unwrap().code();
        Ended { code, log: std::mem::take(&mut self.logged) }
    }
}

impl Drop for Running {
    /// A test that failed leaves no process behind, and shows what it said.
    #[allow(clippy::print_stderr, reason = "for whoever reads why the test failed")]
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        if std::thread::panicking() {
            let rest: Vec<String> = self.log.0.iter().collect();
            eprintln!("{}{}", self.logged, rest.join("\n"));
        }
    }
}

impl Ended {
    /// Rows in, out and dropped of a component, from the books; asserts that every component's add up.
    pub(crate) fn books(&self, component: &str) -> (u64, u64, u64) {
        assert!(!self.log.contains("unaccounted"), "{}", self.log);
        let is_it = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(component) && words.next().is_some_and(|word| word.parse::<u64>().is_ok())
        };
        let line = self.log.lines().find(is_it);
        let line = line.unwrap_or_else(|| panic!("no books of {component}:\n{}", self.log));
        let mut numbers = line.split_whitespace().skip(2).map(|number| number.parse::<u64>().unwrap());
        let mut next = || numbers.next().unwrap();
        let (rows_in, rows_out, dropped) = (next(), next(), next());
        assert_eq!(rows_in, rows_out + dropped, "{line}");
        (rows_in, rows_out, dropped)
    }
}

/// Asks for a page of the admin port over plain HTTP.
pub(crate) fn get(addr: SocketAddr, path: &str) -> String {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for the metrics until they have this line, and returns them: what is counted is counted a
/// moment after it can be seen elsewhere.
pub(crate) fn metrics_with(admin: SocketAddr, line: &str) -> String {
    let whole = format!("{line}\n");
    metrics_until(admin, line, |metrics| metrics.contains(&whole))
}

/// Asks for the metrics until they are as they should be, which `what` says, and returns them.
pub(crate) fn metrics_until(admin: SocketAddr, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let mut metrics = String::new();
    for _ in 0..20_000 {
        metrics = get(admin, "/metrics");
        if is_so(&metrics) {
            return metrics;
        }
    }
    panic!("never `{what}` in\n{metrics}");
}

/// A NetFlow v5 datagram with a record per destination host `192.0.2.x`, each of 1000 bytes in 10 packets.
pub(crate) fn netflow5(sequence: u32, hosts: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend([0, 5, 0, hosts.len() as u8]);
    datagram.extend(3_600_000_u32.to_be_bytes());
    datagram.extend(1_700_000_000_u32.to_be_bytes());
    datagram.extend([0; 4]);
    datagram.extend(sequence.to_be_bytes());
    datagram.extend([0, 0, 0x40, 100]);
    for host in hosts {
        datagram.extend([198, 18, 0, 1, 192, 0, 2, *host, 0, 0, 0, 0, 0, 1, 0, 2]);
        datagram.extend(10_u32.to_be_bytes());
        datagram.extend(1000_u32.to_be_bytes());
        datagram.extend(3_590_000_u32.to_be_bytes());
        datagram.extend(3_599_000_u32.to_be_bytes());
        datagram.extend([0xc0, 0, 1, 0xbb, 0, 0x18, 6, 0]);
        datagram.extend([0; 8]);
    }
    datagram
}

/// A socket to send datagrams from.
pub(crate) fn exporter(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
    socket.connect(to).unwrap();
    socket
}
