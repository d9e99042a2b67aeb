//! # TWINSTORE's figures 6 and 7, and its experiment on threads
//!
//! The paper puts a store's log and MANIFEST on a trusted disk and seals its tables in software
//! (*twin*), and compares that with everything on the trusted disk (*hardware-only*) and with
//! everything in software (*software-only*). Here all of them are Ringfort, so that only the protection differs:
//!
//! | engine | log, MANIFEST | tables | freshness |
//! |---|---|---|---|
//! | `software-paper` | sealed | sealed | 1 ms of the counter for every log entry, as the paper charges it |
//! | `software` | sealed | sealed | the same counter, pipelined: one advance for all within 100 ms |
//! | `hardware-sector`, `hardware-integrity` | trusted disk | trusted disk | the disk |
//! | `twin-sector`, `twin-integrity` | trusted disk | sealed | the disk |
//!
//! No trusted disk can be bought, so its work is done by [`crate::emulated_disk`], twice: AES-256-GCM per
//! 4 KiB sector (`-sector`), and the same with dm-integrity's journal and tag area (`-integrity`), which
//! is what the paper measured in its place.
//!
//! **Levels.** All engines acknowledge at the same `--level`, `buffered` if not said: written, not synced,
//! as the paper's `db_bench` has it. At `buffered`, `software` has what it wrote anchored within 100 ms,
//! and the trusted disk holds what it wrote when it writes its pages back. `software-paper` waits 1 ms for each entry on top
//! of its level, which is what the paper simulated.
//!
//! The workload is the paper's: 16 B keys, a random fill (every key once, 100 in a write), then `readrandomwriterandom`, by default with 9 reads to a
//! write, blocks of 32 KiB and 512 MiB of memory. Threads and operations are fewer: two cores are not 64.

mod engine;
mod paper;

use crate::compare::{self, Turns};
use crate::engines::Kind;
use crate::figures::{self, Figure, Varied};
use crate::report::{self, Runs, Spread};
use crate::results::{Outcome, Series};
use crate::setup::{Emulation, Setup};
use crate::sweep::{self, Point};
use crate::{Result, machine};
use ringfort_base::Level;
use ringfort_bench::settings::bytes;
use ringfort_bench::{Benchmark, Compression, Settings, Workload};
use std::fmt::Write;
use std::path::PathBuf;

/// What the names of the variants begin with.
pub const PREFIX: &str = "twinstore:";

/// The variants.
pub const ENGINES: &[Kind] = &[
    engine::SOFTWARE_PAPER,
    engine::SOFTWARE,
    engine::HARDWARE_SECTOR,
    engine::HARDWARE_INTEGRITY,
    engine::TWIN_SECTOR,
    engine::TWIN_INTEGRITY,
];

/// The figures of this command, by what they vary.
const FIGURES: [&str; 4] =
    ["twinstore-6-value-size", "twinstore-6-block-size", "twinstore-7-read-share", "twinstore-threads"];

/// Keys in one write of the fill, which is one entry of the log: what is looked at comes after it.
const FILL_BATCH: u64 = 100;
/// A write buffer has no more than this share of the memory.
const WRITE_BUFFER_SHARE: usize = 8;

/// The benchmark that is looked at; the fill before it is not.
const LOOKED_AT: usize = 1;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// What to vary: figure 6 (value_size, block_size), figure 7 (read_share), threads.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "value_size,block_size,read_share,threads"
    )]
    pub figures: Vec<Varied>,
    /// Value sizes of figure 6, bytes.
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "128,1024,4096,16384")]
    pub value_sizes: Vec<u64>,
    /// Block sizes of figure 6, bytes.
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "4096,16384,32768,65536")]
    pub block_sizes: Vec<u64>,
    /// Shares of reads of figure 7, percent.
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', default_value = "0,50,90,100")]
    pub read_shares: Vec<u64>,
    /// Numbers of threads.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,8,16,64")]
    pub thread_counts: Vec<u64>,
    /// Threads where they are not varied (the paper: 48 on 64 cores).
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub threads: usize,
    /// Keys that are filled, each once.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub num: u64,
    /// How long the reads and writes go on in each run.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Bytes of a value where they are not varied.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub value_size: usize,
    /// Bytes of a block where they are not varied: bytes, or 32KiB.
    #[arg(long, value_name = "SIZE", default_value = "32KiB", value_parser = bytes)]
    pub block_size: usize,
    /// Of 100 operations, so many are reads where they are not varied.
    #[arg(long, value_name = "PERCENT", default_value_t = 90)]
    pub readwritepercent: u32,
    /// The store's memory: bytes, or 512MiB.
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = bytes)]
    pub memory_budget: usize,
    /// Plain pages that the emulated trusted disk keeps in memory, as the page cache would: bytes, or 512MiB.
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = bytes)]
    pub page_cache: usize,
    /// How long an operation of the trusted counter takes, microseconds.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 1000)]
    pub counter_latency: u64,
    /// What every write waits for: buffered, durable or fresh.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Buffered)]
    pub level: Level,
    /// The directory of the figures; created if needed.
    #[arg(long, value_name = "DIR", default_value = "docs/figures")]
    pub out: PathBuf,
    #[command(flatten)]
    pub turns: Turns,
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

    fn base(&self) -> Setup {
        Setup {
            engine: engine::TWIN_SECTOR.name.to_owned(),
            benchmarks: vec![Benchmark::FillUniqueRandom, Benchmark::ReadRandomWriteRandom],
            threads: self.threads,
            workload: Workload {
                num: self.num,
                value_size: self.value_size,
                readwritepercent: self.readwritepercent,
                level: self.level,
                batch_size: FILL_BATCH,
                duration: self.seconds as f64,
                ..Workload::default()
            },
            settings: Settings {
                memory_budget: self.memory_budget,
                write_buffer_size: (64 << 20).min(self.memory_budget / WRITE_BUFFER_SHARE),
                block_size: self.block_size,
                bloom_bits: 10,
                compression_type: Compression::None,
                use_direct_reads: None,
                background_jobs: 2,
                min_blob_size: None,
                merge_operator: None,
            },
            emulation: Emulation { counter_latency: self.counter_latency, page_cache: self.page_cache },
            memory_limit: None,
        }
    }
}

