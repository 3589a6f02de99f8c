//! A plugin that is called by hand, and everything that can be seen of a call.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_flow::Batch;
use sluice_pipeline::Event;

use crate::abi::Failure;
use crate::error::LoadError;
use crate::instance::{Instance, Trapped};
use crate::load::Loaded;
use crate::state::Touched;

/// One instance of a plugin, called by hand: what plugins are tested, measured and replayed with.
///
/// Nothing is retried, dropped or started again, and no rate limits apply: each call tells what the plugin did. After a trap the instance
/// is gone; make another trial.
pub struct Trial {
    loaded: Arc<Loaded>,
    instance: Instance,
    /// Fuel that starting took.
    fuel: Option<u64>,
}

/// What a call did.
#[derive(Debug)]
pub struct Called {
    /// How it ended.
    pub answer: Answer,
    /// Alerts that it raised; none of a call that failed.
    pub alerts: Vec<Event>,
    /// Which rows it kept, as it said: bit `r % 32` of word `r / 32` for row `r`. None: all of them, or the call failed.
    pub keep: Option<Vec<u32>>,
    /// Columns that it asked for.
    pub touched: Touched,
    /// Work within the plugin, if the host counts fuel.
    pub fuel: Option<u64>,
    /// Time from the call to the answer, with what is copied; what becomes of the answer comes after it.
    pub took: Duration,
}

/// How a call ended.
#[derive(Debug)]
pub enum Answer {
    /// Well. For `process` with the batch as the plugin left it: rows kept, columns written, routes; and how many rows it
    /// dropped.
    Done(Option<(Batch, usize)>),
    /// `failure::retry-later`, with its text.
    RetryLater(String),
    /// `failure::fatal`, with its text.
    Refused(String),
    /// It ended the instance.
    Trapped(Trap),
}

/// How a call ended its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// `trap`, `deadline` or `memory`: the reason under which rows would be dropped.
    pub kind: &'static str,
    /// What the engine says.
    pub text: String,
    /// Where it was, innermost first: function, and file and line if the component has debug information.
    pub backtrace: Vec<String>,
}

impl From<Trapped> for Trap {
    fn from(trapped: Trapped) -> Trap {
        Trap { kind: trapped.kind.name(), text: trapped.text, backtrace: trapped.backtrace }
    }
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trial").field(&self.loaded).finish()
    }
}

impl Trial {
    /// An instance of the published version whose `init` was called: the one that [`Loaded::load`] tried, then new ones.
    ///
    /// # Errors
    /// As [`Loaded::load`]: a plugin may answer differently each time.
    pub fn new(loaded: &Arc<Loaded>) -> Result<Trial, LoadError> {
        let mut instance = match loaded.take_first() {
            Some(first) => first,
            None => loaded.version().start().map_err(|kind| kind.at(&loaded.stage()))?,
        };
        let state = instance.data_mut();
        state.touched = Some(RefCell::default());
        // Who tries a plugin wants to see them.
        state.keeps_all_alerts = true;
        let fuel = instance.take_fuel();
        Ok(Trial { loaded: Arc::clone(loaded), instance, fuel })
    }

    /// Fuel that instantiating and `init` took, if the host counts fuel.
    #[must_use]
    pub fn start_fuel(&self) -> Option<u64> {
        self.fuel
    }

    /// `stage.process` on a batch.
    pub fn process(&mut self, batch: Batch) -> Called {
        let now_ms = batch.now_ms();
        self.instance.data_mut().begin(batch);
        let deadline_ms = self.loaded.version().shared.limits.deadline_ms;
        let began = Instant::now();
        let answer = self.instance.process(deadline_ms);
        let took = began.elapsed();
        let current = self.instance.data_mut().current.take().expect("begin put it there");
        let keep = current.keep.clone().filter(|_| matches!(answer, Ok(Ok(()))));
        let answer = match answer {
            Ok(Ok(())) => match current.commit() {
                Ok(committed) => Answer::Done(Some(committed)),
                Err(left) => Answer::Refused(left.why(&self.loaded.version().shared.schema)),
            },
            Ok(Err(Failure::RetryLater(text))) => Answer::RetryLater(text),
            Ok(Err(Failure::Fatal(text))) => Answer::Refused(text),
            Err(trapped) => Answer::Trapped(trapped.into()),
        };
        Called { keep, took, ..self.called(answer, now_ms) }
    }

    /// `timer.tick`; does nothing if there is none.
    pub fn tick(&mut self, now_ms: u64) -> Called {
        let began = Instant::now();
        let answer = match self.instance.tick(now_ms) {
            Ok(()) => Answer::Done(None),
            Err(trapped) => Answer::Trapped(trapped.into()),
        };
        Called { took: began.elapsed(), ..self.called(answer, now_ms) }
    }

    fn called(&mut self, answer: Answer, now_ms: u64) -> Called {
        let fuel = self.instance.take_fuel();
        let state = self.instance.data_mut();
        let touched = state.touched.as_ref().map(RefCell::take).unwrap_or_default();
        let alerts = std::mem::take(&mut state.alerts);
        let is_done = matches!(answer, Answer::Done(_));
        let alerts = alerts.iter().filter(|_| is_done).map(|alert| state.shared.event(alert, now_ms)).collect();
        Called { answer, alerts, keep: None, touched, fuel, took: Duration::ZERO }
    }

    /// `state.snapshot`; none without that export.
    ///
    /// # Errors
    /// A trap ends the instance.
    pub fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Trap> {
        Ok(self.instance.snapshot()?)
    }

    /// `state.restore`: whether the state was understood, or what the plugin says is wrong with it.
    ///
    /// # Errors
    /// A trap ends the instance.
    pub fn restore(&mut self, state: Vec<u8>) -> Result<Result<bool, String>, Trap> {
        Ok(self.instance.restore(&state)?)
    }

    /// The plugin's own counters and gauges by name, of all trials of the same [`Loaded`].
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.loaded.version().shared.own_values()
    }

    /// Bytes of linear memory of this instance.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.instance.data().limiter.used()
    }
}
