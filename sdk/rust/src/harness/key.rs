//! Keys for the harness.

/// What [`Key`](crate::Key) asks of a key natively; the host's own can be plugged in.
///
/// Halves are as in columns: IPv4 is `::ffff:a.b.c.d` and stays IPv4, two zeros are an absent
/// address and stay so.
pub trait KeySource {
    /// Replaces each address by its prefix-preserving anonymisation.
    fn prefix_preserving(&self, hi: &mut [u64], lo: &mut [u64]);
    /// Replaces each address by the first bits of a keyed hash.
    fn keyed_hash(&self, hi: &mut [u64], lo: &mut [u64]);
    /// A pseudo-random function of each pair.
    fn prf(&self, hi: &[u64], lo: &[u64]) -> Vec<u64>;
}

/// A key that has the shape of the real thing and **no secrecy**: deterministic, prefix-preserving
/// where it has to be, readable by anyone. For tests only.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToyKey(
    /// Another number is another key.
    pub u64,
);

/// Upper 96 bits of IPv4-mapped addresses.
const MAPPED: u128 = 0xffff << 32;

impl ToyKey {
    fn hash(self, bits: u128) -> u64 {
        // splitmix64's finalizer over both halves.
        let mix = |mut x: u64| {
            x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ x >> 31
        };
        mix(mix(mix(self.0 ^ 0x9e37_79b9_7f4a_7c15) ^ (bits >> 64) as u64) ^ bits as u64)
    }

    /// Flips bit `i` of the lower `length` bits by a function of the bits before it and of `i`.
    fn preserve(self, bits: u128, length: u32) -> u128 {
        (0..length).fold(bits, |out, i| {
            let shift = length - 1 - i;
            let before = bits.checked_shr(shift + 1).unwrap_or_default();
            let flip = self.hash(before ^ u128::from(i) << 120) & 1;
            out ^ u128::from(flip) << shift
        })
    }
}

fn each(hi: &mut [u64], lo: &mut [u64], change: impl Fn(u128) -> u128) {
    for (hi, lo) in hi.iter_mut().zip(lo) {
        let bits = u128::from(*hi) << 64 | u128::from(*lo);
        if bits != 0 {
            let changed = change(bits);
            (*hi, *lo) = ((changed >> 64) as u64, changed as u64);
        }
    }
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == MAPPED >> 32
}

impl KeySource for ToyKey {
    fn prefix_preserving(&self, hi: &mut [u64], lo: &mut [u64]) {
        each(hi, lo, |bits| self.preserve(bits, if is_v4(bits) { 32 } else { 128 }));
    }

    fn keyed_hash(&self, hi: &mut [u64], lo: &mut [u64]) {
        each(hi, lo, |bits| {
            let hash = self.hash(bits);
            if is_v4(bits) {
                MAPPED | u128::from(hash >> 32)
            } else {
                u128::from(hash) << 64 | u128::from(self.hash(u128::from(hash)))
            }
        });
    }

    fn prf(&self, hi: &[u64], lo: &[u64]) -> Vec<u64> {
        hi.iter().zip(lo).map(|(hi, lo)| self.hash(u128::from(*hi) << 64 | u128::from(*lo))).collect()
    }
}
