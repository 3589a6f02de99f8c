//! What is measured: classes of traffic and units.

use serde::Deserialize;

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

/// Meters that there can be, and codes of them.
pub(crate) const METERS: usize = CLASSES.len() * UNITS.len();

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_meters_differ() {
        let codes = CLASSES.iter().flat_map(|class| UNITS.map(|unit| Meter { class: *class, unit }.code()));
        assert!(codes.eq(0..METERS as u8));
    }
}
