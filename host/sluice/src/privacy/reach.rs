//! What can reach which component: walks the pipeline with everything that an address can be in.
//!
//! Pure: it knows edges and sets of columns. What is assumed of a stage, and why that is sound, is in
//! `docs/adr/0006-an-address-is-hidden-where-the-host-sees-it-written.md`.

use std::collections::BTreeMap;

use sluice_flow::{ADDRESSES, ColumnId, ColumnSet};
use sluice_pipeline::{Edge, Selection, Target};

/// Something that an address can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Carrier {
    /// The address column at this place of [`ADDRESSES`], as it came.
    Address(usize),
    /// Another column that may hold an address: one that is read from the wire, or that somebody may have copied one into.
    Column(ColumnId),
    /// The name of the row's route.
    Route,
    /// Fields that sluice does not know.
    Unknown,
}

impl Carrier {
    /// Whether who reads these columns gets something of it.
    pub(super) fn is_in(self, columns: ColumnSet) -> bool {
        match self {
            Carrier::Address(at) => columns.contains(ADDRESSES[at].hi) || columns.contains(ADDRESSES[at].lo),
            Carrier::Column(column) => columns.contains(column),
            // No plugin sees either.
            Carrier::Route | Carrier::Unknown => false,
        }
    }
}

/// What can arrive somewhere, each with the way that it came.
pub(super) type Reach = BTreeMap<Carrier, String>;

/// Where rows come from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) edges: Vec<Edge>,
    pub(super) brings: Vec<Carrier>,
}

/// What rows go through.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) edges: Vec<Edge>,
    /// Columns that any version of its plugin may read, and may write.
    pub(super) reads: ColumnSet,
    pub(super) writes: ColumnSet,
    /// Addresses that are replaced, by what may depend on what was there.
    pub(super) hides: ColumnSet,
    /// Columns in which nothing is left of what was there.
    pub(super) clears: ColumnSet,
    /// Whether fields that sluice does not know end here.
    pub(super) ends_unknown: bool,
    pub(super) copies: Copies,
}

/// Where a plugin may put what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    /// Nowhere: it is ours, or the operator says that it hides.
    Nowhere,
    /// Into the names of routes: the splitter.
    Route,
    /// Into everything that it may write, and into routes.
    Everywhere,
}

/// What can arrive at each stage and at each sink that takes rows.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) stages: Vec<Reach>,
    pub(super) sinks: Vec<Reach>,
}

/// Walks from the sources to the sinks. What can come over one of several inputs can come.
pub(super) fn reach(sources: &[Source], stages: &[Stage], sinks: usize) -> Reached {
    let mut reached = Reached { stages: vec![Reach::new(); stages.len()], sinks: vec![Reach::new(); sinks] };
    for source in sources {
        let brought: Reach = source.brings.iter().map(|carrier| (*carrier, source.name.clone())).collect();
        reached.pass_on(&source.edges, &brought, None);
    }
    // Stages form no circle, so this ends after as many rounds as the longest way has stages.
    loop {
        let mut is_new = false;
        for (at, stage) in stages.iter().enumerate() {
            let came = reached.stages[at].clone();
            let left = leaves(stage, &came);
            let dead: Reach =
                came.iter().map(|(carrier, way)| (*carrier, format!("{way} -> {}.dead-letter", stage.name))).collect();
            is_new |= reached.pass_on(&stage.edges, &left, Some(&dead));
        }
        if !is_new {
            return reached;
        }
    }
}

impl Reached {
    /// Passes on over edges; says whether something arrived that had not before.
    fn pass_on(&mut self, edges: &[Edge], rows: &Reach, dead: Option<&Reach>) -> bool {
        let mut is_new = false;
        for edge in edges {
            let into = match edge.target {
                Target::Stage(at) => &mut self.stages[at],
                Target::Sink(at) => &mut self.sinks[at],
            };
            let passed = if edge.selection == Selection::DeadLetter { dead.unwrap_or(rows) } else { rows };
            for (carrier, way) in passed {
                // Rows of one route have a name that the configuration spells.
                if *carrier == Carrier::Route && matches!(edge.selection, Selection::Route(_)) {
                    continue;
                }
                is_new |= !into.contains_key(carrier);
                into.entry(*carrier).or_insert_with(|| way.clone());
            }
        }
        is_new
    }
}

/// What is in the rows that a stage lets through.
fn leaves(stage: &Stage, came: &Reach) -> Reach {
    let hides = stage.hides.union(stage.clears);
    let is_hidden = |carrier: &Carrier| match carrier {
        // One half says enough.
        Carrier::Address(at) => hides.contains(ADDRESSES[*at].hi) && hides.contains(ADDRESSES[*at].lo),
        // A copy is in bits of its author's choice: of an address that was truncated, in those that stay.
        Carrier::Column(column) => stage.clears.contains(*column),
        Carrier::Route => false,
        Carrier::Unknown => stage.ends_unknown,
    };
    let through = |way: &String| format!("{way} -> {}", stage.name);
    let mut left: Reach =
        came.iter().filter(|(carrier, _)| !is_hidden(carrier)).map(|(carrier, way)| (*carrier, through(way))).collect();
    let seen = came.iter().find(|(carrier, _)| carrier.is_in(stage.reads));
    let (Some((_, way)), true) = (seen, stage.copies != Copies::Nowhere) else { return left };
    left.entry(Carrier::Route).or_insert_with(|| through(way));
    if stage.copies == Copies::Everywhere {
        for column in stage.writes.minus(stage.clears).iter() {
            left.entry(Carrier::Column(column)).or_insert_with(|| through(way));
        }
    }
    left
}
