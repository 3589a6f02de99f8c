//! Which addresses can reach which sink as they came: what `check` says of it, and what `require = "anonymised"`
//! refuses.

mod reach;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use sluice_endpoints::Invalid;
use sluice_endpoints::sinks::FileFormat;
use sluice_flow::{ADDRESSES, ColumnSet, Schema};
use sluice_plugin::Access;

use crate::build::{Prepared, Way};
use crate::config::{ConfigError, Named, OnErrorConfig, Sink, SinkKind, SourceKind, Stage, did_you_mean};
use reach::{Carrier, Copies, Reach, Reached, reach};

/// What `allow` calls what is no column.
const ROUTE: &str = "route";
const UNKNOWN: &str = "unknown";

/// What a sink writes of a row.
struct Written {
    columns: ColumnSet,
    route: bool,
    unknown: bool,
}

/// Refuses a pipeline in which a sink gets what it requires not to.
///
/// # Errors
/// The first sink, with what can reach it, on which way, and the way out.
pub(crate) fn require(prepared: &Prepared) -> Result<(), ConfigError> {
    let sinks = &prepared.config.sinks;
    if sinks.iter().all(|sink| sink.value.require.is_none()) {
        return Ok(());
    }
    for (at, raw) in sinks_of(prepared)? {
        let sink = &sinks[at];
        let Some(require) = &sink.value.require else { continue };
        let allowed = allowed(prepared, sink)?;
        let left: Reach = raw.into_iter().filter(|(carrier, _)| !allowed.contains(carrier)).collect();
        if let Some(problem) = problem(&prepared.config.schema, &left, sink) {
            let error = prepared.config.doc.error(require.span(), &format!("sinks.{}", sink.name), problem);
            return Err(error);
        }
    }
    Ok(())
}

/// What can reach each sink, for people.
///
/// # Errors
/// Those of a sink's own configuration.
pub(crate) fn describe(prepared: &Prepared) -> Result<String, ConfigError> {
    let schema = &prepared.config.schema;
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
    for (at, raw) in sinks_of(prepared)? {
        let sink = &prepared.config.sinks[at];
        if raw.is_empty() {
            line(format_args!("addresses in {}: none as it came", sink.name));
        }
        for (way, carriers) in by_way(&raw) {
            let what = if matches!(sink.value.kind, SinkKind::Events(_)) { "named in alerts" } else { "as they came" };
            let (addresses, others) = names(schema, &carriers);
            let mut parts = Vec::new();
            if !addresses.is_empty() {
                parts.push(format!("{} {what}", addresses.join(" ")));
            }
            if !others.is_empty() {
                parts.push(format!("perhaps in {}", others.join(" ")));
            }
            line(format_args!("addresses in {}: {} ({way} -> {})", sink.name, parts.join(", "), sink.name));
        }
    }
    Ok(text)
}

/// What can reach each sink that it writes, by its place in the configuration.
fn sinks_of(prepared: &Prepared) -> Result<BTreeMap<usize, Reach>, ConfigError> {
    let reached = reached(prepared);
    let mut found = BTreeMap::new();
    for (target, at) in prepared.plan.row_sinks.iter().enumerate() {
        let sink = &prepared.config.sinks[*at];
        let written = written(&prepared.config.schema, &sink.value.kind).map_err(|error| {
            prepared.config.doc.error(sink.span.clone(), &format!("sinks.{}", sink.name), error.to_string())
        })?;
        let gets = |carrier: &Carrier| match carrier {
            Carrier::Route => written.route,
            Carrier::Unknown => written.unknown,
            carrier => carrier.is_in(written.columns),
        };
        let came = reached.sinks[target].iter().filter(|(carrier, _)| gets(carrier));
        found.insert(*at, shown(came));
    }
    for (at, heard) in &prepared.plan.event_sinks {
        let mut raw = Reach::new();
        for stage in heard {
            let access = accesses(prepared, *stage);
            let reads = union(&access, |access| if access.alerts { readable(access) } else { ColumnSet::EMPTY });
            let name = &prepared.config.stages[*stage].name;
            // An alert is text: who sees an address can write it there.
            for (carrier, way) in reached.stages[*stage].iter().filter(|(carrier, _)| carrier.is_in(reads)) {
                raw.entry(*carrier).or_insert_with(|| format!("{way} -> {name}"));
            }
        }
        found.insert(*at, raw);
    }
    Ok(found)
}

