//! From the fields of a template to its plan.

#![warn(clippy::indexing_slicing)]

use netflow_parser::FieldDataType;
use sluice_flow::{ADDRESSES, ColumnId, ColumnSet, FIELDS, Schema, Width, col};

use crate::element::{
    self, DST_PORT, FIRST_TIMES, Field, ICMP_TYPE_CODE_V4, ICMP_TYPE_CODE_V6, INGRESS_INTERFACE, INITIATOR_BYTES,
    INITIATOR_PACKETS, IP_VERSION, LAST_TIMES, PACKET_INTERVAL, PACKET_SPACE, PHYSICAL_INTERFACE, PROTOCOL, SAMPLER_ID,
    SAMPLER_INTERVAL, SAMPLING_INTERVAL, SAMPLING_POPULATION, SAMPLING_PROBABILITY, SAMPLING_SIZE, SELECTOR_ID,
    SYSTEM_INIT_TIME, Time, VARIABLE,
};
use crate::gather::{At, FieldAt};
use crate::kernel::Op;
use crate::plan::{ExporterAt, Layout, ListTarget, Plan, RateAt, Reverse, Target};
use crate::source::Source;
use crate::stats::Protocol;

/// Bytes that the fields of fixed length of a record may have together: no datagram has more.
pub(crate) const MAX_RECORD: usize = 65_535;

/// What plans are compiled for: the columns that there are and those that somebody reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) wanted: &'a ColumnSet,
}

/// A field and its place.
#[derive(Clone, Copy, Debug)]
struct Placed {
    field: Field,
    at: FieldAt,
}

/// The fields of one template, with their places.
struct Fields {
    protocol: Protocol,
    placed: Vec<Placed>,
}

impl Plan {
    /// Compiles the plan for a template with these fields, none of which is of length 0. `types` says
    /// what each field holds; text and floats in an operator's own columns depend on it.
    ///
    /// `None` if records would be of no length, or longer than a datagram.
    pub(crate) fn compile(
        protocol: Protocol,
        fields: &[Field],
        types: &[FieldDataType],
        wish: Wish<'_>,
    ) -> Option<Plan> {
        let layout = layout(fields)?;
        let mut plan = fill(protocol, fields, types, wish, layout.clone());
        let places = places(fields);
        let counters: Vec<FieldAt> = fields
            .iter()
            .zip(&places)
            .filter(|(field, _)| element::reverse_counter(**field).is_some())
            .map(|(_, at)| *at)
            .collect();
        if !counters.is_empty() {
            let mut reverse = fill(protocol, &element::reversed(fields), types, wish, layout);
            // The general decoder sees a set as a whole and would fill the rows of the other direction.
            reverse.general.clear();
            // Rows of the reverse direction are picked out of the set: their records have gaps between.
            reverse.targets.extend(reverse.ops.drain(..).map(Op::into_target));
            plan.reverse = Some(Box::new(Reverse { counters, plan: reverse }));
        }
        Some(plan)
    }
}

/// The lengths between variable-length fields (see [`Layout::Variable`]) of fields of these lengths.
pub(crate) fn parts(lens: impl Iterator<Item = u16>) -> Vec<usize> {
    let mut parts = vec![0];
    for len in lens {
        if len == VARIABLE {
            parts.push(0);
        } else if let Some(part) = parts.last_mut() {
            *part += usize::from(len);
        }
    }
    parts
}

fn layout(fields: &[Field]) -> Option<Layout> {
    let parts = parts(fields.iter().map(|field| field.len));
    if parts.iter().sum::<usize>() > MAX_RECORD {
        return None;
    }
    match parts.as_slice() {
        [0] => None,
        [whole] => Some(Layout::Fixed(*whole)),
        _ => Some(Layout::Variable(parts)),
    }
}

fn places(fields: &[Field]) -> Vec<FieldAt> {
    let mut at = At { anchor: 0, offset: 0 };
    let mut places = Vec::with_capacity(fields.len());
    for field in fields {
        if field.len == VARIABLE {
            let begin = at.anchor + 1;
            places.push(FieldAt::Variable(begin));
            at = At { anchor: begin + 1, offset: 0 };
        } else {
            places.push(FieldAt::Fixed(at, field.len));
            at.offset = at.offset.saturating_add(field.len);
        }
    }
    places
}

