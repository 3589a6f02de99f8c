use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::kernels::{self, Cmp, Comparison};
use crate::{Denied, Key, KeyColumns, Others, Reason, Table, Values, columns, log};

type Step = fn(&mut Batch) -> Result<(), Failure>;

/// A plugin that does what the test says.
#[derive(Default)]
struct Act {
    reads: Vec<ColumnId>,
    writes: Vec<ColumnId>,
    act: Option<Step>,
}

impl Plugin for Act {
    fn init(&mut self, _: &str, manifest: &mut Manifest) -> Result<(), String> {
        manifest.reads.clone_from(&self.reads);
        manifest.writes.clone_from(&self.writes);
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.act.map_or(Ok(()), |act| act(batch))
    }
}

fn run(harness: &mut Harness, act: Step) -> Result<(), Failure> {
    harness.run(&mut Act { act: Some(act), ..Act::default() })
}

fn three() -> Harness {
    Harness::new()
        .rows(3)
        .now_ms(7)
        .column(columns::BYTES, [1, 2, 3])
        .addrs(columns::SRC_ADDR, ["192.0.2.1", "", "2001:db8::1"])
        .texts(columns::NOTE, ["a", "b", "a"])
        .lists(columns::AS_PATH, [&[1, 2][..], &[], &[3]])
}

#[test]
fn a_plugin_reads_what_is_there_and_what_it_wrote() {
    let mut harness = three();
    run(&mut harness, |batch| {
        assert_eq!((batch.rows(), batch.now_ms()), (3, 7));
        assert_eq!(batch.get(columns::BYTES)?, [1, 2, 3]);
        assert_eq!(batch.get(columns::PACKETS), Err(Denied::of(21, Reason::Absent)));
        assert_eq!(batch.get_or_zero(columns::PROTO)?, [0, 0, 0]);
        assert_eq!(batch.get(Column::<u8>::new(20)).unwrap_err().reason, Reason::WrongWidth(Width::U64));
        assert_eq!(batch.addresses(columns::SRC_ADDR)?.lo, [0xffff_c000_0201, 0, 1]);
        assert_eq!(batch.texts(columns::NOTE)?.get(2), "a");
        assert_eq!(batch.lists(columns::AS_PATH)?.get(0), [1, 2]);
        assert_eq!(batch.set(columns::BYTES, &[9]), Err(Denied::of(20, Reason::WrongLength(3))));
        batch.set(columns::BYTES, &[7, 8, 9])?;
        assert_eq!(batch.get(columns::BYTES)?, [7, 8, 9]);
        batch.clear(columns::NOTE.id())?;
        assert_eq!(batch.find_texts(columns::NOTE)?, None);
        let mut odd = Bitmap::none(3);
        odd.set(1, true);
        batch.keep(&odd)?;
        batch.route(&["x".into(), "y".into()], &[0, 1, 0])?;
        Ok(())
    })
    .unwrap();
    assert_eq!(harness.get(columns::BYTES), [7, 8, 9]);
    assert_eq!(harness.changes(), ["bytes", "note"]);
    assert!(harness.touched(columns::NOTE.id()) && !harness.has(columns::NOTE.id()));
    assert_eq!(harness.kept(), [1]);
    assert_eq!(harness.routes(), ["x", "y", "x"]);
}

#[test]
fn a_failed_call_leaves_nothing_behind_but_log_lines() {
    let mut harness = three();
    let failure = run(&mut harness, |batch| {
        batch.set(columns::BYTES, &[7, 8, 9])?;
        batch.keep(&Bitmap::none(3))?;
        let alert = Alert {
            kind: "k".into(),
            severity: 5,
            subject: "s".into(),
            value: 1.0,
            threshold: 1.0,
            note: String::new(),
        };
        alert.emit();
        crate::warn!("gave up after {}", 3);
        Err(Failure::RetryLater("later".into()))
    });
    assert_eq!(failure, Err(Failure::RetryLater("later".into())));
    assert_eq!(harness.get(columns::BYTES), [1, 2, 3]);
    assert_eq!(harness.kept(), [0, 1, 2]);
    assert!(harness.alerts().is_empty() && harness.changes().is_empty());
    assert_eq!(harness.log_lines(), [(log::Level::Warn, "gave up after 3".to_owned())]);
}

