//! # ringfort-bench: benchmarks by db_bench's names and definitions
//!
//! One driver over one trait, so that every store gets the same keys, values, threads, memory and
//! durability, and is measured by the same clock:
//!
//! ```text
//!  driver      threads, clock, processor time, memory, bytes (process), progress
//!    │
//!    ├─ workload   what a benchmark does: db_bench's definitions, keys (keys) and values (values)
//!    │     └─ tally   what one thread did: operations, bytes, found, latencies (histogram)
//!    └─ engine     the trait that a store is adapted to, opened with the same settings
//! ```
//!
//! [`recovery`] measures something else: how long a store takes to come back. So do [`tpcc`] and [`ycsb`]:
//! transactions, over a trait and by a loop of their own ([`transactional`]). [`plot`] draws figures for all.
//!
//! It names no store. `ringfort bench db` runs it on Ringfort; `ringfort-peers` on Ringfort and
//! others in turn.
#![forbid(unsafe_code)]

pub mod driver;
pub mod engine;
pub mod histogram;
pub mod keys;
pub mod lines;
pub mod machine;
pub mod measured;
pub mod plot;
pub mod process;
mod progress;
pub mod recovery;
pub mod resp;
pub mod rng;
pub mod scratch;
pub mod settings;
mod tally;
pub mod text;
pub mod tpcc;
pub mod transactional;
pub mod values;
pub mod workload;
pub mod ycsb;

pub use driver::{Plan, Report, Target, run};
pub use engine::{Begun, Direction, Engine, Op, Unsupported, Visit};
pub use measured::{Latency, Measured};
pub use settings::{Compression, Settings};
pub use tally::Kind;
pub use workload::{Benchmark, Workload, level_by_name};

/// An error is a sentence: what the user of a bench program needs.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
