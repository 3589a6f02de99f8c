//! The udp source over loopback: real sockets, a real decoder, and books that balance.

use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Receiver;
use sluice_endpoints::exporter::{Exporters, Sent};
use sluice_endpoints::sources::{BindError, UdpConfig, UdpSockets};
use sluice_flow::{Batch, ColumnSet, Schema, col};
use sluice_pipeline::{Kind, Metrics, Outlet, Parcel, Source, SourceError, Stop};

use crate::rows::netflow5;

/// Longest time that anything here may take on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running source.
struct Running {
    metrics: Arc<Metrics>,
    stop: Stop,
    batches: Receiver<Parcel>,
    threads: Vec<JoinHandle<Result<(), SourceError>>>,
    to: std::net::SocketAddr,
}

fn start(config: &UdpConfig, queue: usize) -> Running {
    let metrics = Metrics::new();
    let sockets = UdpSockets::bind("edge", config).unwrap();
    let to = sockets.local_addr();
    assert_ne!(to.port(), 0);
    let (out, batches) = Outlet::channel(metrics.account(Kind::Source, "edge"), queue);
    let stop = Stop::new();
    let sources = sockets.sources(&Arc::new(Schema::standard()), ColumnSet::ALL, &metrics);
    let threads = sources.into_iter().map(|source| {
        let (out, stop) = (out.clone(), stop.clone());
        thread::spawn(move || Box::new(source).run(out, stop))
    });
    Running { threads: threads.collect(), metrics, stop, batches, to }
}

impl Running {
    /// Waits until `rows` rows have come.
    fn rows(&self, rows: usize) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        while batches.iter().map(Batch::rows).sum::<usize>() < rows {
            batches.push(self.batches.recv_timeout(DEADLINE).expect("rows come").batch);
        }
        batches
    }

    /// Stops the source, and returns the rows that were still to come.
    fn end(self) -> (Vec<Batch>, Arc<Metrics>) {
        self.stop.cancel();
        for thread in self.threads {
            thread.join().unwrap().unwrap();
        }
        let rest = self.batches.try_iter().map(|parcel| parcel.batch).collect();
        let books = &self.metrics.balances()[0];
        assert_eq!(books.open(), 0, "{books:?}");
        (rest, self.metrics)
    }
}

fn loopback() -> UdpConfig {
    UdpConfig::new("127.0.0.1:0".parse().unwrap())
}

fn has(metrics: &Metrics, line: &str) {
    let text = metrics.encode();
    assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
}

#[test]
fn datagrams_become_batches_with_their_exporter_and_time() {
    let running = start(&loopback(), 8);
    let mut exporters = Exporters::open(running.to, 2).unwrap();
    exporters.send(0, &[netflow5(0, 30)]).unwrap();
    let first = running.rows(30).remove(0);
    exporters.send(1, &[netflow5(0, 2)]).unwrap();
    let second = running.rows(2).remove(0);
    assert_eq!(first.addr(col::EXPORTER_ADDR_HI, 0), Some(exporters.address(0)));
    assert_eq!(second.addr(col::EXPORTER_ADDR_HI, 0), Some(exporters.address(1)));
    assert_eq!(first.u64s(col::BYTES).unwrap().iter().sum::<u64>(), 465);
    assert!(second.now_ms() >= first.now_ms() && first.now_ms() > 1_700_000_000_000);
    assert_ne!(first.id(), second.id());
    let (rest, metrics) = running.end();
    assert!(rest.is_empty());
    has(&metrics, "sluice_source_datagrams_total{source=\"edge\"} 2");
    has(&metrics, "sluice_source_in_bytes_total{source=\"edge\"} 1584");
    has(&metrics, "sluice_decode_datagrams_total{source=\"edge\",protocol=\"netflow5\"} 2");
    has(&metrics, "sluice_decode_rows_total{source=\"edge\"} 32");
}

