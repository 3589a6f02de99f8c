//! Looks for what breaks a plugin: made-up batches, and rules that hold for every plugin whatever it does.

mod fixture;
mod long;
mod run;
mod sequences;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_plugin::{Host, LoadError, Loaded, LogLine, LogOut, Manifest, StageSpec, Trap};

use crate::generate::Step;
pub use fixture::fixture;

/// How thoroughly to look.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// Where the randomness starts: the same seed gives the same batches.
    pub seed: u64,
    /// Made-up batches, in sequences that each begin with a new instance.
    pub batches: usize,
    /// Small batches that one instance gets to show that its memory does not grow.
    pub memory_batches: usize,
    /// How long to look for a smaller case of one finding.
    pub shrink_for: Duration,
}

impl Default for CheckSettings {
    fn default() -> CheckSettings {
        CheckSettings { seed: 1, batches: 200, memory_batches: 10_000, shrink_for: Duration::from_secs(15) }
    }
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// No batch and no tick ends the instance.
    Trap,
    /// No batch is refused.
    Refusal,
    /// Nothing is asked for that is not in the manifest.
    Columns,
    /// Two instances answer the same batches in the same way.
    Repeat,
    /// A plugin without state answers a batch in the same way whatever came before.
    Order,
    /// State that was saved and restored is as good as the state itself.
    Restore,
    /// Any bytes are taken over or refused as state.
    BadState,
    /// Memory does not grow with the number of batches.
    Memory,
    /// The largest batch takes less than the deadline.
    Time,
}

impl Rule {
    /// Its name, in reports and in names of files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::Trap => "trap",
            Rule::Refusal => "refusal",
            Rule::Columns => "columns",
            Rule::Repeat => "repeat",
            Rule::Order => "order",
            Rule::Restore => "restore",
            Rule::BadState => "bad-state",
            Rule::Memory => "memory",
            Rule::Time => "time",
        }
    }

    /// What holds where it is not broken.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Rule::Trap => "no call ends the instance",
            Rule::Refusal => "no batch is refused",
            Rule::Columns => "nothing is asked for that is not in the manifest",
            Rule::Repeat => "the same batches are answered in the same way",
            Rule::Order => "an answer does not depend on the batches before",
            Rule::Restore => "restored state is the same state",
            Rule::BadState => "bad state is refused",
            Rule::Memory => "memory does not grow",
            Rule::Time => "the largest batch takes less than the deadline",
        }
    }

    /// Whether a case of it fails in `sluice plugin test`.
    #[must_use]
    pub fn shows_in_a_test(self) -> bool {
        matches!(self, Rule::Trap | Rule::Order | Rule::Restore)
    }
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, as far as was looked.
    Holds,
    /// Worth a look, and allowed.
    Warning,
    /// It is broken.
    Broken,
    /// It does not apply to this plugin, or could not be looked at.
    Skipped,
}

/// What was found about a rule. A rule that is broken in several ways has one of these each.
#[derive(Clone, Debug)]
pub struct Found {
    /// The rule.
    pub rule: Rule,
    /// What became of it.
    pub outcome: Outcome,
    /// What was seen, on one line.
    pub text: String,
    /// More about it, a line each: where it trapped.
    pub details: Vec<String>,
    /// Calls that show it, as few and as simple as could be found.
    pub case: Option<Case>,
}

/// Calls that show that a rule is broken, in a new instance.
#[derive(Clone, Debug)]
pub struct Case {
    /// The calls.
    pub steps: Vec<CaseStep>,
    /// Attempts that it took to make it so small.
    pub attempts: usize,
    /// Whether it shows with the rows as TOML has them, too: there a column of zeros is one that is absent.
    pub is_writable: bool,
}

/// One call of a case.
#[derive(Clone, Debug)]
pub struct CaseStep {
    /// The call.
    pub step: Step,
    /// Whether the state is taken over by another instance first.
    pub restart: bool,
    /// What it should answer, if that is known.
    pub expected: Option<Expected>,
}

/// What a call should answer.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The batch that should come out.
    pub batch: Option<sluice_flow::Batch>,
    /// The alerts that should be raised.
    pub alerts: Vec<sluice_pipeline::Event>,
}

