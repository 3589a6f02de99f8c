//! A batch as bytes: id, batch time, rows, and each column with its number and width.
//!
//! A column whose rows are all equal (the exporter, the sampling rate) is written once.

use std::sync::Arc;

use sluice_flow::{Batch, Column, Lists, Pool, Schema, Texts, Width};

use super::bytes::{Put, Take};
use crate::limits::{MAX_WORD_BYTES, MAX_WORDS};

/// Rows that a batch in a recording may have.
const MAX_ROWS: usize = 1 << 20;

/// How the values of a column follow.
const EACH: u8 = 0;
const ALL_EQUAL: u8 = 1;

/// Appends a batch.
pub(crate) fn put(batch: &Batch, out: &mut Vec<u8>) {
    out.put_u64(batch.id());
    out.put_u64(batch.now_ms());
    out.put_u32(batch.rows() as u32);
    out.put_u16(batch.columns().count() as u16);
    for (number, column) in batch.columns() {
        out.put_u16(number);
        put_column(column, out);
    }
}

/// Appends a column: its width and its values.
pub(crate) fn put_column(column: &Column, out: &mut Vec<u8>) {
    out.put_u8(code(column.width()));
    match column {
        Column::U8(values) => put_values(values, out, u8::to_le_bytes),
        Column::U16(values) => put_values(values, out, u16::to_le_bytes),
        Column::U32(values) => put_values(values, out, u32::to_le_bytes),
        Column::U64(values) => put_values(values, out, u64::to_le_bytes),
        Column::Text(texts) => {
            out.put_u32(texts.words.len() as u32);
            texts.words.iter().for_each(|word| out.put_text(word));
            put_values(&texts.codes, out, u32::to_le_bytes);
        }
        Column::Lists(lists) => {
            out.put_u32(lists.values.len() as u32);
            put_values(&lists.values, out, u32::to_le_bytes);
            put_values(&lists.offsets, out, u32::to_le_bytes);
        }
    }
}

fn put_values<T: Copy + PartialEq, const N: usize>(values: &[T], out: &mut Vec<u8>, bytes: impl Fn(T) -> [u8; N]) {
    match values {
        [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|value| value == first) => {
            out.put_u8(ALL_EQUAL);
            out.extend(bytes(*first));
        }
        _ => {
            out.put_u8(EACH);
            let from = out.len();
            // Into room that is there already: this becomes a copy of memory.
            out.resize(from + values.len() * N, 0);
            let (places, _) = out.split_at_mut(from).1.as_chunks_mut::<N>();
            places.iter_mut().zip(values).for_each(|(place, value)| *place = bytes(*value));
        }
    }
}

/// Takes a batch of the columns of `schema`.
pub(crate) fn take(from: &mut Take<'_>, schema: &Arc<Schema>) -> Result<Batch, String> {
    let (id, now_ms) = (from.u64()?, from.u64()?);
    let rows = from.u32()? as usize;
    if rows > MAX_ROWS {
        return Err(format!("a batch in it has {rows} rows, more than {MAX_ROWS}"));
    }
    let columns = from.u16()?;
    from.claim(schema.slots(), size_of::<Option<Column>>())?;
    let mut batch = Batch::new(Arc::clone(schema), Pool::default(), rows);
    batch.stamp(id, now_ms);
    for _ in 0..columns {
        let number = from.u16()?;
        let column = take_column(from, rows)?;
        batch.set(number, column).map_err(|error| format!("column {number}: {error}"))?;
    }
    from.end()?;
    Ok(batch)
}

/// Takes a column of `rows` rows.
pub(crate) fn take_column(from: &mut Take<'_>, rows: usize) -> Result<Column, String> {
    let width = from.u8()?;
    let width = WIDTHS.iter().find(|(_, code)| *code == width).map(|(width, _)| *width);
    Ok(match width.ok_or("a column in it has an unknown width")? {
        Width::U8 => Column::U8(Arc::new(values(from, rows, u8::from_le_bytes)?)),
        Width::U16 => Column::U16(Arc::new(values(from, rows, u16::from_le_bytes)?)),
        Width::U32 => Column::U32(Arc::new(values(from, rows, u32::from_le_bytes)?)),
        Width::U64 => Column::U64(Arc::new(values(from, rows, u64::from_le_bytes)?)),
        Width::Text => Column::Text(Arc::new(texts(from, rows)?)),
        Width::Lists => {
            let count = from.u32()? as usize;
            let lists = Lists {
                values: values(from, count, u32::from_le_bytes)?,
                offsets: values(from, rows + 1, u32::from_le_bytes)?,
            };
            if !lists.is_well_formed() {
                return Err("the lists of a column do not fit their offsets".to_owned());
            }
            Column::Lists(Arc::new(lists))
        }
    })
}

fn texts(from: &mut Take<'_>, rows: usize) -> Result<Texts, String> {
    let count = from.u32()? as usize;
    if count > MAX_WORDS {
        return Err(format!("a column in it has {count} words, more than {MAX_WORDS}"));
    }
    from.claim(count, size_of::<Arc<str>>())?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let word = from.text()?;
        if word.len() > MAX_WORD_BYTES {
            return Err(format!("a word in it has {} bytes, more than {MAX_WORD_BYTES}", word.len()));
        }
        from.claim(word.len() + 16, 1)?;
        words.push(Arc::from(word));
    }
    let codes = values(from, rows, u32::from_le_bytes)?;
    if codes.iter().any(|code| *code as usize >= words.len()) {
        return Err("a column in it has codes beyond its words".to_owned());
    }
    Ok(Texts { words, codes })
}

fn values<T: Copy, const N: usize>(
    from: &mut Take<'_>,
    count: usize,
    value: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    from.claim(count, N)?;
    let bytes = match from.u8()? {
        ALL_EQUAL => from.take(N)?,
        EACH if from.rest.len() / N >= count => from.take(count * N)?,
        EACH => return Err("a column in it ends early".to_owned()),
        _ => return Err("a column in it is written in an unknown way".to_owned()),
    };
    let (places, _) = bytes.as_chunks::<N>();
    Ok(match places {
        [one] => vec![value(*one); count],
        each => each.iter().map(|place| value(*place)).collect(),
    })
}

const WIDTHS: [(Width, u8); 6] =
    [(Width::U8, 0), (Width::U16, 1), (Width::U32, 2), (Width::U64, 3), (Width::Text, 4), (Width::Lists, 5)];

fn code(width: Width) -> u8 {
    WIDTHS.iter().find(|(known, _)| *known == width).map_or(u8::MAX, |(_, code)| *code)
}
