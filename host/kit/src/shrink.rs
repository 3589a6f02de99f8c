//! From a sequence of calls that shows a fault to a small one: fewer calls, fewer rows, fewer columns, simpler
//! values, as long as the fault still shows. Every attempt is made with fresh instances.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::{Batch, Column, ColumnId, Lists, Texts};

use crate::generate::{START_MS, Step};

/// Attempts that are made at most.
const MAX_ATTEMPTS: usize = 2000;

/// Rows up to which single values are made simpler.
const FEW_ROWS: usize = 8;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Shrunk {
    pub(crate) steps: Vec<Step>,
    /// Attempts that were made.
    pub(crate) attempts: usize,
}

/// Makes `steps` smaller while `fails` says that the fault shows; not longer than `time`.
pub(crate) fn shrink(steps: Vec<Step>, time: Duration, fails: impl FnMut(&[Step]) -> bool) -> Shrunk {
    let mut shrinker = Shrinker { fails, best: steps, attempts: 0, until: Instant::now() + time };
    shrinker.one_time();
    loop {
        let before = shrinker.attempts;
        let is_smaller =
            [shrinker.fewer_steps(), shrinker.fewer_rows(), shrinker.fewer_columns(), shrinker.simpler_values()];
        if !is_smaller.contains(&true) || shrinker.is_over() || shrinker.attempts == before {
            break;
        }
    }
    Shrunk { steps: shrinker.best, attempts: shrinker.attempts }
}

struct Shrinker<F> {
    fails: F,
    /// The smallest so far that shows the fault.
    best: Vec<Step>,
    attempts: usize,
    until: Instant,
}

impl<F: FnMut(&[Step]) -> bool> Shrinker<F> {
    fn is_over(&self) -> bool {
        self.attempts >= MAX_ATTEMPTS || Instant::now() >= self.until
    }

    /// Takes a smaller sequence over, if it shows the fault.
    fn attempt(&mut self, steps: Vec<Step>) -> bool {
        if self.is_over() {
            return false;
        }
        self.attempts += 1;
        let shows = (self.fails)(&steps);
        if shows {
            self.best = steps;
        }
        shows
    }

    /// Tries another batch in the place of one.
    fn attempt_batch(&mut self, at: usize, batch: Batch) -> bool {
        let mut steps = self.best.clone();
        steps[at] = Step::Batch(batch);
        self.attempt(steps)
    }

    fn batch(&self, at: usize) -> Option<&Batch> {
        match self.best.get(at) {
            Some(Step::Batch(batch)) => Some(batch),
            _ => None,
        }
    }

    /// Tries whether batch time matters.
    fn one_time(&mut self) {
        let mut steps = self.best.clone();
        for (step, id) in steps.iter_mut().zip(1..) {
            match step {
                Step::Batch(batch) => batch.stamp(id, START_MS),
                Step::Tick(now_ms) => *now_ms = START_MS,
            }
        }
        self.attempt(steps);
    }

    fn fewer_steps(&mut self) -> bool {
        let mut is_smaller = false;
        let mut chunk = self.best.len().next_power_of_two() / 2;
        while chunk > 0 {
            let mut from = 0;
            while from < self.best.len() && self.best.len() > 1 {
                let to = (from + chunk).min(self.best.len());
                let fewer: Vec<Step> = [&self.best[..from], &self.best[to..]].concat();
                if !fewer.is_empty() && self.attempt(fewer) {
                    is_smaller = true;
                } else {
                    from = to;
                }
            }
            chunk /= 2;
        }
        is_smaller
    }

    fn fewer_rows(&mut self) -> bool {
        let mut is_smaller = false;
        for at in 0..self.best.len() {
            let Some(rows) = self.batch(at).map(Batch::rows) else { continue };
            let mut chunk = rows.next_power_of_two();
            while chunk > 0 {
                let mut from = 0;
                while let Some(batch) = self.batch(at).filter(|batch| from < batch.rows()) {
                    let to = from + chunk;
                    let kept: Vec<u32> =
                        (0..batch.rows()).filter(|row| !(from..to).contains(row)).map(|row| row as u32).collect();
                    if self.attempt_batch(at, batch.select(&kept)) {
                        is_smaller = true;
                    } else {
                        from = to;
                    }
                    if self.is_over() {
                        return is_smaller;
                    }
                }
                chunk /= 2;
            }
        }
        is_smaller
    }

