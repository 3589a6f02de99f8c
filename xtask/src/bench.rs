//! The benchmarks, and one table of what they measured.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Outcome, cargo, kafka, run, system};

/// One line of the table.
struct Measured {
    name: String,
    /// Median nanoseconds an iteration.
    ns: f64,
    /// Rows (records, datagrams) an iteration, 1 where a benchmark has no throughput.
    rows: f64,
}

/// Runs the criterion benchmarks and prints their table, then the benchmarks of the whole pipeline and of Kafka.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let with_peers = arguments.iter().any(|argument| argument == "--peers");
    let criterion = system::target_dir().join("criterion");
    if criterion.exists() {
        fs::remove_dir_all(&criterion).map_err(|error| format!("{}: {error}", criterion.display()))?;
    }
    for package in ["sluice-wire", "sluice-plugin"] {
        run(cargo().args(["bench", "--package", package, "--benches"]), &format!("benchmarks of {package}"))?;
    }
    println!("\n{}", table(&collect(&criterion)));
    let mut pipeline = cargo();
    pipeline.args(["bench", "--package", "sluice", "--bench", "pipeline", "--"]);
    if with_peers {
        pipeline.arg("--peers");
    }
    run(&mut pipeline, "the whole pipeline")?;
    if let Err(error) = kafka::fetch() {
        eprintln!("xtask: Kafka is not measured: {error}");
        return Ok(());
    }
    run(cargo().args(["bench", "--package", "sluice", "--bench", "kafka"]), "Kafka in and out")
}

fn table(measured: &[Measured]) -> String {
    let width = measured.iter().map(|line| line.name.len()).max().unwrap_or(0).max(9);
    let mut text = format!("{:<width$}  {:>10}  {:>12}\n", "benchmark", "ns a row", "M rows/s");
    for line in measured {
        let a_row = line.ns / line.rows;
        text.push_str(&format!("{:<width$}  {a_row:>10.2}  {:>12.2}\n", line.name, 1000.0 / a_row));
    }
    text
}

/// What criterion left in its folder, by name.
fn collect(criterion: &Path) -> Vec<Measured> {
    let mut found: Vec<Measured> = folders(criterion).iter().filter_map(|folder| read(folder)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Every folder called `new` below.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        if entry.file_name() == "new" {
            found.push(entry.path());
        } else {
            found.extend(folders(&entry.path()));
        }
    }
    found
}

fn read(folder: &Path) -> Option<Measured> {
    let json = |file: &str| -> Option<Value> { serde_json::from_slice(&fs::read(folder.join(file)).ok()?).ok() };
    let benchmark = json("benchmark.json")?;
    let ns = json("estimates.json")?["median"]["point_estimate"].as_f64()?;
    let rows = benchmark["throughput"]["Elements"].as_f64().unwrap_or(1.0);
    Some(Measured { name: benchmark["full_id"].as_str()?.to_owned(), ns, rows })
}
