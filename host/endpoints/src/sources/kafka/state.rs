//! What a consumer has read, and what of it has arrived.

mod commit;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use prometheus_client::metrics::counter::Counter;
use rdkafka::message::{Message, OwnedMessage};
use sluice_flow::{BatchBuilder, ColumnSet, Schema};
use sluice_pipeline::{Ack, BoxError, Metrics, NoRoom, Outcome, Outlet, Parcel, Stop};
use tracing::{info, warn};

use super::decode::{Bad, Decode};
use super::tracker::{Slot, Tracker};
use crate::kafka::{DeadLetters, Letter, Transactions};

/// Values that are looked at to find out what they are.
const DETECT_VALUES: usize = 100;
/// Time after which fewer have to do.
const DETECT_TIME: Duration = Duration::from_secs(5);
/// Time between two lines of the log about values that cannot be read.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Number of a batch, and what became of it.
type Settled = (u64, Outcome);

/// The state of one consumer.
pub(super) struct State {
    pub(super) name: String,
    pub(super) out: Option<Outlet>,
    open: Open,
    /// Open batches of other partitions, where each has its own.
    parked: Vec<Open>,
    /// Batches have rows of one partition only.
    by_partition: bool,
    schema: Arc<Schema>,
    wanted: ColumnSet,
    /// Columns that are to be read from the next batches on.
    wish: Option<ColumnSet>,
    decode: Decode,
    /// Values that wait for their format to be found out.
    held: Vec<OwnedMessage>,
    tracker: Tracker,
    /// The partitions that are or were assigned.
    partitions: Vec<Partition>,
    /// Which of them had the last value.
    last: Slot,
    settled: (Sender<Settled>, Receiver<Settled>),
    /// A batch that found no room.
    waiting: Option<Parcel>,
    last_commit: Instant,
    pub(super) transactions: Option<Arc<Transactions>>,
    /// Cancelled when the process is to end.
    pub(super) stop: Stop,
    /// Nothing is read and nothing is committed any more.
    pub(super) is_over: bool,
    /// What was committed before is committed again, too.
    must_commit_again: bool,
    /// A transaction was taken back: reading begins again where the last one ended.
    pub(super) must_rewind: bool,
    /// Partitions whose end was reached.
    pub(super) ended: BTreeSet<i32>,
    aborts_in_a_row: u32,
    pub(super) letters: Option<DeadLetters>,
    /// Why the source cannot go on.
    pub(super) failure: Option<(&'static str, BoxError)>,
    metrics: Arc<Metrics>,
    values: Counter,
    commits: Counter,
    failed_commits: Counter,
    bad: HashMap<&'static str, Counter>,
    said: Option<Instant>,
}

/// A batch that is being filled.
struct Open {
    /// Whose rows it has, where each partition has its own.
    slot: Slot,
    builder: BatchBuilder,
    /// When the first row was read.
    since: Option<Instant>,
    /// When the newest value was written.
    now_ms: u64,
}

#[derive(Debug)]
struct Partition {
    /// What batches say that they are of, where each partition has its own.
    rows_of: Option<Arc<sluice_flow::Partition>>,
    topic: String,
    number: i32,
    /// Whether it is still assigned.
    is_live: bool,
    /// Where reading begins again if the transaction is taken back.
    resume: i64,
}

impl State {
    pub(super) fn new(
        name: &str,
        (schema, wanted): (&Arc<Schema>, ColumnSet),
        builder: BatchBuilder,
        decode: Decode,
        by_partition: bool,
        metrics: &Arc<Metrics>,
    ) -> State {
        let counter = |metric, help| metrics.counter(metric, help, vec![("source", name.to_owned())]);
        State {
            name: name.to_owned(),
            out: None,
            open: Open { slot: 0, builder, since: None, now_ms: 0 },
            parked: Vec::new(),
            by_partition,
            schema: Arc::clone(schema),
            wanted,
            wish: None,
            decode,
            held: Vec::new(),
            tracker: Tracker::default(),
            partitions: Vec::new(),
            last: 0,
            settled: crossbeam_channel::unbounded(),
            waiting: None,
            last_commit: Instant::now(),
            transactions: None,
            stop: Stop::new(),
            is_over: false,
            must_commit_again: false,
            must_rewind: false,
            ended: BTreeSet::new(),
            aborts_in_a_row: 0,
            letters: None,
            failure: None,
            values: counter("sluice_source_kafka_values", "Values read."),
            commits: counter("sluice_source_kafka_commits", "Commits of offsets."),
            failed_commits: counter("sluice_source_kafka_failed_commits", "Commits of offsets that failed."),
            bad: HashMap::new(),
            said: None,
            metrics: Arc::clone(metrics),
        }
    }

