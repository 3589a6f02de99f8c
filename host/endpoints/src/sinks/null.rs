//! The sink that takes everything: for measurements, and to see a pipeline's metrics alone.

use serde::Deserialize;
use sluice_flow::{Batch, ColumnSet};
use sluice_pipeline::{Sink, SinkError};

/// `[sinks.NAME]` with `type = "null"`: counts rows and forgets them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NullConfig {}

impl NullConfig {
    /// The columns that the sink reads: none, so what no stage reads need not be decoded.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        ColumnSet::EMPTY
    }
}

/// Takes every batch at once. Its account, kept by the pipeline, is all that it leaves.
#[derive(Debug, Default)]
pub struct NullSink;

impl Sink for NullSink {
    async fn write(&mut self, _: &Batch) -> Result<(), SinkError> {
        Ok(())
    }

    async fn close(self) -> Result<(), SinkError> {
        Ok(())
    }
}
