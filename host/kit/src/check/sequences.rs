//! The rules that made-up sequences are held against.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_flow::{ColumnId, Schema};
use sluice_plugin::{Answer, Called, LoadError, Trap, Trial};

use super::run::{
    difference, difference_of_metrics, first_difference, is_same_trap, refused_in, run, run_fresh, trap_in,
};
use super::{Case, CaseStep, Expected, Found, Outcome, Progress, Rule, Subject, count, reason};
use crate::generate::Step;
use crate::rows;
use crate::shrink::shrink;

/// Batches of one sequence.
const SEQUENCE: usize = 25;
/// Different traps that are shown.
const MOST_TRAPS: usize = 5;

/// What the sequences came to.
#[derive(Default)]
struct Tally {
    batches: usize,
    rows: usize,
    ticks: usize,
    traps: Vec<Trap>,
    /// Texts of refusals, and how often each was given.
    refusals: BTreeMap<String, usize>,
    refused: usize,
    fuel: u64,
    restored: usize,
    /// Snapshots that differ though all answers were the same.
    other_snapshots: usize,
    found: Vec<Found>,
}

impl Tally {
    fn is_broken(&self, rule: Rule) -> bool {
        self.found.iter().any(|found| found.rule == rule)
    }
}

impl Subject<'_> {
    /// Runs sequences, each in fresh instances; the traps, too.
    pub(super) fn sequences(&self, progress: Progress<'_>) -> Result<(Vec<Found>, Vec<Trap>), LoadError> {
        let of = self.settings.batches;
        let mut generator = self.generator(self.settings.seed);
        let mut tally = Tally::default();
        while tally.batches < of {
            progress("batches", tally.batches, of);
            let steps = generator.sequence(SEQUENCE.min(of - tally.batches));
            self.sequence(&steps, &mut tally, progress)?;
        }
        progress("batches", of, of);
        let traps = tally.traps.clone();
        Ok((self.sum_up(tally), traps))
    }

    fn sequence(&self, steps: &[Step], tally: &mut Tally, progress: Progress<'_>) -> Result<(), LoadError> {
        // There is room for some.
        self.logged();
        let answers = run_fresh(&self.loaded, steps)?;
        for step in steps {
            match step {
                Step::Batch(batch) => {
                    tally.batches += 1;
                    tally.rows += batch.rows();
                }
                Step::Tick(_) => tally.ticks += 1,
            }
        }
        tally.fuel += answers.iter().filter_map(|called| called.fuel).sum::<u64>();
        for called in &answers {
            if let Answer::Refused(text) | Answer::RetryLater(text) = &called.answer {
                tally.refused += 1;
                *tally.refusals.entry(text.clone()).or_default() += 1;
            }
        }
        let made = &steps[..answers.len()];
        if let Some(trap) = trap_in(&answers) {
            self.trap(trap, made, tally, progress);
        }
        if !tally.is_broken(Rule::Columns)
            && let Some(column) = refused_in(&answers).iter().next()
        {
            self.column(column, made, tally, progress);
        }
        // A trap ends an instance, and what comes after it nobody sees.
        let made = &made[..made.len() - usize::from(trap_in(&answers).is_some())];
        if !tally.is_broken(Rule::Repeat) {
            self.repeat(made, tally, progress)?;
        }
        let (_, keeps_state) = self.loaded.exports();
        if !self.loaded.manifest().stateful && !self.ticks() && !tally.is_broken(Rule::Order) {
            self.order(made, tally, progress)?;
        }
        // What is remembered and should not be is not saved either.
        if keeps_state && !tally.is_broken(Rule::Restore) && !tally.is_broken(Rule::Order) {
            self.restore(made, tally, progress)?;
        }
        Ok(())
    }

    /// The smallest case of a fault.
    pub(super) fn smallest(
        &self,
        rule: Rule,
        steps: &[Step],
        progress: Progress<'_>,
        mut fails: impl FnMut(&[Step]) -> bool,
    ) -> Option<Case> {
        // What shows only now and then cannot be made smaller.
        if !fails(steps) {
            return None;
        }
        let mut attempts = 0;
        let shrunk = shrink(steps.to_vec(), self.settings.shrink_for, |steps| {
            attempts += 1;
            progress(&format!("a smaller case of {}", rule.name()), attempts, 0);
            fails(steps)
        });
        let written: Vec<Step> = shrunk.steps.iter().map(|step| as_written(step, &self.spec.schema)).collect();
        let is_writable = fails(&written);
        let steps = if is_writable { written } else { shrunk.steps };
        let steps = steps.into_iter().map(|step| CaseStep { step, restart: false, expected: None }).collect();
        Some(Case { steps, attempts: shrunk.attempts, is_writable })
    }

    fn trap(&self, trap: &Trap, made: &[Step], tally: &mut Tally, progress: Progress<'_>) {
        if tally.traps.iter().any(|known| is_same_trap(known, trap)) || tally.traps.len() == MOST_TRAPS {
            return;
        }
        tally.traps.push(trap.clone());
        tally.found.push(self.trapped(Rule::Trap, trap, made, progress));
    }

    /// A trap, and the smallest case of it.
    pub(super) fn trapped(&self, rule: Rule, trap: &Trap, made: &[Step], progress: Progress<'_>) -> Found {
        let case = self.smallest(rule, made, progress, |steps| {
            run_fresh(&self.loaded, steps)
                .is_ok_and(|answers| trap_in(&answers).is_some_and(|other| is_same_trap(trap, other)))
        });
        let function = match made.last() {
            Some(Step::Tick(_)) => "tick",
            _ => "process",
        };
        let what = match trap.kind {
            "deadline" => format!("{function} took more than {} ms", self.spec.limits.deadline_ms),
            "memory" => format!("{function} wanted more than {} bytes of memory", self.spec.limits.memory),
            _ => format!("{function} trapped: {}", reason(trap)),
        };
        let mut details: Vec<String> = trap.backtrace.iter().map(|frame| format!("at {frame}")).collect();
        if let Some(case) = &case {
            let steps: Vec<Step> = case.steps.iter().map(|step| step.step.clone()).collect();
            self.logged();
            drop(run_fresh(&self.loaded, &steps));
            details.splice(0..0, self.logged());
        }
        Found { details, case, ..Subject::found(rule, Outcome::Broken, what) }
    }

    fn column(&self, column: ColumnId, made: &[Step], tally: &mut Tally, progress: Progress<'_>) {
        let case = self.smallest(Rule::Columns, made, progress, |steps| {
            run_fresh(&self.loaded, steps).is_ok_and(|answers| refused_in(&answers).contains(column))
        });
        let text = match self.spec.schema.name(column) {
            Some(name) => format!("wants `{name}` (column {column}), which its manifest does not list, and is refused"),
            None => format!("wants column {column}, which does not exist, and is refused"),
        };
        tally.found.push(Found { case, ..Subject::found(Rule::Columns, Outcome::Broken, text) });
    }

    fn repeat(&self, made: &[Step], tally: &mut Tally, progress: Progress<'_>) -> Result<(), LoadError> {
        let twice = |steps: &[Step]| -> Result<Option<String>, LoadError> {
            let [mut one, mut other] = [Trial::new(&self.twins[0])?, Trial::new(&self.twins[1])?];
            if let Some((at, difference)) = first_difference(&run(&mut one, steps), &run(&mut other, steps)) {
                return Ok(Some(format!("call {} of the same calls differently: {difference}", at + 1)));
            }
            Ok(difference_of_metrics(&one.metrics(), &other.metrics()))
        };
        let Some(difference) = twice(made)? else { return Ok(()) };
        let case = self.smallest(Rule::Repeat, made, progress, |steps| twice(steps).is_ok_and(|found| found.is_some()));
        let text = format!("two new instances answer {difference}");
        tally.found.push(Found { case, ..Subject::found(Rule::Repeat, Outcome::Broken, text) });
        Ok(())
    }

    fn order(&self, made: &[Step], tally: &mut Tally, progress: Progress<'_>) -> Result<(), LoadError> {
        let both_ways = |steps: &[Step]| -> Result<_, LoadError> {
            let forth = run_fresh(&self.loaded, steps)?;
            let reversed: Vec<Step> = steps.iter().rev().cloned().collect();
            let mut back = run_fresh(&self.loaded, &reversed)?;
            // One that ended early has no answers for the first steps.
            let missing = steps.len() - back.len();
            back.reverse();
            let pairs = forth.iter().skip(missing).zip(&back);
            Ok(pairs.enumerate().find_map(|(at, (a, b))| Some((at + missing, difference(a, b)?))))
        };
        let Some((_, difference)) = both_ways(made)? else { return Ok(()) };
        let mut case =
            self.smallest(Rule::Order, made, progress, |steps| both_ways(steps).is_ok_and(|found| found.is_some()));
        if let Some(case) = &mut case {
            self.expect_what_a_fresh_instance_says(case)?;
        }
        let text = format!(
            "answers depend on the batches before, and the manifest says that it keeps no state: {difference}; \
             declare it stateful, or keep nothing from batch to batch"
        );
        tally.found.push(Found { case, ..Subject::found(Rule::Order, Outcome::Broken, text) });
        Ok(())
    }

    /// Turns the case so that it has a batch that is answered wrongly, and says what would be right.
    fn expect_what_a_fresh_instance_says(&self, case: &mut Case) -> Result<(), LoadError> {
        for _ in 0..case.steps.len() {
            let steps: Vec<Step> = case.steps.iter().map(|step| step.step.clone()).collect();
            for (at, answer) in run_fresh(&self.loaded, &steps)?.iter().enumerate() {
                let alone = run_fresh(&self.loaded, &steps[at..=at])?;
                if let Some(alone) = alone.first()
                    && difference(alone, answer).is_some()
                {
                    case.steps[at].expected = expected(alone);
                    return Ok(());
                }
            }
            case.steps.rotate_right(1);
        }
        Ok(())
    }

    fn sum_up(&self, tally: Tally) -> Vec<Found> {
        let Tally { batches, rows, ticks, .. } = tally;
        let (_, keeps_state) = self.loaded.exports();
        let is_stateful = self.loaded.manifest().stateful;
        let holds = |rule, text: String| Subject::found(rule, Outcome::Holds, text);
        let skipped = |rule, text: &str| Subject::found(rule, Outcome::Skipped, text);
        let calls = format!("{} with {rows} rows", count(batches, "batch", "batches"));
        let ticks = if ticks > 0 { format!(" and {}", count(ticks, "tick", "ticks")) } else { String::new() };
        let mut rest = Vec::new();
        if !tally.is_broken(Rule::Trap) {
            rest.push(holds(Rule::Trap, format!("{calls}{ticks}: no trap")));
        }
        rest.push(match tally.refusals.iter().max_by_key(|(_, times)| **times) {
            Some((text, _)) => {
                let text = format!("{} of {batches} batches refused, e.g. \"{text}\"", tally.refused);
                Subject::found(Rule::Refusal, Outcome::Warning, text)
            }
            None => holds(Rule::Refusal, "no batch refused".to_owned()),
        });
        if !tally.is_broken(Rule::Columns) {
            rest.push(holds(Rule::Columns, "nothing asked for that is not in the manifest".to_owned()));
        }
        if !tally.is_broken(Rule::Repeat) {
            let text = format!("two instances answer the same ({} fuel)", tally.fuel);
            rest.push(holds(Rule::Repeat, text));
        }
        if is_stateful || self.ticks() {
            rest.push(skipped(Rule::Order, "keeps state"));
        } else if !tally.is_broken(Rule::Order) {
            rest.push(holds(Rule::Order, "answers do not depend on the batches before".to_owned()));
        }
        if !keeps_state {
            let outcome = if is_stateful { Outcome::Warning } else { Outcome::Skipped };
            let text =
                if is_stateful { "keeps state and does not export `state`: a trap loses it" } else { "no `state`" };
            rest.push(Subject::found(Rule::Restore, outcome, text));
        } else if tally.restored == 0 {
            rest.push(skipped(Rule::Restore, "not seen: what is above came first"));
        } else if !tally.is_broken(Rule::Restore) {
            let text = format!("{} restored in the middle of a sequence: same answers", tally.restored);
            rest.push(match tally.other_snapshots {
                0 => holds(Rule::Restore, text),
                others => {
                    let text = format!("{text}, but another snapshot at the end in {others}: something may be lost");
                    Subject::found(Rule::Restore, Outcome::Warning, text)
                }
            });
        }
        rest.extend(tally.found);
        rest
    }

    /// State out of one instance and into another in the middle of the steps.
    fn restore(&self, made: &[Step], tally: &mut Tally, progress: Progress<'_>) -> Result<(), LoadError> {
        let middle = made.len() / 2;
        if middle == 0 {
            return Ok(());
        }
        tally.restored += 1;
        let text = match self.continued(made, middle)? {
            Continued::Same { is_same_snapshot } => {
                tally.other_snapshots += usize::from(!is_same_snapshot);
                return Ok(());
            }
            Continued::Otherwise(text) => text,
        };
        // Where to cut is part of the case.
        let cut_of = |steps: &[Step]| {
            (1..steps.len()).find(|cut| matches!(self.continued(steps, *cut), Ok(Continued::Otherwise(_))))
        };
        let mut case = self.smallest(Rule::Restore, made, progress, |steps| cut_of(steps).is_some());
        if let Some(case) = &mut case {
            let steps: Vec<Step> = case.steps.iter().map(|step| step.step.clone()).collect();
            let cut = cut_of(&steps).unwrap_or(steps.len());
            let answers = run_fresh(&self.loaded, &steps)?;
            for (at, (step, answer)) in case.steps.iter_mut().zip(&answers).enumerate().skip(cut) {
                step.restart = at == cut;
                step.expected = expected(answer);
            }
        }
        tally.found.push(Found { case, ..Subject::found(Rule::Restore, Outcome::Broken, text) });
        Ok(())
    }

    /// Whether an instance with restored state goes on as the one that it was taken from.
    fn continued(&self, steps: &[Step], cut: usize) -> Result<Continued, LoadError> {
        let (before, after) = steps.split_at(cut);
        let mut original = Trial::new(&self.loaded)?;
        if trap_in(&run(&mut original, before)).is_some() {
            return Ok(Continued::Same { is_same_snapshot: true });
        }
        let otherwise = |text: String| Ok(Continued::Otherwise(text));
        let state = match original.snapshot() {
            Ok(state) => state.unwrap_or_default(),
            Err(trap) => return otherwise(format!("snapshot trapped: {}", reason(&trap))),
        };
        let bytes = state.len();
        let mut restored = Trial::new(&self.loaded)?;
        match restored.restore(state) {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                return otherwise(format!("restore does not understand a snapshot of {bytes} bytes of its own"));
            }
            Ok(Err(text)) => {
                return otherwise(format!("restore refuses a snapshot of {bytes} bytes of its own: {text}"));
            }
            Err(trap) => {
                return otherwise(format!(
                    "restore trapped on a snapshot of {bytes} bytes of its own: {}",
                    reason(&trap)
                ));
            }
        }
        let (a, b): (Vec<Called>, Vec<Called>) = (run(&mut original, after), run(&mut restored, after));
        if let Some((at, difference)) = first_difference(&a, &b) {
            let call = at + 1;
            return otherwise(format!(
                "restored state is not the same: call {call} after it is answered differently: {difference}"
            ));
        }
        if trap_in(&a).is_some() {
            return Ok(Continued::Same { is_same_snapshot: true });
        }
        match (original.snapshot(), restored.snapshot()) {
            (Ok(a), Ok(b)) => Ok(Continued::Same { is_same_snapshot: a == b }),
            _ => otherwise("snapshot trapped".to_owned()),
        }
    }
}

/// The step as it is when it was written to TOML and read again.
fn as_written(step: &Step, schema: &Arc<Schema>) -> Step {
    match step {
        Step::Batch(batch) => Step::Batch(rows::to_batch(&rows::of_batch(batch), schema, batch.id(), batch.now_ms())),
        Step::Tick(now_ms) => Step::Tick(*now_ms),
    }
}

/// What a right answer is; none of one that failed.
fn expected(called: &Called) -> Option<Expected> {
    match &called.answer {
        Answer::Done(batch) => {
            Some(Expected { batch: batch.as_ref().map(|(batch, _)| batch.clone()), alerts: called.alerts.clone() })
        }
        _ => None,
    }
}

/// What became of restored state.
enum Continued {
    /// The same answers.
    Same { is_same_snapshot: bool },
    /// What is wrong.
    Otherwise(String),
}