/// What arrived, without copies in an address that is there as it came anyway.
fn shown<'r>(came: impl Iterator<Item = (&'r Carrier, &'r String)>) -> Reach {
    let came: Reach = came.map(|(carrier, way)| (*carrier, way.clone())).collect();
    let addresses: Vec<Carrier> =
        came.keys().filter(|carrier| matches!(carrier, Carrier::Address(_))).copied().collect();
    let is_more = |carrier: &Carrier| match carrier {
        Carrier::Column(column) => !addresses.iter().any(|address| address.is_in([*column].into_iter().collect())),
        _ => true,
    };
    came.into_iter().filter(|(carrier, _)| is_more(carrier)).collect()
}

fn reached(prepared: &Prepared) -> Reached {
    let config = &prepared.config;
    let all_addresses = || (0..ADDRESSES.len()).map(Carrier::Address);
    // What an element of the operator's own choice holds nobody knows.
    let of_the_wire: Vec<Carrier> = config
        .schema
        .custom()
        .filter(|(_, field)| field.element.is_some())
        .map(|(column, _)| Carrier::Column(column))
        .collect();
    let sources = config.sources.iter().zip(&prepared.plan.sources).map(|(source, edges)| {
        let has_unknown = matches!(source.value.kind, SourceKind::Kafka(_));
        let unknown = has_unknown.then_some(Carrier::Unknown);
        let brings = all_addresses().chain(of_the_wire.iter().copied()).chain(unknown).collect();
        reach::Source { name: source.name.clone(), edges: edges.clone(), brings }
    });
    let stages = config.stages.iter().zip(&prepared.plan.stages).enumerate().map(|(at, (stage, edges))| {
        let access = accesses(prepared, at);
        let passes = stage.value.on_error.get_ref() == &OnErrorConfig::Pass;
        let is_private = crate::build::hides(&stage.value) && !passes;
        let (hides, clears) = match &access[..] {
            _ if !is_private => (ColumnSet::EMPTY, ColumnSet::EMPTY),
            // It clears what it writes without reading it.
            [access] if access.is_built_in && stage.value.plugin.get_ref() == "reducer" => {
                (access.hides, access.says_writes.minus(access.says_reads))
            }
            // What each of them hides.
            all => {
                let some = union(all, |access| access.hides);
                (all.iter().fold(some, |hides, access| hides.minus(some.minus(access.hides))), ColumnSet::EMPTY)
            }
        };
        reach::Stage {
            name: stage.name.clone(),
            edges: edges.clone(),
            reads: union(&access, readable),
            writes: union(&access, |access| if access.is_built_in { access.says_writes } else { access.writes }),
            hides,
            clears,
            ends_unknown: is_private,
            copies: copies(stage, &access),
        }
    });
    let (sources, stages): (Vec<_>, Vec<_>) = (sources.collect(), stages.collect());
    reach(&sources, &stages, prepared.plan.row_sinks.len())
}

/// What the plugin of a stage can get at, and the candidate beside it, which may take its place.
fn accesses(prepared: &Prepared, at: usize) -> Vec<Access> {
    let loaded = &prepared.stages[at];
    let plugin = match prepared.ways.get(at) {
        Some(Way::Changed(candidate)) => candidate.access(),
        _ => loaded.access(),
    };
    let candidate = match prepared.shadows.iter().find(|(stage, _)| *stage == at) {
        Some((_, new)) => new.as_ref().map(|(candidate, _)| candidate.access()),
        // One that runs already goes on.
        None => loaded.shadow_candidate().map(|candidate| candidate.access()),
    };
    [plugin].into_iter().chain(candidate).collect()
}

fn union(access: &[Access], columns: impl Fn(&Access) -> ColumnSet) -> ColumnSet {
    access.iter().fold(ColumnSet::EMPTY, |all, access| all.union(columns(access)))
}

/// Ours read what they say; the next version of another may say more.
fn readable(access: &Access) -> ColumnSet {
    if access.is_built_in { access.says_reads } else { access.reads }
}

/// Where the plugin of a stage may put what it read. A key alone makes a stage private, but says nothing of its plugin.
fn copies(stage: &Named<Stage>, access: &[Access]) -> Copies {
    let is_ours = access.iter().all(|access| access.is_built_in);
    match stage.value.plugin.get_ref().as_str() {
        _ if !is_ours && stage.value.is_private == Some(true) => Copies::Nowhere,
        _ if !is_ours => Copies::Everywhere,
        "splitter" => Copies::Route,
        _ => Copies::Nowhere,
    }
}

