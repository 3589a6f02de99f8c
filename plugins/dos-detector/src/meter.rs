//! What is measured: classes of traffic, units, and the counts of a batch.

use serde::Deserialize;

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

/// What is counted.
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
        let mut value = [0];
        self.of_all(std::iter::once(counts), value.iter_mut());
        value[0]
    }

    /// What the meter measures of each of some counts, one to each of `values`. In a loop that knows what it measures:
    /// asking anew for each row costs more than adding up.
    pub(crate) fn of_all<'a, 'b>(
        self,
        counts: impl Iterator<Item = &'a Counts>,
        values: impl Iterator<Item = &'b mut u64>,
    ) {
        let masks = self.masks();
        match self.unit {
            Unit::Bits => sums(masks, counts, values, |count| count.bytes << 3),
            Unit::Packets => sums(masks, counts, values, |count| count.packets),
            Unit::Flows => sums(masks, counts, values, |count| count.flows),
        }
    }

    /// By kind: all ones if it counts.
    fn masks(self) -> [u64; KINDS] {
        let kinds: &[usize] = match self.class {
            Class::Total => &[OTHER, TCP_REST, UDP_ALL, ICMP_ALL, TCP_SYN],
            Class::Tcp => &[TCP_REST, TCP_SYN],
            Class::Udp => &[UDP_ALL],
            Class::Icmp => &[ICMP_ALL],
            Class::TcpSyn => &[TCP_SYN],
        };
        let mut masks = [0; KINDS];
        for kind in kinds {
            masks[*kind] = u64::MAX;
        }
        masks
    }

    /// A number for snapshots: never reused.
    pub(crate) fn code(self) -> u8 {
        self.class as u8 * 3 + self.unit as u8
    }
}

/// The sum of what `of` says of each kind that a mask lets through.
#[inline(never)]
fn sums<'a, 'b>(
    masks: [u64; KINDS],
    counts: impl Iterator<Item = &'a Counts>,
    values: impl Iterator<Item = &'b mut u64>,
    of: impl Fn(&Count) -> u64,
) {
    for (counts, value) in counts.zip(values) {
        *value = counts.iter().zip(masks).map(|(count, mask)| of(count) & mask).fold(0, u64::wrapping_add);
    }
}

/// Which counts a row goes to; a class may be the sum of several.
pub(crate) const KINDS: usize = 5;
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

/// Bytes, packets and flows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) flows: u64,
}

impl Count {
    // Counts of one batch cannot pass 64 bits, nor can eight times their sum: `MAX_SUM` sees to it.
    #[inline]
    fn plus(self, other: Count) -> Count {
        Count {
            bytes: self.bytes.wrapping_add(other.bytes),
            packets: self.packets.wrapping_add(other.packets),
            flows: self.flows.wrapping_add(other.flows),
        }
    }
}

/// The most that the rows of one batch may add up to, so that sums and bytes as bits need no checks: wasm has
/// no saturating arithmetic. It is 2 EB a batch; each row counts for its share at most.
pub(crate) const MAX_SUM: u64 = 1 << 60;

/// Counts by kind. All of one batch together are at most [`MAX_SUM`].
pub(crate) type Counts = [Count; KINDS];

/// Adds counts to others.
pub(crate) fn add(sum: &mut Counts, counts: &Counts) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum = sum.plus(*count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sums_of_kinds() {
        let mut counts = Counts::default();
        for (proto, flags) in [(6, 0x12), (6, 0x02), (6, 0x02), (17, 0), (1, 0), (58, 0), (47, 0)] {
            counts[kind(proto, flags)].flows += 1;
        }
        let flows = CLASSES.map(|class| Meter { class, unit: Unit::Flows }.of(&counts));
        assert_eq!(flows, [7, 3, 1, 2, 2]);
    }

    #[test]
    fn the_largest_sum_has_room_as_bits() {
        let mut counts = Counts::default();
        counts[UDP_ALL] = Count { bytes: MAX_SUM - 1, packets: MAX_SUM, flows: 1 };
        counts[TCP_SYN].bytes = 1;
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
