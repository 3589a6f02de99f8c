//! Kafka in and out, with a real broker: what is lost, what is doubled, what is said.

#![allow(clippy::print_stdout, reason = "counts, for whoever runs a test with --nocapture")]

mod access;
mod cluster;
mod crash;
mod examples;
mod formats;
mod full_disk;
mod metrics;
mod outage;
mod pipeline;
mod poison;
mod pressure;
mod rebalance;
mod row;
mod state;
mod topics;