#[test]
fn after_init_only_the_manifest_is_granted() {
    let mut harness = three();
    let mut plugin = Act { reads: vec![20], writes: vec![21], act: None };
    harness.init(&mut plugin, "{}").unwrap();
    plugin.act = Some(|batch| {
        assert_eq!(batch.get(columns::BYTES)?, [1, 2, 3]);
        batch.set(columns::PACKETS, &[1, 1, 1])?;
        assert_eq!(batch.texts(columns::NOTE).unwrap_err().reason, Reason::NotGranted);
        assert!(!batch.has(columns::NOTE.id()));
        batch.set(columns::BYTES, &[0, 0, 0])?;
        Ok(())
    });
    let failure = harness.run(&mut plugin).unwrap_err();
    assert_eq!(failure.message(), "column `bytes`: the stage's grant does not cover it");
}

#[test]
fn kernels_see_columns_as_written() {
    let mut harness = three();
    run(&mut harness, |batch| {
        batch.set(columns::BYTES, &[10, 20, 30])?;
        let large = kernels::test(batch, columns::BYTES, Cmp::Gt, 10)?;
        assert_eq!(large.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(kernels::sum(batch, columns::BYTES, &large)?, 50);
        let both = [Comparison::new(columns::BYTES, Cmp::Gt, 10), Comparison::new(columns::BYTES, Cmp::Lt, 30)];
        assert_eq!(kernels::test_all(batch, &both)?.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(kernels::test_all(batch, &[])?.count(), 3);
        let text = Comparison { column: columns::NOTE.id(), ..both[0] };
        assert_eq!(kernels::test_all(batch, &[both[0], text]).unwrap_err().column, Some(columns::NOTE.id()));
        assert_eq!(
            kernels::test_all(batch, &[both[0]; 65]).unwrap_err(),
            Denied { column: None, reason: Reason::OutOfRange }
        );
        assert_eq!(kernels::test_in(batch, columns::PROTO, &[0])?.count(), 3);
        let documentation = u128::from(0x2001_0db8_u32) << 96;
        assert_eq!(kernels::test_prefix(batch, columns::SRC_ADDR, documentation, 32)?.iter().collect::<Vec<_>>(), [2]);
        kernels::fill(batch, columns::CUSTOMER_ID, &large, 5)?;
        Ok(())
    })
    .unwrap();
    assert_eq!(harness.get(columns::CUSTOMER_ID), [0, 5, 5]);
}

#[test]
fn a_column_of_any_width_is_filled_and_keeps_its_other_rows() {
    let mut harness = three();
    run(&mut harness, |batch| {
        let (first, last) = (Bitmap::from_fn(3, |row| row == 0), Bitmap::from_fn(3, |row| row == 2));
        kernels::fill(batch, columns::BYTES, &first, u64::MAX)?;
        kernels::fill(batch, columns::BYTES, &last, 9)?;
        kernels::fill(batch, columns::PROTO, &last, 255)?;
        kernels::fill(batch, columns::DST_PORT, &first, 443)?;
        let wide = kernels::fill(batch, Column::<u32>::new(columns::PROTO.id()), &last, 256).unwrap_err();
        assert_eq!(wide.reason, Reason::OutOfRange);
        let text = kernels::fill(batch, Column::<u32>::new(columns::NOTE.id()), &last, 1).unwrap_err();
        assert_eq!(text.reason, Reason::WrongWidth(Width::Text));
        let long = kernels::fill(batch, columns::PROTO, &Bitmap::all(33), 1).unwrap_err();
        assert_eq!(long.reason, Reason::WrongLength(1));
        batch.set(columns::PACKETS, &[1, 2, 3])?;
        batch.clear(columns::PACKETS.id())?;
        kernels::fill(batch, columns::PACKETS, &first, 7)?;
        Ok(())
    })
    .unwrap();
    assert_eq!(harness.get(columns::BYTES), [u64::MAX, 2, 9]);
    assert_eq!(harness.get(columns::PROTO), [0, 0, 255]);
    assert_eq!(harness.get(columns::DST_PORT), [443, 0, 0]);
    assert_eq!(harness.get(columns::PACKETS), [7, 0, 0]);
}

#[test]
fn rows_are_grouped_and_asked_for_by_group() {
    let mut harness = Harness::new()
        .rows(5)
        .addrs(columns::SRC_ADDR, ["192.0.2.1", "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.1"])
        .column(columns::PROTO, [6, 6, 17, 6, 6])
        .column(columns::BYTES, [10, 20, 30, 40, u64::MAX])
        .column(columns::SAMPLING_RATE, [1, 2, 3, 4, 5])
        .texts(columns::NOTE, ["a", "b", "a", "", "b"]);
    run(&mut harness, |batch| {
        let src =
            [columns::SRC_ADDR.hi.id(), columns::SRC_ADDR.lo.id(), columns::PROTO.id(), columns::CUSTOMER_ID.id()];
        let only: Bitmap = [true, true, true, false, true].into_iter().collect();
        let groups = kernels::group(batch, &src, Some(&only))?;
        assert_eq!((groups.firsts(), groups.count()), (&[0, 1, 2][..], 4));
        assert_eq!((groups.of_rows()?, groups.counts(None)?), (vec![0, 1, 2, 3, 0], vec![2, 1, 1, 1]));
        assert_eq!(groups.sums(columns::PROTO, None, None)?, [12, 6, 17, 6]);
        let rate = Some(columns::SAMPLING_RATE);
        assert_eq!(groups.sums(columns::BYTES, rate, None)?, [u64::MAX, 40, 90, 160]);
        let few: Bitmap = [true, false, true, true, false].into_iter().collect();
        assert_eq!(groups.sums(columns::BYTES, rate, Some(&few))?, [10, 0, 90, 160]);
        assert_eq!(groups.counts(Some(&few))?, [1, 0, 1, 1]);
        assert_eq!(
            (groups.numbers(columns::BYTES)?, groups.texts(columns::NOTE)?),
            (vec![10, 20, 30], texts(&["a", "b", "a"]))
        );
        let mut groups = kernels::group(batch, &[columns::NOTE.id()], None)?;
        assert_eq!((groups.of_rows()?, groups.count()), (vec![0, 1, 0, 2, 1], 3));
        groups.keep(&[true, true, false].into_iter().collect())?;
        groups.route(&texts(&["other", "bees"]), &[0, 1, 0])?;
        Ok(())
    })
    .unwrap();
    assert_eq!(harness.kept(), [0, 1, 2, 4]);
    assert_eq!(harness.routes(), ["other", "bees", "other", "other", "bees"]);
}

#[test]
fn groups_refuse_what_the_host_refuses() {
    let mut harness = three();
    run(&mut harness, |batch| {
        let denied = |reason| Denied { column: None, reason };
        let few = Bitmap::all(40);
        assert_eq!(kernels::group(batch, &[columns::PROTO.id(); 9], None).unwrap_err(), denied(Reason::OutOfRange));
        assert_eq!(kernels::group(batch, &[], Some(&few)).unwrap_err(), denied(Reason::WrongLength(1)));
        let lists = kernels::group(batch, &[columns::AS_PATH.id()], None).unwrap_err();
        assert_eq!(lists.reason, Reason::WrongWidth(Width::Lists));
        // Columns that are absent tell no rows apart.
        let mut groups = kernels::group(batch, &[columns::PACKETS.id(), columns::SRC_COUNTRY.id()], None)?;
        assert_eq!((groups.firsts(), groups.of_rows()?), (&[0][..], vec![0; 3]));
        assert_eq!(groups.counts(Some(&few)).unwrap_err(), denied(Reason::WrongLength(1)));
        assert_eq!(groups.sums(columns::PACKETS, None, Some(&few)).unwrap_err().reason, Reason::WrongLength(1));
        assert_eq!((groups.numbers(columns::PACKETS)?, groups.texts(columns::SRC_COUNTRY)?), (vec![0], texts(&[""])));
        assert_eq!(groups.keep(&few).unwrap_err(), denied(Reason::WrongLength(1)));
        assert_eq!(groups.route(&texts(&["a"]), &[0, 0]).unwrap_err(), denied(Reason::WrongLength(1)));
        assert_eq!(groups.route(&texts(&["a"]), &[1]).unwrap_err(), denied(Reason::OutOfRange));
        let beyond = kernels::numbers_at(batch, columns::BYTES, &[0, 3]).unwrap_err();
        assert_eq!((beyond.column, beyond.reason), (Some(columns::BYTES.id()), Reason::OutOfRange));
        assert_eq!(kernels::texts_at(batch, columns::NOTE, &[3]).unwrap_err().reason, Reason::OutOfRange);
        Ok(())
    })
    .unwrap();
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn an_address_is_truncated_by_family_and_an_absent_one_stays_absent() {
    let mut harness = three();
    run(&mut harness, |batch| {
        let rows = |bitmap: &Bitmap| bitmap.iter().collect::<Vec<_>>();
        let families = kernels::truncate(batch, columns::SRC_ADDR, 32, 128)?;
        assert_eq!((rows(&families.v4), rows(&families.v6)), (vec![0], vec![2]));
        assert_eq!(kernels::truncate(batch, columns::SRC_ADDR, 24, 32)?, families);
        let reason = |v4, v6| kernels::truncate(&mut Batch::current(), columns::SRC_ADDR, v4, v6).unwrap_err().reason;
        assert_eq!((reason(33, 128), reason(32, 129)), (Reason::OutOfRange, Reason::OutOfRange));
        assert_eq!(kernels::truncate(batch, columns::DST_ADDR, 0, 0).unwrap_err().reason, Reason::Absent);
        Ok(())
    })
    .unwrap();
    assert_eq!(harness.get_addrs(columns::SRC_ADDR), ["192.0.2.0", "", "2001:db8::"]);
    assert_eq!(harness.changes(), ["src_addr_hi", "src_addr_lo"]);
}

#[test]
fn families_need_the_right_to_read_and_truncation_the_right_to_write() {
    let mut harness = three();
    let (hi, lo) = (columns::SRC_ADDR.hi.id(), columns::SRC_ADDR.lo.id());
    let mut plugin = Act { reads: vec![hi, lo], writes: vec![hi], act: None };
    harness.init(&mut plugin, "{}").unwrap();
    plugin.act = Some(|batch| {
        assert_eq!(kernels::truncate(batch, columns::SRC_ADDR, 32, 128)?.v4.count(), 1);
        kernels::truncate(batch, columns::SRC_ADDR, 24, 128)?;
        Ok(())
    });
    let failure = harness.run(&mut plugin).unwrap_err();
    assert!(failure.message().ends_with("the stage's grant does not cover it"), "{failure:?}");
    assert!(harness.changes().is_empty());
}

proptest! {
    #[test]
    fn truncation_is_what_a_loop_over_the_rows_would_do(
        addresses in prop::collection::vec(prop_oneof![
            4 => any::<u32>().prop_map(|v4| 0xffff << 32 | u128::from(v4)),
            1 => any::<u128>(),
            1 => prop_oneof![Just(0), Just(1), Just(0xffff << 32), Just(0xffff << 32 | 1 << 64)],
        ], 0..80),
        v4_bits in 0..=32_u8,
        v6_bits in 0..=128_u8,
    ) {
        let mut harness = Harness::new()
            .rows(addresses.len())
            .column(columns::SRC_ADDR.hi, addresses.iter().map(|address| (address >> 64) as u64).collect::<Vec<_>>())
            .column(columns::SRC_ADDR.lo, addresses.iter().map(|address| *address as u64).collect::<Vec<_>>());
        let mut plugin = Truncate { bits: (v4_bits, v6_bits), families: None };
        harness.run(&mut plugin).unwrap();
        let families = plugin.families.unwrap();
        let (hi, lo) = (harness.get(columns::SRC_ADDR.hi), harness.get(columns::SRC_ADDR.lo));
        for (row, before) in addresses.iter().enumerate() {
            let is_v4 = *before >> 32 == 0xffff;
            let bits = if is_v4 { 96 + u32::from(v4_bits) } else { u32::from(v6_bits) };
            let left = before & u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            prop_assert_eq!(u128::from(hi[row]) << 64 | u128::from(lo[row]), left);
            prop_assert_eq!((families.v4.get(row), families.v6.get(row)), (is_v4, !is_v4 && *before != 0));
        }
    }
}

#[derive(Default)]
struct Truncate {
    bits: (u8, u8),
    families: Option<kernels::Families>,
}

impl Plugin for Truncate {
    fn init(&mut self, _: &str, _: &mut Manifest) -> Result<(), String> {
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.families = Some(kernels::truncate(batch, columns::SRC_ADDR, self.bits.0, self.bits.1)?);
        Ok(())
    }
}

#[test]
fn a_table_answers_the_longest_prefix_and_a_key_keeps_common_ones() {
    let table = MemoryTable::new([("192.0.0.0/8", "far"), ("192.0.2.0/24", "near"), ("2001:db8::/32", "six")]);
    let mut harness = three().table("t", table).key("k", ToyKey(1));
    run(&mut harness, |batch| {
        let table = Table::open("t").map_err(Failure::Fatal)?;
        let codes = table.lookup_columns(batch, columns::SRC_ADDR)?;
        let values: Vec<_> = codes.iter().map(|code| table.value(*code)).collect();
        assert_eq!(values, [Some("near".to_owned()), None, Some("six".to_owned())]);
        assert_eq!(table.find_columns(batch, columns::DST_ADDR)?, None);
        assert_eq!(Table::open("u").unwrap_err(), "there is no table `u`");
        Key::open("k").map_err(Failure::Fatal)?.prefix_preserving(batch, columns::SRC_ADDR)?;
        Ok(())
    })
    .unwrap();
    let addrs = harness.get_addrs(columns::SRC_ADDR);
    assert!(addrs[0].parse::<IpAddr>().unwrap().is_ipv4() && addrs[0] != "192.0.2.1");
    assert_eq!(addrs[1], "");
    let key = ToyKey(1);
    let (mut hi, mut lo) = (vec![1 << 60, 1 << 60 | 1 << 59], vec![0, 0]);
    key.prefix_preserving(&mut hi, &mut lo);
    assert_eq!((hi[0] ^ hi[1]).leading_zeros(), 4);
}

#[test]
fn what_a_table_says_is_written_into_columns_of_every_kind() {
    let table = MemoryTable::new([("192.0.2.0/24", "7"), ("198.51.100.0/24", "x"), ("2001:db8::/32", "AS300")]);
    let sources = ["192.0.2.1", "198.51.100.7", "2001:db8::1"];
    let mut harness = three().addrs(columns::SRC_ADDR, sources).table("t", table);
    run(&mut harness, |batch| {
        let table = Table::open("t").map_err(Failure::Fatal)?;
        let by = KeyColumns::address(columns::SRC_ADDR);
        let only = |chosen: [bool; 3]| chosen.into_iter().collect::<Bitmap>();
        let middle = only([false, true, false]);

        assert!(table.lookup_into(batch, by, columns::NOTE.id(), Some(&middle), Others::Blank)?);
        assert_eq!(batch.texts(columns::NOTE)?.words, ["", "x"]);
        assert!(table.lookup_into(batch, by, columns::NOTE.id(), Some(&middle.not()), Others::Keep)?);
        let notes = batch.texts(columns::NOTE)?;
        assert_eq!((notes.get(0), notes.get(1), notes.get(2)), ("7", "x", "AS300"));

        batch.set(columns::BYTES, &[10, 20, 30])?;
        table.lookup_into(batch, by, columns::BYTES.id(), Some(&only([false, true, true])), Others::Keep)?;
        assert_eq!(batch.get(columns::BYTES)?, [10, 20, 300]);
        table.lookup_into(batch, by, columns::BYTES.id(), None, Others::Blank)?;
        assert_eq!(batch.get(columns::BYTES)?, [7, 0, 300]);
        table.lookup_into(batch, by, columns::TOS.id(), None, Others::Keep)?;
        assert_eq!(batch.get(columns::TOS)?, [7, 0, 0]);

        let by_none = KeyColumns::address(columns::DST_ADDR);
        assert!(!table.lookup_into(batch, by_none, columns::DST_AS.id(), None, Others::Blank)?);
        assert_eq!(batch.find(columns::DST_AS)?, None);
        let refused = |denied: Denied| (denied.column, denied.reason);
        let lists = table.lookup_into(batch, by, columns::MPLS_LABELS.id(), None, Others::Blank).map_err(refused);
        assert_eq!(lists, Err((Some(columns::MPLS_LABELS.id()), Reason::WrongWidth(Width::Lists))));
        let number = KeyColumns::number(columns::BYTES.id());
        let by_number = table.lookup_into(batch, number, columns::NOTE.id(), None, Others::Blank).map_err(refused);
        assert_eq!(by_number, Err((Some(columns::BYTES.id()), Reason::WrongWidth(Width::U64))));
        let short = table.lookup_into(batch, by, columns::NOTE.id(), Some(&Bitmap::none(0)), Others::Blank);
        assert_eq!(short.map_err(refused), Err((Some(columns::NOTE.id()), Reason::WrongLength(1))));
        Ok(())
    })
    .unwrap();
    let line =
        "the value `x` of the table `t` is no number that `bytes` has room for; it and others like it count as none";
    assert_eq!(harness.log_lines(), [(Level::Warn, line.to_owned())]);
}

#[test]
fn an_operators_own_column_is_found_by_name() {
    let mut harness = Harness::new();
    let id = harness.add_column("score", Width::U16);
    let mut harness = harness.rows(1).column(Column::<u16>::new(id), [3]);
    run(&mut harness, |batch| {
        let score = crate::column_of("score").expect("added above");
        assert_eq!(batch.any(score)?, Values::U16(vec![3]));
        assert_eq!(batch.any(columns::BYTES.id()).unwrap_err().reason, Reason::Absent);
        assert_eq!(batch.get(Column::<u16>::new(score))?, [3]);
        assert_eq!(crate::column_of("scores"), None);
        Ok(())
    })
    .unwrap();
}

#[test]
fn outside_of_process_there_is_no_batch() {
    let batch = Batch::current();
    assert_eq!(batch.rows(), 0);
    assert_eq!(batch.get(columns::BYTES).unwrap_err().reason, Reason::NoBatch);
}
