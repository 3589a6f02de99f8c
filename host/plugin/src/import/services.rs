//! `log`, `metrics`, `events`, `tables`, `keys` and `assets`.

use std::sync::Arc;

use sluice_flow::{Column, ColumnId, Width};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType, WasmList, WasmStr};

use super::kernels::words;
use super::lookup_into::{self, Into};
use crate::abi::{Alert, Denied, LentAlert, Level};
use crate::keys::{OpenKey, Replace};
use crate::limits::MAX_ALERT_TEXT;
use crate::shared::OwnMetric;
use crate::state::{OpenTable, State};

type Context<'a> = StoreContextMut<'a, State>;

pub(super) fn log(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("log", |cx: Context<'_>, (level, message): (Level, WasmStr)| {
        // Before anything is read: what is over the rate costs next to nothing.
        if cx.data().shared.admits_line() {
            cx.data().shared.write_line(level, &message.to_str(&cx)?);
        }
        Ok(())
    })
}

pub(super) fn metrics(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("count", |mut cx: Context<'_>, (name, add): (String, u32)| {
        if let Some(OwnMetric::Counter(counter)) = own_metric(cx.data_mut(), name, true) {
            counter.inc_by(u64::from(add));
        }
        Ok(())
    })?;
    linker.func_wrap("gauge", |mut cx: Context<'_>, (name, value): (String, f64)| {
        if let Some(OwnMetric::Gauge(gauge)) = own_metric(cx.data_mut(), name, false) {
            gauge.set(value);
        }
        Ok(())
    })
}

/// The metric, from this instance's own map if it was used before: that takes no lock.
fn own_metric(state: &mut State, name: String, is_counter: bool) -> Option<OwnMetric> {
    let key = (name, is_counter);
    if let Some(metric) = state.own_metrics.get(&key) {
        return Some(metric.clone());
    }
    let metric = state.shared.own_metric(&key.0, is_counter);
    match &metric {
        Some(metric) => drop(state.own_metrics.insert(key, metric.clone())),
        None => drop(state.shared.meters.metrics_refused.inc()),
    }
    metric
}

pub(super) fn events(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("emit", |mut cx: Context<'_>, (lent,): (LentAlert,)| {
        // Before anything is copied: what is over the rate costs next to nothing.
        if !cx.data_mut().admits_alert() {
            return Ok(());
        }
        let kind = text(&cx, &lent.kind)?;
        let (subject, note) = (text(&cx, &lent.subject)?, text(&cx, &lent.note)?);
        let LentAlert { severity, value, threshold, .. } = lent;
        cx.data_mut().alerts.push(Alert { kind, severity, subject, value, threshold, note });
        Ok(())
    })
}

/// A text of an alert, as much of it as is kept.
fn text(cx: &Context<'_>, lent: &WasmStr) -> wasmtime::Result<String> {
    let text = lent.to_str(cx)?;
    Ok(text[..text.floor_char_boundary(MAX_ALERT_TEXT)].to_owned())
}

pub(super) fn assets(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("read", |mut cx: Context<'_>, (name,): (String,)| Ok((cx.data_mut().read_asset(name),)))
}

/// Of `lookup-into`: table, both columns of the key, the column to write, which rows, and whether the others keep what they have.
type IntoArgs = (Resource<OpenTable>, ColumnId, ColumnId, ColumnId, Option<WasmList<u32>>, bool);

pub(super) fn tables(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.resource("table", ResourceType::host::<OpenTable>(), |mut cx, handle| {
        free(&mut cx.data_mut().tables, handle);
        Ok(())
    })?;
    linker.func_wrap("open", |mut cx: Context<'_>, (name,): (String,)| {
        Ok((cx.data_mut().open_table(name).map(Resource::<OpenTable>::new_own),))
    })?;
    linker.func_wrap(
        "[method]table.lookup",
        |cx: Context<'_>, (table, hi, lo): (Resource<OpenTable>, WasmList<u64>, WasmList<u64>)| {
            let open = opened(&cx.data().tables, table.rep())?;
            if hi.len() != lo.len() {
                wasmtime::bail!("tables.lookup was given {} high and {} low halves", hi.len(), lo.len());
            }
            let (hi, lo) = (hi.as_le_slice(&cx), lo.as_le_slice(&cx));
            let mut codes = Vec::with_capacity(hi.len());
            lookup(open, hi, lo, &mut codes);
            Ok((codes,))
        },
    )?;
    linker.func_wrap(
        "[method]table.lookup-columns",
        |mut cx: Context<'_>, (table, hi, lo): (Resource<OpenTable>, ColumnId, ColumnId)| {
            // Nobody has the last answer any more: it is in the memory of the guest.
            let mut codes = Arc::into_inner(std::mem::take(&mut cx.data_mut().codes)).unwrap_or_default();
            codes.clear();
            let open = opened(&cx.data().tables, table.rep())?;
            let found = super::lookup::columns(cx.data(), open, hi, lo, &mut codes);
            let codes = Arc::new(codes);
            cx.data_mut().codes = Arc::clone(&codes);
            Ok((found.map(|()| codes),))
        },
    )?;
    linker.func_wrap(
        "[method]table.lookup-into",
        |mut cx: Context<'_>, (table, hi, lo, column, only, keep): IntoArgs| {
            let only = only.map(|bitmap| words(&cx, &bitmap));
            let into = Into { hi, lo, column, keep };
            Ok((lookup_into::write(cx.data_mut(), table.rep(), into, only.as_deref())?,))
        },
    )?;
    linker.func_wrap("[method]table.value", |cx: Context<'_>, (table, code): (Resource<OpenTable>, u32)| {
        Ok((opened(&cx.data().tables, table.rep())?.table.value(code).map(str::to_owned),))
    })?;
    linker.func_wrap("[method]table.codes", |cx: Context<'_>, (table,): (Resource<OpenTable>,)| {
        Ok((opened(&cx.data().tables, table.rep())?.table.codes(),))
    })?;
    linker.func_wrap("[method]table.generation", |cx: Context<'_>, (table,): (Resource<OpenTable>,)| {
        Ok((opened(&cx.data().tables, table.rep())?.table.generation(),))
    })
}

