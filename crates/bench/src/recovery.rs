//! How long a store takes to come back: `recovery`.
//!
//! ```text
//! fill    a child process fills a store and dies without closing it
//! open    a new child opens it, which is what is measured, reads entries back, and dies as well
//! ```
//! Without `--store_gib` the entries are all in the write-ahead log: nothing is flushed before the
//! death, and the open has to read, check and replay the log. With it, a store of that size is filled
//! once, in order, and settled: what is measured is the opening of its tables. A store may be opened in several ways
//! ([`Subject::ways`]); each way opens what the one before left.
//!
//! Files are in the page cache: what is measured is the processor's work and the syncs that a store
//! thinks it owes.

use crate::keys::Key;
use crate::scratch::Scratch;
use crate::settings::{Compression, Settings};
use crate::values::Values;
use crate::{Engine, Result, lines, machine, process};
use ringfort_base::Level;
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Runs of each store; a figure is their median.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeats: usize,
    /// Append the results to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the stores are made; a new directory below it, which is removed.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// What is to come back.
    #[command(flatten)]
    pub amount: Amount,
}

/// What is to come back.
#[derive(Clone, PartialEq, Debug, clap::Args, Serialize, Deserialize)]
#[command(rename_all = "snake_case")]
pub struct Amount {
    /// Entries of the log, each a commit of its own.
    #[arg(long, value_name = "N", default_value_t = 800_000)]
    pub entries: u64,
    /// Bytes of a key.
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_size: usize,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value_size: usize,
    /// Instead of a log: a settled store of so many GiB.
    #[arg(long, value_name = "GIB")]
    pub store_gib: Option<f64>,
}

impl Amount {
    fn check(&self) -> Result<()> {
        if self.entries == 0 || self.key_size < 8 || self.store_gib.is_some_and(|gib| gib <= 0.0) {
            return Err("--entries and --store_gib must be above 0, --key_size at least 8".into());
        }
        Ok(())
    }

    fn entries(&self) -> u64 {
        let entry = (self.key_size + self.value_size) as f64;
        self.store_gib.map_or(self.entries, |gib| (gib * f64::from(1 << 30) / entry).max(1.0) as u64)
    }

    /// A log must not be flushed by itself: a memtable has room for all of it, and not much more.
    fn settings(&self) -> Settings {
        let entry = self.key_size + self.value_size + 100;
        let log = (self.entries as usize).saturating_mul(entry).saturating_mul(3) / 2;
        let (memory_budget, write_buffer_size) = match self.store_gib {
            None => ((8 * log).max(512 << 20), log.clamp(1 << 20, 3 << 30)),
            Some(_) => (512 << 20, 64 << 20),
        };
        Settings {
            memory_budget,
            write_buffer_size,
            block_size: 4096,
            bloom_bits: 10,
            compression_type: Compression::None,
            use_direct_reads: None,
            background_jobs: 2,
            min_blob_size: None,
            merge_operator: None,
        }
    }
}

/// One child's work, as its command line says it.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Step {
    /// Which store.
    #[arg(long)]
    pub engine: String,
    /// `fill`, or a way of opening.
    #[arg(long)]
    pub step: String,
    /// The store's directory.
    #[arg(long)]
    pub dir: PathBuf,
    /// What is to come back.
    #[command(flatten)]
    pub amount: Amount,
}

impl Step {
    /// The flags that make it.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let amount = &self.amount;
        let mut flags: Vec<String> = [
            ("engine", self.engine.clone()),
            ("step", self.step.clone()),
            ("dir", self.dir.display().to_string()),
            ("entries", amount.entries.to_string()),
            ("key_size", amount.key_size.to_string()),
            ("value_size", amount.value_size.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [format!("--{name}"), value])
        .collect();
        flags.extend(amount.store_gib.map(|gib| format!("--store_gib={gib}")));
        flags
    }
}

