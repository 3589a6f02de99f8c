//! XDR (RFC 4506) as sFlow uses it: big-endian words, opaque data padded to four bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::DecodeError;

/// A cursor over bytes that may end early. It never reads beyond them and sizes nothing by them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xdr<'a> {
    left: &'a [u8],
    /// Offset of `left` in the datagram, for messages.
    offset: usize,
}

impl<'a> Xdr<'a> {
    pub(super) fn new(datagram: &'a [u8]) -> Xdr<'a> {
        Xdr { left: datagram, offset: 0 }
    }

    /// The next `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], DecodeError> {
        match self.left.split_first_chunk::<N>() {
            Some((taken, left)) => {
                self.left = left;
                self.offset += N;
                Ok(taken)
            }
            None => Err(self.truncated(what, N)),
        }
    }

    #[inline]
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array::<4>(what).map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The next `N` words.
    #[inline]
    pub(super) fn words<const N: usize>(&mut self, what: &'static str) -> Result<[u32; N], DecodeError> {
        let (words, _) = self.left.as_chunks::<4>();
        let Some(words) = words.first_chunk::<N>() else { return Err(self.truncated(what, 4 * N)) };
        self.left = self.left.get(4 * N..).unwrap_or(&[]);
        self.offset += 4 * N;
        Ok(words.map(u32::from_be_bytes))
    }

    /// A list of words preceded by their number, without a copy: the bytes of all of them.
    pub(super) fn list(&mut self, what: &'static str) -> Result<&'a [[u8; 4]], DecodeError> {
        let count = self.u32(what)?;
        let bytes = self.take(what, (count as usize).saturating_mul(4))?;
        Ok(bytes.as_chunks::<4>().0)
    }

    /// The next `len` bytes and their padding to a multiple of four. A last padding that is missing is
    /// not missed: some agents leave it out.
    #[inline]
    pub(super) fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, left)) = self.left.split_at_checked(len) else { return Err(self.truncated(what, len)) };
        let padding = (len.next_multiple_of(4) - len).min(left.len());
        self.left = left.get(padding..).unwrap_or(&[]);
        self.offset += len + padding;
        Ok(taken)
    }

    /// A structure preceded by its length in bytes, as a cursor of its own.
    #[inline]
    pub(super) fn structure(&mut self, what: &'static str) -> Result<Xdr<'a>, DecodeError> {
        let len = self.u32(what)? as usize;
        let offset = self.offset;
        Ok(Xdr { left: self.take(what, len)?, offset })
    }

    /// An address preceded by its type: 0 none, 1 IPv4, 2 IPv6.
    pub(super) fn address(&mut self, what: &'static str) -> Result<Option<IpAddr>, DecodeError> {
        let offset = self.offset;
        match self.u32(what)? {
            0 => Ok(None),
            1 => Ok(Some(IpAddr::V4(Ipv4Addr::from(*self.array::<4>(what)?)))),
            2 => Ok(Some(IpAddr::V6(Ipv6Addr::from(*self.array::<16>(what)?)))),
            _ => Err(DecodeError::Malformed { what, offset }),
        }
    }

    #[cold]
    fn truncated(&self, what: &'static str, needed: usize) -> DecodeError {
        DecodeError::Truncated { what, offset: self.offset, needed, left: self.left.len() }
    }
}
