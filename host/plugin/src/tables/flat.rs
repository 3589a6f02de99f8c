//! Longest-prefix match for IPv4 in at most three memory accesses.

/// Set in an entry that points to a block instead of holding a code.
const POINTER: u32 = 1 << 31;

/// Entries of a block of the second and third level.
const BLOCK: usize = 256;

/// IPv4 prefixes in arrays with strides of 16, 8 and 8 bits. Every entry holds the code of the longest
/// prefix that covers it (leaf-pushed), so a lookup never goes back up.
#[derive(Debug)]
pub(crate) struct Flat {
    root: Vec<u32>,
    blocks: Vec<[u32; BLOCK]>,
}

impl Flat {
    /// The table of `prefixes`: address, length (0 to 32) and code (below 2^31), in any order. Of
    /// two prefixes that are equal the later one counts.
    pub(crate) fn new(mut prefixes: Vec<(u32, u8, u32)>) -> Flat {
        // Shorter ones first, so that longer ones overwrite them; a stable sort keeps the order of equals.
        prefixes.sort_by_key(|(_, len, _)| *len);
        let mut flat = Flat { root: vec![0; 1 << 16], blocks: Vec::new() };
        for (addr, len, code) in prefixes {
            flat.insert(addr, len.min(32), code & !POINTER);
        }
        flat.blocks.shrink_to_fit();
        flat
    }

    fn insert(&mut self, addr: u32, len: u8, code: u32) {
        let first = (addr >> 16) as usize;
        if len <= 16 {
            let span = 1 << (16 - len);
            let from = first & !(span - 1);
            self.root[from..from + span].fill(code);
            return;
        }
        let second = block_of(&mut self.blocks, &mut self.root[first]);
        let at = (addr >> 8 & 0xff) as usize;
        if len <= 24 {
            let span = 1 << (24 - len);
            let from = at & !(span - 1);
            self.blocks[second][from..from + span].fill(code);
            return;
        }
        let mut entry = self.blocks[second][at];
        let third = block_of(&mut self.blocks, &mut entry);
        self.blocks[second][at] = entry;
        let span = 1 << (32 - len);
        let from = (addr & 0xff) as usize & !(span - 1);
        self.blocks[third][from..from + span].fill(code);
    }

    /// Code of the longest prefix that covers `addr`, 0 if there is none.
    #[inline]
    pub(crate) fn lookup(&self, addr: u32) -> u32 {
        let mut entry = self.root[(addr >> 16) as usize];
        if entry & POINTER != 0 {
            entry = self.blocks[(entry & !POINTER) as usize][(addr >> 8 & 0xff) as usize];
            if entry & POINTER != 0 {
                entry = self.blocks[(entry & !POINTER) as usize][(addr & 0xff) as usize];
            }
        }
        entry
    }
}

/// Index of the block that `entry` points to; makes one, filled with the entry's code, where there is none.
fn block_of(blocks: &mut Vec<[u32; BLOCK]>, entry: &mut u32) -> usize {
    if *entry & POINTER == 0 {
        blocks.push([*entry; BLOCK]);
        *entry = POINTER | (blocks.len() - 1) as u32;
    }
    (*entry & !POINTER) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The longest prefix by looking at every one.
    fn scan(prefixes: &[(u32, u8, u32)], addr: u32) -> u32 {
        let covers = |net: u32, len: u8| len == 0 || (net ^ addr) >> (32 - len) == 0;
        let longest = prefixes.iter().filter(|(net, len, _)| covers(*net, *len)).max_by_key(|(_, len, _)| *len);
        longest.map_or(0, |(_, _, code)| *code)
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_scan_finds(
            // Few distinct high bytes, so that prefixes nest and addresses hit them.
            prefixes in prop::collection::vec(((0..4u32, any::<u32>()), 0..=32u8, 1..1000u32), 0..60),
            addrs in prop::collection::vec((0..4u32, any::<u32>()), 1..60),
        ) {
            let near = |(high, rest): (u32, u32)| high << 24 | rest >> 8 & 0x00ff_0f0f | rest & 0x3;
            let mut prefixes: Vec<_> = prefixes.into_iter().map(|(net, len, code)| (near(net), len, code)).collect();
            let masked = |net: u32, len: u8| if len == 0 { 0 } else { net >> (32 - len) << (32 - len) };
            for (net, len, _) in &mut prefixes {
                *net = masked(*net, *len);
            }
            let flat = Flat::new(prefixes.clone());
            for addr in addrs.into_iter().map(near).chain(prefixes.iter().map(|prefix| prefix.0)) {
                prop_assert_eq!(flat.lookup(addr), scan(&prefixes, addr));
            }
        }
    }
}
