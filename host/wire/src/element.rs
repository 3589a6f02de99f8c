//! Information elements that need more than the table of fields says.
//!
//! The table of columns ([`sluice_flow::FIELDS`]) names the elements that a column is read from.
//! Here are the rest: elements that stand in for others, the pairs that change places in the
//! reverse direction of a biflow, and the numbers that the decoder itself looks for.

/// Enterprise number of reverse information elements (RFC 5103, section 6.1).
pub(crate) const REVERSE_PEN: u32 = 29_305;

/// A field length that says: each record gives its own (RFC 7011, section 7).
pub(crate) const VARIABLE: u16 = u16::MAX;

pub(crate) const PROTOCOL: u16 = 4;
pub(crate) const INGRESS_INTERFACE: u16 = 10;
pub(crate) const DST_PORT: u16 = 11;
pub(crate) const LAST_SWITCHED: u16 = 21;
pub(crate) const FIRST_SWITCHED: u16 = 22;
pub(crate) const ICMP_TYPE_CODE_V4: u16 = 32;
pub(crate) const SAMPLING_INTERVAL: u16 = 34;
pub(crate) const SAMPLER_ID: u16 = 48;
pub(crate) const SAMPLER_INTERVAL: u16 = 50;
pub(crate) const IP_VERSION: u16 = 60;
pub(crate) const ICMP_TYPE_CODE_V6: u16 = 139;
pub(crate) const SYSTEM_INIT_TIME: u16 = 160;
pub(crate) const PHYSICAL_INTERFACE: u16 = 252;
pub(crate) const SELECTOR_ID: u16 = 302;
pub(crate) const PACKET_INTERVAL: u16 = 305;
pub(crate) const PACKET_SPACE: u16 = 306;
pub(crate) const SAMPLING_SIZE: u16 = 309;
pub(crate) const SAMPLING_POPULATION: u16 = 310;
pub(crate) const SAMPLING_PROBABILITY: u16 = 311;

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Enterprise number, 0 for IANA's elements.
    pub(crate) pen: u32,
    /// Number of the element.
    pub(crate) id: u16,
    /// Bytes, or [`VARIABLE`].
    pub(crate) len: u16,
}

/// How an element says when something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Milliseconds since the exporter's start.
    Uptime,
    /// Seconds since the Unix epoch.
    Seconds,
    /// Milliseconds since the Unix epoch.
    Millis,
    /// NTP timestamp of which the fraction is exact to a microsecond (RFC 7011, section 6.1.9).
    NtpMicros,
    /// NTP timestamp (RFC 7011, section 6.1.10).
    NtpNanos,
    /// Microseconds before the message was exported (RFC 5102, section 5.9.13).
    DeltaMicros,
}

/// Elements for the first packet of a flow, the most exact first. The last four are the time of an
/// event, which is all that NAT and firewall events have.
pub(crate) const FIRST_TIMES: &[(u16, Time)] = &[
    (156, Time::NtpNanos),
    (154, Time::NtpMicros),
    (152, Time::Millis),
    (FIRST_SWITCHED, Time::Uptime),
    (150, Time::Seconds),
    (158, Time::DeltaMicros),
    (325, Time::NtpNanos),
    (324, Time::NtpMicros),
    (323, Time::Millis),
    (322, Time::Seconds),
];

/// Elements for the last packet of a flow.
pub(crate) const LAST_TIMES: &[(u16, Time)] = &[
    (157, Time::NtpNanos),
    (155, Time::NtpMicros),
    (153, Time::Millis),
    (LAST_SWITCHED, Time::Uptime),
    (151, Time::Seconds),
    (159, Time::DeltaMicros),
    (325, Time::NtpNanos),
    (324, Time::NtpMicros),
    (323, Time::Millis),
    (322, Time::Seconds),
];

/// Bytes and packets of the initiator of a connection, as firewalls export them.
pub(crate) const INITIATOR_BYTES: u16 = 231;
pub(crate) const INITIATOR_PACKETS: u16 = 298;

