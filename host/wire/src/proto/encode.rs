//! Rows to messages, straight from columns.

use std::ops::Range;

use sluice_flow::{ADDRESSES, Batch, Column, ColumnId, ColumnSet, Lists, Texts, Unknown, Width};

use super::block::{Block, HEAD, Key, ShortWords, Values, WORD_ROOM};
use super::raw::Fields;
use super::table::{Form, MILLI, SECOND};
use super::{Dialect, Framing, varint};

/// Writes rows as messages of one dialect. Small and cheap to make; the work is in [`rows`](Self::rows).
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    dialect: Dialect,
    framing: Framing,
}

impl Encoder {
    /// An encoder of messages of `dialect`, each with or without its length before it.
    #[must_use]
    pub fn new(dialect: Dialect, framing: Framing) -> Encoder {
        Encoder { dialect, framing }
    }

    /// The columns that are written: all but operators' own and those that the dialect has no number for.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        let pair = |column: ColumnId, form: Form| [column, if form == Form::Address { column + 1 } else { column }];
        self.dialect.fields().flat_map(|field| pair(field.column, field.form)).collect()
    }

    /// Looks up once which columns `batch` has and how they are written.
    ///
    /// Every row becomes a message of its unknown fields, if they came by the same dialect
    /// ([`Batch::unknown`]), and behind them its columns. A zero, an empty text or an empty list is
    /// not written.
    #[must_use]
    pub fn rows<'b>(&self, batch: &'b Batch) -> Rows<'b> {
        let (mut columns, mut short, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for field in self.dialect.fields() {
            let (number, column, form) = (field.number, field.column, field.form);
            if let Some(values) = values_of(batch, column, form) {
                let wire_type = if form == Form::Address { 2 } else { 0 };
                columns.push((Key::new(number, wire_type), values));
            }
            match (form, batch.column(column)) {
                (Form::Text, Some(Column::Text(texts))) => {
                    let words = Words::new(Key::new(number, 2), texts);
                    match words.short() {
                        Some(words) => short.push(words),
                        None => steps.push(Step::Text(words)),
                    }
                }
                (Form::List, Some(Column::Lists(lists))) => steps.push(Step::List(Key::new(number, 2), lists)),
                _ => {}
            }
        }
        let unknown = batch.unknown().filter(|unknown| unknown.numbering() == self.dialect.name());
        let superseded = batch.superseded();
        let fields = self.dialect.fields().filter(|field| {
            superseded.contains(field.column) || field.form == Form::Address && superseded.contains(field.column + 1)
        });
        let left_out: Vec<u32> = fields.map(|field| field.number).collect();
        Rows {
            framing: self.framing,
            rows: batch.rows(),
            block: Block::new(columns, short),
            steps,
            unknown,
            left_out,
            kept: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Appends `rows` of `batch` to `out`, one after another; rows beyond the last are left out.
    ///
    /// Bare messages have nothing between them: with [`Framing::Bare`] only one row makes sense.
    pub fn encode(&self, batch: &Batch, rows: Range<usize>, out: &mut Vec<u8>) {
        let mut encoded = self.rows(batch);
        for row in rows.start..rows.end.min(batch.rows()) {
            encoded.append(row, out);
        }
    }
}

/// The rows of a batch, ready to be written.
///
/// In ascending order, that is: a few rows are prepared at a time, so that going back costs that much again.
#[derive(Debug)]
pub struct Rows<'b> {
    framing: Framing,
    rows: usize,
    block: Block<'b>,
    /// The columns whose fields are long, or lists.
    steps: Vec<Step<'b>>,
    unknown: Option<&'b Unknown>,
    /// Numbers of unknown fields that a column supersedes.
    left_out: Vec<u32>,
    /// The unknown fields of a row without those.
    kept: Vec<u8>,
    /// The fields of the steps of a row.
    tail: Vec<u8>,
}

#[derive(Debug)]
enum Step<'b> {
    Text(Words<'b>),
    List(Key, &'b Lists),
}

/// A text column with every word of its dictionary as a field already: few words are in many rows.
#[derive(Debug)]
struct Words<'b> {
    codes: &'b [u32],
    fields: Vec<u8>,
    /// Where the field of each word begins and ends.
    places: Vec<(u32, u32)>,
}

