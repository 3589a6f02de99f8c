//! `batch`: the columns of the batch that is being processed.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Lists, Routes, Texts, Width};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmList};

use crate::abi::Denied;
use crate::limits::{MAX_ROUTE_BYTES, MAX_ROUTES, MAX_WORD_BYTES, MAX_WORDS};
use crate::state::State;
use crate::words::Words;

type Context<'a> = StoreContextMut<'a, State>;

/// Links a getter and a setter for one width.
macro_rules! column {
    ($linker:ident, $get:literal, $set:literal, $variant:ident, $type:ty, $buffer:ident) => {
        $linker.func_wrap($get, |cx: Context<'_>, (column,): (ColumnId,)| {
            Ok((match cx.data().readable(column) {
                Ok((Some(Column::$variant(values)), _)) => {
                    cx.data().copied(size_of_val(values.as_slice()));
                    Ok(Arc::clone(values))
                }
                Ok(_) => Err(unreadable(cx.data(), column, Width::$variant)),
                Err(denied) => Err(denied),
            },))
        })?;
        $linker.func_wrap($set, |mut cx: Context<'_>, (column, values): (ColumnId, WasmList<$type>)| {
            let rows = match cx.data().writable_as(column, Width::$variant) {
                Ok(rows) => rows,
                Err(denied) => return Ok((Err(denied),)),
            };
            if values.len() != rows {
                return Ok((Err(wrong_length(rows)),));
            }
            let mut buffer = match cx.data_mut().current_mut() {
                Ok(current) => current.batch().pool().$buffer(),
                Err(denied) => return Ok((Err(denied),)),
            };
            buffer.extend(values.as_le_slice(&cx).iter().map(|value| <$type>::from_le(*value)));
            cx.data().copied(size_of_val(buffer.as_slice()));
            let current = cx.data_mut().current_mut();
            Ok((current.map(|current| current.put(column, Some(Column::$variant(Arc::new(buffer))))),))
        })?;
    };
}

pub(super) fn link(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker
        .func_wrap("column-of", |cx: Context<'_>, (name,): (String,)| Ok((cx.data().shared.schema.column(&name),)))?;
    linker.func_wrap("rows", |cx: Context<'_>, (): ()| {
        Ok((cx.data().current.as_ref().map_or(0, |current| current.rows() as u32),))
    })?;
    linker.func_wrap("id", |cx: Context<'_>, (): ()| Ok((cx.data().batch_id,)))?;
    linker.func_wrap("now-ms", |cx: Context<'_>, (): ()| Ok((cx.data().now_ms,)))?;
    linker.func_wrap("has", |cx: Context<'_>, (column,): (ColumnId,)| {
        Ok((matches!(cx.data().readable(column), Ok((Some(_), _))),))
    })?;
    column!(linker, "u8s", "set-u8s", U8, u8, u8s);
    column!(linker, "u16s", "set-u16s", U16, u16, u16s);
    column!(linker, "u32s", "set-u32s", U32, u32, u32s);
    column!(linker, "u64s", "set-u64s", U64, u64, u64s);
    linker.func_wrap("f64s", |cx: Context<'_>, (column,): (ColumnId,)| {
        let values = floats(cx.data(), column);
        cx.data().copied(values.as_ref().map_or(0, |values| size_of_val(values.as_slice())));
        Ok((values,))
    })?;
    linker.func_wrap("raw", |cx: Context<'_>, (column,): (ColumnId,)| {
        let bytes = raw(cx.data(), column);
        cx.data().copied(bytes.as_ref().map_or(0, |bytes| bytes.len()));
        Ok((bytes,))
    })?;
    linker.func_wrap("set-raw", |mut cx: Context<'_>, (column, bytes): (ColumnId, WasmList<u8>)| {
        cx.data().copied(bytes.len());
        let values = column_of_bytes(cx.data(), column, bytes.as_le_slice(&cx));
        Ok((values.and_then(|values| put(cx.data_mut(), column, Some(values))),))
    })?;
    linker.func_wrap("texts", |cx: Context<'_>, (column,): (ColumnId,)| {
        Ok((match cx.data().readable(column) {
            Ok((Some(Column::Text(texts)), _)) => {
                let words: usize = texts.words.iter().map(|word| word.len()).sum();
                cx.data().copied(words + size_of_val(texts.codes.as_slice()));
                Ok((texts.words.clone(), texts.codes.clone()))
            }
            Ok(_) => Err(unreadable(cx.data(), column, Width::Text)),
            Err(denied) => Err(denied),
        },))
    })?;
    linker.func_wrap(
        "set-texts",
        |mut cx: Context<'_>, (column, words, codes): (ColumnId, Words, WasmList<u32>)| {
            let words = cx.data_mut().known_texts.all(&words)?;
            cx.data().copied(words.iter().map(|word| word.len()).sum::<usize>() + 4 * codes.len());
            let values = texts(cx.data(), column, words, codes.as_le_slice(&cx));
            Ok((values.and_then(|values| put(cx.data_mut(), column, Some(values))),))
        },
    )?;
    linker.func_wrap("u32-lists", |cx: Context<'_>, (column,): (ColumnId,)| {
        Ok((match cx.data().readable(column) {
            Ok((Some(Column::Lists(lists)), _)) => {
                cx.data().copied(4 * (lists.offsets.len() + lists.values.len()));
                Ok((lists.offsets.clone(), lists.values.clone()))
            }
            Ok(_) => Err(unreadable(cx.data(), column, Width::Lists)),
            Err(denied) => Err(denied),
        },))
    })?;
    linker.func_wrap(
        "set-u32-lists",
        |mut cx: Context<'_>, (column, offsets, values): (ColumnId, WasmList<u32>, WasmList<u32>)| {
            cx.data().copied(4 * (offsets.len() + values.len()));
            let values = lists(cx.data(), column, offsets.as_le_slice(&cx), values.as_le_slice(&cx));
            Ok((values.and_then(|values| put(cx.data_mut(), column, Some(values))),))
        },
    )?;
    linker.func_wrap("clear", |mut cx: Context<'_>, (column,): (ColumnId,)| {
        let allowed = cx.data().writable(column);
        Ok((allowed.and_then(|_| put(cx.data_mut(), column, None)),))
    })?;
    linker.func_wrap("keep", |mut cx: Context<'_>, (bitmap,): (WasmList<u32>,)| {
        cx.data().copied(4 * bitmap.len());
        let words = bitmap.as_le_slice(&cx).iter().map(|word| u32::from_le(*word)).collect();
        Ok((keep(cx.data_mut(), words),))
    })?;
    linker.func_wrap("route", |mut cx: Context<'_>, (names, index): (Words, WasmList<u16>)| {
        cx.data().copied(2 * index.len());
        let index = index.as_le_slice(&cx).iter().map(|index| u16::from_le(*index)).collect();
        let names = names_of_routes(cx.data_mut(), &names)?;
        Ok((names.and_then(|names| route(cx.data_mut(), names, index)),))
    })?;
    Ok(())
}

