//! Longest-prefix match for both families: a tree of six bits a level, kept small enough to stay in the caches.
//!
//! An array is indexed by the first bits of an address, 18 of IPv4 and 16 of IPv6. An entry is the code of the longest prefix
//! (leaf-pushed, so a lookup never goes back up), a node of 64 entries, or a skip over bits that all prefixes below it share.
//! Of a node only the entries that differ from the one before are there: a bitmap says which, as in Poptrie (Asai,
//! Ohara, 2015, section 3.3). 100 000 prefixes have two megabytes, of which traffic touches little; with a full array a level
//! they had forty, and looking up was waiting for memory.

use sluice_flow::fetch;

/// Set in an entry that is a place in `words`, and not a code.
const PLACE: u32 = 1 << 31;
/// Set as well if a skip is there, and not a node.
const SKIP: u32 = 1 << 30;
/// Bits of the place.
const INDEX: u32 = SKIP - 1;

/// Bits of each level below the first.
const LEVEL: u32 = 6;

/// Addresses that are looked up side by side: as many as a `u8` can tell apart.
pub(crate) const SIDE_BY_SIDE: usize = 1 << u8::BITS;

/// The most that a code may be.
pub(crate) const MAX_CODE: u32 = INDEX;

/// Whether an entry says where to go on, and is not a code.
#[inline(always)]
fn is_place(entry: u32) -> bool {
    entry & PLACE != 0
}

/// An address as a number of its family's width, the first bit on top.
pub(crate) trait Bits: Copy + Default + Ord {
    const WIDTH: u32;
    /// 32-bit words.
    const WORDS: usize;
    /// Bits of the first level.
    const ROOT: u32;
    /// Whether bits that all prefixes of an entry share are skipped. Of a short address there are few, and a tree without has
    /// all addresses at the same bit.
    const SKIPS: bool;

    /// `count` bits (1 to 16) after the first `at` (less than the width); zeros behind the last.
    fn bits(self, at: u32, count: u32) -> usize;

    /// How many bits at the front are the same.
    fn common(self, other: Self) -> u32;

    /// Without the bits after the first `len`.
    fn cut(self, len: u32) -> Self;

    /// Whether the first `len` bits (at least 1) are those of the address that `words` are.
    fn begins_with(self, words: &[u32], len: u32) -> bool;

    /// Word `at` of the words, the first bit in the first.
    fn word(self, at: usize) -> u32;

    /// With `slot` in the bits after the first `at`, which are zeros; as [`bits`](Self::bits) takes it out.
    fn with(self, at: u32, count: u32, slot: usize) -> Self;

    /// The last address that begins with the first `len` bits.
    fn last(self, len: u32) -> Self;

    /// The address after this one; none after the last.
    fn after(self) -> Option<Self>;

    /// The address before this one, which is not the first.
    fn before(self) -> Self;
}

impl Bits for u32 {
    const WIDTH: u32 = u32::BITS;
    const WORDS: usize = 1;
    // So that of the usual prefixes, up to 24 bits, the next level is the last.
    const ROOT: u32 = 18;
    const SKIPS: bool = false;

    #[inline]
    fn bits(self, at: u32, count: u32) -> usize {
        // In 64 bits, where zeros follow the last.
        ((u64::from(self) << (32 + at)) >> (64 - count)) as usize
    }

    fn common(self, other: u32) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn cut(self, len: u32) -> u32 {
        self & u32::MAX.checked_shl(u32::BITS - len).unwrap_or(0)
    }

    fn begins_with(self, words: &[u32], len: u32) -> bool {
        words[0] == self.cut(len)
    }

    fn word(self, _: usize) -> u32 {
        self
    }

    fn with(self, at: u32, count: u32, slot: usize) -> u32 {
        self | (((slot as u32) << (u32::BITS - count)) >> at)
    }

    fn last(self, len: u32) -> u32 {
        self | u32::MAX.checked_shr(len).unwrap_or(0)
    }

    fn after(self) -> Option<u32> {
        self.checked_add(1)
    }

    fn before(self) -> u32 {
        self - 1
    }
}

impl Bits for u128 {
    const WIDTH: u32 = u128::BITS;
    const WORDS: usize = 4;
    const ROOT: u32 = 16;
    const SKIPS: bool = true;