/// The same of the responder: the reverse direction, without RFC 5103.
const RESPONDER: &[(u16, u16)] = &[(232, INITIATOR_BYTES), (299, INITIATOR_PACKETS)];

/// Counters of one direction.
const COUNTERS: &[u16] = &[1, 2, 23, 24, 85, 86, INITIATOR_BYTES, INITIATOR_PACKETS, 352];

/// What belongs to one direction and has no counterpart in the other: TCP flags and direction.
const ONE_WAY: &[u16] = &[6, 61, 176, 177, 178, 179, ICMP_TYPE_CODE_V4, ICMP_TYPE_CODE_V6];

/// Elements of source and destination, which change places in the reverse direction.
const SIDES: &[(u16, u16)] = &[
    (7, 11),
    (8, 12),
    (9, 13),
    (10, 14),
    (16, 17),
    (27, 28),
    (29, 30),
    (56, 80),
    (57, 81),
    (58, 59),
    (180, 181),
    (182, 183),
    (225, 226),
    (227, 228),
    (234, 235),
    (252, 253),
    (281, 282),
];

/// Elements that old Cisco firewalls number on their own in NetFlow v9, and IANA's for the same.
const FIREWALL_V9: &[(u16, u16)] = &[(40_001, 225), (40_002, 226), (40_003, 227), (40_004, 228), (40_005, 233)];

/// The element by its IANA number where NetFlow v9 exporters use another.
pub(crate) fn of_netflow9(id: u16) -> u16 {
    FIREWALL_V9.iter().find(|(old, _)| *old == id).map_or(id, |(_, iana)| *iana)
}

/// The forward element that `field` is the reverse counter of, if it is one.
pub(crate) fn reverse_counter(field: Field) -> Option<u16> {
    reverse(field).filter(|id| COUNTERS.contains(id))
}

/// The forward element that `field` gives for the reverse direction, if it does.
fn reverse(field: Field) -> Option<u16> {
    match field.pen {
        REVERSE_PEN => Some(field.id),
        0 => RESPONDER.iter().find(|(responder, _)| *responder == field.id).map(|(_, initiator)| *initiator),
        _ => None,
    }
}

/// The fields of a template as the reverse direction of its biflows sees them (RFC 5103, section 6):
/// what was reverse is forward, sources are destinations, and what only the forward direction has
/// (its counters, its TCP flags, all that there is a reverse element for) is of no element at all.
pub(crate) fn reversed(fields: &[Field]) -> Vec<Field> {
    let has_reverse = |id: u16| fields.iter().any(|field| reverse(*field) == Some(id));
    let turn = |field: &Field| {
        if let Some(id) = reverse(*field) {
            return Field { pen: 0, id, len: field.len };
        }
        if field.pen != 0 {
            return *field;
        }
        if COUNTERS.contains(&field.id) || ONE_WAY.contains(&field.id) || has_reverse(field.id) {
            return Field { pen: 0, id: 0, len: field.len };
        }
        let id = SIDES.iter().find_map(|(a, b)| match field.id {
            id if id == *a => Some(*b),
            id if id == *b => Some(*a),
            _ => None,
        });
        Field { pen: 0, id: id.unwrap_or(field.id), len: field.len }
    };
    fields.iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reverse_direction_swaps_sides_and_takes_its_own_counters() {
        let field = |pen, id| Field { pen, id, len: 4 };
        let forward = [field(0, 8), field(0, 12), field(0, 1), field(REVERSE_PEN, 1), field(0, 6), field(0, 4)];
        let ids: Vec<u16> = reversed(&forward).iter().map(|field| field.id).collect();
        assert_eq!(ids, [12, 8, 0, 1, 0, 4]);
    }

    #[test]
    fn responder_counters_are_reverse_counters() {
        assert_eq!(reverse_counter(Field { pen: 0, id: 232, len: 4 }), Some(INITIATOR_BYTES));
        assert_eq!(reverse_counter(Field { pen: REVERSE_PEN, id: 6, len: 1 }), None);
    }
}
