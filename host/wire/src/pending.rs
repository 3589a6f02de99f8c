//! Data sets whose template has not come yet, held for a while and within bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::DecodeStats;
use crate::exporter::ExporterKey;
use crate::source::Clock;

/// Bytes that a held set counts for beyond its own, so that small ones are bounded too.
const OVERHEAD: usize = 128;

/// What the message of a data set says about its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageInfo {
    pub(crate) received_ns: u64,
    pub(crate) sequence: u32,
    pub(crate) clock: Clock,
}

/// A held set.
#[derive(Debug)]
pub(crate) struct Held {
    key: ExporterKey,
    template_id: u16,
    /// Its message.
    pub(crate) info: MessageInfo,
    /// The set without its header.
    pub(crate) body: Box<[u8]>,
}

/// The store of held sets.
///
/// *Bounds*: bytes in all and per exporter, and age. A set for which there is no room is dropped and
/// counted; sets that are too old go when the next one comes or a template is asked for.
#[derive(Debug)]
pub(crate) struct Pending {
    max_bytes: usize,
    max_exporter_bytes: usize,
    max_age_ns: u64,
    bytes: usize,
    next: u64,
    /// In the order of their coming.
    held: BTreeMap<u64, Held>,
    exporters: HashMap<ExporterKey, OfExporter, ahash::RandomState>,
}

#[derive(Debug, Default)]
struct OfExporter {
    bytes: usize,
    /// Numbers in `held` by template, ascending.
    templates: HashMap<u16, VecDeque<u64>, ahash::RandomState>,
}

impl Pending {
    pub(crate) fn new(max_bytes: usize, max_exporter_bytes: usize, max_age_ms: u64) -> Pending {
        Pending {
            max_bytes,
            max_exporter_bytes,
            max_age_ns: max_age_ms.saturating_mul(1_000_000),
            bytes: 0,
            next: 0,
            held: BTreeMap::new(),
            exporters: HashMap::default(),
        }
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Holds a set, or counts it as dropped if there is no room.
    pub(crate) fn hold(
        &mut self,
        key: ExporterKey,
        template_id: u16,
        info: MessageInfo,
        body: &[u8],
        stats: &mut DecodeStats,
    ) {
        self.expire(info.received_ns, stats);
        let size = body.len() + OVERHEAD;
        let of_exporter = self.exporters.get(&key).map_or(0, |exporter| exporter.bytes);
        if self.bytes + size > self.max_bytes || of_exporter + size > self.max_exporter_bytes {
            stats.pending_dropped += 1;
            return;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += size;
        let exporter = self.exporters.entry(key).or_default();
        exporter.bytes += size;
        exporter.templates.entry(template_id).or_default().push_back(number);
        self.held.insert(number, Held { key, template_id, info, body: body.into() });
        stats.pending_held += 1;
        stats.pending_bytes = self.bytes as u64;
    }

    /// Takes out the sets that waited for a template, oldest first. Those too old are not among them.
    pub(crate) fn release(
        &mut self,
        key: ExporterKey,
        template_id: u16,
        now_ns: u64,
        stats: &mut DecodeStats,
    ) -> Vec<Held> {
        if self.is_empty() {
            return Vec::new();
        }
        self.expire(now_ns, stats);
        let numbers = self.exporters.get_mut(&key).and_then(|exporter| exporter.templates.remove(&template_id));
        let mut released = Vec::new();
        for number in numbers.into_iter().flatten() {
            if let Some(held) = self.held.remove(&number) {
                self.forget(&held);
                released.push(held);
            }
        }
        stats.pending_bytes = self.bytes as u64;
        released
    }

    fn expire(&mut self, now_ns: u64, stats: &mut DecodeStats) {
        while let Some(oldest) = self.held.first_entry() {
            if now_ns.saturating_sub(oldest.get().info.received_ns) <= self.max_age_ns {
                break;
            }
            let held = oldest.remove();
            if let Some(exporter) = self.exporters.get_mut(&held.key)
                && let Some(numbers) = exporter.templates.get_mut(&held.template_id)
            {
                // Numbers ascend with age, so the oldest of all is the first of its template.
                numbers.pop_front();
                if numbers.is_empty() {
                    exporter.templates.remove(&held.template_id);
                }
            }
            self.forget(&held);
            stats.pending_expired += 1;
            stats.pending_bytes = self.bytes as u64;
        }
    }

    /// Gives back the room of a set that was taken out.
    fn forget(&mut self, held: &Held) {
        let size = held.body.len() + OVERHEAD;
        self.bytes -= size;
        if let Some(exporter) = self.exporters.get_mut(&held.key) {
            exporter.bytes -= size;
            if exporter.bytes == 0 {
                self.exporters.remove(&held.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::stats::Protocol;

    fn key(domain: u32) -> ExporterKey {
        ExporterKey { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), protocol: Protocol::Ipfix, domain }
    }

    fn at(received_ns: u64) -> MessageInfo {
        MessageInfo { received_ns, sequence: 0, clock: Clock::default() }
    }

    #[test]
    fn sets_come_out_in_order_and_only_those_of_the_template() {
        let mut pending = Pending::new(10_000, 10_000, 1_000);
        let mut stats = DecodeStats::default();
        for (domain, template_id, body) in [(1, 256, b"a"), (1, 257, b"b"), (2, 256, b"c"), (1, 256, b"d")] {
            pending.hold(key(domain), template_id, at(0), body, &mut stats);
        }
        let released = pending.release(key(1), 256, 0, &mut stats);
        let bodies: Vec<&[u8]> = released.iter().map(|held| &*held.body).collect();
        assert_eq!(bodies, [b"a", b"d"]);
        assert_eq!(stats.pending_bytes, 2 * (1 + OVERHEAD as u64));
        assert!(pending.release(key(1), 256, 0, &mut stats).is_empty());
    }

    #[test]
    fn what_is_too_old_is_counted_and_gone() {
        let mut pending = Pending::new(10_000, 10_000, 1);
        let mut stats = DecodeStats::default();
        pending.hold(key(1), 256, at(0), b"old", &mut stats);
        pending.hold(key(1), 256, at(900_000), b"new", &mut stats);
        let released = pending.release(key(1), 256, 1_500_000, &mut stats);
        assert_eq!(released.len(), 1);
        assert_eq!((stats.pending_expired, stats.pending_bytes), (1, 0));
        assert!(pending.is_empty() && pending.exporters.is_empty());
    }

    #[test]
    fn one_exporter_cannot_take_the_room_of_the_others() {
        let mut pending = Pending::new(3 * (OVERHEAD + 1), 2 * (OVERHEAD + 1), 1_000);
        let mut stats = DecodeStats::default();
        for _ in 0..5 {
            pending.hold(key(1), 256, at(0), b"x", &mut stats);
        }
        pending.hold(key(2), 256, at(0), b"x", &mut stats);
        pending.hold(key(3), 256, at(0), b"x", &mut stats);
        assert_eq!((stats.pending_held, stats.pending_dropped), (3, 4));
    }
}
