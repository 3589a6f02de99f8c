//! Keeps TCP flows to port 443 of more than so many bytes, tags them with a customer, and drops the rest.

use serde_json::{Map, Value};
use sluice_sdk::{Batch, Bitmap, Failure, Manifest, Plugin, columns, config, metrics};

const TCP: u8 = 6;
const HTTPS: u16 = 443;

/// The plugin, and what the stage's `config` says.
#[derive(Debug, Default)]
pub struct TenantFilter {
    /// The customer that the flows belong to.
    customer_id: u32,
    /// Flows must be larger than this.
    min_bytes: u64,
}

impl Plugin for TenantFilter {
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        *self = read(&config::parse(config)?)?;
        manifest.read(columns::PROTO).read(columns::DST_PORT).read(columns::BYTES);
        manifest.write(columns::CUSTOMER_ID);
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let proto = batch.get_or_zero(columns::PROTO)?;
        let port = batch.get_or_zero(columns::DST_PORT)?;
        let bytes = batch.get_or_zero(columns::BYTES)?;
        let min_bytes = self.min_bytes;
        let rows = proto.iter().zip(&port).zip(&bytes);
        // `&`, not `&&`: a branch that cannot be foreseen costs more than a comparison.
        let keep: Bitmap = rows
            .map(|((proto, port), bytes)| (*proto == TCP) & (*port == HTTPS) & (*bytes > min_bytes))
            .collect();
        metrics::count("kept", keep.count() as u32);
        batch.keep(&keep)?;
        // Rows that are dropped take their value along.
        batch.set(columns::CUSTOMER_ID, &vec![self.customer_id; batch.rows()])?;
        Ok(())
    }
}

/// Reads `{ customer_id = N, min_bytes = 10000 }`. What is wrong is told in words for who wrote the TOML.
fn read(config: &Map<String, Value>) -> Result<TenantFilter, String> {
    if let Some(key) = config.keys().find(|key| !["customer_id", "min_bytes"].contains(&key.as_str())) {
        return Err(format!("unknown key `{key}`, expected `customer_id` or `min_bytes`"));
    }
    let customer_id = config.get("customer_id");
    let customer_id = customer_id.ok_or("customer_id is missing: add config = { customer_id = 7 } to the stage")?;
    let customer_id = customer_id.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| *id > 0);
    let min_bytes = config.get("min_bytes").map_or(Some(10_000), Value::as_u64);
    Ok(TenantFilter {
        customer_id: customer_id.ok_or("customer_id must be a number from 1 to 4294967295")?,
        min_bytes: min_bytes.ok_or("min_bytes must be a number, 0 or more")?,
    })
}

sluice_sdk::export!(TenantFilter);

#[cfg(test)]
mod tests {
    use sluice_sdk::harness::Harness;

    use super::*;

    #[test]
    fn large_flows_to_https_are_kept_and_tagged() {
        let mut plugin = TenantFilter::default();
        let mut harness = Harness::new()
            .rows(4)
            .column(columns::PROTO, [6, 6, 17, 6])
            .column(columns::DST_PORT, [443, 443, 443, 80])
            .column(columns::BYTES, [20_000, 10_000, 20_000, 20_000]);
        harness.init(&mut plugin, r#"{"customer_id": 7}"#).unwrap();
        harness.run(&mut plugin).unwrap();
        assert_eq!(harness.kept(), [0]);
        assert_eq!(harness.get(columns::CUSTOMER_ID)[0], 7);
        assert_eq!(harness.counter("kept"), 1);
    }

    #[test]
    fn a_mistyped_key_is_an_error_that_names_the_right_ones() {
        let error = Harness::new().init(&mut TenantFilter::default(), r#"{"min_byte": 1}"#).unwrap_err();
        assert_eq!(error, "unknown key `min_byte`, expected `customer_id` or `min_bytes`");
    }
}
