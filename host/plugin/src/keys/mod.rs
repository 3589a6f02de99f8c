//! Keys, and what is done with them on whole columns. A key never leaves this module: a plugin gets
//! the results only, and no message shows it.

mod cryptopan;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use cryptopan::CryptoPan;

/// Bytes that a key must have at least: what Crypto-PAn takes.
pub const MIN_KEY_BYTES: usize = 32;
/// Bytes that a key file may have.
pub const MAX_KEY_BYTES: usize = 4096;
/// Addresses whose results are remembered per open key: exporters and next hops are few, and cost
/// nothing but the first time. A power of two.
const CACHE: usize = 4096;

/// Where a key comes from.
///
/// The bytes are taken as they are, without line ends at the end of the file, unless they are
/// all hexadecimal digits, 64 or more of them, or begin with `base64:`; those are decoded.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// A file.
    File {
        /// Path of the file.
        path: PathBuf,
    },
    /// The text itself.
    Literal {
        /// The text; nothing prints it.
        text: Zeroizing<String>,
    },
}

impl KeySpec {
    /// A key given as text.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> KeySpec {
        KeySpec::Literal { text: Zeroizing::new(text.into()) }
    }
}

impl std::fmt::Debug for KeySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeySpec::File { path } => write!(f, "File({})", path.display()),
            KeySpec::Literal { .. } => f.write_str("Literal(..)"),
        }
    }
}

/// Why a key cannot be used. No message has anything of the key in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file could not be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too few bytes.
    #[error("a key needs {MIN_KEY_BYTES} bytes or more (e.g. `openssl rand -hex 32`), this one has {0}")]
    TooShort(usize),
    /// Too many bytes.
    #[error("a key may have {MAX_KEY_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// What follows `base64:` is not base64.
    #[error("what follows `base64:` is not base64")]
    NotBase64,
}

/// A key, ready to be used.
pub struct Key {
    pan: CryptoPan,
    mac: Hmac<Sha256>,
    /// The key itself, for a process that holds it for the same stage.
    bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// If the file cannot be read, or the key is too short, too long or not encoded as it says.
    pub fn load(spec: &KeySpec) -> Result<Key, KeyError> {
        match spec {
            KeySpec::File { path } => {
                let read = |source| KeyError::Read { path: path.clone(), source };
                let bytes = std::fs::metadata(path).map_err(read)?.len();
                // Hexadecimal doubles it.
                if bytes > 2 * MAX_KEY_BYTES as u64 + 2 {
                    return Err(KeyError::TooLong(usize::try_from(bytes).unwrap_or(usize::MAX)));
                }
                Key::parse(&Zeroizing::new(std::fs::read(path).map_err(read)?))
            }
            KeySpec::Literal { text } => Key::parse(text.as_bytes()),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Key, KeyError> {
        let text = bytes.trim_ascii_end();
        let key = if let Some(base64) = text.strip_prefix(b"base64:") {
            decode_base64(base64.trim_ascii()).ok_or(KeyError::NotBase64)?
        } else if text.len() >= 2 * MIN_KEY_BYTES
            && text.len().is_multiple_of(2)
            && text.iter().all(u8::is_ascii_hexdigit)
        {
            let digit = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
            Zeroizing::new(text.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
        } else {
            let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
            Zeroizing::new(bytes.get(..end).unwrap_or_default().to_vec())
        };
        Key::of(key)
    }

    /// The key of these bytes, as they are.
    pub(crate) fn of(key: Zeroizing<Vec<u8>>) -> Result<Key, KeyError> {
        if key.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong(key.len()));
        }
        let first = key.first_chunk::<MIN_KEY_BYTES>().ok_or(KeyError::TooShort(key.len()))?;
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(Key { pan: CryptoPan::new(first), mac, bytes: key })
    }

    /// The key itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Anonymises an address given as halves and keeps prefixes: IPv4 stays IPv4, `::` ("absent") stays.
    #[must_use]
    pub fn prefix_preserving(&self, hi: u64, lo: u64) -> (u64, u64) {
        match form_of(hi, lo) {
            Form::Absent => (0, 0),
            Form::V4(addr) => (0, MAPPED | u64::from(self.pan.v4(addr))),
            Form::V6(addr) => {
                let bits = self.pan.v6(addr);
                ((bits >> 64) as u64, bits as u64)
            }
        }
    }

    /// Replaces an address given as halves by the first bits of its MAC: 32 for IPv4, which stays IPv4, 128 for
    /// IPv6; `::` ("absent") stays.
    #[must_use]
    pub fn keyed_hash(&self, hi: u64, lo: u64) -> (u64, u64) {
        match form_of(hi, lo) {
            Form::Absent => (0, 0),
            Form::V4(_) => (0, MAPPED | self.mac(hi, lo)[0] >> 32),
            Form::V6(_) => {
                let [hi, lo] = self.mac(hi, lo);
                (hi, lo)
            }
        }
    }

    /// A pseudo-random function: the first 64 bits of HMAC-SHA-256 (RFC 2104) over the 16 big-endian bytes.
    #[must_use]
    pub fn prf(&self, hi: u64, lo: u64) -> u64 {
        self.mac(hi, lo)[0]
    }

    fn mac(&self, hi: u64, lo: u64) -> [u64; 2] {
        let mut mac = self.mac.clone();
        mac.update(&hi.to_be_bytes());
        mac.update(&lo.to_be_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let word =
            |at: usize| digest.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        [word(0), word(8)]
    }
}

/// The upper bits of the low half of an IPv4-mapped address.
const MAPPED: u64 = 0xffff << 32;

enum Form {
    Absent,
    V4(u32),
    V6(u128),
}

fn form_of(hi: u64, lo: u64) -> Form {
    match (hi, lo >> 32) {
        (0, 0xffff) => Form::V4(lo as u32),
        (0, _) if lo == 0 => Form::Absent,
        _ => Form::V6(u128::from(hi) << 64 | u128::from(lo)),
    }
}

fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    (held < 6).then_some(bytes)
}

/// How addresses are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    PrefixPreserving,
    KeyedHash,
}

