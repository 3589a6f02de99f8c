//! What the decoder makes of datagrams.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps what is not there")]

mod build;
mod captures;
mod differential;
mod hostile;
mod oracle;
mod protocol;
mod sampling;
mod state;
