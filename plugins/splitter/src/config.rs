//! The keys of the stage's `config` table.

use serde::Deserialize;
use sluice_sdk::config::nearest;
use sluice_sdk::{ColumnId, Field, Width, column_of, columns};

const DEFAULT_MAX_ROUTES: u16 = 256;
/// Routes that the host takes of a batch, the default among them.
const MAX_ROUTES: u16 = 4096;

/// Columns that a name may be made of; more would be a key that nobody can read.
const MAX_COLUMNS: usize = 8;

/// `[stages.NAME.config]` of the plugin `splitter`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the route, with columns in braces, e.g. `"enriched-{customer_id}"`. Required.
    pub name: String,
    /// The column that decides whether a row has a route at all. Default: the first in `name`.
    pub by: Option<String>,
    /// Values of `by` that have a route, as numbers, ranges or texts, e.g. `[7, 8, "100-199"]`.
    /// Default: every value but the absent one (0 or empty).
    pub allow: Option<Vec<Allowed>>,
    /// Most routes there may be, the default not counted. Default 256.
    pub max_routes: Option<u16>,
    /// Route of rows without one, e.g. `"other"`. Default: they are dropped and counted.
    pub default: Option<String>,
}

/// An entry of `allow`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a number, a range such as \"100-199\", or a text")]
pub enum Allowed {
    /// A number.
    Number(u64),
    /// A text, or a range of numbers.
    Text(String),
}

/// A piece of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// The value of a column: an index into the plan's columns.
    Column(usize),
}

/// What the configuration comes down to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) template: String,
    pub(crate) pieces: Vec<Piece>,
    /// Every column that takes part, `by` first.
    pub(crate) columns: Vec<ColumnId>,
    pub(crate) allow: Option<Allow>,
    pub(crate) max_routes: usize,
    pub(crate) default: Option<String>,
    /// Whether there cannot be more names than `max_routes`, whatever the rows hold.
    pub(crate) bounded: bool,
}

/// The values of `by` that have a route.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allow {
    /// From and to, inclusive.
    ranges: Vec<(u64, u64)>,
    texts: Vec<String>,
}

impl Allow {
    pub(crate) fn number(&self, value: u64) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
    }

    pub(crate) fn text(&self, value: &str) -> bool {
        self.texts.iter().any(|text| text == value)
    }

    /// How many values there are, at least.
    fn count(&self) -> u64 {
        let ranges = self.ranges.iter().map(|(from, to)| (to - from).saturating_add(1));
        ranges.fold(self.texts.len() as u64, u64::saturating_add)
    }
}

impl Config {
    /// Checks the keys against each other and resolves the names.
    ///
    /// # Errors
    /// Which key is wrong, and what would be right.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let mut plan = Plan { template: self.name.clone(), ..Plan::default() };
        if let Some(by) = &self.by {
            plan.columns.push(column("by", by)?);
        }
        plan.pieces = pieces(&self.name, &mut plan.columns)?;
        if !plan.pieces.iter().any(|piece| matches!(piece, Piece::Column(_))) {
            return Err(format!("`name`: `{}` is the same for every row; put a column in braces", self.name));
        }
        if plan.columns.len() > MAX_COLUMNS {
            return Err(format!("`name`: {} columns, at most {MAX_COLUMNS} can take part", plan.columns.len()));
        }
        let by = plan.columns.first().and_then(|id| Field::numbered(*id));
        plan.allow = self.allow.as_ref().map(|allow| allowed(allow, by)).transpose()?;
        let most = MAX_ROUTES - u16::from(self.default.is_some());
        plan.max_routes = match self.max_routes {
            Some(0) => return Err("`max_routes`: 0 would route nothing; use 1 or more (default 256)".into()),
            Some(max) if max > most => {
                return Err(format!("`max_routes`: {max} is more than the {most} that a batch can have"));
            }
            max => max.unwrap_or(DEFAULT_MAX_ROUTES).into(),
        };
        plan.bounded = plan.most_names() <= plan.max_routes as u64;
        if !plan.bounded
            && let Some(allow) = &plan.allow
            && allow.count() > plan.max_routes as u64
        {
            let (listed, max) = (allow.count(), plan.max_routes);
            return Err(format!("`allow`: {listed} values are more than `max_routes` = {max}; raise it or list fewer"));
        }
        plan.default = self.default.as_deref().map(crate::route::sanitize);
        if self.default.as_deref() == Some("") {
            return Err("`default`: the name is empty; leave the key out to drop rows without a route".into());
        }
        Ok(plan)
    }
}

