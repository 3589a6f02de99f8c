//! Graphs, and what can reach their sinks.

use expect_test::{Expect, expect};
use sluice_flow::{ColumnSet, Schema};
use sluice_pipeline::{Edge, Selection, Target};

use super::by_way;
use super::names;
use super::reach::{Carrier, Copies, Source, Stage, reach};

fn columns(list: &[&str]) -> ColumnSet {
    let schema = Schema::standard();
    list.iter().flat_map(|name| schema.columns(name).unwrap()).collect()
}

/// `stage 1`, `sink 0 of hosts`, `sink 1 of *`, `sink 2 of dead-letter`.
fn edge(text: &str) -> Edge {
    let (target, selection) = text.split_once(" of ").unwrap_or((text, ""));
    let selection = match selection {
        "" => Selection::All,
        "*" => Selection::Routed,
        "dead-letter" => Selection::DeadLetter,
        route => Selection::Route(route.into()),
    };
    let (kind, at) = target.split_once(' ').unwrap();
    let at = at.parse().unwrap();
    let target = if kind == "stage" { Target::Stage(at) } else { Target::Sink(at) };
    Edge { selection, target }
}

/// A source that brings source and destination addresses.
fn source(name: &str, edges: &[&str]) -> Source {
    let brings = vec![Carrier::Address(1), Carrier::Address(2), Carrier::Unknown];
    Source { name: name.to_owned(), edges: edges.iter().map(|text| edge(text)).collect(), brings }
}

/// A stage of ours that changes nothing.
fn stage(name: &str, edges: &[&str]) -> Stage {
    Stage {
        name: name.to_owned(),
        edges: edges.iter().map(|text| edge(text)).collect(),
        reads: ColumnSet::EMPTY,
        writes: ColumnSet::EMPTY,
        hides: ColumnSet::EMPTY,
        clears: ColumnSet::EMPTY,
        ends_unknown: false,
        copies: Copies::Nowhere,
    }
}

fn hides(name: &str, hidden: &[&str], edges: &[&str]) -> Stage {
    let hidden = columns(hidden);
    Stage { reads: hidden, writes: hidden, hides: hidden, ends_unknown: true, ..stage(name, edges) }
}

fn clears(name: &str, cleared: &[&str], edges: &[&str]) -> Stage {
    let cleared = columns(cleared);
    Stage { writes: cleared, clears: cleared, ends_unknown: true, ..stage(name, edges) }
}

/// A plugin from a file.
fn foreign(name: &str, reads: &[&str], writes: &[&str], edges: &[&str]) -> Stage {
    let (reads, writes) = (columns(reads), columns(writes));
    Stage { reads, writes, copies: Copies::Everywhere, ..stage(name, edges) }
}