    fn fewer_columns(&mut self) -> bool {
        let mut is_smaller = false;
        for at in 0..self.best.len() {
            let Some(batch) = self.batch(at) else { continue };
            let columns: Vec<ColumnId> = batch.columns().map(|(column, _)| column).collect();
            for column in columns {
                let Some(mut fewer) = self.batch(at).cloned() else { continue };
                fewer.clear(column);
                is_smaller |= self.attempt_batch(at, fewer);
            }
        }
        is_smaller
    }

    fn simpler_values(&mut self) -> bool {
        let mut is_smaller = false;
        for at in 0..self.best.len() {
            let Some(batch) = self.batch(at).filter(|batch| batch.rows() <= FEW_ROWS) else { continue };
            let cells = batch.columns().flat_map(|(column, _)| (0..batch.rows()).map(move |row| (column, row)));
            let cells: Vec<(ColumnId, usize)> = cells.collect();
            for (column, row) in cells {
                while let Some(batch) = self.batch(at) {
                    let Some(values) = batch.column(column) else { break };
                    let candidates = simpler(values, row).into_iter().filter_map(|values| {
                        let mut batch = batch.clone();
                        batch.set(column, values).ok().map(|()| batch)
                    });
                    let candidates: Vec<Batch> = candidates.collect();
                    if self.is_over() || !candidates.into_iter().any(|batch| self.attempt_batch(at, batch)) {
                        break;
                    }
                    is_smaller = true;
                }
            }
        }
        is_smaller
    }
}

/// The column with something simpler in `row`: the simplest first; nothing if it is as simple as can be.
fn simpler(column: &Column, row: usize) -> Vec<Column> {
    fn numbers<T: Copy>(
        values: &[T],
        row: usize,
        number: u64,
        of: impl Fn(u64) -> T,
        column: impl Fn(Arc<Vec<T>>) -> Column,
    ) -> Vec<Column> {
        let with = |number| {
            let mut values = values.to_vec();
            values[row] = of(number);
            column(Arc::new(values))
        };
        simpler_numbers(number).into_iter().map(with).collect()
    }
    let number = column.number(row);
    match column {
        Column::U8(values) => numbers(values, row, number, |number| number as u8, Column::U8),
        Column::U16(values) => numbers(values, row, number, |number| number as u16, Column::U16),
        Column::U32(values) => numbers(values, row, number, |number| number as u32, Column::U32),
        Column::U64(values) => numbers(values, row, number, |number| number, Column::U64),
        Column::Text(texts) => {
            let mut simpler = Vec::new();
            // Words that no row has go with the first change.
            let with = |text: &str| {
                let word = |at: usize| Arc::from(if at == row { text } else { texts.get(at) });
                let words = (0..texts.codes.len()).map(word).collect();
                Column::Text(Arc::new(Texts { words, codes: (0..texts.codes.len() as u32).collect() }))
            };
            let text = texts.get(row);
            if !text.is_empty() {
                let half: String = text.chars().take(text.chars().count() / 2).collect();
                simpler.extend(["", "a", &half].into_iter().filter(|other| other.len() < text.len()).map(with));
            }
            simpler
        }
        Column::Lists(lists) => {
            let list = lists.get(row);
            let with = |list: &[u32]| {
                let mut simpler = Lists::default();
                (0..lists.offsets.len() - 1).for_each(|at| simpler.push(if at == row { list } else { lists.get(at) }));
                Column::Lists(Arc::new(simpler))
            };
            let (first, second) = list.split_at(list.len() / 2);
            let fewer = [&[][..], first, second].into_iter().filter(|other| other.len() < list.len());
            let mut simpler: Vec<Column> = fewer.map(with).collect();
            if list.len() <= FEW_ROWS {
                for (at, number) in list.iter().enumerate().filter(|(_, number)| **number > 0) {
                    for number in simpler_numbers(u64::from(*number)) {
                        let mut list = list.to_vec();
                        list[at] = number as u32;
                        simpler.push(with(&list));
                    }
                }
            }
            simpler
        }
    }
}

