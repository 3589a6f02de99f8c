//! The row that an object becomes: what a value means to its column.

use std::fmt::Display;
use std::net::IpAddr;

use serde::de::Error;
use sluice_flow::{BatchBuilder, ColumnId, ColumnSet, Width, col, halves_of, name_of_flow_type};

use super::{JsonError, Place};
use crate::format::field::{Kind, LAYERS};
use crate::format::text;

/// Characters of a bad value that an error shows.
const SHOWN: usize = 40;

/// What takes values of this kind, for people.
pub(super) fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Number(_) | Kind::Time(_) | Kind::NoNumber => "a number in the range of the column",
        Kind::Address(_) => "an IP address",
        Kind::Network(..) => "a network or a prefix length",
        Kind::Mac(_) => "a MAC address",
        Kind::FlowType => "the name or number of a flow type",
        Kind::Etype => "the name or number of an ethertype",
        Kind::Proto => "the name or number of a protocol",
        Kind::Text(_) | Kind::Route => "a text",
        Kind::List(_) | Kind::NoList => "a list of 32-bit numbers",
        Kind::Layers(_) => "a list of names or numbers of headers",
    }
}

/// The row that is being read, as the builder's next.
///
/// Zeros are not written unless there was another value: goflow2 writes all its fields, and a column
/// that is zero throughout is better not there.
pub(super) struct Row<'a> {
    pub(super) out: &'a mut BatchBuilder,
    /// The list that is being read.
    pub(super) list: &'a mut Vec<u32>,
    /// Columns that have a value in this row.
    pub(super) set: ColumnSet,
    /// What was wrong, for which serde's error has no room.
    pub(super) problem: &'a mut Option<JsonError>,
}

