//! Fields of a message as they are on the wire, whatever they mean (protobuf encoding, "message structure").

use super::{MAX_MESSAGE, ProtoError, varint};

/// Wire types (protobuf encoding, "message structure").
pub(crate) const VARINT: u8 = 0;
const FIXED64: u8 = 1;
pub(crate) const DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// One field of a message, as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawField<'m> {
    pub(crate) number: u32,
    pub(crate) wire_type: u8,
    /// Key and value.
    pub(crate) raw: &'m [u8],
    /// The bytes of a length-delimited value; empty for others.
    pub(crate) bytes: &'m [u8],
    /// The number of a varint; 0 for others.
    pub(crate) value: u64,
}

/// The fields of a message, one after another; nothing follows an error.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Fields<'m> {
    pub(crate) fn new(message: &'m [u8]) -> Fields<'m> {
        Fields { message, at: 0 }
    }

    fn read(&mut self) -> Result<RawField<'m>, ProtoError> {
        let (start, message) = (self.at, self.message);
        let at = &mut self.at;
        let (number, wire_type) = key(message, at)?;
        let mut field = RawField { number, wire_type, raw: &[], bytes: &[], value: 0 };
        match wire_type {
            VARINT => field.value = value(message, at)?,
            DELIMITED => field.bytes = delimited(message, at, number)?,
            _ => skip(message, at, number, wire_type)?,
        }
        field.raw = message.get(start..*at).unwrap_or(&[]);
        Ok(field)
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Result<RawField<'m>, ProtoError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.message.len()).then(|| self.read().inspect_err(|_| self.at = self.message.len()))
    }
}

/// Takes the message off the beginning of `left` that its length announces. After an error `left` is empty.
pub(crate) fn split<'m>(left: &mut &'m [u8]) -> Result<&'m [u8], ProtoError> {
    let buffer = std::mem::take(left);
    let mut at = 0;
    let length = value(buffer, &mut at)?;
    if length > MAX_MESSAGE as u64 {
        return Err(ProtoError::TooLong { length });
    }
    let rest = buffer.get(at..).unwrap_or(&[]);
    let (message, rest) =
        rest.split_at_checked(length as usize).ok_or(ProtoError::Truncated { number: 0, length, left: rest.len() })?;
    *left = rest;
    Ok(message)
}

/// Number and wire type of the field at `at`.
#[inline(always)]
pub(crate) fn key(message: &[u8], at: &mut usize) -> Result<(u32, u8), ProtoError> {
    let offset = *at;
    let key = value(message, at)?;
    match u32::try_from(key) {
        Ok(key) if key >= 8 => Ok((key >> 3, key as u8 & 7)),
        _ => Err(ProtoError::Malformed { offset }),
    }
}

#[inline(always)]
pub(crate) fn value(message: &[u8], at: &mut usize) -> Result<u64, ProtoError> {
    let offset = *at;
    varint::read(message, at).ok_or(ProtoError::Malformed { offset })
}

/// The bytes of a length-delimited field.
#[inline(always)]
pub(crate) fn delimited<'m>(message: &'m [u8], at: &mut usize, number: u32) -> Result<&'m [u8], ProtoError> {
    let length = value(message, at)?;
    let rest = message.get(*at..).unwrap_or(&[]);
    let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let bytes = bytes.ok_or(ProtoError::Truncated { number, length, left: rest.len() })?;
    *at += bytes.len();
    Ok(bytes)
}

/// Steps over the value of a field. Groups, which proto3 does not have, are malformed.
pub(crate) fn skip(message: &[u8], at: &mut usize, number: u32, wire_type: u8) -> Result<(), ProtoError> {
    let length = match wire_type {
        VARINT => return value(message, at).map(drop),
        DELIMITED => return delimited(message, at, number).map(drop),
        FIXED64 => 8,
        FIXED32 => 4,
        _ => return Err(ProtoError::Malformed { offset: *at }),
    };
    let left = message.len() - *at;
    if left < length {
        return Err(ProtoError::Truncated { number, length: length as u64, left });
    }
    *at += length;
    Ok(())
}
