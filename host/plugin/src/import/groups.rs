//! `kernels.group` and what is asked of the groups.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Width};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmList};

use super::batch::{keep, names_of_routes, not_a_number, route};
use super::kernels::{check_bitmap, words};
use super::lookup::wide;
use crate::abi::Denied;
use crate::groups::Groups;
use crate::state::State;
use crate::words::Words;

type Context<'a> = StoreContextMut<'a, State>;

/// Columns of one grouping. Each is a loop over the rows that no deadline ends.
const COLUMNS: usize = 8;

pub(super) fn link(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("group", |mut cx: Context<'_>, (columns, only): (WasmList<u16>, Option<WasmList<u32>>)| {
        let columns: Vec<ColumnId> = columns.as_le_slice(&cx).iter().map(|column| u16::from_le(*column)).collect();
        let only = only.map(|bitmap| words(&cx, &bitmap));
        Ok((group(cx.data_mut(), &columns, only.as_deref()),))
    })?;
    linker.func_wrap("group-of-rows", |cx: Context<'_>, (): ()| {
        Ok((groups(cx.data()).map(|groups| {
            cx.data().copied(size_of_val(groups.of_rows().as_slice()));
            Arc::clone(groups.of_rows())
        }),))
    })?;
    linker.func_wrap("group-counts", |cx: Context<'_>, (only,): (Option<WasmList<u32>>,)| {
        let only = only.map(|bitmap| words(&cx, &bitmap));
        Ok((counts(cx.data(), only.as_deref()),))
    })?;
    linker.func_wrap(
        "group-sums",
        |cx: Context<'_>, (column, times, only): (ColumnId, Option<ColumnId>, Option<WasmList<u32>>)| {
            let only = only.map(|bitmap| words(&cx, &bitmap));
            Ok((sums(cx.data(), column, times, only.as_deref()),))
        },
    )?;
    linker.func_wrap("keep-groups", |mut cx: Context<'_>, (bitmap,): (WasmList<u32>,)| {
        let bitmap = words(&cx, &bitmap);
        Ok((keep_groups(cx.data_mut(), &bitmap),))
    })?;
    linker.func_wrap("route-groups", |mut cx: Context<'_>, (names, index): (Words, WasmList<u16>)| {
        let index: Vec<u16> = index.as_le_slice(&cx).iter().map(|index| u16::from_le(*index)).collect();
        let names = names_of_routes(cx.data_mut(), &names)?;
        Ok((names.and_then(|names| route_groups(cx.data_mut(), names, &index)),))
    })?;
    linker.func_wrap("numbers-at", |cx: Context<'_>, (column, rows): (ColumnId, WasmList<u32>)| {
        Ok((numbers_at(cx.data(), column, rows.as_le_slice(&cx)),))
    })?;
    linker.func_wrap("texts-at", |cx: Context<'_>, (column, rows): (ColumnId, WasmList<u32>)| {
        Ok((texts_at(cx.data(), column, rows.as_le_slice(&cx)),))
    })?;
    Ok(())
}

/// The grouping of this call.
fn groups(state: &State) -> Result<&Groups, Denied> {
    state.current()?;
    if state.is_grouped { Ok(&state.groups) } else { Err(Denied::Absent) }
}

fn group(state: &mut State, columns: &[ColumnId], only: Option<&[u32]>) -> Result<Vec<u32>, Denied> {
    let rows = state.current()?.rows();
    if columns.len() > COLUMNS {
        return Err(Denied::OutOfRange);
    }
    if let Some(bitmap) = only {
        check_bitmap(bitmap, rows)?;
    }
    state.is_grouped = false;
    let columns = columns.iter().map(|column| groupable(state, *column)).collect::<Result<Vec<_>, _>>()?;
    // One that is absent splits nothing.
    let columns: Vec<Column> = columns.into_iter().flatten().collect();
    state.groups.sort(rows, only, &columns);
    state.is_grouped = true;
    Ok(state.groups.firsts().to_vec())
}

/// A column whose rows can be alike; none if it is absent.
fn groupable(state: &State, column: ColumnId) -> Result<Option<Column>, Denied> {
    let (values, _) = state.readable(column)?;
    match state.shared.schema.width(column) {
        Some(Width::Lists) => Err(Denied::WrongWidth(Width::Lists.into())),
        _ => Ok(values.cloned()),
    }
}

