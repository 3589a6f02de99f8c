//! Rows of a batch as messages: by topic, with a key, several rows in a value.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_flow::{Batch, ColumnId, Schema};
use sluice_wire::proto::{Encoder, Rows};

use super::KafkaSinkConfig;
use super::key::Key;
use crate::Invalid;
use crate::format::{Format, Formatter};
use crate::kafka::{Letter, headers};

/// Bytes at which a value takes no more rows: brokers refuse messages of a megabyte.
const MAX_VALUE: usize = 512 << 10;

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) rows: usize,
    /// As [`headers`] writes them.
    pub(super) headers: &'a [u8],
}

impl Message<'_> {
    /// The message as a dead letter.
    pub(super) fn letter<'a>(&'a self, reason: &'static str, error: &'a str) -> Letter<'a> {
        Letter {
            topic: self.topic,
            partition: -1,
            offset: -1,
            timestamp_ms: None,
            reason,
            error,
            key: self.key,
            value: self.value,
        }
    }
}

/// Rows that have no topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WithoutTopic {
    /// The topic is made of the route, and they have none.
    pub(super) no_route: usize,
    /// There are as many topics as there may be.
    pub(super) too_many: usize,
}

/// Makes messages of rows.
pub(super) struct Packer {
    format: PackFormat,
    key: Key,
    key_columns: Vec<ColumnId>,
    pack: usize,
    is_routed: bool,
    packs: Vec<Pack>,
}

enum PackFormat {
    Protobuf(Encoder),
    Json(Formatter),
}

/// A value that takes further rows.
#[derive(Default)]
struct Pack {
    route: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    rows: usize,
}

impl Packer {
    pub(super) fn new(config: &KafkaSinkConfig, schema: &Schema, is_routed: bool) -> Result<Packer, Invalid> {
        let format = match config.format.protobuf(config.framing)? {
            Some((dialect, framing)) => PackFormat::Protobuf(Encoder::new(dialect, framing)),
            None => PackFormat::Json(Formatter::new(Format::Json, schema, &[])?),
        };
        let key_columns = config.key.columns(schema)?;
        Ok(Packer { format, key: config.key.clone(), key_columns, pack: config.pack, is_routed, packs: Vec::new() })
    }

    /// Gives the messages of a batch to `send`. `topics` are those of the batch's routes, or the only one.
    ///
    /// # Errors
    /// What `send` answers; then the rest is not sent.
    pub(super) fn messages<E>(
        &mut self,
        batch: &Batch,
        topics: &[Option<Arc<str>>],
        mut send: impl FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<WithoutTopic, E> {
        let routes = batch.routes().map(|routes| routes.index.as_slice()).filter(|_| self.is_routed);
        let mut without = WithoutTopic::default();
        let mut rows = match &self.format {
            PackFormat::Protobuf(encoder) => Some(encoder.rows(batch)),
            PackFormat::Json(_) => None,
        };
        // By route. Looked up by a borrowed key: a key is copied once, not once a row.
        let mut by_key: Vec<HashMap<Vec<u8>, usize>> = vec![HashMap::new(); topics.len()];
        let mut key = Vec::new();
        self.packs.clear();
        self.packs.resize_with(topics.len(), Pack::default);
        self.packs.iter_mut().enumerate().for_each(|(route, pack)| pack.route = route);
        let headers = batch.dead_letter().map(|why| headers::of_dead_letter(why)).unwrap_or_default();
        for row in 0..batch.rows() {
            let route = match (self.is_routed, routes.and_then(|routes| routes.get(row))) {
                (false, _) => 0,
                (true, Some(route)) => usize::from(*route),
                (true, None) => {
                    without.no_route += 1;
                    continue;
                }
            };
            let Some(Some(topic)) = topics.get(route) else {
                without.too_many += 1;
                continue;
            };
            let mut at = route;
            if self.key != Key::None {
                self.key.write(batch, &self.key_columns, row, &mut key);
                if self.pack > 1
                    && let Some(packs) = by_key.get_mut(route)
                {
                    at = packs.get(&key).copied().unwrap_or(self.packs.len());
                    if at == self.packs.len() {
                        self.packs.push(Pack { route, key: key.clone(), ..Pack::default() });
                        packs.insert(key.clone(), at);
                    }
                }
            }
            let Some(pack) = self.packs.get_mut(at) else { continue };
            append(&mut self.format, rows.as_mut(), batch, row, &mut pack.value);
            pack.rows += 1;
            if self.pack == 1 {
                std::mem::swap(&mut pack.key, &mut key);
            }
            if pack.rows >= self.pack || pack.value.len() >= MAX_VALUE {
                send(pack.message(topic, &self.key, &self.format, &headers))?;
                pack.value.clear();
                pack.rows = 0;
            }
        }
        for pack in self.packs.iter().filter(|pack| pack.rows > 0) {
            let Some(Some(topic)) = topics.get(pack.route) else { continue };
            send(pack.message(topic, &self.key, &self.format, &headers))?;
        }
        Ok(without)
    }
}

fn append(format: &mut PackFormat, rows: Option<&mut Rows<'_>>, batch: &Batch, row: usize, out: &mut Vec<u8>) {
    match (format, rows) {
        (PackFormat::Json(formatter), _) => formatter.write(batch, row..row + 1, out),
        (PackFormat::Protobuf(_), Some(rows)) => rows.append(row, out),
        (PackFormat::Protobuf(_), None) => {}
    }
}

impl Pack {
    fn message<'a>(&'a self, topic: &'a str, key: &Key, format: &PackFormat, headers: &'a [u8]) -> Message<'a> {
        let value = match format {
            // Between lines, not behind the last.
            PackFormat::Json(_) => self.value.strip_suffix(b"\n").unwrap_or(&self.value),
            PackFormat::Protobuf(_) => &self.value,
        };
        Message { topic, key: (*key != Key::None).then_some(&self.key), value, rows: self.rows, headers }
    }
}

#[cfg(test)]
mod tests {
    use sluice_flow::{DeadLetter, Pool};

    use super::*;

    #[test]
    fn messages_of_dead_letters_have_headers_and_others_have_none() {
        let config = serde_json::json!({
            "brokers": ["localhost:9092"], "topic": "flows", "format": "goflow2", "framing": "delimited", "pack": 2,
        });
        let config: KafkaSinkConfig = serde_json::from_value(config).unwrap();
        let schema = Arc::new(Schema::standard());
        let mut packer = Packer::new(&config, &schema, false).unwrap();
        let mut headers = |batch: &Batch| {
            let mut all = Vec::new();
            let without = packer.messages(batch, &[Some("flows".into())], |message| {
                all.push((message.rows, message.headers.to_vec()));
                Ok::<(), std::convert::Infallible>(())
            });
            assert_eq!(without, Ok(WithoutTopic::default()));
            all
        };
        let mut batch = Batch::new(Arc::clone(&schema), Pool::default(), 3);
        assert_eq!(headers(&batch), [(2, vec![]), (1, vec![])]);
        let why = DeadLetter {
            stage: "tag".into(),
            reason: "trap",
            error: "unreachable".to_owned(),
            backtrace: Vec::new(),
            plugin: "tag".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "00ff".to_owned(),
        };
        let expected = headers::of_dead_letter(&why);
        batch.set_dead_letter(Some(Arc::new(why)));
        assert_eq!(headers(&batch), [(2, expected.clone()), (1, expected)]);
    }
}
