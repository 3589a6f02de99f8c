//! Export datagrams that were captured before.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};
use sluice_pipeline::{Ack, Closed, Metrics, Outlet, Parcel, Source, SourceError, Stop};
use sluice_wire::Decoder;
use tracing::info;

use super::counts::{Counts, ErrorLog};
use super::limits::LimitsConfig;
use super::roster::Roster;
use super::udp::MOST_BATCH_ROWS;
use crate::Invalid;
use crate::capture::{self, Capture, CaptureError};

/// Longest time that a source which keeps the capture's timing sleeps before it looks whether it is
/// to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// Time between two lines in the log about how far the source is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Most times that captures are played.
const MOST_REPEATS: u64 = 1_000_000;

/// `[sources.NAME]` with `type = "capture"`: plays captured datagrams; the pipeline ends when it ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureConfig {
    /// Files, or directories whose files are read in the order of their names, e.g.
    /// `["edge.pcap", "datagrams/"]`: pcap, pcapng, or one datagram a file. Required.
    pub paths: Vec<PathBuf>,
    /// `"fast"`: as fast as the pipeline takes it; `"original"`: with the pauses of the capture.
    /// Default `"fast"`.
    #[serde(default)]
    pub timing: Timing,
    /// With `timing = "original"`, how much faster than it was, e.g. `10.0`. Default 1.0.
    #[serde(default = "default_speed")]
    pub speed: f64,
    /// How often everything is played, e.g. `100`; time goes on from one time to the next. Default 1;
    /// 1 to 1000000.
    #[serde(default = "default_repeat")]
    pub repeat: u64,
    /// Rows that close a batch, e.g. `4096`. Default 8192; 1 to 65536.
    #[serde(default = "default_batch_rows")]
    pub batch_rows: usize,
    /// Milliseconds, by the time of the capture, that a batch may span, e.g. `100`. Default 1000;
    /// 1 to 3600000.
    #[serde(default = "default_batch_delay_ms")]
    pub batch_delay_ms: u64,
    /// What exporters may make the decoder keep.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// How fast a capture is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// As fast as the pipeline takes it.
    #[default]
    Fast,
    /// With the capture's own pauses.
    Original,
}

fn default_speed() -> f64 {
    1.0
}

fn default_repeat() -> u64 {
    1
}

fn default_batch_delay_ms() -> u64 {
    1000
}

/// Where batch follows batch, twice as many would be twice the memory, for nothing.
fn default_batch_rows() -> usize {
    8192
}

impl CaptureConfig {
    /// Plays `paths` once, as fast as possible.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> CaptureConfig {
        CaptureConfig {
            paths,
            timing: Timing::Fast,
            speed: default_speed(),
            repeat: default_repeat(),
            batch_rows: default_batch_rows(),
            batch_delay_ms: default_batch_delay_ms(),
            limits: LimitsConfig::default(),
        }
    }

    /// Checks what the types cannot. Opens nothing.
    ///
    /// # Errors
    /// No path, or a number out of its range.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.paths.is_empty() {
            return Err(Invalid::new("paths", "there is nothing to play", "name a file or a directory"));
        }
        if self.speed <= 0.0 || !self.speed.is_finite() {
            return Err(Invalid::new("speed", format!("{} is no speed", self.speed), "use a number above 0"));
        }
        Invalid::unless_within("repeat", self.repeat, 1, MOST_REPEATS)?;
        Invalid::unless_within("batch_rows", self.batch_rows as u64, 1, MOST_BATCH_ROWS)?;
        Invalid::unless_within("batch_delay_ms", self.batch_delay_ms, 1, 3_600_000)?;
        self.limits.validate()
    }
}

/// Plays captured datagrams.
///
/// *Backpressure*: waits for the pipeline. *Loss*: none; what cannot be decoded is counted by reason,
/// as from the network. *Shutdown*: ends with the last datagram, or on `stop` after the datagram at
/// hand; the open batch is handed on. Time is that of the capture.
#[derive(Debug)]
pub struct CaptureSource {
    config: CaptureConfig,
    decoder: Decoder,
    open: BatchBuilder,
    /// Capture time of the first datagram of the open batch, and of the newest.
    opened_ns: u64,
    now_ns: u64,
    filling_since: Instant,
    counts: Counts,
    log: ErrorLog,
    roster: Arc<Roster>,
    datagrams: Counter,
    skipped: Counter,
}

