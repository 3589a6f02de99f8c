//! Varints without a loop: up to eight bytes at a time in a register.

#![allow(clippy::indexing_slicing, reason = "the tables have a place for every six bits")]

/// The continuation bit of eight bytes.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Reads the varint at `at` and steps over it, or returns `None` where it is cut short or longer
/// than 64 bits.
#[inline(always)]
pub(crate) fn read(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let rest = bytes.get(*at..)?;
    let Some(window) = rest.first_chunk() else { return read_near_end(bytes, at) };
    let (value, len) = first(window)?;
    *at += len;
    Some(value)
}

/// The varint at the beginning of `window` and its length, or `None` if it is longer than 64 bits.
///
/// Where the next field begins must not wait for this one to be read: the length of short ones is a
/// branch, which is predicted. Fields mostly have the length that they had in the message before.
#[inline(always)]
fn first(window: &[u8; 10]) -> Option<(u64, usize)> {
    let [low @ .., ninth, tenth] = window;
    let word = u64::from_le_bytes(*low);
    if word & 0x80 == 0 {
        return Some((word & 0x7f, 1));
    }
    if word & 0x8000 == 0 {
        return Some((word & 0x7f | (word & 0x7f00) >> 1, 2));
    }
    if word & 0x80_0000 == 0 {
        return Some((word & 0x7f | (word & 0x7f00) >> 1 | (word & 0x7f_0000) >> 2, 3));
    }
    let stops = !word & MORE;
    if stops != 0 {
        return Some(up_to_stop(word, stops));
    }
    let value = joined(word) | u64::from(ninth & 0x7f) << 56;
    if *ninth < 0x80 {
        return Some((value, 9));
    }
    (*tenth <= 1).then_some((value | u64::from(*tenth) << 63, 10))
}

/// The varint in a word whose continuation bits end at the lowest of `stops`.
#[inline(always)]
fn up_to_stop(word: u64, stops: u64) -> (u64, usize) {
    // The lowest stop is bit 7 of the last byte: everything above it goes.
    (joined(word & (stops ^ (stops - 1))), (stops.trailing_zeros() / 8 + 1) as usize)
}

/// Reads a varint within the last nine bytes, where the times of a flow often are.
fn read_near_end(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let rest = bytes.get(*at..)?;
    let mut word = [0; 8];
    match (rest.first_chunk(), bytes.last_chunk()) {
        (Some(first), _) => word = *first,
        // The bytes up to the end, with zeros behind them.
        (None, Some(last)) if !rest.is_empty() => {
            word = (u64::from_le_bytes(*last) >> (8 * (8 - rest.len()))).to_le_bytes();
        }
        _ => word.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte),
    }
    let word = u64::from_le_bytes(word);
    let stops = !word & MORE;
    let (value, len) = match (stops, rest.get(8)) {
        (0, Some(ninth @ ..0x80)) => (joined(word) | u64::from(*ninth) << 56, 9),
        (0, _) => return None,
        _ => up_to_stop(word, stops),
    };
    *at += len;
    (len <= rest.len()).then_some(value)
}

