//! What a plugin costs: time and fuel a row at several sizes of batches, beside a plugin that does nothing.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sluice_flow::{Batch, ColumnSet, col};
use sluice_plugin::{Answer, ComponentSource, Host, LoadError, Loaded, Renames, StageSpec, Trial, pack};

use crate::generate::ordinary_batches;

/// Different batches of a size that are given in turn.
const DIFFERENT: usize = 16;
/// Time that a sample takes at least: less is lost in the clock's steps and in interrupts.
const SAMPLE: Duration = Duration::from_millis(4);
/// Samples of a size. The fastest is what the plugin takes, the median is what a busy machine makes of it.
const SAMPLES: usize = 11;
/// Rows of the batches by which copying is measured.
const COPIED_ROWS: usize = 8192;

/// What one plugin costs.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Name and version, as the plugin says.
    pub plugin: String,
    /// To read, compile and link it; next to nothing if the host has a cache that it is in.
    pub compile: Duration,
    /// To start another instance, with its `init`.
    pub start: Duration,
    /// Bytes of linear memory after everything.
    pub memory: usize,
    /// By size of the batches, in the order asked for.
    pub sizes: Vec<Size>,
}

/// What a row costs in batches of one size.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rows of a batch.
    pub rows: usize,
    /// Nanoseconds a row in the fastest sample, taking over the batch and committing what was written included.
    pub min_ns: f64,
    /// The same in the median sample.
    pub median_ns: f64,
    /// Nanoseconds a row of the call alone, with what it copies, in the sample where that was fastest.
    pub call_ns: f64,
    /// Fuel a row: the same on every machine.
    pub fuel: f64,
    /// Bytes a row that were copied between batch and plugin.
    pub copied: f64,
}

/// A plugin that gave up while it was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// It does not start.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It did not process a batch of ordinary traffic.
    #[error("a batch of {rows} rows was not processed: {why}")]
    Failed {
        /// Rows of the batch.
        rows: usize,
        /// What the plugin or the engine says.
        why: String,
    },
}

/// The plugin that does nothing, as a component.
#[must_use]
pub fn null() -> ComponentSource {
    static NULL: LazyLock<Vec<u8>> = LazyLock::new(|| assembled(include_str!("null.wat")));
    ComponentSource::Embedded { name: "null", bytes: NULL.as_slice() }
}

/// The plugin that copies one column.
fn copy() -> ComponentSource {
    static COPY: LazyLock<Vec<u8>> = LazyLock::new(|| assembled(include_str!("copy.wat")));
    ComponentSource::Embedded { name: "copy", bytes: COPY.as_slice() }
}

fn assembled(text: &str) -> Vec<u8> {
    let core = wat::parse_str(text).expect("a part of this program");
    pack(&core, &Renames::default()).expect("a part of this program")
}

/// Measures one plugin: time on the host `timed`, fuel on the host `counted`. `progress` is told what is done now.
///
/// # Errors
/// If the plugin does not start, or gives up on ordinary traffic.
pub fn bench(
    (timed, counted): (&Arc<Host>, &Arc<Host>),
    spec: &StageSpec,
    sizes: &[usize],
    progress: &mut dyn FnMut(&str),
) -> Result<Bench, BenchError> {
    progress("compiling");
    let began = Instant::now();
    let loaded = Loaded::load(timed, spec.clone())?;
    let load = began.elapsed();
    let fueled = Loaded::load(counted, spec.clone())?;
    let manifest = loaded.manifest();
    // The first instance was started when the plugin was loaded.
    let mut trial = Trial::new(&loaded)?;
    let began = Instant::now();
    drop(Trial::new(&loaded)?);
    let start = began.elapsed();
    let mut measured = Vec::new();
    for rows in sizes.iter().copied() {
        progress(&format!("{} {}: batches of {rows} rows", manifest.name, manifest.version));
        let batches = ordinary_batches(&spec.schema, manifest.reads, rows, DIFFERENT);
        let mut counting = Trial::new(&fueled)?;
        let (mut fuel, mut copied) = (0, 0);
        for batch in &batches {
            let called = call(&mut counting, batch)?;
            fuel += called.fuel.unwrap_or(0);
            copied += called.touched.copied;
        }
        let all = (rows.max(1) * batches.len()) as f64;
        let Time { min_ns, median_ns, call_ns } = time(&mut trial, &batches)?;
        let (fuel, copied) = (fuel as f64 / all, copied as f64 / all);
        measured.push(Size { rows, min_ns, median_ns, call_ns, fuel, copied });
    }
    let plugin = format!("{} {}", manifest.name, manifest.version);
    // Loading starts an instance, too.
    let compile = load.saturating_sub(start);
    Ok(Bench { plugin, compile, start, memory: trial.memory(), sizes: measured })
}

/// Nanoseconds that it takes to copy a byte between batch and plugin, by a plugin that does only that.
///
/// # Errors
/// If it does not run.
pub fn copy_ns(host: &Arc<Host>, spec: &StageSpec) -> Result<f64, BenchError> {
    let reads: ColumnSet = [col::BYTES].into_iter().collect();
    let batches = ordinary_batches(&spec.schema, reads, COPIED_ROWS, DIFFERENT);
    let cost = |component: ComponentSource| -> Result<f64, BenchError> {
        let spec = StageSpec { component, config_json: "{}".to_owned(), ..spec.clone() };
        let loaded = Loaded::load(host, spec)?;
        Ok(time(&mut Trial::new(&loaded)?, &batches)?.min_ns)
    };
    let (with, without) = (cost(copy())?, cost(null())?);
    Ok(((with - without) / 8.0).max(0.0))
}

fn call(trial: &mut Trial, batch: &Batch) -> Result<sluice_plugin::Called, BenchError> {
    let rows = batch.rows();
    let called = trial.process(batch.clone());
    let why = match &called.answer {
        Answer::Done(_) => return Ok(called),
        Answer::RetryLater(text) | Answer::Refused(text) => text.clone(),
        Answer::Trapped(trap) => format!("{}: {}", trap.kind, trap.text),
    };
    Err(BenchError::Failed { rows, why })
}

/// Nanoseconds a row, as in [`Size`].
struct Time {
    min_ns: f64,
    median_ns: f64,
    call_ns: f64,
}

fn time(trial: &mut Trial, batches: &[Batch]) -> Result<Time, BenchError> {
    // Twice around, so that memory has grown and caches are filled; it also says how long a sample has to be.
    let began = Instant::now();
    for batch in batches.iter().chain(batches) {
        call(trial, batch)?;
    }
    let round = (began.elapsed() / 2).max(Duration::from_nanos(1));
    let rounds = (SAMPLE.as_nanos() / round.as_nanos()).max(1) as usize;
    let rows: usize = batches.iter().map(|batch| batch.rows().max(1)).sum::<usize>() * rounds;
    let a_row = |time: Duration| time.as_nanos() as f64 / rows as f64;
    let mut samples = Vec::with_capacity(SAMPLES);
    let mut call_ns = f64::INFINITY;
    for _ in 0..SAMPLES {
        let began = Instant::now();
        let mut called = Duration::ZERO;
        for _ in 0..rounds {
            for batch in batches {
                called += call(trial, batch)?.took;
            }
        }
        samples.push(a_row(began.elapsed()));
        call_ns = call_ns.min(a_row(called));
    }
    samples.sort_by(f64::total_cmp);
    Ok(Time { min_ns: samples[0], median_ns: samples[SAMPLES / 2], call_ns })
}
