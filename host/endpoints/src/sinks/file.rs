//! A file of rows that is rotated, reopened when it was moved away, and never holds half a row.

mod torn;
mod turn;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sluice_flow::{Batch, ColumnSet, Schema};
use sluice_pipeline::{BoxError, Sink, SinkError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use super::lent::Lent;
use crate::Invalid;
use crate::format::{Format, Formatter};

/// Rows that are formatted before they are written.
const ROWS_AT_ONCE: usize = 256;
/// Most rotated files that can be kept: each rotation renames every one of them.
const MOST_KEPT: u64 = 1000;

/// `[sinks.NAME]` with `type = "file"`: appends rows to a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// File to append to, e.g. `"/var/log/sluice/flows.json"`; made if it is not there. Required.
    pub path: PathBuf,
    /// `"json"`: one object a line; `"protobuf"`: messages, each preceded by its length. Default `"json"`.
    #[serde(default)]
    pub format: FileFormat,
    /// Fields to write, in this order, e.g. `["src_addr", "bytes"]`. Default: every field.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Bytes at which the file is set aside as `PATH.1` and a new one begun, e.g. `104857600`. Looked at
    /// between batches, so a file may be larger by one batch. Default: never.
    #[serde(default)]
    pub rotate_bytes: Option<u64>,
    /// Seconds after which the file is set aside, e.g. `3600`. A file with nothing in it stays. Looked
    /// at between batches. Default: never.
    #[serde(default)]
    pub rotate_s: Option<u64>,
    /// Files set aside that are kept, `PATH.1` the newest, e.g. `24`. Default 7.
    #[serde(default = "default_keep")]
    pub keep: u64,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// One JSON object a line, as goflow2 writes.
    #[default]
    Json,
    /// One `sluice.flow.v1.FlowMessage` a row, preceded by its length as a varint: goflow2's `bin`.
    Protobuf,
}

impl FileFormat {
    fn of_rows(self) -> Format {
        match self {
            FileFormat::Json => Format::Json,
            FileFormat::Protobuf => Format::Protobuf,
        }
    }
}

fn default_keep() -> u64 {
    7
}

impl FileConfig {
    /// A file with every other key at its default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> FileConfig {
        FileConfig {
            path: path.into(),
            format: FileFormat::Json,
            fields: Vec::new(),
            rotate_bytes: None,
            rotate_s: None,
            keep: default_keep(),
        }
    }

    /// Checks what the types cannot. Opens nothing.
    ///
    /// # Errors
    /// Numbers that cannot work, a path without a file name.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.path.file_name().is_none() {
            let problem = format!("`{}` names no file", self.path.display());
            return Err(Invalid::new("path", problem, "name a file, e.g. \"flows.json\""));
        }
        if let Some(bytes) = self.rotate_bytes {
            Invalid::unless_within("rotate_bytes", bytes, 1, u64::MAX)?;
        }
        if let Some(seconds) = self.rotate_s {
            Invalid::unless_within("rotate_s", seconds, 1, u64::from(u32::MAX))?;
        }
        Invalid::unless_within("keep", self.keep, 1, MOST_KEPT)?;
        self.format.of_rows().takes(&self.fields)
    }

    /// The columns that the sink reads, and with that the check of `fields`.
    ///
    /// # Errors
    /// A field that does not exist, with the nearest that does.
    pub fn reads(&self, schema: &Schema) -> Result<ColumnSet, Invalid> {
        Ok(self.formatter(schema)?.reads())
    }

    /// Whether it writes the name of a row's route.
    ///
    /// # Errors
    /// As [`reads`](Self::reads).
    pub fn shows_route(&self, schema: &Schema) -> Result<bool, Invalid> {
        Ok(self.formatter(schema)?.shows_route())
    }

    fn formatter(&self, schema: &Schema) -> Result<Formatter, Invalid> {
        Formatter::new(self.format.of_rows(), schema, &self.fields)
    }
}

/// Why a file sink could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration cannot work.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The file cannot be opened for appending.
    #[error("{path} cannot be opened for appending")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Appends rows to a file.
///
/// *Delivery*: `Ok` means that the kernel has every line; `close` waits until the disk has them. A batch
/// is written in whole or not at all: when the disk is full, what was written of it is cut off again,
/// and the pipeline writes the batch again later. *Rotation*: by size and by time, between batches; a
/// file that somebody else moved away is left to them and a new one is begun. *Handing over*: while another file sink
/// of this process has the file, as the one that this takes the place of, the first write waits until that is closed.
#[derive(Debug)]
pub struct FileSink {
    name: String,
    state: Lent<State>,
    /// Where to wait for the file, before the first write.
    waits_at: Option<Arc<Semaphore>>,
}

#[derive(Debug)]
struct State {
    place: Place,
    formatter: Formatter,
    lines: Vec<u8>,
    /// Last, so that the file is closed when the next gets it.
    turn: Option<OwnedSemaphorePermit>,
}

/// Where rows go, and when the file there is another one.
#[derive(Debug)]
struct Place {
    name: String,
    path: PathBuf,
    rotate_bytes: u64,
    rotate_after: Option<Duration>,
    keep: u64,
    format: FileFormat,
    /// None before it is this sink's turn.
    file: Option<Open>,
}

/// The file that is being appended to.
#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
    since: Instant,
    /// Whether it has a length that can be cut; devices and pipes have none.
    is_regular: bool,
}