/// A way to open a store: what reports call it, and how.
pub type Way = (&'static str, fn(&Path, &Settings) -> Result<Arc<dyn Engine>>);

/// A store that can come back.
#[derive(Clone, Copy)]
pub struct Subject {
    /// What the command line calls it.
    pub name: &'static str,
    /// The ways of opening that are measured, in order. The last one also makes it, so it writes.
    pub ways: &'static [Way],
}

/// What lines of results of this kind are called.
pub const KIND: &str = "recovery";

/// What one opening gave: a line of results.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recovered {
    /// What this line is: [`KIND`].
    pub kind: String,
    /// Which of the repeats it is, from 1.
    pub repeat: usize,
    /// Processors, memory, system.
    pub machine: String,
    /// The store.
    pub engine: String,
    /// How it was opened.
    pub way: String,
    /// Entries that came back.
    pub entries: u64,
    /// Bytes of a value.
    pub value_size: usize,
    /// Size of the settled store that was opened, GiB; none: the entries were in the log.
    pub store_gib: Option<f64>,
    /// Until the store answers.
    pub seconds: f64,
    /// The same as a rate.
    pub entries_per_sec: f64,
    /// Processor time of the process.
    pub cpu_us_per_entry: f64,
    /// Most resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// What the store occupies, bytes.
    pub disk_bytes: u64,
}

/// A child: does its step, prints one line, and dies without closing anything.
pub fn step(step: &Step, subject: &Subject) -> Result<()> {
    let amount = &step.amount;
    amount.check()?;
    let line = if step.step == "fill" {
        fill(step, subject)?;
        "{}".to_owned()
    } else {
        let way = subject.ways.iter().find(|way| way.0 == step.step);
        let (_, open) = way.ok_or_else(|| format!("'{}' is no way to open it", step.step))?;
        serde_json::to_string(&reopen(step, *open)?)?
    };
    println!("{line}");
    std::io::stdout().flush()?;
    door::harden_process()?; // leaves no core file
    std::process::abort()
}

fn fill(step: &Step, subject: &Subject) -> Result<()> {
    let amount = &step.amount;
    let (_, open) = subject.ways.last().ok_or("there is no way to open it")?;
    let engine = open(&step.dir, &amount.settings())?;
    let mut key = Key::new(amount.key_size);
    let mut values = Values::new(0.5, amount.value_size);
    let entries = amount.entries();
    for i in 0..entries {
        // A large store in order, which compactions only move: how it came about is not what is measured.
        let number = if amount.store_gib.is_some() { i } else { spread(i, entries) };
        engine.put(key.of(number), values.next(amount.value_size), Level::Buffered)?;
    }
    if amount.store_gib.is_some() {
        engine.settle()?;
    }
    // What goes on in the background (anchoring) is over when the process dies.
    door::sleep(Duration::from_millis(500));
    std::mem::forget(engine);
    Ok(())
}

fn reopen(step: &Step, open: fn(&Path, &Settings) -> Result<Arc<dyn Engine>>) -> Result<Recovered> {
    let amount = &step.amount;
    let entries = amount.entries();
    let settings = amount.settings();
    process::reset_peak_rss()?;
    let clock = OsClock::new();
    let (start, cpu_us) = (clock.monotonic(), door::cpu_time_us());
    let engine = open(&step.dir, &settings)?;
    let seconds = (clock.monotonic() - start).as_secs_f64();
    let cpu_us = door::cpu_time_us() - cpu_us;
    let peak_rss_bytes = process::peak_rss()?;
    let mut key = Key::new(amount.key_size);
    for number in (0..entries).step_by((entries / 1000).max(1) as usize).chain([entries - 1]) {
        if engine.get(key.of(number))? != Some(amount.value_size) {
            return Err(format!("entry {number} did not come back").into());
        }
    }
    std::mem::forget(engine);
    Ok(Recovered {
        kind: KIND.to_owned(),
        repeat: 1,
        machine: machine::describe(),
        engine: step.engine.clone(),
        way: step.step.clone(),
        entries,
        value_size: amount.value_size,
        store_gib: amount.store_gib,
        seconds,
        entries_per_sec: entries as f64 / seconds,
        cpu_us_per_entry: cpu_us as f64 / entries as f64,
        peak_rss_bytes,
        disk_bytes: process::disk_bytes(&step.dir)?,
    })
}

/// Every number below `n` once, out of order: the factor is a prime that `n` does not reach.
fn spread(i: u64, n: u64) -> u64 {
    const PRIME: u128 = (1 << 61) - 1;
    (u128::from(i) * (PRIME % u128::from(n.max(1))) % u128::from(n.max(1))) as u64
}