impl CaptureSource {
    /// Looks whether every path can be read, which `sluice check` does too, and makes the source `name`.
    ///
    /// # Errors
    /// [`CaptureError`] of the first path that cannot be opened.
    pub fn open(
        name: &str,
        config: &CaptureConfig,
        schema: &Arc<Schema>,
        wanted: ColumnSet,
        metrics: &Metrics,
    ) -> Result<CaptureSource, CaptureError> {
        for path in &config.paths {
            capture::open(path)?;
        }
        let labels = || vec![("source", name.to_owned())];
        Ok(CaptureSource {
            config: config.clone(),
            decoder: Decoder::new(Arc::clone(schema), wanted, config.limits.limits()),
            open: BatchBuilder::new(Arc::clone(schema), wanted, Pool::default()),
            opened_ns: 0,
            now_ns: 0,
            filling_since: Instant::now(),
            counts: Counts::new(metrics, name),
            log: ErrorLog::default(),
            roster: Roster::new(),
            datagrams: metrics.counter("sluice_source_datagrams", "Datagrams received.", labels()),
            skipped: metrics.counter("sluice_source_skipped_packets", "Captured packets that are no UDP.", labels()),
        })
    }
}

/// Where in time a source is that plays a capture.
#[derive(Debug)]
struct Clock {
    /// Wall-clock and capture time of the first datagram.
    start: Option<(Instant, u64)>,
    /// What is added to the capture's times, so that a repetition goes on where the last one ended.
    shift_ns: u64,
    /// First and last time of this repetition.
    first_ns: Option<u64>,
    last_ns: u64,
}

impl Clock {
    /// The time of a datagram captured at `at_ns`, in this repetition.
    fn at(&mut self, at_ns: u64) -> u64 {
        self.first_ns.get_or_insert(at_ns);
        self.last_ns = self.last_ns.max(at_ns);
        at_ns.saturating_add(self.shift_ns)
    }

    /// Begins the next repetition, a millisecond after the last datagram of this one.
    fn again(&mut self) {
        if let Some(first_ns) = self.first_ns.take() {
            let span = self.last_ns.saturating_sub(first_ns).saturating_add(1_000_000);
            self.shift_ns = self.shift_ns.saturating_add(span);
        }
        self.last_ns = 0;
    }

    /// How long to wait until it is `now_ns` at `speed` times the speed of the capture.
    fn wait(&mut self, now_ns: u64, speed: f64) -> Duration {
        let (began, first_ns) = *self.start.get_or_insert((Instant::now(), now_ns));
        let due = Duration::from_nanos(now_ns.saturating_sub(first_ns)).as_secs_f64() / speed;
        Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX).saturating_sub(began.elapsed())
    }
}

/// How a run of the source ends before its end, if it does.
enum End {
    Stopped,
    Closed,
    Failed(CaptureError),
}

impl From<Closed> for End {
    fn from(Closed: Closed) -> End {
        End::Closed
    }
}

impl Source for CaptureSource {
    fn run(mut self: Box<Self>, mut out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let mut clock = Clock { start: None, shift_ns: 0, first_ns: None, last_ns: 0 };
        let mut progress = Progress { source: self.counts.source().to_owned(), said: Instant::now(), datagrams: 0 };
        let mut ended = Ok(());
        for repetition in 0..self.config.repeat {
            ended = self.play(repetition, &mut clock, &mut progress, &mut out, &stop);
            if ended.is_err() {
                break;
            }
            clock.again();
        }
        let handed_on = self.hand_on(&out);
        self.counts.publish(self.decoder.stats());
        self.roster.end(&self.decoder);
        progress.end();
        match ended {
            Err(End::Failed(error)) => Err(SourceError {
                source_name: progress.source,
                what: "reading a capture".to_owned(),
                cause: Some(Box::new(error)),
            }),
            // The pipeline ended first: it has its reason, and says it.
            Err(End::Closed | End::Stopped) | Ok(()) => {
                if handed_on.is_err() {
                    info!(source = progress.source, "the pipeline ended before the capture");
                }
                Ok(())
            }
        }
    }

