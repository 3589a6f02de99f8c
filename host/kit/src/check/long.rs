//! What shows after many batches, or in a large one.

use std::time::Instant;

use sluice_flow::Batch;
use sluice_plugin::{Answer, LoadError, Trap, Trial};

use super::{Found, Outcome, Progress, Rule, Subject, count, reason};
use crate::generate::{MOST_ROWS, Step};

/// Rows of the batches that show whether memory grows.
const SMALL: usize = 8;
/// Different batches that are given again and again: what a plugin remembers of them it has after the first round.
const ROUND: usize = 16;
/// Batch time between two of them.
const PACE_MS: u64 = 100;
/// How much more memory there may be at the end than after a tenth of the batches.
const FACTOR: usize = 2;

impl Subject<'_> {
    /// Gives one instance many small batches.
    pub(super) fn memory(&self, known: &[Trap], progress: Progress<'_>) -> Result<Found, LoadError> {
        let of = self.settings.memory_batches;
        if of == 0 {
            return Ok(Subject::found(Rule::Memory, Outcome::Skipped, "not asked for"));
        }
        let mut generator = self.generator(self.settings.seed);
        let round: Vec<Batch> = (0..ROUND).map(|_| generator.ordinary(SMALL)).collect();
        let tick_ms = self.loaded.manifest().tick_ms.filter(|_| self.ticks()).map(u64::from);
        let mut trial = Trial::new(&self.loaded)?;
        let mut early = trial.memory();
        for number in 0..of {
            if number % 100 == 0 {
                progress("small batches, for memory", number, of);
            }
            let from_ms = generator.now_ms();
            generator.pass(PACE_MS);
            let now_ms = generator.now_ms();
            if tick_ms.is_some_and(|tick_ms| from_ms / tick_ms != now_ms / tick_ms) {
                trial.tick(now_ms);
            }
            let mut batch = round[number % ROUND].clone();
            batch.stamp(number as u64 + 1, now_ms);
            if let Answer::Trapped(trap) = trial.process(batch).answer {
                // Where memory ends is chance, unless it was one batch that wanted so much.
                let is_sudden = trap.kind != "memory" || number < ROUND;
                if let Some(found) = Subject::trapped_as_known(Rule::Memory, &trap, known).filter(|_| is_sudden) {
                    return Ok(found);
                }
                let batches = count(number + 1, "small batch", "small batches");
                let text = match trap.kind {
                    "memory" => format!("out of memory after {batches}: {early} bytes after a tenth of them"),
                    _ => format!("{} after {batches}: {}", trap.kind, reason(&trap)),
                };
                let details = trap.backtrace.iter().map(|frame| format!("at {frame}")).collect();
                return Ok(Found { details, ..Subject::found(Rule::Memory, Outcome::Broken, text) });
            }
            if number == of / 10 {
                early = trial.memory();
            }
        }
        progress("small batches, for memory", of, of);
        let late = trial.memory();
        let tenth = of / 10;
        let (outcome, text) = if late > early * FACTOR {
            let text = format!("grows: {early} bytes after {tenth} small batches, {late} after {of}");
            (Outcome::Broken, text)
        } else {
            (Outcome::Holds, format!("{early} bytes after {tenth} small batches, {late} after {of}"))
        };
        Ok(Subject::found(Rule::Memory, outcome, text))
    }

    /// Gives a fresh instance the largest batches.
    pub(super) fn time(&self, known: &[Trap], progress: Progress<'_>) -> Result<Vec<Found>, LoadError> {
        let mut generator = self.generator(self.settings.seed);
        let deadline_ms = self.spec.limits.deadline_ms;
        let (mut longest, mut fuel) = (0, None);
        const BATCHES: usize = 4;
        for number in 0..BATCHES {
            progress("large batches", number, BATCHES);
            let batch = if number == 0 { generator.ordinary(MOST_ROWS) } else { generator.batch(MOST_ROWS) };
            let mut trial = Trial::new(&self.loaded)?;
            let began = Instant::now();
            let called = trial.process(batch.clone());
            let ms = began.elapsed().as_millis();
            let trapped = match &called.answer {
                Answer::Trapped(trap) => Subject::trapped_as_known(Rule::Time, trap, known),
                _ => None,
            };
            if let Some(found) = trapped {
                return Ok(vec![found]);
            }
            match called.answer {
                Answer::Trapped(trap) if trap.kind == "trap" => {
                    let skipped = Subject::found(Rule::Time, Outcome::Skipped, "not seen: the largest batch traps");
                    return Ok(vec![self.trapped(Rule::Trap, &trap, &[Step::Batch(batch)], progress), skipped]);
                }
                Answer::Trapped(trap) => {
                    let text = match trap.kind {
                        "deadline" => format!("{MOST_ROWS} rows take more than {deadline_ms} ms"),
                        _ => format!("{MOST_ROWS} rows take more than {} bytes of memory", self.spec.limits.memory),
                    };
                    let details = trap.backtrace.iter().map(|frame| format!("at {frame}")).collect();
                    return Ok(vec![Found { details, ..Subject::found(Rule::Time, Outcome::Broken, text) }]);
                }
                _ => {}
            }
            longest = longest.max(ms);
            fuel = fuel.or(called.fuel);
        }
        let fuel = fuel.map_or(String::new(), |fuel| format!(", {:.1} fuel a row", fuel as f64 / MOST_ROWS as f64));
        let text = format!("{MOST_ROWS} rows in {longest} ms of {deadline_ms}{fuel}");
        Ok(vec![Subject::found(Rule::Time, Outcome::Holds, text)])
    }
}
