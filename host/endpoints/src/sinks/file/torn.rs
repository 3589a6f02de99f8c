//! What a crash leaves at the end of a file: a line, or a message, that was not written in whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// No row is as large: where more than that is left behind the last whole message, it is not one that was torn.
const MOST_TORN: u64 = 16 << 20;
/// Bytes of a file whose messages are walked in well under a second.
const QUICK: u64 = 1 << 30;

/// Whether the last line of a file that is not empty has its end.
pub(super) fn ends_in_a_line(mut file: &File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// How many of the `len` bytes of a file are whole messages, each behind its length: what is written behind a part of one
/// could never be read.
///
/// # Errors
/// The file system's; and if the file holds something else than messages, of which nothing may be cut off.
pub(super) fn whole_messages(file: &File, len: u64) -> io::Result<u64> {
    if len > QUICK {
        tracing::info!(bytes = len, "looking where the last message of the file ends");
    }
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(0))?;
    let mut whole = 0;
    while let Some((prefix, message)) = length(&mut reader)? {
        let end = message.checked_add(whole + prefix).filter(|end| *end <= len);
        let (Some(end), Ok(skip)) = (end, i64::try_from(message)) else { break };
        reader.seek_relative(skip)?;
        whole = end;
    }
    if len - whole > MOST_TORN {
        let problem = format!("is no file of messages from byte {whole} on: move it away, or name another");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(whole)
}

/// The length in front of a message, a varint, and how many bytes that has itself; nothing where the file ends in it.
fn length(reader: &mut impl BufRead) -> io::Result<Option<(u64, u64)>> {
    let mut length = 0_u64;
    for nth in 0..10 {
        let Some(byte) = reader.fill_buf()?.first().copied() else { return Ok(None) };
        reader.consume(1);
        length |= u64::from(byte & 0x7f) << (7 * nth);
        if byte < 0x80 {
            return Ok(Some((nth + 1, length)));
        }
    }
    // Ten bytes that go on are no length: no message is that long either.
    Ok(Some((10, u64::MAX)))
}
