//! Options data and the general decoder: what netflow_parser decodes.

#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;

use netflow_parser::variable_versions::DecodedOutputLimits;
use netflow_parser::variable_versions::field_value::DurationValue;
use netflow_parser::variable_versions::v9::ScopeDataField;
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{DataNumber, FieldValue};
use sluice_flow::{BatchBuilder, ColumnId, Width};

use crate::bytes::is_zero;
use crate::compile::parts;
use crate::element::INGRESS_INTERFACE;
use crate::plan::{MAX_TEXT, walk};
use crate::sampling::OptionField;
use crate::template::{DataTemplate, OptionsTemplate};

/// A set is part of a datagram, and a record takes a byte at least.
const MAX_RECORDS: usize = 65_535;

/// Values that netflow_parser may make of one set. A value takes a byte at least.
const MAX_VALUES: usize = 65_535;

/// Bytes that the values of one set may have: those of a datagram.
const MAX_BYTES: usize = 65_535;

/// Scope "interface" of NetFlow v9 options (RFC 3954, section 6.1).
const SCOPE_INTERFACE: u16 = 2;

fn limits() -> DecodedOutputLimits {
    DecodedOutputLimits::new(MAX_RECORDS, MAX_VALUES, MAX_BYTES).expect("the limits are not zero")
}

/// Reads the options records in `body` and hands each on. Returns how many there were, and where one begins that does not end
/// in `body`, unless what is left is padding.
pub(crate) fn records(
    template: &OptionsTemplate,
    body: &[u8],
    mut record: impl FnMut(&[OptionField]),
) -> (usize, Option<usize>) {
    let mut fields = Vec::new();
    let mut bytes = Vec::new();
    match template {
        OptionsTemplate::NetFlow9(template) => {
            let Ok((_, data)) = v9::OptionsData::parse_with_limits(body, template, limits()) else {
                return (0, none_read(body));
            };
            for values in &data.fields {
                fields.clear();
                for (scope, value) in template.scope_fields.iter().zip(&values.scope_fields) {
                    let id = if scope.field_type_number == SCOPE_INTERFACE { INGRESS_INTERFACE } else { 0 };
                    fields.push(OptionField::new(true, id, scope_bytes(value)));
                }
                for (field, (_, value)) in template.option_fields.iter().zip(&values.options_fields) {
                    fields.push(option(false, field.field_type_number, value, &mut bytes));
                }
                record(&fields);
            }
            (data.fields.len(), None)
        }
        OptionsTemplate::Ipfix(template) => {
            let (whole, broken) = without_empty(body, template.fields.iter().map(|field| field.field_length));
            let Ok((_, data)) = ipfix::OptionsData::parse_with_limits(&whole, template, limits()) else {
                return (0, none_read(body));
            };
            for values in &data.fields {
                fields.clear();
                for (nth, (field, (_, value))) in template.fields.iter().zip(values).enumerate() {
                    let is_scope = nth < usize::from(template.scope_field_count);
                    if field.enterprise_number.is_none() {
                        fields.push(option(is_scope, field.field_type_number, value, &mut bytes));
                    }
                }
                record(&fields);
            }
            (data.fields.len(), broken)
        }
    }
}
/// Where the first record begins, if what cannot be read is more than padding.
fn none_read(body: &[u8]) -> Option<usize> {
    (!is_zero(body)).then_some(0)
}

