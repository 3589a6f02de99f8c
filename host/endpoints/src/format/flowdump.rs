//! Rows as a flow dump: a line a row, in the manner of tcpdump and of flowpipeline's `printflowdump`.
//!
//! ```text
//! HH:MM:SS src:port → dst:port [in → status@router → out] PROTO 12s 1.2 Mbps 100 pps customer 7 note
//! ```
//!
//! The time is when the flow ended, in UTC. Rates are those of the traffic: counters multiplied by the
//! sampling rate, over the flow's duration, which is at least a second. ICMP has `type/code` for the
//! destination's port.

use sluice_flow::{Batch, ColumnId, ColumnSet, col};

use super::text;

/// Columns that the line is made of.
const READS: &[ColumnId] = &[
    col::RECEIVED_NS,
    col::FIRST_NS,
    col::LAST_NS,
    col::SAMPLING_RATE,
    col::EXPORTER_ADDR_HI,
    col::EXPORTER_ADDR_LO,
    col::SRC_ADDR_HI,
    col::SRC_ADDR_LO,
    col::DST_ADDR_HI,
    col::DST_ADDR_LO,
    col::BYTES,
    col::PACKETS,
    col::SRC_AS,
    col::DST_AS,
    col::IN_IF,
    col::OUT_IF,
    col::PROTO,
    col::SRC_PORT,
    col::DST_PORT,
    col::ICMP_TYPE,
    col::ICMP_CODE,
    col::FORWARDING_STATUS,
    col::CUSTOMER_ID,
    col::PROTO_NAME,
    col::NOTE,
    col::SCALED_BYTES,
    col::SCALED_PACKETS,
    col::NORMALIZED,
    col::SRC_IF_NAME,
    col::DST_IF_NAME,
];

pub(crate) fn reads() -> ColumnSet {
    READS.iter().copied().collect()
}

pub(crate) fn write(batch: &Batch, rows: std::ops::Range<usize>, out: &mut Vec<u8>) {
    for row in rows {
        line(batch, row, out);
        out.push(b'\n');
    }
}

fn line(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    let (first, last) = (batch.number(col::FIRST_NS, row), batch.number(col::LAST_NS, row));
    text::time_of_day(out, if last == 0 { batch.number(col::RECEIVED_NS, row) } else { last });

    let proto = batch.number(col::PROTO, row);
    out.push(b' ');
    autonomous_system(batch, row, col::SRC_AS, out);
    text::socket(out, batch.addr(col::SRC_ADDR_HI, row), batch.number(col::SRC_PORT, row));
    out.extend_from_slice(" → ".as_bytes());
    autonomous_system(batch, row, col::DST_AS, out);
    if matches!(proto, 1 | 58) {
        endpoint_of_icmp(batch, row, out);
    } else {
        text::socket(out, batch.addr(col::DST_ADDR_HI, row), batch.number(col::DST_PORT, row));
    }

    out.extend_from_slice(b" [");
    interface(batch, row, col::SRC_IF_NAME, col::IN_IF, out);
    out.extend_from_slice(" → ".as_bytes());
    status(out, batch.number(col::FORWARDING_STATUS, row));
    out.push(b'@');
    match batch.addr(col::EXPORTER_ADDR_HI, row) {
        Some(addr) => text::addr(out, addr),
        None => out.push(b'-'),
    }
    out.extend_from_slice(" → ".as_bytes());
    interface(batch, row, col::DST_IF_NAME, col::OUT_IF, out);
    out.extend_from_slice(b"] ");

    match (batch.text(col::PROTO_NAME, row), text::protocol(proto)) {
        ("", Some(name)) => out.extend_from_slice(name.as_bytes()),
        ("", None) => text::number(out, proto),
        (name, _) => text::shown(out, name),
    }

    // A flow of one packet has no duration, and a rate over less than a second says little.
    let seconds = (last.saturating_sub(first) as f64 / 1e9).max(1.0);
    out.push(b' ');
    text::number(out, seconds.round() as u64);
    out.extend_from_slice(b"s ");
    text::rate(out, scaled(batch, row, col::BYTES, col::SCALED_BYTES) * 8.0 / seconds, "bps");
    out.push(b' ');
    text::rate(out, scaled(batch, row, col::PACKETS, col::SCALED_PACKETS) / seconds, "pps");

    let customer = batch.number(col::CUSTOMER_ID, row);
    if customer != 0 {
        out.extend_from_slice(b" customer ");
        text::number(out, customer);
    }
    if let Some(route) = batch.route(row) {
        out.extend_from_slice(" ⇒ ".as_bytes());
        text::shown(out, route);
    }
    let note = batch.text(col::NOTE, row);
    if !note.is_empty() {
        out.push(b' ');
        text::shown(out, note);
    }
    if let Some(why) = batch.dead_letter() {
        out.extend_from_slice(" ✗ ".as_bytes());
        text::shown(out, &why.to_string());
    }
}

fn autonomous_system(batch: &Batch, row: usize, column: ColumnId, out: &mut Vec<u8>) {
    let number = batch.number(column, row);
    if number != 0 {
        out.extend_from_slice(b"AS");
        text::number(out, number);
        out.push(b'/');
    }
}

fn endpoint_of_icmp(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    match batch.addr(col::DST_ADDR_HI, row) {
        Some(addr) => text::addr(out, addr),
        None => out.push(b'-'),
    }
    // NetFlow v5 has no field for it and puts type and code into the destination port.
    let port = batch.number(col::DST_PORT, row);
    let (kind, code) = (batch.number(col::ICMP_TYPE, row), batch.number(col::ICMP_CODE, row));
    let (kind, code) = if kind == 0 && code == 0 { (port >> 8, port & 255) } else { (kind, code) };
    out.push(b' ');
    text::number(out, kind);
    out.push(b'/');
    text::number(out, code);
}

fn interface(batch: &Batch, row: usize, name: ColumnId, index: ColumnId, out: &mut Vec<u8>) {
    match batch.text(name, row) {
        "" => text::number(out, batch.number(index, row)),
        name => text::shown(out, name),
    }
}

/// Forwarding status by name and number (RFC 7270, section 4.12): the upper two of eight bits say
/// what became of the flow.
fn status(out: &mut Vec<u8>, status: u64) {
    let name = match status >> 6 & 3 {
        _ if status == 0 => return out.push(b'-'),
        1 => "FORWARDED",
        2 => "DROPPED",
        3 => "CONSUMED",
        _ => "UNKNOWN",
    };
    out.extend_from_slice(name.as_bytes());
    out.push(b'/');
    text::number(out, status);
}

/// The counter as it was before sampling: the enricher's column where there is one.
fn scaled(batch: &Batch, row: usize, counter: ColumnId, scaled: ColumnId) -> f64 {
    let known = batch.number(scaled, row);
    if known != 0 {
        return known as f64;
    }
    let rate = match batch.number(col::NORMALIZED, row) {
        0 => batch.number(col::SAMPLING_RATE, row).max(1),
        _ => 1,
    };
    batch.number(counter, row) as f64 * rate as f64
}
