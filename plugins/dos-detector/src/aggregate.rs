//! A batch by destination: rows become one set of counts per address.

use crate::meter::{Counts, kind};

/// An address as its halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Addr {
    pub(crate) hi: u64,
    pub(crate) lo: u64,
}

/// Places that are looked at before a row gets a group of its own: who sends chosen addresses
/// to make them collide costs the detector this much a row and no more.
const MAX_PROBES: usize = 16;

/// Mixes both halves with a seed; the upper bits depend on every bit.
#[inline]
pub(crate) fn hash(addr: Addr, seed: u64) -> u64 {
    let mixed = (addr.hi ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(32) ^ addr.lo;
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The columns of a batch that count, one value per row each.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) hi: &'a [u64],
    pub(crate) lo: &'a [u64],
    pub(crate) bytes: &'a [u64],
    pub(crate) packets: &'a [u64],
    pub(crate) rate: &'a [u64],
    pub(crate) proto: &'a [u8],
    pub(crate) tcp_flags: &'a [u16],
    /// Only rows that are not 0 here count; all where `None`.
    pub(crate) protected: Option<&'a [u32]>,
}

/// Groups of one batch. Buffers are kept for the next.
#[derive(Debug, Default)]
pub(crate) struct Aggregate {
    /// Batch mark and group, by hash. A place with another mark is empty.
    places: Vec<(u32, u32)>,
    mark: u32,
    groups: Vec<(Addr, Counts)>,
}

impl Aggregate {
    /// Groups the rows by destination. An address may have several groups, which is as good: they are added up.
    pub(crate) fn run(&mut self, rows: &Rows<'_>, seed: u64) -> &[(Addr, Counts)] {
        let count = rows.hi.len();
        let size = (count * 2).next_power_of_two().max(64);
        self.mark = self.mark.wrapping_add(1);
        if self.places.len() < size || self.mark == 0 {
            self.places.clear();
            self.places.resize(size, (0, 0));
            self.mark = 1;
        }
        self.groups.clear();
        let addrs = rows.hi.iter().zip(rows.lo);
        let counters = rows.bytes.iter().zip(rows.packets).zip(rows.rate);
        let kinds = rows.proto.iter().zip(rows.tcp_flags);
        for (row, (((hi, lo), ((bytes, packets), rate)), (proto, flags))) in addrs.zip(counters).zip(kinds).enumerate()
        {
            if rows.protected.is_some_and(|protected| protected.get(row).is_none_or(|code| *code == 0)) {
                continue;
            }
            let counts = self.group(Addr { hi: *hi, lo: *lo }, seed);
            let Some(count) = counts.by_kind.get_mut(kind(*proto, *flags)) else { continue };
            count.bytes = count.bytes.saturating_add(times(*bytes, *rate));
            count.packets = count.packets.saturating_add(times(*packets, *rate));
            count.flows = count.flows.saturating_add(*rate);
        }
        &self.groups
    }

    #[inline]
    fn group(&mut self, addr: Addr, seed: u64) -> &mut Counts {
        let mask = self.places.len() - 1;
        let mut at = hash(addr, seed) as usize & mask;
        let mut found = None;
        for _ in 0..MAX_PROBES {
            let Some(place) = self.places.get_mut(at) else { break };
            if place.0 != self.mark {
                *place = (self.mark, self.groups.len() as u32);
                break;
            }
            if self.groups.get(place.1 as usize).is_some_and(|group| group.0 == addr) {
                found = Some(place.1 as usize);
                break;
            }
            at = (at + 1) & mask;
        }
        let group = found.unwrap_or_else(|| {
            self.groups.push((addr, Counts::default()));
            self.groups.len() - 1
        });
        &mut self.groups.get_mut(group).expect("a group that was found or pushed").1
    }
}

/// The product, or the largest number. The usual case gets by without the 128-bit product that wasm lacks.
#[inline]
fn times(counter: u64, rate: u64) -> u64 {
    if (counter | rate) >> 32 == 0 { counter * rate } else { counter.saturating_mul(rate) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::meter::{Class, Meter, Unit};

    proptest! {
        #[test]
        fn groups_add_up_to_the_rows(rows in proptest::collection::vec((0u64..4, 0u64..40, 0u64..1000, 0u32..2), 0..200), seed in any::<u64>()) {
            let column = |of: fn(&(u64, u64, u64, u32)) -> u64| rows.iter().map(of).collect::<Vec<_>>();
            let (hi, lo, bytes) = (column(|row| row.0), column(|row| row.1), column(|row| row.2));
            let ones = vec![1; rows.len()];
            let protected: Vec<u32> = rows.iter().map(|row| row.3).collect();
            let mut aggregate = Aggregate::default();
            for _ in 0..2 {
                let groups = aggregate.run(&Rows {
                    hi: &hi, lo: &lo, bytes: &bytes, packets: &ones, rate: &ones,
                    proto: &vec![17; rows.len()], tcp_flags: &vec![0; rows.len()], protected: Some(&protected),
                }, seed);
                let mut sums: BTreeMap<(u64, u64), u64> = BTreeMap::new();
                for (addr, counts) in groups {
                    *sums.entry((addr.hi, addr.lo)).or_default() += counts.of(Meter { class: Class::Udp, unit: Unit::Bits });
                }
                let mut expected: BTreeMap<(u64, u64), u64> = BTreeMap::new();
                for row in rows.iter().filter(|row| row.3 == 1) {
                    *expected.entry((row.0, row.1)).or_default() += row.2 * 8;
                }
                prop_assert_eq!(sums, expected);
            }
        }
    }

    #[test]
    fn a_product_beyond_64_bits_is_the_largest_number() {
        assert_eq!(times(3, 1 << 40), 3 << 40);
        assert_eq!(times(u64::MAX, 2), u64::MAX);
    }
}