/// Why a column that may be read has nothing of `width` in it.
fn unreadable(state: &State, column: ColumnId, width: Width) -> Denied {
    match state.shared.schema.width(column) {
        Some(found) if found == width => Denied::Absent,
        Some(found) => Denied::WrongWidth(found.into()),
        None => Denied::NotGranted,
    }
}

fn wrong_length(length: usize) -> Denied {
    Denied::WrongLength(u32::try_from(length).unwrap_or(u32::MAX))
}

pub(super) fn put(state: &mut State, column: ColumnId, values: Option<Column>) -> Result<(), Denied> {
    let current = state.current_mut()?;
    if values.as_ref().is_some_and(|values| current.is_too_much(column, values)) {
        return Err(Denied::OutOfRange);
    }
    current.put(column, values);
    Ok(())
}

fn floats(state: &State, column: ColumnId) -> Result<Vec<f64>, Denied> {
    match state.readable(column)?.0 {
        Some(Column::U8(values)) => Ok(values.iter().map(|value| f64::from(*value)).collect()),
        Some(Column::U16(values)) => Ok(values.iter().map(|value| f64::from(*value)).collect()),
        Some(Column::U32(values)) => Ok(values.iter().map(|value| f64::from(*value)).collect()),
        Some(Column::U64(values)) => Ok(values.iter().map(|value| *value as f64).collect()),
        Some(Column::Text(_) | Column::Lists(_)) | None => Err(not_a_number(state, column)),
    }
}

fn raw(state: &State, column: ColumnId) -> Result<Arc<Vec<u8>>, Denied> {
    fn bytes<T: Copy, const N: usize>(values: &[T], to_le: impl Fn(T) -> [u8; N]) -> Arc<Vec<u8>> {
        Arc::new(values.iter().flat_map(|value| to_le(*value)).collect())
    }
    match state.readable(column)?.0 {
        Some(Column::U8(values)) => Ok(Arc::clone(values)),
        Some(Column::U16(values)) => Ok(bytes(values, u16::to_le_bytes)),
        Some(Column::U32(values)) => Ok(bytes(values, u32::to_le_bytes)),
        Some(Column::U64(values)) => Ok(bytes(values, u64::to_le_bytes)),
        Some(Column::Text(_) | Column::Lists(_)) | None => Err(not_a_number(state, column)),
    }
}

