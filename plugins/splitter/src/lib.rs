//! The splitter: gives each row the name of a route, made of its columns.
//!
//! The host sorts the rows into groups of equal values, and what was decided about such values is remembered
//! across batches: a name is made once, and not for each row.
//!
//! How the cap on routes holds: if the names there can be are no more than `max_routes` (because
//! `allow` lists the values, or the column is small), nothing needs remembering and instances may run side by
//! side. Else the routes known so far are state: the manifest says `stateful`, one instance sees
//! every row, and the first `max_routes` names are the routes, across batches and hot swaps.

mod config;
mod known;
mod route;

use sluice_sdk::kernels::{self, Groups};
use sluice_sdk::{Batch, Column, ColumnId, Denied, Failure, Manifest, Plugin, Reason, Text, Width, metrics};

use config::Plan;
pub use config::{Allowed, Config};
use known::Known;
use route::Routes;

/// The plugin.
#[derive(Debug, Default)]
pub struct Splitter {
    plan: Plan,
    routes: Routes,
    known: Known,
    /// What was decided about what is known.
    decisions: Vec<Option<Decision>>,
    /// The cap was reached and that was said.
    said: bool,
    /// How many routes were reported last.
    reported: usize,
    /// The names of the batch.
    names: Vec<String>,
    /// How many there are. Those behind are of batches before: room for more.
    named: usize,
    /// By route the index among the names.
    used: Vec<Option<u16>>,
}

/// Where the rows of a group go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Route(u16),
    /// The value of `by` is absent or not allowed.
    Unlisted,
    /// There are as many routes as there may be.
    OverCap,
}

/// What a column holds, one value a group.
#[derive(Debug)]
pub(crate) enum Values {
    Numbers(Vec<u64>),
    Texts(Vec<String>),
}

impl Plugin for Splitter {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        let plan = sluice_sdk::config::parse::<Config>(config)?.plan()?;
        for id in &plan.columns {
            manifest.read(*id);
        }
        manifest.stateful = !plan.bounded;
        *self = Splitter { plan, ..Splitter::default() };
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        if batch.rows() == 0 {
            return Ok(());
        }
        let mut groups = kernels::group(batch, &self.plan.columns, None)?;
        let columns = self.plan.columns.iter().map(|id| read(&groups, *id)).collect::<Result<Vec<_>, _>>()?;
        let decisions = self.decide_all(&columns, groups.count());
        self.named = 0;
        if let Some(name) = &self.plan.default {
            write_name(&mut self.names, &mut self.named, name);
        }
        self.used.clear();
        self.used.resize(self.routes.len(), None);
        // What has no route of its own has the default, which is the first name.
        let index: Vec<u16> = decisions
            .iter()
            .map(|decision| match decision {
                Decision::Route(route) => self.name_of(*route),
                Decision::Unlisted | Decision::OverCap => 0,
            })
            .collect();
        let unrouted = Unrouted::of(&decisions, &groups)?;
        if unrouted.rows() > 0 && self.plan.default.is_none() {
            groups.keep(&decisions.iter().map(|decision| matches!(decision, Decision::Route(_))).collect())?;
        }
        // Without a name every row is dropped, and there is nothing that an index could mean.
        if let Some(names) = self.names.get(..self.named).filter(|names| !names.is_empty()) {
            groups.route(names, &index)?;
        }
        self.report(unrouted);
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.routes.snapshot(&self.plan.template)
    }

    fn restore(&mut self, data: &[u8]) -> Result<bool, String> {
        let routes = Routes::restore(data, &self.plan.template, self.plan.max_routes)?;
        let understood = routes.is_some();
        self.routes = routes.unwrap_or_default();
        self.known = Known::default();
        self.decisions.clear();
        Ok(understood)
    }
}

impl Splitter {
    /// What becomes of each group.
    fn decide_all(&mut self, columns: &[Values], groups: usize) -> Vec<Decision> {
        if self.known.trim() {
            self.decisions.clear();
        }
        let mut numbers = vec![0; groups];
        for column in columns {
            match column {
                Values::Numbers(values) => {
                    let rows = numbers.iter_mut().zip(values);
                    rows.for_each(|(number, value)| *number = self.known.next(*number, *value));
                }
                Values::Texts(texts) => {
                    for (number, text) in numbers.iter_mut().zip(texts) {
                        let value = self.known.text(text);
                        *number = self.known.next(*number, value);
                    }
                }
            }
        }
        self.decisions.resize(self.known.count().max(self.decisions.len()), None);
        let mut decide = |group, number: &u32| match self.decisions.get(*number as usize) {
            Some(Some(decision)) => *decision,
            _ => self.decide(*number, columns, group),
        };
        numbers.iter().enumerate().map(|(group, number)| decide(group, number)).collect()
    }

