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
    /// A number for snapshots: never reused.
    pub(crate) fn code(self) -> u8 {
        self.class as u8 * 3 + self.unit as u8
    }
}

/// Which counts a row goes to; a class may be the sum of several.
pub(crate) const KINDS: usize = 5;
const OTHER: usize = 0;
const TCP_REST: usize = 1;
const UDP_ALL: usize = 2;
const ICMP_ALL: usize = 3;
const TCP_SYN: usize = 4;

/// The kind of a row.
#[inline]
pub(crate) fn kind(proto: u8, tcp_flags: u16) -> usize {
    match proto {
        TCP if tcp_flags & (SYN | ACK) == SYN => TCP_SYN,
        TCP => TCP_REST,
        UDP => UDP_ALL,
        ICMP | ICMPV6 => ICMP_ALL,
        _ => OTHER,
    }
}

/// Bytes, packets and flows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) flows: u64,
}

/// Counts by kind. Sums stay at 2^64 - 1 when they would pass it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) by_kind: [Count; KINDS],
}

impl Counts {
    /// What `meter` measures.
    pub(crate) fn of(&self, meter: Meter) -> u64 {
        let kinds: &[usize] = match meter.class {
            Class::Total => &[OTHER, TCP_REST, UDP_ALL, ICMP_ALL, TCP_SYN],
            Class::Tcp => &[TCP_REST, TCP_SYN],
            Class::Udp => &[UDP_ALL],
            Class::Icmp => &[ICMP_ALL],
            Class::TcpSyn => &[TCP_SYN],
        };
        let counts = kinds.iter().filter_map(|kind| self.by_kind.get(*kind));
        match meter.unit {
            Unit::Bits => shift(counts.fold(0, |sum: u64, count| sum.saturating_add(count.bytes))),
            Unit::Packets => counts.fold(0, |sum, count| sum.saturating_add(count.packets)),
            Unit::Flows => counts.fold(0, |sum, count| sum.saturating_add(count.flows)),
        }
    }

    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: &Counts) {
        for (mine, other) in self.by_kind.iter_mut().zip(&other.by_kind) {
            mine.bytes = mine.bytes.saturating_add(other.bytes);
            mine.packets = mine.packets.saturating_add(other.packets);
            mine.flows = mine.flows.saturating_add(other.flows);
        }
    }
}

/// Bytes as bits. (wasm has no 128-bit product for a saturating one.)
fn shift(bytes: u64) -> u64 {
    if bytes >> 61 == 0 { bytes << 3 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sums_of_kinds() {
        let mut counts = Counts::default();
        for (proto, flags) in [(6, 0x12), (6, 0x02), (6, 0x02), (17, 0), (1, 0), (58, 0), (47, 0)] {
            counts.by_kind[kind(proto, flags)].flows += 1;
        }
        let flows = CLASSES.map(|class| counts.of(Meter { class, unit: Unit::Flows }));
        assert_eq!(flows, [7, 3, 1, 2, 2]);
    }

    #[test]
    fn sums_stay_at_the_largest_number() {
        let mut counts = Counts::default();
        counts.by_kind[UDP_ALL] = Count { bytes: u64::MAX / 2, packets: u64::MAX, flows: 1 };
        let other = counts;
        counts.add(&other);
        assert_eq!(counts.of(Meter { class: Class::Udp, unit: Unit::Bits }), u64::MAX);
        assert_eq!(counts.of(Meter { class: Class::Total, unit: Unit::Packets }), u64::MAX);
        assert_eq!(counts.of(Meter { class: Class::Total, unit: Unit::Flows }), 2);
    }

    #[test]
    fn codes_of_meters_differ() {
        let codes = CLASSES.iter().flat_map(|class| UNITS.map(|unit| Meter { class: *class, unit }.code()));
        assert!(codes.eq(0..15));
    }
}