#[test]
fn trains_of_datagrams_of_every_size_come_apart_again() {
    let running = start(&UdpConfig { batch_rows: 64, ..loopback() }, 4096);
    let mut exporters = Exporters::open(running.to, 3).unwrap();
    let mut sent = Sent::default();
    let mut rows = 0;
    for number in 0..60_u32 {
        let records = number % 30 + 1;
        // Equal ones go as a train, of which the last can be shorter.
        let mut datagrams: Vec<_> = (0..number % 7 + 1).map(|at| netflow5(at * records, records)).collect();
        datagrams.push(netflow5(0, 1));
        rows += (datagrams.len() as u32 - 1) * records + 1;
        sent += exporters.send(number as usize, &datagrams).unwrap();
    }
    let batches = running.rows(rows as usize);
    let packets: u64 = batches.iter().flat_map(|batch| batch.u64s(col::PACKETS).unwrap()).sum();
    assert_eq!(packets, u64::from(rows));
    assert!(batches.iter().all(|batch| batch.rows() < 64 + 30));
    let (rest, metrics) = running.end();
    assert!(rest.is_empty());
    assert_eq!(sent.refused, 0);
    has(&metrics, &format!("sluice_source_datagrams_total{{source=\"edge\"}} {}", sent.datagrams));
    has(&metrics, &format!("sluice_source_in_bytes_total{{source=\"edge\"}} {}", sent.bytes));
}

#[test]
fn stopping_hands_on_what_came_and_takes_what_the_kernel_holds() {
    // A delay that never ends and a batch that is never full: only the stop hands on.
    let config = UdpConfig { batch_delay_ms: 60_000, ..loopback() };
    let running = start(&config, 8);
    let mut exporters = Exporters::open(running.to, 1).unwrap();
    exporters.send(0, &[netflow5(0, 30), netflow5(30, 30)]).unwrap();
    let (rest, metrics) = running.end();
    assert_eq!(rest.iter().map(Batch::rows).sum::<usize>(), 60);
    has(&metrics, "sluice_source_out_rows_total{source=\"edge\"} 60");
}

#[test]
fn a_full_pipeline_costs_rows_that_are_counted() {
    let config = UdpConfig { batch_rows: 30, ..loopback() };
    let running = start(&config, 1);
    let mut exporters = Exporters::open(running.to, 1).unwrap();
    let datagrams: Vec<_> = (0..10).map(|number| netflow5(number * 30, 30)).collect();
    exporters.send(0, &datagrams).unwrap();
    // Nobody takes a batch before the source has ended: one fits, nine do not.
    let (rest, metrics) = running.end();
    assert_eq!(rest.len(), 1);
    let books = &metrics.balances()[0];
    assert_eq!((books.rows_in, books.rows_out), (300, 30));
    assert_eq!(books.dropped.get("pipeline_full"), Some(&270));
    has(&metrics, "sluice_source_dropped_rows_total{source=\"edge\",reason=\"pipeline_full\"} 270");
}

#[test]
fn garbage_is_counted_by_reason_and_costs_nothing_else() {
    let running = start(&loopback(), 8);
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    let whole = netflow5(0, 2);
    let garbage: [&[u8]; 5] = [b"", b"\x00", b"GET / HTTP/1.1\r\n", &[0xff; 9000], &whole[..70]];
    for datagram in garbage {
        plain.send_to(datagram, running.to).unwrap();
    }
    plain.send_to(&whole, running.to).unwrap();
    let rows: usize = running.rows(2).iter().map(Batch::rows).sum();
    let (rest, metrics) = running.end();
    // The datagram that was cut short may have had a whole record.
    let rows = rows + rest.iter().map(Batch::rows).sum::<usize>();
    assert!((2..=3).contains(&rows), "{rows}");
    has(&metrics, "sluice_source_datagrams_total{source=\"edge\"} 6");
    let text = metrics.encode();
    let errors = text.lines().filter(|line| line.starts_with("sluice_decode_errors_total{source=\"edge\""));
    let errors: u64 = errors.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(errors >= 5, "{text}");
}

