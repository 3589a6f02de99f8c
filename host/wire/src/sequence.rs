//! Sequence numbers: what an exporter sent and did not arrive.

use crate::DecodeStats;

/// A number this far behind the expected one comes from a datagram that was overtaken on its way.
/// In the unit of the sequence, that is datagrams or records; some 60 datagrams of 30 records.
const MAX_LATE: u32 = 2_048;

/// A number this far ahead means that the exporter began anew, not that so many were lost.
const MAX_MISSING: u32 = 1 << 20;

/// What the numbers of a protocol count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Datagrams: NetFlow v9 (RFC 3954, section 5.1) and sFlow.
    Datagrams,
    /// Data records: NetFlow v5, v7 and IPFIX (RFC 7011, section 3.1).
    Records,
}

/// The sequence of one exporter (address, protocol and observation domain). Numbers wrap at 2^32.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    /// The number that the next datagram ought to have; unknown at first and after a datagram
    /// whose records could not be counted.
    expected: Option<u32>,
    /// The number of the datagram before.
    last: u32,
    /// What came, and what did not.
    pub(crate) seen: Seen,
}

/// What came from one exporter: a few additions a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) datagrams: u64,
    pub(crate) records: u64,
    /// Datagrams or records that sequence numbers miss, and in how many places.
    pub(crate) missing: u64,
    pub(crate) gaps: u64,
    pub(crate) late: u64,
    pub(crate) resets: u64,
    /// When the last datagram came, in nanoseconds since the Unix epoch.
    pub(crate) last_ns: u64,
    /// Sampling rate of its header, where the protocol has one there; else 0.
    pub(crate) header_rate: u64,
}

impl Sequence {
    /// Notes a datagram with number `sequence` that counts for `units` of them, or for an unknown
    /// number, and counts what is missing before it.
    pub(crate) fn observe(&mut self, sequence: u32, units: Option<u32>, unit: Unit, stats: &mut DecodeStats) {
        if let Some(expected) = self.expected {
            let ahead = sequence.wrapping_sub(expected);
            let behind = expected.wrapping_sub(sequence);
            if ahead == 0 || units == Some(sequence.wrapping_sub(self.last)) {
                // As it should be; or the number counts the records of its own datagram too, which is
                // against RFC 7011, section 3.1, and what softflowd does.
            } else if ahead <= MAX_MISSING {
                self.seen.missing += u64::from(ahead);
                self.seen.gaps += 1;
                match unit {
                    Unit::Datagrams => stats.missing_datagrams += u64::from(ahead),
                    Unit::Records => stats.missing_records += u64::from(ahead),
                }
            } else if behind <= MAX_LATE {
                stats.sequence_late += 1;
                self.seen.late += 1;
                return;
            } else {
                stats.sequence_resets += 1;
                self.seen.resets += 1;
            }
        }
        self.expected = units.map(|units| sequence.wrapping_add(units));
        self.last = sequence;
    }

    /// Notes that a datagram came with so many records.
    #[inline]
    pub(crate) fn came(&mut self, received_ns: u64, records: u64) {
        self.seen.datagrams += 1;
        self.seen.records += records;
        self.seen.last_ns = received_ns;
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(numbers: &[(u32, Option<u32>)], expected: Expect) {
        let mut sequence = Sequence::default();
        let mut stats = DecodeStats::default();
        for (number, units) in numbers {
            sequence.observe(*number, *units, Unit::Records, &mut stats);
        }
        let text =
            format!("missing {} late {} resets {}", stats.missing_records, stats.sequence_late, stats.sequence_resets);
        expected.assert_eq(&text);
    }

    #[test]
    fn numbers_in_order_miss_nothing_even_where_they_wrap() {
        check(&[(u32::MAX - 9, Some(10)), (0, Some(5)), (5, Some(1))], expect!["missing 0 late 0 resets 0"]);
    }

    #[test]
    fn a_gap_is_counted_once_and_a_late_datagram_does_not_count_it_again() {
        check(&[(0, Some(10)), (30, Some(10)), (10, Some(10)), (40, Some(10))], expect!["missing 20 late 1 resets 0"]);
    }

    #[test]
    fn an_exporter_that_counts_the_datagram_itself_misses_nothing() {
        check(&[(16, Some(17)), (44, Some(28)), (68, Some(24))], expect!["missing 0 late 0 resets 0"]);
    }

    #[test]
    fn a_huge_jump_in_either_direction_is_a_reset() {
        let far = MAX_MISSING + 100;
        check(&[(5_000_000, Some(1)), (3, Some(1)), (far + 3, Some(1))], expect!["missing 0 late 0 resets 2"]);
    }

    #[test]
    fn nothing_is_missing_after_a_datagram_that_could_not_be_counted() {
        check(&[(0, Some(10)), (10, None), (500, Some(1)), (501, Some(1))], expect!["missing 0 late 0 resets 0"]);
    }
}
