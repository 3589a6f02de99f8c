//! What came to each destination of a batch. The host groups the rows and adds them up; none of them is looked at here.

use sluice_sdk::kernels::{self, Cmp, Groups};
use sluice_sdk::{Batch, Bitmap, Denied, columns, rows};

use crate::addr::Addr;
use crate::meter::{Class, METERS, Meter, Unit};

const TCP: u64 = 6;
const UDP: u64 = 17;
/// ICMP and ICMPv6.
const ICMP: [u64; 2] = [1, 58];
const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

/// Destinations and what came to each. Buffers are kept for the next batch.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) addrs: Vec<Addr>,
    /// By code of the meter, and then as many as there are destinations; empty for what nobody measures.
    pub(crate) sums: [Vec<u64>; METERS],
}

impl Measured {
    /// What the meter measures of each destination.
    pub(crate) fn of(&self, meter: Meter) -> &[u64] {
        self.sums.get(usize::from(meter.code())).map_or(&[], Vec::as_slice)
    }

    /// Measures the rows whose destination is protected, or all of them.
    ///
    /// # Errors
    /// If a column is refused.
    pub(crate) fn run(
        &mut self,
        batch: &mut Batch,
        protected: Option<&Bitmap>,
        meters: &[Meter],
        fallback_rate: u64,
    ) -> Result<(), Denied> {
        let parts = parts(batch, fallback_rate)?;
        let mut classes = Vec::new();
        for meter in meters {
            if !classes.iter().any(|(class, _)| *class == meter.class) {
                classes.push((meter.class, rows_of(batch, meter.class)?));
            }
        }
        let dst = columns::DST_ADDR;
        let groups = kernels::group(batch, &[dst.hi.id(), dst.lo.id()], protected)?;
        let (hi, lo) = (groups.numbers(dst.hi)?, groups.numbers(dst.lo)?);
        self.addrs.clear();
        self.addrs.extend(hi.iter().zip(&lo).map(|(hi, lo)| Addr { hi: *hi, lo: *lo }));
        for meter in meters {
            let of_class = classes.iter().find(|(class, _)| *class == meter.class).and_then(|(_, rows)| rows.as_ref());
            let mut sums = Vec::new();
            for part in &parts {
                let found = part.sums(&groups, meter.unit, of_class)?;
                // Mostly there is one part, and what it found is all.
                if sums.is_empty() {
                    sums = found;
                } else {
                    rows::each2(&mut sums, &found, |sum, found| *sum = sum.saturating_add(*found));
                }
            }
            // Without the rows that are in no group.
            sums.resize(self.addrs.len(), 0);
            if let Some(place) = self.sums.get_mut(usize::from(meter.code())) {
                *place = sums;
            }
        }
        Ok(())
    }
}

/// How often a row counts.
#[derive(Clone, Copy, Debug)]
enum Times {
    /// As often as its sampling rate says.
    Rate,
    Number(u64),
}

/// Rows that count alike.
#[derive(Debug)]
struct Part {
    times: Times,
    /// Which; all if there are no others.
    rows: Option<Bitmap>,
}

/// Rows by how often they count: each is in one part.
fn parts(batch: &Batch, fallback_rate: u64) -> Result<Vec<Part>, Denied> {
    let without_rate = kernels::test(batch, columns::SAMPLING_RATE, Cmp::Eq, 0)?;
    let normalized = kernels::test(batch, columns::NORMALIZED, Cmp::Eq, 1)?;
    let without_rate = without_rate.and(&normalized.not());
    let others = without_rate.or(&normalized);
    if others.count() == 0 {
        return Ok(vec![Part { times: Times::Rate, rows: None }]);
    }
    let parts =
        [(Times::Rate, others.not()), (Times::Number(1), normalized), (Times::Number(fallback_rate), without_rate)];
    let parts = parts.into_iter().filter(|(_, rows)| rows.count() > 0);
    Ok(parts.map(|(times, rows)| Part { times, rows: Some(rows) }).collect())
}

/// The rows of a class; none where that is every row.
fn rows_of(batch: &Batch, class: Class) -> Result<Option<Bitmap>, Denied> {
    let of = |protocol| kernels::test(batch, columns::PROTO, Cmp::Eq, protocol);
    Ok(match class {
        Class::Total => None,
        Class::Tcp => Some(of(TCP)?),
        Class::Udp => Some(of(UDP)?),
        Class::Icmp => Some(kernels::test_in(batch, columns::PROTO, &ICMP)?),
        Class::TcpSyn => {
            let flags = batch.get_or_zero(columns::TCP_FLAGS)?;
            let openings: Bitmap = flags.iter().map(|flags| flags & (SYN | ACK) == SYN).collect();
            Some(openings.and(&of(TCP)?))
        }
    })
}

impl Part {
    /// What the rows of a class have in each group.
    fn sums(&self, groups: &Groups<'_>, unit: Unit, of_class: Option<&Bitmap>) -> Result<Vec<u64>, Denied> {
        let both = self.rows.as_ref().zip(of_class).map(|(rows, of_class)| rows.and(of_class));
        let only = both.as_ref().or(self.rows.as_ref()).or(of_class);
        let times = matches!(self.times, Times::Rate).then_some(columns::SAMPLING_RATE);
        let mut sums = match (unit, self.times) {
            (Unit::Bits, _) => groups.sums(columns::BYTES, times, only)?,
            (Unit::Packets, _) => groups.sums(columns::PACKETS, times, only)?,
            (Unit::Flows, Times::Rate) => groups.sums(columns::SAMPLING_RATE, None, only)?,
            (Unit::Flows, Times::Number(_)) => groups.counts(only)?.into_iter().map(u64::from).collect(),
        };
        let factor = match self.times {
            Times::Rate => 1,
            Times::Number(times) => times,
        };
        let factor = if unit == Unit::Bits { factor.saturating_mul(8) } else { factor };
        if factor != 1 {
            // What fits into neither product nor sum stays at the largest number, as in the host.
            rows::each(&mut sums, |sum| *sum = times_of(*sum, factor));
        }
        Ok(sums)
    }
}

