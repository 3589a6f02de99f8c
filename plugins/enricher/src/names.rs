//! Columns from tables of values: names of interfaces, of autonomous systems, of VLANs, of whatever has a number.

use sluice_sdk::config::nearest;
use sluice_sdk::{
    Batch, Column, ColumnId, Denied, Failure, Field, KeyColumns, Manifest, Number, Reason, Text, Width, address_named,
    column_of, columns,
};

use crate::config::{Config, Name};
use crate::memo::{Numbers, Words};

/// A column, what it is looked up by, and in which table.
#[derive(Debug)]
pub(crate) struct Named {
    /// Where it stands in the configuration.
    at: String,
    table: String,
    key: KeyColumns,
    column: ColumnId,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Texts(Words),
    Numbers(Numbers, Width),
}

/// Everything that `names` and `interfaces` ask for.
pub(crate) fn open(config: &Config, manifest: &mut Manifest) -> Result<Vec<Named>, String> {
    let mut all: Vec<Named> = Vec::new();
    let mut add = |named: Named| {
        if let Some(other) = all.iter().find(|other| other.column == named.column) {
            return Err(format!("`{}` and `{}` write the same column; leave one out", other.at, named.at));
        }
        manifest.read(named.key).write(Text::new(named.column));
        all.push(named);
        Ok(())
    };
    if let Some(interfaces) = &config.interfaces {
        let parts = [
            ("interfaces.names", &interfaces.names, [columns::SRC_IF_NAME.id(), columns::DST_IF_NAME.id()]),
            (
                "interfaces.descriptions",
                &interfaces.descriptions,
                [columns::SRC_IF_DESC.id(), columns::DST_IF_DESC.id()],
            ),
            ("interfaces.speeds", &interfaces.speeds, [columns::SRC_IF_SPEED.id(), columns::DST_IF_SPEED.id()]),
        ];
        for (at, table, sides) in parts {
            let Some(table) = table else { continue };
            for (column, index) in sides.into_iter().zip([columns::IN_IF, columns::OUT_IF]) {
                let key = KeyColumns::addressed(columns::EXPORTER_ADDR, index.id());
                add(Named::open(at.to_owned(), table, key, column)?)?;
            }
        }
    }
    for (number, Name { table, key, column }) in config.names.iter().enumerate() {
        let at = format!("names[{number}]");
        let key = key_of(&format!("{at}.key"), key)?;
        let column = written(&format!("{at}.column"), column)?;
        add(Named::open(at, table, key, column)?)?;
    }
    Ok(all)
}

impl Named {
    fn open(at: String, table: &str, key: KeyColumns, column: ColumnId) -> Result<Named, String> {
        // What an operator's own column holds is known only with a batch.
        let width = Field::numbered(column).map_or(Width::Text, |field| field.width);
        let values = Values::open(&at, table, key, width)?;
        Ok(Named { at, table: table.to_owned(), key, column, values })
    }

    /// Writes the column: what the table has under the key of each row, nothing where it has none. Left as it is if
    /// the batch has no column of the key.
    pub(crate) fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let Err(denied) = self.values.write(batch, self.key, self.column) else { return Ok(()) };
        match denied.reason {
            // An operator's own column that is none of text.
            Reason::WrongWidth(width)
                if denied.column == Some(self.column) && matches!(self.values, Values::Texts(_)) =>
            {
                self.values = Values::open(&self.at, &self.table, self.key, width).map_err(Failure::Fatal)?;
                Ok(self.values.write(batch, self.key, self.column)?)
            }
            Reason::WrongWidth(_) => Err(Failure::Fatal(format!(
                "{}: the table `{}` must be one of values, and what it is looked up by a number: {denied}",
                self.at, self.table
            ))),
            _ => Err(denied.into()),
        }
    }
}

impl Values {
    fn open(at: &str, table: &str, by: KeyColumns, width: Width) -> Result<Values, String> {
        let key = format!("{at}.table");
        // `interfaces.names` is the key itself.
        let key = if at.contains('[') { key.as_str() } else { at };
        let max = match width {
            Width::Text => return Words::open(key, table, by).map(Values::Texts),
            Width::U8 => u8::MAX.into(),
            Width::U16 => u16::MAX.into(),
            Width::U32 | Width::U64 | Width::Lists => u32::MAX,
        };
        Ok(Values::Numbers(Numbers::open(key, table, by)?.up_to(max), width))
    }

