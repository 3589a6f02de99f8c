//! What a plugin costs: time and work a row for batches of several sizes, beside a plugin that does nothing and one that
//! only copies the same columns.

mod copy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::{Batch, ColumnSet};
use sluice_plugin::{
    Answer, ComponentSource, Host, LoadError, Loaded, LogOut, Manifest, Services, StageSpec, Touched, Trial,
};

use crate::generate::ordinary_batches;

/// Different batches of one size; they are given again and again.
const BATCHES: usize = 8;

/// Batch time between two of them.
const PACE_MS: u64 = 100;

/// Instances that are started to see how long that takes.
const STARTS: usize = 5;

/// How to measure.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// Rows of a batch, one measurement each.
    pub rows: Vec<usize>,
    /// Samples of each measurement.
    pub samples: usize,
    /// Time that one sample takes at least.
    pub sample_time: Duration,
}

impl Default for BenchSettings {
    fn default() -> BenchSettings {
        BenchSettings { rows: vec![1, 64, 1024, 8192], samples: 9, sample_time: Duration::from_millis(20) }
    }
}

/// What was measured of one or two plugins.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The plugins, in the order in which they were given.
    pub plugins: Vec<MeasuredPlugin>,
    /// One for each number of rows.
    pub points: Vec<Point>,
}

/// What was measured of a plugin once.
#[derive(Clone, Debug)]
pub struct MeasuredPlugin {
    /// What it is.
    pub manifest: Manifest,
    /// Bytes of the component.
    pub bytes: usize,
    /// Reading, compiling and linking it.
    pub compile: Duration,
    /// A new instance and its `init`; the median.
    pub start: Duration,
    /// Fuel of that.
    pub start_fuel: Option<u64>,
    /// Bytes of linear memory after `init`.
    pub memory_at_start: usize,
    /// Bytes of linear memory at the end.
    pub memory_at_end: usize,
    /// Columns that it touched.
    pub touched: Touched,
    /// Batches that it refused.
    pub refused: usize,
}

/// Measurements for batches of one size.
#[derive(Clone, Debug)]
pub struct Point {
    /// Rows of a batch.
    pub rows: usize,
    /// Of each plugin.
    pub plugins: Vec<Cost>,
    /// Of the plugin that does nothing: what a call costs.
    pub empty: Spread,
    /// Time of the second plugin by that of the first, sample by sample; the median.
    pub ratio: Option<f64>,
    /// Fuel of the second plugin by that of the first.
    pub fuel_ratio: Option<f64>,
}

/// What a plugin costs.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Nanoseconds a row.
    pub ns: Spread,
    /// Nanoseconds a row of a plugin that reads and writes the same columns and does nothing else.
    pub copy: Spread,
    /// Fuel a row.
    pub fuel: Option<f64>,
    /// Fuel of the batches together: the same wherever it is counted.
    pub fuel_total: Option<u64>,
    /// Bytes of the touched columns, a row.
    pub bytes: f64,
}

