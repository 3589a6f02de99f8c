//! Template sets: splitting them into records, and what is made of a record.
//!
//! The records are found here, so that one bad template does not cost the others, withdrawals are
//! seen, and a template that only repeats itself costs a comparison. What a record says is read by
//! netflow_parser, from a message of its own with just that record in it.

#![warn(clippy::indexing_slicing)]

use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldDataType, NetflowPacket, NetflowParser};

use crate::DecodeError;
use crate::bytes::{is_zero, u16_at};
use crate::compile::Wish;
use crate::element::{Field, VARIABLE, of_netflow9};
use crate::plan::Plan;
use crate::stats::Protocol;

/// Template numbers below this are set numbers (RFC 7011, section 3.4.1).
pub(crate) const FIRST_TEMPLATE: u16 = 256;

/// Memory that a template takes for each byte of its record on the wire, roughly: a field of four
/// bytes becomes a parsed field and one or two sources of columns.
const MEMORY_PER_BYTE: usize = 24;

/// Memory that any template takes.
const MEMORY_PER_TEMPLATE: usize = 512;

/// What a record of a template set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Definition<'a> {
    /// A template: its number and its whole record.
    Define(u16, &'a [u8]),
    /// The template is void from now on (RFC 7011, section 8.1).
    Withdraw(u16),
    /// All templates of the kind of this set are void.
    WithdrawAll,
}

/// The options templates of both protocols.
#[derive(Clone, Debug)]
pub(crate) enum OptionsTemplate {
    NetFlow9(v9::OptionsTemplate),
    Ipfix(ipfix::OptionsTemplate),
}

/// The data templates of both protocols, as netflow_parser needs them to decode records.
#[derive(Clone, Debug)]
pub(crate) enum DataTemplate {
    NetFlow9(v9::Template),
    Ipfix(ipfix::Template),
}

/// What to do with the data sets of a template.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Flow records: run the plan; the template is kept only if some column needs the general decoder.
    Flows(Box<Plan>, Option<DataTemplate>),
    /// Options data.
    Options(Box<OptionsTemplate>),
}

/// A template in force.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The record that defined it: a repetition is recognised by it.
    pub(crate) record: Box<[u8]>,
    /// Whether it came in an options template set.
    pub(crate) is_options: bool,
    /// What to do with its data.
    pub(crate) kind: Kind,
    /// When it was used last, on the clock of its exporter.
    pub(crate) used: u64,
    /// When it was defined, in nanoseconds since the Unix epoch.
    pub(crate) learned_ns: u64,
}

impl Template {
    /// Memory that the template takes, roughly.
    pub(crate) fn memory(&self) -> usize {
        self.record.len() * MEMORY_PER_BYTE + MEMORY_PER_TEMPLATE
    }
}

/// A template set, or an options template set, that is being split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TemplateSet<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) is_options: bool,
    /// Observation domain, for errors.
    pub(crate) domain: u32,
    /// What is left of the set.
    pub(crate) body: &'a [u8],
}

impl<'a> Iterator for TemplateSet<'a> {
    type Item = Result<Definition<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Padding may have any length below that of a record (RFC 7011, section 3.3.1).
        if self.body.len() < 4 || is_zero(self.body) {
            return None;
        }
        let body = std::mem::take(&mut self.body);
        let (id, count) = (u16_at(body, 0)?, u16_at(body, 2)?);
        if self.protocol == Protocol::Ipfix && count == 0 {
            self.body = body.get(4..).unwrap_or(&[]);
            let set_id = if self.is_options { 3 } else { 2 };
            return Some(Ok(if id == set_id { Definition::WithdrawAll } else { Definition::Withdraw(id) }));
        }
        let bad = |why| DecodeError::BadTemplate { domain: self.domain, template_id: id, why };
        let Some(len) = self.record_len(body) else { return Some(Err(bad("it does not end within its set"))) };
        let (record, rest) = body.split_at_checked(len)?;
        self.body = rest;
        if id < FIRST_TEMPLATE {
            return Some(Err(bad("its number is below 256")));
        }
        Some(Ok(Definition::Define(id, record)))
    }
}

