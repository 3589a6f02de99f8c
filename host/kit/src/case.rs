//! The cases of a plugin's tests, as they are written in `tests/*.toml`: what goes in, and what must come out.
//! `docs/reference/plugin-test.md` describes the format.

mod expect;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_flow::{Batch, Schema};
use sluice_pipeline::chain;
use sluice_plugin::keys::Keys;
use sluice_plugin::tables::Tables;
use sluice_plugin::{Assets, Grant, Limits};
use toml::Spanned;

pub use self::expect::{AlertExpect, Expect, NoLogs, Placed};
use crate::document::{ConfigError, Document, Table};
use crate::lent::{GrantConfig, Lent, LimitsConfig};
use crate::rows::{self, RowsError};

/// Batch time of the first batch if nothing is said: 2023-11-14 22:13:20 UTC.
pub const DEFAULT_NOW_MS: u64 = 1_700_000_000_000;

/// Keys of a file and of a case alike.
const SHARED_KEYS: [&str; 8] = ["config", "grant", "tables", "keys", "assets", "limits", "now_ms", "max_fuel"];

/// A file of cases.
#[derive(Debug)]
pub struct Fixture {
    /// Its text, for errors and for changes.
    pub doc: Document,
    /// Its cases, in their order; each has a name of its own.
    pub cases: Vec<Case>,
}

/// One case: an instance of the plugin, and what it is given.
#[derive(Debug)]
pub struct Case {
    /// What must stay true.
    pub name: String,
    /// Where it begins in the file.
    pub span: Range<usize>,
    /// The plugin's configuration as JSON.
    pub config_json: String,
    /// What the plugin may do.
    pub grant: Grant,
    /// What it may use.
    pub limits: Limits,
    /// What it is lent.
    pub loaned: Loaned,
    /// Batch time at the beginning.
    pub now_ms: u64,
    /// Fuel that no call may go beyond.
    pub max_fuel: Option<u64>,
    /// What is done, one after another. Of a case that only starts the plugin: nothing.
    pub steps: Vec<Step>,
    /// What starting must end with, if there are no steps.
    pub start: Option<Expect>,
}

/// Tables, keys and files that were read.
#[derive(Clone, Debug, Default)]
pub struct Loaned {
    /// Tables by name.
    pub tables: Arc<Tables>,
    /// Keys by name.
    pub keys: Arc<Keys>,
    /// Files by name.
    pub assets: Arc<Assets>,
}

/// One thing that is done to the plugin, and what it must do then.
#[derive(Debug)]
pub struct Step {
    /// What is done.
    pub act: Act,
    /// Batch time from this step on, if it changes.
    pub now_ms: Option<u64>,
    /// Nothing: it must not fail.
    pub expect: Option<Expect>,
    /// What of a capture became no rows, by reason.
    pub left_out: Vec<(&'static str, u64)>,
}

/// What is done to a plugin.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are a few per case")]
pub enum Act {
    /// It is given a batch.
    Process(Batch),
    /// So many milliseconds pass, then its `timer.tick` is called.
    Tick(u64),
    /// Its state is taken over by a new instance.
    Restart,
}

/// Why there are no cases.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// A mistake in a file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or folder that cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// The fixture files of `paths`: files as they are, folders as their `.toml` files by name.
///
/// # Errors
/// If a path cannot be read.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FixtureError> {
    let mut found = Vec::new();
    for path in paths {
        let unreadable = |error| FixtureError::Read { path: path.clone(), error };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "toml") {
                files.push(file);
            }
        }
        files.sort();
        found.extend(files);
    }
    Ok(found)
}

impl Fixture {
    /// Reads a file, and the rows, tables, keys and assets that it names.
    ///
    /// # Errors
    /// The first mistake, with its place. An `expect` that says nothing is one, unless it is there to be filled
    /// (`is_update`).
    pub fn read(file: &Path, schema: &Arc<Schema>, is_update: bool) -> Result<Fixture, FixtureError> {
        let text = fs::read_to_string(file).map_err(|error| FixtureError::Read { path: file.to_owned(), error })?;
        let doc = Document::new(file, text);
        let cases = Reader { doc: &doc, schema, is_update }.file()?;
        Ok(Fixture { doc, cases })
    }
}

/// What cases of a file have in common, unless they say something else.
struct Shared {
    config_json: String,
    grant: Option<Spanned<GrantConfig>>,
    lent: Lent,
    loaned: Loaned,
    limits: LimitsConfig,
    now_ms: u64,
    max_fuel: Option<u64>,
}

