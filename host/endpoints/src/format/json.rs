//! Rows as JSON, one object a line, as goflow2 writes them by default.
//!
//! Every field of goflow2 is in every line, in goflow2's order, with its rendering: addresses and MAC
//! addresses as text (an absent address is `""`), `etype`, `proto`, `type` and `layer_stack` by name,
//! `src_net` and `dst_net` as networks, everything else as plain numbers and lists. After them come
//! sluice's other columns, under their own names, where they are not zero, and `route` where a
//! splitter set one.
//!
//! Rows that are dead letters of a stage have an object `dead_letter` at the end, which says why.
//!
//! It differs in two places, where goflow2 loses something: a protocol or ethertype that goflow2 has
//! no name for (it writes `""`) is written by its IANA name or, failing that, its number as text; and a
//! network whose address is absent (goflow2 writes `"invalid Prefix"`) is `""`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_flow::{Batch, ColumnId, ColumnSet, DeadLetter, Schema, col};

use super::field::{Field, Kind, LAYERS, beyond_goflow2, goflow2};
use super::text;

/// Writes rows as JSON.
#[derive(Debug)]
pub(crate) struct Json {
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    /// `,"name":`
    key: Vec<u8>,
    kind: Kind,
    /// Left out where it is zero.
    is_optional: bool,
}

impl Json {
    /// All fields, or only `chosen`, which are then written even where they are zero.
    pub(crate) fn new(schema: &Schema, chosen: Option<Vec<Field>>) -> Json {
        let cell = |field: Field, is_optional| Cell {
            key: format!(",\"{}\":", field.name).into_bytes(),
            kind: field.kind,
            is_optional,
        };
        let cells = match chosen {
            Some(chosen) => chosen.into_iter().map(|field| cell(field, false)).collect(),
            None => {
                let always = goflow2().into_iter().map(|field| cell(field, false));
                always.chain(beyond_goflow2(schema).into_iter().map(|field| cell(field, true))).collect()
            }
        };
        Json { cells }
    }

    pub(crate) fn reads(&self, set: &mut ColumnSet) {
        self.cells.iter().for_each(|cell| cell.kind.reads(set));
    }

    pub(crate) fn shows_route(&self) -> bool {
        self.cells.iter().any(|cell| cell.kind == Kind::Route)
    }

    pub(crate) fn write(&self, batch: &Batch, rows: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let cells: Vec<&Cell> = self.cells.iter().filter(|cell| !cell.is_optional || cell.kind.is_in(batch)).collect();
        let why = batch.dead_letter().map(|why| dead_letter(why)).unwrap_or_default();
        for row in rows {
            let start = out.len();
            for cell in &cells {
                if cell.is_optional && is_absent(batch, row, cell.kind) {
                    continue;
                }
                out.extend_from_slice(&cell.key);
                value(batch, row, cell.kind, out);
            }
            out.extend_from_slice(&why);
            match out.get_mut(start) {
                // The first key begins with the comma that separates it from one before.
                Some(comma) => *comma = b'{',
                None => out.push(b'{'),
            }
            out.extend_from_slice(b"}\n");
        }
    }
}

/// `,"dead_letter":{...}`
fn dead_letter(why: &DeadLetter) -> Vec<u8> {
    let object = serde_json::json!({
        "stage": &*why.stage,
        "reason": why.reason,
        "error": why.error,
        "backtrace": why.backtrace,
        "plugin": why.plugin,
        "version": why.version,
        "digest": why.digest,
    });
    format!(",\"dead_letter\":{object}").into_bytes()
}

fn is_absent(batch: &Batch, row: usize, kind: Kind) -> bool {
    match kind {
        Kind::Number(column) | Kind::Time(column) | Kind::Mac(column) => batch.number(column, row) == 0,
        Kind::Address(hi) => batch.addr(hi, row).is_none(),
        Kind::Text(column) => batch.text(column, row).is_empty(),
        Kind::List(column) | Kind::Layers(column) => batch.list(column, row).is_empty(),
        Kind::Route => batch.route(row).is_none(),
        Kind::Network(..) | Kind::FlowType | Kind::Etype | Kind::Proto | Kind::NoList | Kind::NoNumber => false,
    }
}

