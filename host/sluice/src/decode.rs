//! `sluice decode`: captures to text.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use sluice_endpoints::capture;
use sluice_endpoints::format::{Format, Formatter};
use sluice_flow::{BatchBuilder, Pool, Schema};
use sluice_pipeline::chain;
use sluice_wire::{Decoder, Limits};

use crate::cli::DecodeFormat;
use crate::failure::Failure;

/// Rows that are written in one go.
const ROWS: usize = 4096;

/// Prints the records of `files`; what could not be decoded is counted on stderr.
pub(crate) fn decode(files: &[PathBuf], format: DecodeFormat) -> Result<(), Failure> {
    let schema = Arc::new(Schema::standard());
    let format = match format {
        DecodeFormat::Json => Format::Json,
        DecodeFormat::Flowdump => Format::Flowdump,
        DecodeFormat::Table => Format::Table,
    };
    let formatter = Formatter::new(format, &schema, &[]).expect("no fields are chosen");
    let wanted = formatter.reads();
    let mut printer = Printer { formatter, lines: Vec::new(), out: io::stdout(), rows: 0, batches: 0 };
    let mut decoder = Decoder::new(Arc::clone(&schema), wanted, Limits::default());
    let mut builder = BatchBuilder::new(schema, wanted, Pool::default());
    let mut unreadable = Vec::new();
    let mut skipped: BTreeMap<&'static str, u64> = BTreeMap::new();

    for path in files {
        let mut capture = match capture::open(path) {
            Ok(capture) => capture,
            Err(error) => {
                unreadable.push(error);
                continue;
            }
        };
        for datagram in capture.by_ref() {
            // What came before the end of a file that is cut off counts, and so do the files after it.
            let datagram = match datagram {
                Ok(datagram) => datagram,
                Err(error) => {
                    unreadable.push(error);
                    continue;
                }
            };
            decoder.decode(datagram.exporter, datagram.at_ns, &datagram.payload, &mut builder);
            if builder.rows() >= ROWS && !printer.print(&mut builder)? {
                return Ok(());
            }
        }
        for (reason, packets) in capture.skipped() {
            *skipped.entry(reason).or_default() += packets;
        }
    }
    if !printer.print(&mut builder)? {
        return Ok(());
    }
    let stats = decoder.stats();
    eprintln!("{} records in {} datagrams", printer.rows, stats.datagrams);
    for (reason, packets) in &skipped {
        eprintln!("{packets} packets skipped: {reason}");
    }
    for (reason, count) in stats.errors().filter(|(_, count)| *count > 0) {
        eprintln!("{count} not decoded: {reason}");
    }
    if let Some(last) = unreadable.pop() {
        for error in unreadable {
            eprintln!("sluice: {}", chain(&error));
        }
        return Err(Failure::running("capture", last));
    }
    if printer.rows == 0 {
        return Err(Failure::failed("nothing could be decoded"));
    }
    Ok(())
}

/// Writes batches to stdout.
struct Printer {
    formatter: Formatter,
    lines: Vec<u8>,
    out: io::Stdout,
    rows: usize,
    batches: u64,
}

impl Printer {
    /// Prints what the builder holds; false when the reader has gone, which is no error.
    fn print(&mut self, builder: &mut BatchBuilder) -> Result<bool, Failure> {
        self.batches += 1;
        let batch = builder.finish(self.batches, 0);
        self.rows += batch.rows();
        self.lines.clear();
        self.formatter.write(&batch, 0..batch.rows(), &mut self.lines);
        match self.out.write_all(&self.lines).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::running("standard output", error)),
        }
    }
}
