//! What Kafka sources and sinks have in common: reaching the brokers, dead letters, transactions.

mod connection;
mod context;
mod dead_letter;
mod flight;
mod format;
pub(crate) mod headers;
mod transaction;

pub use connection::{Connection, KafkaError, Mechanism, SaslConfig, Secret, Setting, TlsConfig};
pub use dead_letter::DeadLetterConfig;
pub use format::{KafkaFormat, KafkaFraming};
pub use transaction::Transactions;

pub(crate) use connection::probe;
pub(crate) use context::Events;
pub(crate) use dead_letter::{DeadLetters, Letter};
pub(crate) use flight::{Deliveries, Flight, Producer, RowsIn};
pub(crate) use transaction::TransactionError;
