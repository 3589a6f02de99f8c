//! The data of one store: what an instance may see, what it has written in this call, and what it holds.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sluice_flow::{Batch, Column, ColumnId, ColumnSet, Routes, Schema, Width};

use crate::abi::{Alert, Denied};
use crate::groups::Groups;
use crate::import::Places;
use crate::keys::OpenKey;
use crate::known::KnownTexts;
use crate::limits::{Limiter, MAX_ALERTS_PER_CALL, MAX_WRITTEN_BYTES};
use crate::regions::Regions;
use crate::shared::{OwnMetric, Shared};
use crate::tables::{Joined, Joint, Table};
use crate::version::grant_names;
use crate::wasi::Wasi;

/// A table that a plugin has opened.
#[derive(Debug)]
pub(crate) struct OpenTable {
    pub(crate) name: String,
    /// As it was when the call began: it does not change within one.
    pub(crate) table: Arc<Table>,
    /// The generation in which a value was complained about; none is 0.
    pub(crate) complained: Cell<u64>,
}

/// What a call of `process` works on: the batch as it came, and beside it what the plugin wrote. Nothing
/// of this reaches the batch before [`commit`](Current::commit).
#[derive(Debug)]
pub(crate) struct Current {
    batch: Batch,
    /// Columns that may not go on as they came: what a private stage hides.
    hides: ColumnSet,
    /// Columns written (or cleared: `None`) in this call. A plugin writes a handful.
    shadow: Vec<(ColumnId, Option<Column>)>,
    pub(crate) keep: Option<Vec<u32>>,
    pub(crate) routes: Option<Routes>,
    pub(crate) regions: Regions,
}

