//! The subjects of one level (hosts, prefixes of a length, the network) and their sliding windows.
//!
//! Memory is bounded: at most `max` subjects have windows. When all places are taken, a new subject
//! is counted in a sketch, and takes the place of the lightest one once it weighs more. Windows never hold
//! more than was seen, so a place gained late delays an alert by a window at most and never makes one up.

use crate::aggregate::Addr;
use crate::config::{LevelPlan, Scope};
use crate::index::Index;
use crate::meter::{Counts, Meter};
use crate::sketch::Sketch;

/// One in this many subjects is a candidate for eviction at a time: how many places change hands in a bucket.
const CANDIDATES: usize = 8;

/// In place of a slot.
const NOT_FOUND: u32 = u32::MAX;

/// A level. Buckets are numbered since the epoch; bucket `b` is in place `b % buckets` of every ring.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) scope: Scope,
    pub(crate) meters: Vec<Meter>,
    /// By meter: the sum over a window from which on it is too much.
    pub(crate) limits: Vec<u64>,
    max: usize,
    buckets: usize,
    seed: u64,
    index: Index,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By slot: for each meter the sum over the ring, and behind them the ring, by bucket and meter. What one
    /// row touches lies close together.
    cells: Vec<u64>,
    /// The slots of the groups of a batch.
    found: Vec<u32>,
    sketch: Sketch,
    /// Slots that may be evicted, the lightest last; `None` until asked for in this bucket.
    candidates: Option<Vec<(f32, u32)>>,
    /// What was seen of subjects without a place, in batches times subjects, since it was last taken.
    pub(crate) untracked: u32,
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
        Level {
            scope: plan.scope,
            meters: plan.meters.iter().map(|(meter, _)| *meter).collect(),
            limits: plan.meters.iter().map(|(_, rate)| window_sum(*rate, window_ms)).collect(),
            max,
            buckets,
            seed,
            index: Index::new(max, seed),
            slots: Vec::new(),
            free: Vec::new(),
            cells: Vec::new(),
            found: Vec::new(),
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
        matches!(self.scope, Scope::Network | Scope::Learned)
    }

    /// The subject that an address belongs to, or `None` if it does not count here.
    pub(crate) fn subject(&self, addr: Addr) -> Option<Addr> {
        let is_absent = addr == Addr::default();
        match self.scope {
            Scope::Network | Scope::Learned => Some(Addr::default()),
            Scope::Hosts => (!is_absent).then_some(addr),
            Scope::Prefixes { v4, v6 } => {
                let is_v4 = addr.hi == 0 && addr.lo >> 32 == 0xffff;
                let bits = (if is_v4 { v4 } else { v6 }).filter(|_| !is_absent)?;
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
                Some(Addr { hi: addr.hi & (mask >> 64) as u64, lo: addr.lo & mask as u64 })
            }
        }
    }

    /// Cells of a slot.
    fn stride(&self) -> usize {
        (self.buckets + 1) * self.meters.len()
    }

    fn cells_of(&self, slot: usize) -> &[u64] {
        let stride = self.stride();
        self.cells.get(slot * stride..(slot + 1) * stride).unwrap_or_default()
    }

    fn cells_of_mut(&mut self, slot: usize) -> &mut [u64] {
        let stride = self.stride();
        self.cells.get_mut(slot * stride..(slot + 1) * stride).unwrap_or_default()
    }

    /// Adds each group to its subject's bucket in ring place `place`, and tells `crossed` what reached its limit by it,
    /// which is marked as too high then.
    pub(crate) fn add_all<'a>(
        &mut self,
        groups: impl Iterator<Item = (Addr, &'a Counts)> + Clone,
        place: usize,
        mut crossed: impl FnMut(Crossed),
    ) {
        // First the slots of all, then the cells: memory answers several questions at a time, if they do not wait
        // for each other.
        let mut found = std::mem::take(&mut self.found);
        self.find_all(groups.clone().map(|(addr, _)| addr), &mut found);
        let mut are_missing = false;
        for ((_, counts), slot) in groups.clone().zip(&found) {
            if *slot == NOT_FOUND {
                are_missing = true;
            } else if let Some(meters) = self.count(*slot, counts, place) {
                crossed(Crossed { slot: *slot, meters });
            }
        }
        // Whoever gets a place now may take that of one that was found.
        if are_missing {
            for ((addr, counts), slot) in groups.zip(&found) {
                if *slot == NOT_FOUND
                    && let Some(subject) = self.subject(addr)
                    && let Some(new) = self.add(subject, counts, place)
                {
                    crossed(new);
                }
            }
        }
        self.found = found;
    }

    #[inline(never)]
    fn find_all(&self, addrs: impl Iterator<Item = Addr>, found: &mut Vec<u32>) {
        found.clear();
        found.extend(
            addrs.map(|addr| self.subject(addr).and_then(|subject| self.index.get(subject)).unwrap_or(NOT_FOUND)),
        );
    }

    /// Adds to a subject's bucket in ring place `place`, and says what reached its limit by it.
    pub(crate) fn add(&mut self, subject: Addr, counts: &Counts, place: usize) -> Option<Crossed> {
        let slot = match self.index.get(subject) {
            Some(slot) => slot,
            None => self.admit(subject, counts)?,
        };
        self.count(slot, counts, place).map(|meters| Crossed { slot, meters })
    }

    /// Adds to the bucket of a slot. Returns the meters that reached their limits by it, and marks them.
    #[inline]
    fn count(&mut self, slot: u32, counts: &Counts, place: usize) -> Option<u16> {
        let (meters, stride) = (self.meters.len(), self.stride());
        let cells = self.cells.get_mut(slot as usize * stride..(slot as usize + 1) * stride)?;
        let (sums, ring) = cells.split_at_mut_checked(meters)?;
        let ring = ring.get_mut(place * meters..(place + 1) * meters)?;
        let mut crossed = 0u16;
        for (m, (((meter, limit), cell), sum)) in self.meters.iter().zip(&self.limits).zip(ring).zip(sums).enumerate() {
            let value = meter.of(counts);
            // The sum must stay that of the ring: what does not fit into it is not in the ring either.
            let value = value.min(u64::MAX - *sum);
            *cell += value;
            *sum += value;
            crossed |= u16::from(value != 0 && *sum >= *limit && *limit != u64::MAX) << m;
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
    fn admit(&mut self, subject: Addr, counts: &Counts) -> Option<u32> {
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else if self.slots.len() < self.max {
            self.slots.push(Slot { subject, raised: 0, live: false });
            self.cells.resize(self.slots.len() * self.stride(), 0);
            self.slots.len() as u32 - 1
        } else {
            match self.evict(subject, counts) {
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

    /// Takes the place of the lightest subject if the new one weighs more.
    fn evict(&mut self, subject: Addr, counts: &Counts) -> Option<u32> {
        let parts = self.meters.iter().zip(&self.limits).map(|(meter, limit)| part(meter.of(counts), *limit));
        let weight = parts.fold(0.0, f32::max);
        let estimate = self.sketch.add(subject, self.seed, weight);
        if self.candidates.is_none() {
            self.candidates = Some(self.lightest());
        }
        while let Some((_, slot)) = self.candidates.as_mut()?.pop() {
            let now = self.weight(slot as usize);
            if self.slots.get(slot as usize).is_none_or(|slot| slot.raised != 0 || !slot.live) {
                continue;
            }
            if estimate <= now {
                self.candidates.as_mut()?.push((now, slot));
                return None;
            }
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
        // Shorter than the cells: the sums come first.
        self.cells_of(slot).iter().zip(&self.limits).map(|(sum, limit)| part(*sum, *limit)).fold(0.0, f32::max)
    }

    /// Frees a slot and empties its window; whoever takes it next begins at zero.
    fn release(&mut self, slot: u32) {
        let at = slot as usize;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.live = false;
            self.index.remove(slot.subject);
        }
        self.cells_of_mut(at).fill(0);
    }

    /// Lets go of the oldest bucket, which is in ring place `place`: the next one begins there. Frees subjects of which
    /// nothing is left, and with `forget_untracked` what the sketch holds.
    pub(crate) fn rotate(&mut self, place: usize, forget_untracked: bool) {
        let meters = self.meters.len();
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get(at).copied() else { break };
            if !slot.live {
                continue;
            }
            let Some((sums, ring)) = self.cells_of_mut(at).split_at_mut_checked(meters) else { break };
            let ring = ring.get_mut(place * meters..(place + 1) * meters).unwrap_or_default();
            let mut left = 0;
            for (cell, sum) in ring.iter_mut().zip(sums) {
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
        self.cells.fill(0);
        // Nothing is left of any subject: this frees all but the raised ones.
        self.rotate(0, true);
    }

    /// Subjects that are watched.
    pub(crate) fn tracked(&self) -> usize {
        self.index.len()
    }

    /// Sum over the window of meter `m` of a slot.
    pub(crate) fn sum(&self, slot: u32, m: usize) -> u64 {
        self.cells_of(slot as usize).get(m).copied().unwrap_or_default()
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
    pub(crate) fn subjects(&self) -> Vec<(Addr, &[u64])> {
        let ring = |at: u32| self.cells_of(at as usize).get(self.meters.len()..).unwrap_or_default();
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
        let Some(slot) = self.admit(subject, &Counts::default()) else { return Ok(()) };
        let all = totals.iter().chain(cells);
        self.cells_of_mut(slot as usize).iter_mut().zip(all).for_each(|(cell, value)| *cell = *value);
        Ok(())
    }
}

/// What a rate a second comes to in a window.
pub(crate) fn window_sum(rate: u64, window_ms: u64) -> u64 {
    let sum = u128::from(rate) * u128::from(window_ms) / 1000;
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// `sum` as a part of `limit`. What has no limit (yet) weighs nothing.
fn part(sum: u64, limit: u64) -> f32 {
    if limit == u64::MAX { 0.0 } else { sum as f32 / limit.max(1) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Class, Count, Unit};

    fn level(max: usize) -> Level {
        let meters = vec![(Meter { class: Class::Total, unit: Unit::Packets }, 100)];
        Level::new(&LevelPlan { scope: Scope::Hosts, meters }, max, 2, 2000, 1)
    }

    fn packets(packets: u64) -> Counts {
        let mut counts = Counts::default();
        counts[0] = Count { packets, ..Count::default() };
        counts
    }

    fn host(lo: u64) -> Addr {
        Addr { hi: 1, lo }
    }

    #[test]
    fn a_window_is_the_sum_of_its_buckets() {
        let mut level = level(4);
        assert_eq!(level.add(host(1), &packets(150), 0), None);
        level.rotate(1, false);
        assert_eq!(level.add(host(1), &packets(50), 1), Some(Crossed { slot: 0, meters: 1 }));
        level.mark(0, 1, false);
        level.rotate(0, false);
        assert_eq!(level.add(host(1), &packets(149), 0), None);
        level.rotate(1, false);
        level.rotate(0, false);
        assert_eq!(level.tracked(), 0);
    }

    #[test]
    fn a_heavy_subject_takes_the_place_of_a_light_one_and_many_light_ones_take_none() {
        let mut level = level(4);
        for lo in 0..4 {
            level.add(host(lo), &packets(50 + lo), 0);
        }
        for lo in 100..1000 {
            level.add(host(lo), &packets(1), 0);
        }
        assert_eq!(level.untracked, 900);
        assert!((0..4).all(|lo| level.slot_of(host(lo)).is_some()));
        // Not at once, but as soon as it weighs more than the lightest.
        let admitted = (0..60).position(|_| {
            level.add(host(7), &packets(1), 0);
            level.slot_of(host(7)).is_some()
        });
        assert!(admitted.is_some_and(|after| (45..=50).contains(&after)), "{admitted:?}");
        assert_eq!(level.slot_of(host(0)), None);
        assert_eq!(level.tracked(), 4);
    }

    #[test]
    fn a_raised_subject_keeps_its_place() {
        let mut level = level(1);
        let crossed = level.add(host(1), &packets(200), 0).unwrap();
        assert_eq!(level.add(host(2), &packets(100_000), 0), None);
        assert_eq!(level.slot(crossed.slot).unwrap().subject, host(1));
        level.mark(crossed.slot, 1, false);
        level.rotate(1, false);
        assert!(level.add(host(2), &packets(100_000), 0).is_some());
    }

    #[test]
    fn sums_that_reach_the_largest_number_still_come_down() {
        let mut level = level(1);
        level.add(host(1), &packets(u64::MAX), 0);
        level.add(host(1), &packets(u64::MAX), 1);
        assert_eq!(level.sum(0, 0), u64::MAX);
        level.mark(0, 1, false);
        level.rotate(0, false);
        assert_eq!((level.tracked(), level.sum(0, 0)), (0, 0));
    }
}