/// The whole records with a zero byte in place of every variable-length field that is empty, and where one begins that does
/// not end in `body`. Empty text is common, and netflow_parser stops at it; a zero byte means the same here.
fn without_empty(body: &[u8], lens: impl Iterator<Item = u16>) -> (Cow<'_, [u8]>, Option<usize>) {
    let parts = parts(lens);
    let mut anchors = Vec::new();
    let width = parts.len() * 2 - 1;
    let broken = if parts.len() > 1 { walk(body, &parts, &mut anchors) } else { None };
    let body = body.get(..broken.unwrap_or(body.len())).unwrap_or(&[]);
    let is_empty = |field: &[u32]| matches!(field, [begin, end] if begin == end);
    if !anchors.chunks(width).any(|record| record.get(1..).unwrap_or(&[]).chunks(2).any(is_empty)) {
        return (Cow::Borrowed(body), broken);
    }
    let mut filled = Vec::with_capacity(body.len() + anchors.len());
    for record in anchors.chunks(width) {
        let [start, fields @ ..] = record else { continue };
        let mut at = *start as usize;
        for (part, field) in parts.iter().zip(fields.chunks(2)) {
            let length_at = at + part;
            filled.extend_from_slice(body.get(at..length_at).unwrap_or(&[]));
            at = field.last().map_or(length_at, |end| *end as usize);
            if is_empty(field) {
                filled.extend([1, 0]);
            } else {
                filled.extend_from_slice(body.get(length_at..at).unwrap_or(&[]));
            }
        }
        let last = parts.last().copied().unwrap_or(0);
        filled.extend_from_slice(body.get(at..at + last).unwrap_or(&[]));
    }
    (Cow::Owned(filled), broken)
}

fn option(is_scope: bool, id: u16, value: &FieldValue, bytes: &mut Vec<u8>) -> OptionField {
    bytes.clear();
    // A value that cannot be written was not read from the wire: it counts as 0.
    if value.write_be_bytes(bytes).is_err() {
        bytes.clear();
    }
    OptionField::new(is_scope, id, bytes)
}

fn scope_bytes(scope: &ScopeDataField) -> &[u8] {
    match scope {
        ScopeDataField::System(bytes)
        | ScopeDataField::Interface(bytes)
        | ScopeDataField::LineCard(bytes)
        | ScopeDataField::NetFlowCache(bytes)
        | ScopeDataField::Template(bytes)
        | ScopeDataField::Unknown(_, bytes) => bytes,
    }
}

/// Fills the columns that no plan covers, for the `rows` rows of the block that is open: a number of
/// a float, text of what is not text. `columns` gives the place of each one's field in the template.
pub(crate) fn general(
    template: &DataTemplate,
    body: &[u8],
    columns: &[(ColumnId, usize)],
    rows: usize,
    out: &mut BatchBuilder,
) {
    match template {
        DataTemplate::NetFlow9(template) => {
            let Ok((_, data)) = v9::Data::parse_with_limits(body, template, limits()) else { return };
            let values = |row: usize, place: usize| Some(&data.fields.get(row)?.get(place)?.1);
            columns.iter().for_each(|(column, place)| general_column(*column, rows, |row| values(row, *place), out));
        }
        DataTemplate::Ipfix(template) => {
            let (body, _) = without_empty(body, template.fields.iter().map(|field| field.field_length));
            let Ok((_, data)) = ipfix::Data::parse_with_limits(&body, template, limits()) else { return };
            let values = |row: usize, place: usize| Some(&data.fields.get(row)?.get(place)?.1);
            columns.iter().for_each(|(column, place)| general_column(*column, rows, |row| values(row, *place), out));
        }
    }
}

fn general_column<'a>(
    column: ColumnId,
    rows: usize,
    value: impl Fn(usize) -> Option<&'a FieldValue>,
    out: &mut BatchBuilder,
) {
    let number = |row: usize| match value(row) {
        // Out of range, a float stops at the ends.
        Some(FieldValue::Float64(float)) => *float as u64,
        _ => 0,
    };
    match out.schema().width(column) {
        Some(Width::U8) => {
            let cells = out.u8s(column, rows);
            cells.iter_mut().enumerate().for_each(|(row, cell)| *cell = u8::try_from(number(row)).unwrap_or(u8::MAX));
        }
        Some(Width::U16) => {
            let cells = out.u16s(column, rows);
            cells.iter_mut().enumerate().for_each(|(row, cell)| *cell = u16::try_from(number(row)).unwrap_or(u16::MAX));
        }
        Some(Width::U32) => {
            let cells = out.u32s(column, rows);
            cells.iter_mut().enumerate().for_each(|(row, cell)| *cell = u32::try_from(number(row)).unwrap_or(u32::MAX));
        }
        Some(Width::U64) => {
            out.u64s(column, rows).iter_mut().enumerate().for_each(|(row, cell)| *cell = number(row));
        }
        Some(Width::Text) => {
            for row in 0..rows {
                let text = value(row).map(text_of).unwrap_or_default();
                if !text.is_empty() {
                    out.push_text(column, row, &text);
                }
            }
        }
        Some(Width::Lists) | None => {}
    }
}