fn counts(state: &State, only: Option<&[u32]>) -> Result<Vec<u32>, Denied> {
    let groups = groups(state)?;
    if let Some(bitmap) = only {
        check_bitmap(bitmap, groups.of_rows().len())?;
    }
    Ok(groups.counts(only))
}

fn sums(state: &State, column: ColumnId, times: Option<ColumnId>, only: Option<&[u32]>) -> Result<Vec<u64>, Denied> {
    let groups = groups(state)?;
    if let Some(bitmap) = only {
        check_bitmap(bitmap, groups.of_rows().len())?;
    }
    let values = numbers(state, column)?;
    let factors = times.map(|times| numbers(state, times)).transpose()?;
    let (Some(values), Some(factors)) = (wide(values), factors.map_or(Some(None), |factors| wide(factors).map(Some)))
    else {
        // The sum of zeros.
        return Ok(vec![0; groups.count()]);
    };
    Ok(groups.sums(&values, factors.as_deref(), only))
}

/// A column of numbers; none if it is absent.
fn numbers(state: &State, column: ColumnId) -> Result<Option<&Column>, Denied> {
    match state.readable(column)?.0 {
        Some(Column::Text(_) | Column::Lists(_)) => Err(not_a_number(state, column)),
        Some(values) => Ok(Some(values)),
        None => match not_a_number(state, column) {
            Denied::Absent => Ok(None),
            denied => Err(denied),
        },
    }
}

fn keep_groups(state: &mut State, bitmap: &[u32]) -> Result<(), Denied> {
    let groups = groups(state)?;
    check_bitmap(bitmap, groups.count())?;
    let is_kept = |group: &u32| bitmap.get(*group as usize / 32).is_some_and(|word| word >> (group % 32) & 1 == 1);
    let of_rows = groups.of_rows().chunks(32);
    let rows = of_rows.map(|groups| groups.iter().rev().fold(0, |word, group| word << 1 | u32::from(is_kept(group))));
    let rows = rows.collect();
    keep(state, rows)
}

fn route_groups(state: &mut State, names: Vec<Arc<str>>, index: &[u16]) -> Result<(), Denied> {
    let groups = groups(state)?;
    if index.len() != groups.count() {
        return Err(Denied::WrongLength(u32::try_from(groups.count()).unwrap_or(u32::MAX)));
    }
    let rows = groups.spread(index);
    route(state, names, rows)
}

fn numbers_at(state: &State, column: ColumnId, rows: &[u32]) -> Result<Vec<u64>, Denied> {
    fn at<T: Copy + Default + Into<u64>>(values: &[T], rows: &[u32]) -> Vec<u64> {
        rows.iter().map(|row| values.get(u32::from_le(*row) as usize).copied().unwrap_or_default().into()).collect()
    }
    let values = numbers(state, column)?;
    check_rows(state, rows)?;
    Ok(match values {
        Some(Column::U8(values)) => at(values, rows),
        Some(Column::U16(values)) => at(values, rows),
        Some(Column::U32(values)) => at(values, rows),
        Some(Column::U64(values)) => at(values, rows),
        _ => vec![0; rows.len()],
    })
}

fn texts_at(state: &State, column: ColumnId, rows: &[u32]) -> Result<Vec<Arc<str>>, Denied> {
    let values = state.readable(column)?.0;
    match state.shared.schema.width(column) {
        Some(Width::Text) => {}
        Some(found) => return Err(Denied::WrongWidth(found.into())),
        None => return Err(Denied::NotGranted),
    }
    check_rows(state, rows)?;
    let Some(Column::Text(texts)) = values else { return Ok(vec![Arc::from(""); rows.len()]) };
    let word =
        |row: &u32| texts.codes.get(u32::from_le(*row) as usize).and_then(|code| texts.words.get(*code as usize));
    rows.iter().map(|row| word(row).map(Arc::clone).ok_or(Denied::OutOfRange)).collect()
}

/// Whether the batch has them, and as many: the answer is no longer than a column.
fn check_rows(state: &State, rows: &[u32]) -> Result<(), Denied> {
    let count = state.current()?.rows();
    // The largest of all, which is found many at a time.
    let end = rows.iter().fold(0, |end, row| end.max(u64::from(u32::from_le(*row)) + 1));
    if end <= count as u64 && rows.len() <= count { Ok(()) } else { Err(Denied::OutOfRange) }
}
