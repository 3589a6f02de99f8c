//! Columns from tables of values: names of interfaces, of autonomous systems, of VLANs, of whatever has a number.

use sluice_sdk::config::nearest;
use sluice_sdk::{
    Batch, ColumnId, Denied, Failure, Field, KeyColumns, Manifest, Others, Reason, Table, Text, Width, address_named,
    column_of, columns,
};

use crate::config::{Config, Name};
use crate::memo;

/// A column, what it is looked up by, and in which table.
#[derive(Debug)]
pub(crate) struct Named {
    /// Where it stands in the configuration.
    at: String,
    name: String,
    table: Table,
    key: KeyColumns,
    column: ColumnId,
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
    fn open(at: String, table: &str, by: KeyColumns, column: ColumnId) -> Result<Named, String> {
        let key = format!("{at}.table");
        // `interfaces.names` is the key itself.
        let key = if at.contains('[') { key.as_str() } else { at.as_str() };
        let (name, table) = (table.to_owned(), memo::open(key, table, by)?);
        Ok(Named { at, name, table, key: by, column })
    }

    /// Writes the column: what the table has under the key of each row, nothing where it has none. Left as it is if
    /// the batch has no column of the key.
    pub(crate) fn write(&self, batch: &mut Batch) -> Result<(), Failure> {
        match self.table.lookup_into(batch, self.key, self.column, None, Others::Blank) {
            Ok(_) => Ok(()),
            // An operator's own columns: what they hold is known only with a batch.
            Err(denied @ Denied { reason: Reason::WrongWidth(_), .. }) => Err(Failure::Fatal(format!(
                "{}: the table `{}` must be one of values, what it is looked up by a number, and `column` one of texts or numbers: {denied}",
                self.at, self.name
            ))),
            Err(denied) => Err(denied.into()),
        }
    }
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