fn fill(protocol: Protocol, fields: &[Field], types: &[FieldDataType], wish: Wish<'_>, layout: Layout) -> Plan {
    let placed = fields.iter().zip(places(fields)).map(|(field, at)| Placed { field: *field, at }).collect();
    let fields = Fields { protocol, placed };
    let mut plan = Plan {
        layout,
        ops: Vec::new(),
        targets: Vec::new(),
        etype: 0,
        lists: Vec::new(),
        texts: Vec::new(),
        exporter: ExporterAt { v4: fields.of_len(130, 4), v6: fields.of_len(131, 16) },
        domain: fields.first(149),
        rate: RateAt {
            sources: fields.rates(),
            sampler: fields.first(SELECTOR_ID).or(fields.first(SAMPLER_ID)),
            interface: fields.first(INGRESS_INTERFACE).or(fields.first(PHYSICAL_INTERFACE)),
        },
        reverse: None,
        general: Vec::new(),
    };
    for standard in FIELDS.iter().filter(|standard| wish.wanted.contains(standard.number)) {
        let sources = match standard.number {
            // The same in every record, unless it says so itself: the plan's own fields.
            col::SAMPLING_RATE | col::OBSERVATION_DOMAIN | col::EXPORTER_ADDR_HI | col::EXPORTER_ADDR_LO => continue,
            col::MPLS_LABELS => {
                plan.lists.extend(fields.list(standard.number, standard.elements, 4));
                continue;
            }
            col::MPLS_TTLS => {
                plan.lists.extend(fields.list(standard.number, standard.elements, 0));
                continue;
            }
            number => fields.sources(number, standard.elements, size_of(standard.width)),
        };
        if let ([Source::Constant(etype)], col::ETYPE) = (sources.as_slice(), standard.number) {
            plan.etype = *etype as u16;
        } else if !sources.is_empty() {
            plan.targets.push(Target { column: standard.number, width: standard.width, sources });
        }
    }
    for (column, custom) in wish.schema.custom().filter(|(column, _)| wish.wanted.contains(*column)) {
        let Some((pen, id)) = custom.element else { continue };
        fields.custom(&mut plan, column, custom.width, (pen, id), types);
    }
    if matches!(plan.layout, Layout::Fixed(_)) {
        let Plan { ops, targets, .. } = &mut plan;
        targets.retain(|target| {
            let op = match target.sources.as_slice() {
                [source] => Op::of(target.column, target.width, *source),
                _ => None,
            };
            ops.extend(op);
            op.is_none()
        });
    }
    plan
}

/// Bytes of a column; 8 for those that are none of numbers.
fn size_of(width: Width) -> u16 {
    match width {
        Width::U8 => 1,
        Width::U16 => 2,
        Width::U32 => 4,
        Width::U64 | Width::Text | Width::Lists => 8,
    }
}

impl Fields {
    /// Every place of an element of IANA's.
    fn all(&self, id: u16) -> impl Iterator<Item = FieldAt> {
        self.placed.iter().filter(move |placed| placed.field.pen == 0 && placed.field.id == id).map(|placed| placed.at)
    }

    fn first(&self, id: u16) -> Option<FieldAt> {
        self.all(id).next()
    }

    /// The first place of an element that has just this length.
    fn of_len(&self, id: u16, len: u16) -> Option<FieldAt> {
        self.all(id).find(|at| matches!(at, FieldAt::Fixed(_, has) if *has == len))
    }

    fn sources(&self, column: ColumnId, elements: &[u16], size: u16) -> Vec<Source> {
        let numbers = |elements: &[u16]| -> Vec<Source> {
            elements.iter().flat_map(|id| self.all(*id)).map(|at| Source::unsigned(at, size)).collect()
        };
        match column {
            col::FIRST_NS => self.times(FIRST_TIMES, element::FIRST_SWITCHED),
            col::LAST_NS => self.times(LAST_TIMES, element::LAST_SWITCHED),
            col::BYTES => [numbers(elements), numbers(&[INITIATOR_BYTES])].concat(),
            col::PACKETS => [numbers(elements), numbers(&[INITIATOR_PACKETS])].concat(),
            col::FLOW_DIRECTION => elements.iter().flat_map(|id| self.all(*id)).map(Source::PlusOne).collect(),
            col::ICMP_TYPE => [numbers(elements), self.icmp(0)].concat(),
            col::ICMP_CODE => [numbers(elements), self.icmp(1)].concat(),
            col::ETYPE => match numbers(elements) {
                exported if exported.is_empty() => self.etype(),
                exported => exported,
            },
            _ => match ADDRESSES.iter().find(|address| column == address.hi || column == address.lo) {
                Some(address) => {
                    let high = FIELDS.iter().find(|field| field.number == address.hi);
                    self.address(high.map_or(&[], |high| high.elements), column == address.hi)
                }
                None => numbers(elements),
            },
        }
    }

