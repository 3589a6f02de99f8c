//! Addresses by the longest prefix that covers them: a tree per family.

use ipnet::IpNet;

use super::tree::{Tree, is_place};

/// Addresses that are looked up side by side: as many as a `u8` can tell apart.
const CHUNK: usize = 1 << u8::BITS;

/// Codes above 0, by prefix.
pub(crate) struct Prefixes {
    v4: Tree,
    v6: Option<Tree>,
}

impl Prefixes {
    pub(crate) fn new(prefixes: &[(IpNet, u32)]) -> Prefixes {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, code) in prefixes {
            match prefix {
                IpNet::V4(net) => v4.push((net.addr().to_bits(), net.prefix_len(), *code)),
                IpNet::V6(net) => v6.push((net.addr().to_bits(), net.prefix_len(), *code)),
            }
        }
        Prefixes { v4: Tree::new(v4), v6: (!v6.is_empty()).then(|| Tree::new(v6)) }
    }

    /// Code of the longest prefix that covers the address given as halves (IPv4 as IPv4-mapped
    /// IPv6); 0 if there is none, and for `::`, which stands for "absent".
    pub(crate) fn lookup(&self, hi: u64, lo: u64) -> u32 {
        if hi == 0 && lo >> 32 == 0xffff {
            return self.v4.lookup(lo as u32);
        }
        match &self.v6 {
            Some(v6) if hi != 0 || lo != 0 => v6.lookup(u128::from(hi) << 64 | u128::from(lo)),
            _ => 0,
        }
    }

    /// Codes of many addresses, appended to `codes`; as many as the shorter list has.
    pub(crate) fn lookup_all(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has the instruction, which was asked for just now.
            #[allow(
                unsafe_code,
                reason = "counting bits is half of a lookup, and not among the instructions that every x86-64 has"
            )]
            return unsafe { self.lookup_all_popcnt(hi, lo, codes) };
        }
        self.lookup_each(hi, lo, codes);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "popcnt")]
    fn lookup_all_popcnt(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        self.lookup_each(hi, lo, codes);
    }

    #[inline(always)]
    fn lookup_each(&self, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
        let (before, rows) = (codes.len(), hi.len().min(lo.len()));
        codes.resize(before + rows, 0);
        let parts = hi[..rows].chunks(CHUNK).zip(lo[..rows].chunks(CHUNK)).zip(codes[before..].chunks_mut(CHUNK));
        for ((hi, lo), codes) in parts {
            self.lookup_chunk(hi, lo, codes);
        }
    }

    /// Codes of up to [`CHUNK`] addresses: the first level of all, and then the rest of each family.
    #[inline(always)]
    fn lookup_chunk(&self, hi: &[u64], lo: &[u64], codes: &mut [u32]) {
        let (mut v4, mut v6) = ([0; CHUNK], [0; CHUNK]);
        let (mut v4_rows, mut v6_rows) = (0, 0);
        for (row, ((&hi, &lo), code)) in hi.iter().zip(lo).zip(codes.iter_mut()).enumerate() {
            let is_v4 = hi == 0 && lo >> 32 == 0xffff;
            // An address of the other family would lead all over the first level, for nothing.
            let entry = self.v4.first(if is_v4 { lo as u32 } else { 0 });
            self.v4.fetch(entry);
            *code = if is_v4 { entry } else { 0 };
            // Without a branch: which family comes next nobody can guess.
            v4[v4_rows & (CHUNK - 1)] = row as u8;
            v4_rows += usize::from(is_v4 & is_place(entry));
            v6[v6_rows & (CHUNK - 1)] = row as u8;
            v6_rows += usize::from(!is_v4 & (hi | lo != 0));
        }
        self.v4.descend(|row| lo[row] as u32, codes, &mut v4[..v4_rows]);
        if let Some(tree) = &self.v6 {
            let addr = |row: usize| u128::from(hi[row]) << 64 | u128::from(lo[row]);
            let mut below = 0;
            for at in 0..v6_rows {
                let row = v6[at];
                let entry = tree.first(addr(usize::from(row)));
                tree.fetch(entry);
                codes[usize::from(row)] = entry;
                v6[below] = row;
                below += usize::from(is_place(entry));
            }
            tree.descend(addr, codes, &mut v6[..below]);
        }
    }
}
