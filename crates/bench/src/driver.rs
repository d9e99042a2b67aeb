//! Runs a list of benchmarks on one engine in this process and measures it from outside.
//!
//! - Every operation is timed; the percentiles are over all operations of all threads.
//! - `seconds` is from the start of the first thread to the end of the last: db_bench's ops/s.
//! - After a benchmark that writes the engine *settles* (flushes and compacts until nothing is due).
//!   That time is reported apart; its processor time and bytes count as the benchmark's: a debt
//!   that is not paid is no saving.
//! - Peak memory is the process's, reset before each benchmark; bytes on disk are allocated blocks.
//!
//! A store is made in a directory that is empty or not there. Between two benchmarks that begin
//! with an empty store, the one that this process made is removed; nothing else ever is.

use crate::engine::{Engine, Unsupported};
use crate::measured::Measured;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::tally::{Outcome, Tally};
use crate::workload::{Benchmark, Range, Thread, Workload};
use crate::{Result, process};
use ringfort_base::world::{Clock, Entropy};
use ringfort_host::door::{self, OsClock, OsEntropy};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;

/// The store that is measured.
pub struct Target<'a> {
    /// What reports call it.
    pub name: &'a str,
    /// Where it is; empty or missing, unless an existing store is used.
    pub dir: &'a Path,
    /// Opens the store in its directory, which exists.
    pub open: &'a Open<'a>,
}

/// Opens a store in a directory that exists.
pub type Open<'a> = dyn Fn(&Path, &Settings) -> Result<Arc<dyn Engine>> + 'a;

/// What is run on it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The benchmarks, in order.
    pub benchmarks: Vec<Benchmark>,
    /// Threads that count.
    pub threads: usize,
    /// Use the store that is there, and skip what would begin with an empty one.
    pub use_existing_db: bool,
    /// Report the engine's own statistics at the end.
    pub statistics: bool,
    /// What the line of progress begins with.
    pub label: String,
    /// How much of it.
    pub workload: Workload,
    /// How the store is opened.
    pub settings: Settings,
}

/// What there is to report, in the order in which it comes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// A benchmark was run.
    Measured(Box<Measured>),
    /// A benchmark was not run.
    Skipped {
        /// Which.
        benchmark: Benchmark,
        /// Why not.
        why: String,
    },
    /// What the engine counted, at the end.
    Statistics(String),
}

/// Runs the list, and hands over each result as soon as there is one.
pub fn run(target: &Target<'_>, plan: &Plan, report: &mut dyn FnMut(Report) -> Result<()>) -> Result<()> {
    plan.workload.check()?;
    if plan.threads == 0 {
        return Err("--threads must be above 0".into());
    }
    // What cannot be run is said before an hour of what can.
    let skipped = |benchmark: Benchmark| plan.use_existing_db && benchmark.is_fresh();
    for &benchmark in plan.benchmarks.iter().filter(|benchmark| !skipped(**benchmark)) {
        plan.workload.range(benchmark)?;
    }
    let mut session = Session { target, plan, workload: seeded(plan)?, engine: None, next_thread: 1 };
    session.open_first()?;
    for &benchmark in &plan.benchmarks {
        if skipped(benchmark) {
            report(Report::Skipped { benchmark, why: "--use_existing_db is true".to_owned() })?;
            continue;
        }
        match session.measure(benchmark) {
            Ok(measured) => report(Report::Measured(Box::new(measured)))?,
            Err(error) => match Unsupported::of(&*error) {
                Some(unsupported) => report(Report::Skipped { benchmark, why: unsupported.to_string() })?,
                None => return Err(error),
            },
        }
    }
    if plan.statistics {
        report(Report::Statistics(session.engine()?.statistics()?))?;
    }
    session.close()
}

/// The workload with a seed that is not "any".
fn seeded(plan: &Plan) -> Result<Workload> {
    let mut workload = plan.workload.clone();
    if workload.seed == 0 {
        let mut random = [0; 8];
        OsEntropy.fill(&mut random)?;
        workload.seed = u64::from_le_bytes(random);
    }
    Ok(workload)
}

struct Session<'a> {
    target: &'a Target<'a>,
    plan: &'a Plan,
    workload: Workload,
    engine: Option<Opened>,
    /// Counts the threads of all benchmarks: each has a seed of its own.
    next_thread: u64,
}

struct Opened {
    engine: Arc<dyn Engine>,
    /// Nothing was written yet.
    pristine: bool,
}