    fn is_live(&self) -> bool {
        false
    }
}

impl CaptureSource {
    /// Tells of the exporters that the source knows, while it runs and after that.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster)
    }

    /// Plays every path once.
    fn play(
        &mut self,
        repetition: u64,
        clock: &mut Clock,
        progress: &mut Progress,
        out: &mut Outlet,
        stop: &Stop,
    ) -> Result<(), End> {
        for (number, path) in self.config.paths.clone().iter().enumerate() {
            let mut capture = capture::open(path).map_err(End::Failed)?;
            while let Some(datagram) = capture.next() {
                if stop.is_cancelled() {
                    return Err(End::Stopped);
                }
                if let Some(wanted) = out.wanted() {
                    self.hand_on(out)?;
                    self.decoder.want(wanted);
                    self.open.want(wanted);
                }
                let datagram = datagram.map_err(End::Failed)?;
                let at_ns = clock.at(datagram.at_ns);
                if self.open.rows() > 0
                    && at_ns.saturating_sub(self.opened_ns) >= self.config.batch_delay_ms * 1_000_000
                {
                    self.hand_on(out)?;
                }
                if self.config.timing == Timing::Original {
                    self.sleep(clock, at_ns, stop)?;
                }
                self.decode(datagram.exporter, at_ns, &datagram.payload, out)?;
                progress.say(repetition, self.config.repeat, number, self.config.paths.len(), &capture);
            }
            self.skipped.inc_by(capture.skipped().map(|(_, packets)| packets).sum());
            self.counts.publish(self.decoder.stats());
        }
        Ok(())
    }

    fn sleep(&mut self, clock: &mut Clock, at_ns: u64, stop: &Stop) -> Result<(), End> {
        loop {
            self.roster.answer(&self.decoder);
            let wait = clock.wait(at_ns, self.config.speed);
            if wait.is_zero() {
                return Ok(());
            }
            if stop.is_cancelled() {
                return Err(End::Stopped);
            }
            thread::sleep(wait.min(LONGEST_SLEEP));
        }
    }

    fn decode(&mut self, exporter: std::net::IpAddr, at_ns: u64, payload: &[u8], out: &Outlet) -> Result<(), Closed> {
        if self.open.rows() == 0 {
            self.opened_ns = at_ns;
            self.filling_since = Instant::now();
        }
        self.now_ns = at_ns;
        self.datagrams.inc();
        out.account().bytes(payload.len());
        let decoded = self.decoder.decode(exporter, at_ns, payload, &mut self.open);
        if let Some(error) = &decoded.error {
            self.log.note(self.counts.source(), exporter, error);
        }
        if self.open.rows() >= self.config.batch_rows { self.hand_on(out) } else { Ok(()) }
    }

    /// Hands on the open batch, if it has rows, and waits until there is room for it.
    fn hand_on(&mut self, out: &Outlet) -> Result<(), Closed> {
        if self.open.rows() == 0 {
            return Ok(());
        }
        let batch = self.open.finish(out.next_id(), self.now_ns / 1_000_000);
        out.account().batch(self.filling_since.elapsed().as_secs_f64());
        self.counts.publish(self.decoder.stats());
        self.roster.answer(&self.decoder);
        out.send(Parcel { batch, ack: Ack::none() })
    }
}

/// Says in the log how far a source is, every few seconds.
#[derive(Debug)]
struct Progress {
    source: String,
    said: Instant,
    datagrams: u64,
}

impl Progress {
    fn say(&mut self, repetition: u64, repeat: u64, number: usize, paths: usize, capture: &Capture) {
        self.datagrams += 1;
        // A look at the clock for every datagram would cost more than it tells.
        if !self.datagrams.is_multiple_of(1024) || self.said.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.said = Instant::now();
        let path = (number as f64 + capture.progress()) / paths as f64;
        let percent = (repetition as f64 + path) / repeat as f64 * 100.0;
        info!(source = self.source, datagrams = self.datagrams, "playing captures: {percent:.0} %");
    }

    fn end(&self) {
        info!(source = self.source, datagrams = self.datagrams, "captures played");
    }
}
