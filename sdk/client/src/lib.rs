//! Reads and writes the flows of a Kafka topic: for customers of a provider that runs sluice.
//!
//! A [`Consumer`] gives [`Flow`]s, whatever [`Format`] and [`Framing`] the topic has, and is told what has been
//! processed; a [`Producer`] writes them. Values that come another way are read with [`read_value`].
//!
//! ```no_run
//! use sluice_client::{Consumer, RecvError, Sasl, Start, Tls};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut consumer = Consumer::builder()
//!     .brokers("kafka.example.net:9093")
//!     .topic("tenant-1001")
//!     .group("billing")
//!     .tls(Tls::new())
//!     .sasl(Sasl::scram_sha_512("tenant-1001", std::env::var("KAFKA_PASSWORD")?))
//!     .start(Start::Earliest)
//!     .connect()
//!     .await?;
//! loop {
//!     match consumer.recv().await {
//!         Ok(received) => {
//!             for flow in &received.flows {
//!                 println!("{:?} -> {:?}: {} bytes", flow.src_ip(), flow.dst_ip(), flow.bytes);
//!             }
//!             // After they have been processed: what is not committed comes again after a crash.
//!             consumer.commit(&received.offsets)?;
//!         }
//!         // Says topic, partition, offset and what is wrong. The next call goes on behind it.
//!         Err(RecvError::BadValue(bad)) => eprintln!("{bad}: {}", bad.reason),
//!         // Brokers that are away for a while: librdkafka goes on trying.
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod connection;
mod consumer;
mod flow;
mod producer;
mod value;

pub use connection::{ConnectError, Sasl, Tls};
pub use consumer::{BadValue, Consumer, ConsumerBuilder, Offsets, Received, RecvError, Start};
pub use flow::{Flow, proto};
pub use producer::{Producer, ProducerBuilder, SendError};
pub use value::{Format, Framing, MAX_MESSAGE, MAX_VALUE_MESSAGES, ValueError, read_value, write_message};
