//! The keys of the stage's `config` table, and what follows from them.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice_sdk::config::nearest;
use sluice_sdk::{Address, ColumnId, Field, address_named, column_of, columns};

const DEFAULT_MASK_V4: u8 = 24;
const DEFAULT_MASK_V6: u8 = 48;

/// `[stages.NAME.config]` of the plugin `reducer`. At least one of `keep`, `drop` and `mode` (or
/// `per_field`) says what to do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The fields that stay; every other standard column is cleared. An address is named as a pair,
    /// e.g. `["src_addr", "dst_addr", "bytes", "packets", "proto"]`. Not together with `drop`.
    pub keep: Option<Vec<String>>,
    /// The fields that are cleared, e.g. `["src_mac", "dst_mac"]`. Not together with `keep`.
    pub drop: Option<Vec<String>>,
    /// With `keep`: own columns (those that the collector's TOML adds) to clear as well. A plugin
    /// cannot see which there are, so `keep` alone leaves them.
    pub drop_own: Option<Vec<String>>,
    /// How addresses are anonymised. Default: not at all.
    pub mode: Option<Mode>,
    /// Leading bits of an IPv4 address that truncation leaves, 0 to 32. Default 24.
    pub mask_v4: Option<u8>,
    /// Leading bits of an IPv6 address that truncation leaves, 0 to 128. Default 48: a /64 is one household's network.
    pub mask_v6: Option<u8>,
    /// Name of the key, `[keys.NAME]` in the collector's TOML, for every mode but `truncate`.
    pub key: Option<String>,
    /// The addresses that `mode` is for. Default: every address column there is.
    pub fields: Option<Vec<String>>,
    /// Other settings for single addresses, e.g. `{ next_hop = { mode = "truncate", mask_v4 = 16 } }`.
    #[serde(default)]
    pub per_field: BTreeMap<String, PerField>,
}

/// Settings of one address. What is left out is as in the table above it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerField {
    /// How this address is anonymised; `"none"` leaves it as it is.
    pub mode: Option<Mode>,
    /// Leading bits that truncation leaves of an IPv4 address.
    pub mask_v4: Option<u8>,
    /// Leading bits that truncation leaves of an IPv6 address.
    pub mask_v6: Option<u8>,
    /// Name of the key.
    pub key: Option<String>,
}

/// How an address is anonymised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// Not at all.
    #[serde(rename = "none")]
    None,
    /// Prefix-preserving encryption: addresses with a common prefix keep one of that length.
    #[serde(rename = "crypto-pan")]
    CryptoPan,
    /// The bits after the mask become 0.
    #[serde(rename = "truncate")]
    Truncate,
    /// Truncated, then Crypto-PAn.
    #[serde(rename = "truncate+crypto-pan")]
    TruncateCryptoPan,
    /// The first bits of HMAC-SHA-256: no structure is left.
    #[serde(rename = "hash")]
    Hash,
}

/// How one address is to be anonymised.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) mode: Mode,
    pub(crate) mask_v4: u8,
    pub(crate) mask_v6: u8,
    /// Name of the key; there for every mode but `truncate`.
    pub(crate) key: Option<String>,
}

impl How {
    /// Leading bits of an IPv4 and of another address that truncation leaves, if it is truncated.
    pub(crate) fn truncates(&self) -> Option<(u8, u8)> {
        matches!(self.mode, Mode::Truncate | Mode::TruncateCryptoPan).then_some((self.mask_v4, self.mask_v6))
    }
}

/// What the configuration comes down to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) clear: Vec<ColumnId>,
    pub(crate) anonymize: Vec<(Address, How)>,
}

/// What a name in a list of fields means.
enum Named {
    Address(Address),
    Column(ColumnId),
}