fn check(sources: &[Source], stages: &[Stage], expected: Expect) {
    let edges = sources.iter().map(|source| &source.edges).chain(stages.iter().map(|stage| &stage.edges)).flatten();
    let sinks = edges.filter_map(|edge| match edge.target {
        Target::Sink(at) => Some(at + 1),
        Target::Stage(_) => None,
    });
    let reached = reach(sources, stages, sinks.max().unwrap());
    let mut text = String::new();
    for (at, sink) in reached.sinks.iter().enumerate() {
        text.push_str(&format!("sink {at}\n"));
        for (way, carriers) in by_way(sink) {
            let (addresses, others) = names(&Schema::standard(), &carriers);
            text.push_str(&format!("  {way}: {}; {}\n", addresses.join(" "), others.join(" ")));
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn a_stage_hides_what_it_writes_whole_and_nothing_else() {
    let both = hides("public", &["src_addr", "dst_addr"], &["sink 0"]);
    check(
        &[source("edge", &["stage 0"])],
        &[both],
        expect![[r#"
        sink 0
    "#]],
    );
    let one = hides("public", &["src_addr", "dst_addr_hi"], &["sink 0"]);
    check(
        &[source("edge", &["stage 0"])],
        &[one],
        expect![[r#"
        sink 0
          edge -> public: dst_addr; 
    "#]],
    );
}

#[test]
fn raw_on_one_of_several_ways_is_raw() {
    let stages = [hides("public", &["src_addr", "dst_addr"], &["sink 0"]), stage("count", &["sink 0"])];
    check(
        &[source("edge", &["stage 0", "stage 1"])],
        &stages,
        expect![[r#"
        sink 0
          edge -> count: src_addr dst_addr; unknown
    "#]],
    );
    check(
        &[source("edge", &["stage 0"]), source("late", &["sink 0"])],
        &stages[..1],
        expect![[r#"
        sink 0
          late: src_addr dst_addr; unknown
    "#]],
    );
}

#[test]
fn dead_letters_are_as_they_came() {
    let public = hides("public", &["src_addr", "dst_addr"], &["sink 0", "sink 1 of dead-letter"]);
    check(
        &[source("edge", &["stage 0"])],
        &[public],
        expect![[r#"
        sink 0
        sink 1
          edge -> public.dead-letter: src_addr dst_addr; unknown
    "#]],
    );
}

#[test]
fn what_a_foreign_plugin_writes_may_hold_what_it_read_until_it_is_hidden() {
    let reads = |edges: &[&str]| foreign("filter", &["src_addr"], &["note", "customer_id"], edges);
    let public = |hidden: &[&str]| hides("public", hidden, &["sink 0"]);
    let addresses = ["src_addr", "dst_addr"];
    check(
        &[source("edge", &["stage 0"])],
        &[reads(&["stage 1"]), public(&addresses)],
        expect![[r#"
        sink 0
          edge -> filter -> public: ; customer_id note route
    "#]],
    );
    let all = ["src_addr", "dst_addr", "note", "customer_id"];
    let public = |hidden: &[&str]| clears("public", hidden, &["sink 0"]);
    check(
        &[source("edge", &["stage 0"])],
        &[reads(&["stage 1 of hosts"]), public(&all)],
        expect![[r#"
        sink 0
    "#]],
    );
    // It sees nothing but what was hidden before.
    let before = [hides("public", &addresses, &["stage 1"]), reads(&["sink 0"])];
    check(
        &[source("edge", &["stage 0"])],
        &before,
        expect![[r#"
        sink 0
    "#]],
    );
    let blind = foreign("filter", &["bytes"], &["note"], &["sink 0"]);
    check(
        &[source("edge", &["stage 0"])],
        &[hides("public", &["src_addr"], &["stage 1"]), blind],
        expect![[r#"
        sink 0
          edge -> public -> filter: dst_addr; 
    "#]],
    );
}

#[test]
fn a_copy_of_a_copy_is_one_and_an_address_can_hold_another() {
    let stages = [
        foreign("first", &["src_addr"], &["note"], &["stage 1"]),
        hides("public", &["src_addr", "dst_addr"], &["stage 2"]),
        foreign("second", &["note"], &["dst_addr"], &["sink 0"]),
    ];
    check(
        &[source("edge", &["stage 0"])],
        &stages,
        expect![[r#"
        sink 0
          edge -> first -> public -> second: ; dst_addr note route
    "#]],
    );
}

#[test]
fn a_splitter_by_an_address_puts_it_into_routes_of_any_name() {
    let splitter =
        |edges: &[&str]| Stage { reads: columns(&["src_addr_lo"]), copies: Copies::Route, ..stage("split", edges) };
    let dropped = hides("public", &["src_addr", "dst_addr"], &["sink 0"]);
    check(
        &[source("edge", &["stage 1"])],
        &[dropped, splitter(&["stage 0 of *"])],
        expect![[r#"
        sink 0
          edge -> split -> public: ; route
    "#]],
    );
}

#[test]
fn a_copy_in_an_address_outlives_its_replacement_and_not_its_end() {
    let filter = |edges: &[&str]| foreign("filter", &["src_addr"], &["dst_addr"], edges);
    let addresses = ["src_addr", "dst_addr"];
    let stages = [filter(&["stage 1"]), hides("public", &addresses, &["sink 0"])];
    check(
        &[source("edge", &["stage 0"])],
        &stages,
        expect![[r#"
        sink 0
          edge -> filter -> public: ; dst_addr route
    "#]],
    );
    let stages = [filter(&["stage 1 of hosts"]), clears("public", &addresses, &["sink 0"])];
    check(
        &[source("edge", &["stage 0"])],
        &stages,
        expect![[r#"
        sink 0
    "#]],
    );
    // Who holds a key is private, and not trusted with more.
    let keyed = Stage { hides: columns(&addresses), ..foreign("keyed", &addresses, &addresses, &["sink 0"]) };
    check(
        &[source("edge", &["stage 0"])],
        &[keyed],
        expect![[r#"
        sink 0
          edge -> keyed: ; src_addr dst_addr route unknown
    "#]],
    );
}
