//! The real binary, run as people run it.

#![allow(clippy::unwrap_used, reason = "in a test, unwrap is an assertion")]

mod api;
mod author;
mod compiling;
mod config;
mod end_to_end;
mod examples;
mod failure;
mod hostile;
mod hot_swap;
mod isolation;
mod kafka;
mod languages;
mod pages;
mod plugin_bench;
mod plugin_check;
mod plugin_test;
mod privacy;
mod reducer;
mod reload;
mod replay;
mod supply_chain;
mod tenant_limits;
mod tenants;
mod tool;
mod values;
