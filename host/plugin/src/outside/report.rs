//! What a call of a plugin did, as it crosses from its process to the host, which believes none of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Routes};

use crate::abi::{Alert, Failure, Level};
use crate::instance::{TrapKind, Trapped};
use crate::limits::{
    MAX_ALERTS_PER_CALL, MAX_LOG_LINE, MAX_METRIC_NAME, MAX_PLUGIN_METRICS, MAX_ROUTE_BYTES, MAX_ROUTES,
};
use crate::recording::batch::{put_column, take_column};
use crate::recording::bytes::{Put, Take};
use crate::state::{Current, State, Used};

/// Lines of the plugin's log in one report.
pub(super) const MAX_LINES: usize = 1024;
/// Frames of a back trace.
const MAX_FRAMES: usize = 64;
/// Tables, keys and assets that a plugin may have opened: the TOML has fewer names.
const MAX_USED: usize = 4096;
/// Bytes of memory that a report may become.
const MAX_EXPANDED: usize = 1 << 30;

/// How a call ended.
pub(super) enum Outcome {
    Done,
    RetryLater(String),
    Refused(String),
    Trapped(Trapped),
}

/// What happened beside the rows.
#[derive(Default)]
pub(super) struct Report {
    pub(super) cpu_ns: u64,
    /// Bytes of linear memory of the instance.
    pub(super) memory: u64,
    pub(super) lines: Vec<(Level, String)>,
    pub(super) lines_left_out: u64,
    pub(super) alerts_left_out: u64,
    pub(super) metrics_refused: u64,
    /// The plugin's own: name, and what a counter was raised by or a gauge was set to.
    pub(super) counted: Vec<(String, u64)>,
    pub(super) gauges: Vec<(String, f64)>,
    pub(super) alerts: Vec<Alert>,
    pub(super) used: Used,
    /// The first column that it wanted and may not have.
    pub(super) denied: Option<ColumnId>,
}

const LEVELS: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];
const TRAPS: [TrapKind; 3] = [TrapKind::Trap, TrapKind::Deadline, TrapKind::Memory];

pub(super) fn put_outcome(outcome: &Outcome, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Done => out.put_u8(0),
        Outcome::RetryLater(text) => {
            out.put_u8(1);
            out.put_text(text);
        }
        Outcome::Refused(text) => {
            out.put_u8(2);
            out.put_text(text);
        }
        Outcome::Trapped(trapped) => {
            out.put_u8(3);
            out.put_u8(TRAPS.iter().position(|kind| *kind == trapped.kind).unwrap_or(0) as u8);
            out.put_text(&trapped.text);
            let frames = trapped.backtrace.iter().take(MAX_FRAMES);
            out.put_u32(frames.len() as u32);
            frames.for_each(|frame| out.put_text(frame));
        }
    }
}

pub(super) fn take_outcome(from: &mut Take<'_>) -> Result<Outcome, String> {
    Ok(match from.u8()? {
        0 => Outcome::Done,
        1 => Outcome::RetryLater(text(from)?),
        2 => Outcome::Refused(text(from)?),
        3 => {
            let kind = *TRAPS.get(usize::from(from.u8()?)).ok_or("a trap of no kind")?;
            let text = text(from)?;
            let frames = count(from, MAX_FRAMES)?;
            let backtrace = (0..frames).map(|_| self::text(from)).collect::<Result<_, _>>()?;
            Outcome::Trapped(Trapped { kind, text, backtrace })
        }
        _ => return Err("a call that ended in no way".to_owned()),
    })
}

