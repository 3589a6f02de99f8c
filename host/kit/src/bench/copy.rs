//! The plugin that only copies columns, and the one that does nothing.

use sluice_flow::{ColumnSet, Schema, Width};
use sluice_plugin::{ComponentSource, Touched};

/// The core module of `copy.wat`.
const COPY: &[u8] = include_bytes!("copy.wasm");

/// Columns of a kind that it takes.
const MOST_COLUMNS: usize = 128;

/// Where the plugin is.
pub(super) fn component() -> ComponentSource {
    ComponentSource::Embedded { name: "copy", bytes: COPY }
}

/// The configuration with which it reads and writes the columns that another plugin touched.
pub(super) fn config(touched: &Touched, schema: &Schema) -> String {
    let column = |letter: char, columns: ColumnSet| -> String {
        let columns = columns.iter().filter_map(|column| Some((column, code(schema.width(column)?))));
        columns.take(MOST_COLUMNS).map(|(column, width)| format!("{letter}{width}{column:04}")).collect()
    };
    column('r', touched.read) + &column('w', touched.written)
}

fn code(width: Width) -> u8 {
    match width {
        Width::U8 => 0,
        Width::U16 => 1,
        Width::U32 => 2,
        Width::U64 => 3,
        Width::Text => 4,
        Width::Lists => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_what_its_text_says() {
        let text = include_str!("copy.wat");
        let assembled = wat::parse_str(text).unwrap();
        assert!(assembled == COPY, "assemble copy.wat again: its first lines say how");
    }

    #[test]
    fn columns_are_written_as_the_module_reads_them() {
        let schema = Schema::standard();
        let touched = Touched {
            read: [20, 137].into_iter().collect(),
            written: [128].into_iter().collect(),
            refused: ColumnSet::EMPTY,
        };
        assert_eq!(config(&touched, &schema), "r30020r40137w20128");
    }
}