#[test]
fn several_sockets_share_a_port_and_lose_nothing() {
    let config = UdpConfig { sockets: 3, ..loopback() };
    let running = start(&config, 64);
    let mut exporters = Exporters::open(running.to, 16).unwrap();
    for number in 0..16 {
        exporters.send(number, &[netflow5(0, 30)]).unwrap();
    }
    running.rows(16 * 30);
    let (rest, metrics) = running.end();
    assert!(rest.is_empty());
    has(&metrics, "sluice_source_datagrams_total{source=\"edge\"} 16");
}

#[test]
fn an_ipv4_exporter_is_ipv4_on_a_socket_for_both() {
    let Ok(sockets) = UdpSockets::bind("edge", &UdpConfig::new("[::]:0".parse().unwrap())) else {
        // Said, not passed over in silence: a machine without IPv6 cannot show it.
        println!("skipped: no IPv6 here");
        return;
    };
    drop(sockets);
    let running = start(&UdpConfig::new("[::]:0".parse().unwrap()), 8);
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], running.to.port()));
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.send_to(&netflow5(0, 1), to).unwrap();
    let batch = running.rows(1).remove(0);
    assert_eq!(batch.addr(col::EXPORTER_ADDR_HI, 0), Some("127.0.0.1".parse().unwrap()));
    running.end();
}

#[test]
fn what_the_kernel_drops_is_counted_to_the_datagram() {
    // Not read until everything is sent: the buffer overflows, and every datagram is here or there.
    let metrics = Metrics::new();
    let config = UdpConfig { receive_buffer_bytes: 1 << 16, ..loopback() };
    let sockets = UdpSockets::bind("edge", &config).unwrap();
    assert!(sockets.receive_buffer_bytes() >= 1 << 16);
    // For the source that takes its place when the configuration changes.
    let again = sockets.again("edge", &config).unwrap();
    let mut exporters = Exporters::open(sockets.local_addr(), 1).unwrap();
    let sent = exporters.send(0, &(0..1000).map(|_| netflow5(0, 30)).collect::<Vec<_>>()).unwrap();
    let (out, _batches) = Outlet::channel(metrics.account(Kind::Source, "edge"), 1000);
    let stop = Stop::new();
    stop.cancel();
    let run = |sockets: UdpSockets| {
        for source in sockets.sources(&Arc::new(Schema::standard()), ColumnSet::ALL, &metrics) {
            Box::new(source).run(out.clone(), stop.clone()).unwrap();
        }
    };
    run(sockets);
    let value = |name: &str| {
        let text = metrics.encode();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let received = value("sluice_source_datagrams_total");
    let dropped = value("sluice_source_kernel_dropped_datagrams_total");
    assert!(received > 0 && dropped > 0, "{received} received, {dropped} dropped");
    // A train that does not fit is one drop to the kernel, of up to 64 datagrams.
    assert!(received + dropped <= sent.datagrams && received + dropped * 64 >= sent.datagrams);
    // The socket is the same, and what was counted of it is no news.
    run(again);
    assert_eq!(value("sluice_source_kernel_dropped_datagrams_total"), dropped);
}

#[test]
fn a_port_that_is_taken_and_numbers_that_cannot_work_are_errors() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = UdpSockets::bind("edge", &UdpConfig::new(taken.local_addr().unwrap())).unwrap_err();
    assert!(matches!(error, BindError::Socket { .. }));
    assert_eq!(error.to_string(), format!("cannot receive on udp {}", taken.local_addr().unwrap()));
    let error = UdpSockets::bind("edge", &UdpConfig { sockets: 65, ..loopback() }).unwrap_err();
    assert_eq!(error.to_string(), "sockets: 65 is out of range; use 1 to 64");
}

#[test]
fn a_collector_that_is_not_there_is_counted_by_the_exporter() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exporters = Exporters::open(gone, 1).unwrap();
    let mut sent = Sent::default();
    for _ in 0..10 {
        sent += exporters.send(0, &[vec![0_u8; 100], vec![0_u8; 50]]).unwrap();
    }
    assert_eq!(sent.datagrams + sent.refused, 20);
    assert!(sent.refused > 0);
}
