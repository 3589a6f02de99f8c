//! The same datagrams through the decoder and through netflow_parser: every row, every column equal.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_flow::{Schema, col};

use crate::build::{Bench, EXPORTER, ipfix, netflow1, netflow5, netflow7, netflow9, put, set, template};
use crate::oracle::{Oracle, Row};

/// Elements with the lengths that exporters give them: full, reduced, and odd ones.
const ELEMENTS: &[(u16, &[u16])] = &[
    (1, &[4, 8, 3, 5]),
    (2, &[4, 8, 1, 6]),
    (4, &[1]),
    (5, &[1]),
    (6, &[1, 2]),
    (7, &[2, 1]),
    (8, &[4]),
    (9, &[1]),
    (10, &[2, 4, 8]),
    (11, &[2]),
    (12, &[4]),
    (13, &[1]),
    (14, &[2, 4, 1]),
    (15, &[4]),
    (16, &[2, 4]),
    (17, &[2, 4, 3]),
    (18, &[4]),
    (21, &[4]),
    (22, &[4]),
    (23, &[4, 8]),
    (24, &[4, 8]),
    (27, &[16]),
    (28, &[16]),
    (29, &[1]),
    (31, &[3, 4]),
    (32, &[2]),
    (34, &[4]),
    (48, &[1, 2]),
    (50, &[4]),
    (52, &[1]),
    (54, &[4]),
    (56, &[6]),
    (57, &[6]),
    (58, &[2]),
    (59, &[2]),
    (60, &[1]),
    (61, &[1]),
    (62, &[16]),
    (63, &[16]),
    (70, &[3]),
    (71, &[3]),
    (80, &[6]),
    (81, &[6]),
    (82, &[8]),
    (85, &[8, 4]),
    (88, &[2]),
    (89, &[1, 4]),
    (128, &[4]),
    (130, &[4]),
    (131, &[16]),
    (136, &[1]),
    (138, &[4, 8]),
    (139, &[2]),
    (148, &[8]),
    (149, &[4]),
    (150, &[4]),
    (151, &[4]),
    (152, &[8]),
    (153, &[8]),
    (154, &[8]),
    (156, &[8]),
    (157, &[8]),
    (158, &[4]),
    (159, &[4]),
    (160, &[8]),
    (176, &[1]),
    (177, &[1]),
    (178, &[1]),
    (180, &[2]),
    (183, &[2]),
    (192, &[1]),
    (197, &[1]),
    (225, &[4]),
    (226, &[4]),
    (227, &[2]),
    (228, &[2]),
    (230, &[1]),
    (231, &[4, 8]),
    (232, &[4, 8]),
    (233, &[1]),
    (234, &[4]),
    (235, &[4]),
    (239, &[1]),
    (243, &[2]),
    (252, &[4]),
    (256, &[2]),
    (281, &[16]),
    (298, &[8]),
    (299, &[8]),
    (302, &[8, 4]),
    (305, &[4]),
    (306, &[4]),
    (309, &[4]),
    (310, &[4]),
    (323, &[8]),
    (352, &[8]),
    (30_001, &[7]),
];

/// Elements that are of variable length in some templates of IPFIX.
const VARIABLE: &[u16] = &[82, 83, 96, 291, 292, 30_002];

/// Elements with a reverse counterpart.
const REVERSED: &[(u16, u16)] = &[(1, 8), (2, 4), (85, 8), (6, 1), (58, 2), (152, 8)];

type Template = Vec<(u32, u16, u16)>;

fn field() -> impl Strategy<Value = (u32, u16, u16)> {
    (0..ELEMENTS.len(), any::<prop::sample::Index>()).prop_map(|(element, len)| {
        let (id, lens) = ELEMENTS[element];
        (0, id, lens[len.index(lens.len())])
    })
}

fn ipfix_field() -> impl Strategy<Value = (u32, u16, u16)> {
    prop_oneof![
        12 => field(),
        1 => (0..VARIABLE.len()).prop_map(|element| (0, VARIABLE[element], 65_535)),
        1 => (0..REVERSED.len()).prop_map(|element| (29_305, REVERSED[element].0, REVERSED[element].1)),
        1 => (1..3_u32, 1..50_u16, 1..9_u16).prop_map(|(pen, id, len)| (60_000 + pen, id, len)),
    ]
}

/// Elements that may be in a template more than once; of others the first one counts.
const REPEATABLE: &[u16] = &[1, 2, 7, 10, 58, 61, 152, 82];

fn template_of(field: impl Strategy<Value = (u32, u16, u16)>) -> impl Strategy<Value = Template> {
    vec(field, 1..25).prop_map(|mut fields| {
        let mut seen = HashSet::new();
        fields.retain(|(pen, id, _)| seen.insert((*pen, *id)) || REPEATABLE.contains(id));
        fields
    })
}

/// A value: mostly small or zero, so that what zeros mean is met with.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 3 => 0..300_u64, 1 => Just(u64::MAX), 6 => any::<u64>()]
}

