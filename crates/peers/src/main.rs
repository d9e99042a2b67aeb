//! # ringfort-peers: Ringfort beside other stores
//!
//! The driver, the benchmarks and the trait are `ringfort-bench`'s; here are the other stores'
//! adapters and the comparison:
//!
//! ```text
//! compare    one child process per engine and repeat, in turn (A B A B …); medians and ratios
//!    │
//!   run      one process: opens an engine in a fresh directory, runs a list of benchmarks
//!    └─ engines/   one file each
//! ```
//!
//! `compare` prints a table in Markdown and, with `--json FILE`, one object a line.
#![forbid(unsafe_code)]

mod compare;
mod engines;
mod report;
mod run;

use clap::{Parser, Subcommand};
use ringfort_bench::{Result, machine};
use std::process::ExitCode;

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
    Run(run::Args),
    /// List the engines.
    Engines,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Run(args) => run::run(&args),
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
