//! The binary as its operators meet it: child processes, sockets, signals, exit codes.
#![forbid(unsafe_code)]

mod child;
mod commands;
mod kill;
mod refuse;
mod serve;
