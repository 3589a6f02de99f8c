//! Rows as bytes: JSON lines, a table, a flow dump, protobuf; and rows from JSON.

mod field;
mod flowdump;
mod json;
pub mod json_read;
mod table;
pub(crate) mod text;

use std::ops::Range;

use serde::Deserialize;
use sluice_flow::{Batch, ColumnSet, Schema};
use sluice_wire::proto::{Dialect, Encoder, Framing};

use crate::Invalid;

pub(crate) use field::nearest;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One object a line, as goflow2 writes by default: all its fields with its names and rendering,
    /// then sluice's other columns where they are not zero.
    #[default]
    Json,
    /// Aligned columns under a header that comes again.
    Table,
    /// One line a row for people, like tcpdump.
    Flowdump,
    /// One `sluice.flow.v1.FlowMessage` a row, preceded by its length as a varint: goflow2's `bin`.
    Protobuf,
}

impl Format {
    /// Refuses a choice of fields for a format that has fields of its own.
    pub(crate) fn takes(self, fields: &[String]) -> Result<(), Invalid> {
        match self {
            Format::Flowdump | Format::Protobuf if !fields.is_empty() => {
                let remedy = "leave `fields` out, or use the format json or table";
                Err(Invalid::new("fields", "the format has fields of its own", remedy))
            }
            _ => Ok(()),
        }
    }
}

/// Writes rows in one format. Holds what goes from batch to batch: the width of a table's columns.
#[derive(Debug)]
pub struct Formatter(Inner);

#[derive(Debug)]
enum Inner {
    Json(json::Json),
    Table(table::Table),
    Flowdump,
    /// And the columns of the schema, which are what is read.
    Protobuf(ColumnSet),
}

impl Formatter {
    /// A formatter that shows `fields`, in this order; all of them, or the format's own choice, if none
    /// are named. A field is a column, an address (`src_addr`), a name from goflow2's JSON, or `route`.
    ///
    /// # Errors
    /// A field that does not exist, with the nearest one that does; fields for a format that has fields
    /// of its own.
    pub fn new(format: Format, schema: &Schema, fields: &[String]) -> Result<Formatter, Invalid> {
        format.takes(fields)?;
        let chosen = fields.iter().map(|name| {
            field::of_name(schema, name).ok_or_else(|| {
                let remedy = match field::nearest(schema, name) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "use names of columns".to_owned(),
                };
                Invalid::new("fields", format!("there is no field `{name}`"), remedy)
            })
        });
        let chosen = chosen.collect::<Result<Vec<_>, _>>()?;
        let chosen = (!chosen.is_empty()).then_some(chosen);
        Ok(Formatter(match format {
            Format::Json => Inner::Json(json::Json::new(schema, chosen)),
            Format::Table => {
                // People see the names that they asked for; programs see goflow2's.
                let asked = |(field, name): (field::Field, &String)| field::Field { name: name.clone(), ..field };
                let chosen = chosen.map(|chosen| chosen.into_iter().zip(fields).map(asked).collect());
                Inner::Table(table::Table::new(schema, chosen))
            }
            Format::Flowdump => Inner::Flowdump,
            Format::Protobuf => Inner::Protobuf(schema.all()),
        }))
    }

    /// The columns that are looked at.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        let mut set = ColumnSet::EMPTY;
        match &self.0 {
            Inner::Json(json) => json.reads(&mut set),
            Inner::Table(table) => table.reads(&mut set),
            Inner::Flowdump => set = flowdump::reads(),
            Inner::Protobuf(columns) => set = *columns,
        }
        set
    }

    /// Whether the name of a row's route is written.
    #[must_use]
    pub fn shows_route(&self) -> bool {
        match &self.0 {
            Inner::Json(json) => json.shows_route(),
            Inner::Table(table) => table.shows_route(),
            Inner::Flowdump | Inner::Protobuf(_) => false,
        }
    }

    /// Appends `rows` of `batch` to `out`; rows beyond the last are left out.
    pub fn write(&mut self, batch: &Batch, rows: Range<usize>, out: &mut Vec<u8>) {
        let rows = rows.start..rows.end.min(batch.rows());
        match &mut self.0 {
            Inner::Json(json) => json.write(batch, rows, out),
            Inner::Table(table) => table.write(batch, rows, out),
            Inner::Flowdump => flowdump::write(batch, rows, out),
            Inner::Protobuf(_) => Encoder::new(Dialect::Goflow2, Framing::Delimited).encode(batch, rows, out),
        }
    }
}
