//! Messages to rows, straight into columns.

use std::net::{IpAddr, Ipv4Addr};

use sluice_flow::{BatchBuilder, ColumnId, ColumnSet, halves_of};

use super::raw::{DELIMITED, VARINT, delimited, key, skip, split, value};
use super::table::Form;
use super::{BadValue, Dialect, Framing, MAX_MESSAGE, MAX_VALUE_ROWS, ProtoError};

/// Reads messages of one dialect and appends them to a [`BatchBuilder`].
///
/// Fields that have no column, or one that nobody wants, are skipped, or kept as they are if the
/// builder says so ([`BatchBuilder::keep_unknown`]). Of a field that occurs more than once the last
/// one counts; lists are joined. A number too large for its column reads as 0.
#[derive(Clone, Debug)]
pub struct Decoder {
    dialect: Dialect,
    framing: Framing,
    /// Place in `entries` by protobuf number.
    index: Box<[u8; INDEXED]>,
    /// The first is for numbers that the dialect does not map.
    entries: Box<[Entry; ENTRIES]>,
    /// The form of each entry.
    forms: Vec<Form>,
    row: Row,
}

/// What is collected while a message is read.
#[derive(Clone, Debug, Default)]
struct Row {
    /// Lists, by the `slot` of their entry: a list may come in pieces, among others.
    lists: Vec<(ColumnId, Vec<u32>)>,
    /// Bit `slot` is set where the list is not empty.
    listed: u32,
    /// The best rank so far, by `slot`.
    ranks: [u8; RANKED],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    op: Op,
    column: ColumnId,
    /// Among lists, or among columns with several fields.
    slot: u8,
    /// Place among the fields of the same column, 0 for the one that counts before others.
    rank: u8,
}

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// The number means nothing here.
    Unknown,
    /// The column is not wanted; the wire type is looked at all the same.
    Unwanted,
    /// The common one: the same for all widths, so that no branch depends on which field comes next.
    Number,
    MinusOne,
    Address,
    Text,
    List,
    /// One of several fields of a column.
    Ranked,
}

/// Entries that an index can tell apart.
const ENTRIES: usize = 1 << 8;
/// Protobuf numbers that are looked up; those of the table are all among them.
const INDEXED: usize = 1 << 14;

/// Columns at most that a dialect has several fields for.
const RANKED: usize = 8;
/// A rank behind all others: no field of the column was seen.
const UNSEEN: u8 = u8::MAX;

impl Decoder {
    /// A decoder of messages of `dialect` that fills the columns in `wanted`, which should be those of
    /// the builders it is given.
    #[must_use]
    #[allow(clippy::indexing_slicing, reason = "no dialect has as many fields as there are entries")]
    pub fn new(dialect: Dialect, framing: Framing, wanted: &ColumnSet) -> Decoder {
        let mut index = Box::new([0; INDEXED]);
        let mut forms = vec![Form::Text];
        let mut entries = Box::new([Entry { op: Op::Unknown, column: 0, slot: 0, rank: 0 }; ENTRIES]);
        let mut row = Row::default();
        let mut ranked: Vec<ColumnId> = Vec::new();
        let of = |column| dialect.fields().filter(move |other| other.column == column);
        for field in dialect.fields() {
            let is_wanted =
                wanted.contains(field.column) || (field.form == Form::Address && wanted.contains(field.column + 1));
            let rank = of(field.column).position(|other| other.number == field.number).unwrap_or(0);
            let (op, slot) = if !is_wanted {
                (Op::Unwanted, 0)
            } else if of(field.column).count() > 1 {
                let slot = ranked.iter().position(|column| *column == field.column).unwrap_or(ranked.len());
                if slot == ranked.len() {
                    ranked.push(field.column);
                }
                (Op::Ranked, slot)
            } else if field.form == Form::List {
                row.lists.push((field.column, Vec::new()));
                (Op::List, row.lists.len() - 1)
            } else {
                (direct(field.form), 0)
            };
            if let Some(place) = index.get_mut(field.number as usize) {
                *place = forms.len() as u8;
            }
            entries[forms.len()] = Entry { op, column: field.column, slot: slot as u8, rank: rank as u8 };
            forms.push(field.form);
        }
        Decoder { dialect, framing, index, entries, forms, row }
    }

    /// A decoder of the same messages that fills other columns.
    #[must_use]
    pub fn wanting(&self, wanted: &ColumnSet) -> Decoder {
        Decoder::new(self.dialect, self.framing, wanted)
    }

