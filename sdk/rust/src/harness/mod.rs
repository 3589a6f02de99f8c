//! Runs a plugin in this process: no wasm, no network, no clock. For a plugin's own tests and benchmarks.
//!
//! A [`Harness`] holds a batch and the services that a plugin may ask for, and records what the
//! plugin did. As in the collector, a `process` that fails leaves nothing behind.

mod groups;
mod kernels;
mod key;
mod lookup_into;
mod state;
pub(crate) mod sys;
mod table;
mod truncate;
mod values;

use std::net::IpAddr;
use std::rc::Rc;

use crate::services::Level;
use crate::{
    Address, Alert, Batch, Bitmap, Column, ColumnId, Failure, Field, Lists, Manifest, Number, Plugin, Text, Width,
};

pub use key::{KeySource, ToyKey};
use state::{Filled, State};
pub use table::{MemoryTable, TableSource};
pub use values::MemoryValues;

/// The world that a plugin sees, as a value.
///
/// ```
/// # use sluice_sdk::{harness::{Harness, MemoryTable}, columns};
/// let harness = Harness::new()
///     .rows(2)
///     .now_ms(60_000)
///     .column(columns::DST_PORT, [443, 53])
///     .addrs(columns::DST_ADDR, ["192.0.2.1", "2001:db8::1"])
///     .table("customers", MemoryTable::new([("192.0.2.0/24", "7")]));
/// assert_eq!(harness.get(columns::DST_PORT), [443, 53]);
/// ```
#[derive(Debug, Default)]
pub struct Harness {
    state: Box<State>,
}

impl Harness {
    /// An empty batch at time 0; no tables, keys or assets. Until [`init`](Self::init) every column is granted.
    #[must_use]
    pub fn new() -> Harness {
        Harness::default()
    }

    /// Begins another batch of `rows` rows without columns; services and time stay, what was recorded goes.
    #[must_use]
    pub fn rows(mut self, rows: usize) -> Harness {
        self.state.begin(rows);
        self
    }

