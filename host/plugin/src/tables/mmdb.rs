//! MMDB files (MaxMind's format) as prefix tables: every network is read once, when the file is loaded.

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net};
use maxminddb::{PathElement, Reader};
use serde_json::Value;

use super::{MAX_PREFIXES, MAX_VALUE_BYTES, Rows};

/// Reads the values of `field` of every network. `field` is a path such as `country.iso_code` or
/// `autonomous_system_number`; a number in it counts in an array. Networks without it are left out.
///
/// # Errors
/// What is wrong with the file, or that no network has the field.
pub(crate) fn read(bytes: Vec<u8>, field: &str) -> Result<Rows, String> {
    let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
    let path: Vec<PathElement<'_>> =
        field.split('.').map(|step| step.parse().map_or(PathElement::Key(step), PathElement::Index)).collect();
    let mut rows = Rows::default();
    // Networks share records: a record is decoded once.
    let mut codes: HashMap<usize, u32> = HashMap::new();
    for found in reader.networks(Default::default()).map_err(|error| error.to_string())? {
        let found = found.map_err(|error| error.to_string())?;
        let Some(offset) = found.offset() else { continue };
        let code = match codes.get(&offset) {
            Some(code) => *code,
            None => {
                let value: Option<Value> = found.decode_path(&path).map_err(|error| error.to_string())?;
                let code = match value.as_ref().and_then(text_of) {
                    Some(text) if text.len() <= MAX_VALUE_BYTES => rows.code(&text),
                    _ => 0,
                };
                codes.insert(offset, code);
                code
            }
        };
        if code == 0 {
            continue;
        }
        let network = found.network().map_err(|error| error.to_string())?;
        let net = IpNet::new(network.ip(), network.prefix()).map_err(|error| error.to_string())?;
        match net {
            // A network above the subtree of IPv4 (::/96) holds for all of IPv4, too.
            IpNet::V6(v6) if v6.prefix_len() < 96 && v6.addr().is_unspecified() => {
                rows.push(IpNet::V4(Ipv4Net::default()), code);
            }
            _ => {}
        }
        rows.push(net, code);
        if rows.prefixes.len() > MAX_PREFIXES {
            return Err(format!("more than {MAX_PREFIXES} networks"));
        }
    }
    if rows.prefixes.is_empty() {
        let kind = &reader.metadata().database_type;
        return Err(format!("no network of this {kind} database has `{field}`"));
    }
    Ok(rows)
}

/// A value as text; none for what is empty or has parts.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
