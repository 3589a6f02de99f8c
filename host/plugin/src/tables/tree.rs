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
}

/// A prefix of a table.
#[derive(Clone, Copy, Debug)]
struct Prefix<A> {
    addr: A,
    len: u32,
    code: u32,
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
    /// The tree of `prefixes`: address, length (up to the width) and code (up to [`MAX_CODE`]), in any order. Of two
    /// prefixes that are equal the later one counts.
    pub(crate) fn new<A: Bits>(prefixes: impl IntoIterator<Item = (A, u8, u32)>) -> Tree {
        let mut prefixes: Vec<Prefix<A>> = prefixes
            .into_iter()
            .map(|(addr, len, code)| {
                let len = u32::from(len).min(A::WIDTH);
                Prefix { addr: addr.cut(len), len, code: code & MAX_CODE }
            })
            .collect();
        // What covers others comes before them; a stable sort keeps the order of equals.
        prefixes.sort_by_key(|prefix| (prefix.addr, prefix.len));
        let mut tree = Tree { root: vec![0; 1 << A::ROOT], words: Vec::new() };
        let mut root = std::mem::take(&mut tree.root);
        tree.fill(&prefixes, 0, A::ROOT, &mut root);
        tree.root = root;
        tree.words.shrink_to_fit();
        tree
    }

    /// Fills the entries of one level, `width` bits after the first `at`, which hold what a shorter prefix says.
    fn fill<A: Bits>(&mut self, mut prefixes: &[Prefix<A>], at: u32, width: u32, entries: &mut [u32]) {
        while let Some(prefix) = prefixes.first() {
            let slot = prefix.addr.bits(at, width);
            if prefix.len <= at + width {
                let span = 1 << (at + width - prefix.len);
                entries[slot..slot + span].fill(prefix.code);
                prefixes = &prefixes[1..];
                continue;
            }
            let below = prefixes.iter().take_while(|prefix| prefix.addr.bits(at, width) == slot).count();
            entries[slot] = self.entry(&prefixes[..below], at + width, entries[slot]);
            prefixes = &prefixes[below..];
        }
    }

    /// The entry for addresses of which the first `at` bits are those of all `prefixes` (at least one, all longer), and which
    /// have `code` where none of them covers them.
    fn entry<A: Bits>(&mut self, prefixes: &[Prefix<A>], at: u32, code: u32) -> u32 {
        let (first, last) = (prefixes[0], prefixes[prefixes.len() - 1]);
        let shortest = prefixes.iter().map(|prefix| prefix.len).min().unwrap_or(at + 1);
        let shared = first.addr.common(last.addr).min(shortest - 1) - at;
        if A::SKIPS && shared > LEVEL {
            let next = self.entry(prefixes, at + shared, code);
            let words = (0..A::WORDS).map(|word| (first.addr.cut(at + shared)).word(word));
            return self.push(SKIP, [shared, code, next].into_iter().chain(words));
        }
        let mut entries = [code; 1 << LEVEL];
        self.fill(prefixes, at, LEVEL, &mut entries);
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

    /// Memory that it takes, in bytes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of_val(self.root.as_slice()) + size_of_val(self.words.as_slice())
    }
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
            let tree = Tree::new(prefixes.clone());
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
            let tree = Tree::new(prefixes.clone());
            for addr in addrs.into_iter().flat_map(|addr| [addr & mask, addr]).chain(prefixes.iter().map(|prefix| prefix.0)) {
                prop_assert_eq!(tree.lookup(addr), scan(&prefixes, addr));
            }
        }
    }

    #[test]
    fn of_equal_prefixes_the_later_one_counts() {
        let tree =
            Tree::new([(0x0a00_0000_u32, 8, 1), (0x0a00_0001, 32, 2), (0x0aff_ffff, 8, 3), (0x0a00_0001, 32, 4)]);
        assert_eq!((tree.lookup(0x0a00_0001_u32), tree.lookup(0x0a00_0002_u32)), (4, 3));
    }

    #[test]
    fn it_is_small() {
        let halves = Tree::new((0..100_000_u32).map(|net| (0x0a00_0000 + (net << 7), 25, 1 + net % 200)));
        assert!(halves.bytes() < 2_500_000, "{}", halves.bytes());
        let far = |net: u32| net.wrapping_mul(0x9e37_79b9);
        let hosts = Tree::new((0..100_000).map(|net| (far(net), 32, 1 + net)));
        assert!(hosts.bytes() < 7_500_000, "{}", hosts.bytes());
        // Far from each other, so that nothing is shared: a chain of nodes each would have ten times that.
        let mixed = |net: u128| net.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let hosts = Tree::new((0..100_000).map(|net| (mixed(net), 128, 1 + net as u32)));
        assert!(hosts.bytes() < 8_000_000, "{}", hosts.bytes());
        assert!((0..100_000).all(|net| hosts.lookup(mixed(net)) == 1 + net as u32));
    }
}