impl Current {
    fn new(batch: Batch, hides: ColumnSet) -> Current {
        Current { batch, hides, shadow: Vec::new(), keep: None, routes: None, regions: Regions::default() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.batch.rows()
    }

    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What was written, or cleared.
    pub(crate) fn changes(&self) -> &[(ColumnId, Option<Column>)] {
        &self.shadow
    }

    /// Columns that were written or cleared.
    pub(crate) fn written(&self) -> ColumnSet {
        self.shadow.iter().map(|(column, _)| *column).collect()
    }

    /// The route of a row: what the plugin gave, or what it came with.
    pub(crate) fn route(&self, row: usize) -> Option<&str> {
        let Some(routes) = &self.routes else { return self.batch.route(row).map(|name| &**name) };
        routes.names.get(usize::from(*routes.index.get(row)?)).map(|name| &**name)
    }

    /// The column as the plugin sees it: its own, or the batch's.
    pub(crate) fn column(&self, column: ColumnId) -> Option<&Column> {
        match self.shadow.iter().find(|(written, _)| *written == column) {
            Some((_, shadow)) => shadow.as_ref(),
            None => self.batch.column(column),
        }
    }

    /// The column as the plugin sees it, out of the shadow if it is there: then it can be changed in place, and has to be put back.
    pub(crate) fn take(&mut self, column: ColumnId) -> Option<Column> {
        match self.shadow.iter().position(|(written, _)| *written == column) {
            Some(at) => self.shadow.swap_remove(at).1,
            None => self.batch.column(column).cloned(),
        }
    }

    /// Whether the texts and lists written so far, with these, are more than one call may write: other columns are as
    /// long as the batch.
    pub(crate) fn is_too_much(&self, column: ColumnId, values: &Column) -> bool {
        let others =
            self.shadow.iter().filter(|(written, _)| *written != column).filter_map(|(_, other)| other.as_ref());
        let bytes = |column: &Column| match column {
            Column::Text(_) | Column::Lists(_) => column.bytes(),
            _ => 0,
        };
        others.map(bytes).sum::<usize>() + bytes(values) > MAX_WRITTEN_BYTES
    }

    pub(crate) fn put(&mut self, column: ColumnId, values: Option<Column>) {
        match self.shadow.iter_mut().find(|(written, _)| *written == column) {
            Some((_, shadow)) => {
                let old = std::mem::replace(shadow, values);
                self.batch.pool().recycle(old.into_iter());
            }
            None => self.shadow.push((column, values)),
        }
    }

    /// The batch as it came; what was written is forgotten.
    pub(crate) fn roll_back(self) -> Batch {
        let pool = self.batch.pool();
        pool.recycle(self.shadow.into_iter().filter_map(|(_, column)| column));
        self.batch
    }

    /// The batch with everything that was written, and how many rows `keep` left out.
    ///
    /// # Errors
    /// If a column that is to be hidden was neither written nor cleared, and rows go on: the batch as it came.
    pub(crate) fn commit(self) -> Result<(Batch, usize), Box<LeftAlone>> {
        if let Some(column) = self.left_alone() {
            return Err(Box::new(LeftAlone { column, batch: self.roll_back() }));
        }
        let Current { mut batch, hides: _, shadow, keep, routes, regions } = self;
        for (column, values) in shadow {
            match values {
                Some(values) => batch.set(column, values).expect("checked when it was written"),
                None => batch.clear(column),
            }
        }
        regions.leave_with(&mut batch);
        if routes.is_some() {
            batch.set_routes(routes).expect("checked when it was given");
        }
        let dropped = keep.map_or(0, |bitmap| batch.keep(&bitmap));
        Ok((batch, dropped))
    }

    /// The first column to be hidden that is in the batch and was not touched, while rows go on.
    fn left_alone(&self) -> Option<ColumnId> {
        let is_left = |column: &ColumnId| {
            self.batch.column(*column).is_some() && !self.shadow.iter().any(|(written, _)| written == column)
        };
        let left = self.hides.iter().find(is_left)?;
        let goes_on = self.keep.as_ref().is_none_or(|keep| keep.iter().any(|word| *word != 0));
        goes_on.then_some(left)
    }
}

/// A call that may not be committed: it left a column as it came that the stage is there to hide.
pub(crate) struct LeftAlone {
    pub(crate) column: ColumnId,
    pub(crate) batch: Batch,
}

impl LeftAlone {
    /// For people.
    pub(crate) fn why(&self, schema: &Schema) -> String {
        let name = grant_names(schema, [self.column].into_iter().collect()).join("");
        format!("{name} was left as it came")
    }
}

/// The data of one store.
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) limiter: Limiter,
    /// Columns that may be read and written; nothing before `init` returned.
    pub(crate) read: ColumnSet,
    pub(crate) write: ColumnSet,
    /// Columns that no call may leave as they came: what a private stage hides.
    pub(crate) hides: ColumnSet,
    /// The batch, within `process`.
    pub(crate) current: Option<Current>,
    /// Batch time in milliseconds, and id of the batch: the last ones between batches.
    pub(crate) now_ms: u64,
    pub(crate) batch_id: u64,
    pub(crate) tables: Vec<Option<OpenTable>>,
    /// Those that were opened in `init`, as far as they are looked up together.
    joined: Option<Arc<Joined>>,
    /// What they are joined to, as it was when the call began.
    pub(crate) joint: Option<Arc<Joint>>,
    /// What was found last in a table, for its room: a batch is asked for several times.
    pub(crate) codes: Arc<Vec<u32>>,
    /// For values of tables that are written into a column.
    pub(crate) places: Places,
    /// The rows by group, and whether they were grouped in this call.
    pub(crate) groups: Groups,
    pub(crate) is_grouped: bool,
    /// Names of routes and words that were given before.
    pub(crate) known_texts: KnownTexts,
    pub(crate) keys: Vec<Option<OpenKey>>,
    pub(crate) own_metrics: HashMap<(String, bool), OwnMetric>,
    pub(crate) alerts: Vec<Alert>,
    /// Alerts that this call may keep; none: to be asked for at its first.
    pub(crate) alert_room: Option<usize>,
    /// Whether it may keep alerts beyond the stage's rate: they are compared, or the rate is somebody else's affair.
    pub(crate) keeps_all_alerts: bool,
    pub(crate) wasi: Wasi,
    /// CPU time of the thread, in nanoseconds, at which the deadline of this call is over.
    pub(crate) cpu_until_ns: u64,
    /// Names of what was opened since the instance started.
    pub(crate) used: Used,
    /// The column that was refused first in this call: it is not granted.
    pub(crate) denied: Cell<Option<ColumnId>>,
    /// Whether this is the first `init` of a version, which finds out whether its configuration fits: a table is then asked, and
    /// answers, what can be looked up in it. Later ones must not fail because a file has other keys by then.
    pub(crate) is_first: bool,
    /// The first thing that a table was asked for and cannot do.
    pub(crate) misfit: RefCell<Option<String>>,
    /// Which columns were touched, if somebody wants to know.
    pub(crate) touched: Option<RefCell<Touched>>,
}

/// What a plugin has opened, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Used {
    pub(crate) tables: BTreeSet<String>,
    pub(crate) keys: BTreeSet<String>,
    pub(crate) assets: BTreeSet<String>,
}

