//! What is known of each exporter: templates, sampling rates, sequence.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::DecodeStats;
use crate::sampling::Sampling;
use crate::sequence::Sequence;
use crate::stats::Protocol;
use crate::template::Template;

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
    /// Data and options templates share their numbers.
    templates: HashMap<u16, Template, ahash::RandomState>,
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
    pub(crate) fn template(&mut self, id: u16) -> Option<(&Template, &mut Sampling)> {
        self.clock += 1;
        let template = self.templates.get_mut(&id)?;
        template.used = self.clock;
        Some((template, &mut self.sampling))
    }

    /// Whether this very template is in force.
    pub(crate) fn has(&self, id: u16, is_options: bool, record: &[u8]) -> bool {
        self.templates.get(&id).is_some_and(|template| template.is_options == is_options && *template.record == *record)
    }

    /// Puts a template in force, in place of any other of its number; at the limit, the one that was
    /// used least recently goes.
    fn put(&mut self, id: u16, mut template: Template, limit: usize) -> Change {
        let mut change = Change { taken: template.memory(), given_back: 0, evicted: false, replaced: false };
        self.clock += 1;
        template.used = self.clock;
        if let Some(old) = self.templates.insert(id, template) {
            change.given_back = old.memory();
            change.replaced = true;
        } else if self.templates.len() > limit.max(1)
            && let Some(oldest) = self.templates.iter().min_by_key(|(_, template)| template.used).map(|(id, _)| *id)
            && let Some(old) = self.templates.remove(&oldest)
        {
            change.given_back = old.memory();
            change.evicted = true;
        }
        self.memory = self.memory + change.taken - change.given_back;
        change
    }

    /// Ends a template, and returns the memory it took.
    fn remove(&mut self, id: u16) -> Option<usize> {
        let memory = self.templates.remove(&id)?.memory();
        self.memory -= memory;
        Some(memory)
    }
}

/// All exporters, at most so many, with templates of at most so many bytes in all. The one that sent
/// nothing for the longest time goes first.
#[derive(Debug)]
pub(crate) struct Exporters {
    exporters: LruCache<ExporterKey, Exporter, ahash::RandomState>,
    max_templates: usize,
    max_memory: usize,
    memory: usize,
    /// Whether any exporter gave a rate in observation domain 0, which stands for all of its domains.
    has_wide_rates: bool,
}

impl Exporters {
    pub(crate) fn new(max_exporters: usize, max_templates: usize, max_memory: usize) -> Exporters {
        let max_exporters = NonZeroUsize::new(max_exporters).unwrap_or(NonZeroUsize::MIN);
        Exporters {
            // Grown as exporters come: a cache of fixed capacity takes its memory at once.
            exporters: LruCache::unbounded_with_hasher(ahash::RandomState::new()),
            max_templates,
            max_memory,
            memory: 0,
            has_wide_rates: false,
        }
        .with_cap(max_exporters)
    }

    fn with_cap(mut self, cap: NonZeroUsize) -> Exporters {
        self.exporters.resize(cap);
        self
    }

    /// The exporter, known or new. Its use counts.
    pub(crate) fn entry(&mut self, key: ExporterKey, stats: &mut DecodeStats) -> &mut Exporter {
        if !self.exporters.contains(&key) {
            if self.exporters.len() >= self.exporters.cap().get() {
                self.evict(stats);
            }
            self.exporters.put(key, Exporter::default());
            stats.exporters = self.exporters.len() as u64;
        }
        self.exporters.get_mut(&key).expect("it is there or was just put")
    }

    /// Puts a template in force and keeps within the bounds.
    pub(crate) fn put(&mut self, key: ExporterKey, id: u16, template: Template, stats: &mut DecodeStats) {
        let limit = self.max_templates;
        let change = self.entry(key, stats).put(id, template, limit);
        self.memory = self.memory + change.taken - change.given_back;
        stats.templates_evicted += u64::from(change.evicted);
        if change.replaced {
            stats.templates_changed += 1;
        } else {
            stats.templates_learned += 1;
        }
        // The one that just sent a template was used last, so it goes last.
        while self.memory > self.max_memory && self.exporters.len() > 1 {
            self.evict(stats);
        }
    }

