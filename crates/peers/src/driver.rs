//! Runs a list of benchmarks on one engine in this process and measures it from outside.
//!
//! - Every operation is timed; the percentiles are over all operations of all threads.
//! - `seconds` is from the start of the first thread to the end of the last: db_bench's ops/s.
//! - After a benchmark that writes the engine *settles* (flushes and compacts until nothing is due).
//!   That time is reported apart; its processor time and bytes count as the benchmark's: a debt
//!   that is not paid is no saving.
//! - Peak memory is the process's, reset before each benchmark; bytes on disk are allocated blocks.

use crate::engine::{Engine, Kind, Settings};
use crate::histogram::Histogram;
use crate::progress::{Progress, REPORT_EVERY};
use crate::workload::{Amount, Benchmark, Worker};
use crate::{Result, engines, process};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

/// The command line of one run.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// The engine.
    #[arg(long)]
    pub engine: String,
    /// The benchmarks, in order; the first must be one that fills.
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
    pub amount: Amount,
    #[command(flatten)]
    pub settings: Settings,
}

/// What one benchmark of one run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Which.
    pub benchmark: Benchmark,
    /// Operations of all threads.
    pub operations: u64,
    /// Reads that found something.
    pub found: u64,
    /// Wall time of the operations.
    pub seconds: f64,
    /// Wall time of settling afterwards.
    pub settle_seconds: f64,
    /// Processor time of the whole process, settling included, per operation.
    pub cpu_us_per_op: f64,
    /// Half of the operations took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1000 took no longer.
    pub p999_us: f64,
    /// Bytes handed to the system, settling included.
    pub bytes_written: u64,
    /// Bytes of keys and values that were put.
    pub user_bytes: u64,
    /// What the store occupies afterwards, bytes.
    pub disk_bytes: u64,
    /// Most resident memory, bytes.
    pub peak_rss_bytes: u64,
}

impl Measured {
    /// Operations by wall time, without settling: what db_bench prints.
    pub fn ops_per_sec(&self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

/// Runs the list and prints one JSON object per benchmark.
pub fn run(args: &Args) -> Result<()> {
    args.amount.check()?;
    let kind = engines::by_name(&args.engine)?;
    if !args.benchmarks.first().is_some_and(|first| first.is_fresh()) {
        return Err("the first benchmark must fill the store: fillseq or fillrandom".into());
    }
    if args.threads == 0 {
        return Err("--threads must be above 0".into());
    }
    let mut engine: Option<Arc<dyn Engine>> = None;
    let mut nth_thread = 1;
    for &benchmark in &args.benchmarks {
        if benchmark.is_fresh() {
            close(engine.take())?;
            engine = Some(open_fresh(kind, args, nth_thread > 1)?);
        }
        let Some(engine) = &engine else { continue };
        let measured = measure(engine, benchmark, args, nth_thread)?;
        nth_thread += args.threads as u64;
        println!("{}", serde_json::to_string(&measured)?);
        std::io::stdout().flush()?;
    }
    close(engine)
}

/// Opens a store in a directory of its own, which must be new; with `again` it is the one that an
/// earlier benchmark of this process filled, and is emptied first.
fn open_fresh(kind: &Kind, args: &Args, again: bool) -> Result<Arc<dyn Engine>> {
    let dir = args.dir.join(kind.name);
    if again {
        std::fs::remove_dir_all(&dir).map_err(|e| named(&dir, &e))?;
    }
    std::fs::create_dir_all(&args.dir).map_err(|e| named(&args.dir, &e))?;
    std::fs::create_dir(&dir).map_err(|e| named(&dir, &e))?;
    (kind.open)(&dir, &args.settings)
}

fn named(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn close(engine: Option<Arc<dyn Engine>>) -> Result<()> {
    engine.map_or(Ok(()), |engine| engine.close())
}

fn measure(engine: &Arc<dyn Engine>, benchmark: Benchmark, args: &Args, nth_thread: u64) -> Result<Measured> {
    let operations = args.amount.operations(benchmark) * args.threads as u64;
    let label = format!("{}{} {} x{}", args.label, args.engine, benchmark.name(), args.threads);
    let progress = Arc::new(Progress::start(label, operations));
    process::reset_peak_rss()?;
    let (cpu, written) = (door::cpu_time_us(), process::bytes_written()?);
    let (seconds, outcome) = run_threads(engine, benchmark, args, nth_thread, &progress)?;
    let clock = OsClock::new();
    if benchmark.writes() {
        engine.settle()?;
    }
    let settle_seconds = clock.monotonic().as_secs_f64();
    drop(progress);
    let quantile_us = |share| outcome.latencies.quantile(share) / 1000.0;
    let entry_bytes = (args.amount.key_size + args.amount.value_size) as u64;
    Ok(Measured {
        benchmark,
        operations,
        found: outcome.found,
        seconds,
        settle_seconds: if benchmark.writes() { settle_seconds } else { 0.0 },
        cpu_us_per_op: (door::cpu_time_us() - cpu) as f64 / operations as f64,
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        p999_us: quantile_us(0.999),
        bytes_written: process::bytes_written()? - written,
        user_bytes: if benchmark.writes() { operations * entry_bytes } else { 0 },
        disk_bytes: process::disk_bytes(&args.dir.join(&args.engine))?,
        peak_rss_bytes: process::peak_rss()?,
    })
}

/// What threads saw.
#[derive(Default)]
struct Outcome {
    latencies: Histogram,
    found: u64,
}

fn run_threads(
    engine: &Arc<dyn Engine>,
    benchmark: Benchmark,
    args: &Args,
    nth_thread: u64,
    progress: &Arc<Progress>,
) -> Result<(f64, Outcome)> {
    let start = Arc::new(Barrier::new(args.threads + 1));
    let mut threads = Vec::new();
    for nth in 0..args.threads as u64 {
        let (engine, start, progress) = (Arc::clone(engine), Arc::clone(&start), Arc::clone(progress));
        let amount = args.amount.clone();
        threads.push(door::spawn(benchmark.name(), move || {
            let mut worker = Worker::new(benchmark, &amount, nth_thread + nth);
            start.wait();
            run_thread(&*engine, &mut worker, amount.operations(benchmark), &progress)
        })?);
    }
    start.wait();
    let clock = OsClock::new();
    let mut all = Outcome::default();
    for thread in threads {
        let one = thread.join().map_err(|_| "a thread of the benchmark panicked")??;
        all.latencies.add(&one.latencies);
        all.found += one.found;
    }
    Ok((clock.monotonic().as_secs_f64(), all))
}

fn run_thread(
    engine: &dyn Engine,
    worker: &mut Worker<'_>,
    operations: u64,
    progress: &Progress,
) -> Result<Outcome> {
    let clock = OsClock::new();
    let mut latencies = Histogram::default();
    // One reading of the clock per operation: the end of one is the start of the next.
    let mut before = clock.monotonic();
    for nth in 1..=operations {
        worker.step(engine)?;
        let now = clock.monotonic();
        latencies.record((now - before).as_nanos() as u64);
        before = now;
        if nth % REPORT_EVERY == 0 {
            progress.advance(REPORT_EVERY);
        }
    }
    progress.advance(operations % REPORT_EVERY);
    Ok(Outcome { latencies, found: worker.found })
}