/// Which columns a plugin has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Columns that it read, present or absent.
    pub read: ColumnSet,
    /// Columns that it wrote or cleared.
    pub written: ColumnSet,
    /// Columns that it wanted to read or write, and may not: they are not in its manifest, or not granted.
    pub refused: ColumnSet,
    /// Bytes of columns, bitmaps and routes that were copied in or out. What a kernel reads stays where it is.
    pub copied: u64,
}

impl State {
    pub(crate) fn new(shared: Arc<Shared>) -> State {
        let limiter = Limiter::new(&shared.limits, Arc::clone(&shared.memory));
        State {
            shared,
            limiter,
            read: ColumnSet::EMPTY,
            write: ColumnSet::EMPTY,
            hides: ColumnSet::EMPTY,
            current: None,
            now_ms: 0,
            batch_id: 0,
            tables: Vec::new(),
            joined: None,
            joint: None,
            codes: Arc::default(),
            places: Places::default(),
            groups: Groups::default(),
            is_grouped: false,
            known_texts: KnownTexts::default(),
            keys: Vec::new(),
            own_metrics: HashMap::new(),
            alerts: Vec::new(),
            alert_room: None,
            keeps_all_alerts: false,
            wasi: Wasi::default(),
            cpu_until_ns: 0,
            used: Used::default(),
            denied: Cell::new(None),
            is_first: false,
            misfit: RefCell::default(),
            touched: None,
        }
    }

    /// Begins a call of `process`.
    pub(crate) fn begin(&mut self, batch: Batch) {
        self.now_ms = batch.now_ms();
        self.batch_id = batch.id();
        self.current = Some(Current::new(batch, self.hides));
        self.begin_call();
    }

    /// Begins any call: tables are as they are now, and stay so; randomness begins anew.
    pub(crate) fn begin_call(&mut self) {
        self.limiter.refused = false;
        self.denied.set(None);
        self.is_grouped = false;
        self.alerts.clear();
        self.alert_room = None;
        self.wasi.begin(self.batch_id, self.now_ms);
        for open in self.tables.iter_mut().flatten() {
            if let Some(table) = self.shared.services.tables.get(&open.name) {
                open.table = table;
            }
        }
        self.joint = self.joined.as_ref().and_then(|joined| joined.current());
    }

    /// Ends any call: half lines on the standard streams are logged.
    pub(crate) fn end_call(&mut self) {
        let State { wasi, shared, .. } = self;
        wasi.flush(shared);
    }

    /// Joins the tables that are open, which takes a while: not while there is a batch, and once for all instances, of which
    /// one that traps again and again would have it done again and again.
    pub(crate) fn join_tables(&mut self) {
        let names = self.tables.iter().flatten().map(|open| open.name.as_str());
        self.joined = self.shared.joined.get_or_init(|| self.shared.services.tables.join(names)).clone();
    }

    pub(crate) fn current(&self) -> Result<&Current, Denied> {
        self.current.as_ref().ok_or(Denied::NoBatch)
    }

    pub(crate) fn current_mut(&mut self) -> Result<&mut Current, Denied> {
        self.current.as_mut().ok_or(Denied::NoBatch)
    }

    /// The column for reading, with the rows of the batch; no column where it is absent.
    pub(crate) fn readable(&self, column: ColumnId) -> Result<(Option<&Column>, usize), Denied> {
        let current = self.current()?;
        if !self.read.contains(column) || self.shared.schema.width(column).is_none() {
            self.refuse(column);
            return Err(Denied::NotGranted);
        }
        self.touch(|touched| touched.read.insert(column));
        Ok((current.column(column), current.rows()))
    }

    /// What the column holds, if the plugin may write it.
    pub(crate) fn writable(&self, column: ColumnId) -> Result<Width, Denied> {
        self.current()?;
        let Some(width) = self.shared.schema.width(column).filter(|_| self.write.contains(column)) else {
            self.refuse(column);
            return Err(Denied::NotGranted);
        };
        self.touch(|touched| touched.written.insert(column));
        Ok(width)
    }

    /// Notes that so much was copied between the batch and the plugin.
    pub(crate) fn copied(&self, bytes: usize) {
        self.touch(|touched| touched.copied += bytes as u64);
    }

    fn refuse(&self, column: ColumnId) {
        self.denied.set(self.denied.get().or(Some(column)));
        self.touch(|touched| touched.refused.insert(column));
    }