/// The parent: runs the stores in turn, prints a table, and appends JSON lines. `child` is a command
/// that carries out a [`Step`] given the step's flags.
pub fn run(args: &Args, subjects: &[Subject], child: &dyn Fn() -> Result<Command>) -> Result<()> {
    args.amount.check()?;
    if args.repeats == 0 {
        return Err("--repeats must be above 0".into());
    }
    let mut all: Vec<Recovered> = Vec::new();
    // A log is gone when it was replayed, tables are there for every repeat.
    let mut made: Vec<Option<Scratch>> = subjects.iter().map(|_| None).collect();
    for repeat in 1..=args.repeats {
        for (subject, made) in subjects.iter().zip(&mut made) {
            let one = |step: &str, dir: &Path| -> Result<String> {
                let (engine, step, dir) = (subject.name.to_owned(), step.to_owned(), dir.to_owned());
                run_step(&Step { engine, step, dir, amount: args.amount.clone() }, child()?)
            };
            let scratch = match made.take() {
                Some(filled) => filled,
                None => {
                    let new = Scratch::new(&args.dir, "ringfort-recovery")?;
                    one("fill", &new.0)?;
                    new
                }
            };
            for (way, _) in subject.ways {
                let recovered: Recovered = serde_json::from_str(&one(way, &scratch.0)?)?;
                let recovered = Recovered { repeat, ..recovered };
                eprintln!("[{repeat}/{}] {}", args.repeats, row(&recovered, None));
                all.push(recovered);
            }
            *made = args.amount.store_gib.map(|_| scratch);
        }
    }
    print_table(subjects, &all);
    let new = all.iter().map(serde_json::to_string).collect::<std::result::Result<Vec<_>, _>>()?;
    args.json.as_ref().map_or(Ok(()), |path| lines::append(path, &new))
}

fn run_step(step: &Step, mut command: Command) -> Result<String> {
    let output = command.args(step.flags()).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().next_back().map(str::to_owned);
    line.ok_or_else(|| format!("the step '{}' of '{}' failed", step.step, step.engine).into())
}

/// Medians, and each beside the first store's.
fn print_table(subjects: &[Subject], all: &[Recovered]) {
    println!(
        "{:<12} {:<8} {:>9} {:>12} {:>10} {:>9} {:>8}",
        "store", "way", "seconds", "entries/s", "us CPU/entry", "peak MiB", "ratio"
    );
    let mut first = None;
    for subject in subjects {
        for (way, _) in subject.ways {
            let mut runs: Vec<&Recovered> =
                all.iter().filter(|one| one.engine == subject.name && one.way == *way).collect();
            runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let Some(median) = runs.get(runs.len() / 2) else { continue };
            let reference = *first.get_or_insert(median.seconds);
            println!("{}", row(median, Some(median.seconds / reference)));
        }
    }
}

fn row(one: &Recovered, ratio: Option<f64>) -> String {
    format!(
        "{:<12} {:<8} {:>9.3} {:>12.0} {:>12.3} {:>9} {:>8}",
        one.engine,
        one.way,
        one.seconds,
        one.entries_per_sec,
        one.cpu_us_per_entry,
        one.peak_rss_bytes >> 20,
        ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        step: Step,
    }

    #[test]
    fn a_child_gets_the_step_of_its_parent() {
        for store_gib in [None, Some(1.5)] {
            let amount = Amount { entries: 7, key_size: 9, value_size: 3, store_gib };
            let step = Step { engine: "e".to_owned(), step: "open".to_owned(), dir: "d".into(), amount };
            let line = std::iter::once("x".to_owned()).chain(step.flags());
            let child = Line::parse_from(line).step;
            assert_eq!((child.engine, child.step, child.dir), (step.engine, step.step, step.dir));
            assert_eq!(child.amount, step.amount);
        }
    }

    #[test]
    fn every_entry_is_put_once() {
        for n in [1, 2, 1000, 4096] {
            let mut seen: Vec<u64> = (0..n).map(|i| spread(i, n)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n}");
        }
    }
}
