//! The loops of the usual case: one field of a fixed place into one column.
//!
//! Which loop it is gets chosen when the plan is compiled, so that running it is one call a column.

#![warn(clippy::indexing_slicing)]

use sluice_flow::{BatchBuilder, ColumnId, Width};

use crate::element::Time;
use crate::gather::{At, Cell, FieldAt, wide};
use crate::plan::Target;
use crate::source::{Clock, MAPPED, Source, at_uptime};
use crate::strided::Strided;

/// Where in its record a field is, and a second one that decides about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    first: u16,
    second: u16,
}

/// The furthest that an uptime can be from that in the header: 2^31 milliseconds.
const MAX_DISTANCE_NS: u64 = (1 << 31) * 1_000_000;

/// Fills the open block of a column.
pub(crate) type Kernel = fn(&mut BatchBuilder, ColumnId, &Strided<'_>, Offsets, &Clock);

/// A column and the loop that fills it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) column: ColumnId,
    /// What the loop was chosen for.
    width: Width,
    source: Source,
    at: Offsets,
    kernel: Kernel,
}

impl Op {
    /// The loop for a column of one source, if there is one.
    pub(crate) fn of(column: ColumnId, width: Width, source: Source) -> Option<Op> {
        let (kernel, at) = match (width, source) {
            (Width::U8, Source::Unsigned(at, 1)) => (unsigned::<u8, 1> as Kernel, at),
            (Width::U8, Source::PlusOne(FieldAt::Fixed(at, 1))) => (plus_one as Kernel, at),
            (Width::U16, Source::Unsigned(at, 1)) => (unsigned::<u16, 1> as Kernel, at),
            (Width::U16, Source::Unsigned(at, 2)) => (unsigned::<u16, 2> as Kernel, at),
            (Width::U32, Source::Unsigned(at, 1)) => (unsigned::<u32, 1> as Kernel, at),
            (Width::U32, Source::Unsigned(at, 2)) => (unsigned::<u32, 2> as Kernel, at),
            (Width::U32, Source::Unsigned(at, 3)) => (unsigned::<u32, 3> as Kernel, at),
            (Width::U32, Source::Unsigned(at, 4)) => (unsigned::<u32, 4> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 1)) => (unsigned::<u64, 1> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 2)) => (unsigned::<u64, 2> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 3)) => (unsigned::<u64, 3> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 4)) => (unsigned::<u64, 4> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 5)) => (unsigned::<u64, 5> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 6)) => (unsigned::<u64, 6> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 7)) => (unsigned::<u64, 7> as Kernel, at),
            (Width::U64, Source::Unsigned(at, 8)) => (unsigned::<u64, 8> as Kernel, at),
            (Width::U64, Source::MappedLow(at)) => (mapped_low as Kernel, at),
            (Width::U64, Source::Uptime(at)) => (uptime as Kernel, at),
            (Width::U64, Source::Time(FieldAt::Fixed(at, 4), Time::Seconds)) => (seconds as Kernel, at),
            (Width::U64, Source::Time(FieldAt::Fixed(at, 8), Time::Millis)) => (millis as Kernel, at),
            (Width::U8, Source::OfIcmpPort(at, FieldAt::Fixed(At { anchor: 0, offset: second }, 1))) => {
                let kernel = of_icmp_port as Kernel;
                let at = (at.anchor == 0).then_some(Offsets { first: at.offset, second })?;
                return Some(Op { column, width, source, at, kernel });
            }
            _ => return None,
        };
        let at = (at.anchor == 0).then_some(Offsets { first: at.offset, second: 0 })?;
        Some(Op { column, width, source, at, kernel })
    }

    /// The column as one that is read without a loop of its own.
    pub(crate) fn into_target(self) -> Target {
        Target { column: self.column, width: self.width, sources: vec![self.source] }
    }

    /// Fills the open block of the column.
    #[inline]
    pub(crate) fn run(&self, out: &mut BatchBuilder, records: &Strided<'_>, clock: &Clock) {
        (self.kernel)(out, self.column, records, self.at, clock);
    }

    /// Where the field is in a record.
    #[cfg(test)]
    pub(crate) fn at(&self) -> At {
        At { anchor: 0, offset: self.at.first }
    }
}

/// The field of every record, with `W` bytes. A plan's fields are within its records.
#[inline(always)]
fn fill<T: Cell, const W: usize>(
    out: &mut BatchBuilder,
    column: ColumnId,
    records: &Strided<'_>,
    at: Offsets,
    value: impl Fn([u8; W]) -> T,
) {
    if let Some(fields) = records.fields(at.first.into()) {
        T::append(out, column, fields.map(value));
    }
}

fn unsigned<T: Cell, const W: usize>(
    out: &mut BatchBuilder,
    column: ColumnId,
    records: &Strided<'_>,
    at: Offsets,
    _: &Clock,
) {
    fill(out, column, records, at, |bytes| T::of(wide::<W>(bytes)));
}

fn plus_one(out: &mut BatchBuilder, column: ColumnId, records: &Strided<'_>, at: Offsets, _: &Clock) {
    fill(out, column, records, at, |[byte]: [u8; 1]| byte.wrapping_add(1));
}

fn mapped_low(out: &mut BatchBuilder, column: ColumnId, records: &Strided<'_>, at: Offsets, _: &Clock) {
    fill(out, column, records, at, |bytes| MAPPED | wide::<4>(bytes));
}

fn uptime(out: &mut BatchBuilder, column: ColumnId, records: &Strided<'_>, at: Offsets, clock: &Clock) {
    let Clock { export_ns, uptime_ms, .. } = *clock;
    if (MAX_DISTANCE_NS..u64::MAX - MAX_DISTANCE_NS).contains(&export_ns) {
        // What `at_uptime` does, without the ends that no time can reach from here.
        fill(out, column, records, at, |bytes| {
            let before_ms = i64::from(uptime_ms.wrapping_sub(u32::from_be_bytes(bytes)).cast_signed());
            export_ns.wrapping_sub((before_ms * 1_000_000).cast_unsigned())
        });
    } else {
        let clock = *clock;
        fill(out, column, records, at, |bytes| at_uptime(clock, u32::from_be_bytes(bytes)));
    }
}

fn seconds(out: &mut BatchBuilder, column: ColumnId, records: &Strided<'_>, at: Offsets, _: &Clock) {
    fill(out, column, records, at, |bytes| wide::<4>(bytes) * 1_000_000_000);
}

fn millis(out: &mut BatchBuilder, column: ColumnId, records: &Strided<'_>, at: Offsets, _: &Clock) {
    fill(out, column, records, at, |bytes| wide::<8>(bytes).saturating_mul(1_000_000));
}

/// A byte of the destination port where the protocol, a byte too, is ICMP or ICMPv6.
fn of_icmp_port(out: &mut BatchBuilder, column: ColumnId, records: &Strided<'_>, at: Offsets, _: &Clock) {
    if let (Some(bytes), Some(protos)) = (records.fields(at.first.into()), records.fields(at.second.into())) {
        // No branch: which rows are ICMP cannot be foretold.
        let values = bytes.zip(protos).map(|([byte], [proto])| byte * u8::from((proto == 1) | (proto == 58)));
        out.append_u8s(column, values);
    }
}