impl Config {
    /// Checks the keys against each other and resolves the names.
    ///
    /// # Errors
    /// Which key is wrong, and what would be right.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let clear = self.clear()?;
        let mut anonymize = Vec::new();
        for name in self.fields.iter().flatten().chain(self.per_field.keys()) {
            let key = if self.per_field.contains_key(name) { "per_field" } else { "fields" };
            address(key, name)?;
        }
        if self.fields.is_some() && self.mode.is_none() {
            return Err("`fields` without `mode` does nothing; set `mode`, e.g. to \"crypto-pan\"".into());
        }
        for candidate in columns::ADDRESSES {
            // What is dropped needs no anonymisation.
            if clear.contains(&candidate.hi.id()) {
                continue;
            }
            if let Some(how) = self.how(candidate)? {
                anonymize.push((*candidate, how));
            }
        }
        if self.keep.is_none() && self.drop.is_none() && anonymize.is_empty() {
            return Err("nothing to do; set `keep`, `drop` or `mode`".into());
        }
        Ok(Plan { clear, anonymize })
    }

    fn how(&self, address: &Address) -> Result<Option<How>, String> {
        let own = self.per_field.get(address.name);
        let listed = self.fields.as_ref().is_none_or(|fields| fields.iter().any(|name| name == address.name));
        let default = self.mode.filter(|_| listed);
        let Some(mode) = own.and_then(|own| own.mode).or(default).filter(|mode| *mode != Mode::None) else {
            return Ok(None);
        };
        let place =
            |key: &str, of_own: bool| if of_own { format!("per_field.{}.{key}", address.name) } else { key.into() };
        let own_v4 = own.and_then(|own| own.mask_v4);
        let own_v6 = own.and_then(|own| own.mask_v6);
        let mask_v4 = own_v4.or(self.mask_v4).unwrap_or(DEFAULT_MASK_V4);
        let mask_v6 = own_v6.or(self.mask_v6).unwrap_or(DEFAULT_MASK_V6);
        if mask_v4 > 32 {
            return Err(format!(
                "`{}`: an IPv4 address has 32 bits, not {mask_v4}",
                place("mask_v4", own_v4.is_some())
            ));
        }
        if mask_v6 > 128 {
            return Err(format!(
                "`{}`: an IPv6 address has 128 bits, not {mask_v6}",
                place("mask_v6", own_v6.is_some())
            ));
        }
        let key = own.and_then(|own| own.key.clone()).or_else(|| self.key.clone());
        if key.is_none() && mode != Mode::Truncate {
            return Err(format!(
                "`key` is missing: {} is anonymised with a key; name one of `[keys.NAME]`, or use mode \"truncate\"",
                address.name
            ));
        }
        Ok(Some(How { mode, mask_v4, mask_v6, key }))
    }

    /// The columns to clear, ascending.
    fn clear(&self) -> Result<Vec<ColumnId>, String> {
        let mut clear = match (&self.keep, &self.drop) {
            (Some(_), Some(_)) => return Err("`keep` and `drop` are two ways to say the same; use one".into()),
            (None, None) => Vec::new(),
            (None, Some(drop)) => {
                let mut clear = Vec::new();
                for name in drop {
                    match named("drop", name)? {
                        Named::Column(id) => clear.push(id),
                        // The record of an anonymisation goes with its address.
                        Named::Address(address) => clear.extend(all_of(&address)),
                    }
                }
                clear
            }
            (Some(keep), None) => {
                let mut kept = Vec::new();
                for name in keep {
                    match named("keep", name)? {
                        Named::Column(id) => kept.push(id),
                        Named::Address(address) => kept.extend(all_of(&address)),
                    }
                }
                columns::STANDARD.iter().map(|field| field.number).filter(|id| !kept.contains(id)).collect()
            }
        };
        if let Some(own) = &self.drop_own {
            if self.keep.is_none() {
                return Err("`drop_own` is for `keep`; with `drop`, list own columns there".into());
            }
            for name in own {
                match named("drop_own", name)? {
                    Named::Column(id) if Field::numbered(id).is_none() => clear.push(id),
                    _ => {
                        return Err(format!(
                            "`drop_own`: `{name}` is a standard column; leave it out of `keep` instead"
                        ));
                    }
                }
            }
        }
        clear.sort_unstable();
        clear.dedup();
        Ok(clear)
    }
}

fn all_of(address: &Address) -> [ColumnId; 4] {
    [address.hi.id(), address.lo.id(), address.anon.id(), address.preserved.id()]
}

fn named(key: &str, name: &str) -> Result<Named, String> {
    if let Some(address) = address_named(name) {
        return Ok(Named::Address(*address));
    }
    if let Some(id) = column_of(name) {
        let whole = columns::ADDRESSES.iter().find(|address| address.hi.id() == id || address.lo.id() == id);
        return match whole {
            Some(address) => Err(format!("`{key}`: `{name}` is half of an address; name `{}`", address.name)),
            None => Ok(Named::Column(id)),
        };
    }
    let known = columns::ADDRESSES.iter().map(|address| address.name);
    Err(unknown(key, "field", name, known.chain(columns::STANDARD.iter().map(|field| field.name))))
}

fn address(key: &str, name: &str) -> Result<&'static Address, String> {
    address_named(name)
        .ok_or_else(|| unknown(key, "address", name, columns::ADDRESSES.iter().map(|address| address.name)))
}

fn unknown<'a>(key: &str, what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let hint = nearest(name, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    format!("`{key}`: there is no {what} `{name}`{hint}")
}
