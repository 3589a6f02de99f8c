//! What is between source and sink: stages, of which the first reads the source `edge` and the last is `tenants`.

/// One plugin that may read every column, so that every one is decoded.
pub(crate) const EVERY_COLUMN: &str = r#"
[stages.tenants]
inputs = ["edge"]
plugin = "splitter"
grant = { read = ["*"] }
config = { name = "if-{in_if}", max_routes = 8, default = "other" }
"#;

/// Enricher, DoS detector, reducer (its `mode` for `MODE`) and splitter, with the tables of the load.
pub(crate) const FOUR_PLUGINS: &str = r#"
[tables.customers]
type = "prefix"
path = "customers.csv"
[tables.countries]
type = "prefix"
path = "countries.csv"
[tables.ases]
type = "prefix"
path = "ases.csv"
[keys.secret]
path = "secret.key"

[stages.enrich]
inputs = ["edge"]
plugin = "enricher"
[stages.enrich.config]
customers = { table = "customers" }
direction = { mode = "prefixes", table = "customers" }
country = { table = "countries" }
as = { table = "ases", overwrite = true }
proto_name = true
scale = { fallback_rate = 100 }

# Thresholds that are never reached: what is measured is watching.
[stages.dos]
inputs = ["enrich"]
plugin = "dos-detector"
[stages.dos.config]
protect = "customers"
hosts = { total = { bits = 10_000_000_000_000, packets = 10_000_000_000 }, udp = { packets = 10_000_000_000 }, tcp_syn = { packets = 10_000_000_000 } }
prefixes = [{ v4 = 24, v6 = 48, total = { bits = 100_000_000_000_000 } }]

[stages.anonymise]
inputs = ["dos"]
plugin = "reducer"
config = { mode = MODE }

[stages.tenants]
inputs = ["anonymise"]
plugin = "splitter"
config = { name = "enriched-{customer_id}", max_routes = 256, default = "other" }
"#;
