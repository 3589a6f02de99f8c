//! A batch by destination: rows become one set of counts per address.

use sluice_sdk::rows;

use crate::meter::{Counts, KINDS, MAX_SUM, OF_A_KIND, kind};

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

/// Destinations and what came to each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups<'a> {
    pub(crate) addrs: &'a [Addr],
    /// As many.
    pub(crate) counts: &'a [Counts],
}

/// Groups of one batch. Buffers are kept for the next.
///
/// The work is cut into loops that keep little in hand, each in a function of its own: in wasm what does not
/// fit into registers costs more than going over the rows once more.
#[derive(Debug, Default)]
pub(crate) struct Aggregate {
    /// Where a group is found by the hash of its address; 0 is none. Small, so that it stays in a cache.
    places: Vec<u32>,
    /// By group, one for each row at most. The first is that of the rows that do not count.
    addrs: Vec<Addr>,
    counts: Vec<Counts>,
    /// Which of all counts each row goes to.
    slots: Vec<u32>,
    /// `protected` where every row counts.
    everyone: Vec<u32>,
}

/// Counters and rates up to here need no check: their products are at most what a row may count for.
const SMALL: u64 = (1 << 23) - 1;

/// Rows for which that holds.
const SMALL_ROWS: usize = (MAX_SUM >> 46) as usize;

impl Aggregate {
    /// Groups the rows by destination. An address may have several groups, which is as good: they are added up.
    pub(crate) fn run(&mut self, rows: &Rows<'_>, seed: u64) {
        let groups = self.group(rows, seed);
        self.addrs.truncate(groups);
        self.counts.clear();
        self.counts.resize(groups, Counts::default());
        if groups <= 1 {
            return;
        }
        add_kinds(&mut self.slots, rows.proto, rows.tcp_flags);
        let counts = self.counts.as_flattened_mut();
        if rows.are_small() {
            count(counts, &mut self.slots, rows, |counter, rate| counter.wrapping_mul(rate));
        } else {
            let most = MAX_SUM / rows.hi.len().max(1) as u64;
            count(counts, &mut self.slots, rows, |counter, rate| times(counter, rate).min(most));
        }
    }

    /// The groups of the last batch.
    pub(crate) fn groups(&self) -> Groups<'_> {
        Groups { addrs: self.addrs.get(1..).unwrap_or_default(), counts: self.counts.get(1..).unwrap_or_default() }
    }

    /// Finds the group of each row and leaves the number of its first count in `slots`. Returns how many groups
    /// there are.
    #[inline(never)]
    fn group(&mut self, rows: &Rows<'_>, seed: u64) -> usize {
        let length = rows.hi.len();
        let size = (length * 2).next_power_of_two().max(64);
        self.places.clear();
        self.places.resize(size, 0);
        self.addrs.clear();
        self.addrs.resize(length + 1, Addr::default());
        self.everyone.resize(length, 1);
        self.slots.clear();
        self.slots.resize(length, 0);
        let mask = size - 1;
        let (places, addrs, mut count) = (self.places.as_mut_slice(), self.addrs.as_mut_slice(), 1);
        let protected = rows.protected.unwrap_or(&self.everyone);
        rows::each4(&mut self.slots, rows.hi, rows.lo, protected, |slot, hi, lo, protected| {
            if *protected == 0 {
                return;
            }
            let addr = Addr { hi: *hi, lo: *lo };
            let at = hash(addr, seed) as usize & mask;
            // Nearly always the first place says which group it is.
            let group = match places.get(at) {
                Some(0) => new_group(places, addrs, at, addr, count),
                Some(group) if addrs.get(*group as usize) == Some(&addr) => *group,
                _ => search(places, addrs, at, addr, count),
            };
            count += u32::from(group == count);
            *slot = group * size_of::<Counts>() as u32 / size_of::<u64>() as u32;
        });
        count as usize
    }
}

/// Makes `count` the group of an address, in a free place.
#[inline(always)]
fn new_group(places: &mut [u32], addrs: &mut [Addr], at: usize, addr: Addr, count: u32) -> u32 {
    if let (Some(place), Some(new)) = (places.get_mut(at), addrs.get_mut(count as usize)) {
        (*place, *new) = (count, addr);
    }
    count
}