/// Writes the records of a template with these values, over and over.
fn records(template: &Template, count: usize, values: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = values.iter().copied().cycle();
    let mut draw = || next.next().unwrap();
    for _ in 0..count {
        for (_, id, len) in template {
            match (*id, *len) {
                (_, 65_535) => {
                    // Empty ones netflow_parser does not take.
                    let length = 1 + draw() % 300;
                    if length >= 255 || draw() % 5 == 0 {
                        put(&mut bytes, 255, 1);
                        put(&mut bytes, length, 2);
                    } else {
                        put(&mut bytes, length, 1);
                    }
                    (0..length).for_each(|_| bytes.push(7));
                }
                (_, 16) => {
                    put(&mut bytes, draw(), 8);
                    put(&mut bytes, draw(), 8);
                }
                (4, 1) => put(&mut bytes, [6, 1, 58, 17][(draw() % 4) as usize], 1),
                // netflow_parser keeps the nine bits that have names.
                (6, 2) => put(&mut bytes, draw() & 0x1ff, 2),
                (60, 1) => put(&mut bytes, [4, 6, 4, 0][(draw() % 4) as usize], 1),
                (_, len) => put(&mut bytes, draw(), len.into()),
            }
        }
    }
    bytes
}

fn check(datagrams: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let mut oracle = Oracle::new();
    let mut bench = Bench::new();
    for datagram in datagrams {
        let expected = oracle.rows(EXPORTER, bench.now_ns, datagram);
        let decoded = bench.decode(datagram);
        prop_assert_eq!(&decoded.error, &None);
        prop_assert_eq!(decoded.rows, expected.len());
        let batch = bench.batch();
        for (row, expected) in expected.into_iter().enumerate() {
            let expected = expected.without(&[]);
            let found = Row::of(&batch, row);
            prop_assert_eq!(&found, &expected, "row {}\n found {}\nwanted {}", row, found.text(), expected.text());
        }
    }
    Ok(())
}

/// Padding to a multiple of four where it is shorter than any record.
fn padded(mut body: Vec<u8>, template: &Template) -> Vec<u8> {
    let shortest: usize = template.iter().map(|(_, _, len)| if *len == 65_535 { 1 } else { usize::from(*len) }).sum();
    let padding = body.len().wrapping_neg() % 4;
    if padding < shortest {
        body.resize(body.len() + padding, 0);
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn netflow_v9(
        templates in vec((template_of(field()), 0..30_usize), 1..4),
        values in vec(value(), 1..200),
        domain: u32,
        sequence: u32,
    ) {
        let set_of = |nth: usize| 256 + nth as u16;
        let all: Vec<u8> = templates.iter().enumerate().flat_map(|(nth, (t, _))| template(set_of(nth), t)).collect();
        let mut sets = vec![set(0, &all)];
        for (nth, (fields, count)) in templates.iter().enumerate() {
            sets.push(set(set_of(nth), &padded(records(fields, *count, &values), fields)));
        }
        let (head, tail) = sets.split_at(1);
        check(&[netflow9(domain, sequence, head), netflow9(domain, sequence.wrapping_add(1), tail)])?;
    }

    #[test]
    fn ipfix_with_variable_enterprise_and_reverse_fields(
        templates in vec((template_of(ipfix_field()), 0..20_usize), 1..4),
        values in vec(value(), 1..200),
        domain: u32,
        sequence: u32,
    ) {
        let mut sets = Vec::new();
        for (nth, (fields, count)) in templates.iter().enumerate() {
            let id = 256 + nth as u16;
            sets.push(set(2, &template(id, fields)));
            let body = records(fields, *count, &values);
            if body.len() < 15_000 {
                sets.push(set(id, &padded(body, fields)));
            }
        }
        check(&[ipfix(domain, sequence, &sets)])?;
    }

    #[test]
    fn netflow_v5(flows in vec(vec(any::<u8>(), 48), 1..=30), sequence: u32, sampling: u16) {
        check(&[netflow5(sequence, sampling, &flows)])?;
    }

    #[test]
    fn netflow_v7(flows in vec(vec(any::<u8>(), 52), 1..=28), sequence: u32) {
        check(&[netflow7(sequence, &flows)])?;
    }

    /// What a record of v1 has is where v5 has it, or beside.
    #[test]
    fn netflow_v1(flows in vec(vec(any::<u8>(), 48), 1..=28), is_long: bool) {
        let v1: Vec<Vec<u8>> = flows.iter().map(|flow| {
            let last = [0, 0, flow[38], flow[39], flow[37], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
            [&flow[..36], &last[..if is_long { 16 } else { 12 }]].concat()
        }).collect();
        let v5: Vec<Vec<u8>> = flows.iter().map(|flow| [&flow[..40], &[0; 8]].concat()).collect();
        let read = |datagram: &[u8]| {
            let mut bench = Bench::new();
            let decoded = bench.decode(datagram);
            (decoded.error, bench.batch())
        };
        let ((no_error, found), (_, expected)) = (read(&netflow1(&v1)), read(&netflow5(0, 0, &v5)));
        prop_assert_eq!((no_error, found.rows()), (None, flows.len()));
        for column in Schema::standard().all().iter() {
            // Of v5 these are of the header.
            if ![col::FLOW_TYPE, col::OBSERVATION_DOMAIN].contains(&column) {
                for row in 0..flows.len() {
                    prop_assert_eq!(found.number(column, row), expected.number(column, row), "column {}", column);
                }
            }
        }
    }
}
