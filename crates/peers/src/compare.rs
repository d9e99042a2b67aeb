//! Runs engines in turn, each in a process of its own, and prints medians and ratios.
//!
//! ```text
//! threads 1:  A B C  A B C  A B C      threads 2:  A B C  A B C  A B C
//!             repeat 1  2  3
//! ```
//! Runs of one repeat stand side by side in time, so what else the machine does hits them alike: a
//! ratio is of two runs of one repeat, and its spread is over the repeats. Each run starts in a new
//! directory, which is removed after it, and a new process ([`child`]), so memory and processor time are its own.

use crate::report::{self, Row, Runs};
use crate::results::{Book, Outcome};
use crate::setup::{Emulation, Setup};
use crate::{Result, child, machine};
use ringfort_bench::{Benchmark, Settings, Workload, settings};
use std::path::PathBuf;

/// The command line of a comparison.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// The engines, in the order in which they take turns.
    #[arg(long, value_delimiter = ',', default_value = "ringfort,rocksdb")]
    pub engines: Vec<String>,
    /// The benchmarks, in order; the first must be one that fills.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fillrandom,readrandom")]
    pub benchmarks: Vec<Benchmark>,
    /// Threads that work; several numbers make several comparisons.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub threads: Vec<usize>,
    #[command(flatten)]
    pub turns: Turns,
    #[command(flatten)]
    pub workload: Workload,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub emulation: Emulation,
}

/// How runs are repeated, where, and where their results go.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Turns {
    /// Runs of each engine.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeats: usize,
    /// Append runs and results to this file, one JSON object a line; runs that it has already with
    /// the same settings and programs are not repeated. Without FILE results go to standard output
    /// as JSON in place of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Where the stores are made; in a new directory below it, which is removed.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// Put each run into a control group that gets no more memory than this, page cache included,
    /// and no swap: bytes, or 256MiB. Each engine splits it between its own cache and the page cache
    /// as suits it.
    #[arg(long, value_name = "SIZE", value_parser = settings::bytes)]
    pub memory_limit: Option<usize>,
    /// The control group below which those are made; the own one if not said.
    #[arg(long, value_name = "DIR", requires = "memory_limit")]
    pub cgroup_parent: Option<PathBuf>,
}

impl Turns {
    /// The file of results. `-` is standard output, where nothing can be found again.
    pub fn book(&self) -> Result<Book> {
        Book::open(self.json.as_deref().filter(|path| path.as_os_str() != "-"))
    }

    /// Whether results go to standard output as JSON.
    pub fn prints_json(&self) -> bool {
        self.json.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// Says what a reader of the numbers has to know, and refuses what cannot be done.
    pub fn check(&self) -> Result<()> {
        if self.repeats == 0 {
            return Err("--repeats must be above 0".into());
        }
        if machine::is_in_memory(&self.dir) {
            eprintln!("ringfort-peers: {} is in memory: the disk costs nothing here", self.dir.display());
        }
        // Before an hour of runs, not after.
        child::Limits::of(self)?.map_or(Ok(()), |limits| limits.try_out())
    }
}

/// Runs everything and prints the tables.
pub fn run(args: &Args) -> Result<()> {
    args.turns.check()?;
    if args.threads.contains(&0) {
        return Err("--threads must be above 0".into());
    }
    let load = machine::load();
    let mut book = args.turns.book()?;
    let mut rows = Vec::new();
    let mut first = None;
    for &threads in &args.threads {
        let setups = args.engines.iter().map(|engine| setup(args, engine, threads)).collect::<Vec<_>>();
        let all = take_turns(&setups, &args.turns, &mut book)?;
        let found = report::rows(&all, None)?;
        book.conclude(&found)?;
        rows.extend(found);
        first = first.or_else(|| setups.into_iter().next());
    }
    let load = format!("load {load} before, {} after", machine::load());
    let first = first.ok_or("--engines and --threads name nothing to run")?;
    print(&args.turns, &rows, &report::preface(&first, args.turns.repeats, &load))
}

fn setup(args: &Args, engine: &str, threads: usize) -> Setup {
    Setup {
        engine: engine.to_owned(),
        benchmarks: args.benchmarks.clone(),
        threads,
        workload: args.workload.clone(),
        settings: args.settings.clone(),
        emulation: args.emulation.clone(),
        memory_limit: None,
    }
}

/// The table, or JSON in its place.
pub fn print(turns: &Turns, rows: &[Row], preface: &str) -> Result<()> {
    if turns.prints_json() {
        for row in rows {
            println!("{}", serde_json::to_string(row)?);
        }
        return Ok(());
    }
    let mut about: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !about.iter().any(|(engine, _)| *engine == row.engine) {
            about.push((&row.engine, &row.about));
        }
    }
    print!("{preface}");
    about.iter().for_each(|(engine, about)| println!("- `{engine}`: {about}"));
    println!("\n{}", report::table(rows));
    Ok(())
}

