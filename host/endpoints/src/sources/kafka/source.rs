//! The source itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as ClientError;
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};
use sluice_pipeline::{BoxError, Metrics, Outlet, Source, SourceError, Stop};
use tracing::{info, warn};

use super::KafkaSourceConfig;
use super::consume::Context;
use super::decode::Decode;
use super::state::State;
use crate::kafka::{DeadLetters, KafkaError, Transactions, probe};

/// Longest time in one call of librdkafka; how soon the end and the clock are looked at.
const WAIT: Duration = Duration::from_millis(50);
/// Longest time that an event of librdkafka that is there takes to be told.
const EVENT: Duration = Duration::from_millis(10);
/// Values after which the clock is looked at even if there are always more.
const VALUES_AT_ONCE: usize = 64;
/// Time after which a source that finds no room tells the brokers to send nothing more, and goes on answering
/// them. (What was fetched ahead is thrown away by that, so it is not done for a moment.)
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// Time between two looks at how far a source that is paused lags behind.
const LAGS: Duration = Duration::from_secs(5);
/// Longest time that a source which ends waits for what it read to arrive.
const LAST_WAIT: Duration = Duration::from_secs(120);
/// Longest time that it waits for the brokers' answer to its last commit and to its leaving the group.
const LEAVE: Duration = Duration::from_secs(2);

/// What others want of the rows that a source reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Keep fields unknown to sluice: some sink can write them.
    pub keep_unknown: bool,
    /// Keep partitions apart, each batch with rows of one only: some stage has an instance for each.
    pub by_partition: bool,
}

/// Reads topics as a member of a consumer group.
///
/// *Delivery*: an offset is committed when all rows up to it have arrived, so that rows may come twice and none
/// is lost; or in a transaction with what was written. *Backpressure*: with `max_in_flight` batches under way, or no room in the pipeline,
/// no more is read; the group goes on. *Loss*: values that cannot be read are counted, and dead letters if there is a place for
/// them. *Shutdown*: what was read is waited for and committed; then the group is left.
///
/// Batch time is that of the newest value, so that windows fit a backlog too.
pub struct KafkaSource {
    name: String,
    topics: Vec<String>,
    batch_rows: usize,
    batch_delay: Duration,
    commit_interval: Duration,
    max_in_flight: usize,
    until_end: bool,
    consumer: BaseConsumer<Context>,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("name", &self.name).finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// Opens the consumers of the source `name` and asks the brokers for an answer. Only the columns in `wanted`
    /// are read; `reading` says how.
    ///
    /// # Errors
    /// Settings that do not work, brokers that refuse us. Brokers that are away are a warning.
    pub fn open(
        name: &str,
        config: &KafkaSourceConfig,
        (schema, wanted): (&Arc<Schema>, ColumnSet),
        reading: Reading,
        transactions: Option<&Arc<Transactions>>,
        metrics: &Arc<Metrics>,
    ) -> Result<Vec<KafkaSource>, KafkaError> {
        config.validate()?;
        let client = config.connection().client_config(&config.defaults())?;
        let pool = Pool::default();
        let open = || -> Result<KafkaSource, KafkaError> {
            let mut builder = BatchBuilder::new(Arc::clone(schema), wanted, pool.clone());
            builder.keep_unknown(reading.keep_unknown);
            let decode = Decode::new(config.format, config.framing, schema, &wanted)?;
            let mut state = State::new(name, (schema, wanted), builder, decode, reading.by_partition, metrics);
            state.transactions = transactions.cloned();
            if let Some(letters) = &config.dead_letter {
                state.letters = Some(DeadLetters::open(letters, &config.connection().client_config(&[])?)?);
            }
            let context = Context::new(state, metrics);
            let consumer: BaseConsumer<Context> = client.create_with_context(context).map_err(KafkaError::Settings)?;
            Ok(KafkaSource {
                name: name.to_owned(),
                topics: config.topics.clone(),
                batch_rows: config.batch_rows,
                batch_delay: Duration::from_millis(config.batch_delay_ms),
                commit_interval: Duration::from_millis(config.commit_interval_ms),
                max_in_flight: config.max_in_flight,
                until_end: config.until_end,
                consumer,
            })
        };
        let sources = (0..config.consumers).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        if let Some(KafkaSource { consumer, .. }) = sources.first() {
            probe(name, &config.brokers, &consumer.context().events, |timeout| {
                let answer = consumer.fetch_metadata(None, timeout).map(drop);
                // Why there is none is told by polling, one event at a time; there is nothing to read before the
                // subscription.
                while consumer.poll(EVENT).is_some() {}
                answer
            })?;
            consumer.context().check_letters(&config.brokers)?;
        }
        Ok(sources)
    }

    fn failed(&self, what: &str, cause: BoxError) -> SourceError {
        SourceError { source_name: self.name.clone(), what: what.to_owned(), cause: Some(cause) }
    }

