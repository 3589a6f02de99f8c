//! Export datagrams from the network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};
use sluice_pipeline::{Ack, Metrics, Outlet, Parcel, Source, SourceError, Stop};
use sluice_wire::Decoder;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{debug, info, warn};

use super::counts::{Counts, ErrorLog};
use super::limits::LimitsConfig;
use super::receive::{self, Receiver};
use super::roster::Roster;
use crate::Invalid;

/// Most sockets, and so threads, of one source.
const MOST_SOCKETS: u64 = 64;
/// Most rows of a batch: a plugin sees a batch as a whole, in memory that has a limit.
pub(super) const MOST_BATCH_ROWS: u64 = 1 << 16;
/// Longest time that a thread waits for a datagram before it looks whether it is to stop.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Longest time that a stopping source goes on taking what the kernel holds for it.
const DRAIN: Duration = Duration::from_millis(200);
/// A thread that has taken all there was is ahead of the network. A wake-up costs as much as ten datagrams, so it lets some
/// gather before it looks again, for this long at most.
const GATHER: Duration = Duration::from_millis(4);
/// Where the receive buffer has no room for as long as this, every datagram is taken at once.
const SHORTEST_GATHER: Duration = Duration::from_millis(1);
/// Bytes of the receive buffer that a burst takes in a second: 10 Gbit/s, and as much again for the kernel's bookkeeping.
const BURST: f64 = 2.5e9;
/// Time between two publications of what the decoder counts.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);

/// `[sources.NAME]` with `type = "udp"`: receives NetFlow v1, v5, v7 and v9, IPFIX and sFlow v5, told apart by
/// their first bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpConfig {
    /// Address and port to receive on, e.g. `"[::]:2055"`, which takes IPv4 too, or `"192.0.2.1:2055"`.
    /// Required. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Sockets on that port, each with a thread and a decoder of its own, e.g. `2`. The kernel gives
    /// every exporter to one of them. Default 1; 1 to 64.
    #[serde(default = "default_sockets")]
    pub sockets: usize,
    /// Rows that close a batch, e.g. `4096`. Default 32768; 1 to 65536. A batch can be larger by what one
    /// datagram brings.
    #[serde(default = "default_batch_rows")]
    pub batch_rows: usize,
    /// Milliseconds a row may wait for its batch to fill, e.g. `50`. Default 200; 1 to 60000.
    #[serde(default = "default_batch_delay_ms")]
    pub batch_delay_ms: u64,
    /// Bytes that the kernel may hold for each socket while the thread is busy, e.g. `67108864`. What the
    /// system grants is reported. Default 16777216 (16 MiB); 65536 to 1073741824.
    #[serde(default = "default_receive_buffer_bytes")]
    pub receive_buffer_bytes: usize,
    /// What exporters may make the decoder keep.
    #[serde(default)]
    pub limits: LimitsConfig,
}

fn default_sockets() -> usize {
    1
}

/// Between two batches of a live source the caches go cold: larger ones cost less a row.
pub(super) fn default_batch_rows() -> usize {
    32768
}

fn default_batch_delay_ms() -> u64 {
    200
}

fn default_receive_buffer_bytes() -> usize {
    16 << 20
}

impl UdpConfig {
    /// A source on `listen` with every other key at its default.
    #[must_use]
    pub fn new(listen: SocketAddr) -> UdpConfig {
        UdpConfig {
            listen,
            sockets: default_sockets(),
            batch_rows: default_batch_rows(),
            batch_delay_ms: default_batch_delay_ms(),
            receive_buffer_bytes: default_receive_buffer_bytes(),
            limits: LimitsConfig::default(),
        }
    }

