//! Keys that are found as they are or not at all.

use ahash::AHashMap;

/// Keys below this are looked up in an array when their other parts are 0: ports, VLANs, protocols, many AS numbers.
const SMALL: u64 = 1 << 16;

/// A key in three numbers, those that it does not have being 0 from the left: a number is `[0, 0, n]`, two are `[0, a, b]`, an
/// address is `[0, hi, lo]`, an address and a number `[hi, lo, n]`.
///
/// So one key has one form in a column and in a list: of an address whose high half is 0, which all of IPv4 is, the low half
/// counts as a number.
pub(crate) type Key = [u64; 3];

/// What the keys of a table are. All keys of one are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Number,
    Address,
    Numbers,
    AddressAndNumber,
}

impl KeyKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            KeyKind::Number => "a number",
            KeyKind::Address => "an address",
            KeyKind::Numbers => "two numbers",
            KeyKind::AddressAndNumber => "an address and a number",
        }
    }
}

/// Codes above 0, by key.
#[derive(Debug, Default)]
pub(crate) struct Exact {
    /// None while there are no keys.
    pub(crate) kind: Option<KeyKind>,
    /// By the last number, up to the highest that occurs; 0 where there is none.
    small: Vec<u32>,
    pairs: AHashMap<(u64, u64), u32>,
    /// What is no pair: a number beside an address whose high half is not 0.
    triples: AHashMap<Key, u32>,
}

impl Exact {
    /// Adds a key. Says which code it has already, and leaves it so.
    pub(crate) fn insert(&mut self, key: Key, code: u32) -> Result<(), u32> {
        let entry = match key {
            [0, 0, small] if small < SMALL => {
                let at = small as usize;
                if self.small.len() <= at {
                    self.small.resize(at + 1, 0);
                }
                &mut self.small[at]
            }
            [0, a, b] => self.pairs.entry((a, b)).or_default(),
            triple => self.triples.entry(triple).or_default(),
        };
        match *entry {
            0 => {
                *entry = code;
                Ok(())
            }
            earlier => Err(earlier),
        }
    }

    /// Lets go of memory that filling it took.
    pub(crate) fn finish(&mut self) {
        self.small.shrink_to_fit();
        self.pairs.shrink_to_fit();
        self.triples.shrink_to_fit();
    }

    /// The code of a key, 0 if there is none.
    #[inline]
    pub(crate) fn lookup(&self, key: Key) -> u32 {
        match key {
            [0, 0, number] => self.number(number),
            [0, a, b] => self.pairs.get(&(a, b)).copied().unwrap_or(0),
            triple => self.triples.get(&triple).copied().unwrap_or(0),
        }
    }

    /// The code of a key that is one number.
    #[inline]
    fn number(&self, number: u64) -> u32 {
        if number < SMALL {
            return self.small.get(number as usize).copied().unwrap_or(0);
        }
        self.pairs.get(&(0, number)).copied().unwrap_or(0)
    }

    /// Codes of many keys, appended to `codes`.
    pub(crate) fn lookup_all(&self, keys: impl Iterator<Item = Key>, codes: &mut Vec<u32>) {
        // Flows of one exporter come in runs of equal keys.
        let (mut last, mut code) = ([0; 3], self.lookup([0; 3]));
        codes.extend(keys.map(|key: Key| {
            // Not `!=`, which compares arrays in memory: 4 ns more.
            if (key[0] ^ last[0]) | (key[1] ^ last[1]) | (key[2] ^ last[2]) != 0 {
                (last, code) = (key, self.lookup(key));
            }
            code
        }));
    }

    /// Codes of many keys that are one number each, appended to `codes`.
    pub(crate) fn lookup_numbers<T: Copy + Into<u64>>(&self, numbers: &[T], codes: &mut Vec<u32>) {
        codes.extend(numbers.iter().map(|number| self.number((*number).into())));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_lookup_finds_what_was_put_in_and_nothing_else(
            // Few numbers around the end of the array, so that keys meet and share parts.
            keys in prop::collection::vec(prop::array::uniform3(0..4_u64), 0..60),
            asked in prop::collection::vec(prop::array::uniform3(0..4_u64), 1..60),
        ) {
            let near = |key: [u64; 3]| key.map(|part| [0, 1, SMALL - 1, SMALL][part as usize]);
            let (mut exact, mut known) = (Exact::default(), HashMap::new());
            for (key, code) in keys.into_iter().map(near).zip(1..) {
                let earlier = known.get(&key).copied();
                prop_assert_eq!(exact.insert(key, code).err(), earlier);
                known.entry(key).or_insert(code);
            }
            exact.finish();
            let asked: Vec<Key> = asked.into_iter().map(near).chain(known.keys().copied()).collect();
            let expected: Vec<u32> = asked.iter().map(|key| known.get(key).copied().unwrap_or(0)).collect();
            let mut codes = Vec::new();
            exact.lookup_all(asked.iter().copied(), &mut codes);
            prop_assert_eq!(&codes, &expected);
            let numbers: Vec<u64> = asked.iter().map(|key| key[2]).collect();
            let expected: Vec<u32> = numbers.iter().map(|number| known.get(&[0, 0, *number]).copied().unwrap_or(0)).collect();
            codes.clear();
            exact.lookup_numbers(&numbers, &mut codes);
            prop_assert_eq!(codes, expected);
        }
    }
}