    #[cold]
    fn decide(&mut self, number: u32, columns: &[Values], group: usize) -> Decision {
        let decision = if !self.is_listed(columns, group) {
            Decision::Unlisted
        } else {
            let name = route::sanitize(&route::name(&self.plan, columns, group));
            match self.routes.find_or_add(&name, self.plan.max_routes) {
                Some(route) => Decision::Route(route),
                None => Decision::OverCap,
            }
        };
        if let Some(slot) = self.decisions.get_mut(number as usize) {
            *slot = Some(decision);
        }
        decision
    }

    fn is_listed(&self, columns: &[Values], group: usize) -> bool {
        match (columns.first(), &self.plan.allow) {
            (Some(Values::Texts(texts)), allow) => {
                let text = texts.get(group).map_or("", String::as_str);
                allow.as_ref().map_or(!text.is_empty(), |allow| allow.text(text))
            }
            (Some(Values::Numbers(numbers)), allow) => {
                let number = numbers.get(group).copied().unwrap_or_default();
                allow.as_ref().map_or(number != 0, |allow| allow.number(number))
            }
            (None, _) => false,
        }
    }

    /// The index of a route among the names of this batch.
    fn name_of(&mut self, route: u16) -> u16 {
        let at = usize::from(route);
        if let Some(Some(index)) = self.used.get(at) {
            return *index;
        }
        // At most max_routes names and the default, so at most 4096.
        let index = self.named as u16;
        write_name(&mut self.names, &mut self.named, self.routes.name(route));
        if let Some(slot) = self.used.get_mut(at) {
            *slot = Some(index);
        }
        index
    }

    fn report(&mut self, unrouted: Unrouted) {
        if self.reported != self.routes.len() {
            self.reported = self.routes.len();
            metrics::gauge("routes", self.reported as f64);
        }
        if unrouted.unlisted > 0 {
            metrics::count("unlisted", unrouted.unlisted);
        }
        if unrouted.over_cap > 0 {
            metrics::count("over_cap", unrouted.over_cap);
            if !self.said {
                self.said = true;
                let fate =
                    self.plan.default.as_ref().map_or("dropped".to_owned(), |name| format!("routed to `{name}`"));
                sluice_sdk::warn!(
                    "there are {} routes, as many as `max_routes` allows; rows of further ones are {fate}",
                    self.routes.len()
                );
            }
        }
    }
}

/// Rows of a batch without a route.
#[derive(Clone, Copy, Debug, Default)]
struct Unrouted {
    unlisted: u32,
    over_cap: u32,
}

impl Unrouted {
    fn of(decisions: &[Decision], groups: &Groups<'_>) -> Result<Unrouted, Denied> {
        let mut unrouted = Unrouted::default();
        if decisions.iter().all(|decision| matches!(decision, Decision::Route(_))) {
            return Ok(unrouted);
        }
        for (decision, rows) in decisions.iter().zip(groups.counts(None)?) {
            match decision {
                Decision::Route(_) => {}
                Decision::Unlisted => unrouted.unlisted += rows,
                Decision::OverCap => unrouted.over_cap += rows,
            }
        }
        Ok(unrouted)
    }

    fn rows(self) -> u32 {
        self.unlisted + self.over_cap
    }
}

/// Writes a name behind the first `named`.
fn write_name(names: &mut Vec<String>, named: &mut usize, name: &str) {
    if names.len() == *named {
        names.push(String::new());
    }
    if let Some(place) = names.get_mut(*named) {
        place.clear();
        place.push_str(name);
    }
    *named += 1;
}

/// What a column of any kind holds in each group.
fn read(groups: &Groups<'_>, id: ColumnId) -> Result<Values, Denied> {
    // Any numeric column answers this; of an operator's own column the refusal says what it holds.
    match groups.numbers(Column::<u64>::new(id)) {
        Ok(numbers) => Ok(Values::Numbers(numbers)),
        Err(Denied { reason: Reason::WrongWidth(Width::Text), .. }) => groups.texts(Text::new(id)).map(Values::Texts),
        Err(denied) => Err(denied),
    }
}

sluice_sdk::export!(Splitter, stateful);
