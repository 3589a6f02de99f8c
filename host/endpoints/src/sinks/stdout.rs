//! The terminal, or whatever reads our standard output.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sluice_flow::{Batch, ColumnSet, Schema};
use sluice_pipeline::{Sink, SinkError, Stop};

use super::lent::Lent;
use crate::Invalid;
use crate::format::{Format, Formatter};

/// Rows that are formatted before they are written: a few hundred kilobytes at most.
const ROWS_AT_ONCE: usize = 256;

/// `[sinks.NAME]` with `type = "stdout"`: writes rows to standard output, for people and for pipes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// `"json"`, `"table"`, `"flowdump"` or `"protobuf"`. Default `"json"`.
    #[serde(default)]
    pub format: Format,
    /// Fields to write, in this order, e.g. `["src_addr", "dst_addr", "bytes"]`. Default: every field in
    /// JSON; in a table, those that a person looks at first. The other formats have their own.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Rows shown per second, so that a terminal stays readable, e.g. `20`; the others are dropped and
    /// counted as `not_shown`. Default: no limit.
    #[serde(default)]
    pub limit_per_s: Option<u32>,
}

impl StdoutConfig {
    /// Checks what the types cannot. Opens nothing.
    ///
    /// # Errors
    /// A limit of 0; fields for a format that does not take them.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.limit_per_s == Some(0) {
            return Err(Invalid::new("limit_per_s", "0 rows a second show nothing", "use 1 or more, or leave it out"));
        }
        self.format.takes(&self.fields)
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
        Formatter::new(self.format, schema, &self.fields)
    }
}

/// Writes rows to standard output.
///
/// *Delivery*: `Ok` means that the reader's end of the pipe, the terminal or the file has every line. A
/// batch that is written again after an error goes on where it stopped, in the middle of a line if need
/// be. *A reader that goes away* (`sluice run ... | head`) ends the run in order and is no error: the
/// rows that it did not take are dropped and counted as `reader_gone`.
#[derive(Debug)]
pub struct StdoutSink<W = io::Stdout> {
    name: String,
    screen: Lent<Screen<W>>,
}

/// What does the writing.
#[derive(Debug)]
struct Screen<W> {
    to: W,
    formatter: Formatter,
    limit: Option<Limit>,
    stop: Stop,
    is_gone: bool,
    /// The batch that is being written and how many of its rows are formatted; it comes again after
    /// an error.
    batch: Option<u64>,
    next_row: usize,
    /// Rows of it that were written, and rows that stand in `lines`.
    arrived: usize,
    pending: usize,
    lines: Vec<u8>,
    written: usize,
}

/// Rows that may still be shown in the second that began at `since`.
#[derive(Debug)]
struct Limit {
    per_s: usize,
    since: Instant,
    left: usize,
}

impl StdoutSink {
    /// A sink that writes to this process's standard output, and cancels `stop` when nobody reads it
    /// any more.
    ///
    /// # Errors
    /// As [`StdoutConfig::validate`] and [`StdoutConfig::reads`].
    pub fn new(name: &str, config: &StdoutConfig, schema: &Schema, stop: Stop) -> Result<StdoutSink, Invalid> {
        StdoutSink::to(io::stdout(), name, config, schema, stop)
    }
}

impl<W: Write + Send + 'static> StdoutSink<W> {
    /// A sink that writes to `to`.
    ///
    /// # Errors
    /// As [`StdoutConfig::validate`] and [`StdoutConfig::reads`].
    pub fn to(to: W, name: &str, config: &StdoutConfig, schema: &Schema, stop: Stop) -> Result<StdoutSink<W>, Invalid> {
        config.validate()?;
        let limit = config.limit_per_s.map(|per_s| {
            let per_s = per_s as usize;
            Limit { per_s, since: Instant::now(), left: per_s }
        });
        let screen = Screen {
            to,
            formatter: config.formatter(schema)?,
            limit,
            stop,
            is_gone: false,
            batch: None,
            next_row: 0,
            arrived: 0,
            pending: 0,
            lines: Vec::new(),
            written: 0,
        };
        Ok(StdoutSink { name: name.to_owned(), screen: Lent::new(screen) })
    }

    fn unavailable(&self, source: impl Into<sluice_pipeline::BoxError>) -> SinkError {
        SinkError::Unavailable { sink: self.name.clone(), source: source.into() }
    }
}

impl<W: Write + Send + 'static> Sink for StdoutSink<W> {
    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let batch = batch.clone();
        let written = self.screen.call(move |screen| screen.show(&batch)).await;
        let (left_out, reason) =
            written.map_err(|error| self.unavailable(error))?.map_err(|error| self.unavailable(error))?;
        if left_out == 0 {
            return Ok(());
        }
        Err(SinkError::LeftOut { sink: self.name.clone(), rows: left_out, reason })
    }

    async fn close(mut self) -> Result<(), SinkError> {
        let flushed = self.screen.call(|screen| if screen.is_gone { Ok(()) } else { screen.to.flush() }).await;
        match flushed {
            Err(error) => Err(self.unavailable(error)),
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.unavailable(error)),
            Ok(_) => Ok(()),
        }
    }
}

impl<W: Write> Screen<W> {
    /// Writes the batch and returns how many of its rows were left out, and why.
    fn show(&mut self, batch: &Batch) -> io::Result<(usize, &'static str)> {
        if self.batch != Some(batch.id()) {
            self.batch = Some(batch.id());
            (self.next_row, self.arrived, self.pending) = (0, 0, 0);
        }
        while !self.is_gone {
            match self.flush() {
                Ok(()) => self.arrived += std::mem::take(&mut self.pending),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.is_gone = true;
                    self.stop.cancel();
                    break;
                }
                Err(error) => return Err(error),
            }
            if self.next_row == batch.rows() {
                // Another part of the same batch, by another route, is not this batch again.
                self.batch = None;
                return Ok((batch.rows() - self.arrived, "not_shown"));
            }
            let end = (self.next_row + ROWS_AT_ONCE).min(batch.rows());
            let rows = end - self.next_row;
            self.pending = self.limit.as_mut().map_or(rows, |limit| limit.take(rows));
            self.formatter.write(batch, self.next_row..self.next_row + self.pending, &mut self.lines);
            self.next_row = end;
        }
        self.batch = None;
        Ok((batch.rows() - std::mem::take(&mut self.arrived), "reader_gone"))
    }

    /// Writes what is left of the lines.
    fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.lines.get(self.written..)
            && !rest.is_empty()
        {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.to.flush()?;
        self.lines.clear();
        self.written = 0;
        Ok(())
    }
}

impl Limit {
    /// How many of `rows` may be shown now.
    fn take(&mut self, rows: usize) -> usize {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.left = self.per_s;
        }
        let shown = rows.min(self.left);
        self.left -= shown;
        shown
    }
}