impl Plan {
    /// The product of how many values each column in the name can have.
    fn most_names(&self) -> u64 {
        let mut most = 1u64;
        for piece in &self.pieces {
            let Piece::Column(at) = piece else { continue };
            let values = match (at, &self.allow) {
                (0, Some(allow)) => allow.count(),
                _ => match self.columns.get(*at).and_then(|id| Field::numbered(*id)).map(|field| field.width) {
                    Some(Width::U8) => 1 << 8,
                    Some(Width::U16) => 1 << 16,
                    _ => u64::MAX,
                },
            };
            most = most.saturating_mul(values);
        }
        most
    }
}

/// Splits the template; a column that is not in `columns` yet is added.
fn pieces(template: &str, columns: &mut Vec<ColumnId>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
        if text.contains('}') {
            return Err(format!("`name`: `{template}` closes a brace that it does not open"));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if text.len() == rest.len() {
            break;
        }
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("`name`: `{template}` opens a brace that it does not close"));
        };
        let id = column("name", name)?;
        let at = columns.iter().position(|column| *column == id).unwrap_or_else(|| {
            columns.push(id);
            columns.len() - 1
        });
        pieces.push(Piece::Column(at));
        rest = after;
    }
    Ok(pieces)
}

fn column(key: &str, name: &str) -> Result<ColumnId, String> {
    let is_address = columns::ADDRESSES
        .iter()
        .any(|address| name.strip_prefix(address.name).is_some_and(|end| ["", "_hi", "_lo"].contains(&end)));
    if is_address {
        return Err(format!(
            "`{key}`: `{name}` is an address; there would be a route for every one, use a number or a text"
        ));
    }
    let Some(id) = column_of(name) else {
        let hint = nearest(name, columns::STANDARD.iter().map(|field| field.name));
        let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        return Err(format!("`{key}`: there is no column `{name}`{hint}"));
    };
    if Field::numbered(id).is_some_and(|field| field.width == Width::Lists) {
        return Err(format!("`{key}`: `{name}` holds lists; use a number or a text"));
    }
    Ok(id)
}

/// Reads `allow`. Which kind an own column holds is known only with a batch; it gets both readings.
fn allowed(entries: &[Allowed], by: Option<&Field>) -> Result<Allow, String> {
    let is_text = by.map(|field| field.width == Width::Text);
    let mut allow = Allow::default();
    for entry in entries {
        let range = match entry {
            Allowed::Number(number) => Some((*number, *number)),
            Allowed::Text(text) => range(text),
        };
        match (entry, range, is_text) {
            (Allowed::Text(text), _, Some(true)) => allow.texts.push(text.clone()),
            (Allowed::Number(number), _, Some(true)) => {
                return Err(format!("`allow`: {number} is a number, but `by` is a text; write \"{number}\""));
            }
            (_, Some(range), Some(false) | None) => {
                allow.ranges.push(range);
                if let (Allowed::Text(text), None) = (entry, is_text) {
                    allow.texts.push(text.clone());
                }
            }
            (Allowed::Text(text), None, None) => allow.texts.push(text.clone()),
            (_, None, Some(false)) => {
                let Allowed::Text(text) = entry else { continue };
                return Err(format!("`allow`: `{text}` is neither a number nor a range such as \"100-199\""));
            }
            (Allowed::Number(_), None, None) => {}
        }
    }
    if allow.count() == 0 {
        return Err("`allow` is empty: nothing would have a route; leave it out to allow every value".into());
    }
    Ok(allow)
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let range = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (range.0 <= range.1).then_some(range)
}
