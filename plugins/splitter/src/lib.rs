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

use sluice_sdk::{
    Batch, Bitmap, ColumnId, Denied, Failure, Field, Manifest, Plugin, Reason, Values, Width, metrics, rows,
};

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
    /// The names of the batch, and by group the index among them, [`UNDECIDED`] until it is asked for.
    names: Vec<String>,
    /// How many there are. Those behind are of batches before: room for more.
    named: usize,
    by_group: Vec<u32>,
    /// By route the index among the names.
    used: Vec<Option<u16>>,
    /// Whether rows of the batch found no room for their route.
    over_cap: bool,
}

/// The group's rows have no route: the lower 16 bits are the index of the default, if there is one.
const UNROUTED: u32 = 1 << 16;
/// The group has no index among the names of the batch yet.
const UNDECIDED: u32 = 1 << 17;

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
        self.named = 0;
        if let Some(name) = &self.plan.default {
            write_name(&mut self.names, &mut self.named, name);
        }
        self.used.clear();
        self.used.resize(self.routes.len(), None);
        self.by_group.clear();
        self.by_group.resize(self.groups.count(), UNDECIDED);
        self.over_cap = false;
        let mut index = vec![0; rows];
        let (mut row, mut unrouted) = (0, 0);
        while let (Some(groups), Some(index)) = (groups.get(row..), index.get_mut(row..)) {
            let done = indices(&self.by_group, groups, index, &mut unrouted);
            let Some(group) = groups.get(done) else { break };
            row += done;
            self.index_of(*group, &columns, row);
        }
        let unrouted = self.unrouted(&groups, unrouted);
        if unrouted.rows() > 0 && self.plan.default.is_none() {
            batch.keep(&Bitmap::from_fn(rows, |row| groups.get(row).is_some_and(|group| !self.is_unrouted(*group))))?;
        }
        // Without a name every row is dropped, and there is nothing that an index could mean.
        if let Some(names) = self.names.get(..self.named).filter(|names| !names.is_empty()) {
            batch.route(names, &index)?;
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
                Values::U8(values) => fold(&mut self.groups, &mut groups, values),
                Values::U16(values) => fold(&mut self.groups, &mut groups, values),
                Values::U32(values) => fold(&mut self.groups, &mut groups, values),
                Values::U64(values) => fold(&mut self.groups, &mut groups, values),
                Values::Text(texts) => {
                    let numbers: Vec<u64> = texts.words.iter().map(|word| self.groups.text(word)).collect();
                    let number = |code: &u32| numbers.get(*code as usize).copied().unwrap_or_default();
                    let values: Vec<u64> = texts.codes.iter().map(number).collect();
                    fold(&mut self.groups, &mut groups, &values);
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

    /// Finds the index of a group's route among the names of this batch. `row` is one of the group.
    #[cold]
    fn index_of(&mut self, group: u32, columns: &[Values], row: usize) {
        let decision = match self.decisions.get(group as usize) {
            Some(Some(decision)) => *decision,
            _ => self.decide(group, columns, row),
        };
        let index = match decision {
            Decision::Route(route) => u32::from(self.name_of(route)),
            Decision::Unlisted => UNROUTED,
            Decision::OverCap => {
                self.over_cap = true;
                UNROUTED
            }
        };
        if let Some(slot) = self.by_group.get_mut(group as usize) {
            *slot = index;
        }
    }

    fn name_of(&mut self, route: u16) -> u16 {
        let at = usize::from(route);
        if let Some(Some(index)) = self.used.get(at) {
            return *index;
        }
        // At most max_routes names and the default, so at most 65536.
        let index = self.named as u16;
        write_name(&mut self.names, &mut self.named, self.routes.name(route));
        if self.used.len() <= at {
            self.used.resize(at + 1, None);
        }
        if let Some(slot) = self.used.get_mut(at) {
            *slot = Some(index);
        }
        index
    }

    fn is_unrouted(&self, group: u32) -> bool {
        self.by_group.get(group as usize) == Some(&UNROUTED)
    }

    /// Why the rows without a route have none.
    fn unrouted(&self, groups: &[u32], rows: u32) -> Unrouted {
        if !self.over_cap {
            return Unrouted { unlisted: rows, over_cap: 0 };
        }
        let is_over = |group: &&u32| matches!(self.decisions.get(**group as usize), Some(Some(Decision::OverCap)));
        let over_cap = groups.iter().filter(is_over).count() as u32;
        Unrouted { unlisted: rows.saturating_sub(over_cap), over_cap }
    }

    fn report(&mut self, unrouted: Unrouted) {
        metrics::gauge("routes", self.routes.len() as f64);
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

/// Moves each row from its group so far to the one that has its value too.
// A function of its own, as all loops over rows: among the variables of a longer one these would not stay in registers.
#[inline(never)]
fn fold<T: Copy + Into<u64>>(groups: &mut Groups, of_rows: &mut [u32], values: &[T]) {
    rows::each2(of_rows, values, |group, value| *group = groups.next(*group, (*value).into()));
}

/// Gives rows the index of their group, up to the first group that is undecided, and counts those without a route.
/// Returns for how many rows.
#[inline(never)]
fn indices(by_group: &[u32], groups: &[u32], index: &mut [u16], unrouted: &mut u32) -> usize {
    let of_group = |group: u32| by_group.get(group as usize).copied().unwrap_or(UNDECIDED);
    let mut row = 0;
    // Eight at a turn (see `sluice_sdk::rows`) as long as all are decided.
    for (groups, index) in groups.as_chunks::<8>().0.iter().zip(index.as_chunks_mut().0) {
        let of_groups = groups.map(of_group);
        if of_groups.iter().fold(0, |or, of_group| or | of_group) >= UNDECIDED {
            break;
        }
        *index = of_groups.map(|of_group| of_group as u16);
        *unrouted += of_groups.iter().map(|of_group| of_group / UNROUTED).sum::<u32>();
        row += 8;
    }
    for (group, index) in groups.iter().zip(index).skip(row) {
        let of_group = of_group(*group);
        if of_group == UNDECIDED {
            break;
        }
        *index = of_group as u16;
        *unrouted += of_group / UNROUTED;
        row += 1;
    }
    row
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
