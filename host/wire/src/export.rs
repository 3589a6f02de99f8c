//! The other direction: flows to NetFlow v5, v9, IPFIX and sFlow datagrams, and a traffic model that
//! makes flows up. Used by `sluice generate`, the demo, tests and benches.
//!
//! Pure like the rest of the crate: the time is an argument and the randomness comes from a seed, so
//! the same calls give the same bytes.

mod flow;
mod netflow5;
mod sflow;
mod template;
mod traffic;

pub use flow::Flow;
pub use traffic::{Attack, Flood, Traffic, TrafficSettings};

use std::net::IpAddr;

/// Bytes that a datagram has at most: what fits an Ethernet frame with room for tunnels.
pub const MAX_DATAGRAM: usize = 1400;

/// Protocols that an [`Encoder`] speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// NetFlow version 5. It has no IPv6.
    NetFlow5,
    /// NetFlow version 9 (RFC 3954).
    NetFlow9,
    /// IPFIX (RFC 7011).
    Ipfix,
    /// sFlow version 5.
    Sflow5,
}

impl Version {
    /// All of them.
    pub const ALL: [Version; 4] = [Version::NetFlow5, Version::NetFlow9, Version::Ipfix, Version::Sflow5];

    /// The name on the command line: `v5`, `v9`, `ipfix` or `sflow`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Version::NetFlow5 => "v5",
            Version::NetFlow9 => "v9",
            Version::Ipfix => "ipfix",
            Version::Sflow5 => "sflow",
        }
    }

    /// The version called `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.name() == name)
    }
}

/// What an exporter is configured to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// Protocol.
    pub version: Version,
    /// Observation domain: source ID of NetFlow v9, engine type and id of v5 (low 16 bits), sub-agent of sFlow.
    pub domain: u32,
    /// N of "1 in N packets"; 0 is not exported. NetFlow v5 has 14 bits for it.
    pub sampling_rate: u32,
    /// The exporter's own address, the agent of sFlow. Nothing else carries it.
    pub agent: IpAddr,
    /// When the exporter started, in milliseconds since the Unix epoch. Times of NetFlow v5 and v9 count
    /// from here and wrap after 49 days.
    pub boot_ms: u64,
    /// Templates and options are sent in the first datagram and then in every this many; 0 never again.
    pub template_every: u32,
}

impl EncoderSettings {
    /// The usual: templates in every 20th datagram, started when the Unix epoch did, so that times
    /// are whatever `now_ms` makes of them.
    #[must_use]
    pub fn new(version: Version, domain: u32, sampling_rate: u32, agent: IpAddr) -> EncoderSettings {
        EncoderSettings { version, domain, sampling_rate, agent, boot_ms: 0, template_every: 20 }
    }
}

/// Datagrams in one buffer that is used again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Datagrams {
    /// Forgets the datagrams and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The datagrams, in the order in which they are to be sent.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    /// Where the next datagram is written; [`end`](Self::end) closes it.
    fn open(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// Turns flows into the datagrams of one exporter. Keeps sequence numbers and template timing.
#[derive(Clone, Debug)]
pub struct Encoder {
    settings: EncoderSettings,
    protocol: Protocol,
}

#[derive(Clone, Debug)]
enum Protocol {
    NetFlow5(netflow5::NetFlow5),
    Template(template::Templated),
    Sflow(sflow::Sflow),
}

impl Encoder {
    /// An exporter that has sent nothing yet.
    #[must_use]
    pub fn new(settings: EncoderSettings) -> Encoder {
        let protocol = match settings.version {
            Version::NetFlow5 => Protocol::NetFlow5(netflow5::NetFlow5::default()),
            Version::NetFlow9 => Protocol::Template(template::Templated::new(template::Kind::NetFlow9)),
            Version::Ipfix => Protocol::Template(template::Templated::new(template::Kind::Ipfix)),
            Version::Sflow5 => Protocol::Sflow(sflow::Sflow::default()),
        };
        Encoder { settings, protocol }
    }

    /// What the exporter is configured to.
    #[must_use]
    pub fn settings(&self) -> &EncoderSettings {
        &self.settings
    }

    /// Appends datagrams that carry `flows` to `out`, each at most [`MAX_DATAGRAM`] bytes, and returns how
    /// many flows they carry. The last datagram is closed even if there is room left in it.
    ///
    /// `now_ms` is the time of the export in milliseconds since the Unix epoch.
    ///
    /// What a protocol cannot carry is cut to what it can: NetFlow v5 leaves IPv6 flows out, its AS
    /// numbers above 65535 become 23456 (RFC 6793, section 9) and its counters stay at 2^32 - 1. sFlow
    /// exports packets: one of average size for each flow.
    pub fn encode(&mut self, flows: &[Flow], now_ms: u64, out: &mut Datagrams) -> usize {
        match &mut self.protocol {
            Protocol::NetFlow5(encoder) => encoder.encode(&self.settings, flows, now_ms, out),
            Protocol::Template(encoder) => encoder.encode(&self.settings, flows, now_ms, out),
            Protocol::Sflow(encoder) => encoder.encode(&self.settings, flows, now_ms, out),
        }
    }
}

/// Appends a number, most significant byte first.
macro_rules! put {
    ($($name:ident $type:ty),*) => {$(
        #[inline]
        fn $name(out: &mut Vec<u8>, value: $type) {
            out.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}
put!(put_u16 u16, put_u32 u32, put_u64 u64);

/// Milliseconds since the exporter started, as the 32-bit counter that wraps.
fn uptime(settings: &EncoderSettings, at_ms: u64) -> u32 {
    (at_ms.wrapping_sub(settings.boot_ms) & 0xffff_ffff) as u32
}

/// What fits of a number into 32 bits.
fn at_most_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
