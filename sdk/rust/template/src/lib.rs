//! Keeps TCP flows to port 443 of more than 10 kB, drops the rest and counts what it kept.

use serde::Deserialize;
use sluice_sdk::{Batch, Bitmap, Failure, Manifest, Plugin, columns, config, metrics};

const TCP: u8 = 6;

/// The stage's `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Flows must be larger than this many bytes. Default 10000.
    pub min_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { min_bytes: 10_000 }
    }
}

/// The plugin.
#[derive(Debug, Default)]
pub struct KeepLargeHttps {
    config: Config,
}

impl Plugin for KeepLargeHttps {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        self.config = config::parse(config)?;
        manifest.read(columns::PROTO).read(columns::DST_PORT).read(columns::BYTES);
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let proto = batch.get_or_zero(columns::PROTO)?;
        let port = batch.get_or_zero(columns::DST_PORT)?;
        let bytes = batch.get_or_zero(columns::BYTES)?;
        let keep = Bitmap::from_fn(batch.rows(), |row| {
            proto[row] == TCP && port[row] == 443 && bytes[row] > self.config.min_bytes
        });
        metrics::count("kept", keep.count() as u32);
        batch.keep(&keep)?;
        Ok(())
    }
}

sluice_sdk::export!(KeepLargeHttps);

#[cfg(test)]
mod tests {
    use sluice_sdk::harness::Harness;

    use super::*;

    #[test]
    fn only_large_flows_to_https_stay() {
        let mut plugin = KeepLargeHttps::default();
        let mut harness = Harness::new()
            .rows(4)
            .column(columns::PROTO, [6, 6, 17, 6])
            .column(columns::DST_PORT, [443, 443, 443, 80])
            .column(columns::BYTES, [20_000, 10_000, 20_000, 20_000]);
        harness.init(&mut plugin, "{}").unwrap();
        harness.run(&mut plugin).unwrap();
        assert_eq!(harness.kept(), [0]);
        assert_eq!(harness.counter("kept"), 1);
    }

    #[test]
    fn a_mistyped_key_is_an_error_that_names_the_right_one() {
        let error = Harness::new().init(&mut KeepLargeHttps::default(), r#"{"min_byte": 1}"#).unwrap_err();
        assert_eq!(error, "unknown field `min_byte`, expected `min_bytes`; did you mean `min_bytes`?");
    }
}
