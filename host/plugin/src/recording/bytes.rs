//! Numbers and texts in the bytes of a recording, none of which is believed.

/// Appends numbers and texts.
pub(crate) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    /// A length, then the text.
    fn put_text(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend(value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend(value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend(value.to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        self.put_u32(text.len() as u32);
        self.extend(text.as_bytes());
    }
}

/// Takes numbers and texts off the front.
pub(crate) struct Take<'a> {
    pub(crate) rest: &'a [u8],
    /// Bytes that may still be made of what is read: a few bytes can stand for a whole column.
    pub(crate) room: &'a mut usize,
}

/// The bytes end early.
#[derive(Debug)]
pub(crate) struct TooShort;

impl From<TooShort> for String {
    fn from(_: TooShort) -> String {
        "a part of it ends early".to_owned()
    }
}

impl<'a> Take<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], TooShort> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(TooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TooShort> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(TooShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, TooShort> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TooShort> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TooShort> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, TooShort> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, String> {
        let bytes = self.u32()? as usize;
        std::str::from_utf8(self.take(bytes)?).map_err(|_| "a text in it is not UTF-8".to_owned())
    }

    /// Claims memory for `count` things of `bytes` each, before it is allocated.
    pub(crate) fn claim(&mut self, count: usize, bytes: usize) -> Result<(), String> {
        let needed = count.saturating_mul(bytes);
        *self.room = self.room.checked_sub(needed).ok_or("it holds more than it may")?;
        Ok(())
    }

    /// Nothing may be left over.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("{} bytes of a part mean nothing", self.rest.len())) }
    }
}
