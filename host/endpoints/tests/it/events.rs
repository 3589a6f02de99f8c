//! The events sink: a line an alert.

use std::fs;

use expect_test::{Expect, expect};
use sluice_endpoints::sinks::{EventFormat, EventTarget, EventsConfig, EventsSink};
use sluice_pipeline::{Event, Metrics, event_channel};

fn raised() -> Event {
    Event {
        stage: "detector".into(),
        time_ms: 1_700_000_000_000,
        kind: "dos-raised".into(),
        severity: 2,
        subject: "192.0.2.10".into(),
        value: 1.2e9,
        threshold: 1e9,
        note: "1.2 Gbit/s of UDP, threshold 1 Gbit/s\x1b[2J".into(),
    }
}

fn check(format: EventFormat, events: &[Event], expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts");
    let metrics = Metrics::new();
    let config = EventsConfig { format, to: EventTarget::File(path.clone()) };
    let sink = EventsSink::open("alerts", &config, &metrics).unwrap();
    let lost = metrics.counter("lost", "", Vec::new());
    let (out, queue) = event_channel(8, lost);
    let thread = sink.start(queue).unwrap();
    events.iter().for_each(|event| out.emit(event));
    drop(out);
    thread.join().unwrap();
    expected.assert_eq(&fs::read_to_string(&path).unwrap());
    let text = metrics.encode();
    let written = format!("sluice_sink_events_total{{sink=\"alerts\"}} {}", events.len());
    assert!(text.contains(&written), "{text}");
}

#[test]
fn an_alert_is_one_line_for_people() {
    let bare = Event { note: String::new(), severity: 200, time_ms: u64::MAX, ..raised() };
    check(
        EventFormat::Text,
        &[raised(), bare],
        expect![[r#"
        2023-11-14T22:13:20.000Z CRITICAL dos-raised 192.0.2.10: 1.2 Gbit/s of UDP, threshold 1 Gbit/s\u{1b}[2J (detector)
        584556019-04-03T14:25:51.615Z DEBUG dos-raised 192.0.2.10: 1200000000 (threshold 1000000000) (detector)
    "#]],
    );
}

#[test]
fn an_alert_is_one_object_for_programs() {
    let strange = Event { value: f64::NAN, ..raised() };
    check(
        EventFormat::Json,
        &[raised(), strange],
        expect![[r#"
        {"time":"2023-11-14T22:13:20.000Z","stage":"detector","kind":"dos-raised","severity":2,"subject":"192.0.2.10","value":1200000000.0,"threshold":1000000000.0,"note":"1.2 Gbit/s of UDP, threshold 1 Gbit/s\u001b[2J"}
        {"time":"2023-11-14T22:13:20.000Z","stage":"detector","kind":"dos-raised","severity":2,"subject":"192.0.2.10","value":null,"threshold":1000000000.0,"note":"1.2 Gbit/s of UDP, threshold 1 Gbit/s\u001b[2J"}
    "#]],
    );
}

#[test]
fn alerts_that_cannot_be_written_are_counted_and_nobody_waits() {
    let metrics = Metrics::new();
    let config = EventsConfig { format: EventFormat::Json, to: EventTarget::from("/dev/full".to_owned()) };
    let sink = EventsSink::open("alerts", &config, &metrics).unwrap();
    let (out, queue) = event_channel(8, metrics.counter("lost", "", Vec::new()));
    let thread = sink.start(queue).unwrap();
    out.emit(&raised());
    out.emit(&raised());
    drop(out);
    thread.join().unwrap();
    let text = metrics.encode();
    assert!(text.contains("sluice_sink_events_failed_total{sink=\"alerts\"} 2"), "{text}");
}

#[test]
fn a_target_is_the_log_standard_output_or_a_path() {
    let read = |text: &str| EventTarget::from(text.to_owned());
    assert_eq!(read("log"), EventTarget::Log);
    assert_eq!(read("stdout"), EventTarget::Stdout);
    let mut config = EventsConfig { to: read("alerts.json"), ..EventsConfig::default() };
    config.resolve("/etc/sluice".as_ref());
    assert_eq!(config.to, EventTarget::File("/etc/sluice/alerts.json".into()));
    assert_eq!(EventsConfig { to: read(""), ..EventsConfig::default() }.validate().unwrap_err().key, "to");
}
