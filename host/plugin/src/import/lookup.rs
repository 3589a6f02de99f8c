//! `lookup-columns` of `tables`: which columns make a key.

use std::borrow::Cow;
use std::sync::Arc;

use sluice_flow::{ADDRESSES, Column, ColumnId, Width};

use crate::abi::Denied;
use crate::state::{OpenTable, State};
use crate::tables::{KeyKind, Table, TableSpec};

/// Stands for a column of zeros: the standard ones are numbered from 1.
const NO_COLUMN: ColumnId = 0;

/// Codes of the addresses or keys that two columns of the batch hold, one a row, put into `codes`, which is empty.
///
/// In a table of values, a number alone comes with [`NO_COLUMN`], and the high half of an address stands for all of it when
/// the other column is not its low half. What is absent counts as zeros, in every row the same; only where nothing has
/// the key of zeros is the answer that there is none.
///
/// In the first `init`, where there is no batch, the answer is wrong-width if the table finds nothing by such columns.
pub(super) fn columns(
    state: &State,
    open: &OpenTable,
    hi: ColumnId,
    lo: ColumnId,
    codes: &mut Vec<u32>,
) -> Result<(), Denied> {
    let table = &*open.table;
    if state.current.is_none() {
        return Err(misfit(state, open, hi, lo).unwrap_or(Denied::NoBatch));
    }
    if table.exact().is_none() {
        if hi == NO_COLUMN {
            // A number is no address, whatever its width.
            state.readable(lo)?;
            let width = state.shared.schema.width(lo).ok_or(Denied::NotGranted)?;
            return Err(Denied::WrongWidth(width.into()));
        }
        let addresses = state.address(hi, lo)?.ok_or(Denied::Absent)?;
        codes.reserve_exact(addresses.0.len());
        let current = state.current()?;
        let tables = (table, state.joint.as_ref());
        current.regions.lookup(tables, current.batch(), [hi, lo], addresses, codes);
        return Ok(());
    }
    if hi == NO_COLUMN {
        let (numbers, rows) = numbers(state, lo)?;
        codes.reserve_exact(rows);
        match numbers {
            Some(Column::U8(numbers)) => table.lookup_numbers(numbers, codes),
            Some(Column::U16(numbers)) => table.lookup_numbers(numbers, codes),
            Some(Column::U32(numbers)) => table.lookup_numbers(numbers, codes),
            Some(Column::U64(numbers)) => table.lookup_numbers(numbers, codes),
            _ => return of_nothing(table, rows, codes),
        }
        return Ok(());
    }
    if let Some(address) = ADDRESSES.iter().find(|address| address.hi == hi && address.lo != lo) {
        let pair = state.address(address.hi, address.lo)?;
        let (numbers, rows) = numbers(state, lo)?;
        if pair.is_none() && numbers.is_none() {
            return of_nothing(table, rows, codes);
        }
        let zeros = || Arc::new(vec![0; rows]);
        let (his, los) = pair.unwrap_or_else(|| (zeros(), zeros()));
        let numbers = wide(numbers).unwrap_or_else(|| Cow::Owned(vec![0; rows]));
        codes.reserve_exact(rows);
        table.lookup_addressed(&his, &los, &numbers, codes);
        return Ok(());
    }
    let ((hi, rows), (lo, _)) = (numbers(state, hi)?, numbers(state, lo)?);
    let zeros = || Cow::Owned(vec![0; rows]);
    match (wide(hi), wide(lo)) {
        (None, None) => of_nothing(table, rows, codes),
        (hi, lo) => {
            codes.reserve_exact(rows);
            table.lookup_all(&hi.unwrap_or_else(zeros), &lo.unwrap_or_else(zeros), codes);
            Ok(())
        }
    }
}

/// Why a table will find nothing by columns, as far as their widths and the keys in it tell; what is wrong with it is noted for people.
fn misfit(state: &State, open: &OpenTable, hi: ColumnId, lo: ColumnId) -> Option<Denied> {
    let width = |column| state.shared.schema.width(column);
    let last = width(lo).filter(|_| state.is_first)?;
    if matches!(last, Width::Text | Width::Lists) {
        return Some(Denied::WrongWidth(last.into()));
    }
    let asked = match ADDRESSES.iter().find(|address| address.hi == hi) {
        _ if hi == NO_COLUMN => KeyKind::Number,
        Some(address) if address.lo == lo => KeyKind::Address,
        Some(_) => KeyKind::AddressAndNumber,
        None => KeyKind::Numbers,
    };
    let found = open.table.key_kind().filter(|found| *found != asked)?;
    // An operator's own two columns may well be the halves of an address.
    let are_halves = asked == KeyKind::Numbers && [width(hi), width(lo)] == [Some(Width::U64); 2];
    if are_halves && found == KeyKind::Address {
        return None;
    }
    let by = |kind: KeyKind| format!("`values` with {} a line", kind.name());
    let is = match state.shared.services.tables.spec(&open.name).map_or("values", TableSpec::kind) {
        "values" => by(found),
        prefixes => format!("`{prefixes}`"),
    };
    let takes = match asked {
        KeyKind::Address => format!("`prefix`, `mmdb` or {}", by(asked)),
        _ => by(asked),
    };
    let problem = format!("the table `{}` is of type {is}; to look up {} takes {takes}", open.name, asked.name());
    state.misfit.borrow_mut().get_or_insert(problem);
    Some(Denied::WrongWidth(last.into()))
}

/// What is found where no row has the columns of a key.
fn of_nothing(table: &Table, rows: usize, codes: &mut Vec<u32>) -> Result<(), Denied> {
    match table.lookup(0, 0) {
        0 => Err(Denied::Absent),
        code => {
            codes.resize(rows, code);
            Ok(())
        }
    }
}

/// A column that has a number a row, and the rows of the batch; no column where it is absent.
fn numbers(state: &State, column: ColumnId) -> Result<(Option<&Column>, usize), Denied> {
    let (values, rows) = state.readable(column)?;
    let width = state.shared.schema.width(column).ok_or(Denied::NotGranted)?;
    match width {
        Width::Text | Width::Lists => Err(Denied::WrongWidth(width.into())),
        Width::U8 | Width::U16 | Width::U32 | Width::U64 => Ok((values, rows)),
    }
}

/// The numbers of a column in 64 bits.
pub(super) fn wide(column: Option<&Column>) -> Option<Cow<'_, [u64]>> {
    Some(match column? {
        Column::U8(values) => values.iter().map(|value| u64::from(*value)).collect(),
        Column::U16(values) => values.iter().map(|value| u64::from(*value)).collect(),
        Column::U32(values) => values.iter().map(|value| u64::from(*value)).collect(),
        Column::U64(values) => Cow::Borrowed(values.as_slice()),
        Column::Text(_) | Column::Lists(_) => return None,
    })
}
