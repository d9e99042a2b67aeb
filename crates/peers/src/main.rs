//! # ringfort-peers: Ringfort beside other stores
//!
//! One driver over one trait, so that every store gets the same keys, values, threads, memory and
//! durability, and is measured by the same clock:
//!
//! ```text
//! compare    one child process per engine and repeat, in turn (A B A B …); medians and ratios
//!    │
//!   run      one process: opens an engine in a fresh directory, runs a list of benchmarks
//!    ├─ workload    what a benchmark does: db_bench's definitions, keys (keys) and values (values)
//!    ├─ driver      threads, latencies (histogram), processor time, memory, bytes (process)
//!    └─ engine      the trait; engines/ one file each
//! ```
//!
//! `compare` prints a table in Markdown and, with `--json FILE`, one object a line.
#![forbid(unsafe_code)]

mod compare;
mod driver;
mod engine;
mod engines;
mod histogram;
mod keys;
mod machine;
mod process;
mod progress;
mod report;
mod rng;
mod values;
mod workload;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// An error is a sentence: what the user of a bench program needs.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "ringfort-peers", version, about = "Ringfort beside other stores")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run engines in turn and print medians, costs and ratios.
    Compare(compare::Args),
    /// Run one engine in this process (for a profiler); prints one JSON object per benchmark.
    Run(driver::Args),
    /// List the engines.
    Engines,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Run(args) => driver::run(&args),
        Command::Engines => {
            engines::ALL.iter().for_each(|kind| println!("{:10} {}", kind.name, (kind.about)()));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfort-peers: {error}");
            ExitCode::FAILURE
        }
    }
}