/// Runs the figures, prints the ratios beside the paper's and writes the files.
pub fn run(args: &Args) -> Result<()> {
    args.turns.check()?;
    let mut book = args.turns.book()?;
    let engines: Vec<String> = ENGINES.iter().map(|kind| kind.name.to_owned()).collect();
    let load = machine::load();
    let (mut rows, mut tables, mut all) = (Vec::new(), String::new(), Vec::new());
    for &varied in &args.figures {
        let figure = figure(varied)?;
        let points =
            sweep::points(figure, &args.base(), args.values(varied), &engines, &args.turns, &mut book)?;
        rows.extend(points.iter().flat_map(|point| point.rows.clone()));
        figures::draw(&rows, &args.out)?;
        tables += &table(figure, &points);
        all.extend(points);
    }
    let load = format!("load {load} before, {} after", machine::load());
    let preface = report::preface(&args.base(), args.turns.repeats, &load);
    compare::print(&args.turns, &rows, &preface)?;
    if !args.turns.prints_json() {
        println!("{tables}{}", averages(&all));
    }
    Ok(())
}

fn figure(varied: Varied) -> Result<&'static Figure> {
    let found =
        FIGURES.iter().filter_map(|name| figures::by_name(name)).find(|figure| figure.varied == varied);
    Ok(found.ok_or("there is no such figure")?)
}

/// Two engines whose rates are divided: the one above by the one below.
pub struct Pair {
    what: &'static str,
    above: &'static str,
    below: &'static str,
}

/// A pair of a goal.
pub const BY_SECTOR: Pair = Pair {
    what: "twin / hardware, sector",
    above: engine::TWIN_SECTOR.name,
    below: engine::HARDWARE_SECTOR.name,
};
/// A pair of a goal.
pub const BY_INTEGRITY: Pair = Pair {
    what: "twin / hardware, integrity",
    above: engine::TWIN_INTEGRITY.name,
    below: engine::HARDWARE_INTEGRITY.name,
};
const BY_PAPER: Pair = Pair {
    what: "twin (sector) / software as the paper charged it",
    above: engine::TWIN_SECTOR.name,
    below: engine::SOFTWARE_PAPER.name,
};
/// A pair of a goal.
pub const SOFTWARE_BY_TWIN: Pair = Pair {
    what: "software as Ringfort does it / twin (sector)",
    above: engine::SOFTWARE.name,
    below: engine::TWIN_SECTOR.name,
};
const PAIRS: [&Pair; 4] = [&BY_SECTOR, &BY_INTEGRITY, &BY_PAPER, &SOFTWARE_BY_TWIN];

impl Pair {
    /// The ratio over the repeats of one point.
    pub fn at(&self, runs: &[Runs]) -> Option<Spread> {
        let rates = |name: &str| -> Option<Vec<f64>> {
            let of = runs.iter().find(|runs| runs.setup.engine == name)?;
            let rate = |run: &Vec<Outcome>| Some(run.get(LOOKED_AT)?.measured()?.ops_per_sec);
            of.repeats.iter().map(rate).collect()
        };
        Spread::of_ratios(&rates(self.above)?, &rates(self.below)?)
    }
}

/// The figures of a file of results, with what their points were run with.
pub fn in_series(all: &[Series]) -> Vec<(&'static Figure, Vec<Point>)> {
    let figures = FIGURES.iter().filter_map(|name| figures::by_name(name));
    let found = figures.map(|figure| {
        let mut points: Vec<Point> = Vec::new();
        let of = all.iter().filter(|series| series.figures.iter().any(|name| name == figure.name));
        // Of several programs the last.
        let build = of.clone().map(|series| series.build).max();
        for series in of.filter(|series| Some(series.build) == build) {
            let value = figure.varied.in_setup(&series.setup);
            let repeats = series.repeats.values().map(|run| run.values().cloned().collect()).collect();
            let runs = Runs { setup: series.setup.clone(), repeats };
            match points.iter_mut().find(|point| point.value == value) {
                Some(point) => point.runs.push(runs),
                None => points.push(Point { value, rows: Vec::new(), runs: vec![runs] }),
            }
        }
        points.sort_by_key(|point| point.value);
        (figure, points)
    });
    found.filter(|(_, points)| !points.is_empty()).collect()
}