    fn write(&mut self, batch: &mut Batch, key: KeyColumns, column: ColumnId) -> Result<(), Denied> {
        match self {
            Values::Texts(words) => {
                words.begin();
                let Some(mut codes) = words.table.find_keys(batch, key)? else { return Ok(()) };
                words.resolve(&mut codes);
                batch.set_texts(Text::new(column), words.words(), &codes)
            }
            Values::Numbers(numbers, width) => {
                numbers.begin();
                let Some(mut codes) = numbers.table.find_keys(batch, key)? else { return Ok(()) };
                numbers.resolve(&mut codes);
                match width {
                    Width::U8 => narrowed(batch, column, &codes, |value| value as u8),
                    Width::U16 => narrowed(batch, column, &codes, |value| value as u16),
                    Width::U32 => batch.set(Column::<u32>::new(column), &codes),
                    Width::U64 => narrowed(batch, column, &codes, u64::from),
                    Width::Text | Width::Lists => Err(Denied::of(column, Reason::WrongWidth(*width))),
                }
            }
        }
    }
}

/// Writes numbers in the width of their column, where they have room: larger ones were never learned.
fn narrowed<T: Number>(
    batch: &mut Batch,
    column: ColumnId,
    values: &[u32],
    of: impl Fn(u32) -> T,
) -> Result<(), Denied> {
    let values: Vec<T> = values.iter().map(|value| of(*value)).collect();
    batch.set(Column::<T>::new(column), &values)
}

fn key_of(at: &str, names: &[String]) -> Result<KeyColumns, String> {
    match names {
        [name] => Ok(match address_named(name) {
            Some(address) => KeyColumns::address(*address),
            None => KeyColumns::number(number(at, name)?),
        }),
        [first, second] => {
            let second = number(at, second)?;
            Ok(match address_named(first) {
                Some(address) => KeyColumns::addressed(*address, second),
                None => KeyColumns::numbers(number(at, first)?, second),
            })
        }
        _ => Err(format!(
            "`{at}` has {} columns; it is one, or two, e.g. [\"vlan_id\"] or [\"exporter_addr\", \"in_if\"]",
            names.len()
        )),
    }
}

/// The column called `name`, if it has a number a row, as far as can be known before there is a batch.
fn number(at: &str, name: &str) -> Result<ColumnId, String> {
    if address_named(name).is_some() {
        return Err(format!("`{at}`: the address `{name}` comes first, and one number after it"));
    }
    let id = find(at, name)?;
    match Field::numbered(id) {
        Some(field) if matches!(field.width, Width::Text | Width::Lists) => {
            Err(format!("`{at}`: `{name}` holds {}; use a number or an address", field.width.name()))
        }
        _ => Ok(id),
    }
}

/// The column called `name`, if a text or a number can be written into it.
fn written(at: &str, name: &str) -> Result<ColumnId, String> {
    if address_named(name).is_some() {
        return Err(format!("`{at}`: `{name}` is an address; use a text or a number"));
    }
    let id = find(at, name)?;
    match Field::numbered(id) {
        Some(field) if field.width == Width::Lists => {
            Err(format!("`{at}`: `{name}` holds lists; use a text or a number"))
        }
        _ => Ok(id),
    }
}

fn find(at: &str, name: &str) -> Result<ColumnId, String> {
    if let Some(address) = name.strip_suffix("_hi").or_else(|| name.strip_suffix("_lo")).and_then(address_named) {
        return Err(format!("`{at}`: `{name}` is half of the address `{}`", address.name));
    }
    column_of(name).ok_or_else(|| {
        let names = columns::STANDARD.iter().map(|field| field.name);
        let near = nearest(name, names.chain(columns::ADDRESSES.iter().map(|address| address.name)));
        let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        format!("`{at}`: there is no column `{name}`{hint}")
    })
}
