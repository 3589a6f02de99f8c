//! Tables for the harness.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

/// What [`Table`](crate::Table) asks of a table natively; the host's own can be plugged in.
pub trait TableSource {
    /// One code per address, 0 where nothing matches; in a table of values, one per key in two numbers.
    fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32>;
    /// In a table of values, one code per key that is an address and a number. None by default: it is no table of values.
    fn lookup_addressed(&self, hi: &[u64], lo: &[u64], numbers: &[u64]) -> Option<Vec<u32>> {
        let _ = (hi, lo, numbers);
        None
    }
    /// The value of a code.
    fn value(&self, code: u32) -> Option<String>;
    /// One more than the highest code.
    fn codes(&self) -> u32;
    /// Changes with the contents.
    fn generation(&self) -> u64;
}

/// A table of prefixes in memory: longest match, no eye to speed.
#[derive(Debug, Default)]
pub struct MemoryTable {
    contents: RefCell<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    /// By length in bits of the 128 and value; IPv4 as IPv4-mapped, so with 96 bits more.
    prefixes: HashMap<(u32, u128), u32>,
    /// The lengths that occur, longest first.
    lengths: Vec<u32>,
    values: Vec<String>,
    generation: u64,
}

impl MemoryTable {
    /// A table of `(prefix, value)`, e.g. `("192.0.2.0/24", "7")`; an address alone is a whole-length prefix.
    ///
    /// # Panics
    /// If a prefix is malformed.
    #[must_use]
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> MemoryTable {
        let table = MemoryTable::default();
        table.replace(entries);
        table
    }

    /// Exchanges the contents, as the host does when the file changes: codes learned before are void.
    ///
    /// # Panics
    /// If a prefix is malformed.
    pub fn replace<'a>(&self, entries: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut contents = Contents { generation: self.contents.borrow().generation + 1, ..Contents::default() };
        for (prefix, value) in entries {
            let (length, bits) = parse(prefix);
            let known = contents.values.iter().position(|known| known == value);
            let at = known.unwrap_or_else(|| {
                contents.values.push(value.to_owned());
                contents.values.len() - 1
            });
            contents.prefixes.insert((length, bits), at as u32 + 1);
            contents.lengths.push(length);
        }
        contents.lengths.sort_unstable_by(|a, b| b.cmp(a));
        contents.lengths.dedup();
        *self.contents.borrow_mut() = contents;
    }
}

/// Length in bits of the 128, and the masked value.
fn parse(prefix: &str) -> (u32, u128) {
    let (addr, length) = prefix.split_once('/').map_or((prefix, None), |(addr, length)| (addr, Some(length)));
    let (bits, whole, more) = match addr.parse().unwrap_or_else(|_| panic!("`{prefix}` is no prefix")) {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), 32, 96),
        IpAddr::V6(v6) => (v6.to_bits(), 128, 0),
    };
    let length: u32 = length.map_or(whole, |length| length.parse().unwrap_or(u32::MAX));
    assert!(length <= whole, "`{prefix}` is too long");
    (length + more, bits & mask(length + more))
}

fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or_default()
}

impl TableSource for MemoryTable {
    fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32> {
        let contents = self.contents.borrow();
        let find = |(hi, lo): (&u64, &u64)| {
            let bits = u128::from(*hi) << 64 | u128::from(*lo);
            let hit = |length: &u32| contents.prefixes.get(&(*length, bits & mask(*length))).copied();
            if bits == 0 { 0 } else { contents.lengths.iter().find_map(hit).unwrap_or_default() }
        };
        hi.iter().zip(lo).map(find).collect()
    }

    fn value(&self, code: u32) -> Option<String> {
        let contents = self.contents.borrow();
        contents.values.get((code as usize).checked_sub(1)?).cloned()
    }

    fn codes(&self) -> u32 {
        self.contents.borrow().values.len() as u32 + 1
    }

    fn generation(&self) -> u64 {
        self.contents.borrow().generation
    }
}
