//! What tests of several crates share: where the captures are and what is expected of them, a Kafka
//! broker ([`kafka`]), and the tools of other languages ([`tools`]).
//!
//! A dev-dependency only, of the crates and of `xtask`.

pub mod kafka;
pub mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Directory of the captures from real devices: `$SLUICE_CAPTURES`, or else `shared/captures` beside
/// the repository. `None` if there is none; tests that need it are then ignored, not passed.
#[must_use]
pub fn captures() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let directory = env::var_os("SLUICE_CAPTURES").map_or_else(beside, PathBuf::from);
    directory.is_dir().then_some(directory)
}

/// The raw datagrams in a folder, one a file (`*.bin`, `*.dat`), with their names, sorted by name.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub fn datagrams(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut datagrams = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_datagram = path.extension().is_some_and(|extension| extension == "bin" || extension == "dat");
        if is_datagram {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            datagrams.push((name, fs::read(&path)?));
        }
    }
    datagrams.sort();
    Ok(datagrams)
}

/// Reads line protocol, as Telegraf's test cases give what they expect: one map of fields a line.
///
/// Tags come first, fields after; the quotes of strings and the `u` and `i` of numbers are taken off.
/// Lines that are empty are left out.
#[must_use]
pub fn line_protocol(text: &str) -> Vec<BTreeMap<String, String>> {
    text.lines().filter(|line| !line.trim().is_empty()).map(fields).collect()
}

fn fields(line: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let (mut part, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    // The end of a part is a comma, or a blank between measurement, fields and time stamp.
    for character in line.chars().chain([',']) {
        if !is_escaped && !is_quoted && (character == ',' || character == ' ') {
            if let Some((name, value)) = part.split_once('=') {
                fields.insert(name.to_owned(), plain(value));
            }
            part.clear();
            continue;
        }
        is_quoted ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        if !is_escaped {
            part.push(character);
        }
    }
    fields
}

fn plain(value: &str) -> String {
    if let Some(text) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        return text.to_owned();
    }
    match value.strip_suffix(['u', 'i']) {
        Some(number) if number.parse::<i128>().is_ok() => number.to_owned(),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_its_tags_and_fields_without_their_types() {
        let lines =
            line_protocol("netflow,source=127.0.0.1,version=sFlowV5 bytes=42u,name=\"a b, c\",seen=true 123\n\n");
        let expected =
            [("bytes", "42"), ("name", "a b, c"), ("seen", "true"), ("source", "127.0.0.1"), ("version", "sFlowV5")];
        let found: Vec<_> = lines[0].iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(found, expected);
    }
}
