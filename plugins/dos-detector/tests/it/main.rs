//! What the detector alerts about, on the harness.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use sluice_plugin_dos_detector::DosDetector;
use sluice_sdk::harness::{Harness, MemoryTable};
use sluice_sdk::{Alert, Plugin, columns};

const UDP: u8 = 17;
const TCP: u8 = 6;
const VICTIM: &str = "192.0.2.1";

/// A detector, its world and the alerts so far.
struct Run {
    plugin: DosDetector,
    harness: Harness,
    log: String,
}

fn render(log: &mut String, at_ms: u64, alerts: &[Alert]) {
    for alert in alerts {
        writeln!(log, "{at_ms} {} {} {}", alert.kind, alert.severity, alert.note).expect("a String takes everything");
    }
}

impl Run {
    fn new(config: &str) -> Run {
        let mut run = Run {
            plugin: DosDetector::default(),
            harness: Harness::new().table("ours", MemoryTable::new([("192.0.2.0/24", "x")])),
            log: String::new(),
        };
        run.harness.init(&mut run.plugin, config).expect("the configuration is right");
        run
    }

    /// One batch at `now_ms`: rows of destination, protocol, TCP flags, bytes and packets.
    fn batch(&mut self, now_ms: u64, rows: &[(&str, u8, u16, u64, u64)]) {
        let column = |of: fn(&(&str, u8, u16, u64, u64)) -> u64| rows.iter().map(of).collect::<Vec<_>>();
        self.harness = std::mem::take(&mut self.harness)
            .rows(rows.len())
            .now_ms(now_ms)
            .addrs(columns::DST_ADDR, rows.iter().map(|row| row.0))
            .column(columns::PROTO, rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .column(columns::TCP_FLAGS, rows.iter().map(|row| row.2).collect::<Vec<_>>())
            .column(columns::BYTES, column(|row| row.3))
            .column(columns::PACKETS, column(|row| row.4));
        self.go(now_ms);
    }

    fn go(&mut self, now_ms: u64) {
        self.harness.run(&mut self.plugin).expect("everything is granted");
        render(&mut self.log, now_ms, self.harness.alerts());
    }

    /// A batch of `packets` UDP packets to the victim.
    fn udp(&mut self, now_ms: u64, packets: u64) {
        self.batch(now_ms, &[(VICTIM, UDP, 0, packets * 100, packets)]);
    }

    fn tick(&mut self, now_ms: u64) {
        let before = self.harness.alerts().len();
        self.harness.tick(&mut self.plugin, now_ms);
        render(&mut self.log, now_ms, &self.harness.alerts()[before..]);
    }

    fn check(&self, log: Expect) {
        log.assert_eq(&self.log);
    }
}

fn check_error(config: &str, message: Expect) {
    let error = Harness::new().init(&mut DosDetector::default(), config);
    message.assert_eq(&error.expect_err("the configuration is wrong"));
}

const PACKETS: &str = r#"{"hosts": {"udp": {"packets": 100}}, "window_s": 10, "hold_s": 5}"#;

#[test]
fn a_flood_is_raised_once_and_cleared_after_the_hold_time() {
    let mut run = Run::new(PACKETS);
    for second in 0..20 {
        run.udp(second * 1000, 200);
    }
    for second in 20..40 {
        run.tick(second * 1000);
    }
    run.check(expect![[r#"
        4000 dos-raised 1 udp: 100 packets/s to 192.0.2.1, threshold 100
        32000 dos-cleared 5 udp: 0 packets/s to 192.0.2.1, threshold 100; raised for 28 s, at most 200
    "#]]);
}

#[test]
fn below_the_threshold_nothing_is_said() {
    let mut run = Run::new(PACKETS);
    for second in 0..60 {
        run.udp(second * 1000, 99);
    }
    run.check(expect![""]);
}

#[test]
fn a_rate_between_both_thresholds_keeps_the_alert() {
    let mut run = Run::new(PACKETS);
    for second in 0..10 {
        run.udp(second * 1000, 150);
    }
    for second in 10..60 {
        run.udp(second * 1000, 90);
    }
    run.check(expect![[r#"
          6000 dos-raised 1 udp: 105 packets/s to 192.0.2.1, threshold 100
    "#]]);
}

#[test]
fn an_attack_that_comes_back_within_the_hold_time_is_the_same_one() {
    let mut run = Run::new(r#"{"hosts": {"udp": {"packets": 100}}, "window_s": 2, "hold_s": 5}"#);
    for second in [0, 1, 5, 6, 7, 11, 12, 20] {
        run.udp(second * 1000, 200);
    }
    run.check(expect![[r#"
        0 dos-raised 1 udp: 100 packets/s to 192.0.2.1, threshold 100
        20000 dos-cleared 5 udp: 0 packets/s to 192.0.2.1, threshold 100; raised for 20 s, at most 200
        20000 dos-raised 1 udp: 100 packets/s to 192.0.2.1, threshold 100
    "#]]);
}

#[test]
fn each_class_and_unit_has_its_own_threshold() {
    let config = r#"{"window_s": 1, "bucket_ms": 1000, "hosts": {
        "total": {"flows": 6}, "tcp": {"bits": 16000}, "tcp_syn": {"packets": 2}, "icmp": {"packets": 3}, "udp": {"bits": 80000}}}"#;
    let mut run = Run::new(config);
    run.batch(
        0,
        &[
            (VICTIM, TCP, 0x02, 1000, 1),
            (VICTIM, TCP, 0x12, 500, 1),
            (VICTIM, TCP, 0x02, 1000, 1),
            (VICTIM, 1, 0, 64, 2),
            ("2001:db8::1", 58, 0, 64, 3),
            (VICTIM, UDP, 0, 9999, 9),
        ],
    );
    run.batch(100, &[(VICTIM, 47, 0, 1, 1)]);
    run.check(expect![[r#"
        0 dos-raised 1 tcp: 20000 bits/s to 192.0.2.1, threshold 16000
        0 dos-raised 1 tcp_syn: 2 packets/s to 192.0.2.1, threshold 2
        0 dos-raised 1 icmp: 3 packets/s to 2001:db8::1, threshold 3
        100 dos-raised 1 total: 6 flows/s to 192.0.2.1, threshold 6
    "#]]);
    assert_eq!(run.harness.counter("raised"), 4);
    assert_eq!(run.harness.gauge("alarms"), Some(4.0));
}

#[test]
fn prefixes_and_the_network_see_what_no_host_shows() {
    let config = r#"{"window_s": 1, "prefixes": [{"v4": 24, "v6": 48, "total": {"packets": 30}}], "network": {"total": {"packets": 90}}}"#;
    let mut run = Run::new(config);
    let spread = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8:1:2::3", "2001:db8:1:9::4", "2001:db8:2::1", ""];
    run.batch(0, &spread.map(|addr| (addr, UDP, 0, 100, 15)));
    run.check(expect![[r#"
             0 dos-raised 1 total: 45 packets/s to 192.0.2.0/24, threshold 30
             0 dos-raised 1 total: 30 packets/s to 2001:db8:1::/48, threshold 30
             0 dos-raised 1 total: 105 packets/s to network, threshold 90
    "#]]);
}

#[test]
fn counters_are_multiplied_by_the_sampling_rate_once() {
    let config = r#"{"window_s": 1, "hosts": {"total": {"packets": 100}}, "fallback_rate": 7}"#;
    let mut run = Run::new(config);
    run.harness = std::mem::take(&mut run.harness)
        .rows(3)
        .addrs(columns::DST_ADDR, ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        .column(columns::PACKETS, [10, 15, 50])
        .column(columns::SAMPLING_RATE, [10, 0, 10])
        .column(columns::NORMALIZED, [0, 0, 1]);
    run.go(0);
    run.check(expect![[r#"
             0 dos-raised 1 total: 100 packets/s to 192.0.2.1, threshold 100
             0 dos-raised 1 total: 105 packets/s to 192.0.2.2, threshold 100
    "#]]);
}

#[test]
fn only_protected_destinations_count() {
    let mut run = Run::new(r#"{"window_s": 1, "hosts": {"total": {"packets": 1}}, "protect": "ours"}"#);
    run.batch(0, &[("198.51.100.1", UDP, 0, 1, 9), (VICTIM, UDP, 0, 1, 9), ("", UDP, 0, 1, 9)]);
    run.check(expect![[r#"
             0 dos-raised 1 total: 9 packets/s to 192.0.2.1, threshold 1
    "#]]);
}

#[test]
fn late_batches_count_in_their_own_bucket() {
    let mut run = Run::new(PACKETS);
    run.udp(9_000, 400);
    run.udp(1_000, 400);
    // Second 1 has left the window, second 9 has not.
    run.udp(11_500, 400);
    run.check(expect![""]);
    run.udp(10_500, 200);
    run.check(expect![[r#"
         10500 dos-raised 1 udp: 100 packets/s to 192.0.2.1, threshold 100
    "#]]);
}

#[test]
fn time_that_goes_back_for_good_begins_anew() {
    let mut run = Run::new(PACKETS);
    run.udp(1_000_000, 900);
    for second in 0..9 {
        run.udp(second * 1000, 110);
    }
    run.check(expect![""]);
    run.udp(9_000, 110);
    run.check(expect![[r#"
          9000 dos-raised 1 udp: 110 packets/s to 192.0.2.1, threshold 100
    "#]]);
    assert!(run.harness.log_lines()[0].1.starts_with("batch time went back"), "{:?}", run.harness.log_lines());
}

#[test]
fn the_network_is_compared_with_what_it_was_at_this_hour() {
    const HOUR: u64 = 3_600_000;
    let config = r#"{"window_s": 2, "hold_s": 1, "learn": {"units": ["packets"], "training_s": 7200}}"#;
    let mut run = Run::new(config);
    let around = |run: &mut Run, hour: u64, from: u64, packets: u64| {
        for second in from..from + 5 {
            run.udp(hour * HOUR + second * 1000, packets);
        }
    };
    around(&mut run, 0, 0, 10);
    around(&mut run, 1, 0, 1000);
    around(&mut run, 2, 0, 100_000);
    // Trained: hours 0 and 1. Hour 2 came after training and never alarms.
    around(&mut run, 24, 0, 19);
    run.check(expect![""]);
    around(&mut run, 24, 5, 21);
    around(&mut run, 25, 0, 21);
    around(&mut run, 26, 0, 100_000);
    run.check(expect![[r#"
        86405000 dos-raised 1 total: 20 packets/s to network, learned threshold 20
        90000000 dos-cleared 5 total: 0 packets/s to network, learned threshold 20; raised for 7 s, at most 21
    "#]]);
}

#[test]
fn batches_without_rows_or_columns_are_fine() {
    let mut run = Run::new(PACKETS);
    run.batch(0, &[]);
    run.harness = std::mem::take(&mut run.harness).rows(3).now_ms(1000).column(columns::SRC_PORT, [1, 2, 3]);
    run.go(1000);
    run.check(expect![""]);
    assert_eq!(run.harness.gauge("tracked"), Some(0.0));
}

#[test]
fn a_refused_column_counts_nothing() {
    let mut run = Run::new(PACKETS);
    run.udp(0, 100);
    let before = run.plugin.snapshot();
    run.harness = std::mem::take(&mut run.harness).deny(columns::PACKETS.id());
    assert!(run.harness.run(&mut run.plugin).is_err());
    assert_eq!(run.plugin.snapshot(), before);
}

#[test]
fn memory_is_bounded_and_a_real_flood_is_still_seen() {
    let mut run = Run::new(r#"{"hosts": {"udp": {"packets": 100}}, "max_tracked": 8, "window_s": 10}"#);
    for second in 0..30u64 {
        let noise: Vec<String> = (0..200).map(|n| format!("198.51.{}.{}", (second + n) % 50, n)).collect();
        let mut rows: Vec<_> = noise.iter().map(|addr| (addr.as_str(), UDP, 0, 100, 1)).collect();
        if second >= 10 {
            rows.push((VICTIM, UDP, 0, 100, 500));
        }
        run.batch(second * 1000, &rows);
        assert!(run.harness.gauge("tracked").is_none_or(|tracked| tracked <= 8.0));
    }
    run.check(expect![[r#"
         11000 dos-raised 1 udp: 100 packets/s to 192.0.2.1, threshold 100
    "#]]);
    assert!(run.harness.counter("untracked") > 1000);
}

const EVERYTHING: &str = r#"{"window_s": 5, "hold_s": 2, "hosts": {"total": {"packets": 100}, "tcp_syn": {"flows": 2}},
    "prefixes": [{"v4": 24, "total": {"bits": 90000}}], "network": {"udp": {"packets": 150}},
    "learn": {"training_s": 20, "multiplier": 1.5}}"#;

#[test]
fn a_snapshot_of_other_windows_or_thresholds_is_left_aside() {
    let mut run = Run::new(EVERYTHING);
    run.udp(0, 900);
    let bytes = run.plugin.snapshot();
    let mut other = Run::new(&EVERYTHING.replace(r#""window_s": 5"#, r#""window_s": 6"#));
    assert_eq!(other.plugin.restore(&bytes), Ok(true));
    other.udp(1000, 1);
    other.check(expect![""]);
    assert_eq!(other.plugin.restore(&[]), Ok(false));
    assert_eq!(other.plugin.restore(&[99]), Ok(false));
    // Of the same windows, the levels that are the same are taken over.
    let mut fewer =
        Run::new(r#"{"window_s": 5, "network": {"udp": {"packets": 150}}, "hosts": {"udp": {"packets": 100}}}"#);
    assert_eq!(fewer.plugin.restore(&bytes), Ok(true));
    fewer.udp(1000, 1);
    fewer.check(expect![""]);
    fewer.udp(1000, 500);
    fewer.check(expect![[r#"
          1000 dos-raised 1 udp: 100 packets/s to 192.0.2.1, threshold 100
    "#]]);
}

#[test]
fn a_cut_or_changed_snapshot_is_an_error_or_a_state_and_never_a_panic() {
    let mut run = Run::new(EVERYTHING);
    for second in 0..3 {
        run.udp(second * 1000, 900);
    }
    let bytes = run.plugin.snapshot();
    for length in 1..bytes.len() {
        assert!(Run::new(EVERYTHING).plugin.restore(&bytes[..length]).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            let mut other = Run::new(EVERYTHING);
            if other.plugin.restore(&bytes).is_ok() {
                other.udp(4000, 900);
                other.tick(60_000);
            }
        }
    }
}

#[test]
fn a_wrong_configuration_says_what_would_be_right() {
    check_error(
        "{}",
        expect!["nothing to detect; set a threshold, e.g. `hosts = { total = { packets = 100000 } }`, or `learn`"],
    );
    check_error(
        r#"{"hosts": {}}"#,
        expect!["`hosts` has no threshold; set one, e.g. `hosts.total.packets`, or leave it out"],
    );
    check_error(
        r#"{"hosts": {"tcp": {"bits": 0}}}"#,
        expect!["`hosts.tcp.bits`: 0 would always alert; leave it out to not watch it"],
    );
    check_error(
        r#"{"hosts": {"syn": {"bits": 1}}}"#,
        expect!["`hosts`: unknown field `syn`, expected one of `total`, `tcp`, `udp`, `icmp`, `tcp_syn`"],
    );
    check_error(
        r#"{"prefixes": [{"v4": 33, "total": {"bits": 1}}]}"#,
        expect!["`prefixes[0]`: set `v4` (1 to 32), `v6` (1 to 128) or both to lengths of prefixes"],
    );
    check_error(
        r#"{"hosts": {"total": {"bits": 1}}, "bucket_ms": 300}"#,
        expect!["`bucket_ms`: 300 does not divide a window of 10000 ms into at most 60 parts; use e.g. 1000"],
    );
    check_error(
        r#"{"hosts": {"total": {"bits": 1}}, "clear_ratio": 1.1}"#,
        expect!["`clear_ratio`: 1.1 is not above 0 and at most 1"],
    );
    check_error(
        r#"{"hosts": {"total": {"bits": 1, "packets": 1, "flows": 1}}, "window_s": 60, "max_tracked": 65536}"#,
        expect![
            "`max_tracked`: 65536 subjects, with these windows and thresholds, may take 91 MiB of 64; lower it, or raise `bucket_ms`"
        ],
    );
    check_error(r#"{"learn": {"multiplier": 0}}"#, expect!["`learn.multiplier`: 0 is not above 0"]);
    check_error(
        r#"{"hosts": {"total": {"bits": 1}}, "protect": "theirs"}"#,
        expect!["`protect`: cannot open table `theirs`: there is no table `theirs`"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_restored_detector_goes_on_like_the_one_before(
        batches in proptest::collection::vec((0u64..3000, proptest::collection::vec((0usize..5, 0usize..4, 0u64..300), 0..6)), 2..30),
        split in any::<prop::sample::Index>(),
    ) {
        let addrs = ["192.0.2.1", "192.0.2.2", "198.51.100.9", "2001:db8::1", ""];
        let protos = [(TCP, 0x02), (TCP, 0x10), (UDP, 0), (1, 0)];
        let mut one = Run::new(EVERYTHING);
        let mut other: Option<Run> = None;
        let split = split.index(batches.len());
        let mut now_ms = 1_000_000;
        for (at, (step, rows)) in batches.into_iter().enumerate() {
            if at == split {
                let mut swapped = Run::new(EVERYTHING);
                prop_assert_eq!(swapped.plugin.restore(&one.plugin.snapshot()), Ok(true));
                prop_assert_eq!(swapped.plugin.snapshot(), one.plugin.snapshot());
                swapped.log.clone_from(&one.log);
                other = Some(swapped);
            }
            now_ms += step;
            let rows: Vec<_> = rows.into_iter().map(|(addr, proto, packets)| {
                let (proto, flags) = protos[proto];
                (addrs[addr], proto, flags, packets * 60, packets)
            }).collect();
            for run in [Some(&mut one), other.as_mut()].into_iter().flatten() {
                run.batch(now_ms, &rows);
                run.tick(now_ms + 100);
            }
        }
        let other = other.expect("split is one of the batches");
        prop_assert_eq!(other.plugin.snapshot(), one.plugin.snapshot());
        prop_assert_eq!(other.log, one.log);
    }
}
