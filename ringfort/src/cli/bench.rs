//! `ringfort bench db`: db_bench's benchmarks on a store of their own.
//!
//! Flags have db_bench's names (with underscores, as `--flag value` or `--flag=value`) and mostly its
//! defaults; results are printed as it prints them, or as JSON. The store is made in a temporary
//! directory, which is removed at the end and when the user interrupts, or in `--db DIR`, which stays.

use super::report::Failure;
use crate::serve::say;
use crate::serve::stop::EXIT_AT_ONCE;
use clap::Args;
use clap::builder::BoolishValueParser;
use ringfort::bench::Ringfort;
use ringfort::{Db, Level, Mode};
use ringfort_bench::{Benchmark, Engine, Plan, Report, Settings, Target, Workload, machine, text};
use ringfort_fault::tempdir::TempDir;
use ringfort_host::door;
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// How the benchmarks run.
#[derive(Args)]
#[command(rename_all = "snake_case", allow_negative_numbers = true)]
#[command(
    after_help = "Every thread does the full count. After benchmarks that write, the store settles (flushes \
    and compacts until nothing is due); its time is shown apart, its processor time counts.\n\n\
    Example: ringfort bench db --benchmarks=fillrandom,readrandom --num=1000000 --value_size=1024 --threads=2"
)]
pub(crate) struct DbArgs {
    /// What to run, in this order. Those that fill begin with an empty store.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "fillseq,fillrandom,overwrite,readrandom,readseq,readreverse,seekrandom"
    )]
    benchmarks: Vec<Benchmark>,
    /// Threads that work.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Make the store in this directory, which is empty or missing, and leave it there.
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Use the store in --db, and skip what would begin with an empty one. Reading with the seed that
    /// filled it draws exactly the keys that were written: give another --seed.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    use_existing_db: bool,
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    settings: Settings,
    /// The mode of the store: software, hardware or twin.
    #[arg(long, value_name = "MODE", default_value_t = Mode::Software)]
    mode: Mode,
    /// What everything that a read shows must have: buffered, durable or fresh.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Buffered)]
    read_level: Level,
    /// How long an operation of the simulated counter takes, milliseconds.
    #[arg(long, alias = "counter-latency", value_name = "MS", default_value_t = 0.0)]
    counter_latency: f64,
    /// Print a histogram of latencies for each kind of operation.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    histogram: bool,
    /// Print what the store counted, at the end.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    statistics: bool,
    /// Print one JSON object a line instead of text.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    json: bool,
}

/// Runs them.
pub(crate) fn db(args: &DbArgs) -> Result<(), Failure> {
    let store = check(args)?;
    let (dir, _temporary) = directory(args.db.as_deref())?;
    let name = match args.mode {
        Mode::Software => "ringfort".to_owned(),
        mode => format!("ringfort:{mode}"),
    };
    let plan = Plan {
        benchmarks: args.benchmarks.clone(),
        threads: args.threads,
        use_existing_db: args.use_existing_db,
        statistics: args.statistics,
        label: String::new(),
        workload: args.workload.clone(),
        settings: args.settings.clone(),
    };
    introduce(args, &store, &dir);
    let open = |dir: &Path, settings: &Settings| -> ringfort_bench::Result<Arc<dyn Engine>> {
        let options = store.options(dir, settings)?.read_level(args.read_level);
        Ok(Arc::new(Db::open(options)?))
    };
    let target = Target { name: &name, dir: &dir, open: &open };
    let outcome = ringfort_bench::run(&target, &plan, &mut |report| {
        show(args, &report)?;
        Ok(())
    });
    Ok(outcome?)
}

