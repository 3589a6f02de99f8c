//! What a column is read from: one field of the record, and what its bytes mean.

#![warn(clippy::indexing_slicing)]

use crate::element::{Time, VARIABLE};
use crate::gather::{At, Cell, FieldAt, Record, Rows, each, fill, unsigned, wide};

/// Seconds from the NTP epoch (1900) to the Unix epoch.
const NTP_OFFSET: u64 = 2_208_988_800;

/// High half of the low word of an IPv4-mapped address.
pub(crate) const MAPPED: u64 = 0xffff_0000_0000;

/// What the message says about all of its records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// When the message was exported, in nanoseconds since the Unix epoch.
    pub(crate) export_ns: u64,
    /// The exporter's uptime then, in milliseconds (NetFlow).
    pub(crate) uptime_ms: u32,
    /// When the exporter started, in milliseconds since the Unix epoch, or 0 (IPFIX, element 160).
    pub(crate) init_ms: u64,
}

/// One way to fill a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The same for every record.
    Constant(u64),
    /// An unsigned number of 1 to 8 bytes.
    Unsigned(At, u8),
    /// A number of any other kind of field; its low bytes.
    Number(FieldAt),
    /// A number plus one, so that 0 stays "absent".
    PlusOne(FieldAt),
    /// The low half of an IPv4 address of four bytes.
    MappedLow(At),
    /// The high half of whichever of an IPv4 and an IPv6 address is not zero.
    EitherHigh(At, At),
    /// The low half of whichever of an IPv4 and an IPv6 address is not zero.
    EitherLow(At, At),
    /// Milliseconds of uptime, in a message that gives uptime and time of its export (NetFlow).
    Uptime(At),
    /// Milliseconds of uptime; the start is in the record or known from options data (IPFIX).
    SinceInit(FieldAt, Option<FieldAt>),
    /// An absolute time in the resolution given.
    Time(FieldAt, Time),
    /// IP version, as the Ethertype of that version.
    EtypeOfVersion(FieldAt),
    /// Ethertype of whichever of an IPv4 and an IPv6 address is not zero.
    EtypeOfEither(At, At),
    /// One byte of the destination port, where the protocol is ICMP or ICMPv6.
    OfIcmpPort(At, FieldAt),
    /// "One in N" from packets taken and packets left out in between.
    Interval(FieldAt, FieldAt),
    /// "One in N" from the size of the sample and of what it is taken from.
    Ratio(FieldAt, FieldAt),
    /// "One in N" from a probability, a 64-bit float.
    Probability(FieldAt),
}

impl Source {
    /// The number at `at` for a column of `size` bytes: of a wider field, the low bytes.
    pub(crate) fn unsigned(field: FieldAt, size: u16) -> Source {
        match field {
            FieldAt::Fixed(At { anchor, offset }, len) if len != VARIABLE && len > 0 => {
                let width = len.min(size).min(8);
                Source::Unsigned(At { anchor, offset: offset + (len - width) }, width as u8)
            }
            field => Source::Number(field),
        }
    }
}

