//! Keys of values.

use serde::Deserialize;
use serde::de::{Error, SeqAccess, Visitor};
use sluice_flow::{Batch, ColumnId, Schema, Width, col};

use crate::Invalid;
use crate::format::nearest;

/// `key` of a Kafka sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// None: values go to partitions as librdkafka likes.
    #[default]
    None,
    /// The exporter's address: 4 or 16 bytes.
    Exporter,
    /// A hash of addresses, ports and protocol: 8 bytes.
    FiveTuple,
    /// Columns, as text with `|` between.
    Columns(Vec<String>),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"none\", \"exporter\", \"five-tuple\" or a list of columns")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                match text {
                    "none" => Ok(Key::None),
                    "exporter" => Ok(Key::Exporter),
                    "five-tuple" => Ok(Key::FiveTuple),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Key, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = list.next_element()? {
                    columns.push(column);
                }
                Ok(Key::Columns(columns))
            }
        }
        deserializer.deserialize_any(Keys)
    }
}

impl Key {
    /// The columns that the key is made of; the high half stands for an address.
    ///
    /// # Errors
    /// A name that is no column.
    pub(super) fn columns(&self, schema: &Schema) -> Result<Vec<ColumnId>, Invalid> {
        match self {
            Key::None => Ok(Vec::new()),
            Key::Exporter => Ok(vec![col::EXPORTER_ADDR_HI, col::EXPORTER_ADDR_LO]),
            Key::FiveTuple => Ok(FIVE_TUPLE.to_vec()),
            Key::Columns(names) if names.is_empty() => {
                Err(Invalid::new("key", "the list is empty", "name a column, or use \"none\""))
            }
            Key::Columns(names) => {
                let mut columns = Vec::new();
                for name in names {
                    let Some(found) = schema.columns(name) else {
                        let near = nearest(schema, name).map(|near| format!("did you mean `{near}`?"));
                        let remedy = near.unwrap_or_else(|| "use names of columns".to_owned());
                        return Err(Invalid::new("key", format!("there is no column `{name}`"), remedy));
                    };
                    columns.extend(found);
                }
                Ok(columns)
            }
        }
    }

    /// Replaces `out` by the key of a row. `columns` are those of [`columns`](Self::columns).
    pub(super) fn write(&self, batch: &Batch, columns: &[ColumnId], row: usize, out: &mut Vec<u8>) {
        use std::io::Write;
        out.clear();
        match self {
            Key::None => {}
            Key::Exporter => match batch.addr(col::EXPORTER_ADDR_HI, row) {
                Some(std::net::IpAddr::V4(addr)) => out.extend_from_slice(&addr.octets()),
                Some(std::net::IpAddr::V6(addr)) => out.extend_from_slice(&addr.octets()),
                None => {}
            },
            Key::FiveTuple => {
                let hash = FIVE_TUPLE.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, column| {
                    let mixed = (hash ^ batch.number(*column, row)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    mixed ^ mixed >> 29
                });
                out.extend_from_slice(&hash.to_be_bytes());
            }
            Key::Columns(_) => {
                for (at, column) in columns.iter().enumerate() {
                    if at > 0 {
                        out.push(b'|');
                    }
                    if batch.schema().width(*column) == Some(Width::Text) {
                        out.extend_from_slice(batch.text(*column, row).as_bytes());
                    } else {
                        write!(out, "{}", batch.number(*column, row)).expect("a Vec takes everything");
                    }
                }
            }
        }
    }
}

const FIVE_TUPLE: [ColumnId; 7] =
    [col::SRC_ADDR_HI, col::SRC_ADDR_LO, col::DST_ADDR_HI, col::DST_ADDR_LO, col::SRC_PORT, col::DST_PORT, col::PROTO];
