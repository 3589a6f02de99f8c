//! Guessing dialect and framing from values.

use super::raw::{Fields, RawField, split};
use super::table::{MILLI, SECOND};
use super::{Dialect, Framing, MAX_MESSAGE};

/// The dialect and framing of `values`, or `None` if they do not all agree or do not say.
///
/// A value speaks for a framing if it can be read in it to the end, as messages of known fields with
/// the right wire types, and for a dialect by its times: those of goflow2 and flowpipeline have
/// nanoseconds under 110 to 112; those of bwnetflow have seconds under 2, 5 and 38, where the last is IP
/// flags elsewhere, and no others. flowpipeline is told from goflow2 by any field that only it has (2, 5, 53 to 65,
/// 2001 to 2999 where sluice does not write them into goflow2 messages). Without such a field they read the same.
///
/// It is a guess: for a topic that is known, say what it has.
#[must_use]
pub fn detect(values: &[&[u8]]) -> Option<(Dialect, Framing)> {
    let mut found = Framing::ALL.into_iter().filter_map(|framing| Some((agreed(values, framing)?, framing)));
    let first = found.next();
    // What can be read both ways says nothing.
    if found.next().is_some() { None } else { first }
}

/// What one message says.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    /// A time as only goflow2 and flowpipeline have it.
    modern: bool,
    /// What only bwnetflow has.
    legacy: bool,
    /// A time in seconds, as bwnetflow and flowpipeline have it.
    seconds: bool,
    /// Something under 38 that is no time.
    flags: bool,
    /// A field that goflow2 has not.
    only_flowpipeline: bool,
}

/// The dialect that all messages of all values agree on, if they are messages with this framing.
fn agreed(values: &[&[u8]], framing: Framing) -> Option<Dialect> {
    let mut all = Signs::default();
    let mut messages = 0;
    for value in values {
        let mut left = *value;
        while !left.is_empty() {
            let message = match framing {
                Framing::Delimited => split(&mut left).ok()?,
                Framing::Bare => std::mem::take(&mut left),
            };
            let mut signs = signs(message)?;
            signs.legacy |= signs.seconds && !signs.modern;
            // Both or neither: some other schema, or damaged.
            if signs.modern == signs.legacy || (signs.legacy && signs.flags) {
                return None;
            }
            all.modern |= signs.modern;
            all.legacy |= signs.legacy;
            all.only_flowpipeline |= signs.only_flowpipeline;
            messages += 1;
        }
    }
    match all {
        _ if messages == 0 => None,
        Signs { modern: true, legacy: true, .. } => None,
        Signs { legacy: true, .. } => Some(Dialect::Bwnetflow),
        Signs { only_flowpipeline: true, .. } => Some(Dialect::Flowpipeline),
        _ => Some(Dialect::Goflow2),
    }
}

/// What `message` says, or `None` if it is malformed, or if a field that all dialects have in common
/// has another wire type.
fn signs(message: &[u8]) -> Option<Signs> {
    if message.len() > MAX_MESSAGE {
        return None;
    }
    let mut signs = Signs::default();
    for field in Fields::new(message) {
        let field = field.ok()?;
        if !is_plausible(&field) {
            return None;
        }
        match field.number {
            38 if is_time(field.value, SECOND) => signs.legacy = true,
            38 => signs.flags |= field.value > 0,
            2 | 5 if is_time(field.value, SECOND) => (signs.seconds, signs.only_flowpipeline) = (true, true),
            1000 if field.wire_type == 0 => signs.legacy = true,
            110..=112 if is_time(field.value, 1) => signs.modern = true,
            63 | 64 if is_time(field.value, MILLI) => (signs.modern, signs.only_flowpipeline) = (true, true),
            2538 if is_time(field.value, SECOND) => (signs.modern, signs.only_flowpipeline) = (true, true),
            number => signs.only_flowpipeline |= is_only_flowpipeline(number),
        }
    }
    Some(signs)
}

/// Whether flowpipeline has the number and goflow2 messages, those of sluice included, do not.
fn is_only_flowpipeline(number: u32) -> bool {
    let is_range = matches!(number, 2 | 5 | 53..=65 | 2000..=2999);
    is_range && Dialect::Goflow2.fields().all(|field| field.number != number)
}

/// Whether a field that means the same in every dialect is what it should be.
fn is_plausible(field: &RawField<'_>) -> bool {
    match field.number {
        6 | 7 | 11 | 12 => field.wire_type == 2 && matches!(field.bytes.len(), 0 | 4 | 16),
        1..=5 | 9 | 10 | 13..=42 | 110..=112 => field.wire_type == 0,
        // 8 has never been used.
        8 => false,
        _ => true,
    }
}

/// Whether `value` units of so many nanoseconds since 1970 are between 2000 and 2100.
fn is_time(value: u64, unit: u64) -> bool {
    (946_684_800..4_102_444_800).contains(&(value / (SECOND / unit)))
}
