//! The splitter: gives each row the name of a route, made of its columns.
//!
//! Rows are first sorted into groups of equal values, a column at a time and with a memory across
//! batches, so that a name is made once per group and not once per row.
//!
//! How the cap on routes holds: if the names there can be are no more than `max_routes` (because
//! `allow` lists the values, or the column is small), nothing needs remembering and instances may run side by
//! side. Else the routes known so far are state: the manifest says `stateful`, one instance sees
//! every row, and the first `max_routes` names are the routes, across batches and hot swaps.

mod config;
mod groups;
mod route;

use sluice_sdk::{Batch, Bitmap, ColumnId, Denied, Failure, Field, Manifest, Plugin, Reason, Values, Width, metrics};

use config::Plan;
pub use config::{Allowed, Config};
use groups::Groups;
use route::Routes;

/// The plugin.
#[derive(Debug, Default)]
pub struct Splitter {
    plan: Plan,
    routes: Routes,
    groups: Groups,
    /// What was decided about each group.
    decisions: Vec<Option<Decision>>,
    /// The cap was reached and that was said.
    said: bool,
    /// The names of the batch, and by route the index among them.
    names: Vec<String>,
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
        let rows = batch.rows();
        if rows == 0 {
            return Ok(());
        }
        let columns = self.plan.columns.iter().map(|id| read(batch, *id)).collect::<Result<Vec<_>, _>>()?;
        let groups = self.group(&columns, rows);
        self.names.clear();
        self.used.clear();
        self.used.resize(self.routes.len(), None);
        let default = self.plan.default.as_ref().map(|name| {
            self.names.push(name.clone());
            0
        });
        let (mut unlisted, mut over_cap, mut dropped) = (0u32, 0u32, false);
        let mut index = Vec::with_capacity(rows);
        let mut keep = Bitmap::all(rows);
        for (row, group) in groups.into_iter().enumerate() {
            let decision = match self.decisions.get(group as usize) {
                Some(Some(decision)) => *decision,
                _ => self.decide(group, &columns, row),
            };
            let without = match decision {
                Decision::Route(route) => {
                    index.push(self.index_of(route));
                    continue;
                }
                Decision::Unlisted => &mut unlisted,
                Decision::OverCap => &mut over_cap,
            };
            *without += 1;
            index.push(default.unwrap_or_default());
            if default.is_none() {
                keep.set(row, false);
                dropped = true;
            }
        }
        if dropped {
            batch.keep(&keep)?;
        }
        // Without a name every row is dropped, and there is nothing that an index could mean.
        if !self.names.is_empty() {
            batch.route(&self.names, &index)?;
        }
        self.report(unlisted, over_cap);
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.routes.snapshot(&self.plan.template)
    }

    fn restore(&mut self, data: &[u8]) -> Result<bool, String> {
        let routes = Routes::restore(data, &self.plan.template, self.plan.max_routes)?;
        let understood = routes.is_some();
        self.routes = routes.unwrap_or_default();
        self.groups = Groups::default();
        self.decisions.clear();
        Ok(understood)
    }
}

impl Splitter {
    /// The group of each row: rows of one group have equal values in every column.
    fn group(&mut self, columns: &[Values], rows: usize) -> Vec<u32> {
        if self.groups.trim() {
            self.decisions.clear();
        }
        let mut groups = vec![0; rows];
        for column in columns {
            match column {
                Values::U8(values) => fold(&mut self.groups, &mut groups, values.iter().map(|value| u64::from(*value))),
                Values::U16(values) => {
                    fold(&mut self.groups, &mut groups, values.iter().map(|value| u64::from(*value)))
                }
                Values::U32(values) => {
                    fold(&mut self.groups, &mut groups, values.iter().map(|value| u64::from(*value)))
                }
                Values::U64(values) => fold(&mut self.groups, &mut groups, values.iter().copied()),
                Values::Text(texts) => {
                    let numbers: Vec<u64> = texts.words.iter().map(|word| self.groups.text(word)).collect();
                    let number = |code: &u32| numbers.get(*code as usize).copied().unwrap_or_default();
                    fold(&mut self.groups, &mut groups, texts.codes.iter().map(number));
                }
                Values::Lists(_) => {}
            }
        }
        self.decisions.resize(self.groups.count().max(self.decisions.len()), None);
        groups
    }

    #[cold]
    fn decide(&mut self, group: u32, columns: &[Values], row: usize) -> Decision {
        let decision = if !self.is_listed(columns, row) {
            Decision::Unlisted
        } else {
            let name = route::sanitize(&route::name(&self.plan, columns, row));
            match self.routes.find_or_add(&name, self.plan.max_routes) {
                Some(route) => Decision::Route(route),
                None => Decision::OverCap,
            }
        };
        if let Some(slot) = self.decisions.get_mut(group as usize) {
            *slot = Some(decision);
        }
        decision
    }

    fn is_listed(&self, columns: &[Values], row: usize) -> bool {
        match (columns.first(), &self.plan.allow) {
            (Some(Values::Text(texts)), Some(allow)) => allow.text(texts.get(row)),
            (Some(Values::Text(texts)), None) => !texts.get(row).is_empty(),
            (Some(column), Some(allow)) => allow.number(route::number(column, row)),
            (Some(column), None) => route::number(column, row) != 0,
            (None, _) => false,
        }
    }

    /// Index of a route among the names of this batch.
    #[inline]
    fn index_of(&mut self, route: u16) -> u16 {
        match self.used.get(usize::from(route)) {
            Some(Some(index)) => *index,
            _ => self.use_name(route),
        }
    }

    #[cold]
    fn use_name(&mut self, route: u16) -> u16 {
        // At most max_routes names and the default, so at most 65536.
        let index = self.names.len() as u16;
        self.names.push(self.routes.name(route).to_owned());
        let at = usize::from(route);
        if self.used.len() <= at {
            self.used.resize(at + 1, None);
        }
        if let Some(slot) = self.used.get_mut(at) {
            *slot = Some(index);
        }
        index
    }

    fn report(&mut self, unlisted: u32, over_cap: u32) {
        metrics::gauge("routes", self.routes.len() as f64);
        if unlisted > 0 {
            metrics::count("unlisted", unlisted);
        }
        if over_cap > 0 {
            metrics::count("over_cap", over_cap);
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

#[inline]
fn fold(groups: &mut Groups, of_rows: &mut [u32], values: impl Iterator<Item = u64>) {
    // Neighbours are often equal.
    let (mut from, mut value, mut to) = (u32::MAX, 0, 0);
    for (group, next) in of_rows.iter_mut().zip(values) {
        if (*group, next) != (from, value) {
            (from, value) = (*group, next);
            to = groups.next(from, value);
        }
        *group = to;
    }
}

/// A column of any kind, zeros where it is absent.
fn read(batch: &Batch, id: ColumnId) -> Result<Values, Denied> {
    match batch.any(id) {
        Err(Denied { reason: Reason::Absent, .. }) => Ok(match Field::numbered(id).map(|field| field.width) {
            Some(Width::Text) => {
                let codes = vec![0; batch.rows()];
                Values::Text(sluice_sdk::Texts { words: vec![String::new()], codes })
            }
            _ => Values::U8(vec![0; batch.rows()]),
        }),
        Ok(Values::Lists(_)) => Err(Denied::of(id, Reason::WrongWidth(Width::Lists))),
        read => read,
    }
}

sluice_sdk::export!(Splitter, stateful);
