//! The file of a recording: a line that names the format and its version, then parts, each with four letters, its
//! length and its bytes; the last is a SHA-256 of all before it.
//!
//! | part | what |
//! |---|---|
//! | `meta` | [`About`] as JSON |
//! | `tabl`, `asst` | length of a name, the name, the contents of that table or asset |
//! | `snap` | the snapshot |
//! | `proc` | a call of `process`: the batch (see `batch.rs`) |
//! | `tick` | a call of `tick`: batch time |
//! | `done` | the SHA-256 |
//!
//! Numbers are little-endian; lengths have 8 bytes, the length of a name 4.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluice_flow::Schema;

use super::bytes::{Put, Take};
use super::{About, MAX_RECORDING_BYTES, Recorded, Recording, batch};

const MAGIC: &[u8] = b"sluice recording ";
/// The version of the format that is written and read.
const VERSION: &[u8] = b"1\n";
/// Bytes of memory that a recording may become: a few bytes can stand for a column.
const MAX_EXPANDED: usize = 1 << 30;

/// Why a file is no recording that could be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The system says so.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no recording of a plugin", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another version of sluice wrote it.
    #[error("{} is a recording of format {found}, this sluice reads format 1: replay it with the sluice that wrote it", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version, as far as it can be printed.
        found: String,
    },
    /// Its end is missing.
    #[error("{} is cut off after {bytes} bytes", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Some of it is not what was written, or never made sense.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It is larger than a recording may be.
    #[error("{} has more than the {MAX_RECORDING_BYTES} bytes that a recording may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with the bytes of a recording.
#[derive(Debug)]
enum Wrong {
    Foreign,
    OtherVersion(String),
    CutOff,
    Damaged(String),
}

impl From<String> for Wrong {
    fn from(problem: String) -> Wrong {
        Wrong::Damaged(problem)
    }
}

impl Recording {
    /// Reads a file, whoever wrote it.
    ///
    /// # Errors
    /// If it cannot be read, is something else, of another version, cut off or damaged.
    pub fn read(path: &Path) -> Result<Recording, RecordingError> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_RECORDING_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|source| RecordingError::Read { path: path.to_owned(), source })?;
        let path = path.to_owned();
        if bytes.len() as u64 > MAX_RECORDING_BYTES {
            return Err(RecordingError::TooLarge { path });
        }
        parse(&bytes).map_err(|wrong| match wrong {
            Wrong::Foreign => RecordingError::Foreign { path },
            Wrong::OtherVersion(found) => RecordingError::OtherVersion { path, found },
            Wrong::CutOff => RecordingError::CutOff { path, bytes: bytes.len() },
            Wrong::Damaged(problem) => RecordingError::Damaged { path, problem },
        })
    }

    /// Writes the recording and returns how many bytes it has.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<u64> {
        let mut out = Hashed { out, hash: Sha256::new(), bytes: 0 };
        out.put(&[MAGIC, VERSION].concat())?;
        out.part(b"meta", &serde_json::to_vec(&self.about)?)?;
        for (tag, enclosed) in [(b"tabl", &self.tables), (b"asst", &self.assets)] {
            for (name, contents) in enclosed {
                let mut part = Vec::with_capacity(contents.len() + name.len() + 4);
                part.put_text(name);
                part.extend(contents);
                out.part(tag, &part)?;
            }
        }
        if let Some(snapshot) = &self.snapshot {
            out.part(b"snap", snapshot)?;
        }
        for call in &self.calls {
            match call {
                Recorded::Process(recorded) => {
                    let mut part = Vec::new();
                    batch::put(recorded, &mut part);
                    out.part(b"proc", &part)?;
                }
                Recorded::Tick(now_ms) => out.part(b"tick", &now_ms.to_le_bytes())?,
            }
        }
        let digest = out.hash.clone().finalize();
        out.part(b"done", &digest)?;
        Ok(out.bytes)
    }
}

