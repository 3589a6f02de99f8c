//! `sluice tail`: rows of a running collector as they pass.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use sluice_endpoints::format::json_read::JsonReader;
use sluice_endpoints::format::{Format, Formatter};
use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};

use super::RemoteArgs;
use super::client::{Client, escaped};
use crate::admin::shapes::Skipped;
use crate::failure::Failure;

/// Bytes of a line at most: a row has a few kilobytes.
const MAX_LINE: u64 = 1 << 20;

/// `sluice tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Name of a source, stage or sink; `sources.NAME`, `stages.NAME` or `sinks.NAME` where several have it.
    node: String,
    #[command(flatten)]
    remote: RemoteArgs,
    /// End after so many rows. Without it, at Ctrl-C.
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// Only rows for which this holds: `FIELD=VALUE` or `FIELD!=VALUE`, several with commas between them. A field is a
    /// column; an address (`src_addr`), which takes an address or a prefix; or `route`.
    #[arg(long = "match", value_name = "CONDITIONS")]
    filter: Option<String>,
    /// How a row is printed.
    #[arg(long, value_enum, default_value_t = TailFormat::Flowdump)]
    format: TailFormat,
}

/// How a row is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TailFormat {
    /// One readable line a row.
    Flowdump,
    /// Aligned columns.
    Table,
    /// One JSON object a line, as it came.
    Json,
}

/// Prints rows until there are no more.
pub(super) fn tail(args: &TailArgs) -> Result<(), Failure> {
    let mut query = Vec::new();
    query.extend(args.rows.map(|rows| format!("rows={rows}")));
    query.extend(args.filter.as_ref().map(|filter| format!("match={}", escaped(filter))));
    let path = format!("/v1/tail/{}?{}", escaped(&args.node), query.join("&"));
    let path = path.trim_end_matches('?');
    let mut lines = BufReader::new(Client::new(&args.remote)?.stream(path)?);
    let mut printer = Printer::new(args.format)?;
    let mut line = Vec::new();
    let broken = |error| Failure::running(format!("{path}: the tail broke off"), error);
    loop {
        line.clear();
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(broken)?;
        if line.is_empty() {
            return Ok(());
        }
        match printer.print(&line) {
            Ok(()) => {}
            // A reader that has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::running("standard output", error)),
        }
    }
}

/// Prints lines of a tail.
struct Printer {
    /// Reads and writes rows; none where lines are printed as they come.
    rewriter: Option<Rewriter>,
}

struct Rewriter {
    reader: JsonReader,
    builder: BatchBuilder,
    formatter: Formatter,
}

impl Printer {
    fn new(format: TailFormat) -> Result<Printer, Failure> {
        let format = match format {
            TailFormat::Json => return Ok(Printer { rewriter: None }),
            TailFormat::Flowdump => Format::Flowdump,
            TailFormat::Table => Format::Table,
        };
        let schema = Arc::new(Schema::standard());
        let formatter = Formatter::new(format, &schema, &[]);
        let formatter = formatter.map_err(|error| Failure::usage(error.to_string()))?;
        let reader = JsonReader::new(&schema);
        let builder = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
        Ok(Printer { rewriter: Some(Rewriter { reader, builder, formatter }) })
    }

    fn print(&mut self, line: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        let Some(Rewriter { reader, builder, formatter }) = &mut self.rewriter else {
            out.write_all(line)?;
            return out.flush();
        };
        if let Ok(skipped) = serde_json::from_slice::<Skipped>(line)
            && skipped.sluice == "skipped"
        {
            eprintln!("sluice: {} rows skipped, they come faster than they are shown", skipped.rows);
            return Ok(());
        }
        match reader.read(line, builder) {
            Ok(_) => {
                let batch = builder.finish(0, 0);
                let mut text = Vec::new();
                formatter.write(&batch, 0..batch.rows(), &mut text);
                out.write_all(&text)?;
                out.flush()
            }
            // A column of the operator's own may look like nothing that is known here.
            Err(error) => {
                eprintln!("sluice: a row cannot be shown: {error}");
                Ok(())
            }
        }
    }
}
