//! The live tail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{Collector, OPERATOR, bearer, connect, schema};
use crate::tool::{exporter, metrics_with, netflow5};

/// The lines of a tail, as they come: the body is in chunks (RFC 9112, section 7.1).
struct Lines {
    stream: BufReader<TcpStream>,
    rest: Vec<u8>,
}

impl Lines {
    /// Begins a tail; returns when rows are looked at.
    fn open(collector: &Collector, path: &str) -> Lines {
        let mut stream = connect(collector.admin);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(OPERATOR)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("application/x-ndjson"), "{head}");
        Lines { stream, rest: Vec::new() }
    }
}

impl Iterator for Lines {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let mut size = String::new();
            self.stream.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return None;
            }
            chunk.truncate(size);
            self.rest.extend(chunk);
        }
    }
}

#[test]
fn rows_are_shown_after_a_source_after_a_stage_and_into_a_sink() {
    let collector = Collector::start();
    let document = collector.get("/v1/openapi.json");
    let edge = Lines::open(&collector, "/v1/tail/edge?rows=3");
    let enrich = Lines::open(&collector, "/v1/tail/stages.enrich?rows=3");
    let out = Lines::open(&collector, "/v1/tail/out?rows=6");
    exporter(collector.to).send(&netflow5(0, &[1, 2, 200])).unwrap();
    let rows = |lines: Lines| {
        let rows: Vec<Value> = lines.collect();
        rows.iter().for_each(|row| schema::check_line(&document, row));
        rows.into_iter().map(|row| (row["dst_addr"].clone(), row["customer_id"].clone(), row["route"].clone()))
    };
    let hosts = ["192.0.2.1", "192.0.2.2", "192.0.2.200"].map(|host| json!(host));
    let [one, two, three] = hosts.clone();
    let none = Value::Null;
    let plain: Vec<_> = hosts.into_iter().map(|host| (host, none.clone(), none.clone())).collect();
    assert_eq!(rows(edge).collect::<Vec<_>>(), plain);
    let of_seven = |host: &Value, route: Value| (host.clone(), json!(7), route);
    let enriched = vec![of_seven(&one, none.clone()), of_seven(&two, none.clone()), (three, none.clone(), none)];
    assert_eq!(rows(enrich).collect::<Vec<_>>(), enriched);
    // Two edges lead there, so each row comes twice.
    assert_eq!(rows(out).filter(|row| *row == of_seven(&one, json!("proto-6"))).count(), 2);
    collector.stop();
}

#[test]
fn only_rows_that_match_are_shown_and_counted() {
    let collector = Collector::start();
    let lines = Lines::open(&collector, "/v1/tail/edge?rows=2&match=dst_addr%3D192.0.2.128/25,dst_port!%3D80");
    let socket = exporter(collector.to);
    for hosts in [[1, 200], [2, 201], [3, 202]] {
        socket.send(&netflow5(0, &hosts)).unwrap();
    }
    let hosts: Vec<Value> = lines.map(|row| row["dst_addr"].clone()).collect();
    assert_eq!(hosts, [json!("192.0.2.200"), json!("192.0.2.201")]);
    let (status, body) = collector.call("GET", "/v1/tail/edge?match=dst_prot%3D80");
    let error = "query: match: there is no field `dst_prot`; did you mean `dst_port`?";
    assert_eq!((status, &body["error"]), (400, &json!(error)));
    let (status, body) = collector.call("GET", "/v1/tail/nowhere");
    assert_eq!((status, &body["error"]), (404, &json!("no source, stage or sink is called `nowhere`")));
    collector.stop();
}

#[test]
fn a_client_that_does_not_read_slows_nothing_down_and_is_told_what_it_missed() {
    let collector = Collector::start();
    let lines = Lines::open(&collector, "/v1/tail/enrich");
    let socket = exporter(collector.to);
    let hosts: Vec<u8> = (1..=30).collect();
    let mut sent = 0;
    // Tens of megabytes more than sockets hold. The exporter never runs ahead of what is delivered, so UDP loses nothing.
    for _ in 0..30 {
        for _ in 0..50 {
            socket.send(&netflow5(sent as u32, &hosts)).unwrap();
            sent += hosts.len() as u64;
        }
        metrics_with(collector.admin, &format!("sluice_sink_out_rows_total{{sink=\"disk\"}} {sent}"));
        metrics_with(collector.admin, &format!("sluice_stage_out_rows_total{{stage=\"enrich\"}} {sent}"));
    }
    let (mut rows, mut skipped) = (0, 0);
    for line in lines {
        match line["sluice"].as_str() {
            Some("skipped") => skipped += line["rows"].as_u64().unwrap(),
            _ => rows += 1,
        }
        if rows + skipped == sent {
            break;
        }
    }
    assert!(skipped > 0 && rows > 0, "{rows} shown, {skipped} skipped, {sent} sent");
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("edge"), (sent, sent, 0));
}

#[test]
fn tails_are_limited_and_one_whose_client_goes_makes_room() {
    let collector = Collector::start();
    let mut open: Vec<Lines> = (0..16).map(|_| Lines::open(&collector, "/v1/tail/edge")).collect();
    let (status, body) = collector.call("GET", "/v1/tail/edge");
    assert_eq!((status, &body["error"]), (503, &json!("16 tails are open already; end one")));
    open.pop();
    let began = std::time::Instant::now();
    // The collector sees that the client is gone a moment later.
    loop {
        let answer = collector.ask("GET", "/v1/tail/edge?rows=0", &bearer(OPERATOR));
        if answer.status == 200 {
            break;
        }
        assert!(began.elapsed() < super::PATIENCE, "there is never room again");
    }
    drop(open);
    collector.stop();
}

#[test]
fn a_tail_ends_with_the_collector() {
    let collector = Collector::start();
    let lines = Lines::open(&collector, "/v1/tail/edge");
    collector.run.signal("TERM");
    assert_eq!(lines.count(), 0);
    assert_eq!(collector.run.end().code, Some(0));
}