impl Case {
    /// Calls, batches and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize, usize) {
        let batches = self.steps.iter().filter_map(|step| match &step.step {
            Step::Batch(batch) => Some(batch.rows()),
            Step::Tick(_) => None,
        });
        let (number, rows) = batches.fold((0, 0), |(number, all), rows| (number + 1, all + rows));
        (self.steps.len(), number, rows)
    }
}

/// Everything that was found about a plugin.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// What the plugin is.
    pub manifest: Manifest,
    /// Whether it exports `timer` and whether it exports `state`.
    pub exports: (bool, bool),
    /// Findings, rule by rule.
    pub found: Vec<Found>,
}

impl CheckReport {
    /// Whether no rule is broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.found.iter().all(|found| found.outcome != Outcome::Broken)
    }
}

/// What is being done: what it is, how many are done, of how many.
pub type Progress<'a> = &'a mut dyn FnMut(&str, usize, usize);

/// Checks the plugin of `spec` against every rule. Its services are as in `spec`; its log lines go nowhere.
///
/// # Errors
/// If the plugin does not load, or stops starting.
pub fn check(
    host: &Arc<Host>,
    spec: &StageSpec,
    settings: &CheckSettings,
    progress: Progress<'_>,
) -> Result<CheckReport, LoadError> {
    let mut spec = spec.clone();
    let log = Arc::default();
    spec.services.log = LogOut::Kept(Arc::clone(&log));
    let loaded = Loaded::load(host, spec.clone())?;
    // Metrics are those of a stage: each of the two has its own.
    let twin = |name: &str| Loaded::load(host, StageSpec { name: name.to_owned(), ..spec.clone() });
    let twins = [twin("first")?, twin("second")?];
    let subject = Subject { loaded, twins, spec, settings, log };
    let (mut found, traps) = subject.sequences(progress)?;
    found.push(subject.bad_state(&traps, progress)?);
    found.push(subject.memory(&traps, progress)?);
    found.extend(subject.time(&traps, progress)?);
    found.sort_by_key(|found| found.rule);
    Ok(CheckReport { manifest: subject.loaded.manifest(), exports: subject.loaded.exports(), found })
}

/// The plugin, and how to look.
struct Subject<'a> {
    loaded: Arc<Loaded>,
    /// Two more, which are given the same calls and no others.
    twins: [Arc<Loaded>; 2],
    spec: StageSpec,
    settings: &'a CheckSettings,
    /// What was logged since somebody looked.
    log: Arc<Mutex<Vec<LogLine>>>,
}

impl Subject<'_> {
    fn found(rule: Rule, outcome: Outcome, text: impl Into<String>) -> Found {
        Found { rule, outcome, text: text.into(), details: Vec::new(), case: None }
    }

    /// A rule that could not be looked at, since the plugin trapped as it does elsewhere.
    fn trapped_as_known(rule: Rule, trap: &Trap, known: &[Trap]) -> Option<Found> {
        let is_known = known.iter().any(|known| run::is_same_trap(known, trap));
        is_known.then(|| Subject::found(rule, Outcome::Skipped, "not seen: the trap above came first"))
    }

    fn generator(&self, seed: u64) -> crate::generate::Generator {
        let Subject { loaded, spec, .. } = self;
        crate::generate::Generator::new(seed, &spec.schema, &loaded.manifest(), self.ticks(), &spec.config_json)
    }

    /// What was logged since somebody asked; the last lines only.
    fn logged(&self) -> Vec<String> {
        const SHOWN: usize = 5;
        let lines = std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner));
        lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| format!("log: {}", line.text)).collect()
    }

    /// Whether the host calls its `tick`.
    fn ticks(&self) -> bool {
        self.loaded.exports().0 && self.loaded.manifest().tick_ms.is_some()
    }
}

/// `1 batch`, `2 batches`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What the engine says of a trap, without saying that it is one.
fn reason(trap: &Trap) -> &str {
    trap.text.strip_prefix("wasm trap: ").unwrap_or(&trap.text)
}