    /// Reads until `stop`, the end, or a failure.
    fn read(&self, stop: &Stop) -> Result<(), SourceError> {
        let context = Arc::clone(self.consumer.context());
        let mut no_room_since: Option<Instant> = None;
        let mut is_paused = false;
        let mut lags_at = Instant::now();
        while !stop.is_cancelled() {
            let mut state = context.state();
            state.listen(Duration::ZERO);
            state.look_at_the_clock(self.batch_delay);
            state.look_at_the_wish();
            state.commit(&self.consumer, self.commit_interval, CommitMode::Async);
            if let Some((what, cause)) = state.failure.take() {
                return Err(self.failed(what, cause));
            }
            if std::mem::take(&mut state.must_rewind) {
                state.rewind(&self.consumer).map_err(|error| self.failed("going back", error.into()))?;
            }
            let has_room = state.make_room(Duration::ZERO) && state.under_way() < self.max_in_flight;
            if has_room {
                drop(state);
                no_room_since = None;
                context.is_paused.store(false, Ordering::Relaxed);
                if std::mem::take(&mut is_paused) {
                    self.with_assignment(Consumer::resume, "reading on")?;
                }
                self.read_some(&context)?;
                if self.until_end && self.is_at_end(&context)? {
                    return Ok(());
                }
                continue;
            }
            let since = *no_room_since.get_or_insert_with(Instant::now);
            if since.elapsed() < PAUSE_AFTER {
                state.make_room(WAIT / 10);
                state.listen(WAIT / 10);
                continue;
            }
            drop(state);
            if !std::mem::replace(&mut is_paused, true) {
                info!(source = self.name, "the pipeline is full, reading is paused");
                self.with_assignment(Consumer::pause, "pausing")?;
            }
            context.is_paused.store(true, Ordering::Relaxed);
            if lags_at.elapsed() >= LAGS {
                context.look_at_lags(&self.consumer);
                lags_at = Instant::now();
            }
            // Nothing comes but what concerns the group; partitions that come now are not paused.
            if let Some(result) = self.consumer.poll(WAIT) {
                is_paused = false;
                self.take(&context, result)?;
            }
        }
        Ok(())
    }

    /// Reads values until the batch is full, there is none for a moment, or the clock is to be looked at.
    fn read_some(&self, context: &Context) -> Result<(), SourceError> {
        let mut wait = WAIT.min(self.batch_delay);
        for _ in 0..VALUES_AT_ONCE {
            let Some(result) = self.consumer.poll(wait) else { return Ok(()) };
            wait = Duration::ZERO;
            if self.take(context, result)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes in what librdkafka gave. Returns whether the batch was closed.
    fn take(
        &self,
        context: &Context,
        result: Result<rdkafka::message::BorrowedMessage<'_>, ClientError>,
    ) -> Result<bool, SourceError> {
        match result {
            Ok(message) => {
                let mut state = context.state();
                // What was given along with a rebalance that took a transaction back comes again.
                if state.must_rewind || state.failure.is_some() {
                    state.see(&message);
                    return Ok(true);
                }
                state.take(&message);
                if state.rows() >= self.batch_rows {
                    state.hand_on();
                    return Ok(true);
                }
                Ok(false)
            }
            Err(ClientError::PartitionEOF(partition)) => {
                context.state().ended.insert(partition);
                Ok(true)
            }
            Err(error) => match self.consumer.client().fatal_error() {
                Some((code, reason)) => Err(self.failed("reading", format!("{reason} ({code})").into())),
                None => {
                    context.events.error(&error, "reading");
                    Ok(true)
                }
            },
        }
    }

    /// Leaves the group, with the last commit on its way. Brokers that are away are not waited for.
    fn leave(self) {
        let KafkaSource { name, consumer, .. } = self;
        let (left, has_left) = crossbeam_channel::bounded(1);
        let leave = move || {
            drop(consumer);
            // Nobody listens if it took too long.
            left.send(()).unwrap_or_default();
        };
        let leaving = thread::Builder::new().name(format!("{name}-leave")).spawn(leave);
        if leaving.is_ok() && has_left.recv_timeout(LEAVE).is_err() {
            warn!(source = name, "Kafka brokers do not answer, ending without having left the group");
        }
    }

    fn with_assignment(
        &self,
        act: impl Fn(&BaseConsumer<Context>, &rdkafka::TopicPartitionList) -> Result<(), ClientError>,
        what: &str,
    ) -> Result<(), SourceError> {
        let assigned = self.consumer.assignment().map_err(|error| self.failed(what, error.into()))?;
        if assigned.count() == 0 {
            return Ok(());
        }
        act(&self.consumer, &assigned).map_err(|error| self.failed(what, error.into()))
    }

    /// Whether the end of every partition was reached. (There is one topic then.)
    fn is_at_end(&self, context: &Context) -> Result<bool, SourceError> {
        if context.state().ended.is_empty() {
            return Ok(false);
        }
        let assigned = self.consumer.assignment().map_err(|error| self.failed("looking for the end", error.into()))?;
        let state = context.state();
        Ok(assigned.count() > 0 && assigned.elements().iter().all(|element| state.ended.contains(&element.partition())))
    }
}

impl Source for KafkaSource {
    fn run(self: Box<Self>, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let context = Arc::clone(self.consumer.context());
        let mut state = context.state();
        state.out = Some(out);
        state.stop = stop.clone();
        drop(state);
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(|error| self.failed("subscribing", error.into()))?;
        let read = loop {
            let read = self.read(&stop);
            let mut state = context.state();
            if read.is_ok() {
                state.detect();
                let has_arrived = state.drain(LAST_WAIT);
                if state.failure.is_none() {
                    state.commit(&self.consumer, Duration::ZERO, CommitMode::Async);
                }
                if state.failure.is_none() && self.until_end && state.must_rewind && !stop.is_cancelled() {
                    // The last transaction was taken back: its rows come before the end.
                    continue;
                }
                if state.failure.is_none() {
                    state.end_partitions(has_arrived);
                }
            }
            break read;
        };
        let mut state = context.state();
        let failure = state.failure.take();
        // The callbacks of leaving the group find nothing to do, and the pipeline sees that no more rows come.
        state.is_over = true;
        state.out = None;
        drop(state);
        let outcome = read.and_then(|()| failure.map_or(Ok(()), |(what, cause)| Err(self.failed(what, cause))));
        self.leave();
        outcome
    }
}
