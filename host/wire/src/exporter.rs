//! What is known of each exporter: templates, sampling rates, sequence.

#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::net::IpAddr;

use crate::DecodeStats;
use crate::compile::Wish;
use crate::sampling::Sampling;
use crate::sequence::Sequence;
use crate::stats::Protocol;
use crate::template::{Template, TemplateReader};

/// An exporter: what templates and sequence numbers are scoped by. The port is no part of it, since
/// an exporter that restarts sends from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExporterKey {
    pub(crate) addr: IpAddr,
    pub(crate) protocol: Protocol,
    /// Observation domain: the source ID of NetFlow v9, engine type and id of v5.
    pub(crate) domain: u32,
}

/// What is known of one exporter.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    pub(crate) sampling: Sampling,
    pub(crate) sequence: Sequence,
    /// By number, ascending. Data and options templates share their numbers.
    templates: Vec<(u16, Template)>,
    /// Memory of the templates, roughly.
    memory: usize,
    /// Counts the uses of templates, to find the one that was used least recently.
    clock: u64,
}

/// What putting a template changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Bytes of memory taken and given back.
    pub(crate) taken: usize,
    pub(crate) given_back: usize,
    /// Whether another template had to go.
    pub(crate) evicted: bool,
    /// Whether there was one of this number before.
    pub(crate) replaced: bool,
}

impl Exporter {
    /// The template in force, and what options data said so far.
    #[inline]
    pub(crate) fn template(&mut self, id: u16) -> Option<(&Template, &mut Sampling)> {
        self.clock += 1;
        let at = self.find(id).ok()?;
        let (_, template) = self.templates.get_mut(at)?;
        template.used = self.clock;
        Some((template, &mut self.sampling))
    }

    /// The template in force, without a use of it.
    pub(crate) fn peek(&self, id: u16) -> Option<&Template> {
        self.templates.get(self.find(id).ok()?).map(|(_, template)| template)
    }

    /// Whether this very template is in force.
    pub(crate) fn has(&self, id: u16, is_options: bool, record: &[u8]) -> bool {
        self.peek(id).is_some_and(|template| template.is_options == is_options && *template.record == *record)
    }

    /// Numbers of the templates, or options templates, in force.
    pub(crate) fn ids(&self, is_options: bool) -> Vec<u16> {
        let of_kind = self.templates.iter().filter(|(_, template)| template.is_options == is_options);
        of_kind.map(|(id, _)| *id).collect()
    }

    /// The templates in force, by number.
    pub(crate) fn templates(&self) -> &[(u16, Template)] {
        &self.templates
    }

    fn find(&self, id: u16) -> Result<usize, usize> {
        self.templates.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// Puts a template in force, in place of any other of its number; at the limit, the one that was
    /// used least recently goes.
    fn put(&mut self, id: u16, mut template: Template, limit: usize) -> Change {
        let mut change = Change { taken: template.memory(), given_back: 0, evicted: false, replaced: false };
        self.clock += 1;
        template.used = self.clock;
        if let Some(old) = self.remove(id) {
            change.given_back = old;
            change.replaced = true;
        } else if self.templates.len() >= limit.max(1)
            && let Some(oldest) = self.templates.iter().min_by_key(|(_, template)| template.used).map(|(id, _)| *id)
        {
            change.given_back = self.remove(oldest).unwrap_or(0);
            change.evicted = true;
        }
        let at = self.find(id).unwrap_or_else(|at| at);
        self.templates.insert(at, (id, template));
        self.memory += change.taken;
        change
    }

    /// Compiles the plans of all templates again, for another wish.
    fn plan_anew(&mut self, protocol: Protocol, reader: &mut TemplateReader, wish: Wish<'_>) {
        for (_, template) in &mut self.templates {
            // What was read once can be read again.
            if let Ok(again) = reader.read(protocol, template.is_options, &template.record, wish) {
                *template = Template { used: template.used, learned_ns: template.learned_ns, ..again };
            }
        }
    }

    /// Ends a template, and returns the memory it took.
    fn remove(&mut self, id: u16) -> Option<usize> {
        let at = self.find(id).ok()?;
        let memory = self.templates.remove(at).1.memory();
        self.memory -= memory;
        Some(memory)
    }
}

/// Place of an exporter. It stays the same as long as the exporter is not evicted, which one that
/// sends a datagram is not before another one sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// All exporters, at most so many, with templates of at most so many bytes in all. The one that sent
/// nothing for the longest time goes first.
#[derive(Debug)]
pub(crate) struct Exporters {
    places: HashMap<ExporterKey, usize, ahash::RandomState>,
    nodes: Vec<Node>,
    /// Nodes that are not in use.
    free: Vec<usize>,
    /// The node that was used last, and the one that was not for the longest time.
    newest: usize,
    oldest: usize,
    max_exporters: usize,
    max_templates: usize,
    max_memory: usize,
    memory: usize,
    /// Whether any exporter gave a rate in observation domain 0, which stands for all of its domains.
    has_wide_rates: bool,
}

/// An exporter in the list of all, by the time of its last use.
#[derive(Debug)]
struct Node {
    key: ExporterKey,
    exporter: Exporter,
    newer: usize,
    older: usize,
}

/// No node.
const NONE: usize = usize::MAX;

impl Exporters {
    pub(crate) fn new(max_exporters: usize, max_templates: usize, max_memory: usize) -> Exporters {
        Exporters {
            places: HashMap::default(),
            nodes: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            max_exporters: max_exporters.max(1),
            max_templates,
            max_memory,
            memory: 0,
            has_wide_rates: false,
        }
    }