/// Fills `cells` from `source`; with `only_empty`, only those that are 0 so far.
pub(crate) fn read<T: Cell>(cells: &mut [T], source: Source, rows: &Rows<'_>, clock: Clock, only_empty: bool) {
    // A macro, so that every kind of source gets a loop of its own.
    macro_rules! per_row {
        ($value:expr) => {
            each(cells, rows, only_empty, $value)
        };
    }
    match source {
        Source::Constant(value) if !only_empty => cells.fill(T::of(value)),
        Source::Constant(value) => per_row!(|_| value),
        Source::Unsigned(at, width) => unsigned(cells, rows, at, width, only_empty),
        Source::Number(field) => per_row!(|record| record.number(field)),
        Source::PlusOne(field) => per_row!(|record| record.number(field).wrapping_add(1)),
        Source::MappedLow(at) => fill(cells, rows, at, only_empty, |bytes| T::of(MAPPED | wide::<4>(bytes))),
        Source::EitherHigh(v4, v6) => per_row!(|record| either(record, v4, v6).0),
        Source::EitherLow(v4, v6) => per_row!(|record| either(record, v4, v6).1),
        Source::Uptime(at) => {
            fill(cells, rows, at, only_empty, |bytes| T::of(at_uptime(clock, u32::from_be_bytes(bytes))))
        }
        Source::SinceInit(field, init) => per_row!(|record| since_init(record, field, init, clock)),
        Source::Time(field, time) => absolute(cells, field, time, rows, clock, only_empty),
        Source::EtypeOfVersion(field) => per_row!(|record| match record.number(field) {
            4 => 0x0800,
            6 => 0x86dd,
            _ => 0,
        }),
        Source::EtypeOfEither(v4, v6) => per_row!(|record| match either(record, v4, v6) {
            (0, 0) => 0,
            (0, low) if low >> 32 == 0xffff => 0x0800,
            _ => 0x86dd,
        }),
        Source::OfIcmpPort(at, proto) => per_row!(|record| match record.number(proto) {
            1 | 58 => record.number(FieldAt::Fixed(at, 1)),
            _ => 0,
        }),
        Source::Interval(interval, space) => per_row!(|record| {
            one_in(record.number(interval).saturating_add(record.number(space)), record.number(interval))
        }),
        Source::Ratio(size, population) => {
            per_row!(|record| one_in(record.number(population), record.number(size)));
        }
        Source::Probability(field) => per_row!(|record| one_in_probability(record.field(field))),
    }
}

/// N of "one in N" where `part` of `whole` packets are taken; 0 where nothing is.
pub(crate) fn one_in(whole: u64, part: u64) -> u64 {
    whole.checked_div(part).unwrap_or(0)
}

/// N of "one in N" for a probability (float64 or float32); 0 for what is none.
pub(crate) fn one_in_probability(bytes: &[u8]) -> u64 {
    let probability = match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => f64::from_be_bytes(*bytes),
        (None, Some(bytes)) => f64::from(f32::from_be_bytes(*bytes)),
        (None, None) => 0.0,
    };
    if probability > 0.0 && probability <= 1.0 { (1.0 / probability).round() as u64 } else { 0 }
}

/// Halves of the address that is not zero, IPv4 before IPv6; zeros if there is none.
pub(crate) fn either(record: Record<'_>, v4: At, v6: At) -> (u64, u64) {
    let low = record.number(FieldAt::Fixed(v4, 4));
    if low != 0 {
        return (0, MAPPED | low);
    }
    let high = At { offset: v6.offset, ..v6 };
    let low = At { offset: v6.offset.saturating_add(8), ..v6 };
    (record.number(FieldAt::Fixed(high, 8)), record.number(FieldAt::Fixed(low, 8)))
}

/// The time at `uptime` milliseconds after the exporter's start. The uptime wraps every 49.7 days,
/// so what counts is its distance from that in the header, up to half of that either way.
pub(crate) fn at_uptime(clock: Clock, uptime: u32) -> u64 {
    let before_ms = i64::from(clock.uptime_ms.wrapping_sub(uptime).cast_signed());
    clock.export_ns.saturating_add_signed(-before_ms * 1_000_000)
}

/// The time at so many milliseconds after a start that is known absolutely; 0 if it is not.
///
/// What is counted from there has 32 bits (RFC 5102, section 5.9) and wraps every 49.7 days: of the times it can mean, the
/// one nearest to the export.
fn since_init(record: Record<'_>, field: FieldAt, init: Option<FieldAt>, clock: Clock) -> u64 {
    let init_ms = init.map_or(clock.init_ms, |init| record.number(init));
    if init_ms == 0 {
        return 0;
    }
    let after_ms = record.number(field);
    let nearest_ms = || {
        let up_ms = (clock.export_ns / 1_000_000).checked_sub(init_ms)?;
        let before_ms = (up_ms as u32).wrapping_sub(u32::try_from(after_ms).ok()?).cast_signed();
        up_ms.checked_add_signed(-i64::from(before_ms))
    };
    let at_ms = init_ms.saturating_add(nearest_ms().unwrap_or(after_ms));
    at_ms.saturating_mul(1_000_000)
}

