//! The keys of the stage's `config` table.

use serde::Deserialize;

/// `[stages.NAME.config]` of the plugin `enricher`. Each part is on only when it is there; the plugin
/// asks for no column and no table of the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Customers of both sides by prefix, e.g. `{ table = "customers" }`.
    pub customers: Option<Customers>,
    /// Direction and remote side, e.g. `{ mode = "border" }`.
    pub direction: Option<Direction>,
    /// Countries of both sides, e.g. `{ table = "country" }`.
    pub country: Option<Country>,
    /// Autonomous systems of both sides, e.g. `{ table = "asn", names = "as-names" }`.
    #[serde(rename = "as")]
    pub autonomous_system: Option<AutonomousSystem>,
    /// Whether to write `proto_name`. Default false.
    #[serde(default)]
    pub proto_name: bool,
    /// Counters multiplied by the sampling rate, e.g. `{ fallback_rate = 1000 }`, or `{}`.
    pub scale: Option<Scale>,
    /// Names, descriptions and speeds of interfaces, e.g. `{ names = "if-names", speeds = "if-speeds" }`.
    pub interfaces: Option<Interfaces>,
    /// Columns from tables of values, e.g. `[{ table = "sites", key = ["vlan_id"], column = "site" }]`.
    #[serde(default)]
    pub names: Vec<Name>,
}

/// `customers`: writes `src_customer_id`, `dst_customer_id` and `customer_id`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customers {
    /// Name of a prefix table whose values are customer numbers (1 to 4294967295). Required.
    pub table: String,
    /// Whether to drop rows of which neither address belongs to a customer. Default false.
    #[serde(default)]
    pub drop_unmatched: bool,
}

/// `direction`: writes `direction` and `remote_side`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// What decides. Required.
    pub mode: DirectionMode,
    /// Name of the table of local prefixes (any values), for `mode = "prefixes"` only.
    pub table: Option<String>,
    /// Whether to drop rows whose direction is unknown. Default false.
    #[serde(default)]
    pub drop_unmatched: bool,
}

/// What decides about the direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectionMode {
    /// Flows are exported where the network meets others: ingress comes in, its source is remote.
    Border,
    /// Flows are exported where the network meets its users: ingress goes out, its destination is remote.
    User,
    /// An address in a table of prefixes is local, any other remote.
    Prefixes,
}

/// `country`: writes `src_country`, `dst_country`, and `remote_country` where the remote side is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Country {
    /// Name of a table whose values are country codes, e.g. of MMDB field `country.iso_code`. Required.
    pub table: String,
    /// Whether to drop rows of which neither address has a country. Default false.
    #[serde(default)]
    pub drop_unmatched: bool,
}

/// `as`: writes `src_as` and `dst_as`, and with `names` also `src_as_name` and `dst_as_name`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutonomousSystem {
    /// Name of a table whose values are numbers (`64500` or `AS64500`), e.g. of MMDB field `autonomous_system_number`.
    pub table: Option<String>,
    /// Name of a table whose values are organisations, e.g. of MMDB field `autonomous_system_organization`.
    pub names: Option<String>,
    /// Whether the table's number replaces one that the exporter gave. Default false.
    #[serde(default)]
    pub overwrite: bool,
}

/// `scale`: writes `scaled_bytes` and `scaled_packets`; `bytes` and `packets` stay as exported.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Sampling rate of rows that come without one. Default 1.
    #[serde(default = "default_fallback_rate")]
    pub fallback_rate: u64,
}

/// `interfaces`: writes what tables of values have under the exporter's address and an interface index, for `in_if` into the
/// columns of the source, for `out_if` into those of the destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interfaces {
    /// Name of the table of names, e.g. `ge-0/0/3`; for `src_if_name` and `dst_if_name`.
    pub names: Option<String>,
    /// Name of the table of descriptions, e.g. `transit`; for `src_if_desc` and `dst_if_desc`.
    pub descriptions: Option<String>,
    /// Name of the table of speeds in Mbit/s, e.g. `10000`; for `src_if_speed` and `dst_if_speed`.
    pub speeds: Option<String>,
}

/// One of `names`: writes what a table of values has under a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// Name of the table. Required.
    pub table: String,
    /// What it is looked up by: a number or an address, or a number after either of them, e.g. `["src_as"]`. Required.
    pub key: Vec<String>,
    /// The column that is written, text or a number; an operator's own does as well. Required.
    pub column: String,
}

fn default_fallback_rate() -> u64 {
    1
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Which key is wrong, and what would be right.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if let Some(direction) = &self.direction {
            match (direction.mode, &direction.table) {
                (DirectionMode::Prefixes, None) => {
                    return Err(
                        "`direction.table` is missing: mode \"prefixes\" needs the table of local prefixes".into()
                    );
                }
                (DirectionMode::Border | DirectionMode::User, Some(_)) => {
                    return Err("`direction.table` is for mode \"prefixes\"; leave it out, or set that mode".into());
                }
                _ => {}
            }
        }
        if let Some(system) = &self.autonomous_system {
            if system.table.is_none() && system.names.is_none() {
                return Err("`as` does nothing; set `as.table`, `as.names` or both".into());
            }
            if system.overwrite && system.table.is_none() {
                return Err("`as.overwrite` is for the numbers of `as.table`; set it, or leave `overwrite` out".into());
            }
        }
        if self.scale.as_ref().is_some_and(|scale| scale.fallback_rate == 0) {
            return Err("`scale.fallback_rate`: 0 would make every counter 0; use 1 for unsampled exporters".into());
        }
        if let Some(Interfaces { names: None, descriptions: None, speeds: None }) = self.interfaces {
            return Err(
                "`interfaces` does nothing; set `names`, `descriptions` or `speeds` to a table of values".into()
            );
        }
        let something = self.customers.is_some()
            || self.direction.is_some()
            || self.country.is_some()
            || self.autonomous_system.is_some()
            || self.proto_name
            || self.scale.is_some()
            || self.interfaces.is_some()
            || !self.names.is_empty();
        if !something {
            return Err("nothing to do; set one of `customers`, `direction`, `country`, `as`, `proto_name`, `scale`, \
                        `interfaces` and `names`"
                .into());
        }
        Ok(())
    }
}
