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
        let cell = |kind| kind * UNITS.len() + self.unit as usize;
        let shift = if self.unit == Unit::Bits { 3 } else { 0 };
        match self.class {
            Class::Total => {
                let all = [OTHER, TCP_REST, UDP_ALL, ICMP_ALL, TCP_SYN];
                sums(counts, groups, all.map(cell), shift, f);
            }
            Class::Tcp => sums(counts, groups, [cell(TCP_REST), cell(TCP_SYN)], shift, f),
            Class::Udp => sums(counts, groups, [cell(UDP_ALL)], shift, f),
            Class::Icmp => sums(counts, groups, [cell(ICMP_ALL)], shift, f),
            Class::TcpSyn => sums(counts, groups, [cell(TCP_SYN)], shift, f),
        }
    }

    /// A number for snapshots: never reused.
    pub(crate) fn code(self) -> u8 {
        self.class as u8 * 3 + self.unit as u8
    }
}

/// Adds up `cells` of each group.
#[inline(never)]
fn sums<const N: usize>(
    counts: &[Counts],
    groups: &[u32],
    cells: [usize; N],
    shift: u32,
    mut f: impl FnMut(usize, u64),
) {
    rows::numbered(groups, |at, group| {
        let Some(counts) = counts.get(*group as usize) else { return };
        let sum = cells.iter().map(|cell| counts[cell % CELLS]).fold(0, u64::wrapping_add);
        f(at, sum << shift);
    });
}

/// Which counts a row goes to; a class may be the sum of several.
const OTHER: usize = 0;
const TCP_REST: usize = 1;
const UDP_ALL: usize = 2;
const ICMP_ALL: usize = 3;
const TCP_SYN: usize = 4;

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

/// Bytes, packets and flows of each kind. All of one batch together are at most [`MAX_SUM`].
pub(crate) type Counts = [u64; CELLS];

/// Where the counts of a kind begin: bytes, packets, flows.
#[inline]
pub(crate) fn cells_of(kind: usize) -> usize {
    kind * UNITS.len()
}

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
            counts[cells_of(kind(proto, flags)) + Unit::Flows as usize] += 1;
        }
        let flows = CLASSES.map(|class| Meter { class, unit: Unit::Flows }.of(&counts));
        assert_eq!(flows, [7, 3, 1, 2, 2]);
    }

    #[test]
    fn the_largest_sum_has_room_as_bits() {
        let mut counts = Counts::default();
        counts[cells_of(UDP_ALL)..][..3].copy_from_slice(&[MAX_SUM - 1, MAX_SUM, 1]);
        counts[cells_of(TCP_SYN)] = 1;
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
