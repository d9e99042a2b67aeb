//! `run`: one engine in this process, one JSON object per benchmark.

use crate::results::Outcome;
use crate::setup::Emulation;
use crate::{Result, cgroup, engines};
use ringfort_bench::{Benchmark, Plan, Report, Settings, Target, Workload};
use std::io::Write;
use std::path::{Path, PathBuf};

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
    #[command(flatten)]
    pub emulation: Emulation,
    /// Join this control group before anything else.
    #[arg(long, value_name = "DIR", hide = true)]
    pub cgroup: Option<PathBuf>,
}

/// Runs the list and prints one JSON object per benchmark.
pub fn run(args: &Args) -> Result<()> {
    if let Some(group) = &args.cgroup {
        cgroup::join(group)?;
    }
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
    let open = |dir: &Path, settings: &Settings| kind.open(dir, settings, &args.emulation);
    let target = Target { name: kind.name, dir: &args.dir.join(kind.name), open: &open };
    ringfort_bench::run(&target, &plan, &mut |report| {
        let outcome = match report {
            Report::Measured(measured) => Outcome::Measured(measured),
            Report::Skipped { benchmark, why } => Outcome::Skipped { benchmark, skipped: why },
            Report::Statistics(text) => {
                eprint!("{text}");
                return Ok(());
            }
        };
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(std::io::stdout().flush()?)
    })
}
