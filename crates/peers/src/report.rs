//! Medians, ratios with their spread, and their two forms: a table in Markdown, lines of JSON.

use crate::engines::REFERENCE;
use crate::results::Outcome;
use crate::setup::Setup;
use crate::{Result, machine};
use ringfort_bench::{Benchmark, Measured};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One engine at one benchmark: medians over the repeats.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What this line is: `result`.
    pub kind: String,
    /// The figure that it is a point of, if it was run for one.
    pub figure: Option<String>,
    pub engine: String,
    pub benchmark: Benchmark,
    pub threads: usize,
    pub key_size: usize,
    pub value_size: usize,
    pub block_size: usize,
    pub num: u64,
    /// Of 100 operations of `readrandomwriterandom`, so many are reads.
    pub readwritepercent: u32,
    /// What writes waited for.
    pub level: String,
    pub memory_budget: usize,
    pub memory_limit: Option<u64>,
    pub repeats: usize,
    /// Operations by wall time, as db_bench has it.
    pub ops_per_sec: f64,
    pub ops_per_sec_min: f64,
    pub ops_per_sec_max: f64,
    /// Operations by wall time with settling: what can be kept up.
    pub sustained_ops_per_sec: f64,
    pub sustained_ops_per_sec_min: f64,
    pub sustained_ops_per_sec_max: f64,
    /// Of the whole process, settling included.
    pub cpu_us_per_op: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// Bytes handed to the system by bytes that were put.
    pub write_amplification: Option<f64>,
    pub disk_bytes: f64,
    pub peak_rss_bytes: f64,
    /// `ops_per_sec` by the reference's of the same repeat.
    pub ratio: Option<Spread>,
    /// `sustained_ops_per_sec` by the reference's of the same repeat.
    pub sustained_ratio: Option<Spread>,
    /// `cpu_us_per_op` by the reference's of the same repeat.
    pub cpu_ratio: Option<Spread>,
    /// Name and version of the engine.
    pub about: String,
    /// Processors, memory, system.
    pub machine: String,
    pub settings_hash: String,
}

/// A median with the least and the greatest.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Self {
        let (min, max) = (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied());
        Self { median: median(values), min, max: max.fold(f64::NEG_INFINITY, f64::max) }
    }

    /// The spread of one engine's numbers by another's of the same repeats.
    pub fn of_ratios(ones: &[f64], others: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = ones.iter().zip(others).map(|(one, other)| one / other).collect();
        let sound = !ratios.is_empty() && ratios.iter().all(|ratio| ratio.is_finite());
        sound.then(|| Self::of(&ratios))
    }

    pub fn shown(self) -> String {
        format!("**{:.2}** ({:.2}–{:.2})", self.median, self.min, self.max)
    }
}

/// The middle one; of an even number, the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The runs of one engine, by repeat.
pub struct Runs {
    pub setup: Setup,
    pub repeats: Vec<Vec<Outcome>>,
}

impl Runs {
    /// What the benchmark with this number gave in each repeat; empty if the engine does not have it.
    pub fn measured(&self, step: usize) -> Vec<&Measured> {
        self.repeats.iter().filter_map(|run| run.get(step)?.measured()).collect()
    }
}

/// What a number of one benchmark is taken from.
type Value = fn(&Measured) -> f64;

/// Operations by wall time with settling.
pub fn sustained(one: &Measured) -> f64 {
    one.operations as f64 / (one.seconds + one.settle_seconds)
}

/// Rows by benchmark, then by engine.
pub fn rows(all: &[Runs], figure: Option<&str>) -> Result<Vec<Row>> {
    let steps = all.first().map_or(0, |runs| runs.setup.benchmarks.len());
    let reference = all.iter().find(|runs| runs.setup.engine == REFERENCE);
    let mut rows = Vec::new();
    for step in 0..steps {
        for runs in all {
            let measured = runs.measured(step);
            if !measured.is_empty() {
                let reference = reference.map(|runs| runs.measured(step));
                rows.push(row(&runs.setup, figure, &measured, reference.as_deref())?);
            }
        }
    }
    Ok(rows)
}

