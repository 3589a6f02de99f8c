//! Memory that is asked for before it is needed, so that several answers are on their way at once.
//!
//! Between two batches the columns and tables of the last one leave the caches, at all but the highest rates: waiting for
//! memory is then most of what decoding and looking up cost.

/// Bytes of a line of the caches.
const LINE: usize = 64;

/// Records that a set has at most, as a rule: those of a datagram of 1500 bytes.
const USUAL_ROWS: usize = 32;

/// Asks for what `place` points to, which will be read. Reads nothing: any pointer will do.
#[inline(always)]
pub fn to_read<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is a hint; at an address that is nobody's it does nothing.
        #[allow(unsafe_code, reason = "the instruction takes a pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(place.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: *const T = place;
}

/// Asks for the values from the `first` on, as many as `count`, which will be read.
#[inline(always)]
pub fn rows_to_read<T>(values: &[T], first: usize, count: usize) {
    let next = values.get(first..).unwrap_or_default();
    for line in next.get(..count).unwrap_or(next).chunks((LINE / size_of::<T>()).max(1)) {
        to_read(line.as_ptr());
    }
}

/// Asks for the lines behind the one that `values` end in, which as many values again will be written to.
#[inline(always)]
pub(crate) fn to_write<T>(values: &[T]) {
    let end = values.as_ptr_range().end.cast::<u8>();
    // Most blocks are not larger, and for those this is a few instructions in a row.
    let mut bytes = LINE.max(USUAL_ROWS * size_of::<T>());
    (LINE..=bytes).step_by(LINE).for_each(|line| line_to_write(end.wrapping_add(line)));
    while bytes < size_of_val(values) {
        bytes += LINE;
        line_to_write(end.wrapping_add(bytes));
    }
}

/// Asks for the line that `place` is in, which will be written.
#[inline(always)]
fn line_to_write(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "the instruction takes a pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(place.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: *const u8 = place;
}
