//! MMDB files (MaxMind's format) as prefix tables: every network is read once, when the file is loaded.

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net};
use maxminddb::{PathElement, Reader};
use serde_json::Value;

use super::{MAX_PREFIXES, MAX_VALUE_BYTES, Rows};

/// Leaves that a search tree may have. A damaged file can have nodes that point back, and a tree
/// without end.
const MAX_NETWORKS: u64 = 1 << 26;

/// Reads the values of `field` of every network. `field` is a path such as `country.iso_code` or
/// `autonomous_system_number`; a number in it counts in an array. Networks without it are left out.
///
/// # Errors
/// What is wrong with the file, or that no network has the field.
pub(crate) fn read(bytes: &[u8], field: &str) -> Result<Rows, String> {
    let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
    let metadata = reader.metadata();
    match networks(bytes, metadata.record_size, metadata.node_count) {
        Some(networks) if networks <= MAX_NETWORKS => {}
        Some(_) => return Err(format!("more than {MAX_NETWORKS} networks, with and without data")),
        None => return Err("the search tree is broken".to_owned()),
    }
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

/// Leaves of the search tree, counted as a walk from its root meets them; `None` if it has a cycle or
/// is longer than the file (MaxMind DB file format specification, "Binary Search Tree Section").
fn networks(tree: &[u8], record_bits: u16, nodes: u32) -> Option<u64> {
    const UNSEEN: u64 = u64::MAX;
    const OPEN: u64 = u64::MAX - 1;
    let node_bytes = usize::from(record_bits) / 4;
    let nodes = nodes as usize;
    let tree = tree.get(..nodes.checked_mul(node_bytes)?)?;
    let sides = |node: usize| -> Option<[usize; 2]> {
        let bytes = tree.get(node * node_bytes..(node + 1) * node_bytes)?;
        let number =
            |bytes: &[u8], high: u8| bytes.iter().fold(usize::from(high), |n, byte| n << 8 | usize::from(*byte));
        match (record_bits, bytes) {
            (24, [left @ .., _, _, _]) => Some([number(left, 0), number(bytes.get(3..)?, 0)]),
            (28, [a, b, c, high, right @ ..]) => Some([number(&[*a, *b, *c], high >> 4), number(right, high & 15)]),
            (32, [left @ .., _, _, _, _]) => Some([number(left, 0), number(bytes.get(4..)?, 0)]),
            _ => None,
        }
    };
    let mut leaves = vec![UNSEEN; nodes];
    let mut path = if nodes == 0 { Vec::new() } else { vec![0] };
    while let Some(&node) = path.last() {
        let sides = sides(node)?;
        let of = |side: usize, leaves: &[u64]| leaves.get(side).copied().unwrap_or(1);
        if leaves[node] == UNSEEN {
            leaves[node] = OPEN;
            for side in sides {
                match of(side, &leaves) {
                    UNSEEN => path.push(side),
                    OPEN => return None,
                    _ => {}
                }
            }
            continue;
        }
        if leaves[node] == OPEN {
            // Below the mark that says "open": more than anyone allows is all the same.
            let sum = of(sides[0], &leaves).saturating_add(of(sides[1], &leaves));
            leaves[node] = sum.min(u64::MAX / 4);
        }
        path.pop();
    }
    Some(leaves.first().copied().unwrap_or(0))
}