    #[inline]
    fn bits(self, at: u32, count: u32) -> usize {
        if at + count <= 64 {
            // Nearly always: few prefixes are longer, and half an address is shifted in one instruction.
            return ((((self >> 64) as u64) << at) >> (64 - count)) as usize;
        }
        ((self << at) >> (u128::BITS - count)) as usize
    }

    fn common(self, other: u128) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn cut(self, len: u32) -> u128 {
        self & u128::MAX.checked_shl(u128::BITS - len).unwrap_or(0)
    }

    #[inline]
    fn begins_with(self, words: &[u32], len: u32) -> bool {
        // In halves: nearly always the first is all that counts.
        let half = |at: usize| u64::from(words[at]) << 32 | u64::from(words[at + 1]);
        let high = (self >> 64) as u64 ^ half(0);
        if len <= 64 {
            return high >> (64 - len) == 0;
        }
        high == 0 && (self as u64 ^ half(2)) >> (128 - len) == 0
    }

    fn word(self, at: usize) -> u32 {
        (self >> (96 - 32 * at as u32)) as u32
    }

    fn with(self, at: u32, count: u32, slot: usize) -> u128 {
        self | (((slot as u128) << (u128::BITS - count)) >> at)
    }

    fn last(self, len: u32) -> u128 {
        self | u128::MAX.checked_shr(len).unwrap_or(0)
    }

    fn after(self) -> Option<u128> {
        self.checked_add(1)
    }

    fn before(self) -> u128 {
        self - 1
    }
}

/// What addresses have, as runs: from each address on the code beside it, up to where the next run begins. The first begins
/// with the first address; neighbours have different codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs<A>(Vec<(A, u32)>);

impl<A: Bits> Runs<A> {
    /// No code anywhere.
    pub(crate) fn new() -> Runs<A> {
        Runs(vec![(A::default(), 0)])
    }

    /// Those of `prefixes`: address, length (up to the width) and code (up to [`MAX_CODE`]), in any order. The longest prefix
    /// counts; of two that are equal the later one.
    pub(crate) fn of_prefixes(prefixes: impl IntoIterator<Item = (A, u8, u32)>) -> Runs<A> {
        let len = |len: u8| u32::from(len).min(A::WIDTH);
        let cut = |(addr, bits, code): (A, u8, u32)| (addr.cut(len(bits)), len(bits), code & MAX_CODE);
        let mut prefixes: Vec<_> = prefixes.into_iter().map(cut).collect();
        // What covers others comes before them; a stable sort keeps the order of equals.
        prefixes.sort_by_key(|(addr, len, _)| (*addr, *len));
        let mut runs = Runs::new();
        // Prefixes that have begun and not ended, each within the one before, by last address.
        let mut open: Vec<(A, u32)> = Vec::new();
        for (addr, len, code) in prefixes {
            while open.last().is_some_and(|(last, _)| *last < addr) {
                runs.end(&mut open);
            }
            runs.push(addr, code);
            open.push((addr.last(len), code));
        }
        while !open.is_empty() {
            runs.end(&mut open);
        }
        runs
    }

    /// Ends the innermost of the prefixes that are open.
    fn end(&mut self, open: &mut Vec<(A, u32)>) {
        if let Some(after) = open.pop().and_then(|(last, _)| last.after()) {
            self.push(after, open.last().map_or(0, |(_, code)| *code));
        }
    }

    /// Goes on with `code` from `addr`, which is no smaller than those before: a run that would begin there is none.
    pub(crate) fn push(&mut self, addr: A, code: u32) {
        self.0.pop_if(|(last, _)| *last == addr);
        if self.0.last().is_none_or(|(_, last)| *last != code) {
            self.0.push((addr, code));
        }
    }

    /// The runs: first address and code of each.
    pub(crate) fn as_slice(&self) -> &[(A, u32)] {
        &self.0
    }
}

/// Prefixes of one family, to be looked up.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Vec<u32>,
    /// Nodes: the bitmap in two words, the lower half first, and the entries. Skips: how many bits, the code where they are
    /// others, the entry where they are these, and the bits, from the front of a word.
    words: Vec<u32>,
}

impl Tree {
    /// The tree of `runs`, whose codes are up to [`MAX_CODE`].
    pub(crate) fn new<A: Bits>(runs: &Runs<A>) -> Tree {
        let mut tree = Tree { root: Vec::new(), words: Vec::new() };
        let mut root = vec![0; 1 << A::ROOT];
        tree.fill(runs.as_slice(), A::default(), 0, A::ROOT, &mut root);
        tree.root = root;
        tree.words.shrink_to_fit();
        tree
    }

