//! Writes MMDB files for tests (MaxMind DB file format specification 2.0).

use ipnet::IpNet;

/// A value of the data section.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(String, Value)>),
    Nothings,
}

impl Value {
    pub(crate) fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    pub(crate) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
        Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let control = |out: &mut Vec<u8>, kind: u8, len: usize| {
            assert!(len < 29, "long values are not needed here");
            out.push(kind << 5 | len as u8);
        };
        match self {
            Value::Text(text) => {
                control(out, 2, text.len());
                out.extend(text.as_bytes());
            }
            Value::Short(number) => {
                control(out, 5, 2);
                out.extend(number.to_be_bytes());
            }
            Value::Number(number) => {
                control(out, 6, 4);
                out.extend(number.to_be_bytes());
            }
            Value::Long(number) => {
                // Kinds above 7 stand in a second byte.
                control(out, 0, 8);
                out.push(9 - 7);
                out.extend(number.to_be_bytes());
            }
            Value::Nothings => {
                // An array without elements.
                control(out, 0, 0);
                out.push(11 - 7);
            }
            Value::Map(fields) => {
                control(out, 7, fields.len());
                for (name, value) in fields {
                    Value::Text(name.clone()).write(out);
                    value.write(out);
                }
            }
        }
    }
}

/// One side of a node.
#[derive(Clone, Copy, Debug)]
enum Side {
    Nothing,
    Node(u32),
    Data(u32),
}

/// A database of both families, with records of 24 bits.
#[derive(Debug)]
pub(crate) struct MmdbWriter {
    kind: String,
    nodes: Vec<[Side; 2]>,
    data: Vec<u8>,
}

impl MmdbWriter {
    pub(crate) fn new(kind: &str) -> MmdbWriter {
        MmdbWriter { kind: kind.to_owned(), nodes: vec![[Side::Nothing; 2]], data: Vec::new() }
    }

    /// Adds a network. Networks do not nest. IPv4 lives in `::/96`.
    pub(crate) fn insert(&mut self, network: &str, value: &Value) {
        let (bits, len) = match network.parse().unwrap() {
            IpNet::V4(net) => (u128::from(net.addr().to_bits()), net.prefix_len() + 96),
            IpNet::V6(net) => (net.addr().to_bits(), net.prefix_len()),
        };
        let at = self.data.len() as u32;
        value.write(&mut self.data);
        let mut node = 0;
        for depth in 0..len {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == len {
                self.nodes[node][side] = Side::Data(at);
                return;
            }
            node = match self.nodes[node][side] {
                Side::Node(next) => next as usize,
                _ => {
                    self.nodes.push([Side::Nothing; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Side::Node(next as u32);
                    next
                }
            };
        }
    }

    /// The file.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let count = self.nodes.len() as u32;
        let mut out = Vec::new();
        for side in self.nodes.iter().flatten() {
            let record = match side {
                Side::Nothing => count,
                Side::Node(node) => *node,
                Side::Data(at) => count + 16 + at,
            };
            out.extend(&record.to_be_bytes()[1..]);
        }
        out.extend([0; 16]);
        out.extend(&self.data);
        out.extend(b"\xab\xcd\xefMaxMind.com");
        Value::map([
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1_700_000_000)),
            ("database_type", Value::text(&self.kind)),
            ("description", Value::map([])),
            ("ip_version", Value::Short(6)),
            ("languages", Value::Nothings),
            ("node_count", Value::Number(count)),
            ("record_size", Value::Short(24)),
        ])
        .write(&mut out);
        out
    }
}
