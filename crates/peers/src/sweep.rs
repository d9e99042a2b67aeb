//! `sweep`: figures, by varying one thing at a time and leaving the rest as it is.
//!
//! Each point is a comparison of its own: the engines take turns there. Results go to the file as they
//! come, so an interrupted sweep goes on where it was; after each figure its files are written anew.
//!
//! The total of operations is the same at every point: with more threads each does less, and larger
//! values are fewer. (db_bench has each thread do all; the rate is the same, the time is not.)

use crate::compare::{self, Turns};
use crate::figures::{self, Figure, Varied};
use crate::report::{self, Row, Runs};
use crate::results::Book;
use crate::setup::{Emulation, Setup};
use crate::{Result, machine};
use ringfort_bench::{Benchmark, Settings, Workload};
use std::path::PathBuf;

/// The command line of a sweep.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// What to vary; a figure each.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "threads,value_size,block_size,read_share"
    )]
    pub figures: Vec<Varied>,
    /// The engines, in the order in which they take turns.
    #[arg(long, value_delimiter = ',', default_value = "ringfort,rocksdb,fjall")]
    pub engines: Vec<String>,
    /// The benchmarks, in order; the first must be one that fills. The share of reads has
    /// readrandomwriterandom in place of these.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fillrandom,readrandom")]
    pub benchmarks: Vec<Benchmark>,
    /// Threads where they are not varied.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// The points of the figure on threads.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16")]
    pub thread_counts: Vec<u64>,
    /// The points of the figure on value sizes, bytes.
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "16,64,256,1024,4096,16384")]
    pub value_sizes: Vec<u64>,
    /// The points of the figure on block sizes, bytes.
    #[arg(
        long,
        value_name = "BYTES,…",
        value_delimiter = ',',
        default_value = "4096,8192,16384,32768,65536"
    )]
    pub block_sizes: Vec<u64>,
    /// The points of the figure on the share of reads, percent.
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', default_value = "0,25,50,75,90,100")]
    pub read_shares: Vec<u64>,
    /// The directory of the figures; created if needed.
    #[arg(long, value_name = "DIR", default_value = "docs/figures")]
    pub out: PathBuf,
    #[command(flatten)]
    pub turns: Turns,
    #[command(flatten)]
    pub workload: Workload,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub emulation: Emulation,
}

impl Args {
    fn values(&self, varied: Varied) -> &[u64] {
        match varied {
            Varied::Threads => &self.thread_counts,
            Varied::ValueSize => &self.value_sizes,
            Varied::BlockSize => &self.block_sizes,
            Varied::ReadShare => &self.read_shares,
        }
    }

    fn base(&self, varied: Varied) -> Setup {
        Setup {
            engine: String::new(),
            benchmarks: match varied {
                Varied::ReadShare => vec![Benchmark::FillRandom, Benchmark::ReadRandomWriteRandom],
                _ => self.benchmarks.clone(),
            },
            threads: self.threads,
            workload: self.workload.clone(),
            settings: self.settings.clone(),
            emulation: self.emulation.clone(),
            memory_limit: None,
        }
    }
}

/// Runs all figures and writes their files.
pub fn run(args: &Args) -> Result<()> {
    args.turns.check()?;
    let mut book = args.turns.book()?;
    let load = machine::load();
    let mut all = Vec::new();
    for &varied in &args.figures {
        let figure = figures::ALL.iter().find(|figure| figure.varied == varied).ok_or("no such figure")?;
        let base = args.base(varied);
        let points = points(figure, &base, args.values(varied), &args.engines, &args.turns, &mut book)?;
        all.extend(points.into_iter().flat_map(|point| point.rows));
        figures::draw(&all, &args.out)?;
    }
    let load = format!("load {load} before, {} after", machine::load());
    let first = args.figures.first().ok_or("--figures names nothing to run")?;
    compare::print(&args.turns, &all, &report::preface(&args.base(*first), args.turns.repeats, &load))
}

/// One point of a figure.
pub struct Point {
    /// Of what is varied.
    pub value: u64,
    /// Its results.
    pub rows: Vec<Row>,
    /// What they come from.
    pub runs: Vec<Runs>,
}

/// All points of a figure. What the base says of each thread is said of all together.
pub fn points(
    figure: &Figure,
    base: &Setup,
    values: &[u64],
    engines: &[String],
    turns: &Turns,
    book: &mut Book,
) -> Result<Vec<Point>> {
    let mut all = Vec::new();
    for (nth, &value) in values.iter().enumerate() {
        eprintln!("{}: {value} (point {} of {})", figure.name, nth + 1, values.len());
        let mut at_point = base.clone();
        figure.varied.apply(&mut at_point, value)?;
        share_out(&mut at_point)?;
        let setups: Vec<Setup> =
            engines.iter().map(|engine| Setup { engine: engine.clone(), ..at_point.clone() }).collect();
        let runs = compare::take_turns(&setups, turns, book)?;
        let rows = report::rows(&runs, Some(figure.name))?;
        book.conclude(&rows)?;
        all.push(Point { value, rows, runs });
    }
    Ok(all)
}

/// Gives each thread its part of the operations.
fn share_out(setup: &mut Setup) -> Result<()> {
    let threads = u64::try_from(setup.threads)?;
    if threads == 0 {
        return Err("the number of threads must be above 0".into());
    }
    if setup.workload.duration > 0.0 {
        // Time is the same for few and for many.
        return Ok(());
    }
    let num = setup.workload.num;
    for count in [&mut setup.workload.reads, &mut setup.workload.writes, &mut setup.workload.deletes] {
        let total = u64::try_from(*count).unwrap_or(num);
        *count = i64::try_from((total / threads).max(1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::setup;

    #[test]
    fn threads_share_the_operations() {
        let mut shared = Setup { threads: 4, ..setup("ringfort") };
        shared.workload.reads = 400;
        share_out(&mut shared).unwrap();
        assert_eq!(
            (shared.workload.reads, shared.workload.writes, shared.workload.num),
            (100, 250_000, 1_000_000)
        );
        let range = |benchmark| shared.workload.range(benchmark).unwrap().operations;
        assert_eq!(range(Benchmark::FillRandom) * 4, 1_000_000);
        assert_eq!(range(Benchmark::ReadRandom) * 4, 400);
        assert!(share_out(&mut Setup { threads: 0, ..setup("ringfort") }).is_err());
    }

    #[test]
    fn each_thing_that_can_be_varied_has_its_figure_first() {
        use clap::ValueEnum;
        for varied in Varied::value_variants() {
            let figure = figures::ALL.iter().find(|figure| figure.varied == *varied).unwrap();
            assert!(!figure.name.starts_with("twinstore"), "{}", figure.name);
        }
    }
}
