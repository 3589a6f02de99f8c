//! Several tables of prefixes as one: an address is looked up once for all of them.
//!
//! A region is a set of addresses that have the same code in each of the tables. One tree says in which region an address
//! is, and a list which codes that region has: looking up in a list takes a fraction of the way down a tree.

use std::collections::HashMap;
use std::sync::Arc;

use super::Table;
use super::prefixes::Prefixes;
use super::tree::{Bits, Runs};

/// The most regions: the lists of tables that are cut everywhere else would grow with their product, and not their sum.
const MAX_REGIONS: usize = 1 << 22;

/// Tables of prefixes, looked up together.
pub struct Joint {
    regions: Prefixes,
    /// By table.
    generations: Vec<u64>,
    /// By region and then by table: whoever asks one table asks the others for the same regions.
    codes: Vec<u32>,
}

impl std::fmt::Debug for Joint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tables = self.generations.len();
        write!(f, "Joint({tables} tables, {} regions)", self.codes.len() / tables.max(1))
    }
}

impl Joint {
    /// Joins tables; none if one of them is none of prefixes, or if there are too many regions.
    #[must_use]
    pub fn new(tables: &[Arc<Table>]) -> Option<Joint> {
        let runs: Vec<_> = tables.iter().map(|table| table.runs()).collect::<Option<_>>()?;
        let (v4, v6): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        let mut regions = Regions::new(tables.len());
        let regions_of = Prefixes::of_runs(&regions.merge(&v4)?, &regions.merge(&v6)?);
        let generations = tables.iter().map(|table| table.generation()).collect();
        Some(Joint { regions: regions_of, generations, codes: regions.codes })
    }

    /// Whether a table, as it is now, is one of these.
    #[must_use]
    pub fn has(&self, table: &Table) -> bool {
        self.place_of(table).is_some()
    }

    /// Regions of many addresses, given as halves, appended to `regions`; as many as the shorter list has.
    pub fn regions_of(&self, hi: &[u64], lo: &[u64], regions: &mut Vec<u32>) {
        self.regions.lookup_all(hi, lo, regions);
    }

    /// Codes that regions have in a table, appended to `codes`: what the table says of the addresses. 0 if it is none of these.
    pub fn codes_of(&self, table: &Table, regions: &[u32], codes: &mut Vec<u32>) {
        let tables = self.generations.len();
        let from = self.place_of(table).and_then(|place| self.codes.get(place..)).unwrap_or_default();
        codes.extend(regions.iter().map(|region| from.get(*region as usize * tables).copied().unwrap_or_default()));
    }

    fn place_of(&self, table: &Table) -> Option<usize> {
        self.generations.iter().position(|generation| *generation == table.generation())
    }
}

/// Numbers for what addresses have in all tables. Number 0 is to have nothing in any.
struct Regions {
    numbers: HashMap<Vec<u32>, u32>,
    /// By number and then by table.
    codes: Vec<u32>,
}

impl Regions {
    fn new(tables: usize) -> Regions {
        Regions { numbers: HashMap::from([(vec![0; tables], 0)]), codes: vec![0; tables] }
    }

    fn number(&mut self, of_tables: &[u32]) -> Option<u32> {
        if let Some(number) = self.numbers.get(of_tables) {
            return Some(*number);
        }
        let number = self.numbers.len();
        if number == MAX_REGIONS {
            return None;
        }
        self.numbers.insert(of_tables.to_vec(), number as u32);
        self.codes.extend_from_slice(of_tables);
        Some(number as u32)
    }

    /// The runs of regions, where each table has runs of codes; none if there are too many.
    fn merge<A: Bits>(&mut self, of_tables: &[Runs<A>]) -> Option<Runs<A>> {
        let mut rest: Vec<&[(A, u32)]> = of_tables.iter().map(Runs::as_slice).collect();
        let mut codes = vec![0; rest.len()];
        let mut merged = Runs::new();
        while let Some(next) = rest.iter().filter_map(|runs| runs.first()).map(|(start, _)| *start).min() {
            for (runs, code) in rest.iter_mut().zip(&mut codes) {
                if let Some(((_, found), after)) = runs.split_first().filter(|((start, _), _)| *start == next) {
                    (*code, *runs) = (*found, after);
                }
            }
            merged.push(next, self.number(&codes)?);
        }
        Some(merged)
    }
}
