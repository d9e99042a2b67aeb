//! Every benchmark against a model that remembers each call: what it does is what db_bench does.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod db_bench;
mod driver;
mod mixed;
mod model;
mod read;
mod write;