/// Smaller numbers to try, the smallest first.
fn simpler_numbers(number: u64) -> Vec<u64> {
    // Steps of a binary search towards the smallest that shows the fault.
    let steps = (1..64).map(|shift| number >> shift).take_while(|step| *step > 0);
    let mut candidates: Vec<u64> = [0, 1].into_iter().chain(steps.map(|step| number - step)).collect();
    candidates.retain(|candidate| *candidate < number);
    candidates.sort_unstable();
    candidates.dedup();
    candidates
}

#[cfg(test)]
mod tests {
    use sluice_flow::{Schema, col, table};

    use super::*;
    use crate::generate::Generator;

    fn generator() -> Generator {
        let schema = Arc::new(Schema::standard());
        let reads = ["src_addr", "bytes", "proto", "note", "mpls_labels"];
        let reads = reads.iter().flat_map(|name| schema.columns(name).unwrap()).collect();
        let manifest = sluice_plugin::Manifest {
            name: "p".to_owned(),
            version: "1".to_owned(),
            reads,
            writes: reads,
            stateful: false,
            tick_ms: None,
        };
        Generator::new(1, &schema, &manifest, false, "{}")
    }

    fn rows(steps: &[Step]) -> impl Iterator<Item = (&Batch, usize)> {
        let batches = steps.iter().filter_map(|step| match step {
            Step::Batch(batch) => Some(batch),
            Step::Tick(_) => None,
        });
        batches.flat_map(|batch| (0..batch.rows()).map(move |row| (batch, row)))
    }

    fn check(fault: impl Fn(&Batch, usize) -> bool, expected: &str) {
        let steps = generator().sequence(60);
        let fails = |steps: &[Step]| rows(steps).any(|(batch, row)| fault(batch, row));
        assert!(fails(&steps), "it is in there");
        let shrunk = shrink(steps, Duration::from_secs(60), fails);
        let [Step::Batch(batch)] = shrunk.steps.as_slice() else { panic!("one batch: {:?}", shrunk.steps) };
        let names: Vec<&str> = batch.columns().filter_map(|(column, _)| batch.schema().name(column)).collect();
        assert_eq!(table(batch, &names).split_whitespace().collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_fault_of_one_row_becomes_one_row_with_the_smallest_value() {
        check(|batch, row| batch.number(col::BYTES, row) >= 10_000, "bytes 10000");
        check(
            |batch, row| batch.number(col::PROTO, row) == 17 && batch.number(col::BYTES, row) > 99,
            "bytes proto 100 17",
        );
        check(|batch, row| batch.list(col::MPLS_LABELS, row).len() > 1, "mpls_labels 0,0");
    }

    #[test]
    fn a_fault_that_takes_two_batches_keeps_two() {
        let steps = generator().sequence(60);
        let fails = |steps: &[Step]| {
            let with_rows = steps.iter().filter(|step| matches!(step, Step::Batch(batch) if batch.rows() >= 3));
            with_rows.count() >= 2
        };
        let shrunk = shrink(steps, Duration::from_secs(60), fails);
        assert_eq!(shrunk.steps.len(), 2);
        assert_eq!(rows(&shrunk.steps).count(), 6);
        assert!(rows(&shrunk.steps).all(|(batch, _)| batch.columns().next().is_none()));
    }

    #[test]
    fn it_ends_where_nothing_can_be_left_out() {
        let steps = generator().sequence(3);
        let shrunk = shrink(steps, Duration::from_secs(60), |steps| steps.len() == 3);
        assert_eq!(shrunk.steps.len(), 3);
        assert!(shrunk.attempts < MAX_ATTEMPTS);
    }
}
