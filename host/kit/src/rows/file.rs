//! Rows out of files: CSV, JSON, and captures of export datagrams.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_endpoints::capture;
use sluice_endpoints::format::json_read::{JsonError, JsonReader};
use sluice_flow::{Batch, BatchBuilder, ColumnSet, Pool, Schema};
use sluice_wire::{Decoder, Limits};

use super::{Place, Row, Value, mac, place_of, to_batch, wrong};
use crate::document::{ConfigError, Document, did_you_mean};

/// Bytes that a CSV or JSON file may have.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Rows that are taken from a file.
pub const MAX_FILE_ROWS: usize = 1 << 20;

/// The rows of a file.
#[derive(Clone, Debug)]
pub struct FromFile {
    /// All of them.
    pub batch: Batch,
    /// What of a capture became no rows, by reason: packets that are no datagrams, and parts of datagrams that could
    /// not be decoded.
    pub left_out: Vec<(&'static str, u64)>,
}

/// Why there are no rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// A mistake in a text, with its place.
    #[error(transparent)]
    Text(#[from] ConfigError),
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file has too much in it.
    #[error("{} has more than {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it has too much of.
        limit: String,
    },
    /// A capture that is damaged.
    #[error(transparent)]
    Capture(#[from] capture::CaptureError),
    /// A capture without a single flow record.
    #[error("{} has no flow records that could be decoded{why}", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What was left out, by reason.
        why: String,
    },
}

/// Reads a file: `.csv` with a line of names first; `.json`, `.jsonl` or `.ndjson` with objects one after another or in
/// an array; anything else as a capture (pcap, pcapng, a raw datagram, a directory of those). The rows make one batch
/// of batch time `now_ms`; JSON may use goflow2's names, so that what `sluice decode` prints can be read.
///
/// # Errors
/// A file that cannot be read or has nothing of the kind in it; the first mistake in a text, with its line.
pub fn read_file(path: &Path, schema: &Arc<Schema>, now_ms: u64) -> Result<FromFile, RowsError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let batch = match extension.as_str() {
        "csv" => csv(&text(path)?, schema, now_ms)?,
        "json" | "jsonl" | "ndjson" => json(&text(path)?, schema, now_ms)?,
        _ => return captured(path, schema, now_ms),
    };
    Ok(FromFile { batch, left_out: Vec::new() })
}

fn text(path: &Path) -> Result<Document, RowsError> {
    let unreadable = |error| RowsError::Read { path: path.to_owned(), error };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(RowsError::TooLarge { path: path.to_owned(), limit: format!("{MAX_FILE_BYTES} bytes") });
    }
    Ok(Document::new(path, fs::read_to_string(path).map_err(unreadable)?))
}

fn too_many(path: &Path) -> RowsError {
    RowsError::TooLarge { path: path.to_owned(), limit: format!("{MAX_FILE_ROWS} rows") }
}

/// A cell of CSV (RFC 4180): where it stands, and what it says.
type Cell = (Range<usize>, String);

fn csv(doc: &Document, schema: &Arc<Schema>, now_ms: u64) -> Result<Batch, RowsError> {
    let mut lines = csv_lines(doc)?.into_iter();
    let Some(header) = lines.next() else {
        return Err(doc.error(0..0, "", "no line of names; write e.g. `proto,dst_port,bytes`").into());
    };
    let mut places: Vec<(String, Place)> = Vec::new();
    for (span, name) in header {
        let place = place_of(schema, name.trim()).map_err(|problem| doc.error(span.clone(), "", problem))?;
        if places.iter().any(|(_, known)| *known == place) {
            return Err(doc.error(span, "", format!("column `{}` comes twice", name.trim())).into());
        }
        places.push((name.trim().to_owned(), place));
    }
    let mut rows = Vec::new();
    for line in lines {
        if line.len() != places.len() {
            let span = line.first().map_or(0..0, |(span, _)| span.clone());
            let problem = format!("values: {}, but names in the first line: {}", line.len(), places.len());
            return Err(doc.error(span, "", problem).into());
        }
        if rows.len() == MAX_FILE_ROWS {
            return Err(too_many(&doc.file));
        }
        let mut row = Row::default();
        for ((name, place), (span, cell)) in places.iter().zip(line) {
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            let read = from_text(*place, cell);
            let read = read.ok_or_else(|| doc.error(span, "", wrong(name, &format!("`{cell}`"), *place)))?;
            row.set(name, read);
        }
        rows.push(row);
    }
    Ok(to_batch(&rows, schema, 1, now_ms))
}

fn from_text(place: Place, cell: &str) -> Option<Value> {
    Some(match place {
        Place::Number(_, max) => Value::Number(cell.parse().ok().filter(|number| *number <= max)?),
        Place::Mac(_) => Value::Mac(mac(cell)?),
        Place::Address(_) => Value::Address(cell.parse().ok()?),
        Place::Text(_) => Value::Text(cell.to_owned()),
        Place::List(_) => {
            let numbers: Option<_> = cell.split_ascii_whitespace().map(|number| number.parse().ok()).collect();
            Value::List(numbers?)
        }
    })
}

/// Splits into lines of cells. Empty lines and those that begin with `#` are left out.
fn csv_lines(doc: &Document) -> Result<Vec<Vec<Cell>>, ConfigError> {
    let text = doc.text();
    let mut lines = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let end = rest.find('\n').map_or(text.len(), |end| at + end + 1);
        if rest.starts_with('#') || text[at..end].trim().is_empty() {
            at = end;
            continue;
        }
        let mut line = Vec::new();
        loop {
            let (cell, next) = csv_cell(doc, at)?;
            at = next;
            line.push(cell);
            match text[at..].chars().next() {
                Some(',') => at += 1,
                _ => break,
            }
        }
        let rest = &text[at..];
        let left = rest.strip_prefix("\r\n").or(rest.strip_prefix('\n')).unwrap_or(rest);
        if !rest.is_empty() && left.len() == rest.len() {
            return Err(doc.error(at..at, "", "expected `,` or the end of the line behind the quotes"));
        }
        at = text.len() - left.len();
        lines.push(line);
    }
    Ok(lines)
}