/// Lets the engines take turns, as often as there are repeats; what the book has is not run again.
pub fn take_turns(setups: &[Setup], turns: &Turns, book: &mut Book) -> Result<Vec<Runs>> {
    let limits = child::Limits::of(turns)?;
    let mut all = Vec::new();
    for setup in setups {
        let mut setup = setup.clone();
        check(&setup)?;
        if let Some(limits) = &limits {
            setup.limit_memory(limits.bytes)?;
        }
        all.push(Runs { setup, repeats: Vec::new() });
    }
    for repeat in 1..=turns.repeats {
        for runs in &mut all {
            let label = format!("[{repeat}/{}] ", turns.repeats);
            let known = book.find(&runs.setup, repeat)?;
            let found = if known.is_some() { " (from the file)" } else { "" };
            let run = match known {
                Some(run) => run,
                None => {
                    let run = child::run(&runs.setup, &turns.dir, limits.as_ref(), &label)?;
                    book.add(&runs.setup, repeat, &run)?;
                    run
                }
            };
            // What a long comparison did so far stays visible, also where there is no terminal.
            let said: Vec<String> = run.iter().map(said).collect();
            eprintln!("{label}{} x{}: {}{found}", runs.setup.engine, runs.setup.threads, said.join("; "));
            runs.repeats.push(run);
        }
    }
    same_answers(&all)?;
    Ok(all)
}

/// Refuses what cannot be run, before anything is.
fn check(setup: &Setup) -> Result<()> {
    setup.kind()?;
    setup.workload.check()?;
    for benchmark in &setup.benchmarks {
        setup.workload.range(*benchmark)?;
    }
    match setup.benchmarks.first() {
        Some(first) if first.is_fresh() => Ok(()),
        _ => Err("the first of --benchmarks must fill the store: fillseq or fillrandom, for example".into()),
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Measured(one) => {
            format!("{} {:.0} ops/s, {:.2} µs CPU", one.benchmark.name(), one.ops_per_sec, one.cpu_us_per_op)
        }
        Outcome::Skipped { benchmark, skipped } => format!("{} skipped: {skipped}", benchmark.name()),
    }
}

/// All engines saw the same keys in the same order, so reads must have found the same number. Not
/// where threads write the keys that others look for, or time is the limit.
fn same_answers(all: &[Runs]) -> Result<()> {
    let Some(first) = all.first() else { return Ok(()) };
    let setup = &first.setup;
    let mut settled = setup.workload.duration == 0.0 && setup.workload.seed != 0;
    for (step, benchmark) in setup.benchmarks.iter().enumerate() {
        // Deletes and writes of several threads meet in an order that chance decides; what is there
        // afterwards is the same only if nothing was deleted.
        settled &= !matches!(benchmark, Benchmark::DeleteRandom | Benchmark::DeleteSeq);
        if !settled || benchmark.writes() {
            continue;
        }
        let mut answers = all.iter().flat_map(|runs| {
            runs.measured(step).into_iter().map(|one| (one.found, runs.setup.engine.clone()))
        });
        let Some((expected, by)) = answers.next() else { continue };
        if let Some((found, other)) = answers.find(|(found, _)| *found != expected) {
            let name = benchmark.name();
            let message = format!(
                "the engines disagree: in {name} '{other}' found {found} keys, '{by}' found {expected}"
            );
            return Err(message.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use crate::report::tests::{runs, setup};
    use clap::Parser;

    fn parsed(line: &[&str]) -> Args {
        match Cli::parse_from([&["x", "compare"], line].concat()).command {
            crate::Command::Compare(args) => args,
            _ => panic!("not compare"),
        }
    }

    #[test]
    fn json_goes_to_a_file_or_to_the_screen() {
        let args = parsed(&["--engines", "ringfort,rocksdb", "--num", "1000", "--threads", "2", "--json"]);
        assert!(args.turns.prints_json());
        assert_eq!((args.engines.len(), args.workload.num, args.threads), (2, 1000, vec![2]));
        let args = parsed(&["--json", "f.json", "--threads", "1,2"]);
        assert!(!args.turns.prints_json());
        assert_eq!(args.turns.json, Some("f.json".into()));
        assert!(parsed(&[]).turns.json.is_none());
        let args = parsed(&["--json", "--memory_limit", "256MiB"]);
        assert!(args.turns.prints_json());
        assert_eq!(args.turns.memory_limit, Some(256 << 20));
    }

    #[test]
    fn engines_that_find_different_keys_are_an_error() {
        let (one, mut other) = (runs("ringfort", &[1.0]), runs("rocksdb", &[2.0]));
        same_answers(&[runs("ringfort", &[1.0]), runs("rocksdb", &[2.0])]).unwrap();
        if let Outcome::Measured(measured) = &mut other.repeats[0][1] {
            measured.found += 1;
        }
        let error = same_answers(&[one, other]).unwrap_err().to_string();
        assert!(error.contains("readrandom") && error.contains("rocksdb"), "{error}");
    }

    #[test]
    fn what_cannot_be_run_is_refused_first() {
        check(&setup("ringfort")).unwrap();
        assert!(check(&setup("no such engine")).unwrap_err().to_string().contains("rocksdb"));
        let unfilled = Setup { benchmarks: vec![Benchmark::ReadRandom], ..setup("ringfort") };
        assert!(check(&unfilled).unwrap_err().to_string().contains("fill"));
        let mut none = setup("ringfort");
        none.workload.num = 0;
        assert!(check(&none).is_err());
    }
}
