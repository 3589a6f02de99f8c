//! The endpoints from outside: real sockets, real files, a real decoder.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer; helpers are not seen as tests")]

mod capture;
mod events;
mod file;
mod format;
mod pipeline;
mod rows;
mod stdout;
mod udp;
