//! What a run of cases came to, for people, for programs and for the pages of CI systems.

mod json;
mod junit;
mod text;

use std::time::Duration;

use sluice_flow::{ColumnSet, Schema};

use crate::case::{Case, Fixture};
use crate::rows;
use crate::run::{Coverage, Mismatch, Outcome};

/// A run of cases.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The files that were read.
    pub fixtures: &'a [Fixture],
    /// What each of their cases came to; none for one that was not run.
    pub outcomes: &'a [Vec<Option<Outcome>>],
    /// What they leave untouched, all together; none if only some were run.
    pub coverage: Option<&'a Coverage>,
    /// The columns there are.
    pub schema: &'a Schema,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report<'_> {
    /// Cases that passed, and cases that failed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let run = self.outcomes.iter().flatten().flatten();
        let (passed, failed): (Vec<_>, Vec<_>) = run.partition(|outcome| outcome.is_passed());
        (passed.len(), failed.len())
    }

    /// A line a case and, where one failed, what was expected and what came; then what no case touched.
    #[must_use]
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// One JSON object, on one line.
    #[must_use]
    pub fn json(&self) -> String {
        json::json(self)
    }

    /// JUnit's XML, as CI systems read it: a suite a file.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::junit(self)
    }

    /// The files with those of their cases that were run.
    fn by_file(&self) -> impl Iterator<Item = (&Fixture, Vec<(&Case, &Outcome)>)> {
        self.fixtures.iter().zip(self.outcomes).filter_map(|(fixture, outcomes)| {
            let cases = fixture.cases.iter().zip(outcomes);
            let run: Vec<_> = cases.filter_map(|(case, outcome)| Some((case, outcome.as_ref()?))).collect();
            (!run.is_empty()).then_some((fixture, run))
        })
    }

    fn names(&self, columns: ColumnSet) -> Vec<String> {
        rows::names_of(self.schema, columns)
    }
}

impl Mismatch {
    /// What is wrong and where: `rows, line 12`, `step 2, rows, line 30`.
    fn place(&self) -> String {
        let step = self.step.map_or_else(String::new, |step| format!("step {step}, "));
        format!("{step}{}, line {}", self.what, self.line)
    }
}
