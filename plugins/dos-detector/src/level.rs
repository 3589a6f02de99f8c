//! The subjects of one level (hosts, prefixes of a length, the network) and their sliding windows.
//!
//! Memory is bounded: at most `max` subjects have windows. When all places are taken, a new subject
//! is counted in a sketch, and takes the place of the lightest one once it weighs more. Windows never hold
//! more than was seen, so a place gained late delays an alert by a window at most and never makes one up.

use sluice_sdk::rows;

use crate::addr::Addr;
use crate::config::{LevelPlan, Scope};
use crate::index::Index;
use crate::measure::Measured;
use crate::meter::Meter;
use crate::sketch::Sketch;

/// One in this many subjects is a candidate for eviction in a bucket.
const CANDIDATES: usize = 8;

/// Groups that are looked at together: what is known of them stays in the nearest cache.
const SIDE_BY_SIDE: usize = 256;

/// In place of what the sketch says.
const NOT_ASKED: f32 = -1.0;

/// A level. Buckets are numbered since the epoch; bucket `b` is in place `b % buckets` of every ring.
///
/// Rows are added to sums only, which are small enough to stay in the caches. What came in the open bucket is what the sum
/// has and the ring has not; it gets into the ring when another bucket opens.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) scope: Scope,
    pub(crate) meters: Vec<Meter>,
    /// By meter: the sum over a window from which on it is too much.
    pub(crate) limits: Vec<u64>,
    /// By meter: 1 / limit, 0 where there is none.
    inverses: Vec<f32>,
    masks: Masks,
    max: usize,
    buckets: usize,
    seed: u64,
    index: Index,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By slot and meter: the sum over the window.
    sums: Vec<u64>,
    /// By slot, place of the bucket and meter.
    ring: Vec<u64>,
    /// Place of the open bucket.
    open: usize,
    buffers: Buffers,
    sketch: Sketch,
    /// Slots that may be evicted and what it takes, the lightest last; `None` until asked for in this bucket.
    candidates: Option<Vec<(f32, u32)>>,
    /// What was seen of subjects without a place, in batches times subjects, since it was last taken.
    pub(crate) untracked: u32,
}

/// Of the groups of a batch; kept for the next.
#[derive(Debug, Default)]
struct Buffers {
    /// Those without a slot.
    missing: Vec<u32>,
    /// Slots and meters that reached their limits.
    over: Vec<(u32, usize)>,
    /// Those without a slot that may be heavy enough for one, and what the sketch says of them.
    heavy: Vec<(u32, f32)>,
    /// What the meters say of one.
    values: Vec<u64>,
}

/// Groups that have a slot, up to [`SIDE_BY_SIDE`].
struct Found {
    groups: [u32; SIDE_BY_SIDE],
    slots: [u32; SIDE_BY_SIDE],
    len: usize,
}

/// Which addresses are subjects, and which of their bits make them one.
#[derive(Clone, Copy, Debug)]
struct Masks {
    /// By family: IPv4, IPv6. `None`: the family does not count.
    families: [Option<Addr>; 2],
    /// Whether there is one subject only, which every row belongs to: also one without an address.
    is_whole: bool,
}

impl Masks {
    fn of(scope: Scope) -> Masks {
        let mask = |bits: u8| {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            Addr { hi: (mask >> 64) as u64, lo: mask as u64 }
        };
        let (families, is_whole) = match scope {
            Scope::Network | Scope::Learned => ([Some(mask(0)); 2], true),
            Scope::Hosts => ([Some(mask(128)); 2], false),
            Scope::Prefixes { v4, v6 } => ([v4.map(mask), v6.map(mask)], false),
        };
        Masks { families, is_whole }
    }

    #[inline(always)]
    fn subject(&self, addr: Addr) -> Option<Addr> {
        let is_v4 = addr.hi == 0 && addr.lo >> 32 == 0xffff;
        let mask = self.families[usize::from(!is_v4)]?;
        let is_absent = addr == Addr::default() && !self.is_whole;
        (!is_absent).then_some(Addr { hi: addr.hi & mask.hi, lo: addr.lo & mask.lo })
    }
}

/// A place for a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) subject: Addr,
    /// Bit `m`: meter `m` is too high. Such a subject is not evicted.
    pub(crate) raised: u16,
    live: bool,
}

/// What [`Level::add`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossed {
    pub(crate) slot: u32,
    /// Bit `m`: meter `m` reached its limit and was not raised before.
    pub(crate) meters: u16,
}