/// The group of an address whose first place is another's; `count` if it is a new one.
// Not inlined, and told the count instead of counting: what is handed out by reference is not kept in a register.
#[inline(never)]
fn search(places: &mut [u32], addrs: &mut [Addr], home: usize, addr: Addr, count: u32) -> u32 {
    for probe in 1..=MAX_PROBES {
        let at = (home + probe) & (places.len() - 1);
        match places.get(at) {
            Some(0) => return new_group(places, addrs, at, addr, count),
            Some(group) if addrs.get(*group as usize) == Some(&addr) => return *group,
            _ => {}
        }
    }
    // The places stay the others'.
    if let Some(new) = addrs.get_mut(count as usize) {
        *new = addr;
    }
    count
}

impl Rows<'_> {
    /// Whether no product of a counter and its rate needs a check.
    fn are_small(&self) -> bool {
        let mut all = [0; 2];
        for column in [self.bytes, self.packets, self.rate] {
            let (whole, rest) = column.as_chunks::<32>();
            for values in whole {
                // Two at a time, in one instruction.
                let (pairs, _) = values.as_chunks::<2>();
                let or = pairs.iter().fold([0; 2], |or, pair| [or[0] | pair[0], or[1] | pair[1]]);
                all = [all[0] | or[0], all[1] | or[1]];
            }
            all[0] |= rest.iter().fold(0, |or, value| or | value);
        }
        let all = all[0] | all[1];
        all <= SMALL && self.hi.len() <= SMALL_ROWS
    }
}

#[inline(never)]
fn add_kinds(slots: &mut [u32], proto: &[u8], tcp_flags: &[u16]) {
    rows::each3(slots, proto, tcp_flags, |slot, proto, flags| *slot += kind(*proto, *flags) as u32);
}

/// Adds each row to its count; `times` is counter times rate.
#[inline(never)]
fn count(counts: &mut [u64], slots: &mut [u32], rows: &Rows<'_>, times: impl Fn(u64, u64) -> u64) {
    rows::each4(slots, rows.bytes, rows.packets, rows.rate, |slot, bytes, packets, rate| {
        let of_kind = counts.get_mut(*slot as usize..).and_then(|rest| rest.first_chunk_mut::<OF_A_KIND>());
        let Some(of_kind) = of_kind else { return };
        of_kind[0] = of_kind[0].wrapping_add(times(*bytes, *rate));
        of_kind[KINDS] = of_kind[KINDS].wrapping_add(times(*packets, *rate));
        of_kind[2 * KINDS] = of_kind[2 * KINDS].wrapping_add(times(1, *rate));
    });
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
                aggregate.run(&Rows {
                    hi: &hi, lo: &lo, bytes: &bytes, packets: &ones, rate: &ones,
                    proto: &vec![17; rows.len()], tcp_flags: &vec![0; rows.len()], protected: Some(&protected),
                }, seed);
                let mut sums: BTreeMap<(u64, u64), u64> = BTreeMap::new();
                let groups = aggregate.groups();
                for (addr, counts) in groups.addrs.iter().zip(groups.counts) {
                    let bits = Meter { class: Class::Udp, unit: Unit::Bits }.of(counts);
                    *sums.entry((addr.hi, addr.lo)).or_default() += bits;
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
    fn a_row_counts_for_its_share_of_the_largest_sum_at_most() {
        let packets = |packets: &[u64], rate: u64| {
            let zeros = vec![0; packets.len()];
            let rows = Rows {
                hi: &zeros,
                lo: &zeros,
                bytes: &zeros,
                packets,
                rate: &vec![rate; packets.len()],
                proto: &vec![17; packets.len()],
                tcp_flags: &vec![0; packets.len()],
                protected: None,
            };
            let mut aggregate = Aggregate::default();
            aggregate.run(&rows, 1);
            let meter = Meter { class: Class::Udp, unit: Unit::Packets };
            let sums: Vec<u64> = aggregate.groups().counts.iter().map(|counts| meter.of(counts)).collect();
            sums
        };
        assert_eq!(packets(&[3, 4], 1 << 40), [7 << 40]);
        assert_eq!(packets(&[u64::MAX, 1], 1), [MAX_SUM / 2 + 1]);
        assert_eq!(packets(&[1 << 40], 1 << 40), [MAX_SUM]);
        assert_eq!(packets(&[SMALL; 3], SMALL), [3 * SMALL * SMALL]);
    }
}
