//! Memory that is asked for before it is needed, so that several answers are on their way at once.
//!
//! Between two batches the columns and tables of the last one leave the caches, at all but the highest rates: waiting for
//! memory is then most of what decoding and looking up cost.

/// Bytes of a line of the caches.
const LINE: usize = 64;

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

/// Asks for the lines behind the one that `place` is in, up to `bytes` further on, which will be written.
#[inline(always)]
pub(crate) fn to_write<T>(place: *const T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (LINE..bytes + LINE).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "the instruction takes a pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(place.cast::<i8>().wrapping_add(line));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: (*const T, usize) = (place, bytes);
}
