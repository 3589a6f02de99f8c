//! Who gets whose rows.

use std::sync::Arc;

use sluice_flow::Batch;

/// Which rows of a component an edge takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// `inputs = ["NAME"]`: every row.
    All,
    /// `inputs = ["NAME.*"]`: every row that has a route.
    Routed,
    /// `inputs = ["NAME.ROUTE"]`: the rows of one route.
    Route(Arc<str>),
    /// `inputs = ["NAME.dead-letter"]`: the rows of batches that the stage could not process.
    DeadLetter,
}

/// Where an edge leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A stage, by its place in the pipeline.
    Stage(usize),
    /// A sink, by its place in the pipeline.
    Sink(usize),
}

/// One line of an `inputs` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which rows.
    pub selection: Selection,
    /// Where to.
    pub target: Target,
}

/// Why stages cannot be put in an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stages feed each other in a circle")]
pub struct GraphError {
    /// The stages of the circle, by their places, in the order of the data.
    pub circle: Vec<usize>,
}

/// Checks that no stage gets its own rows back. `stages` holds the edges out of each stage.
///
/// # Errors
/// The first circle found.
pub fn check_order(stages: &[Vec<Edge>]) -> Result<(), GraphError> {
    /// Walks on from `stage`; `path` is how we came here.
    fn walk(stages: &[Vec<Edge>], stage: usize, done: &mut [bool], path: &mut Vec<usize>) -> Result<(), GraphError> {
        if let Some(start) = path.iter().position(|before| *before == stage) {
            return Err(GraphError { circle: path[start..].to_vec() });
        }
        if std::mem::replace(&mut done[stage], true) {
            return Ok(());
        }
        path.push(stage);
        for edge in &stages[stage] {
            if let Target::Stage(next) = edge.target {
                walk(stages, next, done, path)?;
            }
        }
        path.pop();
        Ok(())
    }
    let mut done = vec![false; stages.len()];
    (0..stages.len()).try_for_each(|stage| walk(stages, stage, &mut done, &mut Vec::new()))
}

/// What of a batch goes over each edge, and how many rows go over none.
pub(crate) fn share_out(batch: Batch, edges: &[Edge]) -> (Vec<(Target, Batch)>, usize) {
    let edges: Vec<&Edge> = edges.iter().filter(|edge| edge.selection != Selection::DeadLetter).collect();
    let taken = taken_rows(&batch, &edges);
    let untaken = batch.rows() - taken;
    let mut shares = Vec::with_capacity(edges.len());
    let mut rest = Some(batch);
    for (position, edge) in edges.iter().enumerate() {
        let Some(batch) = &rest else { break };
        let is_last = position + 1 == edges.len();
        let share = match &edge.selection {
            Selection::All if is_last => rest.take(),
            Selection::Routed if batch.routes().is_some() && is_last => rest.take(),
            Selection::All => Some(batch.clone()),
            Selection::Routed => batch.routes().is_some().then(|| batch.clone()),
            Selection::Route(name) => rows_of_route(batch, name),
            Selection::DeadLetter => None,
        };
        if let Some(share) = share
            && share.rows() > 0
        {
            shares.push((edge.target, share));
        }
    }
    (shares, untaken)
}

/// Rows that at least one edge takes.
fn taken_rows(batch: &Batch, edges: &[&Edge]) -> usize {
    if edges.iter().any(|edge| edge.selection == Selection::All) {
        return batch.rows();
    }
    let Some(routes) = batch.routes() else { return 0 };
    if edges.iter().any(|edge| edge.selection == Selection::Routed) {
        return batch.rows();
    }
    let is_taken: Vec<bool> = routes
        .names
        .iter()
        .map(|name| edges.iter().any(|edge| matches!(&edge.selection, Selection::Route(route) if route == name)))
        .collect();
    routes.index.iter().filter(|index| is_taken.get(usize::from(**index)) == Some(&true)).count()
}

fn rows_of_route(batch: &Batch, name: &str) -> Option<Batch> {
    let routes = batch.routes()?;
    // A splitter may list a name twice.
    let is_it: Vec<bool> = routes.names.iter().map(|route| &**route == name).collect();
    let rows: Vec<u32> = (0..)
        .zip(&routes.index)
        .filter(|(_, index)| is_it.get(usize::from(**index)) == Some(&true))
        .map(|(row, _)| row)
        .collect();
    (!rows.is_empty()).then(|| batch.select(&rows))
}

#[cfg(test)]
mod tests {
    use sluice_flow::{Pool, Routes, Schema};

    use super::*;

    fn routed() -> Batch {
        let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), 4);
        let routes = Routes { names: vec!["a".into(), "b".into(), "c".into()], index: vec![0, 1, 1, 2] };
        batch.set_routes(Some(routes)).unwrap();
        batch
    }

    fn edge(selection: Selection, sink: usize) -> Edge {
        Edge { selection, target: Target::Sink(sink) }
    }

    fn rows(edges: &[Edge], batch: Batch) -> (Vec<(Target, usize)>, usize) {
        let (shares, untaken) = share_out(batch, edges);
        (shares.into_iter().map(|(target, batch)| (target, batch.rows())).collect(), untaken)
    }

    #[test]
    fn rows_go_by_route_and_those_that_nobody_takes_are_counted() {
        let edges = [edge(Selection::Route("b".into()), 0), edge(Selection::Route("x".into()), 1)];
        assert_eq!(rows(&edges, routed()), (vec![(Target::Sink(0), 2)], 2));
        let edges = [edge(Selection::Routed, 0), edge(Selection::All, 1), edge(Selection::Route("a".into()), 2)];
        let all = vec![(Target::Sink(0), 4), (Target::Sink(1), 4), (Target::Sink(2), 1)];
        assert_eq!(rows(&edges, routed()), (all, 0));
    }

    #[test]
    fn rows_without_a_route_do_not_pass_an_edge_for_routed_ones() {
        let batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), 4);
        assert_eq!(rows(&[edge(Selection::Routed, 0)], batch), (vec![], 4));
    }

    #[test]
    fn a_circle_of_stages_is_found() {
        let to = |stage| vec![Edge { selection: Selection::All, target: Target::Stage(stage) }];
        assert_eq!(check_order(&[to(1), to(2), vec![]]), Ok(()));
        assert_eq!(check_order(&[to(1), to(2), to(1)]), Err(GraphError { circle: vec![1, 2] }));
    }
}
