//! Rows as a table for people: aligned columns, the header again every [`HEADER_EVERY`] lines, rows
//! of one route together.

use sluice_flow::{Batch, ColumnSet, Schema, col};

use super::field::{Field, Kind, LAYERS, of_name};
use super::text;

/// Lines between two headers.
const HEADER_EVERY: usize = 40;
/// Characters of a cell that are shown; a longer text is cut, so that one note cannot tear the table.
const WIDEST: usize = 48;
/// What is shown unless fields are chosen; those that a batch has no column for are left out.
const DEFAULT: &[&str] = &[
    "route",
    "customer_id",
    "last_ns",
    "exporter_addr",
    "src_addr",
    "src_port",
    "dst_addr",
    "dst_port",
    "proto",
    "bytes",
    "packets",
    "sampling_rate",
    "src_country",
    "dst_country",
    "note",
];

/// Writes rows as a table.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    is_default: bool,
    /// Which cells the last header had.
    shown: Vec<bool>,
    until_header: usize,
}

#[derive(Debug)]
struct Cell {
    name: String,
    kind: Kind,
    width: usize,
}

impl Cell {
    fn new(name: &str, kind: Kind) -> Cell {
        Cell { name: name.to_uppercase(), kind, width: name.chars().count() }
    }
}

impl Table {
    pub(crate) fn new(schema: &Schema, chosen: Option<Vec<Field>>) -> Table {
        let is_default = chosen.is_none();
        let fields = chosen.unwrap_or_else(|| {
            let field = |name: &&str| Some(Field { name: (*name).to_owned(), ..of_name(schema, name)? });
            DEFAULT.iter().filter_map(field).collect()
        });
        let cells = fields.into_iter().map(|field| match field.kind {
            // Nobody reads nanoseconds since 1970.
            Kind::Number(column @ (col::RECEIVED_NS | col::FIRST_NS | col::LAST_NS)) => {
                Cell::new(field.name.trim_end_matches("_ns"), Kind::Time(column))
            }
            kind => Cell::new(&field.name, kind),
        });
        Table { cells: cells.collect(), is_default, shown: Vec::new(), until_header: 0 }
    }

    pub(crate) fn reads(&self, set: &mut ColumnSet) {
        self.cells.iter().for_each(|cell| cell.kind.reads(set));
    }

    pub(crate) fn shows_route(&self) -> bool {
        self.cells.iter().any(|cell| cell.kind == Kind::Route)
    }

    pub(crate) fn write(&mut self, batch: &Batch, rows: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let mut order: Vec<usize> = rows.collect();
        order.sort_by_key(|row| batch.route(*row));
        let shown: Vec<bool> = self.cells.iter().map(|cell| !self.is_default || cell.kind.is_in(batch)).collect();

        // Cells first: a table is as wide as its widest cell.
        let mut written = Vec::new();
        let mut ends = Vec::new();
        let mut is_wider = false;
        for row in &order {
            for (cell, _) in self.cells.iter_mut().zip(&shown).filter(|(_, shown)| **shown) {
                let start = written.len();
                value(batch, *row, cell.kind, &mut written);
                let width = cut(&mut written, start);
                is_wider |= width > cell.width;
                cell.width = cell.width.max(width);
                ends.push((written.len(), width));
            }
        }
        if is_wider || self.shown != shown {
            self.until_header = 0;
            self.shown = shown;
        }

        // Behind the last column, which it has no header for: only rows that nobody could process have it.
        let why = batch.dead_letter().map(|why| format!("✗ {why}")).unwrap_or_default();
        let mut start = 0;
        let mut ends = ends.into_iter();
        for _ in order {
            if self.until_header == 0 {
                self.until_header = HEADER_EVERY;
                self.header(out);
            }
            self.until_header -= 1;
            for (cell, _) in self.cells.iter().zip(&self.shown).filter(|(_, shown)| **shown) {
                let Some((end, width)) = ends.next() else { break };
                pad(out, cell, width, written.get(start..end).unwrap_or_default());
                start = end;
            }
            out.extend_from_slice(why.as_bytes());
            end_line(out);
        }
    }

    fn header(&self, out: &mut Vec<u8>) {
        for (cell, _) in self.cells.iter().zip(&self.shown).filter(|(_, shown)| **shown) {
            pad(out, cell, cell.name.chars().count(), cell.name.as_bytes());
        }
        end_line(out);
    }
}

/// Appends a cell and two blanks: numbers to the right, everything else to the left.
fn pad(out: &mut Vec<u8>, cell: &Cell, width: usize, content: &[u8]) {
    let blanks = cell.width.saturating_sub(width);
    if matches!(cell.kind, Kind::Number(_) | Kind::NoNumber) {
        out.extend(std::iter::repeat_n(b' ', blanks));
        out.extend_from_slice(content);
        out.extend_from_slice(b"  ");
    } else {
        out.extend_from_slice(content);
        out.extend(std::iter::repeat_n(b' ', blanks + 2));
    }
}

fn end_line(out: &mut Vec<u8>) {
    while out.last() == Some(&b' ') {
        out.pop();
    }
    out.push(b'\n');
}

/// Cuts the cell that begins at `start` to [`WIDEST`] and returns its width in characters.
fn cut(written: &mut Vec<u8>, start: usize) -> usize {
    let content = String::from_utf8_lossy(written.get(start..).unwrap_or_default());
    let width = content.chars().count();
    if width <= WIDEST {
        return width;
    }
    let short: String = content.chars().take(WIDEST - 1).chain(['…']).collect();
    written.truncate(start);
    written.extend_from_slice(short.as_bytes());
    WIDEST
}

fn value(batch: &Batch, row: usize, kind: Kind, out: &mut Vec<u8>) {
    let start = out.len();
    let name_or_number = |out: &mut Vec<u8>, name: Option<&str>, number: u64| match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => text::number(out, number),
    };
    match kind {
        Kind::Number(column) => text::number(out, batch.number(column, row)),
        Kind::NoNumber => out.push(b'0'),
        Kind::Time(column) => text::time_of_day(out, batch.number(column, row)),
        Kind::Address(hi) => batch.addr(hi, row).into_iter().for_each(|addr| text::addr(out, addr)),
        Kind::Network(length, _) => {
            out.push(b'/');
            text::number(out, batch.number(length, row));
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
        Kind::Text(column) => text::shown(out, batch.text(column, row)),
        Kind::Route => text::shown(out, batch.route(row).map_or("", |route| route)),
        Kind::List(column) => {
            for (position, number) in batch.list(column, row).iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                text::number(out, u64::from(*number));
            }
        }
        Kind::Layers(column) => {
            for (position, number) in batch.list(column, row).iter().enumerate() {
                if position > 0 {
                    out.push(b'/');
                }
                name_or_number(out, LAYERS.get(*number as usize).copied(), u64::from(*number));
            }
        }
        Kind::NoList => {}
    }
    if out.len() == start {
        out.push(b'-');
    }
}