impl Level {
    /// An empty level. `window_ms` turns rates a second into sums over a window.
    pub(crate) fn new(plan: &LevelPlan, max: usize, buckets: usize, window_ms: u64, seed: u64) -> Level {
        let max = if matches!(plan.scope, Scope::Network | Scope::Learned) { 1 } else { max };
        let limits: Vec<u64> = plan.meters.iter().map(|(_, rate)| window_sum(*rate, window_ms)).collect();
        Level {
            scope: plan.scope,
            meters: plan.meters.iter().map(|(meter, _)| *meter).collect(),
            inverses: limits.iter().map(|limit| inverse(*limit)).collect(),
            limits,
            masks: Masks::of(plan.scope),
            max,
            buckets,
            seed,
            index: Index::new(max, seed),
            slots: Vec::new(),
            free: Vec::new(),
            sums: Vec::new(),
            ring: Vec::new(),
            open: 0,
            buffers: Buffers::default(),
            sketch: Sketch::new(max),
            candidates: None,
            untracked: 0,
        }
    }

    /// Exchanges the seed of the hashes: with one that nobody outside knows, nobody can choose addresses that collide.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.seed = seed;
        self.index.reseed(seed);
        self.sketch.clear();
    }

    /// Whether there is one subject only, which every row belongs to.
    pub(crate) fn is_whole(&self) -> bool {
        self.masks.is_whole
    }

    /// The subject that an address belongs to, or `None` if it does not count here.
    #[inline]
    pub(crate) fn subject(&self, addr: Addr) -> Option<Addr> {
        self.masks.subject(addr)
    }

    fn sums_of(&self, slot: usize) -> &[u64] {
        let meters = self.meters.len();
        self.sums.get(slot * meters..(slot + 1) * meters).unwrap_or_default()
    }

    /// Puts what came in the open bucket into the ring, and opens the bucket in ring place `place`.
    fn open(&mut self, place: usize) {
        let meters = self.meters.len();
        let rings = self.ring.chunks_exact_mut((self.buckets * meters).max(1));
        for (sums, ring) in self.sums.chunks_exact(meters.max(1)).zip(rings) {
            settle(sums, ring, self.open);
        }
        self.open = place;
    }

    /// Adds each group to its subject's bucket in ring place `place`, and tells `crossed` what reached its limit by it,
    /// which is marked as too high then.
    pub(crate) fn add_all(&mut self, groups: &Measured, place: usize, mut crossed: impl FnMut(Crossed)) {
        if place != self.open {
            self.open(place);
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        buffers.missing.clear();
        // First the slots of some, then what they measure: memory answers several questions at a time, if they do not wait
        // for each other.
        for (addrs, first) in groups.addrs.chunks(SIDE_BY_SIDE).zip((0..).step_by(SIDE_BY_SIDE)) {
            let found = self.find_all(addrs, first, &mut buffers.missing);
            self.count_all(&found, groups, &mut buffers.over);
            for (slot, meter) in buffers.over.drain(..) {
                if let Some(meters) = self.cross(slot, 1 << meter) {
                    crossed(Crossed { slot, meters });
                }
            }
        }
        // Whoever gets a place now may take that of one that was found.
        let Buffers { missing, heavy, values, .. } = &mut buffers;
        for missing in missing.chunks(SIDE_BY_SIDE) {
            heavy.clear();
            if self.free.is_empty() && self.slots.len() >= self.max {
                self.weigh_all(missing, groups, heavy);
            } else {
                heavy.extend(missing.iter().map(|group| (*group, NOT_ASKED)));
            }
            for (group, estimate) in heavy.iter() {
                let group = *group as usize;
                let Some(subject) = groups.addrs.get(group).and_then(|addr| self.subject(*addr)) else { continue };
                values.clear();
                values
                    .extend(self.meters.iter().map(|meter| groups.of(*meter).get(group).copied().unwrap_or_default()));
                if let Some(new) = self.add_values(subject, values, *estimate) {
                    crossed(new);
                }
            }
        }
        self.buffers = buffers;
    }

    /// Finds the slots of groups that are numbered from `first` on, and adds those without one to `missing`.
    #[inline(never)]
    fn find_all(&self, addrs: &[Addr], first: u32, missing: &mut Vec<u32>) -> Found {
        let mut found = Found { groups: [0; SIDE_BY_SIDE], slots: [0; SIDE_BY_SIDE], len: 0 };
        let (mut absent, mut absent_len) = ([0; SIDE_BY_SIDE], 0);
        // Put into both lists and counted in one: who comes next nobody can guess.
        rows::numbered(addrs, |at, addr| {
            let (group, slot) = (first + at as u32, self.subject(*addr).and_then(|subject| self.index.get(subject)));
            found.groups[found.len % SIDE_BY_SIDE] = group;
            found.slots[found.len % SIDE_BY_SIDE] = slot.unwrap_or(0);
            absent[absent_len % SIDE_BY_SIDE] = group;
            found.len += usize::from(slot.is_some());
            absent_len += usize::from(slot.is_none());
        });
        missing.extend_from_slice(&absent[..absent_len]);
        found
    }

    /// Adds the counts of groups to the open buckets of their slots, and leaves in `over` who is at a limit by it.
    fn count_all(&mut self, found: &Found, measured: &Measured, over: &mut Vec<(u32, usize)>) {
        let (meters, sums) = (self.meters.len(), &mut self.sums);
        let groups = found.groups.get(..found.len).unwrap_or_default();
        for (m, (meter, limit)) in self.meters.iter().zip(&self.limits).enumerate() {
            let has_limit = *limit != u64::MAX;
            let (mut reached, mut reached_len) = ([0; SIDE_BY_SIDE], 0);
            let values = measured.of(*meter);
            rows::numbered(groups, |at, group| {
                let (slot, value) = (found.slots[at % SIDE_BY_SIDE], values.get(*group as usize));
                let (Some(sum), Some(value)) = (sums.get_mut(slot as usize * meters + m), value) else { return };
                // What does not fit into the sum is not in the ring either.
                *sum = sum.saturating_add(*value);
                reached[reached_len % SIDE_BY_SIDE] = slot;
                reached_len += usize::from(has_limit & (*sum >= *limit) & (*value != 0));
            });
            over.extend(reached[..reached_len].iter().map(|slot| (*slot, m)));
        }
    }

    /// Adds groups without a slot to the sketch, and leaves in `heavy` those that may be heavy enough for one.
    fn weigh_all(&mut self, missing: &[u32], groups: &Measured, heavy: &mut Vec<(u32, f32)>) {
        let mut weights = [0.0; SIDE_BY_SIDE];
        for (meter, inverse) in self.meters.iter().zip(&self.inverses) {
            let values = groups.of(*meter);
            rows::numbered(missing, |at, group| {
                let value = values.get(*group as usize).copied().unwrap_or_default();
                let (part, weight) = (float(value) * inverse, &mut weights[at % SIDE_BY_SIDE]);
                *weight = if part > *weight { part } else { *weight };
            });
        }
        self.sketch_all(missing, &weights, &groups.addrs, heavy);
    }

    #[inline(never)]
    fn sketch_all(
        &mut self,
        missing: &[u32],
        weights: &[f32; SIDE_BY_SIDE],
        addrs: &[Addr],
        heavy: &mut Vec<(u32, f32)>,
    ) {
        // Less than what it takes to evict anybody.
        let least = self.candidates.as_ref().and_then(|candidates| candidates.last()).map_or(0.0, |(least, _)| *least);
        let (mut light, Level { masks, seed, sketch, .. }) = (0, &mut *self);
        rows::numbered(missing, |at, group| {
            let addr = addrs.get(*group as usize);
            let Some(subject) = addr.and_then(|addr| masks.subject(*addr)) else { return };
            let estimate = sketch.add(subject, *seed, weights[at % SIDE_BY_SIDE]);
            // Nearly all of them.
            if estimate < least {
                light += 1;
            } else {
                heavy.push((*group, estimate));
            }
        });
        self.untracked = self.untracked.saturating_add(light);
    }

    /// Adds what the meters say to a subject's bucket in ring place `place`, and says what reached its limit by it.
    pub(crate) fn add(&mut self, subject: Addr, values: &[u64], place: usize) -> Option<Crossed> {
        if place != self.open {
            self.open(place);
        }
        self.add_values(subject, values, NOT_ASKED)
    }

    /// Adds what the meters say to the open bucket of a subject; `estimate` is what the sketch says of it, or [`NOT_ASKED`].
    fn add_values(&mut self, subject: Addr, values: &[u64], estimate: f32) -> Option<Crossed> {
        let slot = match self.index.get(subject) {
            Some(slot) => slot,
            None => self.admit(subject, values, estimate)?,
        };
        self.count(slot, values).map(|meters| Crossed { slot, meters })
    }

    /// Adds what the meters say to the open bucket of a slot. Returns the meters that reached their limits by it, and marks them.
    #[inline]
    fn count(&mut self, slot: u32, values: &[u64]) -> Option<u16> {
        let meters = self.meters.len();
        let sums = self.sums.get_mut(slot as usize * meters..(slot as usize + 1) * meters)?;
        let mut crossed = 0u16;
        for (m, ((value, limit), sum)) in values.iter().zip(&self.limits).zip(sums).enumerate() {
            // What does not fit into the sum is not in the ring either.
            *sum = sum.saturating_add(*value);
            crossed |= u16::from(*value != 0 && *sum >= *limit && *limit != u64::MAX) << m;
        }
        if crossed == 0 { None } else { self.cross(slot, crossed) }
    }

    #[cold]
    fn cross(&mut self, slot: u32, meters: u16) -> Option<u16> {
        let new = meters & !self.slots.get(slot as usize)?.raised;
        self.mark(slot, new, true);
        (new != 0).then_some(new)
    }

    /// A place for a new subject, if it gets one.
    #[cold]
    fn admit(&mut self, subject: Addr, values: &[u64], estimate: f32) -> Option<u32> {
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else if self.slots.len() < self.max {
            self.slots.push(Slot { subject, raised: 0, live: false });
            self.sums.resize(self.slots.len() * self.meters.len(), 0);
            self.ring.resize(self.slots.len() * self.buckets * self.meters.len(), 0);
            self.slots.len() as u32 - 1
        } else {
            let is_asked = estimate >= 0.0;
            let weight = || largest_part(values, &self.inverses);
            let estimate = if is_asked { estimate } else { self.sketch.add(subject, self.seed, weight()) };
            match self.evict(estimate) {
                Some(slot) => slot,
                None => {
                    self.untracked = self.untracked.saturating_add(1);
                    return None;
                }
            }
        };
        *self.slots.get_mut(slot as usize)? = Slot { subject, raised: 0, live: true };
        self.index.insert(subject, slot);
        Some(slot)
    }

    /// Takes the place of the lightest subject if a new one weighs more.
    fn evict(&mut self, estimate: f32) -> Option<u32> {
        if self.candidates.is_none() {
            self.candidates = Some(self.lightest());
        }
        while let Some((least, slot)) = self.candidates.as_mut()?.pop() {
            let now = self.weight(slot as usize).max(least);
            if self.slots.get(slot as usize).is_none_or(|slot| slot.raised != 0 || !slot.live) {
                continue;
            }
            let candidates = self.candidates.as_mut()?;
            if estimate <= now {
                candidates.push((now, slot));
                return None;
            }
            // Who comes next has to weigh more than who came now: a heavy subject is not kept out by light ones that
            // came before it, and these do not take the place from each other for ever.
            let at = candidates.partition_point(|(weight, _)| *weight > estimate);
            candidates.insert(at, (estimate, slot));
            self.release(slot);
            return Some(slot);
        }
        None
    }

    fn lightest(&self) -> Vec<(f32, u32)> {
        let evictable = |slot: &Slot| slot.live && slot.raised == 0;
        let slots = self.slots.iter().zip(0u32..).filter(|(slot, _)| evictable(slot));
        let mut candidates: Vec<(f32, u32)> = slots.map(|(_, at)| (self.weight(at as usize), at)).collect();
        // Equal weights go by address, so that the same traffic gives the same alerts.
        let address = |slot: u32| self.slots.get(slot as usize).map(|slot| slot.subject);
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| address(a.1).cmp(&address(b.1))));
        let most = (self.max / CANDIDATES).max(1);
        candidates.split_off(candidates.len().saturating_sub(most))
    }

    /// The largest part of a limit that the subject reached.
    fn weight(&self, slot: usize) -> f32 {
        largest_part(self.sums_of(slot), &self.inverses)
    }

    /// Frees a slot and empties its window; whoever takes it next begins at zero.
    fn release(&mut self, slot: u32) {
        let at = slot as usize;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.live = false;
            self.index.remove(slot.subject);
        }
        let (meters, ring) = (self.meters.len(), self.buckets * self.meters.len());
        self.sums.get_mut(at * meters..(at + 1) * meters).unwrap_or_default().fill(0);
        self.ring.get_mut(at * ring..(at + 1) * ring).unwrap_or_default().fill(0);
    }

    /// Lets go of the oldest bucket, which is in ring place `place`: the next one begins there. Frees subjects of which
    /// nothing is left, and with `forget_untracked` what the sketch holds.
    pub(crate) fn rotate(&mut self, place: usize, forget_untracked: bool) {
        self.open(place);
        let meters = self.meters.len();
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get(at).copied() else { break };
            if !slot.live {
                continue;
            }
            let oldest = (at * self.buckets + place) * meters;
            let cells = self.ring.get_mut(oldest..oldest + meters).unwrap_or_default();
            let sums = self.sums.get_mut(at * meters..(at + 1) * meters).unwrap_or_default();
            let mut left = 0;
            for (cell, sum) in cells.iter_mut().zip(sums) {
                *sum -= std::mem::take(cell);
                left |= *sum;
            }
            if left == 0 && slot.raised == 0 {
                self.release(at as u32);
                self.free.push(at as u32);
            }
        }
        self.candidates = None;
        if forget_untracked {
            self.sketch.clear();
        }
    }

    /// Empties every window.
    pub(crate) fn empty(&mut self) {
        self.sums.fill(0);
        self.ring.fill(0);
        // Nothing is left of any subject: this frees all but the raised ones.
        self.rotate(0, true);
    }

    /// Subjects that are watched.
    pub(crate) fn tracked(&self) -> usize {
        self.index.len()
    }

    /// Sum over the window of meter `m` of a slot.
    pub(crate) fn sum(&self, slot: u32, m: usize) -> u64 {
        self.sums_of(slot as usize).get(m).copied().unwrap_or_default()
    }

    pub(crate) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize).filter(|slot| slot.live)
    }

    pub(crate) fn slot_of(&self, subject: Addr) -> Option<u32> {
        self.index.get(subject)
    }

    /// Marks meters (bit `m` for meter `m`) of a slot as too high, or not.
    pub(crate) fn mark(&mut self, slot: u32, meters: u16, raised: bool) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.raised = if raised { slot.raised | meters } else { slot.raised & !meters };
        }
    }

    /// The subjects with their rings (by bucket place and meter), ascending.
    pub(crate) fn subjects(&self) -> Vec<(Addr, Vec<u64>)> {
        let width = self.buckets * self.meters.len();
        let ring = |at: u32| {
            let at = at as usize;
            let mut ring = self.ring.get(at * width..(at + 1) * width).unwrap_or_default().to_vec();
            settle(self.sums_of(at), &mut ring, self.open);
            ring
        };
        let mut subjects: Vec<_> = self.index.iter().map(|(subject, slot)| (subject, ring(slot))).collect();
        subjects.sort_unstable_by_key(|(subject, _)| *subject);
        subjects
    }

    /// Takes in a subject with its ring, if there is room.
    ///
    /// # Errors
    /// If the subject is there already, the ring has another size, or its sum is beyond 64 bits.
    pub(crate) fn insert(&mut self, subject: Addr, cells: &[u64]) -> Result<(), &'static str> {
        let meters = self.meters.len();
        if cells.len() != self.buckets * meters {
            return Err("a window of another size");
        }
        if self.index.get(subject).is_some() {
            return Err("a subject twice");
        }
        let mut totals = vec![0u64; meters];
        for bucket in cells.chunks_exact(meters) {
            for (total, cell) in totals.iter_mut().zip(bucket) {
                *total = total.checked_add(*cell).ok_or("a window beyond 64 bits")?;
            }
        }
        if self.free.is_empty() && self.slots.len() >= self.max {
            return Ok(());
        }
        let Some(slot) = self.admit(subject, &[], NOT_ASKED) else { return Ok(()) };
        let (at, width) = (slot as usize, cells.len());
        self.sums.get_mut(at * meters..(at + 1) * meters).unwrap_or_default().copy_from_slice(&totals);
        self.ring.get_mut(at * width..(at + 1) * width).unwrap_or_default().copy_from_slice(cells);
        Ok(())
    }
}