impl Report {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.cpu_ns, self.memory, self.lines_left_out, self.alerts_left_out, self.metrics_refused] {
            out.put_u64(number);
        }
        out.put_u32(self.lines.len() as u32);
        for (level, line) in &self.lines {
            out.put_u8(*level as u8);
            out.put_text(line);
        }
        out.put_u32(self.counted.len() as u32);
        for (name, value) in &self.counted {
            out.put_text(name);
            out.put_u64(*value);
        }
        out.put_u32(self.gauges.len() as u32);
        for (name, value) in &self.gauges {
            out.put_text(name);
            out.put_u64(value.to_bits());
        }
        out.put_u32(self.alerts.len() as u32);
        for alert in &self.alerts {
            out.put_u8(alert.severity);
            [&alert.kind, &alert.subject, &alert.note].into_iter().for_each(|text| out.put_text(text));
            [alert.value, alert.threshold].into_iter().for_each(|value| out.put_u64(value.to_bits()));
        }
        for names in [&self.used.tables, &self.used.keys, &self.used.assets] {
            out.put_u32(names.len() as u32);
            names.iter().for_each(|name| out.put_text(name));
        }
        out.put_u32(self.denied.map_or(0, |column| u32::from(column) + 1));
    }

    pub(super) fn take(from: &mut Take<'_>) -> Result<Report, String> {
        let mut report = Report {
            cpu_ns: from.u64()?,
            memory: from.u64()?,
            lines_left_out: from.u64()?,
            alerts_left_out: from.u64()?,
            metrics_refused: from.u64()?,
            ..Report::default()
        };
        for _ in 0..count(from, MAX_LINES)? {
            let level = *LEVELS.get(usize::from(from.u8()?)).ok_or("a line of no level")?;
            report.lines.push((level, short(from, 4 * MAX_LOG_LINE)?));
        }
        for _ in 0..count(from, MAX_PLUGIN_METRICS)? {
            report.counted.push((short(from, MAX_METRIC_NAME)?, from.u64()?));
        }
        for _ in 0..count(from, MAX_PLUGIN_METRICS)? {
            report.gauges.push((short(from, MAX_METRIC_NAME)?, f64::from_bits(from.u64()?)));
        }
        for _ in 0..count(from, MAX_ALERTS_PER_CALL)? {
            let (severity, kind, subject, note) = (from.u8()?, text(from)?, text(from)?, text(from)?);
            let (value, threshold) = (f64::from_bits(from.u64()?), f64::from_bits(from.u64()?));
            report.alerts.push(Alert { kind, severity, subject, value, threshold, note });
        }
        for names in [&mut report.used.tables, &mut report.used.keys, &mut report.used.assets] {
            for _ in 0..count(from, MAX_USED)? {
                names.insert(text(from)?);
            }
        }
        report.denied = from.u32()?.checked_sub(1).and_then(|column| u16::try_from(column).ok());
        Ok(report)
    }

    /// Lets the host know of it, under the rules that hold for every plugin.
    pub(super) fn apply(self, state: &mut State) {
        let shared = Arc::clone(&state.shared);
        let meters = &shared.meters;
        meters.cpu_ns.inc_by(self.cpu_ns);
        state.limiter.set(usize::try_from(self.memory).unwrap_or(usize::MAX));
        meters.memory.set(shared.memory.get() as f64);
        for (level, line) in &self.lines {
            shared.log(*level, line);
        }
        meters.log_suppressed.inc_by(self.lines_left_out);
        meters.alerts_suppressed.inc_by(self.alerts_left_out);
        meters.metrics_refused.inc_by(self.metrics_refused);
        for (name, add) in self.counted {
            match shared.own_metric(&name, true) {
                Some(crate::shared::OwnMetric::Counter(counter)) => drop(counter.inc_by(add)),
                _ => drop(meters.metrics_refused.inc()),
            }
        }
        for (name, value) in self.gauges {
            match shared.own_metric(&name, false) {
                Some(crate::shared::OwnMetric::Gauge(gauge)) => drop(gauge.set(value)),
                _ => drop(meters.metrics_refused.inc()),
            }
        }
        state.alerts = if shared.grant.linkable().events { self.alerts } else { Vec::new() };
        state.denied.set(self.denied);
        let lent = &shared.services;
        let granted = |names: BTreeSet<String>, is_lent: &dyn Fn(&str) -> bool| {
            names.into_iter().filter(|name| is_lent(name)).collect()
        };
        state.used = Used {
            tables: granted(self.used.tables, &|name| {
                lent.tables.spec(name).is_some() && shared.grant.allows_table(name)
            }),
            keys: granted(self.used.keys, &|name| lent.keys.get(name).is_some() && shared.grant.allows_key(name)),
            assets: granted(self.used.assets, &|name| {
                lent.assets.contains_key(name) && shared.grant.allows_asset(name)
            }),
        };
    }
}

/// Appends what a call wrote beside a batch.
pub(super) fn put_changes(current: &Current, out: &mut Vec<u8>) {
    out.put_u16(current.changes().len() as u16);
    for (number, column) in current.changes() {
        out.put_u16(*number);
        out.put_u8(u8::from(column.is_some()));
        if let Some(column) = column {
            put_column(column, out);
        }
    }
    out.put_u8(u8::from(current.keep.is_some()));
    current.keep.iter().flatten().for_each(|word| out.put_u32(*word));
    out.put_u8(u8::from(current.routes.is_some()));
    if let Some(routes) = &current.routes {
        out.put_u32(routes.names.len() as u32);
        routes.names.iter().for_each(|name| out.put_text(name));
        routes.index.iter().for_each(|index| out.put_u16(*index));
    }
}

