//! `run`: one engine in this process, one JSON object per benchmark.

use crate::{Result, engines};
use ringfort_bench::{Benchmark, Plan, Report, Settings, Target, Workload};
use std::io::Write;
use std::path::PathBuf;

/// The command line of one run.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// The engine.
    #[arg(long)]
    pub engine: String,
    /// The benchmarks, in order.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub benchmarks: Vec<Benchmark>,
    /// Threads that work.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// The store is made in a new directory below this one, and left there afterwards.
    #[arg(long)]
    pub dir: PathBuf,
    /// What the line of progress begins with.
    #[arg(long, default_value = "")]
    pub label: String,
    #[command(flatten)]
    pub workload: Workload,
    #[command(flatten)]
    pub settings: Settings,
}

/// Runs the list and prints one JSON object per benchmark.
pub fn run(args: &Args) -> Result<()> {
    let kind = engines::by_name(&args.engine)?;
    let plan = Plan {
        benchmarks: args.benchmarks.clone(),
        threads: args.threads,
        use_existing_db: false,
        statistics: false,
        label: args.label.clone(),
        workload: args.workload.clone(),
        settings: args.settings.clone(),
    };
    let target = Target { name: kind.name, dir: &args.dir.join(kind.name), open: &kind.open };
    ringfort_bench::run(&target, &plan, &mut |report| {
        match report {
            Report::Measured(measured) => println!("{}", serde_json::to_string(&measured)?),
            Report::Skipped { benchmark, why } => {
                return Err(format!("{} on '{}': {why}", benchmark.name(), kind.name).into());
            }
            Report::Statistics(text) => eprint!("{text}"),
        }
        Ok(std::io::stdout().flush()?)
    })
}