/// What a rate a second comes to in a window.
pub(crate) fn window_sum(rate: u64, window_ms: u64) -> u64 {
    let sum = u128::from(rate) * u128::from(window_ms) / 1000;
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// Adds to the cells of a ring in place `open` what the sums have and the ring has not.
fn settle(sums: &[u64], ring: &mut [u64], open: usize) {
    let meters = sums.len();
    for (m, sum) in sums.iter().enumerate() {
        let known: u64 = ring.iter().skip(m).step_by(meters).sum();
        if let Some(cell) = ring.get_mut(open * meters + m) {
            *cell += sum - known;
        }
    }
}

/// Of a signed number a float is made in one instruction.
fn float(number: u64) -> f32 {
    number.min(i64::MAX as u64) as i64 as f32
}

/// 1 / limit; 0 for what has no limit (yet).
fn inverse(limit: u64) -> f32 {
    if limit == u64::MAX { 0.0 } else { 1.0 / float(limit.max(1)) }
}

/// The largest part of its limit that a sum reaches. What has no limit weighs nothing.
#[inline]
fn largest_part(sums: &[u64], inverses: &[f32]) -> f32 {
    let mut largest = 0.0;
    for (sum, inverse) in sums.iter().zip(inverses) {
        let part = float(*sum) * inverse;
        largest = if part > largest { part } else { largest };
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Class, Unit};

    fn level(max: usize) -> Level {
        let meters = vec![(Meter { class: Class::Total, unit: Unit::Packets }, 100)];
        Level::new(&LevelPlan { scope: Scope::Hosts, meters }, max, 2, 2000, 1)
    }

    fn host(lo: u64) -> Addr {
        Addr { hi: 1, lo }
    }

    #[test]
    fn a_window_is_the_sum_of_its_buckets() {
        let mut level = level(4);
        assert_eq!(level.add(host(1), &[150], 0), None);
        level.rotate(1, false);
        assert_eq!(level.add(host(1), &[50], 1), Some(Crossed { slot: 0, meters: 1 }));
        level.mark(0, 1, false);
        level.rotate(0, false);
        assert_eq!(level.add(host(1), &[149], 0), None);
        level.rotate(1, false);
        level.rotate(0, false);
        assert_eq!(level.tracked(), 0);
    }

    #[test]
    fn what_comes_late_is_in_the_bucket_of_its_time() {
        let mut level = level(4);
        level.add(host(1), &[5], 0);
        level.rotate(1, false);
        level.add(host(1), &[7], 1);
        level.add(host(1), &[3], 0);
        assert_eq!(level.subjects(), [(host(1), vec![8, 7])]);
        level.add(host(1), &[2], 1);
        assert_eq!((level.subjects(), level.sum(0, 0)), (vec![(host(1), vec![8, 9])], 17));
        level.rotate(0, false);
        assert_eq!(level.subjects(), [(host(1), vec![0, 9])]);
    }

    #[test]
    fn a_heavy_subject_takes_the_place_of_a_light_one_and_many_light_ones_take_none() {
        let mut level = level(4);
        for lo in 0..4 {
            level.add(host(lo), &[50 + lo], 0);
        }
        for lo in 100..1000 {
            level.add(host(lo), &[1], 0);
        }
        assert_eq!(level.untracked, 900);
        assert!((0..4).all(|lo| level.slot_of(host(lo)).is_some()));
        // Not at once, but as soon as it weighs more than the lightest.
        let admitted = (0..60).position(|_| {
            level.add(host(7), &[1], 0);
            level.slot_of(host(7)).is_some()
        });
        assert!(admitted.is_some_and(|after| (45..=50).contains(&after)), "{admitted:?}");
        assert_eq!(level.slot_of(host(0)), None);
        assert_eq!(level.tracked(), 4);
    }

    #[test]
    fn a_raised_subject_keeps_its_place() {
        let mut level = level(1);
        let crossed = level.add(host(1), &[200], 0).unwrap();
        assert_eq!(level.add(host(2), &[100_000], 0), None);
        assert_eq!(level.slot(crossed.slot).unwrap().subject, host(1));
        level.mark(crossed.slot, 1, false);
        level.rotate(1, false);
        assert!(level.add(host(2), &[100_000], 0).is_some());
    }

    #[test]
    fn sums_that_reach_the_largest_number_still_come_down() {
        let mut level = level(1);
        level.add(host(1), &[u64::MAX], 0);
        level.add(host(1), &[u64::MAX], 1);
        assert_eq!(level.sum(0, 0), u64::MAX);
        level.mark(0, 1, false);
        level.rotate(0, false);
        assert_eq!((level.tracked(), level.sum(0, 0)), (0, 0));
    }
}