/// A value as people write it: addresses, MAC addresses, numbers, floats, durations in seconds, and
/// anything else as hexadecimal digits.
fn text_of(value: &FieldValue) -> String {
    match value {
        FieldValue::Ip4Addr(addr) => addr.to_string(),
        FieldValue::Ip6Addr(addr) => addr.to_string(),
        FieldValue::MacAddr(mac) => {
            let [a, b, c, d, e, f] = mac;
            format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
        }
        FieldValue::Float64(float) => float.to_string(),
        FieldValue::Duration(DurationValue::Seconds { value, .. }) => value.to_string(),
        FieldValue::Duration(duration) => duration.as_duration().as_secs_f64().to_string(),
        FieldValue::DataNumber(number) => number_text(number),
        FieldValue::String(string) => string.value.chars().take(MAX_TEXT).collect(),
        other => {
            let mut bytes = Vec::new();
            if other.write_be_bytes(&mut bytes).is_err() {
                bytes.clear();
            }
            hex(&bytes)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(MAX_TEXT / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn number_text(number: &DataNumber) -> String {
    match number {
        DataNumber::U8(number) => number.to_string(),
        DataNumber::I8(number) => number.to_string(),
        DataNumber::U16(number) => number.to_string(),
        DataNumber::I16(number) => number.to_string(),
        DataNumber::U24(number) => number.to_string(),
        DataNumber::I24(number) => number.to_string(),
        DataNumber::U32(number) => number.to_string(),
        DataNumber::I32(number) => number.to_string(),
        DataNumber::U64(number) => number.to_string(),
        DataNumber::I64(number) => number.to_string(),
        DataNumber::U128(number) => number.to_string(),
        DataNumber::I128(number) => number.to_string(),
        DataNumber::Vec(bytes) => hex(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_filled_and_nothing_else_changes() {
        let lens = [1, u16::MAX, 2, u16::MAX, 1];
        let full = [9, 1, 7, 8, 8, 255, 0, 1, 7, 9];
        assert_eq!(without_empty(&full, lens.into_iter()), (Cow::<[u8]>::Borrowed(&full), None));
        let some = [9, 0, 8, 8, 255, 0, 0, 9, 9, 1, 7, 8, 8, 0, 9, 0];
        let filled: Cow<'_, [u8]> = Cow::Owned(vec![9, 1, 0, 8, 8, 1, 0, 9, 9, 1, 7, 8, 8, 1, 0, 9]);
        let whole = some.len() - 1;
        assert_eq!(without_empty(&some, lens.into_iter()), (filled.clone(), None));
        // The third record says that it has more than there is.
        let torn = [&some[..whole], &[9, 0, 8, 8, 7, 1]].concat();
        assert_eq!(without_empty(&torn, lens.into_iter()), (filled, Some(whole)));
    }

    #[test]
    fn values_become_the_text_that_people_write() {
        let texts = [
            text_of(&FieldValue::Ip4Addr([192, 0, 2, 1].into())),
            text_of(&FieldValue::MacAddr([0, 0x1b, 0x21, 0, 0, 0xff])),
            text_of(&FieldValue::DataNumber(DataNumber::I16(-3))),
            text_of(&FieldValue::Float64(0.25)),
            text_of(&FieldValue::Vec(vec![0xde, 0xad])),
        ];
        assert_eq!(texts, ["192.0.2.1", "00:1b:21:00:00:ff", "-3", "0.25", "dead"]);
    }
}