/// The product, or the largest number. The usual case gets by without the 128-bit product that wasm lacks.
#[inline]
fn times_of(sum: u64, factor: u64) -> u64 {
    if sum >> 40 == 0 && factor >> 24 == 0 { sum * factor } else { sum.saturating_mul(factor) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use sluice_sdk::harness::Harness;
    use sluice_sdk::{Failure, Manifest, Plugin};

    use super::*;
    use crate::meter::{CLASSES, UNITS};

    const FALLBACK: u64 = 7;

    /// Measures everything.
    #[derive(Default)]
    struct Probe {
        protected: Option<Bitmap>,
        measured: Measured,
    }

    impl Plugin for Probe {
        fn init(&mut self, _: &str, _: &mut Manifest) -> Result<(), String> {
            Ok(())
        }

        fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
            Ok(self.measured.run(batch, self.protected.as_ref(), &all(), FALLBACK)?)
        }
    }

    fn all() -> Vec<Meter> {
        CLASSES.iter().flat_map(|class| UNITS.map(|unit| Meter { class: *class, unit })).collect()
    }

    #[derive(Clone, Debug)]
    struct Row {
        dst: u64,
        bytes: u64,
        packets: u64,
        rate: u64,
        normalized: u8,
        proto: u8,
        flags: u16,
        is_protected: bool,
    }

    fn row() -> impl Strategy<Value = Row> {
        let counter = || prop_oneof![0u64..2000, Just(u64::MAX), Just(1 << 60)];
        let proto = prop::sample::select(vec![1u8, 6, 17, 47, 58]);
        let rate = prop_oneof![Just(0u64), 1u64..2000, Just(1 << 40)];
        (0u64..5, counter(), counter(), rate, 0u8..2, proto, 0u16..32, any::<bool>()).prop_map(
            |(dst, bytes, packets, rate, normalized, proto, flags, is_protected)| Row {
                dst,
                bytes,
                packets,
                rate,
                normalized,
                proto,
                flags,
                is_protected,
            },
        )
    }

    /// Whether a row is of a class, as the README says it.
    fn is_of(class: Class, row: &Row) -> bool {
        match class {
            Class::Total => true,
            Class::Tcp => row.proto == 6,
            Class::Udp => row.proto == 17,
            Class::Icmp => [1, 58].contains(&row.proto),
            Class::TcpSyn => row.proto == 6 && row.flags & 0x12 == 0x02,
        }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_rows(
            rows in prop::collection::vec(row(), 1..80),
            has_rates in any::<bool>(),
            has_normalized in any::<bool>(),
            protects in any::<bool>(),
        ) {
            let mut harness = Harness::new()
                .rows(rows.len())
                .column(columns::DST_ADDR.hi, vec![9_u64; rows.len()])
                .column(columns::DST_ADDR.lo, rows.iter().map(|row| row.dst).collect::<Vec<_>>())
                .column(columns::BYTES, rows.iter().map(|row| row.bytes).collect::<Vec<_>>())
                .column(columns::PACKETS, rows.iter().map(|row| row.packets).collect::<Vec<_>>())
                .column(columns::PROTO, rows.iter().map(|row| row.proto).collect::<Vec<_>>())
                .column(columns::TCP_FLAGS, rows.iter().map(|row| row.flags).collect::<Vec<_>>());
            if has_rates {
                harness = harness.column(columns::SAMPLING_RATE, rows.iter().map(|row| row.rate).collect::<Vec<_>>());
            }
            if has_normalized {
                harness = harness.column(columns::NORMALIZED, rows.iter().map(|row| row.normalized).collect::<Vec<_>>());
            }
            let protected = protects.then(|| rows.iter().map(|row| row.is_protected).collect());
            let mut probe = Probe { protected, ..Probe::default() };
            harness.run(&mut probe).unwrap();
            for meter in all() {
                let mut expected: BTreeMap<u64, u128> = BTreeMap::new();
                for row in rows.iter().filter(|row| row.is_protected || !protects) {
                    let sum = expected.entry(row.dst).or_default();
                    let times = match (has_normalized && row.normalized == 1, if has_rates { row.rate } else { 0 }) {
                        (true, _) => 1,
                        (false, 0) => FALLBACK,
                        (false, rate) => rate,
                    };
                    let value = match meter.unit {
                        Unit::Bits => u128::from(row.bytes) * 8,
                        Unit::Packets => row.packets.into(),
                        Unit::Flows => 1,
                    };
                    *sum += if is_of(meter.class, row) { value * u128::from(times) } else { 0 };
                }
                let found: BTreeMap<u64, u128> =
                    probe.measured.addrs.iter().map(|addr| addr.lo).zip(probe.measured.of(meter).iter().map(|sum| u128::from(*sum))).collect();
                let largest = u128::from(u64::MAX);
                // What does not fit is at the largest number; as bits it may get there from an eighth on.
                for (dst, sum) in expected {
                    let is_right = found[&dst] == sum || sum > largest && found[&dst] == largest;
                    prop_assert!(is_right, "{meter:?} of {dst}: {} and not {sum}", found[&dst]);
                }
            }
        }
    }
}
