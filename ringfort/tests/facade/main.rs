//! The embedded library as its users meet it: real directories, threads, the simulated platform.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod dir;
mod history;
mod levels;
mod life;
mod map;
mod prepared;
mod refuse;
mod tail;
mod transactions;
