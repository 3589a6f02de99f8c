//! What values hold.

use serde::Deserialize;
use sluice_wire::proto::{Dialect, Framing};

use crate::Invalid;

/// `format` of a Kafka source or sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KafkaFormat {
    /// goflow2's `FlowMessage`, with sluice's additions from number 10000 on.
    Goflow2,
    /// flowpipeline's `EnrichedFlow`.
    Flowpipeline,
    /// The bwNetFlow suite's `FlowMessage`, and flowpipeline's `LegacyEnrichedFlow`.
    Bwnetflow,
    /// One JSON object a line, as goflow2 writes.
    Json,
    /// Whatever the first values are, if all of them agree. For sources.
    Detect,
}

/// `framing` of protobuf values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KafkaFraming {
    /// Each message has its length before it; several may be in one value.
    Delimited,
    /// A value is one message.
    Bare,
}

impl KafkaFormat {
    /// The dialect of protobuf; `None` for what is none, or not known yet.
    pub(crate) fn dialect(self) -> Option<Dialect> {
        match self {
            KafkaFormat::Goflow2 => Some(Dialect::Goflow2),
            KafkaFormat::Flowpipeline => Some(Dialect::Flowpipeline),
            KafkaFormat::Bwnetflow => Some(Dialect::Bwnetflow),
            KafkaFormat::Json | KafkaFormat::Detect => None,
        }
    }

    /// The dialect and framing, `None` where it is not protobuf. To guess a framing would be to lose flows without an error, so
    /// it has to be said.
    ///
    /// # Errors
    /// A framing that is missing, or of no use.
    pub(crate) fn protobuf(self, framing: Option<KafkaFraming>) -> Result<Option<(Dialect, Framing)>, Invalid> {
        match (self.dialect(), framing) {
            (Some(dialect), Some(KafkaFraming::Delimited)) => Ok(Some((dialect, Framing::Delimited))),
            (Some(dialect), Some(KafkaFraming::Bare)) => Ok(Some((dialect, Framing::Bare))),
            (Some(_), None) => {
                let usual = match self {
                    KafkaFormat::Bwnetflow => "\"bare\", as the bwNetFlow suite and flowpipeline's `legacy` write",
                    _ => "\"delimited\", as goflow2 and flowpipeline write",
                };
                Err(Invalid::new("framing", "it is missing", format!("say {usual}, or the other one")))
            }
            (None, Some(_)) => Err(Invalid::new("framing", "it is for protobuf only", "leave it out")),
            (None, None) => Ok(None),
        }
    }
}