    /// An address of which `elements` are the IPv4 and the IPv6 form: its high or its low half.
    fn address(&self, elements: &[u16], is_high: bool) -> Vec<Source> {
        let (v4, v6) = self.both(elements);
        let source = match (v4, v6) {
            (Some(v4), Some(v6)) if is_high => Source::EitherHigh(v4, v6),
            (Some(v4), Some(v6)) => Source::EitherLow(v4, v6),
            (None, Some(at)) if is_high => Source::Unsigned(at, 8),
            (None, Some(at)) => Source::Unsigned(At { offset: at.offset.saturating_add(8), ..at }, 8),
            // The high half of an IPv4-mapped address is 0, as in a column that nobody fills.
            (Some(_), None) if is_high => return Vec::new(),
            (Some(at), None) => Source::MappedLow(at),
            (None, None) => return Vec::new(),
        };
        vec![source]
    }

    fn both(&self, elements: &[u16]) -> (Option<At>, Option<At>) {
        let of_len = |len: u16| {
            elements.iter().find_map(|id| match self.of_len(*id, len) {
                Some(FieldAt::Fixed(at, _)) => Some(at),
                _ => None,
            })
        };
        (of_len(4), of_len(16))
    }

    /// The Ethertype where it is not exported: from the IP version, else from the kind of address.
    fn etype(&self) -> Vec<Source> {
        if let Some(version) = self.first(IP_VERSION) {
            return vec![Source::EtypeOfVersion(version)];
        }
        let source = match self.both(&[8, 27]) {
            (Some(v4), Some(v6)) => Source::EtypeOfEither(v4, v6),
            (Some(_), None) => Source::Constant(0x0800),
            (None, Some(_)) => Source::Constant(0x86dd),
            (None, None) => match self.both(&[12, 28]) {
                (Some(_), None) => Source::Constant(0x0800),
                (None, Some(_)) => Source::Constant(0x86dd),
                _ => return Vec::new(),
            },
        };
        vec![source]
    }

    /// ICMP type (`byte` 0) or code (1) from the element that has both, else, as NetFlow exporters do,
    /// from the destination port of ICMP flows.
    fn icmp(&self, byte: u16) -> Vec<Source> {
        let half = |at: FieldAt| match at {
            FieldAt::Fixed(At { anchor, offset }, 2) => {
                Some(Source::Unsigned(At { anchor, offset: offset.saturating_add(byte) }, 1))
            }
            _ => None,
        };
        let combined = [ICMP_TYPE_CODE_V4, ICMP_TYPE_CODE_V6];
        let sources: Vec<Source> = combined.into_iter().flat_map(|id| self.all(id)).filter_map(half).collect();
        let has_own = [176, 177, 178, 179].into_iter().any(|id| self.first(id).is_some());
        if !sources.is_empty() || has_own || self.protocol == Protocol::Ipfix {
            return sources;
        }
        match (self.of_len(DST_PORT, 2), self.first(PROTOCOL)) {
            (Some(FieldAt::Fixed(At { anchor, offset }, _)), Some(protocol)) => {
                vec![Source::OfIcmpPort(At { anchor, offset: offset.saturating_add(byte) }, protocol)]
            }
            _ => Vec::new(),
        }
    }

    fn times(&self, elements: &[(u16, Time)], uptime: u16) -> Vec<Source> {
        let source = |id: u16, time: Time, at: FieldAt| match (time, at) {
            (Time::Uptime, at) if self.protocol == Protocol::Ipfix => {
                debug_assert_eq!(id, uptime, "the only elements relative to the start");
                Some(Source::SinceInit(at, self.first(SYSTEM_INIT_TIME)))
            }
            (Time::Uptime, FieldAt::Fixed(at, len)) if len >= 4 => {
                Some(Source::Uptime(At { offset: at.offset.saturating_add(len - 4), ..at }))
            }
            (Time::NtpMicros | Time::NtpNanos, FieldAt::Fixed(_, len)) if len != 8 => None,
            (time, at) => Some(Source::Time(at, time)),
        };
        elements.iter().flat_map(|(id, time)| self.all(*id).filter_map(move |at| source(*id, *time, at))).collect()
    }

    fn rates(&self) -> Vec<Source> {
        let mut sources: Vec<Source> = [SAMPLING_INTERVAL, SAMPLER_INTERVAL]
            .into_iter()
            .flat_map(|id| self.all(id))
            .map(|at| Source::unsigned(at, 8))
            .collect();
        sources.extend(match (self.first(PACKET_INTERVAL), self.first(PACKET_SPACE)) {
            (Some(interval), Some(space)) => Some(Source::Interval(interval, space)),
            // Alone, exporters use it for N of "one in N".
            (Some(interval), None) => Some(Source::unsigned(interval, 8)),
            (None, _) => None,
        });
        if let (Some(size), Some(population)) = (self.first(SAMPLING_SIZE), self.first(SAMPLING_POPULATION)) {
            sources.push(Source::Ratio(size, population));
        }
        sources.extend(self.first(SAMPLING_PROBABILITY).map(Source::Probability));
        sources
    }