impl Cost {
    /// Share of the time that crossing the boundary takes at most, from 0 to 1: what copying the columns takes beyond a
    /// call, of what the plugin takes.
    #[must_use]
    pub fn copy_share(&self, empty: &Spread) -> f64 {
        ((self.copy.median - empty.median) / self.ns.median.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

/// Several samples of the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest: what is least disturbed.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The plugin does not load.
    #[error("{component}: {}", error.kind)]
    Load {
        /// The file or built-in plugin.
        component: String,
        /// Why.
        error: LoadError,
    },
    /// It trapped on ordinary traffic.
    #[error("{plugin} trapped on ordinary traffic, {rows} rows a batch: {text}; `sluice plugin check` finds out more")]
    Trapped {
        /// Name of the plugin.
        plugin: String,
        /// Rows of the batch.
        rows: usize,
        /// What the engine says.
        text: String,
    },
}

/// The hosts that plugins are measured in.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// As in production, without a cache of compiled code.
    pub plain: Arc<Host>,
    /// One that counts fuel.
    pub counting: Arc<Host>,
}

/// Measures a plugin, or two side by side. `progress` is told what is being done.
///
/// # Errors
/// If one does not load, or traps on ordinary traffic.
pub fn bench(
    hosts: &Hosts,
    specs: &[StageSpec],
    settings: &BenchSettings,
    progress: &mut dyn FnMut(&str),
) -> Result<Measured, BenchError> {
    let mut subjects = Vec::new();
    for spec in specs {
        progress(&format!("compiling {}", spec.component.describe()));
        let load = Subject::load(hosts, spec);
        subjects.push(load.map_err(|error| BenchError::Load { component: spec.component.describe(), error })?);
    }
    let reads = subjects.iter().fold(ColumnSet::EMPTY, |all, subject| all.union(subject.loaded.manifest().reads));
    let mut points = Vec::new();
    for rows in &settings.rows {
        points.push(point(hosts, &mut subjects, *rows, reads, settings, progress)?);
    }
    Ok(Measured { plugins: subjects.into_iter().map(|subject| subject.measured).collect(), points })
}

/// A plugin that is being measured.
struct Subject {
    spec: StageSpec,
    /// In the host that is as in production.
    loaded: Arc<Loaded>,
    /// In the host that counts.
    counted: Arc<Loaded>,
    measured: MeasuredPlugin,
}

impl Subject {
    fn load(hosts: &Hosts, spec: &StageSpec) -> Result<Subject, LoadError> {
        let mut spec = spec.clone();
        spec.services.log = LogOut::Kept(Arc::default());
        let bytes = match &spec.component {
            ComponentSource::Embedded { bytes, .. } => bytes.len(),
            // A file that is not there is found out when it is loaded.
            ComponentSource::File { path, .. } => std::fs::metadata(path).map_or(0, |file| file.len() as usize),
        };
        let began = Instant::now();
        let loaded = Loaded::load(&hosts.plain, spec.clone())?;
        let all = began.elapsed();
        // The instance that loading tried is none that has to be started.
        drop(Trial::new(&loaded)?);
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let began = Instant::now();
            let trial = Trial::new(&loaded)?;
            starts.push((began.elapsed(), trial.memory()));
        }
        starts.sort_unstable();
        let (start, memory_at_start) = starts[STARTS / 2];
        let counted = Loaded::load(&hosts.counting, spec.clone())?;
        let measured = MeasuredPlugin {
            manifest: loaded.manifest(),
            bytes,
            compile: all.saturating_sub(start),
            start,
            start_fuel: Trial::new(&counted)?.start_fuel(),
            memory_at_start,
            memory_at_end: memory_at_start,
            touched: Touched::default(),
            refused: 0,
        };
        Ok(Subject { spec, loaded, counted, measured })
    }

    fn name(&self) -> &str {
        &self.measured.manifest.name
    }
}

/// Measures one size.
fn point(
    hosts: &Hosts,
    subjects: &mut [Subject],
    rows: usize,
    reads: ColumnSet,
    settings: &BenchSettings,
    progress: &mut dyn FnMut(&str),
) -> Result<Point, BenchError> {
    let Some(first) = subjects.first() else { return Ok(empty_point(rows)) };
    // Once started they start again; what does not is found while it is measured.
    let restarted = |error| BenchError::Load { component: "an instance".to_owned(), error };
    let schema = Arc::clone(&first.spec.schema);
    let batches = ordinary_batches(&schema, reads, rows, BATCHES);
    let mut counted = Vec::new();
    for subject in subjects.iter_mut() {
        progress(&format!("{}: counting, {rows} rows a batch", subject.name()));
        counted.push(count(subject, &batches)?);
    }
    let lane = |loaded: &Arc<Loaded>, name: &str| Lane::new(loaded, &batches, name).map_err(restarted);
    let copy = |like: &StageSpec, touched: &Touched| copy_of(hosts, like, touched).map_err(restarted);
    let mut lanes = vec![lane(&copy(&subjects[0].spec, &Touched::default())?, "copy")?];
    for (subject, (touched, _)) in subjects.iter().zip(&counted) {
        lanes.push(lane(&subject.loaded, subject.name())?);
        lanes.push(lane(&copy(&subject.spec, touched)?, "copy")?);
    }
    // A first round that does not count: memory is touched, and grows.
    for lane in &mut lanes {
        lane.sample(Duration::ZERO)?;
    }
    // In turn, so that what disturbs the machine for a while disturbs all of them.
    for number in 0..settings.samples {
        progress(&format!("{rows} rows a batch: sample {} of {}", number + 1, settings.samples));
        for lane in &mut lanes {
            let ns = lane.sample(settings.sample_time)?;
            lane.samples.push(ns);
        }
    }
    let plugins: Vec<Cost> = subjects
        .iter()
        .zip(&counted)
        .enumerate()
        .map(|(number, (_, (touched, fuel)))| Cost {
            ns: spread(&lanes[1 + 2 * number].samples),
            copy: spread(&lanes[2 + 2 * number].samples),
            fuel: fuel.map(|fuel| fuel as f64 / (rows * BATCHES).max(1) as f64),
            fuel_total: *fuel,
            bytes: bytes_a_row(&batches, touched),
        })
        .collect();
    for (number, subject) in subjects.iter_mut().enumerate() {
        let lane = &lanes[1 + 2 * number];
        subject.measured.memory_at_end = subject.measured.memory_at_end.max(lane.trial.memory());
        subject.measured.refused += lane.refused;
    }
    let ratio = lanes.get(3).map(|other| {
        let ratios: Vec<f64> = other.samples.iter().zip(&lanes[1].samples).map(|(b, a)| b / a).collect();
        spread(&ratios).median
    });
    let fuel_ratio = match counted.as_slice() {
        [(_, Some(a)), (_, Some(b))] if *a > 0 => Some(*b as f64 / *a as f64),
        _ => None,
    };
    Ok(Point { rows, plugins, empty: spread(&lanes[0].samples), ratio, fuel_ratio })
}