impl Session<'_> {
    fn open_first(&mut self) -> Result<()> {
        let dir = self.target.dir;
        std::fs::create_dir_all(dir).map_err(|error| named(dir, &error))?;
        let empty = std::fs::read_dir(dir).map_err(|error| named(dir, &error))?.next().is_none();
        if self.plan.use_existing_db && empty {
            return Err(format!("{}: there is no store to use", dir.display()).into());
        }
        if !self.plan.use_existing_db && !empty {
            return Err(format!(
                "{} is not empty: use what is there (--use_existing_db), or name another directory",
                dir.display()
            )
            .into());
        }
        self.open(empty)
    }

    fn open(&mut self, pristine: bool) -> Result<()> {
        let engine = (self.target.open)(self.target.dir, &self.plan.settings)?;
        self.engine = Some(Opened { engine, pristine });
        Ok(())
    }

    fn engine(&self) -> Result<Arc<dyn Engine>> {
        let opened = self.engine.as_ref().ok_or("no store is open")?;
        Ok(Arc::clone(&opened.engine))
    }

    fn close(&mut self) -> Result<()> {
        self.engine.take().map_or(Ok(()), |opened| opened.engine.close())
    }

    /// An empty store: this one, or one in its place.
    fn make_fresh(&mut self) -> Result<()> {
        if self.engine.as_ref().is_some_and(|opened| opened.pristine) {
            return Ok(());
        }
        self.close()?;
        // Not the directory itself: it may be somebody's mount point.
        for entry in std::fs::read_dir(self.target.dir).map_err(|error| named(self.target.dir, &error))? {
            let path = entry?.path();
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|error| named(&path, &error))?;
        }
        self.open(true)
    }

    fn measure(&mut self, benchmark: Benchmark) -> Result<Measured> {
        if benchmark.is_fresh() {
            self.make_fresh()?;
        }
        if let Some(opened) = &mut self.engine {
            opened.pristine &= !benchmark.writes();
        }
        let engine = self.engine()?;
        let range = self.workload.range(benchmark)?;
        let threads = benchmark.threads(self.plan.threads);
        let label = format!("{}{} {} x{threads}", self.plan.label, self.target.name, benchmark.name());
        let total = range.duration.is_none().then_some(range.operations.saturating_mul(threads as u64));
        let progress = Arc::new(Progress::start(label, total, range.duration));
        process::reset_peak_rss()?;
        let (cpu_us, written) = (door::cpu_time_us(), process::bytes_written()?);
        let outcome = self.run_threads(&engine, benchmark, range, &progress)?;
        let clock = OsClock::new();
        if benchmark.writes() {
            progress.settling();
            engine.settle()?;
        }
        let settle_seconds = if benchmark.writes() { clock.monotonic().as_secs_f64() } else { 0.0 };
        let cpu_us = door::cpu_time_us() - cpu_us;
        drop(progress);
        let mut measured = Measured::new(benchmark, &self.workload, &range, outcome);
        measured.engine = self.target.name.to_owned();
        measured.threads = threads;
        measured.settle_seconds = settle_seconds;
        measured.cpu_us_per_op = cpu_us as f64 / measured.operations.max(1) as f64;
        measured.bytes_written = process::bytes_written()? - written;
        measured.disk_bytes = process::disk_bytes(self.target.dir)?;
        measured.peak_rss_bytes = process::peak_rss()?;
        measured.memory_used_bytes = match engine.memory_used() {
            Ok(bytes) => Some(bytes),
            Err(error) if Unsupported::of(&*error).is_some() => None,
            Err(error) => return Err(error),
        };
        Ok(measured)
    }

    /// Runs the threads, and says what they did.
    fn run_threads(
        &mut self,
        engine: &Arc<dyn Engine>,
        benchmark: Benchmark,
        range: Range,
        progress: &Arc<Progress>,
    ) -> Result<Outcome> {
        let counted = benchmark.threads(self.plan.threads);
        let all = counted + usize::from(benchmark.has_writer_behind());
        let shared = Arc::new(Shared {
            start: Barrier::new(all + 1),
            abort: AtomicBool::new(false),
            counting: AtomicUsize::new(counted),
            clock: OsClock::new(),
        });
        let lengths_known = !self.plan.benchmarks.contains(&Benchmark::MergeRandom);
        // As in db_bench the writer behind is the first thread.
        let mut threads: Vec<JoinHandle<Result<Outcome>>> = Vec::new();
        for nth in 0..all {
            let behind = all > counted && nth == 0;
            let (engine, progress) = (Arc::clone(engine), Arc::clone(progress));
            let (shared, workload, seed) = (Arc::clone(&shared), self.workload.clone(), self.next_thread);
            self.next_thread += 1;
            threads.push(door::spawn(benchmark.name(), move || {
                let _leaving = Leaving { shared: &shared, counted: !behind };
                let tally = Tally::new(&range, shared.clock, &progress, &shared.abort);
                let mut thread = Thread::new(&*engine, &workload, range, seed, tally, lengths_known);
                shared.start.wait();
                thread.tally.start();
                let done = if behind {
                    thread.write_behind(|| shared.counting.load(Ordering::Acquire) > 0)
                } else {
                    thread.run(benchmark)
                };
                shared.abort.fetch_or(done.is_err(), Ordering::Relaxed);
                let outcome = thread.tally.stop();
                done.map(|()| if behind { outcome.uncounted() } else { outcome })
            })?);
        }
        shared.start.wait();
        gather(threads)
    }
}

/// Joins the threads. The first failure is that of all.
fn gather(threads: Vec<JoinHandle<Result<Outcome>>>) -> Result<Outcome> {
    let mut all = Outcome::default();
    let mut failure = None;
    for thread in threads {
        match thread.join().map_err(|_| "a thread of the benchmark panicked")? {
            Ok(outcome) => all.add(&outcome),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(all), Err)
}

/// What the threads of one benchmark share.
struct Shared {
    start: Barrier,
    /// One failed.
    abort: AtomicBool,
    /// So many have not ended.
    counting: AtomicUsize,
    clock: OsClock,
}

/// Whoever waits for a thread learns that it ended, however it did.
struct Leaving<'a> {
    shared: &'a Shared,
    counted: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.shared.counting.fetch_sub(1, Ordering::Release);
        }
    }
}

fn named(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
