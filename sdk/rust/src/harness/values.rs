//! Tables of values for the harness.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

use super::TableSource;

/// A table of values in memory.
#[derive(Debug, Default)]
pub struct MemoryValues {
    contents: RefCell<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    /// By the key in three numbers, those that it does not have being 0 from the left, as in the host.
    codes: HashMap<[u64; 3], u32>,
    values: Vec<String>,
    generation: u64,
}

impl MemoryValues {
    /// A table of `(key, value)`, with keys as in a file: `"443"`, `"0x1bb"`, `"192.0.2.1"`, `"7,3"` or `"192.0.2.1,3"`.
    ///
    /// # Panics
    /// If a key is malformed.
    #[must_use]
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> MemoryValues {
        let table = MemoryValues::default();
        table.replace(entries);
        table
    }

    /// Exchanges the contents, as the host does when the file changes: codes learned before are void.
    ///
    /// # Panics
    /// If a key is malformed.
    pub fn replace<'a>(&self, entries: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut contents = Contents { generation: self.contents.borrow().generation + 1, ..Contents::default() };
        for (key, value) in entries {
            let known = contents.values.iter().position(|known| known == value);
            let at = known.unwrap_or_else(|| {
                contents.values.push(value.to_owned());
                contents.values.len() - 1
            });
            let key = parse(key).unwrap_or_else(|| panic!("`{key}` is no key"));
            contents.codes.insert(key, at as u32 + 1);
        }
        *self.contents.borrow_mut() = contents;
    }

    fn codes_of(&self, keys: impl Iterator<Item = [u64; 3]>) -> Vec<u32> {
        let contents = self.contents.borrow();
        keys.map(|key| contents.codes.get(&key).copied().unwrap_or_default()).collect()
    }
}

fn parse(key: &str) -> Option<[u64; 3]> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.strip_prefix("AS").unwrap_or(text).parse().ok(),
    };
    let address = |text: &str| {
        let bits = match text.parse().ok()? {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Some([(bits >> 64) as u64, bits as u64])
    };
    match key.split_once(',') {
        None => number(key).map(|number| [0, 0, number]).or_else(|| address(key).map(|[hi, lo]| [0, hi, lo])),
        Some((first, second)) => {
            let second = number(second)?;
            number(first).map(|first| [0, first, second]).or_else(|| address(first).map(|[hi, lo]| [hi, lo, second]))
        }
    }
}

impl TableSource for MemoryValues {
    fn lookup(&self, hi: &[u64], lo: &[u64]) -> Vec<u32> {
        self.codes_of(hi.iter().zip(lo).map(|(hi, lo)| [0, *hi, *lo]))
    }

    fn lookup_addressed(&self, hi: &[u64], lo: &[u64], numbers: &[u64]) -> Option<Vec<u32>> {
        Some(self.codes_of(hi.iter().zip(lo).zip(numbers).map(|((hi, lo), number)| [*hi, *lo, *number])))
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