impl<'b> Words<'b> {
    fn new(key: Key, texts: &'b Texts) -> Words<'b> {
        let mut fields = Vec::new();
        let mut field = |word: &str| {
            let from = fields.len() as u32;
            if !word.is_empty() {
                head(key, word.len(), &mut fields);
                fields.extend_from_slice(word.as_bytes());
            }
            (from, fields.len() as u32)
        };
        let places = texts.words.iter().map(|word| field(word)).collect();
        Words { codes: &texts.codes, fields, places }
    }

    /// The same with fields of one size, if all have room in it.
    fn short(&self) -> Option<ShortWords<'b>> {
        let short = |(from, to): &(u32, u32)| {
            let word = self.fields.get(*from as usize..*to as usize)?;
            let mut field = [0; WORD_ROOM];
            field.get_mut(..word.len())?.copy_from_slice(word);
            Some((field, word.len() as u8))
        };
        let fields = self.places.iter().map(short).collect::<Option<Vec<_>>>()?;
        Some(ShortWords { codes: self.codes, fields })
    }

    /// The field of a row, empty where it is not written.
    fn get(&self, row: usize) -> &[u8] {
        let place = self.codes.get(row).and_then(|code| self.places.get(*code as usize));
        place.and_then(|(from, to)| self.fields.get(*from as usize..*to as usize)).unwrap_or_default()
    }
}

fn values_of(batch: &Batch, column: ColumnId, form: Form) -> Option<Values<'_>> {
    if form == Form::Address {
        let address = ADDRESSES.iter().find(|address| address.hi == column)?;
        // A half that is zero throughout may be missing.
        return match (batch.u64s(address.hi), batch.u64s(address.lo)) {
            (None, None) => None,
            (hi, lo) => Some(Values::Address(hi.unwrap_or(&[]), lo.unwrap_or(&[]))),
        };
    }
    Some(match (form, batch.column(column)?) {
        (Form::Divided(MILLI), Column::U64(values)) => Values::Millis(values),
        (Form::Divided(SECOND), Column::U64(values)) => Values::Seconds(values),
        (Form::MinusOne, Column::U8(values)) => Values::MinusOne(values),
        (Form::Number(Width::U8), Column::U8(values)) => Values::U8(values),
        (Form::Number(Width::U16), Column::U16(values)) => Values::U16(values),
        (Form::Number(Width::U32), Column::U32(values)) => Values::U32(values),
        (Form::Number(Width::U64), Column::U64(values)) => Values::U64(values),
        _ => return None,
    })
}

impl Rows<'_> {
    /// Appends the message of `row`, behind its length if the framing says so. `row` out of range
    /// gives an empty message.
    pub fn append(&mut self, row: usize, out: &mut Vec<u8>) {
        let mut unknown = self.unknown.map_or(&[][..], |unknown| unknown.get(row));
        if !unknown.is_empty() && !self.left_out.is_empty() {
            filter(unknown, &self.left_out, &mut self.kept);
            unknown = &self.kept;
        }
        let line = self.block.line(row, self.rows);
        let fields = line.len().saturating_sub(HEAD);
        // Most rows have nothing but their line: then the length goes into its head.
        let is_plain = unknown.is_empty() && self.steps.is_empty() && fields < 1 << 14;
        if self.framing == Framing::Delimited && is_plain {
            let (length, len) = varint::short_u16(fields as u16);
            if let Some(head) = line.first_chunk_mut::<HEAD>() {
                let shifted = length << (8 * (HEAD - len));
                *head = [shifted as u8, (shifted >> 8) as u8, (shifted >> 16) as u8];
            }
            out.extend_from_slice(line.get(HEAD - len..).unwrap_or(&[0]));
            return;
        }
        self.tail.clear();
        for step in &self.steps {
            step.append(row, &mut self.tail);
        }
        if self.framing == Framing::Delimited {
            varint::append((unknown.len() + fields + self.tail.len()) as u64, out);
        }
        out.extend_from_slice(unknown);
        out.extend_from_slice(line.get(HEAD..).unwrap_or(&[]));
        out.extend_from_slice(&self.tail);
    }

    /// Number of rows of the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

impl Step<'_> {
    fn append(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Step::Text(words) => out.extend_from_slice(words.get(row)),
            Step::List(key, lists) => {
                let list = lists.get(row);
                if !list.is_empty() {
                    head(*key, packed_len(list), out);
                    for value in list {
                        varint::append(u64::from(*value), out);
                    }
                }
            }
        }
    }
}

fn head(key: Key, length: usize, out: &mut Vec<u8>) {
    let (head, len) = key.with_len(length);
    out.extend_from_slice(head.get(..len).unwrap_or(&head));
}

fn packed_len(list: &[u32]) -> usize {
    list.iter().map(|value| varint::len(u64::from(*value))).sum()
}

/// Puts the fields in `unknown` into `kept`, without those whose numbers are in `left_out`.
#[cold]
fn filter(unknown: &[u8], left_out: &[u32], kept: &mut Vec<u8>) {
    kept.clear();
    // What is malformed was not kept, so that an error does not occur; it would end the fields.
    for field in Fields::new(unknown).map_while(Result::ok) {
        if !left_out.contains(&field.number) {
            kept.extend_from_slice(field.raw);
        }
    }
}
