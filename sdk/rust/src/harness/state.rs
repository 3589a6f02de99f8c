//! What the harness holds: the batch, the changes in progress, the services.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use super::groups::Grouping;
use super::sys::Number;
use super::{KeySource, TableSource};
use crate::services::Level;
use crate::{Alert, ColumnId, Field, Manifest, Reason, Width};

/// Operators' own columns are numbered from here, as in the collector.
const FIRST_CUSTOM_COLUMN: ColumnId = 512;

/// The values of one column.
#[derive(Clone, Debug)]
pub enum Filled {
    /// One byte a row.
    U8(Vec<u8>),
    /// Two bytes a row.
    U16(Vec<u16>),
    /// Four bytes a row.
    U32(Vec<u32>),
    /// Eight bytes a row.
    U64(Vec<u64>),
    /// Words, and one code a row.
    Text(Vec<String>, Vec<u32>),
    /// Offsets, one more than rows, and values.
    Lists(Vec<u32>, Vec<u32>),
}

impl Filled {
    fn rows(&self) -> usize {
        match self {
            Filled::U8(values) => values.len(),
            Filled::U16(values) => values.len(),
            Filled::U32(values) => values.len(),
            Filled::U64(values) => values.len(),
            Filled::Text(_, codes) => codes.len(),
            Filled::Lists(offsets, _) => offsets.len().saturating_sub(1),
        }
    }

    /// No rows of `width`.
    fn empty(width: Width) -> Filled {
        match width {
            Width::U8 => Filled::U8(Vec::new()),
            Width::U16 => Filled::U16(Vec::new()),
            Width::U32 => Filled::U32(Vec::new()),
            Width::U64 => Filled::U64(Vec::new()),
            Width::Text => Filled::Text(Vec::new(), Vec::new()),
            Width::Lists => Filled::Lists(Vec::new(), Vec::new()),
        }
    }

    fn width(&self) -> Width {
        match self {
            Filled::U8(_) => Width::U8,
            Filled::U16(_) => Width::U16,
            Filled::U32(_) => Width::U32,
            Filled::U64(_) => Width::U64,
            Filled::Text(..) => Width::Text,
            Filled::Lists(..) => Width::Lists,
        }
    }
}

/// What a plugin did to a column in this call. Buffers of earlier calls are reused.
#[derive(Debug, Default)]
enum Change {
    #[default]
    None,
    Written,
    /// Written with what it held.
    Same,
    Cleared,
}

#[derive(Debug, Default)]
struct Slot {
    original: Option<Filled>,
    written: Option<Filled>,
    change: Change,
    /// Not granted since a manifest said what is, unless set.
    read: bool,
    write: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) rows: usize,
    pub(crate) id: u64,
    pub(crate) now_ms: u64,
    pub(crate) in_process: bool,
    slots: Vec<Slot>,
    /// Whether grants are those of a manifest; else everything is granted.
    restricted: bool,
    pub(crate) denied: Vec<ColumnId>,
    custom: Vec<(String, Width)>,
    pub(crate) touched: Vec<ColumnId>,
    pub(crate) keep: Option<Vec<u32>>,
    pub(crate) route: Option<(Vec<String>, Vec<u16>)>,
    pub(crate) grouping: Grouping,
    /// Whether that is of this call.
    pub(crate) is_grouped: bool,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) lines: Vec<(Level, String)>,
    pub(crate) counters: HashMap<String, u64>,
    pub(crate) gauges: HashMap<String, f64>,
    pub(crate) tables: HashMap<String, Rc<dyn TableSource>>,
    pub(crate) keys: HashMap<String, Rc<dyn KeySource>>,
    pub(crate) assets: HashMap<String, Vec<u8>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filled = self.slots.iter().filter(|slot| slot.original.is_some()).count();
        write!(f, "{} rows, {filled} columns, {} changed", self.rows, self.touched.len())
    }
}

impl State {
    pub(crate) fn begin(&mut self, rows: usize) {
        self.forget();
        self.rows = rows;
        self.id += 1;
        for slot in &mut self.slots {
            slot.original = None;
        }
    }