/// The cell that begins at `at`, and where it ends.
fn csv_cell(doc: &Document, at: usize) -> Result<(Cell, usize), ConfigError> {
    let text = doc.text();
    let rest = &text[at..];
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', '\n']).unwrap_or(rest.len());
        let end = at + rest[..end].trim_end_matches('\r').len();
        return Ok(((at..end, text[at..end].to_owned()), end));
    };
    let mut cell = String::new();
    let mut chars = quoted.char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' if quoted[offset + 1..].starts_with('"') => {
                cell.push('"');
                chars.next();
            }
            '"' => {
                let end = at + 1 + offset + 1;
                return Ok(((at..end, cell), end));
            }
            c => cell.push(c),
        }
    }
    Err(doc.error(at..at + 1, "", "the quotes do not end"))
}

fn json(doc: &Document, schema: &Arc<Schema>, now_ms: u64) -> Result<Batch, RowsError> {
    let mut reader = JsonReader::new(schema);
    let mut builder = BatchBuilder::new(Arc::clone(schema), ColumnSet::ALL, Pool::default());
    for span in objects(doc)? {
        if builder.rows() == MAX_FILE_ROWS {
            return Err(too_many(&doc.file));
        }
        let object = &doc.text()[span.clone()];
        let read = reader.read(object.as_bytes(), &mut builder).map_err(|error| json_error(doc, &span, &error))?;
        if read.unknown_keys > 0 {
            return Err(unknown_key(doc, &span, &mut reader, schema).into());
        }
    }
    Ok(builder.finish(1, now_ms))
}

/// Where the objects of a JSON text stand: one after another, or in an array.
fn objects(doc: &Document) -> Result<Vec<Range<usize>>, ConfigError> {
    let mut found = Vec::new();
    let (mut depth, mut start, mut in_text, mut is_escaped) = (0_usize, 0, false, false);
    for (at, byte) in doc.text().bytes().enumerate() {
        if in_text {
            in_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            b'}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    found.push(start..at + 1);
                }
            }
            b'"' if depth > 0 => in_text = true,
            // Between objects: white space, and what an array has.
            _ if depth > 0 || byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']') => {}
            _ => return Err(doc.error(at..at + 1, "", "expected an object: { \"proto\": 6, \"dst_port\": 443 }")),
        }
    }
    if depth > 0 {
        return Err(doc.error(start..start + 1, "", "the object does not end"));
    }
    Ok(found)
}

fn json_error(doc: &Document, span: &Range<usize>, error: &JsonError) -> ConfigError {
    match error {
        JsonError::WrongType { key, .. } | JsonError::BadValue { key, .. } => {
            doc.error(key_span(doc, span, key), "", error.to_string())
        }
        _ => doc.error(span.clone(), "", error.to_string().replacen("object 0", "the object", 1)),
    }
}

/// The reader says how many keys it does not know, and not which.
fn unknown_key(doc: &Document, span: &Range<usize>, reader: &mut JsonReader, schema: &Arc<Schema>) -> ConfigError {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&doc.text()[span.clone()]).unwrap_or_default();
    let mut scratch = BatchBuilder::new(Arc::clone(schema), ColumnSet::EMPTY, Pool::default());
    let mut is_unknown = |key: &str| {
        let alone = serde_json::json!({ key: null }).to_string();
        reader.read(alone.as_bytes(), &mut scratch).is_ok_and(|read| read.unknown_keys > 0)
    };
    let key = object.keys().find(|key| is_unknown(key)).map_or("?", String::as_str);
    let problem = place_of(schema, key).err();
    let problem =
        problem.unwrap_or_else(|| format!("there is no column `{key}`{}", did_you_mean(key, super::names(schema))));
    doc.error(key_span(doc, span, key), "", problem)
}

fn key_span(doc: &Document, span: &Range<usize>, key: &str) -> Range<usize> {
    let object = &doc.text()[span.clone()];
    match object.find(&format!("\"{key}\"")) {
        Some(offset) => span.start + offset..span.start + offset + key.len() + 2,
        None => span.clone(),
    }
}

fn captured(path: &Path, schema: &Arc<Schema>, now_ms: u64) -> Result<FromFile, RowsError> {
    let mut decoder = Decoder::new(Arc::clone(schema), ColumnSet::ALL, Limits::default());
    let mut builder = BatchBuilder::new(Arc::clone(schema), ColumnSet::ALL, Pool::default());
    let mut capture = capture::open(path)?;
    for datagram in capture.by_ref() {
        let datagram = datagram?;
        // A raw datagram does not say when it came.
        let at_ns = if datagram.at_ns == 0 { now_ms.saturating_mul(1_000_000) } else { datagram.at_ns };
        decoder.decode(datagram.exporter, at_ns, &datagram.payload, &mut builder);
        if builder.rows() > MAX_FILE_ROWS {
            return Err(too_many(path));
        }
    }
    let undecoded = decoder.stats().errors().filter(|(_, count)| *count > 0);
    let left_out: Vec<_> = capture.skipped().chain(undecoded).collect();
    if builder.rows() == 0 {
        let why: Vec<String> = left_out.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(": {}", why.join(", ")) };
        return Err(RowsError::Nothing { path: path.to_owned(), why });
    }
    Ok(FromFile { batch: builder.finish(1, now_ms), left_out })
}
