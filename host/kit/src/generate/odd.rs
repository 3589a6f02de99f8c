//! Batches that are valid and that nobody thinks of: extreme values, absent columns, odd texts, long lists.

use std::sync::Arc;

use sluice_flow::{ADDRESSES, Batch, Column, ColumnId, Lists, Pool, Schema, Texts, Width, halves_of};

use super::Random;

/// Numbers that programs compare with, beside those of the plugin's configuration.
const LANDMARKS: &[u64] = &[1, 6, 17, 53, 58, 80, 443, 1000, 1024, 1500, 10_000, 65_535, 1_000_000, 1_000_000_000];

/// Bytes that the longest text has: what a plugin may write itself.
const LONG_TEXT: usize = 4096;

/// Numbers in the longest list.
const LONG_LIST: usize = 2000;

/// Addresses from which the first to the last of a kind, and what is none, can be told.
const ADDRESSES_OF_NOTE: &[&str] = &[
    "0.0.0.0",
    "0.0.0.1",
    "10.0.0.0",
    "127.0.0.1",
    "192.0.2.1",
    "192.0.2.255",
    "198.51.100.7",
    "203.0.113.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::2",
    "2001:db8::",
    "2001:db8::1",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "64:ff9b::192.0.2.1",
    "fe80::1",
    "fc00::",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// What a column is like in one batch.
#[derive(Clone, Copy)]
enum Mood {
    Zeros,
    AllEqual,
    Extremes,
    Landmarks,
    Few,
    Any,
}

const MOODS: &[Mood] = &[Mood::Zeros, Mood::AllEqual, Mood::Extremes, Mood::Landmarks, Mood::Few, Mood::Any];

/// Makes odd batches.
pub(crate) struct Odd {
    schema: Arc<Schema>,
    /// Columns of the manifest.
    columns: Vec<ColumnId>,
    /// The other columns there are.
    others: Vec<ColumnId>,
    /// Numbers worth comparing with.
    landmarks: Vec<u64>,
}

impl Odd {
    /// `landmarks` are numbers that the plugin is likely to compare with.
    pub(crate) fn new(schema: &Arc<Schema>, columns: Vec<ColumnId>, landmarks: &[u64]) -> Odd {
        let others = schema.all().iter().filter(|column| !columns.contains(column)).collect();
        let landmarks = landmarks.iter().chain(LANDMARKS).copied().collect();
        Odd { schema: Arc::clone(schema), columns, others, landmarks }
    }

    /// A batch of `rows` rows.
    pub(crate) fn batch(&self, rows: usize, id: u64, now_ms: u64, random: &mut Random) -> Batch {
        let mut batch = Batch::new(Arc::clone(&self.schema), Pool::default(), rows);
        batch.stamp(id, now_ms);
        if random.is_one_of(1, 16) {
            return batch;
        }
        let is_complete = random.is_one_of(1, 3);
        let mut wanted = self.columns.clone();
        if random.is_one_of(1, 8) && !self.others.is_empty() {
            wanted.extend((0..4).map(|_| random.pick(&self.others)));
        }
        for column in wanted {
            if batch.has(column) || !is_complete && random.is_one_of(1, 4) {
                continue;
            }
            let pair = ADDRESSES.iter().find(|pair| pair.hi == column || pair.lo == column);
            let Some(width) = self.schema.width(column) else { continue };
            match pair {
                // Once in a while half an address, which reads as one with zeros.
                Some(pair) if !random.is_one_of(1, 32) => {
                    let (hi, lo) = addresses(rows, random);
                    put(&mut batch, pair.hi, Column::U64(Arc::new(hi)));
                    put(&mut batch, pair.lo, Column::U64(Arc::new(lo)));
                }
                _ => put(&mut batch, column, self.column(width, rows, now_ms, random)),
            }
        }
        batch
    }

    fn column(&self, width: Width, rows: usize, now_ms: u64, random: &mut Random) -> Column {
        match width {
            Width::U8 => Column::U8(Arc::new(self.numbers(rows, now_ms, random))),
            Width::U16 => Column::U16(Arc::new(self.numbers(rows, now_ms, random))),
            Width::U32 => Column::U32(Arc::new(self.numbers(rows, now_ms, random))),
            Width::U64 => Column::U64(Arc::new(self.numbers(rows, now_ms, random))),
            Width::Text => Column::Text(Arc::new(texts(rows, random))),
            Width::Lists => Column::Lists(Arc::new(lists(rows, random))),
        }
    }

    fn numbers<T: TryFrom<u64>>(&self, rows: usize, now_ms: u64, random: &mut Random) -> Vec<T> {
        let max = u64::MAX >> (64 - 8 * size_of::<T>());
        let mood = random.pick(MOODS);
        let few = [random.next() & max, random.next() & max, random.next() & max];
        let equal = if random.is_one_of(1, 2) { few[0] } else { extreme(max, now_ms, random) };
        let mut number = || match mood {
            Mood::Zeros => 0,
            Mood::AllEqual => equal,
            Mood::Extremes => extreme(max, now_ms, random),
            // The number itself and its neighbours.
            Mood::Landmarks => random.pick(&self.landmarks).wrapping_add(random.below(3)).wrapping_sub(1).min(max),
            Mood::Few => random.pick(&few),
            Mood::Any => random.next() & max,
        };
        (0..rows).map_while(|_| T::try_from(number()).ok()).collect()
    }
}

fn put(batch: &mut Batch, column: ColumnId, values: Column) {
    batch.set(column, values).expect("it was made for this column");
}

/// 0, 1, the highest, powers of two and their neighbours; and times about now.
fn extreme(max: u64, now_ms: u64, random: &mut Random) -> u64 {
    let power = 1_u64 << random.below(64);
    let number = match random.below(8) {
        0 => 0,
        1 => 1,
        2 => max,
        3 => max - 1,
        4 => power,
        5 => power - 1,
        6 => power.wrapping_add(1),
        _ => now_ms.saturating_mul(1_000_000).wrapping_add(random.below(3)).wrapping_sub(1),
    };
    number & max
}

/// Halves of addresses: of one family or both, of any or of a few, absent or not.
fn addresses(rows: usize, random: &mut Random) -> (Vec<u64>, Vec<u64>) {
    let kind = random.below(6);
    let few: Vec<(u64, u64)> = (0..4).map(|_| (random.next(), random.next())).collect();
    let one = |random: &mut Random| match kind {
        0 => (0, 0),
        1 => (0, 0xffff_0000_0000 | random.below(1 << 32)),
        2 => (random.next(), random.next()),
        3 => random.pick(&few),
        4 => halves_of(random.pick(ADDRESSES_OF_NOTE).parse().expect("an address")),
        // Both families and none, and halves that mean nothing.
        _ => match random.below(4) {
            0 => (0, 0),
            1 => (0, 0xffff_c000_0200 | random.below(256)),
            2 => (0x2001_0db8_0000_0000, random.below(256)),
            _ => (0, random.below(1 << 33)),
        },
    };
    (0..rows).map(|_| one(random)).unzip()
}

/// Texts: empty, long, in other scripts, twice the same, unused.
fn texts(rows: usize, random: &mut Random) -> Texts {
    let all = [
        "",
        "a",
        "DE",
        "de",
        " ",
        "0",
        "-1",
        "a b",
        "naïve",
        "日本語",
        "👩‍👩‍👧‍👦",
        "\u{202e}abc",
        "e\u{301}",
        "\0",
        "line\nbreak",
        "\"'`\\",
        "{}%s$x",
        "../../etc",
        "\u{feff}",
        "\u{10ffff}",
    ];
    let mut words: Vec<Arc<str>> = (0..1 + random.below(12)).map(|_| random.pick(&all).into()).collect();
    if random.is_one_of(1, 4) {
        words.push("x".repeat(LONG_TEXT).into());
        words.push("ä".repeat(LONG_TEXT / 2).into());
    }
    if random.is_one_of(1, 8) {
        words.extend((0..1000).map(|number| Arc::from(format!("word {number}"))));
    }
    let codes = (0..rows).map(|_| random.below(words.len() as u64) as u32).collect();
    Texts { words, codes }
}

/// Lists: empty, of one, of some, long.
fn lists(rows: usize, random: &mut Random) -> Lists {
    let kind = random.below(4);
    // One long list is enough to be long.
    let long_row = random.below(rows as u64) as usize;
    let mut lists = Lists::default();
    for row in 0..rows {
        let length = match kind {
            0 => 0,
            1 => 1,
            2 => random.below(5) as usize,
            _ if row == long_row => LONG_LIST,
            _ => random.below(2) as usize,
        };
        let list: Vec<u32> = (0..length).map(|_| extreme(u64::from(u32::MAX), 0, random) as u32).collect();
        lists.push(&list);
    }
    lists
}