    /// The exporter, known or new. Its use counts.
    #[inline]
    pub(crate) fn slot(&mut self, key: ExporterKey, stats: &mut DecodeStats) -> Slot {
        // Exporters send several datagrams at a time.
        if self.nodes.get(self.newest).is_some_and(|node| node.key == key) {
            return Slot(self.newest);
        }
        match self.places.get(&key) {
            Some(place) => {
                let place = *place;
                self.unlink(place);
                self.link(place);
                Slot(place)
            }
            None => self.insert(key, stats),
        }
    }

    #[cold]
    fn insert(&mut self, key: ExporterKey, stats: &mut DecodeStats) -> Slot {
        if self.places.len() >= self.max_exporters {
            self.evict(stats);
        }
        let node = Node { key, exporter: Exporter::default(), newer: NONE, older: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(slot) = self.nodes.get_mut(place) {
                    *slot = node;
                }
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.link(place);
        self.places.insert(key, place);
        stats.exporters = self.places.len() as u64;
        Slot(place)
    }

    /// The exporter at a place.
    #[inline]
    pub(crate) fn at(&mut self, slot: Slot) -> &mut Exporter {
        &mut self.nodes.get_mut(slot.0).expect("a slot is the place of an exporter").exporter
    }

    /// Puts a template in force and keeps within the bounds.
    pub(crate) fn put(&mut self, slot: Slot, id: u16, template: Template, stats: &mut DecodeStats) {
        let limit = self.max_templates;
        let change = self.at(slot).put(id, template, limit);
        self.memory = self.memory + change.taken - change.given_back;
        stats.templates_evicted += u64::from(change.evicted);
        if change.replaced {
            stats.templates_changed += 1;
        } else {
            stats.templates_learned += 1;
        }
        while self.memory > self.max_memory && self.oldest != slot.0 {
            self.evict(stats);
        }
    }

    /// Ends a template. False if there was none.
    pub(crate) fn remove(&mut self, slot: Slot, id: u16) -> bool {
        let removed = self.at(slot).remove(id);
        self.memory -= removed.unwrap_or(0);
        removed.is_some()
    }

    /// Compiles the plans of all templates again, for another wish.
    pub(crate) fn plan_anew(&mut self, reader: &mut TemplateReader, wish: Wish<'_>) {
        for node in &mut self.nodes {
            node.exporter.plan_anew(node.key.protocol, reader, wish);
        }
    }

    /// The rate that an exporter gave in observation domain 0, which is about the exporter as a whole
    /// (RFC 7011, section 3.1).
    #[inline]
    pub(crate) fn wide_rate(&self, key: ExporterKey) -> u64 {
        if !self.has_wide_rates || key.domain == 0 {
            return 0;
        }
        let whole = self.places.get(&ExporterKey { domain: 0, ..key }).and_then(|place| self.nodes.get(*place));
        whole.and_then(|node| node.exporter.sampling.default_rate()).unwrap_or(0)
    }

    /// Notes that a rate came in observation domain 0.
    pub(crate) fn note_wide_rate(&mut self) {
        self.has_wide_rates = true;
    }

    fn evict(&mut self, stats: &mut DecodeStats) {
        let place = self.oldest;
        self.unlink(place);
        let Some(node) = self.nodes.get_mut(place) else { return };
        let exporter = std::mem::take(&mut node.exporter);
        self.places.remove(&node.key);
        self.free.push(place);
        self.memory -= exporter.memory;
        stats.exporters_evicted += 1;
        stats.templates_evicted += exporter.templates.len() as u64;
        stats.exporters = self.places.len() as u64;
    }

    /// All exporters, that which sent last first.
    pub(crate) fn by_recency(&self) -> impl Iterator<Item = (&ExporterKey, &Exporter)> {
        let first = self.nodes.get(self.newest);
        let nodes = std::iter::successors(first, |node| self.nodes.get(node.older));
        nodes.map(|node| (&node.key, &node.exporter))
    }

    /// Takes a node out of the list.
    fn unlink(&mut self, place: usize) {
        let Some(node) = self.nodes.get(place) else { return };
        let (newer, older) = (node.newer, node.older);
        match self.nodes.get_mut(newer) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Puts a node at the new end of the list.
    fn link(&mut self, place: usize) {
        let newest = std::mem::replace(&mut self.newest, place);
        match self.nodes.get_mut(newest) {
            Some(node) => node.newer = place,
            None => self.oldest = place,
        }
        if let Some(node) = self.nodes.get_mut(place) {
            node.newer = NONE;
            node.older = newest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netflow_parser::variable_versions::v9::OptionsTemplate as V9;

    use super::*;
    use crate::template::{Kind, OptionsTemplate};

    fn key(last: u8) -> ExporterKey {
        ExporterKey { addr: Ipv4Addr::new(192, 0, 2, last).into(), protocol: Protocol::NetFlow9, domain: 0 }
    }

    fn template(len: usize) -> Template {
        let kind = Kind::Options(Box::new(OptionsTemplate::NetFlow9(V9::default())));
        Template { record: vec![0; len].into(), is_options: true, kind, used: 0, learned_ns: 0 }
    }

    /// Puts templates of these lengths, each of another exporter or number, and says what is left.
    fn exporters(limits: (usize, usize, usize), puts: &[(u8, u16, usize)]) -> (Exporters, DecodeStats) {
        let mut exporters = Exporters::new(limits.0, limits.1, limits.2);
        let mut stats = DecodeStats::default();
        for (last, id, len) in puts {
            let slot = exporters.slot(key(*last), &mut stats);
            exporters.put(slot, *id, template(*len), &mut stats);
        }
        (exporters, stats)
    }

    fn ids(exporters: &mut Exporters, last: u8) -> Vec<u16> {
        let place = exporters.places.get(&key(last)).copied();
        place.map_or_else(Vec::new, |place| exporters.at(Slot(place)).ids(true))
    }

    #[test]
    fn the_template_used_least_recently_goes_first() {
        let (mut exporters, mut stats) = exporters((4, 2, 1 << 20), &[(1, 256, 8), (1, 257, 8)]);
        let slot = exporters.slot(key(1), &mut stats);
        assert!(exporters.at(slot).template(256).is_some());
        exporters.put(slot, 258, template(8), &mut stats);
        assert_eq!(ids(&mut exporters, 1), [256, 258]);
        assert_eq!((stats.templates_learned, stats.templates_evicted), (3, 1));
    }

    #[test]
    fn an_exporter_too_many_costs_the_one_that_was_silent_longest() {
        let puts = [(1, 256, 8), (2, 256, 8), (3, 256, 8), (1, 256, 8), (4, 256, 8), (5, 256, 8)];
        let (mut exporters, stats) = exporters((3, 8, 1 << 20), &puts);
        let left: Vec<u8> = (1..=5).filter(|last| !ids(&mut exporters, *last).is_empty()).collect();
        assert_eq!(left, [1, 4, 5]);
        assert_eq!((stats.exporters, stats.exporters_evicted, stats.templates_changed), (3, 2, 1));
        assert_eq!(exporters.nodes.len(), 3, "places are used again");
    }

    #[test]
    fn memory_of_templates_is_bounded_over_all_exporters_and_given_back() {
        let one = template(1_000).memory();
        let puts: Vec<_> = (0..10).map(|last| (last, 256, 1_000)).collect();
        let (mut exporters, mut stats) = exporters((100, 100, 3 * one), &puts);
        assert_eq!((stats.exporters, exporters.memory), (3, 3 * one));
        let slot = exporters.slot(key(9), &mut stats);
        assert!(exporters.remove(slot, 256));
        assert!(!exporters.remove(slot, 256));
        assert_eq!(exporters.memory, 2 * one);
    }

    #[test]
    fn an_exporter_alone_may_take_more_than_all_may() {
        let (mut exporters, stats) = exporters((4, 4, 1), &[(1, 256, 8), (1, 257, 8)]);
        assert_eq!(ids(&mut exporters, 1), [256, 257]);
        assert_eq!(stats.exporters_evicted, 0);
    }
}
