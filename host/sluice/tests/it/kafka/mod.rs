//! Kafka in and out, with a real broker: what is lost, what is doubled, what is said.

mod cluster;
mod crash;
mod formats;
mod poison;
mod pipeline;
mod rebalance;
mod row;
