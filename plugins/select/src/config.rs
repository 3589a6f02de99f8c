//! The keys of the stage's `config` table.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

/// Entries that each list may have: a batch is looked at once for each prefix.
const MAX_CUSTOMERS: usize = 4096;
const MAX_PREFIXES: usize = 256;

/// `[stages.NAME.config]` of the plugin `select`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rows stay whose `customer_id`, `src_customer_id` or `dst_customer_id` is one of these, e.g. `[7, 8]`.
    #[serde(default)]
    pub customers: Vec<u32>,
    /// Rows stay with a source or destination in one of these, e.g. `["192.0.2.0/24", "2001:db8::/32"]`.
    #[serde(default)]
    pub prefixes: Vec<String>,
}

/// What the configuration comes down to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) customers: Vec<u64>,
    /// Value and length of each prefix, in 128 bits.
    pub(crate) prefixes: Vec<(u128, u8)>,
}

impl Config {
    /// Checks the lists.
    ///
    /// # Errors
    /// Which entry is wrong, and what would be right.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        if self.customers.is_empty() && self.prefixes.is_empty() {
            return Err("no row would stay; give `customers` or `prefixes`".into());
        }
        for (what, there, most) in
            [("customers", self.customers.len(), MAX_CUSTOMERS), ("prefixes", self.prefixes.len(), MAX_PREFIXES)]
        {
            if there > most {
                return Err(format!("`{what}`: {there} of them, at most {most} are possible"));
            }
        }
        if self.customers.contains(&0) {
            return Err("`customers`: 0 is no customer, but what rows of none have; leave it out".into());
        }
        let prefixes = self.prefixes.iter().map(|text| prefix(text)).collect::<Result<_, _>>()?;
        Ok(Plan { customers: self.customers.iter().copied().map(u64::from).collect(), prefixes })
    }
}

fn prefix(text: &str) -> Result<(u128, u8), String> {
    let wrong = || format!("`prefixes`: `{text}` is no prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\"");
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let (address, bits): (IpAddr, u8) = (address.parse().map_err(|_| wrong())?, bits.parse().map_err(|_| wrong())?);
    let (value, before) = match address {
        IpAddr::V4(address) => (address.to_ipv6_mapped().to_bits(), 96),
        IpAddr::V6(address) => (address.to_bits(), 0),
    };
    let bits = bits.checked_add(before).filter(|bits| *bits <= 128).ok_or_else(wrong)?;
    let masked = value & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    if masked != value {
        let own = bits - before;
        let first = match address {
            IpAddr::V4(_) => Ipv4Addr::from_bits(masked as u32).to_string(),
            IpAddr::V6(_) => std::net::Ipv6Addr::from_bits(masked).to_string(),
        };
        return Err(format!("`prefixes`: `{text}` has bits beyond the first {own}; write \"{first}/{own}\""));
    }
    if value == 0 {
        return Err(format!(
            "`prefixes`: `{text}` has `::` in it, which rows without an address have; take a longer one"
        ));
    }
    Ok((value, bits))
}
