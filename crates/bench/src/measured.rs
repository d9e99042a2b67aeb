//! What one benchmark gave: [`Measured`], which is also one line of JSON.

use crate::histogram::Histogram;
use crate::tally::{Kind, Outcome};
use crate::workload::{Benchmark, Range, Workload};
use ringfort_base::Level;
use serde::{Deserialize, Serialize};

/// What one benchmark of one run gave.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The store.
    pub engine: String,
    /// Which.
    pub benchmark: Benchmark,
    /// Threads that counted.
    pub threads: usize,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// Keys were drawn from 0..num.
    pub num: u64,
    /// What writes waited for: `buffered`, `durable` or `fresh`.
    pub level: String,
    /// Writes of one thread that were under way at once.
    pub in_flight: usize,
    /// Operations of all threads; keys of a batch count each.
    pub operations: u64,
    /// Keys that were looked for.
    pub reads: u64,
    /// Those of them that were there.
    pub found: u64,
    /// Wall time of the operations.
    pub seconds: f64,
    /// Wall time of settling afterwards.
    pub settle_seconds: f64,
    /// Operations by wall time, without settling: what db_bench prints.
    pub ops_per_sec: f64,
    /// Time of all threads, added up, per operation: what db_bench prints.
    pub micros_per_op: f64,
    /// Processor time of the whole process, settling included, per operation.
    pub cpu_us_per_op: f64,
    /// Half of the calls took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1000 took no longer.
    pub p999_us: f64,
    /// 9999 of 10,000 took no longer.
    pub p9999_us: f64,
    /// The longest call.
    pub max_us: f64,
    /// The same by kind of operation.
    pub latencies: Vec<Latency>,
    /// Bytes of keys and values that were read or written.
    pub bytes: u64,
    /// Bytes of keys and values that were put.
    pub user_bytes: u64,
    /// Bytes handed to the system, settling included.
    pub bytes_written: u64,
    /// What the store occupies afterwards, bytes.
    pub disk_bytes: u64,
    /// Most resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// Memory that the store says it uses, bytes.
    pub memory_used_bytes: Option<u64>,
    /// Latencies in full, by kind.
    #[serde(skip)]
    pub histograms: Vec<(Kind, Histogram)>,
}

/// How long one kind of operation took.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Which.
    pub kind: Kind,
    /// Calls; a batch is one.
    pub calls: u64,
    /// Half of the calls took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1000 took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Measured {
    /// What the threads themselves know; the driver adds what it saw from outside.
    pub(crate) fn new(benchmark: Benchmark, workload: &Workload, range: &Range, outcome: Outcome) -> Self {
        let seconds = outcome.seconds();
        let all = outcome.all_latencies();
        let operations = outcome.operations as f64;
        let histograms: Vec<(Kind, Histogram)> = Kind::ALL
            .into_iter()
            .zip(outcome.latencies)
            .filter_map(|(kind, histogram)| Some((kind, histogram?)))
            .collect();
        Self {
            engine: String::new(),
            benchmark,
            threads: 0,
            key_size: workload.key_size,
            value_size: workload.value_size,
            num: workload.num,
            level: if benchmark.writes() { range.level } else { Level::Buffered }.name().to_owned(),
            in_flight: workload.in_flight,
            operations: outcome.operations,
            reads: outcome.reads,
            found: outcome.found,
            seconds,
            settle_seconds: 0.0,
            ops_per_sec: if seconds > 0.0 { operations / seconds } else { 0.0 },
            micros_per_op: outcome.thread_seconds * 1e6 / operations.max(1.0),
            cpu_us_per_op: 0.0,
            p50_us: all.quantile_us(0.5),
            p99_us: all.quantile_us(0.99),
            p999_us: all.quantile_us(0.999),
            p9999_us: all.quantile_us(0.9999),
            max_us: all.max_us(),
            latencies: histograms.iter().map(|(kind, histogram)| Latency::of(*kind, histogram)).collect(),
            bytes: outcome.bytes,
            user_bytes: outcome.put_bytes,
            bytes_written: 0,
            disk_bytes: 0,
            peak_rss_bytes: 0,
            memory_used_bytes: None,
            histograms,
        }
    }
}

impl Latency {
    fn of(kind: Kind, histogram: &Histogram) -> Self {
        Self {
            kind,
            calls: histogram.count(),
            p50_us: histogram.quantile_us(0.5),
            p99_us: histogram.quantile_us(0.99),
            p999_us: histogram.quantile_us(0.999),
            max_us: histogram.max_us(),
        }
    }
}
