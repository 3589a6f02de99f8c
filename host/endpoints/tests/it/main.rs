//! The endpoints from outside: real sockets, real files, a real decoder.

mod events;
mod file;
mod format;
mod rows;
mod stdout;
mod udp;