fn absolute<T: Cell>(cells: &mut [T], field: FieldAt, time: Time, rows: &Rows<'_>, clock: Clock, only_empty: bool) {
    match (time, field) {
        (Time::Millis, FieldAt::Fixed(at, 8)) => {
            fill(cells, rows, at, only_empty, |bytes| T::of(wide::<8>(bytes).saturating_mul(1_000_000)));
        }
        (Time::Seconds, FieldAt::Fixed(at, 4)) => {
            fill(cells, rows, at, only_empty, |bytes| T::of(wide::<4>(bytes) * 1_000_000_000));
        }
        _ => each(cells, rows, only_empty, |record| at_time(record.number(field), time, clock)),
    }
}

/// Nanoseconds since the Unix epoch of a time as it is on the wire; 0 stays "absent".
pub(crate) fn at_time(value: u64, time: Time, clock: Clock) -> u64 {
    match time {
        Time::Seconds => value.saturating_mul(1_000_000_000),
        Time::Millis => value.saturating_mul(1_000_000),
        // The lower eleven bits are noise (RFC 7011, section 6.1.9).
        Time::NtpMicros => ntp(value & !0x7ff),
        Time::NtpNanos => ntp(value),
        Time::DeltaMicros => clock.export_ns.saturating_sub(value.saturating_mul(1_000)),
        Time::Uptime => at_uptime(clock, value as u32),
    }
}

/// An NTP timestamp: seconds since 1900 and a fraction of 2^32. Those before 1970 belong to the
/// era that begins in 2036 (RFC 5905, section 6).
fn ntp(value: u64) -> u64 {
    if value == 0 {
        return 0;
    }
    let (seconds, fraction) = (value >> 32, value & 0xffff_ffff);
    let seconds = if seconds >= NTP_OFFSET { seconds - NTP_OFFSET } else { seconds + (1 << 32) - NTP_OFFSET };
    seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock { export_ns: 1_700_000_000_000_000_000, uptime_ms: 5_000, init_ms: 0 };

    #[test]
    fn uptime_counts_back_from_the_export_even_over_its_wrap() {
        assert_eq!(at_uptime(CLOCK, 4_000), CLOCK.export_ns - 1_000_000_000);
        assert_eq!(at_uptime(CLOCK, u32::MAX - 999), CLOCK.export_ns - 6_000_000_000);
        assert_eq!(at_uptime(CLOCK, 6_000), CLOCK.export_ns + 1_000_000_000);
    }

    #[test]
    fn ntp_times_are_exact_to_their_resolution_and_turn_over_in_2036() {
        let half = 1 << 31;
        assert_eq!(ntp(NTP_OFFSET << 32 | half), 500_000_000);
        assert_eq!(ntp(u64::from(u32::MAX) << 32), (u64::from(u32::MAX) - NTP_OFFSET) * 1_000_000_000);
        assert_eq!(ntp(1 << 32), ((1 << 32) + 1 - NTP_OFFSET) * 1_000_000_000);
        assert_eq!(at_time(NTP_OFFSET << 32 | 0x7ff, Time::NtpMicros, CLOCK), 0);
        assert_eq!(at_time(0, Time::NtpNanos, CLOCK), 0);
    }

    #[test]
    fn times_that_do_not_fit_stop_at_the_ends() {
        assert_eq!(at_time(u64::MAX, Time::Millis, CLOCK), u64::MAX);
        assert_eq!(at_time(u64::MAX, Time::DeltaMicros, CLOCK), 0);
        assert_eq!(at_uptime(Clock { export_ns: 5, uptime_ms: 10, init_ms: 0 }, 1), 0);
    }

    #[test]
    fn a_probability_is_one_in_n() {
        assert_eq!(one_in_probability(&0.01_f64.to_be_bytes()), 100);
        assert_eq!(one_in_probability(&0.5_f32.to_be_bytes()), 2);
        for none in [0.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(one_in_probability(&none.to_be_bytes()), 0);
        }
    }
}
