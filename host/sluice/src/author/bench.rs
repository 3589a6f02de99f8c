//! `sluice plugin bench`: what a plugin costs, before anybody runs it.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_flow::Schema;
use sluice_kit::bench::{self, BenchError, BenchSettings, Hosts, Measured, MeasuredPlugin, Point, Spread};
use sluice_kit::rows;
use sluice_pipeline::Metrics;
use sluice_plugin::{Host, HostSettings};

use crate::author::check::ReportFormat;
use crate::author::print;
use crate::author::subject::{self, Shown, With};
use crate::failure::Failure;

/// `sluice plugin bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// A component or core module, or the name of a built-in plugin.
    pub(crate) plugin: PathBuf,
    /// Another one, to be measured side by side: what it costs is told as a ratio, too.
    pub(crate) other: Option<PathBuf>,
    /// Configuration for `init`, of both.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) config: String,
    /// Lend them the `[tables.NAME]`, `[keys.NAME]` and `[assets.NAME]` of this file, e.g. of a pipeline's configuration.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) with: Option<PathBuf>,
    /// Rows of a batch, each size measured.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024, 8192], value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) rows: Vec<u32>,
    /// Samples of each measurement.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) samples: u16,
    /// Milliseconds that a sample takes at least.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pub(crate) sample_ms: u64,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
}

/// Measures and prints.
pub(super) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    subject::config(&args.config)?;
    let with = With::read(args.with.as_deref())?;
    let services = with.services()?;
    let plugins = [Some(&args.plugin), args.other.as_ref()];
    let specs = plugins.into_iter().flatten().map(|plugin| {
        Ok(subject::stage(subject::component(plugin)?, &args.config, services.clone()))
    });
    let specs = specs.collect::<Result<Vec<_>, Failure>>()?;
    // How long compiling takes is part of it.
    let plain = Host::new(HostSettings::default(), Metrics::new())
        .map_err(|error| Failure::running("plugins cannot be run", error))?;
    let hosts = Hosts { plain, counting: subject::host(true)? };
    let settings = BenchSettings {
        rows: args.rows.iter().map(|rows| *rows as usize).collect(),
        samples: usize::from(args.samples),
        sample_time: Duration::from_millis(args.sample_ms),
    };
    let mut shown = Shown::new();
    let measured = bench::bench(&hosts, &specs, &settings, &mut |what| shown.line(what));
    drop(shown);
    let measured = measured.map_err(|error| match error {
        BenchError::Load { error: ref load, .. } => {
            let hint = with.hint(&load.kind.to_string());
            Failure::usage(format!("{error}{hint}"))
        }
        error => Failure::failed(error.to_string()),
    })?;
    match args.format {
        ReportFormat::Text => print(&text(args, &measured)),
        ReportFormat::Json => print(&format!("{:#}\n", as_json(&measured))),
    }
}

fn text(args: &BenchArgs, measured: &Measured) -> String {
    let mut text = String::new();
    for (number, plugin) in measured.plugins.iter().enumerate() {
        let Some(name) = [Some(&args.plugin), args.other.as_ref()][number] else { continue };
        text.push_str(&about(&name.display().to_string(), plugin));
        text.push_str(&format!(
            "{:>8} {:>12} {:>10} {:>12} {:>10} {:>10} {:>8}\n",
            "rows", "ns a row", "at best", "fuel a row", "bytes", "empty", "copying"
        ));
        for point in &measured.points {
            text.push_str(&line(point, number));
        }
        text.push('\n');
    }
    if measured.plugins.len() > 1 {
        writeln!(text, "{:>8} {:>12} {:>12}", "rows", "time, 2nd:1st", "fuel, 2nd:1st").expect("a string grows");
        for point in &measured.points {
            let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            writeln!(text, "{:>8} {:>12} {:>12}", point.rows, ratio(point.ratio), ratio(point.fuel_ratio))
                .expect("a string grows");
        }
        text.push('\n');
    }
    text.push_str(
        "ns a row: the median of the samples; empty: of a plugin that does nothing; copying: at most this share is spent on\n\
         bringing the columns across, found with a plugin that reads and writes the same columns and nothing else.\n",
    );
    text
}

fn about(name: &str, plugin: &MeasuredPlugin) -> String {
    let schema = Schema::standard();
    let columns = |set| match rows::names_of(&schema, set) {
        names if names.is_empty() => "nothing".to_owned(),
        names => names.join(" "),
    };
    let mut text = format!("{name}: {} {}, {} bytes\n", plugin.manifest.name, plugin.manifest.version, plugin.bytes);
    let fuel = plugin.start_fuel.map_or(String::new(), |fuel| format!(" ({fuel} fuel)"));
    let (compile, start) = (ms(plugin.compile), ms(plugin.start));
    writeln!(text, "compiled in {compile:.1} ms, started in {start:.2} ms{fuel}").expect("a string grows");
    let (at_start, at_end) = (plugin.memory_at_start, plugin.memory_at_end);
    writeln!(text, "memory {at_start} bytes at the start, {at_end} at the end").expect("a string grows");
    let (read, written) = (columns(plugin.touched.read), columns(plugin.touched.written));
    writeln!(text, "read {read}; wrote {written}").expect("a string grows");
    if plugin.refused > 0 {
        writeln!(text, "refused {} batches: what it costs is what refusing costs", plugin.refused).expect("a string grows");
    }
    text
}

fn line(point: &Point, number: usize) -> String {
    let cost = &point.plugins[number];
    let fuel = cost.fuel.map_or("-".to_owned(), |fuel| format!("{fuel:.1}"));
    let share = format!("{:.0} %", cost.copy_share(&point.empty) * 100.0);
    let Spread { min, median } = cost.ns;
    format!(
        "{:>8} {median:>12.1} {min:>10.1} {fuel:>12} {:>10.1} {:>10.1} {share:>8}\n",
        point.rows, cost.bytes, point.empty.median
    )
}

fn as_json(measured: &Measured) -> Value {
    let schema = Schema::standard();
    let spread = |spread: &Spread| json!({ "min": spread.min, "median": spread.median });
    let plugin = |plugin: &MeasuredPlugin| {
        json!({
            "plugin": plugin.manifest.name,
            "version": plugin.manifest.version,
            "bytes": plugin.bytes,
            "compile_ms": ms(plugin.compile),
            "start_ms": ms(plugin.start),
            "start_fuel": plugin.start_fuel,
            "memory_bytes_at_start": plugin.memory_at_start,
            "memory_bytes_at_end": plugin.memory_at_end,
            "read": rows::names_of(&schema, plugin.touched.read),
            "written": rows::names_of(&schema, plugin.touched.written),
            "refused_batches": plugin.refused,
        })
    };
    let point = |point: &Point| {
        let cost = |cost: &bench::Cost| {
            json!({
                "ns_per_row": spread(&cost.ns),
                "fuel_per_row": cost.fuel,
                "fuel_total": cost.fuel_total,
                "bytes_per_row": cost.bytes,
                "copy_ns_per_row": spread(&cost.copy),
                "copy_share": cost.copy_share(&point.empty),
            })
        };
        json!({
            "rows": point.rows,
            "plugins": point.plugins.iter().map(cost).collect::<Vec<_>>(),
            "empty_ns_per_row": spread(&point.empty),
            "time_ratio": point.ratio,
            "fuel_ratio": point.fuel_ratio,
        })
    };
    json!({
        "plugins": measured.plugins.iter().map(plugin).collect::<Vec<_>>(),
        "points": measured.points.iter().map(point).collect::<Vec<_>>(),
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