/// Each point once: figures have the one in common that varies nothing.
pub fn is_first(seen: &mut Vec<Setup>, point: &Point) -> bool {
    let Some(setup) = point.runs.first().map(|runs| runs.setup.clone()) else { return false };
    let first = !seen.contains(&setup);
    seen.extend(first.then_some(setup));
    first
}

/// One figure's ratios beside the paper's.
pub fn table(figure: &Figure, points: &[Point]) -> String {
    let mut out = format!("### {}\n\n| |", figure.title);
    PAIRS.iter().for_each(|pair| out += &format!(" {} |", pair.what));
    out += "\n|---|--:|--:|--:|--:|\n";
    for point in points {
        let _ = write!(out, "| {} |", point.value);
        for pair in PAIRS {
            let shown = pair.at(&point.runs).map_or_else(|| "–".to_owned(), Spread::shown);
            let _ = write!(out, " {shown} |");
        }
        out.push('\n');
    }
    let said = paper::said(figure.varied);
    let _ = writeln!(out, "| the paper | – | {} | {} | – |\n", said.by_hardware, said.by_software);
    out
}

/// All points together.
pub fn averages(points: &[Point]) -> String {
    let mut seen = Vec::new();
    let points: Vec<&Point> = points.iter().filter(|point| is_first(&mut seen, point)).collect();
    let (hardware, software) = paper::AVERAGE;
    let mut out = String::from("Over all points (mean of the medians, least):\n\n");
    for pair in PAIRS {
        let medians: Vec<f64> =
            points.iter().filter_map(|point| Some(pair.at(&point.runs)?.median)).collect();
        if medians.is_empty() {
            continue;
        }
        let mean = medians.iter().sum::<f64>() / medians.len() as f64;
        let least = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let paper = match pair.what {
            what if what == BY_INTEGRITY.what => format!("; the paper: {hardware} on average"),
            what if what == BY_PAPER.what => format!("; the paper: {software} on average"),
            _ => String::new(),
        };
        let _ = writeln!(out, "- {}: {mean:.2}, least {least:.2}{paper}", pair.what);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;

    fn runs(engine: &str, rates: &[f64]) -> Runs {
        let run = |rate: &f64| {
            let of = |benchmark, rate| Outcome::Measured(Box::new(measured(benchmark, rate)));
            vec![of(Benchmark::FillRandom, 1.0), of(Benchmark::ReadRandomWriteRandom, *rate)]
        };
        Runs {
            setup: Setup { engine: engine.into(), ..crate::report::tests::setup("ringfort") },
            repeats: rates.iter().map(run).collect(),
        }
    }

    fn point() -> Point {
        let all = vec![
            runs(engine::SOFTWARE_PAPER.name, &[10.0, 20.0]),
            runs(engine::SOFTWARE.name, &[60.0, 60.0]),
            runs(engine::HARDWARE_SECTOR.name, &[50.0, 40.0]),
            runs(engine::HARDWARE_INTEGRITY.name, &[20.0, 20.0]),
            runs(engine::TWIN_SECTOR.name, &[60.0, 60.0]),
            runs(engine::TWIN_INTEGRITY.name, &[40.0, 20.0]),
        ];
        Point { value: 1024, rows: Vec::new(), runs: all }
    }

    #[test]
    fn ratios_are_of_one_repeat_and_stand_beside_the_papers() {
        let figure = figure(Varied::ValueSize).unwrap();
        let table = table(figure, &[point()]);
        let expected = "| 1024 | **1.35** (1.20–1.50) | **1.50** (1.00–2.00) | **4.50** (3.00–6.00) | **1.00** (1.00–1.00) |";
        assert!(table.contains(expected), "{table}");
        assert!(table.contains("1.06 to 1.16") && table.contains("3.8 to 3.2"), "{table}");
        let averages = averages(&[point()]);
        assert!(
            averages.contains("twin / hardware, integrity: 1.50, least 1.50; the paper: 1.1"),
            "{averages}"
        );
    }

    #[test]
    fn a_variant_that_was_not_run_has_no_ratio() {
        let mut point = point();
        point.runs.retain(|runs| runs.setup.engine != engine::SOFTWARE.name);
        assert!(SOFTWARE_BY_TWIN.at(&point.runs).is_none());
        assert!(BY_SECTOR.at(&point.runs).is_some());
    }

    #[test]
    fn every_figure_exists_and_varies_what_it_says() {
        for varied in [Varied::ValueSize, Varied::BlockSize, Varied::ReadShare, Varied::Threads] {
            let figure = figure(varied).unwrap();
            assert!(figure.name.starts_with("twinstore"));
            assert!(ENGINES.iter().all(|kind| kind.name.starts_with(PREFIX)));
            assert!(!paper::said(varied).by_hardware.is_empty());
        }
    }
}
