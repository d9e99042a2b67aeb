//! The commands, and which function carries each out.

pub(crate) mod bench;
mod freshness;
pub(crate) mod offline;
mod recovery;
pub(crate) mod report;
pub(crate) mod settings;
mod tpcc;
mod transactional;
pub(crate) mod value;
mod ycsb;

use clap::{Args, Parser, Subcommand};
use report::Failure;
use settings::{Config, Given};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// A confidential key-value store for machines that its owner does not trust.
#[derive(Parser)]
#[command(name = "ringfort", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 all is well; 1 a failure; 2 a wrong command line or setting; \
    3 the store was refused on evidence; 130 a second signal ended the server at once.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a store to Redis clients.
    Serve(Given<true>),
    /// Load, kill, verify and attack a store, and show what is noticed.
    Demo(DemoArgs),
    /// Measure how fast a store is here.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Give a store up: remove its files and have the platform forget it.
    Destroy(DestroyArgs),
    /// Show the keyspaces of a store that is not running.
    #[command(subcommand)]
    Keyspace(KeyspaceCommand),
    /// Show what the trusted counter holds. Changes nothing; the store may be running.
    #[command(subcommand)]
    Counter(CounterCommand),
    /// Read and verify every byte of a store that is not running.
    Scrub(Given<false>),
}

/// How the demonstration runs.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Load 20 MB instead of 200 MB.
    #[arg(long)]
    pub(crate) short: bool,
    /// Work in this directory, which must not exist, and leave it there.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Run db_bench's benchmarks, by its names, flags and definitions.
    Db(Box<bench::DbArgs>),
    /// Run TPC-C's transactions.
    Tpcc(tpcc::TpccArgs),
    /// Run YCSB's operations in transactions.
    Ycsb(ycsb::YcsbArgs),
    /// Measure what freshness costs with a counter as slow as asked.
    Fresh(freshness::FreshArgs),
    /// Measure how long a store takes to come back after its process died.
    Recovery(ringfort_bench::recovery::Args),
    /// One child of `recovery`.
    #[command(hide = true)]
    RecoveryStep(ringfort_bench::recovery::Step),
}

#[derive(Args)]
struct DestroyArgs {
    #[command(flatten)]
    given: Given<false>,
    /// The words "destroy NAME", NAME being that of the store.
    #[arg(long, value_name = "PHRASE", default_value = "")]
    confirm: String,
}

#[derive(Subcommand)]
enum KeyspaceCommand {
    /// Names, ids, tables and sizes.
    List(Given<false>),
}

#[derive(Subcommand)]
enum CounterCommand {
    /// The anchor: incarnation, positions, kind.
    Status(Given<false>),
}

/// Reads the command line, carries the command out, reports a failure.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are "errors" that print to standard output and exit 0.
        Err(error) => error.exit(),
    };
    for name in settings::unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        // If nobody listens there is nobody to warn.
        let _ = writeln!(std::io::stderr(), "ringfort: warning: {name} is set, but there is no such setting");
    }
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            bench::give_way_to_an_interrupt();
            report::report(&failure)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(given) => crate::serve::run(&Config::load(&given.0)?),
        Command::Demo(args) => crate::demo::run(&args),
        Command::Bench(BenchCommand::Db(args)) => bench::db(&args),
        Command::Bench(BenchCommand::Tpcc(args)) => tpcc::tpcc(&args),
        Command::Bench(BenchCommand::Ycsb(args)) => ycsb::ycsb(&args),
        Command::Bench(BenchCommand::Fresh(args)) => freshness::fresh(&args),
        Command::Bench(BenchCommand::Recovery(args)) => recovery::recovery(&args),
        Command::Bench(BenchCommand::RecoveryStep(step)) => recovery::step(&step),
        Command::Destroy(args) => offline::destroy(&Config::load(&args.given.0)?, &args.confirm),
        Command::Keyspace(KeyspaceCommand::List(given)) => offline::keyspaces(&Config::load(&given.0)?),
        Command::Counter(CounterCommand::Status(given)) => offline::counter(&Config::load(&given.0)?),
        Command::Scrub(given) => offline::scrub(&Config::load(&given.0)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
