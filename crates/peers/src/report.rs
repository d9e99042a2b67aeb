//! Medians, ratios with their spread, and their two forms: a table in Markdown, lines of JSON.

use crate::compare::Args;
use crate::engines::{Kind, REFERENCE};
use crate::{Result, machine};
use ringfort_bench::{Benchmark, Measured};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// One engine at one benchmark: medians over the repeats.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub engine: &'static str,
    pub benchmark: Benchmark,
    pub threads: usize,
    pub key_size: usize,
    pub value_size: usize,
    pub num: u64,
    pub repeats: usize,
    /// Operations by wall time, as db_bench has it.
    pub ops_per_sec: f64,
    /// Operations by wall time with settling.
    pub settled_ops_per_sec: f64,
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
    /// `cpu_us_per_op` by the reference's of the same repeat.
    pub cpu_ratio: Option<Spread>,
    pub runs: Vec<Measured>,
}

/// A median with the least and the greatest.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let (min, max) = (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied());
        Self { median: median(values), min, max: max.fold(f64::NEG_INFINITY, f64::max) }
    }

    fn shown(self) -> String {
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

/// Rows by benchmark, then by engine. `runs`: by engine, then by repeat, then by benchmark.
pub fn rows(
    args: &Args,
    kinds: &[&'static Kind],
    threads: usize,
    runs: &[Vec<Vec<Measured>>],
) -> Result<Vec<Row>> {
    let reference = kinds.iter().position(|kind| kind.name == REFERENCE);
    let of = |engine: usize, nth: usize| runs[engine].iter().map(|run| run[nth].clone()).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for nth in 0..args.benchmarks.len() {
        let reference = reference.map(|engine| of(engine, nth));
        for (engine, kind) in kinds.iter().enumerate() {
            rows.push(row(args, kind, threads, of(engine, nth), reference.as_deref())?);
        }
    }
    Ok(rows)
}

fn row(
    args: &Args,
    kind: &Kind,
    threads: usize,
    runs: Vec<Measured>,
    reference: Option<&[Measured]>,
) -> Result<Row> {
    let benchmark = runs.first().ok_or("no run")?.benchmark;
    let of = |value: fn(&Measured) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    let ratio = |value: fn(&Measured) -> f64| {
        let pairs = runs.iter().zip(reference?).map(|(one, other)| value(one) / value(other));
        Some(Spread::of(&pairs.collect::<Vec<_>>()))
    };
    Ok(Row {
        engine: kind.name,
        benchmark,
        threads,
        key_size: args.workload.key_size,
        value_size: args.workload.value_size,
        num: args.workload.num,
        repeats: runs.len(),
        ops_per_sec: of(|one| one.ops_per_sec),
        settled_ops_per_sec: of(|one| one.operations as f64 / (one.seconds + one.settle_seconds)),
        cpu_us_per_op: of(|one| one.cpu_us_per_op),
        p50_us: of(|one| one.p50_us),
        p99_us: of(|one| one.p99_us),
        p999_us: of(|one| one.p999_us),
        write_amplification: benchmark
            .writes()
            .then(|| of(|one| one.bytes_written as f64 / one.user_bytes as f64)),
        disk_bytes: of(|one| one.disk_bytes as f64),
        peak_rss_bytes: of(|one| one.peak_rss_bytes as f64),
        ratio: ratio(|one| one.ops_per_sec),
        cpu_ratio: ratio(|one| one.cpu_us_per_op),
        runs,
    })
}

/// The tables, one per benchmark and number of threads, with what a reader must know.
pub fn markdown(args: &Args, kinds: &[&'static Kind], rows: &[Row], load: &str) -> String {
    let Args { workload, settings, .. } = args;
    let mut out = format!(
        "{}; {load}.\n{} keys of {} B, values of {} B; budget {} MiB, write buffer {} MiB, blocks of {} B, \
         Bloom filters of {} bits, no compression, log on, no sync; medians of {} interleaved runs.\n\n",
        machine::describe(),
        workload.num,
        workload.key_size,
        workload.value_size,
        settings.memory_budget >> 20,
        settings.write_buffer_size >> 20,
        settings.block_size,
        settings.bloom_bits,
        args.repeats,
    );
    for kind in kinds {
        out += &format!("- `{}`: {}\n", kind.name, (kind.about)());
    }
    out += "\n| benchmark, threads | engine | ops/s | ratio (min–max) | settled ops/s | CPU µs/op | CPU ratio (min–max) | p50 µs \
            | p99 µs | p99.9 µs | written / put | disk MiB | peak RSS MiB |\n";
    out += "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    rows.iter().for_each(|row| out += &line(row));
    out
}

fn line(row: &Row) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let settled = row.benchmark.writes().then(|| format!("{:.0}", row.settled_ops_per_sec));
    format!(
        "| {}, {} | {} | {:.0} | {} | {} | {:.2} | {} | {:.2} | {:.1} | {:.1} | {} | {:.0} | {:.0} |\n",
        row.benchmark.name(),
        row.threads,
        row.engine,
        row.ops_per_sec,
        or_dash(row.ratio.map(Spread::shown)),
        or_dash(settled),
        row.cpu_us_per_op,
        or_dash(row.cpu_ratio.map(Spread::shown)),
        row.p50_us,
        row.p99_us,
        row.p999_us,
        or_dash(row.write_amplification.map(|by| format!("{by:.2}"))),
        mib(row.disk_bytes),
        mib(row.peak_rss_bytes),
    )
}

/// One object a line, behind what the file holds already.
pub fn append_json(path: &Path, rows: &[Row]) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    for row in rows {
        writeln!(file, "{}", serde_json::to_string(row)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