    /// Reads the messages of one value, e.g. of a Kafka record, and returns how many rows it gave:
    /// one if messages are bare, else as many as there are, none for an empty value.
    ///
    /// # Errors
    /// If any message of the value is malformed. None of its rows is in `out` then, so that a
    /// value that is put aside can be read again, as a whole and once.
    pub fn decode_value(&mut self, value: &[u8], out: &mut BatchBuilder) -> Result<usize, BadValue> {
        let before = out.rows();
        let mut left = value;
        loop {
            let rows = out.rows() - before;
            let decoded = match self.framing {
                Framing::Delimited if left.is_empty() => return Ok(rows),
                Framing::Bare if rows == 1 => return Ok(rows),
                Framing::Delimited if rows == MAX_VALUE_ROWS => Err(ProtoError::TooManyRows),
                Framing::Delimited => split(&mut left).and_then(|message| self.append(message, out)),
                Framing::Bare => self.append(left, out),
            };
            if let Err(error) = decoded {
                out.truncate(before);
                return Err(BadValue { message: rows, error });
            }
        }
    }

    /// Reads one message, preceded by its length if the framing says so, from the beginning of
    /// `left`, and leaves `left` behind it: for streams, in which a bad message loses only itself.
    ///
    /// # Errors
    /// If the message is malformed: nothing is appended, and `left` is behind it. If its length is:
    /// `left` is empty.
    pub fn decode_next(&mut self, left: &mut &[u8], out: &mut BatchBuilder) -> Result<(), ProtoError> {
        let message = match self.framing {
            Framing::Delimited => split(left)?,
            Framing::Bare => std::mem::take(left),
        };
        let before = out.rows();
        self.append(message, out).inspect_err(|_| out.truncate(before))
    }

    /// Appends the row of a message. After an error the row is begun and has to be taken back.
    fn append(&mut self, message: &[u8], out: &mut BatchBuilder) -> Result<(), ProtoError> {
        if message.len() > MAX_MESSAGE {
            return Err(ProtoError::TooLong { length: message.len() as u64 });
        }
        self.row.ranks = [UNSEEN; RANKED];
        let read = self.fields(message, out);
        // Also after an error, so that nothing stays for the next message.
        while self.row.listed != 0 {
            let slot = self.row.listed.trailing_zeros() as usize;
            self.row.listed &= self.row.listed - 1;
            if let Some((column, list)) = self.row.lists.get_mut(slot) {
                out.push_list(*column, 0, list);
                list.clear();
            }
        }
        read?;
        out.advance(1);
        Ok(())
    }

    #[inline]
    #[allow(
        clippy::indexing_slicing,
        reason = "a key of two bytes is in the index, and a byte in the entries, as the compiler sees"
    )]
    fn fields(&mut self, message: &[u8], out: &mut BatchBuilder) -> Result<(), ProtoError> {
        let keeps_unknown = out.keeps_unknown();
        let mut at = 0;
        while at < message.len() {
            let start = at;
            // Numbers below 2048 have two bytes at most, and are looked up without a check.
            let (number, wire_type, place) = match message.get(at..) {
                Some([one @ 8..0x80, ..]) => {
                    at += 1;
                    (u32::from(one >> 3), one & 7, self.index[usize::from(one >> 3)])
                }
                Some([low, high @ 1..0x80, ..]) if *low >= 0x80 => {
                    at += 2;
                    let key = u16::from(low & 0x7f) | u16::from(*high) << 7;
                    (u32::from(key >> 3), low & 7, self.index[usize::from(key >> 3)])
                }
                _ => {
                    let (number, wire_type) = key(message, &mut at)?;
                    (number, wire_type, self.index.get(number as usize).copied().unwrap_or(0))
                }
            };
            let entry = &self.entries[usize::from(place)];
            if entry.op == Op::Number && wire_type == VARINT {
                out.set_number(entry.column, value(message, &mut at)?);
                continue;
            }
            let form = self.forms.get(usize::from(place)).copied().unwrap_or(Form::Text);
            let wrong = ProtoError::WrongType { number, found: wire_type };
            match (entry.op, wire_type) {
                (Op::MinusOne, VARINT) => {
                    out.set_number(entry.column, value(message, &mut at)?.saturating_add(1));
                }
                (Op::Address, DELIMITED) => {
                    let (hi, lo) = address(number, delimited(message, &mut at, number)?)?;
                    out.set_number(entry.column, hi);
                    out.set_number(entry.column + 1, lo);
                }
                (Op::Text, DELIMITED) => {
                    let bytes = delimited(message, &mut at, number)?;
                    let text = std::str::from_utf8(bytes).map_err(|_| ProtoError::BadText { number })?;
                    out.push_text(entry.column, 0, text);
                }
                (Op::List, DELIMITED | VARINT) => {
                    let packed = match wire_type {
                        DELIMITED => delimited(message, &mut at, number)?,
                        _ => {
                            let from = at;
                            value(message, &mut at)?;
                            message.get(from..at).unwrap_or(&[])
                        }
                    };
                    self.row.extend(entry.slot, packed)?;
                }
                (Op::Ranked, _) => {
                    if !form.is_of(wire_type) {
                        return Err(wrong);
                    }
                    let entry = *entry;
                    self.row.ranked(entry, form, message, &mut at, number, out)?;
                }
                (Op::Unknown, _) => {
                    skip(message, &mut at, number, wire_type)?;
                    if keeps_unknown {
                        out.push_unknown(self.dialect.name(), &[], message.get(start..at).unwrap_or(&[]));
                    }
                }
                (Op::Unwanted, _) => {
                    if !form.is_of(wire_type) {
                        return Err(wrong);
                    }
                    skip(message, &mut at, number, wire_type)?;
                    if keeps_unknown {
                        let low = if form == Form::Address { entry.column + 1 } else { entry.column };
                        let raw = message.get(start..at).unwrap_or(&[]);
                        out.push_unknown(self.dialect.name(), &[entry.column, low], raw);
                    }
                }
                _ => return Err(wrong),
            }
        }
        Ok(())
    }
}