    /// Fills the entries of one level, `width` bits after the first `at`, for addresses that begin as `addr` does. The first of
    /// `runs` begins no later than they do.
    fn fill<A: Bits>(&mut self, mut runs: &[(A, u32)], addr: A, at: u32, width: u32, entries: &mut [u32]) {
        let (last, step) = (addr.last(at), slots::<A>(at, width));
        let mut slot = 0;
        while slot < entries.len() {
            // As far as a run goes; in the next slot another begins.
            let next = runs.get(1).filter(|(start, _)| *start <= last);
            let to = next.map_or(entries.len(), |(start, _)| start.bits(at, width)).max(slot);
            entries[slot..to].fill(runs[0].1);
            slot = to;
            if slot < entries.len() {
                let addr = addr.with(at, width, slot);
                let entry = self.entry(runs, addr, at + width);
                entries[slot..slot + step].fill(entry);
                let last = addr.last(at + width);
                // On to the run that covers the last of these.
                runs = &runs[runs.iter().skip(1).take_while(|(start, _)| *start <= last).count()..];
                slot += step;
            }
        }
    }

    /// The entry for addresses that begin with the first `at` bits of `addr`. The first of `runs` begins no later than they do.
    fn entry<A: Bits>(&mut self, runs: &[(A, u32)], addr: A, at: u32) -> u32 {
        let last = addr.last(at);
        // From the run that covers the first address to that which covers the last.
        let begins = runs.iter().skip(1).take_while(|(start, _)| *start <= addr).count();
        let ends = runs.iter().skip(begins + 1).take_while(|(start, _)| *start <= last).count();
        let runs = &runs[begins..=begins + ends];
        let &[(_, code), .., (end, end_code)] = runs else { return runs[0].1 };
        if A::SKIPS {
            // What differs from the first run, or else from the last.
            let different = if code == end_code { end.before() } else { last };
            let [front, back] = [(runs[1].0, different, code), (addr, end.before(), end_code)]
                .map(|(from, to, code)| (from.common(to), from, code));
            let (shared, from, code) = if front.0 >= back.0 { front } else { back };
            if shared > at + LEVEL {
                let from = from.cut(shared);
                let next = self.entry(runs, from, shared);
                return self.push(
                    SKIP,
                    [shared - at, code, next].into_iter().chain((0..A::WORDS).map(|word| from.word(word))),
                );
            }
        }
        let mut entries = [0; 1 << LEVEL];
        self.fill(runs, addr, at, LEVEL, &mut entries);
        let (mut starts, mut different) = (0_u64, Vec::with_capacity(4));
        for (slot, entry) in entries.into_iter().enumerate() {
            if different.last() != Some(&entry) {
                starts |= 1 << slot;
                different.push(entry);
            }
        }
        self.push(0, [starts as u32, (starts >> 32) as u32].into_iter().chain(different))
    }

    fn push(&mut self, kind: u32, words: impl IntoIterator<Item = u32>) -> u32 {
        let place = self.words.len() as u32 & INDEX;
        self.words.extend(words);
        PLACE | kind | place
    }

    /// The entry of the first level for `addr`.
    #[inline(always)]
    fn first<A: Bits>(&self, addr: A) -> u32 {
        self.root[addr.bits(0, A::ROOT)]
    }

    /// Asks for what an entry leads to, which is looked at after other rows. (A code leads to what is not needed, and does
    /// no harm.)
    #[inline(always)]
    fn fetch(&self, entry: u32) {
        fetch::to_read(self.words.as_ptr().wrapping_add((entry & INDEX) as usize));
    }

    /// One level down from an entry that is a place, `at` bits into `addr`: the entry there, and how many bits that is.
    #[inline(always)]
    fn next<A: Bits>(&self, addr: A, entry: u32, at: u32) -> (u32, u32) {
        let words = &self.words[(entry & INDEX) as usize..];
        if A::SKIPS && entry & SKIP != 0 {
            let to = at + words[0];
            // What comes before was compared on the way here.
            return (words[if addr.begins_with(&words[3..], to) { 2 } else { 1 }], to);
        }
        let starts = u64::from(words[0]) | u64::from(words[1]) << 32;
        let slot = addr.bits(at, LEVEL);
        // The first entry always starts: one bit at least is left.
        (words[1 + (starts << (63 - slot)).count_ones() as usize], at + LEVEL)
    }

