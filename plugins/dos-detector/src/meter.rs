//! What is measured: classes of traffic, units, and the counts of a batch.

use serde::Deserialize;
use sluice_sdk::rows;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

/// A class of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// All protocols.
    Total,
    /// TCP, SYN or not.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// TCP flows with SYN and without ACK: openings that were not followed up.
    TcpSyn,
}

/// Every class.
pub(crate) const CLASSES: [Class; 5] = [Class::Total, Class::Tcp, Class::Udp, Class::Icmp, Class::TcpSyn];

/// What is counted, in the order in which a kind has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bits, at the layer that the exporter counts.
    Bits,
    /// Packets.
    Packets,
    /// Flow records.
    Flows,
}

/// Every unit.
pub(crate) const UNITS: [Unit; 3] = [Unit::Bits, Unit::Packets, Unit::Flows];

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Total => "total",
            Class::Tcp => "tcp",
            Class::Udp => "udp",
            Class::Icmp => "icmp",
            Class::TcpSyn => "tcp_syn",
        }
    }
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Bits => "bits",
            Unit::Packets => "packets",
            Unit::Flows => "flows",
        }
    }
}

/// One thing that is measured of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meter {
    pub(crate) class: Class,
    pub(crate) unit: Unit,
}

impl Meter {
    /// What the meter measures of some counts.
    pub(crate) fn of(self, counts: &Counts) -> u64 {
        let mut value = 0;
        self.of_each(std::slice::from_ref(counts), &[0], |_, of| value = of);
        value
    }

    /// Tells `f` what the meter measures of each of some `groups` of the counts, with its place among them. In a loop that knows
    /// what it measures: asking anew for each group costs more than adding up.
    pub(crate) fn of_each(self, counts: &[Counts], groups: &[u32], f: impl FnMut(usize, u64)) {
        match self.unit {
            Unit::Bits => self.class.of_each::<{ Unit::Bits as usize }>(counts, groups, f),
            Unit::Packets => self.class.of_each::<{ Unit::Packets as usize }>(counts, groups, f),
            Unit::Flows => self.class.of_each::<{ Unit::Flows as usize }>(counts, groups, f),
        }
    }

    /// A number for snapshots: never reused.
    pub(crate) fn code(self) -> u8 {
        self.class as u8 * 3 + self.unit as u8
    }
}

impl Class {
    fn of_each<const UNIT: usize>(self, counts: &[Counts], groups: &[u32], f: impl FnMut(usize, u64)) {
        match self {
            Class::Total => {
                sums::<UNIT>(counts, groups, |kinds| kinds.iter().fold(0, |all, kind| all.wrapping_add(*kind)), f)
            }
            Class::Tcp => sums::<UNIT>(counts, groups, |kinds| kinds[TCP_REST].wrapping_add(kinds[TCP_SYN]), f),
            Class::Udp => sums::<UNIT>(counts, groups, |kinds| kinds[UDP_ALL], f),
            Class::Icmp => sums::<UNIT>(counts, groups, |kinds| kinds[ICMP_ALL], f),
            Class::TcpSyn => sums::<UNIT>(counts, groups, |kinds| kinds[TCP_SYN], f),
        }
    }
}

/// Adds up some kinds of one unit of each group.
#[inline(never)]
fn sums<const UNIT: usize>(
    counts: &[Counts],
    groups: &[u32],
    of: impl Fn(&[u64; KINDS]) -> u64,
    mut f: impl FnMut(usize, u64),
) {
    let shift = if UNIT == Unit::Bits as usize { 3 } else { 0 };
    rows::numbered(groups, |at, group| {
        let Some(counts) = counts.get(*group as usize) else { return };
        f(at, of(&std::array::from_fn(|kind| counts[UNIT * KINDS + kind])) << shift);
    });
}

/// Which counts a row goes to; a class may be the sum of several.
const OTHER: usize = 0;
const TCP_REST: usize = 1;
const UDP_ALL: usize = 2;
const ICMP_ALL: usize = 3;
const TCP_SYN: usize = 4;
/// How many there are.
pub(crate) const KINDS: usize = 5;

/// The kind of each protocol. (A table: protocols come in no order, and a jump for each would be guessed wrong.)
const KIND_OF: [u8; 256] = {
    let mut kinds = [OTHER as u8; 256];
    kinds[TCP as usize] = TCP_REST as u8;
    kinds[UDP as usize] = UDP_ALL as u8;
    kinds[ICMP as usize] = ICMP_ALL as u8;
    kinds[ICMPV6 as usize] = ICMP_ALL as u8;
    kinds
};

/// The kind of a row.
#[inline]
pub(crate) fn kind(proto: u8, tcp_flags: u16) -> usize {
    let is_opening = proto == TCP && tcp_flags & (SYN | ACK) == SYN;
    usize::from(KIND_OF[usize::from(proto)]) + usize::from(is_opening) * (TCP_SYN - TCP_REST)
}

/// The most that the rows of one batch may add up to, so that sums and bytes as bits need no checks: wasm has
/// no saturating arithmetic. It is 2 EB a batch; each row counts for its share at most.
pub(crate) const MAX_SUM: u64 = 1 << 60;

/// Numbers of a [`Counts`]: as many as there are kinds and units, and one that is not used, so that it is as long as two lines of
/// a cache.
const CELLS: usize = 16;

/// Bytes of each kind, then packets, then flows. All of one batch together are at most [`MAX_SUM`].
pub(crate) type Counts = [u64; CELLS];

/// Of the numbers from that of a kind's bytes on, how many lead up to its flows.
pub(crate) const OF_A_KIND: usize = 2 * KINDS + 1;

/// Adds counts to others.
pub(crate) fn add(sum: &mut Counts, counts: &Counts) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        // Cannot pass 64 bits, nor can eight times the sum: `MAX_SUM` sees to it.
        *sum = sum.wrapping_add(*count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sums_of_kinds() {
        let mut counts = Counts::default();
        for (proto, flags) in [(6, 0x12), (6, 0x02), (6, 0x02), (17, 0), (1, 0), (58, 0), (47, 0)] {
            counts[Unit::Flows as usize * KINDS + kind(proto, flags)] += 1;
        }
        let flows = CLASSES.map(|class| Meter { class, unit: Unit::Flows }.of(&counts));
        assert_eq!(flows, [7, 3, 1, 2, 2]);
    }

    #[test]
    fn the_largest_sum_has_room_as_bits() {
        let mut counts = Counts::default();
        (counts[UDP_ALL], counts[KINDS + UDP_ALL], counts[2 * KINDS + UDP_ALL]) = (MAX_SUM - 1, MAX_SUM, 1);
        counts[TCP_SYN] = 1;
        let of = |class, unit| Meter { class, unit }.of(&counts);
        assert_eq!(of(Class::Total, Unit::Bits), MAX_SUM * 8);
        assert_eq!(of(Class::Udp, Unit::Bits), MAX_SUM * 8 - 8);
        assert_eq!(of(Class::Total, Unit::Packets), MAX_SUM);
    }

    #[test]
    fn codes_of_meters_differ() {
        let codes = CLASSES.iter().flat_map(|class| UNITS.map(|unit| Meter { class: *class, unit }.code()));
        assert!(codes.eq(0..15));
    }
}