impl TemplateSet<'_> {
    /// Bytes of the first record, if it is all there.
    fn record_len(&self, body: &[u8]) -> Option<usize> {
        let count = usize::from(u16_at(body, 2)?);
        let len = match (self.protocol, self.is_options) {
            (Protocol::Ipfix, is_options) => {
                let mut at = if is_options { 6 } else { 4 };
                for _ in 0..count {
                    at += if u16_at(body, at)? & 0x8000 == 0 { 4 } else { 8 };
                }
                at
            }
            (_, false) => 4 + count * 4,
            (_, true) => 6 + count + usize::from(u16_at(body, 4)?),
        };
        (len <= body.len()).then_some(len)
    }
}

/// Reads template records, one at a time.
#[derive(Debug)]
pub(crate) struct TemplateReader {
    parser: NetflowParser,
    /// The message that is made for the parser.
    message: Vec<u8>,
    /// Fields that a template may have.
    max_fields: usize,
}

impl TemplateReader {
    pub(crate) fn new(max_fields: usize) -> TemplateReader {
        // Templates are kept by this crate, by exporter; the parser's own store stays as small as can be.
        let parser = NetflowParser::builder()
            .with_cache_size(1)
            .with_max_field_count(max_fields.max(1))
            .build()
            .expect("the limits are not zero");
        TemplateReader { parser, message: Vec::new(), max_fields }
    }

    /// Reads a record and compiles its plan.
    ///
    /// # Errors
    /// Why no record can follow the template, as text for [`DecodeError::BadTemplate`].
    pub(crate) fn read(
        &mut self,
        protocol: Protocol,
        is_options: bool,
        record: &[u8],
        wish: Wish<'_>,
    ) -> Result<Template, &'static str> {
        let fields = self.compose(protocol, is_options, record).ok_or("a length in it is wrong")?;
        if fields > self.max_fields {
            return Err("it has too many fields");
        }
        if fields == 0 {
            return Err("its records would be of no length");
        }
        let parsed = self.parser.parse_bytes(&self.message).packets.into_iter().next();
        let kind = kind_of(parsed, wish).ok_or("netflow_parser refuses it")??;
        Ok(Template { record: record.into(), is_options, kind, used: 0, learned_ns: 0 })
    }

    /// Makes a message with nothing but the record in it, and without its fields of length 0: they
    /// take no room in data records, and netflow_parser refuses them in IPFIX. Returns the number of
    /// fields.
    fn compose(&mut self, protocol: Protocol, is_options: bool, record: &[u8]) -> Option<usize> {
        let message = &mut self.message;
        message.clear();
        let is_ipfix = protocol == Protocol::Ipfix;
        let version: u16 = if is_ipfix { 10 } else { 9 };
        let header: usize = if is_ipfix { 16 } else { 20 };
        message.extend(version.to_be_bytes());
        message.resize(header, 0);
        let set_id = u16::from(is_options) + if is_ipfix { 2 } else { 0 };
        message.extend(set_id.to_be_bytes());
        message.extend([0, 0]);
        let start = message.len();
        let fields_at = if is_options { 6 } else { 4 };
        message.extend_from_slice(record.get(..fields_at)?);
        let counts = (usize::from(u16_at(record, 2)?), usize::from(u16_at(record, 4)?));
        // Number of fields in all, and how many of the first of them are scope.
        let (total, scope) = match (is_ipfix, is_options) {
            (_, false) => (counts.0, 0),
            (true, true) => counts,
            (false, true) => (counts.0 / 4 + counts.1 / 4, counts.0 / 4),
        };
        let (mut at, mut kept, mut kept_scope) = (fields_at, 0_u16, 0_u16);
        for nth in 0..total {
            let len = if is_ipfix && u16_at(record, at)? & 0x8000 != 0 { 8 } else { 4 };
            let field = record.get(at..at + len)?;
            at += len;
            if u16_at(field, 2)? != 0 {
                message.extend_from_slice(field);
                kept += 1;
                kept_scope += u16::from(nth < scope);
            }
        }
        // Lengths of NetFlow v9 options that are no multiples of a field.
        if at != record.len() {
            return None;
        }
        let (second, third) = match (is_ipfix, is_options) {
            (_, false) => (kept, None),
            (true, true) => (kept, Some(kept_scope)),
            (false, true) => (kept_scope * 4, Some((kept - kept_scope) * 4)),
        };
        put(message, start + 2, second);
        if let Some(third) = third {
            put(message, start + 4, third);
        }
        let len = u16::try_from(message.len()).ok()?;
        put(message, header + 2, len - header as u16);
        if is_ipfix {
            put(message, 2, len);
        }
        Some(usize::from(kept))
    }
}