struct Reader<'a> {
    doc: &'a Document,
    schema: &'a Arc<Schema>,
    is_update: bool,
}

impl Reader<'_> {
    fn base(&self) -> &Path {
        self.doc.file.parent().unwrap_or(Path::new(""))
    }

    fn file(&self) -> Result<Vec<Case>, ConfigError> {
        let doc = self.doc;
        let mut top = doc.parse()?;
        let tables = top.list(doc, "case")?;
        let nothing = Shared {
            config_json: "{}".to_owned(),
            grant: None,
            lent: Lent::default(),
            loaned: Loaned::default(),
            limits: LimitsConfig::default(),
            now_ms: DEFAULT_NOW_MS,
            max_fuel: None,
        };
        let shared = self.shared(&mut top, &nothing)?;
        top.finish(doc, &[&["case"], &SHARED_KEYS[..]].concat())?;
        let mut cases: Vec<Case> = Vec::with_capacity(tables.len());
        for mut table in tables {
            let case = self.case(&mut table, &shared)?;
            if cases.iter().any(|other| other.name == case.name) {
                let problem = format!("there is another case called `{}`", case.name);
                return Err(doc.error(table.span("name"), &table.path, problem));
            }
            cases.push(case);
        }
        Ok(cases)
    }

    /// The keys that a file and a case have in common; what is not there is as in `default`.
    fn shared(&self, table: &mut Table<'_>, default: &Shared) -> Result<Shared, ConfigError> {
        let doc = self.doc;
        let config_json = match table.take::<Spanned<serde_json::Value>>(doc, "config")? {
            Some(value) if !value.get_ref().is_object() => {
                return Err(doc.error(value.span(), &table.path, "`config` must be a table"));
            }
            Some(value) => value.get_ref().to_string(),
            None => default.config_json.clone(),
        };
        let grant = table.take(doc, "grant")?.or_else(|| default.grant.clone());
        let own = Lent::read(doc, table, self.base())?;
        let is_own = !(own.tables.is_empty() && own.keys.is_empty() && own.assets.is_empty());
        let lent = default.lent.and(own);
        let loaned = if is_own {
            Loaned {
                tables: Arc::new(lent.load_tables(doc)?),
                keys: Arc::new(lent.load_keys(doc)?),
                assets: Arc::new(lent.load_assets(doc)?),
            }
        } else {
            default.loaned.clone()
        };
        let limits = table.take(doc, "limits")?.unwrap_or_else(|| default.limits.clone());
        let now_ms = table.take(doc, "now_ms")?.unwrap_or(default.now_ms);
        let max_fuel = table.take(doc, "max_fuel")?.or(default.max_fuel);
        Ok(Shared { config_json, grant, lent, loaned, limits, now_ms, max_fuel })
    }

    fn case(&self, table: &mut Table<'_>, shared: &Shared) -> Result<Case, ConfigError> {
        let doc = self.doc;
        let span = table.span("");
        let name: Spanned<String> = table.need(doc, "name", "\"keeps what is to be kept\"")?;
        if name.get_ref().trim().is_empty() {
            return Err(doc.error(name.span(), &table.path, "`name` is empty; say what must stay true"));
        }
        let shared = self.shared(table, shared)?;
        let (steps, start) = self.steps(table, &shared)?;
        let grant = match &shared.grant {
            None => Grant::Requested,
            Some(grant) => {
                let path = format!("{}.grant", table.path);
                Grant::Listed(shared.lent.granted(doc, self.schema, &path, grant.get_ref())?)
            }
        };
        Ok(Case {
            name: name.into_inner(),
            span,
            config_json: shared.config_json,
            grant,
            limits: shared.limits.limits(),
            loaned: shared.loaned,
            now_ms: shared.now_ms,
            max_fuel: shared.max_fuel,
            steps,
            start,
        })
    }

    /// The steps of a case, whether they are written as such or as one batch, or what starting must end with.
    fn steps(&self, case: &mut Table<'_>, shared: &Shared) -> Result<(Vec<Step>, Option<Expect>), ConfigError> {
        let doc = self.doc;
        let tables = case.list(doc, "step")?;
        let batch = self.batch(case, shared.now_ms)?;
        let expect = self.expect(case)?;
        // Before it is said what is missing: it may be there with a slip in its name.
        case.finish(doc, &[&["name", "rows", "rows_from", "expect", "step"], &SHARED_KEYS[..]].concat())?;
        if tables.is_empty() {
            let Some(expect) = expect else {
                let example = if self.is_update {
                    "add an empty `[case.expect]` to have it filled"
                } else {
                    "add `[case.expect]` with e.g. `rows = [{ bytes = 1000 }]`"
                };
                return Err(doc.error(case.span(""), &case.path, format!("nothing is expected; {example}")));
            };
            return match batch {
                Some((batch, left_out)) => {
                    let act = Act::Process(batch);
                    Ok((vec![Step { act, now_ms: None, expect: Some(expect), left_out }], None))
                }
                None if expect.error.is_some() => Ok((Vec::new(), Some(expect))),
                None => Err(doc.error(case.span(""), &case.path, "no rows; add `rows = [{ proto = 6 }]`")),
            };
        }
        if batch.is_some() || expect.is_some() {
            let key = if batch.is_some() { "rows" } else { "expect" };
            let problem = format!("a case with steps has no `{key}` of its own; move it into a `[[case.step]]`");
            return Err(doc.error(case.span(key), &case.path, problem));
        }
        let steps = tables.into_iter().map(|mut table| self.step(&mut table, shared));
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        if steps.iter().all(|step| step.expect.is_none()) {
            let problem = "no step expects anything: the case could hardly fail; add `[case.step.expect]`";
            return Err(doc.error(case.span(""), &case.path, problem));
        }
        Ok((steps, None))
    }

    fn step(&self, table: &mut Table<'_>, shared: &Shared) -> Result<Step, ConfigError> {
        let doc = self.doc;
        let now_ms = table.take(doc, "now_ms")?;
        let batch = self.batch(table, now_ms.unwrap_or(shared.now_ms))?;
        let tick_ms: Option<u64> = table.take(doc, "tick_ms")?;
        let restart: Option<Spanned<bool>> = table.take(doc, "restart")?;
        if let Some(restart) = restart.as_ref().filter(|restart| !restart.get_ref()) {
            return Err(doc.error(restart.span(), &table.path, "`restart` is true or not there"));
        }
        let expect = self.expect(table)?;
        table.finish(doc, &["rows", "rows_from", "tick_ms", "restart", "now_ms", "expect"])?;
        let (act, left_out) = match (batch, tick_ms, restart) {
            (Some((batch, left_out)), None, None) => (Act::Process(batch), left_out),
            (None, Some(tick_ms), None) => (Act::Tick(tick_ms), Vec::new()),
            (None, None, Some(_)) => (Act::Restart, Vec::new()),
            _ => {
                let problem = "a step has one of `rows`, `rows_from`, `tick_ms` and `restart`";
                return Err(doc.error(table.span(""), &table.path, problem));
            }
        };
        if let Some(expect) = &expect
            && !matches!(act, Act::Process(_))
            && let Some((key, span)) = expect.about_rows()
        {
            let problem = format!("`{key}` is about a batch, and this step has none");
            return Err(doc.error(span, &format!("{}.expect", table.path), problem));
        }
        Ok(Step { act, now_ms, expect, left_out })
    }

    /// `rows` or `rows_from`.
    #[allow(clippy::type_complexity, reason = "used twice, beside this")]
    fn batch(
        &self,
        table: &mut Table<'_>,
        now_ms: u64,
    ) -> Result<Option<(Batch, Vec<(&'static str, u64)>)>, ConfigError> {
        let doc = self.doc;
        let span = table.span("rows_from");
        let from: Option<PathBuf> = table.take(doc, "rows_from")?;
        match (table.value("rows"), from) {
            (Some(rows), None) => {
                let rows = rows::from_toml(doc, &format!("{}.rows", table.path), rows, self.schema)?;
                Ok(Some((rows::to_batch(&rows, self.schema, 1, now_ms), Vec::new())))
            }
            (None, Some(path)) => match rows::read_file(&self.base().join(path), self.schema, now_ms) {
                Ok(read) => Ok(Some((read.batch, read.left_out))),
                // Has a place of its own, in the other file.
                Err(RowsError::Text(error)) => Err(error),
                Err(error) => Err(doc.error(span, &table.path, chain(&error))),
            },
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(doc.error(span, &table.path, "there are `rows` already; take one of them out")),
        }
    }

    fn expect(&self, table: &mut Table<'_>) -> Result<Option<Expect>, ConfigError> {
        let Some(mut inner) = table.table(self.doc, "expect")? else { return Ok(None) };
        let expect = Expect::read(self.doc, &mut inner, self.schema)?;
        if expect.is_empty() && !self.is_update {
            let problem = "nothing is expected, so that the case could hardly fail: add e.g. `row_count = 1`, or let \
                           `--update` write what comes out";
            return Err(self.doc.error(inner.span(""), &inner.path, problem));
        }
        Ok(Some(expect))
    }
}