    /// Codes of the addresses that are `sought`, each put where its row is.
    ///
    /// A level at a time for all: memory answers several questions at once, if they do not wait for each other, and the
    /// processor need not guess how deep each goes.
    #[inline(always)]
    pub(crate) fn find<A: Bits>(&self, sought: &mut Sought<A>, codes: &mut [u32; SIDE_BY_SIDE]) {
        let mut left = std::mem::take(&mut sought.len);
        for place in 0..left.min(SIDE_BY_SIDE) {
            let (addr, row) = (sought.addrs[place], sought.rows[place]);
            let entry = self.first(addr);
            self.fetch(entry);
            codes[usize::from(row)] = entry;
            sought.keep(addr, row, entry, A::ROOT);
        }
        let mut level = A::ROOT;
        left = std::mem::take(&mut sought.len);
        while left > 0 {
            for place in 0..left.min(SIDE_BY_SIDE) {
                let (addr, row) = (sought.addrs[place], sought.rows[place]);
                let at = if A::SKIPS { u32::from(sought.at[place]) } else { level };
                let (entry, to) = self.next(addr, sought.entries[place], at);
                self.fetch(entry);
                codes[usize::from(row)] = entry;
                sought.keep(addr, row, entry, to);
            }
            left = std::mem::take(&mut sought.len);
            level += LEVEL;
        }
    }

    /// Code of the longest prefix that covers `addr`, 0 if there is none. The family must be that of the prefixes.
    pub(crate) fn lookup<A: Bits>(&self, addr: A) -> u32 {
        let (mut entry, mut at) = (self.first(addr), A::ROOT);
        while is_place(entry) {
            (entry, at) = self.next(addr, entry, at);
        }
        entry
    }

    /// What it was made of.
    pub(crate) fn runs<A: Bits>(&self) -> Runs<A> {
        let mut runs = Runs::new();
        for (slot, entry) in self.root.iter().enumerate() {
            // Where nothing changes nothing begins.
            if slot == 0 || self.root[slot - 1] != *entry || is_place(*entry) {
                self.visit(*entry, A::default().with(0, A::ROOT, slot), A::ROOT, &mut runs);
            }
        }
        runs
    }

    /// Adds the runs of an entry for addresses that begin with the first `at` bits of `addr`.
    fn visit<A: Bits>(&self, entry: u32, addr: A, at: u32, runs: &mut Runs<A>) {
        if !is_place(entry) {
            return runs.push(addr, entry);
        }
        if entry & SKIP != 0 {
            let words = &self.words[(entry & INDEX) as usize..];
            let (to, code, next) = (at + words[0], words[1], words[2]);
            let first = (0..A::WORDS)
                .fold(A::default(), |addr, word| addr.with(32 * word as u32, 32, words[3 + word] as usize));
            runs.push(addr, code);
            self.visit(next, first, to, runs);
            if let Some(after) = first.last(to).after().filter(|after| *after <= addr.last(at)) {
                runs.push(after, code);
            }
            return;
        }
        for slot in (0..1 << LEVEL).step_by(slots::<A>(at, LEVEL)) {
            let addr = addr.with(at, LEVEL, slot);
            self.visit(self.next(addr, entry, at).0, addr, at + LEVEL, runs);
        }
    }

    /// Memory that it takes, in bytes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of_val(self.root.as_slice()) + size_of_val(self.words.as_slice())
    }
}

/// How many slots of a level only bits behind the last of an address would tell apart.
fn slots<A: Bits>(at: u32, width: u32) -> usize {
    1 << (at + width).saturating_sub(A::WIDTH)
}

/// Addresses of some rows, on their way down a tree. What is behind the first `len` places counts for nothing.
#[derive(Debug)]
pub(crate) struct Sought<A> {
    addrs: [A; SIDE_BY_SIDE],
    rows: [u8; SIDE_BY_SIDE],
    /// The entry where each is, and after how many bits.
    entries: [u32; SIDE_BY_SIDE],
    at: [u8; SIDE_BY_SIDE],
    len: usize,
}

impl<A: Bits> Sought<A> {
    pub(crate) fn new() -> Sought<A> {
        Sought {
            addrs: [A::default(); SIDE_BY_SIDE],
            rows: [0; SIDE_BY_SIDE],
            entries: [0; SIDE_BY_SIDE],
            at: [0; SIDE_BY_SIDE],
            len: 0,
        }
    }

