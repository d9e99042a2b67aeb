//! The binary as its operators meet it: child processes, sockets, signals, exit codes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod bench;
mod child;
mod commands;
mod demo;
mod kill;
mod refuse;
mod serve;
mod tpcc;
