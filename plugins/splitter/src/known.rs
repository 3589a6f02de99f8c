//! Combinations of values by number, across batches: (number so far, value) to number, a column at a time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// Entries of the direct-mapped cache in front of the map.
const FRONT: usize = 1 << 12;

/// Combinations that are remembered. A batch with more groups than this may add one for each; then it begins anew.
const MAX_COMBINATIONS: usize = 1 << 16;

/// Texts that are remembered, and their bytes.
const MAX_TEXTS: usize = 1 << 14;
const MAX_TEXT_BYTES: usize = 1 << 20;

/// No combination: values are compared with an entry's only if its number is not this one.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: u64,
    from: u32,
    to: u32,
}

/// Remembers combinations, within bounds.
#[derive(Debug)]
pub(crate) struct Known {
    front: Box<[Entry; FRONT]>,
    // Without a random seed: a component has none. Growth is bounded, and the front answers what repeats.
    map: HashMap<(u32, u64), u32, BuildHasherDefault<DefaultHasher>>,
    texts: HashMap<String, u64, BuildHasherDefault<DefaultHasher>>,
    text_bytes: usize,
    count: u32,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            front: Box::new([Entry { value: 0, from: NONE, to: NONE }; FRONT]),
            map: HashMap::default(),
            texts: HashMap::default(),
            text_bytes: 0,
            count: 1,
        }
    }
}

impl Known {
    /// Numbers there are, 0 being that of no column yet.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Forgets everything if there is too much. Called between batches. True if it forgot.
    pub(crate) fn trim(&mut self) -> bool {
        let full =
            self.map.len() > MAX_COMBINATIONS || self.texts.len() > MAX_TEXTS || self.text_bytes > MAX_TEXT_BYTES;
        if full {
            *self = Known::default();
        }
        full
    }

    /// A number that stands for `text` until the next trim.
    pub(crate) fn text(&mut self, text: &str) -> u64 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.text_bytes += text.len();
        self.texts.insert(text.to_owned(), number);
        number
    }

    /// The number of what has number `from` so far, and `value`.
    #[inline]
    pub(crate) fn next(&mut self, from: u32, value: u64) -> u32 {
        // Fibonacci hashing: the upper bits depend on all lower ones.
        let hash = (value ^ u64::from(from) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        match self.front.get(hash as usize) {
            Some(entry) if entry.value == value && entry.from == from => entry.to,
            _ => self.learn(from, value, hash as usize),
        }
    }

    #[cold]
    fn learn(&mut self, from: u32, value: u64, at: usize) -> u32 {
        let to = *self.map.entry((from, value)).or_insert_with(|| {
            self.count += 1;
            self.count - 1
        });
        if let Some(entry) = self.front.get_mut(at) {
            *entry = Entry { value, from, to };
        }
        to
    }
}
