//! What the admin port withstands: clients that are slow, silent, many or send too much.

use std::io::{Read, Write};

use serde_json::Value;

use super::{Collector, OPERATOR, ask, bearer, connect, read_answer};
use crate::tool::{exporter, metrics_with, netflow5};

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_there() {
    let collector = Collector::start();
    let answer = ask(collector.admin, "POST", "/v1/reload", &bearer(OPERATOR), &vec![0; 100_000]);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, body["error"].as_str().unwrap()), (413, "the body may have 65536 bytes"));
    // Without a token not a byte of it is waited for.
    let mut stream = connect(collector.admin);
    write!(stream, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(read_answer(stream).status, 401);
    collector.stop();
}

#[test]
fn clients_that_are_too_slow_are_cut_off_and_nobody_else_waits_for_them() {
    let collector = Collector::start();
    let silent = connect(collector.admin);
    let mut half_a_header = connect(collector.admin);
    write!(half_a_header, "GET /v1/pipeline HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let mut half_a_body = connect(collector.admin);
    let head = "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n";
    write!(half_a_body, "{head}{}\r\nhello", bearer(OPERATOR)).unwrap();
    // Another request on a connection that has had its answer.
    let mut kept = connect(collector.admin);
    write!(kept, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();

    assert_eq!(collector.get("/v1/pipeline")["state"], "running", "others are answered meanwhile");

    for mut stream in [silent, half_a_header] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    let answer = read_answer(half_a_body);
    assert_eq!(answer.status, 408, "{}", answer.head);
    let answer = read_answer(kept);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok\n"[..]));
    collector.stop();
}

#[test]
fn connections_are_limited_and_those_that_end_make_room() {
    let collector = Collector::start();
    let idle: Vec<_> = (0..64).map(|_| connect(collector.admin)).collect();
    let mut refused = connect(collector.admin);
    let mut rest = Vec::new();
    // Closed at once; a reset, if something was on its way.
    assert!(refused.read_to_end(&mut rest).is_err() || rest.is_empty());
    // The pipeline goes on: what it delivers can be seen when there is room again.
    exporter(collector.to).send(&netflow5(0, &[1, 2, 3])).unwrap();
    drop(idle);
    let began = std::time::Instant::now();
    loop {
        let mut stream = connect(collector.admin);
        let asked = write!(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        if asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(began.elapsed() < super::PATIENCE, "there is never room again");
    }
    let metrics = metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"disk\"} 3");
    let busy = metrics.lines().find(|line| line.starts_with("sluice_admin_refused_total{reason=\"busy\"}")).unwrap();
    assert_ne!(busy.split(' ').nth(1), Some("0"));
    collector.stop();
}

#[test]
fn a_header_that_is_too_large_is_refused() {
    let collector = Collector::start();
    let answer = ask(collector.admin, "GET", "/healthz", &format!("X-Large: {}\r\n", "x".repeat(100_000)), b"");
    assert_eq!(answer.status, 431);
    collector.stop();
}
