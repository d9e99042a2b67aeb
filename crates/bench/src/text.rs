//! Results as db_bench prints them, so that eyes and scripts that know its output know this one.
//!
//! ```text
//! fillrandom   :       3.801 micros/op 263091 ops/sec 3.801 seconds 1000000 operations;  260.9 MB/s
//! readrandom   :       2.140 micros/op 467259 ops/sec 2.140 seconds 1000000 operations;  304.9 MB/s (632112 of 1000000 found)
//! ```
//! Below each line stands, indented, what db_bench does not know: processor time, percentiles, bytes
//! written, space. "MB" is 2^20 bytes, as in db_bench. Found counts are those of all threads, where
//! db_bench has those of the first.

use crate::histogram::Histogram;
use crate::measured::Measured;
use crate::settings::Settings;
use crate::workload::{Benchmark, Workload};
use std::fmt::Write as _;

const MIB: f64 = (1 << 20) as f64;

/// What db_bench says before the first benchmark.
pub fn header(workload: &Workload, settings: &Settings, threads: usize) -> String {
    let Workload { num, key_size, value_size, compression_ratio, .. } = *workload;
    let compressed = (value_size as f64 * compression_ratio + 0.5) as usize;
    let raw = (key_size + value_size) as f64 * num as f64 / MIB;
    let file = (key_size as f64 + value_size as f64 * compression_ratio) * num as f64 / MIB;
    let rows = [
        ("Keys:", format!("{key_size} bytes each")),
        ("Values:", format!("{value_size} bytes each ({compressed} bytes after compression)")),
        ("Entries:", num.to_string()),
        ("RawSize:", format!("{raw:.1} MB (estimated)")),
        ("FileSize:", format!("{file:.1} MB (estimated, if compressed)")),
        ("Compression:", settings.compression_type.to_string()),
        ("Threads:", threads.to_string()),
        ("Level:", level(workload)),
        (
            "Memory:",
            format!(
                "{:.1} MB, write buffer {:.1} MB",
                mib(settings.memory_budget),
                mib(settings.write_buffer_size)
            ),
        ),
        (
            "Blocks:",
            format!("{} bytes, Bloom filters of {} bits per key", settings.block_size, settings.bloom_bits),
        ),
    ];
    let mut out = String::new();
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<12}{}{value}", if name.len() < 12 { "" } else { " " });
    }
    out + "------------------------------------------------"
}

fn level(workload: &Workload) -> String {
    workload.range(Benchmark::Overwrite).map_or(workload.level, |range| range.level).to_string()
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / MIB
}

/// A benchmark's line, and what db_bench does not know below it.
pub fn lines(measured: &Measured) -> String {
    let mut out = format!(
        "{:<12} : {:11.3} micros/op {} ops/sec {:.3} seconds {} operations;",
        measured.benchmark.name(),
        measured.micros_per_op,
        measured.ops_per_sec as u64,
        measured.seconds,
        measured.operations,
    );
    if measured.bytes > 0 && measured.seconds > 0.0 {
        let _ = write!(out, " {:6.1} MB/s", measured.bytes as f64 / MIB / measured.seconds);
    }
    if let Some(message) = message(measured) {
        let _ = write!(out, " {message}");
    }
    let _ = write!(
        out,
        "\n{:15}{:.2} us CPU/op, p50 {:.2} p99 {:.2} p99.9 {:.2} us",
        "", measured.cpu_us_per_op, measured.p50_us, measured.p99_us, measured.p999_us
    );
    if measured.benchmark.writes() {
        let _ = write!(out, "; settled in {:.3} s", measured.settle_seconds);
    }
    if measured.user_bytes > 0 {
        let amplification = measured.bytes_written as f64 / measured.user_bytes as f64;
        let _ = write!(out, ", {amplification:.2} bytes written per byte put");
    }
    let (disk, memory) = (measured.disk_bytes as f64 / MIB, measured.peak_rss_bytes as f64 / MIB);
    let _ = write!(out, "; {disk:.1} MB on disk, {memory:.1} MB resident");
    out
}