fn written(schema: &Schema, kind: &SinkKind) -> Result<Written, Invalid> {
    let nothing = Written { columns: ColumnSet::EMPTY, route: false, unknown: false };
    Ok(match kind {
        SinkKind::Stdout(config) => {
            Written { columns: config.reads(schema)?, route: config.shows_route(schema)?, unknown: false }
        }
        SinkKind::File(config) => Written {
            columns: config.reads(schema)?,
            route: config.shows_route(schema)?,
            unknown: config.format == FileFormat::Protobuf,
        },
        SinkKind::Kafka(config) => Written {
            columns: config.reads(schema)?,
            route: config.shows_route(schema)?,
            unknown: config.keeps_unknown(),
        },
        SinkKind::Null(_) | SinkKind::Events(_) => nothing,
    })
}

/// What `allow` of a sink names.
fn allowed(prepared: &Prepared, sink: &Named<Sink>) -> Result<Vec<Carrier>, ConfigError> {
    let schema = &prepared.config.schema;
    let mut allowed = Vec::new();
    for name in &sink.value.allow {
        match name.get_ref().as_str() {
            ROUTE => allowed.push(Carrier::Route),
            UNKNOWN => allowed.push(Carrier::Unknown),
            other => {
                let Some(columns) = schema.columns(other) else {
                    let near = did_you_mean(other, schema.names().chain([ROUTE, UNKNOWN]));
                    let problem = format!("allow: there is no column `{other}`{near}");
                    return Err(prepared.config.doc.error(name.span(), &format!("sinks.{}", sink.name), problem));
                };
                allowed.extend(ADDRESSES.iter().position(|address| address.name == other).map(Carrier::Address));
                allowed.extend(columns.into_iter().map(Carrier::Column));
            }
        }
    }
    Ok(allowed)
}

/// What is grouped by the way that it came. Addresses sort before the rest, so the ways of addresses are the first.
fn by_way(raw: &Reach) -> Vec<(&str, Vec<Carrier>)> {
    let mut ways: Vec<(&str, Vec<Carrier>)> = Vec::new();
    for (carrier, way) in raw {
        match ways.iter_mut().find(|(known, _)| known == way) {
            Some((_, carriers)) => carriers.push(*carrier),
            None => ways.push((way, vec![*carrier])),
        }
    }
    ways
}

/// Names of addresses, and of what else may hold one, as `allow` has them.
fn names(schema: &Schema, carriers: &[Carrier]) -> (Vec<String>, Vec<String>) {
    let (mut addresses, mut columns, mut others) = (Vec::new(), ColumnSet::EMPTY, Vec::new());
    for carrier in carriers {
        match carrier {
            Carrier::Address(at) => addresses.push(ADDRESSES[*at].name.to_owned()),
            Carrier::Column(column) => columns.insert(*column),
            Carrier::Route => others.push(ROUTE.to_owned()),
            Carrier::Unknown => others.push(UNKNOWN.to_owned()),
        }
    }
    let mut perhaps = sluice_plugin::grant_names(schema, columns);
    perhaps.extend(others);
    (addresses, perhaps)
}

/// Why a sink that requires addresses to be hidden cannot have this; nothing if there is nothing.
fn problem(schema: &Schema, left: &Reach, sink: &Named<Sink>) -> Option<String> {
    let (way, carriers) = by_way(left).into_iter().next()?;
    let (addresses, others) = names(schema, &carriers);
    let quoted = |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let name = &sink.name;
    let is_events = matches!(sink.value.kind, SinkKind::Events(_));
    Some(if is_events {
        let named = [addresses, others].concat();
        format!(
            "alerts can name {} ({way} -> {name}): take those of a stage behind one that hides, or accept it with `allow = [{}]`",
            named.join(", "),
            quoted(&named)
        )
    } else if addresses.is_empty() {
        format!(
            "an address can be in {} ({way} -> {name}), where a plugin from a file or the sender may have put it: grant the plugin \
             less, drop it in a `reducer` on the way, leave it out of what the sink writes, or accept it with `allow = [{}]`",
            others.join(", "),
            quoted(&others)
        )
    } else {
        let (it, came) = if addresses.len() == 1 { ("it", "it came") } else { ("them", "they came") };
        format!(
            "{} can get here as {came} ({way} -> {name}): hide {it} in a private stage on the way (a `reducer`), leave {it} out of what \
             the sink writes, or accept it with `allow = [{}]`",
            addresses.join(", "),
            quoted(&addresses)
        )
    })
}