/// The lower seven bits of eight bytes, one after another.
#[inline(always)]
fn joined(word: u64) -> u64 {
    let pairs = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    (fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4
}

/// The lower 56 bits as eight bytes of seven.
#[inline(always)]
fn spread(value: u64) -> u64 {
    let fours = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let pairs = (fours & 0x0000_3fff_0000_3fff) | (fours & 0x0fff_c000_0fff_c000) << 2;
    (pairs & 0x007f_007f_007f_007f) | (pairs & 0x3f80_3f80_3f80_3f80) << 1
}

/// The place in [`LENGTHS`] and [`CONTINUED`] of a number below 2^63: the lower bits of the exponent of a
/// floating-point number of that size, which is one less than the highest bit that is set.
///
/// The instruction for the highest bit is not among those that every x86-64 has, and the old one is slow.
#[inline(always)]
fn magnitude(value: u64) -> usize {
    // Of two neighbouring bits the lower one goes, so that nothing is rounded up to the next power of two.
    let rounded = (value & !(value >> 1) | 1) as i64 as f64;
    (rounded.to_bits() >> 52) as usize & 63
}

/// The same of a number of 32 bits, which is not rounded.
#[inline(always)]
fn magnitude_u32(value: u32) -> usize {
    (f64::from(value | 1).to_bits() >> 52) as usize & 63
}

/// Bytes of a varint by the magnitude of its number.
static LENGTHS: [u8; 64] = {
    let mut lengths = [0; 64];
    let mut at = 0;
    while at < 64 {
        lengths[at] = ((at as u8 + 1) & 63) / 7 + 1;
        at += 1;
    }
    lengths
};

/// Continuation bits of a varint of up to eight bytes by the magnitude of its number.
static CONTINUED: [u64; 64] = {
    let mut continued = [MORE; 64];
    let mut at = 0;
    while at < 64 {
        if LENGTHS[at] <= 8 {
            continued[at] = MORE & !(u64::MAX << (8 * (LENGTHS[at] as u32 - 1)));
        }
        at += 1;
    }
    continued
};

/// Bytes that `value` takes, 1 to 10.
#[inline(always)]
pub(crate) fn len(value: u64) -> usize {
    if value >> 63 == 1 { 10 } else { usize::from(LENGTHS[magnitude(value)]) }
}

/// The varint of a number that takes eight bytes at most, and how many it takes. Bytes beyond are 0.
#[inline(always)]
pub(crate) fn short(value: u64) -> (u64, usize) {
    let magnitude = magnitude(value);
    (spread(value) | CONTINUED[magnitude], usize::from(LENGTHS[magnitude]))
}

/// The same of a number that takes five bytes at most, as those of 32 bits do.
#[inline(always)]
pub(crate) fn short_u32(value: u32) -> (u64, usize) {
    let magnitude = magnitude_u32(value);
    let value = u64::from(value);
    let pairs = (value & 0x3fff) | (value & 0x0fff_c000) << 2 | (value & 0xf000_0000) << 4;
    let bytes = (pairs & 0x007f_007f_007f) | (pairs & 0x3f80_3f80_3f80) << 1;
    (bytes | CONTINUED[magnitude], usize::from(LENGTHS[magnitude]))
}

/// The same of a number of 16 bits.
#[inline(always)]
pub(crate) fn short_u16(value: u16) -> (u64, usize) {
    let (has_second, has_third) = (u64::from(value >= 1 << 7), u64::from(value >= 1 << 14));
    let value = u64::from(value);
    let bytes = (value & 0x7f) | (value & 0x3f80) << 1 | (value & 0xc000) << 2;
    (bytes | has_second << 7 | has_third << 15, (1 + has_second + has_third) as usize)
}

/// The same of a number of 8 bits.
#[inline(always)]
pub(crate) fn short_u8(value: u8) -> (u64, usize) {
    let has_second = u64::from(value >> 7);
    // The highest bit is the continuation bit.
    (u64::from(value) | has_second << 8, (1 + has_second) as usize)
}

/// Writes `value` to the beginning of `place` and returns how many bytes it takes. Up to ten are overwritten.
#[inline(always)]
pub(crate) fn write(value: u64, place: &mut [u8; 10]) -> usize {
    let [low @ .., ninth, tenth] = place;
    if value < 1 << 56 {
        let (bytes, len) = short(value);
        *low = bytes.to_le_bytes();
        return len;
    }
    *low = (spread(value) | MORE).to_le_bytes();
    *tenth = (value >> 63) as u8;
    *ninth = (value >> 56) as u8 & 0x7f | *tenth << 7;
    9 + usize::from(*tenth)
}

/// Appends `value` to `out`.
pub(crate) fn append(value: u64, out: &mut Vec<u8>) {
    let mut place = [0; 10];
    let len = write(value, &mut place);
    out.extend_from_slice(place.get(..len).unwrap_or(&place));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edges() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift)
    }

    proptest! {
        #[test]
        fn a_number_is_written_as_prost_writes_it_and_read_back(value in edges(), tail in 0..12_usize) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            append(value, &mut ours);
            prost::encoding::encode_varint(value, &mut theirs);
            prop_assert_eq!(&ours, &theirs);
            prop_assert_eq!(len(value), ours.len());
            let of_len = |(bytes, len): (u64, usize)| bytes.to_le_bytes().get(..len).map(<[u8]>::to_vec);
            if let Ok(value) = u32::try_from(value) {
                prop_assert_eq!(of_len(short_u32(value)), Some(ours.clone()));
            }
            if let Ok(value) = u16::try_from(value) {
                prop_assert_eq!(of_len(short_u16(value)), Some(ours.clone()));
            }
            if let Ok(value) = u8::try_from(value) {
                prop_assert_eq!(of_len(short_u8(value)), Some(ours.clone()));
            }
            let end = ours.len();
            ours.resize(end + tail, 0xff);
            let mut at = 0;
            prop_assert_eq!((read(&ours, &mut at), at), (Some(value), end));
        }

        #[test]
        fn any_bytes_are_read_as_prost_reads_them(bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 0x7f, 0x80, 0x81, 0xff]), 0..14)) {
            let mut at = 0;
            let ours = read(&bytes, &mut at);
            let mut rest = &bytes[..];
            let theirs = prost::encoding::decode_varint(&mut rest).ok();
            prop_assert_eq!(ours, theirs);
            if ours.is_some() {
                prop_assert_eq!(at, bytes.len() - rest.len());
            }
        }
    }
}