    /// Checks what the types cannot. Opens nothing.
    ///
    /// # Errors
    /// A number out of its range.
    pub fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless_within("sockets", self.sockets as u64, 1, MOST_SOCKETS)?;
        Invalid::unless_within("batch_rows", self.batch_rows as u64, 1, MOST_BATCH_ROWS)?;
        Invalid::unless_within("batch_delay_ms", self.batch_delay_ms, 1, 60_000)?;
        Invalid::unless_within("receive_buffer_bytes", self.receive_buffer_bytes as u64, 1 << 16, 1 << 30)?;
        self.limits.validate()
    }
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The configuration cannot work.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The system refuses the socket.
    #[error("cannot receive on udp {listen}")]
    Socket {
        /// The address and port asked for.
        listen: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// The error with what to do about it, where that is known.
fn with_way_out(error: io::Error) -> io::Error {
    let way_out = match error.kind() {
        io::ErrorKind::AddrInUse => "another process receives there: stop it, or use another port",
        io::ErrorKind::AddrNotAvailable => "use an address of this machine, or `[::]` for all of them",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or use another port",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {way_out}"))
}

/// The sockets of one source: open, and receiving into the kernel's buffers, but not yet read.
#[derive(Debug)]
pub struct UdpSockets {
    name: String,
    config: UdpConfig,
    /// Each with the kernel's count of its drops as it was last read, whichever source reads the socket then.
    sockets: Vec<(Socket, Arc<AtomicU32>)>,
    local_addr: SocketAddr,
    receive_buffer_bytes: usize,
}

impl UdpSockets {
    /// Opens the sockets of the source `name`.
    ///
    /// The receive buffer is asked for with `SO_RCVBUFFORCE`, which needs `CAP_NET_ADMIN`, and then with
    /// `SO_RCVBUF`, which the system limits; a smaller one than asked for is a warning, not an error.
    ///
    /// # Errors
    /// The configuration, or the system.
    pub fn bind(name: &str, config: &UdpConfig) -> Result<UdpSockets, BindError> {
        config.validate()?;
        let failed = |source| BindError::Socket { listen: config.listen, source: with_way_out(source) };
        let mut local_addr = config.listen;
        let mut sockets = Vec::new();
        for _ in 0..config.sockets {
            let socket = open(local_addr, config).map_err(failed)?;
            // The system may have chosen the port: the others join it.
            local_addr = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(local_addr);
            sockets.push((socket, Arc::default()));
        }
        let asked = config.receive_buffer_bytes;
        let granted = sockets.iter().filter_map(|(socket, _)| granted(socket).ok()).min().unwrap_or(0);
        info!(source = name, listen = %local_addr, sockets = sockets.len(), receive_buffer_bytes = granted, "receiving");
        if granted < asked {
            warn!(
                source = name,
                asked,
                granted,
                "receive buffer is smaller than asked for, datagrams may be lost in bursts: raise the limit with \
                 `sysctl net.core.rmem_max={asked}`, or give the process CAP_NET_ADMIN"
            );
        }
        Ok(UdpSockets {
            name: name.to_owned(),
            config: config.clone(),
            sockets,
            local_addr,
            receive_buffer_bytes: granted,
        })
    }

    /// The same sockets again, for another source of the same address: what waits in them is not lost.
    ///
    /// # Errors
    /// If the system has no room for more descriptors.
    pub fn again(&self, name: &str, config: &UdpConfig) -> io::Result<UdpSockets> {
        let again = |(socket, drops): &(Socket, _)| Ok((socket.try_clone()?, Arc::clone(drops)));
        Ok(UdpSockets {
            name: name.to_owned(),
            config: config.clone(),
            sockets: self.sockets.iter().map(again).collect::<io::Result<_>>()?,
            local_addr: self.local_addr,
            receive_buffer_bytes: self.receive_buffer_bytes,
        })
    }

    /// Whether `config` asks for these very sockets.
    #[must_use]
    pub fn are_of(&self, config: &UdpConfig) -> bool {
        let own = &self.config;
        (own.listen, own.sockets, own.receive_buffer_bytes)
            == (config.listen, config.sockets, config.receive_buffer_bytes)
    }

    /// The configuration that they were opened for.
    #[must_use]
    pub fn config(&self) -> &UdpConfig {
        &self.config
    }