    /// Sets batch time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(mut self, now_ms: u64) -> Harness {
        self.state.now_ms = now_ms;
        self
    }

    /// Fills a numeric column.
    ///
    /// # Panics
    /// If there is not one value per row.
    #[must_use]
    pub fn column<T: Number>(mut self, column: Column<T>, values: impl Into<Vec<T>>) -> Harness {
        self.state.fill(column.id(), T::values(values.into()));
        self
    }

    /// Fills an address column from texts; `""` is an absent address.
    ///
    /// # Panics
    /// If a text is no address, or there is not one per row.
    #[must_use]
    pub fn addrs<'a>(mut self, column: Address, values: impl IntoIterator<Item = &'a str>) -> Harness {
        let (hi, lo) = values.into_iter().map(halves).unzip();
        self.state.fill(column.hi.id(), Filled::U64(hi));
        self.state.fill(column.lo.id(), Filled::U64(lo));
        self
    }

    /// Fills a text column.
    ///
    /// # Panics
    /// If there is not one value per row.
    #[must_use]
    pub fn texts<'a>(mut self, column: Text, values: impl IntoIterator<Item = &'a str>) -> Harness {
        let mut words: Vec<String> = Vec::new();
        let mut code_of = |value: &str| {
            let at = words.iter().position(|word| word == value).unwrap_or_else(|| {
                words.push(value.to_owned());
                words.len() - 1
            });
            at as u32
        };
        let codes = values.into_iter().map(&mut code_of).collect();
        self.state.fill(column.id(), Filled::Text(words, codes));
        self
    }

    /// Fills a list column.
    ///
    /// # Panics
    /// If there is not one list per row.
    #[must_use]
    pub fn lists<'a>(mut self, column: Lists, values: impl IntoIterator<Item = &'a [u32]>) -> Harness {
        let (mut offsets, mut flat) = (vec![0], Vec::new());
        for list in values {
            flat.extend_from_slice(list);
            offsets.push(flat.len() as u32);
        }
        self.state.fill(column.id(), Filled::Lists(offsets, flat));
        self
    }

    /// Adds an operator's own column, which [`column_of`](crate::column_of) then finds, and returns its number.
    pub fn add_column(&mut self, name: &str, width: Width) -> ColumnId {
        self.state.add_custom(name, width)
    }

    /// Makes a table available under `name`.
    #[must_use]
    pub fn table(mut self, name: &str, table: impl TableSource + 'static) -> Harness {
        self.state.tables.insert(name.to_owned(), Rc::new(table));
        self
    }

    /// Makes a table available that the test keeps too, to exchange its contents.
    #[must_use]
    pub fn shared_table(mut self, name: &str, table: Rc<dyn TableSource>) -> Harness {
        self.state.tables.insert(name.to_owned(), table);
        self
    }

    /// Makes a key available under `name`.
    #[must_use]
    pub fn key(mut self, name: &str, key: impl KeySource + 'static) -> Harness {
        self.state.keys.insert(name.to_owned(), Rc::new(key));
        self
    }

    /// Makes an asset available under `name`.
    #[must_use]
    pub fn asset(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Harness {
        self.state.assets.insert(name.to_owned(), bytes.into());
        self
    }

    /// Takes a column out of the grant, whatever the manifest asks for.
    #[must_use]
    pub fn deny(mut self, column: ColumnId) -> Harness {
        self.state.denied.push(column);
        self
    }

    /// Calls [`Plugin::init`]; from then on only the columns of its manifest are granted, as in the collector.
    ///
    /// # Errors
    /// Those of `init`.
    pub fn init<P: Plugin>(&mut self, plugin: &mut P, config: &str) -> Result<Manifest, String> {
        let mut manifest = Manifest::default();
        self.inside(|| plugin.init(config, &mut manifest))?;
        self.state.grant(&manifest);
        Ok(manifest)
    }

    /// Calls [`Plugin::process`] on the batch and records what it did, in place of what was recorded before.
    ///
    /// # Errors
    /// Those of `process`; then nothing but log lines and metrics is recorded.
    pub fn run<P: Plugin>(&mut self, plugin: &mut P) -> Result<(), Failure> {
        self.state.forget();
        self.state.in_process = true;
        let result = self.inside(|| plugin.process(&mut Batch::current()));
        self.state.in_process = false;
        if result.is_err() {
            self.state.forget();
        }
        result
    }

    /// Calls [`Plugin::tick`]. Alerts are added to those of the last [`run`](Self::run).
    pub fn tick<P: Plugin>(&mut self, plugin: &mut P, now_ms: u64) {
        self.inside(|| plugin.tick(now_ms));
    }

    fn inside<R>(&mut self, call: impl FnOnce() -> R) -> R {
        sys::with_state(&mut self.state, call)
    }

    /// A numeric column as the plugin left it: zeros where it is absent. Every row, kept or not.
    #[must_use]
    pub fn get<T: Number>(&self, column: Column<T>) -> Vec<T> {
        self.state
            .visible(column.id())
            .and_then(T::of)
            .map_or_else(|| vec![T::default(); self.state.rows], <[T]>::to_vec)
    }

    /// An address column as the plugin left it, as texts; `""` where it is absent.
    #[must_use]
    pub fn get_addrs(&self, column: Address) -> Vec<String> {
        self.get(column.hi).into_iter().zip(self.get(column.lo)).map(|(hi, lo)| text_of(hi, lo)).collect()
    }

    /// The words of a text column, whether a row has them or not, in no order.
    #[must_use]
    pub fn get_words(&self, column: Text) -> Vec<String> {
        match self.state.visible(column.id()) {
            Some(Filled::Text(words, _)) => words.clone(),
            _ => Vec::new(),
        }
    }

    /// A text column as the plugin left it.
    #[must_use]
    pub fn get_texts(&self, column: Text) -> Vec<String> {
        match self.state.visible(column.id()) {
            Some(Filled::Text(words, codes)) => codes.iter().map(|code| words[*code as usize].clone()).collect(),
            _ => vec![String::new(); self.state.rows],
        }
    }

    /// A list column as the plugin left it.
    #[must_use]
    pub fn get_lists(&self, column: Lists) -> Vec<Vec<u32>> {
        match self.state.visible(column.id()) {
            Some(Filled::Lists(offsets, values)) => {
                offsets.windows(2).map(|bounds| values[bounds[0] as usize..bounds[1] as usize].to_vec()).collect()
            }
            _ => vec![Vec::new(); self.state.rows],
        }
    }

    /// Whether the column is there, as the plugin left it.
    #[must_use]
    pub fn has(&self, column: ColumnId) -> bool {
        self.state.visible(column).is_some()
    }

    /// Whether the plugin wrote or cleared the column.
    #[must_use]
    pub fn touched(&self, column: ColumnId) -> bool {
        self.state.touched.contains(&column)
    }

    /// The columns that the plugin wrote or cleared, by name, ascending by number.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let mut touched = self.state.touched.clone();
        touched.sort_unstable();
        let name = |id: &ColumnId| Field::numbered(*id).map_or_else(|| id.to_string(), |field| field.name.to_owned());
        touched.iter().map(name).collect()
    }

    /// The rows that stay.
    #[must_use]
    pub fn kept(&self) -> Vec<usize> {
        let rows = self.state.rows;
        self.state
            .keep
            .as_ref()
            .map_or_else(|| Bitmap::all(rows), |words| Bitmap::from_words(rows, words.clone()))
            .iter()
            .collect()
    }

    /// The route of each row, `""` if the plugin gave none.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        match &self.state.route {
            Some((names, index)) => index.iter().map(|at| names[usize::from(*at)].clone()).collect(),
            None => vec![String::new(); self.state.rows],
        }
    }

    /// The alerts raised since the last [`run`](Self::run) began.
    #[must_use]
    pub fn alerts(&self) -> &[Alert] {
        &self.state.alerts
    }

    /// The log lines, of this harness's whole life.
    #[must_use]
    pub fn log_lines(&self) -> &[(Level, String)] {
        &self.state.lines
    }

    /// The sum of a counter, 0 if it was never added to.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.state.counters.get(name).copied().unwrap_or_default()
    }

    /// The last value of a gauge.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.state.gauges.get(name).copied()
    }
}

/// The halves of an address as columns hold it; `""` gives zeros.
///
/// # Panics
/// If `text` is no address.
#[must_use]
pub fn halves(text: &str) -> (u64, u64) {
    if text.is_empty() {
        return (0, 0);
    }
    let bits = match text.parse().unwrap_or_else(|_| panic!("`{text}` is no address")) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    ((bits >> 64) as u64, bits as u64)
}

fn text_of(hi: u64, lo: u64) -> String {
    if hi == 0 && lo == 0 {
        return String::new();
    }
    let v6 = std::net::Ipv6Addr::from_bits(u128::from(hi) << 64 | u128::from(lo));
    v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string())
}

#[cfg(test)]
mod tests;
