//! Bytes that no exporter would send, and those that bad ones do.

use expect_test::{Expect, expect};
use proptest::collection::vec;
use proptest::prelude::*;
use sluice_flow::{ColumnSet, CustomField, Width};
use sluice_wire::Limits;

use crate::build::{
    Bench, ipfix, ipfix_options, netflow1, netflow5, netflow7, netflow9, netflow9_options, numbers, set, template,
};

fn check(datagrams: &[Vec<u8>], expected: Expect) {
    let mut bench = Bench::new();
    for datagram in datagrams {
        bench.decode(datagram);
    }
    expected.assert_eq(&bench.text(&[]));
}

fn with_template() -> Vec<u8> {
    set(2, &template(256, &[(0, 4, 1), (0, 7, 2)]))
}

#[test]
fn what_is_no_export_datagram_is_refused() {
    check(
        &[
            vec![],
            vec![9],
            vec![0, 6, 0, 0],
            vec![0, 0, 0, 6],
            vec![0, 1, 0, 1],
            vec![0, 7, 0, 1],
            vec![0, 9, 0, 1],
            vec![0, 10, 0, 16],
            vec![0, 5, 0, 1],
        ],
        expect![[r#"
            0 rows, truncated: version at offset 0 needs 2 bytes, 0 left
            0 rows, truncated: version at offset 0 needs 2 bytes, 1 left
            0 rows, unknown_version: version 6 is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5
            0 rows, unknown_version: version 0 is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5
            0 rows, truncated: NetFlow v1 header at offset 0 needs 16 bytes, 4 left
            0 rows, truncated: NetFlow v7 header at offset 0 needs 24 bytes, 4 left
            0 rows, truncated: NetFlow v9 header at offset 0 needs 20 bytes, 4 left
            0 rows, truncated: IPFIX header at offset 0 needs 16 bytes, 4 left
            0 rows, truncated: NetFlow v5 header at offset 0 needs 24 bytes, 4 left
        "#]],
    );
}

#[test]
fn a_set_length_that_cannot_be_ends_its_message_and_keeps_what_came_before() {
    let bad =
        |length: u64| [with_template(), set(256, &[6, 0, 80]), numbers(&[(256, 2), (length, 2), (0, 3)])].concat();
    check(
        &[ipfix(1, 0, &[bad(0)]), ipfix(1, 0, &[bad(3)])],
        expect![[r#"
            1 rows, bad_length: set at offset 39 says it is 0 bytes long
            1 rows, bad_length: set at offset 39 says it is 3 bytes long
        "#]],
    );
}

#[test]
fn of_a_set_that_is_cut_off_the_whole_records_count() {
    let cut = |length: u64| {
        [with_template(), numbers(&[(256, 2), (length, 2), (0x06_0050, 3), (0x11_0035, 3), (6, 1)])].concat()
    };
    check(
        &[
            ipfix(1, 0, &[cut(12)]),
            netflow9(1, 0, &[set(0, &template(256, &[(0, 4, 1)])), numbers(&[(256, 2), (65_535, 2), (0x0611, 2)])]),
            ipfix(
                1,
                0,
                &[numbers(&[(2, 2), (40, 2)]), template(256, &[(0, 4, 1)]), template(257, &[(0, 4, 1)])[..6].to_vec()],
            ),
        ],
        expect![[r#"
            2 rows, truncated: set at offset 32 needs 12 bytes, 11 left
            2 rows, truncated: set at offset 32 needs 65535 bytes, 6 left
            0 rows, truncated: set at offset 16 needs 40 bytes, 18 left
        "#]],
    );
}

#[test]
fn a_reserved_set_does_not_cost_its_neighbours() {
    check(
        &[
            ipfix(1, 0, &[with_template(), set(0, &[1; 8]), set(4, &[1; 8]), set(256, &[6, 0, 80])]),
            netflow9(1, 0, &[set(2, &[1; 8]), set(0, &template(256, &[(0, 4, 1)])), set(256, &[6])]),
        ],
        expect![[r#"
            1 rows, reserved_set: set 0 at offset 32 is of a reserved kind
            1 rows, reserved_set: set 2 at offset 20 is of a reserved kind
        "#]],
    );
}

#[test]
fn zeros_at_the_end_are_padding_and_netflow_v5_may_come_in_several_messages() {
    let mut long = netflow9(1, 0, &[set(0, &template(256, &[(0, 4, 1)])), set(256, &[6])]);
    long.extend([0; 37]);
    let mut message = ipfix(1, 0, &[with_template(), set(256, &[6, 0, 80])]);
    message.extend([0; 9]);
    let mut flows = netflow5(0, 0, &[vec![1; 48]]);
    flows.extend([0; 5]);
    let two = [netflow5(0, 0, &[vec![1; 48]]), netflow5(1, 0, &[vec![1; 48], vec![2; 48]])].concat();
    let other = [netflow5(0, 0, &[vec![1; 48]]), vec![1]].concat();
    check(
        &[long, message, flows, two, other],
        expect![[r#"
            1 rows
            1 rows
            1 rows
            3 rows
            1 rows, unknown_version: version 0 is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5
        "#]],
    );
}

#[test]
fn netflow_v1_and_v7_are_read_as_far_as_they_are_whole() {
    let two = |record: usize| vec![vec![1; record]; 2];
    let cut = |mut datagram: Vec<u8>, bytes: usize| {
        datagram.truncate(datagram.len() - bytes);
        datagram
    };
    let with = |datagram: Vec<u8>, more: &[u8]| [datagram, more.to_vec()].concat();
    let of_count = |mut datagram: Vec<u8>, count: u8| {
        datagram[3] = count;
        datagram
    };
    check(
        &[
            with(netflow7(0, &two(52)), &[0; 9]),
            [netflow7(2, &two(52)), netflow7(4, &two(52))].concat(),
            cut(netflow7(6, &two(52)), 1),
            of_count(netflow7(8, &two(52)), 31),
            with(netflow7(8, &two(52)), &netflow1(&two(52))),
            with(netflow1(&two(48)), &[0; 3]),
            with(netflow1(&two(52)), &[0; 9]),
            [netflow1(&two(52)), netflow1(&two(48))].concat(),
            // Of which length its records were cannot be known.
            cut(netflow1(&two(52)), 1),
            cut(netflow1(&two(48)), 1),
            of_count(netflow1(&two(48)), 0),
            of_count(netflow1(&two(52)), 1),
        ],
        expect![[r#"
            2 rows
            4 rows
            1 rows, truncated: NetFlow v7 records at offset 24 needs 104 bytes, 103 left
            0 rows, bad_count: 31 records, 1 to 30 are possible
            2 rows, unknown_version: version 1 is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5
            2 rows
            2 rows
            4 rows
            0 rows, truncated: NetFlow v1 records at offset 16 needs 96 bytes, 103 left
            0 rows, truncated: NetFlow v1 records at offset 16 needs 96 bytes, 95 left
            0 rows, bad_count: 0 records, 1 to 30 are possible
            1 rows, unknown_version: version 257 is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5
        "#]],
    );
}

#[test]
fn several_messages_in_a_datagram_are_all_read_and_a_bad_one_does_not_cost_those_before() {
    let one = ipfix(1, 0, &[with_template(), set(256, &[6, 0, 80])]);
    let two = ipfix(2, 0, &[with_template(), set(256, &[6, 0, 80, 17, 0, 53])]);
    let mut bad_length = one.clone();
    bad_length[3] = 9;
    let mut cut = [one.clone(), two.clone()].concat();
    cut.truncate(cut.len() - 1);
    check(
        &[
            [one.clone(), two.clone()].concat(),
            [two.clone(), bad_length].concat(),
            [one, netflow5(0, 0, &[vec![0; 48]])].concat(),
            cut,
        ],
        expect![[r#"
            3 rows
            2 rows, bad_length: IPFIX message at offset 42 says it is 9 bytes long
            1 rows, unknown_version: version 5 is none of NetFlow 1, 5, 7 and 9, IPFIX (10) and sFlow 5
            2 rows, truncated: IPFIX message at offset 39 needs 42 bytes, 41 left
        "#]],
    );
}

#[test]
fn a_wrong_count_in_a_netflow_v9_header_does_no_harm() {
    let mut datagram = netflow9(1, 0, &[set(0, &template(256, &[(0, 4, 1)])), set(256, &[6, 17, 1])]);
    for count in [0, 1, 200] {
        datagram[3] = count;
        let mut bench = Bench::new();
        let decoded = bench.decode(&datagram);
        assert_eq!((decoded.rows, decoded.error), (3, None), "count {count}");
    }
}

#[test]
fn data_too_short_for_its_template_is_a_loss_and_not_padding() {
    check(
        &[ipfix(1, 0, &[with_template(), set(256, &[6, 1])]), ipfix(1, 0, &[set(256, &[0, 0])])],
        expect![[r#"
            0 rows, truncated: data record at offset 36 needs 3 bytes, 2 left
            0 rows
        "#]],
    );
}

#[test]
fn data_too_short_for_a_template_of_any_kind_is_a_loss() {
    let text = set(2, &template(256, &[(0, 82, 65535), (0, 1, 4)]));
    let options = set(3, &ipfix_options(257, 1, &[(0, 149, 4), (0, 34, 4)]));
    check(
        &[
            ipfix(1, 0, &[text, set(256, &[2, b'a', 9])]),
            ipfix(1, 0, &[options, set(257, &[0, 0, 0, 1, 9])]),
            netflow9(1, 0, &[set(1, &netflow9_options(257, &[(1, 4)], &[(34, 4)])), set(257, &[0, 0, 0, 1, 9])]),
        ],
        expect![[r#"
            0 rows, truncated: data record at offset 36 needs 5 bytes, 3 left
            0 rows, truncated: data record at offset 38 needs 8 bytes, 5 left
            0 rows, truncated: data record at offset 42 needs 8 bytes, 5 left
        "#]],
    );
}

#[test]
fn an_options_record_that_runs_over_its_set_is_reported_and_those_before_it_count() {
    let options = ipfix_options(257, 1, &[(0, 149, 4), (0, 82, 65535), (0, 34, 4)]);
    let record =
        |name: &[u8], rate: u64| [&numbers(&[(1, 4), (name.len() as u64, 1)]), name, &numbers(&[(rate, 4)])].concat();
    // With a name, and with an empty one.
    for name in [&b"eth0"[..], b""] {
        let mut records = [record(name, 50), record(b"eth1", 60)].concat();
        records.pop();
        let mut bench = Bench::new();
        let decoded = bench.decode(&ipfix(1, 0, &[set(3, &options), set(257, &records)]));
        assert_eq!(decoded.error.map(|error| error.reason()), Some("bad_record"));
        assert_eq!(bench.stats().options_records, 1);
        bench.decode(&ipfix(1, 1, &[with_template(), set(256, &[6, 0, 80])]));
        let text = bench.text(&["sampling_rate"]);
        assert!(text.ends_with("1 rows\nsampling_rate\n50\n"), "{text}");
    }
}

#[test]
fn templates_that_promise_too_much_are_refused() {
    let huge = template(256, &[(0, 1, 60_000), (0, 2, 60_000)]);
    let cut = template(257, &[(0, 1, 4)])[..6].to_vec();
    let options = [numbers(&[(258, 2), (3, 2), (5, 2)]), vec![0; 8]].concat();
    check(
        &[ipfix(1, 0, &[set(2, &huge)]), ipfix(1, 0, &[set(2, &cut)]), netflow9(1, 0, &[set(1, &options)])],
        expect![[r#"
            0 rows, bad_template: template 256 in observation domain 1: netflow_parser refuses it
            0 rows, bad_template: template 257 in observation domain 1: it does not end within its set
            0 rows, bad_template: template 258 in observation domain 1: a length in it is wrong
        "#]],
    );
}

/// Datagrams of all kinds, as a start for worse ones.
fn seeds() -> Vec<Vec<u8>> {
    let fields =
        [(0, 8, 4), (0, 27, 16), (0, 82, 65535), (9, 5, 4), (0, 1, 8), (29_305, 1, 8), (0, 70, 3), (0, 311, 8)];
    let body = [vec![1; 20], vec![3, 1, 2, 3], vec![1; 31]].concat();
    let mut sampler = netflow9(
        1,
        3,
        &[
            set(1, &netflow9_options(258, &[(1, 4)], &[(48, 1), (50, 4)])),
            set(258, &numbers(&[(1, 4), (1, 1), (100, 4)])),
        ],
    );
    sampler.extend([0; 4]);
    vec![
        netflow5(0, 100, &[vec![1; 48], vec![2; 48]]),
        netflow1(&[vec![1; 48], vec![2; 48]]),
        netflow1(&[vec![1; 52], vec![2; 52]]),
        netflow7(0, &[vec![1; 52], vec![2; 52]]),
        netflow9(
            1,
            0,
            &[set(0, &template(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (0, 4, 1), (0, 11, 2)])), set(256, &[9; 47])],
        ),
        netflow9(1, 1, &[set(257, &[9; 47]), set(256, &[9; 47])]),
        sampler,
        ipfix(1, 0, &[set(2, &template(256, &fields)), set(256, &body)]),
        ipfix(1, 1, &[set(3, &ipfix_options(259, 1, &[(0, 149, 4), (0, 34, 4), (0, 82, 65535)])), set(259, &[1; 12])]),
        ipfix(1, 2, &[set(2, &numbers(&[(256, 2), (0, 2), (2, 2), (0, 2)])), set(256, &body)]),
    ]
}

fn custom() -> Vec<CustomField> {
    let field = |name: &str, width, pen, id| CustomField { name: name.to_owned(), width, element: Some((pen, id)) };
    vec![
        field("text", Width::Text, 0, 82),
        field("address", Width::Text, 0, 8),
        field("float", Width::U8, 0, 311),
        field("list", Width::Lists, 9, 5),
    ]
}

/// A change to a datagram: where, and to what.
type Change = (prop::sample::Index, u8);

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn changed_cut_and_repeated_datagrams_never_panic_and_their_rows_are_counted(
        order in vec((any::<prop::sample::Index>(), vec(any::<(prop::sample::Index, u8)>(), 0..6), any::<u16>()), 1..12),
    ) {
        let order: Vec<(prop::sample::Index, Vec<Change>, u16)> = order;
        let seeds = seeds();
        let limits = Limits { exporters: 2, templates_per_exporter: 2, pending_bytes: 500, ..Limits::default() };
        let mut bench = Bench::with(custom(), ColumnSet::ALL, limits);
        let mut rows = 0;
        for (seed, changes, cut) in order {
            let mut datagram = seeds[seed.index(seeds.len())].clone();
            for (place, byte) in changes {
                let place = place.index(datagram.len());
                datagram[place] = byte;
            }
            if cut % 4 == 0 {
                datagram.truncate(usize::from(cut) % (datagram.len() + 1));
            }
            bench.now_ns += 1_000_000_000;
            rows += bench.decode(&datagram).rows;
        }
        prop_assert_eq!(bench.stats().rows, rows as u64);
        prop_assert_eq!(bench.batch().rows(), rows);
        prop_assert!(bench.stats().exporters <= 2 && bench.stats().pending_bytes <= 500);
    }

    #[test]
    fn any_bytes_at_all_give_rows_or_a_reason(version in 0..12_u8, bytes in vec(any::<u8>(), 0..400)) {
        let datagram = [vec![0, version], bytes].concat();
        let mut bench = Bench::new();
        let decoded = bench.decode(&datagram);
        let errors: u64 = bench.stats().errors().map(|(_, count)| count).sum();
        prop_assert_eq!(decoded.error.is_some(), errors > 0);
        prop_assert_eq!(bench.batch().rows(), decoded.rows);
    }
}