    /// Where exporters send to: the address asked for, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The receive buffer that the system granted, of the socket that got the least.
    #[must_use]
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// One source per socket, to run on threads of their own. Only the columns in `wanted` are decoded.
    #[must_use]
    pub fn sources(self, schema: &Arc<Schema>, wanted: ColumnSet, metrics: &Metrics) -> Vec<UdpSource> {
        let labels = || vec![("source", self.name.clone())];
        metrics
            .gauge("sluice_source_receive_buffer_bytes", "Receive buffer of a socket, as granted.", labels())
            .set(self.receive_buffer_bytes as f64);
        let pool = Pool::default();
        let source = |(socket, kernel_drops)| UdpSource {
            socket,
            decoder: Decoder::new(Arc::clone(schema), wanted, self.config.limits.limits()),
            open: BatchBuilder::new(Arc::clone(schema), wanted, pool.clone()),
            opened: None,
            batch_rows: self.config.batch_rows,
            batch_delay: Duration::from_millis(self.config.batch_delay_ms),
            gather: gather(self.receive_buffer_bytes),
            counts: Counts::new(metrics, &self.name),
            log: ErrorLog::default(),
            roster: Roster::new(),
            published: Instant::now(),
            kernel_drops,
            now_ms: 0,
            datagrams: metrics.counter("sluice_source_datagrams", "Datagrams received.", labels()),
            cut: metrics.counter("sluice_source_cut_datagrams", "Datagrams longer than the buffer.", labels()),
            dropped: metrics.counter(
                "sluice_source_kernel_dropped_datagrams",
                "Datagrams that the kernel dropped because the receive buffer was full.",
                labels(),
            ),
        };
        self.sockets.into_iter().map(source).collect()
    }
}

fn open(listen: SocketAddr, config: &UdpConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if config.sockets > 1 {
        socket.set_reuse_port(true)?;
    }
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, config.receive_buffer_bytes).is_err() {
        socket.set_recv_buffer_size(config.receive_buffer_bytes)?;
    }
    // Without these datagrams still come: one by one, and with losses seen later.
    if let Err(error) = receive::ask_for_drops(&socket) {
        debug!(error = &error as &dyn std::error::Error, "no SO_RXQ_OVFL");
    }
    if let Err(error) = receive::ask_for_trains(&socket) {
        debug!(error = &error as &dyn std::error::Error, "no UDP_GRO");
    }
    socket.set_read_timeout(Some(LONGEST_WAIT.min(Duration::from_millis(config.batch_delay_ms))))?;
    socket.bind(&listen.into())?;
    Ok(socket)
}

/// The receive buffer in the unit in which it is asked for: Linux keeps twice that, half of it for its
/// own bookkeeping (socket(7)).
fn granted(socket: &Socket) -> io::Result<usize> {
    Ok(socket.recv_buffer_size()? / 2)
}

/// Receives export datagrams on one socket and hands on batches of rows.
///
/// *Backpressure*: an exporter cannot be slowed down, so `run` never waits for the pipeline.
/// *Loss*: a batch that finds the channel full is dropped, and its rows count as `pipeline_full`; what
/// the kernel drops while the thread is busy counts as `sluice_source_kernel_dropped_datagrams_total`.
/// *Shutdown*: on `stop` what the kernel holds is taken, for 200 ms at most; the open batch is handed
/// on; then the socket closes.
#[derive(Debug)]
pub struct UdpSource {
    socket: Socket,
    decoder: Decoder,
    open: BatchBuilder,
    /// When the first row of the open batch came.
    opened: Option<Instant>,
    batch_rows: usize,
    batch_delay: Duration,
    /// How long datagrams may gather in the receive buffer.
    gather: Duration,
    counts: Counts,
    log: ErrorLog,
    roster: Arc<Roster>,
    published: Instant,
    /// The kernel's count of drops when it was last read, by this source or one before it on the same socket.
    kernel_drops: Arc<AtomicU32>,
    /// When the newest datagram came.
    now_ms: u64,
    datagrams: Counter,
    cut: Counter,
    dropped: Counter,
}

