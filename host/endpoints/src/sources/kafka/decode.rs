//! Values to rows, in whatever format.

use std::sync::Arc;

use sluice_flow::{BatchBuilder, ColumnSet, Schema};
use sluice_wire::proto::{self, Decoder};

use crate::Invalid;
use crate::format::json_read::JsonReader;
use crate::kafka::{KafkaFormat, KafkaFraming};

/// Reads values.
pub(super) enum Decode {
    Protobuf(Box<Decoder>),
    Json(Box<JsonReader>),
    /// Not known yet.
    Detect,
}

/// Why a value cannot be read.
#[derive(Debug)]
pub(super) struct Bad {
    /// From a closed set.
    pub(super) reason: &'static str,
    pub(super) error: String,
}

impl Decode {
    pub(super) fn new(
        format: KafkaFormat,
        framing: Option<KafkaFraming>,
        schema: &Arc<Schema>,
        wanted: &ColumnSet,
    ) -> Result<Decode, Invalid> {
        Ok(match (format, format.protobuf(framing)?) {
            (_, Some((dialect, framing))) => Decode::Protobuf(Box::new(Decoder::new(dialect, framing, wanted))),
            (KafkaFormat::Detect, None) => Decode::Detect,
            (_, None) => Decode::Json(Box::new(JsonReader::new(schema))),
        })
    }

    /// Finds out what `values` are; `None` if they do not agree.
    pub(super) fn detect(values: &[&[u8]], schema: &Arc<Schema>, wanted: &ColumnSet) -> Option<(Decode, String)> {
        let is_object = |value: &&[u8]| value.trim_ascii_start().starts_with(b"{");
        if !values.is_empty() && values.iter().all(is_object) {
            return Some((Decode::Json(Box::new(JsonReader::new(schema))), "json".to_owned()));
        }
        let (dialect, framing) = proto::detect(values)?;
        let name = format!("{} {}", dialect.name(), framing.name());
        Some((Decode::Protobuf(Box::new(Decoder::new(dialect, framing, wanted))), name))
    }

    /// From now on fills the columns in `wanted`. JSON is read whole.
    pub(super) fn want(&mut self, wanted: &ColumnSet) {
        if let Decode::Protobuf(decoder) = self {
            **decoder = decoder.wanting(wanted);
        }
    }

    /// Appends the rows of a value to `out`, all of them or none.
    ///
    /// # Errors
    /// Why it has none.
    pub(super) fn value(&mut self, value: &[u8], out: &mut BatchBuilder) -> Result<usize, Bad> {
        match self {
            Decode::Protobuf(decoder) => decoder
                .decode_value(value, out)
                .map_err(|bad| Bad { reason: bad.reason(), error: format!("{bad}: {}", bad.error) }),
            Decode::Json(reader) => reader
                .read(value, out)
                .map(|read| read.rows)
                .map_err(|error| Bad { reason: error.reason(), error: error.to_string() }),
            Decode::Detect => Err(Bad { reason: "unknown_format", error: "the format is not known".to_owned() }),
        }
    }
}
