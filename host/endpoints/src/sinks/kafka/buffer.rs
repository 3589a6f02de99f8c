//! The disk buffer: rows wait on disk until the brokers have them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use sluice_pipeline::{BoxError, Delivery, Metrics, SinkError, Stop};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::BufferConfig;
use super::pack::Message;
use super::sink::{Out, send};
use super::topics::Topics;
use crate::disk_queue::{DiskQueue, Entry, PushError, Queued, Seq};
use crate::kafka::{Flight, KafkaError, RowsIn};

/// Entries (batches) that are on their way to the brokers at a time.
const MOST_UNDER_WAY: usize = 16;
/// Delay before an entry that came back is sent again.
const RETRY: Duration = Duration::from_secs(1);
/// Time between two looks whether librdkafka has room again.
const FULL: Duration = Duration::from_millis(2);
/// Longest time that a sink that closes goes on emptying its buffer. The rest waits on disk.
const CLOSING: Duration = Duration::from_secs(5);

/// The writing end.
#[derive(Clone)]
pub(super) struct Queue {
    disk: Arc<DiskQueue>,
    news: Arc<Notify>,
    levels: Levels,
}

#[derive(Clone)]
struct Levels {
    rows: Gauge<f64, std::sync::atomic::AtomicU64>,
    bytes: Gauge<f64, std::sync::atomic::AtomicU64>,
    delivered: Counter,
    rejected: Counter,
}

