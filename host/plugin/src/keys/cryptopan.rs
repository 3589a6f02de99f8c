//! Crypto-PAn: prefix-preserving anonymisation of addresses (J. Xu, J. Fan, M. Ammar, S. B. Moon:
//! Prefix-Preserving IP Address Anonymization, ICNP 2002).
//!
//! Bit `i` of an address is flipped by one bit of AES over the first `i` bits, so two addresses share
//! as many leading bits after as before.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// The published algorithm, for 32 bits and in its extension to 128.
pub(crate) struct CryptoPan {
    cipher: Aes128,
    /// What fills the bits of a block that the address does not: the second half of the key, encrypted.
    pad: u128,
}

impl CryptoPan {
    /// From a key of 32 bytes: 16 for AES, 16 for the padding.
    pub(crate) fn new(key: &[u8; 32]) -> CryptoPan {
        let (aes, pad) = key.split_at(16);
        let cipher = Aes128::new(&Array(aes.try_into().expect("half of 32 bytes")));
        let mut block = Array(<[u8; 16]>::try_from(pad).expect("half of 32 bytes"));
        cipher.encrypt_block(&mut block);
        CryptoPan { cipher, pad: u128::from_be_bytes(block.0) }
    }

    /// Anonymises an IPv4 address.
    pub(crate) fn v4(&self, addr: u32) -> u32 {
        (self.flips::<32>(u128::from(addr) << 96) >> 96) as u32 ^ addr
    }

    /// Anonymises an IPv6 address.
    pub(crate) fn v6(&self, addr: u128) -> u128 {
        self.flips::<128>(addr) ^ addr
    }

    /// The bits to flip among the first `BITS` of `addr`. Every block at once, so that the
    /// processor's AES units are never idle.
    fn flips<const BITS: usize>(&self, addr: u128) -> u128 {
        let mut blocks = [Array([0; 16]); BITS];
        let mut mask = 0;
        for block in &mut blocks {
            block.0 = (addr & mask | self.pad & !mask).to_be_bytes();
            mask = mask >> 1 | 1 << 127;
        }
        self.cipher.encrypt_blocks(&mut blocks);
        let bits = blocks.iter().fold(0, |bits, block| bits << 1 | u128::from(block.0[0] >> 7));
        bits << (128 - BITS)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    /// Key and pairs of the sample trace of the authors' reference implementation.
    const KEY: [u8; 32] = [
        21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131, 121, 121, 101, 39,
        98, 87, 76, 45, 42, 132, 34, 2,
    ];

    #[test]
    fn the_published_vectors() {
        let pan = CryptoPan::new(&KEY);
        for (from, to) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("141.233.145.108", "141.129.237.235"),
            ("152.163.225.39", "151.140.114.167"),
            ("156.29.3.236", "147.225.12.42"),
            ("165.247.96.84", "162.9.99.234"),
            ("166.107.77.190", "160.132.178.185"),
            ("192.102.249.13", "252.138.62.131"),
        ] {
            let addr: Ipv4Addr = from.parse().unwrap();
            assert_eq!(Ipv4Addr::from_bits(pan.v4(addr.to_bits())).to_string(), to, "{from}");
        }
    }

    proptest! {
        #[test]
        fn two_addresses_share_as_many_bits_after_as_before(a: u128, same in 0..=128u32, noise: u128) {
            // `b` shares `same` bits with `a` and differs in the next.
            let b = if same == 128 {
                a
            } else {
                let next = 1u128 << (127 - same);
                (a ^ next) & !(next - 1) | noise & (next - 1)
            };
            let pan = CryptoPan::new(&KEY);
            prop_assert_eq!((pan.v6(a) ^ pan.v6(b)).leading_zeros(), same);
            let (a, b) = ((a >> 96) as u32, (b >> 96) as u32);
            prop_assert_eq!((pan.v4(a) ^ pan.v4(b)).leading_zeros(), same.min(32));
        }
    }
}