/// Why a column has no numbers.
pub(super) fn not_a_number(state: &State, column: ColumnId) -> Denied {
    match state.shared.schema.width(column) {
        Some(found @ (Width::Text | Width::Lists)) => Denied::WrongWidth(found.into()),
        Some(_) => Denied::Absent,
        None => Denied::NotGranted,
    }
}

fn column_of_bytes(state: &State, column: ColumnId, bytes: &[u8]) -> Result<Column, Denied> {
    fn values<T, const N: usize>(
        bytes: &[u8],
        rows: usize,
        of_le: impl Fn([u8; N]) -> T,
    ) -> Result<Arc<Vec<T>>, Denied> {
        let (chunks, rest) = bytes.as_chunks::<N>();
        if chunks.len() != rows || !rest.is_empty() {
            return Err(wrong_length(rows * N));
        }
        Ok(Arc::new(chunks.iter().map(|chunk| of_le(*chunk)).collect()))
    }
    let width = state.writable(column)?;
    let rows = state.writable_as(column, width)?;
    match width {
        Width::U8 => Ok(Column::U8(values(bytes, rows, u8::from_le_bytes)?)),
        Width::U16 => Ok(Column::U16(values(bytes, rows, u16::from_le_bytes)?)),
        Width::U32 => Ok(Column::U32(values(bytes, rows, u32::from_le_bytes)?)),
        Width::U64 => Ok(Column::U64(values(bytes, rows, u64::from_le_bytes)?)),
        Width::Text | Width::Lists => Err(Denied::WrongWidth(width.into())),
    }
}

fn texts(state: &State, column: ColumnId, words: Vec<Arc<str>>, codes: &[u32]) -> Result<Column, Denied> {
    let rows = state.writable_as(column, Width::Text)?;
    if codes.len() != rows {
        return Err(wrong_length(rows));
    }
    let mut values = state.current()?.batch().pool().u32s();
    values.extend(codes.iter().map(|code| u32::from_le(*code)));
    // The largest of all, which is found many at a time.
    let largest = values.iter().fold(0, |largest, code| *code.max(&largest));
    let is_good = (values.is_empty() || (largest as usize) < words.len())
        && words.len() <= MAX_WORDS
        && words.iter().all(|word| word.len() <= MAX_WORD_BYTES);
    if !is_good {
        return Err(Denied::OutOfRange);
    }
    Ok(Column::Text(Arc::new(Texts { words, codes: values })))
}

fn lists(state: &State, column: ColumnId, offsets: &[u32], values: &[u32]) -> Result<Column, Denied> {
    let rows = state.writable_as(column, Width::Lists)?;
    if offsets.len() != rows + 1 {
        return Err(wrong_length(rows + 1));
    }
    let lists = Lists {
        offsets: offsets.iter().map(|offset| u32::from_le(*offset)).collect(),
        values: values.iter().map(|value| u32::from_le(*value)).collect(),
    };
    if !lists.is_well_formed() {
        return Err(Denied::OutOfRange);
    }
    Ok(Column::Lists(Arc::new(lists)))
}

pub(super) fn keep(state: &mut State, bitmap: Vec<u32>) -> Result<(), Denied> {
    let current = state.current_mut()?;
    let words = current.rows().div_ceil(32);
    if bitmap.len() != words {
        return Err(wrong_length(words));
    }
    current.keep = Some(bitmap);
    Ok(())
}

/// Names of routes.
///
/// # Errors
/// If one is not UTF-8.
pub(super) fn names_of_routes(state: &mut State, names: &Words) -> wasmtime::Result<Result<Vec<Arc<str>>, Denied>> {
    if names.len() > MAX_ROUTES {
        return Ok(Err(Denied::OutOfRange));
    }
    let names = state.known_texts.all(names)?;
    let have_length = names.iter().all(|name| (1..=MAX_ROUTE_BYTES).contains(&name.len()));
    Ok(if have_length { Ok(names) } else { Err(Denied::OutOfRange) })
}

pub(super) fn route(state: &mut State, names: Vec<Arc<str>>, index: Vec<u16>) -> Result<(), Denied> {
    let current = state.current_mut()?;
    if index.len() != current.rows() {
        return Err(wrong_length(current.rows()));
    }
    // The largest of all, which is found many at a time.
    let largest = index.iter().fold(0, |largest, index| *index.max(&largest));
    if !index.is_empty() && usize::from(largest) >= names.len() {
        return Err(Denied::OutOfRange);
    }
    current.routes = Some(Routes { names, index });
    Ok(())
}
