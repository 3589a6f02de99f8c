//! What NetFlow v9 and IPFIX have in common: sets of templates, of options data and of flow records.

#![warn(clippy::indexing_slicing)]

use sluice_flow::{BatchBuilder, halves_of};

use crate::DecodeError;
use crate::bytes::{is_zero, u16_at};
use crate::decode::Decoder;
use crate::exporter::{ExporterKey, Slot};
use crate::pending::MessageInfo;
use crate::plan::Common;
use crate::sampling::Learned;
use crate::stats::Faults;
use crate::template::{Definition, FIRST_TEMPLATE, Kind, Template, TemplateSet};

/// Bytes of the header of a set.
pub(crate) const SET_HEADER: usize = 4;

/// A message, or a NetFlow v9 datagram, whose sets are being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) key: ExporterKey,
    pub(crate) slot: Slot,
    pub(crate) info: MessageInfo,
}

/// A set with its header taken off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set<'a> {
    pub(crate) id: u16,
    /// What there is of the set.
    pub(crate) body: &'a [u8],
    /// Where `body` begins in the datagram.
    pub(crate) offset: usize,
    /// Bytes that the set says it has, with its header.
    pub(crate) length: usize,
}

impl Set<'_> {
    /// Bytes of the set that are missing, with the header that announces them.
    fn cut(&self) -> Option<DecodeError> {
        let left = self.body.len() + SET_HEADER;
        let offset = self.offset.saturating_sub(SET_HEADER);
        (left < self.length).then_some(DecodeError::Truncated { what: "set", offset, needed: self.length, left })
    }
}

/// The sets of a message, one after another. Ends at the first one that cannot be, and after one
/// that is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets<'a> {
    /// The datagram up to the end of the message.
    pub(crate) datagram: &'a [u8],
    /// Where the next set begins.
    pub(crate) at: usize,
}

impl<'a> Iterator for Sets<'a> {
    type Item = Result<Set<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.at;
        let rest = self.datagram.get(offset..)?;
        // Some exporters fill their datagrams up with zeros.
        if is_zero(rest) {
            return None;
        }
        self.at = usize::MAX;
        let (Some(id), Some(length)) = (u16_at(rest, 0), u16_at(rest, 2)) else {
            return Some(Err(DecodeError::Truncated { what: "set header", offset, needed: 4, left: rest.len() }));
        };
        let length = usize::from(length);
        if length < SET_HEADER {
            return Some(Err(DecodeError::BadLength { what: "set", offset, length }));
        }
        let body = rest.get(SET_HEADER..length.min(rest.len())).unwrap_or(&[]);
        self.at = offset + length;
        Some(Ok(Set { id, body, offset: offset + SET_HEADER, length }))
    }
}

impl Decoder {
    /// Reads one set. `templates` are the numbers of template and options template sets. Returns the
    /// number of data records in it (of options data too), or `None` if it cannot be known.
    pub(crate) fn set(
        &mut self,
        message: &Message,
        set: Set<'_>,
        templates: (u16, u16),
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) -> Option<u32> {
        let cut = set.cut();
        let is_whole = cut.is_none();
        if let Some(error) = cut {
            faults.add(&mut self.stats, error);
        }
        if set.id >= FIRST_TEMPLATE {
            // Of a set that is cut off, the records that are whole count.
            return self.data_set(message, set, out, faults).filter(|_| is_whole);
        }
        if set.id == templates.0 || set.id == templates.1 {
            self.template_set(message, set, set.id == templates.1, out, faults);
        } else {
            let offset = set.offset.saturating_sub(SET_HEADER);
            faults.add(&mut self.stats, DecodeError::ReservedSet { set_id: set.id, offset });
        }
        Some(0)
    }

    fn template_set(
        &mut self,
        message: &Message,
        set: Set<'_>,
        is_options: bool,
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) {
        let Message { key, slot, .. } = *message;
        let definitions = TemplateSet { protocol: key.protocol, is_options, domain: key.domain, body: set.body };
        for definition in definitions {
            match definition {
                Ok(Definition::Define(id, record)) => self.define(message, id, is_options, record, out, faults),
                Ok(Definition::Withdraw(id)) => {
                    // A withdrawal of the other kind does not mean this template.
                    let in_force = self.exporters.at(slot).peek(id);
                    if in_force.is_some_and(|template| template.is_options == is_options) {
                        self.withdraw(message, id);
                    }
                }
                Ok(Definition::WithdrawAll) => {
                    for id in self.exporters.at(slot).ids(is_options) {
                        self.withdraw(message, id);
                    }
                }
                Err(error) => faults.add(&mut self.stats, error),
            }
        }
    }