/// Takes what a call wrote, if the plugin may write it, and puts it beside the batch of `state`.
pub(super) fn take_changes(from: &mut Take<'_>, state: &mut State) -> Result<(), String> {
    let (schema, write) = (Arc::clone(&state.shared.schema), state.write);
    let current = state.current.as_mut().ok_or("there is no batch")?;
    let rows = current.rows();
    let mut changes: Vec<(ColumnId, Option<Column>)> = Vec::new();
    for _ in 0..from.u16()? {
        let number = from.u16()?;
        let width = schema.width(number).filter(|_| write.contains(number));
        let width = width.ok_or_else(|| format!("it wrote column {number}, which it was not granted"))?;
        let column = if from.u8()? == 0 { None } else { Some(take_column(from, rows)?) };
        if column.as_ref().is_some_and(|column| column.width() != width || column.len() != rows) {
            return Err(format!("it wrote column {number} in another width or length"));
        }
        changes.push((number, column));
    }
    let keep = if from.u8()? == 0 {
        None
    } else {
        let words = rows.div_ceil(32);
        from.claim(words, 4)?;
        Some((0..words).map(|_| from.u32()).collect::<Result<Vec<u32>, _>>()?)
    };
    let routes = if from.u8()? == 0 { None } else { Some(take_routes(from, rows)?) };
    for (number, column) in changes {
        current.put(number, column);
    }
    current.keep = keep;
    current.routes = routes;
    Ok(())
}

fn take_routes(from: &mut Take<'_>, rows: usize) -> Result<Routes, String> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for _ in 0..count(from, MAX_ROUTES)? {
        let name = from.text()?;
        if !(1..=MAX_ROUTE_BYTES).contains(&name.len()) {
            return Err(format!("a route with a name of {} bytes", name.len()));
        }
        names.push(Arc::from(name));
    }
    from.claim(rows, 2)?;
    let index = (0..rows).map(|_| from.u16()).collect::<Result<Vec<u16>, _>>()?;
    if index.iter().any(|index| usize::from(*index) >= names.len()) {
        return Err("a row with a route that has no name".to_owned());
    }
    Ok(Routes { names, index })
}

impl From<Outcome> for Result<Result<(), Failure>, Trapped> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Ok(Ok(())),
            Outcome::RetryLater(text) => Ok(Err(Failure::RetryLater(text))),
            Outcome::Refused(text) => Ok(Err(Failure::Fatal(text))),
            Outcome::Trapped(trapped) => Err(trapped),
        }
    }
}

/// Reads an answer.
pub(super) fn read<T>(bytes: &[u8], take: impl FnOnce(&mut Take<'_>) -> Result<T, String>) -> Result<T, String> {
    let mut room = MAX_EXPANDED;
    let mut from = Take { rest: bytes, room: &mut room };
    let value = take(&mut from)?;
    from.end()?;
    Ok(value)
}

fn count(from: &mut Take<'_>, max: usize) -> Result<usize, String> {
    let count = from.u32()? as usize;
    if count > max { Err(format!("{count} of what there may be {max} of")) } else { Ok(count) }
}

fn text(from: &mut Take<'_>) -> Result<String, String> {
    let text = from.text()?;
    from.claim(text.len() + 24, 1)?;
    Ok(text.to_owned())
}

fn short(from: &mut Take<'_>, max: usize) -> Result<String, String> {
    let text = text(from)?;
    if text.len() > max { Err(format!("a text of {} bytes, more than {max}", text.len())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report() -> Report {
        let alert = Alert {
            kind: "syn-flood".to_owned(),
            severity: 3,
            subject: "192.0.2.1".to_owned(),
            value: 2.5,
            threshold: 1.0,
            note: String::new(),
        };
        Report {
            cpu_ns: 1,
            memory: 2,
            lines: vec![(Level::Warn, "a line".to_owned())],
            lines_left_out: 3,
            alerts_left_out: 4,
            metrics_refused: 5,
            counted: vec![("rows".to_owned(), 6)],
            gauges: vec![("fill".to_owned(), 0.5)],
            alerts: vec![alert],
            used: Used { tables: ["t".to_owned()].into(), ..Used::default() },
            denied: Some(29),
        }
    }

    #[test]
    fn a_report_comes_out_as_it_went_in() {
        let mut bytes = Vec::new();
        report().put(&mut bytes);
        let taken = read(&bytes, Report::take).unwrap();
        let mut again = Vec::new();
        taken.put(&mut again);
        assert_eq!(bytes, again);
        assert_eq!(taken.alerts[0].subject, "192.0.2.1");
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_process_make_the_host_panic_or_allocate_without_end(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            is_noise in any::<bool>(),
        ) {
            if !is_noise {
                bytes.clear();
                put_outcome(&Outcome::Done, &mut bytes);
                report().put(&mut bytes);
                let place = at.index(bytes.len());
                bytes[place] = byte;
            }
            let taken = read(&bytes, |from| {
                take_outcome(from)?;
                Report::take(from)
            });
            if let Ok(report) = taken {
                prop_assert!(report.lines.len() <= MAX_LINES && report.alerts.len() <= MAX_ALERTS_PER_CALL);
            }
        }
    }
}