#[cfg(target_endian = "little")]
fn lookup(open: &OpenTable, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
    open.table.lookup_all(hi, lo, codes);
}

/// Guests are little-endian whatever the host is.
#[cfg(target_endian = "big")]
fn lookup(open: &OpenTable, hi: &[u64], lo: &[u64], codes: &mut Vec<u32>) {
    let swap = |halves: &[u64]| halves.iter().map(|half| half.swap_bytes()).collect::<Vec<_>>();
    open.table.lookup_all(&swap(hi), &swap(lo), codes);
}

pub(super) fn keys(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.resource("key", ResourceType::host::<OpenKey>(), |mut cx, handle| {
        free(&mut cx.data_mut().keys, handle);
        Ok(())
    })?;
    linker.func_wrap("open", |mut cx: Context<'_>, (name,): (String,)| {
        Ok((cx.data_mut().open_key(&name).map(Resource::<OpenKey>::new_own),))
    })?;
    let methods =
        [("[method]key.prefix-preserving", Replace::PrefixPreserving), ("[method]key.keyed-hash", Replace::KeyedHash)];
    for (name, how) in methods {
        linker.func_wrap(
            name,
            move |mut cx: Context<'_>, (key, hi, lo): (Resource<OpenKey>, ColumnId, ColumnId)| {
                replace(cx.data_mut(), key.rep(), how, hi, lo)
            },
        )?;
    }
    linker.func_wrap(
        "[method]key.prf",
        |cx: Context<'_>, (key, hi, lo): (Resource<OpenKey>, WasmList<u64>, WasmList<u64>)| {
            let open = opened(&cx.data().keys, key.rep())?;
            if hi.len() != lo.len() {
                wasmtime::bail!("keys.prf was given {} high and {} low halves", hi.len(), lo.len());
            }
            let pairs = hi.as_le_slice(&cx).iter().zip(lo.as_le_slice(&cx));
            let values: Vec<u64> = pairs.map(|(hi, lo)| open.key.prf(u64::from_le(*hi), u64::from_le(*lo))).collect();
            Ok((values,))
        },
    )
}

fn replace(
    state: &mut State,
    key: u32,
    how: Replace,
    hi: ColumnId,
    lo: ColumnId,
) -> wasmtime::Result<(Result<(), Denied>,)> {
    let mut columns = || -> Result<_, Denied> {
        // Both grants, and both halves before either is changed.
        let pair = state.address(hi, lo)?;
        state.writable_as(hi, Width::U64)?;
        state.writable_as(lo, Width::U64)?;
        if hi == lo {
            return Err(Denied::OutOfRange);
        }
        let current = state.current_mut()?;
        Ok(pair.map(|(his, los)| {
            let pool = current.batch().pool();
            let copy = |values: &[u64]| {
                let mut copy = pool.u64s();
                copy.extend_from_slice(values);
                copy
            };
            (copy(&his), copy(&los))
        }))
    };
    let (mut his, mut los) = match columns() {
        Ok(Some(pair)) => pair,
        Ok(None) => return Ok((Ok(()),)),
        Err(denied) => return Ok((Err(denied),)),
    };
    let open = state.keys.get_mut(key as usize).and_then(Option::as_mut);
    open.ok_or_else(|| wasmtime::format_err!("no such handle"))?.replace(how, &mut his, &mut los);
    Ok((state.current_mut().map(|current| {
        current.put(hi, Some(Column::U64(Arc::new(his))));
        current.put(lo, Some(Column::U64(Arc::new(los))));
    }),))
}

/// What a handle stands for. The engine checks handles, so a miss is a fault of the host's; it traps.
pub(super) fn opened<T>(places: &[Option<T>], handle: u32) -> wasmtime::Result<&T> {
    let place = places.get(handle as usize).and_then(Option::as_ref);
    place.ok_or_else(|| wasmtime::format_err!("no such handle"))
}

fn free<T>(places: &mut [Option<T>], handle: u32) {
    if let Some(place) = places.get_mut(handle as usize) {
        *place = None;
    }
}