impl Row<'_> {
    /// Whether anybody will look at a value of this kind.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::Number(column)
            | Kind::Time(column)
            | Kind::Mac(column)
            | Kind::Text(column)
            | Kind::List(column)
            | Kind::Layers(column)
            | Kind::Network(column, _) => self.out.wants(column),
            Kind::Address(hi) => self.out.wants(hi) || self.out.wants(hi + 1),
            Kind::FlowType => self.out.wants(col::FLOW_TYPE),
            Kind::Etype => self.out.wants(col::ETYPE),
            Kind::Proto => self.out.wants(col::PROTO),
            Kind::NoList | Kind::NoNumber | Kind::Route => false,
        }
    }

    /// Takes a number for what it is.
    pub(super) fn number<E: Error>(&mut self, place: &Place, number: u64) -> Result<(), E> {
        let column = match place.kind {
            Kind::Mac(_) if number >> 48 != 0 => return self.bad_value(place, &number),
            Kind::Number(column) | Kind::Time(column) | Kind::Mac(column) | Kind::Network(column, _) => column,
            Kind::FlowType => col::FLOW_TYPE,
            Kind::Etype => col::ETYPE,
            Kind::Proto => col::PROTO,
            _ => return self.wrong_type(place, "a number"),
        };
        if self.put(column, number) { Ok(()) } else { self.bad_value(place, &number) }
    }

    /// Takes a text for what it stands for; an empty one for nothing.
    pub(super) fn text<E: Error>(&mut self, place: &Place, text: &str) -> Result<(), E> {
        if let Kind::Text(column) = place.kind {
            if !text.is_empty() || self.set.contains(column) {
                self.set.insert(column);
                self.out.push_text(column, 0, text);
            }
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        let named = match place.kind {
            Kind::Address(hi) => {
                let Ok(address) = text.parse() else { return self.bad_value(place, &text) };
                let halves = halves_of(address);
                self.put(hi, halves.0);
                self.put(hi + 1, halves.1);
                return Ok(());
            }
            // What goflow2 writes for the network of an absent address.
            Kind::Network(..) if text == "invalid Prefix" => return Ok(()),
            Kind::Network(..) => prefix_length(text),
            Kind::Mac(_) => mac(text),
            Kind::FlowType => (0..=5).find(|flow_type| name_of_flow_type(*flow_type) == text),
            Kind::Etype => text::number_of_ethertype(text),
            Kind::Proto => text::number_of_protocol(text),
            Kind::List(_) | Kind::Layers(_) => return self.wrong_type(place, "a text"),
            _ => None,
        };
        match named.or_else(|| text.parse().ok()) {
            Some(number) => self.number(place, number),
            None => self.bad_value(place, &text),
        }
    }

    /// Takes an entry of the list that is being read.
    pub(super) fn push<E: Error>(&mut self, place: &Place, number: u64) -> Result<(), E> {
        match u32::try_from(number) {
            Ok(number) => self.list.push(number),
            Err(_) => return self.bad_value(place, &number),
        }
        Ok(())
    }

    /// Takes the name of a header, or a decimal number, as an entry of the list that is being read.
    pub(super) fn push_named<E: Error>(&mut self, place: &Place, text: &str) -> Result<(), E> {
        let layer = LAYERS.iter().zip(0..).find(|(name, _)| **name == text && matches!(place.kind, Kind::Layers(_)));
        match layer.map(|(_, layer)| layer).or_else(|| text.parse().ok()) {
            Some(number) => self.push(place, number),
            None => self.bad_value(place, &text),
        }
    }

    /// Takes the list that was read.
    pub(super) fn end_list(&mut self, place: &Place) {
        if let Kind::List(column) | Kind::Layers(column) = place.kind
            && (!self.list.is_empty() || self.set.contains(column))
        {
            self.set.insert(column);
            self.out.push_list(column, 0, self.list);
        }
    }

    /// Writes a number, if somebody wants it and it fits the column.
    fn put(&mut self, column: ColumnId, number: u64) -> bool {
        if !self.out.wants(column) || (number == 0 && !self.set.contains(column)) {
            return true;
        }
        self.set.insert(column);
        match self.out.schema().width(column) {
            Some(Width::U8) => u8::try_from(number).map(|number| self.out.set_u8(column, number)).is_ok(),
            Some(Width::U16) => u16::try_from(number).map(|number| self.out.set_u16(column, number)).is_ok(),
            Some(Width::U32) => u32::try_from(number).map(|number| self.out.set_u32(column, number)).is_ok(),
            Some(Width::U64) => {
                self.out.set_u64(column, number);
                true
            }
            Some(Width::Text | Width::Lists) | None => false,
        }
    }

    #[cold]
    pub(super) fn bad_value<E: Error>(&mut self, place: &Place, found: &dyn Display) -> Result<(), E> {
        let found = found.to_string();
        let mut shown: String = found.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if found.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        let expected = expected(place.kind);
        *self.problem = Some(JsonError::BadValue { key: place.name.clone(), expected, found: shown });
        Err(E::custom(""))
    }

    #[cold]
    pub(super) fn wrong_type<E: Error>(&mut self, place: &Place, found: &'static str) -> Result<(), E> {
        let expected = expected(place.kind);
        *self.problem = Some(JsonError::WrongType { key: place.name.clone(), expected, found });
        Err(E::custom(""))
    }
}

/// A number without fraction that 64 bits hold, as `1e9` is one.
pub(super) fn whole(number: f64) -> Option<u64> {
    // 2^64 itself is the least that does not fit.
    let fits = number.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&number);
    fits.then_some(number as u64)
}

/// The length of `address/length`.
fn prefix_length(text: &str) -> Option<u64> {
    let (address, length) = text.split_once('/')?;
    let longest = match address.parse().ok()? {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    length.parse().ok().filter(|length| *length <= longest)
}

/// The lower 48 bits of `02:00:5e:00:53:01`; the octets may be parted by `-` as well.
fn mac(text: &str) -> Option<u64> {
    let mut value = 0;
    let mut octets = 0;
    for octet in text.split([':', '-']) {
        // Two digits: `from_str_radix` alone would take a sign.
        let is_octet = octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
        value = value << 8 | u64::from_str_radix(octet, 16).ok().filter(|_| is_octet && octets < 6)?;
        octets += 1;
    }
    (octets == 6).then_some(value)
}