impl FileSink {
    /// Opens the file, or looks whether it can be opened if another sink has it still.
    ///
    /// # Errors
    /// The configuration, or the file system.
    pub fn open(name: &str, config: &FileConfig, schema: &Schema) -> Result<FileSink, OpenError> {
        config.validate()?;
        let failed = |source| OpenError::Open { path: config.path.clone(), source };
        OpenOptions::new().append(true).create(true).open(&config.path).map_err(failed)?;
        let place = turn::place(&config.path).map_err(failed)?;
        let turn = place.as_ref().and_then(|place| Arc::clone(place).try_acquire_owned().ok());
        let waits_at = place.filter(|_| turn.is_none());
        let file = match waits_at {
            Some(_) => None,
            None => Some(Open::at(&config.path, config.format).map_err(failed)?),
        };
        let place = Place {
            name: name.to_owned(),
            path: config.path.clone(),
            rotate_bytes: config.rotate_bytes.unwrap_or(u64::MAX),
            rotate_after: config.rotate_s.map(Duration::from_secs),
            keep: config.keep,
            format: config.format,
            file,
        };
        let state = State { place, formatter: config.formatter(schema)?, lines: Vec::new(), turn };
        Ok(FileSink { name: name.to_owned(), state: Lent::new(state), waits_at })
    }

    /// Waits until the sink that has the file is closed.
    async fn turn(&mut self) -> Result<(), SinkError> {
        let Some(place) = &self.waits_at else { return Ok(()) };
        let turn = Arc::clone(place).acquire_owned().await.map_err(|error| self.unavailable(error.into()))?;
        let taken = self.state.call(move |state| state.turn = Some(turn)).await;
        taken.map_err(|error| self.unavailable(error))?;
        self.waits_at = None;
        Ok(())
    }

    fn unavailable(&self, source: BoxError) -> SinkError {
        SinkError::Unavailable { sink: self.name.clone(), source }
    }
}

impl Sink for FileSink {
    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.turn().await?;
        let batch = batch.clone();
        match self.state.call(move |state| state.append(&batch)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable(error.into())),
            Err(error) => Err(self.unavailable(error)),
        }
    }

    async fn close(mut self) -> Result<(), SinkError> {
        match self.state.call(|state| state.place.file.as_ref().map_or(Ok(()), Open::sync)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable(error.into())),
            Err(error) => Err(self.unavailable(error)),
        }
    }
}

impl State {
    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let file = self.place.file_of_now()?;
        let before = file.len;
        for start in (0..batch.rows()).step_by(ROWS_AT_ONCE) {
            self.lines.clear();
            self.formatter.write(batch, start..start + ROWS_AT_ONCE, &mut self.lines);
            if let Err(error) = file.append(&self.lines) {
                file.cut(before);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Place {
    /// The file to append to.
    fn file_of_now(&mut self) -> io::Result<&mut Open> {
        let file = match &mut self.file {
            Some(file) => file,
            none => return Ok(none.insert(Open::at(&self.path, self.format)?)),
        };
        if !file.is_still_at(&self.path) {
            info!(sink = self.name, path = %self.path.display(), "file was moved away, beginning a new one");
            file.sync()?;
            *file = Open::at(&self.path, self.format)?;
        }
        let is_old = self.rotate_after.is_some_and(|after| file.since.elapsed() >= after);
        if file.is_regular && file.len > 0 && (is_old || file.len >= self.rotate_bytes) {
            file.sync()?;
            set_aside(&self.path, self.keep)?;
            *file = Open::at(&self.path, self.format)?;
        }
        Ok(file)
    }
}

/// Renames `path` to `path.1`, `path.1` to `path.2` and so on; what would be beyond `keep` is gone.
fn set_aside(path: &Path, keep: u64) -> io::Result<()> {
    let numbered = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

impl Open {
    /// Opens a file for appending. A line that a crash tore is ended, and a message is cut off, so that it cannot tear the next.
    fn at(path: &Path, format: FileFormat) -> io::Result<Open> {
        // Read, too: what is in it says whether the last row is whole. A device may refuse that.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .read(true)
            .open(path)
            .or_else(|_| OpenOptions::new().append(true).create(true).open(path))?;
        let metadata = file.metadata()?;
        let mut open = Open { file, len: metadata.len(), since: Instant::now(), is_regular: metadata.is_file() };
        if !open.is_regular || open.len == 0 {
            return Ok(open);
        }
        match format {
            FileFormat::Json if !torn::ends_in_a_line(&open.file)? => open.append(b"\n")?,
            FileFormat::Json => {}
            FileFormat::Protobuf => {
                let whole = torn::whole_messages(&open.file, open.len)?;
                if whole < open.len {
                    warn!(path = %path.display(), bytes = open.len - whole, "a message that was not written in whole is cut off");
                    open.file.set_len(whole)?;
                    open.len = whole;
                }
            }
        }
        Ok(open)
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Cuts the file to `len`, where the last whole line ended.
    fn cut(&mut self, len: u64) {
        self.len = len;
        if self.is_regular
            && let Err(error) = self.file.set_len(len)
        {
            warn!(error = &error as &dyn std::error::Error, "a line that was not written in whole stays in the file");
        }
    }

    /// Waits until the disk has everything.
    fn sync(&self) -> io::Result<()> {
        if self.is_regular { self.file.sync_all() } else { Ok(()) }
    }

    /// Whether `path` still leads to this file.
    fn is_still_at(&self, path: &Path) -> bool {
        let (Ok(ours), Ok(theirs)) = (self.file.metadata(), fs::metadata(path)) else { return false };
        (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
    }
}