/// A key that a plugin has opened, with the results of its last addresses.
#[derive(Debug)]
pub(crate) struct OpenKey {
    pub(crate) key: Arc<Key>,
    /// By hash of the address: the address and its replacement. Made on first use.
    preserving: Vec<[u64; 4]>,
    hashed: Vec<[u64; 4]>,
}

impl OpenKey {
    pub(crate) fn new(key: Arc<Key>) -> OpenKey {
        OpenKey { key, preserving: Vec::new(), hashed: Vec::new() }
    }

    /// Replaces every address of a pair of columns, in place.
    pub(crate) fn replace(&mut self, how: Replace, hi: &mut [u64], lo: &mut [u64]) {
        let cache = match how {
            Replace::PrefixPreserving => &mut self.preserving,
            Replace::KeyedHash => &mut self.hashed,
        };
        // An empty place holds `::`, whose replacement is `::`.
        cache.resize(CACHE, [0; 4]);
        for (hi, lo) in hi.iter_mut().zip(lo) {
            let hash = (*hi ^ lo.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
            let place = &mut cache[hash as usize % CACHE];
            if (place[0], place[1]) != (*hi, *lo) {
                let (new_hi, new_lo) = match how {
                    Replace::PrefixPreserving => self.key.prefix_preserving(*hi, *lo),
                    Replace::KeyedHash => self.key.keyed_hash(*hi, *lo),
                };
                *place = [*hi, *lo, new_hi, new_lo];
            }
            (*hi, *lo) = (place[2], place[3]);
        }
    }
}

/// The keys of a collector, by name.
#[derive(Debug, Default)]
pub struct Keys {
    entries: BTreeMap<String, Arc<Key>>,
}

impl Keys {
    /// Loads every key.
    ///
    /// # Errors
    /// The name of the first key that cannot be used, and why.
    pub fn load(specs: impl IntoIterator<Item = (String, KeySpec)>) -> Result<Keys, (String, KeyError)> {
        let mut entries = BTreeMap::new();
        for (name, spec) in specs {
            match Key::load(&spec) {
                Ok(key) => entries.insert(name, Arc::new(key)),
                Err(error) => return Err((name, error)),
            };
        }
        Ok(Keys { entries })
    }

    /// Keys of these bytes, as they are.
    pub(crate) fn of(keys: impl IntoIterator<Item = (String, Zeroizing<Vec<u8>>)>) -> Result<Keys, KeyError> {
        let key = |(name, bytes)| Ok((name, Arc::new(Key::of(bytes)?)));
        Ok(Keys { entries: keys.into_iter().map(key).collect::<Result<_, KeyError>>()? })
    }

    /// Names of the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The key called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Key>> {
        self.entries.get(name).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests;