    fn slot(&mut self, topic: &str, number: i32) -> Slot {
        let is_it = |partition: &Partition| partition.is_live && partition.number == number && partition.topic == topic;
        if self.partitions.get(self.last).is_some_and(is_it) {
            return self.last;
        }
        self.last = self.partitions.iter().rposition(is_it).unwrap_or_else(|| {
            let rows_of = self.by_partition.then(|| Arc::new(sluice_flow::Partition::new(format!("{topic}-{number}"))));
            self.partitions.push(Partition { rows_of, topic: topic.to_owned(), number, is_live: true, resume: -1 });
            self.partitions.len() - 1
        });
        self.last
    }

    /// The place of a value's partition. Where its first value is, reading begins again, if it comes to that.
    pub(super) fn see(&mut self, message: &impl Message) -> Slot {
        let slot = self.slot(message.topic(), message.partition());
        if let Some(partition) = self.partitions.get_mut(slot).filter(|partition| partition.resume < 0) {
            partition.resume = message.offset();
        }
        slot
    }

    /// Behind the last value of a partition whose rows have all arrived and whose offset is committed, or soon will be.
    pub(super) fn settled_to(&self, topic: &str, number: i32) -> Option<i64> {
        let mut partitions = self.partitions.iter().filter(|partition| partition.is_live);
        let found = partitions.find(|partition| partition.number == number && partition.topic == topic)?;
        (found.resume >= 0).then_some(found.resume)
    }

    /// Takes in a value.
    pub(super) fn take(&mut self, message: &impl Message) {
        if matches!(self.decode, Decode::Detect) {
            let timestamp = message.timestamp();
            self.held.push(OwnedMessage::new(
                message.payload().map(<[u8]>::to_vec),
                message.key().map(<[u8]>::to_vec),
                message.topic().to_owned(),
                timestamp,
                message.partition(),
                message.offset(),
                None,
            ));
            self.open.since.get_or_insert_with(Instant::now);
            if self.held.len() >= DETECT_VALUES {
                self.detect();
            }
            return;
        }
        let (slot, offset) = (self.see(message), message.offset());
        let value = message.payload().unwrap_or_default();
        self.values.inc();
        if let Some(out) = &self.out {
            out.account().bytes(value.len());
        }
        self.turn_to(slot);
        let now_ms = message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok());
        self.open.now_ms = now_ms.unwrap_or(self.open.now_ms);
        // A value that is null is a grave stone of a compacted topic: there is nothing to read.
        if message.payload().is_some()
            && let Err(bad) = self.decode.value(value, &mut self.open.builder)
        {
            self.put_aside(message, &bad);
            if self.failure.is_some() {
                return;
            }
        }
        if self.open.since.is_none() {
            self.open.since = Some(Instant::now());
        }
        self.tracker.read(slot, offset);
    }

    /// Goes on with the batch of this partition, where each has its own.
    #[inline]
    fn turn_to(&mut self, slot: Slot) {
        if !self.by_partition || self.open.slot == slot {
            return;
        }
        let open = match self.parked.iter().position(|open| open.slot == slot) {
            Some(at) => self.parked.swap_remove(at),
            None => Open { slot, builder: self.open.builder.another(), since: None, now_ms: self.open.now_ms },
        };
        self.parked.push(std::mem::replace(&mut self.open, open));
    }

    /// A value that cannot be read: counted, said, and kept for whoever wants to look at it.
    #[cold]
    fn put_aside(&mut self, message: &impl Message, bad: &Bad) {
        let (metrics, name) = (&self.metrics, &self.name);
        let counter = self.bad.entry(bad.reason).or_insert_with(|| {
            let labels = vec![("source", name.clone()), ("reason", bad.reason.to_owned())];
            metrics.counter("sluice_source_kafka_bad_values", "Values that cannot be read, by reason.", labels)
        });
        counter.inc();
        if self.said.is_none_or(|said| said.elapsed() >= LOG_INTERVAL) {
            self.said = Some(Instant::now());
            let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
            let reason = bad.reason;
            warn!(source = self.name, topic, partition, offset, reason, error = bad.error, "value cannot be read");
        }
        let Some(letters) = &self.letters else { return };
        let letter = Letter {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            reason: bad.reason,
            error: &bad.error,
            key: message.key(),
            value: message.payload().unwrap_or_default(),
        };
        if let Err(error) = letters.put(&letter) {
            self.failure = Some(("keeping a dead letter", error.into()));
        }
    }

    /// Finds out what the values are that were held.
    pub(super) fn detect(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let values: Vec<&[u8]> = self.held.iter().filter_map(Message::payload).collect();
        let Some((decode, format)) = Decode::detect(&values, &self.schema, &self.wanted) else {
            let why = "the first values are not of one format and framing that is known: say which with `format` and `framing`";
            self.failure = Some(("detecting the format", why.into()));
            return;
        };
        info!(source = self.name, format, values = values.len(), "format found out");
        self.decode = decode;
        self.open.since = None;
        for message in std::mem::take(&mut self.held) {
            self.take(&message);
        }
    }

