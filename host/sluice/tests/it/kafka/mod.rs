//! Kafka in and out, with a real broker: what is lost, what is doubled, what is said.

mod access;
mod cluster;
mod crash;
mod examples;
mod formats;
mod metrics;
mod outage;
mod pipeline;
mod poison;
mod rebalance;
mod row;
mod topics;