    /// Ends a template. False if there was none.
    pub(crate) fn remove(&mut self, key: ExporterKey, id: u16) -> bool {
        let removed = self.exporters.get_mut(&key).and_then(|exporter| exporter.remove(id));
        self.memory -= removed.unwrap_or(0);
        removed.is_some()
    }

    /// Numbers of the templates, or options templates, in force.
    pub(crate) fn ids(&self, key: ExporterKey, is_options: bool) -> Vec<u16> {
        let Some(exporter) = self.exporters.peek(&key) else { return Vec::new() };
        let of_kind = exporter.templates.iter().filter(|(_, template)| template.is_options == is_options);
        of_kind.map(|(id, _)| *id).collect()
    }

    /// Whether the template in force with this number is an options template.
    pub(crate) fn is_options(&self, key: ExporterKey, id: u16) -> Option<bool> {
        Some(self.exporters.peek(&key)?.templates.get(&id)?.is_options)
    }

    /// The rate that an exporter gave in observation domain 0, which is about the exporter as a whole
    /// (RFC 7011, section 3.1).
    pub(crate) fn wide_rate(&self, key: ExporterKey) -> u64 {
        if !self.has_wide_rates || key.domain == 0 {
            return 0;
        }
        let whole = self.exporters.peek(&ExporterKey { domain: 0, ..key });
        whole.and_then(|exporter| exporter.sampling.default_rate()).unwrap_or(0)
    }

    /// Notes that a rate came in observation domain 0.
    pub(crate) fn note_wide_rate(&mut self) {
        self.has_wide_rates = true;
    }

    fn evict(&mut self, stats: &mut DecodeStats) {
        if let Some((_, exporter)) = self.exporters.pop_lru() {
            self.memory -= exporter.memory;
            stats.exporters_evicted += 1;
            stats.templates_evicted += exporter.templates.len() as u64;
            stats.exporters = self.exporters.len() as u64;
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
        Template { record: vec![0; len].into(), is_options: true, kind, used: 0 }
    }

    #[test]
    fn the_template_used_least_recently_goes_first() {
        let mut exporters = Exporters::new(4, 2, 1 << 20);
        let mut stats = DecodeStats::default();
        exporters.put(key(1), 256, template(8), &mut stats);
        exporters.put(key(1), 257, template(8), &mut stats);
        assert!(exporters.entry(key(1), &mut stats).template(256).is_some());
        exporters.put(key(1), 258, template(8), &mut stats);
        let mut ids = exporters.ids(key(1), true);
        ids.sort_unstable();
        assert_eq!(ids, [256, 258]);
        assert_eq!((stats.templates_learned, stats.templates_evicted), (3, 1));
    }

    #[test]
    fn an_exporter_too_many_costs_the_one_that_was_silent_longest() {
        let mut exporters = Exporters::new(2, 8, 1 << 20);
        let mut stats = DecodeStats::default();
        for last in [1, 2, 1, 3] {
            exporters.put(key(last), 256, template(8), &mut stats);
        }
        assert!(exporters.ids(key(2), true).is_empty());
        assert_eq!(exporters.ids(key(1), true), [256]);
        assert_eq!((stats.exporters, stats.exporters_evicted, stats.templates_changed), (2, 1, 1));
    }

    #[test]
    fn memory_of_templates_is_bounded_over_all_exporters_and_given_back() {
        let one = template(1_000).memory();
        let mut exporters = Exporters::new(100, 100, 3 * one);
        let mut stats = DecodeStats::default();
        for last in 0..10 {
            exporters.put(key(last), 256, template(1_000), &mut stats);
        }
        assert_eq!((stats.exporters, exporters.memory), (3, 3 * one));
        assert!(exporters.remove(key(9), 256));
        assert!(!exporters.remove(key(9), 256));
        assert_eq!(exporters.memory, 2 * one);
    }
}