    fn list(&self, column: ColumnId, elements: &[u16], shift: u32) -> Option<ListTarget> {
        let fields: Vec<FieldAt> = elements.iter().flat_map(|id| self.all(*id)).collect();
        (!fields.is_empty()).then_some(ListTarget { column, fields, shift })
    }

    /// An operator's own column.
    fn custom(&self, plan: &mut Plan, column: ColumnId, width: Width, element: (u32, u16), types: &[FieldDataType]) {
        let found: Vec<usize> = (0_usize..)
            .zip(&self.placed)
            .filter(|(_, placed)| (placed.field.pen, placed.field.id) == element)
            .map(|(place, _)| place)
            .collect();
        let at = |place: &usize| self.placed.get(*place).map(|placed| placed.at);
        let Some(first) = found.first() else { return };
        let holds = types.get(*first).copied().unwrap_or(FieldDataType::Unknown);
        match width {
            Width::Text if is_text(holds) => plan.texts.extend(at(first).map(|at| (column, at))),
            Width::Text => plan.general.push((column, *first)),
            Width::Lists => {
                plan.lists.push(ListTarget { column, fields: found.iter().filter_map(at).collect(), shift: 0 });
            }
            Width::U8 | Width::U16 | Width::U32 | Width::U64 if holds == FieldDataType::Float64 => {
                plan.general.push((column, *first));
            }
            Width::U8 | Width::U16 | Width::U32 | Width::U64 => {
                let sources = found.iter().filter_map(at).map(|at| Source::unsigned(at, size_of(width))).collect();
                plan.targets.push(Target { column, width, sources });
            }
        }
    }
}

/// Whether the bytes of a field are its text. What is of no known type is taken for text if the
/// operator says so.
fn is_text(holds: FieldDataType) -> bool {
    matches!(holds, FieldDataType::String | FieldDataType::Unknown | FieldDataType::Vec)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(protocol: Protocol, fields: &[(u16, u16)], column: ColumnId, expected: Expect) {
        let fields: Vec<Field> = fields.iter().map(|(id, len)| Field { pen: 0, id: *id, len: *len }).collect();
        let types = vec![FieldDataType::Unknown; fields.len()];
        let schema = Schema::standard();
        let wish = Wish { schema: &schema, wanted: &ColumnSet::ALL };
        let plan = Plan::compile(protocol, &fields, &types, wish).unwrap();
        let op = plan.ops.iter().find(|op| op.column == column);
        let target = plan.targets.iter().find(|target| target.column == column);
        let text = match (op, target) {
            (Some(op), None) => format!("one loop over {:?}", op.at()),
            (None, target) => format!("{:?}", target.map_or(&[][..], |target| &target.sources)),
            (Some(_), Some(_)) => "two ways".to_owned(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn a_number_wider_than_its_column_gives_its_low_bytes() {
        check(Protocol::NetFlow9, &[(10, 8)], col::IN_IF, expect!["one loop over At { anchor: 0, offset: 4 }"]);
    }

    #[test]
    fn counters_are_read_in_order_of_preference() {
        check(
            Protocol::NetFlow9,
            &[(23, 4), (1, 4)],
            col::BYTES,
            expect!["[Unsigned(At { anchor: 0, offset: 4 }, 4), Unsigned(At { anchor: 0, offset: 0 }, 4)]"],
        );
    }

    #[test]
    fn fields_after_a_variable_one_are_found_from_its_end() {
        check(
            Protocol::Ipfix,
            &[(82, VARIABLE), (4, 1), (96, VARIABLE), (7, 2)],
            col::SRC_PORT,
            expect!["[Unsigned(At { anchor: 4, offset: 0 }, 2)]"],
        );
    }

    #[test]
    fn icmp_comes_from_the_port_only_in_netflow_and_only_without_an_element_for_it() {
        let fields = [(4, 1), (11, 2)];
        check(Protocol::NetFlow9, &fields, col::ICMP_TYPE, expect!["one loop over At { anchor: 0, offset: 1 }"]);
        check(Protocol::Ipfix, &fields, col::ICMP_TYPE, expect!["[]"]);
        check(
            Protocol::NetFlow9,
            &[(4, 1), (11, 2), (32, 2)],
            col::ICMP_CODE,
            expect!["one loop over At { anchor: 0, offset: 4 }"],
        );
    }

    #[test]
    fn a_record_of_no_length_or_too_long_a_one_has_no_plan() {
        assert_eq!(layout(&[]), None);
        assert_eq!(layout(&[Field { pen: 0, id: 1, len: 65_000 }, Field { pen: 0, id: 2, len: 65_000 }]), None);
        assert_eq!(layout(&[Field { pen: 0, id: 1, len: VARIABLE }]), Some(Layout::Variable(vec![0, 0])));
    }
}
