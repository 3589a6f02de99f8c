//! Batches and waiting, shared by the tests.

use std::sync::Arc;

use sluice_flow::{Batch, Column, Pool, Routes, Schema, Texts, col, halves_of};

/// Two flows: a sampled, enriched TCP flow and a bare IPv6 one.
pub(crate) fn two_flows() -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), 2);
    batch.stamp(1, 1_700_000_000_000);
    let u8s = |values: [u8; 2]| Column::U8(Arc::new(values.to_vec()));
    let u16s = |values: [u16; 2]| Column::U16(Arc::new(values.to_vec()));
    let u32s = |values: [u32; 2]| Column::U32(Arc::new(values.to_vec()));
    let u64s = |values: [u64; 2]| Column::U64(Arc::new(values.to_vec()));
    let second = 1_000_000_000;
    let base = 1_700_000_000 * second;
    for (column, values) in [
        (col::FLOW_TYPE, u8s([3, 4])),
        (col::RECEIVED_NS, u64s([base + 20 * second, base + 21 * second])),
        (col::FIRST_NS, u64s([base, base + 9 * second])),
        (col::LAST_NS, u64s([base + 12 * second, base + 9 * second])),
        (col::SAMPLING_RATE, u64s([100, 0])),
        (col::SEQUENCE, u32s([7, 8])),
        (col::BYTES, u64s([18_000, 1280])),
        (col::PACKETS, u64s([12, 1])),
        (col::SRC_AS, u32s([64500, 0])),
        (col::SRC_NET, u8s([24, 0])),
        (col::IN_IF, u32s([3, 1])),
        (col::OUT_IF, u32s([4, 0])),
        (col::PROTO, u8s([6, 58])),
        (col::SRC_PORT, u16s([443, 0])),
        (col::DST_PORT, u16s([50_123, 0])),
        (col::FORWARDING_STATUS, u32s([64, 0])),
        (col::TCP_FLAGS, u16s([24, 0])),
        (col::SRC_MAC, u64s([0x0200_5e00_5301, 0])),
        (col::ETYPE, u16s([0x0800, 0x86dd])),
        (col::ICMP_TYPE, u8s([0, 128])),
        (col::CUSTOMER_ID, u32s([42, 0])),
        (
            col::NOTE,
            Column::Text(Arc::new(Texts { words: vec!["".into(), "say \"hi\"\x1b[2J".into()], codes: vec![1, 0] })),
        ),
    ] {
        batch.set(column, values).unwrap();
    }
    for (hi, addrs) in [
        (col::EXPORTER_ADDR_HI, ["203.0.113.1", "203.0.113.1"]),
        (col::SRC_ADDR_HI, ["192.0.2.10", "2001:db8::1"]),
        (col::DST_ADDR_HI, ["198.51.100.7", "2001:db8::2"]),
    ] {
        let halves = addrs.map(|addr| halves_of(addr.parse().unwrap()));
        batch.set(hi, u64s(halves.map(|half| half.0))).unwrap();
        batch.set(hi + 1, u64s(halves.map(|half| half.1))).unwrap();
    }
    batch
}

/// The two flows, each on a route of its own: the first on the later one.
pub(crate) fn two_routes() -> Batch {
    let mut batch = two_flows();
    let names = vec!["enriched-0".into(), "enriched-42".into()];
    batch.set_routes(Some(Routes { names, index: vec![1, 0] })).unwrap();
    batch
}

/// A batch of `rows` rows, with its number in `bytes`.
pub(crate) fn numbered(id: u64, rows: usize) -> Batch {
    let mut batch = Batch::new(Arc::new(Schema::standard()), Pool::default(), rows);
    batch.stamp(id, 0);
    batch.set(col::BYTES, Column::U64(Arc::new((0..rows as u64).collect()))).unwrap();
    batch
}

/// A NetFlow v5 datagram of `records` records; record `n` has `n + 1` bytes and one packet.
pub(crate) fn netflow5(sequence: u32, records: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(5_u16.to_be_bytes());
    datagram.extend((records as u16).to_be_bytes());
    datagram.extend(10_000_u32.to_be_bytes());
    datagram.extend(1_700_000_000_u32.to_be_bytes());
    datagram.extend(0_u32.to_be_bytes());
    datagram.extend(sequence.to_be_bytes());
    datagram.extend([0, 0, 0, 0]);
    for record in 0..records {
        datagram.extend([192, 0, 2, 1, 198, 51, 100, 1, 0, 0, 0, 0, 0, 1, 0, 2]);
        datagram.extend(1_u32.to_be_bytes());
        datagram.extend((record + 1).to_be_bytes());
        datagram.extend(1_000_u32.to_be_bytes());
        datagram.extend(2_000_u32.to_be_bytes());
        datagram.extend([1, 187, 0, 80, 0, 16, 6, 0, 0, 0, 0, 0, 24, 24, 0, 0]);
    }
    datagram
}