    /// Undoes what the plugin did in this batch.
    pub(crate) fn forget(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(usize::from(id)) {
                slot.change = Change::None;
            }
        }
        self.keep = None;
        self.route = None;
        self.is_grouped = false;
        self.alerts.clear();
    }

    pub(crate) fn fill(&mut self, id: ColumnId, values: Filled) {
        assert_eq!(values.rows(), self.rows, "rows of column {id}");
        assert_eq!(Some(values.width()), self.width(id), "width of column {id}");
        self.slot(id).original = Some(values);
    }

    pub(crate) fn add_custom(&mut self, name: &str, width: Width) -> ColumnId {
        self.custom.push((name.to_owned(), width));
        FIRST_CUSTOM_COLUMN + self.custom.len() as ColumnId - 1
    }

    pub(crate) fn column_of(&self, name: &str) -> Option<ColumnId> {
        let custom = self.custom.iter().position(|(custom, _)| custom == name);
        let custom = custom.map(|at| FIRST_CUSTOM_COLUMN + at as ColumnId);
        Field::named(name).map(|field| field.number).or(custom)
    }

    /// The name of a column, empty if there is none.
    pub(crate) fn name_of(&self, id: ColumnId) -> &str {
        let custom = id.checked_sub(FIRST_CUSTOM_COLUMN).and_then(|at| self.custom.get(usize::from(at)));
        Field::numbered(id).map(|field| field.name).or(custom.map(|(name, _)| name.as_str())).unwrap_or_default()
    }

    fn width(&self, id: ColumnId) -> Option<Width> {
        let custom = id.checked_sub(FIRST_CUSTOM_COLUMN).and_then(|at| self.custom.get(usize::from(at)));
        Field::numbered(id).map(|field| field.width).or(custom.map(|(_, width)| *width))
    }

    pub(crate) fn grant(&mut self, manifest: &Manifest) {
        self.restricted = true;
        for slot in &mut self.slots {
            (slot.read, slot.write) = (false, false);
        }
        for id in &manifest.reads {
            self.slot(*id).read = true;
        }
        for id in &manifest.writes {
            self.slot(*id).write = true;
        }
    }

    fn slot(&mut self, id: ColumnId) -> &mut Slot {
        let at = usize::from(id);
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, Slot::default);
        }
        &mut self.slots[at]
    }

    fn may(&self, id: ColumnId, granted: impl Fn(&Slot) -> bool) -> Result<(), Reason> {
        let granted = !self.restricted || self.slots.get(usize::from(id)).is_some_and(granted);
        if !self.in_process {
            return Err(Reason::NoBatch);
        }
        if !granted || self.width(id).is_none() || self.denied.contains(&id) {
            return Err(Reason::NotGranted);
        }
        Ok(())
    }

    /// The column as it is now, whether granted or not.
    pub(crate) fn visible(&self, id: ColumnId) -> Option<&Filled> {
        let slot = self.slots.get(usize::from(id))?;
        match slot.change {
            Change::None | Change::Same => slot.original.as_ref(),
            Change::Written => slot.written.as_ref(),
            Change::Cleared => None,
        }
    }

    /// The column as a plugin may read it.
    pub(crate) fn read(&self, id: ColumnId) -> Result<&Filled, Reason> {
        self.may(id, |slot| slot.read)?;
        self.visible(id).ok_or(Reason::Absent)
    }

    /// The refusal for a column that does not hold what was asked for.
    pub(crate) fn wrong_width(&self, id: ColumnId) -> Reason {
        self.width(id).map_or(Reason::NotGranted, Reason::WrongWidth)
    }

    /// Begins to write `length` rows of a column of `width`: the buffer to fill, perhaps with old values.
    pub(crate) fn write(&mut self, id: ColumnId, width: Width, length: usize) -> Result<&mut Option<Filled>, Reason> {
        self.may(id, |slot| slot.write)?;
        if self.width(id) != Some(width) {
            return Err(self.wrong_width(id));
        }
        if length != self.rows {
            return Err(Reason::WrongLength(self.rows as u32));
        }
        self.touch(id, Change::Written);
        Ok(&mut self.slot(id).written)
    }

    /// What the column holds, if a plugin may write it.
    pub(crate) fn writable(&self, id: ColumnId) -> Result<Width, Reason> {
        self.may(id, |slot| slot.write)?;
        self.width(id).ok_or(Reason::NotGranted)
    }

    /// Begins to change a column of numbers where it is: what it holds now, zeros if it is absent.
    pub(crate) fn change(&mut self, id: ColumnId) -> Result<&mut Filled, Reason> {
        fn copy<T: Copy + Default>(written: &mut Vec<T>, original: Option<&[T]>, rows: usize) {
            written.clear();
            written.extend_from_slice(original.unwrap_or_default());
            written.resize(rows, T::default());
        }
        let width = self.writable(id)?;
        let rows = self.rows;
        let slot = self.slot(id);
        let written = slot.written.get_or_insert_with(|| Filled::empty(width));
        if !matches!(slot.change, Change::Written) {
            let original = slot.original.as_ref().filter(|_| !matches!(slot.change, Change::Cleared));
            match written {
                Filled::U8(written) => copy(written, original.and_then(u8::of), rows),
                Filled::U16(written) => copy(written, original.and_then(u16::of), rows),
                Filled::U32(written) => copy(written, original.and_then(u32::of), rows),
                Filled::U64(written) => copy(written, original.and_then(u64::of), rows),
                Filled::Text(..) | Filled::Lists(..) => return Err(Reason::WrongWidth(width)),
            }
        }
        self.touch(id, Change::Written);
        self.slot(id).written.as_mut().ok_or(Reason::Absent)
    }

    /// Writes a column as it is: one that is absent becomes one of zeros.
    pub(crate) fn write_same(&mut self, id: ColumnId) -> Result<(), Reason> {
        self.writable(id)?;
        let slot = self.slot(id);
        if matches!(slot.change, Change::None) && slot.original.is_some() {
            self.touch(id, Change::Same);
            return Ok(());
        }
        self.change(id).map(drop)
    }

    pub(crate) fn clear(&mut self, id: ColumnId) -> Result<(), Reason> {
        self.may(id, |slot| slot.write)?;
        self.touch(id, Change::Cleared);
        Ok(())
    }

    fn touch(&mut self, id: ColumnId, change: Change) {
        let slot = self.slot(id);
        let first = matches!(slot.change, Change::None);
        slot.change = change;
        if first {
            self.touched.push(id);
        }
    }
}