fn value(batch: &Batch, row: usize, kind: Kind, out: &mut Vec<u8>) {
    match kind {
        Kind::Number(column) | Kind::Time(column) => text::number(out, batch.number(column, row)),
        Kind::NoNumber => out.push(b'0'),
        Kind::NoList => out.extend_from_slice(b"[]"),
        Kind::List(column) => list(batch, row, column, out, |out, number| text::number(out, u64::from(number))),
        Kind::Layers(column) => list(batch, row, column, out, layer),
        Kind::Text(column) => string(out, batch.text(column, row)),
        Kind::Route => string(out, batch.route(row).map_or("", |route| route)),
        Kind::Address(_) | Kind::Network(..) | Kind::Mac(_) | Kind::FlowType | Kind::Etype | Kind::Proto => {
            out.push(b'"');
            named(batch, row, kind, out);
            out.push(b'"');
        }
    }
}

/// Writes what needs no escapes.
fn named(batch: &Batch, row: usize, kind: Kind, out: &mut Vec<u8>) {
    let name_or_number = |out: &mut Vec<u8>, name: Option<&str>, number: u64| match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None if number == 0 => {}
        None => text::number(out, number),
    };
    match kind {
        Kind::Address(hi) => {
            if let Some(addr) = batch.addr(hi, row) {
                text::addr(out, addr);
            }
        }
        Kind::Network(length, hi) => {
            if let Some(addr) = batch.addr(hi, row) {
                network(out, addr, batch.number(length, row));
            }
        }
        Kind::Mac(column) => text::mac(out, batch.number(column, row)),
        Kind::FlowType => {
            let name = sluice_flow::name_of_flow_type(batch.number(col::FLOW_TYPE, row));
            out.extend_from_slice(name.as_bytes());
        }
        Kind::Etype => {
            let etype = batch.number(col::ETYPE, row);
            name_or_number(out, text::ethertype(etype), etype);
        }
        Kind::Proto => {
            let proto = batch.number(col::PROTO, row);
            name_or_number(out, text::protocol(proto), proto);
        }
        _ => {}
    }
}

/// Writes `addr` without its host bits, and the length; a length that the address cannot have
/// leaves the address whole.
fn network(out: &mut Vec<u8>, addr: IpAddr, length: u64) {
    let (addr, length) = match addr {
        IpAddr::V4(v4) => {
            let length = length.min(32) as u32;
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask)), length)
        }
        IpAddr::V6(v6) => {
            let length = length.min(128) as u32;
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)), length)
        }
    };
    text::addr(out, addr);
    out.push(b'/');
    text::number(out, u64::from(length));
}

fn list(batch: &Batch, row: usize, column: ColumnId, out: &mut Vec<u8>, item: impl Fn(&mut Vec<u8>, u32)) {
    out.push(b'[');
    for (position, number) in batch.list(column, row).iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        item(out, *number);
    }
    out.push(b']');
}

fn layer(out: &mut Vec<u8>, number: u32) {
    out.push(b'"');
    match LAYERS.get(number as usize) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => text::number(out, u64::from(number)),
    }
    out.push(b'"');
}

/// Writes text with JSON's escapes, and those of the control characters that JSON allows and a
/// terminal obeys.
fn string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let start = out.len();
    serde_json::to_writer(&mut *out, text).expect("text is JSON, and memory takes it");
    if text.chars().any(|character| ('\u{7f}'..='\u{9f}').contains(&character)) {
        let written = String::from_utf8_lossy(out.get(start..).unwrap_or_default()).into_owned();
        out.truncate(start);
        for character in written.chars() {
            match character {
                '\u{7f}'..='\u{9f}' => write!(out, "\\u{:04x}", u32::from(character)).expect("writing to memory"),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}