    /// Rows in the open batch.
    pub(super) fn rows(&self) -> usize {
        self.open.builder.rows()
    }

    /// Does what is due by time.
    pub(super) fn look_at_the_clock(&mut self, batch_delay: Duration) {
        let waited = |open: &Open| open.since.map(|since| since.elapsed());
        if !self.held.is_empty() {
            if waited(&self.open).is_some_and(|waited| waited >= DETECT_TIME) {
                self.detect();
            }
            return;
        }
        self.each_open(|this| {
            if waited(&this.open).is_some_and(|waited| waited >= batch_delay) {
                this.hand_on();
            }
        });
    }

    /// Takes note of what columns are wanted, once every open batch is handed on.
    pub(super) fn look_at_the_wish(&mut self) {
        if let Some(wish) = self.out.as_mut().and_then(Outlet::wanted) {
            self.wish = Some(wish);
        }
        let Some(wish) = self.wish else { return };
        if self.held.is_empty() {
            self.each_open(State::hand_on);
        }
        let is_empty = |open: &Open| open.builder.rows() == 0;
        if is_empty(&self.open) && self.parked.iter().all(is_empty) {
            self.wish = None;
            self.wanted = wish;
            self.decode.want(&wish);
            self.open.builder.want(wish);
            self.parked.iter_mut().for_each(|open| open.builder.want(wish));
        }
    }

    /// Does `act` with each open batch in the place of the one that is being filled.
    fn each_open(&mut self, act: impl Fn(&mut State)) {
        act(self);
        for at in 0..self.parked.len() {
            std::mem::swap(&mut self.open, &mut self.parked[at]);
            act(self);
        }
    }

    /// Hands the open batch on, if there is room. While another one waits for room, it stays open.
    pub(super) fn hand_on(&mut self) {
        if self.waiting.is_some() && !self.make_room(Duration::ZERO) {
            return;
        }
        self.open.since = None;
        let slot = self.open.slot;
        let number = match self.by_partition {
            true if self.tracker.has_open_of(slot) => self.tracker.close_of(slot),
            false if self.tracker.has_open() => self.tracker.close(),
            _ => return,
        };
        let Some(out) = self.out.as_ref().filter(|_| self.open.builder.rows() > 0) else {
            self.tracker.settle(number, Outcome::Settled);
            return;
        };
        let mut batch = self.open.builder.finish(out.next_id(), self.open.now_ms);
        if self.by_partition {
            batch.set_partition(self.partitions.get(slot).and_then(|partition| partition.rows_of.clone()));
        }
        let settled = self.settled.0.clone();
        let ack = Ack::new(move |outcome| {
            // Where nobody listens any more, nothing is committed any more.
            settled.send((number, outcome)).unwrap_or_default();
        });
        self.waiting = Some(Parcel { batch, ack });
        self.make_room(Duration::ZERO);
    }

    /// Tries again to hand on the batch that found no room. Returns whether there is none left.
    pub(super) fn make_room(&mut self, patience: Duration) -> bool {
        let (Some(out), Some(parcel)) = (&self.out, self.waiting.take()) else { return true };
        match out.send_timeout(parcel, patience) {
            Ok(()) => true,
            Err(NoRoom::Full(parcel)) => {
                self.waiting = Some(*parcel);
                false
            }
            // The pipeline has ended; the batch is counted and failed.
            Err(NoRoom::Closed) => true,
        }
    }

    /// Takes in what has arrived; waits for the first news for `patience`.
    pub(super) fn listen(&mut self, patience: Duration) {
        if !patience.is_zero()
            && let Ok((number, outcome)) = self.settled.1.recv_timeout(patience)
        {
            self.tracker.settle(number, outcome);
        }
        while let Ok((number, outcome)) = self.settled.1.try_recv() {
            self.tracker.settle(number, outcome);
        }
    }

    /// Nothing more is read of any partition; whoever keeps something of them has let go of it when this returns.
    pub(super) fn end_partitions(&mut self, has_arrived: bool) {
        let is_complete = has_arrived && !self.reads_again();
        for partition in self.partitions.iter().filter(|partition| partition.is_live) {
            partition.rows_of.iter().for_each(|rows_of| rows_of.end(is_complete));
        }
    }

    /// Whether rows that were handed on will come once more, here or to whoever has the partition next.
    fn reads_again(&self) -> bool {
        self.must_rewind || self.tracker.has_failed()
    }

    pub(super) fn under_way(&self) -> usize {
        self.tracker.under_way()
    }

    /// Waits until everything that was read has arrived, or for `patience`.
    pub(super) fn drain(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            self.each_open(State::hand_on);
            self.listen(Duration::ZERO);
            if self.waiting.is_none() && self.tracker.under_way() == 0 && !self.tracker.has_open() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            self.make_room(Duration::from_millis(20));
            self.listen(Duration::from_millis(20));
        }
    }
}