/// What db_bench puts at the end of the line.
fn message(measured: &Measured) -> Option<String> {
    let Measured { benchmark, operations, reads, found, .. } = *measured;
    match benchmark {
        Benchmark::ReadRandomWriteRandom => {
            let writes = operations - reads;
            Some(format!("( reads:{reads} writes:{writes} total:{operations} found:{found})"))
        }
        Benchmark::UpdateRandom => Some(format!("( updates:{operations} found:{found})")),
        _ if benchmark.looks_for_keys() => Some(format!("({found} of {reads} found)")),
        _ => None,
    }
}

/// A benchmark that was not run.
pub fn skipped(benchmark: Benchmark, why: &str) -> String {
    format!("{:<12} : skipped ({why})", benchmark.name())
}

/// The histograms of a benchmark, one for each kind of operation.
pub fn histograms(measured: &Measured) -> String {
    let mut out = String::new();
    for (kind, histogram) in &measured.histograms {
        let _ = write!(out, "Microseconds per {}:\n{}", kind.name(), histogram_lines(histogram));
    }
    out
}

fn histogram_lines(histogram: &Histogram) -> String {
    let us = |share| histogram.quantile_us(share);
    let mut out = format!(
        "Count: {} Average: {:.4}  StdDev: {:.2}\nMin: {:.3}  Median: {:.4}  Max: {:.3}\n\
         Percentiles: P50: {:.2} P75: {:.2} P99: {:.2} P99.9: {:.2} P99.99: {:.2}\n\
         ------------------------------------------------------\n",
        histogram.count(),
        histogram.average_us(),
        histogram.deviation_us(),
        histogram.min_us(),
        us(0.5),
        histogram.max_us(),
        us(0.5),
        us(0.75),
        us(0.99),
        us(0.999),
        us(0.9999),
    );
    let (total, mut cumulative) = (histogram.count() as f64, 0);
    for (from, to, count) in rows(histogram) {
        cumulative += count;
        let (share, sum) = (count as f64 / total * 100.0, cumulative as f64 / total * 100.0);
        // Twenty marks for everything.
        let marks = "#".repeat((share / 5.0).round() as usize);
        let _ = writeln!(out, "( {from:8}, {to:8} ] {count:10} {share:8.3}% {sum:8.3}% {marks}");
    }
    out
}

/// The counts between db_bench's limits.
fn rows(histogram: &Histogram) -> Vec<(u64, u64, u64)> {
    let mut rows = Vec::new();
    let mut limits = limits();
    let (mut from, mut to, mut count) = (0, limits.next().unwrap_or(u64::MAX), 0);
    for (us, seen) in histogram.seen_us() {
        while us > to as f64 {
            if count > 0 {
                rows.push((from, to, count));
            }
            (from, to, count) = (to, limits.next().unwrap_or(u64::MAX), 0);
        }
        count += seen;
    }
    if count > 0 {
        rows.push((from, to, count));
    }
    rows
}

