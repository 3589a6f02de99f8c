//! Guessing from values.

use proptest::prelude::*;

use super::*;

/// A flow as an exporter sends it, with its times.
fn flow(seed: u64) -> Batch {
    let mut random = random(seed);
    let mut out = builder();
    out.set_u8(col::FLOW_TYPE, 4);
    for column in [col::RECEIVED_NS, col::FIRST_NS, col::LAST_NS] {
        out.set_u64(column, 1_600_000_000_000_000_000 + random() % 1_000_000_000_000_000_000);
    }
    out.set_u64(col::BYTES, random());
    out.set_u16(col::SRC_PORT, random() as u16);
    out.set_u64(col::SRC_ADDR_HI, random());
    out.set_u8(col::IP_FLAGS, random() as u8 & 7);
    out.advance(1);
    out.finish(1, 0)
}

proptest! {
    #[test]
    fn what_we_write_is_told_by_its_values(seeds in prop::collection::vec(any::<u64>(), 1..5)) {
        for dialect in Dialect::ALL {
            let messages: Vec<_> = seeds.iter().map(|seed| encoded(dialect, &flow(*seed))).collect();
            let values: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
            prop_assert_eq!(detect(&values), Some((dialect, Framing::Bare)));
            let framed = delimited(&values);
            prop_assert_eq!(detect(&[&framed, &framed]), Some((dialect, Framing::Delimited)));
        }
    }
}

#[test]
fn values_that_disagree_or_say_nothing_are_not_guessed() {
    let [goflow2, flowpipeline, bwnetflow] = Dialect::ALL.map(|dialect| encoded(dialect, &flow(3)));
    assert_eq!(detect(&[&goflow2, &bwnetflow]), None);
    assert_eq!(detect(&[&goflow2, &delimited(&[&goflow2])]), None);
    assert_eq!(detect(&[]), None);
    assert_eq!(detect(&[b""]), None);
    assert_eq!(detect(&[&number(9, 1500)]), None);
    assert_eq!(detect(&[br#"{"type":"IPFIX","bytes":1500}"#]), None);
    // goflow2's fields are all flowpipeline's, so that one value may tell for all.
    assert_eq!(detect(&[&goflow2, &flowpipeline]), Some((Dialect::Flowpipeline, Framing::Bare)));
}

#[test]
fn a_legacy_message_is_told_by_its_customer_too_and_flags_are_no_time() {
    assert_eq!(detect(&[&number(1000, 7)]), Some((Dialect::Bwnetflow, Framing::Bare)));
    let seconds = [number(2, 1_700_000_000), number(5, 1_700_000_000)].concat();
    assert_eq!(detect(&[&seconds]), Some((Dialect::Bwnetflow, Framing::Bare)));
    assert_eq!(detect(&[&[&seconds[..], &number(38, 2)].concat()]), None);
    let both = [number(111, 1_700_000_000_000_000_000), number(38, 1_700_000_000)].concat();
    assert_eq!(detect(&[&both]), None);
}
