//! Addresses by the longest prefix that covers them: a tree per family.

use ipnet::IpNet;

use super::tree::{Runs, SIDE_BY_SIDE, Sought, Tree};

/// Codes above 0, by prefix.
pub(crate) struct Prefixes {
    v4: Tree,
    v6: Option<Tree>,
}

impl Prefixes {
    /// What all addresses of both families have; no IPv6 if none has anything.
    pub(crate) fn of_runs(v4: &Runs<u32>, v6: &Runs<u128>) -> Prefixes {
        Prefixes { v4: Tree::new(v4), v6: (*v6 != Runs::new()).then(|| Tree::new(v6)) }
    }

    /// What it was made of.
    pub(crate) fn runs(&self) -> (Runs<u32>, Runs<u128>) {
        (self.v4.runs(), self.v6.as_ref().map_or_else(Runs::new, Tree::runs))
    }

    pub(crate) fn new(prefixes: &[(IpNet, u32)]) -> Prefixes {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, code) in prefixes {
            match prefix {
                IpNet::V4(net) => v4.push((net.addr().to_bits(), net.prefix_len(), *code)),
                IpNet::V6(net) => v6.push((net.addr().to_bits(), net.prefix_len(), *code)),
            }
        }
        Prefixes::of_runs(&Runs::of_prefixes(v4), &Runs::of_prefixes(v6))
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
        let rows = hi.len().min(lo.len());
        let (mut v4, mut v6) = (Sought::new(), Sought::new());
        for (hi, lo) in hi[..rows].chunks(SIDE_BY_SIDE).zip(lo[..rows].chunks(SIDE_BY_SIDE)) {
            for (row, (&hi, &lo)) in hi.iter().zip(lo).enumerate() {
                let is_v4 = hi | (lo >> 32 ^ 0xffff) == 0;
                v4.add(lo as u32, row as u8, is_v4);
                v6.add(u128::from(hi) << 64 | u128::from(lo), row as u8, !is_v4 & (hi | lo != 0));
            }
            let mut found = [0; SIDE_BY_SIDE];
            self.v4.find(&mut v4, &mut found);
            match &self.v6 {
                Some(tree) => tree.find(&mut v6, &mut found),
                None => v6.clear(),
            }
            codes.extend_from_slice(&found[..hi.len()]);
        }
    }
}
