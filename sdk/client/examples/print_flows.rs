//! Prints the flows of a Kafka topic, one a line, and commits what it has printed.
//!
//!     cargo run -p sluice-client --example print_flows -- localhost:9092 tenant-1001 billing

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program is for")]

use std::env;
use std::error::Error;

use sluice_client::{Consumer, RecvError, Start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("usage: print_flows BROKERS TOPIC GROUP; no {what}"));
    let (brokers, topic, group) = (next("BROKERS")?, next("TOPIC")?, next("GROUP")?);
    let consumer = Consumer::builder().brokers(brokers).topic(topic).group(group).start(Start::Earliest);
    let mut consumer = consumer.connect().await?;
    loop {
        match consumer.recv().await {
            Ok(received) => {
                for flow in &received.flows {
                    let text = |ip: Option<std::net::IpAddr>| ip.map_or("-".to_owned(), |ip| ip.to_string());
                    let (from, to) = (text(flow.src_ip()), text(flow.dst_ip()));
                    println!("{from} {} -> {to} {}: {} bytes", flow.src_port, flow.dst_port, flow.bytes);
                }
                consumer.commit(&received.offsets)?;
            }
            Err(RecvError::BadValue(bad)) => eprintln!("{bad}: {}", bad.reason),
            Err(error) => eprintln!("{error}"),
        }
    }
}
