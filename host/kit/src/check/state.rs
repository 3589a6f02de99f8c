//! State that nobody saved: of another version, another plugin, a bad disk.

use sluice_plugin::{LoadError, Trap, Trial};

use super::run::{is_same_trap, run, run_fresh, trap_in};
use super::{Found, Outcome, Progress, Rule, Subject, count, reason};
use crate::generate::{Random, Step};

/// Rows and batches that an instance gets after it took over what it should not have.
const AFTER: (usize, usize) = (8, 4);
/// Bytes of bad state that are shown.
const SHOWN: usize = 48;

impl Subject<'_> {
    /// Gives bad state to fresh instances.
    pub(super) fn bad_state(&self, known: &[Trap], progress: Progress<'_>) -> Result<Found, LoadError> {
        if !self.loaded.exports().1 {
            return Ok(Subject::found(Rule::BadState, Outcome::Skipped, "no `state`"));
        }
        let mut generator = self.generator(self.settings.seed);
        let after: Vec<Step> = (0..AFTER.1)
            .map(|_| {
                generator.pass(100);
                Step::Batch(generator.ordinary(AFTER.0))
            })
            .collect();
        let mut trial = Trial::new(&self.loaded)?;
        // An instance that trapped has no snapshot; then bad state is what is made up only.
        let is_up = trap_in(&run(&mut trial, &generator.sequence(8))).is_none();
        let good = if is_up { trial.snapshot().ok().flatten().unwrap_or_default() } else { Vec::new() };
        // Batches that trap anyway say nothing about state.
        let is_after_good = trap_in(&run_fresh(&self.loaded, &after)?).is_none();
        let states = bad_states(&good, self.settings.seed);
        let (mut refused, mut taken) = (0, 0);
        for (at, (what, state)) in states.iter().enumerate() {
            progress("bad states", at, states.len());
            let mut trial = Trial::new(&self.loaded)?;
            let problem = match trial.restore(state.clone()) {
                Ok(Ok(true)) => {
                    taken += 1;
                    let answers = run(&mut trial, &after);
                    let is_new = |trap: &&Trap| is_after_good && !known.iter().any(|known| is_same_trap(known, trap));
                    let trap = trap_in(&answers).filter(is_new);
                    trap.map(|trap| ("was taken over, and then process trapped", trap.clone()))
                }
                Ok(Ok(false) | Err(_)) => {
                    refused += 1;
                    None
                }
                Err(trap) => Some(("restore trapped", trap)),
            };
            let Some((how, trap)) = problem else { continue };
            let mut details = vec![format!("state: {}", shown(state))];
            details.extend(trap.backtrace.iter().map(|frame| format!("at {frame}")));
            // One is enough to go and look.
            let text = format!("{what}: {how}: {}", reason(&trap));
            return Ok(Found { details, ..Subject::found(Rule::BadState, Outcome::Broken, text) });
        }
        let text =
            format!("{}: {refused} refused, {taken} taken over, no trap", count(states.len(), "state", "states"));
        Ok(Subject::found(Rule::BadState, Outcome::Holds, text))
    }
}

/// Bytes that are no state, and in what way.
fn bad_states(good: &[u8], seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut random = Random::new(seed);
    let mut any = |bytes: usize| (0..bytes).map(|_| random.next() as u8).collect::<Vec<u8>>();
    let mut states: Vec<(String, Vec<u8>)> = vec![
        ("no bytes".to_owned(), Vec::new()),
        ("one zero".to_owned(), vec![0]),
        ("text".to_owned(), b"{\"state\": null}".to_vec()),
        ("65536 zeros".to_owned(), vec![0; 1 << 16]),
        ("65536 ones".to_owned(), vec![0xff; 1 << 16]),
    ];
    for bytes in [1, 2, 3, 4, 7, 8, 9, 12, 16, 24, 64, 1000, 100_000] {
        states.push((format!("{bytes} bytes of noise"), any(bytes)));
    }
    if good.is_empty() {
        return states;
    }
    let length = good.len();
    for kept in [1, 2, 4, 8, 12, length / 4, length / 2, length - 1] {
        if kept < length {
            states.push((format!("a snapshot cut off after {kept} of {length} bytes"), good[..kept].to_vec()));
        }
    }
    states.push(("a snapshot and a byte more".to_owned(), [good, &[0]].concat()));
    states.push(("a snapshot twice".to_owned(), [good, good].concat()));
    // The first bytes are versions and lengths.
    let mut places: Vec<usize> = (0..length.min(24)).collect();
    places.extend((0..24).map(|_| random.below(length as u64) as usize));
    for at in places {
        for byte in [0xff, !good[at]] {
            let mut changed = good.to_vec();
            changed[at] = byte;
            states.push((format!("a snapshot with byte {at} changed to {byte:#04x}"), changed));
        }
    }
    // A length that is not there.
    for at in (0..length.saturating_sub(4).min(32)).step_by(4) {
        let mut changed = good.to_vec();
        changed[at..at + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        states.push((format!("a snapshot with the number at byte {at} changed to 2147483647"), changed));
    }
    states
}

fn shown(state: &[u8]) -> String {
    let hex: String = state.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    match state.len() {
        0 => "nothing".to_owned(),
        1..=SHOWN => hex,
        bytes => format!("{hex}... ({bytes} bytes)"),
    }
}
