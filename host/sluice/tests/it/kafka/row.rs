//! Flow messages with numbers that tests find again.

use serde_json::Value;

/// A goflow2 message of the flow with the number `number`: that is its count of bytes.
pub(super) fn message(number: u64) -> Vec<u8> {
    let mut message = Vec::new();
    varint(&mut message, 1, 3);
    varint(&mut message, 110, 1_700_000_000_000_000_000 + number);
    bytes(&mut message, 11, &[127, 0, 0, 1]);
    bytes(&mut message, 6, &[198, 18, 0, 1]);
    bytes(&mut message, 7, &[192, 0, 2, (number % 200) as u8 + 1]);
    varint(&mut message, 9, number);
    varint(&mut message, 10, 1);
    varint(&mut message, 20, if number.is_multiple_of(2) { 6 } else { 17 });
    varint(&mut message, 30, 0x800);
    message
}

/// [`message`] behind its length.
pub(super) fn delimited(number: u64) -> Vec<u8> {
    framed(&message(number))
}

/// A message behind its length.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    number(&mut value, message.len() as u64);
    value.extend_from_slice(message);
    value
}

/// Appends a field that is a number.
pub(super) fn varint(message: &mut Vec<u8>, field: u64, value: u64) {
    number(message, field << 3);
    number(message, value);
}

/// Appends a field that is bytes.
pub(super) fn bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    number(message, field << 3 | 2);
    number(message, value.len() as u64);
    message.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The numbers of the rows in JSON lines.
pub(super) fn numbers(lines: &[u8]) -> Vec<u64> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()["bytes"].as_u64().unwrap()).collect()
}

/// Asserts that `found` has every number of `0..count`; returns how many of them came more than once.
pub(super) fn doubled(found: impl IntoIterator<Item = u64>, count: u64) -> u64 {
    let mut times = vec![0_u64; count as usize];
    found.into_iter().for_each(|number| times[number as usize] += 1);
    let lost: Vec<usize> = (0..times.len()).filter(|number| times[*number] == 0).collect();
    let some = &lost[..lost.len().min(20)];
    assert!(lost.is_empty(), "{} of {count} rows are lost, such as {some:?}", lost.len());
    times.iter().filter(|times| **times > 1).count() as u64
}
