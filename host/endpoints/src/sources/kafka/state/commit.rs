//! How far a consumer says that it has read: by offsets, or in transactions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::super::consume::Context;
use super::{Partition, State};
use crate::kafka::{TransactionError, Transactions};

/// Longest time that what was read may take to arrive when a partition goes to somebody else. What has not arrived
/// then comes twice.
const REVOKE: Duration = Duration::from_secs(20);
/// Longest time that what belongs to a transaction may take to arrive.
const BARRIER: Duration = Duration::from_secs(120);

impl State {
    /// Commits what is settled, if `interval` is over since the last time.
    pub(in crate::sources::kafka) fn commit(
        &mut self,
        consumer: &BaseConsumer<Context>,
        interval: Duration,
        mode: CommitMode,
    ) {
        if self.last_commit.elapsed() < interval {
            return;
        }
        self.last_commit = Instant::now();
        if self.transactions.is_some() {
            return self.commit_transaction(consumer);
        }
        // The answer to a commit that is not waited for is told to nobody, so the last one says all of it again.
        self.must_commit_again = interval.is_zero();
        let offsets = self.ready();
        if offsets.count() == 0 {
            return;
        }
        match consumer.commit(&offsets, mode) {
            Ok(()) => drop(self.commits.inc()),
            Err(error) => self.commit_failed(&error),
        }
    }

    /// Without a commit rows come twice after a restart; none is lost.
    fn commit_failed(&mut self, error: &ClientError) {
        self.failed_commits.inc();
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset) {
            warn!(source = self.name, %error, "offsets not committed");
        }
    }

    /// What is settled of the partitions that are still ours.
    fn ready(&mut self) -> TopicPartitionList {
        let mut offsets = TopicPartitionList::new();
        let mut slots = BTreeSet::new();
        for (slot, next) in self.tracker.take_ready() {
            let Some(partition) = self.partitions.get_mut(slot) else { continue };
            partition.resume = next;
            slots.insert(slot);
        }
        if std::mem::take(&mut self.must_commit_again) {
            slots.extend(0..self.partitions.len());
        }
        let partitions = slots.into_iter().filter_map(|slot| self.partitions.get(slot));
        for partition in partitions.filter(|partition| partition.is_live && partition.resume >= 0) {
            // An offset is a number: this cannot fail.
            drop(offsets.add_partition_offset(&partition.topic, partition.number, Offset::Offset(partition.resume)));
        }
        offsets
    }

    /// Ends the transaction with everything in it that was read so far.
    fn commit_transaction(&mut self, consumer: &BaseConsumer<Context>) {
        let Some(transactions) = self.transactions.clone() else { return };
        if !self.drain(BARRIER) {
            self.failure =
                Some(("waiting for a transaction's rows to be written", "they were not, for two minutes".into()));
            return;
        }
        if self.tracker.has_failed() {
            return self.abort(&transactions);
        }
        let before: Vec<i64> = self.partitions.iter().map(|partition| partition.resume).collect();
        let offsets = self.ready();
        if offsets.count() == 0 {
            return;
        }
        let Some(group) = consumer.group_metadata() else { return };
        match transactions.commit(offsets, group, &self.stop) {
            Ok(()) => {
                self.commits.inc();
                self.aborts_in_a_row = 0;
            }
            Err(TransactionError::Aborted(error)) => {
                warn!(
                    source = self.name,
                    error = sluice_pipeline::chain(&*error),
                    "transaction taken back, its rows are read again"
                );
                self.partitions.iter_mut().zip(before).for_each(|(partition, resume)| partition.resume = resume);
                self.begin_again();
            }
            Err(error) => self.failure = Some(("committing", error.into())),
        }
    }

    /// Takes the transaction back. Nothing of it may be under way any more: it would be written into the next one.
    fn abort(&mut self, transactions: &Arc<Transactions>) {
        match transactions.abort(&self.stop) {
            Ok(()) => self.begin_again(),
            Err(error) => self.failure = Some(("taking a transaction back", error.into())),
        }
    }

    fn begin_again(&mut self) {
        const MOST_ABORTS: u32 = 10;
        self.aborts_in_a_row += 1;
        if self.aborts_in_a_row >= MOST_ABORTS {
            self.failure = Some(("committing", "ten transactions in a row were taken back; see the log".into()));
        }
        self.tracker.forget();
        self.each_open(|this| {
            this.open.builder.truncate(0);
            this.open.since = None;
        });
        self.must_rewind = true;
    }

    /// Goes back to where the last transaction ended.
    pub(in crate::sources::kafka) fn rewind(&mut self, consumer: &BaseConsumer<Context>) -> Result<(), ClientError> {
        self.must_rewind = false;
        for partition in self.partitions.iter().filter(|partition| partition.is_live && partition.resume >= 0) {
            let offset = Offset::Offset(partition.resume);
            consumer.seek(&partition.topic, partition.number, offset, Duration::from_secs(10))?;
            self.ended.remove(&partition.number);
        }
        Ok(())
    }

    /// Partitions go to somebody else: everything read of them should have arrived, and be committed, before.
    pub(in crate::sources::kafka) fn revoke(&mut self, consumer: &BaseConsumer<Context>, revoked: &TopicPartitionList) {
        if self.is_over {
            return;
        }
        // What waits for its format to be found out was not read at all.
        let is_revoked = |topic: &str, partition| revoked.find_partition(topic, partition).is_some();
        self.held.retain(|message| !is_revoked(message.topic(), message.partition()));
        // Somebody else has them already: what is under way comes twice.
        let is_lost = consumer.assignment_lost();
        let mut have_arrived = true;
        match self.transactions.clone() {
            Some(transactions) => self.end_transaction(consumer, &transactions, is_lost),
            None if is_lost => {}
            None => {
                have_arrived = self.drain(REVOKE);
                self.commit(consumer, Duration::ZERO, CommitMode::Sync);
            }
        }
        let is_complete = have_arrived && !is_lost && !self.reads_again();
        let goes = |partition: &&mut Partition| partition.is_live && is_revoked(&partition.topic, partition.number);
        for partition in self.partitions.iter_mut().filter(goes) {
            partition.is_live = false;
            partition.rows_of.iter().for_each(|rows_of| rows_of.end(is_complete));
        }
        for element in revoked.elements() {
            self.ended.remove(&element.partition());
        }
        let (partitions, tracker) = (&self.partitions, &self.tracker);
        let is_live = |slot: usize| partitions.get(slot).is_some_and(|partition| partition.is_live);
        self.parked.retain(|open| is_live(open.slot) || tracker.has_open_of(open.slot));
        // Batches under way know partitions by their place; without any the places are free again.
        if self.tracker.under_way() == 0
            && !self.tracker.has_open()
            && self.partitions.iter().all(|partition| !partition.is_live)
        {
            self.partitions.clear();
            self.parked.clear();
            self.tracker.forget();
        }
    }

    /// Nothing of partitions that go may be left over for the next transaction.
    fn end_transaction(&mut self, consumer: &BaseConsumer<Context>, transactions: &Arc<Transactions>, is_lost: bool) {
        if !self.drain(BARRIER) {
            let why = "they were not, for two minutes".into();
            self.failure = Some(("waiting for a transaction's rows to be written", why));
        } else if is_lost || self.tracker.has_failed() {
            self.abort(transactions);
        } else {
            self.commit_transaction(consumer);
        }
    }
}