    /// Adds the address of a row if it `counts`. Without a branch: nobody can guess what comes next.
    #[inline(always)]
    pub(crate) fn add(&mut self, addr: A, row: u8, counts: bool) {
        let place = self.len % SIDE_BY_SIDE;
        (self.addrs[place], self.rows[place]) = (addr, row);
        self.len += usize::from(counts);
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds one again if its way goes on.
    #[inline(always)]
    fn keep(&mut self, addr: A, row: u8, entry: u32, at: u32) {
        let place = self.len % SIDE_BY_SIDE;
        self.entries[place] = entry;
        if A::SKIPS {
            self.at[place] = at as u8;
        }
        self.add(addr, row, is_place(entry));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree of `prefixes`, of which as many runs come out again as went in.
    fn of<A: Bits + std::fmt::Debug>(prefixes: impl IntoIterator<Item = (A, u8, u32)>) -> Tree {
        let runs = Runs::of_prefixes(prefixes);
        let tree = Tree::new(&runs);
        assert_eq!(tree.runs(), runs);
        tree
    }

    /// The longest prefix by looking at every one.
    fn scan<A: Bits>(prefixes: &[(A, u8, u32)], addr: A) -> u32 {
        let covers = |net: A, len: u8| net.cut(len.into()) == addr.cut(len.into());
        let longest = prefixes.iter().filter(|(net, len, _)| covers(*net, *len)).max_by_key(|(_, len, _)| *len);
        longest.map_or(0, |(_, _, code)| *code)
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_scan_finds(
            // Few distinct bits, so that prefixes nest and addresses hit them.
            prefixes in prop::collection::vec((any::<u32>(), 0..=32u8, 1..1000u32), 0..60),
            addrs in prop::collection::vec(any::<u32>(), 1..60),
        ) {
            let near = |addr: u32| addr & 0xc003_8103;
            let prefixes: Vec<_> = prefixes.into_iter().map(|(net, len, code)| (near(net), len, code)).collect();
            let tree = of(prefixes.clone());
            for addr in addrs.into_iter().flat_map(|addr| [near(addr), addr]).chain(prefixes.iter().map(|prefix| prefix.0)) {
                prop_assert_eq!(tree.lookup(addr), scan(&prefixes, addr));
            }
        }

        #[test]
        fn the_same_with_the_longer_family(
            prefixes in prop::collection::vec((any::<u128>(), 0..=128u8, 1..1000u32), 0..60),
            addrs in prop::collection::vec(any::<u128>(), 1..60),
            mask in prop::sample::select(vec![0x8001_0003_0000_0000_0000_0101_0000_0003, 0xffff, !0_u128 << 120, 1 << 127 | 1]),
        ) {
            let prefixes: Vec<_> = prefixes.into_iter().map(|(net, len, code)| (net & mask, len, code)).collect();
            let tree = of(prefixes.clone());
            for addr in addrs.into_iter().flat_map(|addr| [addr & mask, addr]).chain(prefixes.iter().map(|prefix| prefix.0)) {
                prop_assert_eq!(tree.lookup(addr), scan(&prefixes, addr));
            }
        }
    }

    #[test]
    fn of_equal_prefixes_the_later_one_counts() {
        let tree = of([(0x0a00_0000_u32, 8, 1), (0x0a00_0001, 32, 2), (0x0aff_ffff, 8, 3), (0x0a00_0001, 32, 4)]);
        assert_eq!((tree.lookup(0x0a00_0001_u32), tree.lookup(0x0a00_0002_u32)), (4, 3));
    }

    #[test]
    fn it_is_small() {
        let halves = of((0..100_000_u32).map(|net| (0x0a00_0000 + (net << 7), 25, 1 + net % 200)));
        assert!(halves.bytes() < 2_500_000, "{}", halves.bytes());
        let far = |net: u32| net.wrapping_mul(0x9e37_79b9);
        let hosts = of((0..100_000).map(|net| (far(net), 32, 1 + net)));
        assert!(hosts.bytes() < 7_500_000, "{}", hosts.bytes());
        // Far from each other, so that nothing is shared: a chain of nodes each would have ten times that.
        let mixed = |net: u128| net.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let hosts = of((0..100_000).map(|net| (mixed(net), 128, 1 + net as u32)));
        assert!(hosts.bytes() < 8_000_000, "{}", hosts.bytes());
        assert!((0..100_000).all(|net| hosts.lookup(mixed(net)) == 1 + net as u32));
    }
}
