//! Addresses as numbers.

/// An address as its halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Addr {
    pub(crate) hi: u64,
    pub(crate) lo: u64,
}

/// Mixes both halves with a seed; the upper bits depend on every bit.
#[inline]
pub(crate) fn hash(addr: Addr, seed: u64) -> u64 {
    let mixed = (addr.hi ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(32) ^ addr.lo;
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