/// A queue on disk, and the thread that empties it.
pub(super) struct Buffer {
    queue: Queue,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Buffer {
    pub(super) fn open(
        name: &str,
        config: &BufferConfig,
        out: Out,
        topics: Topics,
        rows_in: RowsIn,
        metrics: &Metrics,
    ) -> Result<Buffer, KafkaError> {
        let failed =
            |path: &PathBuf, source: BoxError| KafkaError::Open { what: "the disk buffer", path: path.clone(), source };
        let disk =
            DiskQueue::open(&config.path, config.max_bytes).map_err(|error| failed(&config.path, error.into()))?;
        let labels = || vec![("sink", name.to_owned())];
        let levels = Levels {
            rows: metrics.gauge("sluice_sink_buffer_rows", "Rows that wait on disk.", labels()),
            bytes: metrics.gauge("sluice_sink_buffer_bytes", "Bytes that wait on disk.", labels()),
            delivered: metrics.counter(
                "sluice_sink_buffer_delivered_rows",
                "Rows that left the disk for the brokers.",
                labels(),
            ),
            rejected: metrics.counter(
                "sluice_sink_buffer_rejected_rows",
                "Rows that left the disk and that the brokers will never accept.",
                labels(),
            ),
        };
        if !disk.is_empty() {
            info!(sink = name, rows = disk.rows(), bytes = disk.bytes(), "rows of an earlier run wait on disk");
        }
        let queue = Queue { disk: Arc::new(disk), news: Arc::new(Notify::new()), levels };
        queue.publish();
        let stop = Stop::new();
        let drain = Drain {
            sink: name.to_owned(),
            queue: queue.clone(),
            out,
            topics,
            stop: stop.clone(),
            under_way: VecDeque::new(),
            done: None,
            rows_in,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| failed(&config.path, error.into()))?;
        let thread =
            std::thread::Builder::new().name(format!("{name}-buffer")).spawn(move || runtime.block_on(drain.run()));
        let thread = thread.map_err(|error| failed(&config.path, error.into()))?;
        Ok(Buffer { queue, stop, thread: Some(thread) })
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Empties the buffer as far as the brokers take it within a few seconds. The rest stays on disk.
    pub(super) async fn close(mut self) {
        self.stop.cancel();
        self.queue.news.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; what was not delivered is on disk.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Queue {
    /// Appends an entry; it is on disk when this returns.
    pub(super) fn push(&self, entry: &EntryWriter) -> Result<(), PushError> {
        if entry.rows == 0 {
            return Ok(());
        }
        let rows = u32::try_from(entry.rows).unwrap_or(u32::MAX);
        match self.disk.push(&[Entry { rows, bytes: &entry.bytes }]) {
            Ok(()) => {
                self.publish();
                self.news.notify_one();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn publish(&self) {
        self.levels.rows.set(self.disk.rows() as f64);
        self.levels.bytes.set(self.disk.bytes() as f64);
    }
}

/// An entry that is being written: messages one after another, each as topic, key, rows and value.
#[derive(Default)]
pub(super) struct EntryWriter {
    bytes: Vec<u8>,
    rows: usize,
}

/// In place of the length of a key: there is none.
const NO_KEY: u32 = u32::MAX;

/// Beside the number of rows, which is far below: headers follow.
const HAS_HEADERS: u32 = 1 << 31;

impl EntryWriter {
    pub(super) fn add(&mut self, message: &Message<'_>) {
        let mut put = |bytes: &[u8]| {
            self.bytes.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(bytes);
        };
        put(message.topic.as_bytes());
        put(message.value);
        match message.key {
            Some(key) => put(key),
            None => self.bytes.extend_from_slice(&NO_KEY.to_le_bytes()),
        }
        let rows = message.rows as u32;
        if message.headers.is_empty() {
            self.bytes.extend_from_slice(&rows.to_le_bytes());
        } else {
            self.bytes.extend_from_slice(&(rows | HAS_HEADERS).to_le_bytes());
            self.bytes.extend_from_slice(&(message.headers.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(message.headers);
        }
        self.rows += message.rows;
    }
}

/// The next message of an entry; `None` behind the last.
fn next<'a>(left: &mut &'a [u8]) -> Option<Message<'a>> {
    let number = |left: &mut &'a [u8]| {
        let (number, rest) = left.split_first_chunk()?;
        *left = rest;
        Some(u32::from_le_bytes(*number))
    };
    let bytes = |left: &mut &'a [u8], length: u32| {
        let (bytes, rest) = left.split_at_checked(length as usize)?;
        *left = rest;
        Some(bytes)
    };
    let length = number(left)?;
    let topic = std::str::from_utf8(bytes(left, length)?).ok()?;
    let length = number(left)?;
    let value = bytes(left, length)?;
    let key = match number(left)? {
        NO_KEY => None,
        length => Some(bytes(left, length)?),
    };
    let rows = number(left)?;
    let headers = if rows & HAS_HEADERS == 0 {
        &[]
    } else {
        let length = number(left)?;
        bytes(left, length)?
    };
    Some(Message { topic, key, value, rows: (rows & !HAS_HEADERS) as usize, headers })
}

/// Empties the queue.
struct Drain {
    sink: String,
    queue: Queue,
    out: Out,
    topics: Topics,
    stop: Stop,
    under_way: VecDeque<(Queued, Delivery)>,
    /// The last entry that is no longer in the queue.
    done: Option<Seq>,
    rows_in: RowsIn,
}

impl Drain {
    async fn run(mut self) {
        let mut last: Option<Seq> = None;
        let mut end: Option<Instant> = None;
        let mut is_stuck = false;
        loop {
            match self.fill(&mut last).await {
                Ok(()) => is_stuck = false,
                Err(problem) => {
                    if !std::mem::replace(&mut is_stuck, true) {
                        let error = sluice_pipeline::chain(&*problem);
                        warn!(sink = self.sink, error, "disk buffer cannot be emptied, trying again until it can");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
            let is_over = end.is_some_and(|end| self.under_way.is_empty() || Instant::now() >= end);
            if is_over {
                if !self.queue.disk.is_empty() {
                    warn!(sink = self.sink, rows = self.queue.disk.rows(), "rows wait on disk for the next run");
                }
                return;
            }
            tokio::select! {
                outcome = first(&mut self.under_way) => self.finish(outcome, &mut last).await,
                () = self.queue.news.notified(), if self.under_way.len() < MOST_UNDER_WAY => {}
                () = self.stop.cancelled(), if end.is_none() => end = Some(Instant::now() + CLOSING),
                () = tokio::time::sleep(RETRY), if end.is_some() || is_stuck => {}
            }
        }
    }

    /// Sends entries until as many are under way as may be, or there are no more.
    async fn fill(&mut self, last: &mut Option<Seq>) -> Result<(), BoxError> {
        while self.under_way.len() < MOST_UNDER_WAY {
            let Some(entry) = self.queue.disk.peek(*last, 1)?.pop() else { return Ok(()) };
            let delivery = self.send(&entry).await?;
            *last = Some(entry.seq);
            self.under_way.push_back((entry, delivery));
        }
        Ok(())
    }

    async fn send(&mut self, entry: &Queued) -> Result<Delivery, BoxError> {
        let (flight, delivery) = Flight::new(&self.sink, self.rows_in);
        let mut left = entry.bytes.as_slice();
        while let Some(message) = next(&mut left) {
            self.topics.ensure_named(message.topic).await?;
            loop {
                match send(self.out.producer(), &message, &flight, || true) {
                    Ok(()) => break,
                    Err(ClientError::MessageProduction(RDKafkaErrorCode::QueueFull)) if !self.stop.is_cancelled() => {
                        tokio::time::sleep(FULL).await;
                    }
                    Err(error) => {
                        let why = error.to_string();
                        self.out.producer().context().refuse(&error, &message.letter("not_sent", &why))?;
                        flight.reject(why, message.rows);
                        break;
                    }
                }
            }
        }
        Ok(delivery)
    }

    /// Takes in what became of the first entry under way.
    async fn finish(&mut self, outcome: Result<(), SinkError>, last: &mut Option<Seq>) {
        let Some((entry, _)) = self.under_way.pop_front() else { return };
        let rows = entry.rows as usize;
        let rejected = match outcome {
            Ok(()) | Err(SinkError::LeftOut { .. }) => 0,
            Err(SinkError::Rejected { rows: rejected, source, .. }) => {
                error!(sink = self.sink, rejected, error = sluice_pipeline::chain(&*source), "rows rejected");
                rejected.min(rows)
            }
            Err(problem) => {
                warn!(
                    sink = self.sink,
                    error = &problem as &dyn std::error::Error,
                    "rows came back, sending them again"
                );
                tokio::time::sleep(RETRY).await;
                // This entry, and with it everything behind it, once what is under way has ended.
                self.topics.doubt();
                self.under_way.clear();
                *last = self.done;
                return;
            }
        };
        self.done = Some(entry.seq);
        self.queue.levels.rejected.inc_by(rejected as u64);
        self.queue.levels.delivered.inc_by((rows - rejected) as u64);
        if let Err(problem) = self.queue.disk.remove_through(entry.seq) {
            // It is sent again in the next run: rows may come twice, and none is lost.
            error!(sink = self.sink, error = &problem as &dyn std::error::Error, "disk buffer cannot be written");
        }
        self.queue.publish();
    }
}

/// The outcome of the first entry; never, if none is under way.
async fn first(under_way: &mut VecDeque<(Queued, Delivery)>) -> Result<(), SinkError> {
    let Some((_, delivery)) = under_way.front_mut() else { return std::future::pending().await };
    delivery.await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_gives_back_its_messages_and_nothing_of_a_cut_one() {
        let messages = [
            Message { topic: "a", key: None, value: b"one", rows: 1, headers: b"" },
            Message { topic: "b", key: Some(b""), value: b"", rows: 0, headers: b"" },
            Message { topic: "c", key: Some(b"k"), value: b"three", rows: 300, headers: b"why" },
        ];
        let mut entry = EntryWriter::default();
        messages.iter().for_each(|message| entry.add(message));
        assert_eq!(entry.rows, 301);
        let read =
            |mut left: &[u8]| std::iter::from_fn(|| next(&mut left)).map(|m| format!("{m:?}")).collect::<Vec<_>>();
        let written: Vec<String> = messages.iter().map(|message| format!("{message:?}")).collect();
        assert_eq!(read(&entry.bytes), written);
        for length in 0..entry.bytes.len() {
            let read = read(&entry.bytes[..length]);
            assert!(read.len() < 3 && written.starts_with(&read), "{length}");
        }
    }
}