fn put(message: &mut [u8], at: usize, number: u16) {
    if let Some(place) = message.get_mut(at..at + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// What netflow_parser read: `None` if it is no template, an error if there is no plan for it.
fn kind_of(parsed: Option<NetflowPacket>, wish: Wish<'_>) -> Option<Result<Kind, &'static str>> {
    match parsed? {
        NetflowPacket::V9(packet) => match packet.flowsets.into_iter().next()?.body {
            v9::FlowSetBody::Template(set) => {
                let template = set.templates.into_iter().next()?;
                let fields: Vec<Field> = template
                    .fields
                    .iter()
                    .map(|field| Field { pen: 0, id: of_netflow9(field.field_type_number), len: field.field_length })
                    .collect();
                let types: Vec<FieldDataType> = template.fields.iter().map(|field| field.field_type.into()).collect();
                Some(flows(Protocol::NetFlow9, &fields, &types, wish, DataTemplate::NetFlow9(template)))
            }
            v9::FlowSetBody::OptionsTemplate(set) => {
                let template = set.templates.into_iter().next()?;
                Some(Ok(Kind::Options(Box::new(OptionsTemplate::NetFlow9(template)))))
            }
            _ => None,
        },
        NetflowPacket::IPFix(packet) => match packet.flowsets.into_iter().next()?.body {
            ipfix::FlowSetBody::Template(template) => {
                let fields: Vec<Field> = template
                    .fields
                    .iter()
                    .map(|field| Field {
                        pen: field.enterprise_number.unwrap_or(0),
                        id: field.field_type_number,
                        len: field.field_length,
                    })
                    .collect();
                let types: Vec<FieldDataType> = template.fields.iter().map(|field| field.field_type.into()).collect();
                Some(flows(Protocol::Ipfix, &fields, &types, wish, DataTemplate::Ipfix(template)))
            }
            ipfix::FlowSetBody::OptionsTemplate(template) => {
                Some(Ok(Kind::Options(Box::new(OptionsTemplate::Ipfix(template)))))
            }
            _ => None,
        },
        _ => None,
    }
}

fn flows(
    protocol: Protocol,
    fields: &[Field],
    types: &[FieldDataType],
    wish: Wish<'_>,
    template: DataTemplate,
) -> Result<Kind, &'static str> {
    let plan = Plan::compile(protocol, fields, types, wish).ok_or("its records would be longer than a datagram")?;
    let template = (!plan.general.is_empty()).then_some(template);
    Ok(Kind::Flows(Box::new(plan), template))
}

impl OptionsTemplate {
    /// Bytes of the shortest record.
    pub(crate) fn shortest(&self) -> usize {
        let len = |len: u16| if len == VARIABLE { 1 } else { usize::from(len) };
        match self {
            OptionsTemplate::NetFlow9(template) => {
                let scope = template.scope_fields.iter().map(|field| len(field.field_length));
                scope.chain(template.option_fields.iter().map(|field| len(field.field_length))).sum()
            }
            OptionsTemplate::Ipfix(template) => template.fields.iter().map(|field| len(field.field_length)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use sluice_flow::{ColumnSet, Schema};

    use super::*;

    /// Splits and reads a set and says what is in it. `words` are two bytes each.
    fn check(protocol: Protocol, is_options: bool, words: &[u16], expected: Expect) {
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut reader = TemplateReader::new(16);
        let schema = Schema::standard();
        let wish = Wish { schema: &schema, wanted: &ColumnSet::ALL };
        let mut text = String::new();
        for definition in (TemplateSet { protocol, is_options, domain: 7, body: &body }) {
            let line = match definition {
                Ok(Definition::Define(id, record)) => match reader.read(protocol, is_options, record, wish) {
                    Ok(Template { kind: Kind::Flows(plan, _), .. }) => format!("{id}: flows, {:?}", plan.layout),
                    Ok(Template { kind: Kind::Options(template), .. }) => {
                        format!("{id}: options of {} bytes or more", template.shortest())
                    }
                    Err(why) => format!("{id}: {why}"),
                },
                Ok(other) => format!("{other:?}"),
                Err(error) => error.to_string(),
            };
            text.push_str(&line);
            text.push('\n');
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn a_set_of_several_templates_is_read_one_by_one() {
        let words = [256, 2, 8, 4, 12, 4, 257, 1, 27, 16, 0];
        check(
            Protocol::NetFlow9,
            false,
            &words,
            expect![[r#"
                256: flows, Fixed(8)
                257: flows, Fixed(16)
            "#]],
        );
    }

    #[test]
    fn fields_of_no_length_are_left_out_and_nothing_is_left_of_a_template_without_others() {
        let words = [256, 2, 8, 4, 82, 0, 257, 1, 8, 0];
        for protocol in [Protocol::NetFlow9, Protocol::Ipfix] {
            check(
                protocol,
                false,
                &words,
                expect![[r#"
                    256: flows, Fixed(4)
                    257: its records would be of no length
                "#]],
            );
        }
    }

    #[test]
    fn enterprise_and_variable_fields_are_read_in_ipfix_only() {
        let words = [256, 3, 8, 4, 0x8001, 65535, 0, 9, 82, 65535];
        check(
            Protocol::Ipfix,
            false,
            &words,
            expect![[r#"
                256: flows, Variable([4, 0, 0])
            "#]],
        );
        check(
            Protocol::NetFlow9,
            false,
            &[256, 1, 8, 65535],
            expect![[r#"
                256: netflow_parser refuses it
            "#]],
        );
    }

    #[test]
    fn withdrawals_are_seen_among_definitions() {
        check(
            Protocol::Ipfix,
            false,
            &[2, 0, 256, 0, 256, 1, 8, 4],
            expect![[r#"
                WithdrawAll
                Withdraw(256)
                256: flows, Fixed(4)
            "#]],
        );
    }

    #[test]
    fn options_templates_of_both_protocols_are_read() {
        check(
            Protocol::NetFlow9,
            true,
            &[256, 4, 8, 1, 4, 34, 4, 35, 1, 0],
            expect![[r#"
                256: options of 9 bytes or more
            "#]],
        );
        check(
            Protocol::Ipfix,
            true,
            &[256, 2, 1, 149, 4, 305, 4],
            expect![[r#"
                256: options of 8 bytes or more
            "#]],
        );
    }

    #[test]
    fn a_bad_template_does_not_cost_its_neighbours() {
        check(
            Protocol::Ipfix,
            false,
            &[5, 1, 8, 4, 256, 1, 8, 4, 257, 9, 8, 4],
            expect![[r#"
                template 5 in observation domain 7: its number is below 256
                256: flows, Fixed(4)
                template 257 in observation domain 7: it does not end within its set
            "#]],
        );
    }

    #[test]
    fn a_template_of_too_many_fields_is_refused() {
        let mut words = vec![256, 17];
        words.extend((0..17).flat_map(|_| [1, 1]));
        check(
            Protocol::NetFlow9,
            false,
            &words,
            expect![[r#"
                256: it has too many fields
            "#]],
        );
    }
}
