//! The datagrams that are decoded: 512 different ones of each protocol, as full as they get in
//! practice. Made up, but with the fields that routers send.

/// Datagrams of a workload: more than the caches nearest to the core hold.
pub(crate) const DATAGRAMS: usize = 512;

/// When the datagrams say that they were exported, in seconds since the Unix epoch.
pub(crate) const EXPORTED_S: u32 = 1_700_000_000;

/// Uptime that NetFlow headers give, in milliseconds.
pub(crate) const UPTIME_MS: u32 = 3_600_000;

/// What a benchmark decodes.
#[derive(Debug)]
pub(crate) struct Workload {
    /// Protocol, fields and records.
    pub(crate) name: &'static str,
    /// The datagram with the template, to be decoded once and first; empty where there is none.
    pub(crate) template: Vec<u8>,
    /// The datagrams.
    pub(crate) datagrams: Vec<Vec<u8>>,
    /// Records of a datagram.
    pub(crate) records: usize,
}

/// Twenty fields of NetFlow v9: element and length. 56 bytes.
pub(crate) const NETFLOW9_FIELDS: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (61, 1),
    (58, 2),
];

/// The same in IPFIX, with 64-bit counters and absolute times in milliseconds. 72 bytes.
pub(crate) const IPFIX_FIELDS: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 8),
    (1, 8),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (61, 1),
    (58, 2),
];

/// A generator of numbers that are the same in every run (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }
}

/// A value for an element that a real exporter could send, in its low bytes.
pub(crate) fn value(element: u16, numbers: &mut Numbers) -> u64 {
    match element {
        1 => 64 + numbers.below(1 << 20),
        2 => 1 + numbers.below(1_000),
        4 => [6, 17, 1][numbers.below(3) as usize],
        8 => 0x0a00_0000 | numbers.below(1 << 16),
        9 | 13 => 8 + numbers.below(25),
        12 => 0xc633_6400 | numbers.below(256),
        21 => u64::from(UPTIME_MS) - numbers.below(1_000),
        22 => u64::from(UPTIME_MS) - 1_000 - numbers.below(60_000),
        61 => numbers.below(2),
        152 => u64::from(EXPORTED_S) * 1_000 - 1_000 - numbers.below(60_000),
        153 => u64::from(EXPORTED_S) * 1_000 - numbers.below(1_000),
        _ => numbers.draw(),
    }
}

fn put(bytes: &mut Vec<u8>, value: u64, len: u16) {
    bytes.extend_from_slice(&value.to_be_bytes()[8 - usize::from(len)..]);
}

fn records(fields: &[(u16, u16)], count: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        for (element, len) in fields {
            put(&mut bytes, value(*element, numbers), *len);
        }
    }
    bytes
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let padding = body.len().wrapping_neg() % 4;
    let mut bytes = Vec::new();
    put(&mut bytes, id.into(), 2);
    put(&mut bytes, (4 + body.len() + padding) as u64, 2);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

fn template(fields: &[(u16, u16)]) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, 256, 2);
    put(&mut body, fields.len() as u64, 2);
    for (element, len) in fields {
        put(&mut body, (*element).into(), 2);
        put(&mut body, (*len).into(), 2);
    }
    body
}

fn netflow9_datagram(sequence: u64, set: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (value, len) in [(9, 2), (1, 2), (UPTIME_MS.into(), 4), (EXPORTED_S.into(), 4), (sequence, 4), (0, 4)] {
        put(&mut bytes, value, len);
    }
    bytes.extend_from_slice(set);
    bytes
}

fn ipfix_message(sequence: u64, set: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (value, len) in [(10, 2), (16 + set.len() as u64, 2), (EXPORTED_S.into(), 4), (sequence, 4), (0, 4)] {
        put(&mut bytes, value, len);
    }
    bytes.extend_from_slice(set);
    bytes
}

/// NetFlow v5: 30 records, 1464 bytes.
pub(crate) fn netflow5() -> Workload {
    const RECORDS: usize = 30;
    const FIELDS: [(u16, u16); 20] = [
        (8, 4),
        (12, 4),
        (15, 4),
        (10, 2),
        (14, 2),
        (2, 4),
        (1, 4),
        (22, 4),
        (21, 4),
        (7, 2),
        (11, 2),
        (0, 1),
        (6, 1),
        (4, 1),
        (5, 1),
        (16, 2),
        (17, 2),
        (9, 1),
        (13, 1),
        (0, 2),
    ];
    let mut numbers = Numbers(5);
    let datagram = |nth: usize| {
        let mut bytes = Vec::new();
        let sequence = (nth * RECORDS) as u64;
        let header =
            [(5, 2), (30, 2), (UPTIME_MS.into(), 4), (EXPORTED_S.into(), 4), (0, 4), (sequence, 4), (0, 2), (100, 2)];
        for (value, len) in header {
            put(&mut bytes, value, len);
        }
        bytes.extend(records(&FIELDS, RECORDS, &mut numbers));
        bytes
    };
    let datagrams = (0..DATAGRAMS).map(datagram).collect();
    Workload { name: "netflow5/30-records", template: Vec::new(), datagrams, records: RECORDS }
}

/// NetFlow v9: 24 records of 20 fields and 56 bytes, 1368 bytes.
pub(crate) fn netflow9() -> Workload {
    const RECORDS: usize = 24;
    let mut numbers = Numbers(9);
    let datagram =
        |nth: usize| netflow9_datagram(nth as u64 + 1, &set(256, &records(&NETFLOW9_FIELDS, RECORDS, &mut numbers)));
    let datagrams = (0..DATAGRAMS).map(datagram).collect();
    let template = netflow9_datagram(0, &set(0, &template(&NETFLOW9_FIELDS)));
    Workload { name: "netflow9/20-fields-24-records", template, datagrams, records: RECORDS }
}

/// IPFIX: 20 records of 20 fields and 72 bytes, 1460 bytes.
pub(crate) fn ipfix() -> Workload {
    const RECORDS: usize = 20;
    let mut numbers = Numbers(10);
    let datagram =
        |nth: usize| ipfix_message((nth * RECORDS) as u64, &set(256, &records(&IPFIX_FIELDS, RECORDS, &mut numbers)));
    let datagrams = (0..DATAGRAMS).map(datagram).collect();
    let template = ipfix_message(0, &set(2, &template(&IPFIX_FIELDS)));
    Workload { name: "ipfix/20-fields-20-records", template, datagrams, records: RECORDS }
}
