//! Runs engines in turn, each in a process of its own, and hands the results to the report.
//!
//! ```text
//! threads 1:  A B C  A B C  A B C      threads 2:  A B C  A B C  A B C
//!             repeat 1  2  3
//! ```
//! Runs of one repeat stand side by side in time, so what else the machine does hits them alike: a
//! ratio is of two runs of one repeat, and its spread is over the repeats. Each run starts in a new
//! directory, which is removed after it, and a new process, so memory and processor time are its own.

use crate::engines::{self, Kind};
use crate::report::{self, Row};
use crate::{Result, machine};
use ringfort_bench::{Benchmark, Measured, Settings, Workload};
use serde::Serialize;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    /// Runs of each engine.
    #[arg(long, default_value_t = 3)]
    pub repeats: usize,
    /// Append the results to this file, one JSON object a line.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where the stores are made; a new directory below it, which is removed.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    #[command(flatten)]
    pub workload: Workload,
    #[command(flatten)]
    pub settings: Settings,
}

/// Runs everything and prints the tables.
pub fn run(args: &Args) -> Result<()> {
    args.workload.check()?;
    if !args.benchmarks.first().is_some_and(|first| first.is_fresh()) {
        return Err("the first benchmark must fill the store".into());
    }
    let kinds = args.engines.iter().map(|name| engines::by_name(name)).collect::<Result<Vec<_>>>()?;
    if args.repeats == 0 || args.threads.contains(&0) {
        return Err("--repeats and --threads must be above 0".into());
    }
    if machine::is_in_memory(&args.dir) {
        eprintln!("ringfort-peers: {} is in memory: the disk costs nothing here", args.dir.display());
    }
    let load = machine::load();
    let mut rows = Vec::new();
    for &threads in &args.threads {
        rows.extend(compare_at(args, &kinds, threads)?);
    }
    let load = format!("load {load} before, {} after", machine::load());
    println!("{}", report::markdown(args, &kinds, &rows, &load));
    match &args.json {
        Some(path) => report::append_json(path, &rows),
        None => Ok(()),
    }
}

fn compare_at(args: &Args, kinds: &[&'static Kind], threads: usize) -> Result<Vec<Row>> {
    // By engine, then by repeat, then by benchmark.
    let mut runs: Vec<Vec<Vec<Measured>>> = vec![Vec::new(); kinds.len()];
    for repeat in 1..=args.repeats {
        for (kind, runs) in kinds.iter().zip(&mut runs) {
            let label = format!("[{repeat}/{}] ", args.repeats);
            let run = run_child(args, kind, threads, &label)?;
            // What a long comparison did so far stays visible, also where there is no terminal.
            let rates = run.iter().map(|one| {
                format!(
                    "{} {:.0} ops/s, {:.2} µs CPU",
                    one.benchmark.name(),
                    one.ops_per_sec,
                    one.cpu_us_per_op
                )
            });
            eprintln!("{label}{} x{threads}: {}", kind.name, rates.collect::<Vec<_>>().join("; "));
            runs.push(run);
        }
    }
    same_answers(kinds, &runs)?;
    report::rows(args, kinds, threads, &runs)
}

/// All engines saw the same keys in the same order, so reads must have found the same number.
fn same_answers(kinds: &[&'static Kind], runs: &[Vec<Vec<Measured>>]) -> Result<()> {
    let found = |run: &[Measured]| run.iter().map(|one| (one.benchmark, one.found)).collect::<Vec<_>>();
    let Some(expected) = runs.first().and_then(|runs| runs.first()).map(|run| found(run)) else {
        return Ok(());
    };
    for (kind, runs) in kinds.iter().zip(runs) {
        for run in runs {
            if found(run) != expected {
                let message = format!(
                    "the engines disagree: '{}' found {:?}, '{}' found {expected:?}",
                    kind.name,
                    found(run),
                    kinds[0].name
                );
                return Err(message.into());
            }
        }
    }
    Ok(())
}

fn run_child(args: &Args, kind: &Kind, threads: usize, label: &str) -> Result<Vec<Measured>> {
    let dir = Scratch::new(&args.dir)?;
    let benchmarks: Vec<&str> = args.benchmarks.iter().map(|one| one.name()).collect();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["run", "--engine", kind.name, "--benchmarks", &benchmarks.join(",")])
        .args(["--threads", &threads.to_string(), "--label", label])
        .arg("--dir")
        .arg(&dir.0)
        .args(flags(&args.workload)?)
        .args(flags(&args.settings)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut measured = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            measured.push(serde_json::from_str(&line?)?);
        }
    }
    let status = child.wait()?;
    if !status.success() || measured.len() != args.benchmarks.len() {
        return Err(format!("the run of '{}' failed: {status}", kind.name).into());
    }
    Ok(measured)
}

/// The flags that give a child the same settings: their names are those of the fields.
fn flags(settings: &impl Serialize) -> Result<Vec<String>> {
    let serde_json::Value::Object(fields) = serde_json::to_value(settings)? else {
        return Err("settings are no object".into());
    };
    let flag = |(name, value): (String, serde_json::Value)| match value {
        serde_json::Value::String(text) => format!("--{name}={text}"),
        value => format!("--{name}={value}"),
    };
    Ok(fields.into_iter().map(flag).collect())
}

/// A new directory that goes with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self> {
        let dir = parent.join(format!("ringfort-peers-{}", std::process::id()));
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::create_dir(&dir))
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("ringfort-peers: {} stays behind: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser;

    /// What the parent was told reaches the child.
    #[test]
    fn a_child_gets_the_settings_of_its_parent() {
        let mut given =
            vec!["x", "compare", "--num", "7", "--reads", "5", "--value_size=9", "--bloom_bits", "3"];
        given.extend(["--sync", "--level=fresh", "--compression_type=lz4", "--memory_budget=8MiB"]);
        let crate::Command::Compare(parent) = Cli::parse_from(given).command else { panic!("not compare") };
        let mut line = vec!["x".to_owned(), "run".to_owned()];
        line.extend(["--engine", "e", "--benchmarks", "fillrandom", "--dir", "d"].map(str::to_owned));
        line.extend(flags(&parent.workload).unwrap());
        line.extend(flags(&parent.settings).unwrap());
        let crate::Command::Run(child) = Cli::parse_from(line).command else { panic!("not run") };
        assert_eq!((&child.workload, &child.settings), (&parent.workload, &parent.settings));
        assert_eq!((child.workload.num, child.workload.reads, child.settings.bloom_bits), (7, 5, 3));
        assert!(child.workload.sync && child.settings.memory_budget == 8 << 20);
    }
}
