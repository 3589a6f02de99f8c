//! What the encoder and the decoder make of rows, and prost of the same.

mod convert;
mod detect;
mod hostile;
mod oracle;
mod page;
mod unknown;
mod values;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluice_flow::{ADDRESSES, Batch, BatchBuilder, ColumnSet, FIELDS, Field, Pool, Schema, Width, col, halves_of};

use super::*;

#[allow(missing_docs, unreachable_pub, reason = "generated; the schemas have the comments")]
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
mod generated {
    pub mod sluice {
        include!(concat!(env!("OUT_DIR"), "/sluice.flow.v1.rs"));
    }
    pub mod flowpipeline {
        include!(concat!(env!("OUT_DIR"), "/flowpb.rs"));
    }
    pub mod bwnetflow {
        include!(concat!(env!("OUT_DIR"), "/flowmessageenriched.rs"));
    }
}

fn builder() -> BatchBuilder {
    BatchBuilder::new(Arc::new(Schema::standard()), ColumnSet::ALL, Pool::default())
}

/// Numbers from a seed, a zero now and then.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if state >> 61 == 0 { 0 } else { state >> 16 >> (state >> 20 & 31) }
    }
}

/// A batch of one row in which every column has a value.
fn batch(seed: u64) -> Batch {
    let mut out = builder();
    let mut random = random(seed);
    for field in FIELDS {
        let value = random();
        match field.width {
            Width::U8 => out.set_u8(field.number, value as u8),
            Width::U16 => out.set_u16(field.number, value as u16),
            Width::U32 => out.set_u32(field.number, value as u32),
            Width::U64 => out.set_u64(field.number, value),
            Width::Text => out.push_text(field.number, 0, ["", "Düsseldorf"][value as usize % 2]),
            Width::Lists => {
                // The layers are an enum in one of the schemas: prost writes a high bit as a sign.
                let mask = if field.number == col::LAYER_STACK { u32::MAX >> 1 } else { u32::MAX };
                let list: Vec<u32> = (0..value % 4).map(|_| random() as u32 & mask).collect();
                out.push_list(field.number, 0, &list);
            }
        }
    }
    // What these hold is not any number.
    out.set_u8(col::FLOW_TYPE, (seed % 6) as u8);
    out.set_u8(col::FLOW_DIRECTION, (seed % 3) as u8);
    for column in [col::RECEIVED_NS, col::FIRST_NS, col::LAST_NS] {
        out.set_u64(column, 1_600_000_000_000_000_000 + random() % 1_000_000_000_000_000_000);
    }
    for (at, address) in ADDRESSES.iter().enumerate() {
        if (seed >> at) & 1 == 1 {
            let (hi, lo) = halves_of(IpAddr::V4(Ipv4Addr::from_bits(seed as u32)));
            out.set_u64(address.hi, hi);
            out.set_u64(address.lo, lo);
        }
    }
    out.advance(1);
    out.finish(1, 0)
}

fn value_text(batch: &Batch, field: &Field, row: usize) -> String {
    match field.width {
        Width::Text => batch.text(field.number, row).to_owned(),
        Width::Lists => format!("{:?}", batch.list(field.number, row)),
        _ => batch.number(field.number, row).to_string(),
    }
}

/// The row as text: every column, whether it is there or not.
fn text(batch: &Batch, row: usize) -> String {
    FIELDS.iter().map(|field| format!("{}={} ", field.name, value_text(batch, field, row))).collect()
}

fn encoded(dialect: Dialect, batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder::new(dialect, Framing::Bare).encode(batch, 0..1, &mut bytes);
    bytes
}

fn decoded(dialect: Dialect, message: &[u8]) -> Batch {
    let mut out = builder();
    Decoder::new(dialect, Framing::Bare, &ColumnSet::ALL).decode_value(message, &mut out).unwrap();
    out.finish(1, 0)
}

/// A field with a varint, for messages by hand.
fn number(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::append(u64::from(number << 3), &mut bytes);
    varint::append(value, &mut bytes);
    bytes
}

/// A field with bytes.
fn bytes(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::append(u64::from(number << 3 | 2), &mut bytes);
    varint::append(value.len() as u64, &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}

/// Messages behind their lengths.
fn delimited(messages: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        varint::append(message.len() as u64, &mut bytes);
        bytes.extend_from_slice(message);
    }
    bytes
}

#[test]
fn names_are_those_of_the_toml() {
    for dialect in Dialect::ALL {
        assert_eq!(Dialect::of_name(dialect.name()), Some(dialect));
    }
    for framing in Framing::ALL {
        assert_eq!(Framing::of_name(framing.name()), Some(framing));
    }
    assert_eq!((Dialect::of_name("goflow"), Framing::of_name("")), (None, None));
}