    fn touch(&self, note: impl FnOnce(&mut Touched)) {
        if let Some(touched) = &self.touched {
            note(&mut touched.borrow_mut());
        }
    }

    /// The same, for a column that must hold `width`; with the rows of the batch.
    pub(crate) fn writable_as(&self, column: ColumnId, width: Width) -> Result<usize, Denied> {
        let found = self.writable(column)?;
        if found != width {
            return Err(Denied::WrongWidth(found.into()));
        }
        Ok(self.current()?.rows())
    }

    /// The two columns of an address as 64-bit values: none where both are absent.
    pub(crate) fn address(&self, hi: ColumnId, lo: ColumnId) -> Result<Option<AddressPair>, Denied> {
        let half = |column| -> Result<_, Denied> {
            let (values, rows) = self.readable(column)?;
            let width = self.shared.schema.width(column).ok_or(Denied::NotGranted)?;
            match values {
                Some(Column::U64(values)) => Ok((Some(Arc::clone(values)), rows)),
                None if width == Width::U64 => Ok((None, rows)),
                _ => Err(Denied::WrongWidth(width.into())),
            }
        };
        let (hi, rows) = half(hi)?;
        let (lo, _) = half(lo)?;
        // Where one half is absent the other may still have something in it.
        let zeros = || Arc::new(vec![0; rows]);
        Ok(match (hi, lo) {
            (None, None) => None,
            (hi, lo) => Some((hi.unwrap_or_else(zeros), lo.unwrap_or_else(zeros))),
        })
    }

    /// Opens the table `name`; the answer is its handle.
    pub(crate) fn open_table(&mut self, name: String) -> Result<u32, String> {
        if !self.shared.grant.allows_table(&name) {
            return Err(format!("the stage's grant does not include the table `{name}`"));
        }
        let table = self.shared.services.tables.get(&name).ok_or_else(|| format!("there is no table `{name}`"))?;
        self.used.tables.insert(name.clone());
        place(&mut self.tables, OpenTable { name, table, complained: Cell::new(0) }, self.shared.limits.handles)
    }

    /// Opens the key `name`; the answer is its handle.
    pub(crate) fn open_key(&mut self, name: &str) -> Result<u32, String> {
        if !self.shared.grant.allows_key(name) {
            return Err(format!("the stage's grant does not include the key `{name}`"));
        }
        let key = self.shared.services.keys.get(name).ok_or_else(|| format!("there is no key `{name}`"))?;
        self.used.keys.insert(name.to_owned());
        place(&mut self.keys, OpenKey::new(key), self.shared.limits.handles)
    }

    /// The contents of the asset `name`.
    pub(crate) fn read_asset(&mut self, name: String) -> Result<Arc<Vec<u8>>, String> {
        // First: what is not granted may as well not be there.
        if !self.shared.grant.allows_asset(&name) {
            return Err(format!("the stage's grant does not include the asset `{name}`"));
        }
        let bytes = self.shared.services.assets.get(&name).ok_or_else(|| format!("there is no asset `{name}`"))?;
        let bytes = Arc::clone(bytes);
        self.used.assets.insert(name);
        Ok(bytes)
    }

    /// Alerts that a call may keep: more cannot be raised at its end, as far as is known now.
    pub(crate) fn room_for_alerts(&self) -> usize {
        let room = if self.keeps_all_alerts { MAX_ALERTS_PER_CALL } else { self.shared.alerts_left() };
        room.min(MAX_ALERTS_PER_CALL)
    }

    /// Whether an alert is kept for the end of the call. One that cannot be raised then is not, and is counted.
    pub(crate) fn admits_alert(&mut self) -> bool {
        let room = self.alert_room.unwrap_or_else(|| self.room_for_alerts());
        self.alert_room = Some(room);
        let is_admitted = self.alerts.len() < room;
        if !is_admitted {
            self.shared.meters.alerts_suppressed.inc();
        }
        is_admitted
    }
}

/// High and low halves of the addresses of all rows.
pub(crate) type AddressPair = (Arc<Vec<u64>>, Arc<Vec<u64>>);

/// Puts `value` into the first free place.
fn place<T>(places: &mut Vec<Option<T>>, value: T, max: usize) -> Result<u32, String> {
    if let Some(free) = places.iter().position(Option::is_none) {
        places[free] = Some(value);
        return Ok(free as u32);
    }
    if places.len() >= max {
        return Err(format!("more than {max} are open"));
    }
    places.push(Some(value));
    Ok(places.len() as u32 - 1)
}