fn row(
    setup: &Setup,
    figure: Option<&str>,
    runs: &[&Measured],
    reference: Option<&[&Measured]>,
) -> Result<Row> {
    let first = *runs.first().ok_or("no run")?;
    let values = |runs: &[&Measured], value: Value| runs.iter().map(|one| value(one)).collect::<Vec<_>>();
    let of = |value: Value| median(&values(runs, value));
    let ratio = |value: Value| Spread::of_ratios(&values(runs, value), &values(reference?, value));
    let rates = Spread::of(&values(runs, |one| one.ops_per_sec));
    let lasting = Spread::of(&values(runs, sustained));
    let amplification = |one: &Measured| one.bytes_written as f64 / one.user_bytes as f64;
    Ok(Row {
        kind: "result".to_owned(),
        figure: figure.map(str::to_owned),
        engine: setup.engine.clone(),
        benchmark: first.benchmark,
        threads: first.threads,
        key_size: first.key_size,
        value_size: first.value_size,
        block_size: setup.settings.block_size,
        num: first.num,
        readwritepercent: setup.workload.readwritepercent,
        level: first.level.clone(),
        memory_budget: setup.settings.memory_budget,
        memory_limit: setup.memory_limit,
        repeats: runs.len(),
        ops_per_sec: rates.median,
        ops_per_sec_min: rates.min,
        ops_per_sec_max: rates.max,
        sustained_ops_per_sec: lasting.median,
        sustained_ops_per_sec_min: lasting.min,
        sustained_ops_per_sec_max: lasting.max,
        cpu_us_per_op: of(|one| one.cpu_us_per_op),
        p50_us: of(|one| one.p50_us),
        p99_us: of(|one| one.p99_us),
        p999_us: of(|one| one.p999_us),
        write_amplification: (first.user_bytes > 0).then(|| of(amplification)),
        disk_bytes: of(|one| one.disk_bytes as f64),
        peak_rss_bytes: of(|one| one.peak_rss_bytes as f64),
        ratio: ratio(|one| one.ops_per_sec),
        sustained_ratio: ratio(sustained),
        cpu_ratio: ratio(|one| one.cpu_us_per_op),
        about: (setup.kind()?.about)(),
        machine: machine::describe(),
        settings_hash: setup.hash()?,
    })
}

impl Row {
    /// Operations by wall time, as db_bench has it.
    pub fn rate(&self) -> Spread {
        Spread { median: self.ops_per_sec, min: self.ops_per_sec_min, max: self.ops_per_sec_max }
    }

    /// Operations by wall time with settling.
    pub fn sustained(&self) -> Spread {
        let (min, max) = (self.sustained_ops_per_sec_min, self.sustained_ops_per_sec_max);
        Spread { median: self.sustained_ops_per_sec, min, max }
    }

    /// Whether another row is the same point, measured again.
    pub fn is_same_point(&self, other: &Self) -> bool {
        let point = |row: &Self| {
            (
                (
                    row.figure.clone(),
                    row.engine.clone(),
                    row.benchmark,
                    row.threads,
                    row.key_size,
                    row.value_size,
                ),
                (row.block_size, row.num, row.readwritepercent, row.level.clone(), row.memory_limit),
                (row.memory_budget, row.machine.clone()),
            )
        };
        point(self) == point(other)
    }
}

/// What a reader must know before the numbers.
pub fn preface(setup: &Setup, repeats: usize, load: &str) -> String {
    let Setup { workload, settings, .. } = setup;
    let limit = setup.memory_limit.map_or_else(
        || format!("budget {} MiB", settings.memory_budget >> 20),
        |limit| format!("each process and its page cache limited to {} MiB", limit >> 20),
    );
    format!(
        "{}; {load}.\n{} keys of {} B, values of {} B; {limit}, write buffer {} MiB, blocks of {} B, Bloom filters of {} bits, \
         compression {}, log on, level {}; medians of {repeats} interleaved runs.\n\n",
        machine::describe(),
        workload.num,
        workload.key_size,
        workload.value_size,
        settings.write_buffer_size >> 20,
        settings.block_size,
        settings.bloom_bits,
        settings.compression_type,
        if workload.sync { "durable" } else { workload.level.name() },
    )
}

/// The table.
pub fn table(rows: &[Row]) -> String {
    let mut out =
        "| benchmark, threads | engine | ops/s | ratio (min–max) | sustained ops/s | sustained ratio (min–max) \
         | CPU µs/op | CPU ratio (min–max) | p50 µs | p99 µs | p99.9 µs | written / put | disk MiB | peak RSS MiB |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    rows.iter().for_each(|row| out += &line(row));
    out
}