/// Writes, and hashes what was written.
struct Hashed<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashed<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn part(&mut self, tag: &[u8; 4], bytes: &[u8]) -> io::Result<()> {
        self.put(tag)?;
        self.put(&(bytes.len() as u64).to_le_bytes())?;
        self.put(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<Recording, Wrong> {
    let after = bytes.strip_prefix(MAGIC).ok_or(Wrong::Foreign)?;
    let Some(parts) = after.strip_prefix(VERSION) else {
        let found = after.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_number = !found.is_empty() && found.len() <= 9 && found.iter().all(u8::is_ascii_digit);
        return Err(match is_number {
            true if found.len() == after.len() => Wrong::CutOff,
            true => Wrong::OtherVersion(String::from_utf8_lossy(found).into_owned()),
            false if after.is_empty() => Wrong::CutOff,
            false => Wrong::Foreign,
        });
    };
    let parts = split(bytes.len() - parts.len(), parts)?;
    let Some((done, parts)) = parts.split_last().filter(|(last, _)| last.tag == *b"done") else {
        return Err(Wrong::CutOff);
    };
    let before = bytes.get(..done.at).unwrap_or_default();
    if Sha256::digest(before).as_slice() != done.bytes {
        return Err(Wrong::Damaged("its checksum does not fit its contents".to_owned()));
    }
    let Some((meta, parts)) = parts.split_first().filter(|(first, _)| first.tag == *b"meta") else {
        return Err(Wrong::Damaged("it does not say what it is about".to_owned()));
    };
    let about: About =
        serde_json::from_slice(meta.bytes).map_err(|error| format!("what it says about itself: {error}"))?;
    let schema = Arc::new(about.schema()?);
    contents(about, &schema, parts).map_err(Wrong::Damaged)
}

fn contents(about: About, schema: &Arc<Schema>, parts: &[Part<'_>]) -> Result<Recording, String> {
    let mut recording = Recording { about, snapshot: None, calls: Vec::new(), tables: Vec::new(), assets: Vec::new() };
    let mut room = MAX_EXPANDED;
    for part in parts {
        let mut from = Take { rest: part.bytes, room: &mut room };
        match &part.tag {
            b"tabl" => recording.tables.push(enclosed(&mut from)?),
            b"asst" => recording.assets.push(enclosed(&mut from)?),
            b"snap" => {
                from.claim(part.bytes.len(), 1)?;
                recording.snapshot = Some(part.bytes.to_vec());
            }
            b"proc" => recording.calls.push(Recorded::Process(batch::take(&mut from, schema)?)),
            b"tick" => {
                from.claim(1, size_of::<Recorded>())?;
                recording.calls.push(Recorded::Tick(from.u64()?));
                from.end()?;
            }
            _ => return Err("a part of it is of no kind that there is".to_owned()),
        }
    }
    if recording.calls.is_empty() {
        return Err("there is no call in it".to_owned());
    }
    Ok(recording)
}

fn enclosed(from: &mut Take<'_>) -> Result<(String, Vec<u8>), String> {
    let name = from.text()?.to_owned();
    from.claim(from.rest.len(), 1)?;
    Ok((name, from.rest.to_vec()))
}

/// One part, and where it begins in the file.
struct Part<'a> {
    tag: [u8; 4],
    bytes: &'a [u8],
    at: usize,
}

/// The parts of a file, without copying them.
fn split(mut at: usize, mut rest: &[u8]) -> Result<Vec<Part<'_>>, Wrong> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = rest.split_first_chunk::<4>().ok_or(Wrong::CutOff)?;
        let (length, after) = after.split_first_chunk::<8>().ok_or(Wrong::CutOff)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| Wrong::CutOff)?;
        let (bytes, after) = after.split_at_checked(length).ok_or(Wrong::CutOff)?;
        parts.push(Part { tag: *tag, bytes, at });
        at += 12 + length;
        rest = after;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
