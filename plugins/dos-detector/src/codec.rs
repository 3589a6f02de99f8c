//! Bytes of a snapshot: numbers as LEB128, and their reader, which believes nothing.

/// Appends a number, seven bits a byte, the least significant first.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what [`put`] wrote.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Reader<'a> {
        Reader { rest: data }
    }

    /// The next number.
    ///
    /// # Errors
    /// If the bytes end, or the number has more than 64 bits.
    pub(crate) fn number(&mut self) -> Result<u64, String> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or("the snapshot ends early")?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("the snapshot holds a number of more than 64 bits".into())
    }

    /// The next number, which counts things that take at least one byte each and are at most `max`.
    ///
    /// # Errors
    /// As [`number`](Self::number), and if it is more.
    pub(crate) fn count(&mut self, what: &str, max: usize) -> Result<usize, String> {
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= max && count <= self.rest.len() => Ok(count),
            _ => Err(format!("the snapshot announces {count} {what}")),
        }
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("{} bytes after the snapshot", self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            for number in &numbers {
                put(&mut bytes, *number);
            }
            let mut reader = Reader::new(&bytes);
            for number in &numbers {
                prop_assert_eq!(reader.number(), Ok(*number));
            }
            prop_assert_eq!(reader.end(), Ok(()));
            prop_assert!(reader.number().is_err());
        }

        #[test]
        fn any_bytes_end_in_a_number_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let mut reader = Reader::new(&bytes);
            while reader.number().is_ok() {}
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert!(Reader::new(&[0xff; 11]).number().is_err());
        assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]).number().is_err());
    }
}