fn line(row: &Row) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    // What only reads has no debt.
    let writes = row.benchmark.writes();
    let mut out = format!(
        "| {}, {} | {} | {:.0} | {} | {} | {} ",
        row.benchmark.name(),
        row.threads,
        row.engine,
        row.ops_per_sec,
        or_dash(row.ratio.map(Spread::shown)),
        or_dash(writes.then(|| format!("{:.0}", row.sustained_ops_per_sec))),
        or_dash(row.sustained_ratio.filter(|_| writes).map(Spread::shown)),
    );
    let _ = writeln!(
        out,
        "| {:.2} | {} | {:.2} | {:.1} | {:.1} | {} | {:.0} | {:.0} |",
        row.cpu_us_per_op,
        or_dash(row.cpu_ratio.map(Spread::shown)),
        row.p50_us,
        row.p99_us,
        row.p999_us,
        or_dash(row.write_amplification.map(|by| format!("{by:.2}"))),
        mib(row.disk_bytes),
        mib(row.peak_rss_bytes),
    );
    out
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::setup::Emulation;
    use ringfort_bench::{Compression, Settings, Workload};

    pub fn setup(engine: &str) -> Setup {
        Setup {
            engine: engine.into(),
            benchmarks: vec![Benchmark::FillRandom, Benchmark::ReadRandom],
            threads: 1,
            workload: Workload::default(),
            settings: Settings {
                memory_budget: 512 << 20,
                write_buffer_size: 64 << 20,
                block_size: 4096,
                bloom_bits: 10,
                compression_type: Compression::None,
                use_direct_reads: None,
                background_jobs: 2,
                min_blob_size: None,
                merge_operator: None,
            },
            emulation: Emulation::default(),
            memory_limit: None,
        }
    }

    /// Made up: a million operations at `rate`, half a second of settling after writes.
    pub fn measured(benchmark: Benchmark, rate: f64) -> Measured {
        let settle = if benchmark.writes() { 0.5 } else { 0.0 };
        let put = if benchmark.writes() { 100 } else { 0 };
        serde_json::from_value(serde_json::json!({
            "engine": "x", "benchmark": benchmark.name(), "threads": 1, "key_size": 16, "value_size": 100, "num": 1000,
            "level": "buffered", "in_flight": 1, "operations": 1_000_000, "reads": 0, "found": 0, "seconds": 1e6 / rate,
            "settle_seconds": settle, "ops_per_sec": rate, "micros_per_op": 1.0, "cpu_us_per_op": 1e6 / rate,
            "p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0, "p9999_us": 4.0, "max_us": 5.0, "latencies": [], "bytes": 0,
            "user_bytes": put, "bytes_written": 350, "disk_bytes": 7, "peak_rss_bytes": 8, "memory_used_bytes": null,
        }))
        .unwrap()
    }

    pub fn runs(engine: &str, rates: &[f64]) -> Runs {
        let run = |rate: &f64| {
            let of = |benchmark| Outcome::Measured(Box::new(measured(benchmark, *rate)));
            vec![of(Benchmark::FillRandom), of(Benchmark::ReadRandom)]
        };
        Runs { setup: setup(engine), repeats: rates.iter().map(run).collect() }
    }

    pub fn rows() -> Vec<Row> {
        super::rows(&[runs("ringfort", &[3e6, 2e6, 4e6]), runs("rocksdb", &[1e6, 2e6, 1e6])], None).unwrap()
    }

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_spread_has_the_ends() {
        let spread = Spread::of(&[1.5, 0.5, 1.0]);
        assert_eq!(spread, Spread { median: 1.0, min: 0.5, max: 1.5 });
        assert_eq!(spread.shown(), "**1.00** (0.50–1.50)");
        assert_eq!(Spread::of_ratios(&[], &[]), None);
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn ratios_are_of_one_repeat_and_the_rate_that_lasts_pays_its_debt() {
        let rows = rows();
        let at = |engine: &str, benchmark| {
            rows.iter().find(|row| row.engine == engine && row.benchmark == benchmark).unwrap()
        };
        let fill = at("ringfort", Benchmark::FillRandom);
        assert_eq!((fill.ops_per_sec, fill.ops_per_sec_min, fill.ops_per_sec_max), (3e6, 2e6, 4e6));
        assert_eq!(fill.ratio, Some(Spread { median: 3.0, min: 1.0, max: 4.0 }));
        // A third of a second for the operations, half a second for the debt.
        assert!((fill.sustained_ops_per_sec - 1e6 / (1.0 / 3.0 + 0.5)).abs() < 1.0);
        assert_eq!(fill.write_amplification, Some(3.5));
        let read = at("ringfort", Benchmark::ReadRandom);
        assert_eq!(read.sustained_ops_per_sec, read.ops_per_sec);
        assert_eq!(read.write_amplification, None);
        assert_eq!(
            at("rocksdb", Benchmark::ReadRandom).ratio,
            Some(Spread { median: 1.0, min: 1.0, max: 1.0 })
        );
        let table = table(&rows);
        assert_eq!(table.lines().count(), 2 + 4);
        assert!(
            table.contains("| fillrandom, 1 | ringfort | 3000000 | **3.00** (1.00–4.00) | 1200000 |"),
            "{table}"
        );
    }

    #[test]
    fn without_the_reference_there_is_no_ratio_and_a_gap_is_no_row() {
        let mut lone = runs("fjall", &[1e6]);
        lone.repeats[0][0] = Outcome::Skipped { benchmark: Benchmark::FillRandom, skipped: "why".into() };
        let rows = super::rows(&[lone], Some("threads")).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].benchmark, rows[0].ratio), (Benchmark::ReadRandom, None));
        assert_eq!(rows[0].figure.as_deref(), Some("threads"));
        let preface = preface(&setup("fjall"), 3, "load 1");
        assert!(preface.contains("budget 512 MiB") && preface.contains("level buffered"), "{preface}");
    }
}
