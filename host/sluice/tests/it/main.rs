//! The real binary, run as people run it.

mod config;
mod end_to_end;
mod examples;
mod hot_swap;
mod pages;
mod tool;
