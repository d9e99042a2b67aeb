//! # ringfort-peers: Ringfort beside other stores
//!
//! The driver, the benchmarks and the trait are `ringfort-bench`'s; here are the other stores'
//! adapters and the comparisons:
//!
//! ```text
//! compare     engines in turn (A B A B …), a table of medians and ratios
//! sweep       a comparison at every point of a figure
//! twinstore   TWINSTORE's figures, on trusted disks that are emulated (emulated_disk)
//!    │  all three: results, read and appended, so that what was interrupted goes on
//!    └─ child   one process per run, in a new directory, in a control group if memory is limited
//!         └─ run   opens an engine, runs a list of benchmarks
//!              └─ engines/   one file each
//! transactions  one client, and eight that meet; treaty: TREATY's figures 6 and 7
//! server      the server path: redis-benchmark against `ringfort serve` and Redis
//! plot        draws the figures of files of results again
//! tables      Markdown of files of results: the goals beside what was measured, every comparison
//! ```
//!
//! A table goes to standard output in Markdown; with `--json FILE` results are kept, one object a line.
// One file is allowed more: the adapter of LMDB, which maps its file.
#![deny(unsafe_code)]

mod cgroup;
mod child;
mod compare;
mod emulated_disk;
mod engines;
mod figures;
mod recovery;
mod report;
mod results;
mod run;
mod server;
mod setup;
mod sweep;
mod tables;
mod transactions;
mod treaty;
mod twinstore;

use clap::{Parser, Subcommand};
use ringfort_bench::{Result, machine, plot};
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
    /// Vary one thing at a time and draw a figure of each.
    Sweep(sweep::Args),
    /// Repeat the figures of TWINSTORE's evaluation on emulated trusted disks.
    Twinstore(twinstore::Args),
    /// Compare transactions: one client, and eight that meet on the same records.
    Transactions(transactions::Args),
    /// Repeat the figures 6 and 7 of TREATY's evaluation: TPC-C and YCSB, by locks and by checks, over clients.
    Treaty(treaty::Args),
    /// One store of `transactions` or `treaty`, open in a process of its own.
    #[command(hide = true)]
    TransactionsWorker,
    /// Compare `ringfort serve` with Redis, driven by redis-benchmark.
    Server(server::Args),
    /// Draw the figures of a file of results again, without running anything.
    Plot(figures::Args),
    /// Print files of results as tables in Markdown, with the goals beside what was measured.
    Tables(tables::Args),
    /// Run one engine in this process (for a profiler); prints one JSON object per benchmark.
    Run(run::Args),
    /// Time the opening of stores whose entries are all in their log, or that are large.
    Recovery(recovery::Args),
    /// One child of `recovery`.
    #[command(hide = true)]
    RecoveryStep(ringfort_bench::recovery::Step),
    /// List the engines.
    Engines,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Twinstore(args) => twinstore::run(&args),
        Command::Transactions(args) => transactions::run(&args),
        Command::Treaty(args) => treaty::run(&args),
        Command::TransactionsWorker => transactions::worker::serve(),
        Command::Server(args) => server::run(&args),
        Command::Plot(args) => figures::run(&args),
        Command::Tables(args) => tables::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Recovery(args) => recovery::run(&args),
        Command::RecoveryStep(step) => recovery::step(&step),
        Command::Engines => {
            engines::all().for_each(|kind| println!("{:29} {}", kind.name, (kind.about)()));
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
