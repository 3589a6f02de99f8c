//! `[case.expect]`: what must come out.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use sluice_flow::Schema;
use toml::Spanned;

use crate::document::{ConfigError, Document, Table};
use crate::rows::{self, Row};

/// Every key, in the order in which the reference explains them.
const KEYS: [&str; 10] =
    ["rows", "row_count", "kept", "routes", "alerts", "metrics", "logs", "no_logs", "error", "max_fuel"];

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// Place of the value in the file.
    pub span: Range<usize>,
    /// The value.
    pub value: T,
}

/// What must come out of a step; what is not said may be anything.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Place of the table, or of its header.
    pub span: Range<usize>,
    /// `rows`: the rows that come out, in order; of each the columns that it names.
    pub rows: Option<Placed<Vec<Row>>>,
    /// `row_count`: how many rows come out.
    pub row_count: Option<Placed<usize>>,
    /// `kept`: which rows stay, counted from 0 as they went in.
    pub kept: Option<Placed<Vec<u32>>>,
    /// `routes`: the route of each row that comes out; `""` for none.
    pub routes: Option<Placed<Vec<String>>>,
    /// `alerts`: the alerts, in order; of each the fields that it names.
    pub alerts: Option<Placed<Vec<AlertExpect>>>,
    /// `metrics`: counters and gauges of the plugin's own, as they are then.
    pub metrics: Option<Placed<BTreeMap<String, Placed<f64>>>>,
    /// `logs`: each is a part of some line that was logged.
    pub logs: Option<Placed<Vec<String>>>,
    /// `no_logs`: what is not logged.
    pub no_logs: Option<Placed<NoLogs>>,
    /// `error`: part of the text of a refusal, by `init` or `process`, or of a trap.
    pub error: Option<Placed<String>>,
    /// `max_fuel`: what the call may cost.
    pub max_fuel: Option<Placed<u64>>,
}

/// What an alert must be; what is not said may be anything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertExpect {
    /// Its kind.
    pub kind: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// 0 emergency to 7 debug.
    pub severity: Option<u8>,
    /// The measured value.
    pub value: Option<f64>,
    /// What it was compared with.
    pub threshold: Option<f64>,
    /// What it says.
    pub note: Option<String>,
}

/// What must not be logged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum NoLogs {
    /// `true`: anything.
    All(bool),
    /// Lines with one of these in them.
    Containing(Vec<String>),
}

impl Expect {
    pub(super) fn read(doc: &Document, table: &mut Table<'_>, schema: &Schema) -> Result<Expect, ConfigError> {
        let span = table.span("");
        let rows = match table.value("rows") {
            Some(value) => {
                let span = value.span();
                let value = rows::from_toml(doc, &format!("{}.rows", table.path), value, schema)?;
                Some(Placed { span, value })
            }
            None => None,
        };
        let metrics: Option<Spanned<BTreeMap<String, Spanned<f64>>>> = table.take(doc, "metrics")?;
        let metrics = metrics.map(|metrics| Placed {
            span: metrics.span(),
            value: metrics.into_inner().into_iter().map(|(name, value)| (name, value.into())).collect(),
        });
        let expect = Expect {
            span,
            rows,
            row_count: placed(doc, table, "row_count")?,
            kept: placed(doc, table, "kept")?,
            routes: placed(doc, table, "routes")?,
            alerts: placed(doc, table, "alerts")?,
            metrics,
            logs: placed(doc, table, "logs")?,
            no_logs: placed(doc, table, "no_logs")?,
            error: placed(doc, table, "error")?,
            max_fuel: placed(doc, table, "max_fuel")?,
        };
        table.finish(doc, &KEYS)?;
        if let Some(error) = &expect.error {
            if error.value.is_empty() {
                return Err(doc.error(error.span.clone(), &table.path, "`error` is empty: any error would do"));
            }
            if let Some((key, span)) =
                expect.about_rows().or(expect.alerts.as_ref().map(|at| ("alerts", at.span.clone())))
            {
                let problem = format!("`{key}` beside `error`: nothing comes out of a call that fails");
                return Err(doc.error(span, &table.path, problem));
            }
        }
        if let Some(no_logs) = expect.no_logs.as_ref().filter(|no_logs| no_logs.value == NoLogs::All(false)) {
            let problem = "`no_logs` is true, a list of parts of lines, or not there";
            return Err(doc.error(no_logs.span.clone(), &table.path, problem));
        }
        Ok(expect)
    }

    /// Whether nothing is expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Expect { span: _, rows, row_count, kept, routes, alerts, metrics, logs, no_logs, error, max_fuel } = self;
        let no_metrics = metrics.as_ref().is_none_or(|metrics| metrics.value.is_empty());
        let no_logs = no_logs.is_none() && logs.as_ref().is_none_or(|logs| logs.value.is_empty());
        rows.is_none()
            && row_count.is_none()
            && kept.is_none()
            && routes.is_none()
            && alerts.is_none()
            && no_metrics
            && no_logs
            && error.is_none()
            && max_fuel.is_none()
    }

    /// An expectation about what comes out of a batch, and its place.
    pub(super) fn about_rows(&self) -> Option<(&'static str, Range<usize>)> {
        let at = |key, span: Option<&Range<usize>>| span.map(|span| (key, span.clone()));
        at("rows", self.rows.as_ref().map(|at| &at.span))
            .or(at("row_count", self.row_count.as_ref().map(|at| &at.span)))
            .or(at("kept", self.kept.as_ref().map(|at| &at.span)))
            .or(at("routes", self.routes.as_ref().map(|at| &at.span)))
    }
}

fn placed<T: serde::de::DeserializeOwned>(
    doc: &Document,
    table: &mut Table<'_>,
    key: &str,
) -> Result<Option<Placed<T>>, ConfigError> {
    Ok(table.take::<Spanned<T>>(doc, key)?.map(Placed::from))
}

impl<T> From<Spanned<T>> for Placed<T> {
    fn from(spanned: Spanned<T>) -> Placed<T> {
        Placed { span: spanned.span(), value: spanned.into_inner() }
    }
}