impl Row {
    /// Appends packed varints to the list of `slot`.
    fn extend(&mut self, slot: u8, packed: &[u8]) -> Result<(), ProtoError> {
        let Some((_, list)) = self.lists.get_mut(usize::from(slot)) else { return Ok(()) };
        let mut at = 0;
        while at < packed.len() {
            list.push(value(packed, &mut at)? as u32);
        }
        self.listed |= 1 << slot;
        Ok(())
    }

    /// Sets a column that has several fields, unless a better one was seen. A zero is as good as none.
    #[inline]
    fn ranked(
        &mut self,
        entry: Entry,
        form: Form,
        message: &[u8],
        at: &mut usize,
        number: u32,
        out: &mut BatchBuilder,
    ) -> Result<(), ProtoError> {
        let Some(best) = self.ranks.get_mut(usize::from(entry.slot)) else { return Ok(()) };
        let is_best = entry.rank <= *best;
        if form == Form::Text {
            let bytes = delimited(message, at, number)?;
            let text = std::str::from_utf8(bytes).map_err(|_| ProtoError::BadText { number })?;
            if is_best && (!text.is_empty() || entry.rank == *best) {
                *best = entry.rank;
                out.push_text(entry.column, 0, text);
            }
            return Ok(());
        }
        let value = value(message, at)?;
        if is_best && (value != 0 || entry.rank == *best) {
            *best = entry.rank;
            let value = if let Form::Divided(unit) = form { value.checked_mul(unit).unwrap_or(0) } else { value };
            out.set_number(entry.column, value);
        }
        Ok(())
    }
}

impl Form {
    /// Whether a field of this form may have the wire type; a list may be packed or not.
    fn is_of(self, wire_type: u8) -> bool {
        match self {
            Form::Number(_) | Form::MinusOne | Form::Divided(_) => wire_type == VARINT,
            Form::Address | Form::Text => wire_type == DELIMITED,
            Form::List => matches!(wire_type, VARINT | DELIMITED),
        }
    }
}

/// The way of a field that is the only one of its column.
fn direct(form: Form) -> Op {
    match form {
        Form::Number(_) => Op::Number,
        Form::MinusOne => Op::MinusOne,
        Form::Address => Op::Address,
        Form::Text => Op::Text,
        Form::List => Op::List,
        Form::Divided(_) => Op::Ranked,
    }
}

/// The halves of an address; no bytes are no address.
#[inline(always)]
fn address(number: u32, bytes: &[u8]) -> Result<(u64, u64), ProtoError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(halves_of(IpAddr::V4(Ipv4Addr::from(octets))));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => {
            let bits = u128::from_be_bytes(octets);
            Ok(((bits >> 64) as u64, bits as u64))
        }
        Err(_) if bytes.is_empty() => Ok((0, 0)),
        Err(_) => Err(ProtoError::BadAddress { number, length: bytes.len() }),
    }
}