/// 1, 2, then half as much again each, of which the first two digits count.
fn limits() -> impl Iterator<Item = u64> {
    let grown = std::iter::successors(Some(2.0f64), |limit| Some(limit * 1.5));
    let two_digits = |limit: f64| {
        let limit = limit as u64;
        let unit = 10u64.pow(limit.ilog10().saturating_sub(1));
        limit / unit * unit
    };
    std::iter::once(1).chain(grown.take_while(|limit| *limit < 1e18).map(two_digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::{Kind, Outcome};
    use std::time::Duration;

    fn measured(benchmark: Benchmark, outcome: Outcome) -> Measured {
        let workload = Workload { value_size: 1000, ..Workload::default() };
        let range = workload.range(benchmark).unwrap();
        Measured { threads: 1, ..Measured::new(benchmark, &workload, &range, outcome) }
    }

    fn outcome() -> Outcome {
        Outcome {
            operations: 1_000_000,
            reads: 1_000_000,
            found: 632_112,
            bytes: 2 << 20,
            thread_seconds: 4.0,
            during: Some((Duration::from_secs(1), Duration::from_secs(3))),
            ..Outcome::default()
        }
    }

    fn first(text: &str) -> &str {
        text.lines().next().unwrap_or_default()
    }

    #[test]
    fn a_line_is_db_benchs() {
        assert_eq!(
            first(&lines(&measured(Benchmark::FillRandom, outcome()))),
            "fillrandom   :       4.000 micros/op 500000 ops/sec 2.000 seconds 1000000 operations;    1.0 MB/s"
        );
        assert_eq!(
            first(&lines(&measured(Benchmark::ReadRandom, outcome()))),
            "readrandom   :       4.000 micros/op 500000 ops/sec 2.000 seconds 1000000 operations;    1.0 MB/s \
             (632112 of 1000000 found)"
        );
        let mixed = Outcome { reads: 900_000, bytes: 0, ..outcome() };
        assert_eq!(
            first(&lines(&measured(Benchmark::ReadRandomWriteRandom, mixed))),
            "readrandomwriterandom :       4.000 micros/op 500000 ops/sec 2.000 seconds 1000000 operations; \
             ( reads:900000 writes:100000 total:1000000 found:632112)"
        );
    }

    #[test]
    fn the_line_below_has_what_db_bench_does_not_know() {
        let mut fill = measured(Benchmark::FillRandom, outcome());
        (fill.settle_seconds, fill.user_bytes, fill.bytes_written) = (0.5, 1000, 3500);
        (fill.disk_bytes, fill.cpu_us_per_op) = (3 << 20, 7.125);
        let text = lines(&fill);
        for part in
            ["7.12 us CPU/op", "settled in 0.500 s", "3.50 bytes written per byte put", "3.0 MB on disk"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let read = lines(&measured(Benchmark::ReadRandom, outcome()));
        assert!(!read.contains("settled") && !read.contains("per byte put"), "{read}");
    }

    #[test]
    fn a_histogram_has_db_benchs_limits() {
        let first: Vec<u64> = limits().take(18).collect();
        assert_eq!(first, [1, 2, 3, 4, 6, 10, 15, 22, 34, 51, 76, 110, 170, 250, 380, 580, 870, 1300]);
        let mut histogram = Histogram::default();
        [500, 500, 1500, 5_500].into_iter().for_each(|nanos| histogram.record(nanos));
        let mut outcome = outcome();
        outcome.latencies[Kind::Write as usize] = Some(histogram);
        let text = histograms(&measured(Benchmark::FillSeq, outcome));
        let expected = "Microseconds per write:\nCount: 4 Average: 2.0000  StdDev: 2.06\n\
             Min: 0.500  Median: 0.5000  Max: 5.500\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("P50: 0.50 P75: 1.4") && text.contains("P99.99: 5.4"), "{text}");
        let rows: Vec<&str> = text.lines().skip(5).collect();
        assert_eq!(
            rows,
            [
                "(        0,        1 ]          2   50.000%   50.000% ##########",
                "(        1,        2 ]          1   25.000%   75.000% #####",
                "(        4,        6 ]          1   25.000%  100.000% #####",
            ]
        );
    }

    #[test]
    fn the_header_says_what_is_run() {
        use clap::FromArgMatches;
        let command = <Settings as clap::Args>::augment_args(clap::Command::new("x"));
        let settings = Settings::from_arg_matches(&command.get_matches_from(["x"])).unwrap();
        let workload = Workload { sync: true, ..Workload::default() };
        let text = header(&workload, &settings, 2);
        for part in [
            "Keys:       16 bytes each",
            "Values:     100 bytes each (50 bytes after compression)",
            "Entries:    1000000",
            "RawSize:    110.6 MB (estimated)",
            "Compression: none",
            "Level:      durable",
        ] {
            assert!(text.lines().any(|line| line.starts_with(part)), "{part} in {text}");
        }
    }
}
