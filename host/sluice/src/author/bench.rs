//! `sluice plugin bench`: what a plugin costs, and what another version of it costs beside it.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use sluice_kit::bench::{self, Bench, BenchError, Size};
use sluice_pipeline::Metrics;
use sluice_plugin::{Host, HostSettings};

use crate::author::check::ReportFormat;
use crate::author::print;
use crate::author::subject::{self, Shown, With};
use crate::failure::Failure;

/// Rows that a batch may have.
const MOST_ROWS: usize = 65_536;

/// `sluice plugin bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// A component or core module, or the name of a built-in plugin. Of two, the second is compared with the first.
    #[arg(required = true, num_args = 1..=2, value_name = "PLUGIN")]
    pub(crate) plugins: Vec<PathBuf>,
    /// Configuration for its `init`.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) config: String,
    /// Lend it the `[tables.NAME]`, `[keys.NAME]` and `[assets.NAME]` of this file, e.g. of a pipeline's configuration.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) with: Option<PathBuf>,
    /// Rows of the batches to measure with.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024, 8192], value_parser = rows)]
    pub(crate) rows: Vec<usize>,
    /// How the measurements are printed.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
}

fn rows(text: &str) -> Result<usize, String> {
    let rows = text.parse().ok().filter(|rows| (1..=MOST_ROWS).contains(rows));
    rows.ok_or_else(|| format!("a batch has 1 to {MOST_ROWS} rows"))
}

/// Measures and prints.
pub(super) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    subject::config(&args.config)?;
    let with = With::read(args.with.as_deref())?;
    // Without a cache of compiled code: how long compiling takes is part of it.
    let timed = Host::new(HostSettings::default(), Metrics::new());
    let timed = timed.map_err(|error| Failure::running("plugins cannot be run", error))?;
    let hosts = (timed, subject::host(true)?);
    let mut shown = Shown::new();
    let mut benches = Vec::new();
    for plugin in &args.plugins {
        let component = subject::component(plugin)?;
        let name = component.describe();
        let spec = subject::stage(component, &args.config, with.services()?);
        let measured = bench::bench((&hosts.0, &hosts.1), &spec, &args.rows, &mut |what| shown.line(what));
        benches.push(measured.map_err(|error| refused(&name, &with, &error))?);
    }
    shown.line("a plugin that does nothing");
    let idle = subject::stage(bench::null(), "{}", sluice_plugin::Services::default());
    let null = bench::bench((&hosts.0, &hosts.1), &idle, &args.rows, &mut |_| {});
    let null = null.map_err(|error| refused("the plugin that does nothing", &with, &error))?;
    let copy_ns = bench::copy_ns(&hosts.0, &idle);
    let copy_ns = copy_ns.map_err(|error| refused("the plugin that copies", &with, &error))?;
    drop(shown);
    match args.format {
        ReportFormat::Text => print(&text(&benches, &null, copy_ns)),
        ReportFormat::Json => print(&format!("{:#}\n", as_json(&benches, &null, copy_ns))),
    }
}

fn refused(name: &str, with: &With, error: &BenchError) -> Failure {
    match error {
        BenchError::Load(error) => {
            let problem = error.kind.to_string();
            let problem = problem.strip_prefix(&format!("{name} ")).unwrap_or(&problem);
            Failure::usage(format!("{name}: {problem}{}", with.hint(problem)))
        }
        failed => Failure::failed(format!("{name}: {failed}")),
    }
}

/// The part of a row's time that goes into copying it, in percent.
fn copy_share(size: &Size, copy_ns: f64) -> f64 {
    if size.min_ns > 0.0 { (100.0 * size.copied * copy_ns / size.min_ns).min(100.0) } else { 0.0 }
}

fn text(benches: &[Bench], null: &Bench, copy_ns: f64) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
    for (at, bench) in benches.iter().enumerate() {
        if at > 0 {
            line(format_args!(""));
        }
        let compile_ms = bench.compile.as_micros() as f64 / 1000.0;
        let start_us = bench.start.as_nanos() as f64 / 1000.0;
        let memory = bench.memory as f64 / 1024.0;
        line(format_args!(
            "{}: compiles in {compile_ms:.0} ms, starts in {start_us:.0} us, {memory:.0} KiB of memory",
            bench.plugin
        ));
        let against = if at > 0 { "   against the first: ns     fuel" } else { "" };
        line(format_args!(
            "    rows   ns a row  (median)   the call   fuel a row   bytes copied   share   idle ns{against}"
        ));
        for (at_size, size) in bench.sizes.iter().enumerate() {
            let Size { rows, min_ns, median_ns, call_ns, fuel, copied } = size;
            let (share, idle) = (copy_share(size, copy_ns), null.sizes[at_size].min_ns);
            let mut row = format!(
                "{rows:>8} {min_ns:>10.2} {median_ns:>9.2} {call_ns:>10.2} {fuel:>12.1} {copied:>14.1} {share:>6.0} % {idle:>8.2}"
            );
            if let Some(first) = benches.first().filter(|_| at > 0) {
                let first = &first.sizes[at_size];
                let (ns, fuel) = (min_ns / first.min_ns, fuel / first.fuel);
                write!(row, "   {ns:>18.2}x {fuel:>7.2}x").expect("a string grows");
            }
            line(format_args!("{row}"));
        }
    }
    line(format_args!(""));
    line(format_args!(
        "ns a row: the fastest of several samples, with taking over the batch, committing what was written and taking\n\
         out the rows that were dropped; the call: without these. share: what copying between batch and plugin is of it, at\n\
         {copy_ns:.3} ns a byte. idle: a plugin that does nothing. Fuel is the same on every machine."
    ));
    text
}

fn as_json(benches: &[Bench], null: &Bench, copy_ns: f64) -> Value {
    let one = |bench: &Bench| {
        let size = |size: &Size| {
            json!({
                "rows": size.rows,
                "min_ns": size.min_ns,
                "median_ns": size.median_ns,
                "call_ns": size.call_ns,
                "fuel": size.fuel,
                "copied_bytes": size.copied,
                "copy_share_percent": copy_share(size, copy_ns),
            })
        };
        json!({
            "plugin": bench.plugin,
            "compile_ms": bench.compile.as_micros() as f64 / 1000.0,
            "start_us": bench.start.as_nanos() as f64 / 1000.0,
            "memory_bytes": bench.memory,
            "sizes": bench.sizes.iter().map(size).collect::<Vec<_>>(),
        })
    };
    json!({
        "plugins": benches.iter().map(one).collect::<Vec<_>>(),
        "null": one(null),
        "copy_ns_per_byte": copy_ns,
    })
}