    fn define(
        &mut self,
        message: &Message,
        id: u16,
        is_options: bool,
        record: &[u8],
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) {
        let Message { key, slot, info } = *message;
        if self.exporters.at(slot).has(id, is_options, record) {
            return;
        }
        let wish = crate::compile::Wish { schema: &self.schema, wanted: &self.wanted };
        match self.reader.read(key.protocol, is_options, record, wish) {
            Ok(template) => {
                let template = Template { learned_ns: info.received_ns, ..template };
                self.exporters.put(slot, id, template, &mut self.stats);
                for held in self.pending.release(key, id, info.received_ns, &mut self.stats) {
                    self.stats.pending_released += 1;
                    let message = Message { key, slot, info: held.info };
                    self.data_set(&message, Set { id, body: &held.body, offset: 0, length: 0 }, out, faults);
                }
            }
            Err(why) => {
                self.exporters.remove(slot, id);
                self.drop_pending(message, id);
                let error = DecodeError::BadTemplate { domain: key.domain, template_id: id, why };
                faults.add(&mut self.stats, error);
            }
        }
    }

    fn withdraw(&mut self, message: &Message, id: u16) {
        if self.exporters.remove(message.slot, id) {
            self.stats.templates_withdrawn += 1;
        }
        self.drop_pending(message, id);
    }

    fn drop_pending(&mut self, message: &Message, id: u16) {
        let dropped = self.pending.release(message.key, id, message.info.received_ns, &mut self.stats);
        self.stats.pending_dropped += dropped.len() as u64;
    }

    fn data_set(
        &mut self,
        message: &Message,
        set: Set<'_>,
        out: &mut BatchBuilder,
        faults: &mut Faults,
    ) -> Option<u32> {
        let Message { key, slot, info } = *message;
        let wide_rate = self.exporters.wide_rate(key);
        let exporter = self.exporters.at(slot);
        let Some((template, sampling)) = exporter.template(set.id) else {
            self.pending.hold(key, set.id, info, set.body, &mut self.stats);
            faults.add(&mut self.stats, DecodeError::NoTemplate { domain: key.domain, template_id: set.id });
            return None;
        };
        let (plan, general) = match &template.kind {
            Kind::Flows(plan, general) => (plan, general),
            Kind::Options(template) => {
                let mut dropped = 0;
                let (records, broken) = crate::options::records(template, set.body, |record| {
                    dropped += u64::from(sampling.learn(record) == Learned::NoRoom);
                });
                let gave_wide_rate = key.domain == 0 && sampling.default_rate().is_some();
                if let Some(error) = unread(&set, records, broken, template.shortest()) {
                    faults.add(&mut self.stats, error);
                }
                self.stats.options_records += records as u64;
                self.stats.options_dropped += dropped;
                if gave_wide_rate {
                    self.exporters.note_wide_rate();
                }
                return u32::try_from(records).ok();
            }
        };
        let common = Common {
            flow_type: key.protocol.flow_type(),
            received_ns: info.received_ns,
            sequence: info.sequence,
            domain: key.domain,
            exporter: halves_of(key.addr),
            clock: crate::source::Clock { init_ms: sampling.init_ms, ..info.clock },
            default_rate: sampling.default_rate().unwrap_or(wide_rate),
            sampling,
        };
        let (rows, broken) = plan.rows(set.body, &mut self.anchors);
        let records = rows.len();
        let before = out.rows();
        if records > 0 {
            plan.fill(&rows, &common, out);
            if let Some(general) = general {
                crate::options::general(general, set.body, &plan.general, records, out);
                self.stats.records_general += records as u64;
            }
            out.advance(records);
            plan.run_reverse(&rows, &common, &mut self.reverse_anchors, out);
        }
        let unread = unread(&set, records, broken, plan.layout.shortest());
        self.stats.records += records as u64;
        self.stats.rows += (out.rows() - before) as u64;
        if let Some(error) = unread {
            faults.add(&mut self.stats, error);
        }
        u32::try_from(records).ok()
    }
}

/// Why not all of a data set could be read: a record that does not end in it, or a set that is too short for any, as it was made
/// for another template. `shortest` is the length of the shortest record. What is left behind whole records and could not be
/// another is padding, which not every exporter makes of zeros (RFC 3954, section 5.3, only asks for it).
fn unread(set: &Set<'_>, records: usize, broken: Option<usize>, shortest: usize) -> Option<DecodeError> {
    let (left, offset) = (set.body.len(), set.offset);
    let is_unread = records == 0 && !is_zero(set.body);
    if let Some(at) = broken.or((is_unread && left >= shortest).then_some(0)) {
        return Some(DecodeError::BadRecord { template_id: set.id, offset: offset.saturating_add(at) });
    }
    is_unread.then_some(DecodeError::Truncated { what: "data record", offset, needed: shortest, left })
}