/// Refuses what cannot be run, before anything is made.
fn check(args: &DbArgs) -> Result<Ringfort, Failure> {
    let usage = |error: Box<dyn std::error::Error + Send + Sync>| Failure::Usage(error.to_string());
    args.workload.check().map_err(usage)?;
    for benchmark in &args.benchmarks {
        args.workload.range(*benchmark).map_err(usage)?;
    }
    if args.benchmarks.contains(&Benchmark::MergeRandom) && args.settings.merge_operator.is_none() {
        return Err(Failure::Usage("mergerandom needs --merge_operator".to_owned()));
    }
    if args.threads == 0 {
        return Err(Failure::Usage("--threads must be above 0".to_owned()));
    }
    if args.use_existing_db && args.db.is_none() {
        return Err(Failure::Usage(
            "--use_existing_db needs the directory of the store: --db DIR".to_owned(),
        ));
    }
    let counter_latency = Duration::try_from_secs_f64(args.counter_latency / 1000.0)
        .map_err(|_| Failure::Usage("--counter_latency is a number of milliseconds".to_owned()))?;
    Ok(Ringfort { mode: args.mode, counter_latency })
}

/// Where the store is made, and what removes it.
pub(super) fn directory(db: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), Failure> {
    if let Some(dir) = db {
        return Ok((dir.to_owned(), None));
    }
    let failed =
        |error: std::io::Error| Failure::Other(format!("cannot make a temporary directory: {error}"));
    let temporary = TempDir::new("bench").map_err(failed)?;
    remove_when_interrupted(temporary.path()).map_err(failed)?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

/// An interrupt is removing the directory: what fails now, fails for that.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Does not return if the process is about to end for an interrupt: its exit status is the interrupt's.
pub(super) fn give_way_to_an_interrupt() {
    while INTERRUPTED.load(Ordering::Acquire) {
        door::sleep(Duration::from_secs(1));
    }
}

/// An interrupted process drops nothing: a thread waits for the signals and removes the directory.
fn remove_when_interrupted(dir: &Path) -> std::io::Result<()> {
    const ATTEMPTS: usize = 10;
    let dir = dir.to_owned();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let wait = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        INTERRUPTED.store(true, Ordering::Release);
        // The store goes on until the process ends, and may make a file meanwhile.
        for _ in 0..ATTEMPTS {
            let _ = std::fs::remove_dir_all(&dir);
            if !dir.exists() {
                break;
            }
        }
        std::process::exit(EXIT_AT_ONCE);
    };
    // Never joined: it ends with the process.
    door::spawn("ringfort-signal", move || runtime.block_on(wait)).map(drop)
}

/// What is run, on what: to standard error what is about the machine, as db_bench does.
fn introduce(args: &DbArgs, store: &Ringfort, dir: &Path) {
    let mut about = format!("{}\n{}\n", store.about(), machine::describe());
    if cfg!(debug_assertions) {
        about += "WARNING: a debug build; benchmarks are unnecessarily slow (cargo run --release)\n";
    }
    // The directory itself may not be there yet.
    if dir.ancestors().find(|dir| dir.exists()).is_some_and(machine::is_in_memory) {
        about +=
            &format!("WARNING: {} is in memory: the disk costs nothing here (--db DIR)\n", dir.display());
    }
    // If nobody listens there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(about.as_bytes());
    if !args.json {
        say(&text::header(&args.workload, &args.settings, args.threads));
        say(&format!("DB path: [{}]", dir.display()));
    }
}

fn show(args: &DbArgs, report: &Report) -> serde_json::Result<()> {
    let line = match report {
        Report::Measured(measured) if args.json => serde_json::to_string(measured)?,
        Report::Skipped { benchmark, why } if args.json => {
            json!({ "benchmark": benchmark, "skipped": why }).to_string()
        }
        Report::Statistics(statistics) if args.json => json!({ "statistics": statistics }).to_string(),
        Report::Measured(measured) if args.histogram => {
            format!("{}\n{}", text::lines(measured), text::histograms(measured).trim_end())
        }
        Report::Measured(measured) => text::lines(measured),
        Report::Skipped { benchmark, why } => text::skipped(*benchmark, why),
        Report::Statistics(statistics) => format!("STATISTICS:\n{}", statistics.trim_end()),
    };
    say(&line);
    Ok(())
}