impl Source for UdpSource {
    fn run(mut self: Box<Self>, mut out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let mut receiver = Receiver::new();
        while !stop.is_cancelled() {
            if let Some(wanted) = out.wanted() {
                self.hand_on(&out);
                self.decoder.want(wanted);
                self.open.want(wanted);
            }
            let taken = self.receive(&mut receiver, &out)?;
            let now = Instant::now();
            if self.opened.is_some_and(|opened| now - opened >= self.batch_delay) {
                self.hand_on(&out);
            }
            if now - self.published >= PUBLISH_INTERVAL {
                self.publish(now);
            }
            self.roster.answer(&self.decoder);
            if taken > 0 && !receiver.is_full() && !self.gather.is_zero() {
                thread::sleep(self.gather);
            }
        }
        let end = Instant::now() + DRAIN;
        if let Err(error) = self.socket.set_nonblocking(true) {
            return Err(self.failed("taking what is left", error));
        }
        while self.receive(&mut receiver, &out)? > 0 && Instant::now() < end {}
        self.hand_on(&out);
        self.publish(Instant::now());
        self.roster.end(&self.decoder);
        Ok(())
    }
}

impl UdpSource {
    /// Tells of the exporters that the source knows, while it runs.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster)
    }

    /// Takes what is there and decodes it. Returns how many datagrams that were.
    fn receive(&mut self, receiver: &mut Receiver, out: &Outlet) -> Result<u64, SourceError> {
        match receiver.receive(&self.socket) {
            Ok(false) => return Ok(0),
            Ok(true) => {}
            Err(error) => return Err(self.failed("receiving", error)),
        }
        let received_ns = now_ns();
        self.now_ms = received_ns / 1_000_000;
        let (mut datagrams, mut bytes) = (0, 0);
        for datagram in receiver.datagrams() {
            datagrams += 1;
            bytes += datagram.payload.len();
            if datagram.is_cut {
                self.cut.inc();
            }
            let decoded = self.decoder.decode(datagram.exporter, received_ns, datagram.payload, &mut self.open);
            if let Some(error) = &decoded.error {
                self.log.note(self.counts.source(), datagram.exporter, error);
            }
            if self.opened.is_none() && self.open.rows() > 0 {
                self.opened = Some(Instant::now());
            }
            if self.open.rows() >= self.batch_rows {
                self.hand_on(out);
            }
        }
        if let Some(dropped) = receiver.dropped() {
            self.kernel_dropped(dropped);
        }
        self.datagrams.inc_by(datagrams);
        out.account().bytes(bytes);
        Ok(datagrams)
    }

    /// Hands on the open batch, if it has rows.
    fn hand_on(&mut self, out: &Outlet) {
        let Some(opened) = self.opened.take() else { return };
        let batch = self.open.finish(out.next_id(), self.now_ms);
        out.account().batch(opened.elapsed().as_secs_f64());
        // A full pipeline is the account's to count: the exporter cannot be asked to wait.
        out.offer(Parcel { batch, ack: Ack::none() });
    }

    fn publish(&mut self, now: Instant) {
        self.published = now;
        self.counts.publish(self.decoder.stats());
        if let Some(dropped) = receive::drops_of(&self.socket) {
            self.kernel_dropped(dropped);
        }
    }

    /// Counts the drops that are new. What came beside a datagram may be older than what the socket
    /// itself said, and is then no news; the kernel's count wraps around.
    fn kernel_dropped(&self, total: u32) {
        let new = |known: u32| Some(total.wrapping_sub(known)).filter(|new| *new < u32::MAX / 2);
        let is_news = |known| new(known).map(|_| total);
        if let Ok(known) = self.kernel_drops.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_news) {
            self.dropped.inc_by(u64::from(new(known).unwrap_or(0)));
        }
    }

    fn failed(&self, what: &str, error: io::Error) -> SourceError {
        SourceError {
            source_name: self.counts.source().to_owned(),
            what: what.to_owned(),
            cause: Some(Box::new(error)),
        }
    }
}

/// How long datagrams may gather in a receive buffer: no longer than a burst takes to fill it.
fn gather(receive_buffer_bytes: usize) -> Duration {
    let room = Duration::from_secs_f64(receive_buffer_bytes as f64 / BURST).min(GATHER);
    if room < SHORTEST_GATHER { Duration::ZERO } else { room }
}

/// Nanoseconds since the Unix epoch; 0 on a clock that stands before it.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_gather_only_for_as_long_as_there_is_room() {
        assert_eq!(gather(16 << 20), GATHER);
        assert_eq!(gather(5_000_000), Duration::from_millis(2));
        // What a system grants that was not told otherwise.
        assert_eq!(gather(212_992), Duration::ZERO);
    }
}