fn empty_point(rows: usize) -> Point {
    let empty = Spread { min: 0.0, median: 0.0 };
    Point { rows, plugins: Vec::new(), empty, ratio: None, fuel_ratio: None }
}

/// Columns touched and fuel used for the batches, once each, in a new instance.
fn count(subject: &mut Subject, batches: &[Batch]) -> Result<(Touched, Option<u64>), BenchError> {
    let restarted = |error| BenchError::Load { component: "an instance".to_owned(), error };
    let mut trial = Trial::new(&subject.counted).map_err(restarted)?;
    let (mut touched, mut fuel) = (Touched::default(), None);
    for batch in batches {
        let called = trial.process(batch.clone());
        touched.read = touched.read.union(called.touched.read);
        touched.written = touched.written.union(called.touched.written);
        fuel = called.fuel.map(|more| fuel.unwrap_or(0) + more);
        if let Answer::Trapped(trap) = called.answer {
            let plugin = subject.name().to_owned();
            return Err(BenchError::Trapped { plugin, rows: batch.rows(), text: trap.text });
        }
    }
    let all = &mut subject.measured.touched;
    all.read = all.read.union(touched.read);
    all.written = all.written.union(touched.written);
    Ok((touched, fuel))
}

/// The plugin that copies what another one touched.
fn copy_of(hosts: &Hosts, like: &StageSpec, touched: &Touched) -> Result<Arc<Loaded>, LoadError> {
    let spec = StageSpec {
        component: copy::component(),
        config_json: copy::config(touched, &like.schema),
        services: Services::default(),
        ..like.clone()
    };
    Loaded::load(&hosts.plain, spec)
}

/// An instance that is given the batches again and again, as time goes on.
struct Lane {
    trial: Trial,
    name: String,
    batches: Vec<Batch>,
    calls: u64,
    refused: usize,
    samples: Vec<f64>,
}

impl Lane {
    fn new(loaded: &Arc<Loaded>, batches: &[Batch], name: &str) -> Result<Lane, LoadError> {
        let trial = Trial::new(loaded)?;
        let batches = batches.to_vec();
        Ok(Lane { trial, name: name.to_owned(), batches, calls: 0, refused: 0, samples: Vec::new() })
    }

    /// Nanoseconds a row of all batches, as often as it takes to fill the time; at least once.
    fn sample(&mut self, at_least: Duration) -> Result<f64, BenchError> {
        let mut rows = 0;
        let mut spent = Duration::ZERO;
        loop {
            for at in 0..self.batches.len() {
                let mut batch = self.batches[at].clone();
                self.calls += 1;
                batch.stamp(self.calls, batch.now_ms() + self.calls * PACE_MS);
                rows += batch.rows();
                let began = Instant::now();
                let called = self.trial.process(batch);
                spent += began.elapsed();
                match called.answer {
                    Answer::Trapped(trap) => {
                        let rows = self.batches[at].rows();
                        return Err(BenchError::Trapped { plugin: self.name.clone(), rows, text: trap.text });
                    }
                    Answer::Refused(_) | Answer::RetryLater(_) => self.refused += 1,
                    Answer::Done(_) => {}
                }
            }
            if spent >= at_least {
                return Ok(spent.as_nanos() as f64 / rows.max(1) as f64);
            }
        }
    }
}

/// Bytes of the columns that were touched, a row.
fn bytes_a_row(batches: &[Batch], touched: &Touched) -> f64 {
    let rows: usize = batches.iter().map(Batch::rows).sum();
    let read: usize = batches
        .iter()
        .flat_map(|batch| batch.columns().filter(|(column, _)| touched.read.contains(*column)))
        .map(|(_, column)| column.bytes())
        .sum();
    let Some(schema) = batches.first().map(Batch::schema) else { return 0.0 };
    let width = |column| match schema.width(column) {
        Some(sluice_flow::Width::U8) => 1,
        Some(sluice_flow::Width::U16) => 2,
        Some(sluice_flow::Width::U64) => 8,
        // A code, or an offset; words and values are not known.
        _ => 4,
    };
    let written: usize = touched.written.iter().map(width).sum();
    read as f64 / rows.max(1) as f64 + written as f64
}

fn spread(samples: &[f64]) -> Spread {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Spread {
        min: sorted.first().copied().unwrap_or(0.0),
        median: sorted.get(sorted.len() / 2).copied().unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests;
