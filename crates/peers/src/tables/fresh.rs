//! What `ringfort bench fresh` wrote: its goals are worked out here, from the runs.

use crate::Result;
use crate::report::Spread;
use crate::results;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What its lines are called.
const KIND: &str = "fresh";

/// One run.
#[derive(Clone, Debug, Deserialize)]
struct Figures {
    ops_per_sec: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us_per_op: f64,
    ops_per_sync: f64,
    rounds_per_million: f64,
}

/// One kind of run with its repeats.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    level: String,
    writers: usize,
    handles: usize,
    counter_latency_us: f64,
    runs: Vec<Figures>,
}

impl Row {
    fn spread(&self, of: fn(&Figures) -> f64) -> Spread {
        Spread::of(&self.runs.iter().map(of).collect::<Vec<_>>())
    }
}

/// Of each kind of run the last line.
#[derive(Default)]
pub struct Fresh(Vec<Row>);

impl Fresh {
    /// The lines of some files.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut rows: Vec<Row> = Vec::new();
        for row in results::of_kind::<Row>(paths, KIND)? {
            rows.retain(|other| {
                (&other.level, other.writers, other.handles) != (&row.level, row.writers, row.handles)
            });
            rows.push(row);
        }
        Ok(Self(rows))
    }

    /// The most commits in flight at `fresh`, and the same at `durable`.
    fn pair(&self) -> Option<(&Row, &Row)> {
        let at = |level: &str| {
            let rows = self.0.iter().filter(|row| row.level == level && row.handles > 1);
            rows.max_by_key(|row| row.writers * row.handles)
        };
        Some((at("fresh")?, at("durable")?))
    }

    /// The rate at `fresh` by that at `durable`, run by run.
    pub fn against_durable(&self) -> Option<Spread> {
        let (fresh, durable) = self.pair()?;
        let rates = |row: &Row| row.runs.iter().map(|run| run.ops_per_sec).collect::<Vec<_>>();
        Spread::of_ratios(&rates(fresh), &rates(durable))
    }

    /// Counter operations for a million commits.
    pub fn rounds_per_million(&self) -> Option<Spread> {
        self.pair().map(|(fresh, _)| fresh.spread(|run| run.rounds_per_million))
    }

    /// Of writers that wait for each commit: how many, their rate by N / (sync + 1.5 advances), their p50 by
    /// sync + 1.5 advances.
    pub fn closed_loops(&self) -> Vec<(usize, Spread, Spread)> {
        let lone = self.0.iter().find(|row| (&*row.level, row.writers, row.handles) == ("durable", 1, 1));
        let Some(sync_us) = lone.map(|row| row.spread(|run| run.p50_us).median) else { return Vec::new() };
        let loops = self.0.iter().filter(|row| row.level == "fresh" && row.handles == 1);
        loops
            .map(|row| {
                let bound_us = sync_us + 1.5 * row.counter_latency_us;
                let by = |spread: Spread, unit: f64| Spread {
                    median: spread.median * unit,
                    min: spread.min * unit,
                    max: spread.max * unit,
                };
                let rate = by(row.spread(|run| run.ops_per_sec), bound_us / (row.writers as f64 * 1e6));
                (row.writers, rate, by(row.spread(|run| run.p50_us), 1.0 / bound_us))
            })
            .collect()
    }

    /// All kinds of run.
    pub fn table(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut out =
            "| level | writers x handles | ops/s (min–max) | p50 µs | p99 µs | CPU µs/op | commits per sync \
                       | counter operations per 10⁶ |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
                .to_owned();
        for row in &self.0 {
            let (rate, median) = (row.spread(|run| run.ops_per_sec), |of| row.spread(of).median);
            let _ = writeln!(
                out,
                "| `{}` | {} x {} | {:.0} ({:.0}–{:.0}) | {:.0} | {:.0} | {:.2} | {:.1} | {:.0} |",
                row.level,
                row.writers,
                row.handles,
                rate.median,
                rate.min,
                rate.max,
                median(|run| run.p50_us),
                median(|run| run.p99_us),
                median(|run| run.cpu_us_per_op),
                median(|run| run.ops_per_sync),
                median(|run| run.rounds_per_million)
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(level: &str, writers: usize, handles: usize, rate: f64, p50: f64) -> Row {
        serde_json::from_value(serde_json::json!({
            "level": level, "writers": writers, "handles": handles, "counter_latency_us": 1000,
            "runs": [{ "ops_per_sec": rate, "p50_us": p50, "p99_us": 2.0, "cpu_us_per_op": 1.0, "ops_per_sync": 3.0,
                "rounds_per_million": 900.0 }],
        }))
        .unwrap()
    }

    #[test]
    fn the_bound_is_a_sync_and_an_advance_and_a_half() {
        let fresh = Fresh(vec![
            row("durable", 1, 1, 5000.0, 500.0),
            row("durable", 32, 64, 1000.0, 1.0),
            row("fresh", 32, 64, 950.0, 1.0),
            row("fresh", 8, 1, 3600.0, 2400.0),
        ]);
        assert_eq!(fresh.against_durable().unwrap().median, 0.95);
        assert_eq!(fresh.rounds_per_million().unwrap().median, 900.0);
        let loops = fresh.closed_loops();
        let [(8, rate, p50)] = &loops[..] else { panic!("{loops:?}") };
        // 8 writers by 2 ms: 4000 a second.
        assert!((rate.median - 0.9).abs() < 1e-9 && (p50.median - 1.2).abs() < 1e-9, "{loops:?}");
        assert!(fresh.table().contains("| `fresh` | 32 x 64 | 950 (950–950) |"));
        assert!(Fresh::default().closed_loops().is_empty() && Fresh::default().table().is_empty());
    }
}
