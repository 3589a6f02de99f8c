//! Records of one length, one after another, and the same field of each of them.

#![warn(clippy::indexing_slicing)]

/// A whole number of records of one length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a> {
    /// `stride * count` bytes.
    data: &'a [u8],
    stride: usize,
    count: usize,
}

impl<'a> Strided<'a> {
    /// The records of `stride` bytes that `body` begins with, as many as are whole; none if `stride` is 0.
    pub(crate) fn new(body: &'a [u8], stride: usize) -> Strided<'a> {
        let count = body.len().checked_div(stride).unwrap_or(0);
        // Ends the process rather than to promise bytes that are not there; there are as many, by the division.
        let (data, _) = body.split_at(stride * count);
        Strided { data, stride, count }
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// All records.
    pub(crate) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Bytes of a record.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The `W` bytes that are `offset` bytes into each record. `None` if a record ends before.
    ///
    /// Safe slices take a division a column (`chunks_exact`) or a comparison a record, and a set has few records: decoding
    /// costs a third more with either.
    #[inline(always)]
    pub(crate) fn fields<const W: usize>(&self, offset: usize) -> Option<impl Iterator<Item = [u8; W]> + use<'a, W>> {
        let Strided { data, stride, count } = *self;
        (offset.checked_add(W)? <= stride).then_some(())?;
        debug_assert!(stride * count <= data.len());
        Some((0..count).map(move |record| {
            // SAFETY: `record` is at most `count - 1` and `offset + W` at most `stride`, so that what is read ends within the
            // `stride * count` bytes of `data`, a product that `new` saw to be no more than the bytes there are.
            #[allow(unsafe_code, reason = "checked for all records before, not for each")]
            unsafe {
                data.as_ptr().add(record * stride + offset).cast::<[u8; W]>().read_unaligned()
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<const W: usize>(body: &[u8], stride: usize, offset: usize) -> Option<Vec<[u8; W]>> {
        Strided::new(body, stride).fields(offset).map(Iterator::collect)
    }

    #[test]
    fn a_field_is_read_up_to_the_last_byte_of_the_last_whole_record() {
        let body = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(fields(&body, 3, 1), Some(vec![[2, 3], [5, 6]]));
        assert_eq!(fields(&body, 4, 0), Some(vec![[1, 2, 3, 4], [5, 6, 7, 8]]));
        assert_eq!(fields::<8>(&body, 8, 0), Some(vec![body]));
    }

    #[test]
    fn a_field_that_does_not_end_within_its_record_is_none() {
        let body = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(fields::<2>(&body, 4, 3), None);
        assert_eq!(fields::<1>(&body, 4, 4), None);
        assert_eq!(fields::<4>(&body, 4, usize::MAX), None);
    }

    #[test]
    fn without_a_whole_record_there_is_nothing() {
        assert_eq!(fields::<1>(&[1, 2], 3, 0), Some(vec![]));
        assert_eq!(fields::<1>(&[], 3, 0), Some(vec![]));
        assert_eq!(Strided::new(&[1, 2], 0).len(), 0);
        assert_eq!(fields::<1>(&[1, 2], 0, 0), None);
    }
}
